# shellcheck shell=bash
# watcher.sh - the guard on this machine: one process for the installation, which outlives the commands that start it
# and does what is due (enforce.sh) until there is no pod left that costs.

[ -z "${_AUTOPOD_WATCHER_SH:-}" ] || return 0 # @guard
_AUTOPOD_WATCHER_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/config.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/runpodctl.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"
. "$AUTOPOD_LIB/enforce.sh"

WATCHER_PAUSE=2         # seconds between two looks at the clock, at most
WATCHER_CALL=20         # seconds that a call of runpodctl or of an API may take here: other pods wait meanwhile
WATCHER_CONFIRM='0.5 1' # seconds between the looks at whether an order was carried out; the order is given again, for ever
WATCHER_LOCK=3          # seconds to wait for somebody else's lock: he may have been stopped in the middle of it
WATCHER_LOG_MAX=200000  # bytes of its log, by a look an hour
WATCHER_PID=''          # the watcher that lives; empty: none
WATCHER_SINCE=''        # since when
WATCHER_WHY=''          # why there is none, or none that does

_WATCHER_WORD='@watcher:' # the argument that makes a command the watcher; behind it AUTOPOD_HOME
_WATCHER_SELF=''          # this program as a file that can be started
_WATCHER_OWNER=''         # the watcher that lives, as locks name it, and
_WATCHER_HAS=''           # whose account it looks after
_WATCHER_KEY=''           # see _watcher_key
_WATCHER_ASKED=''         # set when we have said that we need it

# --- starting it ---

# watcher_entry ARG... - the first thing that a command does which may make a pod: it may have been started to be the
# watcher. Else it notes where it stands, before -C leads elsewhere.
watcher_entry() {
  case ${AUTOPOD_SELF:-} in
    '') ;;
    /*) _WATCHER_SELF=$AUTOPOD_SELF ;;
    *) _WATCHER_SELF=$PWD/$AUTOPOD_SELF ;;
  esac
  case ${1:-} in
    "$_WATCHER_WORD"*)
      _watcher_main "${1#"$_WATCHER_WORD"}"
      exit
      ;;
  esac
}

# watcher_look - sets WATCHER_PID to the watcher of this installation, empty when there is none, and WATCHER_SINCE.
watcher_look() {
  local owner='' who since key
  WATCHER_PID='' WATCHER_SINCE='' _WATCHER_OWNER='' _WATCHER_HAS=''
  [ -L "$AUTOPOD_HOME/locks/watcher" ] || return 0
  owner=$(readlink "$AUTOPOD_HOME/locks/watcher") || owner=''
  os_same_process "${owner%%-*}" "${owner#*-}" || return 0
  WATCHER_PID=${owner%%-*} _WATCHER_OWNER=$owner
  { read -r who since key <"$AUTOPOD_HOME/watcher"; } 2>/dev/null || return 0
  [ "$who" != "$owner" ] || WATCHER_SINCE=$since _WATCHER_HAS=$key
}

# watcher_ensure - 0 when a watcher lives that looks after our pods; starts it when there is none. It stays at least as
# long as we live. Else 1, and WATCHER_WHY.
watcher_ensure() {
  WATCHER_WHY=''
  # Before the look: one that is about to go, for lack of pods, looks for such marks after it has given its lock back.
  state_lock "watcher-for-$$" 0 || :
  [ -n "$_WATCHER_ASKED" ] || core_on_exit state_unlock "watcher-for-$$"
  _WATCHER_ASKED=1
  watcher_look
  if [ -n "$WATCHER_PID" ]; then
    ! watcher_fits || return 0
    [ "$_WATCHER_HAS" = none ] || {
      WATCHER_WHY="the watcher that runs (process $WATCHER_PID) has another RunPod key"
      return 1
    }
  fi
  [ -n "$_WATCHER_SELF" ] && [ -f "$_WATCHER_SELF" ] || {
    WATCHER_WHY="this command was not started from a file that could be started again"
    return 1
  }
  # One that lives was started for local pods; ours looks after these, too.
  [ -z "$WATCHER_PID" ] || os_end_process "$WATCHER_PID" "${_WATCHER_OWNER#*-}"
  _watcher_spawn && _watcher_await
}

# watcher_fits - 0 when the watcher that lives can stop pods of the provider at hand.
watcher_fits() {
  local provider=$AUTOPOD_PROVIDER
  [ -z "$POD_ID" ] || provider=$POD_PROVIDER
  [ "$provider" = runpod ] && [ -n "$_WATCHER_HAS" ] || return 0
  _watcher_key
  [ "$_WATCHER_HAS" = "$_WATCHER_KEY" ]
}

# watcher_covers PROVIDER... - 0 when a watcher lives that can stop the pods of all these providers. Else 1: WATCHER_PID is
# empty when there is none, and WATCHER_WHY says what it can't.
watcher_covers() {
  local provider
  WATCHER_WHY=''
  watcher_look
  [ -n "$WATCHER_PID" ] || return 1
  for provider in "$@"; do
    POD_ID='' AUTOPOD_PROVIDER=$provider watcher_fits || {
      WATCHER_WHY="the watcher (process $WATCHER_PID) has not the RunPod key that is set here, and can't stop its pods"
      return 1
    }
  done
}

# watcher_goes_on - after an end of the loaded pod that could not be confirmed: says who goes on trying. Pods of others are
# none of the watcher's.
watcher_goes_on() {
  [ -n "$POD_OURS" ] || return 0
  if core_quietly watcher_ensure; then
    ui_note "The watcher (process $WATCHER_PID) goes on trying until it is confirmed."
  else
    ui_warn "no watcher goes on trying: $WATCHER_WHY"
  fi
}

# _watcher_key - sets _WATCHER_KEY to a word that tells our RunPod key from others and says nothing about it; `none`.
_watcher_key() {
  [ -z "$_WATCHER_KEY" ] || return 0
  wish_account runpod
  _WATCHER_KEY=${WISH_ACCOUNT:-none}
}

# _watcher_spawn - starts this very program as the watcher, with the settings as they are here and now; sets OS_PID.
_watcher_spawn() {
  local _name
  runpodctl_key || :
  config_names
  for _name in $CONFIG_NAMES; do
    config_value "$_name"
    local -x "$_name=$CONFIG_VALUE" # in its environment alone, which nobody else can read
  done
  os_spawn "$AUTOPOD_HOME/logs/watcher.log" "$BASH" "$_WATCHER_SELF" "$_WATCHER_WORD$AUTOPOD_HOME" </dev/null 2>/dev/null
}

# _watcher_await - waits until there is a watcher, ours or one that was faster; 1 with WATCHER_WHY.
_watcher_await() {
  local tries
  for ((tries = 0; tries < 200; tries++)); do
    watcher_look
    [ -z "$WATCHER_SINCE" ] || return 0
    os_process_start "$OS_PID" || break
    core_sleep 0.05
  done
  watcher_look
  [ -z "$WATCHER_PID" ] || return 0
  WATCHER_WHY="it ended at once: $(tail -n 1 "$AUTOPOD_HOME/logs/watcher.log" 2>/dev/null)"
  return 1
}

# --- being it ---

# _watcher_main HOME - the life of the watcher, until no pod is left that costs and nobody needs it.
_watcher_main() {
  local owner=''
  AUTOPOD_HOME=$1
  core_start
  ui_init
  cd -- "$AUTOPOD_HOME" || exit "$EX_MISSING"
  config_load || exit
  state_lock watcher 0 || exit 0
  os_process_start "$$" && owner=$$-$OS_START
  exec >/dev/null 2>&1
  core_trap
  core_on_exit _watcher_leave "$owner"
  core_need jq && core_tmpdir || exit
  UI_LOG_MAX=$WATCHER_LOG_MAX STATE_LOCK_SECONDS=$WATCHER_LOCK
  [ "$RUNPODCTL_SECONDS" -le "$WATCHER_CALL" ] || RUNPODCTL_SECONDS=$WATCHER_CALL
  HTTP_TIMEOUT=$WATCHER_CALL RUNPOD_CONFIRM=$WATCHER_CONFIRM RUNPODCTL_PAUSES=''
  _watcher_key
  os_utc
  ui_log_open "$AUTOPOD_HOME/logs/watcher.log"
  core_quietly state_write "$AUTOPOD_HOME/watcher" "$owner $OS_UTC $_WATCHER_KEY" || :
  ui_log info 'watches over the pods of this installation'
  _watcher_loop "$owner"
  ui_log info 'goes: no pod is left that costs'
}

# _watcher_leave OWNER - gives back what is still ours.
_watcher_leave() {
  [ "$(readlink "$AUTOPOD_HOME/locks/watcher")" != "$1" ] || state_unlock watcher
}

# _watcher_loop OWNER - looks and sleeps, by the clock on the wall: a machine that wakes up acts at once.
_watcher_loop() {
  local pause logged=0
  while [ -d "$AUTOPOD_HOME/locks" ]; do
    # Somebody may have taken the lock away by hand.
    [ "$(readlink "$AUTOPOD_HOME/locks/watcher")" = "$1" ] || state_lock watcher 0 || return 0
    os_now
    if [ $((OS_NOW / 3600)) != "$logged" ]; then
      logged=$((OS_NOW / 3600))
      ui_log_open "$UI_LOG" # which may be long by now
    fi
    enforce_once || :
    if ! _watcher_is_needed; then
      state_unlock watcher
      # Who wants us now either sees that the lock is free, or has left word before.
      enforce_read
      _watcher_is_needed && state_lock watcher 0 || return 0
    fi
    os_now
    pause=$((LATER_NEXT - OS_NOW))
    if [ "$pause" -gt "$WATCHER_PAUSE" ]; then pause=$WATCHER_PAUSE; elif [ "$pause" -lt 1 ]; then pause=1; fi
    core_sleep "$pause" || :
  done
}

# _watcher_is_needed - 0 while there is a pod of our account that costs, or may be made, or somebody lives who is about to
# make one.
_watcher_is_needed() {
  local link owner
  ! enforce_is_needed || return 0
  for link in "$AUTOPOD_HOME"/locks/watcher-for-*; do
    [ -L "$link" ] || continue
    owner=$(readlink "$link") || continue
    ! os_same_process "${owner%%-*}" "${owner#*-}" || return 0
    ! state_lock "${link##*/}" 0 || state_unlock "${link##*/}"
  done
  return 1
}
