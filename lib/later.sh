# shellcheck shell=bash
# later.sh - what has to wait, in a process that looks again and again: until when, and how often it was tried.

[ -z "${_AUTOPOD_LATER_SH:-}" ] || return 0 # @guard
_AUTOPOD_LATER_SH=1                         # @guard

. "$AUTOPOD_LIB/os.sh"

LATER_LONGEST=3600 # seconds that anything waits at most
LATER_NEXT=0       # when something will be due
LATER_TRIES=0      # see later_may
_LATER=$'\n'       # ID:WHAT TRIES UNTIL, a line each; ID is the pod, or the wish, that it is about
_LATER_LAST=0      # when later_begin was called last

# later_begin - a look begins, now. After a clock that was ahead, what was to wait by it waits no longer.
later_begin() {
  os_now
  [ "$OS_NOW" -ge "$_LATER_LAST" ] || _LATER=$'\n'
  _LATER_LAST=$OS_NOW LATER_NEXT=$((OS_NOW + LATER_LONGEST))
}

# later_next EPOCH - something will be due then.
later_next() { [ "$1" -ge "$LATER_NEXT" ] || LATER_NEXT=$1; }

# later_may KEY - 0 unless it has to wait; sets LATER_TRIES. No wait is longer than LATER_LONGEST: the clock was set back.
later_may() {
  local rest=${_LATER#*$'\n'"$1 "}
  LATER_TRIES=0
  [ "$rest" != "$_LATER" ] || return 0
  rest=${rest%%$'\n'*}
  LATER_TRIES=${rest% *}
  [ "$OS_NOW" -lt "${rest#* }" ] && [ $((${rest#* } - OS_NOW)) -le "$LATER_LONGEST" ] || return 0
  later_next "${rest#* }"
  return 1
}

# later_is_new KEY SECONDS - 0 when nothing was known of KEY yet; it has to wait so long from now on.
later_is_new() {
  case $_LATER in *$'\n'"$1 "*) return 1 ;; esac
  later_put_off "$1" "$2"
}

# later_put_off KEY [SECONDS] - it has to wait: so long, or 1, 2, 4 and at most 30 seconds, longer each time.
later_put_off() {
  local seconds=${2:-}
  later_may "$1" || :
  [ -n "$seconds" ] || seconds=$((LATER_TRIES < 5 ? 1 << LATER_TRIES : 30))
  later_drop "$1"
  _LATER="$_LATER$1 $((LATER_TRIES + 1)) $((OS_NOW + seconds))"$'\n'
  later_next $((OS_NOW + seconds))
}

# later_drop KEY - it is as if nothing had been known of it.
later_drop() {
  local before=${_LATER%%$'\n'"$1 "*} after
  [ "$before" != "$_LATER" ] || return 0
  after=${_LATER#*$'\n'"$1 "}
  _LATER=$before$'\n'${after#*$'\n'}
}

# later_keep IDS - forgets what has to wait for pods and wishes that are no longer among IDS (a blank behind each).
later_keep() {
  local rest=${_LATER#$'\n'} line kept=$'\n'
  while [ -n "$rest" ]; do
    line=${rest%%$'\n'*} rest=${rest#*$'\n'}
    case " $1" in *" ${line%%:*} "*) kept=$kept$line$'\n' ;; esac
  done
  _LATER=$kept
}
