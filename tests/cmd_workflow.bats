# comfy-run --workflow from end to end on the local provider: workflows in any form, with the values that the call says.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

# One pod for all tests.
setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
  mkdir "$BATS_TEST_TMPDIR"
  autopod_setup
  export SHARED_HOME=$AUTOPOD_HOME
  "$AUTOPOD_BIN/autopod-connect" -q
}

teardown_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
  AUTOPOD_HOME=$SHARED_HOME "${AUTOPOD_BIN:-$ROOT/bin}/autopod-kill" -q --all --yes
  refute_left_pods
}

setup() {
  cmd_setup
  export AUTOPOD_HOME=$SHARED_HOME
  workflows
}

teardown() {
  rm -rf "$SHARED_HOME"/runs/*
  cmd_teardown
}

# result FILTER [JOB] - a field of a run's result.json; RUN is its directory
result() {
  RUN=$(printf '%s\n' "$AUTOPOD_HOME/runs/${2:-api}".*)
  jq -r "$1" "$RUN/result.json"
}

# sent FILTER [JOB] - what jq's FILTER makes of the workflow that was sent
sent() { jq -c "$1" "$AUTOPOD_HOME/runs/${2:-api}".*/workflow.json; }

# workflows - ./api.json, a picture from words, and ./gui.json, the same as the GUI saves it
workflows() {
  cat >api.json <<'E'
{"3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 2, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
   "denoise": 1, "model": ["4", 0], "positive": ["7", 0], "negative": ["6", 0], "latent_image": ["5", 0]}},
 "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"}},
 "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
 "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad", "clip": ["4", 1]}},
 "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}, "_meta": {"title": "Words"}},
 "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
 "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "pic"}}}
E
  cat >gui.json <<'E'
{"last_node_id": 9, "last_link_id": 9, "version": 0.4, "groups": [], "config": {}, "extra": {}, "nodes": [
 {"id": 3, "type": "KSampler", "mode": 0, "order": 4, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {}, "inputs": [
   {"name": "model", "type": "MODEL", "link": 1}, {"name": "positive", "type": "CONDITIONING", "link": 4},
   {"name": "negative", "type": "CONDITIONING", "link": 6}, {"name": "latent_image", "type": "LATENT", "link": 2}],
  "outputs": [{"name": "LATENT", "type": "LATENT", "links": [7]}], "widgets_values": [5, "randomize", 2, 8, "euler", "normal", 1]},
 {"id": 4, "type": "CheckpointLoaderSimple", "mode": 0, "order": 0, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {}, "inputs": [],
  "outputs": [{"name": "MODEL", "type": "MODEL", "links": [1]}, {"name": "CLIP", "type": "CLIP", "links": [3, 5]}, {"name": "VAE", "type": "VAE", "links": [8]}],
  "widgets_values": ["v1-5-pruned-emaonly-fp16.safetensors"]},
 {"id": 5, "type": "EmptyLatentImage", "mode": 0, "order": 1, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {}, "inputs": [],
  "outputs": [{"name": "LATENT", "type": "LATENT", "links": [2]}], "widgets_values": ["${WIDTH|64}", 64, 1]},
 {"id": 6, "type": "CLIPTextEncode", "mode": 0, "order": 3, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {},
  "inputs": [{"name": "clip", "type": "CLIP", "link": 5}], "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING", "links": [6]}], "widgets_values": ["bad"]},
 {"id": 7, "type": "CLIPTextEncode", "mode": 0, "order": 2, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {}, "title": "Words",
  "inputs": [{"name": "clip", "type": "CLIP", "link": 3}], "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING", "links": [4]}], "widgets_values": ["a cat"]},
 {"id": 8, "type": "VAEDecode", "mode": 0, "order": 5, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {},
  "inputs": [{"name": "samples", "type": "LATENT", "link": 7}, {"name": "vae", "type": "VAE", "link": 8}],
  "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [9]}]},
 {"id": 9, "type": "SaveImage", "mode": 0, "order": 6, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {},
  "inputs": [{"name": "images", "type": "IMAGE", "link": 9}], "outputs": [], "widgets_values": ["pic"]},
 {"id": 10, "type": "Note", "mode": 0, "order": 7, "pos": [0, 0], "size": [1, 1], "flags": {}, "properties": {}, "widgets_values": ["${NOBODY} {input.x}"]}],
 "links": [[1, 4, 0, 3, 0, "MODEL"], [2, 5, 0, 3, 3, "LATENT"], [3, 4, 1, 7, 0, "CLIP"], [4, 7, 0, 3, 1, "CONDITIONING"], [5, 4, 1, 6, 0, "CLIP"],
  [6, 6, 0, 3, 2, "CONDITIONING"], [7, 3, 0, 8, 0, "LATENT"], [8, 4, 2, 8, 1, "VAE"], [9, 8, 0, 9, 0, "IMAGE"]]}
E
}

# pixels FILE... - a line for each picture, made of its pixels
pixels() {
  "$AUTOPOD_PYTHON" -c 'import hashlib, sys; from PIL import Image
for path in sys.argv[1:]:
    print(hashlib.sha256(Image.open(path).tobytes()).hexdigest())' "$@"
}

@test "a file in API format with values of the call; a picture it made repeats it, with another seed" {
  comfy_run --workflow api.json --prompt $'a "dog",\nred' --negative '' --seed 42 --width 72 --steps 3 --output-folder mine --set 3.cfg=4.5
  assert_status 0
  assert_equal "$(result '[.seed, .job_id, .template, .exit_code] | tostring')" '[42,"api","api",0]'
  assert_equal "$(sent '[.["7"].inputs.text, .["6"].inputs.text, .["3"].inputs.seed, .["3"].inputs.steps, .["3"].inputs.cfg, .["5"].inputs.width, .["9"].inputs.filename_prefix]')" \
    '["a \"dog\",\nred","",42,3,4.5,72,"mine/pic"]'
  assert_file outputs/pic_00001_.png
  cp outputs/pic_00001_.png out.png
  comfy_run --workflow out.png --seed random -o again
  assert_status 0
  assert_equal "$(sent 'del(.["3"].inputs.seed)' out)" "$(sent 'del(.["3"].inputs.seed)')"
  assert_equal "$(result .seed out)" "$(sent '.["3"].inputs.seed' out)"
  [ "$(result .seed out)" != 42 ]
  assert_contains "Seed $(result .seed out)" "$stderr"
  comfy_run --workflow out.png --image-id same -o same # as it was: the same picture
  assert_status 0
  assert_equal "$(result .seed same)" 42
  cmp "$(printf '%s\n' same/*.png)" out.png
}

@test "a file of the GUI: converted with what the server says of its nodes, its placeholders filled, notes left alone" {
  comfy_run --workflow gui.json --prompt 'a dog' --width 96 --seed 7 --json
  assert_status 0
  assert_equal "$(result '.seed' gui)" 7
  assert_equal "$(sent '[.["7"].inputs.text, .["6"].inputs.text, .["3"].inputs.seed, .["5"].inputs.width]' gui)" '["a dog","bad",7,96]'
  assert_equal "$(sent 'keys' gui)" '["3","4","5","6","7","8","9"]'
  assert_equal "$(event run_finished '.result.seed')" 7
  comfy_run --workflow gui.json -o same --image-id gui2
  assert_status 0
  comfy_run --workflow api.json -o same
  assert_status 0
  assert_equal "$(pixels same/*.png | sort | uniq -c | awk '{ print $1 }')" 2 'equal pictures'
}

@test "a GUI file on a pod that nobody has seen: laid down as it is, and converted when its server is known" {
  export AUTOPOD_HOME=$BATS_TEST_TMPDIR/home
  comfy_run --workflow gui.json --prompt 'a dog' --dry-run
  assert_status 0
  assert_contains 'is in the GUI format' "$output"
  comfy_run --workflow gui.json --prompt 'a dog' --seed 8 --set Words.text=fox
  assert_status 0
  assert_equal "$(sent '[.["7"].inputs.text, .["3"].inputs.seed]' gui)" '["fox",8]'
  assert_equal "$(result .seed gui)" 8
  assert_file outputs/pic_00001_.png
  # from now on it is known
  comfy_run --workflow gui.json --prompt 'a dog' --set 3.steps=0 --dry-run
  assert_status 2
  assert_contains '3.steps must be at least 1, but is 0' "$stderr"
  assert_no_pods
}

@test "--input image=FILE is uploaded into the field that takes one" {
  printf '%s' '{"1":{"class_type":"LoadImage","inputs":{"image":"x.png"}},"2":{"class_type":"ImageInvert","inputs":{"image":["1",0]}},
    "3":{"class_type":"SaveImage","inputs":{"images":["2",0],"filename_prefix":"inv"}}}' >invert.json
  png cat.png red
  comfy_run --workflow invert.json --input image=cat.png
  assert_status 0
  assert_equal "$("$AUTOPOD_PYTHON" -c 'from PIL import Image; print(Image.open("outputs/inv_00001_.png").convert("RGB").getpixel((0, 0)))')" '(0, 255, 255)'
  assert_matches '^"autopod/[0-9a-f]{16}\.png"$' "$(sent '.["1"].inputs.image' invert)"
  assert_equal "$(jq -r '.uploads[0].server_name' "$AUTOPOD_HOME"/runs/invert.*/uploads.json)" "$(sent '.["1"].inputs.image' invert | jq -r .)"
  assert_equal "$(result .seed invert)" null
}

@test "what is wrong is told before anything happens: two candidates, values, names, files" {
  jq -c '.["10"] = {class_type: "KSampler", inputs: (.["3"].inputs + {positive: ["11", 0], seed: 6})}
    | .["11"] = {class_type: "CLIPTextEncode", inputs: {text: "a house", clip: ["4", 1]}, _meta: {title: "Other"}}
    | .["12"] = {class_type: "VAEDecode", inputs: {samples: ["10", 0], vae: ["4", 2]}}
    | .["13"] = {class_type: "SaveImage", inputs: {images: ["12", 0], filename_prefix: "b"}}' api.json >two.json
  local before args wanted
  before=$(find "$AUTOPOD_HOME/runs" | wc -l)
  while IFS='|' read -r args wanted; do
    # shellcheck disable=SC2086 # words
    comfy_run $args
    assert_status 2
    assert_equal "$output" ''
    assert_contains "$wanted" "$stderr"
    refute_contains Traceback "$stderr"
  done <<'E'
--workflow two.json --prompt dog|7.text ("Words", now "a cat") or 11.text ("Other", now "a house"); say which: --set 7.text=...
--workflow api.json --set 3.steps=many|3.steps must be a whole number, but is "many"
--workflow api.json --seed many|--seed "many": must be a whole number from 0
--workflow nosuch.json|nosuch.json: no such file
--workflow api.json --set 3.stepz=1|has no field "stepz"; did you mean "steps"?
--workflow api.json --image-id a/b|--image-id "a/b"
--workflow|--workflow needs a value
--workflow api.json --workflow api.json|job_id "api" stands in another job
E
  assert_equal "$(find "$AUTOPOD_HOME/runs" | wc -l)" "$before"
  refute_exists outputs
}

@test "seeds that differ, and one beyond 2^53, in the result" {
  jq -c '.["3"].inputs.seed = 6 | .["10"] = {class_type: "KSampler", inputs: (.["3"].inputs + {seed: 7, latent_image: ["3", 0]})} | .["8"].inputs.samples = ["10", 0]' api.json >two.json
  comfy_run --workflow two.json
  assert_status 0
  assert_equal "$(result .seed two)" '3=6,10=7'
  comfy_run --workflow two.json --seed 18446744073709551615 --image-id big
  assert_status 0
  assert_equal "$(result .seed big)" 18446744073709551615
  assert_equal "$(result '.seed | type' big)" string
  assert_equal "$(grep -o '"seed":[0-9]*' "$AUTOPOD_HOME"/runs/big.*/workflow.json | sort -u)" '"seed":18446744073709551615'
}

@test "options go before what a job says, in jobs with a workflow of their own and with templates" {
  printf '%s' '{"job_id":"own","workflow":"gui.json","set":{"Words.text":"from the job","3.steps":1},"outputs":{"image":"x/{job_id}-${SEED}.png"}}' >own.json
  comfy_run own.json --seed 3 --set 7.text=call
  assert_status 0
  assert_equal "$(sent '[.["7"].inputs.text, .["3"].inputs.steps, .["3"].inputs.seed]' own)" '["call",1,3]'
  assert_file x/own-3.png
  comfy_run own.json --seed 4
  assert_status 0
  assert_file x/own-4.png
  job tpl picture '{"color": 1}'
  comfy_run tpl.json --input color=65280 --set 1.height=32
  assert_status 0
  assert_equal "$(sent '[.["1"].inputs.color, .["1"].inputs.height]' tpl)" '[65280,32]'
}
