# autopod-logs: the log of a run, and that of ComfyUI on a pod.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() {
  cmd_setup
  export LC_ALL=C.UTF-8
}

teardown() {
  [ ! -d "$AUTOPOD_HOME/local" ] || "$AUTOPOD_BIN/autopod-kill" -q -y --all >/dev/null 2>&1 || :
  cmd_teardown
}

# logs ARG... - `run`s autopod-logs, its two outputs apart
logs() { run --separate-stderr "$AUTOPOD_BIN/autopod-logs" "$@"; }

# a_run NAME [LINE...] - a run that has ended, with that log (none without a LINE)
a_run() {
  local run=$AUTOPOD_HOME/runs/$1
  mkdir -p "$run"
  : >"$run/plan"
  printf '{"status":"success","exit_code":0}\n' >"$run/result.json"
  [ $# = 1 ] || printf '%s\n' "${@:2}" >"$run/log"
}

# pod - makes a pod whose ComfyUI is the double; sets POD, DOUBLE and LOG, the file that its ComfyUI writes
pod() {
  local made
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$BATS_TEST_DIRNAME/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
  made=$("$AUTOPOD_BIN/autopod-connect" -q --json "$@" 3>&-)
  POD=$(jq -r .id <<<"$made") DOUBLE=$(jq -r .url <<<"$made")
  LOG=$AUTOPOD_HOME/local/$POD/comfyui.log
}

# tell_log TEXT - ComfyUI's own log is TEXT (as in JSON)
tell_log() { double_tell "{\"answers\": {\"/internal/logs\": [200, $(jq -n --argjson text "\"$1\"" '$text | tojson')]}}"; }

# nobody_follows - 0 when no tail follows the pod's log any more
nobody_follows() { ! pgrep -f "tail -n [0-9]+ -F $LOG" >/dev/null; }

# printed TEXT - 0 when the started command has printed it
printed() { grep -qF -e "$1" "$BATS_TEST_TMPDIR/command.out"; }

# --- a run's --------------------------------------------------------------------------------------

@test "a run's log: by its name, its beginning, its directory, its job, whole or the end of it" {
  local ref
  a_run one.20260101T000000Z.aaaa older
  a_run one.20260102T000000Z.bbbb first second third
  a_run two.20260101T000000Z.cccc other
  for ref in one one.20260102T000000Z.bbbb one.20260102 "$AUTOPOD_HOME/runs/one.20260102T000000Z.bbbb"; do
    logs "$ref"
    assert_status 0
    assert_equal "$output" $'first\nsecond\nthird'
  done
  logs -n 2 one
  assert_equal "$output" $'second\nthird'
  logs --lines=1 --follow one # it has ended: nothing to wait for
  assert_status 0
  assert_equal "$output" third
  logs -f one
  assert_equal "$output" $'first\nsecond\nthird'
}

@test "no such run, none named, none with a log" {
  a_run one.20260101T000000Z.aaaa
  logs
  assert_status 2
  assert_contains autopod-status "$stderr"
  logs nope
  assert_status 2
  logs one
  assert_status 1
  assert_contains 'has no log' "$stderr"
  logs -f one
  assert_status 1
  logs one two
  assert_status 2
  for ref in 0 x ''; do
    logs -n "$ref" one
    assert_status 2
  done
  logs --pod nope
  assert_status 4
  assert_contains 'neither a run, a job nor a pod' "$stderr"
  logs --pod one
  assert_status 2
  assert_contains 'was on no pod' "$stderr"
  logs --pod
  assert_status 4
}

@test "-f follows a run until it ends" {
  local run
  double_start '{"hold": ["POST /prompt"]}'
  job one picture
  "$AUTOPOD_BIN/comfy-run" -q --url "$DOUBLE" one.json 3>&- &
  run=$!
  wait_until 20 double_says .held 1
  start_command autopod-logs -f one
  wait_until 20 printed 'Submit ...'
  double_tell '{"release": true, "hold": null}'
  wait "$run"
  finish_command 20
  assert_status 0
  assert_equal "$output" "$(cat "$(the_run)/log")"
  assert_contains 'ended with 0 after '
}

@test "-f of a run that nobody carries ends, and says so" {
  a_run one.20260101T000000Z.aaaa first
  rm "$AUTOPOD_HOME/runs/one.20260101T000000Z.aaaa/result.json"
  printf 'half a line' >>"$AUTOPOD_HOME/runs/one.20260101T000000Z.aaaa/log"
  logs -f one
  assert_status 0
  assert_equal "$output" $'first\nhalf a line'
  assert_contains 'autopod-attach one.20260101T000000Z.aaaa' "$stderr"
}

# --- ComfyUI's ------------------------------------------------------------------------------------

@test "--pod: the file on the pod, of POD, of the only one, of the pod of a run; and nothing that a terminal obeys" {
  local ref
  pod --no-tunnel
  printf 'one\ntwo \033[32m[INFO]\033[0m\033]0;title\007 text\r\n10%%\r 99%%\rdone\n\033[2Jlast\tword\xc2\x9b31m' >"$LOG"
  a_run job.20260101T000000Z.aaaa its-own
  printf '{"id":"%s","provider":"local","made_for_this_run":false}\n' "$POD" >"$AUTOPOD_HOME/runs/job.20260101T000000Z.aaaa/pod.json"
  for ref in '' "$POD" "${POD%???}" job; do
    logs --pod ${ref:+"$ref"}
    assert_status 0
    assert_equal "$output" $'one\ntwo [INFO] text\ndone\nlast word 31m'
    assert_equal "$stderr" ''
  done
  logs "$POD" --pod -n 2
  assert_equal "$output" $'done\nlast word 31m'
  seq 1 1000 >"$LOG"
  logs --pod
  assert_equal "${#lines[@]} ${lines[0]}" '200 801'
}

@test "--pod -f goes on with what is added; Ctrl+C, kill -9 and a closed pod leave nothing behind, here or there" {
  local signal
  pod --no-tunnel
  for signal in INT KILL; do
    printf 'one\n' >"$LOG"
    start_command autopod-logs --pod -f "$POD"
    wait_until 20 printed one
    printf 'two\033[1m\n' >>"$LOG"
    wait_until 20 printed two
    kill_command "$signal"
    finish_command
    assert_equal "$output" $'one\ntwo'
    wait_until 20 nobody_follows
  done
  start_command autopod-logs --pod -f "$POD"
  wait_until 20 printed two
  "$AUTOPOD_BIN/autopod-stop" -q "$POD"
  # The pod's sshd has gone, but not yet the one process of it that serves this link.
  kill "$(pgrep -f "tail -n 200 -F $LOG")" 2>/dev/null || :
  kill_command INT
  finish_command
  wait_until 20 nobody_follows
}

@test "--pod without a file: what ComfyUI remembers, and with -f what it adds" {
  local version
  pod
  rm "$LOG"
  for version in 0.3.64 0.33.0; do
    jq -c --arg version "$version" '{answers: .[$version]}' "$BATS_TEST_DIRNAME/fixtures/comfyui/info.json" >answers.json
    double_tell @answers.json
    logs --pod -n 2
    assert_status 0
    assert_equal "${#lines[@]}" 1 # the last but one is empty
    assert_matches '^2026-11-22T03:[0-9:.]+ - (\[INFO\] )?To see the GUI go to: http://127.0.0.1:[0-9]+$' "${lines[0]}"
    logs --pod
    assert_contains 'Starting server'
    refute_contains $'\033'
  done
  tell_log 'one\n\n\ntwo\n'
  start_command autopod-logs --pod -f
  wait_until 20 printed two
  tell_log '\n\ntwo\nthree\n\u001b[31mfour\n' # the first line is forgotten by now
  wait_until 20 printed four
  double_tell '{"answers": {"/internal/logs": [404, ""]}}'
  finish_command 20
  assert_status 5
  assert_equal "$output" $'one\n\n\ntwo\nthree\nfour'
}

@test "--pod: no log anywhere, and answers that are none" {
  local text
  pod
  rm "$LOG"
  for text in '<html>\u001b[31m' '[1]' '{"a": 1}' '' 'null' '"cut'; do
    double_tell "{\"answers\": {\"/internal/logs\": [200, $(jq -n --arg text "$text" '$text')]}}"
    logs --pod
    assert_status 1
    assert_equal "$output" ''
    assert_contains 'no log was found on pod' "$stderr"
  done
}

@test "--pod: a pod that is stopped, and one that can't be reached" {
  pod --no-tunnel
  : >"$AUTOPOD_HOME/local/$POD/authorized_keys"
  logs --pod
  assert_status 5
  assert_contains AUTOPOD_SSH_KEY "$stderr"
  "$AUTOPOD_BIN/autopod-stop" -q "$POD"
  logs --pod "$POD"
  assert_status 4
  assert_contains "autopod-start $POD" "$stderr"
}

@test "--guard: what the guard on the pod did, the last of it, of a pod without one, and what it does not go with" {
  pod
  logs --guard
  assert_status 0
  assert_matches '^[0-9TZ:-]+ armed, for [0-9]+ s from now, and for [0-9]+ s without a sign of the laptop$'
  kill -9 "$(cut -d ' ' -f 1 <"$AUTOPOD_HOME/local/$POD/ram/autopod-guard.$POD/pid")"
  printf '\033]0;title\007evil\n' >>"$AUTOPOD_HOME/local/$POD/ram/autopod-guard.$POD/log"
  logs --guard -n 1 "$POD"
  assert_equal "$output" evil
  rm "$AUTOPOD_HOME/local/$POD/ram/autopod-guard.$POD/log"
  logs --guard "$POD"
  assert_status 1
  assert_contains "no guard was ever armed on pod $POD" "$stderr"
  logs --guard -f "$POD"
  assert_status 2
  logs --guard --pod "$POD"
  assert_status 2
  logs --guard nobody
  assert_status 4
  "$AUTOPOD_BIN/autopod-stop" -q "$POD" >/dev/null 2>&1
  logs --guard "$POD"
  assert_status 4
}
