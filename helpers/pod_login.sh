#!/bin/sh
# What autopod-ssh runs on the pod, as `sh -c SCRIPT POD_ID [CMD...]`.
# For a while after a start RunPod tells the address from before, where another pod of the same owner, with
# the same key, may be by now: nothing is run on that one. (Where its id comes from: see pod_session.sh.)
here=${RUNPOD_POD_ID:-${AUTOPOD_POD_ID:-}}
[ -n "$here" ] || here=$({ tr "\\0" "\\n" </proc/1/environ | sed -n "s/^RUNPOD_POD_ID=//p"; } 2>/dev/null)
here=${here#\"} here=${here%\"}
[ "${here:-$0}" = "$0" ] || {
  echo "autopod-ssh: error: pod $here answers at the address of $0: its new one is not known yet" >&2
  echo "  try again in a minute" >&2
  exit 5
}

# beat SSHD - a sign of life each second for the guard (pod_guard.sh), as long as this login and its sshd live; nothing
# of it is left a second later, however they end. sshd alone would not do: what it started may have ended. Nor would the
# login: a CMD goes on when its link is gone.
# shellcheck disable=SC3067 # -O: dash, ash and bash have it
beat() {
  trap "" TSTP # what is typed at a terminal is for the shell there
  n=0
  while kill -0 "$$" && { kill -0 "$1" || [ -d "/proc/$1" ]; }; do
    n=$((n + 1))
    for dir in "${AUTOPOD_GUARD_DIR:-/dev/shm}" /tmp; do
      [ ! -O "$dir/autopod-guard.$here/beat" ] || echo "$$ $n" >"$dir/autopod-guard.$here/beat"
    done
    sleep 1
  done
}
beat "$PPID" </dev/null >/dev/null 2>&1 &
beat=$!

[ $# -gt 0 ] || exec "${SHELL:-/bin/sh}" -l
"$@"
status=$? # not exec: of a CMD that a signal ended (no memory left) ssh would only say 255
kill "$beat" 2>/dev/null
exit "$status"
