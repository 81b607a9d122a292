#!/usr/bin/env bats
# autopod-extend, and what autopod-start does with limits: what is said, what the record says, and what the guard on a real
# pod is told.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load pods_helper

setup() {
  cmd_setup
  export START_PATIENCE=1
}

teardown() {
  local status=0
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# limits ID - prints the limits in the record of that pod
limits() { jq -c --arg id "$1" '.pods[$id].limits | [.max_cost_usd, .minutes, .unlimited]' "$AUTOPOD_HOME/pods.json"; }

# simulated - local pods are made of the double of a server, at $3.60 an hour
simulated() {
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON AUTOPOD_LOCAL_RATE=3.6
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
}

# guard_deadline - prints the deadline (epoch) that the guard on $POD says it has, by what its tunnel's session says
guard_deadline() {
  local line said=''
  while IFS= read -r line; do
    case $line in 'autopod-guard-is alive '*) said=${line##* } ;; esac
  done <"$AUTOPOD_HOME/logs/tunnel-$POD.log"
  printf '%s\n' "$said"
}

# --- on a pod -------------------------------------------------------------------------------------

@test "a pod's limits are made longer and shorter: its record, what is said, and its guard follow" {
  simulated
  command_ autopod-connect --yes --timeout 30 --max-cost 1 --json
  assert_status 0
  POD=$(jq -r .id <<<"$output")
  assert_equal "$(guard_deadline)" "$(jq .deadline <<<"$output")"
  local before now
  before=$(jq .deadline <<<"$output")
  command_ autopod-extend --max-cost 2 --json
  assert_status 0
  assert_contains 'Limits: $2.00 or 30 min, whichever is first; latest possible bill $1.8' "$stderr"
  assert_matches 'Guards: watcher (ok|✓) pod (ok|✓)' "$stderr"
  assert_equal "$(jq -c '[.id, .limits, .latest_bill_usd > 1.8, .guards]' <<<"$output")" \
    "[\"$POD\",{\"unlimited\":false,\"max_cost_usd\":2,\"minutes\":30},true,{\"run\":false,\"watcher\":true,\"pod\":true}]"
  [ "$(jq .deadline <<<"$output")" -gt "$before" ]
  assert_equal "$(guard_deadline)" "$(jq .deadline <<<"$output")"
  now=$(date +%s)
  command_ autopod-extend "$POD" --timeout 5
  assert_status 0
  assert_contains 'Limits: $2.00 or 5 min' "$stderr"
  assert_equal "$(limits "$POD")" '[2,5,null]'
  [ "$(guard_deadline)" -ge $((now + 300)) ] && [ "$(guard_deadline)" -le $((now + 330)) ]
  command_ autopod-extend --no-limit
  assert_status 0
  assert_contains 'Limits: $2.00, no limit of time; latest possible bill $2.03' "$stderr"
  assert_equal "$(limits "$POD")" '[2,null,true]'
  # What it may cost is used up soon: the pod is stopped.
  command_ autopod-extend --max-cost 0.03
  assert_status 0
  stopped() { [ "$(pod_field "$POD" .status)" != running ] || [ "$(jq -r --arg id "$POD" '.pods[$id].state' "$AUTOPOD_HOME/pods.json")" = stopped ]; }
  wait_until 60 stopped
  command_ autopod-start "$POD"
  assert_status 11
  assert_contains 'and its limit is $0.03' "$stderr"
  assert_contains '--max-cost USD' "$stderr"
  command_ autopod-start "$POD" --max-cost 1 --timeout 7
  assert_status 0
  assert_contains 'Limits: $1.00 or 7 min, whichever is first' "$stderr"
  assert_matches 'Guards: watcher (ok|✓) pod (ok|✓)' "$stderr"
  assert_equal "$(limits "$POD")" '[1,7,null]'
  command_ autopod-kill "$POD"
  assert_status 0
  assert_no_pods
}

# --- what the record says -------------------------------------------------------------------------

@test "what was not said stays; the settings hold, and that is told" {
  rows_start
  row
  written '{"max_cost_usd":5,"minutes":60}' 600
  # A row is no machine: its guard can't be told.
  AUTOPOD_MAX_COST=3 command_ autopod-extend "$POD" --max-cost 9
  assert_status 5
  assert_contains 'AUTOPOD_MAX_COST is $3, and that counts' "$stderr"
  assert_contains "the guard on pod $POD could not be told" "$stderr"
  assert_contains 'Limits: $3.00 or 1 h' "$stderr"
  assert_equal "$(limits "$POD")" '[3,60,null]'
  assert_equal "$(jq -c --arg id "$POD" '.pods[$id] | .from == .since' "$AUTOPOD_HOME/pods.json")" true 'since when it counts'
  command_ autopod-extend "$POD" --timeout 900
  assert_contains 'AUTOPOD_MAX_LIFETIME is 720 minutes, and that counts' "$stderr"
  assert_equal "$(limits "$POD")" '[3,720,null]'
  assert_equal "$(jq -c --arg id "$POD" '.pods[$id] | .from - .since > 590' "$AUTOPOD_HOME/pods.json")" true 'since when it counts'
}

@test "a guard that died: autopod-info says so, and autopod-tunnel arms it anew, though its tunnel is open" {
  local dir
  simulated
  command_ autopod-connect --yes
  POD=$(basename "$AUTOPOD_HOME"/local/*) dir=$AUTOPOD_HOME/local/$(basename "$AUTOPOD_HOME"/local/*)/ram
  # Noted by who armed it, and then seen by the session itself: only that sees it die at once.
  wait_until 15 eval '[ "$(grep -c "^autopod-guard-is alive" "$AUTOPOD_HOME/logs/tunnel-$POD.log")" = 2 ]'
  kill -9 "$(cut -d ' ' -f 1 <"$dir/autopod-guard.$POD/pid")"
  wait_until 15 eval '[ "$(grep "^autopod-guard-is " "$AUTOPOD_HOME/logs/tunnel-$POD.log" | tail -n 1)" = "autopod-guard-is dead" ]'
  command_ autopod-info
  assert_contains "not alive on the pod; autopod-tunnel $POD arms it anew"
  command_ autopod-tunnel
  assert_status 0
  kill -0 "$(cut -d ' ' -f 1 <"$dir/autopod-guard.$POD/pid")"
  command_ autopod-info
  assert_contains 'Guard: alive on the pod'
  command_ autopod-kill "$POD" --yes
}

@test "nothing to change, numbers that are none, less than it has cost, a pod that is stopped or not ours" {
  rows_start
  row
  written '{"max_cost_usd":5,"minutes":60}' 3600
  local words record
  record=$(jq -c .pods "$AUTOPOD_HOME/pods.json")
  for words in '' '--timeout 0' '--timeout 1.5' '--max-cost 0' '--max-cost free' '--timeout 5 --no-limit' '--max-cost 0.3'; do
    # shellcheck disable=SC2086 # words
    command_ autopod-extend "$POD" $words
    assert_status 2
  done
  assert_contains 'has cost $0.40' "$stderr"
  assert_contains "autopod-stop $POD" "$stderr"
  assert_equal "$(jq -c .pods "$AUTOPOD_HOME/pods.json")" "$record" 'the record'
  jq -c --arg id "$POD" '.pods[$id].ending = "stop"' "$AUTOPOD_HOME/pods.json" >new && mv new "$AUTOPOD_HOME/pods.json"
  command_ autopod-extend "$POD" --timeout 5
  assert_status 4
  assert_contains 'about to go' "$stderr"
  runpod_control "{\"pods\":{\"$POD\":{\"action\":\"stop\"}}}"
  command_ autopod-extend "$POD" --timeout 5
  assert_status 4
  assert_contains 'is stopped' "$stderr"
  foreign_row
  command_ autopod-extend "$POD" --timeout 5
  assert_status 2
  assert_contains 'was not made by this installation' "$stderr"
  assert_equal "$(jq -c --arg id "$POD" '.pods[$id]' "$AUTOPOD_HOME/pods.json")" null
  command_ autopod-extend none --timeout 5
  assert_status 4
}

@test "a day's limit: longer only as far as it goes, shorter always" {
  rows_start
  row
  written '{"max_cost_usd":2,"minutes":600}' 60
  export AUTOPOD_MAX_DAILY_COST=3
  command_ autopod-extend "$POD" --max-cost 9
  assert_status 5 # its guard
  assert_equal "$(jq -c --arg id "$POD" '.pods[$id].limits.max_cost_usd | . > 2.9 and . <= 3' "$AUTOPOD_HOME/pods.json")" true "$(limits "$POD")"
  AUTOPOD_MAX_DAILY_COST=0.001 command_ autopod-extend "$POD" --max-cost 9
  assert_status 11
  AUTOPOD_MAX_DAILY_COST=0.001 command_ autopod-extend "$POD" --max-cost 1
  assert_status 5
  assert_equal "$(limits "$POD")" '[1,600,null]'
}

@test "a pod of ours that nobody has written down gets its limits all the same" {
  rows_start
  row '{"age": 60}'
  command_ autopod-extend "$POD" --timeout 30
  assert_status 5
  assert_equal "$(limits "$POD")" '[null,30,null]'
}

# --- start ----------------------------------------------------------------------------------------

@test "start: limits as before or as said, anew from now on; --require-guard stops it again" {
  rows_start
  row '{"status": "EXITED"}'
  written '{"max_cost_usd":5,"minutes":60}' 600
  command_ autopod-start "$POD"
  assert_status 0
  assert_contains 'Limits: $5.00 or 1 h, whichever is first' "$stderr"
  assert_matches 'Guards: watcher (ok|✓) pod (-|–)' "$stderr"
  assert_contains 'has no guard on itself' "$stderr"
  assert_equal "$(limits "$POD")" '[5,60,null]'
  assert_equal "$(jq -c --arg id "$POD" '.pods[$id] | .from - .since > 590' "$AUTOPOD_HOME/pods.json")" true 'since when it counts'
  command_ autopod-start "$POD" --timeout 5
  assert_status 0
  assert_contains 'autopod-extend' "$stderr"
  assert_equal "$(limits "$POD")" '[5,60,null]'
  runpod_control "{\"pods\":{\"$POD\":{\"action\":\"stop\"}}}"
  command_ autopod-start "$POD" --no-limit --require-guard
  assert_status 4
  assert_contains '--require-guard is set' "$stderr"
  assert_contains "Pod $POD is stopped again." "$stderr"
  assert_row "$POD" EXITED
  assert_equal "$(limits "$POD")" '[5,null,true]'
}

@test "start: waits for ssh to arm the guard; Ctrl+C ends the wait and the pod runs on; the pod's end ends it, too" {
  simulated
  unset START_PATIENCE
  command_ autopod-connect --yes --no-tunnel
  POD=$(basename "$AUTOPOD_HOME"/local/*)
  assert_contains 'or a login (autopod-ssh), for 30m while ComfyUI has nothing to do' "$stderr"
  command_ autopod-stop "$POD"
  stub ssh <<STUB
touch "$BATS_TEST_TMPDIR/tried"
[ -e "$BATS_TEST_TMPDIR/open" ] || exit 255
exec $(type -P ssh) "\$@"
STUB
  start_command autopod-start "$POD"
  wait_until 30 test -e "$BATS_TEST_TMPDIR/tried"
  kill_command INT
  finish_command 20
  assert_status 130
  assert_contains "pod $POD runs on, with no guard on itself yet" "$stderr"
  assert_equal "$(pod_field "$POD" .status)" running
  command_ autopod-stop "$POD"
  rm "$BATS_TEST_TMPDIR/tried"
  start_command autopod-start "$POD"
  wait_until 30 test -e "$BATS_TEST_TMPDIR/tried"
  command_ autopod-stop "$POD"
  finish_command 20
  assert_status 4
  assert_contains "pod $POD runs no more" "$stderr"
  rm "$BATS_TEST_TMPDIR/tried"
  start_command autopod-start "$POD"
  wait_until 30 test -e "$BATS_TEST_TMPDIR/tried"
  touch "$BATS_TEST_TMPDIR/open"
  finish_command 30
  assert_status 0
  assert_matches 'Guards: watcher (ok|✓) pod (ok|✓)' "$stderr"
  assert_contains 'It is stopped once nobody has had a tunnel to it, or a login' "$stderr"
  command_ autopod-kill "$POD" --yes
}

@test "start: a pod of others gets no limits, and is started all the same without them" {
  rows_start
  foreign_row '{"status": "EXITED"}'
  command_ autopod-start "$POD" --timeout 5
  assert_status 2
  assert_row "$POD" EXITED
  command_ autopod-start "$POD"
  assert_status 0
  assert_row "$POD" RUNNING
}

@test "start: its limit of cost is used up, or nothing is left for today: exit 11, and it stays stopped" {
  rows_start
  row '{"status": "EXITED"}'
  written '{"max_cost_usd":0.3,"minutes":60}' 3600
  jq -c --arg id "$POD" '.pods[$id] += {state: "stopped", ran: 3600, state_at: (.pods[$id].since + 3600)}' "$AUTOPOD_HOME/pods.json" >new
  mv new "$AUTOPOD_HOME/pods.json"
  command_ autopod-start "$POD"
  assert_status 11
  assert_row "$POD" EXITED
  AUTOPOD_MAX_DAILY_COST=0.001 command_ autopod-start "$POD" --max-cost 5
  assert_status 11
  assert_row "$POD" EXITED
  command_ autopod-start "$POD" --max-cost 5
  assert_status 0
  assert_row "$POD" RUNNING
}
