#!/usr/bin/env bats
# lib/tunnel.sh against a real pod of the local provider.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper
load tmux_helper

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
  tmux_stop
  # (A failed test may have left a record that is no good.)
  lib 'config pod tunnel' <<<'ui_init; core_trap; config_load; pod_find local-; tunnel_close' || :
  rm -f "$TUNNELS"
  autopod_teardown
}

# tunnel_prog FILE - makes a program of what is on stdin, with the pod loaded
tunnel_prog() {
  local text
  text=$(cat)
  program "$1" config pod tunnels <<SH
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

# --- who is trusted -------------------------------------------------------------------------------

# record PID START PORT [MORE_JSON] - writes a tunnel of the pod down; MORE_JSON is merged over all of tunnels.json
record() {
  jq -n -c --arg pod "$(basename "$AUTOPOD_HOME"/local/*)" --argjson pid "$1" --arg start "$2" --argjson port "$3" \
    --argjson more "${4:-"{}"}" '{($pod): {pid: $pid, start: $start, port: $port, remote_port: 8188,
      since: "2024-01-31T23:59:59Z", address: "root@127.0.0.1:22"}} * $more' >"$TUNNELS"
}

# start_of PID - prints the word by which its start is known
start_of() { lib os "$1" <<<'os_process_start "$1" && echo "$OS_START"'; }

@test "another process with the recorded number is neither trusted nor ended: by its start, by its command line" {
  local pid start pod
  pod=$(basename "$AUTOPOD_HOME"/local/*)
  # One that looks like our ssh, but started at another time; and one of the recorded time that is something else.
  (exec bash -c 'while :; do sleep 1; done' x -o "UserKnownHostsFile=\"$AUTOPOD_HOME/known_hosts.d/$pod\"" \
    -L "127.0.0.1:$AUTOPOD_PORT:127.0.0.1:8188") 3>&- &
  local alike=$!
  sleep 300 3>&- &
  local other=$!
  # As if it had been open: its port bound, and the pod at the other end.
  printf 'autopod-tunnel-is-open\nautopod-pod-is %s\n' "$pod" >"$AUTOPOD_HOME/logs/tunnel-$pod.log"
  for pid in "$alike" "$other"; do
    start=$(start_of "$pid")
    [ "$pid" = "$other" ] || start=deadbeef.1
    record "$pid" "$start" "$AUTOPOD_PORT"
    run tunnel <<'SH'
tunnel_find || echo 'not ours'
tunnels_look; echo "$TUNNELS_STATE"
tunnel_ensure 20; say $?
tunnel_close
SH
    kill -0 "$pid"
    kill "$pid"
    assert_equal "$output" "not ours"$'\n'dead$'\n'"rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"
    printf 'autopod-tunnel-is-open\nautopod-pod-is %s\n' "$pod" >"$AUTOPOD_HOME/logs/tunnel-$pod.log"
  done
}

@test "a record that makes no sense is as good as none, and nothing of it is run or taken for a path" {
  local pod bad odd
  pod=$(basename "$AUTOPOD_HOME"/local/*)
  odd='{"../../x": {"pid": 1, "start": "a", "port": 1}, "$(touch pwned)": {"pid": 1, "start": "a", "port": 1}}'
  : >"$AUTOPOD_HOME/logs/keep"
  for bad in '{"pid": "$(touch pwned)"}' '{"pid": -1}' '{"pid": 1.5}' '{"pid": null}' '{"start": "x; touch pwned"}' \
    '{"start": null}' '{"port": 70000}' '{"port": "../x"}' '{"pid": 99999999999999999999}'; do
    record 1 a "$AUTOPOD_PORT" "$(jq -c --arg pod "$pod" --argjson odd "$odd" '{($pod): .} + $odd' <<<"$bad")"
    run tunnel <<<'tunnel_find || echo none; tunnel_ensure 20; say $?; tunnel_close'
    assert_equal "$output" "none"$'\n'"rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT" "$bad"
  done
  run tunnel <<<'POD_ID=../../x; tunnel_find || echo none; tunnel_close; POD_ID=../keep; tunnel_close; echo fine'
  assert_equal "$output" $'none\nfine'
  [ -e "$AUTOPOD_HOME/logs/keep" ]
  refute_exists pwned
  for bad in '"text"' '[]' 7; do
    printf '{"%s": %s}\n' "$pod" "$bad" >"$TUNNELS"
    run tunnel <<<'tunnel_ensure 20; say $?; tunnel_close'
    assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT" "$bad"
  done
}

# --- the local port -------------------------------------------------------------------------------

@test "a dead tunnel comes back at the port that it had, a closed one at the usual one" {
  local other
  other=$(lib os <<<'os_random_port; echo "$OS_PORT"')
  run tunnel <<SH
AUTOPOD_PORT=$other tunnel_ensure 20; say \$?
kill -9 "\$TUNNEL_PID"
os_end_process "\$TUNNEL_PID" "\$_TUNNEL_START"
tunnel_ensure 20; say \$?
kill -9 "\$TUNNEL_PID"
os_end_process "\$TUNNEL_PID" "\$_TUNNEL_START"
tunnel_prune # somebody else may have looked meanwhile
tunnel_ensure 20; say \$?
tunnel_close
tunnel_ensure 20; say \$?
SH
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$other
rc 0, opened, http://127.0.0.1:$other
rc 0, opened, http://127.0.0.1:$other
rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"
}

@test "a stranger at the port it had: the next one, and who the stranger is" {
  run tunnel <<<'tunnel_ensure 20; kill -9 "$TUNNEL_PID"; os_end_process "$TUNNEL_PID" "$_TUNNEL_START"'
  foreign "$AUTOPOD_PORT"
  run tunnel <<<'tunnel_ensure 20; say $?'
  kill "$FOREIGN"
  assert_matches "^Local port $AUTOPOD_PORT is taken by python3[^ ]* \\(pid $FOREIGN\\): using [0-9]+ for pod local-" "${lines[0]}"
  assert_matches '^rc 0, opened, http://127\.0\.0\.1:[0-9]+$' "${lines[1]}"
  assert_contains "using ${lines[1]##*:} for" "${lines[0]}"
  refute_exists talked-to
}

@test "a port that is wished: that one or none; an open tunnel moves there, but only if it can" {
  local wished
  wished=$(lib os <<<'os_random_port; echo "$OS_PORT"')
  run tunnel <<SH
tunnel_ensure 20; say \$?
first=\$TUNNEL_PID
TUNNEL_WISH_PORT=$wished
tunnel_ensure 20; say \$?
! kill -0 "\$first" 2>/dev/null && echo moved
tunnel_ensure 20; say \$?
SH
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
rc 0, opened, http://127.0.0.1:$wished
moved
rc 0, http://127.0.0.1:$wished"
  foreign "$AUTOPOD_PORT"
  run tunnel <<SH
TUNNEL_WISH_PORT=$AUTOPOD_PORT
tunnel_ensure 20 || echo "rc \$?"
tunnel_find && say 0
tunnel_close
tunnel_ensure 20 || echo "rc \$?"
tunnel_find || echo none
SH
  kill "$FOREIGN"
  assert_equal "${lines[0]}" "prog: error: local port $AUTOPOD_PORT is taken by ${lines[0]##* taken by }"
  assert_matches "python3.* \\(pid $FOREIGN\\)" "${lines[0]}"
  assert_equal "${lines[2]}" 'rc 5'
  assert_equal "${lines[3]}" "rc 0, http://127.0.0.1:$wished" # it is still there
  assert_contains $'\nrc 5\nnone'
  refute_exists talked-to
}

@test "a tunnel of ours at the port is named as that" {
  AUTOPOD_HOME=$PWD/home make_pod
  tunnel <<<'tunnel_ensure 20'
  cp "$TUNNELS" home/tunnels.json
  AUTOPOD_HOME=$PWD/home run tunnel <<<'tunnel_ensure 20; say $?; tunnel_close'
  AUTOPOD_HOME=$PWD/home pod_away
  assert_matches "^Local port $AUTOPOD_PORT is taken by the tunnel to $(basename "$AUTOPOD_HOME"/local/*): using [0-9]+ for pod local-" "${lines[0]}"
  assert_matches '^rc 0, opened, http://' "${lines[1]}"
}

# --- what a run lives through ---------------------------------------------------------------------

# own_pod - a pod for this test alone, whose processes it may harm; its sshd's number is in $SSHD
own_pod() {
  AUTOPOD_HOME=$PWD/home make_pod
  export AUTOPOD_HOME=$PWD/home
  TUNNELS=$AUTOPOD_HOME/tunnels.json
  SSHD=$(awk '$1 == "sshd" { print $2 }' "$AUTOPOD_HOME"/local/*/processes)
  SSHD_PROGRAM=$(lib os <<<'os_sshd')
  export SSHD SSHD_PROGRAM
  export -f sshds # for the programs
}

# own_pod_away - it is ended, and the file's pod is there again
own_pod_away() {
  pod_away
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  TUNNELS=$AUTOPOD_HOME/tunnels.json
}

# sshds - the numbers of the pod's sshd and of its sessions
sshds() {
  ps -A -o pid= -o ppid= | awk -v top="$SSHD" '{ parent[$1] = $2 } END { for (pid in parent) {
    for (at = pid; at > 1 && at != top; ) at = parent[at]
    if (at == top) print pid } }'
}

@test "tunnel_is_up tells at once when ssh has ended" {
  run tunnel <<'SH'
tunnel_is_up || echo 'none yet'
tunnel_ensure 20
tunnel_is_up && echo up
kill -9 "$TUNNEL_PID"
os_end_process "$TUNNEL_PID" "$_TUNNEL_START"
tunnel_is_up || echo gone
tunnel_ensure 20
tunnel_is_up && echo up
SH
  assert_equal "$output" $'none yet\nup\ngone\nup'
}

@test "an sshd that is killed and comes back within seconds: the tunnel is opened again, at the same port" {
  own_pod
  run tunnel <<'SH'
tunnel_ensure 20; say $?
kill -9 $(sshds) || :
(sleep 2; exec "$SSHD_PROGRAM" -D -e -f "$AUTOPOD_HOME/local/$POD_ID/sshd_config") >/dev/null 2>&1 &
echo "$!" >again
tunnel_ensure 20; say $?
tunnel_close
SH
  kill "$(<again)"
  own_pod_away
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"$'\n'"rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"
}

@test "an sshd that is killed and stays away: after a while the pod is told as failed, and no tunnel is left" {
  own_pod
  run tunnel <<'SH'
TUNNEL_GRACE=2
tunnel_ensure 20
kill -9 $(sshds) || :
tunnel_ensure 20 || echo "rc $?"
tunnel_close # of a pod that never worked for us there is nothing to hope
_TUNNEL_WORKED=''
SECONDS=0
tunnel_ensure 20 || echo "rc $?, $((SECONDS < 5))"
jq -c . "$AUTOPOD_HOME/tunnels.json"
SH
  own_pod_away
  assert_equal "$(grep -c 'is failed: sshd ended' <<<"$output")" 2
  assert_contains $'\nrc 4\n'
  assert_contains $'\nrc 4, 1\n{}'
}

@test "what is printed after a wait stands on the terminal, and the line that told of it doesn't" {
  need_tmux
  tunnel_prog prog <<'SH'
answers=0
comfy_answers() { [ $((answers = answers + 1)) -gt 3 ]; }
tunnel_ensure 20
echo "ComfyUI available"
ui_note "It leads to the pod."
SH
  tmux_start 80 24 bash prog
  assert_equal "$(tmux_status 30)" 0
  assert_equal "$(tmux_screen)" $'ComfyUI available\nIt leads to the pod.'
}

@test "a run closes what it opened, but not what was there before, nor what was asked for by itself meanwhile" {
  tunnel_prog prog <<'SH'
. "$AUTOPOD_LIB/release.sh"
begin() {
  _TARGET_FOUND_TUNNEL=''
  TARGET_WISH_POD=$POD_ID
  ! target_open job record 2>/dev/null || TARGET_URL=''
}
break_it() { kill -KILL "$TUNNEL_PID" && while tunnel_is_up; do sleep 0.1; done; }
left() { if tunnel_find; then echo "$1: left"; else echo "$1: closed"; fi; }
begin; release_pod ''; left 'its own'
begin; break_it; target_reconnect 20; release_pod ''; left 'its own, opened anew'
begin; tunnels_keep; break_it; target_reconnect 20; release_pod ''; left 'asked for meanwhile, opened anew'
tunnel_close
tunnel_ensure 20; begin; break_it; target_reconnect 20; release_pod ''; left 'there before, opened anew'
tunnel_close
SH
  run bash prog </dev/null
  assert_contains $'its own: closed\nits own, opened anew: closed\nasked for meanwhile, opened anew: left\nthere before, opened anew: left' \
    "$(grep -e ': closed$' -e ': left$' <<<"$output")"
}

@test "a link that hangs for a while: the tunnel is kept, and works when the link does" {
  own_pod
  run tunnel <<'SH'
tunnel_ensure 20; say $?
first=$TUNNEL_PID
stopped=$(sshds)
kill -STOP $stopped
{ sleep 3; kill -CONT $stopped; } &
comfy_answers "$TUNNEL_URL" 1 || echo silent
tunnels_look; echo "$TUNNELS_STATE"
tunnel_ensure 20; say $?
[ "$TUNNEL_PID" = "$first" ] && echo 'the same'
wait
tunnel_close
SH
  own_pod_away
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
silent
healthy
rc 0, http://127.0.0.1:$AUTOPOD_PORT
the same" # the look has waited
}

@test "a link that hangs for good, with the pod at another address by now: it is opened there" {
  own_pod
  run tunnel <<'SH'
tunnel_ensure 20; say $?
first=$TUNNEL_PID
stopped=$(sshds)
kill -STOP $stopped
dir=$AUTOPOD_HOME/local/$POD_ID
os_random_port
sed "s/^Port .*/Port $OS_PORT/" "$dir/sshd_config" >config
"$SSHD_PROGRAM" -D -e -f "$PWD/config" >/dev/null 2>&1 &
echo "$!" >again
awk -v port="$OS_PORT" '$1 == "sshd" { $4 = port } { print }' "$dir/processes" >processes && cp processes "$dir/"
until ! os_port_free "$OS_PORT"; do sleep 0.1; done
ssh_know "$POD_ID" 127.0.0.1 "$OS_PORT" "$dir/host_key.pub"
tunnel_ensure 4; say $?
! kill -0 "$first" 2>/dev/null && echo 'the old one is gone'
[ "$TUNNEL_ADDRESS" = "$(id -un)@127.0.0.1:$OS_PORT" ] && echo 'at the new address'
kill -CONT $stopped
tunnel_close
SH
  kill "$(<again)"
  own_pod_away
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
the old one is gone
at the new address"
}

@test "ComfyUI does not answer: the tunnel is kept, that is told, and it is bounded" {
  own_pod
  local comfyui
  comfyui=$(awk '$1 == "comfyui" { print $2 }' "$AUTOPOD_HOME"/local/*/processes)
  tunnel <<<'tunnel_ensure 20'
  kill -STOP "$comfyui"
  run tunnel <<'SH'
SECONDS=0
tunnel_ensure 2 || echo "rc $?, $((SECONDS < 15))"
tunnel_find && echo 'still open'
SH
  kill -CONT "$comfyui"
  own_pod_away
  assert_contains 'is open, but ComfyUI does not answer at its port'
  assert_contains $'\nrc 5, 1\nstill open'
}

@test "the provider can't be asked: the address that is known is tried" {
  run tunnel <<'SH'
pod_refresh() { core_fail "$EX_TUNNEL" 'no answer from the API'; }
tunnel_ensure 20; say $?
kill -9 "$TUNNEL_PID"
os_end_process "$TUNNEL_PID" "$_TUNNEL_START"
tunnel_ensure 20; say $?
echo "<$CORE_ERROR>"
tunnel_close
POD_SSH_PORT=''
tunnel_ensure 20 || echo "rc $?"
SH
  assert_equal "$output" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT
<>
prog: error: no answer from the API
rc 5"
}

@test "the pod is gone: so is its tunnel, though its ssh may live" {
  run tunnel <<'SH'
tunnel_ensure 20
first=$TUNNEL_PID
comfy_answers() { return 1; }
pod_refresh() { core_fail "$EX_POD" 'there is no such pod'; }
tunnel_ensure 20 || echo "rc $?"
! kill -0 "$first" 2>/dev/null && echo gone
jq -c . "$AUTOPOD_HOME/tunnels.json"
SH
  assert_equal "$output" $'prog: error: there is no such pod\nrc 4\ngone\n{}'
}

@test "a full disk is told at once, and nothing is left running" {
  local log
  log=$AUTOPOD_HOME/logs/tunnel-$(basename "$AUTOPOD_HOME"/local/*).log
  [ -e /dev/full ] || skip 'this system has no /dev/full'
  ln -sf /dev/full "$log"
  run tunnel <<<'tunnel_ensure 20 || echo "rc $?"'
  rm "$log"
  assert_contains "can't write $log: is the disk full?"
  assert_contains 'rc 5'
  assert_equal "$(ssh_processes)" 0
  run tunnel <<<'state_save() { cat >/dev/null; core_fail 1 "cannot write tunnels.json"; }; tunnel_ensure 20 || echo "rc $?"'
  assert_contains 'cannot write tunnels.json'
  assert_contains 'rc 5'
  assert_equal "$(ssh_processes)" 0
  run tunnel <<<'mkfifo() { return 1; }; tunnel_ensure 20 || echo "rc $?"'
  assert_contains 'is the disk full?'
  assert_contains 'rc 5'
  assert_equal "$(ssh_processes)" 0
}

# --- keys -----------------------------------------------------------------------------------------

@test "a key with a passphrase: what to do; with an agent that holds it the tunnel opens" {
  local agent
  cp "$AUTOPOD_HOME"/local/*/client_key key
  ssh-keygen -q -p -P '' -N 'open sesame' -f key >/dev/null
  run tunnel <<<'pod_refresh() { :; }; POD_SSH_KEY=$PWD/key; tunnel_ensure 20 || echo "rc $?"'
  assert_contains "the ssh key $PWD/key has a passphrase, and no ssh-agent holds it"
  assert_contains "ssh-add $PWD/key"
  assert_contains 'rc 5'
  # An agent that has it, and then another key that has a passphrase, too, and which the pod does not know.
  eval "$(ssh-agent -s -a "$PWD/agent" 3>&-)" >/dev/null
  agent=$SSH_AGENT_PID
  printf '#!/bin/sh\necho open sesame\n' >askpass && chmod +x askpass
  ssh-keygen -q -t ed25519 -N 'open sesame' -f unknown
  DISPLAY=:9 SSH_ASKPASS=$PWD/askpass SSH_ASKPASS_REQUIRE=force ssh-add -q key unknown </dev/null
  run tunnel <<<'pod_refresh() { :; }; POD_SSH_KEY=$PWD/key; tunnel_ensure 20; say $?; tunnel_close
POD_SSH_KEY=$PWD/unknown; tunnel_ensure 20 || echo "rc $?"'
  kill "$agent"
  assert_equal "${lines[0]}" "rc 0, opened, http://127.0.0.1:$AUTOPOD_PORT"
  assert_contains 'does not accept our ssh key' "${lines[1]}"
  assert_contains $'\nrc 5'
}

@test "a key that others may read, and one that is none: told as that" {
  cp "$AUTOPOD_HOME"/local/*/client_key open
  chmod 644 open
  echo 'no key' >none && chmod 600 none
  run tunnel <<'SH'
pod_refresh() { :; }
for POD_SSH_KEY in "$PWD/open" "$PWD/none"; do tunnel_ensure 20 || echo "rc $?"; done
SH
  assert_contains "the ssh key $PWD/open can be read by others"
  assert_contains "chmod 600 $PWD/open"
  assert_contains "$PWD/none is not a private ssh key"
}
