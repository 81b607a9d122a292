# shellcheck shell=bash
# watch.sh - waits for a prompt to end: polls, tells how far it is, notices a lost link, a restarted
# server and the time limit.

[ -z "${_AUTOPOD_WATCH_SH:-}" ] || return 0 # @guard
_AUTOPOD_WATCH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/target.sh"

WATCH_POLL_FIRST=30  # milliseconds between the first polls; it grows by half each time
WATCH_POLL_LAST=2000 # and between the later ones

WATCH_CANCELLED='' # set when the prompt was cancelled at the limit, for certain

# watch_prompt PROMPT_ID DEADLINE HISTORY_FILE CODE - returns when the prompt has ended, its history entry
# in HISTORY_FILE; CODE (EX_TIME, EX_COST) at DEADLINE (epoch; the prompt is cancelled), EX_TUNNEL when
# the link stays away, EX_POD when the pod is gone, EX_WORKFLOW when the server lost the prompt.
watch_prompt() {
  local began pause=$WATCH_POLL_FIRST lost=0 seconds
  os_now
  began=$OS_NOW _WATCH_SAID='' WATCH_CANCELLED=''
  while :; do
    if comfy_where "$TARGET_URL" "$1" "$3"; then
      case $COMFY_STATE in
        'done') return 0 ;;
        unknown) # once may be the moment between two answers of a restarting server; twice is lost
          lost=$((lost + 1))
          [ "$lost" -lt 2 ] || _watch_vanished || return
          ;;
        *) lost=0 ;;
      esac
      _watch_say "$began"
    else
      target_recover "$2" || return
    fi
    os_now
    [ "$OS_NOW" -lt "$2" ] || {
      _watch_limit "$1" "$4" $((OS_NOW - began))
      return
    }
    printf -v seconds '%d.%03d' $((pause / 1000)) $((pause % 1000))
    core_sleep "$seconds"
    pause=$((pause * 3 / 2))
    [ "$pause" -le "$WATCH_POLL_LAST" ] || pause=$WATCH_POLL_LAST
  done
}

# _watch_say BEGAN - how far the prompt is.
_watch_say() {
  local state="$COMFY_STATE $COMFY_POSITION" text say=ui_progress
  case $COMFY_STATE in
    running) text='' ;;
    pending) text="waiting at position $COMFY_POSITION of the server's queue, " ;;
    *) return 0 ;;
  esac
  os_now
  ui_duration $((OS_NOW - $1))
  [ "$state" = "$_WATCH_SAID" ] || say=ui_change
  _WATCH_SAID=$state
  "$say" "$text$UI_TIME"
}

# _watch_vanished - tells that the prompt is neither in the queue nor in the history; EX_WORKFLOW.
_watch_vanished() {
  core_fail "$EX_WORKFLOW" \
    "the server has lost the job: it was restarted (out of memory?), or somebody removed it from the queue" \
    "comfy-run --resume submits it again"
}

# _watch_limit PROMPT_ID CODE SECONDS - cancels the prompt on the server, for CODE is reached: EX_TIME or EX_COST.
_watch_limit() {
  local limit='time limit' todo='allow more with --timeout MINUTES or pod_config.timeout_minutes'
  [ "$2" = "$EX_TIME" ] || limit='cost limit' todo='allow more with pod_config.max_cost_usd'
  ui_duration "$3"
  if comfy_cancel "$TARGET_URL" "$1"; then
    WATCH_CANCELLED=1
    core_fail "$2" "the $limit is reached after $UI_TIME; the job was cancelled on the server" "$todo"
  else
    core_fail "$2" "the $limit is reached after $UI_TIME, and the server did not confirm that it cancelled the job" \
      "it may still compute there; $todo"
  fi
}
