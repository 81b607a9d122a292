# shellcheck shell=bash
# progress.sh - how far the run at hand is: for the panel, for programs (events), and on disk for other commands.

[ -z "${_AUTOPOD_PROGRESS_SH:-}" ] || return 0 # @guard
_AUTOPOD_PROGRESS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/panel.sh"

_PROGRESS_LATER=2 # seconds after which a step is worth a file: most runs of a batch are over before

_PROGRESS_RUN='' _PROGRESS_BEGAN=0 _PROGRESS_PAID_FROM=0 _PROGRESS_LIMIT=''
_PROGRESS_STATE='' _PROGRESS_PERCENT='' _PROGRESS_NODE='' _PROGRESS_TITLE='' _PROGRESS_VALUE='' _PROGRESS_MAX=''
_PROGRESS_POSITION='' _PROGRESS_LEFT='' _PROGRESS_LEFT_AT=0 # the seconds that were left then
_PROGRESS_SAVED_AT=0 _PROGRESS_TOLD=''

# progress_begin RUN PAID_FROM LIMIT - a run begins: its directory, since when its pod is paid for (epoch), and what it
# may cost (empty: anything).
progress_begin() {
  os_now
  _PROGRESS_RUN=$1 _PROGRESS_BEGAN=$OS_NOW _PROGRESS_PAID_FROM=$2 _PROGRESS_LIMIT=$3 _PROGRESS_SAVED_AT=$OS_NOW
  UI_WAITS=_progress_wait
  panel_reset
  _progress_forget
}

# progress_end - the run is over, or not ours any more: nothing is written down from here on.
progress_end() { _PROGRESS_RUN=''; }

# _progress_wait - a step shows that it goes on: a boot and an upload take minutes, in which money is spent.
_progress_wait() {
  local BUDGET_COST BUDGET_MICRO BUDGET_DOLLARS # the step may be about to use its own
  progress_save
}

# progress_blind - nobody tells any more which node is at work: what was told is no longer true.
progress_blind() {
  local state=$_PROGRESS_STATE position=$_PROGRESS_POSITION
  _progress_forget
  _PROGRESS_STATE=$state _PROGRESS_POSITION=$position
}

# progress_paid_from EPOCH - the run pays for its pod since then.
progress_paid_from() { _PROGRESS_PAID_FROM=$1; }

# _progress_forget - nothing is known of the prompt yet.
_progress_forget() {
  _PROGRESS_STATE='' _PROGRESS_PERCENT='' _PROGRESS_NODE='' _PROGRESS_TITLE='' _PROGRESS_VALUE='' _PROGRESS_MAX=''
  _PROGRESS_POSITION='' _PROGRESS_LEFT='' _PROGRESS_TOLD=''
}

# progress_state STATE [POSITION] - the run is at another step (target, upload, submit, collect), or its prompt is
# pending at POSITION of the server's queue, or running; written down when it lasts.
progress_state() {
  [ "$_PROGRESS_STATE $_PROGRESS_POSITION" != "$1 ${2:-}" ] || return 0
  _PROGRESS_STATE=$1 _PROGRESS_POSITION=${2:-}
  progress_tell
  progress_save
}

# progress_take TEXT - what watch.py says in a `progress` line.
progress_take() {
  local _done _total
  IFS=$'\x1f' read -r _PROGRESS_PERCENT _PROGRESS_LEFT _done _total _PROGRESS_VALUE _PROGRESS_MAX _PROGRESS_NODE \
    _PROGRESS_TITLE _ <<<"${1//$'\t'/$'\x1f'}"
  os_now
  _PROGRESS_STATE=running _PROGRESS_POSITION='' _PROGRESS_LEFT_AT=$OS_NOW
}

# _progress_count - sets PROGRESS_SECONDS since the run began, PROGRESS_LEFT until the prompt should be done,
# PROGRESS_COST so far and PROGRESS_ESTIMATE of the whole, in dollars; empty what nobody knows.
_progress_count() {
  os_now
  PROGRESS_SECONDS=$((OS_NOW - _PROGRESS_BEGAN)) PROGRESS_LEFT='' PROGRESS_COST='' PROGRESS_ESTIMATE=''
  if [ -n "$_PROGRESS_LEFT" ] && [ "$_PROGRESS_STATE" = running ]; then
    PROGRESS_LEFT=$((_PROGRESS_LEFT - OS_NOW + _PROGRESS_LEFT_AT))
    [ "$PROGRESS_LEFT" -ge 0 ] || PROGRESS_LEFT=0
  fi
  budget_less 0 "$POD_RATE" || return 0
  budget_cost "$POD_RATE" $((OS_NOW - _PROGRESS_PAID_FROM + 1))
  PROGRESS_COST=$BUDGET_COST
  [ -n "$PROGRESS_LEFT" ] || return 0
  budget_cost "$POD_RATE" $((OS_NOW - _PROGRESS_PAID_FROM + 1 + PROGRESS_LEFT))
  PROGRESS_ESTIMATE=$BUDGET_COST
}

# progress_show STATE - draws the panel; STATE is running, pending, or a text that says what goes on instead.
progress_show() {
  _progress_count
  # shellcheck disable=SC2034 # panel.sh reads them
  PANEL_STATE=$1 PANEL_PERCENT=$_PROGRESS_PERCENT PANEL_TITLE=$_PROGRESS_TITLE PANEL_VALUE=$_PROGRESS_VALUE \
    PANEL_MAX=$_PROGRESS_MAX PANEL_POSITION=$_PROGRESS_POSITION PANEL_SECONDS=$PROGRESS_SECONDS \
    PANEL_LEFT=$PROGRESS_LEFT PANEL_COST=$PROGRESS_COST PANEL_ESTIMATE=$PROGRESS_ESTIMATE PANEL_LIMIT=$_PROGRESS_LIMIT
  panel_draw
}

# progress_tell - an event for programs, when it would say something new.
progress_tell() {
  local now="$_PROGRESS_STATE $_PROGRESS_PERCENT $_PROGRESS_NODE $_PROGRESS_VALUE $_PROGRESS_POSITION"
  [ -n "$EVENTS_ON" ] && [ "$now" != "$_PROGRESS_TOLD" ] || return 0
  _PROGRESS_TOLD=$now
  _progress_count
  events_emit progress state s "$_PROGRESS_STATE" percent n "$_PROGRESS_PERCENT" left_seconds n "$PROGRESS_LEFT" \
    node s "$_PROGRESS_NODE" title s "$_PROGRESS_TITLE" value n "$_PROGRESS_VALUE" max n "$_PROGRESS_MAX" \
    position n "$_PROGRESS_POSITION" seconds n "$PROGRESS_SECONDS" cost_usd n "$PROGRESS_COST"
}

# progress_save - writes it down for other commands, once a second at most, and not for runs that are over soon.
progress_save() {
  [ -n "$_PROGRESS_RUN" ] || return 0
  os_now
  [ "$OS_NOW" != "$_PROGRESS_SAVED_AT" ] && [ $((OS_NOW - _PROGRESS_BEGAN)) -ge "$_PROGRESS_LATER" ] || return 0
  _PROGRESS_SAVED_AT=$OS_NOW
  _progress_count
  events_object state s "$_PROGRESS_STATE" percent n "$_PROGRESS_PERCENT" left n "$PROGRESS_LEFT" \
    node s "$_PROGRESS_NODE" title s "$_PROGRESS_TITLE" value n "$_PROGRESS_VALUE" max n "$_PROGRESS_MAX" position n "$_PROGRESS_POSITION" \
    at n "$OS_NOW" began n "$_PROGRESS_BEGAN" cost_usd s "$PROGRESS_COST"
  core_quietly state_write "$_PROGRESS_RUN/progress" "$EVENTS_JSON" || core_forget_error # who asks sees an older one
}
