# shellcheck shell=bash
# runpodctl.sh - every call of runpodctl, RunPod's own tool, and of RunPod's GraphQL API, which is the way past
# it. What it prints is judged by content: it says "pod not ready" on stdout with exit code 0, and older ones
# tell an error twice.

[ -z "${_AUTOPOD_RUNPODCTL_SH:-}" ] || return 0 # @guard
_AUTOPOD_RUNPODCTL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/http.sh"

RUNPODCTL_SECONDS=${RUNPODCTL_SECONDS:-120} # that a call may take; by itself it may wait for as long as RunPod says
RUNPODCTL_PAUSES=${RUNPODCTL_PAUSES:-2 4}   # seconds before each further try of what may be asked again
RUNPODCTL_UPGRADE="upgrade it: brew upgrade runpodctl, or what docs.runpod.io/runpodctl says"
# Why the last call did not work, and its words: capacity, balance, auth, scope, retired, gone, rate, network (nothing
# was sent), usage; ambiguous: an error of RunPod's own, unanswered: nobody knows what became of it; other.
RUNPODCTL_WHY='' RUNPODCTL_SAID='' RUNPODCTL_TODO=''
_RUNPODCTL_FEATURES='' # what this runpodctl can do, by what its --help says

# runpodctl_check - 0 when runpodctl 2.x and a key are there; nothing is contacted. EX_MISSING.
runpodctl_check() {
  local help
  [ -z "$_RUNPODCTL_FEATURES" ] || return 0
  # make setup puts it there when the machine has none.
  command -v runpodctl >/dev/null 2>&1 || PATH=$PATH${AUTOPOD_ROOT:+:$AUTOPOD_ROOT/.tools/bin}
  command -v runpodctl >/dev/null 2>&1 ||
    core_fail "$EX_MISSING" "the runpod provider needs runpodctl, which is not installed" \
      "run make setup in a clone, or what docs.runpod.io/runpodctl says" || return
  runpodctl_key || core_fail "$EX_MISSING" "there is no RunPod API key" \
    "make one at console.runpod.io/user/settings, and put RUNPOD_API_KEY=... into .env (chmod 600 .env)" || return
  core_tmpdir || return
  _runpodctl_fifo || :
  help=$(_runpodctl_help) || : # by no file: a disk that is full must not look like an old runpodctl
  case $help in
    *'runpodctl pod list'*) ;;
    *)
      core_fail "$EX_MISSING" "this runpodctl is of the old generation (1.x), or does not run" "$RUNPODCTL_UPGRADE"
      return
      ;;
  esac
  _RUNPODCTL_FEATURES=2
  case $help in *--all*) _RUNPODCTL_FEATURES="$_RUNPODCTL_FEATURES all" ;; esac
}

# runpodctl_key - makes RUNPOD_API_KEY what runpodctl's own configuration says, if nobody else has set it; 1 when
# there is none.
runpodctl_key() {
  local line='' shape='^[[:blank:]]*api[Kk]ey[[:blank:]]*=[[:blank:]]*["'\'']([^"'\'']+)["'\'']'
  if [ -z "${RUNPOD_API_KEY:-}" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
      if [[ $line =~ $shape ]]; then RUNPOD_API_KEY=${BASH_REMATCH[1]}; fi
    done 2>/dev/null <"$HOME/.runpod/config.toml" || :
    [ -n "${RUNPOD_API_KEY:-}" ] || return 1
    ui_secret "$RUNPOD_API_KEY"
  fi
  case $RUNPOD_API_KEY in *[![:graph:]]* | *'"'*) return 1 ;; esac
}

# _runpodctl_help - prints its help; that is no use to a reader who has gone.
_runpodctl_help() { _runpodctl_exec /dev/stdout pod list --help; }

# _runpodctl_fifo - makes the pipe by which the number of a runpodctl is told, and its time is measured.
_runpodctl_fifo() { [ -p "$CORE_TMP/runpodctl.fifo" ] || mkfifo -m 600 -- "$CORE_TMP/runpodctl.fifo"; }

# _runpodctl_exec OUT ARG... - runs runpodctl: its words go to OUT, its complaints to runpodctl.error; its status.
_runpodctl_exec() {
  local out=$1 watch status=0
  shift
  case " $* " in
    *' --env '*) ui_debug runpodctl "$1 $2 ... (the pod's environment is not shown)" ;;
    *) ui_debug runpodctl "$@" ;;
  esac
  _runpodctl_fifo || return
  {
    _runpodctl_watch &
    watch=$!
    core_wait _runpodctl_child "$@" >"$out" 2>"$CORE_TMP/runpodctl.error" || status=$?
    kill -s KILL "$watch" 2>/dev/null || : # what the cleanup starts ignores TERM
    wait "$watch" 2>/dev/null || :
  } 6<>"$CORE_TMP/runpodctl.fifo"
  return "$status"
}

# _runpodctl_watch - ends a runpodctl that takes too long. Its number comes by a pipe, for a file needs room; to that
# nobody writes again, and so it is what is waited on: a sleep would outlive us.
_runpodctl_watch() {
  local pid
  exec >/dev/null 2>&1 7>&- 8>&- 9>&-
  read -r pid <&6
  read -r -t "$RUNPODCTL_SECONDS" _ <&6 ||
    { kill -0 "$$" && kill -s KILL "$pid"; } # without us the number may be anybody's by now
}

# _runpodctl_child ARG... - in a process of its own: only there the key is in the environment. runpodctl takes settings
# from variables without a prefix: an exported TIMEOUT=600 would be 600 ns (read in the source of 2.7.2).
_runpodctl_child() {
  sh -c 'echo "$PPID"' >&6
  export RUNPOD_API_KEY HOME
  ulimit -f 65536 2>/dev/null || : # kilobytes: what never ends would fill the disk
  exec env -u TIMEOUT -u GRAPHQLTIMEOUT -u APIKEY -u APIURL -u RESTAPIURL runpodctl "$@" </dev/null 6>&-
}

# runpodctl_ask OUT ARG... - asks, again after a passing fault; the answer, JSON, is in OUT. 1 with RUNPODCTL_WHY and
# RUNPODCTL_SAID.
runpodctl_ask() { _runpodctl_try 'rate network ambiguous unanswered' "$@"; }

# runpodctl_order OUT ARG... - the same for what must not be done twice: only tried again when nothing was taken.
runpodctl_order() { _runpodctl_try rate "$@"; }

# runpodctl_look OUT ARG... - the same for who asks again by himself.
runpodctl_look() { _runpodctl_try '' "$@"; }

# _runpodctl_try CLASSES OUT ARG... - the rule for both: failures of these classes are tried again.
_runpodctl_try() {
  local classes=" $1 " out=$2 pause status
  shift 2
  for pause in $RUNPODCTL_PAUSES ''; do
    status=0
    _runpodctl_exec "$out" "$@" || status=$?
    ! _runpodctl_judge "$out" "$status" || return 0
    ui_log detail "runpodctl $1 ${2:-}: $RUNPODCTL_SAID ($RUNPODCTL_WHY)"
    case $classes in *" $RUNPODCTL_WHY "*) ;; *) return 1 ;; esac
    [ -z "$pause" ] || core_sleep "$pause"
  done
  return 1
}

# runpodctl_list [once] - asks for all pods, also stopped ones, which `pod list` hides since 2.1; the answer is in
# runpodctl.list. As runpodctl_ask, or as runpodctl_look.
runpodctl_list() {
  local how=runpodctl_ask all=''
  [ -z "${1:-}" ] || how=runpodctl_look
  case $_RUNPODCTL_FEATURES in *all*) all=--all ;; esac
  "$how" "$CORE_TMP/runpodctl.list" pod list ${all:+"$all"} || return
  jq -e 'type == "array"' "$CORE_TMP/runpodctl.list" >/dev/null || {
    RUNPODCTL_WHY=unanswered RUNPODCTL_SAID="what it says is no list"
    return 1
  }
}

# _runpodctl_judge OUT STATUS - 0 when runpodctl gave an answer; else 1, RUNPODCTL_SAID has its words and RUNPODCTL_WHY
# their class. An error may stand on either stream, once or twice, as JSON or not.
_runpodctl_judge() {
  local code=''
  RUNPODCTL_WHY='' RUNPODCTL_SAID=''
  if [ "$2" = 0 ] && jq -es 'length == 1 and (.[0] | type == "array" or (type == "object" and (has("error") | not)))' \
    "$1" >/dev/null 2>&1; then # -s: for jq 1.6, nothing at all is no fault
    return 0
  fi
  IFS=$'\x1f' read -r code RUNPODCTL_SAID < <(jq -nRr '
    # What the API said may come wrapped: api error: {"error":"...","status":500} (status 500)
    def unwrap: . as $all
      | first((capture("api error: (?<said>\\{.*\\}) \\(status (?<status>[0-9]+)\\)$"),
          capture("graphql error: status (?<status>[0-9]+): (?<said>\\{.*\\})$"))
        | .status as $status | .said | fromjson? | (.error // .detail // .message // .errors[0].message | strings)
        | "\(.) (status \($status))") // $all;
    [inputs] as $lines
    | first(($lines | join("\n") | fromjson?), ($lines[] | fromjson?) | objects | select(.error)) //
      {error: ($lines | map(select(test("[^[:space:]]"))) | first // "")}
    | (.error | tostring | unwrap) as $said
    | (if (.status | type) == "number" and ($said | test("status [0-9]") | not) then " (status \(.status))" else "" end) as $status
    | [(.code // ""), $said + $status]
    | map(tostring | gsub("(<[^<>]{1,200}>|[ \u0000-\u001f\u007f])+"; " ") | .[0:2000]) | join("\u001f")' \
    "$CORE_TMP/runpodctl.error" "$1" 2>/dev/null) || :
  RUNPODCTL_SAID=${RUNPODCTL_SAID#Error: }
  RUNPODCTL_SAID=${RUNPODCTL_SAID#failed to * pod: }
  _runpodctl_mask
  [ "$2" != 137 ] || RUNPODCTL_SAID="it did not answer in $RUNPODCTL_SECONDS s, or was killed"
  RUNPODCTL_SAID=${RUNPODCTL_SAID:-status $2 and no word}
  shopt -s nocasematch
  _runpodctl_class "$code" "$RUNPODCTL_SAID"
  shopt -u nocasematch
  case $RUNPODCTL_WHY:$2 in # killed, or it worked and printed what nobody can read
    other:0 | other:1[3-9][0-9]) RUNPODCTL_WHY=unanswered ;;
  esac
  return 1
}

# _runpodctl_mask - takes the key out of RUNPODCTL_SAID, should it be in there, and cuts it to a readable length.
_runpodctl_mask() {
  [ -z "${RUNPOD_API_KEY:-}" ] || RUNPODCTL_SAID=${RUNPODCTL_SAID//"$RUNPOD_API_KEY"/****}
  RUNPODCTL_SAID=${RUNPODCTL_SAID:0:300}
}

# runpodctl_remedy - sets RUNPODCTL_TODO to what to do about the last failure; empty when there is nothing to say.
runpodctl_remedy() {
  RUNPODCTL_TODO=''
  case $RUNPODCTL_WHY in
    auth) RUNPODCTL_TODO="RunPod does not accept the key: make one at console.runpod.io/user/settings" ;;
    scope) RUNPODCTL_TODO="the key may not do this: it needs read and write access" ;;
    retired) RUNPODCTL_TODO="this runpodctl asks an API that RunPod has switched off: $RUNPODCTL_UPGRADE" ;;
    balance) RUNPODCTL_TODO="add credit at console.runpod.io/user/billing" ;;
    capacity) RUNPODCTL_TODO="try another GPU or data center (autopod-gpus shows the stock), or later" ;;
    rate) RUNPODCTL_TODO="RunPod takes no more requests for now: wait a minute" ;;
    network) RUNPODCTL_TODO="is the network there?" ;;
    ambiguous | unanswered)
      RUNPODCTL_TODO="RunPod has trouble, or the way to it: try again later (its state: uptime.runpod.io)"
      ;;
  esac
}

# _runpodctl_class CODE TEXT - sets RUNPODCTL_WHY; the texts are those of RunPod's three APIs, which runpodctl passes on.
_runpodctl_class() {
  case $2 in
    *'no longer any instances'* | *'no instances currently available'* | *'no gpu available'* | *SUPPLY_CONSTRAINT* | \
      *'machine with capacity'* | *'does not have the resources'* | *'not enough free GPU'*) RUNPODCTL_WHY=capacity ;;
    *'balance is too low'* | *INSUFFICIENT_BALANCE* | *'status 402'*) RUNPODCTL_WHY=balance ;;
    *'api key not'* | *unauthorized* | *'status 401'*) RUNPODCTL_WHY=auth ;;
    *forbidden* | *'status 403'*) RUNPODCTL_WHY=scope ;;
    *'status 410'*) RUNPODCTL_WHY=retired ;;
    *'not found'* | *'status 404'*) RUNPODCTL_WHY=gone ;;
    *'rate limit'* | *'too many requests'* | *'status 429'*) RUNPODCTL_WHY=rate ;;
    *'connection refused'* | *'no such host'* | *'network is unreachable'* | *'dial tcp'* | *'TLS handshake'*)
      RUNPODCTL_WHY=network
      ;;
    *'deadline exceeded'* | *Client.Timeout* | *'i/o timeout'* | *'connection reset'* | *'connection closed'* | \
      *'broken pipe'* | *': EOF'* | *'unexpected EOF'* | *'context canceled'* | *'stream error'* | *GOAWAY* | \
      *'status 504'* | *'status 408'*)
      RUNPODCTL_WHY=unanswered
      ;;
    *'failed to parse response'* | *'returned no data'* | *'status 5'[0-9][0-9]* | *'Internal Server Error'* | \
      *'Something went wrong'* | *INTERNAL_SERVER_ERROR* | *'could not be read'*) RUNPODCTL_WHY=ambiguous ;;
    *' is required'* | *'only one gpu id'* | *'unknown flag'* | *'unknown command'* | *'status 4'[0-9][0-9]*)
      RUNPODCTL_WHY=usage
      ;;
    *) RUNPODCTL_WHY=other ;;
  esac
  case $RUNPODCTL_WHY:$1 in # the newest ones have codes too
    other:unauthorized | other:no_credentials) RUNPODCTL_WHY=auth ;;
    other:forbidden) RUNPODCTL_WHY=scope ;;
    other:not_found) RUNPODCTL_WHY=gone ;;
    other:rate_limited) RUNPODCTL_WHY=rate ;;
    other:network_error | other:timeout) RUNPODCTL_WHY=unanswered ;;
    other:server_error) RUNPODCTL_WHY=ambiguous ;;
    other:usage_error | other:bad_request | other:conflict) RUNPODCTL_WHY=usage ;;
  esac
}

# runpodctl_graphql BODY - asks RunPod's GraphQL API, past runpodctl; the answer is in runpodctl.answer. 1 when it did
# not answer, or with an error (which comes as HTTP 200): RUNPODCTL_SAID.
runpodctl_graphql() {
  local status=0
  runpodctl_key || return
  printf 'Authorization: Bearer %s\n' "$RUNPOD_API_KEY" >"$CORE_TMP/runpodctl.key" &&
    printf '%s' "$1" >"$CORE_TMP/runpodctl.query" || return
  : >"$CORE_TMP/runpodctl.answer"
  http_post_as "${RUNPOD_GRAPHQL_URL:-https://api.runpod.io/graphql}" "$CORE_TMP/runpodctl.query" \
    "$CORE_TMP/runpodctl.answer" "$CORE_TMP/runpodctl.key" || status=$?
  rm -f -- "$CORE_TMP/runpodctl.key"
  [ "$status" = 0 ] || {
    RUNPODCTL_SAID=$HTTP_ERROR
    return 1
  }
  RUNPODCTL_SAID=$(jq -rs '.[0] | if type == "object" then .errors else error("no answer") end
    | .[0].message // empty | gsub("[\u0000-\u001f\u007f]+"; " ") | .[0:2000]' \
    "$CORE_TMP/runpodctl.answer" 2>/dev/null) || RUNPODCTL_SAID="HTTP $HTTP_STATUS"
  _runpodctl_mask
  [ -z "$RUNPODCTL_SAID" ] && [ "$HTTP_STATUS" = 200 ]
}
