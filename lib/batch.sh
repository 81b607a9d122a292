# shellcheck shell=bash
# batch.sh - many jobs: all are checked before anything is contacted, then they run one after
# another on the same pod; a failed one does not stop the others.

[ -z "${_AUTOPOD_BATCH_SH:-}" ] || return 0 # @guard
_AUTOPOD_BATCH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/release.sh"
. "$AUTOPOD_LIB/rent.sh"
. "$AUTOPOD_LIB/nodes.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/prompt.sh"
. "$AUTOPOD_LIB/job.sh"
. "$AUTOPOD_LIB/report.sh"

BATCH_RUNS=()       # the runs' directories, in order
BATCH_IDS=()        # their job ids
BATCH_CODES=()      # their exit codes, as far as they are known
BATCH_LEFT=''       # set when the runs were left as they are (key q)
_BATCH_CURRENT=''   # set while a job runs
_BATCH_UNFETCHED='' # a run that has left outputs on the pod

# batch_load FILE... - checks every job and lays it down as a run; EX_USAGE when one is wrong, after
# all were looked at.
batch_load() {
  local file status=0
  for file in "$@"; do
    if load_run "$file" && _batch_new_id "$LOAD_ID" "$file"; then
      BATCH_RUNS[${#BATCH_RUNS[@]}]=$LOAD_RUN
      BATCH_IDS[${#BATCH_IDS[@]}]=$LOAD_ID
    else
      status=$?
    fi
  done
  [ "$status" = 0 ] || {
    [ "${#BATCH_RUNS[@]}" = 0 ] || rm -rf -- "${BATCH_RUNS[@]}" # nothing was started: nothing to resume
    [ $# = 1 ] || ui_tell hint "No job was started: a batch begins when all of its jobs are right."
  }
  return "$status"
}

# _batch_new_id ID FILE - EX_USAGE when another job of the batch has that id.
_batch_new_id() {
  local id
  for id in ${BATCH_IDS[@]+"${BATCH_IDS[@]}"}; do
    [ "$id" != "$1" ] || {
      [ -z "$LOAD_RUN" ] || rm -rf -- "$LOAD_RUN"
      core_fail "$EX_USAGE" "$2: job_id \"$1\" stands in another job of this call too" \
        "give each job an id of its own"
      return
    }
  done
}

# batch_plan JSON FILE... - prints what would be done (--dry-run), as JSON when JSON is set; nothing is made,
# contacted or uploaded; EX_USAGE.
batch_plan() {
  local json=$1 file status=0 plans=''
  shift
  for file in "$@"; do
    if load_plan "$file" && _batch_new_id "$LOAD_ID" "$file"; then
      BATCH_IDS[${#BATCH_IDS[@]}]=$LOAD_ID
      if [ -n "$json" ]; then plans=$plans${plans:+,}$(load_plan_json); else _batch_show_plan "$file"; fi
    else
      status=$?
    fi
  done
  [ -z "$json" ] || [ "$status" != 0 ] || printf '{"exit_code":0,"dry_run":true,"jobs":[%s]}\n' "$plans"
  return "$status"
}

# _batch_show_plan FILE - prints the plan of the job that was just checked; with -v the workflow
# too.
_batch_show_plan() {
  local tag a b c d
  ui_clean "$1"
  printf 'Job        %s (%s)\n' "$LOAD_ID" "$UI_TEXT"
  while IFS=$'\t' read -r tag a b c d; do
    case $tag in
      template) printf 'Template   %s\n' "$a" ;;
      value) printf 'Input      %s = %s\n' "$a" "$b" ;;
      upload)
        ui_size "$a"
        printf 'Upload     %s, %s, as %s\n' "$d" "$UI_SIZE" "$c"
        ;;
      output) printf 'Output     %s: %s\n' "$a" "$b" ;;
      output_dir) printf 'Others to  %s\n' "$a" ;;
      timeout_minutes) printf 'At most    %s minutes\n' "$a" ;;
      max_cost_usd) [ -z "$a" ] || printf 'At most    $%s\n' "$a" ;;
      job) printf 'Runs on    %s\n' "$(_batch_plan_pod "$a")" ;;
      workflow) [ -z "${AUTOPOD_VERBOSE:-}" ] || printf 'Workflow   %s\n' "$a" ;;
      graph) printf 'Workflow   is in the GUI format: it is converted when a server says what its nodes are like\n' ;;
    esac
  done <"$LOAD_PLAN"
  [ -n "$LOAD_NO_CHECK" ] || [ -z "$NODES_FILE" ] || {
    load_source
    printf 'Checked    by %s\n' "$LOAD_SOURCE"
  }
}

# _batch_plan_pod JOB - prints which pod the job would run on, by what is known without asking
# anybody.
_batch_plan_pod() {
  if [ -n "$TARGET_WISH_URL" ]; then
    printf 'ComfyUI at %s' "$TARGET_WISH_URL"
  elif [ -n "$TARGET_WISH_PROXY" ]; then
    printf 'ComfyUI at the public address of %s' "${TARGET_WISH_POD:-the pod that has one}"
  elif [ -n "$TARGET_WISH_NO_TUNNEL" ]; then
    printf 'ComfyUI at http://127.0.0.1:%s' "$AUTOPOD_PORT"
  elif [ -n "$TARGET_WISH_POD" ]; then
    printf 'pod %s' "$TARGET_WISH_POD"
  else
    printf 'the pod that runs, else a new one from %s: %s' "$AUTOPOD_PROVIDER" \
      "$(rent_wish "$(jq -c '.pod_config' <<<"$1")" | jq -r '"\(.gpu_count) x \(.gpu_type // "any GPU")"
        + (if .datacenter then " in \(.datacenter)" else "" end) + (if .volume_id then ", with volume \(.volume_id)" else "" end)
        + (if .max_price_usd_per_hour then ", at most $\(.max_price_usd_per_hour)/h" else "" end)')"
  fi
}

# batch_resume REF - takes up a run again (see runs_find; of several the one that is not done). EX_USAGE.
batch_resume() {
  local run
  runs_find "$1" undone || return
  run=$RUNS_FOUND
  _batch_is_whole "$run" || core_fail "$EX_USAGE" "run ${run##*/} can't be taken up again: its files are damaged" \
    "start the job anew" || return
  _batch_reopen "$run" || return
  JOB_RESUMED=1
  BATCH_RUNS=("$run")
  BATCH_IDS=("${run##*/}")
  target_take_wishes "$run/plan"
  [ ! -f "$run/pod.json" ] || target_is_server ||
    target_adopt "$run/pod.json" || :
}

# _batch_is_whole RUN - 0 when its job, and its workflow or the graph that it is made of, are what they were.
_batch_is_whole() {
  local what=$1/workflow.json
  [ -s "$what" ] || what=$1/graph.json
  jq -es 'length == 2 and all(type == "object") and (.[0].pod_config | type == "object")' "$1/job.json" "$what" >/dev/null 2>&1
}

# _batch_reopen RUN - undoes what stands in the way of running it again, by how it ended; EX_USAGE
# when it is done.
_batch_reopen() {
  job_take "$1" || return
  rm -f -- "$1/cancel"                # that was about the time before
  [ -f "$1/result.json" ] || return 0 # killed in the middle: every step that has a file is done
  case $(jq -r '.exit_code' "$1/result.json") in
    0) # unless its outputs were left on the server
      [ -e "$1/unfetched" ] || core_fail "$EX_USAGE" "run ${1##*/} is done already" \
        "its outputs: $(jq -r '[.outputs[].path] | join(" ")' "$1/result.json")" || return
      ;;
    "$EX_REFUSED" | "$EX_WORKFLOW") # that prompt has ended
      runs_left_outputs "$1" || rm -f -- "$1/prompt.json" "$1/history.json"
      ;;
    *) ;; # the server may have what we want; a prompt that was cancelled for certain has no file any more
  esac
  rm -f -- "$1/result.json"
}

# batch_run - runs them all; returns the code of the first that failed, after running the others. A limit that is not only
# one job's ends it, also when it is known that the next job would come to that.
batch_run() {
  local i status first=0
  limits_call "${BATCH_RUNS[@]}"
  for ((i = 0; i < ${#BATCH_RUNS[@]}; i++)); do
    [ "$i" = 0 ] || limits_cover "${BATCH_RUNS[i]}" || {
      status=$?
      [ "$first" != 0 ] || first=$status
      _batch_break "$i"
      break
    }
    [ "${#BATCH_RUNS[@]}" = 1 ] || ui_note "Job $((i + 1)) of ${#BATCH_RUNS[@]}: ${BATCH_IDS[i]}"
    _BATCH_CURRENT=1 status=0
    job_run "${BATCH_RUNS[i]}" || status=$?
    _BATCH_CURRENT=''
    BATCH_CODES[i]=$status
    [ "$first" != 0 ] || first=$status
    ! job_left_outputs || _BATCH_UNFETCHED=${JOB_RUN##*/}
    ! limits_ended_for_all || TARGET_AFTER=${TARGET_AFTER:-close}
    [ -z "$PROMPT_LEFT$TARGET_AFTER" ] || {
      _batch_break $((i + 1))
      break
    }
  done
  return "$first"
}

# _batch_break I - there will be no more of it: says what becomes of the jobs from number I on, and of one that was left
# running.
_batch_break() {
  local i
  BATCH_LEFT=$PROMPT_LEFT
  [ -z "$PROMPT_LEFT" ] || _batch_emit_left
  for ((i = $1; i < ${#BATCH_RUNS[@]}; i++)); do
    ui_note "Not begun: ${BATCH_IDS[i]} (comfy-run --resume ${BATCH_RUNS[i]##*/})"
  done
  [ -z "$PROMPT_LEFT" ] || release_leave "${JOB_RUN##*/}"
}

# _batch_interrupted - the run at hand ends here: what it has finished is brought home; one that was done is done.
_batch_interrupted() {
  local how=interrupted what='takes the job up again'
  _BATCH_CURRENT=''
  [ ! -e "$JOB_RUN/cancel" ] || PROMPT_CANCELLED=1 CORE_EXIT=$EX_CANCEL
  [ -z "$PROMPT_CANCELLED" ] || how='cancelled'
  ui_failed "$how"
  prompt_withdraw || :
  if [ -n "$PROMPT_DONE" ] && job_collect; then
    PROMPT_CANCELLED=''
    job_finish 0 || :
  else
    [ -f "$JOB_RUN/prompt.json" ] || what='submits the job again'
    core_fail "$EX_FAIL" "$how" "comfy-run --resume ${JOB_RUN##*/} $what" || :
    JOB_CODE=$CORE_EXIT
    job_finish "$CORE_EXIT" || :
  fi
  ! job_left_outputs || _BATCH_UNFETCHED=${JOB_RUN##*/}
}

# _batch_emit_left - for programs the run ends here; another run_started comes when somebody has taken it up.
_batch_emit_left() {
  os_now
  budget_cost "${POD_RATE:-0}" $((OS_NOW - PROMPT_PAID_FROM + 1))
  EVENTS_RUN=${JOB_RUN##*/}
  job_emit_end "$JOB_ID" left "$EX_FAIL" $((OS_NOW - JOB_BEGAN)) "$BUDGET_COST"
  EVENTS_RUN=''
}

# batch_end - on every way out: a job that runs is cancelled, the target closed. A pod that may be
# left raises the exit code.
batch_end() {
  umask 077                    # the signal may have come while outputs were written
  HTTP_TRIES=1 HTTP_TIMEOUT=10 # who sends TERM won't wait for a server that hangs
  if [ -n "$_BATCH_CURRENT" ]; then
    release_begin
    _batch_interrupted
  fi
  limits_step ''
  if [ -z "$_BATCH_UNFETCHED" ] && [ -n "$POD_ID" ] && [ -n "$TARGET_MADE$TARGET_WISH_AFTER" ]; then # an earlier run's
    _BATCH_UNFETCHED=$(runs_unfetched "$POD_ID")
    _BATCH_UNFETCHED=${_BATCH_UNFETCHED%%$'\n'*}
  fi
  release_pod "$_BATCH_UNFETCHED" || CORE_STATUS=$?
}

# batch_report - says what came of it, unless it goes on without us.
batch_report() {
  [ -z "$BATCH_LEFT" ] || return 0
  if [ "${#BATCH_RUNS[@]}" = 1 ]; then
    report_run "${BATCH_RUNS[0]}" "${BATCH_CODES[0]}" "$JOB_SECONDS" "$JOB_COST"
  else
    report_runs "${BATCH_RUNS[@]}"
  fi
}

# batch_last_event - when no run could begin, or a pod could not be ended, there is one more event, which says why; as the
# last step of the cleanup. That nobody could read them makes a good end a bad one.
batch_last_event() {
  EVENTS_RUN=''
  [ "${#BATCH_RUNS[@]}" -gt 0 ] && [ -z "$CORE_STATUS" ] || job_emit_end '' failed "${CORE_STATUS:-$CORE_EXIT}" 0 0
  [ -z "$EVENTS_LOST" ] || _batch_unread
}

# batch_json - prints everything as one JSON object; as the last step of the cleanup, when the exit code is
# known, however the program ends.
batch_json() {
  _batch_print_json 2>/dev/null || _batch_unread
}

# _batch_unread - who wanted JSON did not get it.
_batch_unread() {
  ui_warn "the result could not be written to standard output"
  [ "$CORE_EXIT" != 0 ] || CORE_STATUS=${CORE_STATUS:-$EX_FAIL}
}

# _batch_print_json - the same; 1 when it can't be written.
_batch_print_json() {
  local code=${CORE_STATUS:-$CORE_EXIT} run results error
  results=()
  for run in ${BATCH_RUNS[@]+"${BATCH_RUNS[@]}"}; do
    [ ! -f "$run/result.json" ] || results[${#results[@]}]=$run/result.json
  done
  if [ "${#results[@]}" -gt 0 ]; then
    jq -s -c --argjson code "$code" --arg error "$CORE_ERROR" --arg hint "$CORE_HINT" '{exit_code: $code, error: map(.error) | map(strings) | first,
      hint: map(.hint) | map(strings) | first, cost_usd: map(.cost_usd) | add, jobs: .}
      | if $code != 0 and .error == null and $error != "" then .error = $error | .hint = $hint else . end' "${results[@]}"
  else # perhaps it is jq that is missing
    events_quote "$CORE_ERROR"
    error=$EVENTS_JSON
    events_quote "$CORE_HINT"
    printf '{"exit_code":%s,"error":%s,"hint":%s,"cost_usd":0,"jobs":[]}\n' "$code" "$error" "$EVENTS_JSON"
  fi
}
