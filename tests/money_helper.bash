# shellcheck shell=bash
# money_helper.bash - pods whose limits are seconds, since they cost $1 each; ways to kill, to stop and to cut off what
# would end them; and how long each lived beyond its limit. That goes as a row to the file that MONEY_TABLE names, when
# it names one (bench/limits.sh): WHAT HAPPENS, WHAT IS LEFT, SECONDS, LIMIT, with tabs between.
# Needs test_helper, cmd_helper and worlds_helper.

MONEY_LIMIT=${MONEY_LIMIT:-14} # seconds that a pod may live, when a scenario says nothing else; see money_setup_file
MONEY_POLL=2                   # seconds between two looks of the guard on the pod
MONEY_PATIENCE=45              # seconds beyond its limit, after which a pod that still runs fails the test

_MONEY_KILLERS='' _MONEY_ASLEEP='' _MONEY_LIFE=''

# money_setup_file - sets MONEY_LIMIT so that a pod has its limit some seconds after it was made, with a few more being
# made at the same time, however busy this machine is
money_setup_file() {
  local began
  cd "$BATS_FILE_TMPDIR" || return
  export AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  export AUTOPOD_PYTHON=$ROOT/.venv/bin/python3 AUTOPOD_BIN=${AUTOPOD_BIN:-$ROOT/bin}
  free_port
  export AUTOPOD_PORT=$FREE_PORT
  began=$(now)
  "$AUTOPOD_BIN/autopod-connect" -q --provider local </dev/null 3>&- &&
    "$AUTOPOD_BIN/autopod-kill" -q --all --yes </dev/null 3>&- || return
  MONEY_LIMIT=$(awk -v began="$began" -v now="$(now)" 'BEGIN {
    limit = 10 + int(7 * (now - began))
    print (limit < 18) ? 18 : (limit > 90) ? 90 : limit }')
  export MONEY_LIMIT
  watchers_stop
}

# awaited SECONDS CMD [ARG...] - as wait_until, but gives up when the command that was started has ended
awaited() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -le "$until" ] || { _complain "gave up waiting for: $*" && return 1; }
    [ -z "$COMMAND_PID" ] || ! command_ended || {
      _complain "it ended before: $*" "$(<"$BATS_TEST_TMPDIR/command.err")"
      return 1
    }
    sleep 0.1
  done
}

# money NAME... - carries these scenarios out at the same time
money() {
  printf '%s\n' "$@" >"$BATS_TEST_TMPDIR/scenarios"
  at_once "$@" # by itself: in a list with `||` nothing in them would fail
}

# money_teardown - keeps the rows of the scenarios, in their order; ends the pods of one that was cut off
money_teardown() {
  local name status=0
  while read -r name; do
    name=$BATS_TEST_TMPDIR/$name
    [ -z "${MONEY_TABLE:-}" ] || [ ! -s "$name/row" ] || cat "$name/row" >>"$MONEY_TABLE"
    [ ! -d "$name/autopod/local" ] ||
      AUTOPOD_HOME=$name/autopod "$AUTOPOD_BIN/autopod-kill" -q --all --yes </dev/null 3>&- || status=1
  done < <(cat "$BATS_TEST_TMPDIR/scenarios" 2>/dev/null)
  cmd_teardown || status=1
  return "$status"
}

# world_end - ends what a scenario started; what the commands left behind is for the test's end to find
world_end() {
  local pid
  # shellcheck disable=SC2086 # numbers
  [ -z "$_MONEY_ASLEEP" ] || kill -CONT $_MONEY_ASLEEP 2>/dev/null || :
  for pid in $_MONEY_KILLERS $_MONEY_LIFE; do
    kill "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || : # without its last words
  done
  [ -z "$COMMAND_PID" ] || kill_command_group
  while read -r pid; do kill "$pid" 2>/dev/null || :; done < <(cat "$BATS_TEST_TMPDIR"/relays 2>/dev/null)
  # A disk that is full would be full for the end, too.
  rm -f "$AUTOPOD_HOME/full"
  "$AUTOPOD_BIN/autopod-kill" -q --all --yes </dev/null >/dev/null 2>&1 3>&- || :
  wait_until 15 no_watcher || :
  [ -z "${RUNPOD_API_PID:-}" ] || runpod_api_stop || :
  ! money_is_mounted || umount "$AUTOPOD_HOME" || umount -l "$AUTOPOD_HOME" || :
}

# money_is_mounted - 0 when AUTOPOD_HOME is a file system of its own
money_is_mounted() { [ -r /proc/mounts ] && grep -qsF " $AUTOPOD_HOME " /proc/mounts; }

# --- pods that cost -------------------------------------------------------------------------------

# dear [SECONDS] - local pods that cost $1 a second, of which each may live that long
dear() {
  export AUTOPOD_LOCAL_RATE=3600
  mkdir -p "$AUTOPOD_HOME"
  _money_limit "${1:-$MONEY_LIMIT}" "$AUTOPOD_HOME/local"
}

# dear_runpod [SECONDS [ARG...]] - the same from RunPod's stand-in, to which ARGs go
dear_runpod() {
  runpod_api_start --boot-delay 1 "${@:2}" || return
  runpod_control '{"balance": 90000, "spend_limit": 90000, "prices": {"NVIDIA A40": {"secure": 3600}}}' || return
  export AUTOPOD_GPU=A40 AUTOPOD_DATACENTER=US-GA-1
  _money_limit "${1:-$MONEY_LIMIT}" "$RUNPOD_TEST_URL"
}

# _money_limit SECONDS PODS - the limit of new pods; from now on the life of the first is followed
_money_limit() {
  # What is not the subject here is out of the way.
  export AUTOPOD_ASK_ABOVE=10000 AUTOPOD_STALL_TIMEOUT=0
  export AUTOPOD_MAX_COST=$1 AUTOPOD_GUARD_POLL=$MONEY_POLL
  "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/pod_life.py" "$2" $((AUTOPOD_MAX_COST + MONEY_PATIENCE + 60)) \
    >"$BATS_TEST_TMPDIR/life" 2>&1 </dev/null 3>&- &
  _MONEY_LIFE=$!
}

# dear_double FAULTS_JSON [SECONDS] - the same with the double as the pods' ComfyUI, and the job `one` for it, which has
# an input
dear_double() {
  dear "${2:-}"
  pod_job "$1"
  png in.png
  job one scale '{"image": "in.png"}'
}

# endless ID - a job that the simulator runs for two minutes
endless() { job "$1" slow "{\"seconds\": 120, \"seed\": $RANDOM}"; }

# pod_has_ended - 0 when the pod's last process has ended
pod_has_ended() {
  local what
  while read -r what _; do
    [ "$what" != ended ] || return 0
  done <"$BATS_TEST_TMPDIR/life"
  return 1
}

# pod_goes_on - fails when it has: then the scenario would prove nothing
pod_goes_on() { ! pod_has_ended || { _complain 'the pod has ended too early' && return 1; }; }

# life born|ended - prints when that was (epoch with milliseconds)
life() { awk -v what="$1" '$1 == what { print $2 }' "$BATS_TEST_TMPDIR/life"; }

# born - 0 once there is a pod
born() { [ -s "$BATS_TEST_TMPDIR/life" ]; }

# now - prints the epoch with milliseconds
now() { "$AUTOPOD_PYTHON" -c 'import time; print("%.3f" % time.time())'; }

# plus A B - prints the sum
plus() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a + b }'; }

# at SECOND - waits until that second of the pod's life
at() {
  "$AUTOPOD_PYTHON" -c 'import sys, time
time.sleep(max(0, float(sys.argv[1]) + float(sys.argv[2]) - time.time()))' "$(life born)" "$1"
}

# ends WHAT LEFT [FROM] - the pod ends, or the test fails; notes how many seconds beyond its limit it did, or beyond
# FROM (an epoch): WHAT happened, and this was LEFT to end it
ends() {
  local from=${3:-} beyond='' late
  [ -n "$from" ] || from=$(plus "$(life born)" "$AUTOPOD_MAX_COST")
  late=$(awk -v from="$from" -v now="$(now)" -v more="$MONEY_PATIENCE" 'BEGIN { printf "%d", from - now + more + 1 }')
  if [ "$late" -gt 0 ] && wait_until "$late" pod_has_ended; then
    beyond=$(awk -v from="$from" -v ended="$(life ended)" 'BEGIN { printf "%.1f", ended - from }')
  fi
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "${beyond:-never}" "$AUTOPOD_MAX_COST" >"$BATS_TEST_TMPDIR/row"
  printf 'beyond its limit: %s s (%s; left: %s)\n' "${beyond:-never}" "$1" "$2"
  [ -n "$beyond" ]
}

# --- what would end them --------------------------------------------------------------------------

# watcher_pid - prints the process of this installation's watcher
watcher_pid() {
  local owner
  owner=$(readlink "$AUTOPOD_HOME/locks/watcher") && alive "${owner%%-*}" && printf '%s\n' "${owner%%-*}"
}

# no_watcher - 0 when none lives
no_watcher() { ! watcher_pid >/dev/null; }

# guard_pids - prints the processes of the guards on this world's pods
guard_pids() {
  local file pid rented=$BATS_TEST_TMPDIR/runpod/pods-home
  for file in "$AUTOPOD_HOME"/local/*/ram/autopod-guard.*/pid "$rented"/local/*/ram/autopod-guard.*/pid; do
    { read -r pid _ <"$file"; } 2>/dev/null && alive "$pid" && printf '%s\n' "$pid"
  done
  return 0
}

# guard_lives - 0 when one does
guard_lives() { [ -n "$(guard_pids)" ]; }

# kill_on_sight watcher|guard... - from now on each of these is killed (-9) within a moment of its birth. They are noted
# in the file killed.
kill_on_sight() {
  (
    trap - EXIT
    while :; do
      for what in "$@"; do
        for pid in $("${what}_pid$([ "$what" = watcher ] || echo s)"); do
          kill -9 "$pid" && printf '%s\n' "$what" >>"$BATS_TEST_TMPDIR/killed"
        done
      done
      sleep 0.1
    done
  ) >/dev/null 2>&1 3>&- &
  _MONEY_KILLERS="$_MONEY_KILLERS $!"
}

# was_killed watcher|guard - 0 when there was one
was_killed() { grep -qs "^$1" "$BATS_TEST_TMPDIR/killed"; }

# laptop - prints the processes of this world that are not its pods' nor the test's own
laptop() {
  local pid args pods
  pods=" $(awk '{ printf "%s ", $2 }' "$AUTOPOD_HOME"/local/*/processes 2>/dev/null)"
  while read -r pid args; do
    case $pods in *" $pid "*) continue ;; esac
    case $args in */doubles/* | */pods-home/* | 'sleep 0.1') continue ;; esac
    ! grep -qsaF RUNPOD_API_DOUBLE= "/proc/$pid/environ" || continue # a session on a pod, or what it has started
    alive "$pid" && printf '%s\n' "$pid"
  done < <(left_processes)
  watcher_pid || :
}

# power_cut - all that runs on the laptop is dead (kill -9) at once; what is on the pod goes on
power_cut() {
  local pids tries=50
  [ -z "$COMMAND_PID" ] || kill_command_group
  while pids=$(laptop) && [ -n "$pids" ]; do
    # shellcheck disable=SC2086 # numbers
    kill -9 $pids 2>/dev/null || :
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { _complain "these live on: $pids" && return 1; }
  done
}

# asleep - nothing on the laptop does anything any more, until it is awake
asleep() {
  local pids _again
  for _again in 1 2 3; do # one may have been starting another
    pids=$(laptop)
    # shellcheck disable=SC2086 # numbers
    kill -STOP $pids 2>/dev/null || :
    _MONEY_ASLEEP=$(paste -sd ' ' - <<<"$pids")
  done
}

# awake - it goes on where it stood
awake() {
  # shellcheck disable=SC2086 # numbers
  kill -CONT $_MONEY_ASLEEP 2>/dev/null || :
  _MONEY_ASLEEP=''
}

# --- a laptop with troubles -----------------------------------------------------------------------

# small_disk - AUTOPOD_HOME is a file system of its own, which can be full
small_disk() {
  mkdir -p "$AUTOPOD_HOME"
  mount -t tmpfs -o size=40m tmpfs "$AUTOPOD_HOME" 2>/dev/null
}

# fill_disk - not a byte more goes there
fill_disk() {
  dd if=/dev/zero of="$AUTOPOD_HOME/full" bs=65536 2>/dev/null || :
  dd if=/dev/zero of="$AUTOPOD_HOME/full" bs=1024 oflag=append conv=notrunc 2>/dev/null || :
  if { : >"$AUTOPOD_HOME/more" && echo more >"$AUTOPOD_HOME/more"; } 2>/dev/null; then
    _complain 'the disk is not full'
    return 1
  fi
}
