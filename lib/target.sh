# shellcheck shell=bash
# target.sh - where jobs run: a pod that is there, one that is made for them, or a URL that the user named; and what becomes
# of it afterwards. The rule: what this call made goes away, what was there before stays.

[ -z "${_AUTOPOD_TARGET_SH:-}" ] || return 0 # @guard
_AUTOPOD_TARGET_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"

# What the user asked for.
TARGET_WISH_URL=''       # --url
TARGET_WISH_POD=''       # --pod
TARGET_WISH_NO_TUNNEL='' # --no-tunnel

TARGET_URL=''         # where ComfyUI answers, once the target is open
TARGET_MADE=''        # set when the pod was made for this call
_TARGET_OWN_TUNNEL='' # set when the tunnel was opened by this call

# target_check_wishes - what can't be, or can't go together, before anything is done; EX_USAGE.
target_check_wishes() {
  local wish count=0 shape='^https?://[^][:space:]"\\]+$'
  for wish in "$TARGET_WISH_URL" "$TARGET_WISH_POD" "$TARGET_WISH_NO_TUNNEL"; do
    [ -z "$wish" ] || count=$((count + 1))
  done
  [ "$count" -le 1 ] || core_fail "$EX_USAGE" "only one of --pod, --url and --no-tunnel can be given" || return
  [ -z "$TARGET_WISH_URL" ] || {
    case $TARGET_WISH_URL in *://*) ;; *) TARGET_WISH_URL=http://$TARGET_WISH_URL ;; esac
    TARGET_WISH_URL=${TARGET_WISH_URL%/}
    [[ $TARGET_WISH_URL =~ $shape ]] ||
      core_fail "$EX_USAGE" "--url: \"$TARGET_WISH_URL\" is not the address of a web server" "like http://127.0.0.1:8188" || return
  }
  pod_provider "$AUTOPOD_PROVIDER"
}

# target_open SPEC RECORD - opens the target, if it isn't; a pod that has to be made is made as SPEC (JSON) says, and RECORD
# (a file) names it at once. EX_POD, EX_TUNNEL, EX_USAGE, EX_MISSING.
target_open() {
  [ -z "$TARGET_URL" ] || {
    [ -z "$POD_ID" ] || _target_write "$2"
    return 0
  }
  if [ -n "$TARGET_WISH_URL$TARGET_WISH_NO_TUNNEL" ]; then
    _target_url "${TARGET_WISH_URL:-http://127.0.0.1:$AUTOPOD_PORT}"
    return
  fi
  _target_pod "$1" "$2" || return
  ui_step Tunnel
  target_reconnect && comfy_check "$TARGET_URL" || return
  ui_done "127.0.0.1:$TARGET_PORT → $POD_ID:$POD_COMFY_PORT, ComfyUI $COMFY_VERSION"
}

# target_reconnect - makes sure that the target answers (again) at TARGET_URL; told by the functions below.
target_reconnect() {
  if [ -n "$POD_ID" ]; then
    tunnel_ensure || return
    [ -z "$TUNNEL_OPENED" ] || _TARGET_OWN_TUNNEL=1
    TARGET_URL=$TUNNEL_URL TARGET_PORT=$TUNNEL_PORT
  else
    HTTP_TRIES=1 comfy_check "$TARGET_URL"
  fi
}

# _target_url URL - uses a ComfyUI that answers there already.
_target_url() {
  ui_step Server
  comfy_check "$1" || return
  TARGET_URL=$1
  ui_done "$1, ComfyUI $COMFY_VERSION"
}

# _target_pod SPEC RECORD - loads the pod that was asked for, else the one that runs, else makes one.
_target_pod() {
  local status=0
  ui_step Pod
  pod_find "$TARGET_WISH_POD" "$AUTOPOD_PROVIDER" || status=$?
  if [ -z "$TARGET_WISH_POD" ] && [ "$status" = "$EX_POD" ] && [ -z "$POD_ID" ]; then
    ui_progress "making one"
    pod_create "$AUTOPOD_PROVIDER" "$1" || return
    TARGET_MADE=1
    CORE_LEFT="pod $POD_ID may still be running; end it: autopod-kill $POD_ID"
  elif [ "$status" != 0 ]; then
    return "$status"
  fi
  case $POD_STATUS in
    running | creating) ;;
    *)
      core_fail "$EX_POD" "pod $POD_ID is $POD_STATUS" "leave --pod out to get a new one"
      return
      ;;
  esac
  _target_write "$2"
  pod_price
  ui_done "$POD_ID, $POD_GPU, $POD_PRICE${TARGET_MADE:+, made for this run}"
}

# target_adopt POD_ID MADE - for a run that is resumed: its pod is used again (and ended afterwards, when that run had made
# it); 1 when that pod is gone.
target_adopt() {
  pod_list "$AUTOPOD_PROVIDER" 2>/dev/null | LC_ALL=C grep -qF "\"id\":\"$1\"" || return 1
  pod_find "$1" || return 1
  case $POD_STATUS in
    running | creating) ;;
    *) "provider_${POD_PROVIDER}_start" "$POD_ID" >/dev/null || return 1 ;;
  esac
  TARGET_WISH_POD=$POD_ID TARGET_MADE=$2
}

# _target_write FILE - writes down which pod the run is on and whether it was made for it.
_target_write() {
  printf '{"id":"%s","provider":"%s","made_for_this_run":%s}\n' "$POD_ID" "$POD_PROVIDER" \
    "$([ -n "$TARGET_MADE" ] && echo true || echo false)" | state_save "$1"
}

# target_close VERIFIED - closes what this call opened. The pod that it made is terminated when VERIFIED is set (every output
# is here), else stopped: what could not be downloaded is still on it. EX_POD_LEFT when that could not be confirmed.
target_close() {
  [ -n "$POD_ID" ] || return 0
  if [ -n "$TARGET_MADE" ] || [ -n "$_TARGET_OWN_TUNNEL" ]; then tunnel_close; fi
  TARGET_URL='' _TARGET_OWN_TUNNEL=''
  [ -n "$TARGET_MADE" ] || return 0
  pod_cost
  if [ -n "$1" ]; then
    pod_terminate || return
    budget_show "$BUDGET_COST"
    ui_note "Pod $POD_ID is terminated${BUDGET_TEXT:+; it cost $BUDGET_TEXT}."
  else
    pod_stop || return
    ui_warn "pod $POD_ID is stopped, not terminated: outputs are still on it. comfy-run --resume fetches them; autopod-kill $POD_ID ends it"
  fi
  TARGET_MADE='' CORE_LEFT=''
}
