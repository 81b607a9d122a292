#!/usr/bin/env bats
# lib/stall.sh: when a job counts as stuck, with the simulator, and a real sshd whose pod has an nvidia-smi.

load test_helper
load lib_helper

# One pod for the whole file; the tests have its AUTOPOD_HOME. What is in $AUTOPOD_HOME/tools comes first on its PATH.
setup_file() {
  local dir pid start port name
  export AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod HOME=$BATS_FILE_TMPDIR/home
  export AUTOPOD_PYTHON=$BATS_TEST_DIRNAME/../.venv/bin/python3
  AUTOPOD_LOCAL_RATE=0.36 make_pod
  mkdir -p "$AUTOPOD_HOME/tools"
  [ ! -f "$AUTOPOD_HOME/no-pod" ] || return 0
  for dir in "$AUTOPOD_HOME"/local/*; do
    sed "s,^SetEnv .*,& PATH=$AUTOPOD_HOME/tools:$PATH," "$dir/sshd_config" >"$dir/sshd_config.new"
    mv "$dir/sshd_config.new" "$dir/sshd_config"
    while read -r name pid start port; do
      [ "$name" != sshd ] || kill -HUP "$pid" # it reads its configuration again
    done <"$dir/processes"
  done
}

teardown_file() {
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod pod_away
}

setup() {
  autopod_setup
  SERVER=''
}

teardown() {
  rm -f "$BATS_FILE_TMPDIR/autopod/tools/nvidia-smi"
  [ -z "$SERVER" ] || kill "$SERVER" || :
  [ -z "$SERVER" ] || wait "$SERVER" || :
  autopod_teardown
}

# stall_prog - runs the program on stdin; `later N` lets N minutes pass, and `check` prints what there is to say
stall_prog() {
  local text
  text=$(cat)
  lib 'config stall' "$@" <<SH
ui_init
core_trap
config_load
_STALL_GAP=100000
later() { SECONDS=\$((SECONDS + \$1 * 60)); }
check() { if stall_check; then echo nothing; else printf '%s|%s|%s\n' "\$STALL_SAYS" "\$STALL_TEXT" "\$STALL_HINT"; fi; }
TARGET_URL=http://127.0.0.1:1
$text
SH
}

# stall_pod - the same on the pod
stall_pod() {
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  need_pod
  run stall_prog <<SH
pod_find local-
TARGET_URL=http://127.0.0.1:\$POD_COMFY_PORT
$(cat)
SH
}

# gpu - the pod gets an nvidia-smi; its program is on stdin
gpu() {
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  { printf '#!/bin/sh\n' && cat; } >"$AUTOPOD_HOME/tools/nvidia-smi"
  chmod +x "$AUTOPOD_HOME/tools/nvidia-smi"
}

# --- time and rules -------------------------------------------------------------------------------

@test "nothing is said while something moves, before the time is up, or with 0" {
  run stall_prog <<'SH'
stall_begin 5 warn
check
later 4; check
stall_moved
later 4; check
later 2; check
stall_begin 0 stop
for i in 1 2 3 4 5 6; do later 20; check; done
SH
  assert_status 0
  assert_equal "${#lines[@]}" 10
  assert_matches '^warn\|the job has stood still for 6m [0-9]+s \(ComfyUI does not answer\)\|unless it moves, it is stopped in 5m 00s' "${lines[3]}"
  assert_equal "$(grep -cx nothing <<<"$output")" 9
}

@test "the rules: warn, and stop at twice the time; cancel; stop" {
  run stall_prog <<'SH'
stall_begin 5 warn
later 5; check
later 4; check
later 1; check
stall_begin 5 warn
later 5; check
stall_moved
later 5; check
for rule in cancel stop; do
  stall_begin 5 "$rule"
  later 4; check
  later 1; check
done
SH
  assert_status 0
  assert_equal "$(cut -d '|' -f 1 <<<"$output" | paste -sd ' ' -)" 'warn nothing stop warn warn nothing cancel nothing stop'
  assert_matches '^stop\|given up: the job has stood still for 10m [0-9]+s \(ComfyUI does not answer\)\|--stall-timeout MINUTES allows more; comfy-run --resume takes it up again$' "${lines[2]}"
  assert_matches '^cancel\|given up: the job has stood still for 5m' "${lines[6]}"
}

@test "a machine that slept, or whose clock was set, has seen nothing stand still" {
  run stall_prog <<'SH'
_STALL_GAP=100
stall_begin 5 stop
later 600; check
for i in 1 2 3 4; do later 1; check; done
later -600; check
for i in 1 2 3 4 5; do later 1; check; done
SH
  assert_equal "$(cut -d '|' -f 1 <<<"$output" | uniq -c | tr -s ' ')" $' 10 nothing\n 1 stop'
  run stall_prog <<<'stall_begin 5 stop; _STALL_GAP=30; later 1; check; later 5; check'
  assert_equal "$output" $'nothing\nnothing'
}

@test "what is spent, and what an hour wastes; nothing of the kind when it is free" {
  run stall_prog <<'SH'
POD_RATE=0.36
os_now
stall_begin 5 stop $((OS_NOW - 3000))
later 5; check
POD_RATE=0
stall_begin 5 stop
later 5; check
SH
  assert_matches '^stop\|[^|]*does not answer\); about \$0.3[01] spent, \$0.36/h wasted\|' "${lines[0]}"
  refute_contains '$' "${lines[1]}"
}

@test "a look costs no other program until it is time" {
  run stall_prog <<'SH'
stall_begin 5 warn
_STALL_LOG_DUE=$((SECONDS + 300))
PATH=/nowhere
for i in 1 2 3 4; do later 1; check; done
SH
  assert_status 0
  assert_equal "$output" $'nothing\nnothing\nnothing\nnothing'
}

# --- the GPU --------------------------------------------------------------------------------------

@test "a GPU that works is progress; an idle one is not" {
  gpu <<<'echo "97, 1000, 2000"'
  stall_pod <<'SH'
stall_begin 5 stop
later 5; check
later 4; check
SH
  assert_equal "$output" $'nothing\nnothing'
  gpu <<<'echo "0, 1000, 2000"; echo "4, 1000, 2000"'
  stall_pod <<'SH'
stall_begin 5 warn
later 5; check
SH
  assert_contains 'warn|the job has stood still for' "${lines[0]}"
  assert_contains '(the GPU is idle); less than $0.01 spent, $0.36/h wasted|' "${lines[0]}"
  assert_matches 'autopod-logs --pod local-[0-9a-f]+ may say why' "${lines[0]}"
}

@test "one of several GPUs that works is enough; so is one that only rested between two steps" {
  gpu <<<'echo "0, 1, 2"; echo "88, 1, 2"'
  stall_pod <<<'stall_begin 5 stop; later 5; check'
  assert_equal "$output" nothing
  gpu <<SH
if [ -e "$PWD/looked" ]; then echo "90, 1, 2"; else echo "0, 1, 2"; fi
touch "$PWD/looked"
SH
  stall_pod <<<'stall_begin 5 stop; later 5; check'
  assert_equal "$output" nothing
}

@test "no nvidia-smi, one without a GPU, one that says anything: no sign of work" {
  stall_pod <<<'stall_begin 5 cancel; later 5; check'
  assert_contains 'cancel|given up: the job has stood still for' "$output"
  assert_contains '(no sign of work)' "$output"
  gpu <<<'echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver." >&2; exit 9'
  stall_pod <<<'stall_begin 5 cancel; later 5; check'
  assert_contains 'no sign of work' "$output"
  gpu <<<'echo "[N/A], 1, 2"; echo "99999, x"; echo "a[\$(touch pwned)], 1"'
  stall_pod <<<'stall_begin 5 cancel; later 5; check'
  assert_contains 'no sign of work' "$output"
  refute_exists pwned
}

@test "a GPU that works does not help when the server does not answer" {
  gpu <<<'echo "97, 1000, 2000"'
  stall_pod <<<'TARGET_URL=http://127.0.0.1:1; stall_begin 5 stop; later 5; check'
  assert_contains 'stop|given up' "$output"
  assert_contains '(ComfyUI does not answer)' "$output"
}

# --- a worker that died ---------------------------------------------------------------------------

# log_server - serves what is on stdin as /internal/logs; sets LOG_URL
log_server() {
  mkdir -p site/internal
  jq -R -s . >site/internal/logs
  "$AUTOPOD_PYTHON" -u -c 'import http.server, os
os.chdir("site")
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()' >port 2>served </dev/null 3>&- &
  SERVER=$!
  wait_until 10 has_line port
  LOG_URL=http://127.0.0.1:$(<port)
}

# log_says - prints what there is to say when the server's log is what is on stdin
log_says() {
  jq -R -s . >site/internal/logs
  run stall_prog "$LOG_URL" <<<'TARGET_URL=$1; stall_begin 0 warn; later 1; check'
}

@test "a server whose worker died is told as what it is: the simulator" {
  AUTOPOD_HOME=$BATS_FILE_TMPDIR/autopod
  need_pod
  stall_pod <<'SH'
stall_begin 5 warn
later 1; check
curl -qsf --noproxy '*' "$TARGET_URL/prompt" -o answer --data-binary '{"prompt": {
  "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}},
  "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
  "9": {"class_type": "EmptyImage"}}}'
for ((i = 0; i < 100; i++)); do
  ! logs_comfy_tail "$TARGET_URL" 100 | grep -q 'KeyError' || break
  sleep 0.1
done
later 1; check
SH
  assert_equal "${lines[0]}" nothing
  assert_matches "^dead\|ComfyUI's worker has died \(KeyError: 'inputs'\): it answers, but runs no job any more; .*0.36/h wasted\|" "${lines[1]}"
  assert_contains '|start it anew: autopod-stop local-' "${lines[1]}"
  assert_contains 'a node without "inputs" did that to it' "${lines[1]}"
}

@test "logs: of servers with time stamps anywhere, of older Pythons, cut off at the end" {
  log_server <<<'Starting server'
  log_says <<'LOG'
2026-01-31T03:17:20.497309 - got prompt
2026-01-31T03:17:21.102377 - Exception in thread Thread-2 (prompt_worker):2026-01-31T03:17:21.102387 - 
2026-01-31T03:17:21.102400 - Traceback (most recent call last):
2026-01-31T03:17:21.102401 - 2026-01-31T03:17:21.102402 -   File "/usr/lib/python3.11/threading.py", line 1045, in _bootstrap_inner
    self.run()
2026-01-31T03:17:21.102410 -   File "/srv/comfyui/execution.py", line 400, in execute
2026-01-31T03:17:21.102420 - 2026-01-31T03:17:21.102421 - RuntimeError: no $(touch pwned) more
2026-01-31T03:17:22.102420 - got prompt
LOG
  assert_contains "dead|ComfyUI's worker has died (RuntimeError: no \$(touch pwned) more): it answers" "$output"
  refute_contains 'without "inputs"'
  refute_exists pwned
  log_says <<'LOG'
Exception in thread Thread-2:
Traceback (most recent call last):
  File "main.py", line 175, in prompt_worker
    e.execute(item[2], prompt_id, item[3], item[4])
KeyError: 'inputs'
LOG
  assert_contains "(KeyError: 'inputs')" "$output"
  log_says <<'LOG'
Exception in thread Thread-2 (prompt_worker):
Traceback (most recent call last):
  File "main.py", line 175, in prompt_worker
LOG
  assert_contains "dead|ComfyUI's worker has died: it answers" "$output"
}

@test "logs: other threads and failed prompts are no dead worker; a log that is none says nothing" {
  local text
  log_server <<<'Starting server'
  log_says <<'LOG'
Exception in thread Thread-7 (download):
Traceback (most recent call last):
  File "x.py", line 1, in download
OSError: gone
!!! Exception during processing !!! lab failure message
Traceback (most recent call last):
  File "main.py", line 175, in prompt_worker
RuntimeError: lab failure message

Prompt executed in 0.01 seconds
LOG
  assert_equal "$output" nothing
  log_says </dev/null
  assert_equal "$output" nothing
  for text in '' '{}' '[1]' '<html>Exception in thread Thread-2 (prompt_worker):</html>'; do
    printf '%s' "$text" >site/internal/logs
    run stall_prog "$LOG_URL" <<<'TARGET_URL=$1; stall_begin 0 warn; later 1; check'
    assert_equal "$output" nothing "with $text"
  done
}
