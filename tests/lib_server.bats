#!/usr/bin/env bats
# lib/server.sh and lib/logs.sh: what the commands' tests (cmd_comfy.bats, cmd_logs.bats) can't see.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

# gpu - server_gpu with a pod whose ssh is the stand-in
gpu() {
  make_home
  lib 'config server' <<'SH'
ui_init
core_trap
config_load
POD_ID=pod POD_SSH_HOST=127.0.0.1 POD_SSH_PORT=1 POD_SSH_USER=me
status=0
server_gpu || status=$?
echo "$status <$SERVER_GPU_BUSY>"
POD_SSH_PORT=''
! server_gpu && echo "without an address: <$SERVER_GPU_BUSY>"
SH
}

@test "how busy the GPU is: the busiest one counts, and what makes no sense does not" {
  stub ssh <<<'printf "%s\n" "$*" >"$BATS_TEST_TMPDIR/asked"; printf "7, 100, 200\n93, 4, 5\n[N/A], 1, 2\n08, 1, 1\n9999, 1, 1\n"'
  run gpu
  assert_equal "$output" $'0 <93>\nwithout an address: <>'
  assert_contains 'nvidia-smi --query-gpu=utilization.gpu' "$(<"$BATS_TEST_TMPDIR/asked")"
  stub ssh <<<'echo "NVIDIA-SMI has failed"; exit 9'
  run gpu
  assert_equal "${lines[0]}" '1 <>'
  stub ssh <<<'echo "[N/A], 1, 2"'
  run gpu
  assert_equal "${lines[0]}" '1 <>'
  stub ssh <<<'exit 255'
  run gpu
  assert_equal "${lines[0]}" '1 <>'
}

# added OLD NEW - the lines (letters, one a line) that NEW has and OLD has not
added() {
  fold -w 1 <<<"$1" >old
  fold -w 1 <<<"$2" >new
  lib logs <<<'_logs_added old new' | tr -d '\n'
}

@test "what a log has more than before" {
  assert_equal "$(added abc abcde)" de
  assert_equal "$(added abc cde)" de # a and b are forgotten
  assert_equal "$(added abc abc)" ''
  assert_equal "$(added abc bc)" ''
  assert_equal "$(added abb abbb)" b
  assert_equal "$(added axx xxx)" x
  assert_equal "$(added abc xyz)" xyz
  : >nothing
  printf 'a\n' >new
  assert_equal "$(lib logs <<<'_logs_added nothing new; _logs_added new nothing')" a
  assert_equal "$(added xabc abcxabcd)" d
}

@test "where the log is, by the image" {
  run lib 'config logs' <<'SH'
config_load
paths() { POD_PROVIDER=runpod POD_IMAGE=$1; _logs_paths; echo "${LOGS_PATHS[*]}"; }
paths runpod/comfyui:cuda12.8
paths ashleykza/comfyui:v1
paths ghcr.io/ai-dock/comfyui:latest
paths somebody/else
POD_PROVIDER=local POD_ID=local-12345678; _logs_paths; echo "${LOGS_PATHS[*]#"$AUTOPOD_HOME/"}"
SH
  assert_equal "${lines[0]}" /workspace/runpod-slim/ComfyUI/user/comfyui.log
  assert_equal "${lines[1]}" /workspace/logs/comfyui.log
  assert_equal "${lines[2]}" /var/log/supervisor/comfyui.log
  assert_contains ' /workspace/ComfyUI/user/comfyui.log ' "${lines[3]}"
  assert_equal "${lines[4]}" local/local-12345678/comfyui.log
}

@test "a line of a log, without what a terminal obeys" {
  run lib logs <<'SH'
ui_init
logs_line $'plain'
logs_line $'\033[1;31mred\033[0m and \033]8;;http://x\007link\033]8;;\033\\ end\r'
logs_line $'10 %\r20 %\r100 %'
logs_line $'\033(B\033=\033'
logs_line $'bytes \xff\xfe, tab\there'
SH
  assert_equal "$output" $'plain\nred and link end\n100 %\n\nbytes \xff\xfe, tab here'
}
