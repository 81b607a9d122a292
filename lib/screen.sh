# shellcheck shell=bash
# screen.sh - the terminal on stderr: lines that stay, and below them a block of lines that is redrawn in place.

[ -z "${_AUTOPOD_SCREEN_SH:-}" ] || return 0 # @guard
_AUTOPOD_SCREEN_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"

SCREEN_TERMINAL=''                 # set when there is a terminal that can redraw a line, and we are in front of it
SCREEN_COLUMNS=80 SCREEN_ROWS=24   # its size
SCREEN_UTF8=''                     # set when the locale has more than ASCII
SCREEN_TEXT='' SCREEN_WIDTH=0      # results of screen_cut and screen_width
_SCREEN_BLOCK=() _SCREEN_WIDTHS=() # the lines of the block that stands on the terminal, and their widths
_SCREEN_OWNER=0                    # the subshell level that drew it
_SCREEN_UP=''                      # what takes the cursor back to the block's beginning
_SCREEN_LOOKED='' _SCREEN_AWAY=''  # the second in which it was asked last; set while another program has the terminal
_SCREEN_DISORDER=''                # set while the block may stand there otherwise than it was drawn
_SCREEN_SLOT='' _SCREEN_IN_SLOT=0  # when the block was drawn last, and how often in that second
_SCREEN_KNOWS=''                   # how much the shell knows of a character: code, lead (its first byte), or byte

# Marks of ours and letters that are as narrow as ASCII; what isn't here is looked at one by one.
_SCREEN_NARROW='[✓✗█░→×…⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏·–—äöüÄÖÜßéèà]'

# screen_init - finds out what the terminal can do and how large it is. Whatever ends the program, the block is wiped
# before the cleanup speaks.
screen_init() {
  case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
    *[Uu][Tt][Ff]*8*) SCREEN_UTF8=1 ;;
  esac
  [ -t 2 ] && [ "${TERM:-dumb}" != dumb ] && os_in_foreground || return 0
  SCREEN_TERMINAL=1
  CORE_WIPE=screen_clear
  core_on_exit screen_clear # what the cleanup itself draws
  _screen_look
}

# _screen_look - sets SCREEN_COLUMNS, SCREEN_ROWS and _SCREEN_AWAY: asks when something was told of a change, and else
# once a second, for not every change is told.
_screen_look() {
  [ -n "$CORE_REDRAW" ] || [ "$_SCREEN_LOOKED" != "$SECONDS" ] || return 0
  [ "$CORE_REDRAW" != resumed ] || _SCREEN_BLOCK=() _SCREEN_WIDTHS=() _SCREEN_SLOT='' # others have written there
  CORE_REDRAW='' _SCREEN_LOOKED=$SECONDS _SCREEN_AWAY=''
  os_in_foreground || _SCREEN_AWAY=1
  os_columns
  [ "$SCREEN_COLUMNS $SCREEN_ROWS" != "$OS_COLUMNS $OS_ROWS" ] || return 0
  [ "${#_SCREEN_BLOCK[@]}" = 0 ] || _SCREEN_DISORDER=1 _SCREEN_SLOT=''
  SCREEN_COLUMNS=$OS_COLUMNS SCREEN_ROWS=$OS_ROWS
}

# screen_line TEXT - a line that stays. The block is wiped, and drawn again with the next screen_show.
screen_line() {
  if [ "${#_SCREEN_BLOCK[@]}" -gt 0 ] && [ "$BASH_SUBSHELL" != "$_SCREEN_OWNER" ]; then
    _screen_find # a subshell can't tell the one who drew the block that it is gone: it is put back
    _screen_draw $'\033[J'"$1"$'\n'
    return
  fi
  screen_clear
  _screen_write "$1"$'\n'
}

# screen_due - 0 when a block that is drawn again and again is worth another screen_show, for the width that
# SCREEN_COLUMNS has now: what nobody would see need not be made.
screen_due() {
  [ -n "$SCREEN_TERMINAL" ] || return 1
  _screen_look
  [ -z "$_SCREEN_AWAY" ] || return 1
  os_tenth
  if [ -n "$OS_TENTH" ]; then
    [ "$OS_TENTH" != "$_SCREEN_SLOT" ]
  else
    [ "$SECONDS" != "$_SCREEN_SLOT" ] || [ "$_SCREEN_IN_SLOT" -lt 10 ]
  fi
}

# screen_show LINE... - draws these lines in place of the block before, each cut to the width. What may not be the last
# word for a while waits until it is due: ten times a second at most.
screen_show() {
  local line
  [ -n "$SCREEN_TERMINAL" ] || return 0
  _screen_look
  [ -z "$_SCREEN_AWAY" ] || return 0
  _screen_note_time
  _screen_find
  _SCREEN_BLOCK=() _SCREEN_WIDTHS=() _SCREEN_OWNER=$BASH_SUBSHELL
  for line in "$@"; do # a block that is higher than the terminal would scroll, and could not be redrawn
    [ "${#_SCREEN_BLOCK[@]}" = 0 ] || [ "${#_SCREEN_BLOCK[@]}" -lt "$((SCREEN_ROWS - 1))" ] || break
    screen_cut "$line" $((SCREEN_COLUMNS - 1))
    _SCREEN_WIDTHS[${#_SCREEN_BLOCK[@]}]=$SCREEN_WIDTH
    _SCREEN_BLOCK[${#_SCREEN_BLOCK[@]}]=$SCREEN_TEXT
  done
  _screen_draw ''
  _SCREEN_DISORDER=''
}

# _screen_note_time - the block is drawn now.
_screen_note_time() {
  os_tenth
  if [ -n "$OS_TENTH" ]; then
    _SCREEN_SLOT=$OS_TENTH
  else
    [ "$_SCREEN_SLOT" = "$SECONDS" ] || _SCREEN_IN_SLOT=0
    _SCREEN_SLOT=$SECONDS _SCREEN_IN_SLOT=$((_SCREEN_IN_SLOT + 1))
  fi
}

# screen_clear - wipes the block.
screen_clear() {
  [ "${#_SCREEN_BLOCK[@]}" -gt 0 ] || return 0
  _screen_look
  _screen_find
  _SCREEN_BLOCK=() _SCREEN_WIDTHS=() _SCREEN_SLOT=''
  _screen_write "$_SCREEN_UP"$'\033[K\n\033[J\033[1A' # in two steps: tmux keeps what is wiped from its first row on
}

# _screen_find - sets _SCREEN_UP: the cursor rests below the block, where a shell may go on should we be killed. A
# terminal that became narrower has broken lines into several rows.
_screen_find() {
  local width rows=0
  for width in ${_SCREEN_WIDTHS[@]+"${_SCREEN_WIDTHS[@]}"}; do
    rows=$((rows + 1 + (width > 0 ? (width - 1) / SCREEN_COLUMNS : 0)))
  done
  _SCREEN_UP=$'\r'
  [ "$rows" = 0 ] || _SCREEN_UP=$'\r\033['${rows}A
}

# _screen_draw TEXT - writes TEXT and the block from its old beginning on, in one go. Meanwhile the terminal breaks no
# lines, should it take one for wider than we do.
_screen_draw() {
  local line out=$1 empty=''
  # Rows that were one line once would be one again when the terminal gets wider, unless they were empty in between.
  [ -z "$_SCREEN_DISORDER" ] || empty=$'\033[K'
  for line in ${_SCREEN_BLOCK[@]+"${_SCREEN_BLOCK[@]}"}; do out=$out$empty$line$'\033[K\n'; done
  _screen_write "$_SCREEN_UP"$'\033[?7l'"$out"$'\033[J\033[?7h'
}

# _screen_write TEXT - TEXT as it is; a job must not end because nobody can read what is said.
_screen_write() { printf '%s' "$1" >&2 2>/dev/null || :; }

# --- how wide a text is ---

# screen_width TEXT - sets SCREEN_WIDTH to the columns that it takes.
screen_width() { screen_cut "$1" 100000; }

# screen_cut TEXT COLUMNS - sets SCREEN_TEXT to as much of TEXT as has room in so many columns, and SCREEN_WIDTH to what
# that takes.
screen_cut() {
  local i char='' rest=$1
  SCREEN_TEXT=$1 SCREEN_WIDTH=${#1}
  case $1 in *[![:ascii:]]*)
    [ -n "$_SCREEN_KNOWS" ] || _screen_ask_shell
    [ "$_SCREEN_KNOWS" = byte ] || rest=${1//$_SCREEN_NARROW/}
    ;;
  esac
  case $rest in
    *[![:ascii:]]*) ;;
    *) # a column each
      [ "$SCREEN_WIDTH" -le "$2" ] || SCREEN_TEXT=${1:0:$2} SCREEN_WIDTH=$2
      return 0
      ;;
  esac
  SCREEN_WIDTH=0
  for ((i = 0; i < ${#1}; i++)); do
    _screen_char "${1:i:1}"
    [ $((SCREEN_WIDTH + _SCREEN_TAKES)) -le "$2" ] || {
      SCREEN_TEXT=${1:0:i}
      return 0
    }
    SCREEN_WIDTH=$((SCREEN_WIDTH + _SCREEN_TAKES))
  done
}

# _screen_ask_shell - sets _SCREEN_KNOWS: bash 3.2 tells only the first byte of a character, and where the locale is not
# installed each byte passes for one.
_screen_ask_shell() {
  local sample='é' code
  _SCREEN_KNOWS=byte
  [ "${#sample}" = 1 ] || return 0
  printf -v code %d "'$sample" 2>/dev/null || code=0
  if [ "$code" = 233 ]; then _SCREEN_KNOWS=code; else _SCREEN_KNOWS=lead; fi
}

# _screen_char CHARACTER - sets _SCREEN_TAKES to its columns: 0, 1 or 2.
_screen_char() {
  local code
  _SCREEN_TAKES=1
  case $1 in [[:ascii:]]) return 0 ;; esac
  printf -v code %d "'$1" 2>/dev/null || code=65
  if [ "$_SCREEN_KNOWS" = code ]; then
    _screen_code "$code"
    return
  fi
  [ "$code" -ge 0 ] || code=$((code + 256))
  if [ "$code" -lt 192 ] || [ "$code" = 204 ]; then
    _SCREEN_TAKES=0 # a byte within a character; an accent above the letter before it
  elif [ "$code" -ge 227 ]; then
    _SCREEN_TAKES=2
  fi
}

# _screen_code NUMBER - the same as _screen_char for a character's number in Unicode. Among the symbols all count as
# wide that are so on some terminal: a line that is cut too early does no harm.
_screen_code() {
  local n=$1
  if ((n < 0x300)); then
    return 0
  elif ((n <= 0x36f || n >= 0x200b && n <= 0x200f || n >= 0x20d0 && n <= 0x20ff || n >= 0xfe00 && n <= 0xfe0f)); then
    _SCREEN_TAKES=0
  elif ((n >= 0x1100 && n <= 0x115f || n >= 0x231a && n <= 0x231b || n >= 0x23e9 && n <= 0x23f3)) ||
    ((n >= 0x2600 && n <= 0x27bf && n != 0x2713 && n != 0x2717 || n >= 0x2b1b && n <= 0x2b55)) ||
    ((n >= 0x2e80 && n <= 0xa4cf || n >= 0xa960 && n <= 0xa97f || n >= 0xac00 && n <= 0xd7a3)) ||
    ((n >= 0xf900 && n <= 0xfaff || n >= 0xfe10 && n <= 0xfe6f || n >= 0xff00 && n <= 0xff60)) ||
    ((n >= 0xffe0 && n <= 0xffe6 || n >= 0x16fe0 && n <= 0x1b2ff || n >= 0x1f000 && n <= 0x1faff || n >= 0x20000)); then
    _SCREEN_TAKES=2
  fi
}
