# shellcheck shell=bash
# budget.sh - what a pod costs. The one place that works with prices; all of it is an estimate from
# the price at creation.

[ -z "${_AUTOPOD_BUDGET_SH:-}" ] || return 0 # @guard
_AUTOPOD_BUDGET_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"

BUDGET_STOP_SECONDS=15 # what a provider may take from the order to stop a pod until it doesn't count any more

# Prices are kept in whole micro-dollars: Bash has no fractions, and a second of a cheap pod costs
# some 50 of them.

# budget_micro USD - sets BUDGET_MICRO to an amount like 0.44 or 5 in micro-dollars; 1 when it isn't
# an amount.
budget_micro() {
  local shape='^([0-9]{1,6})(\.([0-9]*))?$' fraction
  [[ $1 =~ $shape ]] || return 1
  fraction=${BASH_REMATCH[3]}000000
  BUDGET_MICRO=$((10#${BASH_REMATCH[1]} * 1000000 + 10#${fraction:0:6}))
}

# budget_cost USD_PER_HOUR SECONDS [MICRO] - sets BUDGET_COST to dollars with four decimals, as 0.0123,
# rounded up: a bill is never told smaller than it is; MICRO is added. Unknown prices (0 or empty) cost 0.0000.
budget_cost() {
  local micro=0 seconds=$(($2 > 0 ? $2 : 0)) # a clock that was set back
  budget_micro "${1:-0}" && micro=$(((BUDGET_MICRO * seconds + 3599) / 3600))
  micro=$(((micro + ${3:-0} + 99) / 100))
  printf -v BUDGET_COST '%d.%04d' $((micro / 10000)) $((micro % 10000))
}

# budget_rate USD_PER_HOUR - sets BUDGET_RATE to the price in words, as $0.40/h; empty when it is nothing or not known.
budget_rate() {
  local fraction
  BUDGET_RATE=''
  budget_micro "${1:-0}" && [ "$BUDGET_MICRO" -gt 0 ] || return 0
  printf -v fraction '%06d' $((BUDGET_MICRO % 1000000))
  while [ "${#fraction}" -gt 2 ] && [ "$fraction" != "${fraction%0}" ]; do fraction=${fraction%0}; done
  BUDGET_RATE="\$$((BUDGET_MICRO / 1000000)).$fraction/h"
}

# budget_pod USD_PER_HOUR SECONDS USD_PER_MONTH STOPPED_SECONDS - sets BUDGET_COST to what a pod costs that ran for
# SECONDS and was stopped for STOPPED_SECONDS, when only its disk is paid for.
budget_pod() {
  local micro=0
  if budget_micro "${3:-0}"; then micro=$(((BUDGET_MICRO * $4 + 2591999) / 2592000)); fi # a month has 30 days
  budget_cost "$1" "$2" "$micro"
}

# budget_total USD... - sets BUDGET_COST to the sum.
budget_total() {
  local usd micro=0
  for usd in "$@"; do
    ! budget_micro "${usd:-0}" || micro=$((micro + BUDGET_MICRO))
  done
  budget_cost 0 0 "$micro"
}

# budget_seconds USD USD_PER_HOUR - sets BUDGET_SECONDS to how long that much lasts; empty for a pod without a price.
budget_seconds() {
  local limit
  BUDGET_SECONDS=''
  budget_micro "$1" || return 0
  limit=$BUDGET_MICRO
  budget_micro "$2" && [ "$BUDGET_MICRO" -gt 0 ] || return 0
  BUDGET_SECONDS=$((limit * 3600 / BUDGET_MICRO))
}

# budget_rest USD SPENT... - sets BUDGET_REST to what is left of the amount; empty when nothing is.
budget_rest() {
  local left
  BUDGET_REST=''
  budget_micro "$1" || return 0
  left=$BUDGET_MICRO
  shift
  while [ $# -gt 0 ]; do
    ! budget_micro "$1" || left=$((left - BUDGET_MICRO))
    shift
  done
  [ "$left" -le 0 ] || printf -v BUDGET_REST '%d.%06d' $((left / 1000000)) $((left % 1000000))
}

# budget_less USD USD - 0 when the first amount is known and less than the second.
budget_less() {
  local first
  budget_micro "$1" || return 1
  first=$BUDGET_MICRO
  budget_micro "$2" && [ "$first" -lt "$BUDGET_MICRO" ]
}

# budget_ceiling USD_PER_HOUR MAX_COST MINUTES - sets BUDGET_CEILING to the most that a pod may cost by its limits, of
# which either may be empty; empty when there is none, as for the minutes of a pod without a price.
budget_ceiling() {
  BUDGET_CEILING=$2
  [ -n "$3" ] && budget_micro "$1" && [ "$BUDGET_MICRO" -gt 0 ] || return 0
  budget_cost "$1" $(($3 * 60))
  [ -n "$2" ] && budget_less "$2" "$BUDGET_COST" || BUDGET_CEILING=$BUDGET_COST
}

# budget_least USD... - sets BUDGET_LEAST to the smallest of those that are amounts; empty when none is.
budget_least() {
  local usd least=''
  BUDGET_LEAST=''
  for usd in "$@"; do
    budget_micro "$usd" && { [ -z "$least" ] || [ "$BUDGET_MICRO" -lt "$least" ]; } || continue
    least=$BUDGET_MICRO BUDGET_LEAST=$usd
  done
}

# budget_deadline FROM USD_PER_HOUR SPENT MAX_COST MINUTES - when the limits of something that costs are used up, whichever
# is first: it runs since FROM (epoch), has cost SPENT dollars before that, may cost MAX_COST in all, and run for MINUTES
# from FROM on. Either limit may be empty; without a price there is none of cost. Sets BUDGET_DEADLINE (epoch; all are
# empty when nothing limits), BUDGET_CODE (EX_COST or EX_TIME: which limit that is), BUDGET_CANCEL_AT (what is left from
# then on is for bringing things home), BUDGET_WARN_AT (nine tenths of the way there), and BUDGET_BILL, the most that can
# be on the bill: the cost until then, and of the time that the slowest guard and the stop itself may take; empty
# without a price.
budget_deadline() {
  local BUDGET_COST span='' seconds left rate=0 spent=0 grace=$AUTOPOD_STOP_GRACE
  BUDGET_DEADLINE='' BUDGET_CODE='' BUDGET_WARN_AT='' BUDGET_CANCEL_AT='' BUDGET_BILL=''
  [ -z "$5" ] || span=$(($5 * 60)) BUDGET_CODE=$EX_TIME
  ! budget_micro "$2" || rate=$BUDGET_MICRO
  ! budget_micro "$3" || spent=$BUDGET_MICRO
  if [ "$rate" -gt 0 ] && budget_micro "$4"; then
    left=$((BUDGET_MICRO > spent ? BUDGET_MICRO - spent : 0))
    seconds=$((left * 3600 / rate))
    [ -n "$span" ] && [ "$span" -le "$seconds" ] || span=$seconds BUDGET_CODE=$EX_COST
  fi
  [ -n "$span" ] || return 0
  [ "$grace" -le $((span / 10)) ] || grace=$((span / 10))
  BUDGET_DEADLINE=$(($1 + span)) BUDGET_CANCEL_AT=$(($1 + span - grace)) BUDGET_WARN_AT=$(($1 + (span - grace) * 9 / 10))
  [ "$rate" -gt 0 ] || return 0
  budget_cost "$2" $((span + AUTOPOD_GUARD_POLL + BUDGET_STOP_SECONDS)) "$spent"
  BUDGET_BILL=$BUDGET_COST
}

# budget_disk USD_PER_MONTH FROM - after budget_deadline: adds to BUDGET_BILL what the disk costs from FROM (epoch) until the
# deadline, which is no part of a pod's price: at most what it costs while the pod is stopped.
budget_disk() {
  local BUDGET_COST
  [ -n "$BUDGET_BILL" ] || return 0
  budget_pod 0 0 "$1" $((BUDGET_DEADLINE - $2))
  budget_total "$BUDGET_BILL" "$BUDGET_COST"
  BUDGET_BILL=$BUDGET_COST
}

# budget_hours MINUTES - sets BUDGET_HOURS to a time in words, as "45 min", "12 h" or "12:30 h".
budget_hours() {
  if [ "$1" -lt 60 ]; then
    BUDGET_HOURS="$1 min"
  else
    printf -v BUDGET_HOURS '%d:%02d h' $(($1 / 60)) $(($1 % 60))
    BUDGET_HOURS=${BUDGET_HOURS/:00 h/ h}
  fi
}

# budget_limits MAX_COST MINUTES BILL PRICE - sets BUDGET_LIMITS to limits in words, of which either may be empty, as "$5.00
# or 12:30 h, whichever is first; latest possible bill $5.02". PRICE is that of the pod in words.
budget_limits() {
  _budget_limits "$1" "$2"
  budget_dollars "$3"
  case $4:$BUDGET_DOLLARS in
    free:*) BUDGET_LIMITS="$BUDGET_LIMITS; it costs nothing" ;;
    'price unknown':*) BUDGET_LIMITS="$BUDGET_LIMITS; no price known, and so no latest possible bill" ;;
    *:?*) BUDGET_LIMITS="$BUDGET_LIMITS; latest possible bill $BUDGET_DOLLARS" ;;
  esac
}

# _budget_limits MAX_COST MINUTES - the first part of that.
_budget_limits() {
  budget_dollars "$1"
  BUDGET_LIMITS='no limit of time or cost'
  [ -z "$BUDGET_DOLLARS" ] || BUDGET_LIMITS="$BUDGET_DOLLARS, no limit of time"
  [ -n "$2" ] || return 0
  budget_hours "$2"
  BUDGET_LIMITS="$BUDGET_HOURS, no limit of cost"
  [ -z "$BUDGET_DOLLARS" ] || BUDGET_LIMITS="$BUDGET_DOLLARS or $BUDGET_HOURS, whichever is first"
}

# budget_show USD - sets BUDGET_TEXT to "about $0.02" (rounded up to the cent), "less than $0.01",
# or nothing for what is free.
budget_show() {
  local cents
  budget_micro "$1" || BUDGET_MICRO=0
  cents=$(((BUDGET_MICRO + 9999) / 10000))
  if [ "$BUDGET_MICRO" = 0 ]; then
    BUDGET_TEXT=''
  elif [ "$BUDGET_MICRO" -lt 10000 ]; then
    BUDGET_TEXT='less than $0.01'
  else
    printf -v BUDGET_TEXT 'about $%d.%02d' $((cents / 100)) $((cents % 100))
  fi
}

# budget_dollars USD - sets BUDGET_DOLLARS to $0.44 (rounded up to the cent); empty when it isn't an amount.
budget_dollars() {
  BUDGET_DOLLARS=''
  budget_micro "$1" || return 0
  local cents=$(((BUDGET_MICRO + 9999) / 10000))
  printf -v BUDGET_DOLLARS '$%d.%02d' $((cents / 100)) $((cents % 100))
}
