#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # variables of a test are its own: bats runs each in a subshell
# runpodctl.bats - the stand-in for runpodctl behaves as the three generations of the real one do, against the
# stand-in of RunPod's API; and where there is a real one, the two say the same.

load test_helper
load runpod_helper

setup() { autopod_setup; }

teardown() {
  local status=0
  runpod_api_stop || status=1
  autopod_teardown || status=1
  return "$status"
}

CREATE=(pod create --image runpod/comfyui:cuda12.8 --gpu-id 'NVIDIA A40' --name one --ports '22/tcp,8188/http')

# as GENERATION ARG... - the stand-in as that generation
as() { RUNPODCTL_DOUBLE=$1 "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" "${@:2}"; }

# api [ARG...] - an API whose pods are rows that run at once
api() { runpod_api_start --no-machines --boot-delay 0 "$@"; }

# make_pod GENERATION [ARG...] - sets POD to a new pod that has its port
make_pod() {
  POD=$(as "$1" "${CREATE[@]}" "${@:2}" | jq -r .id)
  [ -n "$POD" ]
  wait_until 5 has_port "$POD"
}

# has_port POD - the API shows a public port for it
has_port() { runpod_says ".pods[] | select(.id == \"$1\").ssh_port | type" number; }

# is_up NAME - its container reports
is_up() { [ "$(as main pod list --name "$1" | jq -r '.[].runtimeStatus')" = running ]; }

# said FILTER WANTED - what jq makes of the output of the last `run`
said() { assert_equal "$(jq -r "$1" <<<"$output")" "$2" "$1 of $output"; }

# failed FILTER WANTED - exit status 1, nothing on stdout, and what jq makes of the first line on stderr
failed() {
  assert_status 1
  assert_equal "$output" '' stdout
  # shellcheck disable=SC2154 # run --separate-stderr
  assert_equal "$(jq -r "$1" <<<"${stderr%%$'\n'*}")" "$2" "$1 of $stderr"
}

# asked FILTER - the requests that the API saw: `METHOD PATH STATUS`, one a line
asked() { runpod_state '.requests[] | "\(.method) \(.path) \(.status)"'; }

# --- the newest -----------------------------------------------------------------------------------

@test "newest: a pod from create to delete, by REST v2 alone" {
  api
  run --separate-stderr as main "${CREATE[@]}" --env '{"A":"1&2"}'
  assert_status 0
  POD=$(jq -r .id <<<"$output")
  said '"\(.name) \(.desiredStatus) \(.costPerHr) \(.gpuCount) \(.ports) \(.env)"' \
    'one RUNNING 0.4 1 22/tcp,8188/http ["A=1&2"]'
  assert_contains '"A=1\u00262"' # as Go escapes it
  assert_equal "$(jq 'keys_unsorted == keys' <<<"$output")" true 'keys in alphabetical order'
  wait_until 5 has_port "$POD"
  run as main pod list
  said '.[] | "\(.id) \(.runtimeStatus) \(.gpuId) \(.createdAt | type)"' "$POD running NVIDIA A40 string"
  run as main pod get "$POD"
  said '"\(.runtimeStatus) \(.env.A) \(.ports[0]) \(.ssh.ip) \(.ssh.port | type)"' 'running 1&2 22/tcp 0.0.0.0 number'
  run as main pod stop "$POD"
  said .desiredStatus EXITED
  run as main pod list
  assert_equal "$output" '[]'
  run as main pod list --all
  said '.[] | "\(.desiredStatus) \(.runtimeStatus)"' 'EXITED stopped'
  run as main pod start "$POD"
  said .desiredStatus RUNNING
  run as main pod delete "$POD"
  said '"\(.deleted) \(.id)"' "true $POD"
  run as main pod list --all
  assert_equal "$output" '[]'
  run asked
  refute_contains /v1
  refute_contains /graphql
  assert_contains "POST /v2/pods/$POD/action 200"
}

@test "newest: ssh info says why there is no connection, on stdout and with status 0" {
  api --boot-delay 60
  POD=$(as main "${CREATE[@]}" | jq -r .id)
  run --separate-stderr as main ssh info "$POD"
  assert_status 0
  said .error 'pod not ready: no container reported yet (image pull, container create or boot)'
  said '"\(.runtimeStatus) \(.status) \(.name)"' 'initializing RUNNING one'
  as main pod stop "$POD" >/dev/null
  run --separate-stderr as main ssh info one
  assert_status 0
  said .error "pod not ready: pod is stopped; start it with 'runpodctl pod start $POD'"
  run --separate-stderr as main ssh info nobody
  failed '"\(.code) \(.error)"' "not_found pod 'nobody' not found"
}

@test "newest: a pod without 22/tcp, and one without a public address" {
  api
  as main pod create --image i --gpu-id 'NVIDIA A40' --name bare --ports 8188/http >/dev/null
  wait_until 5 is_up bare
  run as main ssh info bare
  said '.error | .[0:50]' 'pod not ready: pod does not publish 22/tcp; add it'
  runpod_control '{"faults":{"no_public_ip":{}}}'
  as main "${CREATE[@]}" >/dev/null
  wait_until 5 is_up one
  run as main ssh info one
  said .error 'pod not ready: port 22 is mapped but not publicly routable on this machine'
}

@test "newest: takes an address for public by Go's rules" {
  run "$AUTOPOD_PYTHON" -c '
import sys
sys.path.insert(0, sys.argv[1])
from runpodctl_double.newest import is_public
print(*map(is_public, sys.argv[2:]))' "$ROOT/tests/doubles" \
    0.0.0.0 203.0.113.9 127.0.0.1 127.9.9.9 10.1.1.1 172.16.0.1 192.168.1.1 100.64.0.1 169.254.1.1 ::1 fd00::1 name ''
  assert_equal "$output" "True True$(printf ' False%.0s' 1 2 3 4 5 6 7 8 9 10 11)"
}

@test "newest: an error is one line with a code, and the status where there was one" {
  api
  run --separate-stderr as main pod get missing
  failed '"\(.code) \(.status)"' 'not_found 404'
  assert_contains 'failed to get pod: ' "$stderr"
  refute_contains Usage "$stderr"
  runpod_control '{"faults":{"capacity":{"text":"no_gpu"}}}'
  run --separate-stderr as main "${CREATE[@]}"
  assert_status 1
  assert_contains 'failed to create pod: ' "$(jq -r .error <<<"$stderr")"
  assert_contains 'no gpu available' "$(jq -r .error <<<"$stderr")"
  RUNPOD_API_KEY=rpa_WRONG run --separate-stderr as main pod list
  failed '"\(.code) \(.status)"' 'unauthorized 401'
  RUNPOD_API_KEY=rpa_READONLY0123456789 run --separate-stderr as main pod delete missing
  failed '"\(.code) \(.status)"' 'forbidden 403'
  run --separate-stderr as main pod get ''
  failed .code usage_error
  RUNPOD_GRAPHQL_URL=http://127.0.0.1:1/graphql run --separate-stderr as main user
  failed .code network_error
  assert_contains 'connect: connection refused' "$stderr"
}

@test "newest: reads are tried three times, writes once unless the server was busy" {
  api
  runpod_control '{"forget_requests":true,"faults":{"server_error":{"times":2}}}'
  run as main pod list
  assert_status 0
  assert_equal "$(asked)" "$(printf 'GET /v2/pods %s\n' 502 502 200)"
  runpod_control '{"forget_requests":true,"faults":{"server_error":{"times":1}}}'
  run --separate-stderr as main "${CREATE[@]}"
  failed '"\(.code) \(.status)"' 'server_error 502'
  assert_equal "$(asked)" 'POST /v2/pods 502'
  runpod_control '{"forget_requests":true,"faults":{"server_error":null,"rate_limited":{"times":1,"retry_after":1}}}'
  SECONDS=0
  run as main "${CREATE[@]}"
  assert_status 0
  assert_equal "$(asked)" "$(printf 'POST /v2/pods %s\n' 429 201)"
  [ "$SECONDS" -ge 1 ]
}

@test "newest: prices, null where a cloud doesn't have the GPU; what isn't in stock only on request" {
  api
  runpod_control '{"stock":{"NVIDIA A40":{"US-GA-1":"NONE","CA-MTL-1":"NONE"}},
    "prices":{"NVIDIA RTX A6000":{"secure":0.5,"community":null}}}'
  run as main gpu list
  said '[.[] | select(.available | not)] | length' 0
  said '.[] | select(.displayName == "RTX A6000") |
    "\(.securePricePerHr) \(.communityPricePerHr) \(.communityCloud)"' '0.5 null false'
  run as main gpu list --include-unavailable
  said '.[] | select(.gpuId == "NVIDIA A40") | "\(.available) \(.stockStatus)"' 'false null'
}

@test "newest: --public-ip is refused in the community cloud, noted in the secure one" {
  api
  run --separate-stderr as main "${CREATE[@]}" --cloud-type COMMUNITY --public-ip
  failed .code usage_error
  run --separate-stderr as main "${CREATE[@]}" --public-ip
  assert_status 0
  assert_contains 'note: secure cloud pods always have public ips' "$stderr"
}

# --- 2.7 ------------------------------------------------------------------------------------------

@test "2.7: creates over GraphQL, does the rest over REST v1" {
  api
  make_pod 2.7 --env '{"K":"a=b"}' --data-center-ids US-GA-1
  run as 2.7 pod list
  said '.[] | "\(.id) \(.name) \(has("runtimeStatus"))"' "$POD one false"
  run as 2.7 pod get "$POD"
  said '"\(.env.K) \(.ssh.port | type) \(.runtimeStatus)"' 'a=b number null'
  run as 2.7 pod stop "$POD"
  said .desiredStatus EXITED
  run as 2.7 pod list
  assert_equal "$output" '[]'
  run as 2.7 pod start "$POD"
  said .desiredStatus RUNNING
  run as 2.7 pod delete "$POD"
  said .deleted true
  run asked
  refute_contains /v2
  assert_contains 'POST /graphql 200'
  assert_contains "DELETE /v1/pods/$POD 204"
}

@test "2.7: create prints what GraphQL said: env as a list, ports as a text, the machine" {
  api
  run as 2.7 "${CREATE[@]}" --env '{"K":"a=b"}'
  said '"\(.env[0]) \(.ports) \(.machine.gpuDisplayName)"' 'K=a=b 22/tcp,8188/http A40'
  run --separate-stderr as 2.7 "${CREATE[@]}" --data-center-ids CA-MTL-1,US-GA-1
  assert_status 0
  assert_contains 'note: only the first data center id is used' "$stderr"
}

@test "2.7: says every error twice, the second time by hand, and usage in between" {
  api
  run --separate-stderr as 2.7 pod get missing
  failed '.error | .[0:11]' 'api error: '
  assert_contains $'\nError: failed to get pod: api error: ' "$stderr"
  assert_contains 'runpodctl pod get <pod-id> [flags]' "$stderr"
  run jq . <<<"${stderr##*$'\n'}"
  [ "$status" -ne 0 ] # quotes in quotes: no JSON
  runpod_control '{"faults":{"capacity":{"text":"refresh"}}}'
  run --separate-stderr as 2.7 "${CREATE[@]}"
  failed '.error | .[0:52]' 'There are no longer any instances available with the'
  run --separate-stderr as 2.7 pod create --gpu-id 'NVIDIA A40'
  assert_status 1
  assert_matches '^Error: either --template-id or --image is required' "$stderr"
}

@test "2.7: a pod that isn't ready is no failure" {
  api --boot-delay 60
  POD=$(as 2.7 "${CREATE[@]}" | jq -r .id)
  run --separate-stderr as 2.7 ssh info "$POD"
  assert_status 0
  said '"\(.error) \(.status)"' 'pod not ready RUNNING'
  run --separate-stderr as 2.7 ssh info nobody
  failed .error "pod 'nobody' not found"
}

@test "2.7: without REST v1 it still creates, and can't end what it made" {
  api
  runpod_control '{"faults":{"v1_gone":{}}}'
  POD=$(as 2.7 "${CREATE[@]}" | jq -r .id)
  [ -n "$POD" ]
  run --separate-stderr as 2.7 pod delete "$POD"
  assert_status 1
  assert_contains '(status 410)' "$stderr"
}

@test "2.7: GPUs have no prices yet" {
  api
  run as 2.7 gpu list
  said '.[] | select(.displayName == "A40") | "\(.available) \(.stockStatus) \(has("securePricePerHr"))"' \
    'true High false'
}

# --- both of the second generation ----------------------------------------------------------------

@test "2.x: the account, volumes, data centers, keys, bills" {
  local generation key
  api
  key=$(cut -d ' ' -f 2 "$HOME/.ssh/id_ed25519.pub")
  for generation in main 2.7; do
    run as "$generation" user
    said '"\(.clientBalance) \(.currentSpendPerHr) \(.spendLimit)"' '25 0 80'
    run as "$generation" network-volume list
    said '.[0] | "\(.id | type) \(.name | type) \(.size | type) \(.dataCenterId | type)"' 'string string number string'
    run as "$generation" datacenter list
    said '[.[].id] | index("US-GA-1") != null' true
    said '.[0].gpuAvailability[0] | has("gpuId")' true
    run as "$generation" ssh list-keys
    said ".keys[0] | \"\\(.type) \\(.key | contains(\"$key\")) \\(.fingerprint | .[0:7])\"" 'ssh-ed25519 true SHA256:'
  done
  make_pod main
  run as main billing pods --bucket-size hour
  said '.[] | "\(.podId) \(.totalAmount | type)"' "$POD number"
  run as 2.7 billing pods --grouping podId
  said '.[] | "\(.podId) \(.amount | type)"' "$POD number"
}

@test "2.x: a bare number in TIMEOUT is nanoseconds, and no call gets through" {
  local generation
  api
  for generation in main 2.7; do
    TIMEOUT=600 run --separate-stderr as "$generation" user
    assert_status 1
    assert_contains 'context deadline exceeded' "$stderr"
    TIMEOUT=10s run as "$generation" user
    assert_status 0
  done
  GRAPHQLTIMEOUT=600 run --separate-stderr as 2.7 "${CREATE[@]}"
  assert_status 1
  assert_contains 'context deadline exceeded' "$stderr"
  assert_equal "$(runpod_state '.pods | length')" 0
}

@test "2.x: its own ssh key is named in the command, and whether the account has it" {
  local generation own=$HOME/.runpod/ssh/runpodctl-ssh-key
  api
  make_pod main
  run as main ssh info one
  said '"\(.setup) \(.ssh_key.exists) \(.ssh_command | startswith("ssh root@"))"' 'runpodctl doctor false true'
  mkdir -p "${own%/*}"
  cp "$HOME/.ssh/id_ed25519" "$own"
  cp "$HOME/.ssh/id_ed25519.pub" "$own.pub"
  for generation in main 2.7; do
    run as "$generation" ssh info one
    said '"\(.setup) \(.ssh_key.exists) \(.ssh_key.in_account)"' 'null true true'
    said ".ssh_command | startswith(\"ssh -i $own root@\")" true
  done
  ssh-keygen -q -t ed25519 -N '' -f "$TMPDIR/other"
  cp "$TMPDIR/other.pub" "$own.pub"
  for generation in main 2.7; do
    run as "$generation" ssh info one
    said '"\(.setup) \(.ssh_key.in_account)"' 'runpodctl doctor false'
  done
}

@test "2.x: pod list: --status, --name, and what excludes what" {
  local generation
  api
  make_pod main
  as main "${CREATE[@]}" --name two >/dev/null
  as main pod stop "$POD" >/dev/null
  for generation in main 2.7; do
    run as "$generation" pod list --status exited
    said '[.[].name] | join(" ")' one
    run as "$generation" pod list -a --name two
    said '[.[].name] | join(" ")' two
    run --separate-stderr as "$generation" pod list --all --status EXITED
    failed .error '--all and --status cannot be used together'
  done
}

@test "2.x: what create refuses before it asks anybody" {
  local generation
  export RUNPOD_API_KEY=rpa_TESTKEY0123456789
  for generation in main 2.7; do
    run as "$generation" pod create --image i --gpu-id 'NVIDIA A40,NVIDIA L4'
    assert_status 1
    assert_contains 'only one gpu id is supported; use --gpu-count'
    run as "$generation" pod create --image i --gpu-id 'NVIDIA A40' --env '{"A":1}'
    assert_status 1
    assert_contains 'failed to create pod: invalid env json: '
    run as "$generation" pod create --image i --gpu-count many
    assert_status 1
    assert_contains 'for "--gpu-count" flag: strconv.ParseInt: parsing "many": invalid syntax' "${output//\\/}"
  done
}

# --- 1.14 -----------------------------------------------------------------------------------------

@test "1.14: verb first, sentences and tables, no word of JSON" {
  api
  export RUNPOD_API_URL=$RUNPOD_GRAPHQL_URL # there was but one API
  run as 1.14 create pod --imageName i --gpuType 'NVIDIA A40' --name one --env A=b --startSSH --secureCloud \
    --ports 22/tcp
  assert_status 0
  assert_matches '^pod "[a-z0-9]{14}" created for \$0\.400 / hr$'
  POD=${output#pod \"} POD=${POD%%\"*}
  wait_until 5 has_port "$POD"
  run as 1.14 get pod
  assert_matches $'^ID +\tNAME\tGPU +\tIMAGE NAME\tSTATUS *\t\n'"$POD"$'\tone *\t1 A40\ti +\tRUNNING *\t$'
  run as 1.14 get pod "$POD" -a
  assert_contains $'->22\xc2\xa0(pub,tcp)' # a blank that doesn't break, in UTF-8
  run as 1.14 ssh connect "$POD"
  assert_matches '^ssh root@127\.0\.0\.1 -p [0-9]+$'
  run as 1.14 stop pod "$POD"
  assert_equal "$output" "pod \"$POD\" stopped"
  run as 1.14 start pod "$POD"
  assert_equal "$output" "pod \"$POD\" started with \$0.400 / hr"
  run as 1.14 remove pod "$POD"
  assert_equal "$output" "pod \"$POD\" removed"
  assert_equal "$(asked | sort -u)" 'POST /graphql 200'
}

@test "1.14: a stop that didn't happen is said, and still status 0" {
  stub server <<'SH'
exec "$AUTOPOD_PYTHON" -c '
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = b"{\"data\":{\"podStop\":{\"id\":\"p1\",\"desiredStatus\":\"RUNNING\"}}}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.handle_request()'
SH
  server >port 2>/dev/null 3>&- &
  wait_until 10 has_line port
  export RUNPOD_API_KEY=rpa_TESTKEY0123456789
  RUNPOD_API_URL=http://127.0.0.1:$(cat port)/ run as 1.14 stop pod p1
  assert_status 0
  assert_equal "$output" 'pod "p1" stop failed; status is RUNNING'
}

@test "1.14: a stop that is answered with nothing" {
  api
  export RUNPOD_API_URL=$RUNPOD_GRAPHQL_URL
  make_pod main
  runpod_control '{"faults":{"stop_says_nothing":{}}}'
  run as 1.14 stop pod "$POD"
  assert_status 1
  assert_equal "$output" 'Error: podStop is nil'
}

@test "1.14: doesn't know pod, nor an = in a value of --env" {
  export RUNPOD_API_KEY=rpa_TESTKEY0123456789
  run as 1.14 pod list
  assert_status 1
  assert_contains 'Error: unknown command "pod" for "runpodctl"'
  assert_contains "Run 'runpodctl --help' for usage."
  run as 1.14 create pod --imageName i --gpuType g --env A=b=c
  assert_status 1
  assert_equal "$output" 'Error: wrong env value: [A b c]'
  run as 1.14 create pod --name n
  assert_status 1
  assert_contains 'required flag(s) "gpuType", "imageName" not set'
}

# --- called wrongly, or without a key -------------------------------------------------------------

@test "help needs no key and no home, and names the flags of that generation" {
  local generation
  for generation in main 2.7; do
    run env -u HOME RUNPODCTL_DOUBLE="$generation" "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" pod create --help
    assert_status 0
    assert_contains '      --network-volume-id string   network volume id to attach'
    assert_matches '  -o, --output string   output format \(json, yaml\) \(default "json"\)'
  done
  refute_contains '--wait'
  assert_contains '--terminate-after'
  run as main pod create --help
  assert_contains '--wait'
  refute_contains '--terminate-after'
  run as main pod
  assert_status 0
  assert_matches 'Available Commands:.*  create +create a new pod'
  refute_exists "$HOME/.runpod"
  run as main help pod list
  assert_contains '  -a, --all '
  run as main version
  assert_matches '^runpodctl '
}

@test "what nobody knows: flags, commands, arguments" {
  run --separate-stderr as main pod list --nope
  failed '"\(.code) \(.error)"' 'usage_error unknown flag: --nope'
  assert_contains $'\nUsage:\n  runpodctl pod list [flags]' "$stderr"
  run --separate-stderr as main pod get
  failed .error 'accepts 1 arg(s), received 0'
  run --separate-stderr as main pod list more
  failed .error 'unknown command "more" for "runpodctl pod list"'
  run --separate-stderr as main pod list --name
  failed .error 'flag needs an argument: --name'
  run --separate-stderr as main pod list -x
  failed .error "unknown shorthand flag: 'x' in -x"
  run --separate-stderr as main nope
  failed '"\(.code) \(.error)"' 'usage_error unknown command "nope" for "runpodctl"'
  run --separate-stderr as 2.7 pod list --nope
  assert_status 1
  assert_matches '^Error: unknown flag: --nope' "$stderr"
  assert_equal "${stderr##*$'\n'}" '{"error":"unknown flag: --nope"}'
}

@test "the key: the variable, else config.toml, which the first run makes" {
  api
  unset RUNPOD_API_KEY
  run --separate-stderr as main pod list
  failed .code no_credentials
  run --separate-stderr as 2.7 pod list
  failed '.error | contains("api key not found")' true
  assert_file "$HOME/.runpod/config.toml"
  printf "apiKey = 'rpa_TESTKEY0123456789'\n" >"$HOME/.runpod/config.toml"
  run as main pod list
  assert_status 0
  RUNPOD_API_KEY=rpa_WRONG run as main pod list
  assert_status 1
  run env -u HOME RUNPODCTL_DOUBLE=main "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" pod list
  assert_status 1
  assert_equal "$output" 'Error: $HOME is not defined'
}

@test "a create that gets no answer says so, and the pod is there" {
  api
  runpod_control '{"faults":{"create_hangs":{}}}'
  TIMEOUT=1s run --separate-stderr as main "${CREATE[@]}"
  failed .code network_error
  assert_contains 'context deadline exceeded' "$stderr"
  assert_equal "$(runpod_state '.pods | length')" 1
}

@test "what this stand-in doesn't do it refuses by name" {
  export RUNPOD_API_KEY=rpa_TESTKEY0123456789
  run as main "${CREATE[@]}" --wait
  assert_status 1
  assert_contains 'this stand-in for runpodctl does not do --wait'
  run as main pod list -o yaml
  assert_status 1
  assert_contains 'prints json only'
}

# --- the real one ---------------------------------------------------------------------------------

# real_runpodctl - prints the path of a real runpodctl of the second generation; fails when there is none
real_runpodctl() {
  local file
  file=$ROOT/.tools/bin/runpodctl
  [ -x "$file" ] || file=$(PATH=${AUTOPOD_TEST_PATH:-$PATH} type -P runpodctl) || return 1
  "$file" pod list --help >/dev/null 2>&1 && printf '%s\n' "$file"
}

# shape - what two runs must have in common: values without ids, times and amounts that go on counting
shape() {
  jq -S 'walk(if type == "object" then with_entries(if .key |
      test("^(id|createdAt|startTime|endTime|time|lastStatusChange|uptimeSeconds|port|ssh_command)$") or
      test("Amount$|^amount$|^timeBilledMs$|^clientBalance$")
    then .value |= type else . end) else . end)'
}

# both FILTER ARG... - runs the real one and the stand-in of its generation alike, and compares status, the shape of
# stdout, and what jq's FILTER makes of the error; leaves the real one's stdout in REAL_OUT
both() {
  local filter=$1 real_status=0 status=0 double_out real_err double_err
  shift
  REAL_OUT=$("$REAL" "$@" 2>"$TMPDIR/real.err") || real_status=$?
  double_out=$(as "$GENERATION" "$@" 2>"$TMPDIR/double.err") || status=$?
  assert_equal "$status" "$real_status" "status of $*"
  [ -z "$REAL_OUT$double_out" ] || assert_equal "$(shape <<<"$double_out")" "$(shape <<<"$REAL_OUT")" "stdout of $*"
  real_err=$(sed -n '/^{/{p;q;}' "$TMPDIR/real.err" | jq -c "$filter")
  double_err=$(sed -n '/^{/{p;q;}' "$TMPDIR/double.err" | jq -c "$filter")
  assert_equal "$double_err" "$real_err" "error of $*"
}

# flags_of CMD... - the flags that `CMD... --help` names, one a line
flags_of() { "$@" --help | grep -o -e '--[a-z][a-z-]*' | sort -u; }

@test "the stand-in says what the real runpodctl says" {
  local command
  REAL=$(real_runpodctl) || skip 'no runpodctl 2.x here, on PATH or in .tools/bin (make setup tries to bring it)'
  GENERATION=main
  if "$REAL" pod create --help | grep -q -e --terminate-after; then GENERATION=2.7; fi
  api
  for command in 'pod create' 'pod list' 'pod get' 'gpu list' 'ssh info' 'billing pods'; do
    # shellcheck disable=SC2086 # words of a command
    run comm -13 <(flags_of "$REAL" $command) <(flags_of as "$GENERATION" $command)
    assert_equal "$output" '' "flags of $command that only the stand-in has"
  done
  both .code "${CREATE[@]}" --env '{"A":"1&2"}'
  POD=$(jq -r .id <<<"$REAL_OUT")
  wait_until 5 has_port "$POD"
  both .code pod get "$POD"
  both .code ssh info "$POD"
  both .code pod list
  both .code pod list --all
  both .code user
  both .code gpu list
  both .code gpu list --include-unavailable
  both .code network-volume list
  both .code datacenter list
  both .code ssh list-keys
  both .code billing pods
  both . pod get missing
  both . pod stop missing
  both . ssh info missing
  both . pod list --nope
  both .code pod create --image i --gpu-id 'a,b'
  "$REAL" pod stop "$POD" >/dev/null
  both .code ssh info "$POD"
  both .code pod list --all
  "$REAL" pod start "$POD" >/dev/null
  both .code pod get "$POD"
  RUNPOD_API_KEY=rpa_WRONG both . pod list
  runpod_control '{"faults":{"capacity":{}}}'
  both . "${CREATE[@]}"
}
