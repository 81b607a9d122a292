#!/usr/bin/env bats
# helpers/rejection.py: why a server refused a workflow, in words for people; with what real servers
# answered (fixtures/comfyui/prompt_errors.json) and with what a hostile one might.

load test_helper

setup_file() {
  # NAME-VERSION.workflow and .answer of every recording
  "${AUTOPOD_PYTHON:-python3}" - "$BATS_TEST_DIRNAME/fixtures/comfyui/prompt_errors.json" "$BATS_FILE_TMPDIR" <<'E'
import json, sys
for row in json.load(open(sys.argv[1], encoding="utf-8")):
    answer = row["answer"] if isinstance(row["answer"], str) else json.dumps(row["answer"])
    for part, text in (("workflow", json.dumps(row["workflow"])), ("answer", answer)):
        with open(f"{sys.argv[2]}/{row['name']}-{row['comfyui']}.{part}", "w") as file:
            file.write(text)
E
}

setup() {
  autopod_setup
  printf '{"3":{"class_type":"KSampler","inputs":{},"_meta":{"title":"Sampler"}}}' >workflow.json
}

# explain [ARG...] - runs the helper on the answer on stdin
explain() {
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/rejection.py" --workflow workflow.json "$@"
}

# explain_error TYPE DETAILS EXTRA_INFO_JSON [ARG...] - runs it on one error of node 3
explain_error() {
  jq -nc --arg type "$1" --arg details "$2" --argjson info "$3" '{error: {type: "prompt_outputs_failed_validation",
    message: "Prompt outputs failed validation", details: "", extra_info: {}}, node_errors: {"3": {class_type: "KSampler",
    dependent_outputs: ["9"], errors: [{type: $type, message: "A message", details: $details, extra_info: $info}]}}}' >answer
  explain "${@:4}" <answer
  assert_status 0
  assert_equal "$stderr" ""
}

@test "recorded refusals, each in plain words" {
  local name want
  while IFS='@' read -r name want; do
    cp "$BATS_FILE_TMPDIR/$name.workflow" workflow.json
    explain <"$BATS_FILE_TMPDIR/$name.answer"
    assert_status 0
    assert_equal "$stderr" ""
    assert_equal "$(tr '\n\t' '@|' <<<"$output")" "$want@" "$name"
  done <<'E'
bad_link_len1-0.3.64@problem|EmptyImage (node 1): width: a link is ["NODE", OUTPUT], but this is [64]
ckpt_not_in_list-0.3.64@problem|CheckpointLoaderSimple (node 1): ckpt_name: "nothere.safetensors" is not on the server: it has none@hint|put that model on the pod's disk or volume, or name one that is there
class_type_null-0.3.64@problem|node 1: has no class_type
custom_validation-0.3.64@problem|LabFailValidate (node 2): text: the text is bad
custom_validation_raises-0.3.64@problem|LabFailValidate (node 2): its own check failed: validate raised [ValueError]
cycle-0.3.64@problem|the links form a circle: node 1 -> 2 -> 1
cycle-0.33.0@problem|ImageInvert (node 1): the links form a circle: 1 (ImageInvert) -> 2 (ImageInvert) -> 1 (ImageInvert)@problem|ImageInvert (node 2): the links form a circle: 1 (ImageInvert) -> 2 (ImageInvert) -> 1 (ImageInvert)
defaults_not_applied-0.3.64@problem|EmptyImage (node 1): batch_size: is required, but the workflow does not give it@problem|EmptyImage (node 1): color: is required, but the workflow does not give it@problem|EmptyImage (node 1): height: is required, but the workflow does not give it@problem|EmptyImage (node 1): width: is required, but the workflow does not give it@problem|SaveImage (node 2): filename_prefix: is required, but the workflow does not give it
empty_prompt-0.3.64@problem|the workflow has no output node@hint|add a node that saves something, such as SaveImage
json_array-0.3.64@problem|the server got no workflow
link_bad_slot-0.3.64@problem|SaveImage (node 2): a link names an output that its node does not have (linked: images)
link_int_node_id-0.3.64@problem|SaveImage (node 2): images: a link names its node as text: ["1", 0]
link_missing_node-0.3.64@problem|SaveImage (node 2): images: linked to node "99", which is missing
link_type_mismatch-0.3.64@problem|SaveImage (node 2): images: needs IMAGE, but LabTone (node 1) gives AUDIO
loadimage_missing_file-0.3.64@problem|LoadImage (node 1): image: Invalid image file: nothere.png@hint|that file is not on the server: give it in the job's inputs, which are uploaded
no_class_type-0.3.64@problem|node 1: has no class_type
no_class_type-0.33.0@problem|node 1: has no class_type
no_inputs_key-0.3.64@problem|SaveImage (node 1): has no inputs object
null_int-0.3.64@problem|EmptyImage (node 1): width: must be a whole number, but is null
seed_over_max-0.3.64@problem|LabNoise (node 1): seed: 18446744073709551616 is above the largest allowed value, 9223372036854775807
too_big-0.3.64@problem|EmptyImage (node 1): width: 1000000000 is above the largest allowed value, 16384
too_small-0.3.64@problem|EmptyImage (node 1): width: 0 is below the smallest allowed value, 1
unknown_class-0.3.64@problem|NoSuchNodeXYZ (node 1): the server has no node of this class@hint|install the custom node that brings it on the pod, or check the spelling
unknown_class-0.33.0@problem|NoSuchNodeXYZ (node 1): the server has no node of this class@hint|install the custom node that brings it on the pod, or check the spelling
value_not_in_list-0.3.64@problem|ImageScale (node 2): upscale_method: "nope" is not one of: nearest-exact, bilinear, area, bicubic, lanczos
wrong_type_int-0.3.64@problem|EmptyImage (node 1): width: must be a whole number, but is "abc"
invalid_prompt_id-0.33.0@problem|prompt_id must be a valid UUID: prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one
partial_failure-0.3.64@problem|LoadImage (node 3): image: Invalid image file: nothere.png@hint|that file is not on the server: give it in the job's inputs, which are uploaded
empty_body-0.3.64@problem|the server gave no readable reason: 500 Internal Server Error Server got itself in trouble
body_too_big-0.3.64@problem|the server gave no readable reason: Maximum request body size 104857600 exceeded.
E
}

@test "a node is named by class, title and id" {
  explain_error value_bigger_than_max steps \
    '{"input_name":"steps","input_config":["INT",{"max":10000}],"received_value":999999}'
  assert_equal "$output" 'problem	KSampler "Sampler" (node 3): steps: 999999 is above the largest allowed value, 10000'
}

@test "a value that is not on the list: the nearest allowed one is named" {
  explain_error value_not_in_list 'sampler_name' \
    '{"input_name":"sampler_name","input_config":[["euler","heun","lms"],{}],"received_value":"Eulr"}'
  assert_equal "$output" 'problem	KSampler "Sampler" (node 3): sampler_name: "Eulr" is not one of: euler, heun, lms
hint	did you mean "euler"?'
  # the form of newer nodes
  explain_error value_not_in_list 'scheduler' \
    '{"input_name":"scheduler","input_config":["COMBO",{"options":["karras","beta"]}],"received_value":"karas"}'
  assert_contains 'is not one of: karras, beta'
  assert_contains 'hint	did you mean "karras"?'
  explain_error value_not_in_list 'n' '{"input_name":"n","input_config":[[1,2],{}],"received_value":{"a":[1]}}'
  assert_contains '{"a": [1]} is not one of: 1, 2'
}

@test "long lists are cut, and models that are there are named" {
  explain_error value_not_in_list x "$(jq -nc '{input_name: "ckpt_name", received_value: "sd_xl_base.safetensors",
    input_config: [[range(30) | "m\(.).safetensors"] + ["sd_xl_base_1.0.safetensors"], {}]}')"
  assert_contains 'ckpt_name: "sd_xl_base.safetensors" is not on the server, which has: m0.safetensors, m1.safetensors'
  assert_contains ', m11.safetensors, ... (31 in all)'
  refute_contains m12.safetensors
  assert_contains 'hint	did you mean "sd_xl_base_1.0.safetensors"?'
}

@test "a list that the server cut off is asked for, and used when it is there" {
  local cut='{"input_name":"sampler_name","input_config":null,"received_value":"eulr"}'
  explain_error value_not_in_list "sampler_name: 'eulr' not in (list of length 42)" "$cut"
  assert_equal "$output" 'problem	KSampler "Sampler" (node 3): sampler_name: "eulr" is not on the server'\''s list
class	KSampler'
  local info
  for info in '{"KSampler":{"input":{"required":{"sampler_name":[["euler","heun"],{}]}}}}' \
    '{"KSampler":{"input":{"required":{},"optional":{"sampler_name":["COMBO",{"options":["euler","heun"]}]}}}}'; do
    printf '%s' "$info" >info.json
    explain_error value_not_in_list "sampler_name: 'eulr' not in (list of length 42)" "$cut" --object-info info.json
    assert_equal "$output" 'problem	KSampler "Sampler" (node 3): sampler_name: "eulr" is not one of: euler, heun
hint	did you mean "euler"?'
  done
  printf '{}' >info.json # a class that the server does not know
  explain_error value_not_in_list "sampler_name: 'eulr' not in (list of length 42)" "$cut" --object-info info.json
  assert_contains 'class	KSampler'
}

@test "types are called by their common names" {
  local type want
  while IFS='|' read -r type want; do
    explain_error invalid_input_type x "{\"input_name\":\"x\",\"input_config\":[\"$type\",{}],\"received_value\":\"y\"}"
    assert_equal "$output" "problem	KSampler \"Sampler\" (node 3): x: must be $want, but is \"y\""
  done <<'E'
INT|a whole number
FLOAT|a number
BOOLEAN|true or false
MASK|MASK
E
}

@test "an error that nobody knows yet is told in the server's words" {
  explain_error brand_new 'the details' '{"input_name":"x"}'
  assert_equal "$output" 'problem	KSampler "Sampler" (node 3): x: A message: the details'
  explain <<<'{"error":{"type":"quota","message":"Too many","details":"wait"},"node_errors":{}}'
  assert_equal "$output" 'problem	Too many: wait'
  explain <<<'{"error":"plain text"}'
  assert_equal "$output" 'problem	plain text'
  explain <<<'{"error":{"type":"odd"}}'
  assert_equal "$output" 'problem	refused (odd)'
}

@test "problems stand in the order of the workflow, and each once" {
  printf '{"9":{"class_type":"Z"},"1":{"class_type":"A"}}' >workflow.json
  explain <<<'{"node_errors":{"1":{"errors":[{"type":"t","message":"b"},{"type":"t","message":"b"}]},
    "9":{"errors":[{"type":"t","message":"x","details":"2"},{"type":"t","message":"x","details":"1"}]}}}'
  assert_equal "$output" 'problem	Z (node 9): x: 1
problem	Z (node 9): x: 2
problem	A (node 1): b'
}

@test "what a server sends is shown in one harmless, short line, without a traceback" {
  explain_error exception_during_validation $'\033[31mboom\033[0m\nline two\t\a' \
    '{"exception_type":"ValueError","traceback":["  File \"/srv/secret.py\", line 1\n"]}'
  assert_equal "$output" 'problem	KSampler "Sampler" (node 3): could not be checked: boom line two [ValueError]'
  explain_error brand_new "$(printf 'x%.0s' {1..3000})" '{}'
  local text=$output
  [ "${#text}" -lt 600 ]
  explain <<<'<html><body><h1>502</h1> Bad <b>Gateway</b></body></html>'
  assert_equal "$output" 'problem	the server gave no readable reason: 502 Bad Gateway'
  explain </dev/null
  assert_equal "$output" 'problem	the server gave no readable reason: an empty answer'
}

@test "answers of odd shapes make no mess" {
  local body
  for body in '[]' '7' '{"error":[]}' '{"node_errors":[]}' '{"node_errors":{"3":null}}' \
    '{"node_errors":{"3":{"errors":"x"}}}' '{"node_errors":{"3":{"errors":[1,{"extra_info":7}]}}}' \
    '{"error":{"type":"missing_node_type"}}' '{"error":{"type":"invalid_prompt","details":"Node ID"}}'; do
    explain <<<"$body"
    assert_status 0
    assert_equal "$stderr" ""
    refute_contains Traceback
  done
}

@test "a good answer has no problems; a file that can't be read is exit 2" {
  explain <<<'{"prompt_id":"x","number":1,"node_errors":{}}'
  assert_status 0
  assert_equal "$output" ''
  explain --object-info gone.json </dev/null
  assert_status 2
  assert_equal "$stderr" 'gone.json: No such file or directory'
  rm workflow.json
  explain </dev/null
  assert_status 2
  assert_contains workflow.json "$stderr"
  explain --help
  assert_status 0
  assert_contains --object-info
}
