# autopod-tunnel with real pods: local ones, and those of RunPod's stand-in where the address has to change.
# shellcheck disable=SC2016,SC2030,SC2031 # hostile texts; bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper

setup() {
  cmd_setup
  # Local pods run the double as their ComfyUI: it starts faster.
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
  TUNNELS=$AUTOPOD_HOME/tunnels.json
}

teardown() {
  rm -f "$TUNNELS.bad"
  "$AUTOPOD_BIN/autopod-tunnel" -q --stop --all >/dev/null 2>&1 || :
  "$AUTOPOD_BIN/autopod-kill" -q --yes --all >/dev/null 2>&1 || :
  runpod_api_stop
  cmd_teardown
}

# connect - makes a pod without a tunnel; sets POD
connect() {
  POD=$("$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --json 3>&- | jq -r .id)
  [ -n "$POD" ]
}

# tunnel ARG... - `run`s autopod-tunnel, its two outputs apart
tunnel() { run --separate-stderr "$AUTOPOD_BIN/autopod-tunnel" "$@"; }

# of POD FIELD - prints a field of the record of its tunnel
of() { jq -r --arg pod "$1" ".[\$pod]$2" "$TUNNELS"; }

# answers PORT - 0 when a ComfyUI answers at that local port
answers() { curl -qsf --noproxy '*' --max-time 10 "http://127.0.0.1:$1/system_stats" | grep -q comfyui_version; }

# stranger PORT - somebody else's server; sets STRANGER
stranger() {
  "$AUTOPOD_PYTHON" -m http.server --bind 127.0.0.1 "$1" >/dev/null 2>&1 </dev/null 3>&- &
  STRANGER=$!
  wait_until 10 eval "(exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null"
}

# --- open, look, close ----------------------------------------------------------------------------

@test "opens, is used again, is shown, and is closed; the pod goes on" {
  connect
  tunnel
  assert_status 0
  assert_equal "$output" "ComfyUI available at http://localhost:$AUTOPOD_PORT"
  assert_contains "pod $POD; autopod-tunnel --stop $POD closes it" "$stderr"
  answers "$AUTOPOD_PORT"
  local pid since
  pid=$(of "$POD" .pid) since=$(of "$POD" .since)
  assert_equal "$(of "$POD" '| keys | join(" ")')" 'address keep pid port remote_port since start'
  tunnel "${POD:0:10}"
  assert_status 0
  assert_equal "$output" "ComfyUI available at http://localhost:$AUTOPOD_PORT"
  assert_equal "$stderr" ''
  assert_equal "$(of "$POD" .pid)" "$pid" 'the process'
  tunnel --json "$POD"
  assert_status 0
  assert_equal "$(jq -c '[.pod, .port, .url, .pid, .since, .state, .opened, .comfyui]' <<<"$output")" \
    "[\"$POD\",$AUTOPOD_PORT,\"http://127.0.0.1:$AUTOPOD_PORT\",$pid,\"$since\",\"healthy\",false,\"0.3.64\"]"
  tunnel --status
  assert_status 0
  assert_matches "^POD +PORT +STATE +SINCE +ADDRESS"$'\n'"$POD +$AUTOPOD_PORT  healthy  $since  [a-z]+@127\\.0\\.0\\.1:[0-9]+\$"
  assert_equal "$(awk 'length > 80' <<<"$output")" ''
  tunnel --status "$POD"
  assert_status 0
  tunnel --status --json
  assert_status 0
  assert_equal "$(jq -c '[.pod, .port, .url, .pid, .since, .state]' <<<"$output")" \
    "[\"$POD\",$AUTOPOD_PORT,\"http://127.0.0.1:$AUTOPOD_PORT\",$pid,\"$since\",\"healthy\"]"
  assert_equal "$(jq -r .address <<<"$output")" "$(of "$POD" .address)"
  tunnel --stop
  assert_status 0
  assert_contains "The tunnel to $POD is closed." "$stderr"
  gone "$pid"
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  assert_equal "$(pod_field "$POD" .status)" running
  tunnel --stop "$POD"
  assert_status 0
  assert_contains "No tunnel to $POD is open." "$stderr"
  tunnel --stop
  assert_status 0
  tunnel --status
  assert_status 1
  assert_contains 'No tunnel is open.' "$stderr"
  tunnel --status "$POD"
  assert_status 1
  assert_equal "$output" ''
}

@test "it outlives the terminal that it was opened in, and the shell's hang-up" {
  connect
  cat >terminal.py <<'PY'
import os, pty, select, signal, sys, time
child, terminal = pty.fork()
if child == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.execvp("bash", ["bash", "-i", "-c", 'trap - HUP; "$0"; echo now; sleep 300', sys.argv[1]])
seen, until = b"", time.time() + 60
while b"now\r\n" not in seen and time.time() < until:
    if select.select([terminal], [], [], 0.2)[0]:
        seen += os.read(terminal, 65536)
sys.stdout.buffer.write(seen)
sys.stdout.flush()
os.close(terminal)  # as when its window is closed: the kernel hangs up
print("the shell ended by signal", os.WTERMSIG(os.waitpid(child, 0)[1]))
PY
  run "$AUTOPOD_PYTHON" terminal.py "$AUTOPOD_BIN/autopod-tunnel" 3>&-
  assert_contains "ComfyUI available at http://localhost:$AUTOPOD_PORT"
  assert_contains 'the shell ended by signal 1'
  kill -HUP "$(of "$POD" .pid)" # and once more, by name
  sleep 0.5
  answers "$AUTOPOD_PORT"
  tunnel --status
  assert_status 0
}

@test "several pods: a tunnel each, ports side by side; several could be meant; --all" {
  connect
  local one=$POD two
  tunnel "$one"
  assert_status 0
  connect
  two=$POD
  tunnel "$two"
  assert_status 0
  assert_equal "$output" "ComfyUI available at http://localhost:$((AUTOPOD_PORT + 1))"
  assert_contains "Local port $AUTOPOD_PORT is taken by the tunnel to $one: using $((AUTOPOD_PORT + 1)) for pod $two." "$stderr"
  answers "$AUTOPOD_PORT"
  answers $((AUTOPOD_PORT + 1))
  tunnel
  assert_status 2
  assert_contains "$one" "$stderr"
  tunnel --status
  assert_status 0
  assert_equal "$(grep -c healthy <<<"$output")" 2
  tunnel --stop local-
  assert_status 2
  assert_contains '2 tunnels could be meant' "$stderr"
  tunnel --stop
  assert_status 2
  # one of them dies: both are asked for, and only the other one is well
  kill -9 "$(of "$two" .pid)"
  tunnel --status "$one"
  assert_status 0
  tunnel --status
  assert_status 1
  assert_matches "$one +[0-9]+  healthy "
  assert_matches "$two +[0-9]+  dead "
  tunnel "$two"
  assert_equal "$output" "ComfyUI available at http://localhost:$((AUTOPOD_PORT + 1))"
  tunnel --stop --all --json
  assert_status 0
  assert_equal "$(jq -r 'select(.closed) | .pod' <<<"$output" | sort | paste -sd ' ' -)" \
    "$(printf '%s\n' "$one" "$two" | sort | paste -sd ' ' -)"
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  tunnel --stop --all
  assert_status 0
  assert_contains 'No tunnel is open.' "$stderr"
}

@test "several commands at once make one tunnel" {
  connect
  local i
  for i in 1 2 3 4; do "$AUTOPOD_BIN/autopod-tunnel" >"out.$i" 2>"err.$i" 3>&- & done
  wait
  assert_equal "$(cat out.*)" "$(for i in 1 2 3 4; do echo "ComfyUI available at http://localhost:$AUTOPOD_PORT"; done)"
  assert_equal "$(cat err.* | grep -c 'It leads to')" 1
  assert_equal "$(left_processes | grep -c '[ ]ssh -T')" 1
}

# --- ports ----------------------------------------------------------------------------------------

@test "the port is taken: by whom, and the next one; with --port exit 5, or that very one" {
  connect
  stranger "$AUTOPOD_PORT"
  tunnel
  assert_status 0
  assert_equal "$output" "ComfyUI available at http://localhost:$((AUTOPOD_PORT + 1))"
  assert_matches "Local port $AUTOPOD_PORT is taken by python[^ ]* \\(pid $STRANGER\\): using $((AUTOPOD_PORT + 1)) for pod $POD" "$stderr"
  tunnel --port "$AUTOPOD_PORT"
  assert_status 5
  assert_matches "local port $AUTOPOD_PORT is taken by python[^ ]* \\(pid $STRANGER\\)" "$stderr"
  answers $((AUTOPOD_PORT + 1)) # the one that there was is not harmed
  tunnel --stop
  tunnel --port "$AUTOPOD_PORT" --json
  assert_status 5
  assert_equal "$output" ''
  kill "$STRANGER"
  tunnel --port=$((AUTOPOD_PORT + 9))
  assert_equal "$output" "ComfyUI available at http://localhost:$((AUTOPOD_PORT + 9))"
  tunnel
  assert_equal "$output" "ComfyUI available at http://localhost:$((AUTOPOD_PORT + 9))"
  tunnel --port "$AUTOPOD_PORT"
  assert_status 0
  answers "$AUTOPOD_PORT"
  run ! answers $((AUTOPOD_PORT + 9))
}

# --- what is not well -----------------------------------------------------------------------------

@test "ssh is killed: told as dead, forgotten, and opened anew at the same port" {
  connect
  tunnel --port $((AUTOPOD_PORT + 3))
  kill -9 "$(of "$POD" .pid)"
  wait_until 10 gone "$(of "$POD" .pid)"
  tunnel --status
  assert_status 1
  assert_matches "$POD +$((AUTOPOD_PORT + 3))  dead "
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  tunnel --status
  assert_status 1
  tunnel
  assert_status 0
  assert_equal "$output" "ComfyUI available at http://localhost:$((AUTOPOD_PORT + 3))"
}

@test "ComfyUI does not answer: silent, and the tunnel is kept" {
  connect
  tunnel
  kill -STOP "$(pod_process "$POD" comfyui)"
  tunnel --status
  local shown=$output code=$status
  AUTOPOD_BOOT_TIMEOUT=2 tunnel
  kill -CONT "$(pod_process "$POD" comfyui)"
  assert_status 5
  assert_contains 'ComfyUI does not answer' "$stderr"
  assert_equal "$output" ''
  assert_equal "$code" 1
  assert_matches "$POD +$AUTOPOD_PORT  silent " "$shown"
  tunnel --status
  assert_status 0
}

@test "a pod that is stopped or gone: its tunnel is closed, none is opened, and that is told" {
  connect
  tunnel
  local pid
  pid=$(of "$POD" .pid)
  cp "$TUNNELS" before
  "$AUTOPOD_BIN/autopod-stop" -q "$POD"
  gone "$pid"
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  cp before "$TUNNELS" # as if another machine had stopped it
  tunnel "$POD"
  assert_status 4
  assert_contains "pod $POD is stopped" "$stderr"
  assert_contains "autopod-start $POD" "$stderr"
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  "$AUTOPOD_BIN/autopod-kill" -q "$POD"
  cp before "$TUNNELS"
  tunnel --status
  assert_status 1
  assert_matches "$POD .*dead"
  cp before "$TUNNELS"
  tunnel "$POD"
  assert_status 4
  assert_contains "there is no pod \"$POD\"" "$stderr"
  assert_contains "The tunnel to $POD is closed." "$stderr"
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  cp before "$TUNNELS"
  tunnel --stop
  assert_status 0
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  tunnel
  assert_status 4
  assert_contains 'no pod of this installation runs' "$stderr"
}

@test "stopped and started: the tunnel leads to the new address, from the same local port" {
  connect
  tunnel --port $((AUTOPOD_PORT + 2))
  local address
  address=$(of "$POD" .address)
  cp "$TUNNELS" before
  "$AUTOPOD_BIN/autopod-stop" -q "$POD"
  cp before "$TUNNELS" # as if another machine had done it
  "$AUTOPOD_BIN/autopod-start" -q "$POD" >/dev/null 2>&1 || :
  tunnel
  assert_status 0
  assert_contains 'ComfyUI available at http://localhost:'
  [ "$(of "$POD" .address)" != "$address" ]
  answers "${output##*:}"
}

@test "foreign processes under recorded numbers are not touched, whatever the file says" {
  connect
  tunnel
  local innocent start bad
  (unset AUTOPOD_TEST_MARK && exec sleep 300) 3>&- &
  innocent=$!
  start=$(bash -c '. "${DOUBLES_TREE:-$ROOT}/lib/os.sh" && os_process_start "$1" && echo "$OS_START"' bash "$innocent")
  mkdir "$AUTOPOD_HOME/keep"
  cp "$TUNNELS" good
  jq -c --argjson pid "$innocent" --arg start "$start" '. + {
    "foreign": {pid: $pid, start: $start, port: 8188, remote_port: 8188, since: "2024-01-31T23:59:59Z", address: "a@b:1"},
    "../keep": {pid: $pid, start: $start, port: 8188},
    "$(touch pwned)": {pid: $pid, start: $start, port: 8188},
    "text": "text", "list": [], "zero": {pid: 0, start: "x", port: 1}, "all": {pid: -1, start: "x", port: 1},
    "escape": {pid: 1, start: "x", port: 1, address: "\u001b[31m\t\n$(touch pwned)"}}' good >"$TUNNELS"
  cp "$TUNNELS" bad
  tunnel --status
  assert_status 1
  assert_matches "$POD +$AUTOPOD_PORT  healthy"
  assert_matches 'foreign +8188  dead'
  refute_contains $'\033'
  assert_equal "$(grep -c . <<<"$output")" 4 # POD, foreign, escape
  assert_equal "$(jq -c 'keys' "$TUNNELS")" "[\"$POD\"]"
  for bad in foreign ../keep '$(touch pwned)' text zero all escape; do
    cp bad "$TUNNELS"
    tunnel --stop "$bad"
    case $bad in foreign | escape) assert_status 0 ;; *) assert_status 4 ;; esac
  done
  cp bad "$TUNNELS"
  tunnel --stop --all
  assert_status 0
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
  alive "$innocent"
  kill "$innocent"
  [ -d "$AUTOPOD_HOME/keep" ]
  refute_exists pwned
}

@test "a damaged tunnels.json is told; nothing is closed and nothing opened by guess" {
  connect
  tunnel
  local pid bad
  pid=$(of "$POD" .pid)
  cp "$TUNNELS" good
  for bad in '{"local-' '' '[1]' 'null garbage'; do
    printf '%s' "$bad" >"$TUNNELS"
    for arguments in '' --status --stop '--stop --all'; do
      # shellcheck disable=SC2086 # words
      tunnel $arguments
      assert_status 1
      assert_contains 'tunnels.json is damaged' "$stderr"
      assert_equal "$output" ''
    done
    assert_equal "$(cat "$TUNNELS")" "$bad"
  done
  alive "$pid"
  cp good "$TUNNELS"
}

@test "a full disk: told, exit 5, no ssh is left, and tunnels.json is whole" {
  [ -e /dev/full ] || skip 'this system has no /dev/full'
  connect
  ln -sf /dev/full "$AUTOPOD_HOME/logs/tunnel-$POD.log"
  tunnel
  assert_status 5
  assert_contains 'is the disk full?' "$stderr"
  rm "$AUTOPOD_HOME/logs/tunnel-$POD.log"
  assert_equal "$(left_processes | grep -c '[ ]ssh -T')" 0
  tunnel
  assert_status 0
}

@test "what can't be, or can't go together: exit 2" {
  local words
  for words in '--port 0' '--port 65536' '--port x' '--port' '--status --stop' --all 'a b' '--stop --all a' '--status --port 9' --nope; do
    # shellcheck disable=SC2086 # words
    tunnel $words
    assert_status 2
    assert_equal "$output" ''
  done
  tunnel
  assert_status 4
  for words in nope ../x '$(touch pwned)' -- ; do
    tunnel -- "$words"
    assert_status 4
    tunnel --stop -- "$words"
    assert_status 4
    tunnel --status -- "$words"
    assert_status 1
  done
  refute_exists pwned
}

# --- RunPod ---------------------------------------------------------------------------------------

@test "RunPod: stopped and started from the console, the port is another one: reopened there, though the old one is shown for a while" {
  need_runpod_pods
  runpod_api_start --boot-delay 0
  connect
  tunnel
  assert_status 0
  local address port=$AUTOPOD_PORT
  address=$(of "$POD" .address)
  runpod_control '{"faults":{"stale_address":{"seconds":3}}}'
  runpod_control "{\"pods\":{\"$POD\":{\"action\":\"stop\"}}}"
  tunnel "$POD"
  assert_status 4
  runpod_control "{\"pods\":{\"$POD\":{\"action\":\"start\"}}}"
  rm -f "$AUTOPOD_HOME/known_hosts.d/$POD" # a start makes a new host key; autopod-start forgets it
  tunnel "$POD"
  assert_status 0
  assert_equal "$output" "ComfyUI available at http://localhost:$port"
  [ "$(of "$POD" .address)" != "$address" ]
  answers "$port"
  "$AUTOPOD_BIN/autopod-kill" -q --yes "$POD"
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
}
