#!/usr/bin/env bats
# The watcher, as the commands start and show it, and `autopod-sweep --enforce`: pods are stopped at their limits, and when
# nobody claims them, whatever became of the commands that made them.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load pods_helper

setup() { cmd_setup; }

teardown() {
  local status=0
  watchers_stop
  pods_end
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# pods_end - ends the local pods that a test means to leave
pods_end() {
  local dir
  for dir in "$AUTOPOD_HOME"/local/*/; do
    [ ! -d "$dir" ] || "$AUTOPOD_BIN/autopod-kill" --yes "$(basename "$dir")" >/dev/null 2>&1 || :
  done
}

# watcher - prints the number of the watcher; 1 when none lives
watcher() {
  local owner
  owner=$(readlink "$AUTOPOD_HOME/locks/watcher") && alive "${owner%%-*}" && printf '%s\n' "${owner%%-*}"
}

# watches - 0 when one lives
watches() { watcher >/dev/null; }

# watches_not - 0 when none does
watches_not() { ! watcher >/dev/null; }

# recorded FILTER - prints what jq's FILTER makes of the only record
recorded() { jq -r ".pods | to_entries[0] | $1" "$AUTOPOD_HOME/pods.json"; }

# recorded_is FILTER TEXT - 0 when that is so
recorded_is() { [ "$(recorded "$1")" = "$2" ]; }

# row_is ID STATUS - 0 when RunPod says that of the pod
row_is() { [ "$(pod_row "$1" .status)" = "$2" ]; }

# has_no_pods - 0 when pods.json has neither pods nor wishes
has_no_pods() { [ "$(jq -c '[.intents, .pods]' "$AUTOPOD_HOME/pods.json")" = '[{},{}]' ]; }

# --- what starts it, and when it goes -------------------------------------------------------------

@test "a run starts it before its pod is made, and it goes when the pod has gone" {
  job one picture
  comfy_run one.json
  assert_status 0
  wait_until 20 watches_not
  has_no_pods
  assert_contains 'watches over the pods' "$(<"$AUTOPOD_HOME/logs/watcher.log")"
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" '' locks
}

@test "it is there before RunPod is asked for a pod" {
  rows_start
  shim pod-create <<'SH'
readlink "$AUTOPOD_HOME/locks/watcher" >"$SHIMS/owner" || :
complain 'no longer any instances available'
SH
  connect --yes
  assert_status 4
  [ -s "$SHIMS/owner" ]
  wait_until 20 watches_not
}

@test "a job on a server of somebody else needs none" {
  double_start
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  refute_exists "$AUTOPOD_HOME/logs/watcher.log"
}

# --- what it does ---------------------------------------------------------------------------------

@test "a pod that was handed over is stopped at its limit by it alone" {
  local ran
  AUTOPOD_LOCAL_RATE=3600 connect --provider local --max-cost 12 --yes
  assert_status 0
  wait_until 40 recorded_is .value.state stopped
  wait_until 20 watches_not
  ran=$(recorded .value.ran)
  [ "$ran" -ge 12 ] && [ "$ran" -le 17 ] || { _complain "it ran for $ran seconds" && return 1; }
}

@test "comfy-run is killed with -9 while its pod boots: the pod is stopped once nobody has claimed it for the grace" {
  export AUTOPOD_GUARD_GRACE=3
  pod_job
  printf 'import time\ntime.sleep(60)\n' >"$AUTOPOD_LOCAL_COMFYUI/main.py"
  start_command comfy-run one.json
  wait_until 30 the_pod >/dev/null 2>&1
  wait_until 30 recorded_is .value.waiting true
  kill_command_group
  wait_until 30 recorded_is .value.state stopped
  wait_until 20 watches_not
}

@test "killed before it could write its pod down: the pod is found by its name, and stopped by the limits of the wish" {
  pods
  export AUTOPOD_GUARD_GRACE=600
  shim pod-create <<'SH'
real "$@" >"$SHIMS/made"
: >"$SHIMS/asked"
sleep 60
SH
  start_command autopod-connect --yes --timeout 1
  wait_until 30 test -e "$SHIMS/asked"
  kill_command_group
  # As if the order had been given a minute ago.
  jq -c '.intents |= map_values(.at -= 50)' "$AUTOPOD_HOME/pods.json" >"$AUTOPOD_HOME/x"
  mv "$AUTOPOD_HOME/x" "$AUTOPOD_HOME/pods.json"
  wait_until 30 runpod_says '.running' 0
  wait_until 20 recorded_is '[.value.state, .value.limits.minutes] | tostring' '["stopped",1]'
}

@test "a job that runs when its program is killed may finish; the pod is stopped after that" {
  export AUTOPOD_GUARD_GRACE=2
  pod_job '{"seconds": 8}'
  running_on_pod one.json
  kill_command_group
  sleep 4
  assert_equal "$(recorded .value.state)" running
  assert_equal "$(double_ask .running)" true
  wait_until 40 recorded_is .value.state stopped
  assert_executions 1
}

@test "RunPod is down when the limit is reached, and back later: the pod is stopped then, and only then counts as stopped" {
  rows_start
  row '{"cost_per_hr": 0.4}'
  written '{"minutes": 1}' 70
  runpod_control '{"faults": {"server_error": {"status": 503}}}'
  "$AUTOPOD_BIN/autopod-doctor" --fix --provider runpod >/dev/null 2>&1 || :
  watches
  wait_until 20 grep -q 'limits are used up' "$AUTOPOD_HOME/logs/watcher.log"
  sleep 3
  assert_equal "$(recorded .value.state)" running
  runpod_control '{"faults": {"server_error": null}}'
  wait_until 60 recorded_is .value.state stopped
  assert_row "$POD" EXITED
  wait_until 20 watches_not
}

@test "what autopod-kill and -stop could not end it goes on with, when its provider is back; they start it for that" {
  rows_start
  row
  written '{"minutes": 600}' 70
  local killed=$POD
  row
  written '{"minutes": 600}' 70
  runpod_control '{"faults": {"server_error": {"status": 503}}}'
  command_ autopod-kill "$killed" --yes
  assert_status 12
  assert_contains "The watcher (process $(watcher)) goes on trying until it is confirmed." "$stderr"
  watchers_stop
  command_ autopod-stop "$POD" --yes
  assert_status 12
  assert_contains "The watcher (process $(watcher)) goes on trying" "$stderr"
  runpod_control '{"faults": {"server_error": null}}'
  wait_until 40 row_is "$POD" EXITED
  wait_until 40 row_is "$killed" TERMINATED
  wait_until 10 recorded_is .value.ending null
  assert_equal "$(jq -c '.pods | keys' "$AUTOPOD_HOME/pods.json")" "[\"$POD\"]"
}

@test "autopod-sweep, too, starts it when it could not stop what was left behind" {
  rows_start
  row
  written '{"minutes": 60}' 7300
  runpod_control '{"faults": {"locked": {}}}'
  command_ autopod-sweep --yes
  assert_status 12
  assert_contains "The watcher (process $(watcher)) goes on trying" "$stderr"
  runpod_control '{"faults": {"locked": null}}'
  wait_until 40 row_is "$POD" EXITED
}

@test "one that has not our key is none for RunPod's pods: -ls, -info and -doctor say so" {
  rows_start
  row
  written '{"minutes": 600}' 70
  "$AUTOPOD_BIN/autopod-doctor" --fix --provider runpod >/dev/null 2>&1 || :
  watches
  command_ autopod-ls
  assert_contains "The watcher (process $(watcher)) stops them" "$stderr"
  sed 's/[^ ]*$/none/' "$AUTOPOD_HOME/watcher" >"$AUTOPOD_HOME/w" && mv "$AUTOPOD_HOME/w" "$AUTOPOD_HOME/watcher"
  command_ autopod-ls
  refute_contains 'stops them' "$stderr"
  assert_contains "warning: the watcher (process $(watcher)) has not the RunPod key that is set here" "$stderr"
  command_ autopod-info "$POD"
  assert_contains 'Watcher: none for this pod: the watcher (process'
  command_ autopod-doctor --provider runpod
  assert_contains 'but not with the RunPod key that is set here'
}

# --- for those who want no process ----------------------------------------------------------------

@test "autopod-sweep --enforce does the same once, and says nothing" {
  rows_start
  row
  written '{"minutes": 60}' 7300
  local over=$POD
  row
  written '{"minutes": 600}' 7300
  command_ autopod-sweep --enforce
  assert_status 0
  assert_equal "$output$stderr" ''
  assert_row "$over" EXITED
  assert_row "$POD" RUNNING
  watches_not
  command_ autopod-sweep --enforce
  assert_status 0
  assert_equal "$output$stderr" ''
}

@test "--enforce says at once that RunPod's pods could not be stopped from here, long before that is due" {
  rows_start
  row
  written '{"minutes": 600}' 70
  RUNPOD_API_KEY='' command_ autopod-sweep --enforce
  assert_status 3
  assert_contains "there are pods at runpod, which can't be stopped from here: there is no RunPod API key" "$stderr"
  assert_contains 'cron needs a PATH line' "$stderr"
  written '{"minutes": 1}' 7300
  RUNPOD_API_KEY='' command_ autopod-sweep --enforce
  assert_status 12
  jq --arg id "$POD" '.pods[$id] |= (.state = "stopped" | del(.ending))' "$AUTOPOD_HOME/pods.json" >now && mv now "$AUTOPOD_HOME/pods.json"
  RUNPOD_API_KEY='' command_ autopod-sweep --enforce
  assert_status 0
  assert_equal "$stderr" ''
}

@test "--enforce: what could not be stopped is exit 12, and told; with --yes or --json it makes no sense" {
  rows_start
  row
  written '{"minutes": 60}' 7300
  runpod_control '{"faults": {"server_error": {"status": 503}}}'
  command_ autopod-sweep --enforce
  assert_status 12
  assert_contains "pod $POD may still be running" "$stderr"
  command_ autopod-sweep --enforce --yes
  assert_status 2
  command_ autopod-sweep --enforce --json
  assert_status 2
}

@test "--enforce asks nobody while nothing is due" {
  rows_start
  row
  written '{"minutes": 600}' 7300
  runpod_control '{"faults": {"server_error": {"status": 503}}}'
  command_ autopod-sweep --enforce
  assert_status 0
  assert_equal "$output$stderr" ''
}

@test "--enforce notes when nobody claims a pod any more, and stops it when it is called again after the grace" {
  rows_start
  row
  written '{"minutes": 600}' 100
  jq -c --arg id "$POD" '.pods[$id].waiting = true' "$AUTOPOD_HOME/pods.json" >"$AUTOPOD_HOME/x"
  mv "$AUTOPOD_HOME/x" "$AUTOPOD_HOME/pods.json"
  AUTOPOD_GUARD_GRACE=2 command_ autopod-sweep --enforce
  assert_status 0
  assert_row "$POD" RUNNING
  sleep 2
  AUTOPOD_GUARD_GRACE=2 command_ autopod-sweep --enforce
  assert_status 0
  assert_row "$POD" EXITED
}

@test "--enforce: a damaged pods.json is no success" {
  mkdir -p "$AUTOPOD_HOME"
  printf '{"pods": {"on' >"$AUTOPOD_HOME/pods.json"
  command_ autopod-sweep --enforce
  assert_status 1
  assert_contains 'is damaged' "$stderr"
}

@test "a pod that was made with another key is not forgotten because ours does not show it" {
  rows_start
  POD=elsewhere ACCOUNT=0123456789ab written '{"minutes": 60}' 7300
  command_ autopod-sweep --enforce
  assert_status 12
  assert_contains 'pod elsewhere' "$stderr"
  command_ autopod-ls
  assert_contains 'left alone' "$stderr"
  assert_equal "$(recorded '.key')" elsewhere
  row
  "$AUTOPOD_BIN/autopod-doctor" --fix --provider runpod >/dev/null 2>&1 || :
  wait_until 20 watches_not # it has nothing to do here
}

@test "a pod that is made bears the mark of its key, and so does its wish" {
  rows_start
  shim pod-create <<'SH'
cp "$AUTOPOD_HOME/pods.json" "$SHIMS/wished"
SH
  start_command autopod-connect --provider runpod --yes --no-tunnel
  wait_until 30 recorded_is .value.account "$ACCOUNT" # as long as it boots: it never gets ready
  kill_command INT
  finish_command 30
  assert_equal "$(jq -r '.intents[].account' "$SHIMS/wished")" "$ACCOUNT"
}

# --- who tells of it ------------------------------------------------------------------------------

@test "autopod-ls, -info and -doctor say that it lives, or that it doesn't; --fix starts it" {
  connect --provider local
  assert_status 0
  local id
  id=$(the_pod)
  command_ autopod-ls
  assert_contains "The watcher (process $(watcher)) stops them" "$stderr"
  command_ autopod-info "$id"
  assert_contains "Watcher: process $(watcher), since 20"
  command_ autopod-doctor
  assert_contains "process $(watcher) watches over 1 pod that costs"
  watchers_stop
  command_ autopod-ls
  assert_status 0
  assert_contains 'warning: no watcher lives' "$stderr"
  assert_contains 'autopod-doctor --fix' "$stderr"
  command_ autopod-info "$id"
  assert_contains 'Watcher: none: autopod-doctor --fix starts it'
  command_ autopod-doctor --json
  assert_equal "$(jq -r '.[] | select(.check == "watcher") | "\(.state) \(.text)"' <<<"$output")" \
    'warn nothing on this machine watches over 1 pod that costs'
  command_ autopod-doctor --fix
  assert_contains 'nothing on this machine watches over 1 pod that costs; put right: start the watcher'
  watches
  command_ autopod-ls
  assert_contains "The watcher (process $(watcher))" "$stderr"
}

@test "pods of others need none, and nothing is said where no pod runs" {
  rows_start
  foreign_row
  command_ autopod-ls
  refute_contains watcher "$stderr"
  command_ autopod-info "$POD"
  refute_contains Watcher
  command_ autopod-doctor --json
  assert_equal "$(jq -r '.[] | select(.check == "watcher") | "\(.state) \(.text)"' <<<"$output")" \
    'ok none, and no pod that costs: the next one starts it'
}

@test "--json of autopod-ls and -info has the deadline and the latest bill, null where there is none" {
  rows_start
  row '{"name": "autopod-mine"}'
  written '{"minutes": 60}' 60
  local mine=$POD since
  since=$(recorded .value.since)
  foreign_row
  command_ autopod-ls --json
  assert_status 0
  assert_equal "$(jq -c --arg id "$mine" 'select(.id == $id) | [.deadline, .latest_bill_usd]' <<<"$output")" "[$((since + 3600)),0.4034]"
  assert_equal "$(jq -c --arg id "$POD" 'select(.id == $id) | [.deadline, .latest_bill_usd]' <<<"$output")" '[null,null]'
  command_ autopod-info --json "$mine"
  assert_equal "$(jq -c '[.deadline, .latest_bill_usd]' <<<"$output")" "[$((since + 3600)),0.4034]"
}
