#!/usr/bin/env bats
# scripts/setup.sh on machines that lack something. The machine is a PATH with a few real tools and
# stand-ins for the rest; what the stand-ins were asked is in $ASKED.

load test_helper

setup() {
  autopod_setup
  CLONE="$PWD/my clone"
  ASKED=$PWD/asked
  export ASKED
  mkdir -p "$CLONE/scripts"
  cp "$ROOT/scripts/setup.sh" "$CLONE/scripts/"
  printf 'one\n' >"$CLONE/requirements.txt"
  printf 'two\n' >"$CLONE/requirements-dev.txt"
  : >"$ASKED"
  MACHINE=$(path_of bash env cat sed tail mktemp mkdir rm mv cp chmod sleep find)
  export MACHINE
  local tool
  for tool in jq curl ssh ssh-keygen scp sshd ps tmux; do
    machine_has "$tool" <<<'exit 0'
  done
  machine_has bats <<<'echo "Bats 1.8.2"'
  machine_has runpodctl <<<'exit 0'
  machine_has id <<<'echo 1000'
  # A Python whose .venv is one file, which notes what pip was asked.
  machine_has python3 <<'SH'
case "$1 $2" in
  "-c "*) printf '%s\n' "$0" ;;
  "-IS -c") cat "$MACHINE/version" ;;
  "-m venv")
    printf 'venv\n' >>"$ASKED"
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python3"
    ;;
  "-m pip")
    printf 'pip %s\n' "$*" >>"$ASKED"
    sleep "${PIP_SECONDS:-0}"
    [ ! -e "$MACHINE/offline" ] || { echo "no network" && exit 1; }
    ;;
esac
SH
  printf '3.11\n' >"$MACHINE/version"
}

# machine_has NAME - gives the machine a program; its Bash source is on stdin
machine_has() {
  rm -f "$MACHINE/$1"
  { printf '#!%s/bash\n' "$MACHINE" && cat; } >"$MACHINE/$1"
  chmod +x "$MACHINE/$1"
}

# with_apt_get - an apt-get that notes what it was asked and installs jq
with_apt_get() {
  machine_has apt-get <<'SH'
printf 'apt-get %s [%s]\n' "$*" "$DEBIAN_FRONTEND" >>"$ASKED"
[ ! -e "$MACHINE/offline" ] || { echo "E: no network" && exit 100; }
case $* in *install*) printf '#!%s/bash\n' "$MACHINE" >"$MACHINE/jq" && chmod +x "$MACHINE/jq" ;; esac
SH
}

# with_go - a go that notes what it was asked and installs into GOBIN, as go does; offline it fails. With $GO_SECONDS
# it takes that long, in a child of its own, and says when it was left to end
with_go() {
  machine_has go <<'SH'
printf 'go %s [%s]\n' "$*" "$CGO_ENABLED" >>"$ASKED"
[ "${GO_SECONDS:-0}" = 0 ] || { sleep "$GO_SECONDS" && printf 'go ended\n' >>"$ASKED"; }
if [ -e "$MACHINE/offline" ] || [ "$2" = "${GO_LACKS:-}" ]; then
  echo "go: github.com/runpod/runpodctl: dial tcp: no route to host" >&2
  exit 1
fi
mkdir -p "$GOBIN" && printf '#!%s/bash\n' "$MACHINE" >"$GOBIN/runpodctl" && chmod +x "$GOBIN/runpodctl"
SH
}

# run_setup - without a terminal; any question would read end of file
run_setup() { PATH=$MACHINE run "$MACHINE/bash" "$CLONE/scripts/setup.sh" </dev/null; }

asked() { cat "$ASKED"; }

@test "a machine that has everything: .venv is made once, then all is silent" {
  run_setup
  assert_status 0
  assert_contains "making .venv"
  assert_contains "-r $CLONE/requirements-dev.txt" "$(asked)"
  : >"$ASKED"
  run_setup
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(asked)" ''
}

@test "no root, no sudo: the commands to copy, and status 3" {
  with_apt_get
  rm "$MACHINE/jq" "$MACHINE/ssh" "$MACHINE/scp"
  run_setup
  assert_status 3
  assert_contains "missing: jq ssh scp"
  assert_contains "  sudo apt-get update"
  assert_contains "  sudo apt-get install -y --no-install-recommends jq openssh-client"
  assert_equal "$(asked)" ''
}

@test "a sudo that would ask for a password is not asked without a terminal" {
  with_apt_get
  rm "$MACHINE/jq"
  machine_has sudo <<'SH'
printf 'sudo %s\n' "$*" >>"$ASKED"
[ "$1" != -n ] || exit 1
SH
  run_setup
  assert_status 3
  assert_contains "  sudo apt-get install -y --no-install-recommends jq"
  assert_equal "$(asked)" 'sudo -n true'
}

@test "on a terminal, a sudo that wants a password may ask for it" {
  "$AUTOPOD_PYTHON" -c 'import pty; pty.openpty()' 2>/dev/null || skip "no terminals here (no /dev/pts)"
  with_apt_get
  rm "$MACHINE/jq"
  machine_has sudo <<'SH'
printf 'sudo %s\n' "$1" >>"$ASKED"
case $1 in -n) exit 1 ;; -v) exit 0 ;; esac
exec "$@"
SH
  PATH=$MACHINE run "$AUTOPOD_PYTHON" -c 'import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' "$MACHINE/bash" "$CLONE/scripts/setup.sh" </dev/null
  assert_status 0
  assert_contains 'sudo -v' "$(asked)"
  assert_contains 'apt-get install' "$(asked)"
}

@test "a plain user with sudo that needs no password" {
  with_apt_get
  rm "$MACHINE/jq"
  machine_has sudo <<<'printf "sudo %s\n" "$1" >>"$ASKED"; shift; exec "$@"'
  machine_has true <<<'exit 0'
  run_setup
  assert_status 0
  assert_contains "installing by apt-get: jq"
  assert_contains "sudo -n" "$(asked)"
  assert_contains "apt-get install -q -y --no-install-recommends" "$(asked)"
  assert_contains "jq [noninteractive]" "$(asked)"
}

@test "root needs no sudo" {
  with_apt_get
  rm "$MACHINE/jq"
  machine_has id <<<'echo 0'
  machine_has sudo <<<'echo sudo >>"$ASKED"; exit 1'
  run_setup
  assert_status 0
  assert_contains "apt-get update" "$(asked)"
  refute_contains sudo "$(asked)"
}

@test "an apt-get that fails is shown, and what to do by hand" {
  with_apt_get
  rm "$MACHINE/jq"
  machine_has id <<<'echo 0'
  : >"$MACHINE/offline"
  run_setup
  assert_status 3
  assert_contains "E: no network"
  assert_contains "  apt-get install -y --no-install-recommends jq"
}

@test "brew, where there is no apt-get" {
  rm "$MACHINE/jq" "$MACHINE/bats"
  machine_has brew <<'SH'
printf 'brew %s\n' "$*" >>"$ASKED"
printf '#!%s/bash\necho "Bats 1.11.0"\n' "$MACHINE" >"$MACHINE/bats"
cp "$MACHINE/bats" "$MACHINE/jq"
chmod +x "$MACHINE/bats" "$MACHINE/jq"
SH
  run_setup
  assert_status 0
  assert_contains "brew install jq bats-core" "$(asked)"
}

@test "what only the tests need comes too" {
  with_apt_get
  rm "$MACHINE/tmux" "$MACHINE/bats"
  run_setup
  assert_status 3
  assert_contains "install -y --no-install-recommends bats tmux"
}

@test "a system with neither: the names, and status 3" {
  rm "$MACHINE/curl"
  run_setup
  assert_status 3
  assert_contains "missing: curl"
}

@test "no Python, or one without venv and pip" {
  with_apt_get
  machine_has python3 <<<'exit 1'
  run_setup
  assert_status 3
  assert_contains "install -y --no-install-recommends python3 python3-venv"
}

@test "a bats that is too old" {
  machine_has bats <<<'echo "Bats 1.2.1"'
  run_setup
  assert_status 3
  assert_contains "Bats 1.2.1 is too old"
}

@test "half a .venv is made anew" {
  mkdir -p "$CLONE/.venv/bin" "$CLONE/.venv/lib/half"
  cp "$MACHINE/python3" "$CLONE/.venv/bin/"
  run_setup
  assert_status 0
  assert_contains venv "$(asked)"
  refute_exists "$CLONE/.venv/lib/half"
}

@test "a .venv whose requirements or Python changed is made anew" {
  run_setup
  : >"$ASKED"
  printf 'three\n' >>"$CLONE/requirements.txt"
  run_setup
  assert_status 0
  assert_contains venv "$(asked)"
  : >"$ASKED"
  printf '3.12\n' >"$MACHINE/version"
  run_setup
  assert_contains venv "$(asked)"
  rm "$CLONE/.venv/bin/python3"
  : >"$ASKED"
  run_setup
  assert_status 0
  assert_contains venv "$(asked)"
}

@test "a pip that fails is shown, and the next setup tries again" {
  : >"$MACHINE/offline"
  run_setup
  assert_status 1
  assert_contains "no network"
  rm "$MACHINE/offline"
  run_setup
  assert_status 0
  run_setup
  assert_equal "$output" ''
}

@test "two setups at once make one .venv" {
  local first
  PIP_SECONDS=1 PATH=$MACHINE "$MACHINE/bash" "$CLONE/scripts/setup.sh" </dev/null 2>first.log &
  first=$!
  wait_until 5 test -e "$CLONE/.venv.lock/pid"
  run_setup
  assert_status 0
  wait "$first"
  assert_equal "$(grep -c '^venv' "$ASKED")" 1
  refute_exists "$CLONE/.venv.lock"
}

@test "the lock of a dead setup is taken over" {
  mkdir "$CLONE/.venv.lock"
  sh -c 'echo $$' >"$CLONE/.venv.lock/pid"
  run_setup
  assert_status 0
  refute_exists "$CLONE/.venv.lock"
}

# --- runpodctl ------------------------------------------------------------------------------------

@test "runpodctl by go, into .tools/bin, and then all is silent" {
  rm "$MACHINE/runpodctl"
  with_go
  run_setup
  assert_status 0
  assert_contains 'bringing runpodctl by go'
  refute_contains 'cli.runpod.net'
  assert_contains 'go install github.com/runpod/runpodctl@main [0]' "$(asked)"
  [ -x "$CLONE/.tools/bin/runpodctl" ]
  : >"$ASKED"
  run_setup
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(asked)" ''
}

@test "a runpodctl on PATH is enough" {
  with_go
  run_setup
  assert_status 0
  refute_contains runpodctl
  refute_contains 'go install' "$(asked)"
}

@test "a main that can't be built: the newest release" {
  rm "$MACHINE/runpodctl"
  with_go
  GO_LACKS=github.com/runpod/runpodctl@main run_setup
  assert_status 0
  assert_equal "$(grep '^go' "$ASKED")" "$(printf 'go install github.com/runpod/runpodctl@%s [0]\n' main latest)"
  [ -x "$CLONE/.tools/bin/runpodctl" ]
}

@test "without the network: what go said, how to do it by hand, status 0, and a day's rest" {
  local tried="$CLONE/.tools/runpodctl.tried"
  rm "$MACHINE/runpodctl"
  with_go
  : >"$MACHINE/offline"
  machine_has python3 <<<'exit 1' # .venv is there already
  mkdir -p "$CLONE/.venv/bin"
  ln -s "$AUTOPOD_PYTHON" "$CLONE/.venv/bin/python3"
  printf 'python %s\none\ntwo\n' "$("$AUTOPOD_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
    >"$CLONE/.venv/autopod-setup"
  run_setup
  assert_status 0
  assert_contains 'no route to host'
  assert_contains '  wget -qO- cli.runpod.net | sudo bash'
  assert_contains "rm '$tried'; make setup"
  : >"$ASKED"
  run_setup
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(asked)" ''
  # A day later it tries again, and so it does for who removes the file.
  touch -t 202001010000 "$tried"
  run_setup
  assert_contains 'go install' "$(asked)"
  : >"$ASKED"
  rm "$tried"
  run_setup
  assert_contains 'go install' "$(asked)"
}

@test "a go that appears within the day is tried at once" {
  rm "$MACHINE/runpodctl"
  run_setup
  assert_status 0
  assert_contains 'cli.runpod.net'
  with_go
  run_setup
  assert_status 0
  [ -x "$CLONE/.tools/bin/runpodctl" ]
}

@test "a go that takes too long is ended with its children, and setup goes on" {
  rm "$MACHINE/runpodctl"
  with_go
  SECONDS=0
  SETUP_SECONDS=1 GO_SECONDS=30 run_setup
  assert_status 0
  [ "$SECONDS" -lt 15 ]
  assert_contains 'not done after 1 s'
  assert_contains 'cli.runpod.net'
  refute_left_processes 1
  refute_contains 'go ended' "$(asked)"
}

@test "an interrupted setup ends the go that it started" {
  local pid
  rm "$MACHINE/runpodctl"
  with_go
  GO_SECONDS=30 PATH=$MACHINE "$MACHINE/bash" "$CLONE/scripts/setup.sh" </dev/null 2>setup.log &
  pid=$!
  wait_until 10 grep -q '^go install' "$ASKED"
  kill -TERM "$pid"
  status=0
  wait "$pid" || status=$?
  assert_equal "$status" 143 "status ($(cat setup.log))"
  refute_left_processes 1
  refute_exists "$CLONE/.venv.lock"
}

@test "runpodctl by brew, where there is no go" {
  rm "$MACHINE/runpodctl"
  machine_has brew <<'SH'
printf 'brew %s\n' "$*" >>"$ASKED"
cp "$MACHINE/jq" "$MACHINE/runpodctl"
SH
  run_setup
  assert_status 0
  assert_contains 'brew install runpod/runpodctl/runpodctl' "$(asked)"
  refute_contains 'cli.runpod.net'
}

@test "root gets it the same way" {
  rm "$MACHINE/runpodctl"
  machine_has id <<<'echo 0'
  with_go
  run_setup
  assert_status 0
  [ -x "$CLONE/.tools/bin/runpodctl" ]
}

@test "a clone that belongs to somebody else: no word, no failure" {
  [ "$(id -u)" != 0 ] || skip 'root may write everywhere'
  run_setup
  rm "$MACHINE/runpodctl"
  chmod a-w "$CLONE"
  run_setup
  chmod u+w "$CLONE"
  assert_status 0
  assert_equal "$output" ''
}

@test "a SETUP_SECONDS that is no number" {
  SETUP_SECONDS=5m run_setup
  assert_status 2
  assert_contains 'SETUP_SECONDS'
}

@test "make and make test find what setup brought" {
  run make -s -C "$ROOT" -f - show <<'MAKE'
include Makefile
show: ; @printf '%s\n' "$$PATH"
MAKE
  assert_status 0
  assert_matches ":$ROOT/.tools/bin\$"
  mkdir -p tests
  printf '@test "x" { echo "$PATH" >%q; }\n' "$PWD/path" >tests/x.bats
  run bash "$ROOT/scripts/test.sh" "$PWD/tests/x.bats"
  assert_status 0
  assert_matches ":$ROOT/.tools/bin\$" "$(cat path)"
}

@test "this machine, which has everything, hears nothing" {
  HOME=$REAL_HOME run bash "$ROOT/scripts/setup.sh" </dev/null
  assert_equal "$output" ''
  assert_status 0
}
