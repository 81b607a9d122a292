# shellcheck shell=bash
# keys.sh - keys that are pressed while something else goes on.

[ -z "${_AUTOPOD_KEYS_SH:-}" ] || return 0 # @guard
_AUTOPOD_KEYS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"

_KEYS_PASTED=8      # more at once than anybody types: the text of a paste is no command
_KEYS_PID=''        # the one who reads them
_KEYS_TTY=''        # the terminal by name: a signal may come while standard input is something else for a moment
_KEYS_BEFORE=''     # the terminal's settings without us, as stty gives them
_KEYS_OURS=''       # and with us
_KEYS_AWAY=''       # set in the reader while another program has the terminal
_KEYS_REGISTERED='' # set once the cleanup knows

# keys_start FD - from here on a line `key<TAB>X` is written to FD for each key X (printable, ASCII); 1 where there is
# no terminal to press keys at, or when another program is in front of it. Ctrl+C works as ever.
keys_start() {
  [ -z "$_KEYS_PID" ] || return 0
  [ -t 0 ] && [ -t 2 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${AUTOPOD_QUIET:-}" ] || return 1
  [ -n "$_KEYS_REGISTERED" ] || core_on_exit keys_stop
  _KEYS_REGISTERED=1
  os_in_foreground && _KEYS_TTY=$(tty <&0) && _KEYS_BEFORE=$(stty -g <"$_KEYS_TTY" 2>/dev/null) || return 1
  _keys_drop && _keys_take && _KEYS_OURS=$(stty -g <&0 2>/dev/null) || {
    keys_stop
    return 1
  }
  os_process_start "$$" || :
  _keys_read "$1" "$OS_START" <&0 &
  _KEYS_PID=$!
}

# keys_stop - nobody reads keys any more, and the terminal is as before.
keys_stop() {
  [ -n "$_KEYS_BEFORE" ] || return 0
  [ -z "$_KEYS_PID" ] || {
    kill -s KILL "$_KEYS_PID" 2>/dev/null || : # see os_read
    wait "$_KEYS_PID" 2>/dev/null || :         # in the cleanup's subshell it is not ours to wait for
    _KEYS_PID=''
  }
  ! os_in_foreground || stty "$_KEYS_BEFORE" <"$_KEYS_TTY" 2>/dev/null || :
  _KEYS_BEFORE=''
}

# _keys_drop - throws away what was typed before anybody offered keys: it meant something else.
_keys_drop() {
  stty -icanon -echo -icrnl min 0 time 0 <&0 2>/dev/null || return # now a read waits for nothing
  while IFS= read -r _; do :; done
}

# _keys_take - sets the terminal so that each key comes at once, unseen, and Return as just another one. How long a read
# waits is for a bash that can't say it by itself.
_keys_take() { stty -icanon -echo -icrnl min 0 time 1 <&0 2>/dev/null; }

# _keys_read FD START - the reader, in the background; our process began at START. What is not about keys here is about
# who else uses the terminal: a program that was stopped goes on, in front or not, a shell has set the terminal its own
# way, all is over.
_keys_read() {
  local held='' quick=0 second=$SECONDS
  trap '' TTIN TTOU INT QUIT
  trap 'exit 0' TERM
  trap _keys_again CONT
  _keys_close_others "$1"
  while :; do
    OS_LINE=''
    if [ -n "$_KEYS_AWAY" ]; then sleep 0.5 || :; else os_read_keys; fi
    held=$held$OS_LINE
    if [ -z "$OS_LINE" ] || ! _keys_go_on "$held"; then
      _keys_tell "$held" "$1"
      held=''
    fi
    quick=$((quick + 1))
    if [ "$SECONDS" != "$second" ]; then
      os_same_process "$$" "$2" || break
      if [ -n "$_KEYS_AWAY" ] || ! os_in_foreground; then _keys_again; fi
      second=$SECONDS quick=0
    elif [ "$quick" -gt 30 ]; then # a read that fails at once: there is no terminal any more, or it isn't ours
      [ -t 0 ] && sleep 1 || break
    else
      kill -0 "$$" 2>/dev/null || break
    fi
  done
  # Whoever has taken over the terminal by now, and set it to his liking, is left alone.
  [ "$(stty -g <&0 2>/dev/null)" != "$_KEYS_OURS" ] || stty "$_KEYS_BEFORE" <&0 2>/dev/null || :
}

# _keys_again - takes the terminal again, after somebody else had it, as soon as we are in front.
_keys_again() {
  _KEYS_AWAY=1
  ! os_in_foreground || ! _keys_take || _KEYS_AWAY=''
}

# _keys_go_on TEXT - 0 when there is probably more to come: a pasted text, or half of what an arrow key sends.
_keys_go_on() {
  local part=$'\033(\\[[0-9;]*|O)?$'
  [[ $1 =~ $part ]] || [ "${#1}" -gt "$_KEYS_PASTED" ]
}

# _keys_close_others FD - the reader holds nothing open but the terminal and FD: others wait for the ends of our pipes.
_keys_close_others() {
  local fd
  exec 1>&"$1" 2>/dev/null
  for fd in 3 4 5 6 7 8 9; do
    [ "$fd" = "$1" ] || eval "exec $fd>&-"
  done
}

# _keys_tell TEXT FD - a line for each key in TEXT, which was typed (or pasted) without a pause.
_keys_tell() {
  local text=$1 key rest
  while [[ $text == *$'\033'* ]]; do # arrows and the like are several characters, the first of them Escape
    key=${text%%$'\033'*} rest=${text#*$'\033'}
    case $rest in
      '[['?*) rest=${rest:3} ;; # function keys of the Linux console
      '['*) rest=${rest#"${rest%%[A-Za-z~^$]*}"} rest=${rest:1} ;;
      O?*) rest=${rest:2} ;;
      $'\033'*) ;;         # Alt and an arrow
      *) rest=${rest:1} ;; # Alt and a letter
    esac
    text=$key$rest
  done
  [ "${#text}" -le "$_KEYS_PASTED" ] || return 0
  while [ -n "$text" ]; do
    key=${text:0:1} text=${text:1}
    case $key in
      *[![:ascii:]]* | [![:print:]]) ;;
      *) printf 'key\t%s\n' "$key" 1>&"$2" || : ;;
    esac
  done
}
