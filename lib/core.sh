# shellcheck shell=bash
# core.sh - names, exit codes, errors, the cleanup stack and signals.

[ -z "${_AUTOPOD_CORE_SH:-}" ] || return 0 # @guard
_AUTOPOD_CORE_SH=1                         # @guard

EX_FAIL=1      # anything without a code of its own
EX_USAGE=2     # option, job file, template or input is wrong; nothing was spent
EX_MISSING=3   # a tool, key or file that the machine lacks
EX_POD=4       # no pod: capacity, balance, boot failed
EX_TUNNEL=5    # tunnel or connection
EX_UPLOAD=6    # upload
EX_REFUSED=7   # the server refused the workflow
EX_WORKFLOW=8  # the workflow failed while it ran
EX_DOWNLOAD=9  # download or verification
EX_TIME=10     # a time limit
EX_COST=11     # a cost limit
EX_POD_LEFT=12 # a pod may still be running and could not be stopped
EX_CANCEL=130  # somebody wanted it to end: as by Ctrl+C

AUTOPOD_PROG=${AUTOPOD_PROG:-${0##*/}}

# The one who speaks to people: `CORE_TELL LEVEL TEXT`. ui.sh puts itself here; before that, or
# without it, plain lines will do. (core.sh can't include ui.sh: ui.sh stands above it.)
CORE_TELL=_core_tell

CORE_ERROR='' CORE_HINT='' CORE_ERROR_CODE=0 # the last error, for the record of a run
CORE_SIGNAL=''                               # the signal that ends the program, if one does
CORE_EXIT=0                                  # during the cleanup: the exit code that the program is about to end with
CORE_STATUS=''                               # set by a cleanup step that knows a graver exit code
CORE_LEFT=''                                 # what still runs and costs, for those who won't wait
_CORE_NO_TMP=/dev/null/tmpdir                # where nobody can write, root neither: for who forgets core_tmpdir
CORE_TMP=$_CORE_NO_TMP
CORE_OUT=1                      # where the program's own standard output is, whatever a function's is at the moment
CORE_WIPE=''                    # a function that takes away what is only drawn for the moment, before the cleanup speaks
CORE_REDRAW=''                  # what has happened to the terminal: resized, or resumed (others have written there meanwhile)
_CORE_LISTENS='' _CORE_HEARD='' # the pipe that core_listen waits for; the signal that came meanwhile
_CORE_CHILD='' _CORE_BACK='' _CORE_SIGNAL_AT=0 _CORE_QUIET=''
_CORE_CLEANUP=()

# _core_tell LEVEL TEXT - plain line on stderr.
_core_tell() { printf '%s: %s: %s\n' "$AUTOPOD_PROG" "$1" "$2" >&2 2>/dev/null || :; }

# core_fail CODE WHAT [WHAT_TO_DO] - tells an error and remembers it; returns CODE.
core_fail() {
  CORE_ERROR_CODE=$1 CORE_ERROR=$2 CORE_HINT=${3:-}
  [ -z "$_CORE_QUIET" ] || return "$1"
  "$CORE_TELL" error "$2"
  [ -z "$CORE_HINT" ] || "$CORE_TELL" hint "$CORE_HINT"
  return "$1"
}

# core_die CODE WHAT [WHAT_TO_DO] - the same, and ends the program with CODE.
core_die() {
  core_fail "$@" || exit "$1"
}

# core_quietly CMD [ARG...] - runs CMD; its errors are remembered, but not told; its status.
core_quietly() {
  local status=0 before=$_CORE_QUIET # one may stand in another
  _CORE_QUIET=1
  "$@" || status=$?
  _CORE_QUIET=$before
  return "$status"
}

# core_forget_error - forgets the last error (before the next job of a batch).
core_forget_error() { CORE_ERROR='' CORE_HINT='' CORE_ERROR_CODE=0; }

# core_need TOOL... - 0, or EX_MISSING when one of the tools is not on PATH.
core_need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null 2>&1 ||
      core_fail "$EX_MISSING" "$tool is not installed" \
        "install $tool, or run 'make setup' in a clone" ||
      return
  done
}

# core_tmpdir - sets CORE_TMP to a private directory that is gone when the program ends; 1 when it
# can't be made.
core_tmpdir() {
  [ "$CORE_TMP" = "$_CORE_NO_TMP" ] || return 0
  CORE_TMP=$(mktemp -d "${TMPDIR:-/tmp}/autopod.XXXXXX" 2>/dev/null) || {
    CORE_TMP=$_CORE_NO_TMP
    core_fail "$EX_FAIL" "can't make a temporary directory in ${TMPDIR:-/tmp}" "does it exist, and is there room?"
  }
}

# core_on_exit CMD [ARG...] - runs CMD when the program ends, last registered first.
core_on_exit() {
  local quoted
  printf -v quoted ' %q' "$@"
  _CORE_CLEANUP[${#_CORE_CLEANUP[@]}]=$quoted
}

# core_wait CMD [ARG...] - runs CMD in such a way that a signal is acted on at once; its status.
# (Bash runs a trap only when the foreground child has ended, but interrupts `wait`.)
core_wait() {
  local status
  "$@" <&0 &
  _CORE_CHILD=$!
  while :; do
    status=0 _CORE_BACK=''
    wait "$_CORE_CHILD" 2>/dev/null || status=$?
    # Else a trap came between, and back: the status is not the child's.
    [ -n "$_CORE_BACK" ] && [ "$status" -gt 128 ] || break
  done
  _CORE_CHILD=''
  return "$status"
}

# core_sleep SECONDS - sleeps (fractions are fine), but not through a signal.
core_sleep() { core_wait sleep "$1"; }

# core_start - a known ground, whatever the caller's environment says: shell options that change what patterns
# and redirections mean, CDPATH, and closed standard files (a file of ours would take their place).
core_start() {
  set +fC
  shopt -u failglob nullglob dotglob nocasematch nocaseglob
  unset CDPATH
  { : 7>&2; } || exec 2>/dev/null
  { : 7<&0; } 2>/dev/null || exec </dev/null
  { : 7>&1; } 2>/dev/null || exec >/dev/null
}

# core_outlive_readers - from here on nobody who stops reading us (a pipe into tee that Ctrl+C has ended, a
# closed pager) can end us before a pod of ours is: writing fails, and goes on.
core_outlive_readers() { trap '' PIPE; }

# core_trap - from here on the cleanup stack runs on every way out.
core_trap() {
  exec 8>&1 9>&2 # the cleanup speaks there: a signal may come while a function's output goes to a file
  CORE_OUT=8
  trap _core_exit EXIT
  trap '_core_signal INT' INT
  trap '_core_signal TERM' TERM
  trap '_core_signal HUP' HUP
  trap 'CORE_REDRAW=resized _CORE_BACK=1' WINCH
  trap 'CORE_REDRAW=resumed _CORE_BACK=1' CONT
}

# _core_exit - EXIT trap: cleans up; the status stays unless a cleanup step raised it.
_core_exit() {
  CORE_EXIT=$?
  trap - EXIT
  _core_clean
  exit "${CORE_STATUS:-$CORE_EXIT}"
}

# core_listen FD CMD [ARG...] - runs CMD, which waits for a line of the pipe FD (read and write); its status. A signal ends
# the wait by an empty line, and is acted on right behind it: the cleanup does too much, other reads above all, for the
# middle of a read.
core_listen() {
  local status=0
  _CORE_LISTENS=$1
  shift
  "$@" || status=$?
  _CORE_LISTENS=''
  [ -z "$_CORE_HEARD" ] || _core_signal "$_CORE_HEARD"
  return "$status"
}

# _core_signal NAME - ends the child at hand, cleans up, and dies by the same signal, so that the
# caller (make, a shell loop) sees an interrupted program and stops too. A graver code wins.
_core_signal() {
  if [ -n "$_CORE_LISTENS" ]; then
    _CORE_HEARD=$1
    printf '\n' >&"$_CORE_LISTENS"
    return
  fi
  trap : INT
  trap '' TERM HUP
  CORE_SIGNAL=$1 _CORE_SIGNAL_AT=$SECONDS _CORE_QUIET=''
  case $1 in HUP) CORE_EXIT=129 ;; INT) CORE_EXIT=130 ;; *) CORE_EXIT=143 ;; esac
  trap - EXIT
  _core_end_child
  _core_clean
  [ -z "$CORE_STATUS" ] || exit "$CORE_STATUS"
  trap - "$1"
  exec 2>/dev/null # all is said; Bash may have words of its own about the wait that we came from
  # Not by Bash's own kill: what it does at its end sometimes hangs, or ends with 255 (seen on 5.2.15).
  exec sh -c 'kill -s "$1" "$$"' sh "$1"
}

# _core_clean - runs the cleanup stack, and sets CORE_STATUS to the graver exit code if a step has
# one. It ends pods, so it is not to be cut short by accident: TERM and HUP are ignored by now
# (timeout(1) sends TERM twice), Ctrl+C has _core_again. In a subshell, because inside a trap a bare
# `return` gives the status from before the trap.
_core_clean() {
  local status=0
  trap : INT
  trap '' TERM HUP
  [ -z "$CORE_WIPE" ] || "$CORE_WIPE" 2>&9
  (_core_run_stack) >&8 2>&9 || status=$?
  if [ "$status" -gt 0 ] && [ "$status" -lt 128 ]; then CORE_STATUS=$status; fi
  _CORE_CLEANUP=()
  [ "$CORE_TMP" = "$_CORE_NO_TMP" ] || rm -rf -- "$CORE_TMP"
}

# _core_run_stack - the steps, last registered first; ends the subshell with CORE_STATUS. A signal may have come in the
# middle of an `IFS= read`, whose IFS would be that of all the steps.
_core_run_stack() {
  local _core_i IFS=$' \t\n'
  trap _core_again INT
  for ((_core_i = ${#_CORE_CLEANUP[@]} - 1; _core_i >= 0; _core_i--)); do
    eval "${_CORE_CLEANUP[_core_i]}" || : # quoted by printf %q in core_on_exit
  done
  exit "${CORE_STATUS:-0}"
}

# _core_again - Ctrl+C during the cleanup. The first one is only told what is going on; the second
# one says what is left and ends it at once. Two in the same second are one: wrappers pass on what
# the terminal has sent to all already.
_core_again() {
  _CORE_BACK=1
  if [ -z "$CORE_SIGNAL" ]; then
    CORE_SIGNAL=INT _CORE_SIGNAL_AT=$SECONDS
    "$CORE_TELL" warning "cleaning up; Ctrl+C once more ends at once" 2>&9
  elif [ "$SECONDS" -gt "$_CORE_SIGNAL_AT" ]; then
    _core_end_child
    [ -z "$CORE_LEFT" ] || "$CORE_TELL" warning "$CORE_LEFT" 2>&9
    exit 130
  fi
}

# _core_end_child - ends whatever runs in the background of this shell (children there ignore the
# terminal's Ctrl+C; tunnels and pods are disowned, so they are not among them). By force: TERM can be
# ignored by what the cleanup starts, or swallowed by a child that Bash has forked but not yet replaced.
_core_end_child() {
  local pids IFS=$' \t\n' # not that of the function that the signal came to
  pids=$(jobs -p)
  disown -a 2>/dev/null || : # or Bash tells that they were killed
  # shellcheck disable=SC2086 # numbers
  [ -z "$pids" ] || kill -s KILL $pids 2>/dev/null || :
  _CORE_CHILD=''
}
