#!/usr/bin/env bats
# lib/ledger.sh: what the time of a pod was used for, one line for each that is gone, and what a day has cost. All by
# records that stand in files: no pod is made.

load test_helper
load lib_helper

setup() {
  autopod_setup
  make_home
  NOW=$(date +%s)
}

# record ID JSON - a pod in pods.json: made 100 s ago, it runs for $36/h and has been handed over, but for JSON
record() {
  local file=$AUTOPOD_HOME/pods.json
  [ -f "$file" ] || printf '{}' >"$file"
  jq -c --arg id "$1" --argjson now "$NOW" --argjson more "${2:-"{}"}" '.pods[$id] = ({provider: "runpod", price: 36,
    since: ($now - 100), ran: 0, rested: 0, state: "running", state_at: ($now - 100), limits: {},
    pod: {id: $id, name: "autopod-\($id)", gpu: "A40", gpu_count: 2, stopped_usd_per_month: 0}} * $more)' "$file" >"$file.new"
  mv "$file.new" "$file"
}

# span KIND FROM TO [ID] - the pod was used for KIND, from and to so many seconds ago
span() { printf '%s\t%s\t%s\t%s\n' "${4:-one}" "$1" $(((NOW - $2) * 1000)) $(((NOW - $3) * 1000)) >>"$AUTOPOD_HOME/bills/${4:-one}"; }

# ledger [CODE] - runs CODE with the ledger at the time NOW; the settings are those of config.sh
ledger() {
  lib 'ledger' "$NOW" <<SH
POD_ID=one POD_OURS=1 AUTOPOD_MAX_LIFETIME=720 AUTOPOD_STOP_GRACE=120 AUTOPOD_GUARD_POLL=15
NOW=\$1
os_now() { OS_NOW=\$NOW; }
core_trap
$1
SH
}

# of FILTER - what jq makes of the only line of the ledger
of() { jq -r "$1" "$AUTOPOD_HOME/ledger.jsonl"; }

@test "a pod's line: what its time was used for, in seconds and dollars that add up" {
  mkdir "$AUTOPOD_HOME/bills"
  record one
  span boot 100 70
  span tunnel 70 65
  span ready 65 65
  span transfer 60 50
  span queue 50 30
  span compute 45 31
  span transfer 30 28
  run ledger ledger_close
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(of '"\(.pod) \(.name) \(.provider) \(.gpu) \(.gpu_count) \(.usd_per_hour) \(.ready) \(.ended - .since) \(.seconds_run) \(.seconds_stopped)"')" \
    'one autopod-one runpod A40 2 36 true 100 100 0'
  assert_equal "$(of '.seconds | to_entries | map("\(.key) \(.value)") | join(", ")')" \
    'boot 30, tunnel 5, transfer 12, queue 6, compute 14, idle 5, tail 28'
  assert_equal "$(of '.seconds | add')" 100 'the seconds add up'
  assert_equal "$(of .cost_usd)" 1.01 'a second more than it seems to have run'
  assert_equal "$(of '.usd | add * 10000 | round')" 10100 'the dollars add up'
  assert_equal "$(of '.usd.compute')" 0.14
  refute_exists "$AUTOPOD_HOME/bills/one"
}

@test "what overlaps counts once: two runs on one pod, and what lies outside the time that it ran" {
  mkdir "$AUTOPOD_HOME/bills"
  record one
  span compute 90 60
  span compute 80 50
  span transfer 70 40
  span compute 30 10
  span compute 200 101
  span queue 120 95
  run ledger ledger_close
  assert_status 0
  assert_equal "$(of '.seconds | "\(.compute) \(.transfer) \(.queue) \(.idle) \(.tail)"')" '60 10 5 15 10'
  assert_equal "$(of '.seconds | add')" 100
}

@test "a stopped pod: only its disk costs, and the times that it ran are known" {
  mkdir "$AUTOPOD_HOME/bills"
  record one '{"ran": 40, "rested": 0, "state": "stopped", "pod": {"stopped_usd_per_month": 25920}}'
  jq --argjson at $((NOW - 60)) '.pods.one.state_at = $at' "$AUTOPOD_HOME/pods.json" >p && mv p "$AUTOPOD_HOME/pods.json"
  span running 100 60
  span compute 90 80
  run ledger ledger_close
  assert_equal "$(of '"\(.seconds_run) \(.seconds_stopped) \(.cost_usd) \(.usd.disk)"')" '40 60 1.01 0.6'
  assert_equal "$(of '.running | map(.[1] - .[0]) | join(" ")')" 40
  assert_equal "$(of '"\(.seconds.compute) \(.seconds.tail) \(.seconds.idle) \(.seconds | add)"')" '10 20 10 40'
  assert_equal "$(of '.usd | add * 10000 | round')" 10100
}

@test "without its spans a line is whole all the same" {
  record one '{"ran": 30, "rested": 20}'
  jq --argjson at $((NOW - 50)) '.pods.one.state_at = $at' "$AUTOPOD_HOME/pods.json" >p && mv p "$AUTOPOD_HOME/pods.json"
  run ledger ledger_close
  assert_equal "$(of '"\(.seconds_run) \(.seconds_stopped) \(.seconds.idle) \(.running | map(.[1] - .[0]) | join(" "))"')" '80 20 80 30 50'
}

@test "a pod that never got ready: all of it was boot" {
  mkdir "$AUTOPOD_HOME/bills"
  record one '{"waiting": true}'
  record two '{"waiting": true}'
  record three '{"waiting": true}'
  span ready 50 50 two
  span compute 40 30 three
  run ledger 'for id in one two three; do ledger_close "$id"; done'
  assert_equal "$(of '"\(.pod) \(.ready) \(.seconds.boot)"')" 'one false 100
two true 0
three true 0'
}

@test "a line is written once, behind half a line too; a pod without a record has none" {
  record one
  printf '{"pod":"old","cost' >"$AUTOPOD_HOME/ledger.jsonl"
  run ledger 'ledger_close; ledger_close nobody; ledger_close "" ; rm "$AUTOPOD_HOME/pods.json"; ledger_close'
  assert_status 0
  assert_equal "$(grep -c . "$AUTOPOD_HOME/ledger.jsonl")" 3 'lines'
  assert_equal "$(tail -n 1 "$AUTOPOD_HOME/ledger.jsonl" | jq -r .pod)" one
  refute_exists "$AUTOPOD_HOME/locks/ledger"
}

@test "a ledger that can't be written is told, and stops nothing" {
  record one
  mkdir "$AUTOPOD_HOME/ledger.jsonl"
  run ledger 'ledger_close; echo went on'
  assert_status 0
  assert_contains 'what pod one has cost could not be written' "$output"
  assert_contains 'went on' "$output"
}

@test "damaged records: nothing is written, and it is told to who asks for what is there" {
  printf '{"pods":' >"$AUTOPOD_HOME/pods.json"
  run ledger 'ledger_close; echo closed; ledger_live'
  assert_status 1
  assert_contains closed "$output"
  assert_contains 'pods.json is damaged' "$output"
  refute_exists "$AUTOPOD_HOME/ledger.jsonl"
  jq -n '{pods: {one: {price: "x", since: null, pod: 3, limits: []}, two: 7}}' >"$AUTOPOD_HOME/pods.json"
  mkdir "$AUTOPOD_HOME/bills"
  printf 'one\tcompute\tx\t5\none\tcompute\t5\nnonsense\n\377\n' >"$AUTOPOD_HOME/bills/one"
  run ledger ledger_live
  assert_status 0
  assert_equal "$(jq -r '"\(.pod) \(.cost_usd) \(.seconds_run)"' <<<"$output")" 'one 0 0
two 0 0'
}

@test "a span is noted for a loaded pod of ours only, and a full disk hinders nobody" {
  run ledger 'POD_ID=""; ledger_span compute 1 2; POD_ID=else POD_OURS=""; ledger_span compute 1 2; POD_ID=one POD_OURS=1; ledger_span compute 1 2; ledger_span ready 3 3'
  assert_status 0
  assert_equal "$(cat "$AUTOPOD_HOME"/bills/*)" 'one	compute	1	2
one	ready	3	3'
  rm -r "$AUTOPOD_HOME/bills"
  : >"$AUTOPOD_HOME/bills"
  run ledger 'ledger_span compute 1 2; echo went on'
  assert_equal "$output" 'went on'
}

@test "ready: booted until its tunnel was begun, if that was in this life of it" {
  run ledger 'POD_FROM=$((NOW - 50)); os_now_ms() { OS_MS=${NOW}500; }
    ledger_ready $((NOW - 20))250; ledger_ready; ledger_ready $((NOW - 60))000'
  sed "s/$((NOW - 50))000/FROM/g; s/$((NOW - 20))250/TUNNEL/g; s/${NOW}500/NOW/g" "$AUTOPOD_HOME/bills/one" >seen
  assert_equal "$(tr '\t' ' ' <seen)" 'one boot FROM TUNNEL
one tunnel TUNNEL NOW
one ready NOW NOW
one boot FROM NOW
one ready NOW NOW
one boot FROM NOW
one ready NOW NOW'
}

# heard ID TEXT - what the tunnel's session said of the guard on that pod last
heard() { printf 'autopod-guard-is dead\nautopod-guard-is %s\nsomething else\n' "$2" >"$AUTOPOD_HOME/logs/tunnel-$1.log"; }

@test "a stop that nobody saw was at the limits, if the guard on the pod lived: the bill says no more than can be" {
  # $36/h is a cent a second; limits of 30 cents or a minute, made 100 s ago
  record one '{"limits": {"max_cost_usd": 0.30}}'
  record two '{"limits": {"minutes": 1}}'
  record three '{"limits": {"minutes": 60}}'
  record four '{"limits": {"unlimited": true}}'
  heard one "alive $((NOW - 70))"
  heard two "alive $((NOW - 40))"
  heard three "alive $((NOW + 3500))"
  heard four 'alive 0'
  run ledger 'AUTOPOD_GUARD_POLL=2 BUDGET_STOP_SECONDS=3 BUDGET_BILL=mine
    for id in one two three four; do ledger_lost "$id"; done; echo "$BUDGET_BILL"
    POD_ID=one; ledger_stopped $((NOW - 100)); echo $((NOW - LEDGER_UNTIL))
    ledger_stopped $((NOW - 10)); echo $((NOW - LEDGER_UNTIL))
    ledger_stopped $((NOW - 100)) now; echo $((NOW - LEDGER_UNTIL))'
  assert_equal "$output" 'mine
65
10
0'
  assert_equal "$(of '"\(.pod) \(.seconds_run)"')" 'one 35
two 65
three 100
four 100'
  assert_contains "one	running	$((NOW - 100))000	$((NOW - 65))000" "$(cat "$AUTOPOD_HOME/bills/one")"
}

@test "where no guard was heard on the pod with these limits, nobody has stopped it at them: it ran until now" {
  record one '{"limits": {"max_cost_usd": 0.30}}'
  record two '{"limits": {"minutes": 1}}'
  record three '{"limits": {"minutes": 1}}'
  heard two dead
  heard three "alive $((NOW - 50))"
  run ledger 'for id in one two three; do ledger_lost "$id"; done; POD_ID=one; ledger_stopped $((NOW - 100)); echo $((NOW - LEDGER_UNTIL))'
  assert_equal "$output" 0
  assert_equal "$(of '"\(.pod) \(.seconds_run)"')" 'one 100
two 100
three 100'
}

@test "today: all pods of today and the share of those from yesterday, and what those that run may still cost" {
  local midnight
  midnight=$(ledger 'os_midnight; echo "$OS_MIDNIGHT"')
  [ $((NOW - midnight)) -ge 0 ] && [ $((NOW - midnight)) -le 90000 ]
  assert_equal "$("$AUTOPOD_PYTHON" -c 'import sys, time; print(time.strftime("%H:%M:%S", time.localtime(int(sys.argv[1]))))' "$midnight")" 00:00:00
  NOW=$((midnight + 1000))
  # 600 of its 1000 s and $10 are of today
  jq -n -c --argjson m "$midnight" '{pod: "old", since: ($m - 400), ended: ($m + 600), running: [[$m - 400, $m + 600]], usd_per_hour: 36,
    seconds_run: 1000, seconds_stopped: 0, cost_usd: 10, usd: {disk: 0}},
    {pod: "older", since: ($m - 400), ended: ($m - 100), running: [[$m - 400, $m - 100]], usd_per_hour: 36,
    seconds_run: 300, seconds_stopped: 0, cost_usd: 3, usd: {disk: 0}},
    {pod: "new", since: ($m + 10), ended: ($m + 20), running: [[$m + 10, $m + 20]], usd_per_hour: 36,
    seconds_run: 10, seconds_stopped: 0, cost_usd: 0.25, usd: {disk: 0}}' >"$AUTOPOD_HOME/ledger.jsonl"
  printf 'half a li\n' >>"$AUTOPOD_HOME/ledger.jsonl"
  run ledger 'ledger_today; echo "$LEDGER_TODAY $LEDGER_PENDING"'
  assert_equal "$output" '6.2500 0.0000'
  # 100 s at a cent each, and one; it may cost 3 dollars; the guard's 15 s and the stop's 15 s come on top
  record one '{"limits": {"max_cost_usd": 3}}'
  run ledger 'ledger_today; echo "$LEDGER_TODAY $LEDGER_PENDING"'
  assert_equal "$output" '7.2600 2.2900'
  # one that stands still, one that costs nothing, and one that is being made
  record two '{"state": "stopped", "ran": 100, "limits": {"max_cost_usd": 30}}'
  record three '{"provider": "local", "price": 0, "limits": {"minutes": 3}}'
  jq --argjson now "$NOW" '.intents.wished = {provider: "runpod", at: $now, list_price: 3600, limits: {max_cost_usd: 7}}' \
    "$AUTOPOD_HOME/pods.json" >p && mv p "$AUTOPOD_HOME/pods.json"
  run ledger 'ledger_today; echo "$LEDGER_TODAY $LEDGER_PENDING"'
  assert_equal "$output" '8.2700 39.2900'
  # nobody knows what it costs, or for how long
  record four '{"price": 0}'
  record five '{"limits": {"unlimited": true}}'
  run ledger 'ledger_today; echo "$LEDGER_TODAY $LEDGER_PENDING"'
  assert_contains 'nobody can say what these may still cost, for want of a price or a limit: four five' "$output"
  assert_contains '9.2800 39.2900' "$output"
}
