# shellcheck shell=bash
# prompt.sh - the prompt of the run at hand: submitted once, awaited, taken back; what a cancelled one has finished is
# brought home.

[ -z "${_AUTOPOD_PROMPT_SH:-}" ] || return 0 # @guard
_AUTOPOD_PROMPT_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/feed.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/load.sh"
. "$AUTOPOD_LIB/bill.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/watch.sh"
. "$AUTOPOD_LIB/collect.sh"

# What the user asked for.
PROMPT_ALLOW_PARTIAL='' # --allow-partial

_PROMPT_TRIES=3    # how often a prompt is posted that the server certainly does not know
PROMPT_RUN=''      # the directory of the run at hand
PROMPT_PAID_FROM=0 # since when its pod is paid for (epoch)
PROMPT_ID='' PROMPT_CLIENT='' _PROMPT_OWN_CLIENT=''
_PROMPT_AT=0        # when it was submitted
PROMPT_OPEN=''      # set while the server may be working on it
PROMPT_LEFT=''      # set when it was left running on the server
PROMPT_DONE=''      # set when it turned out to be done as it was to be taken back
PROMPT_CANCELLED='' # set when somebody wanted it to end: a key, or autopod-cancel
PROMPT_NOT_KEPT=''  # set when it was cancelled and has finished outputs that could not be brought home

# prompt_begin RUN PAID_FROM - nothing is submitted yet; the pod is paid for since then (epoch).
prompt_begin() {
  PROMPT_RUN=$1 PROMPT_PAID_FROM=$2 PROMPT_ID=''
  PROMPT_OPEN='' PROMPT_LEFT='' PROMPT_DONE='' PROMPT_CANCELLED='' PROMPT_NOT_KEPT=''
}

# prompt_submit - posts the workflow under an id of our own that is on disk first; prompt.json. One that
# was posted before is only posted again when the server does not know it. EX_REFUSED, EX_TUNNEL; EX_TIME, EX_COST.
prompt_submit() {
  ui_step Submit
  if [ -f "$PROMPT_RUN/prompt.json" ]; then
    IFS=' ' read -r PROMPT_ID PROMPT_CLIENT _PROMPT_AT \
      < <(jq -r '"\(.prompt_id) \(.client_id) \(.at)"' "$PROMPT_RUN/prompt.json")
    if [ ! -f "$PROMPT_RUN/history.json" ]; then
      _prompt_ask || return
      if [ "$COMFY_STATE" = unknown ]; then limits_check && _prompt_post || return; else _prompt_feed; fi
    fi
  else
    limits_check && _prompt_name && _prompt_post || return
  fi
  [ -f "$PROMPT_RUN/history.json" ] || PROMPT_OPEN=1
  ui_done "prompt $PROMPT_ID"
  events_emit submitted prompt_id s "$PROMPT_ID" url s "$TARGET_URL"
}

# _prompt_name - sets PROMPT_ID to a new one. The client's stays the same for all prompts of this program, and with it the
# WebSocket; 1 when the system has no source of ids.
_prompt_name() {
  os_uuid || return
  PROMPT_ID=$OS_UUID
  [ -n "$_PROMPT_OWN_CLIENT" ] || { os_uuid && _PROMPT_OWN_CLIENT=$OS_UUID; } || return
  PROMPT_CLIENT=$_PROMPT_OWN_CLIENT
}

# _prompt_feed - has the WebSocket watched for the prompt at hand. How long its nodes took is kept for the next run of the
# same template.
_prompt_feed() {
  local timings
  timings=$AUTOPOD_HOME/timings/$(load_line "$PROMPT_RUN/plan" timings).json
  [ -d "${timings%/*}" ] || mkdir -p -- "${timings%/*}" 2>/dev/null || :
  feed_watch "$TARGET_URL" "$PROMPT_CLIENT" "$PROMPT_ID" "$PROMPT_RUN/workflow.json" "$timings" "$timings"
}

# _prompt_post - writes down the prompt's id, then posts it. After a lost answer the server is asked
# whether it knows the id: only an unknown one is posted again, so nothing runs twice. EX_REFUSED,
# EX_TUNNEL.
_prompt_post() {
  local try status pause pauses body=$CORE_TMP/body answer=$CORE_TMP/answer
  os_now
  _PROMPT_AT=$OS_NOW
  local ids="\"prompt_id\":\"$PROMPT_ID\",\"client_id\":\"$PROMPT_CLIENT\""
  state_write "$PROMPT_RUN/prompt.json" \
    "{$ids,\"at\":$_PROMPT_AT,\"url\":\"$TARGET_URL\",\"pod\":\"$POD_ID\"}" || return
  printf '{%s,"prompt":%s}' "$ids" "$(<"$PROMPT_RUN/workflow.json")" >"$body" ||
    core_fail "$EX_FAIL" "can't write $body" "is the disk full?" || return
  _prompt_feed
  for ((try = 1; try <= _PROMPT_TRIES; try++)); do
    PROMPT_OPEN=1 status=0
    comfy_submit "$TARGET_URL" "$body" "$answer" "$PROMPT_ID" || status=$?
    case $status in
      0)
        [ -z "$COMFY_PARTIAL" ] || _prompt_partial "$answer"
        return
        ;;
      2) return "$EX_REFUSED" ;;
      "$EX_REFUSED")
        PROMPT_OPEN=''
        comfy_rejection "$TARGET_URL" "$PROMPT_RUN/workflow.json" "$answer"
        return
        ;;
    esac
    ui_warn "the server did not say that it took the job ($COMFY_SAID): looking"
    pauses=1
    [ "$HTTP_CURL" != 0 ] || ! http_is_away || pauses='1 2 4' # a gateway has given up: behind it the prompt may be on its way
    for pause in $pauses; do
      core_sleep "$pause"
      _prompt_ask || return
      [ "$COMFY_STATE" = unknown ] || return 0
    done
  done
  core_fail "$EX_REFUSED" "the server did not take the job in $_PROMPT_TRIES tries ($COMFY_SAID)" \
    "its log says why"
}

# _prompt_ask - sets COMFY_STATE to where the server has the prompt. No answer is not an answer: a lost link
# is waited for, and so is a gateway. EX_TUNNEL, EX_POD when nobody can be asked.
_prompt_ask() {
  local try=1 until said
  os_now
  until=$((OS_NOW + AUTOPOD_RECONNECT_TIMEOUT))
  while :; do
    ! comfy_where "$TARGET_URL" "$PROMPT_ID" "$CORE_TMP/history" || return 0
    said=${HTTP_ERROR:-HTTP $HTTP_STATUS}
    if ! [ "$HTTP_CURL" = 0 ] || ! http_is_away; then try=$((try + 1)); fi
    target_recover || return
    os_now
    [ "$try" -le "$_PROMPT_TRIES" ] && [ "$OS_NOW" -lt "$until" ] || break
    core_sleep 0.5
  done
  core_fail "$EX_TUNNEL" "the server does not say whether it has the job ($said)" \
    "comfy-run --resume ${PROMPT_RUN##*/} asks again"
}

# _prompt_partial ANSWER - a prompt that was taken without some of its outputs counts as refused,
# unless that is allowed.
_prompt_partial() {
  if [ -n "$PROMPT_ALLOW_PARTIAL" ]; then
    ui_warn "the server leaves out a part of the workflow:"
    comfy_rejection "$TARGET_URL" "$PROMPT_RUN/workflow.json" "$1" || core_forget_error
    return 0
  fi
  ! prompt_cancel || rm -f -- "$PROMPT_RUN/prompt.json"
  ui_note "The server would run only a part of the workflow (--allow-partial accepts that):"
  comfy_rejection "$TARGET_URL" "$PROMPT_RUN/workflow.json" "$1"
}

# prompt_await - waits for the end; history.json. EX_TIME, EX_COST, EX_TUNNEL, EX_POD, EX_WORKFLOW, EX_CANCEL.
prompt_await() {
  local status=0
  ui_step Running
  [ ! -f "$PROMPT_RUN/history.json" ] || return 0
  limits_submitted "$_PROMPT_AT"
  watch_prompt "$PROMPT_RUN" "$PROMPT_ID" "$CORE_TMP/history" "$PROMPT_PAID_FROM" || status=$?
  case $WATCH_WISH:$status in
    leave:*)
      PROMPT_LEFT=1
      core_quietly core_fail "$EX_FAIL" "the job was left running on the server" \
        "autopod-attach ${PROMPT_RUN##*/} takes it up"
      return
      ;;
    ?*:* | :"$EX_TIME" | :"$EX_COST")
      _prompt_end_early "$status" || return
      status=0
      ;;
  esac
  if [ "$status" = 0 ]; then state_save "$PROMPT_RUN/history.json" <"$CORE_TMP/history" || status=$?; fi
  [ "$status" = "$EX_TUNNEL" ] || PROMPT_OPEN='' # ended, cancelled or lost: nothing is left to cancel
  return "$status"
}

# _prompt_end_early STATUS - somebody wanted the prompt to end, a limit is reached, or it stood still: it is taken back;
# STATUS, but 0 when it was done by then after all, its history entry at hand.
_prompt_end_early() {
  case $WATCH_WISH in stop | kill | close) TARGET_AFTER=$WATCH_WISH ;; esac
  [ "$1" != "$EX_CANCEL" ] || PROMPT_CANCELLED=1
  if prompt_cancel && _prompt_was_done; then
    prompt_tell_done
    PROMPT_CANCELLED=''
    cp -- "$CORE_TMP/cancelled" "$CORE_TMP/history"
    return
  fi
  [ "$1" != "$EX_CANCEL" ] || ui_failed cancelled
  [ -n "$PROMPT_OPEN" ] || _prompt_keep
  case $1 in
    "$EX_CANCEL") ;;
    "$EX_TIME" | "$EX_COST")
      PROMPT_OPEN='' # what could be done was done
      limits_tell
      return
      ;;
    *) return "$1" ;;
  esac
  local what='submits it again'
  [ -z "$PROMPT_OPEN" ] || what='looks what has become of it'
  core_fail "$EX_CANCEL" "the job was cancelled" "comfy-run --resume ${PROMPT_RUN##*/} $what"
}

# prompt_tell_done - says that there is nothing to take back any more.
prompt_tell_done() { ui_note "Run ${PROMPT_RUN##*/} was done on its server before it could be cancelled."; }

# _prompt_was_done - 0 when the prompt that was just cancelled had come to a good end before.
_prompt_was_done() { [ "$COMFY_STATE" = 'done' ] && [[ $(<"$CORE_TMP/cancelled") == *'"status_str": "success"'* ]]; }

# _prompt_keep - brings home what the prompt that was just cancelled has finished. When that fails, its history entry stays, so
# that the run can be taken up again; else a resumed run posts a new prompt.
_prompt_keep() {
  local plan=$CORE_TMP/collect status=0
  if [ "$COMFY_STATE" = 'done' ] && helper_run history --prompt-id "$PROMPT_ID" --workflow "$PROMPT_RUN/workflow.json" \
    --job "$PROMPT_RUN/job.json" <"$CORE_TMP/cancelled" >"$plan" && [ -n "$(load_line "$plan" file)$(load_line "$plan" text)" ]; then
    ui_failed # the step before: it runs no longer
    ui_step Download
    collect_outputs "$plan" "$PROMPT_RUN/collected" || status=$?
    if [ "$status" = 0 ]; then ui_done "$COLLECT_TEXT that it had finished"; else ui_failed "only $COLLECT_TEXT of what it had finished"; fi
  fi
  [ "$COMFY_STATE" != 'done' ] || bill_times "$plan"
  if [ "$status" = 0 ]; then
    rm -f -- "$PROMPT_RUN/prompt.json"
  else
    PROMPT_NOT_KEPT=1
    state_save "$PROMPT_RUN/history.json" <"$CORE_TMP/cancelled" || :
  fi
}

# prompt_withdraw - takes the prompt at hand back, if there is one, and brings home what it has finished; 1 when that could
# not be confirmed. One that had come to its good end before is not taken back: then PROMPT_DONE is set, and its history
# entry is there.
prompt_withdraw() {
  PROMPT_DONE=''
  [ -n "$PROMPT_OPEN" ] || return 0
  prompt_cancel || return
  if _prompt_was_done && state_save "$PROMPT_RUN/history.json" <"$CORE_TMP/cancelled"; then
    PROMPT_DONE=1
    prompt_tell_done
  else
    _prompt_keep
  fi
}

# prompt_cancel - takes the prompt at hand back on the server, what its history says is in $CORE_TMP/cancelled; 1 when that
# could not be confirmed.
prompt_cancel() {
  COMFY_STATE=''
  [ -n "$PROMPT_OPEN" ] && [ -n "$TARGET_URL" ] || return 0
  limits_keep
  if comfy_cancel "$TARGET_URL" "$PROMPT_ID"; then
    PROMPT_OPEN=''
    _prompt_was_done || ui_note "The job was cancelled on the server."
  else
    ui_warn "the server did not confirm that the job is cancelled: it may still compute"
    return 1
  fi
}
