#!/usr/bin/env bats
# What breaks only when several things go wrong, or go on, at once: two runs, closed pipes, limits, cancels
# that nobody confirms, pods that somebody else ends.

load test_helper
load cmd_helper

setup() { cmd_setup; }
teardown() { cmd_teardown; }

# slow_job ID SECONDS - a job that keeps the server busy for so long
slow_job() { job "$1" slow "{\"seconds\": $2}"; }

@test "a reader that goes away does not end the run before its pod is ended" {
  slow_job one 2
  run bash -c '"$0" one.json 2>&1 | head -n 1' "$AUTOPOD_BIN/comfy-run"
  assert_status 0
  assert_equal "$(jq -r .status "$(the_run)/result.json")" success
  assert_no_pods
}

@test "closed or full standard files: the job is done all the same" {
  job one picture
  run bash -c '"$0" one.json 2>/dev/full' "$AUTOPOD_BIN/comfy-run"
  assert_status 0
  run bash -c '"$0" --overwrite one.json <&- >&- 2>&-' "$AUTOPOD_BIN/comfy-run"
  assert_status 0
  run bash -c '"$0" --overwrite --json=final one.json >/dev/full' "$AUTOPOD_BIN/comfy-run"
  assert_status 1
  assert_contains 'could not be written to standard output'
  assert_no_pods
}

@test "a run leaves the pod alone that another run has made for itself" {
  slow_job one 3
  start_command comfy-run one.json
  wait_until 30 the_pod >/dev/null 2>&1
  wait_until 30 compgen -G "$AUTOPOD_HOME/runs/one.*/prompt.json" >/dev/null
  slow_job two 5
  comfy_run two.json
  assert_status 0
  assert_contains 'made for this run' "$stderr"
  finish_command
  assert_status 0
  assert_no_pods
}

@test "a pod that somebody else ends under a run: told, and no alarm about a pod that is left" {
  slow_job one 60
  start_command comfy-run one.json
  wait_until 30 compgen -G "$AUTOPOD_HOME/runs/one.*/prompt.json" >/dev/null
  "$AUTOPOD_BIN/autopod-kill" --all --yes
  finish_command
  assert_status 4
  assert_no_pods
}

@test "the cost limit cancels the job, exit 11; without a price there is none" {
  # 14 seconds: what ends it is to be the run, which has to have it booted and submitted by then, on any machine.
  job one slow '{"seconds": 60}' '{"pod_config": {"max_cost_usd": 0.04}}'
  AUTOPOD_LOCAL_RATE=10 AUTOPOD_ASK_ABOVE=10 comfy_run one.json
  assert_status 11
  assert_contains 'the cost limit is reached' "$stderr"
  assert_no_pods
  job two slow '{"seconds": 1}' '{"pod_config": {"max_cost_usd": 0.000001}}'
  AUTOPOD_LOCAL_RATE=0 comfy_run two.json
  assert_status 0
}

@test "a job whose boot has used up its money is not submitted, exit 11" {
  job one slow '{"seconds": 60}' '{"pod_config": {"max_cost_usd": 0.000001}}'
  AUTOPOD_LOCAL_RATE=100 AUTOPOD_ASK_ABOVE=100 comfy_run one.json
  assert_status 11
  assert_contains 'before the job was submitted' "$stderr"
  refute_exists "$(the_run)/prompt.json"
  assert_no_pods
}

@test "--json=final: one object with the real exit code, however it ends" {
  comfy_run --json=final nothing.json
  assert_status 2
  assert_equal "$(jq -c '[.exit_code, (.jobs | length), (.error | length > 0)]' <<<"$output")" '[2,0,true]'
  slow_job one 60
  start_command comfy-run --json=final one.json
  wait_until 30 compgen -G "$AUTOPOD_HOME/runs/one.*/prompt.json" >/dev/null
  kill_command TERM
  finish_command
  assert_status 143
  assert_equal "$(jq -c '[.exit_code, .jobs[0].status]' <<<"$output")" '[143,"interrupted"]'
  comfy_run --json --dry-run one.json
  assert_equal "$(jq -c '[.dry_run, .jobs[0].job_id]' <<<"$output")" '[true,"one"]'
}

@test "an input that was changed after the job was checked is not uploaded under the old one's name" {
  double_start '{"hold": ["GET /system_stats"]}'
  png in.png red
  job one scale '{"image": "in.png"}'
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 30 double_says .held 1
  sleep 0.1
  png in.png blue
  double_tell '{"release": true}'
  finish_command
  assert_status 6
  assert_contains 'has changed' "$stderr"
}

@test "a cancel that the server does not confirm: the resumed run does not post again" {
  double_start '{"seconds": 8, "deaf": true}'
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 30 double_says .running true
  double_tell '{"hold": ["POST /queue"]}'
  kill_command TERM
  finish_command
  assert_status 143
  assert_contains 'did not confirm' "$stderr"
  double_tell '{"hold": []}'
  double_tell '{"release": true}'
  comfy_run --resume one
  assert_status 0
  assert_executions 1
}

@test "state directories that somebody removed are made again" {
  job one picture
  comfy_run one.json
  assert_status 0
  rm -rf "$AUTOPOD_HOME/runs" "$AUTOPOD_HOME/logs" "$AUTOPOD_HOME/locks"
  comfy_run --overwrite one.json
  assert_status 0
  assert_no_pods
}
