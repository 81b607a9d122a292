# shellcheck shell=bash
# watch.sh - waits for a prompt to end. The feed (WebSocket) makes it instant, polling decides: it alone says that a
# prompt is done, pending or lost. On the way it shows how far the job is, obeys keys, brings a lost link back, and notices
# a limit, a cancel, a standstill.

[ -z "${_AUTOPOD_WATCH_SH:-}" ] || return 0 # @guard
_AUTOPOD_WATCH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/keys.sh"
. "$AUTOPOD_LIB/feed.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/progress.sh"
. "$AUTOPOD_LIB/panel.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/stall.sh"

# What the user asked for.
WATCH_STALL_MINUTES='' # --stall-timeout
WATCH_ON_STALL=''      # --on-stall

# Milliseconds between the first polls, growing by half each time, and between the later ones; while the WebSocket is
# open there is less to find out by them.
_WATCH_POLL_FIRST=30
_WATCH_POLL_OPEN=250
_WATCH_POLL_LAST=2000
_WATCH_POLL_APART=100 # at least, whatever the server's queue does
_WATCH_SILENCE=10     # seconds without a byte, after which the link is looked at

# Why the wait was ended early: cancel the job, stop or kill its pod, close (cancel, and no more jobs), leave it running;
# empty: it wasn't.
WATCH_WISH=''

_WATCH_PROMPT='' _WATCH_RUN='' _WATCH_HISTORY='' # the prompt at hand
_WATCH_BEGAN=0 _WATCH_PAUSE=0 _WATCH_DUE=0 _WATCH_LAST=0 _WATCH_DONE='' _WATCH_LOST=0 _WATCH_SECOND=0
_WATCH_ASKED='' _WATCH_SAYS='' _WATCH_AWAY=0
_WATCH_DEAF=0 # since when it answers, but does not say where the prompt is

# watch_prompt RUN PROMPT_ID HISTORY_FILE PAID_FROM - returns when the prompt of RUN, whose pod is paid for since PAID_FROM
# (epoch), has ended, its history entry in HISTORY_FILE; EX_TIME or EX_COST when a limit is reached, EX_TUNNEL when the link
# stays away, EX_POD when the pod is gone, EX_WORKFLOW when the server lost the prompt or stands still, EX_CANCEL with
# WATCH_WISH when somebody wanted it to end. It may still run then.
watch_prompt() {
  local status=0
  _WATCH_RUN=$1 _WATCH_PROMPT=$2 _WATCH_HISTORY=$3
  _watch_begin "$4"
  _watch_loop || status=$?
  _watch_end
  return "$status"
}

# _watch_begin PAID_FROM - keys on, counters at their start.
_watch_begin() {
  os_now
  _WATCH_BEGAN=$OS_NOW _WATCH_DEAF=0 WATCH_WISH='' _WATCH_DONE='' _WATCH_LOST=0 _WATCH_SECOND=0 _WATCH_ASKED=''
  _WATCH_PAUSE=$_WATCH_POLL_FIRST _WATCH_DUE=0 _WATCH_LAST=0 _WATCH_SAYS=''
  if [ -n "$FEED_OPEN" ] && limits_last; then # what is over may be done
    os_now_ms
    _WATCH_PAUSE=$_WATCH_POLL_OPEN _WATCH_DUE=$((OS_MS + _WATCH_PAUSE))
  fi
  stall_begin "${WATCH_STALL_MINUTES:-$AUTOPOD_STALL_TIMEOUT}" "${WATCH_ON_STALL:-$AUTOPOD_ON_STALL}" "$1"
  PANEL_KEYS=''
  ! feed_keys || PANEL_KEYS=1
  TARGET_PAUSE=_watch_pause
}

# _watch_end - the terminal is as it was, and waits are only waits again.
_watch_end() {
  [ -z "$PANEL_KEYS" ] || keys_stop
  panel_reset
  TARGET_PAUSE=core_sleep
}

# _watch_loop - until the prompt has ended; see watch_prompt.
_watch_loop() {
  while :; do
    os_now_ms
    if [ "$OS_MS" -ge "$_WATCH_DUE" ]; then _watch_poll || return; fi
    [ -z "$_WATCH_DONE" ] || return 0
    limits_last || return "$LIMITS_CODE"
    os_now
    if [ "$OS_NOW" != "$_WATCH_SECOND" ]; then
      _WATCH_SECOND=$OS_NOW
      _watch_each_second || return
    fi
    _watch_show
    _watch_next
    [ -z "$WATCH_WISH" ] || return "$EX_CANCEL"
  done
}

# _watch_poll - asks the server where the prompt is, and sets when it is asked next; brings a lost link back. EX_TUNNEL,
# EX_POD, EX_WORKFLOW.
_watch_poll() {
  if HTTP_STALL=$_WATCH_SILENCE comfy_where "$TARGET_URL" "$_WATCH_PROMPT" "$_WATCH_HISTORY"; then
    _WATCH_DEAF=0
    case $COMFY_STATE in
      'done') _WATCH_DONE=1 ;;
      unknown) # once may be the moment between two answers of a restarting server; twice is lost
        _WATCH_LOST=$((_WATCH_LOST + 1))
        [ "$_WATCH_LOST" -lt 2 ] || _watch_vanished || return
        ;;
      *) _watch_is "$COMFY_STATE" "$COMFY_POSITION" ;;
    esac
  else
    _watch_recover || return
  fi
  os_now_ms
  _WATCH_LAST=$OS_MS _WATCH_DUE=$((OS_MS + _WATCH_PAUSE))
  _WATCH_PAUSE=$((_WATCH_PAUSE * 3 / 2))
  [ "$_WATCH_PAUSE" -le "$_WATCH_POLL_LAST" ] || _WATCH_PAUSE=$_WATCH_POLL_LAST
}

# _watch_is STATE [POSITION] - the server has the prompt, there.
_watch_is() {
  _WATCH_LOST=0
  [ "$_WATCH_SAYS" = "$1 ${2:-}" ] || stall_moved
  _WATCH_SAYS="$1 ${2:-}"
  progress_state "$1" "${2:-}"
  progress_tell
}

# _watch_recover - the server does not answer: brings the link back; the server may be at another port then. EX_TUNNEL,
# EX_POD; EX_TIME, EX_COST at a limit; 0 too when somebody wants it to end.
_watch_recover() {
  local url=$TARGET_URL said=${HTTP_ERROR:-HTTP $HTTP_STATUS}
  os_now
  _WATCH_AWAY=$OS_NOW
  target_recover || return
  [ "$url" = "$TARGET_URL" ] || feed_url "$TARGET_URL"
  os_now
  if [ "$_WATCH_DEAF" = 0 ]; then
    _WATCH_DEAF=$OS_NOW _WATCH_SAYS='' _WATCH_PAUSE=$_WATCH_POLL_FIRST # where the job is by now is worth a look at once
  fi
  [ $((OS_NOW - _WATCH_DEAF)) -lt "$AUTOPOD_RECONNECT_TIMEOUT" ] ||
    core_fail "$EX_TUNNEL" "the server has not said for $AUTOPOD_RECONNECT_TIMEOUT s where the job is ($said)" \
      "the job may have gone on: comfy-run --resume picks it up" || return
  stall_moved
}

# _watch_soon - something has happened: the server is asked at once, but not all the time.
_watch_soon() {
  [ "$_WATCH_DUE" -le $((_WATCH_LAST + _WATCH_POLL_APART)) ] || _WATCH_DUE=$((_WATCH_LAST + _WATCH_POLL_APART))
}

# _watch_next - waits for the next event, or until the next poll or redraw, and takes it.
_watch_next() {
  local wait seconds
  os_now_ms
  wait=$((_WATCH_DUE - OS_MS))
  if [ -n "$PANEL_KEYS" ] && [ "$wait" -gt 200 ]; then wait=200; fi # the spinner
  [ "$wait" -le 1000 ] || wait=1000
  [ "$wait" -gt 0 ] || return 0
  printf -v seconds '%d.%03d' $((wait / 1000)) $((wait % 1000))
  ! feed_next "$seconds" || _watch_take
}

# _watch_take - what the event at hand means.
_watch_take() {
  case $FEED_EVENT in
    progress)
      progress_take "$FEED_TEXT"
      progress_tell
      stall_moved
      [ "$_WATCH_ASKED" != stall ] || _watch_ask '' ''
      ;;
    node) _watch_node "$FEED_TEXT" ;;
    'done' | queue | error | lost | back) _watch_soon ;;
    gone)
      progress_blind
      _watch_soon
      ;;
    key) _watch_key "$FEED_TEXT" ;;
  esac
}

# _watch_node TEXT - a node is done: for the run's log.
_watch_node() {
  local node seconds title
  IFS=$'\t' read -r node seconds title <<<"$1"
  ui_log info "node $node ($title) took $seconds s"
  stall_moved
}

# _watch_show - the panel, with what goes on. Without a terminal what is over within a second is not worth a line.
_watch_show() {
  local state=$_WATCH_SAYS
  case $state in '' | running*) state=running ;; pending*) state=pending ;; esac
  os_now
  [ -n "$PANEL_KEYS" ] || [ "$state" != running ] || [ "$OS_NOW" != "$_WATCH_BEGAN" ] || return 0
  progress_show "$state"
}

# _watch_pause SECONDS - while the link is being brought back: waits, and obeys keys and cancels all the same; 1 when
# somebody wants it to end.
_watch_pause() {
  local until step=0.2
  case $1 in 0.*) step=$1 ;; esac
  os_now
  until=$((OS_NOW + ${1%.*}))
  while :; do
    [ -z "$PANEL_KEYS" ] && [ $((OS_NOW - _WATCH_AWAY)) -lt 5 ] || _watch_show_away
    ! feed_next "$step" || _watch_take
    _watch_wanted || return
    os_now
    [ "$OS_NOW" -lt "$until" ] || return 0
  done
}

# _watch_show_away - the panel, while the link is lost.
_watch_show_away() {
  ui_duration $((OS_NOW - _WATCH_AWAY))
  progress_show "reconnecting, $UI_TIME"
}

# _watch_wanted - 1 when the job is to end: by a key, or by autopod-cancel.
_watch_wanted() {
  if [ -z "$WATCH_WISH" ] && [ -e "$_WATCH_RUN/cancel" ]; then WATCH_WISH=cancel; fi
  [ -z "$WATCH_WISH" ]
}

# _watch_each_second - what need not be looked at more often: a cancel, the tunnel's process, the other guards, a
# standstill, the run's file. EX_CANCEL, EX_WORKFLOW.
_watch_each_second() {
  _watch_wanted || return "$EX_CANCEL"
  [ -z "$POD_ID" ] || tunnel_is_up || _watch_soon
  progress_save
  stall_check || _watch_stall
}

# _watch_stall - nothing moves: by STALL_SAYS that is told, asked, or ended. EX_WORKFLOW.
_watch_stall() {
  case $STALL_SAYS in
    dead) _watch_give_up ;;
    stop) _watch_may_give_up && _watch_give_up ;;
    cancel) WATCH_WISH=cancel ;;
    warn) ;;
  esac
  [ -z "$WATCH_WISH" ] || {
    core_fail "$EX_WORKFLOW" "$STALL_TEXT" "$STALL_HINT"
    return
  }
  _watch_may_give_up || STALL_HINT=''
  ui_warn "$STALL_TEXT${STALL_HINT:+; $STALL_HINT}"
  [ -z "$PANEL_KEYS" ] || _watch_ask_stall
}

# _watch_may_give_up - 0 when it is ours to end a job that stands still without having been told to: not while the server
# works on somebody else's, and not where it costs nothing and no GPU can be asked what it does.
_watch_may_give_up() {
  [ "${WATCH_ON_STALL:-$AUTOPOD_ON_STALL}" != stop ] || return 0
  case $_WATCH_SAYS in pending*) return 1 ;; esac
  budget_less 0 "$POD_RATE"
}

# _watch_give_up - this server is of no use: a pod that was made for us goes as ever, another one is stopped, unless
# somebody else works on it.
_watch_give_up() {
  if [ -z "$POD_ID" ]; then
    WATCH_WISH=cancel
  elif runs_in_use "$POD_ID"; then
    WATCH_WISH=cancel STALL_HINT="pod $POD_ID is left alone: it is in use by $RUNS_USER"
  elif [ -n "$TARGET_MADE" ]; then
    WATCH_WISH=close
  else
    WATCH_WISH=stop
  fi
}

# --- keys ---

# _watch_ask WHAT QUESTION - the next key answers it.
_watch_ask() { _WATCH_ASKED=$1 PANEL_QUESTION=$2; }

# _watch_ask_stall - what is to become of a job that stands still.
_watch_ask_stall() { _watch_ask stall "It stands still: w wait, o open GUI, c cancel the job, k kill the pod?"; }

# _watch_key KEY - does what the key stands for, or takes it as an answer.
_watch_key() {
  local asked=$_WATCH_ASKED question=$PANEL_QUESTION
  _WATCH_ASKED='' PANEL_QUESTION=''
  case $asked:$1 in
    kill:y | kill:Y) WATCH_WISH='kill' ;;
    stop:y | stop:Y) WATCH_WISH=stop ;;
    kill:* | stop:*) ;;
    stall:c) WATCH_WISH=cancel ;;
    stall:w) stall_moved ;;
    *:o) os_open_url "$TARGET_URL" || ui_note "The GUI is at $TARGET_URL" ;;
    *:q) WATCH_WISH=leave ;;
    *:s) _watch_end_pod stop Stop "" ;;
    *:k) _watch_end_pod kill Kill "$(_watch_not_here)" ;;
    *) panel_key "$1" "$_WATCH_RUN/log" ;;
  esac
  case $asked:$1 in stall:[ol?h]) _watch_ask stall "$question" ;; esac
}

# _watch_not_here - says which outputs would be lost with the pod.
_watch_not_here() {
  local run others=''
  while IFS= read -r run; do
    [ "$run" = "${_WATCH_RUN##*/}" ] || others="$others${others:+, }$run"
  done < <(runs_unfetched "$POD_ID")
  printf "The job's outputs are not here yet%s." "${others:+, nor all of $others}"
}

# _watch_end_pod WISH VERB REASON - the pod is to end: at once, but after a question when there is a REASON for one, or
# when somebody else works on it.
_watch_end_pod() {
  local why=$3
  _watch_has_pod || return 0
  ! runs_in_use "$POD_ID" || why="Pod $POD_ID is in use by $RUNS_USER, too."
  if [ -n "$why" ]; then _watch_ask "$1" "$why $2 pod $POD_ID all the same? y/n"; else WATCH_WISH=$1; fi
}

# _watch_has_pod - 0 when the server is a pod of autopod's; else that is told.
_watch_has_pod() {
  [ -n "$POD_ID" ] || {
    ui_note "The server at $TARGET_URL is no pod of autopod's: there is nothing to stop."
    return 1
  }
}

# --- the ways it ends without a result ---

# _watch_vanished - tells that the prompt is neither in the queue nor in the history; EX_WORKFLOW. One that somebody
# took from the queue by autopod-cancel is no riddle.
_watch_vanished() {
  _watch_wanted || return "$EX_CANCEL"
  core_fail "$EX_WORKFLOW" \
    "the server has lost the job: it was restarted (out of memory?), or somebody removed it from the queue" \
    "comfy-run --resume submits it again"
}
