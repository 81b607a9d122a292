# shellcheck shell=bash
# state.sh - JSON files that are whole at every moment, and locks that outlive no owner.

[ -z "${_AUTOPOD_STATE_SH:-}" ] || return 0 # @guard
_AUTOPOD_STATE_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"

STATE_LOCK_SECONDS=30 # how long to wait for somebody else's lock; ours are held for milliseconds

# state_lock NAME [SECONDS] - 0 held, 1 busy. The lock is a symbolic link whose text is its owner:
# made in one step with the owner in it, so there is no moment at which it has none. A dead owner's
# lock is taken over. One that is ours already is held: a signal's cleanup may want what the
# interrupted code had.
state_lock() {
  local lock=$AUTOPOD_HOME/locks/$1 left=$((${2:-$STATE_LOCK_SECONDS} * 20)) me owner
  os_process_start "$$" || return 1
  me=$$-$OS_START
  while ! ln -s "$me" "$lock" 2>/dev/null; do
    owner=$(readlink "$lock") || owner=''
    [ "$owner" != "$me" ] || return 0
    if [ -n "$owner" ] && ! os_same_process "${owner%%-*}" "${owner#*-}" && _state_take_over "$1" "$owner"; then
      continue
    fi
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    core_sleep 0.05
  done
}

# state_lock_is_foreign NAME - 0 when another process, that lives, holds the lock.
state_lock_is_foreign() {
  local owner
  [ -L "$AUTOPOD_HOME/locks/$1" ] || return 1
  owner=$(readlink "$AUTOPOD_HOME/locks/$1")
  [ "${owner%%-*}" != "$$" ] && os_same_process "${owner%%-*}" "${owner#*-}"
}

# state_lock_owner NAME - prints the process id of the lock's owner.
state_lock_owner() {
  local owner
  owner=$(readlink "$AUTOPOD_HOME/locks/$1")
  printf '%s\n' "${owner%%-*}"
}

# state_unlock NAME - gives the lock back.
state_unlock() { rm -f -- "$AUTOPOD_HOME/locks/$1"; }

# _state_take_over NAME DEAD_OWNER - removes a dead owner's lock; 1 when somebody else is at it, or was. Only one of those who wait gets to
# do it, by a lock of the same kind, and only after another look: a lock that was taken meanwhile
# has another owner and is left alone.
_state_take_over() {
  local status=1
  state_lock "$1.takeover" 0 || return 1
  [ "$(readlink "$AUTOPOD_HOME/locks/$1")" != "$2" ] || {
    state_unlock "$1"
    status=0
  }
  state_unlock "$1.takeover"
  return "$status"
}

# _state_busy FILE LOCK - tells why there is no lock; EX_FAIL.
_state_busy() {
  if [ -L "$2" ]; then
    core_fail "$EX_FAIL" "$1 is in use by process $(state_lock_owner "${2##*/}")" "if no autopod runs, remove $2"
  else
    core_fail "$EX_FAIL" "can't make the lock $2" "is the disk full, or the directory read-only?"
  fi
}

# state_save FILE - stdin becomes FILE in one step; EX_FAIL when the disk is full, or nothing came: then
# the old one is still there.
state_save() {
  cat >"$1.new.$$" 2>/dev/null || : >"$1.new.$$" 2>/dev/null || :
  _state_put "$1"
}

# state_write FILE TEXT - the same for a text at hand.
state_write() {
  { printf '%s\n' "$2" >"$1.new.$$"; } 2>/dev/null || : >"$1.new.$$" 2>/dev/null || :
  _state_put "$1"
}

# _state_put FILE - what was written beside FILE takes its place; EX_FAIL.
_state_put() {
  local new=$1.new.$$
  if [ -s "$new" ] && mv -f -- "$new" "$1"; then return 0; fi
  rm -f -- "$new"
  core_fail "$EX_FAIL" "can't write $1" "is the disk full, or the directory read-only?"
}

# state_read FILE [JQ_ARG...] FILTER - prints what jq makes of FILE ({} when there is none); EX_FAIL
# when it isn't JSON.
state_read() {
  local file=$1
  shift
  if [ ! -e "$file" ]; then
    jq "$@" <<<'{}'
  else
    [ -s "$file" ] && jq "$@" "$file" 2>/dev/null
  fi || core_fail "$EX_FAIL" "$file is damaged: it isn't the JSON that autopod wrote" \
    "look at it, or move it away; no pod is touched meanwhile"
}

# state_update FILE [JQ_ARG...] FILTER - FILE becomes what FILTER makes of it, under its lock;
# EX_FAIL, and FILE as it was.
state_update() {
  local file=$1 lock=${1##*/} status=0
  shift
  core_tmpdir || return
  state_lock "$lock" ||
    _state_busy "$file" "$AUTOPOD_HOME/locks/$lock" || return
  state_read "$file" -c "$@" >"$CORE_TMP/$lock" && state_save "$file" <"$CORE_TMP/$lock" || status=$?
  state_unlock "$lock"
  return "$status"
}

# state_installation - sets STATE_INSTALLATION, the name that tells this installation's pods from those of
# another one on the same account; made once. EX_FAIL.
state_installation() {
  local file=$AUTOPOD_HOME/installation status=0
  if _state_installed "$file"; then return 0; fi
  state_lock installation || _state_busy "$file" "$AUTOPOD_HOME/locks/installation" || return
  _state_installed "$file" || { os_random_hex 16 && STATE_INSTALLATION=$OS_HEX && state_write "$file" "$OS_HEX"; } || status=$?
  state_unlock installation
  return "$status"
}

# _state_installed FILE - sets STATE_INSTALLATION to what FILE says; 1 when it says nothing.
_state_installed() {
  local shape='^[0-9a-f]{16}$'
  STATE_INSTALLATION=''
  { IFS= read -r STATE_INSTALLATION <"$1"; } 2>/dev/null || :
  [[ $STATE_INSTALLATION =~ $shape ]]
}
