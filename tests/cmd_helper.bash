# shellcheck shell=bash
# cmd_helper.bash - what the tests of the commands share: jobs and templates to run, the double of a server
# (tests/doubles/lying_comfyui.py), and commands that run in the background and are ended in some way.

COMMAND_PID='' DOUBLE_PID=''

# cmd_setup - a world of its own, ports of its own (files are tested at the same time), and two templates
cmd_setup() {
  autopod_setup
  free_port
  export AUTOPOD_PORT=$FREE_PORT
  cmd_templates
}

# cmd_teardown - ends what the test started by itself; what the commands left behind fails the test
cmd_teardown() {
  local status=0
  [ -z "$COMMAND_PID" ] || kill_command_group
  double_stop
  refute_left_pods || status=1
  autopod_teardown || status=1
  return "$status"
}

# refute_left_pods - fails, and ends it, when something of a pod still runs (sshd overwrites its environment, by which
# the processes of a test are found; but its arguments name the pod's directory)
refute_left_pods() {
  local left pid _rest
  # shellcheck disable=SC2009 # pgrep can't tell a fixed text from a pattern
  left=$(ps -A -o pid=,args= | grep -F -e "$BATS_TEST_TMPDIR/" | grep -F -e /local/local- | grep -vF -e 'grep -F')
  [ -n "$left" ] || return 0
  _complain 'the test left pods behind:' "$left"
  while read -r pid _rest; do
    kill -9 "$pid" 2>/dev/null || :
  done <<<"$left"
  return 1
}

# free_port - sets FREE_PORT: the next dozen are most likely free, too
free_port() {
  while :; do
    FREE_PORT=$((12000 + RANDOM % 7000))
    (exec 3<>"/dev/tcp/127.0.0.1/$FREE_PORT") 2>/dev/null || return 0
  done
}

# cmd_templates - ./templates: picture (a plain picture) and scale (from an input picture)
cmd_templates() {
  mkdir -p templates
  cat >templates/picture.json <<'JSON'
{
  "1": {
    "class_type": "EmptyImage",
    "inputs": { "width": "{input.width|64}", "height": 48, "batch_size": "{input.count|1}", "color": "{input.color|255}" }
  },
  "2": {
    "class_type": "SaveImage", "_meta": { "title": "Result" },
    "inputs": { "images": ["1", 0], "filename_prefix": "pic/{job_id}" }
  }
}
JSON
  cat >templates/scale.json <<'JSON'
{
  "1": { "class_type": "LoadImage", "inputs": { "image": "{input.image}" } },
  "2": { "class_type": "ImageInvert", "inputs": { "image": ["1", 0] } },
  "3": { "class_type": "SaveImage", "inputs": { "images": ["2", 0], "filename_prefix": "pic/{job_id}" } }
}
JSON
  cat >templates/slow.json <<'JSON'
{
  "1": { "class_type": "EmptyImage", "inputs": { "width": 16, "height": 16, "batch_size": 1, "color": "{input.color|1}" } },
  "2": { "class_type": "Sleep", "inputs": { "image": ["1", 0], "seconds": "{input.seconds|60}", "steps": 600, "seed": "{input.seed|1}" } },
  "3": { "class_type": "SaveImage", "inputs": { "images": ["2", 0], "filename_prefix": "{job_id}" } }
}
JSON
}

# job ID TEMPLATE [INPUTS_JSON [MORE_JSON]] - writes ./ID.json; MORE_JSON is merged over the job
job() {
  jq -n --arg id "$1" --arg template "$2" --argjson inputs "${3:-"{}"}" --argjson more "${4:-"{}"}" \
    '{job_id: $id, workflow_template: $template, inputs: $inputs} * $more' >"./$1.json"
}

# png FILE [COLOUR [WIDTH]] - writes a real picture
png() {
  "$AUTOPOD_PYTHON" -c 'import sys; from PIL import Image
Image.new("RGB", (int(sys.argv[3]), 8), sys.argv[2]).save(sys.argv[1], "PNG")' "$1" "${2:-red}" "${3:-8}"
}

# comfy_run ARG... - `run`s comfy-run, its two outputs apart; what --json says has to be right as a whole
comfy_run() {
  local word events=''
  run --separate-stderr "$AUTOPOD_BIN/comfy-run" "$@"
  for word; do
    case $word in
      --json) events=1 ;;
      --json=* | -q | --quiet | -n | --dry-run | -h | --help) return 0 ;; # one object, or no run at all
    esac
  done
  [ -z "$events" ] || assert_events "$output"
}

# assert_events TEXT - each line is an event as events.schema.json has it, and together they make sense
assert_events() {
  local faults
  faults=$("$AUTOPOD_PYTHON" "$ROOT/tests/doubles/events_check.py" "$ROOT/events.schema.json" <<<"$1" 2>&1) ||
    { _complain 'events that are none:' "$faults" && return 1; }
}

# event NAME FILTER [TEXT] - prints what jq's FILTER makes of each event NAME in TEXT (default: $output)
event() { jq -r --arg name "$1" 'select(.event == $name) | '"$2" <<<"${3-$output}"; }

# --- the double -----------------------------------------------------------------------------------

# double_start [FAULTS_JSON [PORT]] - starts a server that lies; sets DOUBLE to its URL
double_start() {
  local out=$BATS_TEST_TMPDIR/double.port port=''
  : >"$out"
  LYING_FAULTS=${1:-"{}"} "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/lying_comfyui.py" --port "${2:-0}" \
    --notes "$BATS_TEST_TMPDIR/executions" >"$out" 2>"$BATS_TEST_TMPDIR/double.err" 3>&- &
  DOUBLE_PID=$!
  wait_until 20 has_line "$out"
  read -r port <"$out"
  DOUBLE=http://127.0.0.1:$port
}

# double_stop - ends it
double_stop() {
  [ -z "$DOUBLE_PID" ] || kill "$DOUBLE_PID" 2>/dev/null || :
  [ -z "$DOUBLE_PID" ] || wait "$DOUBLE_PID" 2>/dev/null || :
  DOUBLE_PID=''
}

# double_tell JSON [URL] - switches faults on and off
double_tell() { curl -qsf --noproxy '*' -o "$BATS_TEST_TMPDIR/told" --data-binary "$1" "${2:-$DOUBLE}/double"; }

# double_ask FILTER [URL] - prints what jq's FILTER makes of what the double has seen
double_ask() { curl -qsf --noproxy '*' "${2:-$DOUBLE}/double" | jq -r "$1"; }

# double_says FILTER WANTED [URL] - 0 when that is so
double_says() { [ "$(double_ask "$1" "${3:-$DOUBLE}")" = "$2" ]; }

# double_picture PATH [SIZE] - sets PICTURE_SUM to the sha256 of what the double gives out as PATH (folder/name)
double_picture() {
  PICTURE_SUM=$(curl -qsf --noproxy '*' "$DOUBLE/view?subfolder=${1%/*}&filename=${1##*/}" | sum_of)
}

# sum_of - prints the sha256 of stdin
sum_of() { "$AUTOPOD_PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# assert_executions N - the double has executed N prompts, restarts of it included
assert_executions() {
  local count=0
  [ ! -f "$BATS_TEST_TMPDIR/executions" ] || count=$(wc -l <"$BATS_TEST_TMPDIR/executions")
  assert_equal "$((count))" "$1" "number of executions on the server"
}

# --- the double as the ComfyUI of local pods --------------------------------------------------------

# pod_job [FAULTS_JSON] - the job `one`, and new pods that run the double as their ComfyUI
pod_job() {
  mkdir "$BATS_TEST_TMPDIR/comfyui"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$BATS_TEST_TMPDIR/comfyui/main.py"
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  export LYING_NOTES=$BATS_TEST_TMPDIR/executions LYING_FAULTS=${1:-"{}"}
  job one picture
}

# pod_double - sets DOUBLE to the double in the pod that was made, past its tunnel, once it answers
pod_double() {
  wait_until 30 the_pod >/dev/null 2>&1 || return
  POD=$(the_pod)
  wait_until 30 grep -qs '^comfyui ' "$AUTOPOD_HOME/local/$POD/processes"
  DOUBLE=http://127.0.0.1:$(awk '$1 == "comfyui" { print $4 }' "$AUTOPOD_HOME/local/$POD/processes")
  wait_until 30 double_ask . >/dev/null 2>&1
}

# running_on_pod ARG... - starts comfy-run, and waits until its prompt runs on the pod it made
running_on_pod() {
  start_command comfy-run "$@"
  pod_double
  wait_until 30 double_says .running true
}

# --- commands in the background -------------------------------------------------------------------

# start_command NAME ARG... - starts a command in a process group of its own, with the signals as a terminal gives
# them (a shell's background jobs ignore Ctrl+C); sets COMMAND_PID. Its outputs are in command.out and command.err.
start_command() {
  local name=$1
  shift
  "$AUTOPOD_PYTHON" -c 'import os, signal, sys
os.setpgid(0, 0)
for ignored in (signal.SIGINT, signal.SIGHUP):  # by a shell for its background jobs, and by nohup
    signal.signal(ignored, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$AUTOPOD_BIN/$name" "$@" \
    >"$BATS_TEST_TMPDIR/command.out" 2>"$BATS_TEST_TMPDIR/command.err" </dev/null 3>&- &
  COMMAND_PID=$!
}

# command_ended - 0 when the started command no longer runs
command_ended() { ! kill -0 "$COMMAND_PID" 2>/dev/null; }

# finish_command [SECONDS] - waits for it; sets status, output and stderr as `run` does; fails when it takes longer
finish_command() {
  wait_until "${1:-60}" command_ended || return
  status=0
  wait "$COMMAND_PID" 2>/dev/null || status=$?
  COMMAND_PID=''
  output=$(<"$BATS_TEST_TMPDIR/command.out")
  stderr=$(<"$BATS_TEST_TMPDIR/command.err")
}

# kill_command SIGNAL - sends it to the command itself; finish_command tells the rest
kill_command() { kill -s "$1" "$COMMAND_PID"; }

# kill_command_group - kill -9 for the command and its helpers, as when a machine is switched off
kill_command_group() {
  kill -9 -- "-$COMMAND_PID" 2>/dev/null || :
  { wait "$COMMAND_PID"; } 2>/dev/null || :
  COMMAND_PID=''
}

# command_said TEXT - 0 when the started command has said it
command_said() { grep -qF -e "$1" "$BATS_TEST_TMPDIR/command.err"; }

# --- what is there --------------------------------------------------------------------------------

# the_run - prints the directory of the only run
the_run() {
  local runs
  runs=("$AUTOPOD_HOME"/runs/*/)
  [ "${#runs[@]}" = 1 ] && [ -d "${runs[0]}" ] || { _complain "wanted one run, but there are:" "${runs[@]}" && return 1; }
  printf '%s\n' "${runs[0]%/}"
}

# assert_no_runs - nothing was started
assert_no_runs() {
  assert_equal "$(find "$AUTOPOD_HOME/runs" -mindepth 1 2>/dev/null)" '' 'content of runs/'
}

# assert_no_pods - no pod is left
assert_no_pods() {
  assert_equal "$(find "$AUTOPOD_HOME/local" -mindepth 1 -maxdepth 1 2>/dev/null)" '' 'pods that are left'
}

# the_pod - prints the id of the only local pod
the_pod() {
  local pods
  pods=("$AUTOPOD_HOME"/local/*/)
  [ "${#pods[@]}" = 1 ] && [ -d "${pods[0]}" ] || { _complain "wanted one pod, but there are:" "${pods[@]}" && return 1; }
  basename "${pods[0]}"
}

# pod_field ID FIELD - prints a field of a pod, as .comfy_port
pod_field() { "$AUTOPOD_BIN/autopod-info" --json "$1" | jq -r "$2"; }

# pod_process ID NAME - prints the pid of the pod's sshd or comfyui
pod_process() { awk -v name="$2" '$1 == name { print $2 }' "$AUTOPOD_HOME/local/$1/processes"; }

# alive PID - 0 when it runs (and isn't merely waiting to be reaped, or reaped in this very moment: then ps says nothing)
alive() {
  local state
  kill -0 "$1" 2>/dev/null || return
  state=$(ps -o stat= -p "$1" | cut -c 1)
  [ -n "$state" ] && [ "$state" != Z ]
}

# gone PID - 0 when it no longer runs
gone() { ! alive "$1"; }
