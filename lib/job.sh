# shellcheck shell=bash
# job.sh - one job, as steps: load, render, (target), upload, submit, await, collect, finish. A run
# is a directory; a step whose file is there is done, so running a run again resumes it.

[ -z "${_AUTOPOD_JOB_SH:-}" ] || return 0 # @guard
_AUTOPOD_JOB_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/upload.sh"
. "$AUTOPOD_LIB/watch.sh"
. "$AUTOPOD_LIB/collect.sh"

# What the user asked for.
JOB_ALLOW_PARTIAL='' # --allow-partial

JOB_SUBMIT_TRIES=3 # how often a prompt is posted that the server certainly does not know
JOB_RUN=''         # the directory of the run at hand
JOB_SECONDS=0 JOB_COST=0
JOB_RESUMED='' # set when the run was begun by an earlier call
JOB_OPEN=''    # set while the server may be working on its prompt

# job_run RUN - carries the run through, from the first step that is not done; the job's exit code.
# Its result is in RUN/result.json either way.
job_run() {
  local status=0
  JOB_RUN=$1 JOB_OPEN='' JOB_PROMPT_ID='' JOB_STEPS='' JOB_SERVER_SECONDS='' JOB_STATE='' JOB_CODE=0 JOB_ALL_HERE=''
  JOB_ID=$(load_line "$1/plan" job_id)
  os_now
  JOB_BEGAN=$OS_NOW JOB_PAID_FROM=$OS_NOW
  core_forget_error
  ui_log info "run ${1##*/}"
  job_take "$1" || return
  _job_steps || status=$?
  [ "$status" = 0 ] || ui_failed
  JOB_CODE=$status
  job_finish "$status" || status=$?
  return "$status"
}

# job_take RUN - makes sure that nobody else carries the run out; EX_USAGE when somebody does.
job_take() {
  state_lock "run-${1##*/}" 0 ||
    core_fail "$EX_USAGE" "run ${1##*/} is still being carried out by process $(state_lock_owner "run-${1##*/}")" \
      "wait for that one"
}

# _job_steps - the steps of the run at hand, in order.
_job_steps() {
  _job_step target job_target &&
    _job_step upload job_upload &&
    _job_step submit job_submit &&
    _job_step await job_await &&
    _job_step collect job_collect
}

# _job_step NAME FUNCTION - runs a step and notes how long it took; the step's status.
_job_step() {
  local status=0 began
  os_now_ms
  began=$OS_MS
  "$2" || status=$?
  os_now_ms
  JOB_STEPS="$JOB_STEPS$1 $((OS_MS - began))"$'\n'
  return "$status"
}

# job_target - opens where the job runs. On another pod than last time the earlier uploads and the
# prompt are void.
job_target() {
  local before='' now=''
  [ ! -f "$JOB_RUN/pod.json" ] || before=$(<"$JOB_RUN/pod.json")
  target_open "$JOB_RUN/job.json" "$JOB_RUN/pod.json" || return
  # A run that is resumed on the pod that it made has been paying for it all the time.
  if [ -n "$JOB_RESUMED" ] && [ -n "$TARGET_MADE" ]; then JOB_PAID_FROM=$POD_SINCE; fi
  [ ! -f "$JOB_RUN/pod.json" ] || now=$(<"$JOB_RUN/pod.json")
  [ -z "$before" ] || [ "${before%%,*}" = "${now%%,*}" ] || # its first field is the id
    _job_start_over
}

# _job_start_over - forgets what was done on a pod that is gone.
_job_start_over() {
  rm -f -- "$JOB_RUN/uploads.json" "$JOB_RUN/prompt.json" "$JOB_RUN/history.json"
  [ ! -f "$JOB_RUN/rendered.json" ] || mv -- "$JOB_RUN/rendered.json" "$JOB_RUN/workflow.json"
}

# job_upload - brings the file inputs to the server; uploads.json. EX_UPLOAD.
job_upload() {
  [ ! -f "$JOB_RUN/uploads.json" ] && [ -n "$(load_line "$JOB_RUN/plan" upload)" ] || return 0
  ui_step Upload
  upload_files "$JOB_RUN/plan" "$CORE_TMP/uploads.json" || return
  [ -z "$UPLOAD_RENAMED" ] || _job_rename "$CORE_TMP/uploads.json" || return
  state_save "$JOB_RUN/uploads.json" <"$CORE_TMP/uploads.json" || return
  ui_done "$UPLOAD_TEXT"
}

# _job_rename UPLOADS - the workflow names the inputs as the server called them; as it was rendered it is
# kept in rendered.json. (By Python: jq 1.6 would round large seeds.)
_job_rename() {
  [ -f "$JOB_RUN/rendered.json" ] || state_save "$JOB_RUN/rendered.json" <"$JOB_RUN/workflow.json" || return
  helper_run rename_uploads --uploads "$1" <"$JOB_RUN/rendered.json" >"$CORE_TMP/renamed" &&
    state_save "$JOB_RUN/workflow.json" <"$CORE_TMP/renamed"
}

# job_submit - posts the workflow under an id of our own that is on disk first; prompt.json. One that
# was posted before is only posted again when the server does not know it. EX_REFUSED, EX_TUNNEL.
job_submit() {
  ui_step Submit
  _job_can_pay || return
  if [ -f "$JOB_RUN/prompt.json" ]; then
    IFS=' ' read -r JOB_PROMPT_ID JOB_CLIENT JOB_SUBMITTED \
      < <(jq -r '"\(.prompt_id) \(.client_id) \(.at)"' "$JOB_RUN/prompt.json")
    if [ ! -f "$JOB_RUN/history.json" ]; then
      _job_ask || return
      [ "$COMFY_STATE" != unknown ] || _job_post || return
    fi
  else
    os_uuid && JOB_PROMPT_ID=$OS_UUID && os_uuid && JOB_CLIENT=$OS_UUID && _job_post || return
  fi
  [ -f "$JOB_RUN/history.json" ] || JOB_OPEN=1
  ui_done "prompt $JOB_PROMPT_ID"
}

# _job_post - writes down the prompt's id, then posts it. After a lost answer the server is asked
# whether it knows the id: only an unknown one is posted again, so nothing runs twice. EX_REFUSED,
# EX_TUNNEL.
_job_post() {
  local try status body=$CORE_TMP/body answer=$CORE_TMP/answer
  os_now
  JOB_SUBMITTED=$OS_NOW
  local ids="\"prompt_id\":\"$JOB_PROMPT_ID\",\"client_id\":\"$JOB_CLIENT\""
  state_write "$JOB_RUN/prompt.json" \
    "{$ids,\"at\":$JOB_SUBMITTED,\"url\":\"$TARGET_URL\",\"pod\":\"$POD_ID\"}" || return
  printf '{%s,"prompt":%s}' "$ids" "$(<"$JOB_RUN/workflow.json")" >"$body" ||
    core_fail "$EX_FAIL" "can't write $body" "is the disk full?" || return
  for ((try = 1; try <= JOB_SUBMIT_TRIES; try++)); do
    JOB_OPEN=1 status=0
    comfy_submit "$TARGET_URL" "$body" "$answer" "$JOB_PROMPT_ID" || status=$?
    case $status in
      0)
        [ -z "$COMFY_PARTIAL" ] || _job_partial "$answer"
        return
        ;;
      2) return "$EX_REFUSED" ;;
      "$EX_REFUSED")
        JOB_OPEN=''
        comfy_rejection "$TARGET_URL" "$JOB_RUN/workflow.json" "$answer"
        return
        ;;
    esac
    ui_warn "the server did not say that it took the job ($COMFY_SAID): looking"
    core_sleep 1
    _job_ask || return
    [ "$COMFY_STATE" = unknown ] || return 0
  done
  core_fail "$EX_REFUSED" "the server did not take the job in $JOB_SUBMIT_TRIES tries ($COMFY_SAID)" \
    "its log says why"
}

# _job_ask - sets COMFY_STATE to where the server has the prompt. No answer is not an answer: a lost link
# is waited for. EX_TUNNEL, EX_POD when nobody can be asked.
_job_ask() {
  local try
  for ((try = 0; try < JOB_SUBMIT_TRIES; try++)); do
    ! comfy_where "$TARGET_URL" "$JOB_PROMPT_ID" "$CORE_TMP/history" || return 0
    target_recover || return
  done
  core_fail "$EX_TUNNEL" "the server does not say whether it has the job (HTTP $HTTP_STATUS)" \
    "comfy-run --resume ${JOB_RUN##*/} asks again"
}

# _job_partial ANSWER - a prompt that was taken without some of its outputs counts as refused,
# unless that is allowed.
_job_partial() {
  if [ -n "$JOB_ALLOW_PARTIAL" ]; then
    ui_warn "the server leaves out a part of the workflow:"
    comfy_rejection "$TARGET_URL" "$JOB_RUN/workflow.json" "$1" || core_forget_error
    return 0
  fi
  job_cancel || :
  ui_note "The server would run only a part of the workflow (--allow-partial accepts that):"
  comfy_rejection "$TARGET_URL" "$JOB_RUN/workflow.json" "$1"
}

# job_await - waits for the end; history.json. EX_TIME, EX_COST, EX_TUNNEL, EX_POD, EX_WORKFLOW.
job_await() {
  local status=0
  ui_step Running
  [ ! -f "$JOB_RUN/history.json" ] || return 0
  _job_limit
  watch_prompt "$JOB_PROMPT_ID" "$JOB_DEADLINE" "$CORE_TMP/history" "$JOB_LIMIT" || status=$?
  [ "$status" = "$EX_TUNNEL" ] || JOB_OPEN=''                  # ended, cancelled or lost: nothing is left to cancel
  [ -z "$WATCH_CANCELLED" ] || rm -f -- "$JOB_RUN/prompt.json" # a resumed run posts a new one
  [ "$status" = 0 ] || return "$status"
  state_save "$JOB_RUN/history.json" <"$CORE_TMP/history"
}

# _job_can_pay - EX_COST when boot and uploads have used up what the job may cost.
_job_can_pay() {
  budget_seconds "$(load_line "$JOB_RUN/plan" max_cost_usd)" "$POD_RATE"
  os_now
  [ -z "$BUDGET_SECONDS" ] || [ -f "$JOB_RUN/history.json" ] || [ $((OS_NOW - JOB_PAID_FROM)) -lt "$BUDGET_SECONDS" ] ||
    core_fail "$EX_COST" "the cost limit is reached before the job was submitted" \
      "allow more with pod_config.max_cost_usd"
}

# _job_limit - sets JOB_DEADLINE (epoch) and JOB_LIMIT, the code it stands for: the time since the
# submission, or what the pod may cost since the run began, whichever comes first.
_job_limit() {
  JOB_DEADLINE=$((JOB_SUBMITTED + $(load_line "$JOB_RUN/plan" timeout_seconds))) JOB_LIMIT=$EX_TIME
  budget_seconds "$(load_line "$JOB_RUN/plan" max_cost_usd)" "$POD_RATE"
  if [ -n "$BUDGET_SECONDS" ] && [ $((JOB_PAID_FROM + BUDGET_SECONDS)) -lt "$JOB_DEADLINE" ]; then
    JOB_DEADLINE=$((JOB_PAID_FROM + BUDGET_SECONDS)) JOB_LIMIT=$EX_COST
  fi
}

# job_collect - judges the history entry and brings the outputs home; outputs.json is written with
# result.json, until then the journal of the collected ones stands for it. EX_WORKFLOW, EX_DOWNLOAD.
job_collect() {
  local plan=$CORE_TMP/collect status=0
  helper_run history --prompt-id "$JOB_PROMPT_ID" --workflow "$JOB_RUN/workflow.json" \
    --job "$JOB_RUN/job.json" <"$JOB_RUN/history.json" >"$plan" ||
    core_fail "$EX_WORKFLOW" "the server's history entry makes no sense" \
      "it is in $JOB_RUN/history.json" || return
  JOB_OPEN=''
  JOB_STATE=$(load_line "$plan" state)
  JOB_SERVER_SECONDS=$(load_line "$plan" seconds)
  if [ "$JOB_STATE" = success ]; then
    ui_done "done${JOB_SERVER_SECONDS:+ in $JOB_SERVER_SECONDS s on the server}"
  else
    ui_failed "$JOB_STATE"
  fi
  [ -z "$(load_line "$plan" file)$(load_line "$plan" text)" ] || {
    ui_step Download
    collect_outputs "$plan" "$JOB_RUN/collected" || status=$?
    ui_count $(($(wc -l <"$JOB_RUN/collected"))) file
    if [ "$status" = 0 ]; then ui_done "$UI_COUNT, verified"; else ui_failed "only $UI_COUNT"; fi
  }
  _job_judge "$plan" "$status" || return
  JOB_ALL_HERE=1
}

# _job_judge PLAN STATUS - what the whole amounts to: the workflow's own error first, then what is
# missing.
_job_judge() {
  local tag text missing=''
  while IFS=$'\t' read -r tag text; do
    case $tag in
      warning) ui_warn "$text" ;;
      missing_output) missing="$missing${missing:+, }$text" ;;
    esac
  done <"$1"
  [ "$JOB_STATE" = success ] ||
    core_fail "$EX_WORKFLOW" "$(load_line "$1" error)" "$(load_line "$1" hint)" || return
  [ "$2" = 0 ] || return "$2"
  [ -s "$JOB_RUN/collected" ] ||
    core_fail "$EX_DOWNLOAD" "the workflow ran without an error, but made no file" \
      "does it have a Save node, and was nothing blocked?" || return
  [ -z "$missing" ] || core_fail "$EX_DOWNLOAD" "no file came for: $missing" \
    "in the job's \"outputs\" use a node id, its title, its filename_prefix, or image, video, audio, text"
}

# job_left_outputs - 0 when the run at hand has, or may have, outputs on the server that are not all
# here: it ended there and not everything came, or nobody knows how it ended.
job_left_outputs() {
  if [ -n "$JOB_ALL_HERE" ]; then return 1; fi
  if [ -f "$JOB_RUN/history.json" ]; then
    [ "$JOB_STATE" = success ]
  else
    [ "$JOB_CODE" = "$EX_TUNNEL" ] && [ -f "$JOB_RUN/prompt.json" ]
  fi
}

# job_cancel - takes the prompt at hand back on the server; 1 when that could not be confirmed.
job_cancel() {
  [ -n "$JOB_OPEN" ] && [ -n "$TARGET_URL" ] || return 0
  if comfy_cancel "$TARGET_URL" "$JOB_PROMPT_ID"; then
    ui_note "The job was cancelled on the server."
    JOB_OPEN=''
    rm -f -- "$JOB_RUN/prompt.json" # a resumed run posts a new one
  else
    ui_warn "the server did not confirm that the job is cancelled: it may still compute"
    return 1
  fi
}

# job_finish CODE - writes result.json (how it went, what it took, what came of it), and gives the run free.
job_finish() {
  local facts outputs result
  os_now
  JOB_SECONDS=$((OS_NOW - JOB_BEGAN))
  budget_cost "${POD_RATE:-0}" $((JOB_SECONDS + 1)) # both ends were cut to the second
  JOB_COST=$BUDGET_COST
  os_utc
  facts=(--arg job "$JOB_ID" --arg run "${JOB_RUN##*/}" --arg prompt "$JOB_PROMPT_ID"
    --argjson code "$1" --arg signal "$CORE_SIGNAL" --arg error "$CORE_ERROR" --arg hint "$CORE_HINT"
    --arg steps "$JOB_STEPS" --argjson total "$JOB_SECONDS" --arg server "$JOB_SERVER_SECONDS"
    --arg pod "$POD_ID" --arg provider "$POD_PROVIDER" --arg gpu "$POD_GPU" --arg rate "$POD_RATE"
    --arg cost "$JOB_COST" --arg url "$TARGET_URL" --arg comfyui "$COMFY_VERSION"
    --arg version "$AUTOPOD_VERSION" --arg at "$OS_UTC")
  : >>"$JOB_RUN/collected"
  { IFS= read -r outputs && IFS= read -r result; } < <(jq -R -n -c "${facts[@]}" "$_JOB_RESULT" "$JOB_RUN/collected") ||
    result=''
  [ -z "$JOB_ALL_HERE" ] || state_write "$JOB_RUN/outputs.json" "$outputs"
  state_write "$JOB_RUN/result.json" "$result"
  state_unlock "run-${JOB_RUN##*/}"
}

# The shapes of outputs.json (from the journal) and result.json, a line each; the README describes them.
_JOB_RESULT='
  def known: if . == "" then null else . end;
  def steps: split("\n") | map(select(. != "") | split(" ") | {(.[0]): ((.[1] | tonumber) / 1000)}) | add // {};
  [inputs | split("\t")
    | {node: .[1], kind: .[2], server_name: .[3], bytes: (.[4] | tonumber), sha256: .[5], path: .[6]}] as $outputs
  | $outputs,
  {job_id: $job, run: $run, exit_code: $code,
   status: (if $code == 0 then "success" elif $signal != "" then "interrupted" else "failed" end),
   error: (if $code == 0 then null elif $error == "" then "see the log" else $error end),
   hint: (if $code == 0 then null else $hint | known end),
   prompt_id: ($prompt | known), outputs: $outputs,
   seconds: (($steps | steps) + {total: $total}), server_seconds: ($server | tonumber? // null),
   cost_usd: ($cost | tonumber),
   pod: (if $pod == "" then null
     else {id: $pod, provider: $provider, gpu: $gpu, cost_per_hr: ($rate | tonumber? // 0)} end),
   url: ($url | known), comfyui_version: ($comfyui | known), autopod_version: $version, finished_at: $at}'
