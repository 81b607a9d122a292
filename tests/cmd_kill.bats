# Whatever is killed, and when: no job is lost, none runs twice, no pod is left.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() { cmd_setup; }
teardown() { cmd_teardown; }

# held REQUEST... - starts the job `one` (with an input picture) on the double, which holds these requests, and waits until it does
held() {
  double_tell "$(jq -n '{($fault): $ARGS.positional}' --arg fault "${HOLD:-hold}" --args "$@")"
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 30 double_says .held 1
}

# resumed - comfy-run --resume ends well: the same file as ever, executed once in all
resumed() {
  comfy_run --resume "$(basename "$(the_run)")"
  assert_status 0
  assert_executions 1
  double_picture pic/one_00001_.png
  assert_equal "$(sum_of <outputs/one_00001_.png)" "$PICTURE_SUM" 'sum of the output'
  assert_equal "$(cd outputs && ls -A)" one_00001_.png 'files in outputs'
  assert_equal "$(jq -r '.status, .exit_code, .outputs[0].sha256' "$(the_run)/result.json" | paste -sd ' ' -)" \
    "success 0 $PICTURE_SUM"
  assert_no_pods
}

# job_with_picture - the job `one` needs an upload
job_with_picture() {
  png in.png
  job one scale '{"image": "in.png"}'
}

# --- kill -9, and resume --------------------------------------------------------------------------

@test "kill -9 after the job was loaded, before anything was asked" {
  double_start
  job_with_picture
  held 'GET /system_stats'
  kill_command_group
  double_tell '{"hold": null, "release": "drop"}'
  resumed
}

@test "kill -9 during the upload" {
  double_start
  job_with_picture
  held 'POST /upload'
  kill_command_group
  double_tell '{"hold": null, "release": "drop"}'
  resumed
  assert_equal "$(double_ask '.uploaded | length')" 1
}

@test "kill -9 when the upload was done, but not yet noted: it is not uploaded again" {
  double_start
  job_with_picture
  HOLD=hold_after held 'POST /upload/image'
  kill_command_group
  double_tell '{"hold_after": null, "release": "drop"}'
  resumed
  assert_equal "$(double_ask '.uploaded | length')" 1
}

@test "kill -9 with the prompt's id on disk, before the server has the prompt" {
  double_start
  job_with_picture
  held 'POST /prompt'
  assert_file "$(the_run)/prompt.json"
  kill_command_group
  double_tell '{"hold": null, "release": "drop"}'
  resumed
}

@test "kill -9 when the server has the prompt, before its answer" {
  double_start
  job_with_picture
  HOLD=hold_after held 'POST /prompt'
  kill_command_group
  double_tell '{"hold_after": null, "release": "drop"}'
  resumed
  assert_equal "$(double_ask '[.requests[] | select(. == "POST /prompt")] | length')" 1
}

@test "kill -9 while the job runs" {
  double_start '{"seconds": 3}'
  job_with_picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 20 double_says .running true
  kill_command_group
  resumed
}

@test "kill -9 during the download: no half file stays" {
  double_start '{"view_bytes": 3000000}'
  job_with_picture
  HOLD=hold_after held "GET /view?filename=one_00001_.png&subfolder=pic&type=output"
  kill_command_group
  refute_exists outputs/one_00001_.png
  double_tell '{"hold_after": null, "release": "drop"}'
  resumed
}

@test "kill -9 after the download, before the result" {
  double_start
  job_with_picture
  # The last thing that is written names the time at which it was: there the machine dies.
  local jq
  jq=$(type -P jq)
  stub jq <<STUB
case "\$*" in *finished_at*) touch "$BATS_TEST_TMPDIR/last" && sleep 60 ;; esac
exec "$jq" "\$@"
STUB
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 30 test -e "$BATS_TEST_TMPDIR/last"
  assert_file outputs/one_00001_.png
  kill_command_group
  rm "$STUBS/jq"
  refute_exists "$(the_run)/result.json"
  resumed
}

@test "a run that is done, or that does not exist, is not resumed; its directory is as good as its name" {
  double_start
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  comfy_run --resume "$(the_run)"
  assert_status 2
  assert_contains 'is done already' "$stderr"
  comfy_run --resume two
  assert_status 2
  assert_contains 'there is no run or job "two"' "$stderr"
  assert_executions 1
}

@test "a run is resumed by its directory, from another directory" {
  double_start '{"view_once": "500"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 9
  local here=$PWD
  cd "$HOME"
  comfy_run --resume "$(the_run)"
  assert_status 0
  assert_file "$here/outputs/one_00001_.png"
  assert_executions 1
}

@test "a run that is still running is not taken up by a second command" {
  double_start '{"seconds": 3}'
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 20 double_says .running true
  comfy_run --resume one
  assert_status 2
  assert_contains "$COMMAND_PID" "$stderr"
  finish_command
  assert_status 0
  assert_executions 1
  assert_equal "$(cd outputs && ls -A)" one_00001_.png
}

# --- pods -----------------------------------------------------------------------------------------

@test "kill -9 while the job runs on a pod that was made for it: the resumed run ends the pod" {
  pod_job '{"seconds": 4}'
  running_on_pod one.json
  kill_command_group
  assert_equal "$(the_pod)" "$POD"
  comfy_run --resume one
  assert_status 0
  assert_executions 1
  assert_file outputs/one_00001_.png
  assert_contains "$POD is terminated" "$stderr"
  assert_no_pods
}

@test "kill -9 while the pod is being made: the pod is known, and autopod-kill ends it" {
  pod_job '{"hold": ["GET /system_stats"]}'
  start_command comfy-run one.json
  pod_double
  wait_until 30 double_says .held 1
  kill_command_group
  run --separate-stderr "$AUTOPOD_BIN/autopod-ls"
  assert_contains "$POD"
  run "$AUTOPOD_BIN/autopod-kill" "$POD"
  assert_status 0
  assert_no_pods
}

@test "Ctrl+C, TERM and HUP while the job runs: cancelled on the server, pod ended, death by that signal" {
  local signal
  for signal in INT TERM HUP; do
    rm -rf "$BATS_TEST_TMPDIR/comfyui" "$AUTOPOD_HOME"
    pod_job '{"seconds": 60}'
    running_on_pod one.json
    kill_command "$signal"
    finish_command 30
    assert_status $((128 + $(kill -l "$signal")))
    [ "$signal" != HUP ] || stderr=$(<"$AUTOPOD_HOME/logs/autopod.log") # the terminal is gone
    assert_contains 'cancelled on the server' "$stderr"
    refute_contains 'did not confirm' "$stderr"
    assert_contains "$POD is terminated" "$stderr"
    assert_contains "--resume one" "$stderr"
    assert_no_pods
    assert_equal "$(jq -r '.status + " " + (.exit_code | tostring)' "$(the_run)/result.json")" \
      "interrupted $((128 + $(kill -l "$signal")))"
  done
}

@test "Ctrl+C ends a loop around the command, too: it dies by the signal, not by an exit code" {
  double_start '{"seconds": 60}'
  job one picture
  printf '#!/usr/bin/env bash\nfor n in 1 2 3; do "%s/comfy-run" --url "%s" one.json; echo "again after $?"; done\n' \
    "$AUTOPOD_BIN" "$DOUBLE" >loop
  chmod +x loop
  run --separate-stderr "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" --type Running 0 '\x03' ./loop
  assert_status 130
  refute_contains 'again after'
  assert_contains 'cancelled on the server'
  assert_executions 1
  assert_equal "$(double_ask .running)" false
}

@test "Ctrl+C while a pod is being made, at any point of it: no pod stays" {
  pod_job
  local keygen
  keygen=$(type -P ssh-keygen)
  stub ssh-keygen <<STUB
touch "$BATS_TEST_TMPDIR/making"
sleep 1
exec "$keygen" "\$@"
STUB
  start_command comfy-run one.json
  wait_until 30 test -e "$BATS_TEST_TMPDIR/making"
  kill_command INT
  finish_command 30
  assert_status 130
  assert_no_pods
  rm "$STUBS/ssh-keygen"
  # and when ComfyUI, the last of it, has just been started
  start_command comfy-run one.json
  pod_double
  kill_command INT
  finish_command 30
  assert_status 130
  assert_no_pods
  assert_equal "$(jq -c . "$AUTOPOD_HOME/pods.json" | jq '[.pods // {}, .intents // {}] | map(length) | add')" 0 'pods and wishes on record'
}

@test "Ctrl+C while ComfyUI is starting: the pod goes" {
  pod_job '{"stats": "500"}'
  start_command comfy-run one.json
  pod_double
  wait_until 30 double_says '.requests | length > 0' true
  kill_command INT
  finish_command 30
  assert_status 130
  assert_no_pods
}

@test "Ctrl+C during the download: the pod is stopped, not terminated, and --resume fetches what is on it" {
  pod_job '{"hold": ["GET /view"]}'
  start_command comfy-run one.json
  pod_double
  wait_until 30 double_says .held 1
  kill_command INT
  finish_command 30
  assert_status 130
  assert_contains "$POD is stopped, not terminated" "$stderr"
  assert_equal "$(pod_field "$POD" .status)" stopped
  export LYING_FAULTS='{}'
  comfy_run --resume one
  assert_status 0
  assert_executions 1
  assert_file outputs/one_00001_.png
  assert_no_pods
}

@test "a second Ctrl+C ends at once and says what is left" {
  pod_job '{"seconds": 60, "deaf": true}'
  run --separate-stderr "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" \
    --type Running 0 '\x03' --type interrupted 2 '\x03' "$AUTOPOD_BIN/comfy-run" one.json
  # The first was still waiting for the server, which takes no interrupt.
  assert_status 130
  POD=$(the_pod)
  assert_contains "$POD may still be running"
  assert_contains "autopod-kill $POD"
  run "$AUTOPOD_BIN/autopod-kill" "$POD"
  assert_status 2 # nobody knows what the server has made of the job
  assert_contains 'comfy-run --resume one.'
  run "$AUTOPOD_BIN/autopod-kill" --yes "$POD"
  assert_status 0
  assert_no_pods
}

# --- the link -------------------------------------------------------------------------------------

@test "the tunnel's ssh is killed in the middle of a run: it goes on, executed once" {
  pod_job '{"seconds": 3}'
  running_on_pod one.json
  kill -9 "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
  finish_command 60
  assert_status 0
  assert_executions 1
  assert_contains 'the link to ComfyUI is lost' "$stderr"
  assert_contains 'ink is back' "$stderr"
  assert_file outputs/one_00001_.png
  assert_no_pods
}

@test "the tunnel's ssh is killed during the download" {
  pod_job '{"hold": ["GET /view"]}'
  start_command comfy-run one.json
  pod_double
  wait_until 30 double_says .held 1
  kill -9 "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
  double_tell '{"hold": null, "release": true}'
  finish_command 60
  assert_status 0
  assert_executions 1
  assert_file outputs/one_00001_.png
  assert_no_pods
}

@test "the pod's sshd and the tunnel die: a clear error, and no waiting for what can't come back" {
  pod_job '{"seconds": 60}'
  running_on_pod one.json
  kill -9 "$(pod_process "$POD" sshd)"
  kill -9 "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
  finish_command 45
  assert_contains "$POD is failed" "$stderr"
  case $status in 4 | 5) ;; *) assert_status 4 ;; esac
  [ "$(grep -c 'error:' <<<"$stderr")" -le 2 ] || { _complain "too much of it: $stderr" && return 1; }
}

@test "ComfyUI on the pod dies in the middle of a run: a clear error, and no waiting" {
  pod_job '{"seconds": 60}'
  running_on_pod one.json
  kill -9 "$(pod_process "$POD" comfyui)"
  finish_command 45
  case $status in 4 | 5 | 8) ;; *) assert_status 4 ;; esac
  assert_contains "$POD" "$stderr"
  [ "$(grep -c 'error:' <<<"$stderr")" -le 2 ] || { _complain "too much of it: $stderr" && return 1; }
}

# --- disk full ------------------------------------------------------------------------------------

@test "no room for the outputs: exit 9, the pod is stopped, not terminated, and --resume brings them when there is" {
  pod_job '{"view_bytes": 400000}'
  mkdir small
  mount -t tmpfs -o size=100k tmpfs small 2>/dev/null || skip "may not mount a small file system here"
  jq '.outputs = {"Result": "small/out.png"}' one.json >job.json
  comfy_run job.json
  POD=$(the_pod) || { umount small && return 1; }
  umount small
  assert_status 9
  assert_matches 'room|space|full|write' "$stderr"
  assert_contains "$POD is stopped, not terminated" "$stderr"
  assert_equal "$(find small -type f)" ''
  assert_equal "$(pod_field "$POD" .status)" stopped
  comfy_run --resume one
  assert_status 0
  assert_executions 1
  assert_equal "$(($(wc -c <small/out.png)))" 400000
  assert_no_pods
}

@test "a job that was done when the signal came is done: its outputs are here, and nothing is submitted again" {
  double_start '{"hold": ["GET /queue"]}'
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 30 test -s "$BATS_TEST_TMPDIR/executions"
  kill_command TERM
  double_tell '{"release": true, "hold": null}'
  finish_command
  assert_status 143
  assert_contains 'was done on its server before it could be cancelled' "$stderr"
  assert_equal "$(jq -r '"\(.status) \(.outputs | length)"' "$(the_run)/result.json")" 'success 1'
  assert_file outputs/one_00001_.png
  comfy_run --resume one
  assert_status 2
  assert_executions 1
}
