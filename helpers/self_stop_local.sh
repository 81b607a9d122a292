#!/bin/sh
#
# Stops the local pod in the directory $dir (set in the line before this text): ends the processes that its file
# `processes` names (a line each: NAME PID START PORT). Exit code 66 when none of them runs any more; 1, with one line of
# reason on stderr, when one did not end.
# shellcheck disable=SC2154 # dir

# running - prints the numbers of those that run. Their arguments name the pod's directory: a foreign process that has the
# number now is left alone. (The last part of it: ps may show other letters than those of ASCII in its own way.)
running() {
  while read -r _ pid _; do
    case $(ps -ww -o args= -p "$pid" 2>/dev/null) in
      */"${dir##*/}"/*) printf '%s ' "$pid" ;;
    esac
  done <"$dir/processes"
}

tries=0
while pids=$(running) && [ -n "$pids" ]; do
  [ "$tries" -lt 60 ] || {
    printf 'processes of the pod in %s do not end: %s\n' "$dir" "$pids" >&2
    exit 1
  }
  signal=TERM
  [ "$tries" -lt 50 ] || signal=KILL
  # shellcheck disable=SC2086 # numbers
  kill -s "$signal" $pids 2>/dev/null
  tries=$((tries + 1))
  sleep 0.1
done
exit 66
