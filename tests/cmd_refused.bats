#!/usr/bin/env bats
# The commands that look after pods, where RunPod's API refuses, has trouble or is gone: what is said, and the exit
# code.
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

@test "REST v1 is gone (runpodctl 2.7): what asks is exit 3 with the upgrade; a known pod can be stopped and ended" {
  rows_start
  row
  written
  fault '{"v1_gone":{}}'
  export RUNPODCTL_DOUBLE=2.7
  local name
  for name in ls info stop start kill 'stop --all' 'kill --all'; do
    # shellcheck disable=SC2086 # a command and its option
    command_ autopod-$name
    assert_status 3
    assert_contains 'REST API v1 has been retired' "$stderr"
    assert_contains 'upgrade it: brew upgrade runpodctl' "$stderr"
  done
  command_ autopod-stop "$POD"
  assert_status 0
  assert_contains "warning: RunPod's pods can't be listed" "$stderr"
  assert_contains "Pod $POD is stopped." "$stderr"
  assert_row "$POD" EXITED
  runpod_control "{\"pods\":{\"$POD\":{\"action\":\"start\"}}}"
  command_ autopod-kill "$POD"
  assert_status 0
  assert_row "$POD" TERMINATED
}

@test "401, 403, 429, 5xx and slow answers: told, with their exit code" {
  rows_start
  row
  fault '{"forbidden":{"operations":["list"]}}'
  command_ autopod-info "$POD"
  assert_status 3
  assert_contains 'needs read and write access' "$stderr"
  fault '{"forbidden":null,"rate_limited":{}}'
  command_ autopod-stop "$POD"
  assert_status 5
  assert_contains "takes no more requests for now" "$stderr"
  fault '{"rate_limited":{"times":1}}'
  command_ autopod-ls
  assert_status 0
  assert_contains "$POD"
  fault '{"rate_limited":null,"server_error":{"status":503,"html":true}}'
  command_ autopod-start "$POD"
  assert_status 5
  assert_contains 'uptime.runpod.io' "$stderr"
  refute_contains '<html' "$stderr"
  fault '{"server_error":{"times":1}}'
  command_ autopod-info "$POD"
  assert_status 0
  fault '{"server_error":null,"slow":{"seconds":2,"operations":["list"],"times":1}}'
  command_ autopod-info "$POD"
  assert_status 0
  fault '{"slow":null,"unauthorized":{"operations":["stop"]},"stop_not_done":{}}'
  command_ autopod-stop "$POD"
  assert_status 12
  assert_contains Unauthorized "$stderr"
}

@test "a key that may only read: stop and kill are exit 12 and say why" {
  rows_start
  row
  RUNPOD_API_KEY=rpa_READONLY0123456789 command_ autopod-stop "$POD"
  assert_status 12
  assert_contains Forbidden "$stderr"
  RUNPOD_API_KEY=rpa_READONLY0123456789 command_ autopod-kill "$POD"
  assert_status 12
  RUNPOD_API_KEY=rpa_READONLY0123456789 command_ autopod-ls
  assert_status 0
  assert_row "$POD" RUNNING
}
