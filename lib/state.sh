# shellcheck shell=bash
# state.sh - JSON files that are whole at every moment, and locks that outlive no owner.

[ -z "${_AUTOPOD_STATE_SH:-}" ] || return 0 # @guard
_AUTOPOD_STATE_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"

STATE_LOCK_SECONDS=30 # how long to wait for somebody else's lock; ours are held for milliseconds

# state_lock NAME [SECONDS] - 0 held, 1 busy. The lock is a symbolic link whose text is its owner: made in one
# step with the owner in it, so there is no moment at which it has none. A dead owner's lock is taken over.
state_lock() {
  local lock=$AUTOPOD_HOME/locks/$1 left=$((${2:-$STATE_LOCK_SECONDS} * 20)) owner
  os_process_start "$$" || return 1
  while ! ln -s "$$-$OS_START" "$lock" 2>/dev/null; do
    owner=$(readlink "$lock") || {
      [ -w "$AUTOPOD_HOME/locks" ] || return 1
      continue # it was given back in this very moment
    }
    if ! os_same_process "${owner%%-*}" "${owner#*-}"; then
      _state_take_over "$lock" "$owner"
      os_process_start "$$" || return 1
    fi
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    core_sleep 0.05
    os_process_start "$$" || return 1
  done
}

# state_unlock NAME - gives the lock back.
state_unlock() { rm -f -- "$AUTOPOD_HOME/locks/$1"; }

# _state_take_over LOCK DEAD_OWNER - removes a dead owner's lock. Of several that wait, one gets the mark, and only
# it removes the lock, after another look: a lock that was taken meanwhile has another owner and is left alone.
_state_take_over() {
  local mark="$1.dead-$2"
  mkdir -- "$mark" 2>/dev/null || return 0
  [ "$(readlink "$1")" != "$2" ] || rm -f -- "$1"
  rmdir -- "$mark"
}

# state_save FILE - stdin becomes FILE in one step; EX_FAIL when the disk is full: then the old one is still there.
state_save() {
  local new="$1.new.$$"
  if (umask 077 && cat >"$new") 2>/dev/null && mv -f -- "$new" "$1"; then return 0; fi
  rm -f -- "$new"
  core_fail "$EX_FAIL" "can't write $1" "is the disk full?"
}

# state_read FILE [JQ_ARG...] FILTER - prints what jq makes of FILE ({} when there is none); EX_FAIL when it isn't JSON.
state_read() {
  local file=$1
  shift
  if [ ! -s "$file" ]; then
    jq "$@" <<<'{}'
  else
    jq "$@" "$file" 2>/dev/null
  fi || core_fail "$EX_FAIL" "$file is damaged: it isn't the JSON that autopod wrote" \
    "look at it, or move it away; no pod is touched meanwhile"
}

# state_update FILE [JQ_ARG...] FILTER - FILE becomes what FILTER makes of it, under its lock; EX_FAIL, and FILE as it was.
state_update() {
  local file=$1 lock=${1##*/} content
  shift
  state_lock "$lock" ||
    core_fail "$EX_FAIL" "$file is in use by process $(readlink "$AUTOPOD_HOME/locks/$lock" || echo '?')" \
      "if no autopod runs, remove $AUTOPOD_HOME/locks/$lock" || return
  if content=$(state_read "$file" "$@") && state_save "$file" <<<"$content"; then
    state_unlock "$lock"
  else
    state_unlock "$lock"
    return "$EX_FAIL"
  fi
}
