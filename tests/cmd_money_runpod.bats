#!/usr/bin/env bats
# cmd_money_runpod.bats - no pod outlives its limit, on RunPod's stand-in: its API is down or lies at the moment of the
# stop, a price is missing, a pod's clock is set back, an answer never comes. As cmd_money.bats.
# shellcheck disable=SC2030,SC2031 # each scenario is in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load worlds_helper
load money_helper

setup_file() { money_setup_file; }

setup() {
  cmd_setup
  need_runpod_pods
  MONEY_LIMIT=$((MONEY_LIMIT * 3 / 2)) # they are farther away than those of this machine
}

teardown() { money_teardown; }

# computing - a job is computed on the pod that comfy-run made for it
computing() {
  dear_runpod
  endless one
  start_command comfy-run one.json
  awaited 60 command_said Running
}

# fault JSON - switches faults of the stand-in on or off
fault() { runpod_control "{\"faults\": $1}"; }

# all_killed - nothing on the laptop lives any more; the guard on the pod does
all_killed() {
  wait_until 20 guard_lives
  power_cut
}

# until_seconds_late SECONDS - waits until the pod has outlived its limit by that much, since nobody can stop it
until_seconds_late() {
  at $((AUTOPOD_MAX_COST + $1))
  pod_goes_on || { runpod_state '.requests[] | select(.operation | IN("stop", "terminate")) | tostring' && return 1; }
}

# no_pod_runs - for RunPod, too, and it has no more to bill
no_pod_runs() { assert_equal "$(runpod_state .running)" 0 'pods that run'; }

# --- each guard alone -----------------------------------------------------------------------------

run_alone() {
  computing
  kill_on_sight watcher guard
  ends 'RunPod: limit reached while computing; watcher and guard on the pod killed' run
  finish_command 60
  assert_status 11
  was_killed watcher
  was_killed guard
  no_pod_runs
}

watcher_alone() {
  computing
  kill_on_sight guard
  wait_until 20 watcher_pid
  kill_command_group
  ends 'RunPod: kill -9 of comfy-run while computing; guard on the pod killed' watcher
  was_killed guard
  no_pod_runs
}

guard_alone() { # by the pod's own key
  computing
  all_killed
  ends 'RunPod: kill -9 of all on the laptop while computing' 'guard on the pod'
  assert_matches '^pod:' "$(runpod_state '[.requests[] | select(.operation == "stop")] | last | .key')"
  no_pod_runs
}

guard_clock() { # the pod has a `date` of its own, which is set back by a day while the guard is at it
  dear_runpod "" --boot-delay 3
  endless one
  start_command comfy-run one.json
  wait_until 30 pod_date
  awaited 60 command_said Running
  all_killed
  touch "$BATS_TEST_TMPDIR/set-back"
  ends 'RunPod: clock of the pod set back by a day; kill -9 of all on the laptop' 'guard on the pod'
}

# pod_date - gives the pod's machine a `date` that is a day behind as soon as set-back exists; 1 while there is none
pod_date() {
  local place=$BATS_TEST_TMPDIR/runpod/pods-home/local
  place=$(echo "$place"/*/bin)
  [ -d "$place" ] || return
  cat >"$place/date" <<SH
#!/bin/sh
[ -e '$BATS_TEST_TMPDIR/set-back' ] && [ "\$*" = +%s ] && exec echo \$((\$($(type -P date) +%s) - 86400))
exec $(type -P date) "\$@"
SH
  chmod +x "$place/date"
}

@test "each guard alone; the pod's clock is set back" {
  money run_alone watcher_alone guard_alone guard_clock
}

# --- an API that is down, or lies -----------------------------------------------------------------

LIES='{"stop_not_done": {}, "terminate_not_done": {}}'
HONEST='{"stop_not_done": null, "terminate_not_done": null}'

down_laptop() {
  local back
  computing
  kill_on_sight guard
  fault '{"server_error": {"status": 502}}'
  until_seconds_late 7
  fault '{"server_error": null}'
  back=$(now)
  ends 'RunPod: its API is down until 7 s after the limit; guard on the pod killed: seconds after it is back' \
    'run, watcher' "$back"
  finish_command 60
  case $status in 11 | 12) ;; *) assert_status 12 ;; esac
}

down_guard() {
  local back
  computing
  all_killed
  fault '{"server_error": {"status": 502}}'
  until_seconds_late 7
  fault '{"server_error": null}'
  back=$(now)
  ends 'RunPod: its API is down until 7 s after the limit; all on the laptop killed: seconds after it is back' \
    'guard on the pod' "$back"
}

lies_laptop() {
  local back
  computing
  kill_on_sight guard
  fault "$LIES"
  until_seconds_late 7
  fault "$HONEST"
  back=$(now)
  ends 'RunPod: says "stopped" until 7 s after the limit, and lies; guard on the pod killed: seconds after that' \
    'run, watcher' "$back"
  finish_command 60
  case $status in 11 | 12) ;; *) assert_status 12 ;; esac
  no_pod_runs
}

lies_guard() {
  local back
  computing
  all_killed
  fault '{"stop_says_nothing": {}}'
  until_seconds_late 7
  fault '{"stop_says_nothing": null}'
  back=$(now)
  ends 'RunPod: answers nothing to the stop until 7 s after the limit; all on the laptop killed: seconds after that' \
    'guard on the pod' "$back"
}

@test "RunPod's API is down at the moment of the stop and back later; it says \"stopped\" and lies" {
  money down_laptop down_guard lies_laptop lies_guard
}

# --- prices that are missing, pods that are half there --------------------------------------------

price_missing() { # then no cost limit can hold
  dear_runpod
  runpod_control '{"prices": {"NVIDIA A40": {"secure": 0}}}'
  endless one
  comfy_run one.json
  assert_status 4
  no_pod_runs
  [ "$(runpod_state '.pods | length')" != 0 ] || { # it did not even make one
    printf 'price missing: no pod was made\n'
    return 0
  }
  ends 'RunPod: nobody says what the pod costs: seconds that it lived at all' run "$(life born)"
}

price_of_list() { # the pod's own isn't told: it costs what was listed, then
  dear_runpod
  fault '{"surcharge": {"factor": 0}}'
  endless one
  start_command comfy-run one.json
  awaited 60 born
  ends 'RunPod: the price of the pod is not told, only listed' 'run, watcher, guard on the pod'
  finish_command 60
  assert_status 11
}

booting() {
  dear_runpod
  fault '{"boots_without_sshd": {}}'
  endless one
  start_command comfy-run one.json
  awaited 60 runpod_says '.pods | length' 1
  wait_until 20 watcher_pid
  sleep 2
  kill_command_group
  ends 'RunPod: kill -9 of comfy-run while a pod boots that never lets anybody in' watcher
  no_pod_runs
}

never_ready() {
  dear_runpod
  fault '{"never_boots": {}}'
  endless one
  start_command comfy-run one.json
  awaited 60 born
  ends 'RunPod: limit reached while a pod boots that never comes up' 'run, watcher'
  finish_command 60
  assert_status 11
  no_pod_runs
}

order_hangs() { # nobody is told the pod's id
  dear_runpod
  fault '{"create_hangs": {}}'
  endless one
  start_command comfy-run one.json
  awaited 60 runpod_says '.pods | length' 1
  wait_until 20 watcher_pid
  kill_command_group
  ends 'RunPod: makes the pod and never answers; kill -9 of comfy-run meanwhile' watcher
  no_pod_runs
}

cleaning_up() { # far from its limit
  dear_runpod 200
  job one slow '{"seconds": 1}'
  fault '{"slow": {"operations": ["stop", "terminate"], "times": 1, "seconds": 300}}'
  start_command comfy-run one.json
  awaited 90 runpod_says '[.requests[] | select(.operation == "stop" or .operation == "terminate")] | length > 0' true
  kill_on_sight guard
  kill_command_group
  pod_goes_on
  ends 'RunPod: kill -9 of comfy-run while it ends the pod, far from the limit: seconds after it' watcher "$(now)"
}

@test "a price that nobody tells; kill -9 in a boot that lets nobody in, in an unanswered order, in the cleanup" {
  money price_missing price_of_list booting never_ready order_hangs cleaning_up
}
