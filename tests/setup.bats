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
  MACHINE=$(path_of bash env cat sed tail mktemp mkdir rm mv cp chmod sleep)
  export MACHINE
  local tool
  for tool in jq curl ssh ssh-keygen scp sshd ps; do
    machine_has "$tool" <<<'exit 0'
  done
  machine_has bats <<<'echo "Bats 1.8.2"'
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

@test "this machine, which has everything, hears nothing" {
  HOME=$REAL_HOME run bash "$ROOT/scripts/setup.sh" </dev/null
  assert_equal "$output" ''
  assert_status 0
}
