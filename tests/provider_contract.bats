#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # variables of a test are its own: bats runs each in a subshell
# provider_contract.bats - what every provider keeps: each clause is a function, and is run over the local provider,
# over RunPod by the runpodctl that is there (else the newest double), and over RunPod by that of generation 2.7.

load test_helper
load lib_helper
load runpod_helper

# One API for the whole file: its pods are rows, except in the tests that switch machines on.
setup_file() {
  export REAL_HOME BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  autopod_setup
  runpod_api_start --no-machines --boot-delay 3600
  export CONTRACT_URL=$RUNPOD_TEST_URL CONTRACT_PID=$RUNPOD_API_PID CONTRACT_COMFY_PORT=$AUTOPOD_COMFY_PORT
  export CONTRACT_RUNPODCTL=$BATS_FILE_TMPDIR/runpod/bin/runpodctl
}

teardown_file() {
  kill "$CONTRACT_PID"
  wait_until 10 api_ended
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR RUNPOD_API_PID=$CONTRACT_PID runpod_api_stop # looks for pods that it left
}

# api_ended - 0 once the API runs no more
api_ended() { ! kill -0 "$CONTRACT_PID" 2>/dev/null; }

setup() {
  autopod_setup
  PROVIDER=''
  program caller config pod guard <<'SH'
ui_init
core_trap
config_load
RUNPOD_CONFIRM='' # the stand-in carries out at once what it carries out at all
provider=$1 function=$2
shift 2
# here ID CMD - runs CMD on the pod, through ssh, as its object says
here() {
  core_tmpdir && "provider_${provider}_get" "$1" >"$CORE_TMP/pod" && pod_load "$CORE_TMP/pod" &&
    ssh_run "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "$POD_SSH_KEY" "$2"
}
# every_id ID... - calls each function that takes one, and tells what is not as it must be
every_id() {
  local id name out status
  core_tmpdir || return
  for id; do
    for name in get start stop terminate self_stop_script proxy_url; do
      status=0
      out=$("provider_${provider}_$name" "$id" 2>"$CORE_TMP/reason") || status=$?
      [ "$status:$out" = "$EX_POD:" ] || printf '%s of <%s> says <%s>, status %s\n' "$name" "$id" "$out" "$status"
      [ "$(grep -c '^prog: error: ' "$CORE_TMP/reason")" = 1 ] || cat "$CORE_TMP/reason"
    done
  done
}
# guarded ID SECONDS - arms the guard of the pod, whose time is over in so many seconds
guarded() {
  core_tmpdir && "provider_${provider}_get" "$1" >"$CORE_TMP/pod" && pod_load "$CORE_TMP/pod" && os_now || return
  GUARDED=$((OS_NOW + $2))
  pod_deadline() { POD_DEADLINE=$GUARDED; }
  guard_extend || core_fail "$EX_FAIL" "$GUARD_WHY"
}
case $function in
  here | every_id | guarded) "$function" "$@" ;;
  has) declare -F "provider_${provider}_$1" ;;
  *) "provider_${provider}_$function" "$@" || {
    status=$?
    printf '%s\n' "${PROVIDER_WHY:-}" >"$AUTOPOD_HOME/why"
    exit "$status"
  } ;;
esac
SH
}

teardown() {
  local status=0 id
  if [ "$PROVIDER" = local ]; then
    for id in "$AUTOPOD_HOME"/local/local-*; do
      [ ! -d "$id" ] || call terminate "${id##*/}"
    done
  fi
  autopod_teardown || status=1
  return "$status"
}

# world local|runpod|runpod-2.7 - which provider the test is about, and what it needs
world() {
  PROVIDER=${1%-*}
  export AUTOPOD_PROVIDER=$PROVIDER AUTOPOD_LOCAL_RATE=0.5
  if [ "$PROVIDER" = local ]; then
    call check
    [ "$status" = 0 ] || skip "$stderr"
    return
  fi
  RUNPOD_TEST_URL=$CONTRACT_URL
  export RUNPOD_API_URL=$CONTRACT_URL/v1 RUNPOD_REST_V2_URL=$CONTRACT_URL/v2 RUNPOD_GRAPHQL_URL=$CONTRACT_URL/graphql
  export RUNPOD_API_KEY=rpa_TESTKEY0123456789 AUTOPOD_COMFY_PORT=$CONTRACT_COMFY_PORT
  runpodctl_that_remembers "$1"
  runpod_control "$(runpod_state '{pods: ([.pods[] | select(.status != "TERMINATED")
    | {(.id): {action: "terminate", locked: false}}] | add // {})}')"
  curl -qsf --noproxy '*' -X DELETE -o "$BATS_TEST_TMPDIR/reset" "$CONTRACT_URL/control"
}

# runpodctl_that_remembers WORLD - a runpodctl on PATH whose help, which is asked for before each call, was printed
# once: that saves a third of the time
runpodctl_that_remembers() {
  local help=$BATS_FILE_TMPDIR/help.$1 run=$CONTRACT_RUNPODCTL
  if [ "$1" = runpod-2.7 ]; then
    printf -v run 'env RUNPODCTL_DOUBLE=2.7 %q %q' "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl"
  fi
  [ -s "$help" ] || $run pod list --help >"$help"
  printf 'case "$*" in "pod list --help") exec cat %q ;; esac\nexec %s "$@"\n' "$help" "$run" | stub runpodctl
}

# call FUNCTION [ARG...] - `run`s the provider's function as a command does, what it says apart
call() { run --separate-stderr bash caller "$PROVIDER" "$@" </dev/null; }

# good - the last call worked and had no complaints
good() { assert_equal "$status:$stderr" 0: 'status and complaints'; }

# quiet - the last call worked and said nothing at all
quiet() { good && assert_equal "$output" '' stdout; }

# refused STATUS TEXT - the last call failed with STATUS, said nothing on stdout, and on stderr one line of reason
# with TEXT in it, and at most one that says what to do
refused() {
  assert_status "$1" && assert_equal "$output" '' stdout && assert_contains "$2" "$stderr" || return
  assert_matches $'^prog: error: [^\n]+(\n  [^\n]+)?$' "$stderr"
}

# lines FILTER [COUNT] - the last call printed JSON objects, one a line (COUNT of them), and FILTER finds nothing wrong
lines() {
  local count
  good || return
  count=$(jq -c 'if type == "object" then . else error("not an object") end' <<<"$output" | grep -c .) || :
  assert_equal "$count" "$(grep -c . <<<"$output")" 'number of objects' || return
  [ -z "${2:-}" ] || assert_equal "$count" "$2" 'number of lines' || return
  assert_equal "$(jq -r "$RULES [$1] | join(\", \")" <<<"$output" | grep .)" '' "what is wrong with $output"
}

# What the filters are made of: `rule` names what does not hold.
RULES='
  def rule($what; held): if held then empty else $what end;
  def text: type == "string" and . != "";
  def amount: type == "number" and . >= 0;
  def whole: type == "number" and . == floor and . > 0;'

A_POD='
  rule("keys"; keys == ["cloud", "comfy_port", "cost_per_hr", "created_at", "data_center", "gpu", "gpu_count", "id", "image",
    "name", "owner", "provider", "reason", "ssh", "status", "stopped_usd_per_month", "volume"]),
  rule("id"; .id | type == "string" and test("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")),
  rule("name"; .name | text), rule("provider"; .provider == env.AUTOPOD_PROVIDER),
  rule("status"; .status | IN("creating", "running", "stopped", "terminated", "failed")),
  rule("gpu"; .gpu | text), rule("gpu_count"; .gpu_count | type == "number" and . == floor and . >= 0),
  rule("cost_per_hr"; .cost_per_hr | amount), rule("stopped_usd_per_month"; .stopped_usd_per_month | amount),
  rule("created_at"; .created_at == null or (.created_at | fromdateiso8601) > 1700000000),
  rule("image"; .image | . == null or text), rule("reason"; .reason | . == null or text),
  rule("volume"; .volume | . == null
    or (keys == ["id", "mount"] and (.id | text) and (.mount | . == null or text))),
  rule("ssh"; .ssh | . == null or ((keys - ["key"]) == ["host", "port", "user"] and (.host | text) and (.user | text)
    and (.port | whole) and (.key | . == null or text))),
  rule("ssh of a pod that does not run"; .ssh == null or .status == "running"),
  rule("comfy_port"; .comfy_port | . == null or whole),
  rule("data_center"; .data_center | . == null or text), rule("cloud"; .cloud | IN("secure", "community", null)),
  rule("owner"; .owner | . == null or text)'

A_GPU='
  rule("keys"; (keys - ["pretends"])
    == ["available", "clouds", "data_centers", "id", "memory_gb", "name", "price", "stock"]),
  rule("id"; .id | text), rule("name"; .name | text), rule("memory_gb"; .memory_gb | amount),
  rule("price"; .price | keys == ["community", "secure"] and all(.[]; . == null or amount)),
  rule("clouds"; .clouds | type == "array" and all(.[]; IN("secure", "community"))),
  rule("available"; .available | type == "boolean"), rule("stock"; .stock | . == null or text),
  rule("data_centers"; .data_centers | . == null
    or all(.[]; (.id | text) and (.stock | . == null or text)))'

A_VOLUME='
  rule("keys"; (keys - ["usd_per_month"]) == ["data_center", "id", "name", "size_gb"]), rule("id"; .id | text), rule("name"; .name | text),
  rule("size_gb"; .size_gb | whole), rule("data_center"; .data_center | text)'

# spec [FILTER] - prints a SPEC as rent.sh makes it, changed by FILTER
spec() {
  jq -nc '{name: "autopod-test-1", gpu_id: "NVIDIA A40", gpu_name: "A40", gpu_count: 1, data_center: "", cloud: "secure",
    volume: null, image: "runpod/comfyui:cuda12.8", template: null, disk_gb: 40, env: {}} | '"${1:-.}"
}

# create [FILTER] - makes a pod as spec FILTER says; sets POD to its id
create() {
  call create "$(spec "${1:-.}")"
  lines "$A_POD" 1
  POD=$(jq -r .id <<<"$output")
}

# says FILTER WANTED - what jq makes of the last answer
says() { assert_equal "$(jq -r "$1" <<<"$output")" "$2" "$1 of $output"; }

# boot - lets the boot of RunPod's pods come to its end; a local one runs at once
boot() {
  [ "$PROVIDER" != runpod ] || runpod_control '{"advance_seconds":3700}'
  wait_until 20 has_status "$POD" running
}

# has_status ID STATUS - 0 when the provider says so; what it says stays
has_status() { call get "$1" && lines "$A_POD" 1 && [ "$(jq -r .status <<<"$output")" = "$2" ]; }

# --- what needs no pod ----------------------------------------------------------------------------

without_pod() {
  world "$1"
  call check
  quiet
  call preflight
  lines 'rule("keys"; keys - ["balance", "spend_per_hr"] == []), rule("amounts"; all(.[]; type == "number"))' 1
  call gpus
  lines "$A_GPU"
  [ -n "$output" ]
  call volumes
  lines "$A_VOLUME"
  call settling
  good
  if [ "$PROVIDER" = local ]; then # what was made is there at once
    assert_equal "$output" ''
  else
    assert_matches '^[0-9.]+([[:space:]][0-9.]+)*$'
  fi
  call list
  quiet
  call has doctor
  [ "$status" != 0 ] || {
    call doctor
    assert_status 0
    assert_matches $'^((ok|warn|bad)\t[^\t\n]+(\t[^\t\n]*)?(\n|$))+$'
  }
}

@test "local: tools, account, GPUs, volumes, an empty list" { without_pod local; }
@test "runpod: tools, account, GPUs, volumes, an empty list" { without_pod runpod; }
@test "runpod-2.7: tools, account, GPUs, volumes, an empty list" { without_pod runpod-2.7; }

# --- from the first to the last -------------------------------------------------------------------

life() {
  local port
  world "$1"
  create
  says '"\(.name) \(.gpu) \(.gpu_count) \(.cost_per_hr > 0) \(.owner)"' 'autopod-test-1 A40 1 true null'
  case $PROVIDER in runpod) says '"\(.status) \(.ssh)"' 'creating null' ;; esac
  call list
  lines "$A_POD" 1
  says .id "$POD"
  boot
  says '"\(.id) \(.name) \(.gpu_count) \(.ssh | type) \(.created_at | type)"' "$POD autopod-test-1 1 object string"
  port=$(jq -r .ssh.port <<<"$output")
  call proxy_url "$POD" # a pod that autopod makes has no public address
  case $PROVIDER in
    local) assert_matches '^http://127\.0\.0\.1:[0-9]+$' ;;
    *) refused 4 'has no public address' ;;
  esac

  call stop "$POD"
  lines "$A_POD" 1
  says '"\(.id) \(.status) \(.ssh)"' "$POD stopped null"
  call proxy_url "$POD"
  refused 4 "pod $POD "
  call stop "$POD"
  lines "$A_POD" 1
  says '"\(.id) \(.status)"' "$POD stopped"
  call list
  lines "$A_POD" 1
  says '"\(.id) \(.status)"' "$POD stopped"

  call start "$POD"
  lines "$A_POD" 1
  says '.status | IN("creating", "running")' true
  boot
  [ "$(jq -r .ssh.port <<<"$output")" != "$port" ]
  port=$(jq -r .ssh.port <<<"$output")
  call start "$POD"
  lines "$A_POD" 1
  says '"\(.id) \(.status) \(.ssh.port)"' "$POD running $port"

  call terminate "$POD"
  quiet
  call terminate "$POD"
  refused 4 "there is no "
  call get "$POD"
  refused 4 "there is no "
  call list
  quiet
}

@test "local: made, stopped twice, started twice, ended, and unknown from then on" { life local; }
@test "runpod: made, stopped twice, started twice, ended, and unknown from then on" { life runpod; }
@test "runpod-2.7: made, stopped twice, started twice, ended, and unknown from then on" { life runpod-2.7; }

several() {
  local first second
  world "$1"
  create '.name = "one" | .gpu_count = 2'
  says '"\(.gpu_count) \(.cost_per_hr)"' "2 $([ "$PROVIDER" = local ] && echo 0.5 || echo 0.8)"
  first=$POD
  create '.name = "two"'
  second=$POD
  call list
  lines "$A_POD" 2
  call stop "$first"
  call list
  assert_equal "$(jq -r '"\(.name) \(.status)"' <<<"$output" | sed 's/creating/running/' | sort)" \
    $'one stopped\ntwo running'
  call terminate "$first"
  quiet
  call list
  lines "$A_POD" 1
  says .id "$second"
}

@test "local: of several pods only the one that is named is stopped and ended" { several local; }
@test "runpod: of several pods only the one that is named is stopped and ended" { several runpod; }

# A name with all that means something to a shell, to jq, to JSON or to a terminal.
ODD_NAME='a b;$(touch pwned)`touch pwned`\"\u0027\\ % & <é> --flag *'

stamp() {
  world "$1"
  create ".name = \"$ODD_NAME\" | .env = {AUTOPOD_INSTALLATION: \"0123456789abcdef\",
    ODD: \"a=b\\nc \$(touch pwned) \\u0027\\\" é\"}"
  says '"\(.owner) \(.name)"' "0123456789abcdef $(jq -r . <<<"\"$ODD_NAME\"")"
  call get "$POD"
  lines "$A_POD" 1
  says '"\(.owner) \(.name)"' "0123456789abcdef $(jq -r . <<<"\"$ODD_NAME\"")"
  refute_exists pwned
  [ "$PROVIDER" = runpod ] || return 0
  assert_equal "$(runpod_state '.pods[-1] | "\(.env.ODD) \(.env | keys | join(" "))"')" \
    $'a=b\nc $(touch pwned) \'" é AUTOPOD_INSTALLATION ODD PUBLIC_KEY'
  assert_equal "$(runpod_state '.pods[-1].ports | join(" ")')" 22/tcp 'what is open to the public'
  assert_equal "$(runpod_state '.pods[-1].env.PUBLIC_KEY')" "$(ssh-keygen -y -f "$AUTOPOD_HOME/ssh/id_ed25519")"
}

@test "local: a pod says whose it is; what means something to a shell stays what it is" { stamp local; }
@test "runpod: a pod says whose it is; what means something to a shell stays what it is" { stamp runpod; }
@test "runpod-2.7: a pod says whose it is; what means something to a shell stays what it is" { stamp runpod-2.7; }

# placed WORLD - RunPod's part of a SPEC: place, cloud, volume, template
placed() {
  world "$1"
  create '.volume = {id: "vol4ga1models", mount: "/models"} | .data_center = "US-GA-1"'
  says '"\(.volume) \(.data_center) \(.cloud)"' '{"id":"vol4ga1models","mount":"/models"} US-GA-1 secure'
  assert_equal "$(runpod_state '.pods[-1] | "\(.volume_id) \(.mount) \(.data_centers_asked) \(.disk_gb) \(.image)"')" \
    'vol4ga1models /models ["US-GA-1"] 40 runpod/comfyui:cuda12.8'
  create '.cloud = "community" | .image = null | .template = "cw3nka7d08" | .disk_gb = null
    | .gpu_id = "NVIDIA RTX A5000" | .gpu_name = "RTX A5000"'
  says '"\(.volume) \(.cloud) \(.gpu)"' 'null community RTX A5000'
  assert_equal "$(runpod_state '.pods[-1] | "\(.cloud) \(.template) \(.gpu) \(.volume_id)"')" \
    'COMMUNITY cw3nka7d08 NVIDIA RTX A5000 null'
}

@test "runpod: data center, cloud, volume, disk, image and template are what was asked for" { placed runpod; }
@test "runpod-2.7: data center, cloud, volume, disk, image and template are what was asked for" { placed runpod-2.7; }

# --- every status ---------------------------------------------------------------------------------

@test "local: creating, failed with the reason, stopped when its maker died, and each can be ended" {
  world local
  printf 'while [ ! -e %q/go ]; do sleep 0.05; done\nexec %q "$@"\n' "$PWD" "$(type -P ssh-keygen)" >slow-keygen
  stub ssh-keygen <slow-keygen
  bash caller local create "$(spec)" >made 2>said </dev/null 3>&- &
  local maker=$!
  wait_until 10 listed
  call list
  lines "$A_POD" 1
  says '"\(.status) \(.ssh) \(.reason)"' 'creating null null'
  POD=$(jq -r .id <<<"$output")
  touch go
  wait "$maker"
  assert_equal "$(jq -r '"\(.id) \(.status)"' made)" "$POD running"
  kill "$(awk '$1 == "comfyui" { print $2 }' "$AUTOPOD_HOME/local/$POD/processes")"
  wait_until 10 has_status "$POD" failed
  assert_matches '^comfyui ended' "$(jq -r .reason <<<"$output")"
  call start "$POD"
  lines "$A_POD" 1
  says .status running
  call terminate "$POD"
  quiet

  rm go
  bash caller local create "$(spec)" >made 2>said </dev/null 3>&- &
  maker=$!
  wait_until 10 listed
  kill -9 "$maker"
  wait "$maker" 2>/dev/null || :
  touch go
  call list
  lines "$A_POD" 1
  says '"\(.status) \(.ssh)"' 'stopped null'
  call terminate "$(jq -r .id <<<"$output")"
  quiet
  call list
  quiet
}

# listed - 0 when the list is not empty
listed() { call list && [ -n "$output" ]; }

states() {
  local wanted='dead failed exited stopped paused stopped running running' name
  world "$1"
  runpod_control '{"add_pods":[
    {"name":"dead","status":"DEAD"}, {"name":"exited","status":"EXITED","volume_gb":50}, {"name":"paused","status":"PAUSED"},
    {"name":"running","age":7200,"env":{"AUTOPOD_INSTALLATION":"somebody"}}]}'
  call list
  lines "$A_POD" 4
  assert_equal "$(jq -r '"\(.name) \(.status)"' <<<"$output" | sort | tr '\n' ' ')" "$wanted "
  for name in dead exited paused running; do
    call get "$(runpod_state ".pods[] | select(.status != \"TERMINATED\" and .name == \"$name\").id")"
    lines "$A_POD" 1
    assert_contains "$(jq -r '"\(.name) \(.status)"' <<<"$output")" "$wanted"
    [ "$name" != exited ] || says .stopped_usd_per_month 10
  done
  says '"\(.owner) \(.ssh.user) \(.ssh.port | type) \(.ssh.key)"' 'somebody root number null' # with a key that is not ours
  local now
  now=$(runpod_state '.now[:19] + "Z" | fromdateiso8601')
  says "$now - (.created_at | fromdateiso8601) | . > 7100 and . < 7300" true
}

@test "runpod: every state of RunPod's is one of the five" { states runpod; }
@test "runpod-2.7: every state of RunPod's is one of the five" { states runpod-2.7; }

@test "runpod: an address that is not public is none: the pod is still being made" {
  world runpod
  runpod_control '{"faults":{"no_public_ip":{}}}'
  create
  runpod_control '{"advance_seconds":3700}'
  call get "$POD"
  lines "$A_POD" 1
  says '"\(.status) \(.ssh)"' 'creating null'
}

# --- ids that are none ----------------------------------------------------------------------------

unknown() {
  local id=zzzzzzzzzzzzzz name
  world "$1"
  [ "$PROVIDER" != local ] || id=local-00000000
  for name in get terminate stop start proxy_url; do
    call "$name" "$id"
    refused 4 "there is no "
    assert_contains "$id" "$stderr"
  done
}

@test "local: a pod that is not there" { unknown local; }
@test "runpod: a pod that is not there" { unknown runpod; }
@test "runpod-2.7: a pod that is not there" { unknown runpod-2.7; }

odd_ids() {
  local before long
  world "$1"
  create
  call list
  before=$(everything)
  printf -v long '%0100d' 0
  call every_id '' ' ' . .. ../x ../local "../local/$POD" "./$POD" "$POD/" "$POD/../$POD" "$POD " " $POD" \
    "$POD"$'\n'"$POD" ';$(touch pwned)' '`touch pwned`' "x'; touch pwned; '" '"}) { id } }' '$HOME' '*' '?' \
    -rf --help --all "$long" "a$long" $'\e[2J' $'\xff' 'é'
  good
  assert_equal "$output" '' 'ids that were taken for one'
  assert_equal "$(everything)" "$before"
  call get "$POD"
  lines "$A_POD" 1
}

# everything - lists all files that there are, and how often the API was asked
everything() {
  find "$AUTOPOD_HOME" "$PWD" "$HOME" "$TMPDIR" | grep -v "/comfyui/" | sort
  [ "$PROVIDER" = local ] || runpod_state '.requests | length'
}

@test "local: an id that can't be one is refused: nothing runs, nothing is made, nobody is asked" { odd_ids local; }
@test "runpod: an id that can't be one is refused: nothing runs, nothing is made, nobody is asked" { odd_ids runpod; }

# --- who fails says why, and nothing else ---------------------------------------------------------

# refuses STATUS TEXT [WHY] - each function that asks the API is refused so
refuses() {
  local name
  for name in preflight gpus volumes list get proxy_url start create; do
    case $name in
      create) call create "$(spec)" ;;
      *) call "$name" "$POD" ;;
    esac
    refused "$1" "$2"
    assert_equal "$(cat "$AUTOPOD_HOME/why")" "$3" "why $name failed"
  done
}

denied() {
  world "$1"
  create
  RUNPOD_API_KEY=rpa_wrong refuses 3 'does not accept the key' auth
  call stop "$POD"
  lines "$A_POD" 1
}

@test "runpod: with a key that is not accepted every function says so, with code 3" { denied runpod; }
@test "runpod-2.7: with a key that is not accepted every function says so, with code 3" { denied runpod-2.7; }

failing_create() {
  local fault code why text
  world "$1"
  while read -r code why fault text; do
    runpod_control "{\"faults\":$fault}"
    call create "$(spec)"
    refused "$code" "${text:-makes no pod}"
    assert_equal "$(cat "$AUTOPOD_HOME/why")" "$why" "why $fault"
    runpod_control "$(jq -c '{faults: map_values(null)}' <<<"$fault")"
  done <<'CASES'
4 capacity {"capacity":{"text":"resources"}} does not have the resources
4 capacity {"capacity":{"text":"machine"}} Unable to find a machine
4 balance {"balance_low":{}} balance is too low
3 scope {"forbidden":{"operations":["create"]}} Forbidden
4 ambiguous {"create_500_not_made":{}}
4 ambiguous {"server_error":{"operations":["create"],"html":true}}
CASES
  assert_equal "$(runpod_state .running)" 0
}

@test "runpod: a create that fails says which way" { failing_create runpod; }
@test "runpod-2.7: a create that fails says which way" { failing_create runpod-2.7; }

not_done() {
  world "$1"
  create
  runpod_control "{\"pods\":{\"$POD\":{\"locked\":true}}}"
  call stop "$POD"
  refused 12 locked
  call terminate "$POD"
  refused 12 "runpodctl pod delete $POD"
  assert_equal "$(runpod_state '.pods[-1].status')" RUNNING
  runpod_control "{\"pods\":{\"$POD\":{\"locked\":false}},
    \"faults\":{\"stop_not_done\":{\"apis\":[\"v1\",\"v2\"]},\"terminate_not_done\":{\"apis\":[\"v1\",\"v2\"]}}}"
  call stop "$POD" # by the second way
  lines "$A_POD" 1
  says .status stopped
  runpod_control '{"faults":{"no_free_gpus_on_start":{"times":1},"zero_gpus_after_start":{"times":1}}}'
  call start "$POD"
  refused 4 'no free GPU'
  call start "$POD"
  refused 4 'no free GPU'
  assert_equal "$(runpod_state '.pods[-1].status')" EXITED
  call terminate "$POD"
  quiet
  assert_equal "$(runpod_state '.pods[-1].status')" TERMINATED
}

@test "runpod: orders not carried out are code 12, or done by the second way; no pod without a GPU runs" { not_done runpod; }
@test "runpod-2.7: orders not carried out are code 12, or done by the second way; no pod without a GPU runs" { not_done runpod-2.7; }

@test "local: what is missing is said with code 3, and no pod is left of a boot that failed" {
  world local
  AUTOPOD_LOCAL_COMFYUI=$PWD/nowhere call check
  refused 3 'no main.py'
  AUTOPOD_PYTHON=/nowhere/python call check
  refused 3 /nowhere/python
  printf 'exit 1\n' | stub ssh-keygen
  call create "$(spec)"
  assert_equal "$output" '' stdout
  [ "$status" != 0 ]
  assert_contains 'prog: error: ' "$stderr"
  rm "$STUBS/ssh-keygen"
  call list
  assert_equal "$(jq -r .status <<<"$output" | grep -v stopped)" '' 'pods that run'
}

# --- inside ---------------------------------------------------------------------------------------

# create_machine - makes a pod of ours that can be logged into, also at RunPod; sets POD
create_machine() {
  if [ "$PROVIDER" = runpod ]; then
    need_runpod_pods
    runpod_control '{"machines":true,"boot_delay":0}'
    call list # makes the installation's name and key
    create ".env = {AUTOPOD_INSTALLATION: \"$(<"$AUTOPOD_HOME/installation")\"}"
  else
    create
  fi
  wait_until 20 has_status "$POD" running
}

reached() {
  world "$1"
  create_machine
  call here "$POD" 'echo "${RUNPOD_POD_ID:-}${AUTOPOD_POD_ID:-}"'
  assert_status 0
  case $PROVIDER in
    local) assert_equal "$output" "$POD" ;;
    runpod) assert_matches "^$POD" ;;
  esac
  call terminate "$POD"
  quiet
}

@test "local: the address leads to the pod" { reached local; }
@test "runpod-2.7: the address leads to the pod, with the key that is in its object" { reached runpod-2.7; }

# stops_itself PATH SHELL [ASSIGNMENT...] - the pod's script, run inside it by that shell, with these programs only,
# stops the pod; then it is started again
stops_itself() {
  local path=$1 shell=$2
  shift 2
  rm -f "$AUTOPOD_HOME"/known_hosts.d/[!l]* # RunPod's pods have a new host key after each start
  call self_stop_script "$POD"
  good
  assert_matches '^(id|dir)=' "$output"
  printf '%s\n' "$output" >stop.sh
  # The pod takes its sessions with it: what counts is what it is afterwards.
  call here "$POD" "exec env PATH=$path $* $shell $PWD/stop.sh"
  wait_until 10 is_off || { _complain "$shell with $path $*:" "$output" "$stderr" && return 1; }
  case $PROVIDER in
    local) call start "$POD" ;;
    runpod) runpod_control "{\"pods\":{\"$POD\":{\"action\":\"start\"}}}" ;;
  esac
  wait_until 20 is_on
}

# is_off, is_on - 0 when $POD is stopped, or can be logged into
is_off() {
  case $PROVIDER in
    local) has_status "$POD" stopped ;;
    runpod) runpod_says ".pods[] | select(.id == \"$POD\").status" EXITED ;;
  esac
}
is_on() {
  case $PROVIDER in
    local) has_status "$POD" running ;;
    runpod) runpod_says ".pods[] | select(.id == \"$POD\").ssh_port | type" number ;;
  esac
}

@test "local: the script that stops a pod from inside it, by each POSIX shell, from a directory of any name" {
  export AUTOPOD_HOME="$BATS_TEST_TMPDIR/it's ü home"
  world local
  create_machine
  local shell
  for shell in dash 'busybox sh' sh; do
    type -P "${shell%% *}" >/dev/null || continue
    stops_itself "$PATH" "$shell" LC_ALL=C
  done
  # Numbers of processes that are somebody else's now are left alone.
  sleep 30 3>&- &
  call self_stop_script "$POD"
  printf '%s\n' "$output" >stop.sh
  awk -v pid="$!" '{ $2 = pid; print }' "$AUTOPOD_HOME/local/$POD/processes" >others
  cp "$AUTOPOD_HOME/local/$POD/processes" own
  cp others "$AUTOPOD_HOME/local/$POD/processes"
  run --separate-stderr sh stop.sh
  cp own "$AUTOPOD_HOME/local/$POD/processes"
  assert_status 66 # there is nothing left to stop
  assert_equal "$output$stderr" ''
  kill "$!"
}

# stopped_by_guard WORLD - a guard on the pod ends it by its own means when its time is over, nobody else helping
stopped_by_guard() {
  world "$1"
  export AUTOPOD_GUARD_POLL=1
  create_machine
  call guarded "$POD" 3
  quiet
  wait_until 20 is_off
}

@test "local: a pod's guard stops it when its time is over" { stopped_by_guard local; }
@test "runpod: a pod's guard stops it when its time is over, by the pod's own key" {
  stopped_by_guard runpod
  assert_equal "$(runpod_state '[.requests[] | select(.operation == "stop")][-1] | "\(.api) \(.key)"')" "graphql pod:$POD"
}

# tools DIR TOOL... - makes DIR a PATH with these programs alone
tools() {
  local dir=$1 tool
  shift
  mkdir -p "$dir"
  for tool; do ln -s "$(type -P "$tool")" "$dir/$tool"; done
}

@test "runpod: the script that stops a pod from inside it, by curl, wget, or any runpodctl, or says why not" {
  local base='env tr sed cut cat' generation shell='dash'
  world runpod
  create_machine
  type -P dash >/dev/null || shell='sh'
  call here "$POD" 'echo "$RUNPOD_POD_ID"'
  assert_equal "$output" "$POD"
  # shellcheck disable=SC2086 # words
  tools with_none $base sh "$shell"
  cp -R with_none with_curl && tools with_curl curl
  cp -R with_none with_wget

  # refused: an API that says no, one that says nothing, none at all
  call self_stop_script "$POD"
  printf '%s\n' "$output" >stop.sh
  runpod_control '{"faults":{"forbidden":{"apis":["graphql"],"operations":["stop"],"times":1}}}'
  not_accepted with_curl Forbidden
  runpod_control '{"faults":{"forbidden":null,
    "server_error":{"apis":["graphql"],"operations":["stop"],"html":true,"times":1}}}'
  not_accepted with_curl 'Bad Gateway'
  runpod_control '{"faults":{"server_error":null,"stop_says_nothing":{"times":1}}}'
  not_accepted with_curl '"podStop": null'
  not_accepted with_curl 'onnect' RUNPOD_GRAPHQL_URL=http://127.0.0.1:9/graphql
  not_accepted with_none 'not found'
  call get "$POD"
  says .status running

  stops_itself "$PWD/with_curl" "$shell"
  assert_equal "$(runpod_state '[.requests[] | select(.operation == "stop")][-1] | "\(.api) \(.key)"')" \
    "graphql pod:$POD"
  if type -P wget >/dev/null; then
    tools with_wget wget
    stops_itself "$PWD/with_wget" sh
  fi
  for generation in main 2.7 1.14; do
    cp -R with_curl "with_$generation"
    printf '#!/bin/sh\nRUNPODCTL_DOUBLE=%s RUNPOD_API_URL=%s exec %s %s "$@"\n' "$generation" \
      "$([ "$generation" = 1.14 ] && echo "$RUNPOD_GRAPHQL_URL" || echo "$RUNPOD_API_URL")" \
      "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" >"with_$generation/runpodctl"
    chmod +x "with_$generation/runpodctl"
    [ "$generation" != 1.14 ] || rm "with_$generation/curl" # its own order has to do
    stops_itself "$PWD/with_$generation" "$shell" TIMEOUT=600 RUNPOD_REST_V2_URL="$RUNPOD_REST_V2_URL"
  done
  call terminate "$POD"
  quiet
}

# not_accepted PATH TEXT [ASSIGNMENT...] - the script fails in the pod, with one line of reason
not_accepted() {
  local path=$1 text=$2
  shift 2
  call here "$POD" "exec env PATH=$PWD/$path $* sh $PWD/stop.sh"
  assert_status 1
  assert_equal "$output" '' stdout
  assert_matches '^the stop was not accepted: [^'$'\n'']+$' "$stderr"
  assert_contains "$text" "$stderr"
}
