# autopod-ssh with the real sshd of a local pod.
# shellcheck disable=SC2016,SC2030,SC2031 # what is quoted is for the pod; bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() {
  cmd_setup
  # Pods run the double as their ComfyUI: it starts faster, and nobody asks it anything here.
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
}

teardown() {
  "$AUTOPOD_BIN/autopod-kill" -q --all >/dev/null 2>&1 || :
  cmd_teardown
}

# connect - makes a pod; sets POD. Its watcher goes, with what it has in TMPDIR: tests look at what autopod-ssh leaves there
connect() {
  POD=$("$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --json 3>&- | jq -r .id)
  watchers_stop
  rm -rf -- "${TMPDIR:?}"/autopod.*
  [ -d "$AUTOPOD_HOME/local/$POD" ]
}

# pod_ssh ARG... - `run`s autopod-ssh, its two outputs apart
pod_ssh() { run --separate-stderr "$AUTOPOD_BIN/autopod-ssh" "$@"; }

# at_terminal ARG... - the same at a terminal: terminal.py's options, --, and arguments of autopod-ssh
at_terminal() {
  local keys
  keys=()
  while [ "$1" != -- ]; do
    keys[${#keys[@]}]=$1
    shift
  done
  run --separate-stderr "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" ${keys[@]+"${keys[@]}"} \
    "$AUTOPOD_BIN/autopod-ssh" "${@:2}"
}

# sshd_at ID PORT - lets the pod tell that its sshd is at PORT
sshd_at() {
  awk -v port="$2" '$1 == "sshd" { $4 = port } { print }' "$AUTOPOD_HOME/local/$1/processes" >changed
  mv changed "$AUTOPOD_HOME/local/$1/processes"
}

# --- a command ------------------------------------------------------------------------------------

@test "the words of a command arrive as they are; so do stdin, stdout, stderr and the status" {
  connect
  pod_ssh "$POD" -- printf '<%s>' 'a b' "it's" '$HOME' '*' '' 'x;y&&z' '"' $'\\' $'two\nlines' '~' --help -v 'ü'
  assert_status 0
  assert_equal "$output" $'<a b><it\'s><$HOME><*><><x;y&&z><"><\\><two\nlines><~><--help><-v><ü>'
  assert_equal "$stderr" ''
  pod_ssh "$POD" -- sh -c 'cat; echo talk >&2; exit 7' <<<'data'
  assert_status 7
  assert_equal "$output" data
  assert_equal "$stderr" talk
  pod_ssh -- sh -c 'echo "$AUTOPOD_POD_ID"; exit 255' # the only pod need not be named; 255 can be the command's own
  assert_status 255
  assert_equal "$output" "$POD"
  assert_equal "$stderr" ''
  pod_ssh -- sh -c 'kill -9 $$' # as when no memory is left
  assert_status 137
  mkdir 'a b' && touch 'a b/c'
  pod_ssh "${POD:0:9}" -- ls "$PWD/a b"
  assert_status 0
  assert_equal "$output" c
  run -127 --separate-stderr "$AUTOPOD_BIN/autopod-ssh" -- no-such-command
  assert_contains no-such-command "$stderr"
  head -c 3000000 /dev/zero | "$AUTOPOD_BIN/autopod-ssh" -- cat >bytes
  assert_equal "$(($(wc -c <bytes)))" 3000000
  assert_equal "$(ls -A "$TMPDIR")" '' 'what is left in TMPDIR'
  refute_exists "$HOME/.ssh"
}

@test "without a terminal and a command: a shell that reads stdin" {
  connect
  run --separate-stderr "$AUTOPOD_BIN/autopod-ssh" "$POD" <<<'echo "on $AUTOPOD_POD_ID"; test -t 0 || exit 3'
  assert_status 3
  assert_equal "$output" "on $POD"
  run --separate-stderr "$AUTOPOD_BIN/autopod-ssh" "$POD" -- <<<'echo "on $AUTOPOD_POD_ID"'
  assert_equal "$output" "on $POD"
}

@test "--debug shows the call, on stderr; -q and -v change nothing on stdout" {
  connect
  pod_ssh --debug "$POD" -- echo 'a b'
  assert_equal "$output" 'a b'
  assert_matches '\+ ssh -p [0-9]+ [^ ]+@127\.0\.0\.1 echo a b' "$stderr"
  pod_ssh -q -v -- echo one
  assert_equal "$output" one
}

@test "Ctrl+C ends it, and it dies by that signal" {
  connect
  start_command autopod-ssh "$POD" -- sh -c 'touch "$1"; exec sleep 60' sh "$BATS_TEST_TMPDIR/there"
  wait_until 20 test -e "$BATS_TEST_TMPDIR/there"
  kill_command INT
  finish_command 20
  assert_status 130
  assert_equal "$(ls -A "$TMPDIR")" ''
}

# --- a login --------------------------------------------------------------------------------------

@test "at a terminal: a login shell on a terminal, whose status is ours; the process becomes ssh" {
  connect
  local typed='test -t 0 && echo on_$AUTOPOD_POD_ID left_'
  typed=$typed'$(ps -A -o args= | grep -c "^bash [^ ]*[a]utopod-ssh $AUTOPOD_POD_ID"); exit 3\n'
  at_terminal --type '' 0 "$typed" -- "$POD"
  assert_status 3
  assert_contains "on_$POD left_0"
  assert_equal "$(ls -A "$TMPDIR")" '' 'what is left in TMPDIR'
}

@test "at a terminal, with a command: no terminal for it, and its status" {
  connect
  at_terminal -- "$POD" -- sh -c 'test -t 1 || echo plain; exit 4'
  assert_status 4
  assert_contains plain
}

@test "at a terminal the passphrase of a key is asked for; without one it is not waited for" {
  connect
  ssh-keygen -q -p -P '' -N 'open sesame' -f "$AUTOPOD_HOME/local/$POD/client_key" >/dev/null
  at_terminal --type passphrase 0.2 'open sesame\n' -- "$POD" -- echo inside
  assert_status 0
  assert_contains inside
  pod_ssh "$POD" -- echo inside </dev/null
  assert_status 5
  assert_contains 'client_key has a passphrase, and no ssh-agent holds it' "$stderr"
  assert_contains 'ssh-add ' "$stderr"
}

# --- no pod to talk to ----------------------------------------------------------------------------

@test "no pod, an unknown one, several, and ids that are none" {
  local ref
  pod_ssh
  assert_status 4
  assert_contains 'no pod of this installation runs' "$stderr"
  for ref in nope '; touch pwned' '$(touch pwned)' ../x; do
    pod_ssh "$ref" -- true
    assert_status 4
    assert_contains "there is no pod \"$ref\"" "$stderr"
  done
  refute_exists pwned
  connect
  connect
  pod_ssh -- true
  assert_status 2
  assert_contains '2 pods could be meant' "$stderr"
}

@test "a stopped pod, and a failed one: exit 4, and what to do" {
  connect
  kill -9 "$(pod_process "$POD" comfyui)"
  wait_until 10 gone "$(pod_process "$POD" comfyui)"
  pod_ssh "$POD" -- true
  assert_status 4
  assert_contains "pod $POD is failed: comfyui ended" "$stderr"
  kill -9 "$(pod_process "$POD" sshd)"
  wait_until 10 gone "$(pod_process "$POD" sshd)"
  pod_ssh "$POD" -- true
  assert_status 4
  assert_contains "pod $POD is stopped" "$stderr"
  assert_contains "autopod-start $POD" "$stderr"
  pod_ssh # the only one there is
  assert_status 4
  assert_contains "pod $POD is stopped" "$stderr"
}

@test "a pod that is being made has no address yet: exit 4" {
  local keygen
  keygen=$(type -P ssh-keygen)
  stub ssh-keygen <<STUB
touch "$BATS_TEST_TMPDIR/making"
sleep 3
exec "$keygen" "\$@"
STUB
  start_command autopod-connect --no-tunnel
  wait_until 30 test -e "$BATS_TEST_TMPDIR/making"
  pod_ssh -- true
  assert_status 4
  assert_contains 'has no ssh address yet' "$stderr"
  assert_contains autopod-info "$stderr"
  rm "$STUBS/ssh-keygen"
  kill_command INT
  finish_command 30
}

@test "no connection: exit 5, why, and what to do" {
  local dir known
  connect
  dir=$AUTOPOD_HOME/local/$POD known=$AUTOPOD_HOME/known_hosts.d/$POD
  ssh-keygen -q -t ed25519 -N '' -f other
  # another key of ours
  mv "$dir/client_key" kept && cp other "$dir/client_key"
  pod_ssh "$POD" -- touch pwned
  assert_status 5
  assert_contains 'does not accept our ssh key' "$stderr"
  assert_contains AUTOPOD_SSH_KEY "$stderr"
  mv kept "$dir/client_key"
  # another host key
  cp "$known" kept
  sed "s|ssh-ed25519 .*|$(cut -d ' ' -f 1,2 other.pub)|" kept >"$known"
  pod_ssh "$POD" -- touch pwned
  assert_status 5
  assert_contains 'another host key than before' "$stderr"
  refute_contains '@@@' "$stderr"
  mv kept "$known"
  # nobody at the address
  free_port
  sshd_at "$POD" "$FREE_PORT"
  pod_ssh "$POD" -- touch pwned
  assert_status 5
  assert_contains "nothing listens at" "$stderr"
  assert_equal "$(wc -l <<<"$stderr" | tr -d ' ')" 2 'lines that are said'
  refute_exists pwned
}

@test "another pod of ours at the address: exit 5, and nothing is run on it" {
  local other
  connect
  other=$POD
  connect
  # as after a start on RunPod: the list still tells the old address, where another pod is by now
  cp "$AUTOPOD_HOME/local/$other"/client_key* "$AUTOPOD_HOME/local/$POD/"
  sshd_at "$POD" "$(pod_field "$other" .ssh.port)"
  rm "$AUTOPOD_HOME/known_hosts.d/$POD"
  pod_ssh "$POD" -- touch "$PWD/pwned"
  assert_status 5
  assert_contains "pod $other answers at the address of $POD" "$stderr"
  at_terminal --type minute 0 '' -- "$POD"
  assert_status 5
  assert_contains "pod $other answers"
  refute_exists pwned
}

@test "a connection that breaks: exit 5" {
  connect
  # sshd, its shell (who becomes sh), and sh
  pod_ssh "$POD" -- sh -c 'kill -9 "$(ps -o ppid= -p "$PPID")"; sleep 5'
  assert_status 5
  assert_contains 'broke off' "$stderr"
}

# --- usage ----------------------------------------------------------------------------------------

@test "a command without the dashes, and options that are none" {
  pod_ssh pod ls -l
  assert_status 2
  assert_contains 'autopod-ssh pod -- ls' "$stderr"
  pod_ssh --tty
  assert_status 2
  assert_contains 'unknown option: --tty' "$stderr"
  pod_ssh -C
  assert_status 2
  pod_ssh -C /nonexistent -- true
  assert_status 2
}

@test "no ssh on this machine: exit 3" {
  PATH=$(path_of bash sh env cat sed mkdir mktemp rm readlink date ps jq awk grep tr) pod_ssh -- true
  assert_status 3
  assert_contains 'ssh is not installed' "$stderr"
}
