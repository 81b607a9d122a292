#!/usr/bin/env bats
# cmd_money.bats - no pod outlives its limit, whatever dies: each of the three guards alone, the others killed (-9)
# rather than switched off, and everything that can go wrong on the laptop. A stop must come; how late is measured, see
# bench/limits.sh. On RunPod's stand-in: cmd_money_runpod.bats.
# shellcheck disable=SC2030,SC2031 # each scenario is in a subshell of its own

load test_helper
load cmd_helper
load worlds_helper
load money_helper

setup_file() { money_setup_file; }
setup() { cmd_setup; }

teardown() { money_teardown; }

# until_held FAULTS_JSON [SECONDS] - comfy-run carries out the job `one` up to where the double holds it by these faults
until_held() {
  dear_double "$1" "${2:-}"
  start_command comfy-run one.json
  pod_double
  awaited 60 double_says .held 1
}

# computing [FAULTS_JSON [SECONDS]] - comfy-run's job is being computed on the pod that was made for it
computing() {
  dear_double "${1:-"{\"seconds\": 120}"}" "${2:-}"
  running_on_pod one.json
}

# connected - a pod by autopod-connect, for whoever uses it; sets POD and POD_DIR
connected() {
  "$AUTOPOD_BIN/autopod-connect" -q </dev/null 3>&- || return
  POD=$(the_pod)
  POD_DIR=$AUTOPOD_HOME/local/$POD
}

# guarded - the guard on the pod lives, since without it the scenario would prove nothing
guarded() { wait_until 20 guard_lives; }

# watched - so does the watcher
watched() { wait_until 20 watcher_pid >/dev/null; }

DOWNLOAD='{"view_bytes": 3000000, "hold_after": ["GET /view?filename=one_00001_.png&subfolder=pic&type=output"]}'

# --- the run alone --------------------------------------------------------------------------------

# run_alone WHEN - watcher and guard are killed whenever they come up: the run itself ends the pod, and says why
run_alone() {
  kill_on_sight watcher guard
  at $((AUTOPOD_MAX_COST - 1))
  was_killed watcher
  ends "limit reached while $1; watcher and guard on the pod killed" run
  finish_command 60
  assert_status 11
  assert_contains limit "$stderr"
}

run_booting() {
  dear_double '{"stats": "500"}'
  start_command comfy-run one.json
  pod_double
  run_alone booting
}

run_uploading() {
  until_held '{"hold": ["POST /upload"]}'
  run_alone uploading
}

run_computing() {
  computing
  guarded
  run_alone computing
  was_killed guard
  assert_equal "$(jq -r '"\(.status) \(.exit_code)"' "$(the_run)/result.json")" 'failed 11'
}

run_downloading() {
  until_held "$DOWNLOAD"
  run_alone downloading
}

@test "the run alone: the limit is reached while booting, uploading, computing, downloading" {
  money run_booting run_uploading run_computing run_downloading
}

# --- the watcher alone ----------------------------------------------------------------------------

# watcher_alone WHEN - comfy-run is killed, the guard on the pod whenever it comes up, the tunnel too; the watcher has
# had its terminal closed
watcher_alone() {
  watched
  kill -HUP "$(watcher_pid)"
  kill_on_sight guard
  kill_command_group
  kill -9 "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json" 2>/dev/null)" 2>/dev/null || :
  ends "kill -9 of comfy-run while $1; guard on the pod killed" watcher
  wait_until 15 no_watcher # since there is no pod any more
}

watcher_making() {
  dear
  job one picture
  start_command comfy-run one.json
  wait_until 30 the_pod >/dev/null 2>&1
  wait_until 20 grep -qs '^sshd ' "$AUTOPOD_HOME/local/$(the_pod)/processes"
  watcher_alone 'making the pod'
}

watcher_booting() {
  dear_double '{"stats": "500"}'
  start_command comfy-run one.json
  pod_double
  awaited 60 double_says '.requests | length > 0' true
  watcher_alone booting
}

watcher_uploading() {
  until_held '{"hold": ["POST /upload"]}'
  watcher_alone uploading
}

watcher_submitting() {
  until_held '{"hold": ["POST /prompt"]}'
  watcher_alone submitting
}

watcher_computing() {
  computing
  watcher_alone computing
}

watcher_downloading() {
  until_held "$DOWNLOAD"
  watcher_alone downloading
}

@test "the watcher alone: kill -9 of comfy-run at each step" {
  money watcher_making watcher_booting watcher_uploading watcher_submitting watcher_computing watcher_downloading
}

# --- the guard on the pod alone -------------------------------------------------------------------

# guard_alone WHEN - all that runs on the laptop is killed
guard_alone() {
  guarded
  watched
  power_cut
  ends "kill -9 of all on the laptop (comfy-run, watcher, tunnel) while $1" 'guard on the pod'
  wait_until 10 no_guard
}

# no_guard - 0 when it has ended, too
no_guard() { ! guard_lives; }

guard_booting() { # ssh works, ComfyUI does not
  dear_double '{"stats": "500"}'
  start_command comfy-run one.json
  pod_double
  guard_alone booting
}

guard_uploading() {
  until_held '{"hold": ["POST /upload"]}'
  guard_alone uploading
}

guard_computing() {
  computing
  guard_alone computing
}

guard_downloading() {
  until_held "$DOWNLOAD"
  guard_alone downloading
}

guard_connected() {
  dear
  connected
  guard_alone 'nobody uses the pod (autopod-connect)'
}

watcher_connected() {
  dear
  connected
  kill_on_sight guard
  watched
  ends 'autopod-connect is done; guard on the pod killed' watcher
}

@test "the guard on the pod alone: kill -9 of everything else at each step; pods of autopod-connect" {
  money guard_booting guard_uploading guard_computing guard_downloading guard_connected watcher_connected
}

# --- a laptop that sleeps, and a tunnel that is gone ----------------------------------------------

asleep_guarded() {
  computing
  guarded
  asleep
  ends 'laptop asleep (SIGSTOP of all on it) until after the limit' 'guard on the pod'
  awake
  finish_command 60
  [ "$status" != 0 ]
  wait_until 15 no_watcher
}

# past_limit - the laptop has slept past the limit, without a guard on the pod
past_limit() {
  computing
  guarded
  kill_on_sight guard
  wait_until 10 was_killed guard
  asleep
  at $((AUTOPOD_MAX_COST + 4))
  pod_goes_on
}

asleep_run() {
  local woke
  past_limit
  kill -9 "$(watcher_pid)"
  kill_on_sight watcher
  woke=$(now)
  awake
  ends 'laptop asleep past the limit; watcher and guard on the pod killed: seconds after it woke' run "$woke"
  finish_command 60
  assert_status 11
}

asleep_watcher() {
  local woke
  past_limit
  kill_command_group
  woke=$(now)
  awake
  ends 'laptop asleep past the limit; comfy-run and guard on the pod killed: seconds after it woke' watcher "$woke"
}

tunnel_gone() { # the pod was there before, and is reached through a relay
  dear $((MONEY_LIMIT + 10))
  endless one
  "$AUTOPOD_BIN/autopod-connect" -q --no-tunnel </dev/null 3>&-
  POD=$(the_pod)
  POD_DIR=$AUTOPOD_HOME/local/$POD
  relay_start "$(pod_port sshd)"
  pod_process_is sshd "$(pod_process "$POD" sshd)" "$RELAY"
  start_command comfy-run one.json
  awaited 60 command_said Running
  guarded
  relay cut
  kill_on_sight watcher
  ends 'tunnel gone for good while computing; watcher killed' 'run, guard on the pod'
  finish_command 60
  assert_status 11
}

@test "a laptop that sleeps past the limit: the guard on the pod, and whoever wakes; a tunnel that is gone for good" {
  money asleep_guarded asleep_run asleep_watcher tunnel_gone
}

# --- nobody is left, but for cron ------------------------------------------------------------------

heartbeat_idle() { # far from its limit
  dear 500
  export AUTOPOD_GUARD_GRACE=5
  connected
  guarded
  local cut
  cut=$(now)
  power_cut
  ends 'nothing on the laptop lives, nothing to compute: seconds after 5 s without a heartbeat' 'guard on the pod' \
    "$(plus "$cut" 5)"
}

heartbeat_computing() { # what still runs may finish
  dear 500
  export AUTOPOD_GUARD_GRACE=5
  job one slow '{"seconds": 20}'
  connected
  start_command comfy-run one.json
  awaited 60 command_said Running
  guarded
  local cut
  cut=$(now)
  power_cut
  sleep 9
  pod_goes_on
  ends 'the same while a job of 20 s is computed: seconds after 5 s without a heartbeat' 'guard on the pod' \
    "$(plus "$cut" 5)"
  assert_file "$POD_DIR/comfyui/output/one_00001_.png"
}

orphan() { # its maker is dead, no run is on it, and the guard on the pod is, too
  dear_double '{"stats": "500"}' 500
  export AUTOPOD_GUARD_GRACE=5
  start_command comfy-run one.json
  pod_double
  awaited 60 double_says '.requests | length > 0' true
  watched
  kill_on_sight guard
  kill_command_group
  ends 'kill -9 of comfy-run while booting; guard on the pod killed: seconds after 5 s without an owner' watcher \
    "$(plus "$(now)" 5)"
}

swept() {
  dear
  connected
  kill_on_sight watcher guard
  at "$((AUTOPOD_MAX_COST + 2))"
  pod_goes_on
  "$AUTOPOD_BIN/autopod-sweep" -q --enforce </dev/null 3>&-
  ends 'watcher and guard on the pod killed, autopod-sweep --enforce by cron 2 s after the limit' cron
}

@test "far from its limit: nobody is left, so the pod ends after the grace; a job that runs may finish; cron" {
  money heartbeat_idle heartbeat_computing orphan swept
}

# --- a full disk, two runs, impatience ------------------------------------------------------------

# can_mount - 0 when this machine lets us have a small file system
can_mount() {
  mkdir -p probe
  mount -t tmpfs -o size=100k tmpfs probe 2>/dev/null && umount probe
}

# full - the disk with AUTOPOD_HOME is full while a job is computed
full() {
  small_disk
  computing '{"seconds": 120}'
  guarded
  watched
  fill_disk
}

full_run() {
  full
  kill_on_sight watcher guard
  ends 'disk full in AUTOPOD_HOME; watcher and guard on the pod killed' run
  finish_command 60
  [ "$status" != 0 ]
}

full_watcher() {
  full
  kill_on_sight guard
  kill_command_group
  ends 'disk full in AUTOPOD_HOME; comfy-run and guard on the pod killed' watcher
}

full_guard() { # the pod's disk is the same here
  full
  power_cut
  ends 'disk full on laptop and pod; all on the laptop killed' 'guard on the pod'
}

@test "a full disk in AUTOPOD_HOME: each of the three alone" {
  can_mount || skip 'may not mount a small file system here'
  money full_run full_watcher full_guard
}

# another ARG... - a second comfy-run beside the first; sets SECOND, and its outputs are in second/
another() {
  local first=$COMMAND_PID
  mkdir -p "$BATS_TEST_TMPDIR/second"
  BATS_TEST_TMPDIR=$BATS_TEST_TMPDIR/second start_command comfy-run "$@"
  SECOND=$COMMAND_PID COMMAND_PID=$first
}

# two_runs - the first of two runs on a pod ends, and the pod goes on until its limit, for the second one
two_runs() {
  awaited 60 command_said Running
  another --pod "$(the_pod)" two.json
  finish_command 60
  assert_status 0
  assert_file outputs/one_00001_.png
  pod_goes_on
  COMMAND_PID=$SECOND
  ends "$1" 'run, watcher, guard on the pod'
  BATS_TEST_TMPDIR=$BATS_TEST_TMPDIR/second finish_command 60
  assert_status 11
}

two_runs_made() {
  dear $((MONEY_LIMIT + 6))
  job one slow '{"seconds": 4}'
  endless two
  start_command comfy-run one.json
  two_runs 'two runs on a pod: the one that made it ends, the other goes on'
}

two_runs_connected() {
  dear $((MONEY_LIMIT + 6))
  connected
  job one slow '{"seconds": 4}'
  endless two
  start_command comfy-run one.json
  two_runs 'two runs on a pod of autopod-connect: the first one ends, the other goes on'
}

ctrl_c_twice() {
  computing '{"seconds": 120, "deaf": true}' $((MONEY_LIMIT * 2))
  watched
  kill_on_sight guard
  kill -INT -- "-$COMMAND_PID"
  wait_until 20 command_said interrupted
  sleep 1
  kill -INT -- "-$COMMAND_PID"
  finish_command 20
  assert_status 130
  ends 'Ctrl+C twice, far from the limit; guard on the pod killed: seconds after it' watcher "$(now)"
}

@test "two runs on one pod: the first to end leaves the other's pod alone; Ctrl+C twice" {
  money two_runs_made two_runs_connected ctrl_c_twice
}
