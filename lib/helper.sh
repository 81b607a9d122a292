# shellcheck shell=bash
# helper.sh - runs a Python helper, or finds a shipped file, from the tree or from inside a bundle.

[ -z "${_AUTOPOD_HELPER_SH:-}" ] || return 0 # @guard
_AUTOPOD_HELPER_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"

HELPER_PYTHON=''
HELPER_UNREADABLE=65  # a helper's status: the node definitions can't be read (see nodes_with)
_HELPER_PYTHON_FOR='' # the AUTOPOD_PYTHON that HELPER_PYTHON was worked out from

# helper_asset PATH - prints helpers/…, templates/… or another shipped file; 1 when it isn't there.
helper_asset() {
  local embedded=_autopod_asset_${1//[!A-Za-z0-9]/_}
  if declare -F "$embedded" >/dev/null; then
    "$embedded"
  else
    cat -- "$AUTOPOD_ROOT/$1"
  fi
}

# helper_asset_dir DIR - sets HELPER_DIR to a directory that holds the shipped files of DIR (as
# templates).
helper_asset_dir() {
  local path
  if [ -z "${AUTOPOD_BUNDLED:-}" ]; then
    HELPER_DIR=$AUTOPOD_ROOT/$1
    return 0
  fi
  core_tmpdir || return
  HELPER_DIR=$CORE_TMP/$1
  [ ! -d "$HELPER_DIR" ] || return 0
  mkdir -p -- "$HELPER_DIR" || return
  for path in $_AUTOPOD_ASSETS; do # set by the bundler; shipped names have no blanks
    case $path in "$1"/*) helper_asset "$path" >"$CORE_TMP/$path" || return ;; esac
  done
}

# helper_python - sets HELPER_PYTHON: $AUTOPOD_PYTHON, the clone's .venv, or python3; EX_MISSING
# when there is none.
helper_python() {
  local candidate magic='' real=''
  [ -z "$HELPER_PYTHON" ] || [ "$_HELPER_PYTHON_FOR" != "${AUTOPOD_PYTHON:-}" ] || return 0
  if [ -n "${AUTOPOD_PYTHON:-}" ]; then
    candidate=$(command -v "$AUTOPOD_PYTHON") ||
      core_fail "$EX_MISSING" "AUTOPOD_PYTHON is $AUTOPOD_PYTHON, but there is no such program" \
        "set it to a Python 3.9 or newer" || return
  elif [ -z "${AUTOPOD_BUNDLED:-}" ] && [ -x "$AUTOPOD_ROOT/.venv/bin/python3" ]; then
    candidate=$AUTOPOD_ROOT/.venv/bin/python3
  else
    core_need python3 || return
    candidate=$(command -v python3)
  fi
  # A version manager's shim is a script that takes many times Python's own start: ask it once for
  # the real one.
  IFS= read -r -n 2 magic <"$candidate" 2>/dev/null || :
  [ "$magic" != '#!' ] || real=$("$candidate" -c 'import sys; print(sys.executable)') ||
    core_fail "$EX_MISSING" "$candidate does not run" \
      "set AUTOPOD_PYTHON to a Python 3.9 or newer" || return
  HELPER_PYTHON=${real:-$candidate} _HELPER_PYTHON_FOR=${AUTOPOD_PYTHON:-}
}

# helper_run NAME [ARG...] - runs helpers/NAME.py with our stdin and stdout; tells its complaints;
# its status. -I keeps a json.py in the working directory, and PYTHON* variables, from being taken
# in; -S saves a third of Python's start (NAME uses the standard library only).
helper_run() { _helper_start -IS "$@"; }

# helper_run_site NAME [ARG...] - the same for a helper that needs installed packages.
helper_run_site() { _helper_start -B "$@"; }

# _helper_start FLAGS NAME [ARG...]
_helper_start() {
  local flags=$1 name=$2 status=0
  shift 2
  helper_python || return
  core_tmpdir || return
  ui_debug "$name.py" "$@"
  helper_asset_dir helpers || return
  core_wait "$HELPER_PYTHON" "$flags" "$HELPER_DIR/$name.py" "$@" 2>"$CORE_TMP/complaints" || status=$?
  [ "$status" = 0 ] || _helper_complain "$name" "$status"
}

# _helper_complain NAME STATUS - shows a helper's messages, but never a stack trace; returns STATUS.
_helper_complain() {
  local line last='' traceback=''
  [ "$2" != 120 ] || # so Python says that it could not write
    core_fail "$EX_FAIL" "$1.py could not write its answer" "is the disk of ${TMPDIR:-/tmp} full?" || return
  [ "$2" -le 128 ] || # what stands in the file then are Bash's words, not the helper's
    core_fail "$EX_FAIL" "$1.py was ended by signal $(($2 - 128))" "is the memory full?" || return
  [ -s "$CORE_TMP/complaints" ] || core_fail "$2" "$1.py ended with status $2 and said nothing" || return
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in Traceback*) traceback=1 ;; esac
    [ -z "$traceback" ] || ui_log error "$1.py: $line"
    if [ "$2" = "$HELPER_UNREADABLE" ]; then
      core_quietly core_fail "$2" "$line" || : # the caller decides what it means
    else
      [ -n "$traceback" ] || [ -z "$line" ] || core_fail "$2" "$line" || :
    fi
    last=$line
  done <"$CORE_TMP/complaints"
  [ -z "$traceback" ] ||
    core_fail "$2" "$1.py stopped with an error of its own: $last" "the details are in ${UI_LOG:-the log}" || :
  return "$2"
}
