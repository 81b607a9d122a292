# autopod-doctor: each thing that it looks for is broken on purpose, on both providers.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load runpod_helper

setup() {
  autopod_setup
  export LC_ALL=C
}

teardown() {
  local status=0
  runpod_api_stop || status=1
  autopod_teardown || status=1
  return "$status"
}

# doctor ARG... - `run`s it, its two outputs apart
doctor() { run --separate-stderr "$AUTOPOD_BIN/autopod-doctor" "$@"; }

# found STATE CHECK TEXT [TODO] - the last `doctor --json` has that finding
found() {
  jq -e --arg state "$1" --arg check "$2" --arg text "$3" --arg todo "${4:-}" \
    'any(.[]; .state == $state and .check == $check and (.text | contains($text)) and (.todo | contains($todo)))' \
    <<<"$output" >/dev/null || { _complain "no finding $1 $2: $3 ($4)" "$(_shown_output)" && return 1; }
}

# findings STATE CHECK - prints the texts of those
findings() {
  jq -r --arg state "$1" --arg check "$2" '.[] | select(.state == $state and .check == $check).text' <<<"$output"
}

# mode FILE - prints who may do what with it, as drwx------
mode() {
  local listed
  listed=$(ls -ld "$1")
  printf '%s\n' "${listed:0:10}"
}

# without TOOL... - a PATH that has what the doctor uses but these
without() {
  local tool tools=''
  for tool in bash env awk cat chmod cp cut date df env grep head id ln ls mkdir mktemp mv od ps readlink rm sed sleep \
    sort stat stty tail tr uname wc curl jq ssh ssh-keygen; do
    case " $* " in *" $tool "*) ;; *) tools="$tools $tool" ;; esac
  done
  rm -rf "$BATS_TEST_TMPDIR/path"
  # shellcheck disable=SC2086 # a list of words
  path_of $tools
}

# local_pod - makes a pod on this machine; sets POD
local_pod() {
  AUTOPOD_PORT=$((12000 + RANDOM % 7000)) run --separate-stderr "$AUTOPOD_BIN/autopod-connect" --provider local --json
  assert_status 0
  POD=$(jq -r .id <<<"$output")
}

# key_in FILE [PASSPHRASE] - makes an ssh key
key_in() {
  mkdir -p "${1%/*}"
  ssh-keygen -q -t ed25519 -N "${2:-}" -C test -f "$1" </dev/null
}

# --- how it tells ---------------------------------------------------------------------------------

@test "a machine where all is well: a line each, a summary, exit code 0" {
  doctor
  assert_status 0
  assert_matches $'(^|\n)ok curl +curl [0-9]'
  assert_matches $'\nok jq +jq-1'
  assert_contains "Python 3"
  assert_matches $'\nok local +local pods can be made: .*sshd'
  assert_equal "${lines[${#lines[@]} - 1]}" 'All is well.'
  assert_equal "$stderr" ''
  LC_ALL=C.UTF-8 doctor
  assert_matches $'\n✓ jq'
  doctor -q
  assert_status 0
  assert_equal "$output" ''
}

@test "what is wrong stands with what to do, in ASCII where the locale has no more; warnings alone are no failure" {
  mkdir -m 755 "$AUTOPOD_HOME"
  doctor
  assert_status 0
  assert_matches $'\n!  state +others can look into .*mode 755'
  assert_matches $'\n +autopod-doctor --fix does it: chmod 700 '
  assert_contains 'No fault was found; 1 warning.'
  AUTOPOD_PROVIDER=nowhere doctor
  assert_status 3
  assert_matches $'\n!! settings +AUTOPOD_PROVIDER: there is no provider "nowhere"\n +known are: local runpod'
  assert_contains '1 thing does not work; 1 warning.'
  AUTOPOD_PROVIDER=nowhere LC_ALL=C.UTF-8 doctor -q
  assert_matches '^!  ?state .*'$'\n''✗ settings '
  refute_contains ✓
}

@test "--json is an array of {check, state, text, todo}, whatever the values have in them" {
  mkdir -p 'a "b" \c'
  AUTOPOD_OUTPUT_DIR=$'a "b" \\c\td' doctor --json
  assert_status 0
  assert_equal "$(jq -r 'map(keys) | unique[] | join(" ")' <<<"$output")" 'check state text todo'
  assert_equal "$(jq -r '[.[][] | type] | unique | join(" ")' <<<"$output")" string
  assert_contains 'a "b" \c d' "$(findings ok settings)"
}

@test "options: usage errors are 2, and --help names the exit codes" {
  doctor --provider nowhere
  assert_status 2
  assert_contains 'there is no provider "nowhere"' "$stderr"
  doctor --nothing
  assert_status 2
  doctor pod
  assert_status 2
  doctor --help
  assert_status 0
  assert_contains 'Exit codes: 0'
  assert_equal "$(awk 'length > 80' <<<"$output")" ''
}

# --- this machine ---------------------------------------------------------------------------------

@test "a tool that is missing is told with what stops, and the rest is looked at all the same" {
  local tool
  for tool in jq curl ssh ssh-keygen; do
    # shellcheck disable=SC2097,SC2098 # the PATH is for the command alone
    PATH=$(without "$tool") doctor --json
    assert_status 3
    found bad "$tool" "$tool is not installed: " install
    found ok bash 'bash '
    found ok state "$AUTOPOD_HOME"
    found ok settings ''
  done
}

@test "a tool that is too old, or does not run" {
  local real
  real=$(type -P jq)
  stub jq <<STUB
case \$1 in --version) echo jq-1.5 ;; *) exec $real "\$@" ;; esac
STUB
  doctor --json
  assert_status 3
  found bad jq 'jq-1.5 is too old' '1.6 or newer'
  stub jq <<<"case \$1 in --version) exit 127 ;; *) exec $real \"\$@\" ;; esac"
  doctor --json
  assert_status 3
  found bad jq 'jq does not run' 'install it anew'
}

@test "Python: none, one that is too old, one that does not run" {
  AUTOPOD_PYTHON=nowhere doctor --json
  assert_status 3
  found bad python 'AUTOPOD_PYTHON is nowhere' 'Python 3.9'
  stub oldpython <<'STUB'
case "$*" in *sys.executable*) echo "$0" ;; *version_info*) echo 3.8.1 && exit 1 ;; esac
STUB
  AUTOPOD_PYTHON=$STUBS/oldpython doctor --json
  assert_status 3
  found bad python 'Python 3.8.1 at ' 'Python 3.9'
  stub nopython <<'STUB'
case "$*" in *sys.executable*) echo "$0" ;; *) exit 1 ;; esac
STUB
  AUTOPOD_PYTHON=$STUBS/nopython doctor --json
  assert_status 3
  found bad python "nopython does not run" 'Python 3.9'
}

@test "python-dotenv is asked for where there is a .env" {
  doctor --json
  assert_equal "$(findings ok dotenv)$(findings bad dotenv)" ''
  echo 'AUTOPOD_PORT=8190' >.env
  doctor --json
  assert_status 0
  found ok dotenv python-dotenv
  stub barepython <<STUB
case "\$*" in *sys.executable*) echo "\$0" ;; *) exec "$AUTOPOD_PYTHON" -S "\$@" ;; esac
STUB
  AUTOPOD_PYTHON=$STUBS/barepython doctor --json
  assert_status 3
  found bad dotenv "./.env can't be read" 'pip install python-dotenv'
}

@test "HOME: not set, no directory" {
  run --separate-stderr env -u HOME "$AUTOPOD_BIN/autopod-doctor" --json
  assert_status 0
  found warn HOME 'HOME is not set' crontab
  HOME=$PWD/nowhere doctor --json
  assert_status 3
  found bad HOME "HOME is $PWD/nowhere, which is no directory" 'set HOME'
}

@test "no room: on the disk of AUTOPOD_HOME, and for temporary files" {
  stub df <<'STUB'
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo '//a disk/with blanks 9000000 8500000 500000 95% /a b'
STUB
  doctor --json
  assert_status 0
  found warn disk 'only 512.0 MB are free' 'make room'
  TMPDIR=$PWD/nowhere doctor --json
  assert_status 3
  found bad TMPDIR "can't make a temporary directory" 'set TMPDIR'
}

# --- what autopod keeps ---------------------------------------------------------------------------

@test "AUTOPOD_HOME: others can look into it, and --fix shuts it; one that can't be" {
  mkdir -m 755 "$AUTOPOD_HOME"
  doctor --json
  assert_status 0
  found warn state 'mode 755' '--fix'
  assert_equal "$(mode "$AUTOPOD_HOME")" drwxr-xr-x
  doctor --json --fix
  assert_status 0
  found ok state 'put right: chmod 700'
  assert_equal "$(mode "$AUTOPOD_HOME")" drwx------
  echo >file
  AUTOPOD_HOME=$PWD/file/home doctor --json
  assert_status 3
  found bad settings "no command starts: can't write to $PWD/file/home" 'set AUTOPOD_HOME'
  found bad state "$PWD/file/home can't be made" 'set AUTOPOD_HOME'
  found ok jq jq-1
}

@test "a directory that is missing in AUTOPOD_HOME is made" {
  mkdir -m 700 "$AUTOPOD_HOME"
  doctor --fix
  assert_status 0
  assert_equal "$(cd "$AUTOPOD_HOME" && printf '%s ' */)" 'known_hosts.d/ locks/ logs/ runs/ '
}

@test "AUTOPOD_HOME that nothing can be written to: --fix opens it" {
  [ "$(id -u)" != 0 ] || skip 'root can write everywhere'
  mkdir -m 500 "$AUTOPOD_HOME"
  doctor --json
  assert_status 3
  found bad state 'nothing can be written' 'chmod 700'
  doctor --json --fix
  found ok state 'put right: chmod 700'
  doctor
  assert_status 0
}

@test "state files that are damaged" {
  local file
  mkdir -m 700 "$AUTOPOD_HOME"
  for file in pods tunnels; do echo '{}' >"$AUTOPOD_HOME/$file.json"; done
  doctor --json
  assert_status 0
  found ok files 'pods.json is whole'
  found ok files 'tunnels.json is whole'
  for file in pods tunnels; do
    echo '{"cut' >"$AUTOPOD_HOME/$file.json"
    doctor --json
    assert_status 3
    found bad files "$AUTOPOD_HOME/$file.json is damaged" 'move it away'
    : >"$AUTOPOD_HOME/$file.json"
    doctor --json --fix
    assert_status 3
    found bad files "$AUTOPOD_HOME/$file.json is damaged"
    echo '{}' >"$AUTOPOD_HOME/$file.json"
  done
}

@test "settings that can't be read end every command; the doctor says so, and goes on with the rest" {
  mkdir -m 755 "$AUTOPOD_HOME"
  echo '{"port": ' >"$AUTOPOD_HOME/config.json"
  doctor --json --fix
  assert_status 3
  found bad settings "no command starts: $AUTOPOD_HOME/config.json can't be read" 'one JSON object'
  found bad files "$AUTOPOD_HOME/config.json is damaged" 'by hand'
  found ok state 'put right: chmod 700'
  found ok curl 'curl '
  rm "$AUTOPOD_HOME/config.json"
  AUTOPOD_PORT=many doctor
  assert_status 3
  assert_contains '!! settings   no command starts: AUTOPOD_PORT is "many", but must be a whole number'
  assert_contains '1 thing does not work.'
}

@test "settings that are not the default are named, a key without its value" {
  doctor --json
  assert_equal "$(findings ok settings)" "AUTOPOD_PYTHON=$AUTOPOD_PYTHON"
  echo '{"disk_gb": 50}' >"$AUTOPOD_HOME/config.json"
  AUTOPOD_PORT=9000 RUNPOD_API_KEY=rpa_SECRET RUNPOD_GRAPHQL_URL=http://127.0.0.1:9 PATH=$(without) doctor --json
  assert_equal "$(findings ok settings)" \
    "AUTOPOD_PORT=9000, AUTOPOD_PYTHON=$AUTOPOD_PYTHON, AUTOPOD_DISK_GB=50, RUNPOD_API_KEY (not shown)"
  refute_contains rpa_SECRET "$output$stderr$(cat "$AUTOPOD_HOME/logs/autopod.log")"
}

@test "a key in a file that others can read: --fix takes it from them" {
  local file
  mkdir -m 700 "$AUTOPOD_HOME"
  printf '#RUNPOD_API_KEY=\nAUTOPOD_PORT=9000\n' >.env
  chmod 644 .env
  doctor --json
  assert_equal "$(findings warn secrets)$(findings ok secrets)" ''
  echo 'RUNPOD_API_KEY=rpa_SECRET' >.env
  chmod 644 .env
  echo '{"runpod_api_key": "rpa_SECRET"}' >"$AUTOPOD_HOME/config.json"
  chmod 640 "$AUTOPOD_HOME/config.json"
  export RUNPOD_GRAPHQL_URL=http://127.0.0.1:9
  doctor --json --provider local
  assert_status 0
  found warn secrets '.env holds the key, and others can read it (mode 644)' 'chmod 600 .env'
  found warn secrets "$AUTOPOD_HOME/config.json holds the key, and others can read it (mode 640)" 'chmod 600'
  doctor --json --fix --provider local
  for file in .env "$AUTOPOD_HOME/config.json"; do
    found ok secrets 'put right: chmod 600'
    assert_equal "$(mode "$file")" -rw-------
  done
  doctor --json --provider local
  found ok secrets '.env holds the key, and only you can read it'
}

@test "locks and tunnels of dead processes are told, and forgotten by --fix; living ones stay" {
  local pid start
  local_pod
  read -r pid start <<<"$(jq -r '.[] | "\(.pid) \(.start)"' "$AUTOPOD_HOME/tunnels.json")"
  ln -s 999999999-gone "$AUTOPOD_HOME/locks/pods.json"
  ln -s "$pid-$start" "$AUTOPOD_HOME/locks/pod-alive"
  jq -c '.dead = {pid: 999999999, start: "gone", port: 8188, remote_port: 8188}' "$AUTOPOD_HOME/tunnels.json" >tunnels
  mv tunnels "$AUTOPOD_HOME/tunnels.json"
  doctor --json
  assert_status 0
  found warn locks '1 lock is left by a process that is gone: pods.json' '--fix'
  found warn tunnels '1 tunnel is written down, but closed: dead' '--fix'
  assert_equal "$(readlink "$AUTOPOD_HOME/locks/pods.json")" 999999999-gone
  doctor --json --fix
  assert_status 0
  found ok locks 'put right: remove'
  found ok tunnels 'put right: forget'
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" $'pod-alive\nwatcher'
  assert_equal "$(jq -r 'keys[]' "$AUTOPOD_HOME/tunnels.json")" "$POD"
  doctor --json
  assert_equal "$(findings warn locks)$(findings warn tunnels)" ''
  kill -0 "$pid" # and nothing was ended
  "$AUTOPOD_BIN/autopod-kill" -q "$POD"
}

# --- local pods -----------------------------------------------------------------------------------

@test "local pods that can't be made are a fault for who makes local pods, and a warning for others" {
  export AUTOPOD_LOCAL_COMFYUI=$PWD/nowhere
  doctor --json
  assert_status 3
  found bad local "no local pod can be made: AUTOPOD_LOCAL_COMFYUI is $PWD/nowhere" 'a checkout of ComfyUI'
  runpod_api_start --no-machines
  doctor --json
  assert_status 0
  found warn local 'no local pod can be made'
  doctor --json --provider local
  assert_status 3
}

@test "local pods that run are counted" {
  local_pod
  doctor --json
  assert_status 0
  found ok local 'local pods that run now: 1'
  "$AUTOPOD_BIN/autopod-kill" -q "$POD"
}

# --- RunPod ---------------------------------------------------------------------------------------

@test "RunPod where all is well: tool, key, clock, money, ssh key, pods; only questions were asked" {
  runpod_api_start --no-machines
  runpod_control '{"add_pods":[{"name":"one","status":"RUNNING","gpu":"NVIDIA A40"},
    {"name":"two","status":"EXITED","gpu":"NVIDIA A40"}]}'
  doctor --json
  assert_status 0
  found ok runpod 'of the second generation'
  found ok runpod 'the key is accepted'
  found ok runpod "clock agrees with RunPod's"
  found ok runpod 'the account has $25 and spends $0.4/h, which lasts 62 h'
  found ok runpod "the account knows the ssh key $HOME/.ssh/id_ed25519"
  found ok runpod 'pods can be listed; 1 of 2 run now, for $0.4/h'
  found ok 'ssh key' "$HOME/.ssh/id_ed25519"
  assert_equal "$(jq -r '[.[] | select(.state != "ok")] | length' <<<"$output")" 0
  assert_equal "$(runpod_state '[.requests[].operation] | unique | join(" ")')" 'keys list' 'what was asked'
  assert_equal "$(find "$AUTOPOD_HOME" -type f -not -path '*/logs/*')" '' 'what was left in AUTOPOD_HOME'
  refute_contains rpa_TESTKEY "$output$stderr$(cat "$AUTOPOD_HOME/logs/autopod.log")"
  doctor --provider runpod
  refute_contains 'local pods'
}

@test "runpodctl: missing, of the first generation, one that asks an API about to be switched off, or switched off" {
  _RUNPODCTL_WANTED=double runpod_api_start --no-machines
  # shellcheck disable=SC2097,SC2098 # the PATH is for the command alone
  PATH=$(without) doctor --json
  assert_status 3
  found bad runpod 'runpodctl, which is not installed' 'docs.runpod.io'
  found ok runpod 'the key is accepted'
  RUNPODCTL_DOUBLE=1.14 doctor --json
  assert_status 3
  found bad runpod 'runpodctl v1.14.15: this runpodctl is of the old generation' 'upgrade it'
  found ok runpod 'the account has $25'
  export RUNPODCTL_DOUBLE=2.7
  doctor --json
  assert_status 0
  found ok runpod 'runpodctl v2.7.2, of the second generation'
  found ok runpod 'pods can be listed'
  found warn runpod 'asks REST v1, which RunPod switches off on 1 December 2026' 'upgrade it'
  runpod_control '{"faults":{"v1_gone":{}}}'
  doctor --json
  assert_status 3
  found bad runpod 'which RunPod has switched off' 'upgrade it'
}

@test "the key: none, one that is not accepted, one that may not, one that others can read" {
  runpod_api_start --no-machines
  RUNPOD_API_KEY='' doctor --json
  assert_status 3
  found bad runpod 'there is no RunPod API key' 'console.runpod.io'
  found ok runpod 'of the second generation'
  RUNPOD_API_KEY=rpa_NOBODY doctor --json
  assert_status 3
  found bad runpod 'RunPod does not accept the key' 'make one at'
  runpod_control '{"faults":{"forbidden":{"operations":["list"]}}}'
  doctor --json
  assert_status 3
  found bad runpod "pods can't be listed" 'read and write access'
  runpod_control '{"faults":{"forbidden":{"operations":["keys"]}}}'
  doctor --json
  assert_status 3
  found bad runpod 'the key may not read the account' 'read and write access'
  runpod_control '{"faults":{"forbidden":null}}'
  mkdir -p "$HOME/.runpod"
  echo "apikey = '$RUNPOD_API_KEY'" >"$HOME/.runpod/config.toml"
  chmod 644 "$HOME/.runpod/config.toml"
  RUNPOD_API_KEY='' doctor --json --fix
  assert_status 0
  found warn runpod "$HOME/.runpod/config.toml holds the key and can be read by others" 'chmod 600'
  assert_equal "$(mode "$HOME/.runpod/config.toml")" -rw-r--r--
  found ok runpod 'the key is accepted'
}

@test "the account runs low: below five dollars, or below a day of what it spends" {
  runpod_api_start --no-machines
  runpod_control '{"balance":4.5}'
  doctor --json
  assert_status 0
  found warn runpod 'the account has $4.5 and spends $0/h' 'add credit'
  runpod_control '{"balance":8,"add_pods":[{"name":"one","status":"RUNNING","gpu":"NVIDIA A40"}]}'
  doctor --json
  assert_status 0
  found warn runpod 'which lasts ' 'add credit'
}

@test "without a network RunPod could not be asked, and nothing waits long" {
  runpod_api_start --no-machines
  RUNPOD_GRAPHQL_URL=http://127.0.0.1:9/graphql doctor --json
  assert_status 0
  found warn runpod "RunPod's account could not be asked: " 'is the network there'
  assert_equal "$(runpod_state '.requests | length')" 0 'questions after the first'
}

@test "RunPod that answers with errors could not be asked; pods that can't be listed are told" {
  runpod_api_start --no-machines
  runpod_control '{"faults":{"server_error":{"status":502,"html":true}}}'
  doctor --json
  assert_status 0
  found warn runpod "RunPod's account could not be asked: HTTP 502" uptime.runpod.io
  found warn runpod "pods can't be listed" uptime.runpod.io
}

@test "a clock that is off is told with how much and which way" {
  local real
  runpod_api_start --no-machines
  real=$(type -P curl)
  # The answer's own Date header, written anew.
  stub curl <<STUB
[ "\$1" != --version ] || exec $real "\$@"
headers='' previous=''
for word; do
  [ "\$previous" != -D ] || headers=\$word
  previous=\$word
done
$real "\$@"
status=\$?
[ -z "\$headers" ] || printf 'HTTP/1.1 200 OK\r\nDate: %s\r\n\r\n' "\$FAKE_DATE" >"\$headers"
exit \$status
STUB
  FAKE_DATE='Tue, 01 Jan 2030 00:00:00 GMT' doctor --json
  assert_status 0
  found warn runpod "s behind RunPod's" NTP
  FAKE_DATE='Tue, 01 Jan 2019 00:00:00 GMT' doctor --json
  found warn runpod "s ahead of RunPod's" NTP
  FAKE_DATE=whenever doctor --json
  assert_equal "$(jq -r '.[].text | select(contains("clock"))' <<<"$output")" ''
}

@test "variables that runpodctl would take for its settings are named, and autopod's own calls are not harmed" {
  runpod_api_start --no-machines
  TIMEOUT=600 APIKEY=x doctor --json
  assert_status 0
  found warn runpod 'your environment has TIMEOUT, APIKEY' unset
  found ok runpod 'pods can be listed'
}

@test "the ssh key: made by --fix, told when the account does not know it" {
  runpod_api_start --no-machines
  unset AUTOPOD_SSH_KEY
  doctor --json
  assert_status 0
  found ok 'ssh key' 'none yet'
  refute_exists "$AUTOPOD_HOME/ssh"
  doctor --json --fix
  assert_status 0
  found ok 'ssh key' "$AUTOPOD_HOME/ssh/id_ed25519: made"
  assert_file "$AUTOPOD_HOME/ssh/id_ed25519"
  found ok runpod "the account does not know the ssh key $AUTOPOD_HOME/ssh/id_ed25519; it need not"
  assert_equal "$(runpod_state '.ssh_keys | length')" 1
  chmod 644 "$AUTOPOD_HOME/ssh/id_ed25519"
  doctor --json
  assert_status 3
  found bad 'ssh key' '(mode 644), so ssh does not use it' 'chmod 600'
  doctor --json --fix
  assert_status 0
  found ok 'ssh key' 'put right: chmod 600'
  assert_equal "$(mode "$AUTOPOD_HOME/ssh/id_ed25519")" -rw-------
}

@test "an ssh key of one's own: missing, open to others, with a passphrase; --fix leaves it alone" {
  runpod_api_start --no-machines
  AUTOPOD_SSH_KEY=$PWD/nowhere doctor --json
  assert_status 3
  found bad 'ssh key' "AUTOPOD_SSH_KEY is $PWD/nowhere, but there is no such file" 'leave AUTOPOD_SSH_KEY out'
  chmod 644 "$HOME/.ssh/id_ed25519"
  doctor --json --fix
  assert_status 3
  found bad 'ssh key' "others can read $HOME/.ssh/id_ed25519" 'chmod 600'
  assert_equal "$(mode "$HOME/.ssh/id_ed25519")" -rw-r--r--
  key_in "$PWD/locked" 'a passphrase'
  AUTOPOD_SSH_KEY=$PWD/locked doctor --json
  assert_status 0
  found warn 'ssh key' "$PWD/locked has a passphrase" 'leave AUTOPOD_SSH_KEY out'
  rm locked.pub
  AUTOPOD_SSH_KEY=$PWD/locked doctor --json
  assert_status 3
  found bad 'ssh key' "$PWD/locked has a passphrase, or is no private key" 'leave AUTOPOD_SSH_KEY out'
}
