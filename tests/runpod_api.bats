#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # POD is a test's own: bats runs each in a subshell
# runpod_api.bats - the stand-in of RunPod's API keeps its own word: shapes, states, machines, money, faults. What
# the other tests find out about autopod is only as true as this.

load test_helper
load runpod_helper

setup() { autopod_setup; }

teardown() {
  local status=0
  runpod_api_stop || status=1
  autopod_teardown || status=1
  return "$status"
}

A40='{"name":"one","image":"runpod/comfyui:cuda12.8","gpu":{"id":"NVIDIA A40","count":1},"cloud":"SECURE",
  "ports":["8188/http","22/tcp"],"env":{"AUTOPOD_INSTALLATION":"i1"},"startSsh":true}'
DEPLOY='mutation createPod($input: PodFindAndDeployOnDemandInput!) {
  podFindAndDeployOnDemand(input: $input) { id costPerHr desiredStatus env ports machine { gpuDisplayName } } }'
INPUT='{"input":{"name":"two","imageName":"i","gpuTypeId":"NVIDIA A40","gpuCount":2,"cloudType":"SECURE",
  "ports":"22/tcp","env":[{"key":"K","value":"a=b"}],"startSsh":true,"volumeInGb":20,"volumeMountPath":"/workspace"}}'

# create [FILTER] - makes a pod over v2 as $A40 changed by FILTER says; sets POD
create() {
  runpod_call v2 POST /pods "$(jq "${1:-.}" <<<"$A40")"
  assert_equal "$CALL_STATUS" 201 "status of create ($CALL_BODY)"
  POD=$(jq -r .id <<<"$CALL_BODY")
}

# answered FILTER WANTED - what jq makes of the last answer
answered() { assert_equal "$(jq -r "$1" <<<"$CALL_BODY")" "$2" "$1 of $CALL_BODY"; }

# refused STATUS TEXT - the last answer is a refusal that says TEXT
refused() {
  assert_equal "$CALL_STATUS" "$1" "status ($CALL_BODY)"
  assert_contains "$2" "$CALL_BODY"
}

# pod_has_port - 0 when the API shows a public port for $POD
pod_has_port() { [ "$(runpod_state ".pods[] | select(.id == \"$POD\").ssh_port")" != null ]; }

# log_in CMD - runs CMD on $POD as the account's owner
log_in() {
  ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -i "$HOME/.ssh/id_ed25519" -o StrictHostKeyChecking=accept-new \
    -o UserKnownHostsFile="$TMPDIR/known" -o LogLevel=ERROR \
    -p "$(runpod_state ".pods[] | select(.id == \"$POD\").ssh_port")" root@0.0.0.0 "$1" </dev/null
}

# --- the three APIs -------------------------------------------------------------------------------

@test "REST v2: create, list, get, stop, start, delete, with the states and errors of the real one" {
  runpod_api_start --no-machines --boot-delay 60
  create
  answered '"\(.status) \(.cost) \(.dataCenterId) \(.runtime) \(.env.AUTOPOD_INSTALLATION)"' \
    'PROVISIONING 0.4 US-GA-1 null i1'
  runpod_control '{"advance_seconds":40}'
  runpod_call v2 GET "/pods/$POD"
  answered '"\(.status) \(.runtime)"' 'STARTING null'
  runpod_control '{"advance_seconds":40}'
  runpod_call v2 GET '/pods?limit=1000'
  answered '.pods[0] | "\(.status) \([.runtime.ports[] | select(.private == 22) | .ip, .type])"' \
    'RUNNING ["0.0.0.0","tcp"]'
  answered .pagination.hasNextPage false
  runpod_call v2 POST "/pods/$POD/action" '{"action":"stop"}'
  answered '"\(.status) \(.runtime) \(.cost) \(.actions)"' 'EXITED null 0 ["start","terminate"]'
  runpod_call v2 POST "/pods/$POD/action" '{"action":"stop"}'
  refused 409 '"detail"'
  runpod_call v2 POST "/pods/$POD/action" '{"action":"reset"}'
  refused 422 "value must be one of 'start', 'stop', 'restart', 'terminate'"
  runpod_call v2 POST "/pods/$POD/action" '{"action":"start"}'
  answered .status PROVISIONING
  runpod_call v2 DELETE "/pods/$POD"
  assert_equal "$CALL_STATUS:$CALL_BODY" 204:
  runpod_call v2 GET "/pods/$POD"
  refused 404 '"title": "Not Found"'
  runpod_call v2 POST /pods '{"name":"x","image":"i","gpuTypeId":"NVIDIA A40","env":{"A":1}}'
  refused 422 "additional properties 'gpuTypeId' not allowed"
  assert_contains 'want string' "$CALL_BODY"
}

@test "REST v2: pages, catalog, volumes, keys, billing" {
  runpod_api_start --no-machines
  runpod_control '{"add_pods":[{"name":"a"},{"name":"b"},{"name":"c","status":"EXITED"}]}'
  runpod_call v2 GET '/pods?limit=2'
  answered '"\(.pods | length) \(.pagination.hasNextPage)"' '2 true'
  runpod_call v2 GET "/pods?limit=2&cursor=$(jq -r .pagination.nextCursor <<<"$CALL_BODY")"
  answered '"\(.pods | length) \(.pagination.hasNextPage)"' '1 false'
  runpod_call v2 GET '/catalog/gpus?include=AVAILABILITY&product=POD'
  answered '.gpus[] | select(.id == "NVIDIA A40") | "\(.name) \(.memory) \(.price) \(.availability)"' \
    'A40 48 {"secure":0.4,"community":0.35} HIGH'
  answered '.gpus[] | select(.id == "NVIDIA A40").dataCenters | tostring' \
    '[{"id":"US-GA-1","availability":"HIGH"},{"id":"CA-MTL-1","availability":"MEDIUM"}]'
  runpod_call v2 GET '/catalog/datacenters?include=GPU_AVAILABILITY'
  answered '.dataCenters[] | select(.id == "US-KS-2").gpuAvailability[] | select(.name == "H100 SXM").availability' HIGH
  runpod_call v2 GET /network-volumes
  answered '[.networkVolumes[] | .dataCenter] | join(" ")' 'US-GA-1 CA-MTL-1'
  runpod_call v2 GET /network-volumes/vol4ga1models
  answered .size 100
  runpod_call v2 GET /network-volumes/nonsense
  refused 404 'not found'
  runpod_call v2 PUT /account/ssh-keys '{"keys":["ssh-ed25519 AAAA new"]}'
  runpod_call v2 GET /account/ssh-keys
  answered '.keys[0]' 'ssh-ed25519 AAAA new'
  runpod_call v2 GET /billing/pods
  answered '"\(.metadata.recordCount) \(.records[0] | has("totalAmount"))"' '3 true'
}

@test "REST v1: bare lists with filters, texts of its time, prices left out when 0" {
  runpod_api_start --no-machines --boot-delay 0
  runpod_call v1 POST /pods '{"name":"one","imageName":"i","gpuTypeIds":["NVIDIA A30","NVIDIA A40"],"gpuCount":1,
    "networkVolumeId":"vol4ga1models"}'
  assert_equal "$CALL_STATUS" 201
  answered '"\(.desiredStatus) \(.gpuTypeId) \(.costPerHr) \(.ports) \(.volumeInGb)"' \
    'RUNNING NVIDIA A40 0.4 ["8888/http","22/tcp"] 0'
  POD=$(jq -r .id <<<"$CALL_BODY")
  wait_until 5 pod_has_port
  runpod_call v1 GET "/pods/$POD?includeMachine=true&includeNetworkVolume=true"
  answered '"\(.publicIp) \(.portMappings | keys) \(.machine.dataCenterId) \(.networkVolume.name) \(has("runtime"))"' \
    '127.0.0.1 ["22"] US-GA-1 models false'
  assert_matches '^Rented by User: ' "$(jq -r .lastStatusChange <<<"$CALL_BODY")"
  assert_matches '^[0-9-]{10} [0-9:.]{12} \+0000 UTC$' "$(jq -r .createdAt <<<"$CALL_BODY")"
  runpod_call v1 POST "/pods/$POD/stop"
  answered '"\(.desiredStatus) \(has("costPerHr"))"' 'EXITED false'
  runpod_call v1 GET '/pods?name=ONE'
  answered '.[0].id' "$POD"
  runpod_call v1 GET '/pods?name=on'
  answered length 0
  runpod_call v1 POST "/pods/$POD/start"
  answered .desiredStatus RUNNING
  runpod_call v1 DELETE "/pods/$POD"
  assert_equal "$CALL_STATUS" 204
  runpod_call v1 GET "/pods/$POD"
  refused 404 '{"error": "pod not found", "status": 404}'
  runpod_call v1 GET /networkvolumes
  answered '.[1].dataCenterId' CA-MTL-1
  runpod_call v1 GET "/billing/pods?podId=$POD"
  answered '.[0] | "\(.podId == "'"$POD"'") \(has("amount"))"' 'true true'
}

@test "GraphQL: create, addresses, money, GPUs, data centers, and errors in a 200" {
  runpod_api_start --no-machines --boot-delay 0
  runpod_query "$DEPLOY" "$INPUT"
  answered '.data.podFindAndDeployOnDemand | "\(.costPerHr) \(.env) \(.ports) \(.machine.gpuDisplayName)"' \
    '0.8 ["K=a=b"] 22/tcp A40'
  POD=$(jq -r .data.podFindAndDeployOnDemand.id <<<"$CALL_BODY")
  wait_until 5 pod_has_port
  runpod_query '{ myself { clientBalance currentSpendPerHr
    pods { id runtime { ports { ip isIpPublic privatePort type } } } } }'
  answered '.data.myself | "\(.currentSpendPerHr) \(.pods[0].runtime.ports)"' \
    '0.8 [{"ip":"127.0.0.1","isIpPublic":true,"privatePort":22,"type":"tcp"}]'
  runpod_query 'query { gpuTypes(input: {id: "NVIDIA A40"}) { displayName securePrice communityPrice
    lowestPrice(input: {gpuCount: 1}) { stockStatus } } }'
  answered '.data.gpuTypes | tostring' \
    '[{"displayName":"A40","securePrice":0.4,"communityPrice":0.35,"lowestPrice":{"stockStatus":"High"}}]'
  runpod_query '{ dataCenters { id gpuAvailability { gpuTypeId stockStatus } } }'
  answered '.data.dataCenters[0] | "\(.id) \([.gpuAvailability[] | select(.gpuTypeId == "NVIDIA A30").stockStatus])"' \
    'US-GA-1 [null]'
  runpod_query 'mutation { podStop(input: {podId: "'"$POD"'"}) { id desiredStatus } }'
  answered .data.podStop.desiredStatus EXITED
  runpod_query 'mutation { podResume(input: {podId: "'"$POD"'", gpuCount: 2}) { desiredStatus } }'
  answered .data.podResume.desiredStatus RUNNING
  runpod_query 'mutation { podTerminate(input: {podId: "'"$POD"'"}) }'
  answered '.data | tostring' '{"podTerminate":null}'
  runpod_query 'query { pod(input: {podId: "'"$POD"'"}) { id } }'
  answered '.data | tostring' '{"pod":null}'
  runpod_query 'mutation { podStop(input: {podId: "'"$POD"'"}) { id } }'
  refused 200 '"message": "pod not found"'
  runpod_query '{ myself { nonsense } }'
  refused 400 'Cannot query field \"nonsense\" on type \"User\".'
  runpod_query '{ myself { id '
  refused 400 'Syntax Error'
}

@test "keys: the account's does all, the read-only one reads, a pod's own stops that pod over GraphQL, others nothing" {
  runpod_api_start --no-machines
  create
  local account=$RUNPOD_API_KEY
  RUNPOD_API_KEY=rpa_READONLY0123456789
  runpod_call v2 GET /pods
  assert_equal "$CALL_STATUS" 200
  runpod_call v2 POST /pods "$A40"
  refused 403 scope
  RUNPOD_API_KEY=rpa_wrong
  runpod_call v1 GET /pods
  refused 401 Unauthorized
  runpod_query '{ myself { id } }'
  refused 401 Unauthorized
  RUNPOD_API_KEY=rpa_POD$POD
  runpod_call v2 DELETE "/pods/$POD"
  refused 403 Forbidden
  runpod_query '{ myself { clientBalance } }'
  refused 403 Forbidden
  runpod_query 'mutation { podStop(input: {podId: "'"$POD"'"}) { desiredStatus } }'
  answered .data.podStop.desiredStatus EXITED
  RUNPOD_API_KEY=$account
  runpod_call v2 GET /pods '' -A Python-urllib/3.11
  refused 403 'error code: 1010'
  assert_equal "$(runpod_state '[.requests[] | "\(.api).\(.operation).\(.key).\(.status)"] | .[1:4] | join(" ")')" \
    'v2.list.readonly.200 v2.create.readonly.403 v1.list.unknown.401'
  refute_contains TESTKEY "$(runpod_state)"
}

# --- machines -------------------------------------------------------------------------------------

@test "a pod is a machine: the account's key gets in, the id is inside, ports and host keys change, nothing is left" {
  need_runpod_pods
  runpod_api_start --boot-delay 1
  create
  run ! pod_has_port # before the boot delay is over
  wait_until 15 pod_has_port
  run log_in 'echo "$RUNPOD_POD_ID $RUNPOD_DC_ID"; nvidia-smi -L'
  assert_equal "${lines[0]}" "$POD US-GA-1"
  assert_matches '^GPU 0: NVIDIA A40' "${lines[1]}"
  curl -qsf --noproxy '*' "http://127.0.0.1:$AUTOPOD_COMFY_PORT/system_stats" | jq -e .system >/dev/null
  # what the pod starts for itself ends with the pod, and so does a session
  log_in 'nohup sleep 86398 >/dev/null 2>&1 & sleep 0.2'
  log_in 'sleep 86399' &
  wait_until 5 pgrep -f '^sleep 86399'
  local port
  port=$(runpod_state '.pods[0].ssh_port')
  runpod_call v2 POST "/pods/$POD/action" '{"action":"stop"}'
  wait_until 5 none_runs '^sleep 8639'
  run ! bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
  runpod_call v2 POST "/pods/$POD/action" '{"action":"start"}'
  wait_until 15 pod_has_port
  [ "$(runpod_state '.pods[0].ssh_port')" != "$port" ]
  run log_in 'echo $RUNPOD_POD_ID'
  assert_equal "$output" "$POD"
  assert_equal "$(cut -d ' ' -f 3 "$TMPDIR/known" | sort -u | wc -l | tr -d ' ')" 2 'number of host keys seen'
  # the pod's own key, from inside
  log_in 'curl -qs --noproxy "*" -H "Authorization: Bearer $RUNPOD_API_KEY" -H "Content-Type: application/json" \
    -d "{\"query\":\"mutation { podStop(input: {podId: \\\"$RUNPOD_POD_ID\\\"}) { id } }\"}" "$RUNPOD_GRAPHQL_URL"' || :
  runpod_says '.pods[0].status' EXITED
}

# none_runs PATTERN - 0 when no process of this machine has arguments like it
none_runs() { ! pgrep -f "$1" >/dev/null; }

@test "a pod's PUBLIC_KEY takes the place of the account's keys; a key that came later gets in after a restart" {
  need_runpod_pods
  runpod_api_start --boot-delay 0
  ssh-keygen -q -t ed25519 -N '' -f "$HOME/other" </dev/null
  create ".env.PUBLIC_KEY = \"$(cat "$HOME/other.pub")\""
  wait_until 15 pod_has_port
  run log_in true
  assert_status 255
  assert_contains 'Permission denied'
  cp "$HOME/other" "$HOME/.ssh/id_ed25519" && cp "$HOME/other.pub" "$HOME/.ssh/id_ed25519.pub"
  log_in true
  create
  wait_until 15 pod_has_port
  runpod_control "$(jq -Rc '{ssh_keys: [.]}' "$HOME/other.pub")"
  run log_in true
  assert_contains 'Permission denied'
  runpod_call v2 POST "/pods/$POD/action" '{"action":"restart"}'
  wait_until 15 pod_has_port
  log_in true
}

@test "faults of a boot: no port, nobody listens, another pod, a bare session" {
  need_runpod_pods
  runpod_api_start --boot-delay 0
  runpod_control '{"faults":{"never_boots":{"times":1}}}'
  create
  local never=$POD
  runpod_control '{"faults":{"boots_without_sshd":{"times":1}}}'
  create
  wait_until 5 pod_has_port
  run log_in true
  assert_contains 'Connection refused'
  runpod_control '{"faults":{"wrong_pod":{"times":1}}}'
  create
  wait_until 15 pod_has_port
  run log_in 'echo "${#RUNPOD_POD_ID}:$RUNPOD_POD_ID"'
  assert_matches '^14:'
  refute_contains "$POD"
  runpod_control '{"faults":{"bare_session":{}}}'
  create
  wait_until 15 pod_has_port
  run log_in 'echo "id ${RUNPOD_POD_ID-none}"'
  assert_equal "$output" 'id none'
  POD=$never
  run ! pod_has_port
  runpod_call v2 GET "/pods/$POD"
  answered '"\(.status) \(.runtime)"' 'STARTING null'
}

# --- money ----------------------------------------------------------------------------------------

@test "billing adds up: price x time while it runs, disk while it is stopped, nothing after it" {
  runpod_api_start --no-machines --boot-delay 0
  create '.gpu.count = 2 | .mounts.persistent = {"size": 73, "path": "/workspace"}'
  runpod_control '{"advance_seconds":5400}'
  assert_equal "$(runpod_state '.pods[0].billed_usd * 100 | round')" 120 'cents for 1.5 h at 2 x 0.40'
  assert_equal "$(runpod_state '.balance * 100 | round')" 2380
  runpod_call v2 POST "/pods/$POD/action" '{"action":"stop"}'
  runpod_control '{"advance_seconds":36000}'
  assert_equal "$(runpod_state '.pods[0].billed_usd * 100 | round')" 140 'cents with 10 h of 73 GB at 0.20 a month'
  runpod_call v2 DELETE "/pods/$POD"
  runpod_control '{"advance_seconds":36000}'
  assert_equal "$(runpod_state '.billed_usd * 100 | round')" 140 'cents after the end'
  runpod_call v2 GET "/billing/pods?podId=$POD"
  answered '.metadata.totals | "\(.gpuAmount * 100 | round) \(.diskAmount * 100 | round)"' '120 20'
}

@test "at balance 0 a pod with a network volume is stopped, one without is terminated" {
  runpod_api_start --no-machines --boot-delay 0
  create
  create '.mounts.network = [{"volumeId": "vol4ga1models", "path": "/workspace"}]'
  runpod_control '{"balance":0.5,"advance_seconds":3600}'
  assert_equal "$(runpod_state '[.pods[].status] | join(" ")')" 'TERMINATED EXITED'
  runpod_call v2 POST /pods "$A40"
  refused 402 'account balance is too low'
}

# --- faults ---------------------------------------------------------------------------------------

@test "no capacity: by stock, by fault in each API's words, for some GPUs, data centers and times only" {
  runpod_api_start --no-machines
  runpod_call v2 POST /pods "$(jq '.dataCenterIds = ["EU-RO-1"]' <<<"$A40")"
  refused 400 'no gpu available'
  runpod_call v2 POST /pods "$(jq '.gpu.id = "NVIDIA A30"' <<<"$A40")"
  refused 400 'no gpu available'
  runpod_control '{"faults":{"capacity":{"data_centers":["US-GA-1"]}}}'
  create
  assert_equal "$(runpod_state '.pods[-1].data_center')" CA-MTL-1
  runpod_control '{"faults":{"capacity":{"gpus":["NVIDIA A40"],"times":4}}}'
  runpod_query "$DEPLOY" "$INPUT"
  refused 200 'There are no longer any instances available with the requested specifications. Please refresh'
  runpod_call v1 POST /pods '{"name":"x","imageName":"i","gpuTypeIds":["NVIDIA A40"]}'
  refused 500 '{"error": "create pod: There are no instances currently available", "status": 500}'
  runpod_call v2 POST /pods "$A40"
  refused 400 '"detail": "no gpu available"'
  create '.gpu.id = "NVIDIA RTX A6000"'
  runpod_control '{"faults":{"capacity":{"text":"resources"}}}'
  runpod_query "$DEPLOY" "$INPUT"
  refused 200 'does not have the resources to deploy your pod'
  runpod_control '{"faults":{"capacity":{"times":0}}}'
  create
}

@test "a volume is in one data center and in the secure cloud; anything else is an unhelpful error" {
  runpod_api_start --no-machines
  create '.mounts.network = [{"volumeId": "vol7mtl1arch", "path": "/workspace"}]'
  assert_equal "$(runpod_state '.pods[0] | "\(.data_center) \(.volume_id) \(.mount)"')" \
    'CA-MTL-1 vol7mtl1arch /workspace'
  local mounted
  mounted=$(jq -c '.mounts.network = [{"volumeId": "vol7mtl1arch", "path": "/w"}]' <<<"$A40")
  runpod_call v2 POST /pods "$(jq '.dataCenterIds = ["US-GA-1"]' <<<"$mounted")"
  refused 400 'Something went wrong'
  runpod_call v2 POST /pods "$(jq '.cloud = "COMMUNITY"' <<<"$mounted")"
  refused 400 'Something went wrong'
}

@test "creates that end badly: hanging, 500 with and without a pod" {
  runpod_api_start --no-machines
  runpod_control '{"faults":{"create_hangs":{"times":1},"create_500_but_made":{"times":1},
    "create_500_not_made":{"times":1}}}'
  runpod_call v2 POST /pods "$A40"
  refused 500 'Internal Server Error'
  assert_equal "$(runpod_state '.pods | length')" 0
  runpod_call v2 POST /pods "$A40" --max-time 1
  assert_equal "$CALL_STATUS:$(runpod_state '.pods | length')" 000:1
  runpod_call v2 POST /pods "$A40"
  refused 500 'Internal Server Error'
  assert_equal "$(runpod_state '[.pods[].name] | join(" ")')" 'one one'
  create
}

@test "what any request may meet: 401, 403, 429, 5xx, a slow answer, a retired v1" {
  runpod_api_start --no-machines
  runpod_control '{"faults":{"unauthorized":{"apis":["v2"]},"v1_gone":{}}}'
  runpod_call v2 GET /pods
  refused 401 '"title": "Unauthorized"'
  runpod_call v1 GET /pods
  refused 410 retired
  runpod_query '{ myself { id } }'
  assert_equal "$CALL_STATUS" 200
  runpod_control '{"faults":{"unauthorized":null,"v1_gone":null,"forbidden":{"operations":["create"]},
    "rate_limited":{"operations":["list"],"times":1,"retry_after":7},
    "server_error":{"operations":["gpus"],"status":503,"html":true},"slow":{"operations":["volumes"],"seconds":1}}}'
  runpod_call v2 POST /pods "$A40"
  refused 403 Forbidden
  runpod_call v2 GET /pods '' -i
  refused 429 'Retry-After: 7'
  runpod_call v2 GET /pods
  assert_equal "$CALL_STATUS" 200
  runpod_call v2 GET /catalog/gpus
  refused 503 '<html>'
  runpod_call v2 GET /network-volumes '' --max-time 0.5
  assert_equal "$CALL_STATUS" 000
}

@test "stops and starts that go wrong: not done, locked, null, no GPUs, a stale address" {
  runpod_api_start --no-machines --boot-delay 0
  create
  wait_until 5 pod_has_port
  runpod_control '{"faults":{"stop_not_done":{"apis":["v2"]},"terminate_not_done":{"times":1},
    "stop_says_nothing":{"times":1}}}'
  runpod_call v2 POST "/pods/$POD/action" '{"action":"stop"}'
  answered .status EXITED
  runpod_call v2 DELETE "/pods/$POD"
  assert_equal "$CALL_STATUS" 204
  runpod_query 'mutation { podStop(input: {podId: "'"$POD"'"}) { id } }'
  answered '.data | tostring' '{"podStop":null}'
  runpod_says '.pods[0].status' RUNNING
  runpod_control '{"pods":{"'"$POD"'":{"locked":true}}}'
  runpod_call v2 POST "/pods/$POD/action" '{"action":"stop"}'
  refused 409 locked
  runpod_control '{"pods":{"'"$POD"'":{"locked":false,"action":"stop"}},
    "faults":{"stop_not_done":null,"list_hides_stopped":{},"no_free_gpus_on_start":{"times":1},
    "zero_gpus_after_start":{"times":1},"stale_address":{"seconds":90},"price_zero_on_read":{"operations":["get"]}}}'
  runpod_call v2 GET /pods
  answered '.pods | length' 0
  runpod_call v2 POST "/pods/$POD/action" '{"action":"start"}'
  refused 400 'There are not enough free GPUs on the host machine to start this pod.'
  local port
  port=$(runpod_state '.pods[0].real_port')
  runpod_call v2 POST "/pods/$POD/action" '{"action":"start"}'
  answered '"\(.gpu.count) \(.cost)"' '0 0.4'
  runpod_call v2 GET "/pods/$POD"
  answered '"\(.cost) \(.runtime.ports[-1].public)"' "0 $port"
  runpod_control '{"advance_seconds":91}'
  runpod_call v2 GET "/pods/$POD"
  [ "$(jq '.runtime.ports[-1].public' <<<"$CALL_BODY")" != "$port" ]
}

@test "control: unknown faults and settings are refused, and DELETE makes all normal again" {
  runpod_api_start --no-machines
  run runpod_control '{"faults":{"capacitty":{}}}'
  assert_status 1
  assert_contains 'no such fault: capacitty'
  run runpod_control '{"ballance":1}'
  assert_contains 'control knows no ballance'
  runpod_control '{"faults":{"v1_gone":{}},"balance":1,"prices":{"NVIDIA A40":{"secure":9}},
    "stock":{"NVIDIA A30":{"US-GA-1":"Low"}}}'
  runpod_call v2 GET '/catalog/gpus?include=AVAILABILITY'
  answered '[.gpus[] | select(.name == "A40" or .name == "A30") | "\(.price.secure) \(.availability)"] | join(" ")' \
    '9 HIGH 0.3 LOW'
  curl -qsf --noproxy '*' -o /dev/null -X DELETE "$RUNPOD_TEST_URL/control"
  assert_equal "$(runpod_state '"\(.balance) \(.faults) \(.requests)"')" '25 {} []'
}
