# shellcheck shell=bash
# cap.sh - what the settings allow a pod beside its own limits: AUTOPOD_MAX_COST and AUTOPOD_MAX_LIFETIME each pod,
# AUTOPOD_MAX_DAILY_COST all of them together.

[ -z "${_AUTOPOD_CAP_SH:-}" ] || return 0 # @guard
_AUTOPOD_CAP_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/ledger.sh"
. "$AUTOPOD_LIB/pod.sh"

CAP_COST='' CAP_MINUTES='' CAP_UNLIMITED='' # the limits that hold
_CAP_LOCKED=''                              # set while nobody else may look what is left

# cap_limits MAX_COST MINUTES UNLIMITED - sets CAP_COST, CAP_MINUTES and CAP_UNLIMITED to the limits of a pod for which these
# were said, any of which may be empty: the settings hold, too, and the smallest counts. Only UNLIMITED goes past
# AUTOPOD_MAX_LIFETIME.
cap_limits() {
  budget_least "$1" "$AUTOPOD_MAX_COST"
  CAP_COST=$BUDGET_LEAST CAP_MINUTES='' CAP_UNLIMITED=$3
  [ -z "$3" ] || return 0
  CAP_MINUTES=${2:-$AUTOPOD_MAX_LIFETIME}
  [ "$CAP_MINUTES" -lt "$AUTOPOD_MAX_LIFETIME" ] || CAP_MINUTES=$AUTOPOD_MAX_LIFETIME
}

# cap_daily PROVIDER MAX_COST [SPENT [PENDING]] - sets CAP_COST to what a pod of PROVIDER may cost in all by
# AUTOPOD_MAX_DAILY_COST, if it may cost MAX_COST anyway (empty: as it comes) and has cost SPENT dollars up to now;
# PENDING dollars of what is still to come of all pods are its own. EX_COST when nothing is left.
cap_daily() {
  CAP_COST=$2
  [ -n "$AUTOPOD_MAX_DAILY_COST" ] || return 0
  [ "$1" != local ] || budget_less 0 "$AUTOPOD_LOCAL_RATE" || return 0 # it costs nothing
  ledger_today || return
  budget_rest "$LEDGER_PENDING" "${4:-0}"
  budget_rest "$AUTOPOD_MAX_DAILY_COST" "$LEDGER_TODAY" "$BUDGET_REST"
  [ -n "$BUDGET_REST" ] || {
    _cap_tell
    return
  }
  budget_total "$BUDGET_REST" "${3:-0}"
  budget_least "$2" "$BUDGET_COST"
  CAP_COST=$BUDGET_LEAST
}

# cap_locked CMD [ARG...] - runs CMD, which works out by cap_daily what is left and writes down what is taken of it, while
# nobody else is at that; its status. When that is written down before its end (a pod is on its way), the others are let
# go on then. EX_FAIL.
cap_locked() {
  local status=0
  [ -z "$AUTOPOD_MAX_DAILY_COST" ] || state_lock daily ||
    core_fail "$EX_FAIL" "another autopod is at the daily limit of cost, or the disk is full" "try again" || return
  POD_NOTED=cap_unlock _CAP_LOCKED=$AUTOPOD_MAX_DAILY_COST
  "$@" || status=$?
  cap_unlock
  return "$status"
}

# cap_unlock - what was taken of today's rest is written down.
cap_unlock() {
  [ -z "$_CAP_LOCKED" ] || state_unlock daily
  POD_NOTED='' _CAP_LOCKED=''
}

# _cap_tell - tells that nothing is left for today, and why; EX_COST.
_cap_tell() {
  local today
  budget_dollars "$LEDGER_TODAY"
  today=$BUDGET_DOLLARS
  budget_dollars "$LEDGER_PENDING"
  core_fail "$EX_COST" \
    "today's pods have cost $today, those that run may still cost $BUDGET_DOLLARS by their limits, and AUTOPOD_MAX_DAILY_COST is \$$AUTOPOD_MAX_DAILY_COST" \
    "end pods that run (autopod-ls), shorten their limits (autopod-extend), or allow more a day"
}

# cap_is_used_up - 0 when the loaded pod has cost what it may cost in all, CAP_COST.
cap_is_used_up() {
  [ -n "$CAP_COST" ] && pod_is_priced || return 1
  pod_cost
  ! budget_less "$BUDGET_COST" "$CAP_COST"
}
