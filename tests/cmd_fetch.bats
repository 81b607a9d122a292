# comfy-run --no-download, and comfy-fetch, which brings home what was left on a server.

load test_helper
load cmd_helper

setup() { cmd_setup; }
teardown() { cmd_teardown; }

# fetch ARG... - `run`s comfy-fetch, its two outputs apart
fetch() { run --separate-stderr "$AUTOPOD_BIN/comfy-fetch" "$@"; }

# result FILTER - of the only run
result() { jq -r "$1" "$(the_run)/result.json"; }

# left_run - the job `one` is done on the double, its outputs still there
left_run() {
  job one picture '{}' '{"outputs": {"Result": "there/mine.png"}}'
  comfy_run --url "$DOUBLE" --no-download one.json
  assert_status 0
}

@test "--no-download: the job is done, its outputs stay; comfy-fetch brings them where the job said, once" {
  local name
  double_start '{"view_bytes": 3000}'
  left_run
  name=$(basename "$(the_run)")
  assert_contains "Left on the server: 1 file. To have them here: comfy-fetch $name" "$stderr"
  assert_equal "$(result '"\(.status) \(.exit_code) \(.downloaded) \(.outputs)"')" 'success 0 false []'
  assert_file "$(the_run)/unfetched"
  refute_exists there
  refute_contains 'GET /view' "$(double_ask '.requests[]')"
  fetch one
  assert_status 0
  assert_file there/mine.png
  assert_contains "$PWD/there/mine.png  3.0 kB" "$stderr"
  assert_equal "$(result '"\(.status) \(.downloaded) \(.outputs[0].sha256)"')" "success true $(sum_of <there/mine.png)"
  refute_exists "$(the_run)/unfetched"
  assert_file "$(the_run)/outputs.json"
  assert_executions 1
  double_stop # nobody is asked any more
  fetch --json "${name##*.}"
  assert_status 0
  assert_contains 'are here already' "$stderr"
  assert_equal "$(jq -r '"\(.exit_code) \(.error) \(.runs | length) \(.runs[0].state) \(.runs[0].outputs[0].path)"' <<<"$output")" \
    "0 null 1 here $PWD/there/mine.png"
}

@test "-o DIR: elsewhere, also another copy; --overwrite; a file that was deleted comes again" {
  double_start
  left_run
  fetch -o other/ "$(the_run)"
  assert_status 0
  assert_file other/mine.png
  refute_exists there
  assert_equal "$(result '.outputs[0].path')" "$PWD/other/mine.png"
  fetch --local-output copy one
  assert_status 0
  assert_file copy/mine.png
  assert_equal "$(result '.outputs[0].path')" "$PWD/other/mine.png"
  fetch -o copy one
  assert_status 0
  assert_equal "$(find copy -type f | wc -l | tr -d ' ')" 2 'copies'
  fetch -o copy --overwrite one
  assert_status 0
  assert_equal "$(find copy -type f | wc -l | tr -d ' ')" 2 'copies'
  rm other/mine.png
  fetch one
  assert_status 0
  assert_file there/mine.png
  assert_equal "$(result '.outputs | map(.path) | join(" ")')" "$PWD/there/mine.png"
  assert_executions 1
}

@test "a run that was left: still running, then done, and the run has its result" {
  double_start '{"seconds": 60}'
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 20 double_says .running true
  fetch one
  assert_status 2
  assert_contains "is still being carried out by process $COMMAND_PID" "$stderr"
  kill_command_group
  fetch --json one
  assert_status 1
  assert_contains 'is still running on its server' "$stderr"
  assert_contains 'autopod-attach' "$stderr"
  assert_equal "$(jq -r '"\(.exit_code) \(.runs[0].state) \(.runs[0].exit_code)"' <<<"$output")" '1 running 1'
  refute_exists "$(the_run)/result.json"
  double_tell '{"seconds": 0}'
  curl -qsf --noproxy '*' -o told --data-binary "$(jq -c '{prompt_id}' "$(the_run)/prompt.json")" "$DOUBLE/interrupt"
  wait_until 20 double_says .running false
  fetch one
  assert_status 8 # as it was interrupted
  assert_equal "$(result '"\(.status) \(.exit_code)"')" 'failed 8'
  assert_equal "$(double_ask '[.requests[] | select(startswith("POST /prompt"))] | length')" 1 'posts'
}

@test "a job whose download broke off is done when its outputs are here" {
  double_start '{"view": "500"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 9
  assert_equal "$(result '"\(.status) \(.downloaded)"')" 'failed false'
  fetch one
  assert_status 9
  assert_equal "$(result .exit_code)" 9
  double_tell '{"view": "html"}'
  fetch one
  assert_status 9
  assert_contains 'a web page' "$stderr"
  double_tell '{"view": null}'
  fetch one
  assert_status 0
  assert_file outputs/one_00001_.png
  assert_equal "$(result '"\(.status) \(.exit_code) \(.error) \(.downloaded) \(.outputs | length)"')" 'success 0 null true 1'
  assert_executions 1
}

@test "an output that the job names and that does not come stays missing, however the files come" {
  double_start
  job one picture '{}' '{"outputs": {"Nothing": "there/mine.png"}}'
  comfy_run --url "$DOUBLE" one.json
  assert_status 9
  assert_contains 'no file came for: Nothing' "$stderr"
  fetch one
  assert_status 9
  assert_contains 'no file came for: Nothing' "$stderr"
  assert_equal "$(result '"\(.status) \(.exit_code) \(.outputs | length)"')" 'failed 9 1'
  rm -rf "$AUTOPOD_HOME/runs" outputs
  comfy_run --url "$DOUBLE" --no-download one.json
  assert_status 0
  fetch one
  assert_status 9
  assert_contains 'no file came for: Nothing' "$stderr"
  assert_equal "$(result '"\(.status) \(.exit_code) \(.error)"')" 'failed 9 no file came for: Nothing'
}

@test "what is not to be had: a restarted server, no server, no prompt, no run" {
  local port
  double_start '{"seconds": 60}'
  port=${DOUBLE##*:}
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 20 double_says .running true
  kill_command_group
  double_stop
  fetch one
  assert_status 5
  assert_contains "no ComfyUI at $DOUBLE" "$stderr"
  double_start '{}' "$port"
  fetch one
  assert_status 9
  assert_contains 'does not know the job of run' "$stderr"
  rm "$(the_run)/prompt.json"
  fetch one
  assert_status 1
  assert_contains 'was never submitted' "$stderr"
  fetch
  assert_status 2
  fetch --json nothere one
  assert_status 2
  assert_contains 'there is no run or job "nothere"' "$stderr"
  assert_equal "$(jq -r '"\(.exit_code) \(.runs | length)"' <<<"$output")" '2 1'
  fetch --json nothere
  assert_status 2
  assert_equal "$(jq -r '"\(.exit_code) \(.error)"' <<<"$output")" '2 there is no run or job "nothere"'
  assert_equal "$(double_ask '[.requests[] | select(startswith("POST"))] | length')" 0 'what was posted'
}

@test "a pod that was made for a run whose outputs stay: stopped, not ended; from it they come when it runs again" {
  local pod
  job one picture
  comfy_run --no-download --after terminate one.json
  assert_status 2
  assert_contains 'ends it with them' "$stderr"
  comfy_run --no-download one.json
  assert_status 0
  pod=$(the_pod)
  assert_contains "pod $pod is stopped, not terminated: outputs are still on it" "$stderr"
  assert_equal "$(pod_field "$pod" .status)" stopped
  fetch one
  assert_status 4
  assert_contains "pod $pod of run" "$stderr"
  assert_contains "autopod-start $pod" "$stderr"
  "$AUTOPOD_BIN/autopod-start" -q "$pod"
  fetch one
  assert_status 0
  assert_file outputs/one_00001_.png
  assert_equal "$(result '"\(.status) \(.downloaded) \(.pod.id)"')" "success true $pod"
  assert_equal "$(pod_field "$pod" .status)" running
  "$AUTOPOD_BIN/autopod-kill" -q -y "$pod"
  assert_no_pods
}

@test "comfy-run --resume takes up what was left on a stopped pod, and ends the pod then" {
  job one picture
  comfy_run --no-download one.json
  assert_status 0
  comfy_run --resume one
  assert_status 0
  assert_file outputs/one_00001_.png
  assert_equal "$(result '"\(.status) \(.downloaded)"')" 'success true'
  assert_no_pods
  comfy_run --resume one
  assert_status 2
  assert_contains 'is done already' "$stderr"
}
