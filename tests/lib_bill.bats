#!/usr/bin/env bats
# lib/bill.sh: what the paid time of a run was used for, by its steps and the server's times.

load test_helper
load lib_helper

setup() {
  autopod_setup
  make_home
  mkdir run
}

# bill CODE - runs CODE with a pod for $36/h, a cent a second; the run began at 1000, and it is 1100 now
bill() {
  lib 'bill' <<SH
POD_ID=one POD_RATE=36 POD_OURS=1 POD_FROM=0 AUTOPOD_MAX_LIFETIME=720
os_now() { OS_NOW=1100; }
os_now_ms() { OS_MS=1100000; }
core_trap
bill_begin
$1
SH
}

# steps - the steps of a run that made its pod: 40 s, then 10, 1, 30 and 9 s, and 10 s that nobody accounts for
STEPS='bill_step target 1000000; bill_step upload 1040000; bill_step submit 1050000; bill_step await 1051000;
  bill_step collect 1081000; bill_step "" 1090000; '

# parts - the parts of the bill in $output, as NAME SECONDS DOLLARS
parts() { jq -r '.usd as $usd | .seconds | to_entries | map("\(.key) \(.value) \($usd[.key])") | join(", ")' <<<"$output"; }

# spans - what was written down for the pod
spans() { sort "$AUTOPOD_HOME/bills/one" | tr '\t\n' ' ,'; }

@test "a run that made its pod: the parts add up to what it took and cost" {
  run bill "$STEPS"'TUNNEL_OPENED_AT=1036000 _BILL_TIMES="1055000 1080000"
    bill_finish run 1000 1.01 1; echo "$BILL_JSON"'
  assert_status 0
  assert_equal "$(parts)" 'boot 36 0.36, tunnel 4 0.04, transfer 19 0.19, queue 6 0.06, compute 25 0.25, idle 10 0.11, tail null null'
  assert_equal "$(jq '[.seconds[] | numbers] | add' <<<"$output")" 100
  assert_equal "$(jq '[.usd[] | numbers] | add * 100 | round' <<<"$output")" 101
  # boot and tunnel are rent.sh's to write down
  assert_equal "$(spans)" 'one compute 1055000 1080000,one queue 1050000 1081000,one transfer 1040000 1050000,one transfer 1081000 1090000,'
}

@test "a run on a pod that was there boots nothing" {
  run bill "$STEPS"'TUNNEL_OPENED_AT=1036000 _BILL_TIMES="1055000 1080000"
    bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_equal "$(parts)" 'boot 0 0, tunnel 40 0.4, transfer 19 0.19, queue 6 0.06, compute 25 0.25, idle 10 0.11, tail null null'
  assert_contains 'one tunnel 1000000 1040000,' "$(spans)"
}

@test "an old tunnel says nothing about the boot; a boot that failed is boot as a whole" {
  run bill "$STEPS"'TUNNEL_OPENED_AT=900000; bill_finish run 1000 1.01 1; echo "$BILL_JSON"'
  assert_matches '^boot 0 0, tunnel 40 ' "$(parts)"
  run bill 'bill_step target 1000000; bill_step "" 1070000; TUNNEL_OPENED_AT=""; bill_finish run 1000 1.01 1; echo "$BILL_JSON"'
  assert_equal "$(parts)" 'boot 70 0.7, tunnel 0 0, transfer 0 0, queue 0 0, compute 0 0, idle 30 0.31, tail null null'
}

@test "the server's clock may be wrong: what it computed is not lost" {
  local times
  for times in '9955000 9980000' '55000 80000'; do # ahead, and far behind
    run bill "$STEPS"'_BILL_TIMES="'"$times"'"; bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
    assert_matches 'queue 6 0.06, compute 25 0.25, idle 10 ' "$(parts)"
  done
  # longer than there was time
  run bill "$STEPS"'_BILL_TIMES="1000 99999999"; bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_matches 'queue 0 0, compute (31|81) ' "$(parts)"
  assert_equal "$(jq '[.usd[] | numbers] | add * 100 | round' <<<"$output")" 101
}

@test "without the server's times all of the wait is queue" {
  run bill "$STEPS"'bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_matches 'queue 31 0.31, compute 0 0, ' "$(parts)"
}

@test "a run that is taken up again: what was computed before it paid is not its own; what it paid for is" {
  printf '{"prompt_id":"x","client_id":"y","at":700,"url":"z"}\n' >run/prompt.json
  local steps='bill_step target 1000000; bill_step submit 1010000; bill_step collect 1012000; bill_step "" 1020000;
    _BILL_TIMES="800000 900000"; '
  run bill "$steps"'bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_matches 'transfer 8 0.08, queue 2 0.02, compute 0 0, ' "$(parts)"
  assert_contains 'one compute 800000 900000,' "$(spans)"
  run bill "$steps"'bill_finish run 750 3.51 1; echo "$BILL_JSON"'
  assert_matches 'queue 2 0.02, compute 100 1, ' "$(parts)"
  assert_equal "$(jq '[.usd[] | numbers] | add * 100 | round' <<<"$output")" 351
}

@test "a step in which the run ends counts up to then" {
  run bill 'bill_step target 1000000; bill_step upload 1040000; bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_equal "$(parts)" 'boot 0 0, tunnel 40 0.4, transfer 60 0.6, queue 0 0, compute 0 0, idle 0 0.01, tail null null'
}

@test "when a run begins within the second, it is known better" {
  run bill 'bill_step target 1000700; bill_step "" 1099700; bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_equal "$(jq '[.seconds[] | numbers] | add' <<<"$output")" 99.3
}

@test "nothing is known of a price, a pod or a step: nulls and zeros, never nonsense" {
  run bill 'POD_ID="" POD_RATE=""; bill_finish run 1000 0.0000 ""; echo "$BILL_JSON"'
  assert_equal "$(parts)" 'boot 0 0, tunnel 0 0, transfer 0 0, queue 0 0, compute 0 0, idle 100 0, tail null null'
  refute_exists "$AUTOPOD_HOME/bills"
  run bill "$STEPS"'bill_finish run 2000 0.0100 ""; echo "$BILL_JSON"' # a clock that was set back
  assert_equal "$(jq '[.usd[] | numbers] | add' <<<"$output")" 0.01
  assert_equal "$(jq '[.seconds[] | numbers | select(. < 0)] | length' <<<"$output")" 0
}

@test "history.py's times are taken" {
  printf 'state\tsuccess\ntimes\t1055000\t1080000\nfile\tx\n' >lines
  run bill "$STEPS"'bill_times lines; bill_finish run 1000 1.01 ""; echo "$BILL_JSON"'
  assert_matches 'compute 25 0.25' "$(parts)"
}

@test "the limits of a run and its pod, and its template" {
  printf 'job_id\tx\ntemplate\tsunset\t/path\nmax_cost_usd\t5.50\ntimeout_seconds\t600\n' >plan
  run bill 'POD_OURS=1 POD_STATUS=running POD_FROM=1000 POD_LIMIT=0.60 POD_MINUTES=30 AUTOPOD_STOP_GRACE=120 AUTOPOD_GUARD_POLL=15
    bill_plan plan; echo "$BILL_LIMITS"; echo "$BILL_TEMPLATE"'
  assert_equal "$(head -n 1 <<<"$output" | jq -c .)" \
    '{"max_cost_usd":5.5,"timeout_seconds":600,"pod":{"max_cost_usd":0.6,"minutes":30,"deadline":1060,"latest_bill_usd":0.9}}'
  assert_equal "${lines[1]}" sunset
  printf 'job_id\tx\nmax_cost_usd\t\ntimeout_seconds\t1"2\n' >plan
  run bill 'POD_ID=""; bill_plan plan; echo "$BILL_LIMITS:$BILL_TEMPLATE"'
  assert_equal "$output" '{"max_cost_usd":null,"timeout_seconds":null,"pod":null}:'
}
