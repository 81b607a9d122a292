# shellcheck shell=bash
# stall.sh - notices a job that stands still while its pod is paid for, and says what is to be done about it.

[ -z "${_AUTOPOD_STALL_SH:-}" ] || return 0 # @guard
_AUTOPOD_STALL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/server.sh"
. "$AUTOPOD_LIB/logs.sh"

STALL_UNIT=${STALL_UNIT:-60} # seconds of a minute; tests have shorter ones

# What stall_check has to say: warn, cancel, stop, or dead (the server runs nothing any more); in words; what to do.
STALL_SAYS='' STALL_TEXT='' STALL_HINT=''

_STALL_BUSY=5    # percent from which on a GPU works
_STALL_GAP=30    # seconds without a look, after which nobody knows what happened meanwhile
_STALL_LINES=400 # of the server's log; it keeps 300 entries
_STALL_LIMIT=0 _STALL_RULE=warn _STALL_PAID_FROM=0
_STALL_SINCE=0 # since when nothing moves, and when the next look at the GPU and at the log is due; in $SECONDS
_STALL_DUE=0 _STALL_LOG_DUE=0 _STALL_LOOKED=0
_STALL_WARNED='' _STALL_WHY='' _STALL_REASON=''

# The thread that runs the prompts ends with an exception: seen on ComfyUI 0.3.64 and 0.33. The log may have a time stamp
# at each piece that was written, in the middle of a line too. Prints "died", and the exception; nothing when it lives.
_STALL_DEATH_AWK='
{ gsub(/[0-9]+-[0-9]+-[0-9]+T[0-9:.]+ - /, "") }
/Exception in thread / { inside = 1; worker = /prompt_worker/; next }
inside && / in prompt_worker *$/ { worker = 1 }
inside && !/^Traceback/ && /^[A-Za-z_][A-Za-z0-9_.]*(:|$)/ {
  if (worker) { died = 1; reason = substr($0, 1, 120) }
  inside = 0
}
inside && worker { died = 1 }
END { if (died) print "died " reason }'

# stall_begin MINUTES RULE [EPOCH] - from now on a job is watched that counts as stuck after MINUTES (0: never) without
# anything that moves. RULE is what is done then: warn (and stop at twice the time), cancel or stop. Its pod is paid for
# since EPOCH.
stall_begin() {
  os_now
  _STALL_LIMIT=$(($1 * STALL_UNIT)) _STALL_RULE=$2 _STALL_PAID_FROM=${3:-$OS_NOW}
  stall_moved
}

# stall_moved - something has happened, or somebody wants to wait.
stall_moved() {
  _STALL_SINCE=$SECONDS _STALL_LOOKED=$SECONDS _STALL_WARNED=''
  _STALL_DUE=$((SECONDS + _STALL_LIMIT)) _STALL_LOG_DUE=$((SECONDS + (STALL_UNIT + 1) / 2))
}

# stall_check - to be called once a second: 1 when there is something to say, by STALL_SAYS. Asks the server and its GPU
# before, but only when it is time to.
stall_check() {
  local gap=$((SECONDS - _STALL_LOOKED))
  _STALL_LOOKED=$SECONDS STALL_SAYS='' STALL_TEXT='' STALL_HINT=''
  if [ "$gap" -lt 0 ] || [ "$gap" -gt "$_STALL_GAP" ]; then
    stall_moved # the machine slept, or its clock was set
  elif [ "$SECONDS" -ge "$_STALL_LOG_DUE" ] && _stall_died; then
    _stall_say_dead
  elif [ "$_STALL_LIMIT" -gt 0 ] && [ "$SECONDS" -ge "$_STALL_DUE" ]; then
    if _stall_works; then stall_moved; else _stall_say; fi
  fi
  _STALL_LOOKED=$SECONDS
  [ -z "$STALL_SAYS" ]
}

# _stall_died - 0 when the server's log tells that what runs its jobs has died, by _STALL_REASON; asked once a minute.
_stall_died() {
  local said
  _STALL_REASON=''
  core_tmpdir && logs_comfy_tail "$TARGET_URL" "$_STALL_LINES" >"$CORE_TMP/stall.log" || : >"$CORE_TMP/stall.log"
  said=$(LC_ALL=C awk "$_STALL_DEATH_AWK" "$CORE_TMP/stall.log") || said=''
  _STALL_REASON=${said#died } _STALL_LOG_DUE=$((SECONDS + STALL_UNIT))
  [ -n "$said" ]
}

# _stall_works - 0 when the server answers and its GPU works: then it is only busy. Else _STALL_WHY says why it counts as
# stuck. A GPU is looked at twice: between two steps it may rest.
_stall_works() {
  local look COMFY_VERSION # what is known of it stays
  _STALL_WHY='ComfyUI does not answer'
  comfy_answers "$TARGET_URL" || return
  for look in 1 2; do
    _STALL_WHY='no sign of work'
    server_gpu || return
    [ "$SERVER_GPU_BUSY" -lt "$_STALL_BUSY" ] || return 0
    [ "$look" = 2 ] || core_sleep 1
  done
  _STALL_WHY='the GPU is idle'
  return 1
}

# _stall_say - sets STALL_SAYS and what goes with it, by the rule and by what was said already.
_stall_say() {
  local money stood
  ui_duration $((SECONDS - _STALL_SINCE))
  _stall_money
  stood="the job has stood still for $UI_TIME ($_STALL_WHY)$money"
  _STALL_DUE=$((SECONDS + _STALL_LIMIT))
  if [ "$_STALL_RULE$_STALL_WARNED" = warn ]; then
    _STALL_WARNED=1 STALL_SAYS=warn STALL_TEXT=$stood
    ui_duration "$_STALL_LIMIT"
    STALL_HINT="unless it moves, it is stopped in $UI_TIME${POD_ID:+; autopod-logs --pod $POD_ID may say why}"
  else
    STALL_SAYS=$_STALL_RULE
    [ "$STALL_SAYS" != warn ] || STALL_SAYS=stop
    STALL_TEXT="given up: $stood"
    STALL_HINT="--stall-timeout MINUTES allows more; comfy-run --resume takes it up again"
  fi
}

# _stall_say_dead - the same for a server whose worker has died.
_stall_say_dead() {
  local money
  _stall_money
  STALL_SAYS=dead
  STALL_TEXT="ComfyUI's worker has died${_STALL_REASON:+ ($_STALL_REASON)}: it answers, but runs no job any more$money"
  STALL_HINT="start it anew${POD_ID:+: autopod-stop $POD_ID, then autopod-start $POD_ID}"
  [ "$_STALL_REASON" != "KeyError: 'inputs'" ] || STALL_HINT="$STALL_HINT; a node without \"inputs\" did that to it"
}

# _stall_money - sets the caller's `money` to what was spent and what each hour wastes; empty for a pod without a price.
_stall_money() {
  money=''
  budget_rate "$POD_RATE"
  [ -n "$BUDGET_RATE" ] || return 0
  os_now
  budget_cost "$POD_RATE" $((OS_NOW - _STALL_PAID_FROM + 1))
  budget_show "$BUDGET_COST"
  money="; $BUDGET_TEXT spent, $BUDGET_RATE wasted"
}
