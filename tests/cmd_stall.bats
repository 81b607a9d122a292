#!/usr/bin/env bats
# comfy-run, and a job that stands still: --stall-timeout and --on-stall. (STALL_UNIT: a minute of these tests is a second.)
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() {
  cmd_setup
  # Pods run the double as their ComfyUI: its jobs show nothing of what they do.
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON AUTOPOD_LOCAL_RATE=1
  export LYING_FAULTS='{"seconds": 120}'
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
  job one picture
}

teardown() {
  "$AUTOPOD_BIN/autopod-kill" -q --all >/dev/null 2>&1 || :
  cmd_teardown
}

# connect - makes a pod, whose PATH begins with ./tools; sets POD
connect() {
  local dir
  POD=$("$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --json 3>&- | jq -r .id)
  dir=$AUTOPOD_HOME/local/$POD
  mkdir -p tools
  sed "s,^SetEnv .*,& PATH=$PWD/tools:$PATH," "$dir/sshd_config" >changed
  mv changed "$dir/sshd_config"
  kill -HUP "$(pod_process "$POD" sshd)" # it reads its configuration again
}

# comfy_run_stalling ARG... - comfy_run with short minutes
comfy_run_stalling() { STALL_UNIT=1 comfy_run "$@"; }

@test "warn: it is told, with what it costs; at twice the time the job ends, and its pod no longer runs" {
  comfy_run_stalling --json --stall-timeout 2 one.json
  assert_status 8
  assert_matches 'warning: the job has stood still for [0-9]+s \(no sign of work\); less than \$0.01 spent, \$1.00/h wasted; unless it moves, it is stopped in 2s; autopod-logs --pod local-' "$stderr"
  assert_contains 'the job has stood still' "$(event warning .text)"
  assert_matches 'error: given up: the job has stood still for [0-9]+s ' "$stderr"
  assert_contains 'given up' "$(event run_finished .error)"
  assert_contains --stall-timeout "$(event run_finished .hint)"
  assert_equal "$("$AUTOPOD_BIN/autopod-ls" --json | jq -s -c 'map(.status) - ["stopped"]')" '[]' 'pods that are not stopped'
}

@test "cancel: the job ends, the next one runs on the same pod" {
  job two picture
  comfy_run_stalling --json --stall-timeout 1 --on-stall cancel one.json two.json
  assert_status 8
  assert_equal "$(event run_finished '"\(.job) \(.exit_code)"')" $'one 8\ntwo 8'
  assert_equal "$(event run_finished .result.pod.id | sort -u | wc -l | tr -d ' ')" 1
  refute_contains 'unless it moves' "$stderr"
  assert_no_pods
}

@test "stop: also a pod that was there before is stopped for a job that stands still" {
  connect
  comfy_run_stalling --pod "$POD" --stall-timeout 1 --on-stall stop one.json
  assert_status 8
  assert_contains 'given up' "$stderr"
  refute_contains 'unless it moves' "$stderr"
  assert_equal "$(pod_field "$POD" .status)" stopped
}

@test "a job without a sign of progress is busy as long as the GPU works" {
  LYING_FAULTS='{"seconds": 6}' connect
  printf '#!/bin/sh\ntouch "%s/looked"\necho "93, 1000, 2000"\n' "$PWD" >tools/nvidia-smi
  chmod +x tools/nvidia-smi
  comfy_run_stalling --pod "$POD" --stall-timeout 1 --on-stall stop one.json
  assert_status 0
  [ -e looked ]
  refute_contains 'stood still' "$stderr"
}

@test "a job that moves is not stuck, however long it takes; with 0 none is" {
  LYING_FAULTS='{"seconds": 4}' comfy_run_stalling --stall-timeout 0 --on-stall stop one.json
  assert_status 0
  unset AUTOPOD_LOCAL_COMFYUI # the simulator tells of every step
  job two slow '{"seconds": 6}'
  comfy_run_stalling --stall-timeout 3 --on-stall stop two.json
  assert_status 0
  refute_contains 'stood still' "$stderr"
}

@test "a server whose worker has died is told as what it is, whatever the limit" {
  LYING_FAULTS=$(jq -n -c '"Exception in thread Thread-2 (prompt_worker):\nTraceback (most recent call last):\n  File x\nKeyError: \u0027inputs\u0027\n"
    | {seconds: 120, answers: {"/internal/logs": [200, tojson]}}')
  comfy_run_stalling --json --stall-timeout 0 one.json
  assert_status 8
  assert_contains "error: ComfyUI's worker has died (KeyError: 'inputs'): it answers, but runs no job any more" "$stderr"
  assert_contains "worker has died" "$(event run_finished .error)"
}

@test "what the options and the settings can't be" {
  comfy_run --stall-timeout soon one.json
  assert_status 2
  assert_contains --stall-timeout "$stderr"
  comfy_run --on-stall kill one.json
  assert_status 2
  assert_contains '--on-stall is "kill", but must be warn, cancel or stop' "$stderr"
  AUTOPOD_ON_STALL='kill' comfy_run one.json
  assert_status 2
  assert_contains AUTOPOD_ON_STALL "$stderr"
}

@test "where nothing is paid for a job that stands still is only warned about, unless something else was asked for" {
  double_start '{"seconds": 5}'
  comfy_run_stalling --url "$DOUBLE" --stall-timeout 1 one.json
  assert_status 0
  assert_contains 'the job has stood still' "$stderr"
  refute_contains 'it is stopped in' "$stderr"
  double_tell '{"seconds": 60}'
  AUTOPOD_ON_STALL=stop comfy_run_stalling --url "$DOUBLE" --overwrite --stall-timeout 1 one.json
  assert_status 8
  assert_contains 'given up' "$stderr"
}

@test "a job that waits behind somebody else's is only warned about; one that is told to stop leaves others their pod" {
  local url
  connect
  url=http://127.0.0.1:$(pod_field "$POD" .comfy_port)
  double_tell '{"seconds": 6}' "$url"
  start_command comfy-run --pod "$POD" --stall-timeout 0 one.json
  wait_until 30 compgen -G "$AUTOPOD_HOME/runs/one.*/prompt.json" >/dev/null
  job two picture
  comfy_run_stalling --pod "$POD" --stall-timeout 1 --on-stall stop two.json
  assert_status 8
  assert_matches "pod $POD is left alone: it is in use by run one\\." "$stderr"
  double_tell '{"seconds": 0}' "$url"
  job three picture
  comfy_run_stalling --pod "$POD" --stall-timeout 1 three.json
  assert_status 0
  assert_contains 'the job has stood still' "$stderr"
  finish_command
  assert_status 0
  assert_equal "$(pod_field "$POD" .status)" running
}
