# shellcheck shell=bash
# limits.sh - the run's own guard: how long the job, the call and the pod at hand may go on by what they may cost and
# take, which of these limits is first, and what is said when it is near or reached. Time is what the clock on the wall
# says, so a machine that slept acts as soon as it wakes up.

[ -z "${_AUTOPOD_LIMITS_SH:-}" ] || return 0 # @guard
_AUTOPOD_LIMITS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/record.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/cap.sh"
. "$AUTOPOD_LIB/guard.sh"
. "$AUTOPOD_LIB/guards.sh"

# What the user asked for.
LIMITS_CALL_MAX='' # --max-cost: dollars for this call
LIMITS_NO_LIMIT='' # --no-limit: a pod that is made has none of time

# The limit that is first (all empty: nothing limits): whose it is (job, call, pod), its code, when it ends the step at hand
# (epoch), and the seconds until then.
LIMITS_WHOSE='' LIMITS_CODE='' LIMITS_END='' LIMITS_LEFT=''
LIMITS_ENDED='' # whose limit was reached in the run at hand; then in words, and what to do
_LIMITS_TEXT='' _LIMITS_TODO='' _LIMITS_ENDED_CODE=0 _LIMITS_TOLD=''

_LIMITS_GUARDS_EVERY=10 # seconds between two looks at the other guards, and at limits that somebody may have changed
_LIMITS_SAME=10         # seconds: limits that are no farther apart need only one warning

# What the run at hand is at: target, boot (of its pod), upload, submit, await, collect, keep; or cover; empty: nothing.
_LIMITS_STEP=''
# Since when the job is paid for, its limits, and when it was submitted; since when the call pays for which pod, at which
# price, what it has paid before that, and what its jobs may cost and take together.
_LIMITS_JOB_FROM=0 _LIMITS_JOB_MAX='' _LIMITS_JOB_SECONDS='' _LIMITS_JOB_AT=''
_LIMITS_CALL_FROM='' _LIMITS_CALL_SPENT=0 _LIMITS_CALL_POD='' _LIMITS_CALL_RATE='' _LIMITS_CALL_SUM='' _LIMITS_CALL_SECONDS=0
_LIMITS_POD='' _LIMITS_POD_END='' _LIMITS_POD_CODE=0 _LIMITS_POD_CANCEL='' _LIMITS_POD_SEEN='' # the pod whose limits were known last, and these
_LIMITS_FROM=0 _LIMITS_KEEP=0 _LIMITS_READ_AT=0 _LIMITS_TOOK=0
_LIMITS_WARNED=' ' _LIMITS_WARNED_END=0 _LIMITS_UNPRICED=' '
_LIMITS_GUARDS_AT=0 # in $SECONDS

# --- what there is ---

# limits_call RUN... - the call begins, and is to carry out these runs.
limits_call() {
  local run usd
  usd=()
  LIMITS_ENDED='' _LIMITS_CALL_FROM='' _LIMITS_CALL_SPENT=0 _LIMITS_CALL_POD='' _LIMITS_CALL_SECONDS=0 _LIMITS_CALL_SUM=''
  for run; do
    _limits_read "$run"
    _LIMITS_CALL_SECONDS=$((_LIMITS_CALL_SECONDS + ${_LIMITS_JOB_SECONDS:-0}))
    [ -z "$_LIMITS_JOB_MAX" ] || usd[${#usd[@]}]=$_LIMITS_JOB_MAX
  done
  [ "${#usd[@]}" = $# ] || return 0 # one of them may cost anything
  budget_total "${usd[@]}"
  _LIMITS_CALL_SUM=$BUDGET_COST
}

# limits_wish - prints the limits of a pod that is made for the runs of this call, as JSON; EX_COST when the call has used up
# its own already.
limits_wish() {
  local left=$LIMITS_CALL_MAX
  if [ -n "$left" ]; then
    os_now
    _limits_paid
    budget_rest "$left" "$_LIMITS_CALL_SPENT"
    left=$BUDGET_REST
    [ -n "$left" ] || core_fail "$EX_COST" "this call has cost the \$$LIMITS_CALL_MAX that it may: no other pod is made for it" \
      "allow more with --max-cost USD" || return
  fi
  budget_least "$left" "$_LIMITS_CALL_SUM"
  cap_limits "$BUDGET_LEAST" $(((AUTOPOD_BOOT_TIMEOUT + _LIMITS_CALL_SECONDS + 59) / 60)) "$LIMITS_NO_LIMIT"
  record_limits "$CAP_COST" "$CAP_MINUTES" "$CAP_UNLIMITED"
}

# limits_begin RUN PAID_FROM - a run begins, whose pod is paid for since PAID_FROM (epoch); nothing is looked at before
# limits_step.
limits_begin() {
  _limits_read "$1"
  _LIMITS_JOB_FROM=$2 _LIMITS_JOB_AT='' _LIMITS_STEP='' _LIMITS_TOLD='' LIMITS_ENDED='' HTTP_UNTIL=''
  [ -n "$_LIMITS_CALL_FROM" ] || _LIMITS_CALL_FROM=$2
}

# limits_paid_from EPOCH - the pod of the run at hand is paid for since then.
limits_paid_from() { _LIMITS_JOB_FROM=$1; }

# limits_submitted EPOCH - the prompt of the run at hand was submitted then: the job's time begins.
limits_submitted() { _LIMITS_JOB_AT=$1; }

# limits_step STEP - what the run at hand is at: target, boot, upload, submit, await, collect; empty: it is over, and nothing
# that is done for it now may be cut short.
limits_step() {
  _LIMITS_STEP=$1
  limits_last || :
}

# limits_keep - somebody, or a limit, has ended the job: what it has finished may come home within AUTOPOD_STOP_GRACE
# seconds, but not beyond the limit of call and pod.
limits_keep() {
  os_now
  _LIMITS_KEEP=$((OS_NOW + AUTOPOD_STOP_GRACE))
  limits_step keep
}

# _limits_read RUN - sets the job's own limits from its plan; either may be empty.
_limits_read() {
  local tag text
  _LIMITS_JOB_MAX='' _LIMITS_JOB_SECONDS=''
  while IFS=$'\t' read -r tag text; do
    case $tag in
      max_cost_usd) _LIMITS_JOB_MAX=$text ;;
      timeout_seconds) _LIMITS_JOB_SECONDS=$text ;;
    esac
  done <"$1/plan"
}

# --- the first of them ---

# limits_last - 0 while there is time; nothing is said but the warnings. Sets LIMITS_*, and until when curl may take.
limits_last() {
  local BUDGET_COST BUDGET_MICRO BUDGET_DOLLARS BUDGET_HOURS BUDGET_DEADLINE BUDGET_CODE BUDGET_WARN_AT \
    BUDGET_CANCEL_AT BUDGET_BILL UI_TIME OS_NOW # whoever waits may be about to use his own
  HTTP_UNTIL='' LIMITS_WHOSE='' LIMITS_CODE='' LIMITS_END='' LIMITS_LEFT=''
  [ -n "$_LIMITS_STEP" ] || return 0
  _limits_count
  if [ "$LIMITS_WHOSE" = pod ] && [ "$LIMITS_LEFT" -le 0 ] && _limits_changed; then _limits_count; fi
  HTTP_UNTIL=$LIMITS_END
  [ -n "$LIMITS_END" ] && [ "$LIMITS_LEFT" -le 0 ] || {
    case $_LIMITS_STEP in cover | keep) ;; *) limits_guards ;; esac
    return 0
  }
  case $_LIMITS_STEP:$LIMITS_ENDED in keep:* | cover:* | *:?*) ;; *) _limits_reached ;; esac
  return 1
}

# _limits_count - sets LIMITS_* by all limits that hold for the step at hand. What a job has made may come home whatever
# its own limits are, and a boot that the next job needs as well ends by those of the call and the pod.
_limits_count() {
  local rate=0
  LIMITS_WHOSE='' LIMITS_CODE='' LIMITS_END='' LIMITS_LEFT=''
  os_now
  _limits_paid
  [ -z "$POD_ID" ] || rate=$POD_RATE
  case $_LIMITS_STEP in boot | cover | collect | keep) ;; *)
    _limits_cost job "$_LIMITS_JOB_FROM" "$rate" 0 "$_LIMITS_JOB_MAX"
    [ -z "$_LIMITS_JOB_AT" ] || _limits_job_time
    ;;
  esac
  _limits_cost call "${_LIMITS_CALL_FROM:-$OS_NOW}" "$rate" "$_LIMITS_CALL_SPENT" "$LIMITS_CALL_MAX"
  [ -z "$POD_ID" ] || _limits_pod
  [ "$_LIMITS_STEP" != keep ] || {
    BUDGET_DEADLINE=$_LIMITS_KEEP BUDGET_CODE=$EX_DOWNLOAD BUDGET_WARN_AT='' BUDGET_CANCEL_AT=$_LIMITS_KEEP
    _limits_take job "$OS_NOW"
  }
}

# _limits_cost WHOSE FROM USD_PER_HOUR SPENT MAX_COST - a limit of cost, if there is one.
_limits_cost() {
  [ -n "$5" ] || return 0
  budget_deadline "$2" "$3" "$4" "$5" ''
  _limits_take "$1" "$2"
}

# _limits_job_time - the job's own limit of time, in seconds since it was submitted. It costs nothing by itself, so it ends
# the job when it is over, not before.
_limits_job_time() {
  [ -n "$_LIMITS_JOB_SECONDS" ] || return 0
  BUDGET_DEADLINE=$((_LIMITS_JOB_AT + _LIMITS_JOB_SECONDS)) BUDGET_CODE=$EX_TIME
  BUDGET_CANCEL_AT=$BUDGET_DEADLINE BUDGET_WARN_AT=$((_LIMITS_JOB_AT + _LIMITS_JOB_SECONDS * 9 / 10))
  _limits_take job "$_LIMITS_JOB_AT"
}

# _limits_pod - the limits of the loaded pod. When it stands still they are those from before: it was stopped for them, by the
# watcher, if they are over. (Worked out only when something has changed: this is asked for all the time.)
_limits_pod() {
  local now="$POD_ID $POD_RATE $POD_STATUS $POD_OURS $POD_FROM $POD_LIMIT $POD_MINUTES $POD_UNLIMITED"
  [ "$now" = "$_LIMITS_POD_SEEN" ] || pod_deadline
  _LIMITS_POD_SEEN=$now
  case $POD_STATUS in
    stopped | terminated)
      [ "$_LIMITS_POD" = "$POD_ID" ] || return 0
      BUDGET_DEADLINE=$_LIMITS_POD_END BUDGET_CODE=$_LIMITS_POD_CODE BUDGET_CANCEL_AT=$_LIMITS_POD_CANCEL BUDGET_WARN_AT=''
      ;;
    *)
      BUDGET_DEADLINE=$POD_DEADLINE BUDGET_CODE=$POD_DEADLINE_CODE BUDGET_CANCEL_AT=$POD_CANCEL_AT BUDGET_WARN_AT=$POD_WARN_AT
      _LIMITS_POD=$POD_ID _LIMITS_POD_END=$POD_DEADLINE _LIMITS_POD_CODE=$POD_DEADLINE_CODE _LIMITS_POD_CANCEL=$POD_CANCEL_AT
      ;;
  esac
  _limits_take pod "$POD_FROM"
}

# _limits_paid - the call pays for the pod that is loaded. What it has paid for the one before it, which did not get ready,
# counts as well.
_limits_paid() {
  if [ -n "$_LIMITS_CALL_POD" ] && [ "$_LIMITS_CALL_POD" != "$POD_ID" ]; then
    budget_cost "$_LIMITS_CALL_RATE" $((OS_NOW - _LIMITS_CALL_FROM))
    budget_total "$_LIMITS_CALL_SPENT" "$BUDGET_COST"
    _LIMITS_CALL_SPENT=$BUDGET_COST _LIMITS_CALL_FROM=$OS_NOW
  fi
  _LIMITS_CALL_POD=$POD_ID _LIMITS_CALL_RATE=$POD_RATE
}

# _limits_take WHOSE FROM - what budget_deadline has just said becomes LIMITS_*, when it is the first so far.
_limits_take() {
  local end=$BUDGET_CANCEL_AT
  [ -n "$BUDGET_DEADLINE" ] || return 0
  case $_LIMITS_STEP in collect | keep) end=$BUDGET_DEADLINE ;; esac
  if [ "$OS_NOW" -lt "$end" ] && [ "$OS_NOW" -ge "${BUDGET_WARN_AT:-$end}" ]; then _limits_warn "$1" "$end"; fi
  [ -z "$LIMITS_END" ] || [ "$end" -lt "$LIMITS_END" ] || return 0
  LIMITS_WHOSE=$1 LIMITS_CODE=$BUDGET_CODE LIMITS_END=$end LIMITS_LEFT=$((end - OS_NOW)) _LIMITS_FROM=$2
}

# _limits_changed - reads again what limits the loaded pod has, for autopod-extend may have changed them; 1 when they are
# as they were, or can't be read.
_limits_changed() {
  local fields before="$POD_LIMIT $POD_MINUTES $POD_UNLIMITED $POD_FROM"
  [ "$OS_NOW" != "$_LIMITS_READ_AT" ] || return 1
  _LIMITS_READ_AT=$OS_NOW
  printf '{"id":"%s"}\n' "$POD_ID" >"$CORE_TMP/limits.pod" 2>/dev/null || return 1
  fields=$(core_quietly record_jq "$CORE_TMP/limits.pod" '.[].known // empty | [.limits.max_cost_usd, .limits.minutes,
    (if .limits.unlimited then 1 else "" end), (.from // .since // 0 | floor)] | map(. // "" | tostring) | join("\u001f")' -r) &&
    [ -n "$fields" ] || return 1
  IFS=$'\x1f' read -r POD_LIMIT POD_MINUTES POD_UNLIMITED POD_FROM _ <<<"$fields"
  [ "$before" != "$POD_LIMIT $POD_MINUTES $POD_UNLIMITED $POD_FROM" ]
}

# --- what is said ---

# limits_check - 0 while there is time; else tells which limit is reached, and returns EX_TIME or EX_COST. Of what a
# cancelled job has finished no more comes then, and nothing is said: EX_DOWNLOAD.
limits_check() {
  ! limits_last || return 0
  [ "$_LIMITS_STEP" != keep ] || return "$EX_DOWNLOAD"
  limits_tell
}

# limits_tell - tells, once, which limit is reached; EX_TIME, EX_COST.
limits_tell() {
  set -- "$_LIMITS_ENDED_CODE" "$_LIMITS_TEXT" "$_LIMITS_TODO"
  [ -z "$_LIMITS_TOLD" ] || core_quietly core_fail "$@" || return
  _LIMITS_TOLD=1
  core_fail "$@"
}

# limits_instead STATUS - something has failed that was not told yet: tells it, or that it was a limit that ended it. Its
# code.
limits_instead() {
  local why=$CORE_ERROR todo=$CORE_HINT
  limits_check || return
  [ -n "$why" ] || return "$1"
  core_fail "$1" "$why" "$todo"
}

# limits_ended_for_all - 0 when a limit was reached that is not only the job's own.
limits_ended_for_all() { case $LIMITS_ENDED in call | pod) ;; *) return 1 ;; esac }

# limits_priced - warns when nobody says what the loaded pod costs: then no limit of cost can hold.
limits_priced() {
  [ -n "$POD_ID" ] && [ "$POD_PROVIDER" != local ] && [ -n "$_LIMITS_JOB_MAX$LIMITS_CALL_MAX$POD_LIMIT" ] &&
    ! budget_less 0 "$POD_RATE" || return 0
  case $_LIMITS_UNPRICED in *" $POD_ID "*) return 0 ;; esac
  _LIMITS_UNPRICED="$_LIMITS_UNPRICED$POD_ID "
  ui_warn "nobody says what pod $POD_ID costs: its limit of cost can't hold, only those of time"
}

# _limits_reached - notes that the limit at hand is reached, in words.
_limits_reached() {
  local when
  _limits_name "$LIMITS_WHOSE" "$LIMITS_CODE"
  ui_duration $((OS_NOW > _LIMITS_FROM ? OS_NOW - _LIMITS_FROM : 0))
  case $_LIMITS_STEP in
    await) when="after $UI_TIME" ;;
    collect) when="while its outputs were downloaded, after $UI_TIME" ;;
    *) when="before the job was submitted, after $UI_TIME" ;;
  esac
  LIMITS_ENDED=$LIMITS_WHOSE _LIMITS_ENDED_CODE=$LIMITS_CODE
  _LIMITS_TEXT="the $_LIMITS_NAME limit is reached $when ($_LIMITS_MUCH for $_LIMITS_WHO)"
  [ "$LIMITS_WHOSE" != pod ] || _LIMITS_TODO="a new pod may have more${_LIMITS_TODO:+: $_LIMITS_TODO}; this one: $_LIMITS_EXTEND"
}

# _limits_warn WHOSE END - says, once for each limit, that it ends what runs at END.
_limits_warn() {
  local note="$1:$BUDGET_DEADLINE" apart=$(($2 - _LIMITS_WARNED_END))
  case $_LIMITS_WARNED in *" $note "*) return 0 ;; esac
  _LIMITS_WARNED="$_LIMITS_WARNED$note "
  [ "$_LIMITS_STEP" != keep ] && [ "${apart#-}" -gt "$_LIMITS_SAME" ] || return 0
  _LIMITS_WARNED_END=$2
  _limits_name "$1" "$BUDGET_CODE"
  ui_duration $(($2 - OS_NOW))
  [ "$1" != pod ] || _LIMITS_TODO="$_LIMITS_EXTEND allows more"
  ui_warn "90 % of the $_LIMITS_NAME limit are used up ($_LIMITS_MUCH for $_LIMITS_WHO): what runs is ended in $UI_TIME; $_LIMITS_TODO"
}

# _limits_name WHOSE CODE - sets a limit in words: _LIMITS_NAME (cost or time), _LIMITS_MUCH, _LIMITS_WHO, and what to do to
# have more: _LIMITS_TODO, and for a pod _LIMITS_EXTEND.
_limits_name() {
  local max=$_LIMITS_JOB_MAX
  _LIMITS_NAME=time _LIMITS_TODO='allow more with --timeout MINUTES or pod_config.timeout_minutes' _LIMITS_WHO='this job'
  _LIMITS_EXTEND="autopod-extend $POD_ID --timeout MINUTES"
  case $1 in
    call) _LIMITS_WHO='this call' max=$LIMITS_CALL_MAX ;;
    pod) _LIMITS_WHO="pod $POD_ID" max=$POD_LIMIT ;;
  esac
  if [ "$2" = "$EX_COST" ]; then
    _LIMITS_NAME=cost _LIMITS_EXTEND="autopod-extend $POD_ID --max-cost USD"
    case $1 in
      job) _LIMITS_TODO='allow more with pod_config.max_cost_usd' ;;
      call) _LIMITS_TODO='allow more with --max-cost USD' ;;
      pod) _LIMITS_TODO='--max-cost, AUTOPOD_MAX_COST, pod_config.max_cost_usd' ;;
    esac
    budget_dollars "$max"
    _LIMITS_MUCH=$BUDGET_DOLLARS
  elif [ "$1" = pod ]; then
    _LIMITS_TODO='--timeout, AUTOPOD_MAX_LIFETIME'
    budget_hours "${POD_MINUTES:-$AUTOPOD_MAX_LIFETIME}"
    _LIMITS_MUCH=$BUDGET_HOURS
  else
    ui_duration "$_LIMITS_JOB_SECONDS"
    _LIMITS_MUCH=$UI_TIME
  fi
}

# --- the other guards ---

# limits_guards - to be called in all waits: looks now and then whether the other guards of the loaded pod live, and starts
# a dead one again, which is told; takes in limits that somebody has changed meanwhile.
limits_guards() {
  local CORE_ERROR=$CORE_ERROR CORE_HINT=$CORE_HINT CORE_ERROR_CODE=$CORE_ERROR_CODE OS_PID OS_START # whoever waits has his own
  [ "$_LIMITS_GUARDS_AT" != 0 ] || _LIMITS_GUARDS_AT=$((SECONDS + _LIMITS_GUARDS_EVERY))
  [ "$SECONDS" -ge "$_LIMITS_GUARDS_AT" ] && [ -n "$POD_ID" ] && [ -n "$POD_OURS" ] || return 0
  _LIMITS_GUARDS_AT=$((SECONDS + _LIMITS_GUARDS_EVERY))
  os_now
  _limits_changed || :
  guards_revive "${LIMITS_LEFT:-$GUARD_SECONDS}"
}

# --- before the next job ---

# limits_cover RUN - 0 unless it is known that what is left of the limits of call and pod does not do for that run; else
# tells it: EX_TIME, EX_COST.
limits_cover() {
  local what left
  _limits_took "$1" || return 0
  _LIMITS_STEP=cover
  limits_last || :
  _LIMITS_STEP='' HTTP_UNTIL=''
  [ -n "$LIMITS_END" ] && [ "$LIMITS_LEFT" -lt "$_LIMITS_TOOK" ] || return 0
  LIMITS_ENDED=$LIMITS_WHOSE
  _limits_name "$LIMITS_WHOSE" "$LIMITS_CODE"
  ui_duration $((LIMITS_LEFT > 0 ? LIMITS_LEFT : 0))
  left=$UI_TIME
  ui_duration "$_LIMITS_TOOK"
  what="what is left of the $_LIMITS_NAME limit ($_LIMITS_MUCH for $_LIMITS_WHO) lasts for $left, and jobs like the next one took $UI_TIME"
  [ "$LIMITS_WHOSE" != pod ] || _LIMITS_TODO="$_LIMITS_EXTEND allows more"
  core_fail "$LIMITS_CODE" "$what: it is not begun" "$_LIMITS_TODO"
}

# _limits_took RUN - sets _LIMITS_TOOK to the seconds that jobs of the run's template took on the server before; 1 when there
# was none. (By the shell: there may be a hundred jobs in a call, and jq takes 20 ms.)
_limits_took() {
  local tag text rest ms=0 fraction name=''
  while IFS=$'\t' read -r tag text; do
    [ "$tag" != timings ] || name=$text
  done <"$1/plan"
  runs_read "$AUTOPOD_HOME/timings/$name.json"
  case $RUNS_TEXT in *'"nodes": {'*) ;; *) return 1 ;; esac
  rest=${RUNS_TEXT#*'"nodes": {'}
  rest=${rest%%\}*}
  while [[ $rest =~ \":\ ([0-9]{1,6})(\.([0-9]+))? ]]; do
    rest=${rest#*"${BASH_REMATCH[0]}"}
    fraction=${BASH_REMATCH[3]}000
    ms=$((ms + 10#${BASH_REMATCH[1]} * 1000 + 10#${fraction:0:3}))
  done
  _LIMITS_TOOK=$(((ms + 999) / 1000))
}
