#!/usr/bin/env bats
# comfy-run and its own guard: what it does at 90 % and at the end of the limits of a job, of the call and of a pod, at each
# step of a run. (At $3600 an hour a dollar is a second.)
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() {
  cmd_setup
  export AUTOPOD_LOCAL_RATE=3600 AUTOPOD_ASK_ABOVE=10000
}

teardown() {
  "$AUTOPOD_BIN/autopod-kill" -q --all >/dev/null 2>&1 || :
  cmd_teardown
}

# limited ID TEMPLATE MAX_COST [INPUTS_JSON] - a job with a limit of cost
limited() { job "$1" "$2" "${4:-"{}"}" "{\"pod_config\": {\"max_cost_usd\": $3}}"; }

# dear_pod ARG... - a pod that is handed over; sets POD
dear_pod() { POD=$("$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --json "$@" 3>&- | jq -r .id); }

# assert_stopped POD - the pod no longer runs, but is there
assert_stopped() { assert_equal "$(pod_field "$1" .status)" stopped "status of $1"; }

# --- at each step ---------------------------------------------------------------------------------

@test "booting: the pod that does not get ready is ended at its limit, nothing was submitted, exit 11" {
  mkdir never
  printf 'import time\ntime.sleep(600)\n' >never/main.py
  limited one picture 8
  limited two picture 1
  AUTOPOD_LOCAL_COMFYUI=$PWD/never AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON comfy_run --json one.json two.json
  assert_status 11
  assert_contains 'the cost limit is reached before the job was submitted' "$stderr"
  assert_equal "$(event run_finished '"\(.job) \(.exit_code)"')" 'one 11'
  assert_contains 'Not begun: two (comfy-run --resume two.' "$stderr"
  assert_no_pods
}

@test "uploading: the upload is cut at the limit, exit 11" {
  pod_job '{"hold": ["POST /upload"]}'
  png in.png
  limited one scale 20 '{"image": "./in.png"}'
  comfy_run one.json
  assert_status 11
  assert_contains 'the cost limit is reached before the job was submitted' "$stderr"
  refute_contains 'upload of' "$stderr"
  assert_equal "$(jq -r '.error | startswith("the cost limit")' "$(the_run)/result.json")" true
  assert_no_pods
}

@test "running: warned once at 90 %, the prompt is cancelled, exit 11" {
  limited one slow 25 '{"seconds": 60}'
  comfy_run --json one.json
  assert_status 11
  assert_equal "$(grep -c 'warning: 90 % of the cost limit are used up' <<<"$stderr")" 1
  assert_contains 'cancelled on the server' "$stderr"
  assert_contains 'the cost limit is reached after' "$stderr"
  assert_equal "$(event run_finished '.error | startswith("the cost limit is reached")')" true
  assert_no_pods
}

@test "running: what a job has finished comes home within the grace" {
  jq '. + {"4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "early-{job_id}"}}}' \
    templates/slow.json >templates/early.json
  limited one early 40 '{"seconds": 120}'
  comfy_run one.json
  assert_status 11
  assert_contains 'cancelled on the server' "$stderr"
  [ -s outputs/early-one_00001_.png ]
  assert_no_pods
}

@test "downloading: it is cut at the last second of the pod, which is stopped: --resume may fetch it" {
  pod_job '{"hold_after": ["GET /view?filename=one_00001_.png&subfolder=pic&type=output"], "view_bytes": 2000000}'
  limited one picture 25
  comfy_run one.json
  assert_status 11
  assert_contains 'the cost limit is reached while its outputs were downloaded' "$stderr"
  refute_contains 'broke off' "$stderr"
  assert_contains 'is stopped, not terminated: outputs are still on it' "$stderr"
  assert_equal "$(find outputs -type f 2>/dev/null)" '' 'files of half a download'
  assert_stopped "$(the_pod)"
}

# --- whose limit it is ----------------------------------------------------------------------------

@test "a limit of one job ends that job, and the next one runs; a limit of the call ends all of them" {
  job one slow '{"seconds": 60}' '{"pod_config": {"timeout_minutes": 0.03}}'
  job two picture
  comfy_run --json one.json two.json
  assert_status 10
  assert_equal "$(event run_finished '"\(.job) \(.exit_code)"')" $'one 10\ntwo 0'
  job one slow '{"seconds": 60}'
  comfy_run --json --max-cost 15 one.json two.json
  assert_status 11
  assert_equal "$(event run_finished '"\(.job) \(.exit_code)"')" 'one 11'
  assert_matches 'the cost limit is reached after [0-9]+s \(\$15.00 for (this call|pod local-[0-9a-f]+)\)' "$stderr"
  assert_contains 'Not begun: two' "$stderr"
  assert_no_pods
}

@test "a pod that was there before goes on at the limit of a call, and is stopped at its own" {
  dear_pod --max-cost 1000
  job one slow '{"seconds": 60}'
  comfy_run --max-cost 5 --pod "$POD" one.json
  assert_status 11
  assert_contains '($5.00 for this call)' "$stderr"
  assert_equal "$(pod_field "$POD" .status)" running
  "$AUTOPOD_BIN/autopod-extend" --max-cost "$(($(pod_field "$POD" '.cost_usd | ceil') + 9))" "$POD"
  comfy_run --pod "$POD" one.json
  assert_status 11
  assert_contains "for pod $POD)" "$stderr"
  assert_contains "this one: autopod-extend $POD --max-cost USD" "$stderr"
  assert_stopped "$POD"
}

@test "autopod-extend counts for a run that goes on" {
  dear_pod --max-cost 25
  job one slow '{"seconds": 20}'
  start_command comfy-run --pod "$POD" one.json
  wait_until 30 command_said Running
  "$AUTOPOD_BIN/autopod-extend" --max-cost 1000 "$POD"
  finish_command
  assert_status 0
  refute_contains 'limit is reached' "$stderr"
  assert_equal "$(pod_field "$POD" .status)" running
}

@test "a job that would not fit into what is left is not begun, exit 11" {
  dear_pod
  job one picture
  job two slow '{"seconds": 1, "seed": 2}'
  job three slow '{"seconds": 1, "seed": 3}'
  comfy_run --pod "$POD" two.json
  for file in "$AUTOPOD_HOME"/timings/slow*; do
    jq -c '.nodes["2"] = 600.5' "$file" >timings # as it took, some other day
    "$AUTOPOD_PYTHON" -c 'import json, sys; print(json.dumps(json.load(open("timings"))))' >"$file"
  done
  comfy_run --json=final --max-cost 100 --pod "$POD" one.json two.json three.json
  assert_status 11
  assert_matches 'what is left of the cost limit \(\$100.00 for this call\) lasts for [0-9m ]+s, and jobs like the next one took 10m 01s: it is not begun' "$stderr"
  assert_contains 'Not begun: two' "$stderr"
  assert_contains 'Not begun: three' "$stderr"
  refute_contains 'limit is reached' "$stderr"
  assert_equal "$(jq -r '"\(.exit_code) \(.error | startswith("what is left")) \(.jobs | map(.exit_code))"' <<<"$output")" '11 true [0]'
}

# --- guards and options ---------------------------------------------------------------------------

@test "a watcher and a guard on the pod that were killed are started again while a job runs" {
  AUTOPOD_LOCAL_RATE=0
  job one slow '{"seconds": 26}'
  start_command comfy-run one.json
  wait_until 30 command_said Running
  kill -9 "$(readlink "$AUTOPOD_HOME/locks/watcher" | cut -d - -f 1)"
  finish_command 90
  assert_status 0
  assert_matches 'The watcher on this machine had ended: it was started again \(process [0-9]+\)' "$stderr"
  assert_no_pods
}

@test "a watcher that is killed while an input is uploaded is started again" {
  AUTOPOD_LOCAL_RATE=0
  pod_job '{"hold": ["POST /upload"]}'
  png in.png
  head -c 1500000 /dev/zero >>in.png
  job one scale '{"image": "./in.png"}'
  start_command comfy-run one.json
  pod_double
  wait_until 60 double_says .held 1
  kill -9 "$(readlink "$AUTOPOD_HOME/locks/watcher" | cut -d - -f 1)"
  wait_until 30 command_said 'The watcher on this machine had ended: it was started again'
  double_tell '{"hold": null, "release": "yes"}'
  finish_command 60
  assert_status 0
  assert_no_pods
}

@test "--no-limit: the pod's record says so; --max-cost: what it may cost" {
  job one picture
  for words in --no-limit '--max-cost 50' '--max-cost 50 --no-limit'; do
    # shellcheck disable=SC2086 # words
    comfy_run --after keep $words one.json
    assert_status 0
    POD=$(the_pod)
    jq -c --arg id "$POD" '.pods[$id].limits' "$AUTOPOD_HOME/pods.json"
    "$AUTOPOD_BIN/autopod-kill" -q "$POD"
  done >limits
  assert_equal "$(<limits)" '{"max_cost_usd":null,"minutes":null,"unlimited":true}
{"max_cost_usd":50,"minutes":80}
{"max_cost_usd":50,"minutes":null,"unlimited":true}'
}

@test "limits that make no sense: exit 2, and nothing is begun" {
  job one picture
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086 # words
    comfy_run $words one.json
    assert_status 2
    assert_contains "$said" "$stderr"
  done <<'EOT'
--max-cost 0|--max-cost is "0", but must be an amount of dollars
--max-cost lots|--max-cost is "lots"
--max-cost 5 --url http://127.0.0.1:1|--max-cost and --no-limit are about pods
--no-limit --no-tunnel|--max-cost and --no-limit are about pods
--no-limit --pod local-1|autopod-extend local-1 --no-limit
EOT
  assert_no_runs
  assert_no_pods
}
