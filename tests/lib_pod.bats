#!/usr/bin/env bats
# lib/pod.sh and lib/record.sh: the limits of a pod by its record, and what its record says while it is started or ended.
# The provider is a stand-in; pods.json is real.

load test_helper
load lib_helper

setup() {
  autopod_setup
  make_home
  printf '0123456789abcdef\n' >"$AUTOPOD_HOME/installation"
}

# record JSON [POD_JSON] - pods.json has one pod, pod1, with that record; the provider says POD_JSON of it
record() {
  jq -n -c --argjson more "$1" '{pods: {pod1: ({provider: "runpod", since: 1000, price: 2.4, limits: {}, ran: 0, rested: 0,
    state: "running", state_at: 1000, pod: {id: "pod1", name: "autopod-x", provider: "runpod", status: "running"}} + $more)}}' \
    >"$AUTOPOD_HOME/pods.json"
  jq -n -c --argjson more "${2:-"{}"}" '{id: "pod1", name: "autopod-x", provider: "runpod", status: "running", gpu: "A40", gpu_count: 1,
    cost_per_hr: 2.4, stopped_usd_per_month: 0, ssh: null} + $more' >said
}

# field FILTER - prints what is in the record of pod1
field() { jq -c ".pods.pod1 | $1" "$AUTOPOD_HOME/pods.json"; }

# with_pod - runs the program on stdin with that pod loaded; `deadline` prints its limits. The file `fate` is the
# status of what is asked of the provider, `after` what it says of the pod then; `asked` gets the record at that moment.
with_pod() {
  local text
  text=$(cat)
  lib 'config pod wish' <<SH
ui_init
config_load
core_tmpdir
POD_YOUNG=0
os_now() { OS_NOW=\${NOW:-5000}; }
provider_runpod_get() { if [ -e gone ]; then core_fail "\$EX_POD" 'no such pod'; else cat said; fi; }
_asked() {
  jq -c '.pods.pod1 | [.state, .from, .ending, (.ending_by | type)]' "\$AUTOPOD_HOME/pods.json" >asked
  read -r status <fate
  [ ! -e after ] || cat after
  [ "\$status" = 0 ] || core_fail "\$status" 'the provider says no' 'look at https://console.example/pods'
}
provider_runpod_start() { _asked; }
provider_runpod_stop() { _asked; }
provider_runpod_terminate() { _asked; }
deadline() {
  pod_deadline
  echo "\$POD_DEADLINE \$POD_DEADLINE_CODE \$POD_CANCEL_AT \$POD_WARN_AT \$POD_BILL"
}
pod_load said
$text
SH
}

# --- when limits are used up ----------------------------------------------------------------------

@test "the deadline by the record: cost, time, and the default of those that say nothing of time" {
  local limits wanted
  while IFS='|' read -r limits wanted; do
    record "{\"limits\":$limits}"
    run with_pod <<<deadline
    assert_status 0
    assert_equal "$output" "$wanted" "$limits"
  done <<'CASES'
{"max_cost_usd":5,"minutes":750}|8500 11 8380 7642 5.0200
{"max_cost_usd":5,"minutes":60}|4600 10 4480 4132 2.4200
{"minutes":60.9}|4600 10 4480 4132 2.4200
{}|44200 10 44080 39772 28.8200
{"max_cost_usd":null,"minutes":null}|44200 10 44080 39772 28.8200
{"max_cost_usd":5}|8500 11 8380 7642 5.0200
{"unlimited":true}|    
{"unlimited":true,"minutes":60}|    
{"unlimited":true,"max_cost_usd":5}|8500 11 8380 7642 5.0200
{"max_cost_usd":0.00001}|1000 11 1000 1000 0.0200
{"max_cost_usd":"5","minutes":"x"}|44200 10 44080 39772 28.8200
CASES
}

@test "a pod that waits to be handed over has its deadline too; one that is stopped, or of others, has none" {
  record '{"limits":{"minutes":60},"waiting":true}'
  run with_pod <<<'deadline; echo "<$POD_WAITING>"'
  assert_equal "$output" '4600 10 4480 4132 2.4200
<1>'
  record '{"limits":{"minutes":60}}' '{"status":"stopped"}'
  run with_pod <<<deadline
  assert_equal "$output" '    '
  record '{}'
  echo '{}' >"$AUTOPOD_HOME/pods.json"
  run with_pod <<<'deadline; echo "<$POD_OURS>"'
  assert_equal "$output" '    
<>'
}

@test "a pod that is known only by the wish for it has the limits of that" {
  record '{}'
  echo '{"intents":{"autopod-x":{"provider":"runpod","at":2000,"maker":"1-1","list_price":7.2,"limits":{"max_cost_usd":2,"minutes":60}}}}' \
    >"$AUTOPOD_HOME/pods.json"
  run with_pod <<<deadline
  assert_equal "$output" '5000 11 4880 4592 2.0200'
  jq -c '.cost_per_hr = 0' said >other && mv other said
  run with_pod <<<'deadline; echo "$POD_RATE"'
  assert_equal "$output" '3000 11 2900 2810 2.0600
7.2'
}

@test "after a stop and a start the time counts anew, and the cost goes on" {
  # It ran 3600 s for $2.40, stood still for 900 s, and runs again since 5500.
  export NOW=6000
  record '{"limits":{"max_cost_usd":5,"minutes":60},"ran":3600,"rested":900,"state_at":5500,"from":5500}'
  run with_pod <<<deadline
  assert_equal "$output" '9100 10 8980 8632 4.8200'
  record '{"limits":{"max_cost_usd":3,"minutes":60},"ran":3600,"rested":900,"state_at":5500,"from":5500}'
  run with_pod <<<deadline
  assert_equal "$output" '6400 11 6310 6229 3.0200'
  # Its time was set anew while it ran.
  record '{"limits":{"max_cost_usd":5,"minutes":10},"from":4600}'
  run with_pod <<<deadline
  assert_equal "$output" '5200 10 5140 5086 2.8200'
  # Somebody else has stopped and started it: its time goes on, what it cost is not told smaller than it may be.
  record '{"limits":{"max_cost_usd":3,"minutes":600},"ran":1000,"rested":1000,"state_at":3000}'
  run with_pod <<<deadline
  assert_equal "$output" '5500 11 5380 4942 3.0200'
}

@test "a time that is yet to come, from a clock that was fast, counts as now, and is put right on disk" {
  record '{"limits":{"max_cost_usd":5,"minutes":60},"since":9000,"state_at":9000}'
  run with_pod <<<'deadline; pod_cost; echo "$BUDGET_COST"'
  assert_equal "$output" '8600 10 8480 8132 2.4200
0.0007'
  assert_equal "$(field '[.since, .from, .state_at]')" '[5000,null,5000]'
  record '{"limits":{"minutes":60},"from":5001,"state_at":4000}'
  run with_pod <<<'deadline'
  assert_equal "$(field '[.since, .from, .state_at]')" '[1000,5000,4000]'
}

@test "without a price there is no limit of cost, and the words say so" {
  record '{"limits":{"max_cost_usd":5,"minutes":60},"price":0}' '{"cost_per_hr":0}'
  run with_pod <<<'deadline; pod_limits_text; echo "$POD_LIMITS"'
  assert_equal "$output" '4600 10 4480 4132 
$5.00 or 1 h, whichever is first; no price known, and so no latest possible bill'
}

@test "limits in words, and changed: the record has them, and when they began to count" {
  record '{"limits":{"max_cost_usd":5,"minutes":750}}'
  run with_pod <<'SH'
pod_limits_text
echo "$POD_LIMITS"
pod_set_limits 3 '' 1
pod_limits_text
echo "$POD_LIMITS"
pod_set_limits '' 10 '' 4000
deadline
SH
  assert_status 0
  assert_equal "$output" '$5.00 or 12:30 h, whichever is first; latest possible bill $5.02
$3.00, no limit of time; latest possible bill $3.02
4600 10 4540 4486 2.4200'
  assert_equal "$(field '[.limits, .from]')" '[{"max_cost_usd":null,"minutes":10},4000]'
}

# --- what the record says while something is done -------------------------------------------------

@test "stop and terminate: the mark is on disk before anybody is asked, and gone when it is confirmed" {
  record '{}'
  echo 0 >fate
  jq -c '.status = "stopped"' said >after
  run with_pod <<<pod_stop
  assert_status 0
  assert_equal "$(cat asked)" '["running",null,"stop","string"]'
  assert_equal "$(field '[.state, .ending, .ending_by]')" '["stopped",null,null]'
  record '{}'
  rm after
  run with_pod <<<pod_terminate
  assert_status 0
  assert_equal "$(cat asked)" '["running",null,"terminate","string"]'
  assert_equal "$(field .)" null
}

@test "an end that is not confirmed: exit 12, the mark stays, and where to look is said" {
  local what
  for what in stop terminate; do
    record '{}'
    echo 12 >fate
    run with_pod <<<"pod_$what"
    assert_status 12
    assert_contains 'pod pod1 may still be running and could not be stopped: the provider says no'
    assert_contains 'autopod-kill pod1; or look at https://console.example/pods'
    assert_equal "$(field .ending)" "\"$what\""
    refute_contains $'\a'
  done
  # It says that all is well, and the pod runs.
  echo 0 >fate
  cp said after
  run with_pod <<<pod_stop
  assert_status 12
  assert_equal "$(field .ending)" '"stop"'
  # It is gone: somebody else has ended it.
  : >gone
  run with_pod <<<pod_stop
  assert_status 0
}

@test "an end that is not confirmed rings the bell of a terminal" {
  record '{}'
  echo 12 >fate
  with_pod <<<pod_stop 2>/dev/null || : # the program is there now
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" bash "$BATS_TEST_TMPDIR/program"
  assert_contains $'\a'
  assert_contains 'may still be running'
}

@test "what somebody else has started after a stop has its time anew; a stop that does not hold changes nothing" {
  record '{"state":"stopped","state_at":2000,"ran":1000,"orphan_at":1500,"ending":"stop","ending_by":"1-1","limits":{"minutes":10}}'
  run with_pod <<<'deadline; echo "<$POD_ENDING>"'
  assert_equal "$output" '5600 10 5540 5486 1.0867
<>'
  assert_equal "$(field '[.state, .state_at, .from, .ran, .rested, .orphan_at, .ending, .ending_by]')" '["running",5000,5000,1000,3000,null,null,null]'
  record '{"state":"stopped","state_at":4990,"ran":3990,"ending":"stop","limits":{"minutes":10}}'
  run with_pod <<<'deadline; echo "<$POD_ENDING>"'
  assert_equal "$output" '1600 10 1540 1486 0.4200
<stop>'
  assert_equal "$(field '[.state, .from, .ending]')" '["running",null,"stop"]'
}

@test "a stop that we ordered and saw ends the time just then, however long its limits are used up" {
  record '{"limits":{"minutes":10}}'
  printf 'autopod-guard-is alive 1600\n' >"$AUTOPOD_HOME/logs/tunnel-pod1.log"
  echo 0 >fate
  jq -c '.status = "stopped"' said >after
  run with_pod <<<'pod_stop; pod_cost; echo "$POD_SECONDS"'
  assert_equal "$output" 4000
  assert_equal "$(field '[.state, .state_at, .ran]')" '["stopped",5000,4000]'
  # One that was only seen, later: the guard has stopped it.
  record '{"limits":{"minutes":10}}' '{"status":"stopped"}'
  run with_pod <<<'pod_cost; echo "$POD_SECONDS"'
  assert_equal "$output" 630
}

@test "a failed pod is no stopped one: it costs until somebody stops it" {
  record '{"limits":{"minutes":600}}' '{"status":"failed"}'
  echo 0 >fate
  jq -c '.status = "stopped"' said >after
  run with_pod <<<'pod_cost; echo "$POD_SECONDS"; deadline'
  assert_equal "$output" '4000
37000 10 36880 33292 24.0200'
  assert_equal "$(field '[.state, .state_at]')" '["running",1000]'
}

@test "start whose answer got lost: it stays on disk as one that runs and is to be stopped; exit 12" {
  record '{"state":"stopped","state_at":4000,"ran":3000,"limits":{"minutes":60}}' '{"status":"stopped"}'
  echo 12 >fate
  run with_pod <<<pod_start
  assert_status 12
  assert_contains 'pod pod1 may still be running and could not be stopped: the provider says no'
  assert_equal "$(field '[.state, .from, .ending, (.ending_by | type)]')" '["running",5000,"stop","string"]'
}

@test "start: that it runs is on disk before it does, and taken back when it does not" {
  record '{"state":"stopped","state_at":4000,"ran":3000,"ending":"stop","ending_by":"1-1","limits":{"minutes":60}}' '{"status":"stopped"}'
  echo 4 >fate
  run with_pod <<<pod_start
  assert_status 4
  assert_equal "$(cat asked)" '["running",5000,null,"null"]'
  assert_equal "$(field '[.state, .ran, .rested]')" '["stopped",3000,1000]'
  echo 0 >fate
  jq -c '.status = "creating"' said >after
  run with_pod <<<'NOW=6000; pod_start; deadline'
  assert_status 0
  assert_equal "$output" '9600 10 9480 9132 4.4200'
  assert_equal "$(field '[.state, .from, .state_at, .ending]')" '["running",6000,6000,null]'
}

@test "a record is changed as a whole or not at all, also by what jq has to try" {
  record '{"limits":{"minutes":60}}'
  run with_pod <<'SH'
record_change pod1 '. + {more: ("x" | tonumber? // null)}'
record_change nopod '. + {more: 1}'
SH
  assert_status 0
  assert_equal "$(jq -c '[(.pods | keys), (.pods.pod1 | .more, .limits.minutes)]' "$AUTOPOD_HOME/pods.json")" '[["pod1"],null,60]'
}

@test "a pod is loaded from its record without asking anybody" {
  record '{"limits":{"minutes":60}}'
  : >gone
  run with_pod <<<'POD_ID=; pod_recall pod1; echo "$POD_ID $POD_RATE"; deadline; pod_recall none || echo none'
  assert_status 0
  assert_equal "$output" 'pod1 2.4
4600 10 4480 4132 2.4200
none'
}

# --- wishes ---------------------------------------------------------------------------------------

@test "what is ours by its stamp is written down with the limits of its wish, and else without" {
  record '{}' '{"owner":"0123456789abcdef","created_at":"1970-01-01T00:30:00Z"}'
  echo '{"intents":{"autopod-x":{"provider":"runpod","at":2000,"maker":"1-1","limits":{"minutes":60},"ending":"terminate","ending_by":"1-1"}}}' \
    >"$AUTOPOD_HOME/pods.json"
  run with_pod <<<'wish_keep; deadline; echo "$POD_WAITING $POD_ENDING"'
  assert_status 0
  assert_equal "$output" '5400 10 5280 4932 2.4200
1 terminate'
  echo '{}' >"$AUTOPOD_HOME/pods.json"
  run with_pod <<<'wish_keep; deadline; echo "<$POD_WAITING$POD_ENDING>"'
  assert_status 0
  # Made at 1800, for $2.1334 up to now: its time begins when it was written down.
  assert_equal "$output" 'Pod pod1 bears our stamp, but nothing was on record about it: it may run for 12 h from now on (autopod-extend).
48200 10 48080 43772 30.9534
<>'
  assert_equal "$(field '[.limits, .pod.wished, .waiting, .from, .since, .state]')" '[{},null,null,5000,1800,"running"]'
  run with_pod <<<'wish_keep; wish_adopt said; echo said nothing'
  assert_equal "$output" 'said nothing'
  echo '{}' >"$AUTOPOD_HOME/pods.json"
  jq -c '.status = "stopped"' said >other && mv other said
  run with_pod <<<'wish_keep'
  assert_equal "$(field '[.state, .state_at, .ran]')" '["stopped",5000,0]'
}

@test "a pod that comes up after its maker was ended is on disk, as one that is to go, before it is ended" {
  record '{}'
  echo '{}' >"$AUTOPOD_HOME/pods.json"
  run with_pod <<'SH'
provider_runpod_create() { PROVIDER_WHY=''; exit 7; }
wish_make runpod '{"list_price":0.4}' run '{"minutes":5}'
SH
  assert_equal "$(jq -c '[.intents[] | .limits, .list_price, .ending]' "$AUTOPOD_HOME/pods.json")" '[{"minutes":5},0.4,null]'
  echo '{}' >"$AUTOPOD_HOME/pods.json"
  run with_pod <<'SH'
provider_runpod_list() {
  jq -c '.intents[]' "$AUTOPOD_HOME/pods.json" >intent
  jq -n -c --arg name "$_WISH_NAME" '{id: "late1", name: $name, provider: "runpod", status: "running", gpu: "A40", gpu_count: 1, cost_per_hr: 0}'
}
provider_runpod_settling() { :; }
provider_runpod_create() { PROVIDER_WHY=''; return 4; }
_wish_forget() { :; }
wish_make runpod '{"list_price":0.4}' run '{"minutes":5}' || echo "no pod: $?"
_WISH_NAME=$(jq -r '.intents | keys | last' "$AUTOPOD_HOME/pods.json") _WISH_PROVIDER=runpod
wish_settle
echo "$POD_ID $POD_ENDING $POD_RATE"
SH
  assert_contains 'late1 terminate 0.4'
  assert_equal "$(jq -c .ending intent)" '"terminate"'
  assert_equal "$(jq -c '[.pods.late1 | .ending, .waiting, .limits.minutes]' "$AUTOPOD_HOME/pods.json")" '["terminate",true,5]'
}
