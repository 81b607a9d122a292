# shellcheck shell=bash
# job.sh - one job, as steps: load, render, (target), upload, submit, await, collect, finish. A run
# is a directory; a step whose file is there is done, so running a run again resumes it.

[ -z "${_AUTOPOD_JOB_SH:-}" ] || return 0 # @guard
_AUTOPOD_JOB_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/nodes.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/upload.sh"
. "$AUTOPOD_LIB/progress.sh"
. "$AUTOPOD_LIB/bill.sh"
. "$AUTOPOD_LIB/prompt.sh"
. "$AUTOPOD_LIB/collect.sh"

# What the user asked for.
JOB_NO_DOWNLOAD='' # --no-download: the outputs stay on the server

JOB_RUN='' # the directory of the run at hand
JOB_SECONDS=0 JOB_COST=0
JOB_RESUMED=''    # set when the run was begun by an earlier call
_JOB_UNFETCHED='' # set while the server has outputs that are not all here; so is the file unfetched

# job_run RUN - carries the run through, from the first step that is not done; the job's exit code.
# Its result is in RUN/result.json either way.
job_run() {
  local status=0
  job_begin "$1"
  job_take "$1" || return
  _job_tell_begin
  _job_steps || status=$?
  if [ -n "$PROMPT_LEFT" ]; then
    job_leave
    return "$status"
  fi
  # At a limit nobody may know whether the server took it.
  [ -z "$PROMPT_OPEN" ] || [ -z "$LIMITS_ENDED" ] || prompt_withdraw || :
  limits_step ''
  [ "$status" = 0 ] || ui_failed
  JOB_CODE=$status
  job_finish "$status" || status=$?
  return "$status"
}

# job_begin RUN - it is the run at hand from here on; nothing of it is done yet.
job_begin() {
  JOB_RUN=$1 JOB_STEPS='' JOB_SERVER_SECONDS='' JOB_STATE='' JOB_CODE=0 JOB_ALL_HERE='' _JOB_UNFETCHED=''
  JOB_ID=$(load_line "$1/plan" job_id)
  os_now
  JOB_BEGAN=$OS_NOW
  prompt_begin "$1" "$OS_NOW"
  limits_begin "$1" "$OS_NOW"
  bill_begin
  core_forget_error
}

# _job_tell_begin - the run begins, for people, programs, and its own log.
_job_tell_begin() {
  ui_log_also "$JOB_RUN/log"
  http_log "$JOB_RUN/network.tsv"
  ui_log info "run ${JOB_RUN##*/}"
  EVENTS_RUN=${JOB_RUN##*/}
  events_emit run_started job s "$JOB_ID" directory s "$JOB_RUN"
  progress_begin "$JOB_RUN" "$JOB_BEGAN" "$(load_line "$JOB_RUN/plan" max_cost_usd)"
}

# job_take RUN - makes sure that nobody else carries the run out; EX_USAGE when somebody does.
job_take() {
  state_lock "run-${1##*/}" 1 || # autopod-cancel has it for a moment
    core_fail "$EX_USAGE" "run ${1##*/} is still being carried out by process $(state_lock_owner "run-${1##*/}")" \
      "wait for that one"
}

# _job_steps - the steps of the run at hand, in order.
_job_steps() {
  _job_step target job_target &&
    _job_step upload job_upload &&
    _job_step submit prompt_submit &&
    _job_step await job_await &&
    _job_step collect job_collect
}

# _job_step NAME FUNCTION - runs a step and notes how long it took; the step's status; EX_CANCEL when somebody has
# cancelled the run.
_job_step() {
  local status=0 began
  [ ! -e "$JOB_RUN/cancel" ] || _job_is_cancelled || return
  [ "$1" = await ] || progress_state "$1"
  limits_step "$1"
  os_now_ms
  began=$OS_MS
  bill_step "$1" "$OS_MS"
  "$2" || status=$?
  os_now_ms
  bill_step '' "$OS_MS"
  JOB_STEPS="$JOB_STEPS$1 $((OS_MS - began))"$'\n'
  return "$status"
}

# _job_is_cancelled - autopod-cancel came between two steps: nothing more is begun; EX_CANCEL. What is already on its
# way home is not stopped any more.
_job_is_cancelled() {
  [ ! -f "$JOB_RUN/history.json" ] || return 0
  PROMPT_CANCELLED=1
  prompt_withdraw || :
  if [ -n "$PROMPT_DONE" ]; then
    PROMPT_CANCELLED=''
    return 0
  fi
  core_fail "$EX_CANCEL" "the job was cancelled" "comfy-run --resume ${JOB_RUN##*/} submits it again"
}

# job_target - opens where the job runs. On another pod than last time the earlier uploads and the
# prompt are void.
job_target() {
  local before='' now=''
  [ ! -f "$JOB_RUN/pod.json" ] || before=$(<"$JOB_RUN/pod.json")
  target_open "$JOB_RUN/job.json" "$JOB_RUN/pod.json" || return
  # A run that is resumed on the pod that it made has been paying for it all the time.
  if [ -n "$JOB_RESUMED" ] && [ -n "$TARGET_MADE" ]; then
    PROMPT_PAID_FROM=$POD_SINCE
    progress_paid_from "$POD_SINCE"
    limits_paid_from "$POD_SINCE"
  fi
  limits_priced
  [ ! -f "$JOB_RUN/pod.json" ] || now=$(<"$JOB_RUN/pod.json")
  [ -z "$before" ] || [ "${before%%,*}" = "${now%%,*}" ] || # its first field is the id
    _job_start_over
  [ -s "$JOB_RUN/workflow.json" ] || load_late "$JOB_RUN" "$TARGET_URL" "$POD_ID"
}

# _job_start_over - forgets what was done on a pod that is gone.
_job_start_over() {
  rm -f -- "$JOB_RUN/uploads.json" "$JOB_RUN/prompt.json" "$JOB_RUN/history.json" "$JOB_RUN/unfetched"
  [ ! -f "$JOB_RUN/rendered.json" ] || mv -- "$JOB_RUN/rendered.json" "$JOB_RUN/workflow.json"
  [ ! -f "$JOB_RUN/graph.json" ] || rm -f -- "$JOB_RUN/workflow.json" # it was made for the nodes of that pod
}

# job_upload - brings the file inputs to the server; uploads.json. EX_UPLOAD.
job_upload() {
  [ ! -f "$JOB_RUN/uploads.json" ] && [ -n "$(load_line "$JOB_RUN/plan" upload)" ] || return 0
  ui_step Upload
  upload_files "$JOB_RUN/plan" "$CORE_TMP/uploads.json" || return
  [ -z "$UPLOAD_RENAMED" ] || _job_rename "$CORE_TMP/uploads.json" || return
  state_save "$JOB_RUN/uploads.json" <"$CORE_TMP/uploads.json" || return
  ui_done "$UPLOAD_TEXT"
  events_emit upload files n "$UPLOAD_FILES" bytes n "$UPLOAD_BYTES"
}

# _job_rename UPLOADS - the workflow names the inputs as the server called them; as it was rendered it is
# kept in rendered.json. (By Python: jq 1.6 would round large seeds.)
_job_rename() {
  [ -f "$JOB_RUN/rendered.json" ] || state_save "$JOB_RUN/rendered.json" <"$JOB_RUN/workflow.json" || return
  helper_run rename_uploads --uploads "$1" <"$JOB_RUN/rendered.json" >"$CORE_TMP/renamed" &&
    state_save "$JOB_RUN/workflow.json" <"$CORE_TMP/renamed"
}

# job_await - waits for the end. First, while the server is at work: what its nodes are like is kept for the next workflow.
job_await() {
  [ -f "$JOB_RUN/history.json" ] || nodes_keep "$TARGET_URL" "$POD_ID"
  prompt_await
}

# job_collect - judges the history entry and brings the outputs home; outputs.json is written with
# result.json, until then the journal of the collected ones stands for it. EX_WORKFLOW, EX_DOWNLOAD; EX_TIME, EX_COST.
job_collect() {
  local plan=$CORE_TMP/collect status=0
  limits_step collect
  helper_run history --prompt-id "$PROMPT_ID" --workflow "$JOB_RUN/workflow.json" \
    --job "$JOB_RUN/job.json" <"$JOB_RUN/history.json" >"$plan" ||
    core_fail "$EX_WORKFLOW" "the server's history entry makes no sense" \
      "it is in $JOB_RUN/history.json" || return
  PROMPT_OPEN=''
  JOB_STATE=$(load_line "$plan" state)
  JOB_SERVER_SECONDS=$(load_line "$plan" seconds)
  bill_times "$plan"
  if [ "$JOB_STATE" = success ]; then
    ui_done "done${JOB_SERVER_SECONDS:+ in $JOB_SERVER_SECONDS s on the server}"
  else
    ui_failed "$JOB_STATE"
  fi
  [ -z "$(load_line "$plan" file)$(load_line "$plan" text)" ] || {
    _JOB_UNFETCHED=1
    core_quietly state_write "$JOB_RUN/unfetched" 1 || :
    [ -z "$JOB_NO_DOWNLOAD" ] || _job_not_fetched "$plan" || return 0
    ui_step Download
    collect_outputs "$plan" "$JOB_RUN/collected" || status=$?
    if [ "$status" = 0 ]; then
      _JOB_UNFETCHED=''
      rm -f -- "$JOB_RUN/unfetched"
      ui_done "$COLLECT_TEXT, verified"
    else
      ui_failed "only $COLLECT_TEXT"
    fi
  }
  job_judge "$plan" "$status" || return
  JOB_ALL_HERE=1
}

# _job_not_fetched PLAN - says that the outputs stay where they are: 1; 0 when the workflow failed, and what it has made
# before that may be all there is.
_job_not_fetched() {
  local count
  [ "$JOB_STATE" = success ] || return 0
  count=$(LC_ALL=C grep -c -e $'^file\t' -e $'^text\t' "$1") || :
  ui_count "$count" file
  ui_note "Left on the server: $UI_COUNT. To have them here: comfy-fetch ${JOB_RUN##*/}"
  return 1
}

# job_judge PLAN STATUS - what the whole amounts to, its download having ended with STATUS: the workflow's own error first,
# then what is missing. EX_WORKFLOW, EX_DOWNLOAD.
job_judge() {
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
# here: it ended there and not everything came, or nobody knows how it ended (the file of a prompt that was cancelled for
# certain is gone).
job_left_outputs() {
  if [ -n "$JOB_ALL_HERE" ]; then return 1; fi
  if [ -n "$PROMPT_NOT_KEPT$PROMPT_LEFT$_JOB_UNFETCHED" ]; then return 0; fi
  if [ -f "$JOB_RUN/history.json" ]; then
    [ "$JOB_STATE" = success ] || [ -z "$JOB_STATE" ]
  else
    case $JOB_CODE:$JOB_STEPS in
      0:* | "$EX_UPLOAD":* | "$EX_REFUSED":* | "$EX_WORKFLOW":* | "$EX_POD":*await*) return 1 ;;
    esac
    [ -f "$JOB_RUN/prompt.json" ]
  fi
}

# job_leave - the run is given free as it is: the server goes on with its prompt, and anybody can take it up.
job_leave() {
  progress_end
  ui_done "left on the server"
  state_unlock "run-${JOB_RUN##*/}"
  ui_log_also ''
  http_log ''
}

# job_finish CODE - writes result.json (how it went, what it took, what came of it), and gives the run free.
job_finish() {
  local facts outputs result
  os_now
  JOB_SECONDS=$((OS_NOW - JOB_BEGAN))
  budget_cost "${POD_RATE:-0}" $((OS_NOW - PROMPT_PAID_FROM + 1)) # both ends were cut to the second
  JOB_COST=$BUDGET_COST
  bill_finish "$JOB_RUN" "$PROMPT_PAID_FROM" "$JOB_COST" "$TARGET_MADE"
  bill_plan "$JOB_RUN/plan"
  os_utc
  facts=(--arg job "$JOB_ID" --arg run "${JOB_RUN##*/}" --arg prompt "$PROMPT_ID"
    --argjson code "$1" --arg signal "$CORE_SIGNAL" --arg cancelled "$PROMPT_CANCELLED" --arg error "$CORE_ERROR" --arg hint "$CORE_HINT"
    --arg steps "$JOB_STEPS" --argjson total "$JOB_SECONDS" --arg server "$JOB_SERVER_SECONDS"
    --arg pod "$POD_ID" --arg provider "$POD_PROVIDER" --arg gpu "$POD_GPU" --arg rate "$POD_RATE"
    --arg cost "$JOB_COST" --arg url "$TARGET_URL" --arg comfyui "$COMFY_VERSION"
    --arg version "$AUTOPOD_VERSION" --arg at "$OS_UTC" --arg template "$BILL_TEMPLATE" --arg seed "$BILL_SEED"
    --argjson bill "$BILL_JSON" --argjson limits "$BILL_LIMITS" --arg here "$JOB_ALL_HERE")
  : >>"$JOB_RUN/collected"
  { IFS= read -r outputs && IFS= read -r result; } < <(jq -R -n -c "${facts[@]}" "$_JOB_RESULT" "$JOB_RUN/collected") ||
    result=''
  [ -z "$JOB_ALL_HERE" ] || state_write "$JOB_RUN/outputs.json" "$outputs"
  state_write "$JOB_RUN/result.json" "$result"
  progress_end
  [ ! -e "$JOB_RUN/progress" ] || rm -f -- "$JOB_RUN/progress" # what comes after it is the result
  _job_tell_end "$1" "$result"
  state_unlock "run-${JOB_RUN##*/}"
}

# _job_tell_end CODE RESULT - the run is over, for programs and its own log.
_job_tell_end() {
  local status=${2#*'"status":"'}
  job_emit_end "$JOB_ID" "${status%%\"*}" "$1" "$JOB_SECONDS" "$JOB_COST" "$2"
  ui_log info "ended with $1 after $JOB_SECONDS s"
  ui_log_also ''
  http_log ''
  EVENTS_RUN=''
}

# job_emit_end JOB STATUS CODE SECONDS DOLLARS [RESULT] - the event that ends a run, with the last error; JOB is empty when
# there was no run.
job_emit_end() {
  local error
  ui_clean "$CORE_ERROR"
  error=$UI_TEXT
  ui_clean "$CORE_HINT"
  events_emit run_finished job s "$1" status s "$2" exit_code n "$3" error s "$error" hint s "$UI_TEXT" \
    seconds n "$4" cost_usd n "$5" result j "${6:-}"
}

# The shapes of outputs.json (from the journal) and result.json, a line each; the README describes them.
_JOB_RESULT='
  def known: if . == "" then null else . end;
  # Beyond 2^53 a number is another one to programs that only know floats, as jq 1.6 does.
  def number: if test("^[0-9]{1,15}$") or (test("^[0-9]{16}$") and . <= "9007199254740992") then tonumber else known end;
  def steps: split("\n") | map(select(. != "") | split(" ") | {(.[0]): ((.[1] | tonumber) / 1000)}) | add // {};
  [inputs | split("\t")
    | {node: .[1], kind: .[2], server_name: .[3], bytes: (.[4] | tonumber), sha256: .[5], path: .[6]}] as $outputs
  | $outputs,
  {job_id: $job, run: $run, template: ($template | known), exit_code: $code,
   status: (if $code == 0 then "success" elif $cancelled != "" then "cancelled" elif $signal != "" then "interrupted" else "failed" end),
   error: (if $code == 0 then null elif $error == "" then "see the log" else $error end),
   hint: (if $code == 0 then null else $hint | known end),
   prompt_id: ($prompt | known), seed: ($seed | number), outputs: $outputs, downloaded: ($here != ""),
   seconds: (($steps | steps) + {total: $total}), server_seconds: ($server | tonumber? // null),
   cost_usd: ($cost | tonumber), bill: $bill, limits: $limits,
   pod: (if $pod == "" then null
     else {id: $pod, provider: $provider, gpu: $gpu, cost_per_hr: ($rate | tonumber? // 0)} end),
   url: ($url | known), comfyui_version: ($comfyui | known), autopod_version: $version, finished_at: $at}'
