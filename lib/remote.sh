# shellcheck shell=bash
# remote.sh - a ComfyUI that the user named by its address instead of a pod: what the address may be, what has to be
# known about it, and what opens the door of a gateway in front of it.

[ -z "${_AUTOPOD_REMOTE_SH:-}" ] || return 0 # @guard
_AUTOPOD_REMOTE_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/feed.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/comfy.sh"

# What the user asked for.
REMOTE_HEADER_FILE='' # --header-file
REMOTE_AUTH_FILE=''   # --auth-file
REMOTE_LATER=''       # set when a run is taken up that knows where it goes

REMOTE_URL=''        # see remote_address and remote_proxy
REMOTE_FILES=''      # the files that are used, as lines of a run's plan
_REMOTE_SEALED=''    # the address that they were read for
_REMOTE_MOST=16384   # bytes of headers
_REMOTE_PAUSE_LAST=4 # seconds between the later looks at a server that boots
_REMOTE_BLOCKED="RunPod lets nobody reach port 8188 by a pod's own address: use its proxy, https://ID-8188.proxy.runpod.net, or the tunnel, --pod ID"
_REMOTE_HOST='' _REMOTE_PORT='' _REMOTE_KIND='' # see _remote_split

# --- what was asked for ---

# remote_setting PROXY OTHER - 0 when RUNPOD_POD_URL counts: OTHER, an option of the call, goes before it, --proxy behind it.
remote_setting() {
  [ -n "$RUNPOD_POD_URL" ] && [ -z "$REMOTE_LATER" ] || return 1
  [ -z "$2" ] || {
    ui_detail "RUNPOD_POD_URL is not used: $2 goes before it"
    return 1
  }
  [ -z "$1" ] || ui_note "RUNPOD_POD_URL goes before --proxy."
}

# remote_check NAME URL OTHER - looks at what NAME says, URL (empty: it says nothing; OTHER is then --proxy, --no-tunnel or, for
# a pod, nothing), and at the files for its gateway, before anything is done; REMOTE_URL is the address. EX_USAGE.
remote_check() {
  REMOTE_URL=''
  if [ -n "$2" ]; then
    remote_address "$1" "$2" && remote_seal "$REMOTE_URL"
  elif [ -n "$3" ]; then # where that is, will be known later
    remote_seal "$3" "$([ "$3" = --proxy ] || echo named)"
  else
    [ -z "$REMOTE_HEADER_FILE$REMOTE_AUTH_FILE" ] || [ -n "$REMOTE_LATER" ] ||
      core_fail "$EX_USAGE" "--header-file and --auth-file are for a gateway in front of ComfyUI; a pod is reached through its tunnel" \
        "they go with --url, --proxy and --no-tunnel"
  fi
}

# remote_before RUN - sets REMOTE_URL to where the prompt of RUN went; 1 when it went nowhere yet.
remote_before() {
  REMOTE_URL=''
  [ -f "$1/prompt.json" ] && REMOTE_URL=$(jq -r '.url | strings' "$1/prompt.json" 2>/dev/null) && [ -n "$REMOTE_URL" ]
}

# --- the address ---

# remote_address NAME TEXT - sets REMOTE_URL to the address that TEXT, which is what NAME (an option or a setting) says,
# stands for; EX_USAGE.
remote_address() {
  local text=$2 shape='^https?://[^@?#[:space:][:cntrl:]"\\]+$'
  while [ "$text" != "${text%/}" ]; do text=${text%/}; done
  case $text in
    *@*)
      core_fail "$EX_USAGE" "$1: a name or password in the address would end up in logs" \
        "put it into a file, as NAME:PASSWORD, and give that by --auth-file"
      return
      ;;
    [Hh][Tt][Tt][Pp]://*) text=http://${text#*://} ;;
    [Hh][Tt][Tt][Pp][Ss]://*) text=https://${text#*://} ;;
    *://*) ;;
    *)
      _remote_split "http://$text" || :
      case $_REMOTE_KIND:$_REMOTE_PORT in proxy:* | name:) text=https://$text ;; *) text=http://$text ;; esac
      ;;
  esac
  [[ $text =~ $shape ]] && _remote_split "$text" ||
    core_fail "$EX_USAGE" "$1: \"$2\" is not the address of a web server" \
      "like http://127.0.0.1:8188 or https://comfy.example.com" || return
  REMOTE_URL=$text
}

# _remote_split URL - sets _REMOTE_HOST, _REMOTE_PORT (empty: none is named) and _REMOTE_KIND: loopback, private, public (an
# address without a name), proxy (RunPod's), plain (a name within somebody's own network) or name; 1 when it can't be one.
_remote_split() {
  local rest=${1#*://} four='^[0-9]{1,3}(\.[0-9]{1,3}){3}$' six='^[0-9a-fA-F:.]+(%[A-Za-z0-9.]+)?$'
  rest=${rest%%/*}
  _REMOTE_PORT='' _REMOTE_KIND='' _REMOTE_HOST=$rest
  case $rest in
    \[*\]*) _REMOTE_HOST=${rest%%\]*} && _REMOTE_HOST=${_REMOTE_HOST#\[} _REMOTE_PORT=${rest##*\]} ;;
    *:*) _REMOTE_HOST=${rest%:*} _REMOTE_PORT=:${rest##*:} ;;
  esac
  case $_REMOTE_PORT in
    '') ;;
    : | :*[!0-9]* | :??????* | [!:]*) return 1 ;;
    *)
      _REMOTE_PORT=$((10#${_REMOTE_PORT#:}))
      [ "$_REMOTE_PORT" -gt 0 ] && [ "$_REMOTE_PORT" -lt 65536 ] || return 1
      ;;
  esac
  if [ "${rest#\[}" != "$rest" ]; then
    [[ $_REMOTE_HOST =~ $six ]] || return 1
    _remote_kind_six
    return
  fi
  case $_REMOTE_HOST in '' | *:* | .* | *..* | -* | *[]\[\<\>\|\`{}]*) return 1 ;; esac
  if [[ $_REMOTE_HOST =~ $four ]]; then _remote_kind_four; else _remote_kind_name; fi
}

# _remote_kind_four - the same for the kind of an IPv4 address.
_remote_kind_four() {
  _REMOTE_KIND=private
  case $_REMOTE_HOST in
    127.* | 0.0.0.0) _REMOTE_KIND=loopback ;;
    10.* | 192.168.* | 169.254.* | 172.1[6-9].* | 172.2[0-9].* | 172.3[01].*) ;;
    100.6[4-9].* | 100.[7-9][0-9].* | 100.1[01][0-9].* | 100.12[0-7].*) ;; # of carriers, and of Tailscale
    *) _REMOTE_KIND=public ;;
  esac
}

# _remote_kind_six - the same for an IPv6 address.
_remote_kind_six() {
  case $_REMOTE_HOST in
    ::1 | 0:0:0:0:0:0:0:1) _REMOTE_KIND=loopback ;;
    [Ff][CcDd]* | [Ff][Ee][89AaBb]*) _REMOTE_KIND=private ;;
    *) _REMOTE_KIND=public ;;
  esac
}

# _remote_kind_name - the same for a name.
_remote_kind_name() {
  case $_REMOTE_HOST in
    [Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt] | *.localhost) _REMOTE_KIND=loopback ;;
    *.[Pp][Rr][Oo][Xx][Yy].[Rr][Uu][Nn][Pp][Oo][Dd].[Nn][Ee][Tt]) _REMOTE_KIND=proxy ;;
    *.local | *.lan | *.internal | *.home.arpa) _REMOTE_KIND=plain ;;
    *.*) _REMOTE_KIND=name ;;
    *) _REMOTE_KIND=plain ;;
  esac
}

# remote_proxy POD - asks the provider for the address by which everybody can reach ComfyUI of that pod; without POD of
# the one that runs and has such an address. Sets REMOTE_URL. EX_POD, EX_USAGE, EX_MISSING, EX_TUNNEL.
remote_proxy() {
  local id ids='' status=0
  REMOTE_URL='' POD_ID=''
  core_tmpdir || return
  if [ -n "$1" ]; then
    pod_find "$1" "$AUTOPOD_PROVIDER" || return
    id=$POD_ID
    POD_ID='' POD_RATE='' # none of its limits and guards are about what goes past its tunnel
    [ "$POD_STATUS" = running ] ||
      core_fail "$EX_POD" "pod $id is $POD_STATUS" "autopod-info $id shows it; autopod-start $id starts it" || return
    _remote_ask "$id"
    return
  fi
  pod_list "$AUTOPOD_PROVIDER" >"$CORE_TMP/proxies" || return
  while IFS= read -r id <&4; do
    core_quietly _remote_ask "$id" || {
      status=$?
      continue
    }
    ids="$ids $id"
  done 4< <(jq -r 'select(.status == "running") | .id' "$CORE_TMP/proxies")
  case $ids in
    ' '*' '*) core_fail "$EX_USAGE" "--proxy: these pods have a public address:$ids" "name one of them: --proxy --pod ID" ;;
    ' '*) core_forget_error ;;
    *)
      [ "$status" != 0 ] || core_fail "$EX_POD" "--proxy: no pod runs at $AUTOPOD_PROVIDER" "autopod-ls shows all" || return
      core_fail "$status" "$CORE_ERROR" "$CORE_HINT"
      ;;
  esac
}

# _remote_ask ID - sets REMOTE_URL to the pod's public address; EX_POD when it has none, EX_TUNNEL, EX_MISSING.
_remote_ask() {
  "provider_${AUTOPOD_PROVIDER}_proxy_url" "$1" >"$CORE_TMP/proxy" || return
  remote_address --proxy "$(<"$CORE_TMP/proxy")"
}

# --- the gateway's door ---

# remote_seal URL [named] - what is asked at URL from here on goes with the headers that the user's files say, whose shape is
# looked at; `named`: only with those that were given by options. EX_USAGE.
remote_seal() {
  local header=$REMOTE_HEADER_FILE auth=$REMOTE_AUTH_FILE seal
  case $_REMOTE_SEALED in
    "$1") return 0 ;;
    --*) # they were read before it was known where they go
      HTTP_SEAL_URL=$1 FEED_SEAL_URL=$1 _REMOTE_SEALED=$1
      return
      ;;
  esac
  HTTP_SEAL_URL='' FEED_SEAL_URL='' REMOTE_FILES=''
  # The settings are about the server of RUNPOD_POD_URL, when that is set.
  if [ -z "${2:-}" ] && _remote_is_setting "$1"; then
    header=${header:-$AUTOPOD_HEADER_FILE} auth=${auth:-$AUTOPOD_AUTH_FILE}
  fi
  [ -n "$header$auth" ] || return 0
  core_tmpdir || return
  seal=$CORE_TMP/seal
  : >"$seal" || return
  [ -z "$header" ] || _remote_headers "$header" "$seal" || return
  [ -z "$auth" ] || _remote_auth "$auth" "$seal" || return
  [ -s "$seal" ] || core_fail "$EX_USAGE" "there is no header in $header" "a line in it is like: X-Api-Key: 0123" || return
  HTTP_SEAL_URL=$1 HTTP_SEAL_FILE=$seal FEED_SEAL_URL=$1 FEED_SEAL_FILE=$seal _REMOTE_SEALED=$1
}

# remote_seal_for PLAN URL - the same as in the run of PLAN, of which files may not be remembered; EX_USAGE.
remote_seal_for() {
  local tag text named=named
  REMOTE_HEADER_FILE='' REMOTE_AUTH_FILE='' _REMOTE_SEALED=''
  while IFS=$'\t' read -r tag text; do
    case $tag in
      wish_header_file) REMOTE_HEADER_FILE=$text ;;
      wish_auth_file) REMOTE_AUTH_FILE=$text ;;
      wish_url) named='' ;;
    esac
  done <"$1"
  [ -z "$REMOTE_HEADER_FILE$REMOTE_AUTH_FILE" ] || named=named
  remote_seal "$2" "$named"
}

# _remote_is_setting URL - 0 unless RUNPOD_POD_URL names another server.
_remote_is_setting() {
  [ -n "$RUNPOD_POD_URL" ] || return 0
  local REMOTE_URL=''
  core_quietly remote_address RUNPOD_POD_URL "$RUNPOD_POD_URL" && [ "$REMOTE_URL" = "$1" ]
}

# _remote_open_file FILE WHAT - 0 when it can be read; warns when others can, too. Notes it for the run's plan, as WHAT.
# EX_USAGE.
_remote_open_file() {
  local path=$1 mode
  [ ! -d "$1" ] && [ -r "$1" ] ||
    core_fail "$EX_USAGE" "--$2-file: can't read $1" "is the path right?" || return
  mode=$(os_mode "$1") || mode=''
  case $mode in '' | *00) ;; *) ui_warn "$1 can be read by others (mode $mode): run chmod 600 $1" ;; esac
  case $path in
    /dev/*) return 0 ;; # gone with this call
    /*) ;;
    *) path=$PWD/$path ;;
  esac
  REMOTE_FILES="${REMOTE_FILES}wish_$2_file"$'\t'"$path"$'\n'
}

# _remote_headers FILE SEAL - checks each `Name: value` of FILE, and puts it into SEAL; what stands in the file is not told
# to anybody. EX_USAGE.
_remote_headers() {
  local line number=0 bytes=0 name shape='^([A-Za-z0-9!$%&*+.^_|~-]+):[ ]*([^ ].*)$'
  _remote_open_file "$1" header || return
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1)) line=${line%$'\r'} bytes=$((bytes + ${#line}))
    [ "$bytes" -lt "$_REMOTE_MOST" ] || core_fail "$EX_USAGE" "$1 is too large for headers" || return
    case $line in '' | \#*) continue ;; esac
    [[ $line != *[[:cntrl:]]* ]] && [[ $line =~ $shape ]] ||
      core_fail "$EX_USAGE" "$1: line $number is not a header" "a line is like: X-Api-Key: 0123" || return
    ui_secret "${BASH_REMATCH[2]}"
    ui_secret "${BASH_REMATCH[2]##* }"
    printf '%s: %s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" >>"$2"
    name=$(LC_ALL=C tr '[:upper:]' '[:lower:]' <<<"${BASH_REMATCH[1]}")
    case $name in
      host | content-* | transfer-encoding | connection | upgrade | expect | range | if-* | accept-encoding | te | sec-websocket-*)
        core_fail "$EX_USAGE" "$1: line $number: the header $name belongs to autopod itself" "leave it out" || return
        ;;
      authorization)
        [ -z "$REMOTE_AUTH_FILE${AUTOPOD_AUTH_FILE:-}" ] ||
          core_fail "$EX_USAGE" "$1: line $number: Authorization is what the auth file is for, too" "use one of both" || return
        ;;
    esac
  done <"$1"
}

# _remote_auth FILE SEAL - checks the one line name:password of FILE, and puts the header that it makes into SEAL; EX_USAGE.
_remote_auth() {
  local line rest='' token
  _remote_open_file "$1" auth || return
  {
    IFS= read -r line || [ -n "$line" ] || :
    IFS= read -r -n 1 -d '' rest || :
  } <"$1"
  line=${line%$'\r'}
  [ "${#line}" -lt "$_REMOTE_MOST" ] && [ -z "${rest//[[:space:]]/}" ] && [[ $line == *:* ]] && [[ $line != *[[:cntrl:]]* ]] ||
    core_fail "$EX_USAGE" "$1 is not one line, name:password" "write just that into it" || return
  token=$(printf '%s' "$line" | os_base64)
  ui_secret "${line#*:}"
  ui_secret "$line"
  ui_secret "$token"
  printf 'Authorization: Basic %s\n' "$token" >>"$2"
}

# --- before the first job ---

# remote_open URL [named] - makes it REMOTE_URL: says what has to be known about that server, and waits until its ComfyUI answers, if it boots
# behind a gateway; AUTOPOD_BOOT_TIMEOUT seconds at most. EX_TUNNEL, EX_USAGE; EX_TIME, EX_COST at a limit.
remote_open() {
  local status=0
  _remote_split "$1" || :
  remote_seal "$1" "${2:-}" || return
  case $_REMOTE_KIND:$_REMOTE_PORT in
    proxy:*) ui_note "$1 is public: anybody who knows it can use this ComfyUI. A request may take 100 s there." ;;
    public:8188) ui_warn "$_REMOTE_BLOCKED" ;;
  esac
  case $HTTP_SEAL_URL:$_REMOTE_KIND in http://*:public | http://*:name | http://*:proxy)
    ui_warn "your key or password goes to $_REMOTE_HOST unencrypted: use https:// if there is any"
    ;;
  esac
  _remote_wait "$1" || status=$?
  [ "$status:$_REMOTE_KIND:$_REMOTE_PORT" != "$EX_TUNNEL:public:8188" ] || CORE_HINT=$_REMOTE_BLOCKED
  [ "$status" = 0 ] || core_fail "$status" "$CORE_ERROR" "$CORE_HINT" || return
  REMOTE_URL=$1
}

# _remote_wait URL - the same, without a word about what went wrong.
_remote_wait() {
  local began pause=1 told=''
  os_now
  began=$OS_NOW
  until core_quietly comfy_check "$1"; do
    os_now
    _remote_boots && [ $((OS_NOW - began)) -lt "$AUTOPOD_BOOT_TIMEOUT" ] || return "$EX_TUNNEL"
    if [ -z "$told" ]; then
      ui_duration "$AUTOPOD_BOOT_TIMEOUT"
      ui_note "HTTP $HTTP_STATUS from the gateway at $1: waiting for ComfyUI, at most $UI_TIME"
    fi
    told=1
    core_quietly limits_check || return
    ui_duration $((OS_NOW - began))
    ui_progress "waiting for ComfyUI (HTTP $HTTP_STATUS), $UI_TIME"
    core_sleep "$pause"
    [ "$pause" -ge "$_REMOTE_PAUSE_LAST" ] || pause=$((pause * 2))
  done
  core_forget_error
}

# _remote_boots - 0 when a gateway says that there is nothing behind it yet. RunPod's says 404 first.
_remote_boots() {
  [ "$HTTP_CURL" = 0 ] || return 1
  case $HTTP_STATUS:$_REMOTE_KIND in
    404:proxy) ;;
    2*) return 1 ;; # a page: of a login, most likely
    *) http_is_away ;;
  esac
}
