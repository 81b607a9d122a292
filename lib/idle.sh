# shellcheck shell=bash
# idle.sh - has a pod's ComfyUI something to do, when nobody is at it any more?

[ -z "${_AUTOPOD_IDLE_SH:-}" ] || return 0 # @guard
_AUTOPOD_IDLE_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/later.sh"
. "$AUTOPOD_LIB/tunnel.sh"

IDLE_PAUSE=10   # seconds between two looks at a ComfyUI that was busy,
IDLE_SSH=60     # and where it takes a login
IDLE_SECONDS=10 # that such a login may take
IDLE_QUEUE=''   # see idle_ask

# idle_ask RECORD UNTIL - sets IDLE_QUEUE to what the ComfyUI of the pod at hand says of its queue, without blanks;
# empty when it is silent.
idle_ask() {
  local line said='' log=$AUTOPOD_HOME/logs/tunnel-$POD_ID.log busy='"queue_running":[0]' idle='"queue_running":[]"queue_pending":[]'
  IDLE_QUEUE=$idle
  if tunnel_find; then
    IDLE_QUEUE=''
    HTTP_TRIES=1 http_get "$TUNNEL_URL/queue" "$CORE_TMP/queue" --max-time 5 && [ "$HTTP_STATUS" = 200 ] &&
      IDLE_QUEUE=$(tr -d ' \n\r\t' <"$CORE_TMP/queue") || :
    later_put_off "$POD_ID:busy" "$IDLE_PAUSE"
    return
  fi
  [ -s "$log" ] || return 0 # nobody has ever reached it
  later_put_off "$POD_ID:busy" "$IDLE_SSH"
  while IFS= read -r line; do
    case $line in "$SSH_GUARD"*) said=${line#"$SSH_GUARD"} ;; esac
  done 2>/dev/null <"$log" || :
  IDLE_QUEUE=$busy
  case $said in alive*) [ "$OS_NOW" -ge "$2" ] || return 0 ;; esac
  IDLE_QUEUE=''
  core_quietly pod_take "$1" || return 0
  # Its address is not on record.
  core_quietly pod_refresh && [ -n "$POD_SSH_PORT" ] || return 0
  IDLE_QUEUE=$(ssh_ask "$IDLE_SECONDS" "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" \
    "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" "$(_idle_question)" </dev/null 2>/dev/null | tr -d ' \n\r\t') || :
}

# _idle_question - prints what asks ComfyUI on the pod; where nobody listens (7), nothing is computed.
_idle_question() {
  printf 'unset http_proxy HTTP_PROXY all_proxy ALL_PROXY; url=http://127.0.0.1:%d/queue
    if command -v curl >/dev/null; then
      curl -q -s -m 5 "$url"; [ $? != 7 ] || echo '\''"queue_running":[]"queue_pending":[]'\''
    else wget -q -T 5 -O - "$url"; fi' "$POD_COMFY_PORT"
}
