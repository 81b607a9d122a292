#!/usr/bin/env bats
# autopod-cancel: whoever carries a run out, or nobody: it ends, and that is certain.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runs_helper

setup() { cmd_setup; }

teardown() {
  local status=0
  someone_gone
  cmd_teardown || status=1
  return "$status"
}

# running JOB... - comfy-run carries these jobs out on the double, whose prompts take a minute, and is at the first
running() {
  local id files=()
  [ -n "$DOUBLE_PID" ] || double_start '{"seconds": 60}'
  for id in "$@"; do
    job "$id" picture
    files[${#files[@]}]=$id.json
  done
  start_command comfy-run --url "$DOUBLE" "${files[@]}"
  wait_until 30 double_says .running true
}

# left_behind - kill -9 for comfy-run and all its helpers
left_behind() {
  kill_command_group
  RUN=$(the_run)
}

# run_of JOB - prints the directory of that job's run
run_of() {
  local found
  found=("$AUTOPOD_HOME/runs/$1".*)
  printf '%s\n' "${found[0]}"
}

# field JOB FILTER - prints what jq's FILTER makes of its result
field() { jq -r "$2" "$(run_of "$1")/result.json"; }

# --- runs that a process carries out --------------------------------------------------------------

@test "a run that goes on is cancelled on the server, and comfy-run ends with 130" {
  running one
  command_ autopod-cancel one
  assert_status 0
  assert_contains "Run $(basename "$(the_run)") is cancelled." "$stderr"
  double_says .running false
  finish_command
  assert_status 130
  assert_equal "$(field one '.status, .exit_code' | paste -sd ' ' -)" 'cancelled 130'
  assert_executions 1
  refute_exists "$(the_run)/prompt.json"
  assert_matches "^[0-9TZ:-]+ [^ ]+, autopod-cancel process [0-9]+$" "$(<"$(the_run)/cancel")"
}

@test "twice: the second time says what it is, and changes nothing" {
  local before
  running one
  command_ autopod-cancel one
  finish_command
  before=$(cd "$(the_run)" && ls -la)
  command_ autopod-cancel one
  assert_status 0
  assert_contains 'had ended before: cancelled' "$stderr"
  assert_equal "$(cd "$(the_run)" && ls -la)" "$before" "the run's files"
}

@test "at the same time from two terminals: both see it end" {
  running one
  "$AUTOPOD_BIN/autopod-cancel" one 2>other 3>&- &
  command_ autopod-cancel one
  assert_status 0
  wait "$!"
  assert_contains cancelled "$stderr"
  assert_contains cancelled "$(<other)"
  finish_command
  assert_status 130
}

@test "a cancelled run can be taken up again: it is submitted anew" {
  running one
  command_ autopod-cancel one
  finish_command
  double_tell '{"seconds": null}'
  comfy_run --resume "$(basename "$(the_run)")"
  assert_status 0
  assert_equal "$(field one .status)" success
  assert_executions 2
}

@test "of a batch, one that waits: it ends at once, is never begun, and the others are carried out" {
  running one two three
  wait_until 10 test -d "$(run_of three)"
  command_ autopod-cancel two
  assert_status 0
  assert_equal "$(field two '.status, .exit_code' | paste -sd ' ' -)" 'cancelled 130'
  kill -0 "$COMMAND_PID"
  double_says .running true
  command_ autopod-status --json
  assert_equal "$(jq -sr 'map("\(.job_id) \(.state)") | sort | join(", ")' <<<"$output")" 'one running, three waiting, two cancelled'
  double_tell '{"seconds": null}'
  interrupt "$(run_of one)"
  finish_command
  assert_equal "$(field one .exit_code) $(field two .status) $(field three .status)" '8 cancelled success'
  assert_executions 2
}

@test "of a batch, the one that is at it: the next one begins" {
  running one two
  double_tell '{"seconds": null}'
  command_ autopod-cancel one
  assert_status 0
  finish_command
  assert_status 130
  assert_equal "$(field one .status) $(field two .status)" 'cancelled success'
}

@test "--all: two batches at once, all of their runs, none is begun any more" {
  local first
  running one two
  first=$COMMAND_PID
  job three picture
  job four picture
  start_command comfy-run --url "$DOUBLE" three.json four.json
  wait_until 30 double_says '.pending' 1
  command_ autopod-cancel --all
  assert_status 0
  assert_equal "$(jq -s 'map(.status) | unique == ["cancelled"]' "$AUTOPOD_HOME"/runs/*/result.json)" true
  assert_equal "$(find "$AUTOPOD_HOME/runs" -name result.json | wc -l | tr -d ' ')" 4 results
  finish_command
  assert_status 130
  COMMAND_PID=$first
  finish_command
  assert_status 130
  assert_executions 1
  double_says .pending 0
  command_ autopod-cancel --all
  assert_status 0
  assert_contains 'No job is being carried out' "$stderr"
}

@test "a comfy-run that can't hear Ctrl+C, and doesn't come to look, is ended all the same" {
  double_start '{"hold": ["POST /prompt"]}'
  job one picture
  (trap '' INT && exec "$AUTOPOD_BIN/comfy-run" --url "$DOUBLE" one.json 2>said 3>&-) &
  COMMAND_PID=$!
  wait_until 30 double_says .held 1
  command_ autopod-cancel --timeout 6 one
  double_tell '{"hold": null, "release": true}'
  wait_until 30 command_ended
  COMMAND_PID=''
  assert_matches 'is (cancelled|interrupted)|did not confirm' "$stderr"
  assert_file "$(the_run)/result.json"
}

@test "one that does not end in time: exit 1, and it ends later" {
  double_start '{"hold": ["POST /prompt"]}'
  job one picture
  job two picture
  start_command comfy-run --url "$DOUBLE" one.json two.json
  wait_until 30 double_says .held 1
  command_ autopod-cancel --timeout 1 one
  assert_status 1
  assert_contains 'has not ended yet' "$stderr"
  assert_contains "process $COMMAND_PID" "$stderr"
  double_tell '{"hold": null, "seconds": 60, "release": true}'
  wait_until 30 test -f "$(run_of one)/result.json"
  double_tell '{"seconds": null}'
  finish_command
  assert_status 130
  assert_equal "$(field one .status) $(field two .status)" 'cancelled success'
}

@test "one that ends at that very moment: no error, and it says what became of it" {
  double_start '{"hold": ["GET /view"]}'
  job one picture
  job two picture
  start_command comfy-run --url "$DOUBLE" one.json two.json
  wait_until 30 double_says .held 1 # it is done, and its output on the way home
  "$AUTOPOD_BIN/autopod-cancel" one 2>said 3>&- &
  wait_until 10 test -e "$(run_of one)/cancel"
  double_tell '{"hold": null, "release": true}'
  status=0
  wait "$!" || status=$?
  assert_equal "$status" 0
  assert_contains 'had ended before: done' "$(<said)"
  finish_command
  assert_status 0
  refute_exists "$(run_of one)/cancel"
}

@test "a server that doesn't confirm it: exit 1, and it says that it may still compute" {
  export COMFY_CANCEL_SECONDS=1
  double_start '{"seconds": 60, "deaf": true}'
  running one
  command_ autopod-cancel one
  assert_status 1
  assert_contains 'did not confirm it: it may still compute' "$stderr"
  finish_command
}

# --- runs that nobody carries out -----------------------------------------------------------------

@test "comfy-run was killed: the run is ended on the server from here" {
  running one
  left_behind
  double_says .running true
  command_ autopod-cancel one
  assert_status 0
  assert_contains "Run ${RUN##*/} is cancelled." "$stderr"
  double_says .running false
  assert_equal "$(field one '.status, .exit_code, .url' | paste -sd ' ' -)" "cancelled 130 $DOUBLE"
  refute_exists "$RUN/prompt.json"
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" '' locks
  double_tell '{"seconds": null}'
  comfy_run --resume "${RUN##*/}"
  assert_status 0
}

@test "comfy-run was killed, and the server has done it meanwhile: what it made comes home, and the run is done" {
  double_start '{"seconds": 3}'
  running one
  left_behind
  wait_until 30 double_says .running false
  command_ autopod-cancel one
  assert_status 0
  assert_contains 'was done on its server before it could be cancelled' "$stderr"
  assert_contains "Run ${RUN##*/} is done." "$stderr"
  assert_file outputs/one_00001_.png
  assert_equal "$(field one '.status, .exit_code' | paste -sd ' ' -)" 'success 0'
  refute_exists "$RUN/cancel"
  assert_executions 1
}

@test "comfy-run was killed, and the server is away: exit 1, and nothing is believed; later it works" {
  local port
  running one
  left_behind
  port=${DOUBLE##*:}
  double_stop
  command_ autopod-cancel one
  assert_status 1
  assert_contains "no ComfyUI at $DOUBLE" "$stderr"
  refute_exists "$RUN/result.json"
  assert_file "$RUN/prompt.json"
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" '' locks
  double_start '{}' "$port" # it has forgotten the prompt
  command_ autopod-cancel --all
  assert_status 0
  assert_equal "$(field one .status)" cancelled
}

@test "comfy-run was killed before anything was submitted: nobody is asked" {
  lay_run "one.$NOW.0001"
  command_ autopod-cancel 0001
  assert_status 0
  assert_equal "$(field one '.status, .exit_code, .job_id' | paste -sd ' ' -)" 'cancelled 130 one'
}

@test "a pid that is another process by now is no process of ours, and gets no signal" {
  someone
  lay_run "one.$NOW.0001"
  carried "${OWNER%%-*}-0.0"
  queued "${OWNER%%-*}-0.0"
  command_ autopod-cancel one
  assert_status 0
  assert_equal "$(field one .status)" cancelled
  kill -0 "${OWNER%%-*}"
}

@test "files that are damaged: told, and nothing is believed" {
  lay_run "one.$NOW.0001"
  printf '{"prompt_id":"../../x","url":"http://127.0.0.1:1","pod":""}' >"$RUN/prompt.json"
  command_ autopod-cancel one
  assert_status 1
  assert_contains 'are damaged' "$stderr"
  refute_exists "$RUN/result.json"
  printf 'garbage' >"$RUN/prompt.json"
  printf 'garbage' >"$RUN/pod.json"
  command_ autopod-cancel one
  assert_status 1
  assert_contains 'are damaged' "$stderr"
  printf '{"prompt_id":"b48c736a-7fa9-4a0b-8ce4-f2c18a7542fe","url":"file:///etc/passwd","pod":""}' >"$RUN/prompt.json"
  command_ autopod-cancel one
  assert_status 1
}

# --- which runs -----------------------------------------------------------------------------------

@test "names that are none, or not clear: exit 2, nothing is touched" {
  lay_run "one.20260101T000000Z.0001"
  lay_run "one.20260102T000000Z.0002"
  lay_run "one-more.20260101T000000Z.0003"
  local ref
  for ref in '' ../.. '$(touch pwned)' none '*'; do
    command_ autopod-cancel "$ref"
    assert_status 2
  done
  command_ autopod-cancel one
  assert_status 2
  assert_contains '2 runs could be meant: one.20260101T000000Z.0001 one.20260102T000000Z.0002' "$stderr"
  command_ autopod-cancel
  assert_status 2
  command_ autopod-cancel --all one
  assert_status 2
  command_ autopod-cancel --timeout 0 one
  assert_status 2
  refute_exists pwned
  assert_equal "$(find "$AUTOPOD_HOME/runs" -name cancel -o -name result.json)" '' 'what was written'
}

@test "--all leaves those alone that only wait to be taken up again" {
  lay_run "one.$NOW.0001"
  lay_run "two.$NOW.0002"
  : >"$RUN/prompt.json"
  : >"$RUN/history.json"
  command_ autopod-cancel --all
  assert_status 0
  assert_equal "$(find "$AUTOPOD_HOME/runs" -name cancel -o -name result.json)" '' 'what was written'
}

# --- on pods --------------------------------------------------------------------------------------

@test "a run on a pod that was made for it: the pod goes" {
  pod_job '{"seconds": 60}'
  running_on_pod one.json
  command_ autopod-cancel one
  assert_status 0
  assert_contains 'is cancelled' "$stderr"
  finish_command
  assert_status 130
  assert_no_pods
}

@test "while the pod boots, Ctrl+C reaches it: no pod stays" {
  pod_job '{"stats": "500"}'
  start_command comfy-run one.json
  pod_double
  command_ autopod-cancel --timeout 30 one
  assert_status 0
  finish_command
  assert_status 130
  assert_no_pods
}

@test "comfy-run was killed, and the tunnel is dead: it is opened again, the run ended, and the pod with it" {
  pod_job '{"seconds": 60}'
  running_on_pod one.json
  left_behind
  kill -9 "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
  command_ autopod-cancel one
  assert_status 0
  assert_contains "Pod $POD is terminated" "$stderr"
  assert_equal "$(field one '.status, .pod.id' | paste -sd ' ' -)" "cancelled $POD"
  assert_no_pods
  assert_executions 1
}

@test "comfy-run was killed, and its pod stands still: what may be on it is kept; when it is gone, the run is over" {
  pod_job '{"seconds": 60}'
  running_on_pod one.json
  left_behind
  "$AUTOPOD_BIN/autopod-stop" --yes "$POD"
  command_ autopod-cancel one
  assert_status 1
  assert_contains "may be on its pod $POD, which is stopped" "$stderr"
  refute_exists "$RUN/result.json"
  assert_equal "$(pod_field "$POD" .status)" stopped
  "$AUTOPOD_BIN/autopod-kill" --yes "$POD"
  command_ autopod-cancel one
  assert_status 0
  assert_equal "$(field one .status)" cancelled
  assert_no_pods
  lay_run "two.$NOW.0002"
  printf '{"id":"%s","provider":"local","made_for_this_run":true}\n' "$POD" >"$RUN/pod.json"
  printf '{"prompt_id":"b48c736a-7fa9-4a0b-8ce4-f2c18a7542fe","client_id":"x","at":1,"url":"%s","pod":"%s"}\n' "$DOUBLE" "$POD" >"$RUN/prompt.json"
  command_ autopod-cancel two
  assert_status 0
  assert_equal "$(field two .status)" cancelled
}

@test "a pod that another run needs stays" {
  pod_job '{"seconds": 60}'
  running_on_pod one.json
  left_behind
  lay_run "two.$NOW.0002"
  cp "$(run_of one)/pod.json" "$RUN/"
  command_ autopod-cancel one
  assert_status 0
  assert_contains "Pod $POD goes on" "$stderr"
  command_ autopod-cancel two
  assert_status 0
  assert_contains "Pod $POD is terminated" "$stderr"
  assert_no_pods
}
