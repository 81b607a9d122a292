# comfy-run from end to end on the local provider: a real sshd, a real tunnel, and a ComfyUI that really runs the workflow.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

# One pod for the tests that need any pod; those about making and ending pods have their own $AUTOPOD_HOME.
setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
  mkdir "$BATS_TEST_TMPDIR"
  autopod_setup
  export SHARED_HOME=$AUTOPOD_HOME
  "$AUTOPOD_BIN/autopod-connect" -q --no-tunnel
}

teardown_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
  AUTOPOD_HOME=$SHARED_HOME "${AUTOPOD_BIN:-$ROOT/bin}/autopod-kill" -q --all --yes
  refute_left_pods
}

setup() { cmd_setup; }

teardown() {
  [ -z "${MOUNTED:-}" ] || umount "$MOUNTED"
  cmd_teardown
}

# on_shared_pod - this test's commands use the pod of the file; sets POD, POD_DIR and POD_URL (ComfyUI, past the tunnel)
on_shared_pod() {
  export AUTOPOD_HOME=$SHARED_HOME
  POD=$(the_pod)
  POD_DIR=$AUTOPOD_HOME/local/$POD
  POD_URL=http://127.0.0.1:$(awk '$1 == "comfyui" { print $4 }' "$POD_DIR/processes")
}

# pod_get PATH - what the shared pod's ComfyUI answers
pod_get() { curl -qsf --noproxy '*' "$POD_URL/$1"; }

# colour FILE - prints the colour of its first pixel and its size, as "0 255 255 8x8"
colour() {
  "$AUTOPOD_PYTHON" -c 'import sys; from PIL import Image
image = Image.open(sys.argv[1]).convert("RGB")
print(*image.getpixel((0, 0)), "%dx%d" % image.size)' "$1"
}

# result FILTER [JOB] - a field of a run's result.json
result() {
  local runs=("$AUTOPOD_HOME/runs/${2:-one}".*)
  jq -r "$1" "${runs[0]}/result.json"
}

# --- pods -----------------------------------------------------------------------------------------

# nothing_is_left - 0 when there are no host keys, no locks and no temporary files
nothing_is_left() { [ -z "$(find "$AUTOPOD_HOME/known_hosts.d" "$AUTOPOD_HOME/locks" "$TMPDIR" -mindepth 1)" ]; }

@test "no pod: one is made, the input uploaded, the output right and verified, the pod gone" {
  png in.png red
  job one scale '{"image": "in.png"}' '{"pod_config": {"gpu_type": "RTX A40", "gpu_count": 2}}'
  AUTOPOD_LOCAL_RATE=0.44 comfy_run one.json
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(colour outputs/one_00001_.png)" '0 255 255 8x8'
  assert_equal "$(result '.outputs[0] | "\(.sha256) \(.bytes) \(.path)"')" \
    "$(sum_of <outputs/one_00001_.png) $(($(wc -c <outputs/one_00001_.png))) $PWD/outputs/one_00001_.png"
  assert_equal "$(result '.status, .exit_code, .pod.gpu, .pod.cost_per_hr, .comfyui_version' | paste -sd '|' -)" 'success|0|2 × RTX A40|0.44|0.3.64'
  assert_equal "$(result '.cost_usd > 0 and .cost_usd < 0.05')" true
  assert_contains ' RTX A40, $0.44/h, made for this run' "$stderr"
  assert_contains 'is terminated; it cost' "$stderr"
  assert_no_pods
  assert_equal "$(jq -c '[.pods // {}, .intents // {}]' "$AUTOPOD_HOME/pods.json")" '[{},{}]'
  assert_equal "$(jq -c . "$AUTOPOD_HOME/tunnels.json")" '{}'
  refute_exists "$HOME/.ssh"
  wait_until 30 nothing_is_left # the watcher goes when it has seen that no pod is left
}

@test "everything is private: files and directories of the toolkit are for their owner only" {
  umask 000
  job one picture
  comfy_run one.json
  assert_status 0
  assert_equal "$(find "$AUTOPOD_HOME" ! -type l -perm /077)" '' 'open to others'
}

@test "a home, a working directory and names with blanks, quotes, percent signs and more" {
  export AUTOPOD_HOME="$BATS_TEST_TMPDIR/it's my 50% pöd %h"
  local here="-a b'c\"d \$(touch pwned) ü"
  mkdir -- "$here" && cp -R templates "./$here/" && cd -- "$here"
  mkdir -- '-in'
  png './-in/-pic ü'"'"'".png'
  jq -n '{job_id: "one", workflow_template: "scale", inputs: {image: "./-in/-pic ü'"'"'\".png"},
    outputs: {"image": "-out/-x ü'"'"'\" $(touch pwned).png"}}' >./-job.json
  AUTOPOD_BOOT_TIMEOUT=20 comfy_run -- -job.json
  assert_status 0
  assert_file "./-out/-x ü'\" \$(touch pwned).png"
  assert_equal "$(find "$BATS_TEST_TMPDIR" -name pwned)" ''
  assert_no_pods
  cd ..
}

@test "a pod that runs is used, and kept; the output is the file that the pod has" {
  on_shared_pod
  job used picture '{"color": 65280}'
  comfy_run used.json
  assert_status 0
  assert_contains "$POD" "$stderr"
  refute_contains terminated "$stderr"
  cmp outputs/used_00001_.png "$POD_DIR/comfyui/output/pic/used_00001_.png"
  assert_equal "$(colour outputs/used_00001_.png)" '0 255 0 64x48'
  assert_equal "$(pod_field "$POD" .status)" running
  assert_equal "$(jq -c . "$AUTOPOD_HOME/tunnels.json")" '{}' 'tunnels that are left'
}

@test "an open tunnel is used and left open; --pod takes the beginning of an id, or a name" {
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  mkdir "$AUTOPOD_LOCAL_COMFYUI" && cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
  run --separate-stderr "$AUTOPOD_BIN/autopod-connect" --json
  assert_status 0
  local pod=$output tunnel
  tunnel=$(<"$AUTOPOD_HOME/tunnels.json")
  job one picture
  comfy_run --pod "$(jq -r '.id[0:10]' <<<"$pod")" one.json
  assert_status 0
  job two picture
  comfy_run --pod "$(jq -r .name <<<"$pod")" two.json
  assert_status 0
  job three picture
  comfy_run --pod nosuch three.json
  assert_status 4
  assert_contains 'there is no pod "nosuch"' "$stderr"
  assert_equal "$(<"$AUTOPOD_HOME/tunnels.json")" "$tunnel" 'tunnels.json'
  # a second pod: which one is meant?
  "$AUTOPOD_BIN/autopod-connect" -q --no-tunnel
  comfy_run three.json
  assert_status 2
  assert_contains "$(jq -r .id <<<"$pod")" "$stderr"
  assert_contains '2 pods could be meant' "$stderr"
  assert_contains '--pod' "$stderr"
  run --separate-stderr "$AUTOPOD_BIN/autopod-kill" --all
  assert_status 0
  assert_no_pods
}

@test "several jobs: one pod, each input uploaded once, a failure in the middle, a table, the first failure's code" {
  png in.png blue
  cp in.png same.png
  job first scale '{"image": "in.png"}'
  jq '.["2"].class_type = "Fail" | .["2"].inputs.message = "on purpose"' templates/scale.json >templates/broken.json
  job second broken '{"image": "same.png"}'
  job third scale '{"image": "same.png"}'
  jq '.["3"].inputs.images = ["99", 0] | .["99"] = {class_type: "NoSuchNode", inputs: {}}' templates/scale.json >templates/refused.json
  job fourth refused '{"image": "in.png"}'
  AUTOPOD_LOCAL_RATE=1 comfy_run --json=final first.json second.json third.json fourth.json
  assert_status 8
  assert_equal "$(jq -c '[.exit_code, (.jobs | map("\(.job_id) \(.status) \(.exit_code)"))]' <<<"$output")" \
    '[8,["first success 0","second failed 8","third success 0","fourth failed 7"]]'
  assert_equal "$(jq -r '.jobs | map(.pod.id) | unique | length' <<<"$output")" 1
  assert_contains 'on purpose [RuntimeError]' "$stderr"
  assert_contains 'NoSuchNode' "$stderr"
  local id
  for id in first second third fourth; do assert_matches "(success|failed).*$id" "$stderr"; done
  assert_equal "$(colour outputs/third_00001_.png)" '255 255 0 8x8'
  assert_equal "$(jq -r '.uploads[0].server_name' "$AUTOPOD_HOME"/runs/*/uploads.json | sort -u | wc -l | tr -d ' ')" 1
  assert_no_pods
}

# --- servers and ports ----------------------------------------------------------------------------

@test "a local port that is taken is never talked to, even when a ComfyUI seems to answer there" {
  on_shared_pod
  double_start '{}' "$AUTOPOD_PORT"
  job taken picture
  comfy_run taken.json
  assert_status 0
  assert_contains "$AUTOPOD_PORT is taken" "$stderr"
  assert_matches "using 1[0-9]+" "$stderr"
  assert_equal "$(double_ask '.requests | length')" 0 'requests to the other program'
  assert_file outputs/taken_00001_.png
}

@test "--no-tunnel uses what answers at the local port, and fails with 5 when nothing does" {
  job one picture
  comfy_run --no-tunnel one.json
  assert_status 5
  assert_contains "no ComfyUI at http://127.0.0.1:$AUTOPOD_PORT" "$stderr"
  double_start '{}' "$AUTOPOD_PORT"
  comfy_run --no-tunnel one.json
  assert_status 0
  assert_executions 1
  assert_no_pods
}

@test "--url takes a server as it is: with a slash at the end, without http://" {
  double_start
  job one picture
  comfy_run --url "$DOUBLE/" one.json
  assert_status 0
  job two picture
  comfy_run --url "${DOUBLE#http://}" two.json
  assert_status 0
  assert_equal "$(double_ask '[.requests[] | select(contains("//"))] | length')" 0
}

# --- outputs --------------------------------------------------------------------------------------

@test "outputs: by node id, title, prefix, kind and *, numbered when several, with the real extension" {
  on_shared_pod
  jq -n '{
    "1": {class_type: "EmptyImage", inputs: {width: 16, height: 16, batch_size: 3, color: 255}},
    "2": {class_type: "SaveImage", inputs: {images: ["1", 0], filename_prefix: "a/by_prefix"}},
    "3": {class_type: "SaveImage", inputs: {images: ["1", 0], filename_prefix: "by_id"}},
    "4": {class_type: "SaveImage", inputs: {images: ["1", 0], filename_prefix: "by_title"}, _meta: {title: "My Title"}},
    "5": {class_type: "SaveAnimatedWEBP", inputs: {images: ["1", 0], filename_prefix: "film", fps: 6, lossless: true, quality: 80, method: "default"}},
    "6": {class_type: "Tone", inputs: {seconds: 0.2, hz: 440}},
    "7": {class_type: "SaveAudio", inputs: {audio: ["6", 0], filename_prefix: "sound"}},
    "8": {class_type: "PreviewAny", inputs: {source: ["9", 0]}},
    "9": {class_type: "PrimitiveInt", inputs: {value: 947}}}' >templates/many.json
  job many many '{}' '{"outputs": {"3": "o/id.png", "My Title": "o/title.jpg", "by_prefix": "o/pre/",
    "audio": "o/{job_id}-sound.mp3", "text": "o/text", "image": "o/any.png"}}'
  comfy_run many.json
  assert_status 0
  assert_equal "$(cd o && find . -type f | LC_ALL=C sort | tr '\n' ' ')" \
    './any.webp ./id-2.png ./id-3.png ./id.png ./many-sound.flac ./pre/by_prefix_00001_.png ./pre/by_prefix_00002_.png ./pre/by_prefix_00003_.png ./text.txt ./title-2.png ./title-3.png ./title.png '
  assert_contains 947 "$(<o/text.txt)"
  assert_equal "$(head -c 4 o/many-sound.flac)" fLaC
  refute_exists outputs
}

@test "an output name that nothing matches is told; the files are kept" {
  on_shared_pod
  job one picture '{}' '{"outputs": {"Resutl": "here.png"}}'
  comfy_run one.json
  assert_status 9
  assert_contains 'no file came for: Resutl' "$stderr"
  assert_file outputs/one_00001_.png
}

@test "previews (temp files) come too, after the saved ones" {
  on_shared_pod
  jq '.["3"] = {class_type: "PreviewImage", inputs: {images: ["1", 0]}}' templates/picture.json >templates/preview.json
  job preview preview '{}' '{"outputs": {"image": "o/x.png"}}'
  comfy_run preview.json
  assert_status 0
  cmp o/x.png "$POD_DIR/comfyui/output/pic/preview_00001_.png"
  assert_file o/x-2.png
}

@test "an existing file is kept unless --overwrite is given" {
  double_start
  job one picture '{}' '{"outputs": {"*": "mine.png"}}'
  echo precious >mine.png
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_equal "$(<mine.png)" precious
  local others=(mine-*T*Z.png)
  assert_file "${others[0]}"
  assert_contains "$PWD/${others[0]}" "$stderr"
  comfy_run --url "$DOUBLE" --overwrite one.json
  assert_status 0
  [ "$(head -c 4 mine.png)" = $'\x89PNG' ]
  assert_equal "$(find . -name '*.png' | wc -l | tr -d ' ')" 2
}

@test "--output-dir is made when it is missing; placeholders and --set fill paths and workflows" {
  double_start
  jq '.["2"].inputs.note = "${NOTE} {input.who}"' templates/picture.json >templates/noted.json
  job one noted '{"who": "a \"quoted\"\n{job_id} $(touch pwned) \\ value"}'
  # shellcheck disable=SC1003 # a value that ends in a backslash
  comfy_run --url "$DOUBLE" -o 'new dir/deep' --set 'NOTE=x=${NOTE}"\' one.json
  assert_status 0
  assert_file 'new dir/deep/one_00001_.png'
  assert_equal "$(jq -r '.["2"].inputs.note' "$(the_run)/workflow.json")" $'x=${NOTE}"\\ a "quoted"\n{job_id} $(touch pwned) \\ value'
  refute_exists pwned
}

# --- the server says no ---------------------------------------------------------------------------

@test "a refused workflow: node title, class and id, field, given, allowed, nearest; large numbers as they are" {
  on_shared_pod
  jq -n '{
    "1": {class_type: "CheckpointLoaderSimple", inputs: {ckpt_name: "v1-5-pruned-emaonly-fp16.safetensors"}, _meta: {title: "Model"}},
    "2": {class_type: "CLIPTextEncode", inputs: {text: "x", clip: ["1", 1]}},
    "4": {class_type: "EmptyLatentImage", inputs: {width: 64, height: 64, batch_size: 1}},
    "5": {class_type: "KSampler", _meta: {title: "My Sampler"}, inputs: {model: ["1", 0], seed: 1, steps: 999999, cfg: 7, sampler_name: "eulr",
      scheduler: "normal", positive: ["2", 0], negative: ["2", 0], latent_image: ["4", 0], denoise: 1.0}},
    "6": {class_type: "VAEDecode", inputs: {samples: ["5", 0], vae: ["1", 2]}},
    "7": {class_type: "SaveImage", inputs: {images: ["6", 0], filename_prefix: "x"}}}' >templates/txt.json
  job refused txt
  comfy_run --no-check refused.json
  assert_status 7
  assert_contains 'KSampler "My Sampler" (node 5)' "$stderr"
  assert_contains 'sampler_name' "$stderr"
  assert_contains '"eulr"' "$stderr"
  assert_contains '"euler"' "$stderr"
  assert_contains 'steps' "$stderr"
  assert_contains '999999' "$stderr"
  assert_contains '10000' "$stderr"
  refute_exists outputs
  assert_equal "$(pod_field "$POD" .status)" running
}

@test "a seed beyond 2^53 arrives digit by digit" {
  on_shared_pod
  echo '{"job_id": "seed", "workflow_template": "slow", "inputs": {"seed": 9007199254740993, "seconds": 0}}' >seed.json
  comfy_run seed.json
  assert_status 0
  assert_contains '"seed":9007199254740993' "$(tr -d ' \n' <"$AUTOPOD_HOME"/runs/seed.*/workflow.json)"
  assert_contains 9007199254740993 "$(pod_get "history/$(result .prompt_id seed)")"
}

@test "a workflow that fails, runs out of memory, or makes nothing" {
  on_shared_pod
  jq '.["3"] = {class_type: "Fail", inputs: {image: ["1", 0], message: "it broke"}, _meta: {title: "Breaker"}} | .["2"].inputs.images = ["3", 0]' \
    templates/picture.json >templates/fail.json
  job fail fail
  comfy_run fail.json
  assert_status 8
  assert_contains 'Fail "Breaker" (node 3): it broke [RuntimeError]' "$stderr"
  jq '.["3"] |= (.class_type = "OOM" | del(.inputs.message))' templates/fail.json >templates/oom.json
  job oom oom
  comfy_run oom.json
  assert_status 8
  assert_contains 'the GPU ran out of memory' "$stderr"
  assert_contains 'gpu_type' "$stderr"
  assert_equal "$(pod_get queue | jq -c .)" '{"queue_running":[],"queue_pending":[]}'
}

@test "the time limit takes the prompt off a real queue, running or waiting" {
  on_shared_pod
  job limit slow '{"seconds": 120}'
  comfy_run --timeout 0.03 limit.json
  assert_status 10
  assert_contains 'cancelled on the server' "$stderr"
  assert_equal "$(pod_get queue | jq -c '[.queue_running, .queue_pending] | map(length)')" '[0,0]'
  assert_equal "$(result .exit_code limit)" 10
}

@test "--json=final: one object on stdout and nothing else, whether it went well or not" {
  double_start
  job one picture
  comfy_run --url "$DOUBLE" --json=final one.json
  assert_status 0
  assert_equal "$(wc -l <<<"$output" | tr -d ' ')" 1
  assert_equal "$(jq -r '[.exit_code, .jobs[0].status, .jobs[0].job_id, (.jobs[0].outputs[0] | .node, .kind, .bytes, .path, .server_name)] | map(tostring) | join(" ")' <<<"$output")" \
    "0 success one 2 image 300 $PWD/outputs/one_00001_.png pic/one_00001_.png"
  assert_equal "$(jq -c '.jobs[0] | keys' <<<"$output")" \
    '["autopod_version","bill","comfyui_version","cost_usd","downloaded","error","exit_code","finished_at","hint","job_id","limits","outputs","pod","prompt_id","run","seconds","seed","server_seconds","status","template","url"]'
  double_tell '{"ending": "error", "message": "boom"}'
  comfy_run --url "$DOUBLE" --json=final one.json
  assert_status 8
  assert_equal "$(jq -r '.exit_code, .jobs[0].exit_code, .jobs[0].status, .jobs[0].error' <<<"$output" | paste -sd ' ' -)" \
    '8 8 failed EmptyImage (node 1): boom [RuntimeError]'
}

# --- what people see ------------------------------------------------------------------------------

@test "without a terminal: plain lines; -q: nothing; -v and --debug: more; all of it in the log" {
  double_start
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_equal "$output" ''
  refute_contains $'\033' "$stderr"
  refute_contains $'\r' "$stderr"
  assert_contains "$PWD/outputs/one_00001_.png" "$stderr"
  assert_matches 'Done in [0-9]+s' "$stderr"
  CLICOLOR_FORCE=1 comfy_run --url "$DOUBLE" one.json
  assert_contains $'\033[32m' "$stderr"
  comfy_run -q --url "$DOUBLE" --output-dir q one.json
  assert_status 0
  assert_equal "$output$stderr" ''
  comfy_run --debug --url "$DOUBLE" --output-dir d one.json
  assert_contains '+ curl' "$stderr"
  assert_contains 'Download' "$(<"$AUTOPOD_HOME/logs/autopod.log")"
}

@test "on a terminal: lines that are redrawn, colours, and none with NO_COLOR" {
  double_start '{"seconds": 1}'
  job one picture
  TERM=xterm run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" "$AUTOPOD_BIN/comfy-run" --url "$DOUBLE" one.json
  assert_status 0
  assert_contains $'\r'
  assert_contains $'\033[32m'
  TERM=xterm NO_COLOR=1 run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" "$AUTOPOD_BIN/comfy-run" --url "$DOUBLE" -o n one.json
  assert_status 0
  refute_contains $'\033[32m'
}
