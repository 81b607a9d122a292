# shellcheck shell=bash
# worlds_helper.bash - many scenarios of a test at the same time, since they mostly wait, each in a world of its own; and
# links that break on demand (tests/doubles/relay.py). Needs test_helper and cmd_helper.

# at_once NAME... - runs these functions at the same time, since they mostly wait; each in a world of its own below this test's
at_once() {
  local name pids='' status=0
  for name in "$@"; do
    (world "$name" && "$name") >"$BATS_TEST_TMPDIR/$name.said" 2>&1 3>&- &
    pids="$pids $!"
  done
  for name in "$@"; do
    pids=${pids# }
    wait "${pids%% *}" || {
      _complain "$name failed:" "$(<"$BATS_TEST_TMPDIR/$name.said")"
      status=1
    }
    pids=${pids#"${pids%% *}"}
  done
  return "$status"
}

# world NAME - in a subshell: home, ports, working directory and processes of its own
world() {
  trap world_end EXIT
  BATS_TEST_TMPDIR=$BATS_TEST_TMPDIR/$1 STUBS=$BATS_TEST_TMPDIR/$1/stubs
  export AUTOPOD_TEST_MARK=$BATS_TEST_TMPDIR/. AUTOPOD_HOME=$BATS_TEST_TMPDIR/autopod TMPDIR=$BATS_TEST_TMPDIR/tmp
  export HOME=$BATS_TEST_TMPDIR/home
  mkdir -p "$TMPDIR" "$HOME" "$STUBS" "$BATS_TEST_TMPDIR/cwd"
  PATH=$STUBS:$PATH
  cd "$BATS_TEST_TMPDIR/cwd" || return
  free_port
  export AUTOPOD_PORT=$FREE_PORT
  cmd_templates
}

# world_end - what a world's end ends; a helper that starts more has its own
world_end() { [ -z "$COMMAND_PID" ] || kill_command_group; }

# --- links that break -----------------------------------------------------------------------------

# pod_port NAME - prints the port that is known of the pod's sshd or comfyui
pod_port() { awk -v name="$1" '$1 == name { print $4 }' "$POD_DIR/processes"; }

# pod_process_is NAME PID PORT - from now on the pod's sshd or comfyui is that process, at that port
pod_process_is() {
  local start
  start=$(bash -c '. "${DOUBLES_TREE:-$ROOT}/lib/os.sh" && os_process_start "$1" && printf %s "$OS_START"' bash "$2") || return
  awk -v name="$1" -v now="$1 $2 $start $3" '{ print $1 == name ? now : $0 }' "$POD_DIR/processes" >"$POD_DIR/processes.new"
  mv "$POD_DIR/processes.new" "$POD_DIR/processes"
}

# relay_start PORT - starts a relay to PORT; sets RELAY and CONTROL
relay_start() {
  local said=$BATS_TEST_TMPDIR/relay.$RANDOM
  : >"$said"
  "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/relay.py" "$1" >"$said" 2>&1 </dev/null 3>&- &
  printf '%s\n' "$!" >>"$BATS_TEST_TMPDIR/relays"
  disown "$!"
  wait_until 20 has_line "$said" || return
  read -r RELAY CONTROL <"$said"
}

# relay COMMAND [CONTROL] - has the relay do it; prints its answer
relay() {
  (
    exec 4<>"/dev/tcp/127.0.0.1/${2:-$CONTROL}"
    printf '%s\n' "$1" >&4
    read -r said <&4
    printf '%s\n' "$said"
  )
}
