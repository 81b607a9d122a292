#!/usr/bin/env bats
#
# lib/enforce.sh: what is due. The clock and the provider are the test's: `at SECONDS` is the time of a pass, seen from
# when the pods were made, and `calls` has what was asked of the provider.

load test_helper
load lib_helper

NOW=1800000000

setup() {
  autopod_setup
  make_home
  printf '0123456789abcdef\n' >"$AUTOPOD_HOME/installation"
  CALLS=$BATS_TEST_TMPDIR/calls
  : >"$CALLS"
  printf '{}\n' >"$AUTOPOD_HOME/pods.json"
}

# pod ID [RECORD_JSON] - a pod that was made at $NOW for $1 a second, RECORD_JSON merged over its record
pod() {
  local file=$AUTOPOD_HOME/pods.json
  jq -c --arg id "$1" --argjson now "$NOW" --argjson more "${2:-"{}"}" '.pods[$id] = ({pod: {id: $id, name: "autopod-\($id)",
    provider: "local", status: "running", gpu: "CPU", gpu_count: 1, cost_per_hr: 3600}, provider: "local", since: $now,
    price: 3600, ran: 0, rested: 0, state: "running", state_at: $now, limits: {max_cost_usd: 100}} * $more)' "$file" >"$file.x"
  mv "$file.x" "$file"
}

# wish NAME MAKER [JSON] - somebody wanted to make a pod of that name
wish() {
  local file=$AUTOPOD_HOME/pods.json
  jq -c --arg name "$1" --arg maker "$2" --argjson now "$NOW" --argjson more "${3:-"{}"}" \
    '.intents[$name] = ({provider: "local", at: $now, maker: $maker, limits: {max_cost_usd: 100}} * $more)' "$file" >"$file.x"
  mv "$file.x" "$file"
}

# record ID FILTER - prints what jq's FILTER makes of the pod's record
record() { jq -c --arg id "$1" ".pods[\$id] | $2" "$AUTOPOD_HOME/pods.json"; }

# passes - runs the passes on stdin (`at SECONDS`, and what else is to happen), in one program
passes() {
  run lib 'config pod wish survey tunnel http enforce' "$NOW" "$CALLS" < <(
    cat <<'SH'
now=$1 calls=$2 status=0
ui_init
core_trap
config_load
core_tmpdir
os_now() { OS_NOW=$((now + ${second:-0})); }
note() { printf '%s@%s\n' "$*" "${second:-0}" >>"$calls"; }
described() { jq -c --arg status "$2" ".pods[\"$1\"].pod // {id: \"$1\", provider: \"local\"} | .status = \$status" "$AUTOPOD_HOME/pods.json"; }
provider_local_stop() { note stop "$1" && described "$1" stopped; }
provider_local_terminate() { note terminate "$1"; }
provider_local_get() { note get "$1" && described "$1" running; }
provider_local_list() { note list; }
# queue_is_told - from here on ComfyUI answers through a tunnel, with $queue
queue_is_told() {
  tunnel_find() { TUNNEL_URL=http://127.0.0.1:9; }
  http_get() { printf '%s\n' "$queue" >"$2" && HTTP_STATUS=200; }
}
at() {
  status=0 second=$1
  enforce_once || status=$?
  [ "$status" = 0 ] || note "status $status"
}
SH
    cat
  )
}

# assert_calls CALL@SECOND... - that, and nothing else, was asked
assert_calls() {
  assert_status 0
  assert_equal "$(tr '\n' ' ' <"$CALLS")" "${*:+$* }" calls
}

# --- limits ---

@test "nothing is asked while nothing is due; two seconds behind its deadline a pod is stopped, once" {
  pod one
  passes <<<'at 0; at 50; at 100; at 101; at 102; at 103; at 200'
  assert_calls stop\ one@102
  assert_equal "$(record one .state)" '"stopped"'
}

@test "the clock may jump: what should have been stopped meanwhile is stopped at once" {
  pod one
  pod two '{"limits":{"max_cost_usd":null,"minutes":10}}'
  passes <<<'at 0; at 90000'
  assert_calls 'stop one@90000' 'stop two@90000'
}

@test "each pod has its own deadline, and is asked for alone; a stopped one and one without any limit never are" {
  pod one
  pod two '{"limits":{"max_cost_usd":50}}'
  pod still '{"state":"stopped"}'
  pod free '{"limits":{"max_cost_usd":null,"unlimited":true}}'
  passes <<<'at 0; at 51; at 52; at 90; at 102; at 3000'
  assert_calls 'stop two@52' 'stop one@102'
}

@test "limits that are changed meanwhile count" {
  pod one
  passes <<'SH'
at 0
at 99
record_change one '.limits.max_cost_usd = 200'
at 102
at 201
record_change one '.limits.max_cost_usd = 150'
at 201
SH
  assert_calls 'stop one@201'
}

@test "a stop that is refused is tried again after 1, 2, 4 and at most 30 seconds, for ever; each time that is told" {
  pod one
  passes <<'SH'
provider_local_stop() { note stop "$1" && core_fail "$EX_TUNNEL" 'the API is down'; }
for ((s = 100; s < 240; s++)); do at "$s" 2>/dev/null; done
SH
  assert_status 0
  assert_equal "$(sed -n 's/^stop one@//p' "$CALLS" | tr '\n' ' ')" '102 103 105 109 117 133 163 193 223 ' 'when it was tried'
  assert_equal "$(grep -c '^status 12@' "$CALLS")" 9 'passes that ended with 12'
  assert_equal "$(record one '[.ending, .state]')" '["stop","running"]'
}

@test "who says 'stopped' and lies is not believed: the pod's state is what counts" {
  pod one
  passes <<'SH'
provider_local_stop() { note stop "$1" && described "$1" running; }
at 102
at 103
provider_local_stop() { note stop "$1" && described "$1" stopped; }
at 105
at 106
SH
  assert_calls 'stop one@102' 'get one@102' 'status 12@102' 'stop one@103' 'get one@103' 'status 12@103' 'stop one@105'
}

@test "one pod that can't be stopped keeps nobody from stopping the next one" {
  pod one
  pod two
  passes <<'SH'
provider_local_stop() {
  note stop "$1"
  [ "$1" = two ] && described "$1" stopped
}
at 102 2>/dev/null
SH
  assert_calls 'stop one@102' 'get one@102' 'stop two@102' 'status 12@102'
}

@test "a pod that is gone at its deadline is forgotten" {
  pod one '{"limits":{"max_cost_usd":1000}}'
  passes <<'SH'
provider_local_stop() { note stop "$1" && core_fail "$EX_POD" 'no such pod'; }
provider_local_get() { note get "$1" && core_fail "$EX_POD" 'no such pod'; }
at 1002
at 1003
SH
  assert_calls 'stop one@1002' 'get one@1002'
  assert_equal "$(record one .)" null
}

@test "one that was ended elsewhere is noticed within the hour, long before its deadline" {
  pod one '{"limits":{"max_cost_usd":99999}}'
  passes <<'SH'
provider_local_get() { note get "$1" && described "$1" stopped; }
at 0
at 3599
at 3600
at 7200
SH
  assert_calls 'get one@3600'
  assert_equal "$(record one .state)" '"stopped"'
}

# --- state that can't be read or written ---

@test "while pods.json is damaged, or gone, what it said before counts" {
  pod one
  pod two '{"limits":{"max_cost_usd":50}}'
  passes <<'SH'
at 0
cp "$AUTOPOD_HOME/pods.json" "$AUTOPOD_HOME/saved"
printf '{"pods": {"on' >"$AUTOPOD_HOME/pods.json"
described() { printf '{"id":"%s","provider":"local","status":"%s"}\n' "$1" "$2"; }
at 52
rm "$AUTOPOD_HOME/pods.json"
at 102
SH
  assert_calls 'stop two@52' 'status 1@52' 'stop one@102'
  assert_contains 'is damaged'
}

@test "a disk that is full keeps it from writing, not from stopping; and it doesn't stop the same pod each second" {
  pod one
  passes <<'SH'
state_save() { cat >/dev/null && core_fail "$EX_FAIL" "can't write $1"; }
state_write() { core_fail "$EX_FAIL" "can't write $1"; }
for ((s = 100; s < 163; s++)); do at "$s" 2>/dev/null; done
SH
  assert_calls 'stop one@102' 'stop one@162'
}

@test "what makes no sense in pods.json is left alone" {
  pod one
  jq -c '.pods["../evil"] = {provider: "local", state: "running"} | .pods.two = {provider: "moon", state: "running"} | .pods.three = 3
    | .intents = {"a b": {provider: "local", at: 1, maker: "1-x"}, c: {provider: "local", at: "x"}, d: null}' \
    "$AUTOPOD_HOME/pods.json" >"$BATS_TEST_TMPDIR/odd"
  cp "$BATS_TEST_TMPDIR/odd" "$AUTOPOD_HOME/pods.json"
  passes <<<'at 0; at 102'
  assert_calls 'stop one@102'
}

# --- what was to be ended ---

@test "a pod that somebody was about to stop, or end for good, when he died is dealt with at once" {
  pod one '{"ending":"stop","ending_by":"999999999-gone"}'
  pod two '{"ending":"terminate","ending_by":"999999999-gone"}'
  passes <<<'at 1; at 2'
  assert_calls 'stop one@1' 'terminate two@1'
  assert_equal "$(jq -c '.pods | map_values(.state + (.ending // ""))' "$AUTOPOD_HOME/pods.json")" '{"one":"stopped"}'
}

@test "while he lives he is let alone for a minute, and the time that he may bring things home in" {
  pod one '{"limits":{"max_cost_usd":500}}'
  passes <<'SH'
AUTOPOD_STOP_GRACE=50
sleep 300 &
other=$!
disown
os_process_start "$other"
record_change one '. + {ending: "stop", ending_by: $by}' --arg by "$other-$OS_START"
at 1
at 100
kill "$other"
while os_process_start "$other"; do sleep 0.05; done
at 100
at 101
SH
  assert_calls 'stop one@100'
}

@test "but not longer, and not behind its deadline" {
  pod one
  pod two '{"limits":{"max_cost_usd":30}}'
  passes <<'SH'
AUTOPOD_STOP_GRACE=0
sleep 300 &
other=$!
disown
os_process_start "$other"
owner=$other-$OS_START
for id in one two; do record_change "$id" '. + {ending: "terminate", ending_by: $by}' --arg by "$owner"; done
for ((s = 1; s < 64; s++)); do at "$s"; done
kill "$other"
SH
  assert_calls 'stop two@32' 'terminate one@61'
}

# --- nobody's ---

@test "a pod that was not handed over and that nobody claims is stopped when that has lasted, not before" {
  pod one '{"waiting":true,"limits":{"max_cost_usd":99999}}'
  passes <<'SH'
AUTOPOD_GUARD_GRACE=100
at 10
jq -c '.pods.one.orphan_at - $now' --argjson now "$now" "$AUTOPOD_HOME/pods.json"
at 109
at 110
SH
  assert_calls 'stop one@110'
  assert_contains 10
}

@test "one that was handed over is not; neither is one whose maker, or whose run, lives" {
  pod handed '{"limits":{"max_cost_usd":99999}}'
  pod held '{"waiting":true,"limits":{"max_cost_usd":99999}}'
  pod used '{"waiting":true,"limits":{"max_cost_usd":99999}}'
  passes <<'SH'
AUTOPOD_GUARD_GRACE=100
sleep 300 &
other=$!
disown
os_process_start "$other"
ln -s "$other-$OS_START" "$AUTOPOD_HOME/locks/pod-held"
ln -s "$other-$OS_START" "$AUTOPOD_HOME/locks/run-r"
mkdir "$AUTOPOD_HOME/runs/r"
printf '{"id":"used","provider":"local","made_for_this_run":true}\n' >"$AUTOPOD_HOME/runs/r/pod.json"
at 1
at 50
at 120
kill "$other"
while os_process_start "$other"; do sleep 0.05; done
at 130
at 229
at 230
SH
  assert_calls 'stop held@230' 'stop used@230'
}

@test "who claims it again within that time has it: the time begins anew" {
  pod one '{"waiting":true,"orphan_at":1800000000,"limits":{"max_cost_usd":99999}}'
  passes <<'SH'
AUTOPOD_GUARD_GRACE=100
sleep 300 &
other=$!
disown
os_process_start "$other"
ln -s "$other-$OS_START" "$AUTOPOD_HOME/locks/pod-one"
at 90
jq -c '.pods.one.orphan_at' "$AUTOPOD_HOME/pods.json"
kill "$other"
while os_process_start "$other"; do sleep 0.05; done
at 100
at 199
at 200
SH
  assert_calls 'stop one@200'
  assert_contains null
}

@test "a job that still runs may finish, up to the deadline" {
  pod one '{"waiting":true,"orphan_at":1800000000}'
  passes <<'SH'
AUTOPOD_GUARD_GRACE=10
queue_is_told
queue='{"queue_running":[[0,"x"]],"queue_pending":[]}'
at 10
at 50
at 101
at 102
SH
  assert_calls 'stop one@102'
  : >"$CALLS"
  pod one '{"waiting":true,"orphan_at":1800000000}'
  passes <<'SH'
AUTOPOD_GUARD_GRACE=10
queue_is_told
queue='{"queue_running":[],"queue_pending":[[1,"y"]]}'
at 10
queue='{"queue_running":[],"queue_pending":[]}'
at 50
SH
  assert_calls 'stop one@50'
}

# --- pods that are being made ---

@test "a pod whose maker died before he could write it down is written down with his limits, and stopped by these" {
  wish autopod-x 999999999-gone
  passes <<'SH'
provider_local_list() { note list && printf '{"id":"late","name":"autopod-x","provider":"local","status":"running","cost_per_hr":3600}\n'; }
at 1
at 101
at 102
SH
  assert_calls 'list@1' 'stop late@102'
  assert_equal "$(jq -c '[.intents, .pods.late.limits, .pods.late.price, .pods.late.waiting]' "$AUTOPOD_HOME/pods.json")" \
    '[{},{"max_cost_usd":100},3600,true]'
}

@test "while its maker lives it is his, unless he takes ten minutes" {
  wish autopod-x 1-x
  passes <<'SH'
sleep 300 &
other=$!
disown
os_process_start "$other"
state_update "$AUTOPOD_HOME/pods.json" --arg maker "$other-$OS_START" '.intents["autopod-x"].maker = $maker'
at 1
at 599
at 600
kill "$other"
SH
  assert_calls 'list@600'
}

@test "one that was to be ended, too, is ended at once" {
  wish autopod-x 999999999-gone '{"ending":"terminate","ending_by":"999999999-gone"}'
  passes <<'SH'
provider_local_list() { note list && printf '{"id":"late","name":"autopod-x","provider":"local","status":"running","cost_per_hr":3600}\n'; }
at 1
SH
  assert_calls 'list@1' 'terminate late@1'
  assert_equal "$(jq -c '[.intents, .pods]' "$AUTOPOD_HOME/pods.json")" '[{},{}]'
}

@test "a wish that came to nothing is forgotten: at once where that is certain, else after ten minutes of looking" {
  wish autopod-x 999999999-gone
  passes <<<'at 1; at 2'
  assert_calls list@1
  assert_equal "$(jq -c .intents "$AUTOPOD_HOME/pods.json")" '{}'
  : >"$CALLS"
  wish autopod-y 999999999-gone
  passes <<'SH'
provider_local_settling() { echo 1; }
for second in 1 2 3 4 31 62 93 599; do at "$second"; done
jq -c '.intents | keys' "$AUTOPOD_HOME/pods.json"
at 630
SH
  assert_contains '["autopod-y"]'
  assert_calls list@1 list@2 list@4 list@31 list@62 list@93 list@599 list@630
  assert_equal "$(jq -c .intents "$AUTOPOD_HOME/pods.json")" '{}'
}

@test "while nobody can be asked, the wish stays, and that is no success" {
  wish autopod-x 999999999-gone
  passes <<'SH'
provider_local_list() { note list && core_fail "$EX_TUNNEL" 'no network'; }
at 1
at 1000
SH
  assert_calls list@1 'status 12@1' list@1000 'status 12@1000'
  assert_contains 'whether the pod autopod-x was made'
  assert_equal "$(jq -c '.intents | keys' "$AUTOPOD_HOME/pods.json")" '["autopod-x"]'
}

# --- accounts ---

# runpod ACCOUNT_JSON - the pod `one` is of RunPod, and was made with that key; ours is another one
runpod() {
  export RUNPOD_API_KEY=rpa_OURS0123456789
  pod one "{\"provider\":\"runpod\",\"pod\":{\"provider\":\"runpod\"},\"account\":$1}"
}

GONE='provider_runpod_stop() { note stop "$1" && core_fail "$EX_POD" "no such pod"; }
provider_runpod_terminate() { note terminate "$1" && core_fail "$EX_POD" "no such pod"; }
provider_runpod_get() { note get "$1" && core_fail "$EX_POD" "no such pod"; }'

@test "a pod of another key that ours does not show is left alone, told once, and never forgotten" {
  runpod '"0123456789ab"'
  pod two '{"limits":{"max_cost_usd":50}}'
  passes <<<"$GONE"'
at 0; at 1; at 52; at 102; at 103; at 4000
if enforce_is_needed; then note needed; fi'
  assert_calls 'get one@0' 'stop two@52' 'status 12@102' 'get one@4000' 'status 12@4000'
  assert_equal "$(record one '[.account, .state]')" '["0123456789ab","running"]'
  assert_equal "$(grep -c 'left alone' <<<"$output")" 1 'times that it was told'
}

@test "nor is one that was to be ended for good, or of which nobody knows the key" {
  runpod null
  record_=$(jq -c '.pods.one += {ending: "terminate", ending_by: "999999999-gone"}' "$AUTOPOD_HOME/pods.json")
  printf '%s\n' "$record_" >"$AUTOPOD_HOME/pods.json"
  passes <<<"$GONE"'
at 1'
  assert_calls 'get one@1' 'status 12@1'
  assert_equal "$(record one .state)" '"running"'
}

@test "one that our key shows is ours, whatever its record says; a gone one of ours is forgotten" {
  runpod '"0123456789ab"'
  passes <<'SH'
provider_runpod_stop() { note stop "$1" && described "$1" stopped; }
provider_runpod_get() { note get "$1" && described "$1" running; }
at 0
at 102
SH
  assert_calls 'get one@0' 'stop one@102'
  assert_matches '^"[0-9a-f]{12}"$' "$(record one .account)"
  : >"$CALLS"
  runpod "$(record one .account)"
  passes <<<"$GONE"'
at 1000; at 1001'
  assert_calls 'stop one@1000' 'get one@1000'
  assert_equal "$(record one .)" null
}

@test "a wish of another key is not forgotten because our list does not have its pod" {
  export RUNPOD_API_KEY=rpa_OURS0123456789
  wish autopod-x 999999999-gone '{"provider":"runpod","account":"0123456789ab"}'
  passes <<'SH'
provider_runpod_list() { note list; }
at 1000
at 1001
SH
  assert_calls 'list@1000' 'status 12@1000'
  assert_equal "$(jq -c '.intents | keys' "$AUTOPOD_HOME/pods.json")" '["autopod-x"]'
}

# --- whose turn it is ---

@test "pods that can't be stopped wait for those that it was not tried on yet, and are tried one at a time" {
  pod one
  pod two
  pod three '{"limits":{"max_cost_usd":101}}'
  passes <<'SH'
provider_local_stop() {
  note stop "$1"
  [ "$1" = three ] && described "$1" stopped
}
at 102 2>/dev/null
at 103 2>/dev/null
at 104 2>/dev/null
SH
  assert_calls 'stop one@102' 'get one@102' 'stop two@102' 'get two@102' 'status 12@102' \
    'stop three@103' 'stop one@103' 'get one@103' 'status 12@103' 'stop two@104' 'get two@104' 'status 12@104'
}

@test "nobody looks at pods that may be gone while another one is about to be due" {
  pod one '{"limits":{"max_cost_usd":99999}}'
  pod two '{"limits":{"max_cost_usd":3630}}'
  passes <<<'at 0; at 3601; at 3632'
  assert_calls 'stop two@3632' 'get one@3632'
}

@test "who ends one pod after another is given time for each" {
  pod one '{"limits":{"max_cost_usd":9999}}'
  pod two '{"limits":{"max_cost_usd":9999}}'
  passes <<'SH'
sleep 300 &
other=$!
disown
os_process_start "$other"
by=$other-$OS_START
record_change one '. + {ending: "stop", ending_by: $by}' --arg by "$by"
at 1
record_change one '.state = "stopped" | del(.ending)'
record_change two '. + {ending: "stop", ending_by: $by}' --arg by "$by"
at 1000
kill "$other"
SH
  assert_calls
}

@test "a clock that is set back keeps nobody waiting" {
  pod one
  passes <<'SH'
provider_local_stop() { note stop "$1" && core_fail "$EX_TUNNEL" 'the API is down'; }
at 9000 2>/dev/null
at 200 2>/dev/null
SH
  assert_calls 'stop one@9000' 'get one@9000' 'status 12@9000' 'stop one@200' 'get one@200' 'status 12@200'
}

@test "what waits for pods that are long gone is forgotten" {
  pod one
  passes <<'SH'
at 0
at 102
state_update "$AUTOPOD_HOME/pods.json" '.pods = {}'
at 200
printf 'left: %s.\n' "$_LATER"
SH
  assert_contains $'left: \n.'
}

# --- what is read ---

@test "a pods.json that was read only in part counts for nothing; an empty one is damaged" {
  pod one
  passes <<'SH'
at 0
eval "whole_$(declare -f record_all)"
record_all() { printf 'pod two local - - - - -\n'; }
printf '\n' >>"$AUTOPOD_HOME/pods.json"
at 1
printf 'pods: %s\n' "${ENFORCE_PODS[*]}"
record_all() { whole_record_all "$@"; }
at 102
: >"$AUTOPOD_HOME/pods.json"
at 103
SH
  assert_contains 'pods: one local'
  assert_calls 'status 1@1' 'stop one@102' 'status 1@103'
}

@test "a pod is known by its record when it is stopped, also while pods.json is damaged; nothing is noted of what is old" {
  pod one
  passes <<'SH'
provider_local_stop() { note stop "$1" "$POD_NAME" "$POD_RATE" && printf '{"id":"%s","provider":"local","status":"stopped"}\n' "$1"; }
at 0
printf '{"pods": {"on' >"$AUTOPOD_HOME/pods.json"
at 102
SH
  assert_calls 'stop one autopod-one 3600@102' 'status 1@102'
}

@test "a pod whose id makes no sense is never written down" {
  wish autopod-x 999999999-gone
  passes <<'SH'
provider_local_list() { printf '{"id":"../evil","name":"autopod-x","provider":"local","status":"running"}\n'; }
at 1
SH
  assert_status 0
  assert_equal "$(jq -c '.pods // {}' "$AUTOPOD_HOME/pods.json")" '{}'
}

# --- silence ---

ASKED='AUTOPOD_GUARD_GRACE=10
core_sleep() { note sleep; }
queue=""
tunnel_find() { TUNNEL_URL=http://127.0.0.1:9; }
http_get() { note queue && [ -n "$queue" ] && printf "%s\n" "$queue" >"$2" && HTTP_STATUS=200; }'

@test "a ComfyUI that is silent once or twice may be loading a model; three times in a row it is idle" {
  pod one '{"waiting":true,"orphan_at":1800000000,"limits":{"max_cost_usd":9999}}'
  passes <<<"$ASKED"'
core_sleep() { note sleep && queue="{\"queue_running\":[[1]],\"queue_pending\":[]}"; }
at 10
core_sleep() { note sleep; }
queue=""
at 21'
  assert_calls queue@10 sleep@10 queue@10 queue@21 sleep@21 queue@21 sleep@21 queue@21 'stop one@21'
}

@test "without a tunnel it is left to the guard on the pod, or asked there; where nobody was ever reached nobody is asked" {
  pod one '{"waiting":true,"orphan_at":1800000000,"limits":{"max_cost_usd":9999}}'
  printf 'autopod-guard-is dead\nautopod-guard-is alive 0\n' >"$AUTOPOD_HOME/logs/tunnel-one.log"
  passes <<<"$ASKED"'
tunnel_find() { return 1; }
described() { printf "{\"id\":\"%s\",\"provider\":\"local\",\"status\":\"%s\",\"ssh\":{\"host\":\"h\",\"port\":2,\"user\":\"u\"}}\n" "$1" "$2"; }
ssh_ask() { note ssh "$2" "$3" "$4" "$5" && printf "%s\n" "$queue"; }
queue="{\"queue_running\": [[1]], \"queue_pending\": []}"
at 10
at 70
queue="{\"queue_running\": [], \"queue_pending\": []}"
at 71
at 130'
  assert_calls 'get one@70' 'ssh one h 2 u@70' 'get one@130' 'ssh one h 2 u@130' 'stop one@130'
}
