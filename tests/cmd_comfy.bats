# comfy-status, comfy-info and comfy-open: what is told of a ComfyUI, whatever it says.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

# One pod with its tunnel for most tests; its ComfyUI is the double, which says what a test wants.
setup_file() {
  export AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod HOME=$BATS_FILE_TMPDIR/home TMPDIR=$BATS_FILE_TMPDIR
  export AUTOPOD_BIN=${AUTOPOD_BIN:-$BATS_TEST_DIRNAME/../bin} AUTOPOD_PYTHON=$BATS_TEST_DIRNAME/../.venv/bin/python3
  mkdir -p "$HOME"
  double_as_comfyui "$BATS_FILE_TMPDIR"
  free_port
  export AUTOPOD_PORT=$FREE_PORT
  "$AUTOPOD_BIN/autopod-connect" -q --json >"$BATS_FILE_TMPDIR/pod.json" 3>&-
}

teardown_file() { "$AUTOPOD_BIN/autopod-kill" -q -y --all 3>&-; }

setup() {
  cmd_setup
  read -r POD DOUBLE < <(jq -r '"\(.id) \(.url)"' "$BATS_FILE_TMPDIR/pod.json")
  export LC_ALL=C.UTF-8
}

teardown() {
  local status=0
  [ -z "${SHARED-}" ] || double_tell '{"answers": null, "seconds": null, "hold": null, "release": true}' || :
  [ -n "${SHARED-}" ] || "$AUTOPOD_BIN/autopod-kill" -q -y --all >/dev/null 2>&1 || :
  cmd_teardown || status=1
  return "$status"
}

# double_as_comfyui DIR - from here on pods run the double
double_as_comfyui() {
  export AUTOPOD_LOCAL_COMFYUI=$1/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$BATS_TEST_DIRNAME/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
}

# shared - this test has the pod of the file
shared() {
  SHARED=1
  export AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
}

# command_ NAME ARG... - `run`s a command, its two outputs apart
command_() {
  local name=$1
  shift
  run --separate-stderr "$AUTOPOD_BIN/$name" "$@"
}

# answers VERSION [MORE_JSON] - the pod's ComfyUI answers as that version did, with MORE_JSON (PATH: [STATUS, TEXT]) over it
answers() {
  jq -c --arg version "$1" --argjson more "${2:-"{}"}" '{answers: (.[$version] + $more)}' \
    "$BATS_TEST_DIRNAME/fixtures/comfyui/info.json" >answers.json
  double_tell @answers.json
}

# assert_tame - nothing in the last outputs that a terminal would obey, and no words of the tools underneath
assert_tame() {
  local word
  for word in $'\033' $'\r' $'\xc2\x9b' $'\xe2\x80\xae' '<html' 'jq:' 'unbound' 'syntax error' 'ignored null' Traceback; do
    refute_contains "$word" "$output" || return
    refute_contains "$word" "$stderr" || return
  done
}

# on_screen COLUMNS NAME - `run`s a command at a terminal of that width; lines has what stands there
on_screen() {
  run env TERM=xterm "$AUTOPOD_PYTHON" "$BATS_TEST_DIRNAME/doubles/terminal.py" \
    bash -c "stty cols $1 && exec \"\$0\"" "$AUTOPOD_BIN/$2"
  output=${output//$'\r'/}
  IFS=$'\n' read -r -d '' -a lines <<<"$output" || :
}

# assert_box COLUMNS - the output is a box that is whole: all its lines have the same width, of at most COLUMNS
assert_box() {
  printf '%s\n' "$output" | "$AUTOPOD_PYTHON" -c 'import sys, unicodedata as u
lines = sys.stdin.buffer.read().decode().splitlines()
wide = {sum(0 if u.combining(c) else 2 if u.east_asian_width(c) in "WF" else 1 for c in line) for line in lines}
sys.exit(0 if len(wide) == 1 and max(wide) <= int(sys.argv[1]) and len(lines) > 4 else "widths: %s" % wide)' "$1" ||
    { _complain "$output" && return 1; }
  assert_equal "${lines[0]:0:1}${lines[${#lines[@]} - 1]:0:1}" "${2-┌└}"
}

# --- comfy-status ---------------------------------------------------------------------------------

@test "status: ready, with version, tunnel, queue and memory" {
  shared
  answers 0.3.64
  command_ comfy-status
  assert_status 0
  assert_equal "${lines[0]}" 'ComfyUI: Ready'
  assert_contains "Pod: $POD, CPU, free"
  assert_contains 'Version: 0.3.64 (Python 3.11.7, PyTorch 2.13.0+cpu)'
  assert_contains "Tunnel: $DOUBLE → port "
  assert_contains 'Queue: idle'
  assert_contains 'Memory: cpu: 0.9 of 23.5 GiB in use'
  assert_equal "$stderr" ''
  LC_ALL=C command_ comfy-status "$POD" # ASCII where the locale has no more
  assert_contains "Tunnel: $DOUBLE -> port "
}

@test "status --json, by both recorded versions" {
  local version
  shared
  for version in 0.3.64 0.33.0; do
    answers "$version"
    command_ comfy-status --json "${POD%??}"
    assert_status 0
    assert_equal "$(jq -r '[.ready, .state, .pod, .version, .queue.running, .queue.pending, .devices[0].index] | map(tostring) | join(" ")' <<<"$output")" \
      "true ready $POD $version 0 0 null"
    assert_equal "$(jq -r .url <<<"$output")" "$DOUBLE"
  done
}

@test "status: a full queue, and GPUs" {
  shared
  answers 0.33.0 "$(jq -n '{"/queue": [200, "{\"queue_running\": [[1, \"a\"]], \"queue_pending\": [[3, \"b\"], [2, \"c\"]]}"],
    "/system_stats": [200, ({system: {comfyui_version: "0.33.0"}, devices: [
      {name: "cuda:0 NVIDIA A40 : cudaMallocAsync", type: "cuda", index: 0, vram_total: 47699853312, vram_free: 44359024640},
      {name: "cuda:1 NVIDIA A40 : native", type: "cuda", index: 1, vram_total: 47699853312, vram_free: null}]} | tojson)]}')"
  command_ comfy-status
  assert_status 0
  assert_contains 'Queue: 1 running, 2 waiting'
  assert_contains 'GPU memory: cuda:0 NVIDIA A40: 3.1 of 44.4 GiB in use'
  assert_contains 'GPU memory: cuda:1 NVIDIA A40: 44.4 GiB'
  # No queue to be had: the number of prompts will do.
  answers 0.33.0 '{"/queue": [500, ""], "/prompt": [200, "{\"exec_info\": {\"queue_remaining\": 7}}"]}'
  command_ comfy-status
  assert_contains 'Queue: 7 running or waiting'
}

@test "status: what answers is no ComfyUI, or not yet one" {
  local text
  shared
  # Each as a string of JSON.
  for text in '"<html>\u001b[31m</html>"' '""' '"null"' '"\u0000\u0000"' '"{\"system\": {\"comfyui_version\": null}}"' \
    '"{\"system\": {\"comfyui_version\": \"\\u001b[2J\"}}"'; do
    answers 0.3.64 "{\"/system_stats\": [200, $text]}"
    command_ comfy-status
    assert_status 1
    assert_contains 'ComfyUI: Not there (what answers at port '
    assert_contains 'AUTOPOD_COMFY_PORT'
    assert_tame
  done
  answers 0.3.64 '{"/system_stats": [502, "<html>Bad Gateway</html>"]}'
  command_ comfy-status
  assert_status 1
  assert_matches '^ComfyUI: Starting \(container still initializing, [0-9]+ s\)'
  assert_tame
  command_ comfy-status --json
  assert_status 1
  assert_equal "$(jq -r '[.ready, .state, (.seconds_up | type)] | map(tostring) | join(" ")' <<<"$output")" 'false starting number'
  AUTOPOD_BOOT_TIMEOUT=1 command_ comfy-status # by now it should be there
  assert_status 1
  assert_matches '^ComfyUI: Silent \(the pod has run for [0-9]+'
  assert_contains "autopod-logs --pod $POD"
}

@test "status --wait: until it is ready" {
  local before
  shared
  answers 0.3.64 '{"/system_stats": [503, ""]}'
  before=$(double_ask '.requests | length')
  start_command comfy-status --wait 60 "$POD"
  wait_until 20 double_says "[.requests[$before:][] | select(. == \"GET /system_stats\")] | length > 3" true # one look asks up to three times
  answers 0.3.64
  finish_command
  assert_status 0
  assert_contains 'ComfyUI: Ready'
  assert_matches 'ComfyUI +ready after [0-9]+s' "$stderr"
}

@test "status --wait: not ready in time, and what to look at" {
  local word
  shared
  answers 0.3.64 '{"/system_stats": [503, ""]}'
  for word in --wait=1 '--wait 1'; do
    # shellcheck disable=SC2086 # one word or two
    command_ comfy-status $word
    assert_status 1
    assert_contains 'ComfyUI: Starting (container still initializing'
    assert_contains "Help: autopod-logs --pod $POD shows its log"
    assert_matches 'not ready after [0-9]+s' "$stderr"
  done
  for word in --wait=x --wait=0 --wait= --wait=99999; do
    command_ comfy-status "$word"
    assert_status 2
    assert_contains --wait "$stderr"
  done
}

@test "status: a pod that is stopped, failed, unknown or not there" {
  double_as_comfyui "$BATS_TEST_TMPDIR"
  command_ comfy-status
  assert_status 4
  assert_contains 'no pod of this installation runs' "$stderr"
  POD=$("$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --json 3>&- | jq -r .id)
  command_ comfy-status nope
  assert_status 4
  command_ comfy-status --wait 20 "$POD" # opens the tunnel
  assert_status 0
  assert_equal "$(jq -r 'keys[0]' "$AUTOPOD_HOME/tunnels.json")" "$POD"
  kill "$(pod_process "$POD" comfyui)"
  wait_until 10 gone "$(pod_process "$POD" comfyui)"
  command_ comfy-status --wait 20 # at once: there is nothing to wait for
  assert_status 1
  assert_contains 'ComfyUI: Stopped (pod '
  assert_contains "autopod-start $POD"
  command_ comfy-info
  assert_status 4
  assert_contains "autopod-start $POD" "$stderr"
  "$AUTOPOD_BIN/autopod-stop" -q "$POD"
  command_ comfy-status "$POD" --json
  assert_status 1
  assert_equal "$(jq -r '[.ready, .state, .seconds_up, .url] | map(tostring) | join(" ")' <<<"$output")" 'false stopped null null'
  command_ comfy-open "$POD"
  assert_status 4
  assert_equal "$output" ''
}

@test "status: sshd does not answer, or does not know us" {
  double_as_comfyui "$BATS_TEST_TMPDIR"
  POD=$("$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --json 3>&- | jq -r .id)
  awk '$1 == "sshd" { $4 = 1 } { print }' "$AUTOPOD_HOME/local/$POD/processes" >changed
  cp "$AUTOPOD_HOME/local/$POD/processes" kept
  mv changed "$AUTOPOD_HOME/local/$POD/processes"
  command_ comfy-status
  assert_status 1
  assert_contains 'ComfyUI: Starting (container still initializing'
  assert_contains 'Tunnel: none'
  assert_contains 'Now: nothing listens at '
  mv kept "$AUTOPOD_HOME/local/$POD/processes"
  : >"$AUTOPOD_HOME/local/$POD/authorized_keys"
  command_ comfy-status --wait 20 # at once
  assert_status 1
  assert_contains 'ComfyUI: Unreachable ('
  assert_contains AUTOPOD_SSH_KEY
}

# --- comfy-info -----------------------------------------------------------------------------------

@test "info: all that the two recorded versions have" {
  shared
  answers 0.3.64
  command_ comfy-info
  assert_status 0
  assert_equal "$stderr" ''
  assert_equal "${lines[0]}" 'ComfyUI 0.3.64'
  assert_contains 'Version: 0.3.64 (Python 3.11.7, PyTorch 2.13.0+cpu)'
  assert_contains 'RAM: 0.9 of 23.5 GiB in use'
  assert_contains 'Queue: idle'
  assert_contains 'Uploads: at most 104.8 MB each'
  assert_contains 'Endpoints: /system_stats /queue /prompt /features /models /embeddings /extensions /history /object_info/KSampler /internal/logs /ws'
  assert_contains 'No answer: /api/jobs'
  assert_contains 'Extensions: core 19'
  assert_contains 'Embeddings: none'
  assert_contains 'Models: loras 2'
  assert_contains 'Empty: checkpoints'
  command_ comfy-info --json
  assert_status 0
  assert_equal "$(jq -r '[.version, .upload_limit_bytes, (.models | length), .models.loras, .models.checkpoints, .models.vae, (.extensions | length),
    .endpoints["/api/jobs"], .endpoints["/history"]] | map(tostring) | join(" ")' <<<"$output")" '0.3.64 104857600 20 2 0 null 19 404 200'
  answers 0.33.0
  command_ comfy-info --json
  assert_status 0
  assert_equal "$(jq -r '[.version, .upload_limit_bytes, (.models | length), .models.loras, (.extensions | length), .endpoints["/api/jobs"]]
    | map(tostring) | join(" ")' <<<"$output")" '0.33.0 104857600 27 2 36 200'
}

@test "info asks each thing once, and all of them in two rounds" {
  local before
  shared
  answers 0.33.0
  before=$(double_ask '.requests | length')
  stub curl <<STUB
echo x >>"$BATS_TEST_TMPDIR/curls"
exec "$(PATH=${PATH#"$STUBS:"} type -P curl)" "\$@"
STUB
  command_ comfy-info
  assert_status 0
  assert_contains 'Models: loras 2'
  # One look at how it is, everything, the folders. The requests: 3, 12, 27, and the test's own two.
  assert_equal "$(wc -l <"$BATS_TEST_TMPDIR/curls" | tr -d ' ')" 3
  assert_equal "$(($(double_ask '.requests | length') - before))" 42
}

@test "info: names and lists of any kind are told, and obeyed by no terminal" {
  shared
  jq -n '{answers: {
    "/models": [200, (["loras", "a b", "../up", "", 7, null, "bad\u001b[2J", "x" * 300, "日本"] | tostring)],
    "/models/loras": [200, "[1,2,3]"], "/models/a%20b": [200, "[1]\n"], "/models/%E6%97%A5%E6%9C%AC": [200, "[1, 2]"],
    "/embeddings": [200, (["\u001b]0;owned\u0007", "\u009b31m", "a\r\nb", "\u202egnp.exe", 1, "é"] | tostring)],
    "/extensions": [200, (["/extensions/core/a.js", "/extensions/\u001b[31mred/b.js", "/extensions/core/c.js", "", "//"] | tostring)],
    "/features": [200, "{\"max_upload_size\": 314572800.0}"],
    "/system_stats": [200, ({system: {comfyui_version: "9.9", python_version: "3\u001b[1m", pytorch_version: 7, ram_total: "much", ram_free: -1},
      devices: [{name: "\u001b[5mGPU", type: "cuda", index: null, vram_total: 1e300, vram_free: "x"}, null, 5, {}, {vram_total: 2147483648, vram_free: 9e9}]} | tojson)],
    "/queue": [200, "{\"queue_running\": 5, \"queue_pending\": {\"a\": 1}}"], "/prompt": [200, "[[[]]]"]}}' >answers.json
  double_tell @answers.json
  command_ comfy-info
  assert_status 0
  assert_tame
  assert_contains 'Uploads: at most 314.5 MB each'
  assert_contains 'Queue: not told'
  assert_contains $'Models: a b 1, loras 3, 日本 2'
  assert_contains 'core 2'
  assert_contains 'Embeddings: 5: '
  assert_contains 'GPU memory: a device without a name: 2.0 GiB'
  refute_contains 'owned'$'\007'
  command_ comfy-info --json
  assert_status 0
  assert_tame
  assert_equal "$(jq -r '.embeddings[0] | explode | map(tostring) | join(" ")' <<<"$output")" '27 93 48 59 111 119 110 101 100 7'
  assert_equal "$(jq -c '.devices | map(.vram_total)' <<<"$output")" '[null,2147483648]'
  on_screen 60 comfy-info
  assert_box 60
}

@test "info: HTML, errors, cut and huge answers take nothing but their own line" {
  local text path paths
  shared
  paths='["/queue","/prompt","/features","/models","/embeddings","/extensions","/history","/object_info/KSampler","/internal/logs","/api/jobs"]'
  for text in '<html>\u001b[31mno</html>' '' '[1, 2' '{"a": ' 'null' '7' '"text"' '[[[[' '\u0000\u0000' 'NaN' '{}' '[]'; do
    jq -n --argjson paths "$paths" --argjson text "\"${text//\"/\\\"}\"" \
      '{answers: ([$paths[] | {key: ., value: [200, $text]}] | from_entries)}' >answers.json
    double_tell @answers.json
    command_ comfy-info
    assert_status 0
    assert_equal "${lines[0]}" 'ComfyUI 0.3.64'
    assert_contains 'Uploads: not told'
    assert_tame
  done
  command_ comfy-info --json
  assert_status 0
  jq -e '.version == "0.3.64" and .upload_limit_bytes == null and .models == {}' <<<"$output" >/dev/null
  jq -n --argjson paths "$paths" '{answers: ([$paths[] | {key: ., value: [500, "<html>"]}] | from_entries)}' >answers.json
  double_tell @answers.json
  command_ comfy-info
  assert_status 0
  assert_contains 'No answer: /queue /prompt /features'
  assert_tame
  jq -n '{answers: {"/embeddings": [200, ([range(60000) | "name \(.)"] | tojson)], "/models": [200, ([range(5000) | "f\(.)"] | tojson)],
    "/models/f0": [200, ([range(60000)] | tojson)]}}' >answers.json
  double_tell @answers.json
  command_ comfy-info
  assert_status 0
  assert_contains 'Embeddings: 60000: name 0, name 1, '
  assert_contains 'and 59980 more'
  assert_contains 'f0 60000'
  [ "${#output}" -lt 6000 ]
}

@test "info: nobody answers any more" {
  shared
  answers 0.3.64 '{"/system_stats": [200, "<html>"]}'
  command_ comfy-info
  assert_status 5
  assert_contains 'Not there' "$stderr"
  assert_equal "$output" ''
}

# --- boxes ----------------------------------------------------------------------------------------

@test "boxes at a terminal are whole from 40 to 200 columns, with and without UTF-8" {
  local columns name
  shared
  answers 0.33.0 '{"/embeddings": [200, "[\"日本語の名前です\", \"e\\u0301\", \"x\", \"averyveryveryveryverylongnamewithoutanyblankinitthatfitsnowhereatall.safetensors\"]"]}'
  for columns in 40 63 80 200; do
    for name in comfy-status comfy-info; do
      on_screen "$columns" "$name"
      assert_status 0
      assert_box "$columns"
      assert_contains '✓ ComfyUI'
    done
  done
  assert_contains 'averyveryveryveryverylongnamewithoutanyblank'
  LC_ALL=C on_screen 40 comfy-info
  assert_status 0
  assert_box 40 '++'
  refute_contains '│'
  assert_contains 'ok ComfyUI'
  assert_equal "$(LC_ALL=C tr -d '\n -~' <<<"$output")" ''
  # Not at a terminal, but called at one: plain lines.
  run "$AUTOPOD_PYTHON" "$BATS_TEST_DIRNAME/doubles/terminal.py" bash -c "\"$AUTOPOD_BIN/comfy-status\" | cat"
  assert_equal "${lines[0]%$'\r'}" 'ComfyUI: Ready'
}

@test "a box says by its mark when it is not ready" {
  shared
  answers 0.3.64 '{"/system_stats": [502, ""]}'
  on_screen 40 comfy-status
  assert_status 1
  assert_box 40
  assert_contains '! ComfyUI: Starting (container still'
}

# --- comfy-open -----------------------------------------------------------------------------------

@test "open: the browser where there is one, and the address everywhere" {
  shared
  answers 0.3.64
  stub xdg-open <<<'printf "%s\n" "$@" >"$STUBS/opened"'
  stub open <<<'printf "mac %s\n" "$@" >"$STUBS/opened"'
  export STUBS
  command_ comfy-open
  assert_status 0
  assert_equal "$output" "$DOUBLE"
  assert_contains 'no browser' "$stderr"
  refute_exists "$STUBS/opened"
  DISPLAY=:9 command_ comfy-open "$POD"
  assert_status 0
  assert_equal "$output" "$DOUBLE"
  wait_until 10 test -s "$STUBS/opened"
  assert_equal "$(<"$STUBS/opened")" "$DOUBLE"
  rm "$STUBS/opened"
  OSTYPE=darwin22 SSH_CONNECTION='1 2 3 4' command_ comfy-open
  assert_equal "$output" "$DOUBLE"
  refute_exists "$STUBS/opened" # its screen is elsewhere
  OSTYPE=darwin22 command_ comfy-open
  wait_until 10 test -s "$STUBS/opened"
  assert_equal "$(<"$STUBS/opened")" "mac $DOUBLE"
}

@test "usage: unknown options and too many pods" {
  local name
  for name in comfy-status comfy-info comfy-open; do
    command_ "$name" --nope
    assert_status 2
    command_ "$name" one two
    assert_status 2
    command_ "$name" --help
    assert_status 0
    assert_contains 'Exit codes:'
  done
}
