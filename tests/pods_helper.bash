# shellcheck shell=bash
# pods_helper.bash - for the tests of the commands that look after pods: pods of RunPod's stand-in that are only rows,
# and runs that are only files. Needs test_helper and runpod_helper.

INSTALLATION=0123456789abcdef # ours

# rows_start [ARG...] - a RunPod whose pods boot at once and are only rows, and an installation
rows_start() {
  runpod_api_start --no-machines --boot-delay 0 "$@"
  export HTTP_TRIES=2 RUNPODCTL_PAUSES=0.1
  mkdir -p "$AUTOPOD_HOME"
  printf '%s\n' "$INSTALLATION" >"$AUTOPOD_HOME/installation"
  ACCOUNT=$(bash -c '. "${DOUBLES_TREE:-$ROOT}/lib/os.sh" && os_sha256 <(printf "autopod %s" "$RUNPOD_API_KEY")')
  ACCOUNT=${ACCOUNT:0:12} # as records name our key
}

# row [JSON] - a pod with our stamp that nobody has written down, JSON merged over it (see add_pods in
# doubles/runpod_api.py); sets POD
row() {
  runpod_control "$(jq -nc --arg us "$INSTALLATION" --argjson more "${1:-"{}"}" \
    '{add_pods: [{name: "autopod-row", env: {AUTOPOD_INSTALLATION: $us, SECRET: "env-secret"}} * $more]}')"
  POD=$(runpod_state '.pods | last | .id')
}

# foreign_row [JSON] - one of another installation; sets POD
foreign_row() {
  row "$(jq -c '{name: "theirs", env: {AUTOPOD_INSTALLATION: "fedcba9876543210"}} * .' <<<"${1:-"{}"}")"
}

# written [LIMITS_JSON [AGE]] - writes $POD down in pods.json, as made AGE seconds ago at $0.40 an hour
written() {
  local file=$AUTOPOD_HOME/pods.json at=$(($(date +%s) - ${2:-0}))
  [ -s "$file" ] || echo '{}' >"$file"
  jq -c --arg id "$POD" --arg account "$ACCOUNT" --argjson at "$at" --argjson limits "${1:-"{}"}" \
    --arg name "$(runpod_state ".pods[] | select(.id == \"$POD\").name")" '
    .pods[$id] = {provider: "runpod", account: $account, since: $at, price: 0.4, limits: $limits,
      ran: 0, rested: 0, state: "running", state_at: $at,
      pod: {id: $id, name: $name, provider: "runpod", status: "running", gpu: "A40", gpu_count: 1, cost_per_hr: 0.4}}' \
    "$file" >"$file.new"
  mv "$file.new" "$file"
}

# run_on_pod NAME [RESULT_JSON] - a run that was submitted on $POD and whose outputs are not here
run_on_pod() {
  local run=$AUTOPOD_HOME/runs/$1
  mkdir -p "$run"
  printf '{"id":"%s","provider":"runpod","made_for_this_run":false}\n' "$POD" >"$run/pod.json"
  echo '{}' >"$run/prompt.json"
  [ -z "${2:-}" ] || printf '%s\n' "$2" >"$run/result.json"
}

# living - starts a process that lives; sets HOLDER to its number, and OWNER to how locks and wishes name it
living() {
  (unset AUTOPOD_TEST_MARK && exec sleep 300) 3>&- &
  HOLDER=$!
  OWNER=$HOLDER-$(bash -c '. "${DOUBLES_TREE:-$ROOT}/lib/os.sh" && os_process_start "$1" && printf "%s" "$OS_START"' bash "$HOLDER")
}

# hold_lock NAME - a process that lives holds this lock
hold_lock() {
  living
  mkdir -p "$AUTOPOD_HOME/locks"
  ln -s "$OWNER" "$AUTOPOD_HOME/locks/$1"
}

# release - ends that process
release() {
  [ -z "${HOLDER:-}" ] || kill "$HOLDER" 2>/dev/null || :
  HOLDER=''
}

# command_ NAME ARG... - `run`s a command, its two outputs apart
command_() {
  local name=$1
  shift
  run --separate-stderr "$AUTOPOD_BIN/$name" "$@"
}

# pod_row ID FILTER - prints what the stand-in knows of that pod
pod_row() { runpod_state ".pods[] | select(.id == \"$1\") | $2"; }

# assert_row ID STATUS - the pod is RUNNING, EXITED or TERMINATED
assert_row() { assert_equal "$(pod_row "$1" .status)" "$2" "status of pod $1"; }

# at_terminal ANSWER NAME ARG... - runs a command at a terminal and types ANSWER when it asks
at_terminal() {
  local answer=$1 name=$2
  shift 2
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" --type '[y/N]' 0 "$answer\\r" "$AUTOPOD_BIN/$name" "$@"
}
