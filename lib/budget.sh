# shellcheck shell=bash
# budget.sh - what a pod costs. The one place that works with prices; all of it is an estimate from
# the price at creation.

[ -z "${_AUTOPOD_BUDGET_SH:-}" ] || return 0 # @guard
_AUTOPOD_BUDGET_SH=1                         # @guard

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
