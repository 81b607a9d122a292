# shellcheck shell=bash
# bill.sh - what the paid time of a run was used for: boot, tunnel, transfer, queue, compute; the rest is idle. For its
# result, and for the ledger of its pod.

[ -z "${_AUTOPOD_BILL_SH:-}" ] || return 0 # @guard
_AUTOPOD_BILL_SH=1                         # @guard

. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/ledger.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnel.sh"

BILL_JSON=null BILL_LIMITS=null BILL_TEMPLATE='' BILL_SEED='' # what bill_finish and bill_plan make
# Of the run at hand, in milliseconds since 1970: when each step began and ended, the one that is not over yet, and when the
# server's work on its prompt did, by the server's clock (START END).
_BILL_STEPS='' _BILL_OPEN='' _BILL_OPEN_AT=0 _BILL_TIMES='' _BILL_AT=0

# bill_begin - a run begins: nothing of its time is used yet.
bill_begin() { _BILL_STEPS='' _BILL_OPEN='' _BILL_TIMES=''; }

# bill_step NAME AT - from then on (milliseconds) the run is at the step NAME, or (empty) at none.
bill_step() {
  [ -z "$_BILL_OPEN" ] || _BILL_STEPS="$_BILL_STEPS$_BILL_OPEN $_BILL_OPEN_AT $2"$'\n'
  _BILL_OPEN=$1 _BILL_OPEN_AT=$2
}

# bill_times LINES - takes the server's times from what helpers/history.py says.
bill_times() {
  local tag start end
  while IFS=$'\t' read -r tag start end; do
    [ "$tag" != times ] || _BILL_TIMES="$start $end"
  done <"$1"
}

# bill_finish RUN PAID_FROM USD MADE - the run is over, which pays since PAID_FROM (epoch) and costs USD, and whose pod was
# MADE for it or (empty) was there: sets BILL_JSON to what time and money were used for, and writes that down for the
# pod. The pod's end is not known yet: tail is null.
bill_finish() {
  local paid=${2}000 name from to submit=0 awaited=0 idle
  local _BILL_BOOT=0 _BILL_TUNNEL=0 _BILL_TRANSFER=0 _BILL_QUEUE=0 _BILL_COMPUTE=0
  os_now_ms
  bill_step '' "$OS_MS"
  # It was cut to the second; when the run began then, it is known better.
  read -r name from to <<<"${_BILL_STEPS%%$'\n'*}" || :
  [ "${from:-0}" -lt "$paid" ] || [ "${from%???}" != "$2" ] || paid=$from
  while read -r name from to; do
    case $name in
      target) _bill_target "$4" "$from" "$to" "$paid" ;;
      upload | collect)
        _bill_overlap "$from" "$to" "$paid" "$to"
        _BILL_TRANSFER=$((_BILL_TRANSFER + _BILL_OVERLAP))
        [ "$from" = "$to" ] || ledger_span transfer "$from" "$to"
        ;;
      submit) submit=$from awaited=$to ;;
      await) awaited=$to ;;
    esac
  done <<<"${_BILL_STEPS%$'\n'}"
  [ "$submit" = 0 ] || _bill_prompt "$1" "$paid" "$submit" "$awaited"
  idle=$((OS_MS - paid - _BILL_BOOT - _BILL_TUNNEL - _BILL_TRANSFER - _BILL_QUEUE - _BILL_COMPUTE))
  _bill_print "$3" "$_BILL_BOOT" "$_BILL_TUNNEL" "$_BILL_TRANSFER" "$_BILL_QUEUE" "$_BILL_COMPUTE" $((idle > 0 ? idle : 0))
}

# _bill_overlap FROM TO SINCE UNTIL - sets _BILL_OVERLAP to how long FROM to TO and SINCE to UNTIL have in common.
_bill_overlap() {
  local from=$(($1 > $3 ? $1 : $3)) to=$(($2 < $4 ? $2 : $4))
  _BILL_OVERLAP=$((to > from ? to - from : 0))
}

# _bill_target MADE FROM TO PAID - the step that opens the pod: boot until the ssh of its tunnel was started, if the
# pod was made in it (rent.sh has written that down for the pod), else it is all for the tunnel.
_bill_target() {
  local opened=$2
  [ -z "$1" ] || opened=${TUNNEL_OPENED_AT:-$3}
  [ "$opened" -ge "$2" ] || opened=$2
  [ "$opened" -le "$3" ] || opened=$3
  _bill_overlap "$2" "$opened" "$4" "$3"
  _BILL_BOOT=$_BILL_OVERLAP
  _bill_overlap "$opened" "$3" "$4" "$3"
  _BILL_TUNNEL=$_BILL_OVERLAP
  [ -n "$1" ] || ledger_span tunnel "$2" "$3"
}

# _bill_prompt RUN PAID SUBMITTED AWAITED - compute is what the server says, as far as this run has paid for it; the rest of
# the time that it waited for that is queue. The server's clock may be wrong: nothing began before it was submitted, nor
# ended after that was seen.
_bill_prompt() {
  local start end waited=$(($4 - $3))
  _BILL_QUEUE=$waited
  ledger_span queue "$3" "$4"
  [ -n "$_BILL_TIMES" ] || return 0
  start=${_BILL_TIMES% *} end=${_BILL_TIMES#* }
  [ "$start" -ge "$3" ] || _bill_submitted "$1" "$3"
  if [ "$start" -lt "$3" ] && [ "$start" -lt "$_BILL_AT" ]; then end=$((end + _BILL_AT - start)) start=$_BILL_AT; fi
  if [ "$end" -gt "$4" ]; then start=$((start - end + $4)) end=$4; fi
  _bill_overlap "$start" "$end" "$3" "$4"
  _BILL_QUEUE=$((waited - _BILL_OVERLAP))
  _bill_overlap "$start" "$end" "$2" "$4"
  _BILL_COMPUTE=$_BILL_OVERLAP
  ledger_span compute "$start" "$end"
}

# _bill_submitted RUN STEP - sets _BILL_AT to when the run's prompt was submitted, in milliseconds: by an earlier call, if
# this one has taken the run up again, else at that STEP.
_bill_submitted() {
  local shape='"at":([0-9]{1,12})[,}]'
  _BILL_AT=$2
  [ -f "$1/prompt.json" ] && [[ $(<"$1/prompt.json") =~ $shape ]] && [ "${BASH_REMATCH[1]}000" -lt "$2" ] || return 0
  _BILL_AT=${BASH_REMATCH[1]}000
}

# _bill_print USD BOOT TUNNEL TRANSFER QUEUE COMPUTE IDLE - sets BILL_JSON, from milliseconds; the dollars of the parts are
# USD together: what rounding leaves is idle.
_bill_print() {
  local part text seconds='' usd='' left=0 rate=0 kinds=' boot tunnel transfer queue compute idle'
  ! budget_micro "$1" || left=$((BUDGET_MICRO / 100)) # hundredths of a cent
  ! budget_micro "${POD_RATE:-0}" || rate=$BUDGET_MICRO
  shift
  for part in "$@"; do
    kinds=${kinds#* }
    printf -v text '"%s":%d.%03d,' "${kinds%% *}" $((part / 1000)) $((part % 1000))
    seconds=$seconds$text
    part=$((rate * part / 360000000))
    [ "$part" -le "$left" ] && [ "$kinds" != idle ] || part=$left
    left=$((left - part))
    printf -v text '"%s":%d.%04d,' "${kinds%% *}" $((part / 10000)) $((part % 10000))
    usd=$usd$text
  done
  BILL_JSON="{\"seconds\":{$seconds\"tail\":null},\"usd\":{$usd\"tail\":null}}"
}

# bill_plan PLAN - sets BILL_TEMPLATE to the template of the run that was planned, BILL_SEED to its seed, and BILL_LIMITS to
# its limits, and those of its pod.
bill_plan() {
  local tag text cost='' seconds='' pod=null
  BILL_TEMPLATE='' BILL_SEED=''
  while IFS=$'\t' read -r tag text; do
    case $tag in
      template) BILL_TEMPLATE=${text%%$'\t'*} ;;
      seed) BILL_SEED=$text ;;
      max_cost_usd) cost=$text ;;
      timeout_seconds) seconds=$text ;;
    esac
  done <"$1"
  [ -z "$POD_ID" ] || {
    pod_deadline
    _bill_object max_cost_usd "$POD_LIMIT" minutes "$POD_MINUTES" deadline "$POD_DEADLINE" latest_bill_usd "$POD_BILL"
    pod=$BILL_LIMITS
  }
  _bill_object max_cost_usd "$cost" timeout_seconds "$seconds"
  BILL_LIMITS="${BILL_LIMITS%\}},\"pod\":$pod}"
}

# _bill_object NAME VALUE... - sets BILL_LIMITS to a JSON object of numbers; what is none is null.
_bill_object() {
  local shape='^(0|[1-9][0-9]*)(\.[0-9]+)?$' value
  BILL_LIMITS=''
  while [ $# -gt 1 ]; do
    value=$2
    [[ $value =~ $shape ]] || value=null
    BILL_LIMITS="$BILL_LIMITS${BILL_LIMITS:+,}\"$1\":$value"
    shift 2
  done
  BILL_LIMITS="{$BILL_LIMITS}"
}
