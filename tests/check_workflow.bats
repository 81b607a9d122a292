#!/usr/bin/env bats
# helpers/check_workflow.py: what a server would refuse is an error, and nothing else is. Held to what real servers said
# (fixtures/comfyui/prompt_errors.json) with the definitions of the nodes in question (fixtures/check/object_info.json).

load test_helper

# Each table goes through one start of Python, of this driver. Its lines are SOURCE WORKFLOW_JSON, and then, indented, the
# findings that are wanted, as NODE:FIELD: SEVERITY: TEXT. `+` before the workflow: node 9 saves the picture of node 1.
setup_file() {
  cat >"$BATS_FILE_TMPDIR/driver.py" <<'E'
import json, os, sys
root = os.environ["ROOT"]
sys.path.insert(0, root + "/helpers")
from check_workflow import check
from object_info import NodeDefs

table = []
for line in sys.stdin.read().splitlines():
    if line.startswith("  "):
        table[-1][1].append(line.strip())
    else:
        table.append((line, []))
defs = NodeDefs(root + "/tests/fixtures/check/object_info.json")
uploads = {"autopod/1.png", "1.png", "x.latent"}
origins = {"PackNode": "some-pack"}
assert table
for line, wanted in table:
    source, text = line.split(" ", 1)
    nodes = json.loads(text.lstrip("+"))
    if text.startswith("+"):
        nodes["9"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    used = NodeDefs(None) if source == "none" else defs
    found = check(nodes, used, source, uploads, origins)
    got = [item.line("")[1:].strip() + (" (stale)" if item.stale else "") for item in found]
    if got != wanted:
        sys.exit(line + "\nwanted:\n  " + "\n  ".join(wanted) + "\ngot:\n  " + "\n  ".join(got))
print("same", len(table))
E
}

# assert_table - the driver has no complaint about the table on stdin
assert_table() {
  run "$AUTOPOD_PYTHON" "$BATS_FILE_TMPDIR/driver.py"
  assert_status 0 && assert_matches '^same [0-9]+$'
}

# check [ARG...] - runs the program
check() {
  run --separate-stderr "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/check_workflow.py" "$@"
}

@test "what real servers refused is found, and is an error where no node has a check of its own" {
  run "$AUTOPOD_PYTHON" - <<'E'
import json, os, sys
root = os.environ["ROOT"]
sys.path.insert(0, root + "/helpers")
from check_workflow import check
from object_info import NodeDefs
defs = NodeDefs(root + "/tests/fixtures/check/object_info.json")
# Only the server can know these, or they are not about the workflow.
unseen = {"custom_validation", "custom_validation_raises", "invalid_prompt_id"}
only_warned = {"seed_over_max", "loadimage_missing_file", "partial_failure"}
count = 0
for row in json.load(open(root + "/tests/fixtures/comfyui/prompt_errors.json", encoding="utf-8")):
    found = {item.severity for item in check(row["workflow"], defs, "live")}
    wanted = set() if row["name"] in unseen else {"warning"} if row["name"] in only_warned else {"error"}
    assert found == wanted, (row["name"], found)
    count += 1
assert count > 20
E
  assert_status 0
}

@test "what real servers accepted is no error" {
  assert_table <<'E'
live +{"1":{"class_type":"EmptyImage","inputs":{"width":64,"height":64,"batch_size":1,"color":0}}}
live +{"1":{"class_type":"EmptyImage","inputs":{"width":"64","height":33.9,"batch_size":1,"color":0}}}
  1:height: warning: EmptyImage: 33.9 is cut to 33
live +{"1":{"class_type":"EmptyImage","inputs":{"width":64,"height":64,"batch_size":true,"color":0,"nonsense":5},"_meta":{"title":"x"}}}
live {"1":{"class_type":"EmptyImage","inputs":{"width":1,"height":1,"batch_size":1,"color":1}},"2":{"class_type":"SaveAnimatedWEBP","inputs":{"images":["1",0],"filename_prefix":"m","fps":6.0,"lossless":"false","quality":80,"method":"default"}}}
  2:lossless: warning: SaveAnimatedWEBP: "false" counts as true: write false without quotes
live +{"1":{"class_type":"EmptyImage","inputs":{"width":1,"height":1,"batch_size":1,"color":1}},"7":{"class_type":"EmptyImage","inputs":{}}}
  7:width: warning: EmptyImage: is required, but the workflow does not give it (the default, 512, is only the browser's) (no output needs this node)
live {"1":{"class_type":"EmptyImage","inputs":{"width":1,"height":1,"batch_size":2,"color":1}},"2":{"class_type":"CreateVideo","inputs":{"images":["1",0],"fps":8.0}},"3":{"class_type":"SaveVideo","inputs":{"video":["2",0],"filename_prefix":"m","format":"nope","codec":"auto"}}}
  3:format: warning: SaveVideo: "nope" is not one of auto, mp4 (stale)
live +{"1":{"class_type":"LabNoise","inputs":{"width":16,"height":16,"batch_size":1,"seed":9223372036854775807}}}
live {"3":{"class_type":"LoadImage","inputs":{"image":"sub/dir/a.png"}},"4":{"class_type":"PreviewImage","inputs":{"images":["3",0]}}}
live {"3":{"class_type":"LoadImage","inputs":{"image":"a.png [output]"}},"4":{"class_type":"PreviewImage","inputs":{"images":["3",-2]}}}
live +{"1":{"class_type":"EmptyImage","inputs":{"width":{"__value__":1},"height":1,"batch_size":1,"color":1}}}
E
}

@test "inputs: what lacks, of the wrong type, beyond the limits" {
  assert_table <<'E'
live +{"1":{"class_type":"EmptyImage","inputs":{"widht":5,"height":0,"batch_size":"two","color":16777216}}}
  1:width: error: EmptyImage: is required, but the workflow does not give it (the default, 512, is only the browser's); did you mean "widht"?
  1:height: error: EmptyImage: 0 is below the smallest allowed value, 1
  1:batch_size: error: EmptyImage: must be a whole number, but is "two"
  1:color: error: EmptyImage: 16777216 is above the largest allowed value, 16777215
saved +{"1":{"class_type":"EmptyImage","inputs":{"width":null,"height":{},"batch_size":[64],"color":"1e3"}}}
  1:width: error: EmptyImage: must be a whole number, but is null
  1:height: error: EmptyImage: must be a whole number, but is {}
  1:batch_size: error: EmptyImage: a link is ["NODE", OUTPUT], but this is [64] (a list as a value is {"__value__": [...]})
  1:color: error: EmptyImage: must be a whole number, but is "1e3"
live {"9":{"class_type":"SaveImage","inputs":{"filename_prefix":null},"_meta":{"title":"Out\u001b[31m"}}}
  9:images: error: SaveImage "Out\u001b[31m": must be linked to a node that gives IMAGE
  9:filename_prefix: warning: SaveImage "Out\u001b[31m": null becomes the text "None"
live {"9":{"class_type":"SaveImage","inputs":{"filename_prefix":"x","images":"a.png"}}}
  9:images: warning: SaveImage: needs a link to a node that gives IMAGE, but is "a.png"
E
}

@test "values that are not in a list, with the nearest; models by their folder" {
  local sampler='"class_type":"KSampler","inputs":{"model":["1",0],"seed":1,"steps":2,"cfg":7,"scheduler":"Normal","sampler_name":"eulr","positive":["2",0],"negative":["2",0],"latent_image":["4",0],"denoise":1}'
  local rest='"2":{"class_type":"CLIPTextEncode","inputs":{"text":"x","clip":["1",1]}},"4":{"class_type":"EmptyLatentImage","inputs":{"width":64,"height":64,"batch_size":1}},"6":{"class_type":"VAEDecode","inputs":{"samples":["5",0],"vae":["1",2]}},"7":{"class_type":"SaveImage","inputs":{"images":["6",0],"filename_prefix":"x"}}'
  local have="which has sd/v1-5.safetensors, xl.safetensors; did you mean \"sd/v1-5.safetensors\"? (stale)"
  assert_table <<E
live {"1":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"v1-5.safetensors"}},"5":{$sampler},$rest}
  1:ckpt_name: error: CheckpointLoaderSimple: "v1-5.safetensors" is not in the server's models/checkpoints, $have
  5:sampler_name: error: KSampler: "eulr" is not one of euler, heun, dpmpp_2m; did you mean "euler"? (stale)
  5:scheduler: error: KSampler: "Normal" is not one of normal, karras; did you mean "normal"? (stale)
saved {"1":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"SD/v1-5.safetensors"}},"5":{$sampler},$rest}
  1:ckpt_name: warning: CheckpointLoaderSimple: "SD/v1-5.safetensors" is not in the server's models/checkpoints, $have
  5:sampler_name: warning: KSampler: "eulr" is not one of euler, heun, dpmpp_2m; did you mean "euler"? (stale)
  5:scheduler: warning: KSampler: "Normal" is not one of normal, karras; did you mean "normal"? (stale)
live {"1":{"class_type":"LoraLoader","inputs":{"model":["3",0],"clip":["3",1],"lora_name":"a.safetensors","strength_model":1,"strength_clip":1}},"3":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"xl.safetensors"}},"5":{${sampler/eulr/euler}},${rest}}
  1:lora_name: error: LoraLoader: "a.safetensors" is not in the server's models/loras, which is empty; put it there, as models/loras/NAME (stale)
  5:scheduler: error: KSampler: "Normal" is not one of normal, karras; did you mean "normal"? (stale)
  6:vae: error: VAEDecode: is linked to output 2 of node 1 (LoraLoader), which has 2 outputs (counted from 0)
E
}

@test "files that people upload: those that this job brings are there by then" {
  assert_table <<'E'
live +{"1":{"class_type":"LoadImage","inputs":{"image":"autopod/1.png"}}}
live +{"1":{"class_type":"LoadImage","inputs":{"image":"1.png"}}}
live +{"1":{"class_type":"LoadImage","inputs":{"image":"gone.png"}}}
  1:image: warning: LoadImage: "gone.png" is not among the server's input files: give it in the job's inputs, which are uploaded (stale)
saved {"1":{"class_type":"LoadLatent","inputs":{"latent":"x.latent"}},"2":{"class_type":"VAEDecode","inputs":{"samples":["1",0],"vae":["3",2]}},"3":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"xl.safetensors"}},"4":{"class_type":"PreviewImage","inputs":{"images":["2",0]}}}
E
}

@test "classes that are not there, with their pack; each once, and also where no output needs them" {
  assert_table <<'E'
live +{"1":{"class_type":"PackNode","inputs":{}},"2":{"class_type":"PackNode","inputs":{}},"3":{"class_type":"KSampelr","inputs":{}}}
  1: error: PackNode: the server has no node of this class (also node 2); it is in the pack "some-pack": install that with ComfyUI-Manager (stale)
  3: error: KSampelr: the server has no node of this class; did you mean "KSampler"? (stale)
saved {"1":{"class_type":"Zzz\t\n","inputs":{"a":["2",0]}},"2":{"class_type":"EmptyImage","inputs":{"width":0,"height":1,"batch_size":1,"color":1}}}
  1: warning: Zzz\t\n: no node of this class is among the definitions at hand; ComfyUI-Manager finds the pack that has it (stale)
  2:width: error: EmptyImage: 0 is below the smallest allowed value, 1
E
}

@test "links: to nothing, to a number, to an output that is not there, in a circle, of the wrong type" {
  assert_table <<'E'
live {"9":{"class_type":"SaveImage","inputs":{"images":["99",0],"filename_prefix":"x"}}}
  9:images: error: SaveImage: is linked to node "99", which is missing
live {"9":{"class_type":"SaveImage","inputs":{"images":[9,0],"filename_prefix":"x"}}}
  9:images: error: SaveImage: a link names its node as text: ["9", 0]
live {"9":{"class_type":"SaveImage","inputs":{"images":[["9"],0],"filename_prefix":"x"}}}
  9:images: error: SaveImage: is linked to node ["9"], which is missing
live {"9":{"class_type":"SaveImage","inputs":{"images":["9",0],"filename_prefix":"x"}}}
  9:images: error: SaveImage: the links form a circle: node 9 -> 9
  9:images: error: SaveImage: is linked to output 0 of node 9 (SaveImage), which has 0 outputs (counted from 0)
live {"1":{"class_type":"ImageInvert","inputs":{"image":["2",0]}},"2":{"class_type":"ImageInvert","inputs":{"image":["1",0]}},"9":{"class_type":"PreviewImage","inputs":{"images":["2",0]}}}
  2:image: error: ImageInvert: the links form a circle: node 1 -> 2 -> 1
live +{"1":{"class_type":"LabTone","inputs":{"seconds":1,"hz":440}}}
  9:images: error: SaveImage: needs IMAGE, but output 0 of node 1 (LabTone) gives AUDIO
live +{"1":{"class_type":"EmptyImage","inputs":{"width":["2",4],"height":["2",0],"batch_size":["2",1],"color":["2",9]}},"2":{"class_type":"Union","inputs":{"value":["3",0],"choice":["3",2],"new":["3",2],"all":["3",3],"remote":"what"}},"3":{"class_type":"Union","inputs":{"value":["4",4]}},"4":{"class_type":"Union","inputs":{"value":1.5,"choice":"a"}}}
  1:width: error: EmptyImage: needs INT, but output 4 of node 2 (Union) gives FLOAT,STRING
  1:color: error: EmptyImage: is linked to output 9 of node 2 (Union), which has 5 outputs (counted from 0)
live +{"1":{"class_type":"EmptyImage","inputs":{"width":1,"height":1,"batch_size":1,"color":1}},"4":{"class_type":"PreviewImage","inputs":{"images":["1",0],"unknown":["77",0]}}}
  4:unknown: error: PreviewImage: is linked to node "77", which is missing
E
}

@test "dynamic inputs: those of the choice that was made" {
  local image='"1":{"class_type":"EmptyImage","inputs":{"width":1,"height":1,"batch_size":1,"color":1}}'
  assert_table <<E
live {$image,"2":{"class_type":"Dynamic","inputs":{"format":"auto","pictures.picture0":["1",0],"any":["1",0]}}}
live {$image,"2":{"class_type":"Dynamic","inputs":{"format":"mp4","any":["1",0]}}}
  2:format.crf: error: Dynamic: is required, but the workflow does not give it
  2:pictures.picture0: error: Dynamic: must be linked to a node that gives IMAGE
live {$image,"2":{"class_type":"Dynamic","inputs":{"format":"nope","pictures.picture0":["1",0],"any":["1",0]}}}
  2:format: warning: Dynamic: "nope" is not one of auto, mp4 (stale)
live {$image,"2":{"class_type":"Dynamic","inputs":{"format":["1",0],"pictures.picture0":["1",0],"any":["1",0]}}}
  2:format: warning: Dynamic: takes one of its choices, not a link
live {$image,"2":{"class_type":"Dynamic","inputs":{"pictures.picture0":["1",0],"any":["1",0]}}}
  2:format: warning: Dynamic: is required, but not given
E
}

@test "nodes of a pack may have checks of their own: limits, lists and types are warnings there" {
  assert_table <<'E'
live {"1":{"class_type":"LabTone","inputs":{"seconds":1,"hz":440}},"2":{"class_type":"Custom","inputs":{"n":7,"mode":"on","image":["1",0]}},"3":{"class_type":"Custom","inputs":{"n":"x","mode":"auto","image":["2",3]}}}
  2:n: warning: Custom: 7 is above the largest allowed value, 4
  2:image: warning: Custom: needs IMAGE, but output 0 of node 1 (LabTone) gives AUDIO
  3:n: error: Custom: must be a whole number, but is "x"
  3:mode: warning: Custom: "auto" is not one of on, off (stale)
  3:image: warning: Custom: is linked to output 3 of node 2 (Custom), which has 1 output (counted from 0)
E
}

@test "nothing is known of the nodes: what can be said without" {
  assert_table <<'E'
none {"1":{"class_type":"A","inputs":{"x":["2",0]}},"2":{"class_type":"B","inputs":{}}}
none {"1":{"class_type":"A","inputs":{"x":["3",0],"y":[1,2,3]}},"2":{"class_type":"A","inputs":{"x":["2",0]}}}
  1:x: error: A: is linked to node "3", which is missing
  2:x: warning: A: the links form a circle: node 2 -> 2 (no output needs this node)
none {"1":5,"2":{"inputs":{}},"3":{"class_type":"A"},"4":{"class_type":"","inputs":{}},"5":{"class_type":"A","inputs":[1]}}
  1: error: must be an object with class_type and inputs
  2: error: has no class_type
  3: error: has no inputs object, which stops the worker of a server for good
  4: error: has no class_type
  5: error: has no inputs object, which stops the worker of a server for good
live {}
  error: has no output node, so there is nothing to run: add one, such as SaveImage
E
}

@test "a chain of ten thousand nodes, and a circle at its end" {
  run "$AUTOPOD_PYTHON" - <<'E'
import os, sys
root = os.environ["ROOT"]
sys.path.insert(0, root + "/helpers")
from check_workflow import check
from object_info import NodeDefs
defs = NodeDefs(root + "/tests/fixtures/check/object_info.json")
last = 10000
nodes = {str(n): {"class_type": "ImageInvert", "inputs": {"image": [str(n + 1), 0]}} for n in range(last)}
nodes[str(last)] = {"class_type": "EmptyImage", "inputs": {"width": 1, "height": 1, "batch_size": 1, "color": 1}}
nodes["s"] = {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}
assert check(nodes, defs, "live") == []
nodes[str(last)] = {"class_type": "ImageInvert", "inputs": {"image": [str(last - 1), 0]}}
assert len(check(nodes, defs, "live")) == 1
E
  assert_status 0
}

@test "definitions of any shape, and workflows of any shape, never make a trace" {
  run "$AUTOPOD_PYTHON" - <<'E'
import json, os, random, sys
root = os.environ["ROOT"]
sys.path.insert(0, root + "/helpers")
from check_workflow import check
from object_info import NodeDefs
rng = random.Random(20261123)
known = json.load(open(root + "/tests/fixtures/check/object_info.json"))
odd = [None, True, 0, -1, 1.5, "", "x", "INT", [], [[]], ["1", 0], ["1"], [None, None], {}, {"a": 1}, 10**30, ["INT", {"min": "a"}]]
def spoil(value, share):
    if rng.random() < share:
        return rng.choice(odd)
    if isinstance(value, dict):
        return {key: spoil(item, share) for key, item in value.items()}
    if isinstance(value, list):
        return [spoil(item, share) for item in value]
    return value
good = {"1": {"class_type": "EmptyImage", "inputs": {"width": 1, "height": 1, "batch_size": 1, "color": 1}},
        "2": {"class_type": "Dynamic", "inputs": {"format": "mp4", "format.crf": 3, "pictures.picture0": ["1", 0], "any": ["1", 0]}},
        "3": {"class_type": "Union", "inputs": {"value": 1, "choice": "a"}}, "4": {"class_type": "LoadImage", "inputs": {"image": "a"}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "x"}}}
for turn in range(1500):
    with open("defs.json", "w") as file:
        json.dump({**{name: spoil(known[name], 0.05) for name in known}, "ok": {"input": {}}}, file)
    nodes = spoil(good, 0.08)
    if isinstance(nodes, dict):
        check(nodes, NodeDefs("defs.json" if turn % 2 else root + "/tests/fixtures/check/object_info.json"), "live")
E
  assert_status 0
}

@test "the program: lines, exit codes, files that can't be read" {
  echo '{"1":{"class_type":"KSampelr","inputs":{}},"9":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}' >w.json
  check --live --object-info "$ROOT/tests/fixtures/check/object_info.json" w.json
  assert_status 2
  assert_equal "$output" 'w.json:1: error: KSampelr: the server has no node of this class; did you mean "KSampler"?'
  check --object-info "$ROOT/tests/fixtures/check/object_info.json" w.json
  assert_status 0
  assert_contains 'w.json:1: warning: KSampelr'
  check w.json
  assert_status 0
  assert_equal "$output" ''
  check --object-info w.json w.json
  assert_status 2
  assert_contains 'w.json: no node in it' "$stderr"
  check gone.json
  assert_status 2
  assert_equal "$stderr" 'gone.json: no such file'
  echo '[]' >w.json
  check w.json
  assert_status 2
  assert_contains 'is not a workflow' "$stderr"
}
