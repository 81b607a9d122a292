#!/usr/bin/env bats
# helpers/node_values.py, node_roles.py, job_values.py, seeds.py, list_params.py: what the options for values set,
# what they refuse, and what comfy-params says.

load test_helper

# One start of Python for a table of cases. Each line is ARGS | WANTED: the arguments as in a shell, and what becomes of
# them: NODE.FIELD=JSON of each field that has changed, or ! and how the one complaint ends (or, with *, what is in it).
setup_file() {
  cat >"$BATS_FILE_TMPDIR/driver.py" <<'E'
import contextlib, io, json, os, shlex, sys
sys.path.insert(0, os.environ["ROOT"] + "/helpers")
from render_template import main

def render(*args):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(args))
    return [status, *(stream.buffer.getvalue().decode("utf-8") for stream in (out, err))]

def changes(before, after):
    return " ".join(
        f"{node}.{name}={json.dumps(value, ensure_ascii=False)}"
        for node in after for name, value in after[node]["inputs"].items()
        if [value, type(value)] != [before[node]["inputs"].get(name), type(before[node]["inputs"].get(name))]
    )

path, *always = sys.argv[1:]
before = json.load(open(path, encoding="utf-8"))
lines = [line for line in sys.stdin.buffer.read().decode("utf-8").splitlines() if line]
assert lines
for line in lines:
    args, _, wanted = line.rpartition(" | ")
    status, out, err = render("--workflow", path, *always, *shlex.split(args))
    if status == 0:
        sent = [text for text in out.split("\n") if text.startswith("workflow\t")]
        got = changes(before, json.loads(sent[0][9:]))
        got += "".join(" ~" + text[8:] for text in out.split("\n") if text.startswith("warning\t"))
        right = got == wanted
    else:
        got = "!" + err.rstrip("\n")
        wanted_err = wanted[1:].lstrip("*")
        right = wanted.startswith("!") and status == 2 and not out and (
            wanted_err in err if wanted.startswith("!*") else err == f"{path}: {wanted_err}\n")
    if not right:
        sys.exit(f"{line}\nwanted: {wanted}\ngot:    {got}")
E
  cat >"$BATS_FILE_TMPDIR/defs.json" <<'E'
{"KSampler": {"input": {"required": {
  "model": ["MODEL"], "seed": ["INT", {"default": 0, "min": 0, "max": 18446744073709551615, "control_after_generate": true}],
  "steps": ["INT", {"min": 1, "max": 10000}], "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
  "sampler_name": [["euler", "heun", "dpmpp_2m"]], "scheduler": ["COMBO", {"options": ["normal", "karras"]}],
  "positive": ["CONDITIONING"], "negative": ["CONDITIONING"], "latent_image": ["LATENT"],
  "denoise": ["FLOAT", {"min": 0.0, "max": 1.0}]}}, "output": ["LATENT"], "output_node": false},
 "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {"multiline": true}], "clip": ["CLIP"]}}, "output": ["CONDITIONING"]},
 "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["a.safetensors", "b.safetensors"]]}}, "output": ["MODEL", "CLIP", "VAE"]},
 "EmptyLatentImage": {"input": {"required": {"width": ["INT", {"min": 16, "max": 16384}], "height": ["INT", {"min": 16, "max": 16384}],
   "batch_size": ["INT", {"min": 1, "max": 64}]}}, "output": ["LATENT"]},
 "LoadImage": {"input": {"required": {"image": [["x.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
 "VAEDecode": {"input": {"required": {"samples": ["LATENT"], "vae": ["VAE"]}}, "output": ["IMAGE"]},
 "Flags": {"input": {"required": {"on": ["BOOLEAN", {"default": true}], "name": ["STRING"], "mode": [[1, 2, "x"]],
   "random": ["INT", {"control_after_generate": true, "min": 0, "max": 100}]},
   "optional": {"extra": ["FLOAT", {"min": 0}], "picture": ["IMAGE"]}}, "output": ["INT"]},
 "PrimitiveInt": {"input": {"required": {"value": ["INT", {"control_after_generate": true}]}}, "output": ["INT"]},
 "Resize": {"input": {"required": {"kind": ["COMFY_DYNAMICCOMBO_V3", {"options": [
   {"key": "by size", "inputs": {"required": {"width": ["INT", {"min": 1, "max": 99}]}}}, {"key": "none", "inputs": {}}]}]}}, "output": ["IMAGE"]},
 "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING"]}}, "output": [], "output_node": true}}
E
  cat >"$BATS_FILE_TMPDIR/wf.json" <<'E'
{"3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
   "denoise": 1, "model": ["4", 0], "positive": ["7", 0], "negative": ["6", 0], "latent_image": ["5", 0]}, "_meta": {"title": "KSampler"}},
 "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
 "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}, "_meta": {"title": "Size v1.5 = small"}},
 "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad", "clip": ["4", 1]}},
 "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}, "_meta": {"title": "Words"}},
 "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
 "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "old/dir/ComfyUI"}},
 "10": {"class_type": "Flags", "inputs": {"on": true, "name": "7", "mode": 1, "random": 3}},
 "11": {"class_type": "Resize", "inputs": {"kind": "by size", "kind.width": 4}}}
E
}

setup() {
  autopod_setup
  cp "$BATS_FILE_TMPDIR/defs.json" "$BATS_FILE_TMPDIR/wf.json" .
}

# assert_each FILE [ARG...] - the driver has no complaint about the table on stdin; the check of the whole is not asked
assert_each() { "$AUTOPOD_PYTHON" "$BATS_FILE_TMPDIR/driver.py" "$@" --no-check; }

# change FILE JQ - a copy of wf.json that jq has changed
change() { jq -c "$2" wf.json >"$1"; }

# --- fields by name -------------------------------------------------------------------------------

@test "--set NODE.FIELD: by id, title or class; values and titles with dots and =" {
  local with
  for with in '' --object-info=defs.json; do
    assert_each wf.json ${with:+"$with"} <<'E'
--set 7.text=x | 7.text="x"
--set Words.text=x | 7.text="x"
--set KSampler.steps=30 | 3.steps=30
--set CheckpointLoaderSimple.ckpt_name=b.safetensors | 4.ckpt_name="b.safetensors"
--set "Size v1.5 = small.width=640" | 5.width=640
--set 7.text= | 7.text=""
--set "7.text=a=b.c = 7.text=d" | 7.text="a=b.c = 7.text=d"
--set 7.text='"\${X} {input.y} \\u0041' | 7.text="\"\\${X} {input.y} \\\\u0041"
--set 7.text=one --set 7.text=two | 7.text="two"
--set 11.kind.width=9 | 11.kind.width=9
--set Resize.kind.width=9 | 11.kind.width=9
--set CLIPTextEncode.text=x | !--set "CLIPTextEncode.text=x": may be 6.text ("CLIPTextEncode", now "bad") or 7.text ("Words", now "a cat"); say which: --set 6.text=...
--set 7.txt=x | !--set "7.txt=x": node 7 "Words" (CLIPTextEncode) has no field "txt"; did you mean "text"?
--set Wrods.text=x | !--set "Wrods.text=x": no node has that id, title or class; did you mean "Words.text"?
--set zzz.yyy=x | !--set "zzz.yyy=x": no node has that id, title or class; comfy-params lists what can be set
--set 8.samples=x | !--set "8.samples=x": 8.samples is linked to node 3 (KSampler), which gives it its value
E
  done
}

@test "a title that looks like two fields is told, and an id goes before a title, a title before a class" {
  change two.json '.["7"]._meta.title = "6" | .["6"]._meta.title = "A=7" | .["4"]._meta.title = "KSampler"
    | .["12"] = {class_type: "X", inputs: {b: 1, "c.d": 2}, _meta: {title: "A"}}
    | .["13"] = {class_type: "X", inputs: {d: 3}, _meta: {title: "A.c"}}'
  assert_each two.json <<'E'
--set 6.text=x | 6.text="x"
--set KSampler.ckpt_name=x | 4.ckpt_name="x"
--set KSampler.steps=1 | 3.steps=1
--set A=7.text=x | 6.text="x"
--set A.b=9 | 12.b=9
--set A.c.d=9 | !--set "A.c.d=9": may be 12.c.d ("A", now 2) or 13.d ("A.c", now 3); say which: --set 12.c.d=...
E
}

@test "a subgraph's id stands for what is in it" {
  change sub.json '.["50:1"] = .["6"] | .["50:2"] = {class_type: "X", inputs: {text: ["50:1", 0], n: 1}} | .["50:9:1"] = {class_type: "X", inputs: {n: 2, m: 3}}'
  assert_each sub.json <<'E'
--set 50:1.text=x | 50:1.text="x"
--set 50.text=x | 50:1.text="x"
--set 50.m=4 | 50:9:1.m=4
--set 50:9.m=4 | 50:9:1.m=4
--set 50.n=4 | !--set "50.n=4": may be 50:2.n ("X", now 1) or 50:9:1.n ("X", now 2); say which: --set 50:2.n=...
--set 5.n=4 | !*node 5 "Size v1.5 = small" (EmptyLatentImage) has no field "n"
E
}

@test "types are those of the definitions" {
  assert_each wf.json --object-info=defs.json <<'E'
--set 3.steps=7.0 | 3.steps=7
--set 3.steps=+7 | 3.steps=7
--set 3.steps=7.5 | !--set "3.steps=7.5": 3.steps must be a whole number, but is "7.5"
--set 3.steps=0 | !--set "3.steps=0": 3.steps must be at least 1, but is 0
--set 3.steps=10001 | !--set "3.steps=10001": 3.steps must be at most 10000, but is 10001
--set 3.steps=many | !--set "3.steps=many": 3.steps must be a whole number, but is "many"
--set 3.steps= | !--set "3.steps=": 3.steps must be a whole number, but is ""
--set 3.seed=18446744073709551615 | 3.seed=18446744073709551615
--set 3.seed=18446744073709551616 | !--set "3.seed=18446744073709551616": 3.seed must be at most 18446744073709551615, but is 18446744073709551616
--set 3.cfg=7 | 3.cfg=7
--set 3.cfg=1e1 | 3.cfg=10.0
--set 3.cfg=nan | !--set "3.cfg=nan": 3.cfg must be a number, but is "nan"
--set 3.cfg=1e999 | !--set "3.cfg=1e999": 3.cfg must be a number, but is "1e999"
--set 3.cfg=7,5 | !--set "3.cfg=7,5": 3.cfg must be a number, but is "7,5"
--set 3.cfg=100.5 | !--set "3.cfg=100.5": 3.cfg must be at most 100.0, but is 100.5
--set 10.on=false | 10.on=false
--set 10.on=No --set 10.name=false | 10.on=false 10.name="false"
--set 10.on=0 | 10.on=false
--set 10.on=perhaps | !--set "10.on=perhaps": 10.on must be true or false, but is "perhaps"
--set 10.name=42 | 10.name="42"
--set 10.mode=2 | 10.mode=2
--set 10.mode=x | 10.mode="x"
--set 10.mode=3 | !--set "10.mode=3": 10.mode can't be "3"; known: 1, 2, x
--set 3.sampler_name=heun | 3.sampler_name="heun"
--set 3.sampler_name=Heun | !--set "3.sampler_name=Heun": 3.sampler_name can't be "Heun"; did you mean "heun"?
--set 3.sampler_name=dpm_2m | !--set "3.sampler_name=dpm_2m": 3.sampler_name can't be "dpm_2m"; did you mean "dpmpp_2m"?
--set 3.scheduler=simple | !--set "3.scheduler=simple": 3.scheduler can't be "simple"; known: normal, karras
--set 4.ckpt_name=new.safetensors | 4.ckpt_name="new.safetensors"
--set 10.extra=0.5 | 10.extra=0.5
--set 10.picture=x | !*has no field "picture"
--set 11.kind=none | 11.kind="none"
--set 11.kind=nothing | !--set "11.kind=nothing": 11.kind can't be "nothing"; did you mean "none"?
--set 11.kind.width=100 | !--set "11.kind.width=100": 11.kind.width must be at most 99, but is 100
E
}

@test "without definitions the value that is there decides" {
  change loose.json '.["12"] = {class_type: "X", inputs: {n: null, l: [1, 2], f: 0.5, t: "1"}}'
  assert_each loose.json <<'E'
--set 3.steps=7 | 3.steps=7
--set 3.steps=7.5 | 3.steps=7.5
--set 3.steps=x | !--set "3.steps=x": 3.steps must be a number, but is "x"
--set 10.on=no | 10.on=false
--set 10.on=x | !--set "10.on=x": 10.on must be true or false, but is "x"
--set 12.t=2 | 12.t="2"
--set 12.n=2 | 12.n=2
--set 12.n=x | 12.n="x"
--set 12.l=2 | !--set "12.l=2": 12.l holds [1, 2], which no single value can replace
--set 10.extra=1 | !--set "10.extra=1": node 10 (Flags) has no field "extra"; known: on, name, mode, random
E
}

@test "all that is wrong is told at once, and nothing comes out" {
  run --separate-stderr "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/render_template.py" --workflow wf.json --object-info defs.json \
    --set 3.steps=0 --set 10.on=x --prompt a --width 8 --seed 1.5 --set 99.x=1
  assert_status 2
  assert_equal "$output" ''
  assert_equal "$stderr" '--seed "1.5": must be a whole number from 0 to 18446744073709551615, or random
wf.json: --width: 5.width must be at least 16, but is 8
wf.json: --set "3.steps=0": 3.steps must be at least 1, but is 0
wf.json: --set "10.on=x": 10.on must be true or false, but is "x"
wf.json: --set "99.x=1": no node has that id, title or class; comfy-params lists what can be set'
}

# --- the texts ------------------------------------------------------------------------------------

@test "--prompt and --negative follow the sampler's links, not the order" {
  local with
  for with in '' --object-info=defs.json; do
    assert_each wf.json ${with:+"$with"} <<'E'
--prompt "a dog" | 7.text="a dog"
--prompt 42 --negative '' | 6.text="" 7.text="42"
--prompt "a dog" --set 7.text=fox | 7.text="fox"
--prompt '{input.x} ${PROMPT} "\' | 7.text="{input.x} ${PROMPT} \"\\"
E
  done
}

@test "through ControlNet, guidance, combined and custom samplers, guiders and linked strings" {
  change control.json '.["3"].inputs.positive = ["20", 0] | .["3"].inputs.negative = ["20", 1]
    | .["20"] = {class_type: "ControlNetApplyAdvanced", inputs: {strength: 1, positive: ["21", 0], negative: ["6", 0], image: ["22", 0]}}
    | .["21"] = {class_type: "FluxGuidance", inputs: {guidance: 3.5, conditioning: ["7", 0]}}
    | .["22"] = {class_type: "LoadImage", inputs: {image: "x.png"}}'
  change crossed.json '.["3"].inputs.positive = ["20", 1] | .["3"].inputs.negative = ["20", 0]
    | .["20"] = {class_type: "ControlNetApplyAdvanced", inputs: {positive: ["7", 0], negative: ["6", 0]}}'
  change guider.json '.["3"] = {class_type: "SamplerCustomAdvanced", inputs: {noise: ["20", 0], guider: ["21", 0], sampler: ["22", 0],
      sigmas: ["23", 0], latent_image: ["5", 0]}}
    | .["20"] = {class_type: "RandomNoise", inputs: {noise_seed: 9}}
    | .["21"] = {class_type: "BasicGuider", inputs: {model: ["4", 0], conditioning: ["24", 0]}}
    | .["22"] = {class_type: "KSamplerSelect", inputs: {sampler_name: "euler"}}
    | .["23"] = {class_type: "BasicScheduler", inputs: {scheduler: "simple", steps: 4, denoise: 1, model: ["4", 0]}}
    | .["24"] = {class_type: "ReferenceLatent", inputs: {conditioning: ["7", 0], latent: ["5", 0]}}'
  change cfg.json '.["3"] = {class_type: "SamplerCustomAdvanced", inputs: {noise: ["20", 0], guider: ["21", 0], sigmas: ["23", 0], latent_image: ["5", 0]}}
    | .["20"] = {class_type: "RandomNoise", inputs: {noise_seed: 9}} | .["23"] = {class_type: "Scheduler", inputs: {steps: 4}}
    | .["21"] = {class_type: "CFGGuider", inputs: {cfg: 4, model: ["4", 0], positive: ["6", 0], negative: ["7", 0]}}'
  change strings.json '.["7"].inputs.text = ["20", 0]
    | .["20"] = {class_type: "StringConcatenate", inputs: {string_a: ["21", 0], string_b: "", delimiter: ", "}}
    | .["21"] = {class_type: "PrimitiveString", inputs: {value: "a cat"}}'
  change flux.json '.["7"] = {class_type: "CLIPTextEncodeFlux", inputs: {clip_l: "a", t5xxl: "b", guidance: 3, clip: ["4", 1]}}
    | .["6"] = {class_type: "CLIPTextEncodeSDXL", inputs: {text_g: "a", text_l: "b", width: 1, height: 1, clip: ["4", 1]}}'
  change video.json '.["3"].inputs.positive = ["20", 0] | .["3"].inputs.negative = ["20", 1] | .["3"].inputs.latent_image = ["20", 2]
    | .["20"] = {class_type: "WanImageToVideo", inputs: {positive: ["7", 0], negative: ["6", 0], width: 832, height: 480, length: 81}}'
  assert_each control.json <<<'--prompt p --negative n | 6.text="n" 7.text="p"'
  assert_each control.json --object-info=defs.json <<<'--prompt p --negative n | 6.text="n" 7.text="p"'
  assert_each crossed.json <<<'--prompt p --negative n | 6.text="p" 7.text="n"'
  assert_each guider.json <<<'--prompt p --steps 8 --seed 3 --denoise 0.5 | 7.text="p" 20.noise_seed=3 23.steps=8 23.denoise=0.5'
  assert_each cfg.json <<<'--prompt p --negative n --cfg 2 | 6.text="p" 7.text="n" 21.cfg=2'
  assert_each strings.json <<<'--prompt p | 21.value="p"'
  assert_each flux.json <<<'--prompt p --negative n | 6.text_g="n" 6.text_l="n" 7.clip_l="p" 7.t5xxl="p"'
  assert_each video.json <<<'--prompt p --negative n --width 640 --height 352 | 6.text="n" 7.text="p" 20.width=640 20.height=352'
}

@test "two texts are told with both named, unless a title or the same text decides" {
  change two.json '.["20"] = {class_type: "ConditioningCombine", inputs: {conditioning_1: ["7", 0], conditioning_2: ["21", 0]}}
    | .["21"] = {class_type: "CLIPTextEncode", inputs: {text: "a house", clip: ["4", 1]}} | .["3"].inputs.positive = ["20", 0]'
  assert_each two.json <<'E'
--prompt p | !--prompt: the positive text may be 7.text ("Words", now "a cat") or 21.text ("CLIPTextEncode", now "a house"); say which: --set 7.text=...
--negative n | 6.text="n"
--set 21.text=p | 21.text="p"
E
  jq -c '.["21"]._meta.title = "Positive prompt"' two.json >titled.json
  assert_each titled.json <<<'--prompt p | 21.text="p"'
  jq -c '.["21"]._meta.title = "Prompt"' two.json >titled.json
  assert_each titled.json <<<'--prompt p | 21.text="p"'
  jq -c '.["21"].inputs.text = "a cat"' two.json >same.json
  assert_each same.json <<<'--prompt p | 7.text="p" 21.text="p"'
  jq -c '.["21"].inputs.text = "" | .["7"].inputs.text = ""' two.json >empty.json
  assert_each empty.json <<<'--prompt p | !*may be 7.text ("Words", now "") or 21.text'
  change both.json '.["7"].inputs.text = ["20", 0] | .["20"] = {class_type: "StringConcatenate", inputs: {string_a: "a", string_b: "b", delimiter: ""}}'
  assert_each both.json <<<'--prompt p | !*may be 20.string_a ("StringConcatenate", now "a") or 20.string_b ("StringConcatenate", now "b")'
}

@test "a text that is there twice, nowhere, or computed" {
  change one.json '.["3"].inputs.negative = ["7", 0]'
  assert_each one.json <<'E'
--prompt p | 7.text="p" ~--prompt: 7.text ("Words", now "a cat") is the positive text and the negative one at once
--negative n | !--negative: 7.text ("Words", now "a cat") is the positive text and the negative one at once; say which: --set 7.text=...
E
  change zero.json '.["3"].inputs.negative = ["20", 0] | .["20"] = {class_type: "ConditioningZeroOut", inputs: {conditioning: ["7", 0]}}'
  assert_each zero.json <<'E'
--prompt p | 7.text="p"
--negative n | !--negative: no node has the negative text: it ends at node 20 (ConditioningZeroOut); comfy-params lists what can be set, --set NODE.FIELD=... sets it
E
  change made.json '.["7"].inputs.text = ["20", 0] | .["20"] = {class_type: "Captioner", inputs: {image: ["8", 0], beams: 3}}'
  assert_each made.json <<<'--prompt p | !*no node has the positive text: it ends at node 20 (Captioner)'
  printf '{"1":{"class_type":"EmptyImage","inputs":{"width":8}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0]}}}' >none.json
  assert_each none.json <<<'--prompt p --negative n | !*--prompt: no node has the positive text; comfy-params lists'
  # links that go round in a circle, and to nothing that is a node
  change round.json '.["3"].inputs.positive = ["20", 0] | .["20"] = {class_type: "X", inputs: {conditioning: ["21", 0]}}
    | .["21"] = {class_type: "X", inputs: {conditioning: ["20", 0]}}
    | .["6"].inputs.text = ["22", 0] | .["22"] = {class_type: "S", inputs: {text: ["23", 0]}} | .["23"] = {class_type: "S", inputs: {text: ["22", 0]}}'
  assert_each round.json <<<'--prompt p --negative n | !*no node has the positive text'
}

@test "without a sampler the names of fields decide" {
  printf '%s' '{"1":{"class_type":"Dalle","inputs":{"prompt":"a","seed":1,"size":"x"}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0]}}}' >api.json
  assert_each api.json <<<'--prompt p --seed 4 | 1.prompt="p" 1.seed=4'
  printf '%s' '{"1":{"class_type":"WanEncode","inputs":{"negative_prompt":"b","positive_prompt":"a"}},
    "2":{"class_type":"WanSampler","inputs":{"text_embeds":["1",0],"seed":1,"steps":3,"samples":["3",0],"model":["3",0]}},"3":{"class_type":"L","inputs":{}}}' >wan.json
  assert_each wan.json <<<'--prompt p --negative n --steps 5 | 1.negative_prompt="n" 1.positive_prompt="p" 2.steps=5'
  printf '%s' '{"1":{"class_type":"Efficient Loader","inputs":{"positive":"a","negative":"b","empty_latent_width":512}},
    "2":{"class_type":"KSampler (Efficient)","inputs":{"positive":["1",1],"negative":["1",2],"seed":1,"model":["1",0],"latent_image":["1",3]}}}' >eff.json
  assert_each eff.json <<<'--prompt p --negative n | 1.positive="p" 1.negative="n"'
}

# --- seeds and numbers ----------------------------------------------------------------------------

@test "--seed sets the seeds of all samplers, also along links; random draws one" {
  change seeds.json '.["20"] = {class_type: "KSamplerAdvanced", inputs: {noise_seed: 7, add_noise: "enable", model: ["4", 0], latent_image: ["3", 0],
      positive: ["7", 0], negative: ["6", 0], steps: 20}}
    | .["3"].inputs.seed = ["21", 0] | .["21"] = {class_type: "PrimitiveInt", inputs: {value: 5}}
    | .["22"] = {class_type: "PrimitiveInt", inputs: {value: 99}}
    | .["23"] = {class_type: "RandomNoise", inputs: {noise_seed: ["24", 0]}} | .["24"] = {class_type: "Add", inputs: {a: 1, b: 2}}'
  assert_each seeds.json <<<'--seed 3 | 20.noise_seed=3 21.value=3'
  assert_each seeds.json --object-info=defs.json <<<'--seed 4 | 10.random=4 20.noise_seed=4 21.value=4'
  assert_each wf.json <<'E'
--seed 18446744073709551615 | 3.seed=18446744073709551615
--seed -1 | !*--seed "-1": must be a whole number from 0 to 18446744073709551615, or random
--seed 18446744073709551616 | !*must be a whole number from 0
--seed ٣ | !*must be a whole number from 0
E
  printf '{"1":{"class_type":"X","inputs":{"a":1}}}' >none.json
  assert_each none.json <<<'--seed 1 | !--seed: no node has a seed that can be set'
  jq -c '.Flags.input.required.random[1].max = 7' defs.json >small.json
  for _ in 1 2 3 4; do
    assert_matches '^[0-7]$' "$(run_seed wf.json --seed random --object-info small.json --no-check)"
  done
  run_seed wf.json --seed 8 --object-info small.json --no-check 2>&1 | grep -qF '10.random must be at most 7, but is 8'
  local first second
  first=$(run_seed wf.json --seed random)
  second=$(run_seed wf.json --seed random)
  assert_matches '^[0-9]+$' "$first"
  [ "$first" != "$second" ]
  [ "$first" -le 9007199254740991 ]
}

# run_seed FILE ARG... - prints the line seed of a rendering
run_seed() {
  "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/render_template.py" --workflow "$@" | sed -n 's/^seed	//p'
}

@test "which seed runs: one for all, each when they differ, none; not that of a sampler without noise" {
  assert_equal "$(run_seed wf.json)" 5
  change two.json '.["20"] = {class_type: "KSamplerAdvanced", inputs: {noise_seed: 7, add_noise: "enable"}}'
  assert_equal "$(run_seed two.json)" '3=5,20=7'
  assert_equal "$(run_seed two.json --seed 8)" 8
  change quiet.json '.["20"] = {class_type: "KSamplerAdvanced", inputs: {noise_seed: 7, add_noise: "disable"}}'
  assert_equal "$(run_seed quiet.json)" 5
  change large.json '.["3"].inputs.seed = 18446744073709551615'
  sed -i.bak 's/1844674407370955[0-9]*/18446744073709551615/' large.json # jq rounds it
  assert_equal "$(run_seed large.json)" 18446744073709551615
  sed 's/18446744073709551615/5.0/' large.json >float.json # as other programs write it
  assert_equal "$(run_seed float.json)" 5
  assert_equal "$(run_seed float.json --seed 8)" 8
  printf '{"1":{"class_type":"X","inputs":{"a":1}}}' >none.json
  assert_equal "$(run_seed none.json)" ''
}

@test "false and true are words where a text is wanted, and what is given for -- is no end of the options" {
  change words.json '.["7"].inputs.text = "${PROMPT}"'
  assert_each words.json --object-info "$BATS_FILE_TMPDIR/defs.json" <<'E'
--set PROMPT=false | 7.text="false"
--set PROMPT=true --set 6.text=true | 6.text="true" 7.text="true"
--set PROMPT=1e3 | 7.text="1e3"
--prompt=-- --negative=-- | 6.text="--" 7.text="--"
--set PROMPT=a --set=-- | !*--set "--": NAME=VALUE or NODE.FIELD=VALUE is wanted
--cfg=-- | !*--cfg "--": must be a number
E
}

@test "--prompt: the text of a box of the picture is not the prompt, but that of the encoder behind it" {
  change boxes.json '.["3"].inputs.positive = ["20", 0]
    | .["20"] = {class_type: "GLIGENTextBoxApply", inputs: {text: "sun", width: 64, conditioning_to: ["21", 0], clip: ["4", 1]}}
    | .["21"] = {class_type: "GLIGENTextBoxApply", inputs: {text: "moon", width: 64, conditioning_to: ["7", 0], clip: ["4", 1]}}'
  assert_each boxes.json <<'E'
--prompt night | 7.text="night"
--set 20.text=star | 20.text="star"
E
}

@test "--width, --height, --steps and the like: where the sampler gets them; two that differ are told" {
  change hires.json '.["20"] = {class_type: "LatentUpscale", inputs: {samples: ["3", 0], width: 1024, height: 1024}}
    | .["21"] = {class_type: "KSampler", inputs: {seed: 5, steps: 12, cfg: 8, denoise: 0.5, model: ["4", 0], positive: ["7", 0], negative: ["6", 0], latent_image: ["20", 0]}}'
  assert_each hires.json <<'E'
--width 640 --height 384 --batch-size 2 | 5.width=640 5.height=384 5.batch_size=2
--cfg 4 | 3.cfg=4 21.cfg=4
--steps 4 | !--steps: may be 3.steps ("KSampler", now 20) or 21.steps ("KSampler", now 12); say which: --set 3.steps=...
--denoise 0.3 | !*may be 3.denoise ("KSampler", now 1) or 21.denoise ("KSampler", now 0.5)
--width 0 | !*--width "0": must be a whole number above 0
--steps 1.5 | !*--steps "1.5": must be a whole number above 0
--cfg x | !*--cfg "x": must be a number, but is "x"
E
  change linked.json '.["5"].inputs.width = ["20", 0] | .["5"].inputs.height = ["20", 0] | .["20"] = {class_type: "PrimitiveInt", inputs: {value: 512}}
    | .["3"].inputs.steps = ["21", 0] | .["21"] = {class_type: "Add", inputs: {a: 1, b: 2}}'
  assert_each linked.json <<'E'
--width 640 | 20.value=640
--steps 4 | !--steps: 3.steps is linked to node 21 (Add), which gives it its value
--set 5.width=1 | !--set "5.width=1": 5.width is linked to node 20 (PrimitiveInt), which has its value: --set 20.value=...
E
  change computed.json '.["5"].inputs.width = ["20", 0] | .["5"].inputs.height = ["20", 1]
    | .["20"] = {class_type: "ResolutionSelector", inputs: {aspect: "1:1", megapixels: 1.5, multiple: 8}}
    | .["21"] = {class_type: "ScaleToMax", inputs: {image: ["8", 0], largest_size: 512, how: "area"}} | .["5"].inputs.batch_size = ["21", 0]'
  assert_each computed.json <<'E'
--width 640 | !--width: 5.width is linked to node 20 (ResolutionSelector), which gives it its value
--batch-size 2 | !*5.batch_size is linked to node 21 (ScaleToMax)
--set 20.multiple=16 | 20.multiple=16
E
  change passed.json '.["5"].inputs.width = ["20", 0] | .["20"] = {class_type: "Reroute", inputs: {"": ["21", 0]}}
    | .["21"] = {class_type: "SizeOf", inputs: {width: ["22", 0], height: 9, depth: 4}} | .["22"] = {class_type: "JWInteger", inputs: {value: 5}}'
  assert_each passed.json <<<'--width 640 | 22.value=640'
  change shared.json '.["5"].inputs.width = ["20", 0] | .["5"].inputs.height = ["20", 0] | .["3"].inputs.steps = ["20", 0] | .["3"].inputs.seed = ["20", 0]
    | .["20"] = {class_type: "PrimitiveInt", inputs: {value: 512}}'
  assert_each shared.json <<'E'
--width 640 --height 640 | 20.value=640
--width 640 --height 384 | !--height: --width and this are one field, 20.value; say which is meant by --set
--seed 9 --steps 3 | !--steps: --seed and this are one field, 20.value; say which is meant by --set
E
  printf '%s' '{"1":{"class_type":"Load3D","inputs":{"model_file":"a.glb","width":512,"height":512}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0]}}}' >3d.json
  assert_each 3d.json <<<'--width 640 | !--width: no node has width; comfy-params lists what can be set'
  change image.json '.["3"].inputs.latent_image = ["20", 0] | .["20"] = {class_type: "VAEEncode", inputs: {pixels: ["21", 0], vae: ["4", 2]}}
    | .["21"] = {class_type: "LoadImage", inputs: {image: "x.png"}} | del(.["5"])'
  assert_each image.json <<<'--width 640 | !--width: no node has width; comfy-params lists what can be set'
}

@test "--output-folder goes before the last part of every filename_prefix" {
  change two.json '.["20"] = {class_type: "SaveVideo", inputs: {filename_prefix: "%date:yyyy%-clip", video: ["8", 0]}}
    | .["21"] = {class_type: "SaveImage", inputs: {images: ["8", 0], filename_prefix: ["22", 0]}}
    | .["22"] = {class_type: "PrimitiveString", inputs: {value: "a\\b"}}'
  assert_each two.json <<'E'
--output-folder films/one | 9.filename_prefix="films/one/ComfyUI" 20.filename_prefix="films/one/%date:yyyy%-clip" 22.value="films/one/b"
--output-folder films/ | 9.filename_prefix="films/ComfyUI" 20.filename_prefix="films/%date:yyyy%-clip" 22.value="films/b"
--output-folder /films | !*a folder below the server's output folder is wanted
--output-folder a/../b | !*a folder without . and .. is wanted
--output-folder 'a\b' | !*a folder below the server's output folder is wanted
--output-folder C:x | !*a folder below the server's output folder is wanted
--output-folder a//b | !*a folder without . and .. is wanted
E
}

# --- inputs ---------------------------------------------------------------------------------------

@test "--input without a placeholder: the field of that name, a file into the field that takes one" {
  local sha name
  printf 'picture' >cat.png
  sha=$("$AUTOPOD_PYTHON" -c 'import hashlib; print(hashlib.sha256(b"picture").hexdigest())')
  name=autopod/${sha:0:16}.png
  change image.json '.["20"] = {class_type: "LoadImage", inputs: {image: "x.png"}}'
  assert_each image.json <<E
--input image=cat.png | 20.image="$name"
--input 20.image=cat.png | 20.image="$name"
--input LoadImage.image=cat.png | 20.image="$name"
--input file=cat.png | 20.image="$name"
--input cfg=4 | 3.cfg=4
--input ckpt_name=text:b.safetensors | 4.ckpt_name="b.safetensors"
--input text=x | !--input text: may be 6.text ("CLIPTextEncode", now "bad") or 7.text ("Words", now "a cat"); say which: --input 6.text=...
--input zzz=1 | !--input zzz: no placeholder and no node has a field of that name; comfy-params lists what can be set
--input video=cat.png | !*no node takes it; for files there is 20.image ("LoadImage", now "x.png")
--input image=gone.png | !*--input image: "gone.png": no such file; put "text:" in front to send it as text
--input image | !*--input "image": NAME=VALUE is wanted
--input 20.imag=x | !*node 20 (LoadImage) has no field "imag"
E
  jq -c '.["21"] = {class_type: "LoadImage", inputs: {image: "y.png"}, _meta: {title: "Style"}}
    | .["22"] = {class_type: "LoadImageMask", inputs: {image: "m.png"}} | .["23"] = {class_type: "LoadVideo", inputs: {file: "v.mp4"}}' image.json >more.json
  assert_each more.json <<E
--input image=cat.png | !--input image: may be 20.image ("LoadImage", now "x.png") or 21.image ("Style", now "y.png"); say which: --input 20.image=...
--input mask=cat.png | 22.image="$name"
--input style=cat.png | 21.image="$name"
--input video=cat.png | 23.file="$name"
--input Style.image=cat.png --input 20.image=cat.png | 20.image="$name" 21.image="$name"
E
  printf '{"1":{"class_type":"X","inputs":{"a":1}}}' >none.json
  assert_each none.json <<<'--input image=cat.png | !--input image: no placeholder and no node takes a file; comfy-params lists what can be set'
  run --separate-stderr "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/render_template.py" --workflow image.json --input image=cat.png
  assert_equal "$(sed -n 's/^upload	//p' <<<"$output")" "7	$sha	$name	$(pwd -P)/cat.png"
}

# --- comfy-params ---------------------------------------------------------------------------------

@test "comfy-params: a table, and JSON with what is known of each field" {
  run --separate-stderr "$AUTOPOD_BIN/comfy-params" wf.json --object-info defs.json
  assert_status 0
  assert_equal "$stderr" ''
  assert_matches $'^NODE +TITLE +FIELD +TYPE +VALUE +ALLOWED\n' "$output"
  assert_matches $'\n3 +KSampler +seed +INT +5 +--seed  0 to 18446744073709551615\n' "$output"
  assert_matches $'\n3 +KSampler +sampler_name +COMBO +euler +euler, heun, dpmpp_2m\n' "$output"
  assert_matches $'\n5 +Size v1.5 = small +width +INT +512 +--width  16 to 16384\n' "$output"
  assert_matches $'\n7 +Words +text +STRING +a cat +--prompt\n' "$output"
  assert_matches $'\n6 +CLIPTextEncode +text +STRING +bad +--negative\n' "$output"
  assert_matches $'\n11 +Resize +kind.width +INT +4 +--width  1 to 99$|\n11 +Resize +kind.width +INT +4 +1 to 99$' "$output"
  refute_contains samples "$output"
  run --separate-stderr "$AUTOPOD_BIN/comfy-params" wf.json --object-info=defs.json --json
  assert_equal "$(jq -c '[.converted, (.params | length)]' <<<"$output")" '[false,20]'
  assert_equal "$(jq -cS '.params[] | select(.node == "4")' <<<"$output")" \
    '{"choices":["a.safetensors","b.safetensors"],"class":"CheckpointLoaderSimple","field":"ckpt_name","linked":null,"max":null,"min":null,"node":"4","option":null,"set":"4.ckpt_name","title":"","type":"COMBO","upload":false,"value":"a.safetensors"}'
  change linked.json '.["3"].inputs.seed = ["20", 0] | .["20"] = {class_type: "PrimitiveInt", inputs: {value: 1}, _meta: {title: "\u001b[31mred\n"}}'
  run --separate-stderr "$AUTOPOD_BIN/comfy-params" linked.json --object-info defs.json
  assert_matches $'\n3 +KSampler +seed +INT +linked to node 20\n' "$output"
  assert_matches $'\n20 +\\\\x1b\[31mred\\\\n +value +INT +1 +--seed' "$output"
}

@test "comfy-params without definitions, and what it can't list" {
  run --separate-stderr "$AUTOPOD_BIN/comfy-params" wf.json
  assert_status 0
  assert_matches $'\n3 +KSampler +denoise +INT +1 +--denoise\n' "$output"
  local text
  while IFS='|' read -r text name; do
    printf '%s' "$text" >"$name"
    run --separate-stderr "$AUTOPOD_BIN/comfy-params" "$name"
    assert_status 2
    assert_equal "$output" ''
    assert_matches "^comfy-params: error: $name: " "$stderr"
    refute_contains Traceback "$stderr"
  done <<'E'
{"nodes":[{"id":1,"type":"X"}],"links":[],"version":0.4}|gui.json
[]|list.json
x|text.json
{"job_id":"j","workflow_template":"t"}|job.json
E
  run --separate-stderr "$AUTOPOD_BIN/comfy-params"
  assert_status 2
  assert_contains 'no workflow was given' "$stderr"
  run --separate-stderr "$AUTOPOD_BIN/comfy-params" nosuch.json
  assert_contains 'nosuch.json: no such file' "$stderr"
  run --separate-stderr "$AUTOPOD_BIN/comfy-params" wf.json --object-info nosuch.json
  assert_status 2
}
