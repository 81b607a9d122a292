# shellcheck shell=bash
# panel.sh - what is seen of a job while it runs: how far it is, what it costs, which keys there are.

[ -z "${_AUTOPOD_PANEL_SH:-}" ] || return 0 # @guard
_AUTOPOD_PANEL_SH=1                         # @guard

. "$AUTOPOD_LIB/screen.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/budget.sh"

# The caller sets them; what is empty is left out.
PANEL_STATE=''                                 # running, pending, or a text that says what goes on instead
PANEL_PERCENT=''                               # of the whole job
PANEL_TITLE='' PANEL_VALUE='' PANEL_MAX=''     # the node at hand, and its steps
PANEL_POSITION=''                              # in the server's queue
PANEL_SECONDS='' PANEL_LEFT=''                 # since the job began, and until it should be done
PANEL_COST='' PANEL_ESTIMATE='' PANEL_LIMIT='' # dollars
PANEL_KEYS=''                                  # 1: those of a run; attached: those of somebody who only looks on
PANEL_HELP=''                                  # set to explain each key
PANEL_QUESTION=''                              # asked in place of the keys
PANEL_LOG=''                                   # a file whose last lines are shown
_PANEL_LINES=() _PANEL_INDENT=''
_PANEL_TAIL=() _PANEL_TAIL_OF='' _PANEL_TAIL_AT='' # those lines, of which file, and when they were read
_PANEL_ALL_KEYS='o open GUI   l log   s stop pod   k kill pod   q leave it running   Ctrl+C cancel and stop'
_PANEL_SAID='' # the state in the last plain line

# panel_reset - forgets all of it, before the next job.
panel_reset() {
  PANEL_STATE='' PANEL_PERCENT='' PANEL_TITLE='' PANEL_VALUE='' PANEL_MAX='' PANEL_POSITION='' PANEL_SECONDS=''
  PANEL_LEFT='' PANEL_COST='' PANEL_ESTIMATE='' PANEL_LIMIT='' PANEL_KEYS='' PANEL_HELP='' PANEL_QUESTION=''
  PANEL_LOG='' _PANEL_SAID=''
}

# panel_key KEY LOG - the keys that only change what is seen: l shows the last lines of LOG, or hides them, ? explains
# the keys.
panel_key() {
  case $1 in
    [lL]) if [ -n "$PANEL_LOG" ]; then PANEL_LOG=''; else PANEL_LOG=$2; fi ;;
    [hH?]) if [ -n "$PANEL_HELP" ]; then PANEL_HELP=''; else PANEL_HELP=1; fi ;;
  esac
}

# panel_draw - shows it: on a terminal redrawn in place, as often as somebody can see; elsewhere, after ui_step, a plain
# line of the step when the state changes and one now and then.
panel_draw() {
  [ -z "${AUTOPOD_QUIET:-}" ] || return 0
  [ -n "$SCREEN_TERMINAL" ] || {
    _panel_say
    return
  }
  screen_due || return 0
  ui_spin
  screen_width "$UI_SPIN "
  printf -v _PANEL_INDENT '%*s' "$SCREEN_WIDTH" ''
  _PANEL_LINES=()
  _panel_state
  _panel_cost
  if [ -n "$PANEL_QUESTION" ]; then _panel_question; else _panel_keys; fi
  [ -z "$PANEL_LOG" ] || _panel_log
  ui_block "${_PANEL_LINES[@]}"
}

# _panel_add TEXT - one more line.
_panel_add() { _PANEL_LINES[${#_PANEL_LINES[@]}]=$1; }

# _panel_fits TEXT - 0 when it has room on one line.
_panel_fits() {
  screen_width "$1"
  [ "$SCREEN_WIDTH" -lt "$SCREEN_COLUMNS" ]
}

# --- how far it is ---

# _panel_state - the line with the bar, in the fullest form that has room.
_panel_state() {
  local head form bar columns gap time steps line title
  case $PANEL_STATE in
    pending)
      printf -v line '%s %-9s %s' "$UI_SPIN" Waiting "at position ${PANEL_POSITION:-?} of the server's queue"
      _panel_time ''
      _panel_fits "$line   $UI_TIME" || printf -v line '%s %-9s %s' "$UI_SPIN" Waiting "position ${PANEL_POSITION:-?}"
      _panel_add "$line${UI_TIME:+   $UI_TIME}"
      return
      ;;
  esac
  printf -v head '%s %-9s ' "$UI_SPIN" Running
  # cells of the bar, columns of the title, blanks before the time, its form, whether steps are shown
  for form in '16 99 3 about 1' '16 99 2 about 1' '10 99 2 about 1' '10 14 2 about 1' '10 14 2 short 1' '8 10 2 short 1' \
    '0 10 2 short 1' '0 10 2 none 1' '0 10 2 none' '0 0 2 none'; do
    IFS=' ' read -r bar columns gap time steps <<<"$form"
    _panel_bar "$bar"
    _panel_title "$columns" "$steps"
    title=$SCREEN_TEXT
    _panel_time "$time"
    line=$UI_BAR${UI_BAR:+${title:+  }}$title
    [ -n "$line" ] || gap=0
    [ -z "$UI_TIME" ] || printf -v line '%s%*s%s' "$line" "$gap" '' "$UI_TIME"
    ! _panel_fits "$head$line" || break
  done
  if [ -n "$line" ]; then _panel_add "$head$line"; else _panel_add "$UI_SPIN Running"; fi
}

# _panel_bar CELLS - sets UI_BAR to the bar and the percentage; empty without one.
_panel_bar() {
  UI_BAR=''
  [ -n "$PANEL_PERCENT" ] || return 0
  [ "$1" = 0 ] || {
    ui_cells $(((PANEL_PERCENT * $1 + 50) / 100)) "$1"
    UI_BAR="$UI_BAR "
  }
  printf -v UI_BAR '%s%2d %%' "$UI_BAR" "$PANEL_PERCENT"
}

# _panel_title COLUMNS STEPS - sets SCREEN_TEXT to the node at hand, its title cut to COLUMNS, with its steps if STEPS
# is set; or to what goes on instead.
_panel_title() {
  local more='…' steps=''
  [ -n "$SCREEN_UTF8" ] || more='...'
  if [ "$PANEL_STATE" = running ]; then
    ui_clean "$PANEL_TITLE"
    [ -z "$2" ] || steps=${PANEL_MAX:+ ($PANEL_VALUE/$PANEL_MAX)}
  else
    ui_clean "$PANEL_STATE"
  fi
  screen_width "$UI_TEXT"
  if [ "$1" = 0 ]; then
    SCREEN_TEXT=''
  elif [ "$SCREEN_WIDTH" -gt "$1" ]; then
    screen_cut "$UI_TEXT" $(($1 - ${#more}))
    SCREEN_TEXT=$SCREEN_TEXT$more
  fi
  [ -z "$SCREEN_TEXT" ] || SCREEN_TEXT=$SCREEN_TEXT$steps
}

# _panel_time about|short|none - sets UI_TIME to the time that it took so far, and what is left of it as far as known.
_panel_time() {
  local passed
  UI_TIME=''
  [ -n "$PANEL_SECONDS" ] || return 0
  case $PANEL_STATE in running | pending) ;; *) return 0 ;; esac # other states count for themselves
  ui_duration "$PANEL_SECONDS"
  [ -n "$PANEL_LEFT" ] || return 0
  passed=$UI_TIME
  ui_duration "$PANEL_LEFT"
  case $1 in
    about) UI_TIME="$passed, about $UI_TIME left" ;;
    short) UI_TIME="$passed, $UI_TIME left" ;;
    *) UI_TIME=$passed ;;
  esac
}

# --- what it costs ---

# _panel_cost - the line with the money; none for a pod without a price.
_panel_cost() {
  local head cost estimate limit line
  budget_dollars "$PANEL_COST"
  cost=$BUDGET_DOLLARS
  [ -n "$cost" ] || return 0
  budget_dollars "$PANEL_ESTIMATE"
  estimate=${BUDGET_DOLLARS:+, about $BUDGET_DOLLARS}
  budget_dollars "$PANEL_LIMIT"
  limit=${BUDGET_DOLLARS:+, limit $BUDGET_DOLLARS}
  printf -v head '%s%-9s ' "$_PANEL_INDENT" Cost
  for line in "$cost so far$estimate${estimate:+ for this job}$limit" "$cost$estimate$limit" "$cost$limit"; do
    ! _panel_fits "$head$line" || break
  done
  _panel_add "$head$line"
}

# --- keys, questions, the log ---

# _panel_fill BLANKS ITEM... - lines with as many of the items as have room on each, BLANKS between them.
_panel_fill() {
  local gap item line=''
  printf -v gap '%*s' "$1" ''
  shift
  for item in "$@"; do
    if [ -z "$line" ]; then
      line=$_PANEL_INDENT$item
    elif _panel_fits "$line$gap$item"; then
      line=$line$gap$item
    else
      _panel_add "$line"
      line=$_PANEL_INDENT$item
    fi
  done
  [ -z "$line" ] || _panel_add "$line"
}

# _panel_question - the question, on as many lines as it takes.
_panel_question() {
  local words
  IFS=$' \t\n' read -r -a words <<<"${PANEL_QUESTION//$'\n'/ }"
  _panel_fill 1 ${words[@]+"${words[@]}"}
}

# _panel_keys - the line of keys, and on demand one for each.
_panel_keys() {
  case $PANEL_KEYS in
    '') return 0 ;;
    attached) _panel_fill 3 'o open GUI' 'l log' 'q leave' 'Ctrl+C leaves too' ;;
    *)
      if _panel_fits "$_PANEL_INDENT$_PANEL_ALL_KEYS"; then
        _panel_add "$_PANEL_INDENT$_PANEL_ALL_KEYS"
      else
        _panel_fill 2 'o open GUI' 'l log' 's stop pod' 'k kill pod' 'q leave' 'Ctrl+C cancel and stop'
      fi
      ;;
  esac
  [ -z "$PANEL_HELP" ] || _panel_help
}

# _panel_help - a line for each key.
_panel_help() {
  _panel_add "${_PANEL_INDENT}o       opens ComfyUI in the browser"
  _panel_add "${_PANEL_INDENT}l       shows the last lines of the log, or hides them"
  if [ "$PANEL_KEYS" = attached ]; then
    _panel_add "${_PANEL_INDENT}q       ends this view; the job goes on"
    _panel_add "${_PANEL_INDENT}?       hides this help"
    _panel_add "${_PANEL_INDENT}Ctrl+C  as q"
    return
  fi
  _panel_add "${_PANEL_INDENT}s       cancels the job and stops the pod: its disk is kept"
  _panel_add "${_PANEL_INDENT}k       cancels the job and terminates the pod: nothing is kept there"
  _panel_add "${_PANEL_INDENT}q       leaves job and pod running, and ends this program"
  _panel_add "${_PANEL_INDENT}?       hides this help"
  _panel_add "${_PANEL_INDENT}Ctrl+C  cancels the job, and ends a pod that was made for it"
}

# _panel_log - the last lines of the log, read once a second at most.
_panel_log() {
  local line
  [ "$_PANEL_TAIL_OF $_PANEL_TAIL_AT" = "$PANEL_LOG $SECONDS" ] || {
    _PANEL_TAIL=() _PANEL_TAIL_OF=$PANEL_LOG _PANEL_TAIL_AT=$SECONDS
    while IFS= read -r line; do
      _PANEL_TAIL[${#_PANEL_TAIL[@]}]=$line
    done < <(tail -n 6 -- "$PANEL_LOG" 2>/dev/null)
  }
  for line in ${_PANEL_TAIL[@]+"${_PANEL_TAIL[@]}"}; do _panel_add "$_PANEL_INDENT$line"; done
}

# --- without a terminal ---

# _panel_say - a plain line, when there is something new or when it is time for one.
_panel_say() {
  local state=${PANEL_STATE%%,*} text=$PANEL_STATE # digits, and what is behind a comma, are time that passes
  state="${state//[0-9]/} $PANEL_POSITION"
  case $PANEL_STATE in
    running | pending)
      text=''
      [ -z "$PANEL_SECONDS" ] || {
        ui_duration "$PANEL_SECONDS"
        text=$UI_TIME
      }
      ;;
  esac
  case $PANEL_STATE in
    pending) text="waiting at position ${PANEL_POSITION:-?} of the server's queue${text:+, $text}" ;;
    running)
      text="${PANEL_PERCENT:+$PANEL_PERCENT %}${PANEL_PERCENT:+${text:+, }}$text"
      budget_show "$PANEL_COST"
      text="$text${BUDGET_TEXT:+${text:+, }$BUDGET_TEXT}"
      ;;
  esac
  [ -n "$text" ] || return 0
  if [ "$state" = "$_PANEL_SAID" ]; then ui_progress "$text"; else ui_change "$text"; fi
  _PANEL_SAID=$state
}
