#!/usr/bin/env bats
# cmd_runpod.bats - comfy-run on RunPod: from the job file through runpodctl, the API's stand-in, a real sshd, the
# tunnel and the simulator to verified outputs, and what is billed and left there afterwards.

load test_helper
load cmd_helper
load runpod_helper

setup() {
  cmd_setup
  pods
}

teardown() {
  local status=0
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# assert_all_gone - no pod runs, and none is remembered
assert_all_gone() {
  assert_running 0
  assert_nothing_known
}

# result FILTER - of the only run
result() { jq -r "$1" "$(the_run)/result.json"; }

# slow_job - ./slow.json, a job of a minute
slow_job() { job slow slow '{"seconds": 60}'; }

@test "jobs/demo.json: outputs are here and verified, the pod is gone, and what is billed is what was told" {
  cp -R "$ROOT/jobs" .
  comfy_run --job jobs/demo.json
  assert_status 0
  assert_contains '$0.25/h, made for this run' "$stderr"
  assert_matches 'Pod [a-z0-9]{14} is terminated; it cost' "$stderr"
  assert_file outputs/demo-inverted.png
  assert_file outputs/demo-blurred.png
  assert_made 1
  assert_all_gone
  assert_equal "$(runpod_state '.left | length')" 0 'machines that are left'
  assert_equal "$(result .pod.provider)" runpod provider
  local told billed
  told=$(result .cost_usd) billed=$(runpod_state .billed_usd)
  jq -en --argjson told "$told" --argjson billed "$billed" '$billed > 0 and $told > 0 and $told < $billed + 0.01' >/dev/null ||
    { _complain "told \$$told, billed \$$billed" && return 1; }
}

@test "pod_config is honoured" {
  job one picture '{}' '{"pod_config": {"gpu_type": "a40, A6000", "gpu_count": 2, "datacenter": "CA-MTL-1", "image": "my/comfyui:1",
    "volume_id": "vol7mtl1arch", "volume_mount": "/models", "disk_gb": 77, "cloud": "secure"}}'
  comfy_run one.json
  assert_status 0
  assert_equal "$(runpod_state '.pods[0] | "\(.gpu) \(.gpu_count) \(.data_center) \(.image) \(.volume_id) \(.disk_gb // .container_disk_gb)"')" \
    'NVIDIA A40 2 CA-MTL-1 my/comfyui:1 vol7mtl1arch 77' 'the pod'
  assert_matches '2 [x×] A40, \$0.80/h' "$stderr"
}

@test "no pod for the price, none without --yes, none to be had: the job is not started, and a batch goes on to its end" {
  job cheap picture '{}' '{"pod_config": {"gpu_type": "A40", "max_price_usd_per_hour": 0.1}}'
  job dear picture '{}' '{"pod_config": {"gpu_type": "H100 SXM"}}'
  job wrong picture '{}' '{"pod_config": {"gpu_type": "A4O"}}'
  comfy_run cheap.json dear.json wrong.json
  assert_status 4
  assert_contains 'every GPU that fits costs more than $0.10/h' "$stderr"
  assert_contains '$2.99/h' "$stderr"
  assert_contains '--yes' "$stderr"
  assert_contains 'A40' "$stderr"
  runpod_control '{"faults":{"capacity":{}}}'
  comfy_run --yes dear.json
  assert_status 4
  assert_contains 'no pod could be had: H100 SXM' "$stderr"
  assert_made 0
}

@test "a pod of ours that runs is used and kept; somebody else's never is" {
  runpod_control '{"add_pods":[{"name":"my-training","status":"RUNNING","gpu":"NVIDIA A40"}]}'
  job one picture
  comfy_run one.json
  assert_status 0
  assert_contains 'made for this run' "$stderr"
  assert_running 1
  connect --gpu a40
  assert_status 0
  job two picture
  comfy_run two.json
  assert_status 0
  refute_contains 'made for this run' "$stderr"
  assert_running 2
  run --separate-stderr "$AUTOPOD_BIN/autopod-kill"
  assert_status 0
  assert_running 1
  assert_equal "$(runpod_state '[.pods[] | select(.name == "my-training") | .status] | tostring')" '["RUNNING"]' 'the other one'
}

@test "Ctrl+C while the job runs: it is cancelled, and the pod is seen to be gone" {
  slow_job
  start_command comfy-run slow.json
  wait_until 30 command_said 'Running'
  kill_command INT
  finish_command 40
  assert_status 130
  assert_contains 'cancelled on the server' "$stderr"
  assert_all_gone
}

@test "kill -9 while the job runs, then --resume: the same pod, the same prompt, and then it is gone" {
  job slow slow '{"seconds": 6}'
  start_command comfy-run slow.json
  wait_until 30 command_said 'Running'
  kill_command_group
  assert_running 1
  comfy_run --resume slow
  assert_status 0
  assert_made 1
  assert_all_gone
}

@test "terminating: what runpodctl only says is not believed; GraphQL does it; exit 0" {
  runpod_control '{"faults":{"terminate_not_done":{"apis":["v1","v2"]}}}'
  job one picture
  comfy_run one.json
  assert_status 0
  assert_all_gone
  runpod_says '[.requests[] | select(.api == "graphql" and .operation == "terminate")] | length' 1
}

@test "terminating works in no way: exit 12, the console's address and the command; the outputs are here" {
  runpod_control '{"faults":{"terminate_not_done":{}}}'
  job one picture
  comfy_run --json=final one.json
  assert_status 12
  local id
  id=$(runpod_state '.pods[0].id')
  assert_contains "pod $id may still be running" "$stderr"
  assert_contains "runpodctl pod delete $id" "$stderr"
  assert_contains 'https://console.runpod.io/pods' "$stderr"
  assert_contains "autopod-kill $id" "$stderr"
  assert_equal "$(jq .exit_code <<<"$output")" 12 'exit code in JSON'
  assert_file outputs/one_00001_.png
  assert_equal "$(jq -r '.pods | keys[0]' "$AUTOPOD_HOME/pods.json")" "$id" 'still remembered'
  assert_matches 'The watcher \(process [0-9]+\) goes on trying' "$stderr"
  runpod_control '{"faults":{"terminate_not_done":null}}'
  wait_until 90 assert_all_gone
}

@test "the pod is stopped from the console while the job runs: told, and nothing is left running" {
  slow_job
  AUTOPOD_RECONNECT_TIMEOUT=10 start_command comfy-run slow.json
  wait_until 30 command_said 'Running'
  runpod_control "{\"pods\":{\"$(runpod_state '.pods[0].id')\":{\"action\":\"stop\"}}}"
  finish_command 60
  assert_status 4
  assert_contains 'is stopped' "$stderr"
  assert_running 0
}

@test "a pod whose sessions have their environment with quotes around it, as in RunPod's own image" {
  runpod_control '{"faults":{"quoted_environment":{}}}'
  connect --gpu a40
  assert_status 0
  run --separate-stderr "$AUTOPOD_BIN/autopod-ssh" -- sh -c 'echo "$RUNPOD_POD_ID"'
  assert_status 0
  assert_equal "$output" "\"$(runpod_state '.pods[0].id')\"" 'what the session has'
  run --separate-stderr "$AUTOPOD_BIN/autopod-kill"
  assert_status 0
  assert_all_gone
}

@test "stopped and started: an address from before is not used, for as long as RunPod shows it" {
  connect --gpu a40
  assert_status 0
  runpod_control '{"faults":{"stale_runtime":{},"stale_address":{"seconds":5}}}'
  run --separate-stderr "$AUTOPOD_BIN/autopod-stop"
  assert_status 0
  run --separate-stderr "$AUTOPOD_BIN/autopod-ssh" -- true
  assert_status 4
  assert_contains 'is stopped' "$stderr"
  run --separate-stderr "$AUTOPOD_BIN/autopod-start"
  assert_status 0
  job one picture
  comfy_run one.json
  assert_status 0
  assert_file outputs/one_00001_.png
  assert_made 1
  run --separate-stderr "$AUTOPOD_BIN/autopod-kill"
  assert_status 0
  assert_all_gone
}
