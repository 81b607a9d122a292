# shellcheck shell=bash
# release.sh - what becomes of the pod in the end. The rule: what this call made is terminated when all outputs are here
# and verified, else it is stopped; what was there before stays as it was. --after says otherwise; so does a limit that
# is reached. A pod that others are on goes on.

[ -z "${_AUTOPOD_RELEASE_SH:-}" ] || return 0 # @guard
_AUTOPOD_RELEASE_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/record.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/watcher.sh"
. "$AUTOPOD_LIB/guards.sh"

_RELEASE_HOW=''    # what becomes of it: terminate, stop, keep, share (others are on it), or rest (it stands still)
_RELEASE_MARKED='' # set when it is written down that it is about to go
_RELEASE_LIMIT=''  # set when it is stopped because its limit is reached

# release_begin - the first step of a cleanup that may take long: notes that the pod is about to go, if it is. Whatever
# ends us from here on, kill -9 or a second Ctrl+C, the watcher goes on with it; in doubt it stops the pod, so that
# nothing is lost.
release_begin() {
  [ -n "$POD_ID" ] || return 0
  _release_choose in-doubt
  case $_RELEASE_HOW in
    terminate | stop)
      pod_begin_end "$_RELEASE_HOW"
      _RELEASE_MARKED=1
      watcher_look
      CORE_LEFT="pod $POD_ID may still be running; end it: autopod-kill $POD_ID"
      [ -z "$WATCHER_PID" ] ||
        CORE_LEFT="$CORE_LEFT; the watcher (process $WATCHER_PID) does so, too"
      ;;
  esac
}

# release_pod RUN - closes what this call opened, and does with the pod what is right by the rule; RUN names a run that
# has left outputs on it, if it is not empty. What the user said meanwhile (TARGET_AFTER) goes first. EX_POD_LEFT when
# an end could not be confirmed.
release_pod() {
  local status=0
  [ -n "$POD_ID" ] || return 0
  _release_choose "$1"
  case $_RELEASE_HOW in
    keep | share)
      _release_keep
      return
      ;;
    rest)
      _release_rest
      return
      ;;
  esac
  tunnel_close
  TARGET_URL='' TARGET_OWN_TUNNEL=''
  pod_cost
  "_release_$_RELEASE_HOW" "$1" || status=$?
  state_unlock "pod-$POD_ID"
  [ "$status" = 0 ] || {
    watcher_goes_on
    return "$status"
  }
  POD_ID='' TARGET_MADE='' TARGET_AFTER='' CORE_LEFT=''
}

# release_leave RUN - the run goes on without us: pod and tunnel stay as they are. Says how to come back to it, and what
# it costs meanwhile.
release_leave() {
  ui_note "The job goes on without us."
  ui_note "  watch it:  autopod-attach $1"
  ui_note "  cancel it: autopod-cancel $1"
  [ -z "$POD_ID" ] || _release_set_free keep
}

# _release_choose RUN - sets _RELEASE_HOW.
_release_choose() {
  local wish=$TARGET_WISH_AFTER
  _RELEASE_LIMIT=''
  case $TARGET_AFTER in
    stop) _RELEASE_HOW=stop && return ;;
    kill) _RELEASE_HOW=terminate && return ;; # he was asked
  esac
  # The pod of an earlier call could not be started again: what is on it may be all that there is of a run.
  if [ -n "$TARGET_MADE" ] && [ "$POD_STATUS:${#TARGET_RUNS[@]}" = stopped:0 ]; then
    _RELEASE_HOW=rest
    return
  fi
  # --after is about pods that jobs were on: not about one that was there before and would not do, nor about one that
  # never got ready.
  if [ -z "$TARGET_MADE" ] && [ "${#TARGET_RUNS[@]}" = 0 ]; then wish=keep; fi
  if [ -n "$TARGET_MADE" ] && [ -z "$TARGET_URL$1" ]; then wish=''; fi
  case $wish:$TARGET_MADE:$1 in
    keep:* | ::*) _RELEASE_HOW=keep ;;
    terminate:* | :?*:) _RELEASE_HOW=terminate ;;
    *) _RELEASE_HOW=stop ;;
  esac
  [ "$_RELEASE_HOW" != keep ] || ! _release_is_over || _RELEASE_HOW=stop _RELEASE_LIMIT=1
  if [ "$_RELEASE_HOW" != keep ] &&
    { runs_in_use "$POD_ID" || runs_compute "$POD_ID" ${TARGET_RUNS[@]+"${TARGET_RUNS[@]}"}; }; then
    _RELEASE_HOW=share
  fi
}

# _release_is_over - 0 when the loaded pod has used up its limits, but for the time that an end takes.
_release_is_over() {
  pod_deadline
  os_now
  [ -n "$POD_CANCEL_AT" ] && [ "$OS_NOW" -ge "$POD_CANCEL_AT" ]
}

# _release_keep - the pod goes on. Nobody's cleanup ends it any more.
_release_keep() {
  [ -z "$_RELEASE_MARKED" ] || record_change "$POD_ID" 'del(.ending, .ending_by)' || :
  [ "$_RELEASE_HOW" != share ] || ui_note "Pod $POD_ID goes on: $RUNS_USER is still on it."
  if [ -n "$TARGET_MADE" ]; then
    _release_set_free "$_RELEASE_HOW"
    return
  fi
  if [ -n "$TARGET_OWN_TUNNEL" ]; then
    tunnel_find || :
    [ -n "$TUNNEL_KEEP" ] || [ "$_RELEASE_HOW" = share ] || tunnel_close # else it was asked for by itself meanwhile
  fi
  TARGET_URL='' TARGET_OWN_TUNNEL=''
  [ -z "$CORE_SIGNAL$TARGET_WISH_AFTER" ] || _release_bills
}

# _release_rest - the pod stands still as before.
_release_rest() {
  ui_note "Pod $POD_ID stays stopped$(_release_monthly)."
  ui_note "  end it:    autopod-kill $POD_ID"
  state_unlock "pod-$POD_ID"
  POD_ID='' TARGET_MADE='' CORE_LEFT=''
}

# _release_monthly - prints what the pod costs while it stands still, after a semicolon; nothing when that is nothing.
_release_monthly() {
  budget_dollars "$POD_MONTHLY"
  ! budget_less 0 "$POD_MONTHLY" || printf '; its disk costs %s a month' "$BUDGET_DOLLARS"
}

# _release_set_free HOW - the pod goes on without us: says what it costs, and what limits it. One that was made here is
# handed over to whoever wanted to keep it; one that is only shared is nobody's as soon as the others have gone, and so
# the watcher's.
_release_set_free() {
  _release_bills
  [ -z "$TARGET_MADE" ] || {
    [ "$1" != keep ] || wish_granted || :
    state_unlock "pod-$POD_ID"
  }
  POD_ID='' TARGET_MADE='' TARGET_URL='' TARGET_OWN_TUNNEL='' CORE_LEFT=''
}

# _release_bills - says what the pod that goes on costs, how to end it, what limits it, and what guards it.
_release_bills() {
  pod_price
  [ "$POD_PRICE" != free ] || POD_PRICE='costs nothing'
  ui_note "Pod $POD_ID runs on ($POD_PRICE)."
  ui_note "  end it:    autopod-kill $POD_ID"
  [ -z "$POD_OURS" ] || GUARDS_REQUIRED='' guards_tell '' || : # what it was required for is over
}

# _release_terminate RUN - ends the pod for good; outputs of RUN that are still on it go with it. EX_POD_LEFT.
_release_terminate() {
  [ -z "$1" ] || ui_warn "pod $POD_ID is terminated with outputs of $1 on it that are not all here"
  pod_terminate || return
  budget_show "$BUDGET_COST"
  ui_note "Pod $POD_ID is terminated${BUDGET_TEXT:+; it cost $BUDGET_TEXT}."
}

# _release_stop RUN - stops the pod, and says why it is still there and what that costs; RUN has left outputs on it, if
# it is not empty. EX_POD_LEFT.
_release_stop() {
  local monthly
  pod_stop || return
  [ "$POD_STATUS" = stopped ] || {
    ui_note "Pod $POD_ID is gone: somebody else has ended it."
    return 0
  }
  monthly=$(_release_monthly)
  [ -z "$_RELEASE_LIMIT" ] || ui_note "The limit of pod $POD_ID is reached."
  if [ -n "$1" ]; then
    ui_warn "pod $POD_ID is stopped, not terminated: outputs are still on it$monthly"
    ui_tell hint "comfy-run --resume $1 fetches them; autopod-kill $POD_ID ends it"
  else
    ui_note "Pod $POD_ID is stopped$monthly."
    ui_note "  end it:    autopod-kill $POD_ID"
  fi
}
