# A ComfyUI that is named by its address: which one, through which gateway, and what is taken for an answer.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load lib_helper
load runpod_helper
load pods_helper

KEY=key-0123456789abcdef PASSWORD='pass:word-987654321'

# One simulator for the file, behind two gateways: OPEN, and DOOR, which wants a header, a name and a password.
setup_file() {
  local python=$BATS_TEST_DIRNAME/../.venv/bin/python3 port doubles=$BATS_TEST_DIRNAME/doubles
  free_port
  "$python" "${DOUBLES_TREE:-$BATS_TEST_DIRNAME/..}/helpers/comfyui_sim.py" --cpu --listen 127.0.0.1 --port "$FREE_PORT" \
    --base-directory "$BATS_FILE_TMPDIR/comfyui" >"$BATS_FILE_TMPDIR/sim.log" 2>&1 3>&- &
  printf '%s\n' "$!" >"$BATS_FILE_TMPDIR/pids"
  "$python" "$doubles/gateway.py" "$FREE_PORT" >"$BATS_FILE_TMPDIR/open" 2>"$BATS_FILE_TMPDIR/open.err" 3>&- &
  printf '%s\n' "$!" >>"$BATS_FILE_TMPDIR/pids"
  "$python" "$doubles/gateway.py" "$FREE_PORT" --require "X-Api-Key: $KEY" \
    --require "Authorization: Basic $("$python" -c 'import base64, sys; print(base64.b64encode(sys.argv[1].encode()).decode())' "joe:$PASSWORD")" \
    >"$BATS_FILE_TMPDIR/door" 2>"$BATS_FILE_TMPDIR/door.err" 3>&- &
  printf '%s\n' "$!" >>"$BATS_FILE_TMPDIR/pids"
  wait_until 20 has_line "$BATS_FILE_TMPDIR/open"
  wait_until 20 has_line "$BATS_FILE_TMPDIR/door"
  read -r port <"$BATS_FILE_TMPDIR/open"
  wait_until 20 curl -qsf --noproxy '*' -o "$BATS_FILE_TMPDIR/up" "http://127.0.0.1:$port/system_stats"
}

teardown_file() { while read -r pid; do kill "$pid" || :; done <"$BATS_FILE_TMPDIR/pids"; }

setup() {
  cmd_setup
  read -r OPEN_PORT <"$BATS_FILE_TMPDIR/open"
  read -r DOOR_PORT <"$BATS_FILE_TMPDIR/door"
  OPEN=http://127.0.0.1:$OPEN_PORT DOOR=http://127.0.0.1:$DOOR_PORT
  rules '[]'
  rules '[]' "$DOOR"
  export HTTP_TRIES=2
}

teardown() {
  local status=0
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# rules JSON [GATEWAY] - sets its rules, and forgets what it has seen
rules() { curl -qsf --noproxy '*' -o "$BATS_TEST_TMPDIR/told" --data-binary "$1" "${2:-$OPEN}/gateway"; }

# seen FILTER [GATEWAY] - prints what jq's FILTER makes of what came
seen() { curl -qsf --noproxy '*' "${2:-$OPEN}/gateway" | jq -r "$1"; }

# posts - how often a prompt was posted at OPEN
posts() { seen '[.[] | select(.request == "POST /prompt")] | length'; }

# noise ID [SEED] - the job ./ID.json, a picture of noise
noise() {
  cat >templates/noise.json <<'JSON'
{ "1": { "class_type": "Noise", "inputs": { "width": 40, "height": 30, "batch_size": 1, "seed": "{input.seed}" } },
  "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "noise" } } }
JSON
  job "$1" noise "{\"seed\": ${2:-7}}"
}

# result FILTER - of the newest run
result() {
  local run newest=''
  for run in "$AUTOPOD_HOME"/runs/*/; do [ -n "$newest" ] && [ "$newest" -nt "$run/plan" ] || newest=$run/plan; done
  jq -r "$1" "${newest%/plan}/result.json"
}

# keys - ./headers and ./auth, as DOOR wants them
keys() {
  printf '# of the gateway\n\nX-Api-Key:  %s \r\n' "$KEY" >headers
  printf 'joe:%s\n' "$PASSWORD" >auth
  chmod 600 headers auth
}

# refused TEXT... -- ARG... - comfy-run ends with 2 before anything is done, and says each TEXT
refused() {
  local text
  text=()
  while [ "$1" != -- ]; do
    text[${#text[@]}]=$1
    shift
  done
  shift
  comfy_run "$@"
  assert_status 2 || return
  for text in "${text[@]}"; do assert_contains "$text" "$stderr" || return; done
  refute_contains "$KEY" "$stderr" || return
  refute_contains 987654321 "$stderr" || return
  assert_no_runs
}

# --- the address ----------------------------------------------------------------------------------

@test "addresses: with and without scheme, slashes, ports; and what is none" {
  local text wanted
  while IFS='|' read -r text wanted; do
    printf '%s\n' "$text" >>texts
    printf '%s\n' "$wanted" >>wanted
  done <<'E'
https://abc-8188.proxy.runpod.net/|https://abc-8188.proxy.runpod.net proxy
abc-8188.proxy.runpod.net|https://abc-8188.proxy.runpod.net proxy
ABC-8188.Proxy.RunPod.net//|https://ABC-8188.Proxy.RunPod.net proxy
http://abc-8188.proxy.runpod.net|http://abc-8188.proxy.runpod.net proxy
comfy.example.com|https://comfy.example.com name
comfy.example.com/path/|https://comfy.example.com/path name
comfy.example.com:8188|http://comfy.example.com:8188 name
HTTPS://comfy.example.com:8443/|https://comfy.example.com:8443 name
localhost|http://localhost loopback
localhost:8188/|http://localhost:8188 loopback
127.0.0.1:8188|http://127.0.0.1:8188 loopback
[::1]:8188|http://[::1]:8188 loopback
192.168.1.7|http://192.168.1.7 private
172.20.0.1:8188|http://172.20.0.1:8188 private
100.101.102.103:8188|http://100.101.102.103:8188 private
[fd00::1]:8188|http://[fd00::1]:8188 private
203.0.113.9:8188|http://203.0.113.9:8188 public
172.32.0.1|http://172.32.0.1 public
[2001:db8::1]|http://[2001:db8::1] public
gpubox|http://gpubox plain
gpubox:8188|http://gpubox:8188 plain
gpubox.local|http://gpubox.local plain
joe:pw@host|error 2
https://joe:pw@host|error 2
ftp://host|error 2
host:0|error 2
host:65536|error 2
host:8188x|error 2
host:|error 2
http://|error 2
http:///path|error 2
host/?q=1|error 2
host/#x|error 2
a b|error 2
::1|error 2
[zz]|error 2
-x|error 2
a"b|error 2
E
  run lib 'config remote' <<'SH'
ui_init
config_load
while IFS= read -r text; do
  if core_quietly remote_address --url "$text"; then
    _remote_split "$REMOTE_URL"
    echo "$REMOTE_URL $_REMOTE_KIND"
  else
    echo "error $?"
  fi
done <texts
SH
  assert_equal "$output" "$(<wanted)"
}

@test "which server: --url, RUNPOD_POD_URL, --proxy; what names a pod goes before the setting" {
  job one picture
  # where TEXT ARG... - the plan says that it runs there
  where() {
    local text=$1
    shift
    comfy_run -n one.json "$@"
    assert_status 0 && assert_contains "Runs on    $text" "$output"
  }
  where 'ComfyUI at https://comfy.example.com' --pod-url comfy.example.com/
  where 'ComfyUI at the public address of the pod that has one' --proxy
  where 'ComfyUI at the public address of abc' --proxy --pod abc
  export RUNPOD_POD_URL=x-8188.proxy.runpod.net
  where 'ComfyUI at https://x-8188.proxy.runpod.net'
  where 'ComfyUI at http://127.0.0.1:1' --url 127.0.0.1:1
  where 'ComfyUI at https://x-8188.proxy.runpod.net' --proxy
  assert_contains 'RUNPOD_POD_URL goes before --proxy' "$stderr"
  where 'pod abc' --pod abc -v
  assert_contains 'RUNPOD_POD_URL is not used: --pod goes before it' "$stderr"
  where "ComfyUI at http://127.0.0.1:$AUTOPOD_PORT" --no-tunnel
  refute_contains RUNPOD_POD_URL "$stderr"
  refused 'RUNPOD_POD_URL names a server' -- --after stop one.json
  refused 'RUNPOD_POD_URL' -- --max-cost 1 one.json
  RUNPOD_POD_URL='joe:pw-987654321@host' refused 'RUNPOD_POD_URL: a name or password' -- one.json
  RUNPOD_POD_URL='' where 'the pod that runs, else a new one'
  unset RUNPOD_POD_URL
  printf 'RUNPOD_POD_URL=y.example.com\n' >.env
  where 'ComfyUI at https://y.example.com'
  rm .env
  echo '{"runpod_pod_url": "z.example.com"}' >"$AUTOPOD_HOME/config.json"
  where 'ComfyUI at https://z.example.com'
  rm "$AUTOPOD_HOME/config.json"
  refused 'only one of' -- --url a.example.com --proxy one.json
  refused 'only one of' -- --no-tunnel --proxy one.json
  refused 'is not the address of a web server' -- --url 'a b' one.json
}

@test "RunPod blocks port 8188 of a bare address: said before, and in the error; not of private ones" {
  local real
  real=$(type -P curl)
  stub curl <<SH
case "\$*" in *203.0.113.9* | *10.255.0.9*) printf 'curl: (28) Connection timed out\n' >&2; exit 28 ;; esac
exec "$real" "\$@"
SH
  job one picture
  comfy_run --url 203.0.113.9:8188 one.json
  assert_status 5
  assert_equal "$(grep -c 'RunPod lets nobody reach port 8188' <<<"$stderr")" 2 'times that it is said'
  comfy_run --url 10.255.0.9:8188 one.json
  assert_status 5
  refute_contains 'RunPod lets nobody' "$stderr"
  comfy_run --url 203.0.113.9:8189 one.json
  assert_status 5
  refute_contains 'RunPod lets nobody' "$stderr"
}

# --- the same work --------------------------------------------------------------------------------

@test "the same seed through --url, through a gateway's door, past the tunnel and through it: the same bytes" {
  local sum
  noise one 4711
  keys
  comfy_run --url "$OPEN/" --output-dir a one.json
  assert_status 0
  assert_contains "$OPEN, ComfyUI" "$stderr"
  sum=$(result '.outputs[0].sha256')
  comfy_run --url "$DOOR" --header-file headers --auth-file auth --local-output b one.json
  assert_status 0
  assert_equal "$(result '.outputs[0].sha256')" "$sum" 'sum through the door'
  assert_equal "$(sum_of <"$(result '.outputs[0].path')") $(find b -type f | wc -l | tr -d ' ')" "$sum 1" 'the file in b/'
  "$AUTOPOD_BIN/autopod-connect" -q
  comfy_run -o c one.json
  assert_status 0
  assert_contains Tunnel "$stderr"
  assert_equal "$(result '.outputs[0].sha256')" "$sum" 'sum through the tunnel'
  comfy_run -o d --proxy one.json
  assert_status 0
  assert_contains '(--proxy)' "$stderr"
  assert_equal "$(result '.outputs[0].sha256 + " " + (.pod | tostring)')" "$sum null" 'sum past the tunnel'
  refute_contains Tunnel "$stderr"
  "$AUTOPOD_BIN/autopod-stop" -q -y
  comfy_run --proxy one.json
  assert_status 4
  comfy_run --proxy --pod "$(the_pod)" one.json
  assert_status 4
  assert_contains 'is stopped' "$stderr"
  "$AUTOPOD_BIN/autopod-kill" -q -y --all
}

@test "RunPod's proxy: its address when the pod exposes the port, and why not when it does not" {
  rows_start
  row
  # ask ID - what the provider says
  ask() {
    run lib 'config pod' "$@" <<'SH'
ui_init
core_trap
config_load
core_tmpdir
provider_runpod_proxy_url "$1"
SH
  }
  ask "$POD"
  assert_status 4
  assert_contains "does not expose port $AUTOPOD_COMFY_PORT" "$output"
  job one picture
  comfy_run --proxy one.json
  assert_status 4
  assert_contains 'has no public address' "$stderr"
  assert_contains 'leave --proxy out' "$stderr"
  foreign_row "{\"ports\": [\"22/tcp\", \"$AUTOPOD_COMFY_PORT/http\"]}"
  ask "$POD"
  assert_status 0
  assert_equal "$output" "https://$POD-$AUTOPOD_COMFY_PORT.proxy.runpod.net"
  ask nothere
  assert_status 4
}

# --- the gateway's door ---------------------------------------------------------------------------

@test "a header and a password: for every request and the WebSocket, and nowhere else to be seen" {
  local real before
  real=$(type -P curl)
  stub curl <<SH
printf '%s\n' "\$*" >>"$BATS_TEST_TMPDIR/argv"
exec "$real" "\$@"
SH
  keys
  png in.png
  job one scale '{"image": "in.png"}'
  comfy_run --url "$DOOR" one.json
  assert_status 5
  assert_contains 'does not let us in (HTTP 401)' "$stderr"
  assert_contains '--auth-file' "$stderr"
  comfy_run --url "$DOOR" --header-file headers one.json
  assert_status 5
  assert_contains 'is what stands in the --auth-file or --header-file right?' "$stderr"
  rules '[]' "$DOOR"
  AUTOPOD_HEADER_FILE=headers AUTOPOD_AUTH_FILE=auth comfy_run --url "$DOOR" --debug -v one.json
  assert_status 0
  assert_equal "$(seen '[.[] | select(.status == 401)] | length' "$DOOR")" 0 'requests without the keys'
  assert_contains 'GET /ws?' "$(seen '.[].request' "$DOOR")"
  assert_contains 'POST /upload/image' "$(seen '.[].request' "$DOOR")"
  for before in "$KEY" 987654321 "$("$AUTOPOD_PYTHON" -c 'import base64, sys; print(base64.b64encode(sys.argv[1].encode()).decode())' "joe:$PASSWORD")"; do
    refute_contains "$before" "$stderr$output"
    run grep -rlF -e "$before" "$AUTOPOD_HOME" "$TMPDIR" "$BATS_TEST_TMPDIR/argv"
    assert_equal "$output" '' 'files with the secret'
  done
  refute_contains x-api-key "$(seen '[.[].headers | keys[]] | unique[]')"
}

@test "a redirect is not followed, and gets no header" {
  keys
  job one picture
  rules "[{\"match\": \"GET /system_stats\", \"status\": 307, \"location\": \"$OPEN/system_stats?token=abc\"}]" "$DOOR"
  comfy_run --url "$DOOR" --header-file headers --auth-file auth one.json
  assert_status 5
  assert_contains "it points to $OPEN/system_stats" "$stderr"
  refute_contains 'token=abc' "$stderr"
  rules "[{\"match\": \"GET /view\", \"status\": 302, \"location\": \"$OPEN/view\"}]" "$DOOR"
  comfy_run --url "$DOOR" --header-file headers --auth-file auth one.json
  assert_status 9
  assert_equal "$(seen length)" 0 'requests at the other port'
}

@test "the files: what is no header, no password, not to be read, or not asked for; and who else can read them" {
  local line
  job one picture
  keys
  refused "can't read nothere" -- --url x.example.com --header-file nothere one.json
  refused "can't read $PWD" -- --url x.example.com --auth-file "$PWD" one.json
  refused 'are for a gateway' -- --auth-file auth one.json
  refused 'are for a gateway' -- --pod abc --header-file headers one.json
  while IFS= read -r line; do
    printf '%b' "$line" >bad # with what stands for control characters
    refused 'bad' -- --url x.example.com --header-file bad -n one.json
  done <<E
$KEY
X-Api-Key $KEY
X Api: $KEY
X-Api-Key:
: $KEY
X-Api-Key: $KEY\\0033[31m
X-Ok: 1\\nHost: $KEY
Content-Length: 5
sec-websocket-key: $KEY
# only a remark
E
  printf 'Authorization: Bearer %s\n' "$KEY" >bad
  refused 'use one of both' -- --url x.example.com --header-file bad --auth-file auth -n one.json
  for line in '' 'a:987654321\na:987654321' joe 'joe:pass\nX: 987654321' 'joe:\tpass987654321'; do
    printf '%b' "$line" >bad
    refused 'not one line, name:password' -- --url x.example.com --auth-file bad -n one.json
  done
  chmod 644 auth
  comfy_run --url x.example.com --auth-file auth -n one.json
  assert_status 0
  assert_contains 'auth can be read by others (mode 644): run chmod 600' "$stderr"
  comfy_run --url x.example.com --auth-file <(cat auth) -n one.json
  assert_status 0
}

@test "the settings for the gateway's door are about the server of RUNPOD_POD_URL, when that is set" {
  keys
  job one picture
  export AUTOPOD_HEADER_FILE=headers AUTOPOD_AUTH_FILE=auth RUNPOD_POD_URL=127.0.0.1:$DOOR_PORT/
  comfy_run one.json
  assert_status 0
  assert_contains "$DOOR, ComfyUI 0.3.64 (RUNPOD_POD_URL)" "$stderr"
  comfy_run --url "$OPEN" one.json
  assert_status 0
  job two picture
  comfy_run --url "$OPEN" --no-download two.json
  assert_status 0
  comfy_run --resume two
  assert_status 0
  refute_contains x-api-key "$(seen '[.[].headers | keys[]] | unique[]')"
}

@test "a run that is taken up again knows where it was and where the keys are, but not the keys" {
  keys
  job one picture
  comfy_run --url "$DOOR" --header-file headers --auth-file auth --no-download one.json
  assert_status 0
  refute_exists outputs
  assert_contains "wish_auth_file	$PWD/auth" "$(<"$(the_run)/plan")"
  cd /
  RUNPOD_POD_URL=nowhere.example.com comfy_run --resume one
  assert_status 0
  assert_equal "$(result '"\(.downloaded) \(.outputs | length)"')" 'true 1'
  run grep -rlF -e "$KEY" "$AUTOPOD_HOME"
  assert_equal "$output" '' 'files with the secret'
}

@test "keys that came through a pipe are not remembered as a file; the settings have them later" {
  keys
  job one picture
  comfy_run --url "$DOOR" --header-file headers --auth-file <(cat auth) --no-download one.json
  assert_status 0
  refute_contains wish_auth_file "$(<"$(the_run)/plan")"
  AUTOPOD_HEADER_FILE=headers AUTOPOD_AUTH_FILE=auth run --separate-stderr "$AUTOPOD_BIN/comfy-fetch" one
  assert_status 5 # the remembered header goes before the settings, of which none is asked
  rm -rf "$AUTOPOD_HOME/runs"/*
  comfy_run --url "$DOOR" --header-file <(cat headers) --auth-file <(cat auth) --no-download one.json
  assert_status 0
  AUTOPOD_HEADER_FILE=headers AUTOPOD_AUTH_FILE=auth run --separate-stderr "$AUTOPOD_BIN/comfy-fetch" one
  assert_status 0
  assert_equal "$(find outputs -type f | wc -l | tr -d ' ')" 1
}

@test "autopod-cancel and comfy-fetch find the keys of a run that was left at a gateway" {
  keys
  job one slow
  start_command comfy-run --url "$DOOR" --header-file headers --auth-file auth one.json
  wait_until 20 command_said Submit
  wait_until 20 test -f "$(the_run)/prompt.json"
  kill_command_group
  run --separate-stderr "$AUTOPOD_BIN/comfy-fetch" one
  assert_status 1
  assert_contains 'still running on its server' "$stderr"
  run --separate-stderr "$AUTOPOD_BIN/autopod-cancel" one
  assert_status 0
  assert_contains 'is cancelled' "$stderr"
  assert_equal "$(seen '[.[] | select(.status == 401)] | length' "$DOOR")" 0 'requests without the keys'
}

# --- what is no answer ----------------------------------------------------------------------------

@test "a gateway whose ComfyUI boots: 502, 503, 524 and so on are waited for; and not forever" {
  job one picture
  rules '[{"match": "GET /system_stats", "status": 502, "times": 1}, {"match": "GET /system_stats", "status": 503, "times": 1},
    {"match": "GET /system_stats", "status": 524, "times": 1}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_contains 'HTTP 502 from the gateway' "$stderr"
  rules '[{"match": "GET /system_stats", "status": 502}]'
  AUTOPOD_BOOT_TIMEOUT=2 comfy_run --url "$OPEN" one.json
  assert_status 5
  assert_contains "can't be reached: its gateway says HTTP 502" "$stderr"
  rules '[{"match": "GET /system_stats", "status": 404}]'
  comfy_run --url "$OPEN" one.json # no RunPod: it is no ComfyUI
  assert_status 5
  rules '[{"match": "GET /system_stats", "status": 200}]'
  comfy_run --url "$OPEN" one.json
  assert_status 5
  assert_contains 'a web page' "$stderr"
  refute_contains '<html>' "$stderr"
}

@test "RunPod's proxy: said to be public, and its 404 is that of a pod that boots" {
  local real
  real=$(type -P curl)
  job one picture
  rules '[{"match": "GET /system_stats", "status": 404, "times": 2}, {"match": "GET /view", "status": 404, "times": 1}]'
  http_proxy=$OPEN comfy_run --url http://abc-8188.proxy.runpod.net one.json
  assert_status 9 # ComfyUI answered beside it: it has no such file
  assert_contains 'is public: anybody who knows it' "$stderr"
  assert_contains '100 s' "$stderr"
  assert_equal "$(seen '.[0].host')" abc-8188.proxy.runpod.net
  rules '[]'
  # The pod goes away between its answers.
  stub curl <<SH
case "\$*" in */view*)
  "$real" -qs --noproxy '*' -o "$TMPDIR/told" --data-binary '[{"match": "GET /view", "status": 404, "times": 1},
    {"match": "GET /system_stats", "status": 404, "times": 1}]' "$OPEN/gateway"
  rm -f "$STUBS/curl" ;;
esac
exec "$real" "\$@"
SH
  http_proxy=$OPEN comfy_run --url http://abc-8188.proxy.runpod.net one.json
  assert_status 0
}

@test "a prompt whose answer is 524 or a page: looked for before anything is posted again" {
  job one picture
  rules '[{"match": "POST /prompt", "status": 524, "times": 1, "forward": true}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_equal "$(posts)" 1 'posts'
  rules '[{"match": "POST /prompt", "status": 524, "times": 1, "forward": true, "delay": 2}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_equal "$(posts)" 1 'posts of what is on its way'
  rules '[{"match": "POST /prompt", "status": 200, "times": 1, "forward": true}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_equal "$(posts)" 1 'posts of what a page answered'
  rules '[{"match": "POST /prompt", "status": 404, "times": 1}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_equal "$(posts)" 2 'posts of what nobody took'
  # Neither is the queue believed meanwhile.
  rules '[{"match": "POST /prompt", "status": 504, "times": 1, "forward": true}, {"match": "GET /queue", "status": 524, "times": 1},
    {"match": "GET /history", "status": 200, "times": 1}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_equal "$(posts)" 1 'posts'
}

@test "pages and time-outs in place of the queue, the history, a file and an upload: asked again" {
  png in.png
  job one scale '{"image": "in.png"}'
  rules '[{"match": "HEAD /view", "status": 524, "times": 1}, {"match": "POST /upload", "status": 200, "times": 1},
    {"match": "GET /queue", "status": 200, "times": 2}, {"match": "GET /history", "status": 522, "times": 1},
    {"match": "GET /history", "status": 200, "times": 1}, {"match": "GET /view", "status": 200, "times": 1},
    {"match": "GET /view", "status": 504, "times": 1}]'
  comfy_run --url "$OPEN" one.json
  assert_status 0
  assert_equal "$(posts)" 1 'posts'
  assert_equal "$(result '.outputs | length')" 1
  rules '[{"match": "GET /view", "status": 524}]'
  job two picture
  comfy_run --url "$OPEN" two.json
  assert_status 9
  assert_contains 'HTTP 524' "$stderr"
  refute_exists outputs/two_00001_.png
}

@test "a queue that names the prompt and makes no sense: nobody knows where it is, so it is not posted again" {
  run lib comfy <<'E'
core_tmpdir
HTTP_STATUS=200
http_get_two() { printf '%s' "$QUEUE" >"$2"; printf '{}' >"$4"; }
for QUEUE in '{"queue_running": [], "queue_pending": [[5, "abc", {}' '{"queue_running": [], "queue_pending": "abc", "x": "abc"}' \
  '{"queue_running": [], "queue_pending": []}' '{"queue_running": [], "queue_pending": [[5, "abc", {}]]}'; do
  if comfy_where http://x abc "$CORE_TMP/history"; then echo "$COMFY_STATE"; else echo nobody; fi
done
E
  assert_status 0
  assert_equal "$(tr '\n' ' ' <<<"$output")" 'nobody nobody unknown pending '
}

# --- the log of the network -----------------------------------------------------------------------

@test "each run keeps its requests with their times" {
  local file
  job one picture
  comfy_run --url "$OPEN" one.json
  assert_status 0
  file=$(the_run)/network.tsv
  assert_equal "$(head -n 1 "$file")" $'at\tmethod\tpath\tstatus\tcurl\tsent\treceived\tdns\tconnect\ttls\tfirst_byte\ttotal'
  assert_equal "$(awk -F '\t' 'NF != 12' "$file")" '' 'lines of another shape'
  assert_matches $'\tGET\t/system_stats\t200\t0\t0\t[1-9]' "$(<"$file")"
  assert_matches $'\tPOST\t/prompt\t200\t0\t[1-9]' "$(<"$file")"
  assert_matches $'\tGET\t/view\\?filename=one_' "$(<"$file")"
  assert_equal "$(awk -F '\t' 'NR > 1 && ($12 + 0 <= 0 || $1 !~ /^[0-9]+\.[0-9][0-9][0-9]$/)' "$file")" '' 'times that are none'
  assert_equal "$(find "$file" -perm 600)" "$file" 'who may read it'
}

@test "--timeout takes 90s, 10m and 2h; a plain number is minutes" {
  local text wanted
  job one picture
  while read -r text wanted; do
    comfy_run -n --json --timeout "$text" one.json
    assert_status 0
    assert_equal "$(jq '.jobs[0].pod_config.timeout_minutes * 60 | ceil' <<<"$output")" "$wanted" "$text"
  done <<'E'
90s 90
100s 100
0.5s 1
10m 600
1.5m 90
2h 7200
1.5h 5400
3 180
0.25 15
E
  for text in 5d 1h30m s 90S '1 m' 0 0s; do refused --timeout -- -n --timeout "$text" one.json; done
}
