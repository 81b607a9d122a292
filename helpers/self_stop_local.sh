#!/bin/sh
#
# Stops the local pod in the directory $dir (set in the line before this text): ends the processes that its file
# `processes` names (a line each: NAME PID START PORT). Exit code 0 when one was told to end; else one line of
# reason on stderr.
# shellcheck disable=SC2154 # dir

status=1
while read -r _ pid _; do
  # Its arguments name the pod's directory: a foreign process that has the number now is left alone. (The last
  # part of it: ps may show other letters than those of ASCII in its own way.)
  case $(ps -ww -o args= -p "$pid" 2>/dev/null) in
    */"${dir##*/}"/*) kill "$pid" && status=0 ;;
  esac
done <"$dir/processes"
[ "$status" = 0 ] || printf 'no process of the pod in %s runs\n' "$dir" >&2
exit "$status"
