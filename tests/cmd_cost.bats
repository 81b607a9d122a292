#!/usr/bin/env bats
# cmd_cost.bats - autopod-cost: what runs and pods have really cost, from a job to the table, and beside RunPod's bill.
# $3600 an hour is a dollar a second.

load test_helper
load cmd_helper
load runpod_helper

setup() {
  cmd_setup
  export AUTOPOD_LOCAL_RATE=3600 AUTOPOD_ASK_ABOVE=10000
}

teardown() {
  local status=0
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# cost ARG... - `run`s autopod-cost, its two outputs apart
cost() { run --separate-stderr "$AUTOPOD_BIN/autopod-cost" "$@"; }

# total FILTER - of the sums in $output
total() { jq -r ".total | $1" <<<"$output"; }

# adds_up FILE FILTER - the seconds and the dollars that FILTER finds in FILE add up to SECONDS and USD there
adds_up() {
  jq -e "$2"' | (.bill.seconds | [.[] | numbers] | add) as $s | (.bill.usd | [.[] | numbers] | add) as $usd
    | ($s - .seconds | fabs) < 1.1 and ($usd - .usd | fabs) < 0.0002' "$1" >/dev/null ||
    { _complain "the parts do not add up:" "$(cat "$1")" && return 1; }
}

@test "a batch on a pod of its own: what each job took and cost, the sums, and the same from autopod-cost" {
  job one slow '{"seconds": 2}'
  job two slow '{"seconds": 1, "color": 7}'
  job three refused
  printf '{"1": {"class_type": "Nothing", "inputs": {}}}' >templates/refused.json
  comfy_run one.json two.json three.json
  [ "$status" != 0 ]
  assert_matches '(^|
)success  one  [0-9]+ s  \$[0-9.]+  1 file' "$stderr"
  assert_matches '2 of 3 jobs done in [0-9ms ]+, about \$[0-9]+\.[0-9]{2} in all; the GPU was busy for [1-9][0-9]? % of it\.' "$stderr"
  local run ran
  for run in "$AUTOPOD_HOME"/runs/*/; do
    adds_up "$run/result.json" '{bill, seconds: .seconds.total, usd: .cost_usd}'
  done
  run=$(echo "$AUTOPOD_HOME"/runs/one.*)
  assert_equal "$(jq -r '"\(.template) \(.bill.seconds.tail) \(.limits.timeout_seconds) \(.limits.pod.minutes | type)"' "$run/result.json")" 'slow null 3600 number'
  jq -e '.bill.seconds | .boot > 0 and .tunnel > 0 and .compute > 1.9 and .compute < 4 and .queue < 3 and .transfer > 0' "$run/result.json"
  jq -e '.bill.seconds | .boot == 0 and .compute > 0.9' "$AUTOPOD_HOME"/runs/two.*/result.json
  assert_equal "$(jq -r '"\(.ready) \(.ended != null)"' "$AUTOPOD_HOME/ledger.jsonl")" 'true true'
  adds_up "$AUTOPOD_HOME/ledger.jsonl" '{bill: ., seconds: .seconds_run, usd: .cost_usd}'
  assert_equal "$(find "$AUTOPOD_HOME/bills" -type f)" '' 'spans of a pod that is gone'

  cost --json
  assert_status 0
  assert_equal "$(total '"\(.pods) \(.live_pods) \(.failed_boots)"')" '1 0 0'
  ran=$(total .seconds_run)
  jq -e --argjson ran "$ran" '.total | .gpu_busy > 0.1 and .gpu_busy < 1 and .cost_usd == $ran + 1 and .compute_seconds > 2.9' <<<"$output"
  cost --by job --json
  assert_equal "$(jq -r '[.rows[] | .job] | sort | join(" ")' <<<"$output")" 'one three two'
  cost --by template
  assert_matches 'slow +2 +2 +[0-9]+s +[0-9]+ % +\$[0-9]+'
  cost --by day
  assert_matches "$(date +%Y-%m-%d) +1 "
  cost --reconcile
  assert_contains 'Nobody sends a bill for local pods.' "$stderr"
}

@test "a single job's summary ends with runtime and cost, also when it failed" {
  job one picture
  comfy_run one.json
  assert_status 0
  assert_matches 'Done in [0-9]+s, about \$[0-9]+\.[0-9]{2}\.' "$stderr"
  printf '{"1": {"class_type": "Nothing", "inputs": {}}}' >templates/picture.json
  comfy_run one.json
  assert_status 7
  assert_matches 'Failed after [0-9]+s, about \$[0-9]+\.[0-9]{2}\.' "$stderr"
}

@test "a pod that is there counts up to now, one that is stopped only its disk; nobody is asked" {
  run "$AUTOPOD_BIN/autopod-connect" --provider local
  assert_status 0
  POD=$(the_pod)
  cost --json
  assert_equal "$(total '"\(.pods) \(.live_pods)"')" '1 1'
  jq -e '.rows[0] | .ready and .ended == null and .seconds.boot > 0 and .seconds.compute == 0' <<<"$output"
  cost
  assert_matches "$POD .*\\+ +0 % "
  run "$AUTOPOD_BIN/autopod-stop" "$POD"
  cost --json
  local before after
  before=$(total .cost_usd)
  sleep 2
  cost --json
  after=$(total .cost_usd)
  assert_equal "$after" "$before" 'what a stopped pod costs'
  run "$AUTOPOD_BIN/autopod-start" "$POD"
  assert_status 0
  assert_equal "$(grep -c "^$POD	ready	" "$AUTOPOD_HOME/bills/$POD")" 2 'how often it got ready'
  run "$AUTOPOD_BIN/autopod-kill" --yes "$POD"
  cost --json
  assert_equal "$(total '"\(.pods) \(.live_pods)"')" '1 0'
  jq -e --argjson before "$before" '.total.cost_usd > $before and (.rows[0].seconds | .boot + .idle + .tunnel - add | fabs < 0.0005)' <<<"$output"
  assert_equal "$(grep -c . "$AUTOPOD_HOME/ledger.jsonl")" 1
}

@test "a pod that never got ready is told as lost" {
  pod_job
  printf 'import sys\nsys.exit("no such thing")\n' >"$AUTOPOD_LOCAL_COMFYUI/main.py"
  comfy_run one.json
  assert_status 4
  cost
  assert_matches 'Lost to [1-9] pods? that never got ready: \$[1-9]'
  cost --json
  [ "$(total .failed_boots)" -ge 1 ]
  assert_equal "$(jq -c '[.rows[].seconds | del(.boot) | add] | unique' <<<"$output")" '[0]' 'all of it is boot'
}

@test "what is wrong in the call is exit 2" {
  local wrong
  for wrong in '--by=pods' '--since=yesterday' '--reconcile --by=pod' 'POD'; do
    # shellcheck disable=SC2086 # words
    cost $wrong
    assert_status 2
    assert_equal "$output" ''
  done
  cost
  assert_status 0
  assert_contains '$0.00 since' "$output"
  cost --json --reconcile
  assert_equal "$output" '{"by":"bill","rows":[],"others":[]}'
}

@test "RunPod: our numbers beside its bill, by both ways that runpodctl asks for it" {
  local generation
  rows
  runpod_control '{"add_pods": [{"name": "autopod-mine", "status": "RUNNING", "gpu": "NVIDIA A40", "age": 3600},
    {"name": "else", "status": "RUNNING", "gpu": "NVIDIA A40", "age": 3600}], "advance_seconds": 1}'
  POD=$(runpod_state '.pods[] | select(.name == "autopod-mine") | .id')
  mkdir -p "$AUTOPOD_HOME"
  jq -n --arg id "$POD" --argjson since $(($(date +%s) - 3600)) '{pods: {($id): {pod: {id: $id, name: "autopod-mine", gpu: "A40"},
    provider: "runpod", since: $since, price: 0.4, ran: 0, rested: 0, state: "running", state_at: $since, limits: {}}}}' \
    >"$AUTOPOD_HOME/pods.json"
  for generation in main 2.7; do
    RUNPODCTL_DOUBLE=$generation cost --reconcile --since all --json
    assert_status 0
    jq -e --arg pod "$POD" '.rows | length == 1 and (.[0] | .pod == $pod and .billed_usd > 0 and (.cost_usd - 0.4 | fabs) < 0.01
      and (.more_usd - .billed_usd + .cost_usd | fabs) < 0.0002)' <<<"$output"
    assert_equal "$(jq '.others | length' <<<"$output")" 1 'pods that were not made here'
  done
  cost --reconcile --since 24h
  assert_status 0
  assert_matches "$POD .* [0-9hms ]+\\+ +\\\$0\\.4[01] +\\\$[0-9.]+ +[+-]"
  runpod_control '{"faults": {"server_error": {"operations": ["billing"]}}}'
  cost --reconcile
  assert_status 5
  assert_contains "RunPod's bill can't be read" "$stderr"
}
