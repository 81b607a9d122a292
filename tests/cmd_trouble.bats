#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # what a test exports is its own: bats runs each in a subshell
# cmd_trouble.bats - autopod-connect when RunPod has no pod, makes one and does not say so, or makes one that never
# becomes ready. The API is a stand-in, its pods are real sshds.

load test_helper
load cmd_helper
load runpod_helper

setup() { cmd_setup; }

teardown() {
  local status=0
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# --- RunPod says no -------------------------------------------------------------------------------

@test "no capacity, in each of RunPod's words: the next candidate is tried" {
  rows
  local text generation
  while read -r text generation; do
    runpod_control "{\"faults\":{\"capacity\":{\"text\":\"$text\"}}}"
    RUNPODCTL_DOUBLE=$generation connect --gpu a40,a6000
    assert_status 4
    assert_contains 'no pod could be had: A40; RTX A6000' "$stderr"
  done <<'TEXTS'
refresh 2.7
later 2.7
disk 2.7
current 2.7
no_gpu main
supply main
machine main
resources main
TEXTS
  assert_made 0
}

@test "capacity for one GPU, one data center or one cloud only" {
  pods
  runpod_control '{"faults":{"capacity":{"gpus":["NVIDIA A40"]}}}'
  connect --no-tunnel --gpu a40,a6000
  assert_status 0
  assert_contains 'No pod with A40' "$stderr"
  assert_equal "$(runpod_state '[.pods[].gpu] | tostring')" '["NVIDIA RTX A6000"]' gpu
  run "$AUTOPOD_BIN/autopod-kill"
  runpod_control '{"faults":{"capacity":{"data_centers":["US-GA-1"]}}}'
  connect --no-tunnel --gpu a40 --datacenter US-GA-1,CA-MTL-1
  assert_status 0
  assert_equal "$(runpod_state '.pods[-1].data_center')" CA-MTL-1 'data center'
  run "$AUTOPOD_BIN/autopod-kill"
  runpod_control '{"faults":{"capacity":{"clouds":["SECURE"]}}}'
  connect --no-tunnel --gpu a40 --cloud secure,community
  assert_status 0
  assert_equal "$(runpod_state '.pods[-1].cloud | ascii_downcase')" community cloud
}

@test "a key that is wrong, may not write, or is missing: exit 3, nothing is made" {
  rows
  RUNPOD_API_KEY=rpa_WRONG connect
  assert_status 3
  assert_contains 'does not accept the key' "$stderr"
  RUNPOD_API_KEY=rpa_READONLY0123456789 connect
  assert_status 3
  assert_contains 'write' "$stderr"
  RUNPOD_API_KEY='' connect
  assert_status 3
  assert_contains 'no RunPod API key' "$stderr"
  assert_made 0
}

@test "429: it waits and goes on; for ever: it gives up and says so" {
  pods
  runpod_control '{"faults":{"rate_limited":{"times":2,"retry_after":0}}}'
  connect --no-tunnel --gpu a40
  assert_status 0
  run "$AUTOPOD_BIN/autopod-kill"
  runpod_control '{"faults":{"rate_limited":{"operations":["create"],"retry_after":0}}}'
  connect --gpu a40
  assert_status 4
  assert_contains 'wait' "$stderr"
  assert_made 1
}

@test "slow answers are waited for" {
  pods
  runpod_control '{"faults":{"slow":{"seconds":1}}}'
  connect --no-tunnel --gpu a40
  assert_status 0
  runpod_control '{"faults":{"slow":null}}'
}

@test "an API that can create but not list: nothing is made" {
  rows
  runpod_control '{"faults":{"server_error":{"operations":["list"]}}}'
  connect --gpu a40
  assert_status 3
  assert_contains "can't be listed" "$stderr"
  [ -z "${RUNPODCTL_IS_DOUBLE:-}" ] || {
    runpod_control '{"faults":{"server_error":null,"v1_gone":{}}}'
    RUNPODCTL_DOUBLE=2.7 connect --gpu a40
    assert_status 3
    assert_contains "can't be listed" "$stderr"
    assert_contains 'upgrade' "$stderr"
  }
  assert_made 0
}

# --- RunPod does not say --------------------------------------------------------------------------

@test "500, but the pod was made: it is adopted, and there is one" {
  pods
  runpod_control '{"faults":{"create_500_but_made":{"times":1}}}'
  connect --no-tunnel --gpu a40,a6000
  assert_status 0
  assert_made 1
  assert_running 1
  assert_equal "$(jq -c '[.intents, (.pods | length)]' "$AUTOPOD_HOME/pods.json")" '[{},1]' 'pods.json'
}

@test "500, and no pod was made: only then the same is asked for once more" {
  pods
  runpod_control '{"faults":{"create_500_not_made":{"times":1}}}'
  connect --no-tunnel --gpu a40,a6000
  assert_status 0
  assert_made 1
  assert_contains 'No pod was made (' "$stderr"
  assert_contains 'Internal Server Error' "$stderr"
  assert_contains 'asking once more' "$stderr"
  assert_equal "$(runpod_state '[.pods[].gpu] | tostring')" '["NVIDIA A40"]' gpu
}

@test "500 each time, and no pod was made: it stops with RunPod's words, and says where to look" {
  rows
  runpod_control '{"faults":{"create_500_not_made":{}}}'
  connect --gpu a40,a6000
  assert_status 4
  assert_contains 'error: RunPod makes no pod: Internal Server Error' "$stderr"
  assert_contains uptime.runpod.io "$stderr"
  assert_made 0
  assert_nothing_known
}

@test "500, and then nobody can say whether a pod was made: exit 12, and its name stays on disk" {
  rows
  runpod_control '{"faults":{"create_500_but_made":{"times":1}}}'
  shim pod-create <<'SH'
: >"$SHIMS/asked"
SH
  shim pod-list <<'SH'
[ ! -e "$SHIMS/asked" ] || complain 'api error (status 502)'
SH
  connect --gpu a40,a6000
  assert_status 12
  assert_made 1
  assert_contains "$(runpod_state '.pods[0].name')" "$stderr"
  assert_contains 'autopod-sweep' "$stderr"
  assert_equal "$(jq -c '.intents | keys' "$AUTOPOD_HOME/pods.json")" "$(runpod_state '[.pods[0].name] | tostring')" intents
}

@test "an answer that never comes: the pod is found by its name" {
  pods
  runpod_control '{"faults":{"create_hangs":{"times":1}}}'
  start_command autopod-connect --no-tunnel --gpu a40
  finish_command 90
  assert_status 0
  assert_made 1
}

@test "Ctrl+C while the answer does not come: the pod that was made meanwhile is ended" {
  pods
  runpod_control '{"faults":{"create_hangs":{}}}'
  start_command autopod-connect --gpu a40
  wait_until 20 runpod_says '.pods | length' 1
  kill_command INT
  finish_command 60
  assert_status 130
  assert_running 0
  assert_nothing_known
}

@test "kill -9 while the answer does not come: autopod-sweep finds the pod by its intent" {
  pods
  runpod_control '{"faults":{"create_hangs":{}}}'
  start_command autopod-connect --gpu a40
  wait_until 20 runpod_says '.pods | length' 1
  kill_command_group
  runpod_control '{"faults":{"create_hangs":null}}'
  assert_equal "$(jq -r '.intents | keys[0]' "$AUTOPOD_HOME/pods.json")" "$(runpod_state '.pods[0].name')" intent
  run --separate-stderr "$AUTOPOD_BIN/autopod-sweep" --yes
  assert_status 0
  assert_running 0
}

# --- a pod that does not become ready ---------------------------------------------------------------

@test "a pod that never becomes ready is ended and told; the next candidate is tried" {
  pods
  export AUTOPOD_BOOT_TIMEOUT=4
  runpod_control '{"faults":{"never_boots":{"gpus":["NVIDIA A40"]}}}'
  connect --no-tunnel --gpu a40,a6000
  assert_status 0
  assert_matches 'Pod [a-z0-9]+ did not become ready: .*no public address for ssh \(port 22\)' "$stderr"
  assert_matches 'Pod [a-z0-9]+ is terminated; it cost' "$stderr"
  assert_made 2
  assert_running 1
}

@test "each way of not becoming ready has words of its own; nothing is left" {
  pods
  export AUTOPOD_BOOT_TIMEOUT=2
  local fault text
  while read -r fault text; do
    runpod_control "{\"faults\":{\"$fault\":{}}}"
    connect --gpu a40
    assert_status 4
    assert_contains "$text" "$(grep 'did not become ready: ' <<<"$stderr")"
    assert_contains "$text" "$(grep 'no pod could be had: A40 (' <<<"$stderr")"
    runpod_control "{\"faults\":{\"$fault\":null}}"
    assert_running 0
  done <<'TEXTS'
no_public_ip no public address for ssh (port 22)
boots_without_sshd its sshd does not run
unreachable_address does not answer
wrong_pod does not say that it is pod
bare_session does not say that it is pod
TEXTS
  assert_nothing_known
}

@test "a key that the pod does not know: exit 5, the next pod would be no better" {
  pods
  ssh-keygen -q -t ed25519 -N '' -f other
  cp "$HOME/.ssh/id_ed25519.pub" other.pub
  AUTOPOD_SSH_KEY=$PWD/other connect --gpu a40,a6000
  assert_status 5
  assert_contains 'does not accept our ssh key' "$stderr"
  assert_made 1
  assert_running 0
}

@test "Ctrl+C during the boot: the pod is ended" {
  pods --boot-delay 30
  start_command autopod-connect --gpu a40
  wait_until 20 command_said 'A40, $0.40/h'
  kill_command INT
  finish_command 30
  assert_status 130
  assert_running 0
  assert_nothing_known
}

@test "somebody ends the pod while it boots: no other one is made" {
  pods --boot-delay 30
  job one picture '{}' '{"pod_config": {"gpu_type": "A40,A6000"}}'
  start_command comfy-run one.json
  wait_until 20 command_said 'A40, $0.40/h'
  run "$AUTOPOD_BIN/autopod-kill" --all --yes
  finish_command 30
  assert_status 4
  assert_contains 'somebody ended pod' "$stderr"
  assert_made 1
  assert_running 0
}

@test "kill -9 while the pod boots: nobody was ever handed it, so autopod-sweep stops it" {
  pods --boot-delay 30
  start_command autopod-connect --gpu a40
  wait_until 20 command_said 'A40, $0.40/h'
  kill_command_group
  run --separate-stderr "$AUTOPOD_BIN/autopod-sweep" --yes
  assert_status 0
  assert_contains 'is stopped' "$stderr"
  assert_running 0
}
