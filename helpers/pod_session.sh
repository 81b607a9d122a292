#!/bin/sh
# What the session of a tunnel runs on the pod, as `sh -c`: so it has no single quotes.
# First of all it says which pod it is on. A pod knows its id by its environment; that of RunPod reaches
# the first process of the container, but not every shell that ssh starts, and in some images (the one of RunPod for
# ComfyUI) only with the quotes of a file around it. All of it goes to stderr: stdout stays silent (see ssh_tunnel).
# Then it passes on the heartbeat of the laptop, a line on stdin, to the guard of the pod (pod_guard.sh), and says how
# that is when it changes, until the link ends. Nothing here ticks by itself: a link that is dead must not beat.
umask 077
here=${RUNPOD_POD_ID:-${AUTOPOD_POD_ID:-}}
[ -n "$here" ] || here=$({ tr "\\0" "\\n" </proc/1/environ | sed -n "s/^RUNPOD_POD_ID=//p"; } 2>/dev/null)
here=${here#\"} here=${here%\"}
# is_guard DIR PID - 0 when that process is a guard whose directory is DIR.
is_guard() {
  case $2 in "" | *[!0-9]*) return 1 ;; esac
  kill -0 "$2" 2>/dev/null || return
  case $({ tr "\\0" " " <"/proc/$2/cmdline" || ps -ww -o args= -p "$2"; } 2>/dev/null) in
    *"$1/guard.sh "*) ;;
    *) return 1 ;;
  esac
}
look() {
  state=dead again=
  for dir in "${AUTOPOD_GUARD_DIR:-/dev/shm}" /tmp; do
    dir=$dir/autopod-guard.$here pid=
    [ -d "$dir" ] || continue
    again=$((beats % 12))
    { read -r pid until <"$dir/pid"; } 2>/dev/null
    ! is_guard "$dir" "$pid" || { state="alive $until" && return; }
  done
}
said="" beats=0
while
  look
  # A dead one is told again now and then: whoever armed it has noted by himself that it was alive for a moment.
  [ "$state:$again" != dead:0 ] && [ "$state" = "$said" ] || echo "autopod-guard-is $state" >&2
  [ -n "$said" ] || echo "autopod-pod-is $here" >&2
  said=$state beats=$((beats + 1))
  [ "$state" = dead ] || { echo "$$ $beats" >"$dir/beat"; } 2>/dev/null
  read -r tick
do :; done
