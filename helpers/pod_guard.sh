#!/bin/sh
#
# The guard of a pod, on the pod: stops it when its time is over, and when nobody has been heard of for too long and its
# ComfyUI has nothing to do. Whoever has armed it (pod_arm.sh) may be gone, asleep or cut off by then.
# Usage: sh guard.sh DIR DEADLINE NOW GRACE POLL PORT, where DIR holds
#   stop.sh  what stops the pod; its exit code is 0 when that was accepted, 66 when there is nothing left to stop
#   beat     what the tunnel's session writes anew as long as its link lives (pod_session.sh), and a login (pod_login.sh)
#   pid      "PID DEADLINE" of the guard that counts: one that finds another there ends
#   log      what the guard did
# DEADLINE and NOW are epochs by the clock of who armed it (DEADLINE 0: none), GRACE and POLL seconds, PORT ComfyUI's.
# All of it is in memory once it runs: a disk that gets full, or a DIR that is gone, changes nothing.

dir=$1 deadline=$2 now=$3 grace=$4 poll=$5 port=$6
stop=$(cat "$dir/stop.sh") && [ -n "$stop" ] || exit 1
elapsed=0 slept=0 logged=0 child='' killer=''
beat='' beat_at=0 missing='' unknown=0 pause=0 answered=0

# say TEXT... - adds a line to the log, which keeps the last of them.
say() {
  logged=$((logged + 1))
  {
    [ "$((logged % 200))" != 0 ] || { tail -n 200 "$dir/log" >"$dir/log.new" && mv "$dir/log.new" "$dir/log"; }
    printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$dir/log"
  } 2>/dev/null
}

# up - sets since to the seconds that the machine has been up, whatever its clock says; 1 when it does not tell.
up() {
  since=
  { read -r since _ </proc/uptime; } 2>/dev/null
  since=${since%%.*}
  case $since in '' | *[!0-9]*) return 1 ;; esac
}

# look_at_clock - sets elapsed to the seconds since it was armed. A clock that is set back or jumps doesn't count where
# the system tells how long it has been up; elsewhere what was slept through is the least.
look_at_clock() {
  passed=$slept
  if [ -n "$up_then" ] && up; then
    since=$((since - up_then))
  else
    since=$(($(date +%s) - date_then))
  fi
  [ "$since" -le "$passed" ] || passed=$since
  [ "$passed" -le "$elapsed" ] || elapsed=$passed
}

# rest SECONDS - sleeps so that a signal is obeyed at once.
rest() {
  sleep "$1" &
  child=$!
  ! wait "$child" || slept=$((slept + $1))
  child=''
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

# is_replaced - 0 when a newer guard is there.
is_replaced() {
  pid=
  { read -r pid _ <"$dir/pid"; } 2>/dev/null
  [ "$pid" != "$$" ] && is_guard "$dir" "$pid"
}

# ask - prints ComfyUI's queue.
ask() {
  unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
  if command -v curl >/dev/null; then
    curl -q -s -m 5 "http://127.0.0.1:$port/queue"
  elif command -v wget >/dev/null; then
    tries=''
    case $(wget --version 2>&1) in *GNU*) tries='--tries=1' ;; esac # it would try twenty times
    # shellcheck disable=SC2086 # one word or none
    wget -q $tries -T 5 -O - "http://127.0.0.1:$port/queue"
  else
    python3 -I -c 'import sys, urllib.request as r
print(r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5).read().decode())' "http://127.0.0.1:$port/queue"
  fi 2>/dev/null
}

# is_idle - 0 when ComfyUI has nothing to do, or has not answered several times in a row: while it loads a model it may
# well be silent for once.
is_idle() {
  case $(ask | tr -d ' \n\r\t') in
    *'"queue_running":[]'*'"queue_pending":[]'* | *'"queue_pending":[]'*'"queue_running":[]'*) unknown=0 ;;
    *'"queue_running":['*) unknown=0 && return 1 ;;
    *) unknown=$((unknown + 1)) && [ "$unknown" -ge 3 ] ;;
  esac
}

# look_for_beat - sets missing to the seconds without a heartbeat, once they are more than the grace.
look_for_beat() {
  heard=$beat
  { IFS= read -r heard <"$dir/beat"; } 2>/dev/null
  if [ "$heard" != "$beat" ]; then
    [ -z "$missing" ] || say "the laptop is heard of again"
    beat=$heard beat_at=$elapsed missing=''
  elif [ $((elapsed - beat_at)) -ge "$grace" ]; then
    [ -n "$missing" ] || say "nothing was heard of the laptop for $((elapsed - beat_at)) s: the pod is stopped once ComfyUI has nothing to do"
    missing=$((elapsed - beat_at))
  fi
}

# order - runs stop.sh, which may take a while, but not for ever; its status.
order() {
  out=/dev/null
  [ ! -w "$dir/log" ] || out=$dir/log
  sh -c "$stop" autopod-stop </dev/null >>"$out" 2>&1 &
  child=$!
  # Ended by force, since TERM can be lost on a child that was just forked; so it leaves at most a second of sleep behind.
  (
    n=0
    while kill -0 "$$"; do
      [ "$n" -lt 120 ] || kill -9 "$child"
      sleep 1
      n=$((n + 1))
    done
  ) >/dev/null 2>&1 &
  killer=$!
  wait "$child" 2>/dev/null
  answered=$?
  child=''
  kill -9 "$killer" 2>/dev/null
  wait "$killer" 2>/dev/null
  killer=''
  return "$answered"
}

# stop_pod WHY - orders the stop. After an order that was accepted the pod is gone, and this with it: who is still here
# then gives it again, after longer and longer pauses.
stop_pod() {
  say "stopping the pod: $1"
  order
  case $answered in
    0) say 'the stop was accepted' ;;
    66)
      rm -rf "$dir"
      exit 0
      ;;
    *) say "the stop was not accepted (status $answered)" ;;
  esac
  pause=$((pause ? pause * 2 : 5))
  [ "$pause" -le 60 ] || pause=60
}

# watch - until the pod is stopped.
watch() {
  while ! is_replaced; do
    look_at_clock
    look_for_beat
    left=$poll
    if [ "$deadline" -gt 0 ] && [ $((now + elapsed)) -ge "$deadline" ]; then
      stop_pod 'its time is over'
      left=$pause
    elif [ -n "$missing" ] && is_idle; then
      stop_pod "nothing was heard of the laptop for $missing s, and ComfyUI has nothing to do"
      left=$pause
    else
      pause=0
    fi
    if [ "$deadline" -gt $((now + elapsed)) ] && [ $((deadline - now - elapsed)) -lt "$left" ]; then
      left=$((deadline - now - elapsed))
    fi
    rest "$left"
  done
  say 'another guard was armed'
}

trap '' HUP
trap 'kill -9 $child $killer 2>/dev/null; exit 143' TERM INT
up_then=
! up || up_then=$since
date_then=$(date +%s)
{ printf '%s %s\n' "$$" "$deadline" >"$dir/pid"; } 2>/dev/null
case $deadline in
  0) say "armed, for $grace s without a sign of the laptop" ;;
  *) say "armed, for $((deadline - now)) s from now, and for $grace s without a sign of the laptop" ;;
esac
watch
exit
