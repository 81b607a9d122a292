# shellcheck shell=bash
# batch.sh - many jobs: all are checked before anything is contacted, then they run one after
# another on the same pod; a failed one does not stop the others.

[ -z "${_AUTOPOD_BATCH_SH:-}" ] || return 0 # @guard
_AUTOPOD_BATCH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/job.sh"

BATCH_RUNS=()       # the runs' directories, in order
BATCH_IDS=()        # their job ids
BATCH_CODES=()      # their exit codes, as far as they are known
_BATCH_CURRENT=''   # set while a job runs
_BATCH_UNFETCHED='' # a run that has left outputs on the pod

# batch_load FILE... - checks every job and lays it down as a run; EX_USAGE when one is wrong, after
# all were looked at.
batch_load() {
  local file status=0
  for file in "$@"; do
    if job_load "$file" && _batch_new_id "$JOB_ID" "$file"; then
      BATCH_RUNS[${#BATCH_RUNS[@]}]=$JOB_RUN
      BATCH_IDS[${#BATCH_IDS[@]}]=$JOB_ID
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
      rm -rf -- "$JOB_RUN"
      core_fail "$EX_USAGE" "$2: job_id \"$1\" stands in another job of this call too" \
        "give each job an id of its own"
      return
    }
  done
}

# batch_plan FILE... - prints what would be done (--dry-run); nothing is made, contacted or
# uploaded; EX_USAGE.
batch_plan() {
  local file status=0
  for file in "$@"; do
    if job_plan "$file" && _batch_new_id "$JOB_ID" "$file"; then
      BATCH_IDS[${#BATCH_IDS[@]}]=$JOB_ID
      _batch_show_plan "$file"
    else
      status=$?
    fi
  done
  return "$status"
}

# _batch_show_plan FILE - prints the plan of the job that was just checked; with -v the workflow
# too.
_batch_show_plan() {
  local tag a b c d
  printf 'Job        %s (%s)\n' "$JOB_ID" "$1"
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
    esac
  done <"$JOB_PLAN"
}

# _batch_plan_pod JOB - prints which pod the job would run on, by what is known without asking
# anybody.
_batch_plan_pod() {
  if [ -n "$TARGET_WISH_URL" ]; then
    printf 'ComfyUI at %s' "$TARGET_WISH_URL"
  elif [ -n "$TARGET_WISH_NO_TUNNEL" ]; then
    printf 'ComfyUI at http://127.0.0.1:%s' "$AUTOPOD_PORT"
  elif [ -n "$TARGET_WISH_POD" ]; then
    printf 'pod %s' "$TARGET_WISH_POD"
  else
    printf 'the pod that runs, else a new one from %s: %s' "$AUTOPOD_PROVIDER" \
      "$(jq -r '.pod_config | "\(.gpu_count) x \(.gpu_type // "any GPU")"' <<<"$1")"
  fi
}

# batch_resume REF - takes up a run again: its directory, or the beginning of its name. EX_USAGE.
batch_resume() {
  local found run
  found=("$AUTOPOD_HOME/runs/$1"*)
  [ ! -f "$1/plan" ] || found=("$1")
  run=${found[0]%/}
  [ "${#found[@]}" = 1 ] ||
    core_fail "$EX_USAGE" "${#found[@]} runs could be meant: ${found[*]##*/}" \
      "name one of them" || return
  [ -f "$run/plan" ] || core_fail "$EX_USAGE" "there is no run \"$1\"" \
    "they are in $AUTOPOD_HOME/runs" || return
  _batch_reopen "$run" || return
  BATCH_RUNS=("$run")
  BATCH_IDS=("${run##*/}")
  target_take_wishes "$run/plan"
  [ ! -f "$run/pod.json" ] || [ -n "$TARGET_WISH_URL$TARGET_WISH_NO_TUNNEL" ] || target_adopt "$run/pod.json" || :
}

# _batch_reopen RUN - undoes what stands in the way of running it again, by how it ended; EX_USAGE
# when it is done.
_batch_reopen() {
  job_take "$1" || return
  [ -f "$1/result.json" ] || return 0 # killed in the middle: every step that has a file is done
  case $(jq -r '.exit_code' "$1/result.json") in
    0)
      core_fail "$EX_USAGE" "run ${1##*/} is done already" \
        "its outputs: $(jq -r '[.outputs[].path] | join(" ")' "$1/result.json")"
      return
      ;;
    "$EX_TUNNEL" | "$EX_DOWNLOAD") ;;                                       # the server may have what we want
    129 | 1[3-9]?) [ -f "$1/history.json" ] || rm -f -- "$1/prompt.json" ;; # interrupted, so cancelled
    *) rm -f -- "$1/prompt.json" "$1/history.json" ;;                       # that prompt has ended: a new one
  esac
  rm -f -- "$1/result.json"
}

# batch_run - runs them all; returns the code of the first that failed, after running the others.
batch_run() {
  local i status first=0
  core_on_exit batch_end
  for ((i = 0; i < ${#BATCH_RUNS[@]}; i++)); do
    [ "${#BATCH_RUNS[@]}" = 1 ] || ui_note "Job $((i + 1)) of ${#BATCH_RUNS[@]}: ${BATCH_IDS[i]}"
    _BATCH_CURRENT=1 status=0
    job_run "${BATCH_RUNS[i]}" || status=$?
    _BATCH_CURRENT=''
    BATCH_CODES[i]=$status
    [ "$first" != 0 ] || first=$status
    ! job_left_outputs || _BATCH_UNFETCHED=${JOB_RUN##*/}
  done
  return "$first"
}

# batch_end - on every way out: a job that runs is cancelled, the target closed. A pod that may be
# left raises the exit code.
batch_end() {
  umask 077 # the signal may have come while outputs were written
  if [ -n "$_BATCH_CURRENT" ]; then
    _BATCH_CURRENT=''
    ! job_left_outputs || _BATCH_UNFETCHED=${JOB_RUN##*/}
    ui_failed "interrupted"
    job_cancel || :
    core_fail "$EX_FAIL" "interrupted" "comfy-run --resume ${JOB_RUN##*/} takes the job up again" || :
    job_finish "$((128 + $(kill -l "${CORE_SIGNAL:-TERM}")))" || :
  fi
  target_close "$_BATCH_UNFETCHED" || CORE_STATUS=$?
}

# batch_report - says what came of it: the files, or with several jobs a table.
batch_report() {
  local i
  if [ "${#BATCH_RUNS[@]}" = 1 ]; then
    _batch_files "${BATCH_RUNS[0]}"
    return
  fi
  for ((i = 0; i < ${#BATCH_RUNS[@]}; i++)); do
    ui_note "$(jq -r '[.status, .job_id, "\(.seconds.total) s", "$\(.cost_usd)",
      "\(.outputs | length) files", .error // ""] | join("  ")' "${BATCH_RUNS[i]}/result.json")"
  done
}

# _batch_files RUN - the run's files with their sizes, the seconds and the cost.
_batch_files() {
  local _which _node _kind _name bytes _sum path
  [ ! -f "$1/collected" ] || while IFS=$'\t' read -r _which _node _kind _name bytes _sum path; do
    ui_size "$bytes"
    ui_note "  $path  $UI_SIZE"
  done <"$1/collected"
  ui_duration "$JOB_SECONDS"
  budget_show "$JOB_COST"
  [ "${BATCH_CODES[0]}" != 0 ] || ui_note "Done in $UI_TIME${BUDGET_TEXT:+, $BUDGET_TEXT}."
}

# batch_json CODE - prints everything as one JSON object.
batch_json() {
  local run
  for run in "${BATCH_RUNS[@]}"; do cat -- "$run/result.json"; done |
    jq -s -c --argjson code "$1" '{exit_code: $code, cost_usd: (map(.cost_usd) | add), jobs: .}'
}
