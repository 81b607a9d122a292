#!/bin/sh
#
# Arms the guard of a pod (pod_guard.sh), on the pod: what autopod sends to a shell there, behind a head that sets id,
# deadline, now, grace, poll and port, and defines guard_text and stop_text, which print the two scripts. Says
# "autopod-guard-is alive DEADLINE" when the guard lives; else one line of reason on stderr.
# shellcheck disable=SC2154 # the head's

umask 077

# fail TEXT
fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

# The address from before a start may be another pod's by now. (Where its id comes from: see pod_session.sh.)
here=${RUNPOD_POD_ID:-${AUTOPOD_POD_ID:-}}
[ -n "$here" ] || here=$({ tr "\\0" "\\n" </proc/1/environ | sed -n "s/^RUNPOD_POD_ID=//p"; } 2>/dev/null)
here=${here#\"} here=${here%\"}
[ "${here:-$id}" = "$id" ] || fail "pod $here answers at the address of $id"

# put DIR - writes the scripts there. DIR may be a leftover, but nobody else's.
# shellcheck disable=SC3067 # -O: dash, ash and bash have it
put() {
  { mkdir "$1" || { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && chmod 700 "$1"; }; } &&
    guard_text >"$1/guard.sh" && stop_text >"$1/stop.sh" && printf '0\n' >"$1/beat"
}

# is_guard DIR PID - 0 when that process is a guard whose directory is DIR.
is_guard() {
  case $2 in "" | *[!0-9]*) return 1 ;; esac
  kill -0 "$2" 2>/dev/null || return
  case $({ tr "\\0" " " <"/proc/$2/cmdline" || ps -ww -o args= -p "$2"; } 2>/dev/null) in
    *"$1/guard.sh "*) ;;
    *) return 1 ;;
  esac
}

# In memory, where that can be; never on a disk that the pod keeps: what a pod finds after a start must not stop it.
dir='' old=''
for base in "${AUTOPOD_GUARD_DIR:-/dev/shm}" /tmp; do
  [ -d "$base" ] || continue
  pid=''
  { read -r pid _ <"$base/autopod-guard.$id/pid"; } 2>/dev/null
  ! is_guard "$base/autopod-guard.$id" "$pid" || old="$old $pid"
  [ -n "$dir" ] || ! put "$base/autopod-guard.$id" 2>/dev/null || dir=$base/autopod-guard.$id
done
[ -n "$dir" ] || fail "nothing can be written into ${AUTOPOD_GUARD_DIR:-/dev/shm} or /tmp"

# Reaching the pod took a moment: by its clock, if that is right at all.
clock=$(date +%s)
[ "$clock" -lt "$now" ] || [ "$clock" -gt $((now + 30)) ] || now=$clock

nohup sh "$dir/guard.sh" "$dir" "$deadline" "$now" "$grace" "$poll" "$port" </dev/null >/dev/null 2>&1 &
new=$! tries=50
until pid='' && { read -r pid _ <"$dir/pid"; } 2>/dev/null && [ "$pid" = "$new" ] && is_guard "$dir" "$new"; do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || {
    kill "$new" 2>/dev/null
    fail 'the guard does not run'
  }
  sleep 0.1 2>/dev/null || sleep 1
done
# Only now: there is no moment without one. It would end by itself, but at its next look.
# shellcheck disable=SC2086 # numbers
[ -z "$old" ] || kill $old 2>/dev/null
printf 'autopod-guard-is alive %s\n' "$deadline"
exit 0
