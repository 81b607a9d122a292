#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # what a test exports is its own: bats runs each in a subshell
# cmd_doubt.bats - nobody knows whether a pod was made, or whether it is gone: whatever runpodctl and RunPod say,
# none runs on unseen. A shim in front of runpodctl spoils the answers; pods are rows where none has to become ready.

load test_helper
load cmd_helper
load runpod_helper

setup() { cmd_setup; }

teardown() {
  local status=0
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# unready_rows - an API whose pods are rows only, which never become ready: that is soon found out
unready_rows() {
  rows
  export AUTOPOD_BOOT_TIMEOUT=1 RUNPOD_CONFIRM=0.1 RUNPOD_SETTLE=0.1
}

# known FILTER - prints what jq's FILTER makes of pods.json
known() { jq -c "$1" "$AUTOPOD_HOME/pods.json"; }

# assert_intent NAME - the only thing that pods.json knows is that a pod of that NAME was asked for
assert_intent() { assert_equal "$(known '[.pods // {}, (.intents | keys)]')" "[{},[\"$1\"]]" pods.json; }

# late - an order that is carried out only when the file now is there; whoever gave it has no answer until then
late() {
  shim pod-create <<'SH'
printf '%s\n' "$*" >>"$SHIMS/orders"
(
  for ((i = 0; i < 200; i++)); do
    [ ! -e "$SHIMS/now" ] || real "$@"
    [ ! -e "$SHIMS/now" ] || break
    sleep 0.1
  done
) </dev/null >/dev/null 2>&1 &
SH
  cat >>"$SHIMS/pod-create"
}

# the_order - prints the name of the pod in the only order that was given
the_order() {
  assert_equal "$(grep -c . "$SHIMS/orders")" 1 'number of orders' && sed -E 's/.*--name ([^ ]+) .*/\1/' "$SHIMS/orders"
}

# --- was it made? ---------------------------------------------------------------------------------

@test "made, and then words that nobody knows, or none at all: the pod is taken, and there is one" {
  unready_rows
  shim pod-create <<'SH'
real "$@" >/dev/null
. "$SHIMS/answer"
SH
  local answer
  while IFS= read -r answer; do
    printf '%s\n' "$answer" >"$SHIMS/answer"
    connect --gpu a40
    assert_status 4
    assert_matches 'Pod [a-z0-9]+ did not become ready' "$stderr" # so it was taken
    assert_equal "$(runpod_state '.pods | length'):$(runpod_state .running)" "$((MADE += 1)):0" "after $answer"
    assert_nothing_known
  done <<'ANSWERS'
complain 'unexpected end of JSON input'
exit 0
ANSWERS
}

@test "not made, with words that nobody knows: it is asked once more, then it stops with them" {
  unready_rows
  shim pod-create <<'SH'
echo once >>"$SHIMS/orders"
complain 'the moon is in the way'
SH
  connect --gpu a40,a6000
  assert_status 4
  assert_contains 'error: RunPod makes no pod: the moon is in the way' "$stderr"
  assert_equal "$(grep -c . "$SHIMS/orders")" 2 'number of orders'
  assert_nothing_known
}

@test "an id that can't be one: by the list it is found and ended; when that has it too, exit 12 and the name is kept" {
  unready_rows
  shim pod-create <<'SH'
real "$@" | jq -c '.id = "../../x"'
exit
SH
  connect --gpu a40
  assert_status 4
  assert_made 1
  assert_running 0
  assert_nothing_known
  shim pod-list <<'SH'
real "$@" | jq -c 'map(.id = "../../x")'
exit
SH
  connect --gpu a40
  assert_status 12
  assert_running 1
  assert_intent "$(runpod_state '.pods[-1].name')"
  assert_contains "$(runpod_state '.pods[-1].name')" "$stderr"
}

@test "an order that was carried out twice: one pod is taken, its twin is ended" {
  unready_rows
  shim pod-create <<'SH'
real "$@" >/dev/null
real "$@" >/dev/null
complain 'api error (status 504)'
SH
  connect --gpu a40
  assert_status 4
  assert_contains 'did not become ready' "$stderr" # so one was taken
  assert_made 2
  assert_running 0
  assert_nothing_known
}

@test "a twin that can't be ended: exit 12, and all of that name are told, once" {
  unready_rows
  shim pod-create <<'SH'
real "$@" >/dev/null
real "$@" >/dev/null
complain 'api error (status 504)'
SH
  runpod_control '{"faults":{"terminate_not_done":{}}}'
  connect --gpu a40
  assert_status 12
  assert_running 2
  assert_equal "$(grep -c 'may still be running' <<<"$stderr")" 1 'times that it is told'
  assert_contains "$(runpod_state '.pods[0].id')" "$stderr"
  assert_contains "$(runpod_state '.pods[1].id')" "$stderr"
  assert_intent "$(runpod_state '.pods[0].name')"
}

@test "a pod that comes after we gave up: exit 12, no other is made, its name is kept, and autopod-sweep ends it" {
  unready_rows
  late <<<"complain 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'"
  start_command autopod-connect --gpu a40,a6000 # not by run: that waits for the order, too
  finish_command 20
  assert_status 12
  local name
  name=$(the_order)
  assert_contains "$name" "$stderr"
  assert_contains autopod-sweep "$stderr"
  assert_intent "$name"
  : >"$SHIMS/now"
  wait_until 20 runpod_says .running 1
  run "$AUTOPOD_BIN/autopod-sweep" --yes
  assert_status 0
  assert_running 0
}

@test "Ctrl+C, and the pod comes after that: the same" {
  unready_rows
  late <<<'exec sleep 60'
  start_command autopod-connect --gpu a40
  wait_until 20 test -s "$SHIMS/orders"
  kill_command INT
  finish_command 20
  assert_status 12
  local name
  name=$(the_order)
  assert_contains "$name" "$stderr"
  assert_intent "$name"
  : >"$SHIMS/now"
  wait_until 20 runpod_says .running 1
  run "$AUTOPOD_BIN/autopod-sweep" --yes
  assert_status 0
  assert_running 0
}

@test "a list that lags: it is looked at more than once; what comes later still autopod-sweep finds" {
  unready_rows
  export RUNPOD_SETTLE='0.1 0.1 0.1'
  shim pod-create <<'SH'
real "$@" >/dev/null
: >"$SHIMS/looks"
complain 'api error (status 500)'
SH
  shim pod-list <<'SH'
if [ -e "$SHIMS/looks" ]; then
  echo look >>"$SHIMS/looks"
  [ "$(grep -c . "$SHIMS/looks")" -gt "$(<"$SHIMS/lag")" ] || { echo '[]' && exit; }
fi
SH
  echo 3 >"$SHIMS/lag"
  connect --gpu a40
  assert_contains 'did not become ready' "$stderr" # so it was taken
  assert_made 1
  echo 4 >"$SHIMS/lag"
  connect --gpu a40
  assert_status 4
  assert_made 3
  assert_running 2
  run "$AUTOPOD_BIN/autopod-sweep" --yes
  assert_status 0
  assert_running 0
}

# --- whose is it? ---------------------------------------------------------------------------------

@test "while a pod is being made for one run, no other run takes it, and nobody ends it unasked" {
  unready_rows
  job b picture '{}' '{"pod_config":{"gpu_type":"A40"}}'
  shim pod-create <<'SH'
real "$@"
status=$?
mkdir "$SHIMS/first" 2>/dev/null || exit "$status"
for ((i = 0; i < 300; i++)); do
  [ ! -e "$SHIMS/now" ] || break
  sleep 0.1
done
exit "$status"
SH
  start_command autopod-connect --gpu a40
  wait_until 20 runpod_says .running 1
  local id
  id=$(runpod_state '.pods[0].id')
  comfy_run b.json
  assert_status 4
  assert_made 2
  refute_contains "$id" "$stderr"
  run "$AUTOPOD_BIN/autopod-kill"
  assert_status 2
  run "$AUTOPOD_BIN/autopod-stop"
  assert_status 2
  assert_running 1
  : >"$SHIMS/now"
  finish_command 20
  assert_status 4
  assert_contains "Pod $id did not become ready" "$stderr"
  assert_running 0
  assert_nothing_known
}

# --- is it there? ---------------------------------------------------------------------------------

@test "a pod that is not known yet when it is looked at right after it was made: it is waited for" {
  pods
  shim pod-get <<'SH'
echo look >>"$SHIMS/looks"
[ "$(grep -c . "$SHIMS/looks")" -gt 2 ] || {
  echo '{"error":"pod not found","code":"not_found","status":404}' >&2
  exit 1
}
SH
  shim pod-list <<'SH'
[ "$(grep -c . "$SHIMS/looks")" -gt 2 ] || { echo '[]' && exit; }
SH
  connect --no-tunnel --gpu a40
  assert_status 0
  assert_made 1
  assert_running 1
}

@test "a pod that can't be looked at is ended; that it is gone is then asked past runpodctl" {
  unready_rows
  runpod_control '{"faults":{"unauthorized":{"operations":["get"],"apis":["v1","v2"]}}}'
  connect --gpu a40
  assert_status 3
  refute_contains 'may still be running' "$stderr"
  assert_running 0
  assert_nothing_known
}

@test "a pod that can't be ended is told once" {
  unready_rows
  runpod_control '{"faults":{"terminate_not_done":{}}}'
  connect --gpu a40
  assert_status 12
  assert_equal "$(grep -c 'may still be running' <<<"$stderr")" 1 'times that it is told'
}
