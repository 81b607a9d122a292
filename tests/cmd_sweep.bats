#!/usr/bin/env bats
# autopod-sweep: which pods count as left behind, that they are stopped, and nobody else's.
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

# intent NAME AGE [MAKER] - a wish for a pod that was written down AGE seconds ago, by one who is gone unless MAKER lives
intent() {
  local file=$AUTOPOD_HOME/pods.json
  [ -s "$file" ] || echo '{}' >"$file"
  jq -c --arg name "$1" --argjson at "$(($(date +%s) - $2))" --arg maker "${3:-4194305-gone}" \
    '.intents[$name] = {provider: "runpod", at: $at, maker: $maker, limits: {}}' "$file" >"$file.new"
  mv "$file.new" "$file"
}

# intents - the names of those wishes
intents() { jq -r '.intents // {} | keys | join(" ")' "$AUTOPOD_HOME/pods.json"; }

@test "nothing there, or nothing left behind: exit 0" {
  rows_start
  command_ autopod-sweep
  assert_status 0
  assert_contains 'Nothing was left behind.' "$stderr"
  foreign_row '{"name": "autopod-of-another"}'
  local theirs=$POD
  foreign_row
  row '{"status": "EXITED"}'
  row
  written '{"minutes": 60, "max_cost_usd": 5}' 600
  command_ autopod-sweep --yes
  assert_status 0
  assert_equal "$output" ''
  assert_contains 'Nothing was left behind.' "$stderr"
  assert_row "$POD" RUNNING
  assert_row "$theirs" RUNNING
}

@test "left behind: no limit, time over, dollars used up, a stamp that nobody knows; each with its price and reason" {
  rows_start
  foreign_row
  local theirs=$POD none over spent lost
  row '{"name": "autopod-none"}' && written '{"max_cost_usd": 5}' 60 && none=$POD
  row '{"name": "autopod-over"}' && written '{"minutes": 60}' 7200 && over=$POD
  row '{"name": "autopod-spent"}' && written '{"minutes": 600, "max_cost_usd": 0.5}' 7200 && spent=$POD
  row '{"name": "autopod-lost", "gpu_count": 2}' && lost=$POD
  command_ autopod-sweep
  assert_status 1
  assert_matches "$none running  A40 +\\\$9.60  no run and no limit claims it"
  assert_matches "$over running  A40 +\\\$9.60  its time is over since 1h 00m"
  assert_matches "$spent running  A40 +\\\$9.60  it has cost its limit of \\\$0.5"
  assert_matches "$lost running .*A40 +\\\$19.20  no run and no limit claims it"
  refute_contains "$theirs"
  assert_equal "$(awk 'length > 80' <<<"$output")" '' 'lines above 80 columns'
  assert_contains '4 pods left behind, $48.00 a day' "$stderr"
  assert_contains 'autopod-sweep --yes' "$stderr"
  assert_equal "$(runpod_state '[.pods[] | select(.status == "RUNNING")] | length')" 5
  command_ autopod-sweep --json
  assert_status 1
  assert_equal "$(jq -s -r 'length, (map(.usd_per_day) | add)' <<<"$output" | paste -sd ' ' -)" '4 48'
  command_ autopod-sweep --yes
  assert_status 0
  assert_contains "Pod $lost is stopped; autopod-kill $lost ends it" "$stderr"
  assert_equal "$(runpod_state '[.pods[] | select(.status == "RUNNING").id] | join(" ")')" "$theirs"
  command_ autopod-sweep
  assert_status 0
}

@test "at a terminal it asks" {
  rows_start
  row
  at_terminal n autopod-sweep
  assert_status 1
  assert_contains 'Stop 1 pod, $9.60 a day? [y/N]'
  assert_row "$POD" RUNNING
  at_terminal y autopod-sweep
  assert_status 0
  assert_row "$POD" EXITED
}

@test "a claim: whoever makes the pod or runs on it, as long as that process lives" {
  rows_start
  row
  written '{"minutes": 1}' 600
  hold_lock "pod-$POD"
  command_ autopod-sweep --yes
  assert_status 0
  assert_row "$POD" RUNNING
  rm "$AUTOPOD_HOME/locks/pod-$POD"
  ln -s "$HOLDER-anotherstart" "$AUTOPOD_HOME/locks/pod-$POD" # the number was given out again
  release
  run_on_pod sunset.1
  hold_lock run-sunset.1
  command_ autopod-sweep --yes
  assert_status 0
  assert_row "$POD" RUNNING
  release
  wait_until 5 gone "$(readlink "$AUTOPOD_HOME/locks/run-sunset.1" | sed 's/-.*//')"
  command_ autopod-sweep --yes
  assert_status 0
  assert_contains "Pod $POD is stopped" "$stderr"
  assert_row "$POD" EXITED
}

@test "wishes: whose maker lives is left alone, else its pod is left behind; old ones without a pod are forgotten" {
  rows_start
  living
  row '{"name": "autopod-now", "env": null}' && intent autopod-now 700 "$OWNER"
  local now=$POD
  row '{"name": "autopod-old", "env": null}' && intent autopod-old 700
  intent autopod-nothing 700
  intent autopod-waits 700 "$OWNER"
  intent autopod-soon 5
  command_ autopod-sweep --yes
  assert_status 0
  assert_contains "Pod $POD is stopped" "$stderr"
  assert_row "$POD" EXITED
  assert_row "$now" RUNNING
  assert_equal "$(intents)" 'autopod-now autopod-old autopod-soon autopod-waits'
  runpod_control "{\"pods\":{\"$POD\":{\"action\":\"terminate\"}}}"
  command_ autopod-sweep
  assert_equal "$(intents)" 'autopod-now autopod-soon autopod-waits'
}

@test "one that can't be stopped: exit 12, the others are; who can't be asked: its exit code, no wish is forgotten" {
  rows_start
  row
  local stuck=$POD
  row
  runpod_control "{\"faults\":{\"stop_not_done\":{\"pods\":[\"$stuck\"]}}}"
  command_ autopod-sweep --yes
  assert_status 12
  assert_contains "pod $stuck may still be running and could not be stopped" "$stderr"
  assert_contains https://console.runpod.io/pods "$stderr"
  assert_row "$POD" EXITED
  watchers_stop # it may find, while RunPod still answers, that the wish came to nothing
  runpod_control '{"faults":{"server_error":{},"stop_not_done":null}}'
  intent autopod-old 700
  command_ autopod-sweep --yes
  assert_status 5
  refute_contains 'Nothing was left behind' "$stderr"
  assert_equal "$(intents)" autopod-old
  runpod_control '{"faults":{"server_error":null,"unauthorized":{}}}'
  command_ autopod-sweep
  assert_status 3
}

@test "local pods: one whose run was killed is found and stopped; a kept one has its limit" {
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON AUTOPOD_LOCAL_RATE=0.5
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
  job one picture
  LYING_FAULTS='{"hold": ["GET /system_stats"]}' start_command comfy-run one.json
  wait_until 30 pod_is_known
  command_ autopod-sweep --yes
  assert_status 0
  assert_contains 'Nothing was left behind.' "$stderr"
  kill_command_group
  command_ autopod-sweep
  assert_status 1
  assert_matches "$(the_pod) running  CPU +\\\$12.00  no run and no limit claims it"
  command_ autopod-sweep --yes
  assert_status 0
  assert_equal "$(pod_field "$(the_pod)" .status)" stopped
  "$AUTOPOD_BIN/autopod-kill" --all --yes
  command_ autopod-connect --no-tunnel
  assert_status 0
  command_ autopod-sweep
  assert_status 0
  "$AUTOPOD_BIN/autopod-kill" --all
}

# pod_is_known - 0 when the run's pod is written down
pod_is_known() { [ "$(jq -r '.pods // {} | length' "$AUTOPOD_HOME/pods.json" 2>/dev/null)" = 1 ]; }
