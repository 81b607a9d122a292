#!/usr/bin/env bats
# lib/rent.sh: from a wish to a pod. The provider is a stand-in that does what a list of fates says; the candidates are
# worked out by the real helper.

load test_helper
load lib_helper

setup() {
  autopod_setup
  export AUTOPOD_PROVIDER=runpod
  printf '%s\n' \
    '{"id":"NVIDIA A40","name":"A40","memory_gb":48,"price":{"secure":0.4,"community":0.35},"clouds":["secure","community"],"stock":"High","available":true,"data_centers":[{"id":"US-GA-1","stock":"High"},{"id":"CA-MTL-1","stock":"Low"}]}' \
    '{"id":"NVIDIA RTX A6000","name":"RTX A6000","memory_gb":48,"price":{"secure":0.49,"community":null},"clouds":["secure"],"stock":"Low","available":true,"data_centers":[{"id":"US-GA-1","stock":"Low"}]}' \
    '{"id":"NVIDIA RTX A5000","name":"RTX A5000","memory_gb":24,"price":{"secure":0.27,"community":null},"clouds":["secure"],"stock":"High","available":true,"data_centers":null}' \
    '{"id":"NVIDIA H100 PCIe","name":"H100 PCIe","memory_gb":80,"price":{"secure":2.39,"community":null},"clouds":["secure"],"stock":"High","available":true,"data_centers":null}' \
    >gpus
  printf '{"id":"vol1","name":"models","size_gb":100,"data_center":"CA-MTL-1"}\n' >volumes
  printf '{"balance":25,"spend_per_hr":0}\n' >account
  : >fates
  : >boots
  : >events
}

# rent [ARG...] - runs the program on stdin with a provider that does as the files of this directory say:
#   gpus, volumes, account   what it prints; a missing one is a failure
#   fates                    of the next create: PRICE, or WHY (and TEXT)
#   boots                    of the next pod that was made: `ready`, or STATUS REASON (ssh's, or `failed`: the pod's status)
#   events                   what happened
rent() {
  local text
  text=$(cat)
  lib 'config rent' "$@" <<SH
ui_init
core_trap
config_load
core_tmpdir
PODS=0
provider_runpod_check() { [ ! -e no-tool ] || core_fail "\$EX_MISSING" 'no tool'; }
provider_runpod_gpus() { cat gpus 2>/dev/null || core_fail "\${GPUS_FAIL:-\$EX_TUNNEL}" 'no list today'; }
provider_runpod_volumes() { cat volumes; }
provider_runpod_preflight() { cat account 2>/dev/null || core_fail "\$EX_MISSING" 'the key is wrong'; }
provider_runpod_settling() { echo 0.1; }
provider_runpod_list() { cat listed 2>/dev/null || :; }
provider_runpod_get() { core_fail "\$EX_POD" 'no such pod'; }
provider_runpod_terminate() { echo "terminated \$1" >>events; }
next() { { IFS= read -r NEXT; cat >rest; } <"\$1" && cp rest "\$1"; }
provider_runpod_create() {
  jq -r '"asked \(.gpu_id)|\(.data_center)|\(.cloud)|\(.gpu_count)"' <<<"\$1" >>events
  printf '%s\n' "\$1" >spec
  PODS=\$((PODS + 1))
  next fates
  case \$NEXT in
    [0-9]*)
      jq -c --arg id "pod\$PODS" --arg rate "\$NEXT" '{id: \$id, name, provider: "runpod", status: "creating", gpu: .gpu_name, gpu_count,
        cost_per_hr: (\$rate | tonumber), created_at: (now | floor | todate), image, volume, ssh: null, comfy_port: 8188, reason: null,
        data_center: (if .data_center == "" then null else .data_center end), cloud, owner: null, stopped_usd_per_month: 0}' <<<"\$1"
      ;;
    *) PROVIDER_WHY=\${NEXT%% *} && core_fail "\$EX_POD" "\${NEXT#* }" ;;
  esac
}
is_ready() {
  next boots
  set -- \$NEXT
  echo "boot \$POD_ID \$1" >>events
  [ "\$1" != ready ] || return 0
  SSH_REASON=\${2:-}
  [ "\$SSH_REASON" != failed ] || POD_STATUS=failed
  core_fail "\$1" "pod \$POD_ID did not boot"
}
# get WISH [LIMITS] - what a command does
get() { rent_pod runpod "\$(rent_wish "\$1")" run "\${2:-{\\}}" is_ready; }
$text
SH
}

# happened LINE... - that, and nothing else
happened() { assert_equal "$(cat events)" "$(printf '%s\n' "$@")" 'what happened'; }

# --- the wish -------------------------------------------------------------------------------------

@test "a wish is filled up from the settings; what it says goes before; nothing empty is left in it" {
  run rent <<'SH'
rent_wish '{}' | jq -cS .
AUTOPOD_DATACENTER=US-GA-1 AUTOPOD_VOLUME_ID=vol1 AUTOPOD_TEMPLATE=tpl AUTOPOD_MAX_PRICE=0.5 AUTOPOD_DISK_GB=60
rent_wish '{"gpu_type":"L40S","gpu_count":2,"image":null,"cloud":""}' | jq -cS .
rent_wish '{"image":"mine:1","max_price_usd_per_hour":3,"volume_id":"vol2","datacenter":null}' | jq -cS .
AUTOPOD_PROVIDER=local
rent_wish '{}' | jq -c .gpu_type
SH
  assert_status 0
  assert_equal "${lines[0]}" '{"cloud":"secure","disk_gb":40,"gpu_count":1,"gpu_type":"A40,A6000,A5000","image":"runpod/comfyui:cuda12.8","volume_mount":"/workspace"}'
  assert_equal "${lines[1]}" '{"cloud":"secure","datacenter":"US-GA-1","disk_gb":60,"gpu_count":2,"gpu_type":"L40S","image":"runpod/comfyui:cuda12.8","max_price_usd_per_hour":0.5,"template":"tpl","volume_id":"vol1","volume_mount":"/workspace"}'
  assert_equal "${lines[2]}" '{"cloud":"secure","datacenter":"US-GA-1","disk_gb":60,"gpu_count":1,"gpu_type":"A40,A6000,A5000","image":"mine:1","max_price_usd_per_hour":3,"volume_id":"vol2","volume_mount":"/workspace"}'
  assert_equal "${lines[3]}" null
}

# --- the plan -------------------------------------------------------------------------------------

@test "the plan: candidates in order, as a table and as JSON; nothing is made" {
  run --separate-stderr rent <<'SH'
rent_plan runpod "$(rent_wish '{"datacenter":"US-GA-1,CA-MTL-1","gpu_type":"A40,A6000"}')"
rent_show
rent_show json
SH
  assert_status 0
  assert_equal "${lines[0]}" '    GPU                        DATA CENTER  CLOUD      PRICE      STOCK'
  assert_equal "${lines[1]}" '1   A40                        US-GA-1      secure     $0.40/h    High'
  assert_equal "${lines[2]}" '2   A40                        CA-MTL-1     secure     $0.40/h    Low'
  assert_equal "${lines[3]}" '3   RTX A6000                  US-GA-1      secure     $0.49/h    Low'
  assert_equal "$(tail -n 1 <<<"$output" | jq -c '.[0]')" \
    '{"gpu_id":"NVIDIA A40","gpu":"A40","data_center":"US-GA-1","cloud":"secure","cost_per_hr":0.4,"stock":"High","memory_gb":48}'
  happened
}

@test "without a list of GPUs the names are resolved all the same, and it is said that prices are not known" {
  rm gpus
  AUTOPOD_VERBOSE=1 run --separate-stderr rent <<'SH'
rent_plan runpod "$(rent_wish '{"gpu_type":"4090"}')"
rent_show
rent_show json | jq -c '.[0] | [.gpu_id, .cost_per_hr, .stock, .data_center]'
SH
  assert_status 0
  assert_contains 'prices and stock are not known' "$stderr"
  assert_contains 'no list today' "$stderr"
  assert_matches 'RTX 4090 +any +secure +unknown'
  assert_contains '["NVIDIA GeForce RTX 4090",null,null,null]'
}

@test "a key that is not accepted, a missing tool, an unknown provider, a wrong wish: code and words, and no pod" {
  : >no-tool
  run rent <<<'get "{}"'
  assert_status 3
  assert_contains 'no tool'
  rm no-tool
  mv gpus away
  GPUS_FAIL=3 run rent <<<'get "{}"'
  assert_status 3
  assert_contains 'no list today'
  mv away gpus
  run rent <<<'rent_pod nobody "{}" run "{}" is_ready'
  assert_status 2
  assert_contains 'no provider "nobody"'
  run rent <<<"get '{\"gpu_type\":\"A4o\"}'"
  assert_status 2
  assert_contains A40
  run rent <<<"get '{\"volume_id\":\"vol1\",\"datacenter\":\"US-GA-1\"}'"
  assert_status 2
  assert_contains 'Volume vol1 is in CA-MTL-1, but you asked for US-GA-1'
  run rent <<<"get '{\"max_price_usd_per_hour\":0.01}'"
  assert_status 4
  happened
}

# --- one after another ----------------------------------------------------------------------------

@test "the first that can be had, as it was asked for" {
  echo 0.4 >fates
  echo ready >boots
  run rent <<'SH'
get '{"volume_id":"vol1","disk_gb":77,"gpu_count":1}' '{"max_cost_usd":5,"minutes":60}'
echo "$POD_ID $POD_GPU $POD_RATE $POD_VOLUME_ID $POD_VOLUME_MOUNT"
jq -c '[.intents, (.pods.pod1 | .price, .limits)]' "$AUTOPOD_HOME/pods.json"
SH
  assert_status 0
  assert_contains 'pod1 A40 0.4 vol1 /workspace'
  assert_contains '[{},0.4,{"max_cost_usd":5,"minutes":60}]'
  assert_contains 'pod1, A40, $0.40/h, CA-MTL-1'
  happened 'asked NVIDIA A40|CA-MTL-1|secure|1' 'boot pod1 ready'
  assert_matches '^autopod-run-[0-9TZ-]+-[0-9a-f]+$' "$(jq -r .name spec)"
  assert_equal "$(jq -c '[.disk_gb, .image, .template, .volume, .env.AUTOPOD_INSTALLATION]' spec)" \
    "[77,\"runpod/comfyui:cuda12.8\",null,{\"id\":\"vol1\",\"mount\":\"/workspace\"},\"$(cat "$AUTOPOD_HOME/installation")\"]"
}

@test "no capacity: on to the next GPU; when nobody has one, all that was tried is named" {
  printf 'capacity none left\ncapacity none left\n0.27\n' >fates
  echo ready >boots
  run rent <<<'get "{}"'
  assert_status 0
  assert_contains 'none left'
  happened 'asked NVIDIA A40||secure|1' 'asked NVIDIA RTX A6000||secure|1' 'asked NVIDIA RTX A5000||secure|1' 'boot pod3 ready'
  : >events
  printf 'capacity none left\n%.0s' 1 2 3 >fates
  run rent <<<'get "{}"'
  assert_status 4
  assert_contains 'no pod could be had: A40; RTX A6000; RTX A5000'
  assert_contains autopod-gpus
  run jq -c '[.intents, .pods]' "$AUTOPOD_HOME/pods.json"
  assert_contains '[{},'
}

@test "what the next candidate would not help is the end" {
  local why
  for why in balance auth usage rate network other; do
    : >events
    echo "$why so it is" >fates
    run rent <<<'get "{}"'
    assert_status 4
    assert_contains 'error: so it is'
    happened 'asked NVIDIA A40||secure|1'
  done
}

@test "RunPod says that something failed: without a pod of that name it is asked once more for the same, then it stops" {
  printf 'ambiguous so it is\n0.4\n' >fates
  echo ready >boots
  run rent <<<'get "{}"; echo "$POD_ID"'
  assert_status 0
  assert_contains 'No pod was made (so it is): asking once more.'
  happened 'asked NVIDIA A40||secure|1' 'asked NVIDIA A40||secure|1' 'boot pod2 ready'
  assert_equal "$(jq -c '[.intents, (.pods | keys)]' "$AUTOPOD_HOME/pods.json")" '[{},["pod2"]]'
  rm "$AUTOPOD_HOME/pods.json"
  : >events
  printf 'ambiguous so it is\n%.0s' 1 2 3 >fates
  run rent <<<'get "{}"'
  assert_status 4
  assert_contains 'error: so it is'
  happened 'asked NVIDIA A40||secure|1' 'asked NVIDIA A40||secure|1'
  assert_equal "$(jq -c .intents "$AUTOPOD_HOME/pods.json")" '{}'
}

@test "asked once more, it may be that there is no capacity: then the next is tried" {
  printf 'ambiguous so it is\ncapacity none left\n0.49\n' >fates
  echo ready >boots
  run rent <<<'get "{}"'
  assert_status 0
  happened 'asked NVIDIA A40||secure|1' 'asked NVIDIA A40||secure|1' 'asked NVIDIA RTX A6000||secure|1' 'boot pod3 ready'
}

@test "no answer, and no pod of that name: exit 12, no other is asked for, and the name stays on disk" {
  printf 'unanswered timeout\n0.49\n' >fates
  run rent <<<"get '{}' '{\"minutes\":60}'"
  assert_status 12
  assert_contains 'nobody can say yet whether the pod autopod-run-'
  assert_contains 'autopod-sweep'
  happened 'asked NVIDIA A40||secure|1'
  assert_equal "$(jq -c '[.pods // {}, (.intents | keys), .intents[].limits]' "$AUTOPOD_HOME/pods.json")" \
    "[{},[\"$(jq -r .name spec)\"],{\"minutes\":60}]"
}

@test "whatever is not said: a pod of that name is taken; when the list can't be had, it is exit 12" {
  local why
  for why in ambiguous unanswered; do
    : >events
    echo "$why timeout" >fates
    echo ready >boots
    run rent <<'SH'
provider_runpod_list() {
  jq -c '{id: "adopted", name, provider: "runpod", status: "creating", gpu: "A40", gpu_count: 1, cost_per_hr: 0.4, created_at: null,
    image: null, volume: null, ssh: null, comfy_port: 8188, reason: null, data_center: null, cloud: null, owner: null, stopped_usd_per_month: 0}' spec
}
get '{}'
echo "$POD_ID"
SH
    assert_status 0
    happened 'asked NVIDIA A40||secure|1' 'boot adopted ready'
    assert_equal "$(jq -c '[.intents, (.pods | keys)]' "$AUTOPOD_HOME/pods.json")" '[{},["adopted"]]'
    : >events
    echo "$why timeout" >fates
    run rent <<'SH'
provider_runpod_list() { core_fail "$EX_TUNNEL" 'no way there'; }
get '{}'
SH
    assert_status 12
    assert_contains 'may have been made'
    happened 'asked NVIDIA A40||secure|1'
    assert_equal "$(jq -r '.intents | keys[0]' "$AUTOPOD_HOME/pods.json")" "$(jq -r .name spec)"
    rm "$AUTOPOD_HOME/pods.json"
  done
}

# --- pods that do not become ready ----------------------------------------------------------------

@test "a pod that does not become ready is ended, what it cost is told, and the next is tried" {
  printf '0.4\n0.49\n' >fates
  printf '5 timeout\nready\n' >boots
  run rent <<<'get "{}"; echo "$POD_ID"'
  assert_status 0
  assert_contains 'Pod pod1 did not become ready: pod pod1 did not boot'
  assert_contains 'Pod pod1 is terminated; it cost '
  happened 'asked NVIDIA A40||secure|1' 'boot pod1 5' 'terminated pod1' 'asked NVIDIA RTX A6000||secure|1' 'boot pod2 ready'
  run jq -r '.pods | keys | join(" ")' "$AUTOPOD_HOME/pods.json"
  assert_equal "$output" pod2
}

@test "no more than three pods that do not become ready are paid for" {
  printf '0.4\n%.0s' 1 2 3 4 >fates
  printf '4 failed\n5 timeout\n4 failed\nready\n' >boots
  run rent <<<"get '{\"gpu_type\":\"A40,A6000,A5000,H100 PCIe\"}'"
  assert_status 4
  assert_contains 'no pod could be had: A40 (pod pod1 did not boot); RTX A6000 (pod pod2 did not boot); RTX A5000 (pod pod3 did not boot)'
  assert_contains AUTOPOD_BOOT_TIMEOUT
  assert_equal "$(grep -c ^terminated events)" 3
  assert_equal "$(grep -c ^asked events)" 3
}

@test "a pod that somebody else ended while it booted: no other is made" {
  printf '0.4\n0.49\n' >fates
  printf '4\nready\n' >boots
  run rent <<<'get "{}"'
  assert_status 4
  assert_contains 'somebody ended pod pod1 while it booted'
  assert_equal "$(grep ^asked events)" 'asked NVIDIA A40||secure|1'
  assert_equal "$(jq -c '[.intents, .pods]' "$AUTOPOD_HOME/pods.json")" '[{},{}]'
}

@test "a key that the pod does not know, and a fault of ours, would be no better elsewhere; the pod is ended" {
  local boot
  for boot in '5 denied' '5 hostkey' '5 local' '1' '3'; do
    : >events
    printf '0.4\n0.49\n' >fates
    echo "$boot" >boots
    run rent <<<'get "{}"'
    assert_status "${boot%% *}"
    happened 'asked NVIDIA A40||secure|1' "boot pod1 ${boot%% *}" 'terminated pod1'
  done
}

@test "one that can't be ended is code 12, and no other is made" {
  printf '0.4\n0.49\n' >fates
  echo '4' >boots
  run rent <<'SH'
provider_runpod_terminate() { core_fail "$EX_POD_LEFT" 'it will not go'; }
provider_runpod_get() { :; }
get '{}'
SH
  assert_status 12
  assert_equal "$(grep -c 'may still be running' <<<"$output")" 1 'times that it is told'
  assert_equal "$(grep -c ^asked events)" 1
}

# --- money ----------------------------------------------------------------------------------------

@test "a price above what needs no question: --yes, or an answer; without a terminal nothing is made" {
  printf '2.39\n' >fates
  echo ready >boots
  run rent <<<"get '{\"gpu_type\":\"H100 PCIe\"}'"
  assert_status 2
  assert_contains 'H100 PCIe costs $2.39/h'
  assert_contains -- --yes
  happened
  run rent <<<"UI_YES=1; get '{\"gpu_type\":\"H100 PCIe\"}'"
  assert_status 0
  happened 'asked NVIDIA H100 PCIe||secure|1' 'boot pod1 ready'
  : >events
  printf '0.8\n' >fates
  echo ready >boots
  AUTOPOD_ASK_ABOVE=0.5 run rent <<<"get '{\"gpu_count\":2}'"
  assert_status 2
  assert_contains 'costs $0.80/h' # the price of the whole pod
  AUTOPOD_ASK_ABOVE=3 run rent <<<"get '{\"gpu_type\":\"H100 PCIe\"}'"
  assert_status 0
}

@test "a pod that turns out dearer than was agreed to is ended at once" {
  echo 1.5 >fates
  run rent <<<'get "{}"'
  assert_status 4
  assert_contains 'pod1 costs $1.50/h, not what was listed and more than $1.00/h: it was ended at once'
  happened 'asked NVIDIA A40||secure|1' 'terminated pod1'
  : >events
  echo 0.6 >fates
  run rent <<<"UI_YES=1; get '{\"max_price_usd_per_hour\":0.5}'"
  assert_status 4
  assert_contains 'more than $0.50/h'
  happened 'asked NVIDIA A40||secure|1' 'terminated pod1'
  run jq -c '[.pods, .intents]' "$AUTOPOD_HOME/pods.json"
  assert_equal "$output" '[{},{}]'
}

@test "the account: nothing on it is the end; too little for the limit is told; a provider without money has none" {
  printf '{"balance":0,"spend_per_hr":0}\n' >account
  run rent <<<'get "{}"'
  assert_status 4
  assert_contains 'the balance of the account is $0'
  printf '{"balance":-1.5,"spend_per_hr":0}\n' >account
  run rent <<<'get "{}"'
  assert_status 4
  rm account
  run rent <<<'get "{}"'
  assert_status 3
  assert_contains 'the key is wrong'
  happened
  local limits
  while IFS='|' read -r balance limits wanted; do
    : >events
    printf '{"balance":%s}\n' "$balance" >account
    echo 0.4 >fates
    echo ready >boots
    run rent <<<"get '{}' '$limits'"
    assert_status 0
    case $wanted in
      '') refute_contains balance ;;
      *) assert_contains "$wanted" ;;
    esac
  done <<'CASES'
1|{"max_cost_usd":5}|the balance of $1.00 lasts for 2h 30m of this pod: less than its limit, $5.00
1|{"minutes":600}|less than its limit, $4.00
1|{"max_cost_usd":5,"minutes":60}|
25|{"max_cost_usd":5,"minutes":600}|
0.01|{}|
CASES
  printf '{}\n' >account
  echo 0.4 >fates
  echo ready >boots
  run rent <<<"get '{}' '{\"max_cost_usd\":5}'"
  assert_status 0
}

# --- what it may cost in a day --------------------------------------------------------------------

# spent USD - a pod that has cost that much today is in the ledger
spent() {
  jq -n -c --argjson usd "$1" 'now | floor as $now | {pod: "old1", provider: "runpod", usd_per_hour: 1, since: $now, ended: $now,
    seconds_stopped: 0, cost_usd: $usd, usd: {disk: 0}, running: []}' >"$AUTOPOD_HOME/ledger.jsonl"
}

# limit - prints the limit of cost of the pod that was made
limit() { jq -c '.pods[].limits.max_cost_usd' "$AUTOPOD_HOME/pods.json"; }

@test "a day's limit: what is left of it is the pod's, unless it has a lower one; without any nothing is worked out" {
  make_home
  spent 3
  local day wanted limits
  while IFS='|' read -r day limits wanted; do
    rm -f "$AUTOPOD_HOME/pods.json"
    echo 0.4 >fates
    echo ready >boots
    AUTOPOD_MAX_DAILY_COST=$day run rent <<<"get '{}' '$limits'"
    assert_status 0
    assert_equal "$(limit)" "$wanted" "$day $limits"
    assert_equal "$(jq -c '.pods[].limits.minutes' "$AUTOPOD_HOME/pods.json")" 60
    refute_exists "$AUTOPOD_HOME/locks/daily"
  done <<'CASES'
5|{"minutes":60}|2
5|{"minutes":60,"max_cost_usd":1.5}|1.5
5|{"minutes":60,"max_cost_usd":9}|2
|{"minutes":60,"max_cost_usd":9}|9
|{"minutes":60}|null
CASES
}

@test "who works out what a day leaves does so alone, until it is written down" {
  make_home
  run lib 'config cap' <<'SH'
ui_init
config_load
held() { [ -L "$AUTOPOD_HOME/locks/daily" ] && echo "$1 held" || echo "$1 free"; }
job() {
  held begun
  "$POD_NOTED"
  held noted
  return 7
}
AUTOPOD_MAX_DAILY_COST=5
cap_locked job || echo "$?"
cap_locked held again
held after
AUTOPOD_MAX_DAILY_COST=
cap_locked job || echo "$? <$POD_NOTED>"
AUTOPOD_MAX_DAILY_COST=5 STATE_LOCK_SECONDS=0
ln -s "$(os_process_start $PPID && echo "$PPID-$OS_START")" "$AUTOPOD_HOME/locks/daily"
cap_locked held never || echo "code $?"
SH
  assert_contains 'begun held
noted free
7
again held
after free
begun free
noted free
7 <>'
  assert_contains 'another autopod is at the daily limit of cost'
  assert_contains 'code 1'
  refute_contains never
}

@test "a day's limit that is used up: exit 11, what to do, and nobody is asked for a pod" {
  make_home
  spent 5
  AUTOPOD_MAX_DAILY_COST=5 run rent <<<"get '{}' '{\"minutes\":60}'"
  assert_status 11
  assert_contains "today's pods have cost \$5.00"
  assert_contains 'AUTOPOD_MAX_DAILY_COST is $5'
  assert_contains 'allow more a day'
  happened
}

@test "a day's limit counts what pods that run may still cost, and those that others are just making" {
  make_home
  local now
  now=$(date +%s)
  jq -n -c --argjson now "$now" '{pods: {run1: {provider: "runpod", since: $now, price: 0.4, limits: {max_cost_usd: 3, minutes: 6000}, ran: 0, rested: 0,
      state: "running", state_at: $now, pod: {id: "run1"}}},
    intents: {"autopod-other": {provider: "runpod", at: $now, maker: "1-1", list_price: 0.4, limits: {max_cost_usd: 2, minutes: 6000}}}}' \
    >"$AUTOPOD_HOME/pods.json"
  AUTOPOD_MAX_DAILY_COST=5 run rent <<<"get '{}' '{\"minutes\":60}'"
  assert_status 11
  assert_contains 'those that run may still cost $5.0'
  happened
  echo 0.4 >fates
  echo ready >boots
  AUTOPOD_MAX_DAILY_COST=6 run rent <<<"get '{}' '{\"minutes\":60}'"
  assert_status 0
  assert_equal "$(jq '.pods.pod1.limits.max_cost_usd | . > 0.9 and . < 1' "$AUTOPOD_HOME/pods.json")" true "$(limit)"
}

@test "a day's limit: what a pod that did not boot has cost is gone for the next one" {
  make_home
  printf '0.4\n0.49\n' >fates
  printf '5 refused\nready\n' >boots
  AUTOPOD_MAX_DAILY_COST=5 run rent <<'SH'
ledger_close() {
  os_now
  printf '{"pod":"pod1","since":%d,"ended":%d,"cost_usd":1.5,"running":[],"usd":{"disk":0},"seconds_stopped":0}\n' \
    "$OS_NOW" "$OS_NOW" >"$AUTOPOD_HOME/ledger.jsonl"
}
get '{}' '{}'
SH
  assert_status 0
  assert_equal "$(limit)" 3.5
}

@test "a limit of cost, and nobody says the price: the pod is ended at once, and what to do is said" {
  printf '{"id":"NVIDIA A40","name":"A40","memory_gb":48,"price":{},"clouds":["secure"],"stock":"High","available":true,"data_centers":null}\n' >gpus
  echo 0 >fates
  run rent <<<"get '{\"gpu_type\":\"A40\"}' '{\"max_cost_usd\":5,\"minutes\":60}'"
  assert_status 4
  assert_contains 'nobody says what pod pod1 costs, so that its limit of $5.00 could not hold: it was ended at once'
  assert_contains 'AUTOPOD_MAX_COST'
  happened 'asked NVIDIA A40||secure|1' 'terminated pod1'
  assert_equal "$(jq -c .pods "$AUTOPOD_HOME/pods.json")" '{}'
}

@test "a pod whose price is only listed has that, and its limit of cost" {
  echo 0 >fates
  echo ready >boots
  run rent <<<"get '{\"gpu_type\":\"A40\"}' '{\"max_cost_usd\":5}'; pod_limits_text; echo \"\$POD_LIMITS\""
  assert_status 0
  assert_contains '$5.00 or 12 h, whichever is first; latest possible bill $4.8'
}
