# shellcheck shell=bash
# attach.sh - looks on at a run that another process carries out, and takes one up again that nobody does.

[ -z "${_AUTOPOD_ATTACH_SH:-}" ] || return 0 # @guard
_AUTOPOD_ATTACH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/keys.sh"
. "$AUTOPOD_LIB/panel.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/feed.sh"
. "$AUTOPOD_LIB/job.sh"
. "$AUTOPOD_LIB/batch.sh"

ATTACH_LEFT='' # set when whoever watches has enough of it

_ATTACH_PAUSE=0.25 # seconds between two looks at a run that is watched
_ATTACH_STALE=15   # seconds after which what a run has written down is no news any more
_ATTACH_KEYS=''    # set while keys are read

# attach_run RUN - watches the run until it ends, or whoever watches has enough (0 then); one that nobody carries out is
# taken up again. The run's own exit code.
attach_run() {
  local watched=''
  runs_state "$1"
  while :; do
    case $RUNS_STATE in
      running | waiting)
        _attach_watch "$1"
        [ -z "$ATTACH_LEFT" ] || return 0
        watched=1
        ;;
      left)
        [ -z "$watched" ] || core_fail "$EX_FAIL" "the process that carried it out has gone, and left it unfinished" \
          "autopod-attach ${1##*.} takes it up again; autopod-cancel ${1##*.} gives it up" || return
        if runs_take "$1"; then
          _attach_take_up "$1"
          return
        fi
        core_sleep "$_ATTACH_PAUSE"
        ;;
      *)
        attach_tell "$1"
        return
        ;;
    esac
    runs_state "$1"
  done
}

# attach_tell RUN - says how the run has ended, and returns its exit code.
attach_tell() {
  local code error hint
  IFS=$'\x1f' read -r code JOB_SECONDS JOB_COST error hint _ < <(runs_facts \
    '[.exit_code, (.seconds // 0 | floor), .cost_usd // 0, .error, .hint] | map(. // "" | tostring) | join("\u001f")' \
    -r -- "$1") || code=''
  case $code in '' | *[!0-9]* | ????*) code=$EX_FAIL error=${error:-its result is damaged} ;; esac
  BATCH_RUNS=("$1") BATCH_CODES=("$code")
  batch_report
  [ "$code" = 0 ] || core_fail "$code" "${1##*/} has ended: ${error:-see its log}" "$hint"
}

# _attach_has_server RUN - 0 when the server that the run was on, or was to be on, may still be there: who attaches gets no
# new pod, and no second execution. EX_POD, or what kept the pod's provider from being asked.
_attach_has_server() {
  local status=0 id provider name=${1##*/}
  [ -z "$(load_line "$1/plan" wish_url)$(load_line "$1/plan" wish_no_tunnel)$(load_line "$1/plan" wish_proxy)" ] || return 0
  [ -f "$1/pod.json" ] ||
    core_fail "$EX_POD" "run $name was never begun" "comfy-run --resume $name begins it" || return
  read -r id provider _ < <(jq -r '"\(.id) \(.provider)"' "$1/pod.json" 2>/dev/null) || id='' provider=''
  core_quietly pod_find "$id" "$provider" || status=$?
  case $status:$POD_STATUS in
    0:terminated | "$EX_POD":*)
      POD_ID=''
      core_fail "$EX_POD" "pod $id of run $name is gone" "comfy-run --resume $name starts the job anew"
      ;;
    0:*) core_forget_error ;;
    *) core_fail "$status" "$CORE_ERROR" "$CORE_HINT" ;;
  esac
}

# _attach_take_up RUN - carries the run out from where it was left; its exit code.
_attach_take_up() {
  local status=0
  _attach_has_server "$1" || {
    status=$?
    state_unlock "run-${1##*/}"
    return "$status"
  }
  core_outlive_readers
  core_on_exit batch_end
  ui_note "Nobody carries ${1##*/} out any more: taking it up again."
  feed_start
  batch_resume "$1" || return
  batch_run || status=$?
  batch_report
  return "$status"
}

# _attach_watch RUN - shows how far the run is until it is not carried out any more, or ATTACH_LEFT is set.
_attach_watch() {
  ui_note "Run ${1##*/}"
  ATTACH_LEFT=''
  trap 'ATTACH_LEFT=1' INT
  panel_reset
  PANEL_LIMIT=$(load_line "$1/plan" max_cost_usd)
  _attach_keys
  ui_step Running
  while [ -z "$ATTACH_LEFT" ]; do
    runs_state "$1"
    case $RUNS_STATE in running | waiting) ;; *) break ;; esac
    _attach_show "$1"
    _attach_next "$1"
  done
  [ -z "$_ATTACH_KEYS" ] || keys_stop
  _ATTACH_KEYS=''
  panel_reset
  core_trap
  case $ATTACH_LEFT:$RUNS_STATE in
    :done) ui_done 'done' ;;
    :*) ui_failed "$RUNS_STATE" ;;
  esac
  [ -z "$ATTACH_LEFT" ] ||
    ui_note "The run goes on. Watch it: autopod-attach ${1##*.}; end it: autopod-cancel ${1##*.}"
}

# _attach_keys - keys are read from here on, where there is a terminal.
_attach_keys() {
  [ -p "$CORE_TMP/keys" ] || mkfifo -m 600 -- "$CORE_TMP/keys" 2>/dev/null || return 0
  exec 6<>"$CORE_TMP/keys"
  ! keys_start 6 || _ATTACH_KEYS=1 PANEL_KEYS=attached
}

# _attach_next RUN - waits for a key, but not for long, and obeys it.
_attach_next() {
  if [ -z "$_ATTACH_KEYS" ]; then
    core_sleep "$_ATTACH_PAUSE" || :
    return 0
  fi
  core_listen 6 os_read 6 "$_ATTACH_PAUSE" || return 0
  case $OS_LINE in
    key$'\t'[qQ]) ATTACH_LEFT=1 ;;
    key$'\t'[oO]) _attach_open "$1" ;;
    key$'\t'?) panel_key "${OS_LINE#*$'\t'}" "$1/log" ;;
  esac
}

# _attach_open RUN - the GUI of the server that the run is on.
_attach_open() {
  local POD_ID='' url='' # what belongs to the pod at hand stays as it is
  IFS=$'\x1f' read -r POD_ID url _ < <(runs_facts '[.pod // "", .url // ""] | join("\u001f")' -r -- "$1") || :
  [ -z "$POD_ID" ] || ! tunnel_find || url=$TUNNEL_URL
  [ -n "$url" ] || {
    ui_note "The run has no server yet."
    return 0
  }
  os_open_url "$url" || ui_note "The GUI is at $url"
}

# _attach_show RUN - how far it is, by what it has written down.
_attach_show() {
  local began cost='^[0-9]+\.[0-9]+$'
  os_now
  began=$OS_NOW
  runs_read "$1/progress"
  if _attach_number began; then began=$_ATTACH_NUMBER; fi
  _attach_number percent || :
  PANEL_PERCENT=$_ATTACH_NUMBER
  _attach_number position || :
  PANEL_POSITION=$_ATTACH_NUMBER
  _attach_number value || :
  PANEL_VALUE=$_ATTACH_NUMBER
  _attach_number max || :
  PANEL_MAX=$_ATTACH_NUMBER
  _attach_number left || :
  PANEL_LEFT=$_ATTACH_NUMBER
  _attach_text title
  PANEL_TITLE=$_ATTACH_TEXT
  _attach_text cost_usd
  PANEL_COST=''
  ! [[ $_ATTACH_TEXT =~ $cost ]] || PANEL_COST=$_ATTACH_TEXT
  PANEL_SECONDS=$((OS_NOW - began))
  _attach_state
  panel_draw
}

# _attach_state - sets PANEL_STATE.
_attach_state() {
  local at=$OS_NOW
  if _attach_number at; then at=$_ATTACH_NUMBER; fi
  _attach_text state
  case $RUNS_STATE:$_ATTACH_TEXT in
    waiting:*) PANEL_STATE='waiting for its turn' ;;
    *:running | *:pending)
      PANEL_STATE=$_ATTACH_TEXT
      [ $((OS_NOW - at)) -le "$_ATTACH_STALE" ] || {
        ui_duration $((OS_NOW - at))
        PANEL_STATE="no news for $UI_TIME"
      }
      ;;
    *:upload) PANEL_STATE='uploading its inputs' ;;
    *:submit) PANEL_STATE='submitting' ;;
    *:collect) PANEL_STATE='fetching its outputs' ;;
    *) PANEL_STATE='starting' ;;
  esac
}

# _attach_number KEY - sets _ATTACH_NUMBER to that whole number in RUNS_TEXT; 1, and empty, when it has none.
_attach_number() {
  local shape="[{,] *\"$1\": *([0-9]{1,12})[,.} ]"
  _ATTACH_NUMBER=''
  [[ $RUNS_TEXT =~ $shape ]] && _ATTACH_NUMBER=$((10#${BASH_REMATCH[1]}))
}

# _attach_text KEY - sets _ATTACH_TEXT to that string in RUNS_TEXT; empty when it has none.
_attach_text() {
  local shape="[{,] *\"$1\": *\"(([^\"\\\\]|\\\\.)*)\""
  _ATTACH_TEXT=''
  [[ $RUNS_TEXT =~ $shape ]] || return 0
  _ATTACH_TEXT=${BASH_REMATCH[1]//\\\"/\"}
  _ATTACH_TEXT=${_ATTACH_TEXT//\\\\/\\}
}
