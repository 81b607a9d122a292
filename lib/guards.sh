# shellcheck shell=bash
# guards.sh - what stands between a pod and a bill without an end, and how that is told: its limits, and which of the
# guards are there: this run, the watcher on this machine, and the one on the pod itself.

[ -z "${_AUTOPOD_GUARDS_SH:-}" ] || return 0 # @guard
_AUTOPOD_GUARDS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/screen.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/guard.sh"
. "$AUTOPOD_LIB/watcher.sh"

# What the user asked for.
GUARDS_REQUIRED='' # --require-guard

GUARDS_TEXT='' # which of them there are, as "run ✓ watcher ✓ pod –"
GUARDS_JSON='' # the same for programs

_GUARDS_MISSING=''
_GUARDS_TOLD='' # the pod (its id; `new` for one that is yet to be made) of which a missing watcher was told

# guards_begin - before a pod is made or started: the watcher, since only it covers the boot when this program dies.
# That it can't be had is told; EX_POD with --require-guard.
guards_begin() {
  if watcher_ensure; then return 0; fi
  [ -z "$GUARDS_REQUIRED" ] ||
    core_fail "$EX_POD" "no pod is started: there is no watcher ($WATCHER_WHY), and --require-guard is set" \
      "autopod-doctor looks at it; or leave --require-guard out" || return
  _GUARDS_TOLD=new
  ui_warn "there is no watcher ($WATCHER_WHY): if this program dies while the pod boots, nothing stops the pod"
  ui_tell hint "autopod-sweep --enforce, called by cron, would"
}

# guards_tell FOREGROUND [TELL] - makes sure that the loaded pod is guarded, and says what limits it and what guards it:
# this program too, when FOREGROUND is set. TELL says the line (default: ui_note). A guard that can't be had is a warning
# that names what is not covered; EX_POD with --require-guard.
guards_tell() {
  _guards_look "$1"
  pod_limits_text
  "${2:-ui_note}" "Limits: $POD_LIMITS. Guards: $GUARDS_TEXT"
  _guards_warn
  [ -n "$GUARDS_REQUIRED" ] && [ -n "$_GUARDS_MISSING" ] || return 0
  core_fail "$EX_POD" "pod $POD_ID has no guard $_GUARDS_MISSING, and --require-guard is set" \
    "autopod-doctor looks at this machine, autopod-logs --guard $POD_ID at the pod; or leave --require-guard out"
}

# _guards_look FOREGROUND - sees to the guards of the loaded pod: GUARDS_TEXT, GUARDS_JSON, and _GUARDS_MISSING, those
# that are not there, in words. A pod of others has none of ours: it is not ours to end.
_guards_look() {
  local watcher='' pod=''
  _GUARDS_MISSING='' GUARD_WHY=${GUARD_WHY:-} WATCHER_WHY=''
  if [ -z "$POD_OURS" ]; then
    WATCHER_WHY='it is not of this installation'
  elif watcher_ensure; then
    watcher=1
  fi
  ! core_quietly guard_ensure || pod=1
  [ -n "$watcher" ] || _GUARDS_MISSING="on this machine (${WATCHER_WHY:-unknown reason})"
  [ -n "$pod" ] ||
    _GUARDS_MISSING="$_GUARDS_MISSING${_GUARDS_MISSING:+ and none }on itself (${GUARD_WHY:-unknown reason})"
  events_object run b "$1" watcher b "$watcher" pod b "$pod"
  GUARDS_JSON=$EVENTS_JSON GUARDS_TEXT=''
  [ -z "$1" ] || _guards_mark run 1
  _guards_mark watcher "$watcher"
  _guards_mark pod "$pod"
}

# _guards_mark NAME THERE - adds it to GUARDS_TEXT.
_guards_mark() {
  ui_mark ok
  [ -n "$2" ] || UI_MARK=-
  [ -n "$2" ] || [ -z "$SCREEN_UTF8" ] || UI_MARK=–
  GUARDS_TEXT="$GUARDS_TEXT${GUARDS_TEXT:+ }$1 $UI_MARK"
}

# _guards_warn - says what is not covered, when one is missing. Of the watcher that is said once.
_guards_warn() {
  local what=''
  [ -n "$_GUARDS_MISSING" ] && [ -n "$POD_OURS" ] || return 0
  case $_GUARDS_MISSING in
    *' and none '*) what="when this program dies, or this machine sleeps or is cut off, nothing stops it" ;;
    'on this machine'*) what="when this program dies, only the guard on the pod stops it" ;;
    *) what="when this machine sleeps or is cut off, nothing stops it" ;;
  esac
  case $_GUARDS_TOLD:$_GUARDS_MISSING in
    "$POD_ID":* | new:'on this machine'*) ;;
    *) ui_warn "pod $POD_ID has no guard $_GUARDS_MISSING: $what" ;;
  esac
  _GUARDS_TOLD=$POD_ID
}

# guards_revive SECONDS - starts the watcher, and the guard on the loaded pod, again if it is dead, which is told; the
# latter only when there are SECONDS enough for it.
guards_revive() {
  _guards_revive_watcher
  guard_is_up || [ "$1" -lt "$GUARD_SECONDS" ] || _guards_revive_guard
}

# _guards_revive_watcher - the watcher on this machine. That there is none was told already if there never was one.
_guards_revive_watcher() {
  local before=$WATCHER_PID
  watcher_look
  [ -z "$WATCHER_PID" ] || return 0
  if core_quietly watcher_ensure; then
    [ -z "$before" ] || ui_note "The watcher on this machine had ended: it was started again (process $WATCHER_PID)."
  else
    WATCHER_PID=''
    [ -z "$before" ] || ui_warn "the watcher on this machine has ended, and can't be started again: $WATCHER_WHY"
  fi
}

# _guards_revive_guard - the guard on the pod, which is dead; the same holds for what was told.
_guards_revive_guard() {
  local before=$GUARD_STATE
  if core_quietly guard_ensure; then
    ui_note "The guard on pod $POD_ID had ended: it was armed again."
  elif [ -n "$before" ]; then
    ui_warn "the guard on pod $POD_ID has ended, and can't be armed again: $GUARD_WHY"
  fi
}
