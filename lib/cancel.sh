# shellcheck shell=bash
# cancel.sh - ends runs, whoever carries them out: the process that does is told; when there is none, the prompt is taken
# back from its server here.

[ -z "${_AUTOPOD_CANCEL_SH:-}" ] || return 0 # @guard
_AUTOPOD_CANCEL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/remote.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/release.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/prompt.sh"
. "$AUTOPOD_LIB/job.sh"

_CANCEL_LINK_SECONDS=30 # for the tunnel to a server whose run nobody carries out
_CANCEL_BEFORE=$'\n'    # the runs that had ended when it began, a line each
_CANCEL_MINE=$'\n'      # the processes of the runs that it was the first to cancel, a line each
_CANCEL_TOLD=' '        # the processes that were sent a signal, each with which one
_CANCEL_GONE=' '        # the pods that are known to be gone
# The run at hand: where its server is (nowhere: it had none yet; url; or its pod is up, down, gone, unknown), and which.
_CANCEL_WHERE='' _CANCEL_URL='' _CANCEL_POD='' _CANCEL_PROVIDER=''
_CANCEL_MADE='' # set when the pod was made for it

# cancel_runs SECONDS RUN... - ends those runs, and waits until that is certain, SECONDS at most; says of each what has
# become of it. EX_FAIL when one of them may go on, EX_POD_LEFT when a pod may.
cancel_runs() {
  local until run status=0 code
  core_tmpdir || return
  os_now
  until=$((OS_NOW + $1)) _CANCEL_BEFORE=$'\n' _CANCEL_MINE=$'\n'
  shift
  for run in "$@"; do _cancel_mark "$run" || :; done # all of them before any signal
  for run in "$@"; do
    runs_state "$run"
    case $RUNS_CARRIER$_CANCEL_MINE in ?*$'\n'"$RUNS_CARRIER"$'\n'*) _cancel_signal INT ;; esac
  done
  for run in "$@"; do
    code=0
    _cancel_end "$run" "$until" || code=$?
    [ "$code" = "$EX_POD_LEFT" ] || [ "$code" = 0 ] || code=$EX_FAIL
    [ "$code" -le "$status" ] || status=$code
  done
  return "$status"
}

# _cancel_mark RUN - writes down that the run is to end; whoever carries it out looks for that once a second. EX_FAIL.
_cancel_mark() {
  local who=${USER:-somebody} note=$1/cancel.$$
  runs_is_open "$1" || {
    _CANCEL_BEFORE=$_CANCEL_BEFORE$1$'\n'
    return 0
  }
  [ ! -e "$1/cancel" ] || return 0
  os_utc
  state_write "$note" "$OS_UTC ${who//[!A-Za-z0-9._-]/}, $AUTOPOD_PROG process $$" || return
  if os_move_new "$note" "$1/cancel"; then
    _CANCEL_MINE=$_CANCEL_MINE$RUNS_CARRIER$'\n'
  else
    rm -f -- "$note" # somebody else was first: it is up to him to send a signal
  fi
}

# _cancel_signal SIGNAL - sends it to RUNS_CARRIER, once, when all runs that it has yet to carry out are to end: then it
# need not get to where it looks. It cleans up as at Ctrl+C.
_cancel_signal() {
  local carrier=$RUNS_CARRIER run
  case $_CANCEL_TOLD in *" $1-$carrier "*) return 0 ;; esac
  runs_open
  for run in ${RUNS_LIST[@]+"${RUNS_LIST[@]}"}; do
    [ ! -e "$run/cancel" ] || continue
    runs_state "$run"
    [ "$RUNS_CARRIER" != "$carrier" ] || return 0
  done
  _CANCEL_TOLD="$_CANCEL_TOLD$1-$carrier "
  ! os_same_process "${carrier%%-*}" "${carrier#*-}" || kill -s "$1" "${carrier%%-*}" 2>/dev/null || :
}

# _cancel_end RUN UNTIL - waits until the run has ended, and says how; one that nobody carries out, or nobody yet, is
# ended here. EX_FAIL, EX_TUNNEL, EX_POD_LEFT.
_cancel_end() {
  local began
  os_now
  began=$OS_NOW
  while runs_is_open "$1"; do
    if [ "$RUNS_STATE" != running ] && runs_take "$1"; then
      _cancel_here "$1" "$2"
      return
    fi
    os_now
    # A background job of a script does not hear Ctrl+C.
    [ -z "$RUNS_CARRIER" ] || [ $((OS_NOW - began)) -lt $((($2 - began) / 2)) ] || _cancel_signal TERM
    [ "$OS_NOW" -lt "$2" ] || {
      core_fail "$EX_FAIL" "run ${1##*/} has not ended yet" \
        "process ${RUNS_CARRIER%%-*} ends it as soon as it can; autopod-status ${1##*.} shows it"
      return
    }
    core_sleep 0.2
  done
  if _cancel_is_confirmed "$1" || _cancel_again "$1" "$2"; then
    _cancel_tell "$1"
  else
    core_fail "$EX_FAIL" "run ${1##*/} has ended, but its server did not confirm it: it may still compute" \
      "try again, or look: autopod-status ${1##*.}"
  fi
}

# _cancel_is_confirmed RUN - 0 when no server works any more on the prompt of a run that has ended.
_cancel_is_confirmed() {
  case $RUNS_STATE in cancelled | interrupted) [ ! -f "$1/prompt.json" ] || [ -f "$1/history.json" ] ;; esac
}

# _cancel_again RUN UNTIL - the run has ended, but whoever carried it out could not reach the server: tries it from here.
# EX_FAIL, EX_TUNNEL.
_cancel_again() {
  local status=0 state=$RUNS_STATE
  state_lock "run-${1##*/}" 0 || return "$EX_FAIL"
  job_begin "$1"
  TARGET_URL='' TUNNEL_OPENED=''
  { _cancel_read "$1" && _cancel_locate && { [ "$_CANCEL_WHERE" = down ] || _cancel_link "$2"; }; } || status=$?
  if [ "$status" = 0 ] && [ -n "$TARGET_URL" ]; then
    PROMPT_OPEN=1
    prompt_withdraw || status=$EX_FAIL
    [ -z "$TUNNEL_OPENED" ] || tunnel_close
  fi
  # A pod that stands still computes nothing; what was done in the end can be fetched by --resume.
  [ "$status" != 0 ] || [ "$_CANCEL_WHERE" = down ] || [ -n "$PROMPT_DONE" ] || rm -f -- "$1/prompt.json"
  state_unlock "run-${1##*/}"
  RUNS_STATE=$state
  return "$status"
}

# _cancel_tell RUN - says how a run has ended that somebody else was to end.
_cancel_tell() {
  case $_CANCEL_BEFORE$RUNS_STATE in
    *$'\n'"$1"$'\n'*) ;;
    *$'\n'cancelled | *$'\n'interrupted)
      ui_note "Run ${1##*/} is $RUNS_STATE."
      return
      ;;
    *) rm -f -- "$1/cancel" ;; # it came too late
  esac
  ui_note "Run ${1##*/} had ended before: $RUNS_STATE."
}

# --- without a process that carries it out ---

# _cancel_here RUN UNTIL - ends a run that nobody carries out, and whose lock is ours; what its server had done by then is
# fetched. EX_FAIL, EX_TUNNEL, EX_POD_LEFT.
_cancel_here() {
  local status=0 name=${1##*/}
  job_begin "$1"
  TARGET_URL='' TUNNEL_OPENED=''
  { _cancel_read "$1" && _cancel_locate && _cancel_link "$2" && _cancel_withdraw "$1"; } || status=$?
  [ "$status" = 0 ] || {
    state_unlock "run-$name"
    return "$status"
  }
  if [ -n "$PROMPT_CANCELLED" ]; then
    JOB_CODE=$EX_CANCEL
    core_quietly core_fail "$EX_CANCEL" "the job was cancelled" "comfy-run --resume $name submits it again" || :
  fi
  job_finish "$JOB_CODE" || return
  case $JOB_CODE in
    0) ui_note "Run $name is done." ;;
    "$EX_CANCEL") ui_note "Run $name is cancelled." ;;
    *) ui_note "Run $name has failed." ;;
  esac
  _cancel_pod "$1" || status=$?
  [ "$JOB_CODE" != "$EX_DOWNLOAD" ] || [ "$status" != 0 ] || status=$EX_FAIL
  return "$status"
}

# _cancel_read RUN - sets PROMPT_ID (empty: it was never submitted) and where that was: _CANCEL_URL, or _CANCEL_POD of
# _CANCEL_PROVIDER; EX_FAIL when its files don't say.
_cancel_read() {
  local shape='^[0-9a-f-]{8,64}$' url='^https?://[^@?#[:space:]"\\]+$' id='^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
  _CANCEL_URL='' _CANCEL_POD='' _CANCEL_PROVIDER='' _CANCEL_MADE=''
  [ ! -f "$1/pod.json" ] || IFS=$'\x1f' read -r _CANCEL_POD _CANCEL_PROVIDER _CANCEL_MADE _ < <(jq -r \
    '[.id, .provider, if .made_for_this_run == true then 1 else "" end] | map(tostring) | join("\u001f")' \
    "$1/pod.json" 2>/dev/null) || :
  [[ $_CANCEL_POD =~ $id ]] || _CANCEL_POD='' _CANCEL_MADE=''
  [ -f "$1/prompt.json" ] || return 0
  IFS=$'\x1f' read -r PROMPT_ID _CANCEL_URL _ < <(jq -r \
    '[.prompt_id, if (.pod // "") == "" then .url else "" end] | map(tostring) | join("\u001f")' \
    "$1/prompt.json" 2>/dev/null) || :
  [[ $PROMPT_ID =~ $shape ]] && { [[ $_CANCEL_URL =~ $url ]] || { [ -z "$_CANCEL_URL" ] && [ -n "$_CANCEL_POD" ]; }; } ||
    core_fail "$EX_FAIL" "the files of run ${1##*/} are damaged: they don't say which server may still work on it" \
      "look at $1"
}

# _cancel_locate - sets _CANCEL_WHERE, and loads the pod, if the run has one; the code of what kept its provider from being
# asked, when that matters.
_cancel_locate() {
  local status=0
  POD_ID='' POD_RATE='' _CANCEL_WHERE=nowhere
  [ -z "$_CANCEL_URL" ] || _CANCEL_WHERE=url _CANCEL_POD='' _CANCEL_MADE=''
  [ -n "$_CANCEL_POD" ] || return 0
  _CANCEL_WHERE=gone
  case $_CANCEL_GONE in *" $_CANCEL_POD "*) return 0 ;; esac
  core_quietly pod_find "$_CANCEL_POD" "$_CANCEL_PROVIDER" || status=$?
  case $status:$POD_ID:$POD_STATUS in
    "0:$_CANCEL_POD:running" | "0:$_CANCEL_POD:creating") _CANCEL_WHERE=up ;;
    "0:$_CANCEL_POD:terminated") POD_ID='' ;;
    "0:$_CANCEL_POD:"*) _CANCEL_WHERE=down ;;
    0:* | "$EX_POD":*)
      POD_ID='' POD_RATE=''
      _CANCEL_GONE="$_CANCEL_GONE$_CANCEL_POD "
      ;;
    *)
      _CANCEL_WHERE=unknown
      [ -n "$PROMPT_ID" ] || return 0
      POD_ID=$_CANCEL_POD # an open tunnel will do
      core_quietly tunnel_find ||
        core_fail "$status" "pod $_CANCEL_POD of run ${JOB_RUN##*/} can't be asked: $CORE_ERROR" "$CORE_HINT"
      ;;
  esac
}

# _cancel_link UNTIL - sets TARGET_URL to where the server of the run's prompt answers; empty when nothing works on it any
# more. EX_FAIL, EX_TUNNEL, EX_POD.
_cancel_link() {
  local seconds
  [ -n "$PROMPT_ID" ] || return 0
  case $_CANCEL_WHERE in
    url)
      remote_seal_for "$JOB_RUN/plan" "$_CANCEL_URL" && comfy_check "$_CANCEL_URL" || return
      TARGET_URL=$_CANCEL_URL
      ;;
    up | unknown)
      os_now
      seconds=$(($1 - OS_NOW))
      [ "$seconds" -le "$_CANCEL_LINK_SECONDS" ] || seconds=$_CANCEL_LINK_SECONDS
      [ "$seconds" -gt 0 ] || seconds=1
      tunnel_ensure "$seconds" || return
      TARGET_URL=$TUNNEL_URL
      ;;
    down)
      core_fail "$EX_FAIL" "what run ${JOB_RUN##*/} has made may be on its pod $POD_ID, which is $POD_STATUS" \
        "comfy-run --resume ${JOB_RUN##*/} starts the pod and looks; autopod-kill $POD_ID gives it up"
      ;;
  esac
}

# _cancel_withdraw RUN - takes its prompt back, if it has one; when that had come to a good end before, fetches what it
# made: JOB_CODE is what came of it then, and PROMPT_CANCELLED is empty. EX_FAIL when the server does not confirm it.
_cancel_withdraw() {
  PROMPT_CANCELLED=1
  [ -n "$TARGET_URL" ] || return 0
  if [ ! -f "$1/history.json" ]; then
    PROMPT_OPEN=1
    prompt_withdraw || core_fail "$EX_FAIL" "run ${1##*/} may still be worked on" "try again: $AUTOPOD_PROG ${1##*.}" || return
    [ -n "$PROMPT_DONE" ] || return 0
  else
    prompt_tell_done
  fi
  PROMPT_CANCELLED=''
  rm -f -- "$1/cancel"
  ui_step Running
  job_collect || JOB_CODE=$?
}

# _cancel_pod RUN - a pod that was made for the run goes away as it would have with comfy-run, unless somebody needs it; a
# tunnel that was opened here is closed. EX_POD_LEFT.
_cancel_pod() {
  local unfetched=''
  [ -z "$_CANCEL_MADE" ] || [ "$_CANCEL_WHERE" != unknown ] ||
    core_fail "$EX_POD_LEFT" "pod $_CANCEL_POD, which it had made, may still be running: its provider can't be asked" \
      "look now: autopod-info $_CANCEL_POD; and end it: autopod-kill $_CANCEL_POD" || return
  [ -n "$POD_ID" ] || return 0
  if [ -z "$_CANCEL_MADE" ] || runs_in_use "$POD_ID" || runs_need "$POD_ID"; then
    [ -z "$_CANCEL_MADE" ] || ui_note "Pod $POD_ID goes on: ${RUNS_USER:-another run needs it}."
    [ -z "$TUNNEL_OPENED" ] || tunnel_close
    return 0
  fi
  if job_left_outputs; then unfetched=${1##*/}; else unfetched=$(runs_unfetched "$POD_ID"); fi
  TARGET_MADE=1 TARGET_WISH_AFTER=$(load_line "$1/plan" wish_after)
  release_pod "${unfetched%%$'\n'*}"
}
