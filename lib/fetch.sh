# shellcheck shell=bash
# fetch.sh - brings home what a run has left on its server. Nothing is submitted, started or ended for it.

[ -z "${_AUTOPOD_FETCH_SH:-}" ] || return 0 # @guard
_AUTOPOD_FETCH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/remote.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/bill.sh"
. "$AUTOPOD_LIB/collect.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/prompt.sh"
. "$AUTOPOD_LIB/job.sh"

# What the user asked for.
FETCH_DIR='' # -o: where the files go, instead of where the job said

FETCH_STATE=''         # what has become of it: fetched, here (they were here before), running, pending, unknown, failed
FETCH_JSON=''          # an object for each run that was looked at, a comma between them
_FETCH_LINK_SECONDS=30 # for a tunnel to open
_FETCH_OUTPUTS='[]'    # what is here of the run at hand

# fetch_run RUN - brings its outputs here; EX_FAIL when its prompt has not ended, EX_DOWNLOAD when they are not to be had,
# EX_POD, EX_TUNNEL when its server can't be reached, EX_USAGE when somebody else is at it.
fetch_run() {
  local status=0
  FETCH_STATE=failed _FETCH_OUTPUTS='[]'
  core_forget_error
  job_begin "$1"
  TARGET_URL='' TUNNEL_OPENED='' POD_ID='' POD_RATE=''
  if [ -z "$FETCH_DIR" ] && _fetch_is_here "$1"; then
    FETCH_STATE=here
    ui_note "All outputs of ${1##*/} are here already."
  elif job_take "$1"; then
    http_log "$1/network.tsv"
    { _fetch_read "$1" && _fetch_link "$1" && _fetch_ask "$1" && _fetch_collect "$1"; } || status=$?
    http_log ''
    [ -z "$TUNNEL_OPENED" ] || tunnel_close
    state_unlock "run-${1##*/}"
  else
    status=$? FETCH_STATE=running
  fi
  _fetch_show
  _fetch_json "$1" "$status"
  return "$status"
}

# _fetch_is_here RUN - 0 when all its outputs are here, and still where they were put.
_fetch_is_here() {
  local path
  [ -f "$1/outputs.json" ] && _FETCH_OUTPUTS=$(jq -c '. | arrays' "$1/outputs.json" 2>/dev/null) && [ -n "$_FETCH_OUTPUTS" ] || return 1
  while IFS= read -r path; do
    [ -f "$path" ] || return 1
  done < <(jq -r '.[].path' <<<"$_FETCH_OUTPUTS")
}

# _fetch_read RUN - sets PROMPT_ID, and where its server is: _FETCH_URL, or _FETCH_POD of _FETCH_PROVIDER; EX_FAIL when it has
# none.
_fetch_read() {
  local shape='^[0-9a-f-]{8,64}$' url='^https?://[^@?#[:space:]"\\]+$' id='^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
  [ -f "$1/prompt.json" ] ||
    core_fail "$EX_FAIL" "run ${1##*/} has nothing on a server: it was never submitted, or it was cancelled" \
      "comfy-run --resume ${1##*/} submits it" || return
  IFS=$'\x1f' read -r PROMPT_ID _FETCH_URL _FETCH_POD _ < <(jq -r '[.prompt_id, .url, .pod // ""] | map(tostring) | join("\u001f")' \
    "$1/prompt.json" 2>/dev/null) || PROMPT_ID=''
  _FETCH_PROVIDER=$(jq -r '.provider | strings' "$1/pod.json" 2>/dev/null) || _FETCH_PROVIDER=''
  [[ $PROMPT_ID =~ $shape ]] && { [[ $_FETCH_POD =~ $id ]] || { [ -z "$_FETCH_POD" ] && [[ $_FETCH_URL =~ $url ]]; }; } ||
    core_fail "$EX_FAIL" "the files of run ${1##*/} are damaged: they don't say which server has its outputs" "look at $1"
}

# _fetch_link RUN - sets TARGET_URL to where that server answers. EX_TUNNEL, EX_POD, EX_USAGE.
_fetch_link() {
  if [ -z "$_FETCH_POD" ]; then
    remote_seal_for "$1/plan" "$_FETCH_URL" && comfy_check "$_FETCH_URL" || return
    TARGET_URL=$_FETCH_URL
    return
  fi
  core_quietly pod_find "$_FETCH_POD" "$_FETCH_PROVIDER" && [ "$POD_STATUS" != terminated ] || {
    [ "$CORE_ERROR_CODE" = "$EX_POD" ] || [ "$CORE_ERROR_CODE" = 0 ] || core_fail "$CORE_ERROR_CODE" "$CORE_ERROR" "$CORE_HINT" || return
    core_fail "$EX_POD" "pod $_FETCH_POD of run ${1##*/} is gone, and with it what it had made" \
      "comfy-run --resume ${1##*/} runs the job again" || return
  }
  case $POD_STATUS in
    running | creating) ;;
    *)
      core_fail "$EX_POD" "pod $POD_ID of run ${1##*/} is $POD_STATUS" \
        "autopod-start $POD_ID starts it; comfy-run --resume ${1##*/} also fetches the outputs, and ends it then" || return
      ;;
  esac
  tunnel_ensure "$_FETCH_LINK_SECONDS" || return
  TARGET_URL=$TUNNEL_URL
}

# _fetch_ask RUN - makes sure that there is the history entry of its prompt; EX_FAIL when it has not ended, EX_DOWNLOAD when
# the server knows nothing of it, EX_TUNNEL.
_fetch_ask() {
  local name=${1##*/}
  [ ! -f "$1/history.json" ] || return 0
  comfy_where "$TARGET_URL" "$PROMPT_ID" "$CORE_TMP/history" ||
    core_fail "$EX_TUNNEL" "the server at $TARGET_URL does not say what has become of run $name (${HTTP_ERROR:-HTTP $HTTP_STATUS})" \
      "try again" || return
  FETCH_STATE=$COMFY_STATE
  case $COMFY_STATE in
    running) core_fail "$EX_FAIL" "run $name is still running on its server" "autopod-attach ${name##*.} watches it" ;;
    pending) core_fail "$EX_FAIL" "run $name still waits on its server, at position $COMFY_POSITION" "autopod-attach ${name##*.} watches it" ;;
    unknown)
      core_fail "$EX_DOWNLOAD" "the server at $TARGET_URL does not know the job of run $name any more: it was restarted, or its history was cleared" \
        "comfy-run --resume $name submits it again"
      ;;
    *) FETCH_STATE=failed && state_save "$1/history.json" <"$CORE_TMP/history" ;;
  esac
}

# _fetch_collect RUN - downloads what the history entry names, and writes down that it is here. EX_DOWNLOAD, EX_WORKFLOW.
_fetch_collect() {
  local job=$1/job.json journal=$1/collected plan=$CORE_TMP/collect status=0
  if [ -n "$FETCH_DIR" ]; then
    job=$CORE_TMP/fetch.job
    jq -c --arg dir "$FETCH_DIR" '.output_dir = $dir | .outputs |= (objects | map_values(strings | $dir + "/" + (split("/") | last))) // {}' \
      "$1/job.json" >"$job" || core_fail "$EX_FAIL" "$1/job.json is damaged" || return
    [ ! -f "$1/outputs.json" ] || journal=$CORE_TMP/fetch.collected # a copy: the run's own outputs stay what they are
  fi
  rm -f -- "$CORE_TMP/fetch.collected"
  helper_run history --prompt-id "$PROMPT_ID" --workflow "$1/workflow.json" --job "$job" <"$1/history.json" >"$plan" ||
    core_fail "$EX_WORKFLOW" "the server's history entry of run ${1##*/} makes no sense" "it is in $1/history.json" || return
  JOB_STATE=$(load_line "$plan" state)
  JOB_SERVER_SECONDS=$(load_line "$plan" seconds)
  ui_step Download
  collect_outputs "$plan" "$journal" || status=$?
  if [ "$status" = 0 ]; then ui_done "$COLLECT_TEXT, verified"; else ui_failed "only $COLLECT_TEXT"; fi
  _FETCH_OUTPUTS=$(_fetch_outputs "$journal") || _FETCH_OUTPUTS='[]'
  [ "$status" = 0 ] || return "$status"
  [ "$journal" != "$1/collected" ] || _fetch_note "$1" "$plan" || return
  FETCH_STATE=fetched
}

# _fetch_outputs JOURNAL - prints outputs.json for it: the last line for each output.
_fetch_outputs() {
  jq -R -n -c '[inputs | split("\t")] | group_by(.[0]) | map(last)
    | map({node: .[1], kind: .[2], server_name: .[3], bytes: (.[4] | tonumber), sha256: .[5], path: .[6]})' "$1"
}

# _fetch_note RUN PLAN - the run has its outputs, or all that there are: outputs.json, result.json. EX_FAIL, EX_WORKFLOW,
# EX_DOWNLOAD.
_fetch_note() {
  local status=0 judged=0 result
  rm -f -- "$1/unfetched"
  job_judge "$2" 0 || judged=$?
  if [ ! -f "$1/result.json" ]; then # whoever carried it out has gone: it ends here
    JOB_CODE=$judged
    [ "$judged" != 0 ] || JOB_ALL_HERE=1
    bill_times "$2"
    job_finish "$judged" || status=$?
    [ "$status" != 0 ] || status=$judged
    return "$status"
  fi
  [ "$judged" != 0 ] || state_write "$1/outputs.json" "$_FETCH_OUTPUTS" || return
  # Only the download was missing: then the job is done now. Or it only now turns out that something did not come.
  result=$(jq -c --argjson outputs "$_FETCH_OUTPUTS" --argjson judged "$judged" --arg error "$CORE_ERROR" --arg hint "$CORE_HINT" '
    .outputs = $outputs
    | if $judged == 0 then .downloaded = true
        | if .exit_code == 9 or .exit_code == 5 then .exit_code = 0 | .status = "success" | .error = null | .hint = null else . end
      elif .exit_code == 0 then .exit_code = $judged | .status = "failed" | .error = $error | .hint = $hint
      else . end' "$1/result.json") || core_fail "$EX_FAIL" "$1/result.json is damaged" || return
  state_write "$1/result.json" "$result" || return
  return "$judged"
}

# _fetch_show - says which files are here.
_fetch_show() {
  local bytes path
  while IFS=$'\t' read -r bytes path; do
    ui_size "$bytes"
    ui_note "  $path  $UI_SIZE"
  done < <(jq -r '.[] | "\(.bytes)\t\(.path)"' <<<"$_FETCH_OUTPUTS")
}

# _fetch_json RUN STATUS - adds the run to FETCH_JSON.
_fetch_json() {
  local error='' hint=''
  if [ "$2" != 0 ]; then
    ui_clean "$CORE_ERROR"
    error=$UI_TEXT
    ui_clean "$CORE_HINT"
    hint=$UI_TEXT
  fi
  events_object run s "${1##*/}" job_id s "$JOB_ID" exit_code n "$2" state s "$FETCH_STATE" error s "$error" hint s "$hint" \
    outputs j "$_FETCH_OUTPUTS"
  FETCH_JSON=$FETCH_JSON${FETCH_JSON:+,}$EVENTS_JSON
}
