#!/usr/bin/env bats
# What becomes of the pod afterwards: --after, outputs that are not all here, others that are on it, a cleanup that is
# killed; and what guards it until then: the ready line, --require-guard.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load pods_helper

setup() {
  cmd_setup
  export LC_ALL=C.UTF-8 AUTOPOD_LOCAL_RATE=0.1
}

teardown() {
  local status=0
  release
  unblock
  "$AUTOPOD_BIN/autopod-kill" -q --all --yes </dev/null >/dev/null 2>&1 || :
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# record FILTER - prints what jq makes of the record of $POD
record() { jq -c --arg id "$POD" ".pods[\$id] | $1" "$AUTOPOD_HOME/pods.json"; }

# pod_is STATUS - 0 when $POD is that
pod_is() { [ "$(pod_field "$POD" .status)" = "$1" ]; }

# limit USD - the most that $POD, which stands still, may cost from here on
limit() {
  local file=$AUTOPOD_HOME/pods.json
  jq -c --arg id "$POD" --argjson usd "$1" '.pods[$id].limits.max_cost_usd = $usd' "$file" >"$file.changed" && mv "$file.changed" "$file"
}

# mark - by its record $POD is being stopped by $OWNER, and nobody has claimed it for long
mark() {
  local file=$AUTOPOD_HOME/pods.json
  jq -c --arg id "$POD" --arg by "$OWNER" '.pods[$id] += {ending: "stop", ending_by: $by, orphan_at: 1}' "$file" >"$file.changed" &&
    mv "$file.changed" "$file"
}

# is_settled - 0 when nothing that somebody began to do to $POD is left to be done
is_settled() { [ "$(record .ending)" = null ]; }

# is_ending - 0 when it is written down that a pod is about to go
is_ending() { jq -e '[.pods[] | .ending // empty] | length == 1' "$AUTOPOD_HOME/pods.json" >/dev/null 2>&1; }

# unguardable - no guard can be put on any local pod from here on: where it would be there is a file
unguardable() {
  local real
  real=$(command -v mkdir)
  cat >"$STUBS/mkdir" <<SH
#!/bin/sh
$real "\$@" || exit
for last; do :; done
case \$last in
  */local/local-*/ram)
    id=\${last%/ram} id=\${id##*/}
    : >"\$last/autopod-guard.\$id"
    : >"/tmp/autopod-guard.\$id"
    printf '%s\n' "/tmp/autopod-guard.\$id" >>"$BATS_TEST_TMPDIR/blocked"
    ;;
esac
SH
  chmod +x "$STUBS/mkdir"
}

# unblock - takes away what unguardable has left outside of the test's own directory
unblock() {
  local file
  rm -f "$STUBS/mkdir"
  while IFS= read -r file; do rm -f "$file"; done 2>/dev/null <"$BATS_TEST_TMPDIR/blocked" || :
}

@test "--after keep, stop and terminate: on a pod that was made for it, and on one that was there before" {
  local id
  for id in one two three four five; do job "$id" picture; done
  comfy_run --after keep one.json
  assert_status 0
  assert_matches 'Limits: 1:20 h, no limit of cost; latest possible bill \$0.1[0-9]. Guards: run ✓ watcher ✓ pod ✓' "$stderr"
  POD=$(the_pod)
  assert_contains "Pod $POD runs on (\$0.10/h)." "$stderr"
  assert_contains "autopod-kill $POD" "$stderr"
  assert_contains 'Guards: watcher ✓ pod ✓' "$stderr"
  assert_equal "$(record '[.waiting, .ending, .limits.minutes]')" '[null,null,80]' 'handed over, with its limits'
  comfy_run two.json
  assert_status 0
  refute_contains 'made for this run' "$stderr"
  refute_contains 'Limits:' "$stderr"
  pod_is running
  comfy_run -v --after stop three.json
  assert_status 0
  assert_contains 'Guards: run ✓ watcher ✓ pod ✓' "$stderr"
  assert_contains "Pod $POD is stopped" "$stderr"
  pod_is stopped
  is_settled
  comfy_run --pod "$POD" --after terminate four.json
  assert_status 4 # no job was on it, so nobody ends it
  pod_is stopped
  "$AUTOPOD_BIN/autopod-start" -q "$POD"
  comfy_run --after terminate five.json
  assert_status 0
  assert_contains "Pod $POD is terminated" "$stderr"
  assert_no_pods
}

@test "outputs that are not all here: the pod is stopped, whoever made it; --after terminate was said: it goes with them" {
  pod_job '{"view": "404"}'
  comfy_run one.json
  assert_status 9
  POD=$(the_pod)
  assert_contains "pod $POD is stopped, not terminated: outputs are still on it" "$stderr"
  assert_contains "comfy-run --resume one." "$stderr"
  pod_is stopped
  "$AUTOPOD_BIN/autopod-kill" -q --yes "$POD"
  comfy_run --after terminate one.json
  assert_status 9
  assert_matches 'pod local-[0-9a-f]+ is terminated with outputs of one\.[^ ]+ on it' "$stderr"
  assert_no_pods
}

@test "--after keep is not about a pod that never got ready: Ctrl+C while it boots ends it" {
  pod_job '{"stats": "500"}'
  start_command comfy-run --after keep one.json
  pod_double
  wait_until 30 double_says '.requests | length > 0' true
  kill_command INT
  finish_command
  assert_status 130
  assert_contains 'is terminated' "$stderr"
  assert_no_pods
}

@test "the limit of a pod is reached: it is stopped, also with --after keep" {
  export AUTOPOD_LOCAL_RATE=3600 AUTOPOD_ASK_ABOVE=10000 # a dollar is a second
  job one slow '{"seconds": 120}'
  start_command comfy-run --after keep one.json
  wait_until 60 command_said Running
  POD=$(the_pod)
  "$AUTOPOD_BIN/autopod-extend" -q --max-cost $(($(date +%s) - $(record .since) + 20)) "$POD"
  finish_command
  assert_status 11
  assert_contains "The limit of pod $POD is reached." "$stderr"
  assert_contains "Pod $POD is stopped" "$stderr"
  pod_is stopped
}

@test "others are on the pod: it goes on, whatever --after says, and belongs to nobody when they have gone" {
  job one slow '{"seconds": 1}'
  job two slow '{"seconds": 120, "seed": 2}'
  start_command comfy-run --after terminate one.json
  wait_until 60 command_said Running
  POD=$(the_pod)
  local first=$COMMAND_PID err=$BATS_TEST_TMPDIR/first.err
  cp "$BATS_TEST_TMPDIR/command.err" "$err"
  mv "$BATS_TEST_TMPDIR/command.err" "$err"
  start_command comfy-run --pod "$POD" --after stop two.json
  wait_until 60 compgen -G "$AUTOPOD_HOME/runs/two.*/prompt.json" >/dev/null
  wait_until 60 gone "$first"
  assert_contains "Pod $POD goes on: run two." "$(<"$err")"
  pod_is running
  assert_equal "$(record '[.waiting, .ending]')" '[true,null]' 'nobody has claimed it, nobody ends it'
  kill_command INT
  finish_command
  assert_status 130
  assert_contains "Pod $POD is stopped" "$stderr"
  pod_is stopped
}

@test "the cleanup is killed in the middle: the watcher goes on with it" {
  pod_job '{"seconds": 120, "deaf": true}'
  running_on_pod one.json
  kill_command INT
  wait_until 30 is_ending
  kill_command_group
  wait_until 60 pod_is stopped
  wait_until 60 is_settled
  export LYING_FAULTS='{}'
  comfy_run --resume one
  assert_status 0
  assert_no_pods
}

@test "a run that is resumed keeps what was wished for its pod; a pod that has cost its limit is not started again" {
  job one slow '{"seconds": 4}'
  start_command comfy-run --after keep one.json
  wait_until 60 command_said Running
  POD=$(the_pod)
  kill_command_group
  "$AUTOPOD_BIN/autopod-stop" -q --yes "$POD"
  limit 0.0001
  comfy_run --resume one
  assert_status 11
  assert_contains "pod $POD has cost its limit of" "$stderr"
  assert_contains "autopod-start $POD --max-cost USD" "$stderr"
  assert_contains "Pod $POD stays stopped." "$stderr"
  pod_is stopped
  limit 5
  comfy_run --resume one
  assert_status 0
  assert_contains "Pod $POD runs on" "$stderr"
  pod_is running
}

@test "nobody knows what became of the job, or a part of what a failed one made could not be fetched: the pod is stopped" {
  pod_job '{"seconds": 60, "deaf": true}'
  COMFY_CANCEL_SECONDS=1 running_on_pod --timeout 0.02 one.json
  finish_command
  assert_status 10
  assert_contains 'did not confirm that the job is cancelled' "$stderr"
  POD=$(the_pod)
  assert_contains "pod $POD is stopped, not terminated: outputs are still on it" "$stderr"
  pod_is stopped
  "$AUTOPOD_BIN/autopod-kill" -q --yes "$POD"
  export LYING_FAULTS='{"ending": "error", "view": "404", "outputs": {"2": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}}}'
  comfy_run one.json
  assert_status 8
  assert_contains "is stopped, not terminated: outputs are still on it" "$stderr"
  POD=$(the_pod)
  pod_is stopped
}

@test "a pod that somebody is about to end is not used; what the dead have left is forgotten by the run that made it" {
  job one slow '{"seconds": 3}'
  job two picture
  start_command comfy-run --after keep one.json
  wait_until 60 command_said Running
  POD=$(the_pod)
  kill_command_group
  watchers_stop # which would look after it
  living
  mark
  comfy_run --resume one
  assert_status 4
  assert_contains "pod $POD is about to go: somebody has begun to stop it" "$stderr"
  pod_is running
  release
  comfy_run --pod "$POD" two.json
  assert_status 4
  assert_contains "pod $POD is about to go" "$stderr"
  pod_is running
  comfy_run --resume one
  assert_status 0
  pod_is running
  assert_equal "$(record '[.ending, .ending_by, .orphan_at]')" '[null,null,null]'
}

@test "a resumed run starts a dear pod only when somebody agrees; one that was there before and stood still does so again" {
  export AUTOPOD_ASK_ABOVE=0.05
  "$AUTOPOD_BIN/autopod-connect" -q --yes --no-tunnel 3>&-
  POD=$(the_pod)
  job one slow '{"seconds": 3}'
  start_command comfy-run one.json
  wait_until 60 command_said Running
  kill_command_group
  "$AUTOPOD_BIN/autopod-stop" -q --yes "$POD"
  comfy_run --resume one
  assert_status 2
  assert_contains "Pod $POD costs \$0.10/h. Start it again?" "$stderr"
  pod_is stopped
  comfy_run --resume one --yes
  assert_status 0
  assert_contains "Pod $POD is stopped" "$stderr"
  pod_is stopped
}

@test "a pod of others is ended only when somebody says so" {
  rows_start
  foreign_row
  job one picture
  comfy_run --provider runpod --pod "$POD" --after stop one.json
  assert_status 2
  assert_contains "Pod $POD (theirs) was not made by this installation. Go on, and stop it afterwards?" "$stderr"
  at_terminal n comfy-run --provider runpod --pod "$POD" --after terminate one.json
  assert_status 1
  assert_row "$POD" RUNNING
}

@test "--after and --require-guard: what they can't be, and what they can't go with" {
  job one picture
  comfy_run --after explode one.json
  assert_status 2
  assert_contains '--after is "explode", but must be terminate, stop or keep' "$stderr"
  comfy_run --after keep --url http://127.0.0.1:9 one.json
  assert_status 2
  assert_contains '--url, --proxy and --no-tunnel name no pod of this call' "$stderr"
  comfy_run --require-guard --no-tunnel one.json
  assert_status 2
  assert_no_runs
}

@test "a guard on the pod that can't be had: a warning; with --require-guard no job, and no pod stays" {
  unguardable
  job one picture
  job two picture
  comfy_run --json one.json
  assert_status 0
  assert_contains 'Guards: run ✓ watcher ✓ pod –' "$stderr"
  assert_matches 'pod local-[0-9a-f]+ has no guard on itself \(nothing can be written .*\): when this machine sleeps' "$stderr"
  assert_equal "$(event pod_ready '[.guards.run, .guards.watcher, .guards.pod] | tostring')" '[true,true,false]'
  comfy_run --overwrite --require-guard --after keep one.json two.json
  assert_status 4
  assert_matches 'pod local-[0-9a-f]+ has no guard on itself .*, and --require-guard is set' "$stderr"
  assert_contains 'Not begun: two' "$stderr"
  assert_no_pods
  command_ autopod-connect --require-guard
  assert_status 4
  assert_no_pods
  command_ autopod-connect
  assert_status 0
  assert_contains 'Guards: watcher ✓ pod –' "$stderr"
  "$AUTOPOD_BIN/autopod-kill" -q --yes
  unblock
}

@test "what a stopped pod still costs is told" {
  pods
  job one picture
  comfy_run --after stop one.json
  assert_status 0
  assert_matches 'Pod [a-z0-9]{14} is stopped; its disk costs \$8\.00 a month\.' "$stderr"
  assert_running 0
  assert_equal "$(runpod_state '.pods[0].status')" EXITED 'the pod'
}

@test "no watcher: told before a pod is made; with --require-guard none is" {
  pods
  job one picture
  hold_lock watcher
  printf '%s %s %s\n' "$OWNER" 0 another-key >"$AUTOPOD_HOME/watcher"
  comfy_run --provider runpod --require-guard one.json
  assert_status 4
  assert_contains 'no pod is started: there is no watcher (' "$stderr"
  assert_contains 'has another RunPod key' "$stderr"
  assert_made 0
  comfy_run --provider runpod one.json
  assert_status 0
  assert_contains 'if this program dies while the pod boots, nothing stops the pod' "$stderr"
  assert_contains 'Guards: run ✓ watcher – pod ✓' "$stderr"
}
