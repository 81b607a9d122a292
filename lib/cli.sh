# shellcheck shell=bash
# cli.sh - what all commands do alike: options, --help from the header comment, -C, settings, the
# log.

[ -z "${_AUTOPOD_CLI_SH:-}" ] || return 0 # @guard
_AUTOPOD_CLI_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/config.sh"

_CLI_DIRECTORY=''

# The first line is the word, the others are what it may be. Near is what takes one step, or one for
# each three letters (another letter, one more, one less, two swapped), or what begins with the word.
_CLI_NEAREST_AWK='
function min(a, b) { return a < b ? a : b }
function distance(a, b,   i, j, d, x, y) {
  for (i = 0; i <= length(a); i++) d[i, 0] = i
  for (j = 0; j <= length(b); j++) d[0, j] = j
  for (i = 1; i <= length(a); i++) {
    x = substr(a, i, 1)
    for (j = 1; j <= length(b); j++) {
      y = substr(b, j, 1)
      d[i, j] = min(min(d[i - 1, j], d[i, j - 1]) + 1, d[i - 1, j - 1] + (x != y))
      if (i > 1 && j > 1 && x == substr(b, j - 1, 1) && y == substr(a, i - 1, 1))
        d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    }
  }
  return d[length(a), length(b)]
}
NR == 1 {
  word = bare = tolower($0)
  sub(/^-+/, "", bare)
  if (length(bare) < 2) exit
  best = limit = length(bare) < 6 ? 1 : int(length(bare) / 3)
  next
}
$0 in seen { next }
{
  seen[$0] = 1
  if (index(tolower($0), word) == 1) steps = 1
  else if (length($0) - length(word) > limit || length(word) - length($0) > limit) next
  else steps = distance(word, tolower($0))
  if (steps < best) nearest = ""
  if (steps <= best) {
    best = steps
    nearest = nearest (nearest == "" ? "" : " or ") $0
  }
}
END { print nearest }'

# cli_start ON_OPTION ON_ARGUMENT ARG... - the common beginning of a command: reads the options,
# enters -C DIR, loads the settings, opens the log. ON_OPTION gets each option that isn't a common
# one and returns 1 for an unknown one; it takes the option's value with cli_value. ON_ARGUMENT gets
# each plain argument.
cli_start() {
  core_start
  ui_init
  _cli_parse "$@"
  [ -z "$_CLI_DIRECTORY" ] || cd -- "$_CLI_DIRECTORY" 2>/dev/null ||
    core_die "$EX_USAGE" "-C: can't enter the directory $_CLI_DIRECTORY"
  core_trap
  config_load || exit
  ui_log_open "$AUTOPOD_HOME/logs/autopod.log"
  ui_log info "started in $PWD"
}

# _cli_parse ON_OPTION ON_ARGUMENT ARG... - one pass over the words; `--name=value` is `--name
# value`.
_cli_parse() {
  local on_option=$1 on_argument=$2 option
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --)
        shift
        while [ $# -gt 0 ]; do "$on_argument" "$1" && shift; done
        return
        ;;
      --*=*) option=${1%%=*} _CLI_ATTACHED=1 CLI_VALUE=${1#*=} && shift ;;
      -?*) option=$1 _CLI_ATTACHED='' CLI_VALUE=${2-} && shift ;;
      *) "$on_argument" "$1" && shift && continue ;;
    esac
    _CLI_OPTION=$option _CLI_HAS_VALUE=$_CLI_ATTACHED _CLI_TOOK=''
    [ $# = 0 ] || _CLI_HAS_VALUE=1
    _cli_common "$option" || "$on_option" "$option" || _cli_unknown "$option"
    [ -z "$_CLI_ATTACHED" ] || [ -n "$_CLI_TOOK" ] || core_die "$EX_USAGE" "$option takes no value"
    [ -n "$_CLI_ATTACHED" ] || [ -z "$_CLI_TOOK" ] || shift
  done
}

# _cli_unknown OPTION - ends the program with EX_USAGE and says which of the options in --help may
# have been meant.
_cli_unknown() {
  local known
  known=$(cli_help | grep -E '^ +-|^-[A-Za-z]' | tr ' ,' '[\n*]' | grep -E '^--?[A-Za-z][A-Za-z-]*$') || known=''
  # shellcheck disable=SC2086 # a list of words
  cli_nearest "$1" $known
  core_die "$EX_USAGE" "unknown option: $1" \
    "${CLI_NEAREST:+did you mean $CLI_NEAREST? }$AUTOPOD_PROG --help lists them"
}

# cli_nearest WORD CANDIDATE... - sets CLI_NEAREST to the candidate that WORD was probably meant to
# be, as "a or b" when several are as near, empty when none is near.
cli_nearest() {
  local word=${1//[[:cntrl:]]/}
  shift
  CLI_NEAREST=$(printf '%s\n' "$word" "$@" | LC_ALL=C awk "$_CLI_NEAREST_AWK")
}

# cli_value - in ON_OPTION: takes the option's value, CLI_VALUE; ends the program with EX_USAGE when
# there is none.
cli_value() {
  [ -n "$_CLI_HAS_VALUE" ] && [ -n "$CLI_VALUE" ] || core_die "$EX_USAGE" "$_CLI_OPTION needs a value" \
    "$AUTOPOD_PROG --help shows which"
  _CLI_TOOK=1
}

# cli_text - the same for a value that may be empty.
cli_text() {
  [ -n "$_CLI_HAS_VALUE" ] || core_die "$EX_USAGE" "$_CLI_OPTION needs a value" "$AUTOPOD_PROG --help shows which"
  _CLI_TOOK=1
}

# cli_optional - in ON_OPTION: the option may have a value, but only an attached one (--json=final); sets CLI_VALUE to
# it, empty without one; ends the program with EX_USAGE when nothing stands behind the =.
cli_optional() {
  if [ -n "$_CLI_ATTACHED" ]; then
    cli_value
  else
    CLI_VALUE=''
  fi
}

# cli_number OPTION TEXT MIN MAX - ends the program with EX_USAGE when TEXT is not a whole number between them.
cli_number() {
  case $2 in
    '' | *[!0-9]* | 0?* | ????????*) ;;
    *) [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ] || return 0 ;;
  esac
  core_die "$EX_USAGE" "$1 is \"$2\", but must be a whole number from $3 to $4"
}

# cli_minutes OPTION TEXT - sets CLI_MINUTES to the time that TEXT says, in minutes: 90s, 10m, 2h, or a plain number of
# minutes; ends the program with EX_USAGE when it is none.
cli_minutes() {
  local shape='^([0-9]{1,7})(\.([0-9]{1,4})[0-9]*)?([smh]?)$' parts
  [[ $2 =~ $shape ]] || core_die "$EX_USAGE" "$1: must be a time, like 90s, 10m or 2h (a plain number is minutes), not \"$2\""
  CLI_MINUTES=${2%m}
  case ${BASH_REMATCH[4]} in '' | m) return 0 ;; esac
  parts=${BASH_REMATCH[3]}0000
  parts=$((10#${BASH_REMATCH[1]} * 10000 + 10#${parts:0:4})) # of a second or an hour
  if [ "${BASH_REMATCH[4]}" = h ]; then parts=$((parts * 60)); else parts=$((parts / 60)); fi
  printf -v CLI_MINUTES '%d.%04d' $((parts / 10000)) $((parts % 10000))
}

# cli_price OPTION TEXT - ends the program with EX_USAGE when TEXT is not an amount of dollars above nothing.
cli_price() {
  local shape='^[0-9]{1,6}(\.[0-9]{1,6})?$'
  [[ $2 =~ $shape ]] && [[ $2 == *[1-9]* ]] ||
    core_die "$EX_USAGE" "$1 is \"$2\", but must be an amount of dollars, like 0.44"
}

# _cli_common OPTION - the options that every command has; 1 for others.
_cli_common() {
  case $1 in
    -C) cli_value && _CLI_DIRECTORY=$CLI_VALUE ;;
    -q | --quiet) AUTOPOD_QUIET=1 ;;
    -v | --verbose) AUTOPOD_VERBOSE=1 ;;
    --debug) AUTOPOD_DEBUG=1 ;;
    --version)
      printf '%s %s\n' "$AUTOPOD_PROG" "$AUTOPOD_VERSION"
      exit
      ;;
    -h | --help)
      cli_help
      exit
      ;;
    *) return 1 ;;
  esac
}

# cli_help - prints the command's header comment.
cli_help() {
  if [ -n "$AUTOPOD_SELF" ]; then
    sed -n -e '1,2d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$AUTOPOD_SELF"
  else
    printf '%s was piped into bash: save it to a file to read its help\n' "$AUTOPOD_PROG"
  fi
}

# cli_no_argument ARGUMENT - ON_ARGUMENT of commands that take none.
cli_no_argument() { core_die "$EX_USAGE" "unexpected argument: $1" \
  "$AUTOPOD_PROG --help shows the usage"; }
