#!/usr/bin/env bats
# autopod-stop and -kill on RunPod's pods: what they ask before, how it is confirmed, and what of RunPod's faults they
# meet.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load pods_helper

setup() { cmd_setup; }

teardown() {
  local status=0
  release
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# fault JSON - switches faults of the stand-in on or off
fault() { runpod_control "{\"faults\":$1}"; }

@test "stop and kill: confirmed, with what it cost; twice is no error" {
  rows_start
  row '{"age": 3600, "volume_gb": 20}'
  written '{}' 3600
  command_ autopod-stop
  assert_status 0
  assert_contains "Pod $POD is stopped. It has cost about \$0.41 so far." "$stderr"
  assert_contains "While it is stopped, it costs about \$4.00 a month" "$stderr"
  assert_contains "autopod-kill $POD ends it" "$stderr"
  assert_row "$POD" EXITED
  command_ autopod-stop "$POD"
  assert_status 0
  assert_contains "Pod $POD is stopped already." "$stderr"
  command_ autopod-kill "$POD"
  assert_status 0
  assert_contains "Pod $POD is terminated; it cost about \$0.41." "$stderr"
  assert_row "$POD" TERMINATED
  assert_equal "$(jq -c .pods "$AUTOPOD_HOME/pods.json")" '{}'
  command_ autopod-kill "$POD"
  assert_status 4
}

@test "--all: all of ours, also those that only their stamp tells; never the pods of others" {
  rows_start
  foreign_row '{"name": "autopod-of-another"}'
  local theirs=$POD a b c
  row && a=$POD
  row '{"name": "renamed"}' && written && b=$POD
  row '{"status": "EXITED"}' && c=$POD
  command_ autopod-stop --all
  assert_status 0
  assert_row "$a" EXITED
  assert_row "$b" EXITED
  assert_row "$theirs" RUNNING
  refute_contains "$c" "$stderr"
  command_ autopod-kill --all
  assert_status 0
  assert_row "$a" TERMINATED
  assert_row "$b" TERMINATED
  assert_row "$c" TERMINATED
  assert_row "$theirs" RUNNING
}

@test "a pod of others: stopped and ended only with --yes, or when somebody at a terminal says so" {
  rows_start
  foreign_row
  command_ autopod-stop "$POD"
  assert_status 2
  assert_contains "Pod $POD (theirs) was not made by this installation" "$stderr"
  assert_contains 'add --yes' "$stderr"
  command_ autopod-kill "$POD"
  assert_status 2
  assert_row "$POD" RUNNING
  at_terminal n autopod-stop "$POD"
  assert_status 1
  assert_contains 'Stop it all the same? [y/N]'
  assert_row "$POD" RUNNING
  at_terminal y autopod-stop "$POD"
  assert_status 0
  assert_row "$POD" EXITED
  command_ autopod-kill -y "$POD"
  assert_status 0
  assert_row "$POD" TERMINATED
}

@test "a pod that is in use: by a command that makes it, by a run; asked for, with --yes stopped" {
  rows_start
  row
  hold_lock "pod-$POD"
  command_ autopod-stop "$POD"
  assert_status 2
  assert_contains "Pod $POD is in use by process $HOLDER" "$stderr"
  command_ autopod-kill "$POD"
  assert_status 2
  rm "$AUTOPOD_HOME/locks/pod-$POD"
  release
  run_on_pod sunset.1
  hold_lock run-sunset.1
  command_ autopod-stop "$POD"
  assert_status 2
  assert_contains "Pod $POD is in use by run sunset.1 (process $HOLDER)" "$stderr"
  assert_row "$POD" RUNNING
  command_ autopod-stop --yes "$POD"
  assert_status 0
  assert_row "$POD" EXITED
}

@test "kill: outputs that were not downloaded are named with the way to fetch them; --yes ends it all the same" {
  rows_start
  row
  run_on_pod killed.1
  run_on_pod lost.1 '{"job_id":"lost","run":"lost.1","exit_code":5,"status":"failed"}'
  run_on_pod refused.1 '{"job_id":"refused","run":"refused.1","exit_code":7,"status":"failed"}'
  run_on_pod done.1 '{"job_id":"done","run":"done.1","exit_code":0,"status":"success"}'
  echo '[]' >"$AUTOPOD_HOME/runs/done.1/outputs.json"
  command_ autopod-kill "$POD"
  assert_status 2
  assert_contains "comfy-run --resume killed.1" "$stderr"
  assert_contains "comfy-run --resume lost.1" "$stderr"
  refute_contains refused.1 "$stderr"
  refute_contains done.1 "$stderr"
  assert_row "$POD" RUNNING
  at_terminal n autopod-kill "$POD"
  assert_status 1
  assert_row "$POD" RUNNING
  command_ autopod-stop "$POD" # loses nothing
  assert_status 0
  command_ autopod-kill "$POD" --yes
  assert_status 0
  assert_row "$POD" TERMINATED
}

@test "a stop or end that runpodctl's API accepts and does not carry out: GraphQL does it, exit 0" {
  rows_start
  row
  fault '{"stop_not_done":{"apis":["v1","v2"]},"terminate_not_done":{"apis":["v1","v2"]}}'
  local generation
  for generation in main 2.7; do
    runpod_control "{\"pods\":{\"$POD\":{\"action\":\"start\"}}}"
    RUNPODCTL_DOUBLE=$generation command_ autopod-stop "$POD"
    assert_status 0
    assert_contains "Pod $POD is stopped." "$stderr"
    assert_row "$POD" EXITED
  done
  command_ autopod-kill "$POD"
  assert_status 0
  assert_contains "Pod $POD is terminated" "$stderr"
  assert_row "$POD" TERMINATED
}

@test "a stop or end that nobody carries out, and a locked pod: exit 12, the console's address and the command" {
  rows_start
  row
  written
  local generation
  for generation in main 2.7; do
    export RUNPODCTL_DOUBLE=$generation
    fault '{"stop_not_done":{},"stop_says_nothing":{},"terminate_not_done":{},"locked":null}'
    command_ autopod-stop "$POD"
    assert_status 12
    assert_contains "pod $POD may still be running and could not be stopped" "$stderr"
    assert_contains https://console.runpod.io/pods "$stderr"
    assert_contains "runpodctl pod stop $POD" "$stderr"
    command_ autopod-kill "$POD"
    assert_status 12
    assert_contains "runpodctl pod delete $POD" "$stderr"
    fault '{"stop_not_done":null,"stop_says_nothing":null,"terminate_not_done":null,"locked":{}}'
    command_ autopod-kill "$POD"
    assert_status 12
    assert_contains 'pod is locked' "$stderr"
    assert_row "$POD" RUNNING
  done
  command_ autopod-stop "$POD"
  assert_status 12
  assert_contains 'pod is locked' "$stderr"
  assert_equal "$(jq -r '.pods | keys[]' "$AUTOPOD_HOME/pods.json")" "$POD" # it is not forgotten
}
