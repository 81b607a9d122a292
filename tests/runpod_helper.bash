# shellcheck shell=bash
# runpod_helper.bash - a RunPod of its own for a test: the stand-in of its API (tests/doubles/runpod_api.py), an
# account with an ssh key, and a runpodctl on PATH. Needs test_helper. A test's teardown calls runpod_api_stop first.

_RUNPODCTL_WANTED=${AUTOPOD_TEST_RUNPODCTL:-} # autopod_setup clears such variables

# runpod_api_start [ARG...] - starts the API (ARGs go to it: --boot-delay 0, --no-machines, …) and points
# everything at it: RUNPOD_* variables, AUTOPOD_PROVIDER, AUTOPOD_COMFY_PORT, AUTOPOD_SSH_KEY, PATH
runpod_api_start() {
  local dir=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/runpod port # in setup_file there is only the latter
  mkdir -p "$dir/bin" "$HOME/.ssh"
  [ -f "$HOME/.ssh/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C test -f "$HOME/.ssh/id_ed25519" </dev/null
  export AUTOPOD_COMFY_PORT=$((32000 + RANDOM % 700)) # above the local provider's ports, below the ephemeral ones
  while (exec 3<>"/dev/tcp/127.0.0.1/$AUTOPOD_COMFY_PORT") 2>/dev/null; do
    AUTOPOD_COMFY_PORT=$((32000 + RANDOM % 700))
  done
  : >"$dir/said"
  "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpod_api.py" --state "$dir" --ssh-key "$HOME/.ssh/id_ed25519.pub" \
    --comfy-port "$AUTOPOD_COMFY_PORT" "$@" >"$dir/said" 2>"$dir/complaints" </dev/null 3>&- &
  RUNPOD_API_PID=$!
  wait_until 20 has_line "$dir/said" || { cat "$dir/complaints" >&2 && return 1; }
  read -r _ port <"$dir/said"
  RUNPOD_TEST_URL=http://127.0.0.1:$port
  export RUNPOD_API_URL=$RUNPOD_TEST_URL/v1 RUNPOD_REST_V2_URL=$RUNPOD_TEST_URL/v2
  export RUNPOD_GRAPHQL_URL=$RUNPOD_TEST_URL/graphql RUNPOD_API_KEY=rpa_TESTKEY0123456789
  export AUTOPOD_PROVIDER=runpod AUTOPOD_SSH_KEY=$HOME/.ssh/id_ed25519
  export AUTOPOD_BOOT_TIMEOUT=60 # a test that waits in vain ends
  # The stand-in does at once what it does at all: no test needs the patience that RunPod does.
  export RUNPOD_CONFIRM='0.2 0.2' RUNPOD_SETTLE='0.2 0.2' RUNPODCTL_PAUSES='0.2 0.2'
  [ -e "$dir/bin/runpodctl" ] || {
    _runpod_ctl "$dir/bin/runpodctl"
    PATH=$dir/bin:$PATH
  }
}

# _runpod_ctl FILE - makes FILE the runpodctl to use: a real one of the second generation when there is one
# (unless AUTOPOD_TEST_RUNPODCTL is "double"), else the double; then RUNPODCTL_IS_DOUBLE is set
_runpod_ctl() {
  local real=''
  if [ "$_RUNPODCTL_WANTED" != double ]; then
    real=$ROOT/.tools/bin/runpodctl
    [ -x "$real" ] || real=$(type -P runpodctl) || real=''
    [ -z "$real" ] || "$real" pod list --help >/dev/null 2>&1 || real=''
  fi
  RUNPODCTL_IS_DOUBLE=''
  if [ -n "$real" ]; then
    ln -sf "$real" "$1"
  else
    RUNPODCTL_IS_DOUBLE=1
    printf '#!/bin/sh\nexec %q %q "$@"\n' "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" >"$1"
    chmod +x "$1"
  fi
}

# runpod_api_stop - ends the API, and with it its pods; fails when it left one of them, and ends it
runpod_api_stop() {
  local pid=${RUNPOD_API_PID:-} dir=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/runpod left _rest
  [ -n "$pid" ] || return 0
  RUNPOD_API_PID=''
  kill "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || : # in teardown_file it isn't a child of ours
  wait_until 20 _runpod_ended "$pid"
  # shellcheck disable=SC2009 # pgrep can't tell a fixed text from a pattern
  left=$(ps -A -o pid=,args= | grep -F -e "$dir/pods-home/" | grep -vF -e 'grep -F')
  [ -n "$left" ] || return 0
  _complain 'the API left pods behind:' "$left" "$(cat "$dir/complaints")"
  while read -r pid _rest; do
    kill -9 "$pid" 2>/dev/null || :
  done <<<"$left"
  return 1
}

# _runpod_ended PID - 0 when it no longer runs
_runpod_ended() { ! kill -0 "$1" 2>/dev/null; }

# runpod_control JSON - switches faults, money, stock and time (the head of runpod_api.py lists all)
runpod_control() {
  local status
  status=$(curl -qs --noproxy '*' -o "$BATS_TEST_TMPDIR/controlled" -w '%{http_code}' --data-binary "$1" \
    "$RUNPOD_TEST_URL/control") || :
  [ "$status" = 200 ] || { _complain "control refused $1:" "$(cat "$BATS_TEST_TMPDIR/controlled")" && return 1; }
}

# runpod_state [FILTER] - prints what jq's FILTER makes of everything that the API knows
runpod_state() { curl -qsf --noproxy '*' "$RUNPOD_TEST_URL/control/state" | jq -r "${1:-.}"; }

# runpod_says FILTER WANTED - 0 when that is so
runpod_says() { [ "$(runpod_state "$1")" = "$2" ]; }

# runpod_call API METHOD PATH [JSON [CURL_ARG...]] - a request as runpodctl would send it, on graphql, v1 or v2; sets
# CALL_STATUS and CALL_BODY
runpod_call() {
  local url=$RUNPOD_TEST_URL/$1$3 method=$2 data=()
  [ -z "${4:-}" ] || data=(--data-binary "$4" -H 'Content-Type: application/json')
  shift "$(($# < 4 ? 3 : 4))"
  CALL_STATUS=$(curl -qs --noproxy '*' -o "$BATS_TEST_TMPDIR/called" -w '%{http_code}' -X "$method" \
    -H "Authorization: Bearer $RUNPOD_API_KEY" ${data[@]+"${data[@]}"} "$@" "$url") || :
  CALL_BODY=$(cat "$BATS_TEST_TMPDIR/called" 2>/dev/null)
}

# runpod_query TEXT [VARIABLES_JSON] - the same over GraphQL
runpod_query() {
  runpod_call graphql POST '' \
    "$(jq -nc --arg query "$1" --argjson variables "${2:-"{}"}" '{query: $query, variables: $variables}')"
}

# need_runpod_pods - skips the test where the API's pods can't be: they need sshd, and are logged into as root
need_runpod_pods() {
  [ "$(id -u)" = 0 ] || skip "a pod of RunPod is logged into as root, which takes root here"
  [ -x /usr/sbin/sshd ] || [ -x /usr/local/sbin/sshd ] || skip 'this machine has no sshd'
}

# --- for the tests of commands -----------------------------------------------------------------------

# rows [ARG...] - an API whose pods are rows only
rows() { runpod_api_start --boot-delay 0 --no-machines "$@"; }

# pods [ARG...] - an API with real machines
pods() {
  need_runpod_pods
  runpod_api_start --boot-delay 0 "$@"
}

# connect ARG... - runs autopod-connect
connect() { run --separate-stderr "$AUTOPOD_BIN/autopod-connect" "$@"; }

# assert_made N - so many pods were ever made
assert_made() { assert_equal "$(runpod_state '.pods | length')" "$1" "pods that were made"; }

# assert_running N - so many pods run now, and cost
assert_running() { assert_equal "$(runpod_state .running)" "$1" "pods that run"; }

# assert_nothing_known - pods.json has neither pods nor intents
assert_nothing_known() {
  [ ! -s "$AUTOPOD_HOME/pods.json" ] || assert_equal "$(jq -c '[.intents, .pods // {}]' "$AUTOPOD_HOME/pods.json")" '[{},{}]' pods.json
}

# shim NOUN-VERB - the Bash on stdin runs in front of `runpodctl NOUN VERB` from now on: `real "$@"` in it makes the
# call, `complain TEXT` fails with that error, $SHIMS is a directory for notes; unless it exits, the call goes on
shim() {
  local real
  export SHIMS=$BATS_TEST_TMPDIR/shims
  [ -d "$SHIMS" ] || {
    real=$(type -P runpodctl)
    mkdir -p "$SHIMS/bin"
    cat >"$SHIMS/bin/runpodctl" <<SH
#!/usr/bin/env bash
real() { $(printf %q "$real") "\$@"; }
complain() { printf '{"error":"%s"}\n' "\$1" >&2 && exit 1; }
case " \$* " in
  *' --help '*) ;;
  *) [ ! -f "\$SHIMS/\$1-\$2" ] || . "\$SHIMS/\$1-\$2" ;;
esac
real "\$@"
SH
    chmod +x "$SHIMS/bin/runpodctl"
    PATH=$SHIMS/bin:$PATH
  }
  cat >"$SHIMS/$1"
}
