#!/usr/bin/env bats
# autopod-attach: watches a run of another terminal, and takes up one that nobody carries out any more.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runs_helper
load tmux_helper

setup() { cmd_setup; }

teardown() {
  local status=0
  tmux_stop
  someone_gone
  cmd_teardown || status=1
  return "$status"
}

# running [FAULTS_JSON] - comfy-run carries the job `one` out on the double, whose prompts take a minute
running() {
  double_start "${1:-"{\"seconds\": 60}"}"
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 30 double_says .running true
  RUN=$(the_run)
}

# attached ARG... - autopod-attach in the background; sets WATCHER. What it says is in attach.err
attached() {
  "$AUTOPOD_PYTHON" -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by a shell for its background jobs
os.execv(sys.argv[1], sys.argv[1:])' "$AUTOPOD_BIN/autopod-attach" "$@" >attach.out 2>attach.err 3>&- &
  WATCHER=$!
}

# attached_ends - sets status and stderr as `run` does
attached_ends() {
  status=0
  wait "$WATCHER" || status=$?
  stderr=$(<attach.err)
}

# progress STATE PERCENT [MORE_JSON] - what RUN has written down
progress() {
  jq -nc --arg state "$1" --argjson percent "$2" --argjson now "$(date +%s)" --argjson more "${3:-"{}"}" \
    '{state: $state, percent: $percent, left: 80, node: "3", title: "KSampler", value: 12, max: 25, position: null,
      at: $now, began: ($now - 72), cost_usd: "0.0300"} + $more' >"$RUN/progress.new"
  mv "$RUN/progress.new" "$RUN/progress"
}

# --- a run that has ended -------------------------------------------------------------------------

@test "a run that has ended: its result, and its exit code" {
  lay_run "one.$NOW.0001" "$(result success 0)"
  printf 'x\t2\timage\tpic/a.png\t3100000\tsum\t%s/outputs/a.png\n' "$PWD" >"$RUN/collected"
  command_ autopod-attach one
  assert_status 0
  assert_contains "$PWD/outputs/a.png  3.1 MB" "$stderr"
  assert_contains 'Done in 1m 15s, about $0.02' "$stderr"
  assert_equal "$output" ''
  lay_run "two.$NOW.0002" "$(result failed 8 '{"hint": "look there"}')"
  command_ autopod-attach 0002
  assert_status 8
  assert_contains 'two.' "$stderr"
  assert_contains 'it went wrong' "$stderr"
  assert_contains 'look there' "$stderr"
  lay_run "three.$NOW.0003" "$(result cancelled 130)"
  command_ autopod-attach three
  assert_status 130
  lay_run "four.$NOW.0004" '{"status":"failed","exit_code":'
  command_ autopod-attach four
  assert_status 1
}

@test "names that are none: exit 2" {
  local ref
  for ref in '' ../.. '$(touch pwned)' none; do
    command_ autopod-attach "$ref"
    assert_status 2
  done
  command_ autopod-attach
  assert_status 2
  command_ autopod-attach one two
  assert_status 2
  refute_exists pwned
}

# --- a run that goes on ---------------------------------------------------------------------------

@test "without a terminal: plain lines, and at the end the run's exit code" {
  running '{"seconds": 3, "hold": ["GET /view"]}'
  attached one
  wait_until 10 grep -q 'Run one' attach.err
  double_tell '{"hold": null, "release": true}'
  attached_ends
  assert_status 0
  assert_contains "$PWD/outputs/one_00001_.png" "$stderr"
  refute_contains $'\e' "$stderr"
  refute_contains $'\r' "$stderr"
  finish_command
  assert_status 0
  assert_executions 1
}

@test "what is told without a terminal: each change, what others wrote can't speak to it" {
  lay_run "one.$NOW.0001"
  queued
  attached one
  wait_until 10 grep -q 'waiting for its turn' attach.err
  carried "$OWNER"
  progress pending null '{"position": 3}'
  wait_until 10 grep -q "waiting at position 3 of the server's queue" attach.err
  progress running 48 '{"title": "a\u001b[31m\u0007"}'
  wait_until 10 grep -q 'Running: 48 %, 1m 1.s, about \$0.03' attach.err
  printf '{"state":"running","percent":"x","began":99999999999999999999,"cost_usd":{' >"$RUN/progress"
  sleep 0.6
  progress running 48 '{"at": 1}'
  wait_until 10 grep -q 'no news for' attach.err
  result failed 9 >"$RUN/result.json"
  attached_ends
  assert_status 9
  refute_contains $'\e' "$stderr"
}

@test "Ctrl+C only leaves: exit 0, and the run goes on" {
  running
  attached one
  wait_until 10 grep -q 'Run one' attach.err
  sleep 0.3
  kill -INT "$WATCHER"
  attached_ends
  assert_status 0
  assert_contains 'The run goes on. Watch it: autopod-attach' "$stderr"
  kill -0 "$COMMAND_PID"
  double_says .running true
  refute_exists "$RUN/cancel"
  interrupt "$RUN"
  finish_command
}

@test "two terminals watch: both see it end" {
  local first
  running
  attached one
  first=$WATCHER
  "$AUTOPOD_BIN/autopod-attach" one 2>other.err 3>&- &
  WATCHER=$!
  wait_until 10 grep -q 'Run one' other.err
  interrupt "$RUN"
  status=0
  wait "$WATCHER" || status=$?
  assert_status 8
  WATCHER=$first
  attached_ends
  assert_status 8
  finish_command
  assert_status 8
}

@test "the process that carries it out is killed meanwhile: told, exit 1, and the next one takes it up" {
  running
  attached one
  wait_until 10 grep -q 'Run one' attach.err
  kill_command_group
  attached_ends
  assert_status 1
  assert_contains "autopod-attach ${RUN##*.} takes it up again" "$stderr"
  double_tell '{"seconds": null}'
  interrupt "$RUN"
  command_ autopod-attach one
  assert_status 8 # it ended on the server, by somebody else
  assert_executions 1
}

# --- a run that nobody carries out ----------------------------------------------------------------

@test "a run that was left is taken up again: executed once, its outputs come" {
  running '{"seconds": 4}'
  kill_command_group
  command_ autopod-attach "${RUN##*.}"
  assert_status 0
  assert_contains 'taking it up again' "$stderr"
  assert_executions 1
  assert_file outputs/one_00001_.png
  assert_equal "$(jq -r .status "$RUN/result.json")" success
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" '' locks
}

@test "two at once take a left run up: one does, the other one watches" {
  running '{"seconds": 4}'
  kill_command_group
  attached one
  command_ autopod-attach one
  assert_status 0
  attached_ends
  assert_status 0
  assert_executions 1
  assert_equal "$(cd outputs && ls -A)" one_00001_.png
}

@test "a run on a pod that was left: it is taken up, and the pod ends" {
  pod_job '{"seconds": 4}'
  running_on_pod one.json
  kill_command_group
  command_ autopod-attach one
  assert_status 0
  assert_executions 1
  assert_file outputs/one_00001_.png
  assert_no_pods
}

@test "a left run whose pod is gone, or that never had one: no pod is made, and it stays as it is" {
  lay_run "one.$NOW.0001"
  command_ autopod-attach one
  assert_status 4
  assert_contains "comfy-run --resume one.$NOW.0001 begins it" "$stderr"
  printf '{"id":"local-gone","provider":"local","made_for_this_run":true}\n' >"$RUN/pod.json"
  command_ autopod-attach one
  assert_status 4
  assert_contains 'pod local-gone of run' "$stderr"
  assert_contains "comfy-run --resume one.$NOW.0001 starts the job anew" "$stderr"
  refute_exists "$RUN/result.json"
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" '' locks
  assert_no_pods
}

@test "a left run is taken up on a pod that another one uses by now: that one keeps the pod" {
  pod_job '{"seconds": 6}'
  job two picture
  running_on_pod one.json
  kill_command_group
  start_command comfy-run two.json
  wait_until 30 double_says .pending 1
  command_ autopod-attach one
  assert_status 0
  assert_contains "Pod $POD goes on: run two." "$stderr"
  finish_command
  assert_status 0
  compgen -G 'outputs/two_*.png' # the server counts over all jobs
  "$AUTOPOD_BIN/autopod-kill" --yes "$POD"
}

# --- at a terminal --------------------------------------------------------------------------------

@test "at a terminal: the panel, and its keys" {
  need_tmux
  lay_run "one.$NOW.0001"
  printf 'max_cost_usd\t5\n' >>"$RUN/plan"
  carried
  progress running 48
  echo 'a line of the log' >"$RUN/log"
  tmux_start 80 24 "$AUTOPOD_BIN/autopod-attach" one
  tmux_wait '48 %  KSampler (12/25)' 10
  tmux_wait 'limit $5.00' 5
  tmux_wait 'q leave' 5
  tmux_keys l
  tmux_wait 'a line of the log' 5
  tmux_keys l
  tmux_gone 'a line of the log' 5
  tmux_keys '?'
  tmux_wait 'ends this view' 5
  tmux_keys o
  tmux_wait 'The run has no server yet' 5
  progress running 60
  tmux_wait '60 %' 5
  tmux_keys q
  assert_equal "$(tmux_status 10)" 0
  tmux_wait 'The run goes on' 5
  tmux_gone 'q leave' 5
  refute_exists "$RUN/cancel"
}

@test "at a terminal: Ctrl+C leaves with 0; a run that ends meanwhile gives its code" {
  need_tmux
  lay_run "one.$NOW.0001"
  carried
  progress running 48
  tmux_start 60 20 "$AUTOPOD_BIN/autopod-attach" one
  tmux_wait '48 %' 10
  tmux_keys C-c
  assert_equal "$(tmux_status 10)" 0
  tmux_stop
  tmux_start 60 20 "$AUTOPOD_BIN/autopod-attach" one
  tmux_wait '48 %' 10
  result failed 9 >"$RUN/result.json"
  assert_equal "$(tmux_status 10)" 9
  tmux_wait 'it went wrong' 5
  refute_contains '48 %' "$(tmux_screen)"
}
