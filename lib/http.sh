# shellcheck shell=bash
# http.sh - every curl call. A function returns 0 when the server answered, whatever it said:
# HTTP_STATUS tells what, the body is in a file of its own. It returns 1 when there was no answer:
# HTTP_ERROR tells why.

[ -z "${_AUTOPOD_HTTP_SH:-}" ] || return 0 # @guard
_AUTOPOD_HTTP_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"

HTTP_TRIES=${HTTP_TRIES:-5}  # how often something is asked that may be asked again
HTTP_TIMEOUT=60              # seconds for a small answer, all in all
HTTP_STALL=30                # seconds without a byte, after which a transfer counts as dead
HTTP_UNTIL=''                # epoch: what runs ends then, what is begun later gets a moment; empty: as long as bytes come
_HTTP_MOMENT=2               # seconds
HTTP_RETRY_AFTER_MAX=120     # a longer wait that a server asks for is not waited, but told
HTTP_JSON_MAX=$((256 << 20)) # bytes; a larger answer to a small question is a fault
HTTP_STATUS=0 HTTP_ERROR='' HTTP_CURL=0 HTTP_LENGTH=''
HTTP_PAGE=''                       # set when the last answer was a web page
HTTP_SEAL_URL='' HTTP_SEAL_FILE='' # what is below this address gets the headers in this private file, and nothing else does
HTTP_LOG=''                        # a file that takes a line for each request; empty: none
HTTP_LOG_HEAD=$'at\tmethod\tpath\tstatus\tcurl\tsent\treceived\tdns\tconnect\ttls\tfirst_byte\ttotal'
_HTTP_LOG_MOST=20000 # lines
_HTTP_LOGGED=0
HTTP_CODES=()    # see http_get_many
HTTP_PROGRESS='' # a function that is told the percentage while a transfer runs
_HTTP_RETRY_AFTER=''
_HTTP_WORDS=()
_HTTP_CAPPED='' # set for answers of at most HTTP_JSON_MAX

# --noproxy: loopback (the tunnel) never goes through somebody's proxy; -g: braces in a URL are no
# patterns; the user agent is our own, since a gateway in front of RunPod refuses those of common
# libraries.
_HTTP_OPTIONS=(-S -g --connect-timeout 10 --noproxy "127.0.0.1,localhost,::1,${no_proxy:-${NO_PROXY:-}}"
  -A "autopod/${AUTOPOD_VERSION:-dev}")
_HTTP_REPORT='%{http_code} %{size_download} %{size_upload} %{time_namelookup} %{time_connect} %{time_appconnect}'
_HTTP_REPORT="$_HTTP_REPORT %{time_starttransfer} %{time_total} %{url_effective} %{content_type}\n"

# http_get URL BODY [CURL_ARG...] - small answer to BODY; asked again after a passing fault.
http_get() {
  local url=$1 body=$2
  shift 2
  _HTTP_CAPPED=1 _http_ask again "$body" --max-time "$HTTP_TIMEOUT" "$@" "$url"
}

# http_get_two URL BODY URL2 BODY2 - two answers, asked in this order over one connection;
# HTTP_STATUS is the worse one.
http_get_two() {
  local limits=(--max-time "$HTTP_TIMEOUT" --speed-limit 1 --speed-time "$HTTP_STALL") seal=()
  ! _http_is_sealed "$3" || seal=(-H "@$HTTP_SEAL_FILE")
  _HTTP_CAPPED=1 _http_run "$2" --fail-early "${limits[@]}" "$1" \
    --next "${_HTTP_OPTIONS[@]}" ${seal[@]+"${seal[@]}"} "${limits[@]}" -o "$4" -w "$_HTTP_REPORT" "$3"
}

# http_get_many PREFIX URL... - small answers to all of these, asked side by side, once; in the files PREFIX.0,
# PREFIX.1 and so on (empty when none came). HTTP_CODES gets what each said, 0 when it said nothing. 1 when all were
# silent.
http_get_many() {
  local prefix=$1 i code file words=() _HTTP_REPORT='%{http_code} %{filename_effective}\n'
  shift
  HTTP_CODES=()
  for ((i = 0; i < $#; i++)); do
    HTTP_CODES[i]=0
    : >"$prefix.$i" || return
    [ "$i" = 0 ] || words=(${words[@]+"${words[@]}"} -o "$prefix.$i")
  done
  _HTTP_CAPPED=1
  _http_run "$prefix.0" --max-time "$HTTP_TIMEOUT" --parallel --parallel-max 5 ${words[@]+"${words[@]}"} "$@" ||
    [ "$HTTP_CURL" != 2 ] || # before curl 7.66 there is no --parallel
    _http_run "$prefix.0" --max-time "$HTTP_TIMEOUT" ${words[@]+"${words[@]}"} "$@" || :
  _HTTP_CAPPED=''
  while read -r code file; do
    HTTP_CODES[${file##*.}]=$((10#$code))
  done <"$CORE_TMP/http.status"
  [ "$HTTP_STATUS" != 0 ]
}

# http_post URL JSON_FILE BODY - posts once: whatever may have reached the server is not sent again.
# Only a refused connection and 429 (both say that nothing was taken) are tried again.
http_post() {
  _HTTP_CAPPED=1 _http_ask once "$3" --max-time "$HTTP_TIMEOUT" -H 'Content-Type: application/json' \
    --data-binary "@$2" "$1"
}

# http_post_as URL JSON_FILE BODY HEADER_FILE - the same with headers from a private file: a key must not stand in
# argv, where everybody on the machine can read it.
http_post_as() {
  local HTTP_UNTIL='' HTTP_LOG='' # it goes to a provider: to stop a pod, above all
  _HTTP_CAPPED=1 _http_ask once "$3" --max-time "$HTTP_TIMEOUT" -H 'Content-Type: application/json' -H "@$4" \
    --data-binary "@$2" "$1"
}

# http_head URL - asks for the headers only; sets HTTP_LENGTH.
http_head() {
  core_tmpdir || return
  _http_ask again "$CORE_TMP/http.body" --max-time "$HTTP_TIMEOUT" -I "$1" || return
  http_header content-length
  HTTP_LENGTH=$HTTP_HEADER
}

# http_upload URL FILE NAME SUBFOLDER BODY - multipart, in constant memory. Our names follow from
# the content, and a ComfyUI that has the same bytes under the same name says just that: so this may
# be sent again.
http_upload() {
  local quoted=${2//\\/\\\\}
  quoted=${quoted//\"/\\\"}
  _http_ask again "$5" --max-time 0 --speed-limit 1 --speed-time "$HTTP_STALL" -H 'Expect:' \
    -F "image=@\"$quoted\";filename=\"$3\";type=application/octet-stream" \
    --form-string "subfolder=$4" --form-string type=input "$1"
}

# http_download URL PART - a file of any size to PART, resumed after a cut if it is still the same
# file (If-Range); sets HTTP_LENGTH to the length that the server gave (empty: none).
http_download() {
  local url=$1 part=$2 try=1 etag='' resume
  core_tmpdir || return
  HTTP_LENGTH=''
  while :; do
    resume=()
    if [ -s "$part" ] && [ -n "$etag" ]; then
      resume=(-C - -H "If-Range: $etag")
    else
      [ ! -e "$part" ] || rm -f -- "$part"
    fi
    if _http_run "$part" --speed-limit 1 --speed-time "$HTTP_STALL" --max-time 0 ${resume[@]+"${resume[@]}"} "$url"; then
      case $HTTP_STATUS in 429 | 50[234] | 52? | 530) rm -f -- "$part" ;; *) break ;; esac
    elif [ "$HTTP_CURL" = 33 ]; then
      rm -f -- "$part" # no longer the same file: from the beginning
    elif [ "$HTTP_CURL" = 23 ]; then
      return 1 # can't write: the disk is full
    elif [ "$HTTP_STATUS" = 200 ]; then
      http_header etag
      etag=$HTTP_HEADER
    fi
    [ "$try" -lt "$HTTP_TRIES" ] && _http_may_wait || break
    _http_back_off "$try" "$_HTTP_RETRY_AFTER"
    try=$((try + 1))
  done
  [ "$HTTP_CURL" = 0 ] || return 1
  http_header content-range # bytes 100-199/200
  [ -n "$HTTP_HEADER" ] || http_header content-length
  HTTP_LENGTH=${HTTP_HEADER##*/}
  case $HTTP_LENGTH in *[!0-9]*) HTTP_LENGTH='' ;; esac
}

# _http_may_wait - 0 unless the server asks for a longer pause than we care to make, or than there is time for.
_http_may_wait() {
  local wait=$((10#${_HTTP_RETRY_AFTER:-0})) OS_NOW
  [ "$wait" -le "$HTTP_RETRY_AFTER_MAX" ] || return
  [ -n "$HTTP_UNTIL" ] || return 0
  os_now
  [ $((OS_NOW + wait)) -lt "$HTTP_UNTIL" ]
}

# _http_bound ARG... - sets _HTTP_WORDS to these words for curl, none of whose times is longer than until HTTP_UNTIL.
_http_bound() {
  local OS_NOW left word before=''
  _HTTP_WORDS=()
  os_now
  left=$((HTTP_UNTIL - OS_NOW > _HTTP_MOMENT ? HTTP_UNTIL - OS_NOW : _HTTP_MOMENT))
  for word; do
    [ "$before" != --max-time ] || { [ "$word" != 0 ] && [ "$word" -lt "$left" ]; } || word=$left
    _HTTP_WORDS[${#_HTTP_WORDS[@]}]=$word
    before=$word
  done
}

# http_log FILE - from here on a line for each request goes there; empty: nowhere any more.
http_log() { HTTP_LOG=$1 _HTTP_LOGGED=0; }

# http_is_away - 0 when what came is no answer of the server itself: a gateway in front of it can't reach it (52x is
# Cloudflare's, also RunPod's), or shows a page of its own. Nothing is known then.
http_is_away() {
  case $HTTP_STATUS in
    50[234] | 52? | 530) ;;
    2??) [ -n "$HTTP_PAGE" ] ;;
    *) return 1 ;;
  esac
}

# http_header NAME - sets HTTP_HEADER to the value of that header (lower case) in the last answer.
http_header() {
  local line name
  HTTP_HEADER=''
  [ -f "$CORE_TMP/http.headers" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    name=${line%%:*}
    _http_same_word "$name" "$1" || continue
    HTTP_HEADER=${line#*:}
    HTTP_HEADER=${HTTP_HEADER#"${HTTP_HEADER%%[![:blank:]]*}"}
  done <"$CORE_TMP/http.headers"
}

# _http_same_word A B - 0 when both are the same but for upper and lower case.
_http_same_word() {
  local status=0
  [ "${#1}" = "${#2}" ] || return 1
  shopt -s nocasematch
  [[ $1 == "$2" ]] || status=1
  shopt -u nocasematch
  return "$status"
}

# _http_ask again|once BODY CURL_ARG... - the retry rule, for all.
_http_ask() {
  local rule=$1 body=$2 try=1
  shift 2
  while :; do
    if _http_run "$body" "$@"; then
      case $HTTP_STATUS:$rule in 429:* | 50[234]:again | 52?:again | 530:again) ;; *) return 0 ;; esac
      [ "$try" -lt "$HTTP_TRIES" ] && _http_may_wait || return 0
    else
      # 7: refused; 28: time-out; 18, 35, 52, 55, 56: cut on the way. Only 7 is certain to have
      # taken nothing.
      case $HTTP_CURL:$rule in
        7:* | 18:again | 28:again | 35:again | 52:again | 55:again | 56:again) ;;
        *) return 1 ;;
      esac
      [ "$try" -lt "$HTTP_TRIES" ] && _http_may_wait || return 1
    fi
    ui_detail "${HTTP_ERROR:-the server answered $HTTP_STATUS}: trying again"
    _http_back_off "$try" "$_HTTP_RETRY_AFTER"
    try=$((try + 1))
  done
}

# _http_back_off TRY [SECONDS] - sleeps SECONDS, else 0.25 s, 0.5 s, 1 s … up to 16 s, and up to
# half as much again.
_http_back_off() {
  local seconds ms=$((250 << ($1 < 7 ? $1 - 1 : 6)))
  [ -z "${2:-}" ] || ms=$((10#$2 * 1000))
  ms=$((ms + RANDOM % (ms / 2 + 1)))
  printf -v seconds '%d.%03d' $((ms / 1000)) $((ms % 1000))
  core_sleep "$seconds"
}

# _http_run BODY CURL_ARG... - one try; sets HTTP_STATUS, HTTP_CURL, HTTP_ERROR.
_http_run() {
  local body=$1
  shift
  ! _http_is_sealed "${!#}" || set -- -H "@$HTTP_SEAL_FILE" "$@"
  core_tmpdir || return
  if [ -n "$HTTP_UNTIL" ]; then
    _http_bound "$@"
    set -- "${_HTTP_WORDS[@]}"
  fi
  ui_debug curl "$@"
  HTTP_STATUS=0 HTTP_CURL=0 HTTP_ERROR='' _HTTP_RETRY_AFTER=''
  _http_curl "${_HTTP_OPTIONS[@]}" -o "$body" -D "$CORE_TMP/http.headers" -w "$_HTTP_REPORT" "$@" \
    3>&2 >"$CORE_TMP/http.status" 2>"$CORE_TMP/http.error" </dev/null || HTTP_CURL=$? # 3: for the progress
  _http_take_report "$@"
  if [ "$HTTP_CURL" != 0 ]; then
    HTTP_ERROR=$(LC_ALL=C tr '\r' '\n' <"$CORE_TMP/http.error" | sed -n 's/^curl: ([0-9]*) //p')
    return 1
  fi
  [ -s "$body" ] || : >"$body" # curl leaves no file for an empty answer
  case $HTTP_STATUS in
    429 | 503)
      http_header retry-after
      _HTTP_RETRY_AFTER=$HTTP_HEADER
      ;;
  esac
  case $_HTTP_RETRY_AFTER in *[!0-9]* | ???????*) _HTTP_RETRY_AFTER='' ;; esac
}

# _http_is_sealed URL - 0 when URL is below HTTP_SEAL_URL.
_http_is_sealed() { [ -n "$HTTP_SEAL_URL" ] && [ "${1#"$HTTP_SEAL_URL/"}" != "$1" ]; }

# _http_take_report CURL_ARG... - sets HTTP_STATUS and HTTP_PAGE by what curl says of the transfers, and notes each of them.
_http_take_report() {
  local code down up dns connect tls first total url kind
  HTTP_PAGE=''
  while IFS=' ' read -r code down up dns connect tls first total url kind; do
    [ "$((10#$code))" -le "$HTTP_STATUS" ] || HTTP_STATUS=$((10#$code))
    case $kind in [Tt][Ee][Xx][Tt]/[Hh][Tt][Mm][Ll]* | application/xhtml*) HTTP_PAGE=1 ;; esac
    [ -z "$HTTP_LOG" ] || [ -z "$url" ] || _http_note "$@"
  done <"$CORE_TMP/http.status"
}

# _http_note CURL_ARG... - a line for the caller's transfer in HTTP_LOG. Of the query only what names a file: that is ours.
_http_note() {
  local word method=GET path=${url#*://} OS_MS line
  [ "$_HTTP_LOGGED" -lt "$_HTTP_LOG_MOST" ] || return 0
  _HTTP_LOGGED=$((_HTTP_LOGGED + 1))
  for word; do
    case $word in -I) method=HEAD ;; --data-binary | -F) method=POST ;; esac
  done
  case $path in */*) path=/${path#*/} ;; *) path=/ ;; esac
  case $path in */view\?*) ;; *) path=${path%%\?*} ;; esac
  os_now_ms
  printf -v line '%s.%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s' "${OS_MS%???}" "${OS_MS#"${OS_MS%???}"}" "$method" \
    "${path//[[:cntrl:]]/}" "$code" "$HTTP_CURL" "$up" "$down" "$dns" "$connect" "$tls" "$first" "$total"
  { [ -s "$HTTP_LOG" ] || printf '%s\n' "$HTTP_LOG_HEAD" >>"$HTTP_LOG"; } 2>/dev/null || :
  { printf '%s\n' "$line" >>"$HTTP_LOG"; } 2>/dev/null || :
}

# _http_curl ARG... - curl, in such a way that a signal is acted on at once. With HTTP_PROGRESS (a
# function that takes a percentage) it is asked for its progress meter, which is passed on while it
# runs. -q must be the very first word: only there it keeps ~/.curlrc out.
_http_curl() {
  local ticker status=0
  if [ -n "$_HTTP_CAPPED" ]; then
    core_wait _http_capped "$@"
    return
  elif [ -z "$HTTP_PROGRESS" ]; then
    core_wait curl -q -s "$@"
    return
  fi
  _http_tick 2>&3 3>&- >/dev/null </dev/null &
  ticker=$!
  core_wait curl -q "$@" 3>&- || status=$?
  kill -s KILL "$ticker" 2>/dev/null || : # during the cleanup TERM is ignored
  wait "$ticker" 2>/dev/null || :
  return "$status"
}

# _http_capped ARG... - curl for a small answer, which ends when it is not small. (--max-filesize goes by
# Content-Length alone before curl 8.4; a server that just goes on would fill the disk.)
_http_capped() {
  trap '' XFSZ
  ulimit -f $((HTTP_JSON_MAX / 1024))
  exec curl -q -s "$@"
}

# _http_tick - passes the percentage in curl's meter on to HTTP_PROGRESS, until it is ended or we
# are.
_http_tick() {
  local percent
  while sleep 0.3 && kill -0 "$$" 2>/dev/null && [ -d "$CORE_TMP" ]; do
    percent=$(tail -c 100 "$CORE_TMP/http.error" | LC_ALL=C tr '\r' '\n' |
      awk 'NF > 6 && $1 ~ /^[0-9]+$/ { p = $1 } END { print p }')
    [ -z "$percent" ] || "$HTTP_PROGRESS" "$percent"
  done
}
