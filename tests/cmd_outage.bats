# Links that break and programs that die in the middle of a run: the same outputs, executed once, and told in words that help.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load runpod_helper
load worlds_helper

setup() { cmd_setup; }

teardown() {
  local status=0 home pid
  [ -z "$COMMAND_PID" ] || kill_command_group
  while read -r pid; do
    kill "$pid" 2>/dev/null || :
  done < <(cat "$BATS_TEST_TMPDIR"/relays "$BATS_TEST_TMPDIR"/*/relays 2>/dev/null)
  for home in "$AUTOPOD_HOME" "$BATS_TEST_TMPDIR"/*/autopod; do
    [ ! -d "$home/local" ] || AUTOPOD_HOME=$home "$AUTOPOD_BIN/autopod-kill" -q --all --yes </dev/null 3>&- || status=1
  done
  runpod_api_stop || status=1
  cmd_teardown || status=1
  return "$status"
}

# --- a pod whose link can be broken ---------------------------------------------------------------

# pod_up - makes a pod, reached by ssh through a relay only; sets POD, POD_DIR, COMFY (its ComfyUI, past the tunnel), RELAY
# (the relay's port) and CONTROL (the port that takes its commands)
pod_up() {
  "$AUTOPOD_BIN/autopod-connect" -q --no-tunnel </dev/null 3>&- || return
  POD=$(the_pod)
  POD_DIR=$AUTOPOD_HOME/local/$POD
  COMFY=http://127.0.0.1:$(pod_port comfyui)
  relay_start "$(pod_port sshd)"
  pod_process_is sshd "$(pod_process "$POD" sshd)" "$RELAY"
}

# pod_up_with_double [FAULTS_JSON] - the same with the double as its ComfyUI
pod_up_with_double() {
  mkdir "$BATS_TEST_TMPDIR/comfyui"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$BATS_TEST_TMPDIR/comfyui/main.py"
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  export LYING_NOTES=$BATS_TEST_TMPDIR/executions LYING_FAULTS=${1:-"{}"}
  pod_up || return
  DOUBLE=$COMFY
  wait_until 20 double_ask . >/dev/null 2>&1
}

# slow_job ID [SECONDS] - a job that takes so long, in many steps; the simulator runs it
slow_job() { job "$1" slow "{\"seconds\": ${2:-4}, \"seed\": $RANDOM}" '{"pod_config": {"timeout_minutes": 5}}'; }

# tunnel_pid - prints the process id of the open tunnel's ssh
tunnel_pid() { jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json"; }

# sessions_of SSHD - prints the processes of an sshd's sessions: they outlive their listener
sessions_of() {
  ps -A -o pid=,ppid= | awk -v top="$1" '
    { parent[$1] = $2 } END { for (pid in parent) { up = pid
      while (up in parent && up != top) up = parent[up]
      if (up == top && pid != top) print pid } }'
}

# watcher_pid - prints the process id of the command's watch.py
watcher_pid() {
  local all
  all=$(left_processes)
  awk '/\/watch\.py/ { print $1 }' <<<"$all"
}

# simulator_runs [URL] - 0 while the simulator executes a prompt
simulator_runs() { [ "$(curl -qsf --noproxy '*' "${1:-$COMFY}/queue" | jq '.queue_running | length')" = 1 ]; }

# running ID [ARG...] - starts the job ID with comfy-run, and waits until its prompt is being executed
running() {
  start_command comfy-run "$1.json" "${@:2}"
  wait_until 30 simulator_runs
}

# simulator_start - starts the pod's simulator again, where it was; its queue and history are empty then
simulator_start() {
  "$AUTOPOD_PYTHON" "$POD_DIR/comfyui_sim.py" --cpu --listen 127.0.0.1 --port "${COMFY##*:}" \
    --base-directory "$POD_DIR/comfyui" >>"$POD_DIR/comfyui.log" 2>&1 </dev/null 3>&- &
  disown "$!"
  pod_process_is comfyui "$!" "${COMFY##*:}"
}

# sshd_end - kill -9 for the pod's sshd and its sessions
sshd_end() {
  local sshd
  sshd=$(pod_process "$POD" sshd)
  # shellcheck disable=SC2046 # numbers
  kill -9 "$sshd" $(sessions_of "$sshd")
}

# sshd_start [RELAY] - starts the pod's sshd again; the pod is known to be reached at that port (RELAY)
sshd_start() {
  /usr/sbin/sshd -D -e -f "$POD_DIR/sshd_config" >>"$POD_DIR/sshd.log" 2>&1 </dev/null 3>&- &
  disown "$!"
  pod_process_is sshd "$!" "${1:-$RELAY}"
}

# assert_once ID [POSTS] - the run ended well: its only picture is the pod's only one, and the server has been given POSTS
# prompts so far (1); nothing frightening was said; nothing is left of the command
assert_once() {
  local posts
  assert_status 0 || return
  cmp "outputs/$1_00001_.png" "$POD_DIR/comfyui/output/$1_00001_.png" || return
  assert_equal "$(cd outputs && echo "$1"_*)" "$1_00001_.png" 'files in outputs' || return
  assert_equal "$(cd "$POD_DIR/comfyui/output" && echo "$1"_*)" "$1_00001_.png" 'pictures on the pod' || return
  # The number of a prompt counts all that were ever posted.
  posts=$(curl -qsf --noproxy '*' "$COMFY/history" | jq 'map(.prompt[0]) | max + 1')
  assert_equal "$posts" "${2:-1}" 'prompts that were posted' || return
  assert_calm
}

# assert_calm [WARNINGS] - at most so many warnings (1) and no error was told, and no process of the command is left
assert_calm() {
  local left
  refute_contains 'error:' "$stderr" || return
  [ "$(grep -c 'warning:' <<<"$stderr")" -le "${1:-1}" ] || { _complain 'too many warnings:' "$stderr" && return 1; }
  wait_until 3 command_left_nothing || { _complain "$(left_processes)" && return 1; }
}

# command_left_nothing - 0 when no process of a command is there, other than a pod's and the watcher
command_left_nothing() {
  local pid args parent
  while read -r pid args; do
    case $args in
      *' @watcher:'*) ;;
      sleep*) # the watcher rests between its looks, and so does the guard on a pod
        parent=$(ps -o ppid= -p "$pid") && parent=$(ps -o args= -p "$((parent))") || continue
        case $parent in *' @watcher:'* | */guard.sh\ *) ;; *) return 1 ;; esac
        ;;
      *comfy-run* | */watch.py* | *'ssh -T'* | *curl*) return 1 ;;
    esac
  done < <(left_processes)
}

# --- kill -9 --------------------------------------------------------------------------------------

killed_tunnel() {
  pod_up
  slow_job one 3
  running one
  kill -9 "$(tunnel_pid)"
  finish_command 60
  assert_once one
  assert_matches 'warning: the link to ComfyUI is lost \(.+\): reconnecting' "$stderr"
  assert_matches 'The link is back( after [0-9]+s)?\.' "$stderr"
}

killed_watcher() {
  pod_up
  slow_job one 3
  running one
  wait_until 20 test -n "$(watcher_pid)"
  kill -9 "$(watcher_pid)"
  finish_command 60
  assert_once one
  assert_calm 0
  refute_contains Killed "$stderr"
}

no_websocket_client() {
  mkdir "$BATS_TEST_TMPDIR/python"
  echo 'raise ImportError("no such module")' >"$BATS_TEST_TMPDIR/python/websocket.py"
  pod_up
  slow_job one 2
  PYTHONPATH=$BATS_TEST_TMPDIR/python running one
  finish_command 60
  assert_once one
  assert_calm 0
  refute_contains websocket-client "$stderr"
}

@test "kill -9 of the tunnel's ssh, kill -9 of watch.py, no websocket-client: the same outputs, executed once" {
  at_once killed_tunnel killed_watcher no_websocket_client
}

killed_sshd() {
  pod_up
  slow_job one 5
  running one
  sshd_end
  sleep 1
  sshd_start
  finish_command 60
  assert_once one
  assert_contains 'The link is back' "$stderr"
}

killed_sshd_moved() { # the address is known a while before anybody listens there, as a pod's that is just starting
  pod_up
  slow_job one 6
  running one
  sshd_end
  relay cut
  sleep 1
  relay_start "$(awk '$1 == "Port" { print $2 }' "$POD_DIR/sshd_config")"
  relay cut
  sshd_start "$RELAY"
  sleep 1
  relay pass
  finish_command 60
  assert_once one
  assert_contains 'The link is back' "$stderr"
}

moved_silently() { # the old address just falls silent: only by asking anew it is found where the pod is
  pod_up
  slow_job one 6
  running one
  relay silent
  relay_start "$(awk '$1 == "Port" { print $2 }' "$POD_DIR/sshd_config")"
  pod_process_is sshd "$(pod_process "$POD" sshd)" "$RELAY"
  finish_command 40 # ssh itself would notice after 45 s, and the way back would be found then
  assert_once one
  assert_contains 'warning: ComfyUI does not answer: reconnecting' "$stderr"
  assert_contains 'The link is back' "$stderr"
}

@test "kill -9 of the pod's sshd: it comes back at the same port or at another one; the port changes under a silent link" {
  at_once killed_sshd killed_sshd_moved moved_silently
}

simulator_restarted() {
  pod_up
  slow_job one 4
  running one
  kill -9 "$(pod_process "$POD" comfyui)"
  sleep 0.5
  simulator_start
  finish_command 60
  assert_status 8
  assert_contains 'error: the server has lost the job: it was restarted' "$stderr"
  assert_contains 'comfy-run --resume submits it again' "$stderr"
  refute_exists outputs
  comfy_run --resume one
  assert_once one
}

simulator_gone() {
  pod_up
  slow_job one 4
  running one
  kill -9 "$(pod_process "$POD" comfyui)"
  finish_command 60
  assert_status 4
  assert_contains "error: pod $POD is failed: comfyui ended" "$stderr"
  assert_contains 'comfy-run --resume takes the job up again' "$stderr"
  refute_exists outputs
  comfy_run --resume one # which starts the pod anew, its ComfyUI at another port
  COMFY=http://127.0.0.1:$(pod_port comfyui)
  assert_once one
}

@test "kill -9 of ComfyUI: the job is told lost, and --resume gets its output, executed once" {
  at_once simulator_restarted simulator_gone
}

# --- the link drops -------------------------------------------------------------------------------

# dropped CUT|SILENT SECONDS - the link is away that long in the middle of a run
dropped() {
  pod_up
  slow_job one $(($2 + 4))
  running one
  relay "$1"
  sleep "$2"
  relay pass
  finish_command 120
  assert_once one
}

cut_2() { dropped cut 2; }
cut_60() { dropped cut 60; }
silent_2() { # nobody needs to know
  dropped silent 2
  assert_calm 0
}
silent_60() { dropped silent 60; }

@test "a link that drops for 2 s and for 60 s, cut and silent: the run waits, and goes on" {
  at_once cut_2 silent_2 cut_60 silent_60
  assert_matches 'warning: the link to ComfyUI is lost \(.+\): reconnecting' "$(<"$BATS_TEST_TMPDIR/cut_60/command.err")"
  assert_contains 'warning: ComfyUI does not answer: reconnecting' "$(<"$BATS_TEST_TMPDIR/silent_60/command.err")"
  local name
  for name in cut_60 silent_60; do
    assert_matches 'Running: reconnecting, [0-9]+s' "$(<"$BATS_TEST_TMPDIR/$name/command.err")"
    assert_matches 'The link is back after .*[0-9]s\.' "$(<"$BATS_TEST_TMPDIR/$name/command.err")"
  done
}

# held FAULT REQUEST - the job `one` is run on the pod's double, which holds that request; waits until it does
held() {
  double_tell "{\"$1\": [\"$2\"]}"
  start_command comfy-run one.json
  wait_until 30 double_says .held 1
}

# dropped_at FAULT REQUEST [HOW] - the link is cut while the double holds REQUEST; with HOW (drop) that is lost to it, too
dropped_at() {
  pod_up_with_double "${DOUBLE_FAULTS:-"{}"}"
  png in.png
  job one scale '{"image": "in.png"}'
  held "$1" "$2"
  relay cut
  double_tell "{\"$1\": null, \"release\": \"${3:-yes}\"}"
  sleep 1
  relay pass
  finish_command 60
  assert_status 0
  assert_executions 1
  double_picture pic/one_00001_.png
  assert_equal "$(sum_of <outputs/one_00001_.png)" "$PICTURE_SUM" 'sum of the output'
  assert_calm "${WARNINGS:-1}"
}

upload_lost() { dropped_at hold 'POST /upload' drop; }
upload_taken() { dropped_at hold_after 'POST /upload/image'; }
# There nobody knows whether the prompt was taken: that is told, and that the link is away.
post_lost() { WARNINGS=2 dropped_at hold 'POST /prompt' drop; }
post_taken() { WARNINGS=2 dropped_at hold_after 'POST /prompt'; }
download_cut() {
  DOUBLE_FAULTS='{"view_bytes": 400000}' dropped_at hold_after 'GET /view?filename=one_00001_.png&subfolder=pic&type=output'
}

interrupted_while_away() { # nobody could be asked to cancel the job: so it goes on, and is taken up
  pod_up
  slow_job one 6
  running one
  relay cut
  wait_until 30 command_said 'reconnecting'
  kill_command INT
  finish_command 60
  assert_status 130
  assert_contains 'the server did not confirm that the job is cancelled: it may still compute' "$stderr"
  assert_matches 'comfy-run --resume one\.[A-Z0-9a-z.]+ takes the job up again' "$stderr"
  relay pass
  comfy_run --resume one
  assert_once one
}

@test "the link drops during the upload, the POST (before and after the server took it), the download, before Ctrl+C: executed once" {
  at_once upload_lost upload_taken post_lost post_taken download_cut interrupted_while_away
}

@test "RunPod shows the pod at another port in the middle of a run: the tunnel is opened there" {
  pods
  "$AUTOPOD_BIN/autopod-connect" -q --no-tunnel --gpu a40 </dev/null 3>&-
  local dirs=("$BATS_TEST_TMPDIR"/runpod/pods-home/local/*/)
  POD_DIR=${dirs[0]%/}
  COMFY=http://127.0.0.1:$AUTOPOD_COMFY_PORT
  slow_job one 4
  running one
  relay_start "$(pod_port sshd)"
  runpod_control "{\"faults\": {\"moved_address\": {\"port\": $RELAY}}}"
  kill -9 "$(tunnel_pid)"
  finish_command 60
  assert_once one
  assert_contains 'The link is back' "$stderr"
  [ "$(relay count)" -ge 1 ]
  "$AUTOPOD_BIN/autopod-kill" -q --all --yes
}

# --- a server that says nothing over its WebSocket ------------------------------------------------

# deaf_at START|RUN - the WebSocket falls silent while all else works, as when another client's stuck socket holds up
# the server's messages to everybody
deaf_at() {
  pod_up
  relay_start "${COMFY##*:}"
  slow_job one 3
  [ "$1" = RUN ] || relay deaf
  running one --url "http://127.0.0.1:$RELAY"
  [ "$1" = START ] || relay deaf
  finish_command 25 # without polling it would take the 30 s after which watch.py doubts its connection
  assert_once one
  assert_calm 0
}

deaf_from_the_start() { deaf_at START; }
deaf_in_the_middle() { deaf_at RUN; }

@test "a WebSocket that stays open and says nothing: polling ends the job, and nobody needs to know" {
  at_once deaf_from_the_start deaf_in_the_middle
}
