# shellcheck shell=bash
# ui.sh - what people read: steps, bars, warnings, errors, and the log file. All of it goes to
# stderr.

[ -z "${_AUTOPOD_UI_SH:-}" ] || return 0 # @guard
_AUTOPOD_UI_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/screen.sh"
. "$AUTOPOD_LIB/events.sh"

UI_LOG_MAX=5000000 # bytes; a longer log is kept once more as autopod.log.1
UI_LINE_EVERY=20   # seconds between progress lines where there is no terminal
UI_SECRETS=()      # values that must not be shown or logged
UI_YES=''          # set when every question is answered with yes beforehand (--yes)
UI_LOG=''          # the log file, once its directory is known
_UI_LOG_ALSO=''    # another one, of the run at hand
_UI_STEP=''        # the step on the line at hand
_UI_SAID_AT=0      # when a plain line of progress was written last
_UI_RED='' _UI_YELLOW='' _UI_GREEN='' _UI_DIM='' _UI_OFF=''
_UI_OK='ok' _UI_BAD='!!' _UI_FULL='#' _UI_EMPTY='-' # for a locale without more
_UI_FRAMES=('| ' '/ ' '- ' '\ ') _UI_FRAME=0        # as wide as the marks
_UI_EDGE=100                                        # how far to the right a line goes at most, where the eye has to follow it over a gap
UI_TEXT=''
UI_WAITS='' # what ui_progress calls first: a step goes on

# ui_init [LOG_FILE] - decides on colours and marks, opens the log; needs nothing else.
ui_init() {
  CORE_TELL=ui_tell
  screen_init
  if [ -n "${CLICOLOR_FORCE:-}" ] && [ "$CLICOLOR_FORCE" != 0 ] ||
    { [ -z "${NO_COLOR:-}" ] && [ -n "$SCREEN_TERMINAL" ]; }; then
    _UI_RED=$'\033[31m' _UI_YELLOW=$'\033[33m' _UI_GREEN=$'\033[32m' _UI_DIM=$'\033[2m' _UI_OFF=$'\033[0m'
  fi
  [ -z "$SCREEN_UTF8" ] || {
    _UI_OK='✓' _UI_BAD='✗' _UI_FULL='█' _UI_EMPTY='░'
    _UI_FRAMES=(⠋ ⠙ ⠹ ⠸ ⠼ ⠴ ⠦ ⠧ ⠇ ⠏)
  }
  [ $# -eq 0 ] || ui_log_open "$1"
}

# ui_log_open FILE - from here on everything that is said also goes to FILE, with time and level.
ui_log_open() {
  local size
  [ -d "${1%/*}" ] || mkdir -p -- "${1%/*}" 2>/dev/null || return 0 # a disk that is full or read-only must not stop a job
  UI_LOG=$1
  [ -e "$UI_LOG" ] || return 0
  size=$(os_size "$UI_LOG") && [ "$size" -le "$UI_LOG_MAX" ] || mv -f -- "$UI_LOG" "$UI_LOG.1" 2>/dev/null || :
}

# ui_log_also FILE - from here on what goes to the log also goes to FILE, the log of a run; empty: no longer.
ui_log_also() { _UI_LOG_ALSO=$1; }

# ui_log LEVEL TEXT - a line in the log files only.
ui_log() {
  local file line
  [ -n "$UI_LOG$_UI_LOG_ALSO" ] || return 0
  os_utc
  ui_clean "$2"
  printf -v line '%s %-7s %s[%s] %s' "$OS_UTC" "$1" "$AUTOPOD_PROG" "$$" "$UI_TEXT"
  for file in "$UI_LOG" "$_UI_LOG_ALSO"; do
    [ -z "$file" ] || { printf '%s\n' "$line" >>"$file"; } 2>/dev/null || :
  done
}

# ui_clean TEXT - sets UI_TEXT to TEXT on one line, without control characters and with secrets
# masked; our own arrows and crosses become ASCII where the locale has no more.
ui_clean() {
  local secret
  UI_TEXT=${1//[[:cntrl:]]/ }
  UI_TEXT=${UI_TEXT//$'\xc2'[$'\x80'-$'\x9f']/ } # terminals obey these too
  [ -n "$SCREEN_UTF8" ] || UI_TEXT=${UI_TEXT//→/->} UI_TEXT=${UI_TEXT//×/x} UI_TEXT=${UI_TEXT//…/...}
  for secret in ${UI_SECRETS[@]+"${UI_SECRETS[@]}"}; do
    [ -z "$secret" ] || UI_TEXT=${UI_TEXT//"$secret"/****}
  done
}

# ui_secret TEXT - from here on TEXT is masked wherever we speak; not what is too short to be a key, which would only
# make everything else unreadable.
ui_secret() { [ "${#1}" -lt 8 ] || UI_SECRETS[${#UI_SECRETS[@]}]=$1; }

# ui_tell LEVEL TEXT - an error, hint, warning, note (info), or detail, as CORE_TELL.
ui_tell() {
  ui_log "$1" "$2"
  ui_clean "$2"
  case $1 in
    error) screen_line "$_UI_RED$AUTOPOD_PROG: error:$_UI_OFF $UI_TEXT" ;;
    hint) screen_line "  $UI_TEXT" ;;
    warning)
      events_emit warning text s "$UI_TEXT"
      screen_line "$_UI_YELLOW$AUTOPOD_PROG: warning:$_UI_OFF $UI_TEXT"
      ;;
    detail) [ -z "${AUTOPOD_VERBOSE:-}${AUTOPOD_DEBUG:-}" ] || screen_line "$_UI_DIM$UI_TEXT$_UI_OFF" ;;
    *) [ -n "${AUTOPOD_QUIET:-}" ] || screen_line "$UI_TEXT" ;;
  esac
}

# ui_warn TEXT - what went wrong without stopping anything.
ui_warn() { ui_tell warning "$1"; }

# ui_note TEXT - what a person wants to know; not with -q.
ui_note() { ui_tell info "$1"; }

# ui_detail TEXT - only with -v.
ui_detail() { ui_tell detail "$1"; }

# ui_debug CMD... - with --debug: the external command about to run.
ui_debug() {
  [ -z "${AUTOPOD_DEBUG:-}" ] || {
    ui_clean "$*"
    screen_line "$_UI_DIM+ $UI_TEXT$_UI_OFF"
  }
}

# ui_confirm QUESTION - 0 when the person at the terminal says yes, or has said so beforehand; EX_USAGE when
# there is nobody to ask; EX_FAIL when the answer is no.
ui_confirm() {
  local answer=''
  [ -z "$UI_YES" ] || return 0
  [ -t 0 ] && [ -t 2 ] ||
    core_fail "$EX_USAGE" "there is no terminal to ask at: $1" "add --yes if that is what you want" || return
  ui_clean "$1"
  screen_clear
  printf '%s [y/N] ' "$UI_TEXT" >&2
  IFS= read -r answer || answer=''
  ui_log info "$1 $answer"
  case $answer in [Yy] | [Yy][Ee][Ss]) return 0 ;; esac
  core_fail "$EX_FAIL" "nothing was done, since the answer was not yes"
}

# --- steps ---

# ui_step NAME - a step begins; its line is written by ui_progress and ui_done.
ui_step() {
  os_now
  _UI_STEP=$1 _UI_SAID_AT=$OS_NOW
  ui_log info "$1 ..."
}

# ui_progress TEXT [DONE TOTAL] - how far the step is: redrawn in place on a terminal, elsewhere a
# plain line every UI_LINE_EVERY seconds, so that a cron mail stays readable.
ui_progress() {
  [ -z "$UI_WAITS" ] || "$UI_WAITS"
  [ -z "${AUTOPOD_QUIET:-}" ] || return 0
  ui_clean "$1"
  if [ -n "$SCREEN_TERMINAL" ]; then
    local bar='' line
    [ -z "${3:-}" ] || {
      ui_bar "$2" "$3"
      bar="$UI_BAR "
    }
    printf -v line '  %-9s %s%s' "$_UI_STEP" "$bar" "$UI_TEXT"
    screen_show "$line"
    return 0
  fi
  os_now
  [ $((OS_NOW - _UI_SAID_AT)) -ge "$UI_LINE_EVERY" ] || return 0
  [ -z "${3:-}" ] || UI_TEXT="$UI_TEXT, $(($2 * 100 / $3)) %"
  _ui_plain
}

# ui_change TEXT - the same for something new, that is told at once everywhere.
ui_change() {
  if [ -n "${AUTOPOD_QUIET:-}$SCREEN_TERMINAL" ]; then
    ui_progress "$1"
    return
  fi
  ui_clean "$1"
  _ui_plain
}

# _ui_plain - writes UI_TEXT as a plain line of the step.
_ui_plain() {
  os_now
  _UI_SAID_AT=$OS_NOW
  printf '%s\n' "${_UI_STEP:+$_UI_STEP: }$UI_TEXT" >&2 2>/dev/null || :
}

# ui_done TEXT [RIGHT] - the step is done; TEXT says with what, and RIGHT what stands at the right edge of a terminal.
ui_done() {
  ui_log info "$_UI_STEP: $1${2:+, $2}"
  [ -n "${AUTOPOD_QUIET:-}" ] || _ui_end_step "$_UI_GREEN" "$_UI_OK" "$1" "${2:-}"
  _UI_STEP=''
}

# ui_failed [TEXT] - the step at hand did not work; the reason was told by core_fail.
ui_failed() {
  [ -n "$_UI_STEP" ] || return 0
  ui_log info "$_UI_STEP: failed"
  [ -n "${AUTOPOD_QUIET:-}" ] || _ui_end_step "$_UI_RED" "$_UI_BAD" "${1:-failed}" ''
  _UI_STEP=''
}

# ui_mark STATE - sets UI_MARK to the sign of ok, warn or bad, in ASCII where the locale has no more.
ui_mark() {
  case $1 in
    ok) UI_MARK=$_UI_OK ;;
    warn) printf -v UI_MARK '%-*s' "${#_UI_OK}" '!' ;;
    *) UI_MARK=$_UI_BAD ;;
  esac
}

# _ui_end_step COLOUR MARK TEXT RIGHT - the step's last line.
_ui_end_step() {
  local line edge=$((SCREEN_COLUMNS - 1)) gap
  ui_clean "$4"
  local right=$UI_TEXT
  ui_clean "$3"
  printf -v line '%-9s %s' "$_UI_STEP" "$UI_TEXT"
  if [ -n "$right" ]; then
    [ "$edge" -le "$_UI_EDGE" ] || edge=$_UI_EDGE
    screen_width "$2 $line$right"
    gap=$((edge - SCREEN_WIDTH))
    if [ -n "$SCREEN_TERMINAL" ] && [ "$gap" -ge 2 ]; then
      printf -v line '%s%*s%s' "$line" "$gap" '' "$right"
    else
      line="$line, $right"
    fi
  fi
  screen_line "$1$2${1:+$_UI_OFF} $line"
}

# ui_block LINE... - lines that are redrawn in place, at most ten times a second, on a terminal; nothing elsewhere.
ui_block() {
  local line lines
  [ -z "${AUTOPOD_QUIET:-}" ] && screen_due || return 0
  lines=()
  for line in "$@"; do
    ui_clean "$line"
    lines[${#lines[@]}]=$UI_TEXT
  done
  screen_show ${lines[@]+"${lines[@]}"}
}

# ui_spin - sets UI_SPIN to the next picture of a wheel that turns.
ui_spin() {
  UI_SPIN=${_UI_FRAMES[_UI_FRAME]}
  _UI_FRAME=$(((_UI_FRAME + 1) % ${#_UI_FRAMES[@]}))
}

# ui_bar DONE TOTAL - sets UI_BAR to a bar of 16 cells and the percentage.
ui_bar() {
  local percent=0
  [ "$2" -le 0 ] || percent=$(($1 * 100 / $2))
  [ "$percent" -le 100 ] || percent=100
  ui_cells $((percent * 16 / 100)) 16
  printf -v UI_BAR '%s %3d %%' "$UI_BAR" "$percent"
}

# ui_cells FULL CELLS - sets UI_BAR to a bar of CELLS cells, the first of them full.
ui_cells() {
  local i
  UI_BAR=[
  for ((i = 0; i < $2; i++)); do
    if [ "$i" -lt "$1" ]; then UI_BAR=$UI_BAR$_UI_FULL; else UI_BAR=$UI_BAR$_UI_EMPTY; fi
  done
  UI_BAR=$UI_BAR]
}

# --- quantities, in words ---

# ui_size BYTES - sets UI_SIZE, as "3.1 MB" (powers of ten, one decimal).
ui_size() {
  local bytes=$1 unit factor=1
  for unit in B kB MB GB TB; do
    if [ "$bytes" -lt $((factor * 1000)) ] || [ "$unit" = TB ]; then break; fi
    factor=$((factor * 1000))
  done
  if [ "$unit" = B ]; then
    UI_SIZE="$bytes B"
  else
    printf -v UI_SIZE '%d.%d %s' $((bytes / factor)) $((bytes % factor * 10 / factor)) "$unit"
  fi
}

# ui_duration SECONDS - sets UI_TIME, as "42s", "1m 05s" or "2h 03m".
ui_duration() {
  if [ "$1" -lt 60 ]; then
    UI_TIME="${1}s"
  elif [ "$1" -lt 3600 ]; then
    printf -v UI_TIME '%dm %02ds' $(($1 / 60)) $(($1 % 60))
  else
    printf -v UI_TIME '%dh %02dm' $(($1 / 3600)) $(($1 % 3600 / 60))
  fi
}

# ui_count N SINGULAR [PLURAL] - sets UI_COUNT, as "1 file" or "3 files".
ui_count() {
  if [ "$1" = 1 ]; then UI_COUNT="1 $2"; else UI_COUNT="$1 ${3:-${2}s}"; fi
}
