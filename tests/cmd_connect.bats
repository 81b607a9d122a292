#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # what a test exports is its own: bats runs each in a subshell
# cmd_connect.bats - autopod-connect on RunPod: which pod is asked for, what it may cost, and that its key stays
# secret. The API is a stand-in, its pods are real sshds.

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

# --- the way it should be -------------------------------------------------------------------------

@test "a pod is made, becomes ready, and is handed over with its address and price" {
  pods --boot-delay 2
  connect --gpu a40 --name try-out
  assert_status 0
  assert_contains 'A40, $0.40/h' "$stderr"
  assert_matches 'ComfyUI available at http://127.0.0.1:[0-9]+' "$stderr"
  assert_contains 'autopod-kill' "$stderr"
  local port=${stderr##*http://127.0.0.1:}
  curl -qsf --noproxy '*' "http://127.0.0.1:${port%%[!0-9]*}/system_stats" >/dev/null
  assert_matches '^autopod-try-out-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}$' "$(runpod_state '.pods[0].name')"
  assert_equal "$(runpod_state '.pods[0].env.AUTOPOD_INSTALLATION')" "$(cat "$AUTOPOD_HOME/installation")" stamp
  assert_contains 'ssh-ed25519' "$(runpod_state '.pods[0].env.PUBLIC_KEY')"
  assert_equal "$(runpod_state '.pods[0].ports | tostring')" '["22/tcp"]' 'ports: ComfyUI must not be public'
  assert_equal "$(jq -r '.pods[] | "\(.price) \(.limits.minutes) \(.waiting)"' "$AUTOPOD_HOME/pods.json")" '0.4 720 null' 'the record'
  assert_contains 'Limits: 12 h, no limit of cost; latest possible bill $4.94. Guards: ' "$stderr"
  assert_matches 'Guards: watcher (ok|✓) pod (ok|✓)' "$stderr"
  assert_contains 'until its limits are used up, or you end it' "$stderr"
  run --separate-stderr "$AUTOPOD_BIN/autopod-kill"
  assert_status 0
  assert_running 0
  assert_nothing_known
}

@test "both generations of runpodctl, and an exported TIMEOUT" {
  pods
  [ -n "${RUNPODCTL_IS_DOUBLE:-}" ] || skip 'a real runpodctl is of one generation only'
  local generation
  for generation in main 2.7; do
    export RUNPODCTL_DOUBLE=$generation
    TIMEOUT=600 connect --no-tunnel --json
    assert_status 0
    assert_equal "$(jq -r '[.provider, .status, .gpu, .url] | tostring' <<<"$output")" '["runpod","running","A40",null]' "$generation"
    TIMEOUT=600 run --separate-stderr "$AUTOPOD_BIN/autopod-kill"
    assert_status 0
  done
}

@test "an old runpodctl, or none: exit 3 and what to do" {
  rows
  [ -n "${RUNPODCTL_IS_DOUBLE:-}" ] || skip 'a real runpodctl is in use'
  RUNPODCTL_DOUBLE=1.14 connect
  assert_status 3
  assert_contains 'old generation' "$stderr"
  assert_contains 'upgrade' "$stderr"
  PATH=$(path_of bash sh env jq curl ssh ssh-keygen python3 sed awk mktemp mkdir readlink id cat rm ln od tr grep date uname dirname basename head tail sleep ps mv chmod ls stat) connect
  assert_status 3
  assert_contains 'runpodctl, which is not installed' "$stderr"
  assert_made 0
}

# --- which pod ------------------------------------------------------------------------------------

@test "--dry-run shows the candidates with price and stock, and makes nothing" {
  rows
  connect -n --gpu 4090,a6000 --datacenter us-ga-1,EU-RO-1 --cloud secure,community
  assert_status 0
  assert_contains 'RTX 4090' "$output"
  assert_contains '$0.69/h' "$output"
  assert_contains 'US-GA-1' "$output"
  connect -n --json --gpu 'RTX A6000'
  assert_status 0
  assert_equal "$(jq -c '.[0] | [.gpu_id, .cloud, .cost_per_hr]' <<<"$output")" '["NVIDIA RTX A6000","secure",0.49]' 'as JSON'
  assert_made 0
}

@test "a typo gets suggestions, a name of several GPUs is refused: exit 2, nothing is made" {
  rows
  connect --gpu a4o
  assert_status 2
  assert_contains 'A40' "$stderr"
  connect --gpu h100
  assert_status 2
  assert_contains 'NVIDIA H100 80GB HBM3' "$stderr"
  assert_contains 'NVIDIA H100 PCIe' "$stderr"
  assert_made 0
}

@test "a volume forces its data center and the secure cloud; a contradiction is exit 2 before anything is made" {
  rows
  local volume
  volume=$(runpodctl network-volume list | jq -r '.[] | select(.dataCenterId == "US-GA-1") | .id')
  connect --volume-id "$volume" --datacenter CA-MTL-1
  assert_status 2
  assert_contains "Volume $volume is in US-GA-1, but you asked for CA-MTL-1" "$stderr"
  connect --volume-id gone
  assert_status 2
  assert_contains "$volume" "$stderr"
  connect --volume-id "$volume" --cloud community
  assert_status 2
  assert_made 0
  connect -n --json --volume-id "$volume"
  assert_equal "$(jq -c 'map([.data_center, .cloud]) | unique' <<<"$output")" '[["US-GA-1","secure"]]' 'candidates'
}

@test "a pod with a volume: it is mounted where it was asked for, and autopod-info says so" {
  pods
  local volume
  volume=$(runpodctl network-volume list | jq -r '.[0].id')
  connect --volume-id "$volume" --volume-mount /models --no-tunnel
  assert_status 0
  run "$AUTOPOD_BIN/autopod-info"
  assert_contains "$volume → /models"
}

@test "wrong values: exit 2, nothing is asked" {
  rows
  local words
  for words in '--gpu-count 0' '--disk x' '--max-price free' '--max-cost 0' '--timeout 0' '--timeout 5 --no-limit' '--name a/b' '--cloud sky' '--image a --template b' \
    '--volume-mount models --volume-id vol4ga1models' '--provider sky'; do
    # shellcheck disable=SC2086 # words
    connect $words
    assert_status 2
  done
  connect '--gpu=;$(touch pwned)'
  assert_status 2
  refute_exists pwned
  assert_made 0
}

# --- what it may cost -----------------------------------------------------------------------------

@test "a dear pod needs --yes where nobody can be asked, and more than --max-price is never made" {
  rows
  connect --gpu 'H100 SXM'
  assert_status 2
  assert_contains '$2.99/h' "$stderr"
  assert_contains '--yes' "$stderr"
  connect --gpu 'H100 SXM' --max-price 2 --yes
  assert_status 4
  assert_contains '$2.99/h' "$stderr"
  AUTOPOD_MAX_PRICE=0.3 connect --gpu a40
  assert_status 4
  AUTOPOD_ASK_ABOVE=0.2 connect --gpu a40
  assert_status 2
  assert_contains '$0.40/h' "$stderr"
  assert_made 0
}

@test "a dear pod at a terminal: it asks; n makes nothing, y makes it" {
  pods
  export AUTOPOD_ASK_ABOVE=0.2
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" --type '[y/N]' 0.1 'n\r' "$AUTOPOD_BIN/autopod-connect" --gpu a40
  assert_contains '[y/N]'
  assert_status 1
  assert_made 0
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" --type '[y/N]' 0.1 'y\r' "$AUTOPOD_BIN/autopod-connect" --gpu a40
  assert_status 0
  assert_running 1
}

@test "a pod that turns out dearer than its list price is ended at once" {
  pods
  runpod_control '{"faults":{"surcharge":{"factor":3}}}'
  connect --gpu a40 --max-price 0.5
  assert_status 4
  assert_contains 'more than $0.5' "$stderr"
  assert_running 0
  connect --gpu a40
  assert_status 4
  assert_contains 'more than $1' "$stderr"
  assert_running 0
  assert_nothing_known
}

@test "the balance: what it covers is said; none, or too little for RunPod, is exit 4" {
  pods
  runpod_control '{"balance":2.5}'
  connect --gpu a40 --max-cost 3 --no-tunnel
  assert_status 0
  assert_contains 'balance of $2.50 lasts for 6h 15m' "$stderr"
  run "$AUTOPOD_BIN/autopod-kill"
  runpod_control '{"balance":0}'
  connect --gpu a40
  assert_status 4
  assert_contains 'add credit' "$stderr"
  runpod_control '{"balance":20,"faults":{"balance_low":{}}}'
  connect --gpu a40,a6000
  assert_status 4
  assert_contains 'balance is too low' "$stderr"
  assert_contains 'add credit' "$stderr"
  assert_made 1
}

# --- limits ---------------------------------------------------------------------------------------

@test "limits: what is said and what the settings say, the smallest counts; --no-limit goes past the time alone" {
  pods
  local words settings wanted
  while IFS='|' read -r settings words wanted; do
    # shellcheck disable=SC2086 # words
    run --separate-stderr env $settings "$AUTOPOD_BIN/autopod-connect" --gpu a40 --no-tunnel --json $words
    assert_status 0
    assert_equal "$(jq -c '[.known.limits | .max_cost_usd, .minutes, .unlimited]' <<<"$output")" "$wanted" "$settings $words"
    assert_equal "$(jq -c '.guards' <<<"$output")" '{"run":false,"watcher":true,"pod":true}'
    assert_equal "$(jq '.deadline == null' <<<"$output")" "$(jq '.[0] == null and .[2]' <<<"$wanted")" deadline
    run "$AUTOPOD_BIN/autopod-kill"
    assert_status 0
  done <<'CASES'
A=1||[null,720,false]
AUTOPOD_MAX_COST=3|--timeout 900|[3,720,false]
AUTOPOD_MAX_COST=3|--max-cost 2 --timeout 30|[2,30,false]
AUTOPOD_MAX_COST=3|--max-cost 4 --no-limit|[3,null,true]
AUTOPOD_MAX_DAILY_COST=1|--no-limit --max-cost 0.5|[0.5,null,true]
A=1|--no-limit|[null,null,true]
CASES
}

@test "limits: a wrong setting is exit 2 before anything is asked" {
  rows
  local setting
  for setting in AUTOPOD_MAX_COST=0 AUTOPOD_MAX_COST=free AUTOPOD_MAX_DAILY_COST=-1 AUTOPOD_STOP_GRACE=x AUTOPOD_GUARD_GRACE=0 AUTOPOD_GUARD_POLL=0; do
    run --separate-stderr env "$setting" "$AUTOPOD_BIN/autopod-connect"
    assert_status 2
    assert_contains "${setting%%=*} is \"${setting#*=}\"" "$stderr"
  done
  assert_made 0
}

@test "limits: a second pod within a day's limit that the first one may use up: exit 11, and none is made" {
  pods
  export AUTOPOD_MAX_DAILY_COST=2
  connect --gpu a40 --no-tunnel
  assert_status 0
  assert_contains 'Limits: $2.00 or 12 h' "$stderr"
  connect --gpu a40 --max-cost 1
  assert_status 11
  assert_contains 'AUTOPOD_MAX_DAILY_COST is $2' "$stderr"
  assert_made 1
}

@test "--require-guard: without the watcher on this machine nothing is made; else that is a warning" {
  pods
  hold_lock watcher
  printf '%s 2026-11-22T10:11:12Z otherkey\n' "$OWNER" >"$AUTOPOD_HOME/watcher"
  connect --gpu a40 --require-guard
  assert_status 4
  assert_contains '--require-guard is set' "$stderr"
  assert_made 0
  connect --gpu a40 --no-tunnel
  release
  assert_status 0
  assert_contains 'has another RunPod key' "$stderr"
  assert_matches 'Guards: watcher (-|–) pod (ok|✓)' "$stderr"
}

# --- secrets --------------------------------------------------------------------------------------

@test "the key is nowhere: not in an argument, in what is said or logged, nor in a file" {
  pods
  local seen=$BATS_TEST_TMPDIR/arguments
  : >"$seen"
  runpod_control '{"faults":{"stop_not_done":{}}}'
  start_command autopod-connect --debug --gpu a40
  while ! command_ended; do
    ps -A -ww -o args= >>"$seen"
    sleep 0.02
  done
  finish_command 5
  assert_status 0
  refute_contains "$RUNPOD_API_KEY" "$output$stderr$(<"$seen")"
  assert_contains 'runpodctl pod create' "$(<"$seen")"
  run grep -rlF "$RUNPOD_API_KEY" "$AUTOPOD_HOME"
  assert_equal "$output" '' 'files with the key'
}
