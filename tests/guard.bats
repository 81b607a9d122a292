#!/usr/bin/env bats
# helpers/pod_guard.sh alone, by each POSIX shell that is there: what stops a pod is a script that notes when.

load test_helper

setup() {
  autopod_setup
  GUARDS='' SERVER=''
  SHELLS=()
  local shell
  for shell in dash bash 'busybox sh'; do
    ! type -P "${shell%% *}" >/dev/null || SHELLS[${#SHELLS[@]}]=$shell
  done
}

teardown() {
  local pid
  for pid in $GUARDS $SERVER; do kill "$pid" 2>/dev/null || :; done
  autopod_teardown
}

# guard DIR SECONDS GRACE [SHELL [SCRIPT]] - starts a guard in ./DIR whose pod's time is over in so many SECONDS (0: never);
# what stops the pod is on stdin; GUARD_PATH is its PATH. Sets GUARD to its number and DEADLINE.
guard() {
  local now shell=${4:-sh}
  mkdir -p "$1"
  cp "${5:-$ROOT/helpers/pod_guard.sh}" "$1/guard.sh"
  cat >"$1/stop.sh"
  now=$(date +%s)
  DEADLINE=0
  [ "$2" = 0 ] || DEADLINE=$((now + $2))
  # shellcheck disable=SC2086 # busybox sh
  env PATH="${GUARD_PATH:-$PATH}" $shell "$PWD/$1/guard.sh" "$PWD/$1" "$DEADLINE" "$now" "$3" 1 "${PORT:-9}" </dev/null >"$1.said" 2>&1 3>&- &
  GUARD=$!
  GUARDS="$GUARDS $GUARD"
  wait_until 10 test -s "$1/pid"
}

# changed FILE SED_ARG... - makes FILE the guard with something else in it
changed() {
  local file=$1
  shift
  sed "$@" "$ROOT/helpers/pod_guard.sh" >"$file"
  if cmp -s "$file" "$ROOT/helpers/pod_guard.sh"; then _complain "nothing changed by: $*" && return 1; fi
}

# notes FILE [STATUS] - prints a script that notes the time in FILE, a line each time, and ends with STATUS (66)
notes() { printf 'date +%%s >>"%s"\nexit %s\n' "$PWD/$1" "${2:-66}"; }

# ended PID - 0 when it runs no more
ended() { ! kill -0 "$1" 2>/dev/null; }

# has_lines FILE N
has_lines() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }

# serve JSON - a server that answers /queue with JSON; sets PORT. `queue` is what it answers from then on
serve() {
  mkdir -p served
  printf '%s' "$1" >served/queue
  "$AUTOPOD_PYTHON" -u -c 'import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="served")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port, flush=True)
server.serve_forever()' >port 2>asked 3>&- &
  SERVER=$!
  wait_until 10 test -s port
  PORT=$(<port)
}

IDLE='{"queue_running": [], "queue_pending": []}'
BUSY='{"queue_running": [[0, "id", {}]], "queue_pending": []}'

@test "a pod is stopped when its time is over, not before, and the guard is gone with it" {
  local shell i=0 pids=() deadlines=()
  for shell in "${SHELLS[@]}"; do
    guard "g$i" 2 100 "$shell" < <(notes "stopped$i")
    pids[i]=$GUARD deadlines[i]=$DEADLINE
    i=$((i + 1))
  done
  assert_equal "$(cut -d ' ' -f 2 <g0/pid)" "${deadlines[0]}"
  while [ "$i" -gt 0 ]; do
    i=$((i - 1))
    wait_until 15 ended "${pids[i]}"
    assert_equal "$(grep -c . "stopped$i")" 1 "stops by ${SHELLS[i]}"
    [ "$(<"stopped$i")" -ge "${deadlines[i]}" ] || { _complain "${SHELLS[i]} stopped too early" && return 1; }
    refute_exists "g$i"
    assert_equal "$(<"g$i.said")" '' "what ${SHELLS[i]} says"
  done
}

@test "without a deadline, and while the heart beats, nothing is stopped; when it beats no more, an idle pod is" {
  local shell i=0 beats
  serve "$IDLE"
  for shell in "${SHELLS[@]}"; do
    guard "g$i" 0 4 "$shell" < <(notes "stopped$i")
    i=$((i + 1))
  done
  for beats in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
    for ((i = 0; i < ${#SHELLS[@]}; i++)); do echo "1 $beats" >"g$i/beat"; done
    sleep 0.5
  done
  for ((i = 0; i < ${#SHELLS[@]}; i++)); do refute_exists "stopped$i"; done
  for ((i = 0; i < ${#SHELLS[@]}; i++)); do
    wait_until 15 has_lines "stopped$i" 1
  done
}

@test "a job that runs may finish when nobody is heard of, but not past the deadline" {
  serve "$BUSY"
  guard one 0 1 < <(notes finished)
  guard two 4 1 < <(notes late)
  wait_until 10 has_lines late 1
  [ "$(<late)" -ge "$DEADLINE" ]
  refute_exists finished
  assert_contains 'the pod is stopped once ComfyUI has nothing to do' "$(<one/log)"
  # Whoever comes back meanwhile is heard.
  echo back >one/beat
  wait_until 10 grep -q 'the laptop is heard of again' one/log
  printf '%s' '{"queue_running":[],"queue_pending":[[1]]}' >served/queue
  wait_until 10 eval '[ "$(grep -c "nothing was heard" one/log)" -ge 2 ]'
  refute_exists finished
  printf '%s' "$IDLE" >served/queue
  wait_until 10 has_lines finished 1
}

# tools DIR TOOL... - makes ./DIR a PATH with these programs alone
tools() {
  local dir=$1 tool
  shift
  mkdir -p "$dir"
  for tool; do
    ! type -P "$tool" >/dev/null || ln -s "$(type -P "$tool")" "$dir/$tool"
  done
}

@test "the queue is asked by curl, else wget, else Python; where it can't be asked, the pod counts as idle" {
  local tool base='date cat tr sleep rm sh tail mv ps'
  serve "$BUSY"
  for tool in curl wget python3; do
    type -P "$tool" >/dev/null || continue
    # shellcheck disable=SC2086 # words
    tools "with_$tool" $base "$tool"
    [ "$tool" != python3 ] || { # which may be a script that takes more than these programs
      rm with_python3/python3
      printf '#!/bin/sh\nexec %q "$@"\n' "$AUTOPOD_PYTHON" >with_python3/python3
      chmod +x with_python3/python3
    }
    GUARD_PATH=$PWD/with_$tool guard "$tool" 0 1 "$(type -P sh)" < <(notes "by_$tool")
  done
  # shellcheck disable=SC2086
  tools with_none $base
  GUARD_PATH=$PWD/with_none guard none 0 1 "$(type -P sh)" < <(notes by_none)
  PORT=9 guard silent 0 1 < <(notes by_silent)
  wait_until 15 has_lines by_none 1
  wait_until 15 has_lines by_silent 1
  for tool in curl wget python3; do
    [ ! -d "with_$tool" ] || { assert_file "$tool/log" && refute_exists "by_$tool" || return; }
  done
  [ "$(grep -c 'GET /queue' asked)" -ge 3 ]
}

@test "a stop that is refused is ordered again, and so is one that was accepted and not carried out" {
  guard refused 1 100 < <(notes refused.at 1)
  guard accepted 1 100 < <(notes accepted.at 0)
  wait_until 20 has_lines refused.at 2
  wait_until 20 has_lines accepted.at 2
  assert_contains 'the stop was not accepted (status 1)' "$(<refused/log)"
  assert_contains 'the stop was accepted' "$(<accepted/log)"
  assert_equal "$(($(sed -n 2p refused.at) - $(sed -n 1p refused.at) >= 5))" 1 'a pause between'
}

@test "a stop that hangs is ended and ordered again" {
  changed impatient.sh -e 's/-lt 120/-lt 1/' -e 's/ : 5))/ : 1))/'
  guard g 1 100 sh impatient.sh <<<"echo again >>'$PWD/tried'; exec sleep 300"
  wait_until 20 has_lines tried 2
}

@test "a clock that is set back does not prolong the time, one that jumps does not shorten it" {
  [ -r /proc/uptime ] || skip 'this system does not tell how long it has been up'
  stub date <<<'case $1 in +%s) echo $(($(exec '"$(type -P date)"' +%s) + $(cat '"$PWD"'/moved))) ;; *) exec '"$(type -P date)"' "$@" ;; esac'
  echo 0 >moved
  guard back 3 100 < <(notes stopped_back)
  guard jump 30 100 < <(notes stopped_jump)
  echo -7200 >moved
  wait_until 10 has_lines stopped_back 1
  echo 7200 >moved
  sleep 2.5
  refute_exists stopped_jump
}

@test "a system that does not tell its uptime: a clock that is set back does not prolong the time" {
  local shell i=0
  changed old.sh 's|/proc/uptime|/nowhere/uptime|'
  stub date <<<'case $1 in +%s) echo $(($(exec '"$(type -P date)"' +%s) + $(cat '"$PWD"'/moved))) ;; *) exec '"$(type -P date)"' "$@" ;; esac'
  for shell in "${SHELLS[@]}"; do
    echo 0 >moved
    guard "g$i" 3 100 "$shell" old.sh < <(notes "stopped$i")
    echo -7200 >moved
    i=$((i + 1))
  done
  while [ "$i" -gt 0 ]; do
    i=$((i - 1))
    wait_until 15 has_lines "stopped$i" 1
  done
  # Asleep with the whole machine: what was slept through counts by its clock.
  echo 0 >moved
  guard asleep 3600 100 sh old.sh < <(notes stopped_asleep)
  echo 7200 >moved
  wait_until 10 has_lines stopped_asleep 1
}

@test "neither a full disk nor a directory that is gone keeps it from stopping the pod" {
  local shell i=0
  guard gone 2 100 < <(notes stopped_gone)
  rm -rf gone
  wait_until 10 has_lines stopped_gone 1
  unshare -m true 2>/dev/null || skip "no file system of one's own here"
  for shell in "${SHELLS[@]}"; do
    mkdir full
    notes "stopped$i" >stop.sh
    run unshare -m sh -c 'mount -t tmpfs -o size=64k tmpfs full && cp "$1" full/guard.sh && cp stop.sh full || exit 9
      now=$(date +%s)
      '"$shell"' "$PWD/full/guard.sh" "$PWD/full" $((now + 2)) "$now" 1 1 9 </dev/null >said 2>&1 &
      sleep 1
      cat /dev/zero >full/zero 2>/dev/null
      for n in 1 2 3 4 5 6 7 8 9 10; do ! kill -0 $! 2>/dev/null || sleep 1; done
      kill -0 $! 2>/dev/null && kill $! && echo "it still runs"; : ' sh "$ROOT/helpers/pod_guard.sh"
    assert_equal "$status:$output" 0: "$shell"
    assert_file "stopped$i"
    rmdir full
    i=$((i + 1))
  done
}

@test "the newer guard counts, and the older one ends; a number that is another process's now is none" {
  local first
  sleep 60 3>&- &
  GUARDS=$!
  guard g 3600 100 < <(notes stopped)
  first=$GUARD
  echo "${GUARDS%% *} 1" >g/pid
  sleep 2
  kill -0 "$first"
  guard g 3600 100 < <(notes stopped)
  wait_until 10 ended "$first"
  kill -0 "$GUARD"
  assert_contains 'another guard was armed' "$(<g/log)"
  assert_equal "$(cut -d ' ' -f 1 <g/pid)" "$GUARD"
  refute_exists stopped
}

@test "a hang-up is nothing to it; when it is told to end, nothing of it is left" {
  local shell
  for shell in "${SHELLS[@]}"; do
    guard "g" 3600 100 "$shell" < <(notes stopped)
    kill -HUP "$GUARD"
    sleep 0.5
    kill -0 "$GUARD"
    kill "$GUARD"
    wait_until 5 ended "$GUARD"
    assert_equal "$(left_processes)" '' "$shell"
    rm -r g
  done
  refute_exists stopped
}

@test "its log keeps the last lines only" {
  changed short.sh -e 's/% 200/% 4/' -e 's/tail -n 200/tail -n 4/'
  serve "$BUSY"
  guard g 0 1 sh short.sh < <(notes stopped)
  local i
  for i in 1 2 3 4; do
    wait_until 10 eval '[ "$(tail -n 1 g/log | grep -c "nothing was heard")" = 1 ]'
    echo "$i" >g/beat
    wait_until 10 eval '[ "$(tail -n 1 g/log | grep -c "heard of again")" = 1 ]'
  done
  [ "$(wc -l <g/log)" -le 8 ]
  refute_contains armed "$(<g/log)"
}

# function_of FILE NAME - prints that function of a shell file, with the comment above it
function_of() { awk -v name="$2() {" '/^#/ { comment = comment $0 "\n"; next } $0 == name { printf "%s", comment; on = 1 } on { print } { comment = "" } on && /^}/ { exit }' "$ROOT/helpers/$1"; }

@test "what the scripts for pods have in common, since none can include another, is the same in all of them" {
  local file wanted
  wanted=$(function_of pod_guard.sh is_guard)
  assert_equal "$(grep -c . <<<"$wanted")" 9 'lines of is_guard'
  for file in pod_arm.sh pod_session.sh; do
    assert_equal "$(function_of "$file" is_guard)" "$wanted" "$file"
  done
  wanted=$(grep -A 2 '^here=[$]{RUNPOD_POD_ID' "$ROOT/helpers/pod_session.sh")
  assert_equal "$(grep -c . <<<"$wanted")" 3 'lines that look for the id'
  for file in pod_arm.sh pod_login.sh; do
    assert_equal "$(grep -A 2 '^here=[$]{RUNPOD_POD_ID' "$ROOT/helpers/$file")" "$wanted" "$file"
  done
  # And no other way to read what the container has, nor to know a guard.
  wanted=$(sed -n 's/.*\({ tr .*\)RUNPOD_POD_ID\(.*2>.dev.null\)).*/\1$1\2/p' <<<"$wanted")
  assert_contains "of_container() { $wanted; }" "$(<"$ROOT/helpers/self_stop_runpod.sh")"
  assert_equal "$(cd "$ROOT/helpers" && grep -l /proc/1/environ -- * | tr '\n' ' ')" 'pod_arm.sh pod_login.sh pod_session.sh self_stop_runpod.sh '
  assert_equal "$(cd "$ROOT/helpers" && grep -l /cmdline -- * | tr '\n' ' ')" 'pod_arm.sh pod_guard.sh pod_session.sh '
}
