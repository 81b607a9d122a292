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

# budget_cost USD_PER_HOUR SECONDS - sets BUDGET_COST to dollars with four decimals, as 0.0123,
# rounded up: a bill is never told smaller than it is. Unknown prices (0 or empty) cost 0.0000.
budget_cost() {
  local micro=0 seconds=$(($2 > 0 ? $2 : 0)) # a clock that was set back
  budget_micro "${1:-0}" && micro=$(((BUDGET_MICRO * seconds + 3599) / 3600))
  micro=$(((micro + 99) / 100))
  printf -v BUDGET_COST '%d.%04d' $((micro / 10000)) $((micro % 10000))
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
