#!/usr/bin/env bats
# lib/ssh.sh against a real sshd: the one that the local provider starts.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

# One pod for the whole file; the tests have its AUTOPOD_HOME.
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
}

# ssh_prog - runs the program on stdin with the pod loaded; `there CMD` runs CMD on it
ssh_prog() {
  local text
  text=$(cat)
  lib 'pod ssh' "$@" <<SH
ui_init
core_trap
pod_find local-
there() { ssh_run "\$POD_ID" "\$POD_SSH_HOST" "\$POD_SSH_PORT" "\$POD_SSH_USER" "\$POD_SSH_KEY" "\$1"; }
$text
SH
}

@test "a command on the pod: its stdin, stdout and status; nobody's ~/.ssh is touched" {
  run ssh_prog <<'SH'
printf 'in\n' | there 'cat; echo "a  b"; echo '"'"'it is $HOME'"'"''
there 'exit 7' || echo "status $?"
SH
  assert_status 0
  assert_equal "$output" $'in\na  b\nit is $HOME\nstatus 7'
  refute_exists "$HOME/.ssh"
}

@test "no connection is 255, and the reason is known" {
  run ssh_prog <<'SH'
POD_SSH_PORT=1
there true 2>log || echo "status $?"
ssh_reason log
echo "$SSH_REASON"
SH
  assert_equal "$output" $'status 255\nrefused'
}

@test "a key that the pod does not know is denied; the agent's keys are not tried" {
  ssh-keygen -q -t ed25519 -N '' -f other
  run ssh_prog <<'SH'
POD_SSH_KEY=other
there true 2>log || echo "status $?"
ssh_reason log
echo "$SSH_REASON"
SH
  assert_equal "$output" $'status 255\ndenied'
}

@test "another host key than before is refused" {
  ssh-keygen -q -t ed25519 -N '' -f other
  run ssh_prog <<'SH'
known=$AUTOPOD_HOME/known_hosts.d/$POD_ID
cp "$known" before
ssh_know "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" other.pub
there 'touch pwned' 2>log || echo "status $?"
cp before "$known"
ssh_reason log
echo "$SSH_REASON"
there 'echo again'
SH
  assert_equal "$output" $'status 255\nhostkey\nagain'
}

@test "host keys are kept for each pod alone, and forgotten with it" {
  run ssh_prog <<'SH'
ssh_run other-pod "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "$POD_SSH_KEY" true
grep -c "$POD_SSH_PORT" "$AUTOPOD_HOME/known_hosts.d/other-pod"
ssh_forget other-pod
ls "$AUTOPOD_HOME/known_hosts.d"
SH
  assert_equal "${lines[0]}" 1
  assert_matches '^local-[0-9a-f]+$' "${lines[1]}"
  assert_equal "${#lines[@]}" 2
  refute_exists "$HOME/.ssh"
}

@test "a hostile ssh configuration of the user is not read" {
  local home ssh
  # Whatever the machine allows: each call names no configuration file ...
  stub ssh <<<'printf "%s\n" "$*" >&2' # a tunnel's log has what ssh says there
  run ssh_prog <<<'there true; ssh_tunnel "$POD_ID" 127.0.0.1 1 root "" 2 3 log; sleep 0.3; grep -v "^$SSH_PROCESS" log'
  assert_contains '-F none' "${lines[0]}"
  assert_contains '-F none' "${lines[1]}"
  rm "$STUBS/ssh"
  # ... and with root's rights also a real one. (ssh finds the home of the user itself, not by HOME.)
  home=$(eval "echo ~$(id -un)")
  unshare -m true 2>/dev/null || skip "can't put a configuration into the real home"
  mkdir -p fake
  printf 'Host *\n  ProxyCommand touch "%s"\n  PermitLocalCommand yes\n  LocalCommand touch "%s"\n' \
    "$PWD/pwned" "$PWD/pwned" >fake/config
  chmod 600 fake/config
  ssh=$(type -P ssh)
  program prog pod ssh <<SH
ui_init
core_trap
pod_find local-
! $ssh -o BatchMode=yes "\$POD_SSH_HOST" true 2>/dev/null && rm "$PWD/pwned" || exit 9 # it is hostile
ssh_run "\$POD_ID" "\$POD_SSH_HOST" "\$POD_SSH_PORT" "\$POD_SSH_USER" "\$POD_SSH_KEY" 'echo fine'
SH
  mkdir -p "$BATS_TEST_TMPDIR/real"
  run unshare -m sh -c 'mount -t tmpfs tmpfs "$1" && mkdir "$1/.ssh" && cp fake/config "$1/.ssh" && exec bash prog' sh "$home"
  assert_status 0
  assert_equal "$output" fine
  refute_exists pwned
}

@test "an AUTOPOD_HOME with blanks, quotes and per cent signs" {
  local name
  for name in 'a b' '100%h' "it's" 'ü %d'; do
    AUTOPOD_HOME=$PWD/$name make_pod
    AUTOPOD_HOME=$PWD/$name run ssh_prog <<<'there "echo $POD_ID" && ls "$AUTOPOD_HOME/known_hosts.d"'
    AUTOPOD_HOME=$PWD/$name pod_away
    assert_status 0
    assert_equal "${#lines[@]}" 2 "lines with $name"
    assert_equal "${lines[0]}" "${lines[1]}"
  done
}

@test "a tunnel says when it is open, whatever the user's shell is" {
  local shell port
  for shell in /bin/sh /bin/false /no/such/shell; do
    SHELL=$shell run ssh_prog <<'SH'
os_random_port
ssh_tunnel "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "$POD_SSH_KEY" "$OS_PORT" "$POD_COMFY_PORT" log
for ((i = 0; i < 100; i++)); do
  ! grep -qsx "$SSH_READY" log || break # the file is there once the child has been started
  sleep 0.1
done
! os_port_free "$OS_PORT" && echo open
kill "$OS_PID"
SH
    assert_equal "$output" open "$shell"
    rm log
  done
}

@test "a tunnel to a local port that is taken ends, and never says it is open" {
  run ssh_prog <<'SH'
ssh_tunnel "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "$POD_SSH_KEY" "$POD_COMFY_PORT" "$POD_COMFY_PORT" log
os_process_start "$OS_PID" && os_end=$OS_START
for ((i = 0; i < 200; i++)); do
  os_same_process "$OS_PID" "$os_end" || break
  sleep 0.1
done
ssh_reason log
echo "$SSH_REASON"
! grep -x "$SSH_READY" log
SH
  assert_status 0
  assert_equal "$output" port
}

@test "what ssh says is understood" {
  local reason text
  while IFS='|' read -r reason text; do
    printf '%s\r\n' "$text" >log
    run lib ssh <<<'ssh_reason log; echo "$SSH_REASON|$SSH_SAID"'
    assert_equal "$output" "$reason|$text"
  done <<'TEXTS'
denied|root@127.0.0.1: Permission denied (publickey).
denied|Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures
hostkey|Host key verification failed.
port|bind [127.0.0.1]:8188: Address already in use
port|channel_setup_fwd_listener_tcpip: cannot listen to port: 8188
refused|ssh: connect to host 1.2.3.4 port 22: Connection refused
timeout|ssh: connect to host 1.2.3.4 port 22: Connection timed out
timeout|ssh: connect to host 1.2.3.4 port 22: Operation timed out
timeout|ssh: connect to host 1.2.3.4 port 22: No route to host
timeout|ssh: connect to host 1.2.3.4 port 22: Network is unreachable
other|ssh: Could not resolve hostname no.such.host: Name or service not known
other|kex_exchange_identification: Connection closed by remote host
TEXTS
  : >log
  run lib ssh <<<'ssh_reason log; echo "$SSH_REASON|$SSH_SAID"'
  assert_equal "$output" 'other|'
}
