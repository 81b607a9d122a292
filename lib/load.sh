# shellcheck shell=bash
# load.sh - a job file becomes a run: checked, rendered and laid down in a directory of its own. Nothing is
# contacted. What helpers/render_template.py says comes in lines of a tag and a text.

[ -z "${_AUTOPOD_LOAD_SH:-}" ] || return 0 # @guard
_AUTOPOD_LOAD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/target.sh"

LOAD_ARGS=() # --set and --timeout, as the helper takes them
LOAD_RUN=''  # the directory of the run that was laid down last, and its job_id
LOAD_ID=''

# load_run FILE - checks and renders a job and lays it down as a new run; sets LOAD_ID and LOAD_RUN.
# Nothing is contacted. EX_USAGE with every problem told.
load_run() {
  local lines=$CORE_TMP/rendered new=$AUTOPOD_HOME/runs/.new.$$.$RANDOM
  _load_render "$1" "$lines" || return
  LOAD_ID=$(load_line "$lines" job_id)
  os_utc_compact
  printf -v LOAD_RUN '%s/runs/%s.%s.%04x' "$AUTOPOD_HOME" "$LOAD_ID" "$OS_UTC" "$RANDOM"
  { mkdir -- "$new" && _load_lay_down "$lines" "$new" && mv -- "$new" "$LOAD_RUN"; } 2>/dev/null && return
  rm -rf -- "$new"
  core_fail "$EX_FAIL" "can't make $LOAD_RUN" "is the disk full?"
}

# _load_lay_down LINES DIR - writes job.json, workflow.json and plan (what the later steps need) from the
# helper's lines into the run's directory; 1 when the disk is full.
_load_lay_down() {
  local tag text
  while IFS=$'\t' read -r tag text; do
    case $tag in
      job) printf '%s\n' "$text" >"$2/job.json" ;;
      workflow) printf '%s\n' "$text" >"$2/workflow.json" ;;
      job_id | template | timeout_seconds | max_cost_usd | timings | upload | uploads) printf '%s\t%s\n' "$tag" "$text" >>"$2/plan" ;;
    esac || return
  done <"$1"
  target_wishes >>"$2/plan"
  ! os_process_start "$$" || printf 'call\t%s-%s\n' "$$" "$OS_START" >>"$2/plan" # who is going to carry it out
}

# load_plan FILE - the same check for --dry-run: leaves the helper's lines in LOAD_PLAN, and nothing
# anywhere else.
load_plan() {
  LOAD_PLAN=$CORE_TMP/rendered
  _load_render "$1" "$LOAD_PLAN" && LOAD_ID=$(load_line "$LOAD_PLAN" job_id)
}

# load_plan_json - prints the checked job as JSON, its workflow beside it.
load_plan_json() {
  local job
  job=$(load_line "$LOAD_PLAN" job)
  printf '%s,"workflow":%s}' "${job%\}}" "$(load_line "$LOAD_PLAN" workflow)"
}

# _load_render JOB_FILE LINES - starts helpers/render_template.py once; its lines go to LINES, its
# warnings are told; EX_USAGE.
_load_render() {
  local tag text
  core_tmpdir && helper_asset_dir templates || return
  helper_run render_template --job="$1" --template-dir="$HELPER_DIR" --output-dir="$AUTOPOD_OUTPUT_DIR" \
    ${LOAD_ARGS[@]+"${LOAD_ARGS[@]}"} >"$2" || return
  while IFS=$'\t' read -r tag text; do
    [ "$tag" != warning ] || ui_warn "$text"
  done <"$2"
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
