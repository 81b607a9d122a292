# shellcheck shell=bash
# test_helper.bash - what every test starts from: a world of its own, and ways to say what is wrong.
#
# A file that needs its own setup or teardown calls autopod_setup / autopod_teardown in it:
#   setup() { autopod_setup; ... }      teardown() { ...; autopod_teardown; }
#
# What a test may use: $ROOT (the repo), $AUTOPOD_BIN (the commands: bin/, or a build under
# check-dist), $AUTOPOD_PYTHON, and, private to it: $HOME, $AUTOPOD_HOME, $TMPDIR, $STUBS (first on
# PATH, for stand-ins of external commands) and the working directory, which is empty.

bats_require_minimum_version 1.7.0

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
export ROOT
REAL_HOME=${REAL_HOME:-$HOME}

# autopod_setup - an empty world: private directories, a minimal environment
autopod_setup() {
  local name
  for name in ${!AUTOPOD_@} ${!RUNPOD_@} ${!CLICOLOR@}; do
    case $name in
      AUTOPOD_BIN | AUTOPOD_RECORDINGS | AUTOPOD_TEST_PATH) ;;
      *) unset "$name" ;;
    esac
  done
  unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
  unset NO_COLOR COLUMNS PYTHONPATH PYTHONHOME SSH_AUTH_SOCK XDG_CONFIG_HOME XDG_CACHE_HOME
  export TERM=dumb
  export AUTOPOD_BIN=${AUTOPOD_BIN:-$ROOT/bin}
  export AUTOPOD_PYTHON=$ROOT/.venv/bin/python3
  export HOME=$BATS_TEST_TMPDIR/home
  export AUTOPOD_HOME=$BATS_TEST_TMPDIR/autopod
  export TMPDIR=$BATS_TEST_TMPDIR/tmp
  STUBS=$BATS_TEST_TMPDIR/stubs
  mkdir -p "$HOME" "$TMPDIR" "$STUBS" "$BATS_TEST_TMPDIR/cwd"
  PATH=$STUBS:${AUTOPOD_TEST_PATH:-$PATH}
  export AUTOPOD_TEST_MARK=$BATS_TEST_TMPDIR # marks every process that the test starts
  REAL_HOME_BEFORE=$(_real_home)
  cd "$BATS_TEST_TMPDIR/cwd" || return
}

# autopod_teardown - fails when the test left a process behind or touched the real home
autopod_teardown() {
  local status=0
  watchers_stop
  refute_left_processes || status=1
  if [ "$(_real_home)" != "$REAL_HOME_BEFORE" ]; then
    _complain "the test touched the real home, $REAL_HOME:" \
      "before: $REAL_HOME_BEFORE" "after:  $(_real_home)"
    status=1
  fi
  cd "$BATS_RUN_TMPDIR" || status=1 # the working directory is about to be removed
  return "$status"
}

setup() { autopod_setup; }
teardown() { autopod_teardown; }

# _real_home - one line that changes when something that autopod might touch does
_real_home() {
  local have='' file
  for file in .autopod .ssh .ssh/known_hosts; do
    [ ! -e "$REAL_HOME/$file" ] || have="$have $file"
  done
  [ ! -f "$REAL_HOME/.ssh/known_hosts" ] ||
    have="$have, local hosts: $(grep -c -e '127\.0\.0\.1' -e localhost "$REAL_HOME/.ssh/known_hosts")"
  printf 'has%s\n' "$have"
}

# watchers_stop [HOME] - ends the watchers that the test's commands have started (lib/watcher.sh), or only that of HOME, an
# AUTOPOD_HOME: they go by themselves when no pod is left, but a test doesn't wait for that
watchers_stop() {
  local pid home=${1:-${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/}
  # shellcheck disable=SC2009 # pgrep can't look for fixed text
  for pid in $(ps -A -o pid=,args= | grep -F -e " @watcher:$home" | grep -vF -e 'grep -F' | awk '{ print $1 }'); do
    kill -9 -- "-$pid" 2>/dev/null || kill -9 "$pid" 2>/dev/null || : # with its sleep
  done
}

# left_processes - lists processes of this test that still run, `PID COMMAND` a line
left_processes() {
  local mark=$AUTOPOD_TEST_MARK pid pids
  # The environment finds them all, but only Linux shows it; elsewhere a private path among the
  # arguments has to do.
  if [ -r /proc/self/environ ]; then
    pids=$(
      unset AUTOPOD_TEST_MARK
      grep -lsaF -e "AUTOPOD_TEST_MARK=$mark" /proc/[0-9]*/environ
    )
    for pid in $pids; do
      pid=${pid#/proc/} pid=${pid%/environ}
      ps -o pid=,args= -p "$pid" | grep -v '<defunct>'
    done
  else
    # shellcheck disable=SC2009 # pgrep can't look for fixed text
    ps -A -o pid=,args= | grep -F -e "$mark/" | grep -vF -e bats -e 'grep -F'
  fi
  return 0
}

# refute_left_processes [SECONDS] - fails, and ends them, when some still run after a grace period
refute_left_processes() {
  local left tries=$((${1:-3} * 10)) pid rest
  left=$(left_processes)
  while [ -n "$left" ] && [ "$tries" -gt 0 ]; do
    sleep 0.1
    tries=$((tries - 1))
    left=$(left_processes)
  done
  [ -n "$left" ] || return 0
  _complain "the test left processes behind:" "$left"
  while read -r pid rest; do
    kill -KILL "$pid" 2>/dev/null || :
  done <<<"$left"
  return 1
}

# --- stand-ins ------------------------------------------------------------------------------------

# stub NAME - makes a command NAME, found before the real one; its Bash source is on stdin
stub() {
  { printf '#!/usr/bin/env bash\n' && cat; } >"$STUBS/$1"
  chmod +x "$STUBS/$1"
}

# path_of TOOL... - makes $STUBS/../path with only these tools and prints it: a bare machine's PATH
path_of() {
  local tool found dir=$BATS_TEST_TMPDIR/path
  mkdir -p "$dir"
  for tool in "$@"; do
    found=$(type -P "$tool") || { _complain "this machine has no $tool" && return 1; }
    ln -sf "$found" "$dir/$tool"
  done
  printf '%s\n' "$dir"
}

# wait_until SECONDS CMD [ARG...] - tries CMD until it succeeds; fails when time is up
wait_until() {
  local tries=$(($1 * 20))
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { _complain "gave up waiting for: $*" && return 1; }
    sleep 0.05
  done
}

# has_line FILE - 0 when FILE begins with a whole line: who writes it may be in the middle of that.
has_line() { { read -r _ <"$1"; } 2>/dev/null; }

# --- assertions: each says what was wanted and what was there -------------------------------------

_complain() { printf '%s\n' "$@" >&2; }

_shown_output() {
  printf 'output:\n%s\n' "${output-}"
  [ -z "${stderr-}" ] || printf 'stderr:\n%s\n' "$stderr"
}

# assert_status N - the last `run` ended with N
assert_status() {
  [ "${status-}" = "$1" ] || { _complain "wanted status $1, got ${status-}" "$(_shown_output)" && return 1; }
}

# assert_equal ACTUAL WANTED [WHAT]
assert_equal() {
  [ "$1" = "$2" ] || { _complain "${3:-text} differs" "wanted: $2" "got:    $1" && return 1; }
}

# assert_contains TEXT [IN] - IN (default: $output of the last `run`) has TEXT in it
assert_contains() {
  case ${2-$output} in
    *"$1"*) ;;
    *)
      _complain "missing: $1" "in:" "${2-$(_shown_output)}"
      return 1
      ;;
  esac
}

# refute_contains TEXT [IN]
refute_contains() {
  case ${2-$output} in
    *"$1"*)
      _complain "should not be there: $1" "in:" "${2-$(_shown_output)}"
      return 1
      ;;
  esac
}

# assert_matches REGEX [IN] - an extended regular expression
assert_matches() {
  [[ ${2-$output} =~ $1 ]] || { _complain "no match: $1" "in:" "${2-$(_shown_output)}" && return 1; }
}

# assert_file PATH - a regular file that isn't empty
assert_file() {
  [ -f "$1" ] && [ -s "$1" ] || { _complain "no file, or an empty one: $1" "$(ls -la "${1%/*}" 2>&1)" && return 1; }
}

# refute_exists PATH
refute_exists() {
  [ ! -e "$1" ] && [ ! -L "$1" ] || { _complain "should not exist: $1" && return 1; }
}
