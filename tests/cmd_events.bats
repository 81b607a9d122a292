#!/usr/bin/env bats
# comfy-run --json: what happens, as it happens, for programs. (comfy_run holds every line against events.schema.json.)
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() { cmd_setup; }
teardown() { cmd_teardown; }

# names - prints the events' names in one line, several progress events as one, without warnings
names() { jq -r .event <<<"${1-$output}" | grep -v warning | uniq | paste -sd ' ' -; }

@test "a job on a new pod, from begin to end" {
  png in.png red
  job one scale '{"image": "in.png"}'
  AUTOPOD_LOCAL_RATE=1 comfy_run --json one.json
  assert_status 0
  assert_equal "$(names)" \
    'run_started progress pod_ready tunnel_open progress upload progress submitted progress output run_finished'
  assert_equal "$(event run_started '"\(.job) \(.directory)"')" "one $(the_run)"
  assert_equal "$(jq -r .run <<<"$output" | sort -u)" "$(basename "$(the_run)")"
  assert_equal "$(event pod_ready '"\(.provider) \(.usd_per_hour) \(.made)"')" 'local 1 true'
  assert_equal "$(event pod_ready '[.guards.run, .guards.watcher, .guards.pod, .deadline > now, .latest_bill_usd > 1] | tostring')" \
    '[true,true,true,true,true]' "its limits and its guards"
  assert_equal "$(event tunnel_open '"\(.url) \(.port)"')" "http://127.0.0.1:$AUTOPOD_PORT $AUTOPOD_PORT"
  assert_equal "$(event upload '"\(.files) \(.bytes)"')" "1 $(($(wc -c <in.png)))"
  assert_equal "$(event submitted .prompt_id)" "$(jq -r .prompt_id "$(the_run)/prompt.json")"
  assert_equal "$(event output '"\(.path) \(.sha256) \(.kind) \(.node)"')" \
    "$PWD/outputs/one_00001_.png $(sum_of <outputs/one_00001_.png) image 3"
  assert_equal "$(event run_finished .result | jq -S .)" "$(jq -S . "$(the_run)/result.json")"
  assert_equal "$(event run_finished '"\(.status) \(.exit_code) \(.error) \(.cost_usd > 0)"')" 'success 0 null true'
  assert_contains 'Done in' "$stderr" # people are told the same as without it
  assert_no_pods
}

@test "progress: states, steps and percent, with titles of any kind" {
  jq '.["2"]._meta.title = "é \"高\" \u001b[31m\u2028" | .["2"].inputs.steps = 20' templates/slow.json >templates/titled.json
  job one titled '{"seconds": 1}'
  comfy_run --json one.json
  assert_status 0
  assert_equal "$(event progress .state | uniq | grep -vx pending | paste -sd ' ' -)" 'target upload submit running collect'
  assert_equal "$(event progress 'select(.value != null) | .max' | sort -u)" 20
  [ "$(event progress 'select(.node == "2") | .percent' | sort -un | wc -l)" -gt 3 ]
  assert_contains 'é "高"' "$(event progress .title)"
}

@test "a job that fails, and one after it" {
  double_start '{"ending": "error", "message": "boom"}'
  job one picture
  job two picture
  comfy_run --url "$DOUBLE" --json one.json two.json
  assert_status 8
  assert_equal "$(event run_finished '"\(.job) \(.status) \(.exit_code) \(.error)"')" \
    $'one failed 8 EmptyImage (node 1): boom [RuntimeError]\ntwo failed 8 EmptyImage (node 1): boom [RuntimeError]'
  assert_equal "$(event pod_ready .pod)$(event tunnel_open .url)" '' "a server that is no pod of ours"
}

@test "no run begins: one run_finished that says why" {
  comfy_run --json nothing.json
  assert_status 2
  assert_equal "$(names)" run_finished
  assert_equal "$(event run_finished '"\(.run) \(.status) \(.exit_code) \(.result)"')" 'null failed 2 null'
  assert_contains nothing.json "$(event run_finished .error)"
  comfy_run --json
  assert_status 2
  assert_contains 'no job was given' "$(event run_finished .error)"
}

@test "an option behind --json that is wrong: one event, or one object, all the same; --help is only that" {
  local option
  for option in --nope '--on-stall x' --job; do
    # shellcheck disable=SC2086 # a list
    comfy_run --json $option
    assert_status 2
    assert_equal "$(event run_finished '"\(.run) \(.exit_code)"')" 'null 2' "with $option"
    # shellcheck disable=SC2086 # a list
    comfy_run --json=final $option
    assert_status 2
    assert_equal "$(jq -c '[.exit_code, .jobs]' <<<"$output")" '[2,[]]' "with $option"
  done
  comfy_run --json --help
  assert_status 0
  refute_contains '"event"' "$output"
}

@test "what is warned about is an event, too" {
  double_start
  job one picture '{"unused": 1}'
  comfy_run --url "$DOUBLE" --json one.json
  assert_status 0
  assert_contains unused "$(event warning .text)"
  assert_contains "warning: $(event warning .text | head -n 1)" "$stderr"
}

@test "--json=final and --quiet --json: one object; another word behind the = is wrong" {
  local option
  double_start
  job one picture
  for option in --json=final '--quiet --json' '--json -q' '--json --json=final'; do
    # shellcheck disable=SC2086 # a list
    run --separate-stderr "$AUTOPOD_BIN/comfy-run" --url "$DOUBLE" --overwrite $option one.json
    assert_status 0
    assert_equal "$(jq -s -c 'map(has("event")) + map(.exit_code)' <<<"$output")" '[false,0]' "with $option"
  done
  comfy_run --json=all one.json
  assert_status 2
  assert_contains '--json=all' "$stderr"
}

@test "an interrupted run has its end among the events" {
  job one slow '{"seconds": 60}'
  start_command comfy-run --json one.json
  wait_until 30 grep -q '"state":"running"' "$BATS_TEST_TMPDIR/command.out" # they come as they happen
  kill_command INT
  finish_command
  assert_status 130
  assert_events "$output"
  assert_equal "$(event run_finished '"\(.status) \(.exit_code)"')" 'interrupted 130'
  assert_no_pods
}

@test "who stops reading ends nothing: the job is carried out, its pod ended" {
  job one slow '{"seconds": 1}'
  run bash -c '"$0" --json one.json 2>said | head -n 1; echo "${PIPESTATUS[0]}"' "$AUTOPOD_BIN/comfy-run"
  assert_equal "$(head -n 1 <<<"$output" | jq -r .event)" run_started
  assert_equal "${lines[1]}" 1 'exit code: nobody got the result'
  assert_contains 'could not be written' "$(<said)"
  assert_file outputs/one_00001_.png
  assert_no_pods
}
