#!/usr/bin/env bats
# lib/tunnel.sh against a real pod of the local provider.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

# One pod for the whole file; the tests have its AUTOPOD_HOME, and each closes its tunnel.
setup_file() {
  export AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod HOME=$BATS_FILE_TMPDIR/home
  export AUTOPOD_PYTHON=$BATS_TEST_DIRNAME/../.venv/bin/python3
  make_pod
}

teardown_file() {
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod pod_away
}

setup() {
  autopod_setup
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  need_pod
  TUNNELS=$AUTOPOD_HOME/tunnels.json
  # A port of our own: other files are tested at the same time.
  AUTOPOD_PORT=$(lib os <<<'os_random_port; echo "$OS_PORT"')
  export AUTOPOD_PORT
}

teardown() {
  # (A failed test may have left a record that is no good.)
  lib 'config pod tunnel' <<<'ui_init; core_trap; config_load; pod_find local-; tunnel_close' || :
  rm -f "$TUNNELS"
  autopod_teardown
}

# tunnel_prog FILE - makes a program of what is on stdin, with the pod loaded
tunnel_prog() {
  local text
  text=$(cat)
  program "$1" config pod tunnel <<SH
ui_init
core_trap
config_load
pod_find local-
ui_step Tunnel # its progress is told every 20 seconds
say() { echo "rc \$1, \${TUNNEL_OPENED:+opened, }\$TUNNEL_URL"; }
$text
SH
}

# tunnel - runs the program on stdin, with the pod loaded
tunnel() {
  tunnel_prog prog
  bash prog </dev/null 3>&-
}

# foreign PORT - a server that is like a ComfyUI, and notes every byte that it is sent
foreign() {
  "$AUTOPOD_PYTHON" - "$1" 3>&- <<'PY' &
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
open("listening", "w").close()
body = b'{"system": {"comfyui_version": "0.0.0"}, "devices": []}'
while True:
    connection = server.accept()[0]
    data = connection.recv(4096)
    if data:
        with open("talked-to", "ab") as file:
            file.write(data)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()
PY
  FOREIGN=$!
  wait_until 10 test -e listening
}

# silent - a server that accepts and says nothing, in place of an sshd; its port is in ./silent
silent() {
  "$AUTOPOD_PYTHON" - 3>&- <<'PY' &
import socket, time
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
with open("silent", "w") as file:
    print(server.getsockname()[1], file=file)
time.sleep(300)
PY
  SILENT=$!
  wait_until 10 test -s silent
}

# ssh_processes - how many ssh processes this test has started that still run
ssh_processes() { left_processes | grep -c '[ ]ssh -T' || :; }

@test "a tunnel is opened, found, used again, and closed" {
  run tunnel <<'SH'
tunnel_ensure 20; say $?
curl -q -sS --noproxy '*' "$TUNNEL_URL/queue"; echo
first=$TUNNEL_PID
tunnel_ensure 20; say $?
[ "$TUNNEL_PID" = "$first" ] && kill -0 "$first" && echo 'the same'
tunnel_find && echo found
tunnel_close
! kill -0 "$first" 2>/dev/null && echo gone
tunnel_find || echo 'not found'
jq -c . "$AUTOPOD_HOME/tunnels.json"
tunnel_close && echo 'nothing to close'
SH
  assert_status 0
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
{\"queue_running\": [], \"queue_pending\": []}
rc 0, http://127.0.0.1:$AUTOPOD_PORT
the same
found
gone
not found
{}
nothing to close"
}

@test "a tunnel outlives its program, and the next program uses it" {
  tunnel <<<'tunnel_ensure 20; echo "$TUNNEL_PID" >pid'
  kill -0 "$(<pid)"
  run tunnel <<<'tunnel_ensure 20; say $?; echo "$TUNNEL_PID"'
  assert_equal "$output" "rc 0, http://127.0.0.1:$AUTOPOD_PORT"$'\n'"$(<pid)"
}

@test "a recorded pid that is now another process is neither trusted nor ended" {
  sleep 300 3>&- &
  tunnel <<<'tunnel_ensure 20; tunnel_close'
  jq -n --arg pod "$(basename "$AUTOPOD_HOME"/local/*)" --argjson pid "$!" --argjson port "$AUTOPOD_PORT" \
    '{($pod): {pid: $pid, start: "deadbeef.1", port: $port}}' >"$TUNNELS"
  run tunnel <<'SH'
tunnel_find || echo 'not ours'
tunnel_ensure 20; say $?
tunnel_close
SH
  kill "$!" # it still runs
  assert_equal "$output" "not ours"$'\n'"rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"
}

@test "a tunnel that was killed is replaced, on the same port" {
  run tunnel <<'SH'
tunnel_ensure 20
kill -9 "$TUNNEL_PID"
os_end_process "$TUNNEL_PID" "$_TUNNEL_START"
tunnel_find || echo 'not found'
tunnel_ensure 20; say $?
jq length "$AUTOPOD_HOME/tunnels.json"
SH
  assert_equal "$output" $'not found\n'"rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"$'\n1'
  assert_equal "$(ssh_processes)" 1
}

@test "several at once make one tunnel" {
  local i
  tunnel_prog prog <<<'tunnel_ensure 30; echo "$TUNNEL_URL $TUNNEL_PID${TUNNEL_OPENED:+ opened}" >>said'
  for i in 1 2 3 4; do bash prog 3>&- & done
  wait
  assert_equal "$(($(wc -l <said)))" 4
  assert_equal "$(grep -c opened said)" 1
  assert_equal "$(sed 's/ opened//' said | sort -u | grep -c .)" 1
  assert_equal "$(ssh_processes)" 1
}

@test "somebody else's ComfyUI on the port is never talked to; the next port is used, and said" {
  foreign "$AUTOPOD_PORT"
  run tunnel <<<'tunnel_ensure 20; say $?; tunnel_ensure 20; say $?'
  kill "$FOREIGN"
  assert_status 0
  assert_matches "^Local port $AUTOPOD_PORT is taken .*using ($((AUTOPOD_PORT + 1))|[0-9]+) " "${lines[0]}"
  assert_matches '^rc 0, opened, http://127\.0\.0\.1:[0-9]+$' "${lines[1]}"
  refute_contains ":$AUTOPOD_PORT"
  assert_equal "${lines[2]}" "rc 0, ${lines[1]#rc 0, opened, }"
  refute_exists talked-to
}

@test "a port that is taken between the look and ssh is not ours either" {
  foreign "$AUTOPOD_PORT"
  run tunnel <<<'os_port_free() { return 0; }; tunnel_ensure 20; say $?'
  kill "$FOREIGN"
  assert_status 0
  refute_contains "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"$'\n' "$output"$'\n'
  assert_contains 'rc 0, opened, '
  refute_exists talked-to
}

@test "no free port at all is an error that names the range" {
  run tunnel <<<'os_port_free() { return 1; }; tunnel_ensure 20'
  assert_status 5
  assert_contains "no free port from $AUTOPOD_PORT to $((AUTOPOD_PORT + 49))"
  assert_equal "$(ssh_processes)" 0
}

@test "a port whose ssh is still connecting is not taken for ours" {
  silent
  tunnel_prog prog <<SH
pod_refresh() { :; }
POD_SSH_PORT=$(<silent)
tunnel_ensure 20
SH
  bash prog 3>&- &
  wait_until 10 eval '[ "$(ssh_processes)" = 1 ]'
  wait_until 10 jq -e 'length == 1' "$TUNNELS"
  kill -9 "$!" && wait "$!" 2>/dev/null || :
  foreign "$AUTOPOD_PORT"
  run tunnel <<<'tunnel_ensure 3; say $?'
  kill "$FOREIGN" "$SILENT"
  refute_contains "http://127.0.0.1:$AUTOPOD_PORT"$'\n' "$output"$'\n'
  refute_exists talked-to
}

@test "a signal while ssh is connecting leaves no ssh behind" {
  silent
  tunnel_prog prog <<SH
core_on_exit tunnel_close
pod_refresh() { :; }
POD_SSH_PORT=$(<silent)
{ sleep 0.7; touch ready; } &
tunnel_ensure 20
SH
  run signalled INT ready bash prog
  kill "$SILENT"
  assert_equal "${lines[${#lines[@]} - 1]}" 'signal INT'
  assert_equal "$(ssh_processes)" 0
  assert_equal "$(jq -c . "$TUNNELS")" '{}'
}

@test "a damaged tunnels.json is told, and starts no flock of ssh processes" {
  printf '{"local-' >"$TUNNELS"
  run tunnel <<<'SECONDS=0; tunnel_ensure 20 || echo "rc $?"; [ "$SECONDS" -lt 15 ]'
  assert_status 0
  assert_contains 'tunnels.json is damaged'
  assert_matches 'rc [1-9]'
  assert_equal "$(ssh_processes)" 0
  assert_equal "$(<"$TUNNELS")" '{"local-'
  rm "$TUNNELS"
}

@test "another host key than before is an error that says what to do" {
  ssh-keygen -q -t ed25519 -N '' -f other
  run tunnel <<'SH'
cp "$AUTOPOD_HOME/known_hosts.d/$POD_ID" before
ssh_know "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" other.pub
tunnel_ensure 20 || echo "rc $?"
cp before "$AUTOPOD_HOME/known_hosts.d/$POD_ID"
SH
  assert_contains 'another host key than before'
  assert_contains 'known_hosts.d/local-'
  assert_contains 'rc 5'
  assert_equal "$(ssh_processes)" 0
}

@test "a key that the pod does not know is an error that says what to do" {
  ssh-keygen -q -t ed25519 -N '' -f other
  run tunnel <<'SH'
pod_refresh() { :; }
POD_SSH_KEY=$PWD/other
tunnel_ensure 20 || echo "rc $?"
SH
  assert_contains 'does not accept our ssh key'
  assert_contains AUTOPOD_SSH_KEY
  assert_contains 'rc 5'
}

@test "an sshd that does not come up is waited for, and then told" {
  run tunnel <<'SH'
pod_refresh() { :; }
POD_SSH_PORT=1
tunnel_ensure 1 || echo "rc $?"
SH
  assert_contains 'nothing listens at'
  assert_contains 'rc 5'
  assert_equal "$(ssh_processes)" 0
}

@test "a pod that is stopped is told as that" {
  AUTOPOD_HOME=$PWD/home make_pod
  export AUTOPOD_HOME=$PWD/home
  run tunnel <<<'pod_stop; tunnel_ensure 20 || echo "rc $?"'
  pod_away
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  assert_matches 'pod local-[0-9a-f]+ is stopped'
  assert_contains 'rc 4'
}
