# shellcheck shell=bash
# guard.sh - the guard on a pod (helpers/pod_guard.sh): armed over ssh, and seen through what the tunnel's session says of it.

[ -z "${_AUTOPOD_GUARD_SH:-}" ] || return 0 # @guard
_AUTOPOD_GUARD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/pod.sh"

GUARD_SECONDS=12     # the most that arming it may take
GUARD_AGAIN=30       # and until it is tried again after that failed
GUARD_STATE=''       # armed: a guard with the deadline of the loaded pod lives there
GUARD_WHY=''         # else why not, in words
GUARD_SILENCE=''     # see guard_silence
GUARD_SAID=''        # what was said of it last: dead, alive DEADLINE, or nothing
_GUARD_NONE=66       # of the pod's side: there is no log
_GUARD_FAILED=''     # the pod that it was tried on in vain,
_GUARD_FAILED_AT=0   # when,
_GUARD_FAILED_WHY='' # and why

# guard_ensure - makes sure that on the loaded pod a guard lives that knows its deadline; arms one when not. Sets
# GUARD_STATE to armed; else 1, and GUARD_WHY says why. Where a tunnel is open and says that it lives, nobody is asked.
guard_ensure() {
  GUARD_STATE='' GUARD_WHY=''
  [ -n "$POD_OURS" ] || { GUARD_WHY='it is not of this installation' && return 1; }
  pod_deadline
  guard_hear
  if [ "$GUARD_SAID" = "alive ${POD_DEADLINE:-0}" ]; then
    GUARD_STATE=armed
    return 0
  fi
  os_now
  if [ "$_GUARD_FAILED" = "$POD_ID" ] && [ $((OS_NOW - _GUARD_FAILED_AT)) -lt "$GUARD_AGAIN" ]; then
    GUARD_WHY=$_GUARD_FAILED_WHY
    return 1
  fi
  guard_extend
}

# guard_is_up - 1 when the tunnel's session says that the guard of the loaded pod is dead. Costs nothing.
guard_is_up() {
  guard_hear
  [ "$GUARD_SAID" != dead ]
}

# guard_extend - arms the guard of the loaded pod with the deadline that it has now, in place of one that may live there;
# as guard_ensure.
guard_extend() {
  local status=0
  GUARD_STATE='' GUARD_WHY=''
  pod_deadline
  core_quietly _guard_arm || status=$?
  if [ "$status" != 0 ]; then
    os_now
    _GUARD_FAILED=$POD_ID _GUARD_FAILED_AT=$OS_NOW _GUARD_FAILED_WHY=$GUARD_WHY
    return 1
  fi
  GUARD_STATE=armed _GUARD_FAILED=''
}

# guard_silence - sets GUARD_SILENCE to what the guard on a pod calls silence, in words; empty when it is not known to be
# armed: then that does not end a pod.
guard_silence() {
  GUARD_SILENCE=''
  [ -n "$GUARD_STATE" ] || return 0
  ui_duration "$AUTOPOD_GUARD_GRACE"
  GUARD_SILENCE="nobody has had a tunnel to it, or a login (autopod-ssh), for ${UI_TIME% 00s} while ComfyUI has nothing to do"
}

# guard_log [LINES] - prints the last LINES (200) of the guard's log on the loaded pod; EX_FAIL when it has none,
# EX_TUNNEL.
guard_log() {
  local status=0
  _guard_run "for d in \"\${AUTOPOD_GUARD_DIR:-/dev/shm}\" /tmp; do d=\$d/autopod-guard.$POD_ID
    [ ! -s \"\$d/log\" ] || exec tail -n ${1:-200} \"\$d/log\"; done; exit $_GUARD_NONE" </dev/null || status=$?
  case $status in
    0) ;;
    "$_GUARD_NONE") core_fail "$EX_FAIL" "no guard was ever armed on pod $POD_ID" "autopod-tunnel $POD_ID arms it" ;;
    *) core_fail "$EX_TUNNEL" "the log of the guard on pod $POD_ID can't be read: $(_guard_reason)" ;;
  esac
}

# guard_hear - sets GUARD_SAID to what the session of the loaded pod's tunnel said of the guard last, if its ssh lives.
guard_hear() {
  local line pid='' start='' said=''
  GUARD_SAID=''
  while IFS= read -r line; do
    case $line in
      "$SSH_PROCESS"*) pid=${line#"$SSH_PROCESS"} start=${line##* } ;;
      "$SSH_GUARD"*) said=${line#"$SSH_GUARD"} ;;
    esac
  done 2>/dev/null <"$AUTOPOD_HOME/logs/tunnel-$POD_ID.log" || :
  ! os_same_process "${pid%% *}" "$start" || GUARD_SAID=$said
}

# _guard_arm - sends the guard and what stops the pod there, and takes the answer; 1 with GUARD_WHY.
_guard_arm() {
  local alive="${SSH_GUARD}alive ${POD_DEADLINE:-0}" log=$AUTOPOD_HOME/logs/tunnel-$POD_ID.log
  [ -n "$POD_SSH_PORT" ] || { GUARD_WHY='it has no ssh address yet' && return 1; }
  core_tmpdir && _guard_write "$CORE_TMP/guard" || { GUARD_WHY=${CORE_ERROR:-"can't write to ${TMPDIR:-/tmp}"} && return 1; }
  _guard_run 'exec sh -s' <"$CORE_TMP/guard" >"$CORE_TMP/guard.said" && grep -qxF -e "$alive" "$CORE_TMP/guard.said" || {
    GUARD_WHY=$(_guard_reason)
    return 1
  }
  # The session looks only with its next beat. Without a tunnel there is no log, and none is made.
  [ ! -s "$log" ] || { printf '%s\n' "$alive" >>"$log"; } 2>/dev/null || :
}

# _guard_write FILE - writes what arms the guard, for a POSIX shell; 1 when a part of it is missing.
_guard_write() {
  local stop
  stop=$("provider_${POD_PROVIDER}_self_stop_script" "$POD_ID") || return 1
  os_now
  {
    printf "id='%s' deadline=%d now=%d grace=%d poll=%d port=%d\n" "$POD_ID" "${POD_DEADLINE:-0}" "$OS_NOW" \
      "$AUTOPOD_GUARD_GRACE" "$AUTOPOD_GUARD_POLL" "$POD_COMFY_PORT"
    _guard_function guard_text "$(helper_asset helpers/pod_guard.sh)" || return 1
    _guard_function stop_text "$stop" || return 1
    helper_asset helpers/pod_arm.sh || return 1
  } >"$1" 2>/dev/null
}

# _guard_function NAME TEXT - prints a function of that name, for a POSIX shell, that prints TEXT; 1 when there is none.
_guard_function() { [ -n "$2" ] && printf '%s() { cat <<"AUTOPOD_GUARD_END"\n%s\nAUTOPOD_GUARD_END\n}\n' "$1" "$2"; }

# _guard_run CMD - runs CMD on the loaded pod, with our stdin and stdout, within GUARD_SECONDS; its status.
_guard_run() {
  core_tmpdir || return
  ssh_ask "$GUARD_SECONDS" "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" \
    "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" "$1" 2>"$CORE_TMP/guard.log"
}

# _guard_reason - prints why that did not work, in a few words.
_guard_reason() {
  ssh_reason "$CORE_TMP/guard.log"
  ui_clean "${SSH_SAID:-ssh said nothing within $GUARD_SECONDS s}"
  printf '%s\n' "${UI_TEXT:0:200}"
}
