#!/bin/sh
# What autopod-logs runs on the pod, as `sh -c SCRIPT NAME LINES FOLLOW FILE...`: says which of these files is the newest,
# and prints its last LINES; with FOLLOW also what is added, until the link ends (which it sees by its stdin: a tail
# without news would stay behind for ever). Ends with 66 when there is none of them.
lines=$1 follow=$2 newest=
shift 2
for file; do
  [ -s "$file" ] || continue
  [ -n "$newest" ] && ! [ "$file" -nt "$newest" ] || newest=$file
done
[ -n "$newest" ] || exit 66
echo "autopod-log-is $newest"
[ -n "$follow" ] || exec tail -n "$lines" "$newest"
tail -n "$lines" -F "$newest" 2>/dev/null &
cat >/dev/null
kill "$!"
