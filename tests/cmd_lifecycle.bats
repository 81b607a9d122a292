#!/usr/bin/env bats
# A pod's life by autopod-ls, -info, -start, -stop and -kill, on this machine; what they show of RunPod's pods, which
# one they take, and autopod-start.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load pods_helper

setup() {
  cmd_setup
  export START_PATIENCE=1 # rows are no machines: nothing answers there
}

teardown() {
  local status=0
  release
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# fault JSON - switches faults of the stand-in on or off
fault() { runpod_control "{\"faults\":$1}"; }

# --- local pods -----------------------------------------------------------------------------------

@test "local: stop keeps the pod and closes its tunnel, start brings it back at another port, kill ends it" {
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON AUTOPOD_LOCAL_RATE=0.5
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
  command_ autopod-connect --json
  assert_status 0
  local made=$output tunnel port
  POD=$(jq -r .id <<<"$made") port=$(jq -r .ssh.port <<<"$made")
  tunnel=$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")
  command_ autopod-info
  assert_contains "Tunnel: http://127.0.0.1:$AUTOPOD_PORT"
  assert_matches 'ComfyUI: version [0-9.]+ answers'
  assert_matches 'Limits: 12 h, no limit of cost; latest possible bill \$6\.01; 1[12]h [0-9]+m more'
  command_ autopod-stop
  assert_status 0
  assert_matches "^Pod $POD is stopped. It has cost (about|less than) \\\$0\.0[0-9]+ so far.$" "$stderr"
  gone "$tunnel"
  command_ autopod-stop "$POD"
  assert_status 0
  assert_contains "Pod $POD is stopped already." "$stderr"
  command_ autopod-ls
  assert_matches "\* $POD +local +stopped +CPU +\\\$0.00/mo "
  command_ autopod-stop --all
  assert_status 0
  assert_contains 'No pod of this installation runs.' "$stderr"
  command_ autopod-start
  assert_status 0
  assert_contains "$POD, CPU, \$0.50/h, ssh at 127.0.0.1 port" "$stderr"
  [ "$(pod_field "$POD" .ssh.port)" != "$port" ]
  command_ autopod-start "${POD:0:12}"
  assert_status 0
  assert_contains "Pod $POD runs already." "$stderr"
  command_ autopod-start
  assert_status 4
  assert_contains 'no pod of this installation is stopped' "$stderr"
  command_ autopod-kill --all
  assert_status 0
  assert_no_pods
}

@test "local: without a pod every command says so; ids that are none are harmless" {
  local name
  for name in stop kill info; do
    command_ "autopod-$name"
    assert_status 4
    assert_contains 'no pod of this installation runs' "$stderr"
    command_ "autopod-$name" '$(touch pwned);x'
    assert_status 4
    assert_contains 'there is no pod "$(touch pwned);x"' "$stderr"
  done
  command_ autopod-start
  assert_status 4
  command_ autopod-start ';touch pwned'
  assert_status 4
  command_ autopod-start a b
  assert_status 2
  command_ autopod-stop --all a
  assert_status 2
  command_ autopod-stop --all
  assert_status 0
  command_ autopod-kill --all
  assert_status 0
  assert_contains 'No pods of this installation.' "$stderr"
  refute_exists pwned
}

# --- RunPod: what they show -----------------------------------------------------------------------

@test "ls: ours are marked, prices and totals, 80 columns; --json has it all" {
  rows_start
  row '{"name": "autopod-films-20261122T101112Z-aaaa", "age": 7380,
    "gpu": "NVIDIA RTX 6000 Ada Generation", "gpu_count": 2}'
  local ours=$POD
  foreign_row '{"name": "somebody else with a long name \u001b[31m", "status": "EXITED", "volume_gb": 20}'
  local theirs=$POD
  command_ autopod-ls
  assert_status 0
  assert_matches "\* $ours +runpod +running +2x RTX 6000 Ad +\\\$1.54/h +2h 03m +\\\$3\.1[67] +-"
  assert_matches "  $theirs +runpod +stopped +A40 +\\\$4.00/mo +- +- +-"
  assert_equal "$(awk 'length > 80' <<<"$output")" '' 'lines above 80 columns'
  assert_contains "1 running: \$1.54 an hour. 1 stopped: \$4.00 a month. Those without * are not of this" "$stderr"
  command_ autopod-ls -v
  assert_contains autopod-films-20261122T101112Z-aaaa
  assert_contains 'somebody else with a long name'
  refute_contains $'\033'
  command_ autopod-ls -q
  refute_contains 'an hour' "$stderr"
  command_ autopod-ls --json
  assert_equal "$(jq -s -r --arg id "$ours" '.[] | select(.id == $id) | "\(.ours) \(.cost_per_hr)"' <<<"$output")" \
    'true 1.54'
  assert_equal "$(jq -s -r --arg id "$theirs" '.[] | select(.id == $id) | "\(.ours) \(.known) \(.stopped_usd_per_month)"' \
    <<<"$output")" 'false null 4'
}

@test "ls: a provider that can't be asked is told, the others are listed, the exit code is that of the error" {
  rows_start
  mkdir -p "$AUTOPOD_HOME/local/local-00000001"
  cat >"$AUTOPOD_HOME/local/local-00000001/pod.json" <<'JSON'
{"id":"local-00000001","name":"autopod-a","provider":"local","gpu":"CPU","gpu_count":1,"cost_per_hr":0,"owner":null}
{"host":"127.0.0.1","user":"root","key":"k"}
JSON
  fault '{"unauthorized":{}}'
  command_ autopod-ls
  assert_status 3
  assert_contains local-00000001
  assert_contains "RunPod's pods can't be listed: Unauthorized" "$stderr"
  assert_contains 'make one at console.runpod.io' "$stderr"
  command_ autopod-ls --provider local
  assert_status 0
  command_ autopod-ls --provider nowhere
  assert_status 2
  rm -r "$AUTOPOD_HOME/local"
}

@test "ls and info: the price of a pod that we made is the one from then, and nobody's secrets are shown" {
  rows_start
  row '{"age": 3600}'
  written '{"max_cost_usd": 5, "minutes": 120}' 3600
  fault '{"price_zero_on_read":{}}'
  command_ autopod-ls
  assert_matches "\* $POD +runpod +running +A40 +\\\$0.40/h +1h 00m +\\\$0.4[01] "
  command_ autopod-info
  assert_status 0
  assert_contains 'Price: $0.40/h'
  assert_matches 'Cost: about \$0\.40[0-9]+ so far, for 1h 00m'
  assert_matches 'Limits: \$5\.00 or 2 h, whichever is first; latest possible bill \$0\.81; (59m|1h 00m)'
  refute_contains env-secret "$output$stderr"
  command_ autopod-info --json --debug
  assert_equal "$(jq -r '"\(.id) \(.known.limits.max_cost_usd) \(.url)"' <<<"$output")" "$POD 5 null"
  [ "$(jq '.cost_usd > 0.4 and .cost_usd < 0.5' <<<"$output")" = true ]
  refute_contains env-secret "$output$stderr$(<"$AUTOPOD_HOME/logs/autopod.log")"
  refute_contains "$RUNPOD_API_KEY" "$output$stderr$(<"$AUTOPOD_HOME/logs/autopod.log")"
  foreign_row
  command_ autopod-ls
  assert_matches "  $POD +runpod +running +A40 +unknown +- +- "
}

@test "info: volume, place, image, ssh, and who made it" {
  rows_start
  row '{"volume_id": "vol4ga1models", "gpu_count": 2, "volume_gb": 0}'
  command_ autopod-info "$POD"
  assert_status 0
  assert_contains 'Volume: vol4ga1models → /workspace'
  assert_contains 'GPU: 2 × A40'
  assert_contains 'Place: US-GA-1, secure cloud'
  assert_contains 'Image: runpod/pytorch'
  assert_contains 'by this installation'
  assert_contains 'Price: $0.80/h; nothing while it is stopped'
  assert_matches "ssh: ssh -i $HOME/.ssh/id_ed25519 -p [0-9]+ root@"
  foreign_row '{"status": "EXITED", "volume_gb": 10}'
  command_ autopod-info "$POD"
  assert_status 0
  assert_contains 'by another installation, or by hand'
  assert_contains 'Status: stopped'
  assert_contains '$2.00 a month while it is stopped'
  refute_contains Cost:
}

@test "which pod is meant: unknown ids, prefixes that fit several, names, and ids that are programs" {
  rows_start
  row '{"name": "autopod-one"}'
  local one=$POD name ref
  row '{"name": "autopod-two"}'
  for name in info stop kill start; do
    command_ "autopod-$name" autopod-
    assert_status 2
    assert_contains "2 pods could be meant:" "$stderr"
    assert_contains "$one" "$stderr"
  done
  for ref in nosuchpod '$(touch pwned)' ';touch pwned' '--all'; do
    command_ autopod-kill -- "$ref"
    assert_status 4
    assert_contains "there is no pod \"$ref\"" "$stderr"
  done
  command_ autopod-info autopod-two
  assert_contains "Pod: $POD"
  command_ autopod-stop nosuchpod "$one"
  assert_status 4
  assert_row "$one" EXITED
  assert_row "$POD" RUNNING
  refute_exists pwned
}

@test "a list that hides stopped pods: what is in pods.json is asked for; what is gone is forgotten" {
  rows_start
  row '{"status": "EXITED", "volume_gb": 10}'
  written '{}' 3600
  local stopped=$POD
  POD=aaaaaaaaaaaaaa
  written '{}' 3600
  POD=bbbbbbbbbbbbbb # just made, perhaps: the list may be late
  written
  fault '{"list_hides_stopped":{}}'
  command_ autopod-ls
  assert_status 0
  assert_matches "\* $stopped +runpod +stopped"
  refute_contains aaaaaaaaaaaaaa
  assert_equal "$(jq -c '.pods | keys' "$AUTOPOD_HOME/pods.json")" \
    "$(jq -nc --arg id "$stopped" '[$id, "bbbbbbbbbbbbbb"] | sort')"
  command_ autopod-info "$stopped"
  assert_status 0
  assert_contains 'Status: stopped'
  command_ autopod-start
  assert_status 0
  assert_row "$stopped" RUNNING
}

# --- RunPod: start --------------------------------------------------------------------------------

@test "start: the only one of ours that is stopped, at its new address; several are listed" {
  rows_start
  foreign_row '{"status": "EXITED"}'
  row '{"status": "EXITED"}'
  local one=$POD
  command_ autopod-start
  assert_status 0
  assert_matches "$one, A40, \\\$0.40/h, ssh at [0-9.]+ port [0-9]+" "$stderr"
  assert_contains "autopod-stop $one" "$stderr"
  assert_row "$one" RUNNING
  command_ autopod-start "$one"
  assert_status 0
  assert_contains "Pod $one runs already." "$stderr"
  runpod_control "{\"pods\":{\"$one\":{\"action\":\"stop\"}}}"
  row '{"status": "EXITED"}'
  command_ autopod-start
  assert_status 2
  assert_contains 'several pods are stopped' "$stderr"
  assert_contains "$POD" "$stderr"
}

@test "start: a machine without a free GPU, or with none after the start: exit 4, what to do, and it costs nothing" {
  rows_start
  row '{"status": "EXITED"}'
  fault '{"no_free_gpus_on_start":{}}'
  command_ autopod-start "$POD"
  assert_status 4
  assert_contains "the machine of pod $POD has no free GPU for it any more: it stays stopped" "$stderr"
  assert_contains 'make a new pod: autopod-connect' "$stderr"
  assert_contains "autopod-kill $POD" "$stderr"
  fault '{"no_free_gpus_on_start":null,"zero_gpus_after_start":{}}'
  local generation
  for generation in main 2.7; do
    RUNPODCTL_DOUBLE=$generation command_ autopod-start "$POD"
    assert_status 4
    assert_contains 'has no free GPU for it any more' "$stderr"
    assert_row "$POD" EXITED
  done
}

@test "start: the answer got lost: it is looked whether it starts; when that can't be said, exit 12, and it is stopped" {
  rows_start
  row '{"status": "EXITED"}'
  written '{"minutes": 60}' 100
  jq -c '.pods[].state = "stopped"' "$AUTOPOD_HOME/pods.json" >p && mv p "$AUTOPOD_HOME/pods.json"
  fault '{"slow":{"operations":["start"],"seconds":5}}'
  RUNPODCTL_SECONDS=4 RUNPOD_SETTLE='1 1 1 2' command_ autopod-start "$POD"
  assert_status 0
  assert_row "$POD" RUNNING
  command_ autopod-stop "$POD"
  assert_status 0
  fault '{"slow":{"operations":["start"],"seconds":600}}'
  RUNPODCTL_SECONDS=4 command_ autopod-start "$POD"
  assert_status 12
  assert_contains "pod $POD may still be running and could not be stopped: nobody can say whether it was started" "$stderr"
  assert_contains "autopod-kill $POD" "$stderr"
  wait_until 20 jq -e --arg id "$POD" '.pods[$id] | .state == "stopped" and .ending == null' "$AUTOPOD_HOME/pods.json"
  assert_row "$POD" EXITED
}

@test "start: too little balance, a pod that never gets an address: exit 4, what it costs is said" {
  rows_start
  row '{"status": "EXITED"}'
  fault '{"balance_low":{}}'
  command_ autopod-start "$POD"
  assert_status 4
  assert_contains 'balance is too low' "$stderr"
  assert_contains 'add credit' "$stderr"
  fault '{"balance_low":null,"never_boots":{}}'
  AUTOPOD_BOOT_TIMEOUT=2 command_ autopod-start "$POD"
  assert_status 4
  assert_contains "got no address in time" "$stderr"
  assert_contains "since it costs: autopod-stop $POD" "$stderr"
  assert_row "$POD" RUNNING
}
