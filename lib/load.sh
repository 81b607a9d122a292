# shellcheck shell=bash
# load.sh - a job file becomes a run: checked, rendered and laid down in a directory of its own. Nothing is contacted, but a
# server that was named, when what is known of its nodes speaks against the job. What helpers/render_template.py says comes
# in lines of a tag and a text.

[ -z "${_AUTOPOD_LOAD_SH:-}" ] || return 0 # @guard
_AUTOPOD_LOAD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/nodes.sh"
. "$AUTOPOD_LIB/target.sh"

LOAD_ARGS=()      # --set, --timeout and so on, as the helper takes them
LOAD_WORKFLOWS=() # the files that are workflows, not jobs
LOAD_NO_CHECK=''  # set by --no-check
LOAD_LENIENT=''   # set when a part of a workflow may be left out by the server: what it refuses is only told
LOAD_QUIET=''     # set when somebody else tells what the check has found
LOAD_RUN=''       # the directory of the run that was laid down last, and its job_id
LOAD_ID=''

LOAD_DRY=''   # set when nothing may be contacted
_LOAD_URL=''  # the server that was named and may be asked
_LOAD_SAID='' # set when it is known which definitions there are
_LOAD_MOST=10 # warnings of the check that are told

# load_run FILE - checks and renders a job and lays it down as a new run; sets LOAD_ID and LOAD_RUN.
# Nothing is contacted. EX_USAGE with every problem told.
load_run() {
  local lines=$CORE_TMP/rendered new=$AUTOPOD_HOME/runs/.new.$$.$RANDOM
  _load_render "$1" "$lines" || return
  LOAD_ID=$(load_line "$lines" job_id)
  os_utc_compact
  printf -v LOAD_RUN '%s/runs/%s.%s.%04x' "$AUTOPOD_HOME" "$LOAD_ID" "$OS_UTC" "$RANDOM"
  { mkdir -- "$new" && _load_lay_down "$lines" "$new" && printf 'label\t%s\n' "${1//[$'\n\t']/ }" >>"$new/plan" && mv -- "$new" "$LOAD_RUN"; } 2>/dev/null && return
  rm -rf -- "$new"
  core_fail "$EX_FAIL" "can't make $LOAD_RUN" "is the disk full?"
}

# _load_lay_down LINES DIR - writes job.json, workflow.json (or graph.json, of which a workflow is made when its server is
# known) and plan (what the later steps need) from the helper's lines into the run's directory; 1 when the disk is full.
_load_lay_down() {
  local tag text late=''
  # A graph is converted when its server is known, unless that has been asked just now.
  [ -z "$(load_line "$1" source)" ] || nodes_is_fresh || late=1
  while IFS=$'\t' read -r tag text; do
    case $late$tag in
      1workflow | 1timings | 1seed) ;;
      1source) printf '%s\n' "$text" >"$2/graph.json" ;;
      *job | *workflow | *graph) printf '%s\n' "$text" >"$2/$tag.json" ;;
      *job_id | *template | *timeout_seconds | *max_cost_usd | *timings | *seed | *upload | *uploads) printf '%s\t%s\n' "$tag" "$text" >>"$2/plan" ;;
    esac || return
  done <"$1"
  target_wishes >>"$2/plan"
  ! os_process_start "$$" || printf 'call\t%s-%s\n' "$$" "$OS_START" >>"$2/plan" # who is going to carry it out
}

# load_plan FILE - the same check for --dry-run: leaves the helper's lines in LOAD_PLAN, and nothing
# anywhere else.
load_plan() {
  LOAD_PLAN=$CORE_TMP/rendered LOAD_DRY=1
  _load_render "$1" "$LOAD_PLAN" && LOAD_ID=$(load_line "$LOAD_PLAN" job_id)
}

# load_plan_json - prints the checked job as JSON, its workflow (null: it needs a server's node definitions) and what was
# found beside it.
load_plan_json() {
  local job workflow
  job=$(load_line "$LOAD_PLAN" job) workflow=$(load_line "$LOAD_PLAN" workflow)
  printf '%s,"workflow":%s,"findings":[%s]}' "${job%\}}" "${workflow:-null}" "$(load_findings_json "$LOAD_PLAN")"
}

# load_findings_json LINES - prints what the check has found as the items of a JSON array.
load_findings_json() {
  local line name comma='' stale
  while IFS= read -r line; do
    load_finding "$line" || continue
    stale=false
    [ "$LOAD_STALE" = 0 ] || stale=true
    printf '%s{"severity":"%s","stale":%s' "$comma" "$LOAD_SEVERITY" "$stale"
    for name in NODE FIELD TEXT; do
      stale=LOAD_$name
      events_quote "${!stale}"
      case $name in NODE) name=node ;; FIELD) name=field ;; *) name=text ;; esac
      printf ',"%s":%s' "$name" "$EVENTS_JSON"
    done
    printf '}'
    comma=,
  done <"$1"
}

# load_finding LINE - 0 when the line of the helper is about something that the check has found: then LOAD_SEVERITY (error,
# warning), LOAD_STALE (1: perhaps no longer so), LOAD_NODE, LOAD_FIELD (either may be empty) and LOAD_TEXT are set.
load_finding() {
  local rest=${1#finding$'\t'}
  [ "$rest" != "$1" ] || return 1
  LOAD_SEVERITY=${rest%%$'\t'*} rest=${rest#*$'\t'}
  LOAD_STALE=${rest%%$'\t'*} rest=${rest#*$'\t'}
  LOAD_NODE=${rest%%$'\t'*} rest=${rest#*$'\t'}
  LOAD_FIELD=${rest%%$'\t'*} LOAD_TEXT=${rest#*$'\t'}
}

# _load_render JOB_FILE LINES - starts helpers/render_template.py; its lines go to LINES, its warnings and what its check
# has found are told; EX_USAGE.
_load_render() {
  local input=/dev/null
  core_tmpdir && helper_asset_dir templates || return
  [ "$1" != - ] || input=$CORE_TMP/job.stdin # it may be read twice
  [ "$1" != - ] || cat >"$input" || return
  _load_nodes
  if ! _load_may_ask; then
    nodes_with _load_helper "$1" "$2" "$input" || return
  elif ! core_quietly nodes_with _load_helper "$1" "$2" "$input" || _load_is_doubtful "$2"; then
    # What stands in old definitions is no reason to refuse anything: a server that was named is asked.
    ! _load_is_doubtful "$2" || core_quietly nodes_fetch "$_LOAD_URL" || :
    nodes_with _load_helper "$1" "$2" "$input" || return
  fi
  input=$1
  [ "$input" != - ] || input='standard input'
  _load_tell "$2" "$input"
}

# _load_helper JOB_FILE LINES INPUT - one start of the helper, which gets INPUT as its stdin.
_load_helper() {
  local what=--job file args=()
  for file in ${LOAD_WORKFLOWS[@]+"${LOAD_WORKFLOWS[@]}"}; do [ "$file" != "$1" ] || what=--workflow; done
  _load_info
  [ -z "$NODES_FILE" ] || args=(--object-info="$NODES_FILE" --info="$LOAD_INFO")
  [ -z "$LOAD_NO_CHECK" ] || args=(${args[@]+"${args[@]}"} --no-check)
  helper_run render_template "$what=$1" --template-dir="$HELPER_DIR" --output-dir="$AUTOPOD_OUTPUT_DIR" --plan-findings \
    ${args[@]+"${args[@]}"} ${LOAD_ARGS[@]+"${LOAD_ARGS[@]}"} >"$2" <"$3"
}

# _load_nodes - sets NODES_FILE to the definitions that fit the server best that is going to be used, by what is known
# without asking anybody; and which server may be asked.
_load_nodes() {
  [ -z "$_LOAD_SAID$NODES_LIVE" ] || return 0
  _LOAD_SAID=1 _LOAD_URL=$TARGET_WISH_URL
  [ -z "$TARGET_WISH_NO_TUNNEL" ] || _LOAD_URL=http://127.0.0.1:$AUTOPOD_PORT
  NODES_SERVER=''
  [ -z "$_LOAD_URL$TARGET_WISH_POD" ] || nodes_server "$_LOAD_URL" "$TARGET_WISH_POD"
  nodes_saved "$NODES_SERVER"
}

# _load_info - sets LOAD_INFO to what the definitions at hand are, as the helper takes it: live or saved.
_load_info() {
  LOAD_INFO=saved
  [ -z "$NODES_LIVE" ] || LOAD_INFO=live
}

# _load_may_ask - 0 when the definitions may be out of date, and there is a server to ask.
_load_may_ask() { [ -n "$_LOAD_URL" ] && [ -n "$NODES_FILE" ] && [ -z "$NODES_LIVE$LOAD_DRY" ]; }

# _load_is_doubtful LINES - 0 when something speaks against the job that may be otherwise by now.
_load_is_doubtful() {
  local line
  _load_may_ask || return 1
  while IFS= read -r line; do
    [ "$line" != $'stale\t1' ] || return 0
    ! load_finding "$line" || [ "$LOAD_SEVERITY$LOAD_STALE" = warning0 ] || return 0
  done <"$1"
  return 1
}

# load_label FILE - sets LOAD_LABEL to where the last finding is: FILE:NODE:FIELD.
load_label() { LOAD_LABEL=$1${LOAD_NODE:+:$LOAD_NODE}${LOAD_FIELD:+:$LOAD_FIELD}; }

# _load_tell LINES FILE - tells the helper's warnings, and what the check has found; EX_USAGE when the server would refuse
# the workflow.
_load_tell() {
  local line warnings=0 errors=0 doubt=''
  while IFS= read -r line; do
    case $line in
      warning$'\t'*) ui_warn "${line#*$'\t'}" ;;
      finding$'\t'*)
        [ -z "$LOAD_QUIET" ] && load_finding "$line" || continue
        [ "$LOAD_STALE$NODES_LIVE" != 1 ] || NODES_DOUBT=1 doubt=1
        load_label "$2"
        if [ "$LOAD_SEVERITY" = error ] && [ -z "$LOAD_LENIENT" ]; then
          errors=$((errors + 1))
          core_fail "$EX_USAGE" "$LOAD_LABEL: $LOAD_TEXT" || :
        else
          warnings=$((warnings + 1))
          [ "$warnings" -gt "$_LOAD_MOST" ] || ui_warn "$LOAD_LABEL: $LOAD_TEXT"
        fi
        ;;
    esac
  done <"$1"
  [ "$warnings" -le "$_LOAD_MOST" ] || ui_note "and $((warnings - _LOAD_MOST)) more warnings: comfy-check shows all"
  load_source
  [ -z "$doubt" ] || [ "$errors" != 0 ] || ui_note "That goes by $LOAD_SOURCE; another server may be otherwise."
  [ "$errors" != 0 ] || return 0
  CORE_HINT="that is so by $LOAD_SOURCE; --no-check runs it all the same"
  ui_tell hint "$CORE_HINT"
  return "$EX_USAGE"
}

# load_source - sets LOAD_SOURCE to where the definitions are from that the check went by, in words.
load_source() {
  local name=${NODES_FILE##*/}
  name=${name%.json}
  if [ -z "$NODES_FILE" ]; then
    LOAD_SOURCE='what is known without a server'
  elif [ -n "$NODES_GIVEN" ]; then
    LOAD_SOURCE="the node definitions in $NODES_FILE"
  elif [ -n "$NODES_LIVE" ]; then
    LOAD_SOURCE="what the server says of its nodes (ComfyUI ${name%%@*})"
  else
    LOAD_SOURCE="the node definitions that ${name#*@} had (ComfyUI ${name%%@*})"
  fi
}

# load_late RUN URL POD - makes workflow.json of a run that had only its graph.json so far, by what the server that is open
# says of its nodes; EX_USAGE when it can't be, or the server would refuse it; EX_TUNNEL.
load_late() {
  local lines=$CORE_TMP/late label
  core_tmpdir || return
  nodes_get "$2" "$3" || return
  # What was saved may be from before a pack was installed.
  core_quietly _load_render_late "$1" "$lines" || [ -n "$NODES_LIVE" ] || nodes_fetch "$2" "$3" || return
  [ -s "$lines" ] || _load_render_late "$1" "$lines" || return
  label=$(load_line "$1/plan" label)
  _load_tell "$lines" "${label:-${1##*/}}" && _load_lay_down_late "$lines" "$1"
}

# _load_render_late RUN LINES - one start of the helper for it; LINES is empty when it says no.
_load_render_late() {
  local args=()
  _load_info
  [ -z "$LOAD_NO_CHECK" ] || args=(--no-check)
  [ -z "$LOAD_LENIENT" ] || args=(${args[@]+"${args[@]}"} --plan-findings)
  helper_run render_template --graph="$1/graph.json" --job="$1/job.json" --object-info="$NODES_FILE" --info="$LOAD_INFO" \
    ${args[@]+"${args[@]}"} >"$2" </dev/null || {
    : >"$2"
    return "$EX_USAGE"
  }
}

# _load_lay_down_late LINES RUN - what is known only now takes its place in the run; EX_FAIL.
_load_lay_down_late() {
  local tag text
  while IFS=$'\t' read -r tag text; do
    case $tag in
      timings | seed) printf '%s\t%s\n' "$tag" "$text" >>"$2/plan" ;;
      workflow) state_write "$2/workflow.json" "$text" || return ;;
    esac
  done <"$1"
  [ -s "$2/workflow.json" ] || core_fail "$EX_USAGE" "no workflow came of $2/graph.json" "is that the graph of a workflow?"
}

# load_line LINES TAG - prints what stands behind TAG.
load_line() {
  local tag text
  while IFS=$'\t' read -r tag text; do
    [ "$tag" != "$2" ] || {
      printf '%s\n' "$text"
      return
    }
  done <"$1"
}
