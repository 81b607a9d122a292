# shellcheck shell=bash
# cli.sh - what all commands do alike: options, --help from the header comment, -C, settings, the
# log.

[ -z "${_AUTOPOD_CLI_SH:-}" ] || return 0 # @guard
_AUTOPOD_CLI_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/config.sh"

_CLI_DIRECTORY=''

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
  local on_option=$1 on_argument=$2 option attached
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --)
        shift
        while [ $# -gt 0 ]; do "$on_argument" "$1" && shift; done
        return
        ;;
      --*=*) option=${1%%=*} attached=1 CLI_VALUE=${1#*=} && shift ;;
      -?*) option=$1 attached='' CLI_VALUE=${2-} && shift ;;
      *) "$on_argument" "$1" && shift && continue ;;
    esac
    _CLI_OPTION=$option _CLI_HAS_VALUE=$attached _CLI_TOOK=''
    [ $# = 0 ] || _CLI_HAS_VALUE=1
    _cli_common "$option" || "$on_option" "$option" ||
      core_die "$EX_USAGE" "unknown option: $option" "$AUTOPOD_PROG --help lists them"
    [ -z "$attached" ] || [ -n "$_CLI_TOOK" ] || core_die "$EX_USAGE" "$option takes no value"
    [ -n "$attached" ] || [ -z "$_CLI_TOOK" ] || shift
  done
}

# cli_value - in ON_OPTION: takes the option's value, CLI_VALUE; ends the program with EX_USAGE when
# there is none.
cli_value() {
  [ -n "$_CLI_HAS_VALUE" ] && [ -n "$CLI_VALUE" ] || core_die "$EX_USAGE" "$_CLI_OPTION needs a value" \
    "$AUTOPOD_PROG --help shows which"
  _CLI_TOOK=1
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
