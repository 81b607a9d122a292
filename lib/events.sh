# shellcheck shell=bash
# events.sh - what programs read: what happens, one JSON object a line on standard output (events.schema.json).

[ -z "${_AUTOPOD_EVENTS_SH:-}" ] || return 0 # @guard
_AUTOPOD_EVENTS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"

EVENTS_ON=''   # set when they are wanted
EVENTS_RUN=''  # the name of the run at hand
EVENTS_LOST='' # set when one could not be written: nobody reads, or the disk is full
EVENTS_JSON=''
_EVENTS_UTC='' _EVENTS_UTC_AT=''
_EVENTS_NONE=$'\xef\xbf\xbd' # U+FFFD
_EVENTS_NUMBER='^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$'

# What stands for itself in a JSON string, letter by letter, since what a range holds depends on the locale.
_EVENTS_PLAIN='abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;/_+=()<>|@#$%&*?{}~`'"'"
_EVENTS_UNUSUAL="[!]${_EVENTS_PLAIN}[!^-]*"

# events_emit NAME [KEY KIND VALUE]... - writes one event. KIND: s text, n number, b boolean (empty is false),
# j JSON as it is; an empty s, n or j is null. Nothing without EVENTS_ON. It goes to the program's own standard
# output, wherever the caller's goes at the moment; once a line could not be written, none follows.
events_emit() {
  local name=$1
  shift
  [ -n "$EVENTS_ON" ] && [ -z "$EVENTS_LOST" ] || return 0
  _events_now
  events_object event s "$name" time s "$_EVENTS_UTC" run s "$EVENTS_RUN" "$@"
  core_outlive_readers
  { printf '%s\n' "$EVENTS_JSON" >&"$CORE_OUT"; } 2>/dev/null || EVENTS_LOST=1
}

# events_object [KEY KIND VALUE]... - sets EVENTS_JSON to the object of these (kinds as of events_emit).
events_object() {
  local object=''
  while [ $# -ge 3 ]; do
    _events_value "$2" "$3"
    object="$object${object:+,}\"$1\":$EVENTS_JSON"
    shift 3
  done
  EVENTS_JSON="{$object}"
}

# _events_now - sets _EVENTS_UTC; no more than one look at the clock a second, which may be a fork.
_events_now() {
  [ "$_EVENTS_UTC_AT" != "$SECONDS" ] || return 0
  os_utc
  _EVENTS_UTC=$OS_UTC _EVENTS_UTC_AT=$SECONDS
}

# _events_value KIND VALUE - sets EVENTS_JSON to the value; what is no number is null.
_events_value() {
  case $1 in
    s) events_quote "$2" ;;
    b) if [ -n "$2" ]; then EVENTS_JSON=true; else EVENTS_JSON=false; fi ;;
    n) if [[ $2 =~ $_EVENTS_NUMBER ]]; then EVENTS_JSON=$2; else EVENTS_JSON=null; fi ;;
    *)
      EVENTS_JSON=${2//[$'\r\n']/ } # between tokens: inside a string they are escaped already
      [[ $EVENTS_JSON == *[![:space:]]* ]] || EVENTS_JSON=null
      ;;
  esac
}

# events_quote TEXT - sets EVENTS_JSON to TEXT as a JSON string, or null when it is empty. Whatever bytes
# stand in it: what isn't UTF-8 becomes U+FFFD, and what may end a line or drive a terminal is escaped.
events_quote() {
  # shellcheck disable=SC2254 # a pattern
  case $1 in
    '') EVENTS_JSON=null ;;
    *$_EVENTS_UNUSUAL) _events_escape "$1" ;;
    *) EVENTS_JSON="\"$1\"" ;;
  esac
}

# _events_escape TEXT - the same for a text with anything in it. (Without ${text//…/…}: what a backslash or a
# quote in there means, bash versions don't agree about.)
_events_escape() {
  local LC_ALL=C text=$1 at=0 part plain code size
  EVENTS_JSON='"'
  while part=${text:at:200} && [ -n "$part" ]; do
    # shellcheck disable=SC2295 # a pattern
    plain=${part%%$_EVENTS_UNUSUAL}
    if [ -n "$plain" ]; then
      code=$plain size=${#plain}
    else
      _events_character "${part:0:4}"
    fi
    EVENTS_JSON=$EVENTS_JSON$code at=$((at + size))
  done
  EVENTS_JSON=$EVENTS_JSON'"'
}

# _events_character BYTES - sets the caller's `size` to how many of the BYTES are its first character, and `code`
# to what stands for that; in the C locale.
_events_character() {
  size=1
  case $1 in
    '"'* | \\*) code=\\${1:0:1} ;;
    $'\n'*) code='\n' ;;
    $'\t'*) code='\t' ;;
    [[:cntrl:]]*) _events_code "${1:0:1}" ;;
    [[:print:]]*) code=${1:0:1} ;;
    $'\xc2'[$'\x80'-$'\x9f']*) # what terminals obey, and U+0085, which ends a line for some readers
      size=2
      _events_code "${1:1:1}"
      ;;
    $'\xe2\x80\xa8'*) size=3 code=\\u2028 ;; # these end one, too
    $'\xe2\x80\xa9'*) size=3 code=\\u2029 ;;
    $'\xe0'[$'\x80'-$'\x9f']* | $'\xf0'[$'\x80'-$'\x8f']*) code=$_EVENTS_NONE ;; # longer than need be
    $'\xed'[$'\xa0'-$'\xbf']* | $'\xf4'[$'\x90'-$'\xbf']*) code=$_EVENTS_NONE ;; # half of a pair; above U+10FFFF
    [$'\xc2'-$'\xdf'][$'\x80'-$'\xbf']*) size=2 code=${1:0:2} ;;
    [$'\xe0'-$'\xef'][$'\x80'-$'\xbf'][$'\x80'-$'\xbf']*) size=3 code=${1:0:3} ;;
    [$'\xf0'-$'\xf4'][$'\x80'-$'\xbf'][$'\x80'-$'\xbf'][$'\x80'-$'\xbf']*) size=4 code=${1:0:4} ;;
    *) code=$_EVENTS_NONE ;;
  esac
}

# _events_code BYTE - sets `code` to the escape for the character with that number.
_events_code() {
  printf -v code '%d' "'$1"
  printf -v code '\\u%04x' $((code & 255)) # it may come out as a negative number
}
