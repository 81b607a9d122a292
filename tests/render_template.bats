#!/usr/bin/env bats
# helpers/render_template.py: a job and its template become a workflow; bad ones are told in full.

load test_helper

# Each table of cases goes through one start of Python, of this driver. Its arguments are
#   values
#     lines INPUTS TEMPLATE_VALUE WANTED, all three JSON, then arguments as in a shell
#   refusals FILE TEXT PREFIX ARG...
#     lines CASE#WANTED: TEXT becomes FILE, %s in it and in ARG being CASE; exit 2, nothing on
#     stdout, and on stderr the one line PREFIX WANTED (a line without #: PREFIX and anything)
setup_file() {
  cat >"$BATS_FILE_TMPDIR/driver.py" <<'E'
import contextlib, io, json, os, shlex, sys
sys.path.insert(0, os.environ["ROOT"] + "/helpers")
from render_template import main

def render(*args):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["--job", "job.json", *args])
    return [status, *(stream.buffer.getvalue().decode("utf-8") for stream in (out, err))]

def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

def value(line):
    parts = []
    while len(parts) < 3:
        part, end = json.JSONDecoder().raw_decode(line.lstrip())
        parts.append(part)
        line = line.lstrip()[end:]
    inputs, template, wanted = parts
    write("templates/quick.json", json.dumps({"1": {"class_type": "X", "inputs": {"v": template}}}))
    write("job.json", json.dumps({"job_id": "j-1", "workflow_template": "quick", "inputs": inputs}))
    status, out, err = render(*shlex.split(line))
    got = [json.loads(text[9:])["1"]["inputs"]["v"] for text in out.split("\n") if text.startswith("workflow\t")]
    return [status, *map(json.dumps, got), err], [0, json.dumps(wanted), ""]

def refusal(line, path, text, prefix, *args):
    case, exact, wanted = line.partition("#")
    write(path, text.replace("%s", case))
    status, out, err = render(*(arg.replace("%s", case) for arg in args))
    if not exact and err.startswith(prefix) and err.count("\n") == 1:
        err = prefix + "\n"
    return [status, out, err], [2, "", prefix + wanted + "\n"]

check = {"values": value, "refusals": refusal}[sys.argv[1]]
lines = sys.stdin.buffer.read().decode("utf-8").splitlines()
assert lines
for line in lines:
    got, wanted = check(line, *sys.argv[2:])
    if got != wanted:
        sys.exit(f"{line}\nwanted: {wanted}\ngot:    {got}")
E
}

setup() {
  autopod_setup
  mkdir templates
}

# assert_each MODE [ARG...] - the driver has no complaint about the table on stdin
assert_each() { "$AUTOPOD_PYTHON" "$BATS_FILE_TMPDIR/driver.py" "$@"; }

# template NAME - makes templates/NAME.json from stdin
template() { cat >"templates/$1.json"; }

# job - makes job.json from stdin
job() { cat >job.json; }

# render [ARG...] - runs the helper; $output is stdout, $stderr what it complained of
render() {
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/render_template.py" "$@"
}

# field TAG - the payload of every line of $output with this tag
field() { sed -n "s/^$1	//p" <<<"$output"; }

# workflow FILTER - what jq's FILTER makes of the rendered workflow
workflow() { field workflow | jq -c "$1"; }

# quick INPUTS TEMPLATE_VALUE [ARG...] - renders one value of a template with these inputs
quick() {
  printf '{"1":{"class_type":"X","inputs":{"v":%s}}}' "$2" | template quick
  printf '{"job_id":"j-1","workflow_template":"quick","inputs":%s}' "$1" | job
  render --job job.json "${@:3}"
}

# assert_refused WANTED_LINE - exit 2, nothing on stdout, and exactly this line on stderr
assert_refused() {
  assert_status 2
  assert_equal "$output" ""
  assert_equal "$stderr" "$1" "the complaint"
}

# --- what comes out -------------------------------------------------------------------------------

@test "a whole job: every line, job.json and the workflow" {
  mkdir inputs
  printf 'picture' >inputs/frame.png
  template film <<'E'
{ "_about": "for people",
  "3": { "class_type": "KSampler", "inputs": { "seed": "{input.seed}", "cfg": 7.5 } },
  "9": { "class_type": "SaveImage", "_meta": { "title": "Result" },
         "inputs": { "images": ["3", 0], "from": "{input.image}", "filename_prefix": "{job_id}-${TAG}" } } }
E
  job <<'E'
{ "$schema": "../job.schema.json", "_note": [1], "job_id": "sunset-001", "workflow_template": "film",
  "inputs": { "_why": 1, "image": "inputs/frame.png", "seed": 42 },
  "outputs": { "image": "out/{job_id}-{input.seed}.png" },
  "pod_config": { "$c": 1, "gpu_type": "RTX A40", "max_cost_usd": 5.00 } }
E
  render --job job.json --set TAG=x --set UNUSED=1
  assert_status 0
  assert_equal "$stderr" ""
  local sha
  sha=$("$AUTOPOD_PYTHON" -c 'import hashlib; print(hashlib.sha256(b"picture").hexdigest())')
  local name="autopod/${sha:0:16}.png" here
  here=$(pwd -P)
  assert_equal "$(sed -e '/^job	/d' -e '/^uploads	/d' -e '/^workflow	/d' <<<"$output")" "$(
    printf '%s\t%s\n' job_id sunset-001 template film timeout_minutes 60 timeout_seconds 3600 max_cost_usd 5
    printf 'value\t%s\t%s\n' seed 42 TAG x UNUSED 1
    printf 'upload\t7\t%s\t%s\t%s\n' "$sha" "$name" "$here/inputs/frame.png"
    printf 'output\timage\t%s\n' "$here/out/sunset-001-42.png"
    printf 'output_dir\t%s\n' "$here/outputs"
    printf 'timings\t%s\n' film-81447cb7
    printf 'seed\t%s\n' 42
    printf 'warning\t--set UNUSED: no placeholder uses it\n'
  )"
  assert_equal "$(workflow .)" "$(jq -nc --arg name "$name" '{
    "3": {class_type: "KSampler", inputs: {seed: 42, cfg: 7.5}},
    "9": {class_type: "SaveImage", _meta: {title: "Result"},
          inputs: {images: ["3", 0], from: $name, filename_prefix: "sunset-001-x"}}}')"
  assert_equal "$(field job | jq -cS .)" "$(jq -ncS --arg name "$name" --arg here "$here" --arg sha "$sha" '{
    job_id: "sunset-001", template: {name: "film", path: ($here + "/templates/film.json")},
    inputs: {image: {type: "file", path: ($here + "/inputs/frame.png"), bytes: 7, sha256: $sha,
                     upload_name: $name},
             seed: {type: "number", value: 42}},
    outputs: {image: ($here + "/out/sunset-001-42.png")}, output_dir: ($here + "/outputs"),
    pod_config: {gpu_count: 1, timeout_minutes: 60, gpu_type: "RTX A40", max_cost_usd: 5},
    set: {TAG: "x", UNUSED: "1"}}')"
}

@test "where the times of nodes are kept follows from the template's name and its nodes" {
  local first
  job <<<'{"job_id":"j","workflow_template":"t"}'
  template t <<<'{"1":{"class_type":"A","inputs":{"v":1}},"2":{"class_type":"B","inputs":{}}}'
  render --job job.json
  first=$(field timings)
  assert_matches '^t-[0-9a-f]{8}$' "$first"
  # Neither order nor inputs nor titles matter; ids and classes do.
  template t <<<'{"2":{"class_type":"B","inputs":{"w":[]},"_meta":{"title":"x"}},"1":{"class_type":"A","inputs":{"v":2}}}'
  render --job job.json
  assert_equal "$(field timings)" "$first"
  template t <<<'{"1":{"class_type":"A","inputs":{}},"3":{"class_type":"B","inputs":{}}}'
  render --job job.json
  [ "$(field timings)" != "$first" ]
  template t <<<'{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"C","inputs":{}}}'
  render --job job.json
  [ "$(field timings)" != "$first" ]
  printf '{"1":{"class_type":"A","inputs":{}}}' >"templates/a b;ü.json"
  job <<<'{"job_id":"j","workflow_template":"a b;ü"}'
  render --job job.json
  assert_matches '^a_b__-[0-9a-f]{8}$' "$(field timings)"
}

@test "a string that is one placeholder takes the value's own type" {
  assert_each values <<'E'
{"a":42} "{input.a}" 42
{"a":0.1} "{input.a}" 0.1
{"a":true} "{input.a}" true
{"a":"42"} "{input.a}" "42"
{"a":42} "{input.a} " "42 "
{"a":false} "is {input.a}" "is false"
{"a":1,"b":2} "{input.a}{input.b}" "12"
{"a":7} [["{input.a}"], {"k": "{input.a}"}, null] [[7],{"k":7},null]
{} "{job_id}" "j-1"
E
}

@test "integers beyond 64 bits survive, as values, in text and as defaults" {
  quick '{"a":18446744073709551615}' '["{input.a}", "<{input.a}>", "{input.b|18446744073709551615}"]'
  assert_status 0
  # jq 1.6 rounds large numbers, so the text itself is compared
  assert_contains '"v":[18446744073709551615,"<18446744073709551615>",18446744073709551615]' "$(field workflow)"
}

@test "defaults: used only when there is no value, typed when they are the whole string" {
  assert_each values <<'E'
{} "{input.a|20}" 20
{} "{input.a|7.5}" 7.5
{} "{input.a|true}" true
{} "{input.a|euler}" "euler"
{} "{input.a|007}" "007"
{} "{input.a|1.50}" "1.50"
{} "{input.a|1e5}" "1e5"
{} "{input.a|NaN}" "NaN"
{} "{input.a|null}" "null"
{} "{input.a|[1]}" "[1]"
{} "{input.a|}" ""
{} "{input.a|a | b: $1}" "a | b: $1"
{} "n={input.a|20}" "n=20"
{"a":""} "{input.a|20}" ""
{} "${A|20}" 20
E
}

@test "--set gives \${NAME}: typed when it is the whole string, the last of a name counts" {
  assert_each values <<'E'
{} "${SEED}" 7 --set SEED=7
{} "${SEED}" "07" --set SEED=07
{} "seed ${SEED}" "seed 7" --set SEED=7
{} "seed ${SEED}" "seed 07" --set SEED=07
{} "${A}" "b=c" --set A=x --set A=b=c
{} "${A|x}" "" --set A=
{"A":"job"} "${A} {input.A}" "set job" --set A=set
E
}

@test "doubled braces and dollars stand for the text itself" {
  assert_each values <<'E'
{"a":1} "{{input.a}} {input.a}" "{input.a} 1"
{} "{{input.a}}" "{input.a}"
{} "{{job_id}}" "{job_id}"
{} "$${X}" "${X}"
{} "$${X|y} ${X|y}" "${X|y} y"
E
}

@test "text that only resembles a placeholder is left alone" {
  assert_each values <<'E'
{} "{a|b} {{a}} {inputx} $X $(id) ${} ${1} `id` {\"k\": 1}" "{a|b} {{a}} {inputx} $X $(id) ${} ${1} `id` {\"k\": 1}"
E
}

@test "a value is never scanned again for placeholders" {
  assert_each values <<'E'
{"a":"{input.b} {{input.b}} ${X} $${X} {job_id}","b":"no"} "{input.a}{input.b}" "{input.b} {{input.b}} ${X} $${X} {job_id}no" --set X=no
{"b":"no"} "${X}|{input.b}" "{input.b}|no" --set X={input.b}
E
}

@test "shell, JSON and path tricks in a value stay text" {
  # shellcheck disable=SC2016,SC1003 # the tricks must not be expanded here either
  local tricks=('$(touch pwned)' '`touch pwned`' '"; touch pwned; "' "'; touch pwned; '" '\"},\"x\":{\"'
    $'line one\nline two' $'tab\there' $'\x7f\x01\x1b[31m' '..' '{"a":1}' 'null' 'a\' 'a\\n' 'ünï 日本 😀'
    '%s%n%d' '&amp;<b>' '-rf' '--job' '{input.a1}' '${T}')
  jq -n '{job_id: "j", workflow_template: "t",
    inputs: ([$ARGS.positional | to_entries[] | {key: "a\(.key)", value}] | from_entries)}' --args -- "${tricks[@]}" >job.json
  jq '{"1": {class_type: "X", inputs: (.inputs | with_entries(.value = ["{input.\(.key)}", "<{input.\(.key)}>"]))},
       "2": {class_type: "X", inputs: {v: ["${T}", "<${T}>"]}}}' job.json | template t
  render --job job.json --set "T=${tricks[*]}"
  assert_status 0
  assert_equal "$(workflow '.["1"].inputs')" "$(jq -c '.inputs | map_values([., "<\(.)>"])' job.json)"
  assert_equal "$(workflow '.["2"].inputs.v')" "$(jq -nc --arg t "${tricks[*]}" '[$t, "<\($t)>"]')"
  # one line a field, whatever stands in the values: the reader on the other side is Bash
  assert_equal "$(cut -f 1 <<<"$output" | uniq -c | tr -s ' \n' ' ')" \
    " 1 job_id 1 template 1 timeout_minutes 1 timeout_seconds 1 max_cost_usd $((${#tricks[@]} + 1)) value 1 output_dir 1 timings 1 uploads 1 job 1 workflow "
  refute_contains $'\x7f'
  refute_contains $'\x1b'
  refute_exists pwned
}

@test "random texts come back byte for byte, from the job and from --set" {
  cat >random_texts.py <<'E'
import json, random, subprocess, sys
rng = random.Random(20260101)
alphabet = [*map(chr, range(1, 0x180)), *'{}|$"\\/.\n\t', "\u2028", "\ufeff", "\uffff", "日", "😀",
            "{input.v1}", "{{input.v1}}", "${S}", "$${S}", "{job_id}", "$(id)", "`id`", "%00", "\\u0000"]
texts = ["".join(rng.choices(alphabet, k=rng.randrange(60))) for _ in range(400)]
inputs = {f"v{i}": "text:" + text for i, text in enumerate(texts)}
nodes = {str(i): {"class_type": "X", "inputs": {"v": f"{{input.v{i}}}", "w": f"<{{input.v{i}}}>"}}
         for i in range(len(texts))}
nodes["set"] = {"class_type": "X", "inputs": {"v": "${S}"}}
json.dump(nodes, open("templates/random.json", "w"))
json.dump({"job_id": "r", "workflow_template": "random", "inputs": inputs}, open("job.json", "w"),
          ensure_ascii=False)
said = "s" + texts[7]
done = subprocess.run([sys.executable, "-I", sys.argv[1], "--job", "job.json", "--set", "S=" + said],
                      stdout=subprocess.PIPE, check=True)
lines = done.stdout.decode("utf-8").split("\n")
workflow = json.loads(next(line for line in lines if line.startswith("workflow\t"))[9:])
for i, text in enumerate(texts):
    got = workflow[str(i)]["inputs"]
    assert got == {"v": text, "w": f"<{text}>"}, (text, got)
assert workflow["set"]["inputs"]["v"] == said
print("same", len(texts))
E
  run "$AUTOPOD_PYTHON" random_texts.py "$ROOT/helpers/render_template.py"
  assert_status 0
  assert_equal "$output" "same 400"
}

@test "values for people: one readable line of at most 200 characters each, and no files" {
  printf 'x' >a.png
  local long
  long=$(printf 'n%.0s' {1..200})
  jq -n --arg long "$long" '{job_id: "j", workflow_template: "t", inputs: {n: 0.5, yes: true, file: "a.png",
    text: "text:a\tb\n\u001b[31mü \\n", empty: "", long: $long, longer: ($long + "x"), escapes: ("\n" * 101)}}' >job.json
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  render --job job.json --set S=$'a\rb' --set n=2 --output-dir ../rest
  assert_status 0
  assert_equal "$(field value)" "$(
    printf '%s\t%s\n' n 0.5 yes true text 'a\tb\n\x1b[31mü \n' empty '' long "$long" longer "${long:0:197}..."
    printf 'escapes\t%s\\...\nS\ta\\rb\nn\t2\n' "$(printf '\\n%.0s' {1..98})"
  )"
  assert_equal "$(field output_dir)" "$(cd -P .. && pwd -P)/rest"
}

@test "half of a surrogate pair passes as the escape that it came as" {
  quick '{"a":"\ud83d!"}' '"{input.a}"'
  assert_status 0
  assert_contains '"v":"\ud83d!"' "$(field workflow)"
}

# --- reading --------------------------------------------------------------------------------------

@test "a job from standard input" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/render_template.py" --job - \
    <<<'{"job_id":"in","workflow_template":"t"}'
  assert_status 0
  assert_equal "$(field job_id)" in
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/render_template.py" <<<'[]'
  assert_refused 'standard input: is not a job: a JSON object is wanted'
}

@test "what is not a readable JSON file" {
  local json want
  while IFS='|' read -r json want; do
    printf '%b' "$json" >bad.json
    render --job bad.json
    assert_refused "bad.json: $want"
  done <<'E'
{"job_id": "a"\n "x": 1}|not JSON: line 2, column 2: Expecting ',' delimiter
  \n|not JSON: it is empty
{"a": "\xff"}|not JSON: byte 8 is not UTF-8 text
E
  assert_each refusals job.json %s 'job.json: ' <<'E'
#not JSON: it is empty
{'job_id': "a"}#not JSON: line 1, column 2: Expecting property name enclosed in double quotes
{"a": NaN}#NaN is not a number that JSON can hold
{"a": -Infinity}#-Infinity is not a number that JSON can hold
{"a": 1e999}#1e999 is not a number that JSON can hold
{"a": {"b": 1, "c": 2, "b": 1}}#the key "b" stands twice in one object
"text"#is not a job: a JSON object is wanted
E
  render --job none.json
  assert_refused 'none.json: no such file'
  render --job ''
  assert_refused '"": no such file'
  render --job bad.json/job.json
  assert_refused 'bad.json/job.json: no such file'
  render --job templates
  assert_refused 'templates: is a directory, not a JSON file'
  "$AUTOPOD_PYTHON" -c 'print("[" * 100000)' >deep.json
  render --job deep.json
  assert_refused 'deep.json: nested too deeply'
}

@test "a byte order mark does no harm" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  printf '\357\273\277{"job_id":"bom","workflow_template":"t"}' >job.json
  render --job job.json
  assert_status 0
  assert_equal "$(field job_id)" bom
}

# --- the job --------------------------------------------------------------------------------------

@test "job_id: what may become a file name" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  local id
  for id in '"a"' '"0"' '"sunset-001"' '"A.b_c-d"' "\"$(printf 'a%.0s' {1..128})\""; do
    job <<<"{\"job_id\":$id,\"workflow_template\":\"t\"}"
    render --job job.json
    assert_status 0
    assert_equal "\"$(field job_id)\"" "$id"
  done
  assert_each refusals job.json '{"job_id":%s,"workflow_template":"t"}' 'job.json: job_id: ' <<E
"a/b"
"../a"
".."
"a..b"
".a"
"-a"
"_a"
"a b"
" a"
"\$(id)"
"\`id\`"
"a'b"
"a\\"b"
"a\\\\b"
"a\\nb"
"a\\n"
"ä"
"a;b"
"a*"
""
"$(printf 'a%.0s' {1..129})"
7
null
E
}

@test "bad jobs: each fault is told with file, key and what is wanted" {
  template t <<<'{"1":{"class_type":"X","inputs":{"a":"{input.a|1}"}}}'
  assert_each refusals job.json '{"job_id":"j","workflow_template":"t",%s}' 'job.json: ' <<'E'
"job_idd":1#job_idd: unknown key; did you mean "job_id"?
"input":{}#input: unknown key; did you mean "inputs"?
"timeout_minutes":5#timeout_minutes: unknown key; it belongs in pod_config
"zzz":1#zzz: unknown key; known: job_id, workflow_template, workflow, inputs, set, outputs, pod_config
"inputs":[]#inputs: must be an object, but is []
"inputs":null#inputs: must be an object, but is null
"inputs":{"a":null}#inputs.a: must be a string, a number or a boolean, but is null
"inputs":{"a":["x"]}#inputs.a: must be a string, a number or a boolean, but is ["x"]
"inputs":{"a":1,"b c":1}#inputs.b c: a name is made of letters, digits, _ . and -
"outputs":"x"#outputs: must be an object, but is "x"
"outputs":{"image":1}#outputs.image: must be a path, but is 1
"outputs":{"image":""}#outputs.image: must be a path without control characters, but is ""
"outputs":{"image":"a\nb"}#outputs.image: must be a path without control characters, but is "a\nb"
"outputs":{"i\tm":"a"}#outputs.i\tm: the name must be in one line, without control characters
"outputs":{"image":"x.png","9":"./x.png"}#outputs.9: has the same path as outputs.image
"pod_config":1#pod_config: must be an object, but is 1
"pod_config":{"timeout_minute":1}#pod_config.timeout_minute: unknown key; did you mean "timeout_minutes"?
"pod_config":{"max_cost":1}#pod_config.max_cost: unknown key; did you mean "max_cost_usd"?
"pod_config":{"timeout_minutes":-5}#pod_config.timeout_minutes: must be above 0, but is -5
"pod_config":{"timeout_minutes":0}#pod_config.timeout_minutes: must be above 0, but is 0
"pod_config":{"timeout_minutes":"60"}#pod_config.timeout_minutes: must be a number, but is "60"
"pod_config":{"timeout_minutes":true}#pod_config.timeout_minutes: must be a number, but is true
"pod_config":{"timeout_minutes":1e9}#pod_config.timeout_minutes: must be at most 1000000, but is 1000000000.0
"pod_config":{"max_cost_usd":-0.01}#pod_config.max_cost_usd: must be above 0, but is -0.01
"pod_config":{"max_cost_usd":"5 USD"}#pod_config.max_cost_usd: must be a number, but is "5 USD"
"pod_config":{"max_cost_usd":null}#pod_config.max_cost_usd: must be a number, but is null
"pod_config":{"max_price_usd_per_hour":0}#pod_config.max_price_usd_per_hour: must be above 0, but is 0
"pod_config":{"gpu_count":1.5}#pod_config.gpu_count: must be a whole number, but is 1.5
"pod_config":{"gpu_count":0}#pod_config.gpu_count: must be above 0, but is 0
"pod_config":{"disk_gb":0.5}#pod_config.disk_gb: must be a whole number, but is 0.5
"pod_config":{"disk_gb":[]}#pod_config.disk_gb: must be a number, but is []
"pod_config":{"gpu_type":""}#pod_config.gpu_type: must be a text in one line, but is ""
"pod_config":{"gpu_type":4090}#pod_config.gpu_type: must be a text in one line, but is 4090
"pod_config":{"image":"a\nb"}#pod_config.image: must be a text in one line, but is "a\nb"
"pod_config":{"gpu_type":" , "}#pod_config.gpu_type: must name a GPU, but is " , "
"pod_config":{"datacenter":"US GA 1"}#pod_config.datacenter: must be data centers such as US-GA-1, separated by commas, but is "US GA 1"
"pod_config":{"datacenter":"US-GA-1,,EU"}#pod_config.datacenter: must be data centers such as US-GA-1, separated by commas, but is "US-GA-1,,EU"
"pod_config":{"datacenter":["EU"]}#pod_config.datacenter: must be a text in one line, but is ["EU"]
"pod_config":{"volume_id":"$(id)"}#pod_config.volume_id: must be letters, digits, _ and -, at most 64 of them, but is "$(id)"
"pod_config":{"volume_mount":"workspace"}#pod_config.volume_mount: must be an absolute path without .., but is "workspace"
"pod_config":{"volume_mount":"/a/../b"}#pod_config.volume_mount: must be an absolute path without .., but is "/a/../b"
"pod_config":{"volume_mount":"/a\u001b[1m"}#pod_config.volume_mount: must be a text in one line, but is "/a\u001b[1m"
"pod_config":{"cloud":"public"}#pod_config.cloud: must be secure, community, or both between commas, but is "public"
E
}

@test "required keys, and all faults of a job in one run" {
  printf '{}' >job.json
  render --job job.json
  assert_status 2
  assert_equal "$stderr" 'job.json: the required key "job_id" is missing
job.json: the required key "workflow_template" is missing'

  job <<'E'
{"job_id":"a/b","workflow_template":"none","extra":1,"inputs":{"a":null,"b":"gone.png"},
 "outputs":{"image":""},"pod_config":{"gpu_count":-1,"cloudd":"x"}}
E
  render --job job.json
  assert_status 2
  assert_equal "$output" ""
  assert_equal "$(sed -e 's/^job.json: //' -e 's/:.*//' <<<"$stderr" | sort | tr '\n' ' ')" \
    'extra inputs.a inputs.b job_id outputs.image pod_config.cloudd pod_config.gpu_count workflow_template '
}

@test "every key of pod_config is taken over, whole counts as integers" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  job <<'E'
{"job_id":"j","workflow_template":"t","pod_config":{"gpu_type":"RTX A40, 4090","gpu_count":2.0,"max_cost_usd":0.25,
 "timeout_minutes":90.5,"datacenter":"EU-RO-1,US-GA-1","volume_id":"v1","volume_mount":"/workspace","image":"a/b:c",
 "template":"tpl","cloud":"secure","disk_gb":40,"max_price_usd_per_hour":1.5}}
E
  render --job job.json
  assert_status 0
  assert_equal "$(field timeout_minutes) $(field max_cost_usd)" "90.5 0.25"
  assert_equal "$(field job | jq -cS .pod_config)" "$(jq -cS '.pod_config | .gpu_count = 2' job.json)"
  assert_contains '"gpu_count":2,' "$(field job)"
}

@test "--timeout goes before the job's limit and is checked like it" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  job <<<'{"job_id":"j","workflow_template":"t","pod_config":{"timeout_minutes":5}}'
  render --job job.json --timeout 1.50
  assert_status 0
  assert_equal "$(field timeout_minutes) $(field job | jq .pod_config.timeout_minutes)" "1.5 1.5"
  render --job job.json --timeout 007
  assert_status 0
  assert_equal "$(field timeout_minutes)" 7
  assert_contains '"timeout_minutes":7}' "$(field job)"
  assert_each refusals /dev/null '' 'job.json: --timeout: must be ' --timeout=%s <<'E'
0#above 0, but is 0
-1
x#a number, but is "x"
nan
inf
1e3

9999999
E
}

# --- templates ------------------------------------------------------------------------------------

@test "templates: ./templates first, then each --template-dir in order; paths are paths" {
  mkdir -p a b my
  local place
  for place in a b my; do printf '{"1":{"class_type":"%s","inputs":{}}}' "$place" >"$place/t.json"; done
  local from
  for from in '"t"|a' '"my/t.json"|my' '"./b/t.json"|b'; do
    job <<<"{\"job_id\":\"j\",\"workflow_template\":${from%|*}}"
    render --job job.json --template-dir a b
    assert_status 0
    assert_equal "$(workflow '.["1"].class_type')" "\"${from#*|}\""
    assert_equal "$(field template)" t
  done
  template t <<<'{"1":{"class_type":"own","inputs":{}}}'
  job <<<'{"job_id":"j","workflow_template":"t"}'
  render --job job.json --template-dir a --template-dir b
  assert_equal "$(workflow '.["1"].class_type')" '"own"'
  cp a/t.json "$HOME/h.json"
  job <<<'{"job_id":"j","workflow_template":"~/h.json"}'
  render --job job.json
  assert_equal "$(field job | jq -r .template.path)" "$HOME/h.json"
}

@test "an unknown template lists the known ones and names the nearest" {
  template img2img <<<'{}'
  template upscale <<<'{}'
  job <<<'{"job_id":"j","workflow_template":"img2imgs"}'
  render --job job.json
  assert_refused 'job.json: workflow_template: "img2imgs": no such template; did you mean "img2img"?; known: img2img, upscale'
  job <<<'{"job_id":"j","workflow_template":"zzzz"}'
  render --job job.json
  assert_refused 'job.json: workflow_template: "zzzz": no such template; known: img2img, upscale'
  job <<<'{"job_id":"j","workflow_template":"wf/zzzz.json"}'
  render --job job.json
  assert_refused 'job.json: workflow_template: "wf/zzzz.json": no such template file; known: img2img, upscale'
}

@test "bad templates: not JSON, the GUI format, broken nodes, links that lead nowhere" {
  job <<<'{"job_id":"j","workflow_template":"t"}'
  assert_each refusals templates/t.json %s 'job.json: workflow_template: templates/t.json: ' <<'E'
{"1": }#not JSON: line 1, column 7: Expecting value
[]#is not a workflow: a JSON object of nodes is wanted
{}#has no nodes
{"_a": 1, "$b": 2}#has no nodes
{"1":[]}#is not a workflow: a JSON object of nodes is wanted; no class_type is in it
{"job_id":"j","workflow_template":"t"}#is not a workflow, but a job
{"1":{"class_type":"X","inputs":{}},"1":{}}#the key "1" stands twice in one object
E
  assert_each refusals templates/t.json %s 'templates/t.json: ' <<'E'
{"1":{"inputs":{}}}#node 1: has no class_type
{"1":{"class_type":null,"inputs":{}}}#node 1: has no class_type
{"1":{"class_type":"X","_meta":{"title":"My node"}}}#node 1 "My node": has no inputs object
{"1":{"class_type":"X","inputs":[1]}}#node 1: has no inputs object
{"1":[],"2":{"class_type":"X","inputs":{}}}#node 1: must be an object with class_type and inputs
{"1":{"class_type":"X","inputs":{"a":["9",0]}}}#node 1: a is linked to node "9", which is missing
{"1":{"class_type":"X","inputs":{"a":"{input.}"}}}#node 1: {input.} is no placeholder; {{input.x}} stands for the text itself
{"1":{"class_type":"X","inputs":{"a":"see {input.a b}"}}}#node 1: {input.a b} is no placeholder; {{input.x}} stands for the text itself
{"1":{"class_type":"X","inputs":{"a":"{input.aé}"}}}#node 1: {input.aé} is no placeholder; {{input.x}} stands for the text itself
{"1":{"class_type":"X","inputs":{"a":"{input.a"}}}#node 1: {input.a is no placeholder; {{input.x}} stands for the text itself
E
  template t <<<'{"1":{"class_type":"","inputs":{"a":"{input.-} {input.gone} {input._}"}},"2":{}}'
  render --job job.json
  assert_refused "$(printf '%s\n' \
    'templates/t.json: node 1: {input.-} is no placeholder; {{input.x}} stands for the text itself' \
    'templates/t.json: node 1: {input._} is no placeholder; {{input.x}} stands for the text itself' \
    'templates/t.json: node 1: has no class_type' 'templates/t.json: node 2: has no class_type' \
    'templates/t.json: node 2: has no inputs object' 'job.json: no value for {input.gone} (node 1)')"
}

@test "a template may be wrapped as {\"prompt\": ...}; what stands beside it is told" {
  template t <<<'{"prompt":{"_n":1,"1":{"class_type":"X","inputs":{}}},"_note":1,"extra_data":{}}'
  job <<<'{"job_id":"j","workflow_template":"t"}'
  render --job job.json
  assert_status 0
  assert_equal "$(workflow .)" '{"1":{"class_type":"X","inputs":{}}}'
  assert_equal "$(field warning)" 'templates/t.json: "extra_data" beside "prompt" is not sent'
  template t <<<'{"prompt":{"class_type":"X","inputs":{}}}' # a node of that name
  render --job job.json
  assert_equal "$(workflow .)" '{"prompt":{"class_type":"X","inputs":{}}}'
}

@test "placeholders without a value are listed in one line, with where they stand" {
  template t <<'E'
{"3":{"class_type":"KSampler","inputs":{"seed":"{input.seed}","again":"{input.seed}","ok":"{input.x|1}"}},
 "6":{"class_type":"Text","inputs":{"text":"{input.prompt}, ${STYLE}"},"_meta":{"title":"Prompt"}}}
E
  job <<<'{"job_id":"j","workflow_template":"t","inputs":{"promt":"x"},"outputs":{"image":"o/{input.tag}.png"}}'
  render --job job.json
  assert_refused 'job.json: no value for {input.seed} (node 3), {input.prompt} (node 6 "Prompt"), ${STYLE} (node 6 "Prompt"), {input.tag} (outputs.image); no placeholder uses promt'
}

@test "an input or --set that no placeholder uses is a warning; output paths count as use" {
  template t <<<'{"1":{"class_type":"X","inputs":{"a":"{input.a}"}}}'
  job <<<'{"job_id":"j","workflow_template":"t","inputs":{"a":1,"b":2,"c":3},"outputs":{"image":"{input.c}-${D}.png"}}'
  render --job job.json --set D=d --set E=e
  assert_status 0
  assert_equal "$(field warning)" 'job.json: inputs.b: no placeholder uses it
--set E: no placeholder uses it'
  assert_equal "$(field output)" "image	$(pwd -P)/3-d.png"
}

@test "--set takes NAME=VALUE and nothing else" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  job <<<'{"job_id":"j","workflow_template":"t"}'
  assert_each refusals /dev/null '' '--set ' --set=%s <<'E'
A#"A": NAME=VALUE or NODE.FIELD=VALUE is wanted
=x#"=x": NAME=VALUE or NODE.FIELD=VALUE is wanted
1A=x#"1A=x": NAME=VALUE or NODE.FIELD=VALUE is wanted
a b=x#"a b=x": NAME=VALUE or NODE.FIELD=VALUE is wanted
a-b=x#"a-b=x": NAME=VALUE or NODE.FIELD=VALUE is wanted
#"": NAME=VALUE or NODE.FIELD=VALUE is wanted
E
  render --job job.json --set $'A=\xff'
  assert_refused '--set A: the value is not UTF-8 text'
}

# --- workflows without a job, and values of the call ----------------------------------------------

# api - makes api.json, a small workflow
api() {
  cat >api.json <<'E'
{"1":{"class_type":"KSampler","inputs":{"seed":5,"positive":["2",0],"negative":["3",0],"model":["4",0],"latent_image":["4",1]}},
 "2":{"class_type":"CLIPTextEncode","inputs":{"text":"${PROMPT|a cat}"}},"3":{"class_type":"CLIPTextEncode","inputs":{"text":"bad"}},
 "4":{"class_type":"X","inputs":{"name":"${IMAGE_ID|none}-{job_id}","folder":"${OUTPUT_FOLDER|}","w":"${WIDTH|8}"}}}
E
}

@test "--workflow: a job is made of the file; its id from --image-id, else from the file's name" {
  api
  render --workflow api.json
  assert_status 0
  assert_equal "$stderr" ''
  assert_equal "$(field job | jq -cS 'del(.output_dir)')" "$(jq -ncS --arg path "$(pwd -P)/api.json" '{job_id: "api",
    template: {name: "api", path: $path}, inputs: {}, outputs: {}, pod_config: {gpu_count: 1, timeout_minutes: 60}, set: {}}')"
  assert_equal "$(workflow '.["4"].inputs')" '{"name":"none-api","folder":"","w":8}'
  assert_equal "$(field seed)" 5
  render --workflow api.json --image-id im-1 --output-folder a/b --width 64 --prompt '${SEED} "x"'
  assert_status 0
  assert_equal "$(field job_id)" im-1
  assert_equal "$(workflow '[.["2"].inputs.text, .["4"].inputs]')" '["${SEED} \"x\"",{"name":"im-1-im-1","folder":"a/b","w":64}]'
  assert_equal "$(field value)" 'prompt	${SEED} "x"
image_id	im-1
output_folder	a/b
width	64'
  assert_equal "$(field job | jq -c .values.given)" '{"prompt":"${SEED} \"x\"","image_id":"im-1","output_folder":"a/b","width":64}'
  local name wanted
  while IFS='|' read -r name wanted; do
    cp api.json "./$name"
    render --workflow "./$name"
    assert_equal "$(field job_id)" "$wanted"
  done <<'E'
a b.json|a_b
..x..y.json|x.y
-ü.final.json|final
9_.-z.tar.json|9_.-z.tar
E
  run --separate-stderr "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/render_template.py" --workflow - <api.json
  assert_equal "$(field job_id)" workflow
  render --job api.json
  assert_refused 'api.json: is not a job; the workflow in it is run by comfy-run --workflow api.json'
  printf '\211PNG' >out.png
  render --job out.png
  assert_refused 'out.png: is not a job; the workflow in it is run by comfy-run --workflow out.png'
  render --workflow nosuch.json
  assert_refused 'nosuch.json: no such file'
  render --workflow api.json --image-id ../x
  assert_status 2
  assert_contains '--image-id "../x": letters, digits' "$stderr"
}

@test "numbers without quotes around their placeholder, and no way out of the text" {
  printf '%s' '{"1": {"class_type": "X", "inputs": {"seed": ${SEED}, "w": {input.w|8}, "t": "a ${PROMPT}", "q": ${PROMPT}, "b": [${SEED}, "${SEED}"]}}}' >open.json
  render --workflow open.json --seed 18446744073709551615 --prompt '", "evil": 1, "x": "'
  assert_status 0
  assert_contains '"inputs":{"seed":18446744073709551615,"w":8,"t":"a \", \"evil\": 1, \"x\": \"","q":"\", \"evil\": 1, \"x\": \"","b":[18446744073709551615,18446744073709551615]}' "$(field workflow)"
  job <<<'{"job_id":"j","workflow_template":"./open.json","inputs":{"w":1.5}}'
  render --job job.json --set SEED=7 --set PROMPT=x
  assert_equal "$(workflow '.["1"].inputs')" '{"seed":7,"w":1.5,"t":"a x","q":"x","b":[7,7]}'
  render --job job.json --set SEED=7
  assert_refused 'job.json: no value for ${PROMPT} (node 1)'
}

@test "a job with a workflow of its own: its inputs go where they belong, its set before the workflow" {
  api
  printf 'x' >cat.png
  jq -c '.["5"] = {class_type: "LoadImage", inputs: {image: "old.png"}}' api.json >with.json
  job <<'E'
{"job_id":"j","workflow":"with.json","inputs":{"image":"cat.png","3.text":"ugly","tag":"t"},
 "set":{"PROMPT":"a fox","1.seed":6,"_note":1,"KSampler.seed":7},"outputs":{"image":"o/{input.tag}-${SEED}.png"}}
E
  render --job job.json --seed 9
  assert_status 0
  assert_equal "$(workflow '[.["1"].inputs.seed, .["2"].inputs.text, .["3"].inputs.text, .["5"].inputs.image[:8]]')" '[9,"a fox","ugly","autopod/"]'
  assert_equal "$(field output)" "image	$(pwd -P)/o/t-9.png"
  assert_equal "$(field warning)" ''
  render --job job.json --seed 9 --set PROMPT=call --set 1.seed=8 --input 3.text=text:mine
  assert_equal "$(workflow '[.["1"].inputs.seed, .["2"].inputs.text, .["3"].inputs.text]')" '[8,"call","mine"]'
  assert_each refusals job.json '{"job_id":"j",%s}' 'job.json: ' <<'E'
"workflow":"api.json","workflow_template":"t"#workflow: goes without workflow_template: one of them is wanted
"workflow":5#workflow: must be a text in one line, but is 5
"workflow":"api.json","set":[]#set: must be an object, but is []
"workflow":"api.json","set":{"a b":1}#set.a b: the NAME of a ${NAME}, or NODE.FIELD is wanted
"workflow":"api.json","set":{"A":null}#set.A: must be a string, a number or a boolean, but is null
E
  assert_each refusals job.json '{"job_id":"j","workflow":"api.json",%s}' 'api.json: ' <<'E'
"set":{"9.text":1}#set.9.text: no node has that id, title or class; did you mean "3.text"?
"inputs":{"nothing":1}#inputs.nothing: no placeholder and no node has a field of that name; comfy-params lists what can be set
E
}

@test "options fill the job's own placeholders, and only once" {
  template t <<'E'
{"1":{"class_type":"KSampler","inputs":{"seed":"{input.seed|1}","positive":["2",0],"negative":["3",0],"steps":4,"latent_image":["9",0]}},
 "2":{"class_type":"E","inputs":{"text":"photo of {input.prompt}"}},"3":{"class_type":"E","inputs":{"text":"${NEGATIVE}"}},"9":{"class_type":"L","inputs":{}}}
E
  job <<<'{"job_id":"j","workflow_template":"t","inputs":{"prompt":"a cat","seed":2},"set":{"NEGATIVE":"bad"}}'
  render --job job.json
  assert_equal "$(workflow '[.["1"].inputs.seed, .["2"].inputs.text, .["3"].inputs.text]')" '[2,"photo of a cat","bad"]'
  render --job job.json --prompt 'a dog' --negative '' --seed 3 --steps 9
  assert_status 0
  assert_equal "$(workflow '[.["1"].inputs.seed, .["2"].inputs.text, .["3"].inputs.text, .["1"].inputs.steps]')" '[3,"photo of a dog","",9]'
  assert_equal "$(field warning)" ''
  render --job job.json --image-id x
  assert_equal "$(field warning)" '--image-id: no placeholder uses it'
  render --job job.json --seed random
  assert_equal "$(field seed)" "$(field value | sed -n 's/^seed	//p' | tail -n 1)"
}

# gui [CLASS] - makes gui.json, a picture as the GUI saves it, and defs.json, what its nodes are like
gui() {
  printf '%s' '{"version":0.4,"nodes":[
    {"id":1,"type":"'"${1:-EmptyImage}"'","mode":0,"inputs":[],"outputs":[{"name":"IMAGE","type":"IMAGE","links":[1]}],"widgets_values":["${WIDTH}",48,"{input.count|1}",255]},
    {"id":2,"type":"SaveImage","mode":0,"title":"Result","inputs":[{"name":"images","type":"IMAGE","link":1}],"outputs":[],"widgets_values":["pic/{job_id}"]},
    {"id":3,"type":"MarkdownNote","mode":0,"widgets_values":["use {input.x} and ${Y}"]}],"links":[[1,1,0,2,0,"IMAGE"]]}' >gui.json
  cat >defs.json <<'E'
{"EmptyImage":{"input":{"required":{"width":["INT",{"default":512,"min":1,"max":16384}],"height":["INT",{"min":1}],"batch_size":["INT",{"min":1}],"color":["INT",{"min":0}]}},"output":["IMAGE"]},
 "SaveImage":{"input":{"required":{"images":["IMAGE"],"filename_prefix":["STRING",{"default":"x"}]}},"output":[],"output_node":true}}
E
}

@test "the name of a graph's output tells the values of the call, not those that the file came with" {
  gui
  sed 's,pic/{job_id},%EmptyImage.height%_%EmptyImage.color%_%width%,' gui.json >told.json
  render --workflow told.json --set WIDTH=32 --set 1.color=7 --object-info defs.json
  assert_equal "$stderr" ''
  assert_equal "$(workflow '[.["1"].inputs.color, .["2"].inputs.filename_prefix]')" '[7,"48_7_%width%"]'
  render --workflow told.json --set WIDTH=32 --object-info defs.json
  assert_equal "$(workflow '.["2"].inputs.filename_prefix')" '"48_255_%width%"'
}

@test "a graph: converted when it is known what its nodes are like, kept as graph when not" {
  gui
  render --workflow gui.json --width 32 --set 1.color=7 --object-info defs.json
  assert_status 0
  assert_equal "$stderr" ''
  assert_equal "$(workflow '[.["1"].inputs, .["2"].inputs.filename_prefix, keys]')" \
    '[{"width":32,"height":48,"batch_size":1,"color":7},"pic/gui",["1","2"]]'
  assert_matches '^gui-[0-9a-f]{8}$' "$(field timings)"
  assert_equal "$(field graph)" ''
  local whole
  whole=$(field workflow)
  render --workflow gui.json --width 32 --set 1.color=7
  assert_status 0
  assert_equal "$(field workflow)$(field timings)$(field seed)" ''
  assert_equal "$(field graph | jq -c '.nodes[0].widgets_values, .nodes[2].widgets_values')" '[32,48,1,255]
["use {input.x} and ${Y}"]'
  field graph >graph.json
  field job >resolved.json
  render --graph graph.json --job resolved.json --object-info defs.json
  assert_status 0
  assert_equal "$(field workflow)" "$whole"
  assert_matches '^gui-[0-9a-f]{8}$' "$(field timings)"
  jq -c '.values.fields = ["1.colour=7"]' resolved.json >wrong.json
  render --graph graph.json --job wrong.json --object-info defs.json
  assert_refused "$(pwd -P)/gui.json: --set \"1.colour=7\": node 1 (EmptyImage) has no field \"colour\"; did you mean \"color\"?"
  render --workflow gui.json --object-info defs.json
  assert_refused 'gui.json: no value for ${WIDTH} (node 1)'
  # The GUI would choose from {a|b} and drop // comments: of the graph's own texts, not of those that are given.
  sed -e 's|"pic/{job_id}"|"{x\|x} // no ${PROMPT}\\n${PROMPT} {{input.y}} $${Z}"|' -e 's/SaveImage/Words/' gui.json >words.json
  sed -e 's/"SaveImage"/"Words"/' -e 's/"STRING",{/"STRING",{"dynamicPrompts":true,"multiline":true,/' defs.json >word_defs.json
  local text='{red|blue} "http://x" /* a */ \{'
  render --workflow words.json --width 8 --object-info word_defs.json --prompt "$text"
  assert_equal "$(workflow '.["2"].inputs.filename_prefix | @json' | jq -r .)" "$(jq -nc --arg text "$text" '"x \n\($text) {input.y} ${Z}"')"
  whole=$(field workflow)
  render --workflow words.json --width 8 --prompt "$text"
  field graph >graph.json
  field job >resolved.json
  render --graph graph.json --job resolved.json --object-info word_defs.json
  assert_equal "$(field workflow)" "$whole"
}

@test "a graph with nodes that are not known, or that is none" {
  gui Unheard
  render --workflow gui.json --width 8 --object-info defs.json --info live
  assert_status 2
  assert_contains 'Unheard' "$stderr"
  render --workflow gui.json --width 8 --object-info defs.json --info saved
  assert_status 0
  assert_equal "$(field stale)" 1
  assert_matches '^warning	1			.*Unheard' "$(field finding)"
  assert_contains '"Unheard"' "$(field graph)"
  assert_each refusals g.json %s 'g.json: ' --workflow g.json <<'E'
{"nodes":[]}#has no nodes
{"nodes":[{"id":1}],"links":[]}
{"nodes":[1]}
E
}

@test "the check: what the server would refuse is told, or told as a line" {
  api
  gui
  printf '%s' '{"1":{"class_type":"EmptyImage","inputs":{"width":0,"height":1,"batch_size":1,"color":0}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}' >bad.json
  render --workflow bad.json --object-info defs.json
  assert_status 2
  assert_equal "$output" ''
  assert_matches '^bad.json:1:width: ' "$stderr"
  render --workflow bad.json --object-info defs.json --plan-findings
  assert_status 0
  assert_matches '^error	0	1	width	' "$(field finding)"
  assert_contains '"width":0' "$(field workflow)"
  render --workflow bad.json --object-info defs.json --no-check
  assert_status 0
  assert_equal "$(field finding)" ''
  render --workflow api.json --object-info defs.json --info saved --plan-findings
  assert_status 0
  assert_equal "$(field stale)" 1
  render --workflow api.json --object-info nosuch.json
  assert_status 65
  assert_contains 'nosuch.json: cannot be read' "$stderr"
}

@test "nodes that wait for one another are told without definitions, too" {
  printf '%s' '{"1":{"class_type":"A","inputs":{"x":["2",0]}},"2":{"class_type":"B","inputs":{"x":["3",0],"y":["4",0]}},"3":{"class_type":"C","inputs":{"x":["1",0]}},
    "4":{"class_type":"D","inputs":{"l":["1","2"]}},"5":{"class_type":"E","inputs":{"x":["3",0]}}}' >round.json
  render --workflow round.json
  assert_status 2
  assert_matches '^round.json:[123]:[xy]: .*circle' "$stderr"
  render --workflow round.json --no-check
  assert_status 0
  jq -c '.["3"].inputs.x = ["4", 0]' round.json >straight.json
  render --workflow straight.json
  assert_status 0
}

@test "a picture that was made is sent as it ran: nothing in it is a placeholder" {
  "$AUTOPOD_PYTHON" - <<'E'
import json
from PIL import Image, PngImagePlugin
chunks = PngImagePlugin.PngInfo()
chunks.add_text("prompt", json.dumps({"1": {"class_type": "X", "inputs": {"text": "{input.x} ${Y} $${Z}", "seed": 3}}}))
Image.new("RGB", (2, 2)).save("out.png", pnginfo=chunks)
Image.new("RGB", (2, 2)).save("plain.png")
E
  render --workflow out.png --set 1.text=new
  assert_equal "$(workflow '.["1"].inputs')" '{"text":"new","seed":3}'
  render --workflow out.png
  assert_equal "$(workflow '.["1"].inputs')" '{"text":"{input.x} ${Y} $${Z}","seed":3}'
  assert_equal "$(field seed)" 3
  job <<<'{"job_id":"j","workflow_template":"out.png"}'
  render --job job.json
  assert_equal "$(field template)" out.png
  render --workflow plain.png
  assert_status 2
  assert_matches '^plain.png: holds no workflow' "$stderr"
}

@test "a graph of which nothing is known: a broken node is told, and a node that is not there" {
  printf '{"nodes":[[1],{"id":3.0,"type":"X"}],"links":[]}' >broken.json
  render --workflow broken.json --set 3.a=1
  assert_refused 'broken.json: nodes[0] is no node, which has id and type: [1]'
  printf '{"nodes":[{"id":3.0,"type":"X","title":5}],"links":[]}' >sound.json
  render --workflow sound.json --set 3.a=1
  assert_status 0
  render --workflow sound.json --set 4.a=1
  assert_refused 'sound.json: --set "4.a=1": there is no node 4 in it'
}

@test "what the server that saved a workflow has noted in it is not sent: another one would believe it" {
  printf '%s' '{"1": {"class_type": "X", "inputs": {"a": 1}, "is_changed": [NaN]}}' >noted.json
  render --workflow noted.json
  assert_equal "$(workflow .)" '{"1":{"class_type":"X","inputs":{"a":1}}}'
  sed 's/NaN/5/' noted.json | template noted
  job <<<'{"job_id":"j","workflow_template":"noted"}'
  render --job job.json
  assert_equal "$(workflow .)" '{"1":{"class_type":"X","inputs":{"a":1}}}'
  sed 's/"a": 1/"a": NaN/' noted.json >number.json
  render --workflow number.json
  assert_refused 'number.json: NaN is not a number that JSON can hold'
}

@test "a workflow from a pipe, or in UTF-16, has placeholders like any other; a picture from standard input has none" {
  printf '%s' '{"1": {"class_type": "X", "inputs": {"text": "${STYLE}"}}}' >style.json
  iconv -f UTF-8 -t UTF-16 style.json >wide
  mkfifo pipe
  for file in style.json wide pipe; do
    [ "$file" != pipe ] || { cat style.json >pipe 3>&- & }
    render --workflow "$file" --set STYLE=oil
    assert_equal "$(workflow '.["1"].inputs')" '{"text":"oil"}'
    [ "$file" != pipe ] || { cat style.json >pipe 3>&- & }
    render --workflow "$file"
    assert_refused "$file: no value for \${STYLE} (node 1)"
  done
  render --workflow - <style.json
  assert_refused 'standard input: no value for ${STYLE} (node 1)'
  "$AUTOPOD_PYTHON" - <<'E'
from PIL import Image, PngImagePlugin
chunks = PngImagePlugin.PngInfo()
chunks.add_text("prompt", open("style.json").read())
Image.new("RGB", (2, 2)).save("out.png", pnginfo=chunks)
E
  render --workflow - <out.png
  assert_equal "$(workflow '.["1"].inputs')" '{"text":"${STYLE}"}'
}

# --- file inputs ----------------------------------------------------------------------------------

# inputs_from_stdin - makes job.json and its template from inputs a0, a1 ..., one JSON string a line
inputs_from_stdin() {
  jq -n '[inputs] | {job_id: "j", workflow_template: "t",
    inputs: ([to_entries[] | {key: "a\(.key)", value}] | from_entries)}' >job.json
  jq '{"1": {class_type: "X", inputs: (.inputs | with_entries(.value = "{input.\(.key)}"))}}' job.json | template t
}

@test "what counts as a file, and what as text" {
  mkdir -p in
  printf 'x' >in/a.png
  printf 'y' >plain
  printf 'z' >"$HOME/h.wav"
  printf 'n' >"in/with blank ü.PNG"
  cat >cases <<E
in/a.png|file HERE/in/a.png
./in/../in/a.png|file HERE/in/a.png
$(pwd -P)/plain|file HERE/plain
plain|file HERE/plain
~/h.wav|file $HOME/h.wav
file:plain|file HERE/plain
in/with blank ü.PNG|file HERE/in/with blank ü.PNG
text:plain|text plain
text:in/a.png|text in/a.png
text:gone.png|text gone.png
text:|text 
text:text:x|text text:x
in|text in
a picture called gone.png|text a picture called gone.png
a.b.c|text a.b.c
png|text png
https://example.org|text https://example.org
E
  sed -e 's/|.*/"/' -e 's/^/"/' cases | inputs_from_stdin
  render --job job.json
  assert_status 0
  assert_equal "$(field job | jq -r '.inputs[] | .type + " " + (.path // .value)')" \
    "$(sed -e 's/^[^|]*|//' -e "s|HERE|$(pwd -P)|" cases)"
}

@test "a file that can't be used is told, never sent as text" {
  mkdir dir
  : >empty.png
  mkfifo pipe
  cat >cases <<'E'
./gone|"./gone": no such file; put "text:" in front to send it as text
../../gone.txt|"../../gone.txt": no such file; put "text:" in front to send it as text
/imagine a cat|"/imagine a cat": no such file; put "text:" in front to send it as text
gone.png|"gone.png": no such file; put "text:" in front to send it as text
GONE.SafeTensors|"GONE.SafeTensors": no such file; put "text:" in front to send it as text
https://example.org/a.mp4|"https://example.org/a.mp4": no such file; put "text:" in front to send it as text
./dir|"./dir": is a directory; a file is wanted
file:|"": is a directory; a file is wanted
./pipe|"./pipe": is not a regular file; a file is wanted
empty.png|"empty.png": is an empty file
./a\nb|"./a\nb": control characters in a path; "text:" makes it text
./a\tb.png|"./a\tb.png": control characters in a path; "text:" makes it text
s3://bucket/a.png|"s3://bucket/a.png": files in a bucket can't be inputs; download it first, or put "text:" in front to send it as text
r2://bucket/a|"r2://bucket/a": files in a bucket can't be inputs; download it first, or put "text:" in front to send it as text
E
  sed -e 's/|.*/"/' -e 's/^/"/' cases | inputs_from_stdin
  render --job job.json
  local number=0 line
  while IFS= read -r line; do
    printf 'job.json: inputs.a%d: %s\n' "$number" "${line#*|}"
    number=$((number + 1))
  done <cases >wanted
  assert_refused "$(cat wanted)"
}

@test "an input file that may not be read" {
  [ "$(id -u)" -ne 0 ] || skip "root may read every file"
  printf 'x' >secret.png
  chmod 000 secret.png
  quick '{"a":"secret.png"}' '"{input.a}"'
  assert_refused 'job.json: inputs.a: "secret.png": cannot be read: Permission denied'
}

@test "upload names: from the content alone, with the extension" {
  mkdir in
  local name
  # shellcheck disable=SC2016
  local names=('frame 1.PNG' '..x..y.jpeg' '-rf.png' '$(id).wav' noext .hidden '日本.png' 'a"b\c.p n*g')
  for name in "${names[@]}"; do
    printf '%s' "$name" >"in/$name" # the content decides, so each has another
  done
  jq -n '$ARGS.positional[] | "./in/\(.)"' --args -- "${names[@]}" | inputs_from_stdin
  render --job job.json
  assert_status 0
  assert_equal "$(workflow '.["1"].inputs[]' | tr -d '"' | sed 's/[0-9a-f]\{16\}/HASH/')" \
    "$(printf 'autopod/%s\n' HASH.png HASH.jpeg HASH.png HASH.wav HASH HASH HASH.png HASH.png)"
  # an upload line is BYTES SHA256 UPLOAD_NAME PATH; the name holds the start of the hash
  assert_equal "$(field upload | cut -f 2 | cut -c 1-16)" \
    "$(field upload | cut -f 3 | sed 's/.*\([0-9a-f]\{16\}\).*/\1/')"
  assert_equal "$(field upload | cut -f 2 | sed -n 1p)" \
    "$("$AUTOPOD_PYTHON" -c 'import hashlib; print(hashlib.sha256(b"frame 1.PNG").hexdigest())')"
}

@test "equal content is one upload, whatever the files are called" {
  printf 'same' >a.png
  printf 'same' >b.png
  printf 'other' >c.png
  quick '{"a":"a.png","b":"b.png","c":"c.png","d":"./a.png"}' '["{input.a}","{input.b}","{input.c}","{input.d}"]'
  assert_status 0
  assert_equal "$(field upload | wc -l | tr -d ' ')" 2
  assert_equal "$(workflow '.["1"].inputs.v | [.[0] == .[1], .[0] == .[3], .[0] != .[2]]')" '[true,true,true]'
}

# --- outputs --------------------------------------------------------------------------------------

@test "output paths become absolute; what means a directory ends in /" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  mkdir -p have
  job <<'E'
{"job_id":"j.1","workflow_template":"t","inputs":{"n":7,"s":"a b","t":true},
 "outputs":{"9":"out/{job_id}.png","My title":"{input.n}-{input.s}-{input.t}.png","a/b":"new/dir/","image":"have",
            "video":"have/","audio":"~/x.wav","*":"../up-${S}.png","text":"{{job_id}}"}}
E
  render --job job.json --set S=s --output-dir rest
  assert_status 0
  local here
  here=$(pwd -P)
  assert_equal "$(field output)" "9	$here/out/j.1.png
My title	$here/7-a b-true.png
a/b	$here/new/dir/
image	$here/have/
video	$here/have/
audio	$HOME/x.wav
*	${here%/*}/up-s.png
text	$here/{job_id}"
  assert_equal "$(field job | jq -r .output_dir)" "$here/rest"
  refute_exists out
  refute_exists new
  render --job job.json --set S=s --output-dir $'no\xfftext'
  assert_equal "$(field output_dir)" "$here/no"$'\xfftext'
}

@test "output paths that can't be written are refused before anything is spent" {
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  printf 'x' >file
  mkfifo pipe
  local long
  long=$(printf 'n%.0s' {1..201})
  assert_each refusals job.json \
    '{"job_id":"j","workflow_template":"t","inputs":{"n":"a/b","u":".."},"outputs":{"image":"%s"}}' \
    'job.json: outputs.image: ' <<E
file/x.png#"$(pwd -P)/file/x.png": $(pwd -P)/file is not a directory
file/deeper/x.png#"$(pwd -P)/file/deeper/x.png": $(pwd -P)/file is not a directory
file/#"$(pwd -P)/file/": $(pwd -P)/file is not a directory
pipe#"pipe": is not a regular file
/dev/null#"/dev/null": is not a regular file
o/{input.n}.png#the value of {input.n} can't be part of a file name
o/{input.u}#the value of {input.u} can't be part of a file name
o/$long#"o/$(cut -c 1-74 <<<"$long")...: a name in it is longer than 200 bytes
o/{input.n b}.png#{input.n b} is no placeholder; {{input.x}} stands for the text itself
E
  job <<<'{"job_id":"j","workflow_template":"t"}'
  render --job job.json --output-dir file/x
  assert_refused "job.json: --output-dir: \"$(pwd -P)/file/x/\": $(pwd -P)/file is not a directory"
}

@test "an output path in a directory that may not be written" {
  [ "$(id -u)" -ne 0 ] || skip "root may write everywhere"
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  mkdir -m 555 locked
  job <<<'{"job_id":"j","workflow_template":"t","outputs":{"image":"locked/a/b.png"}}'
  render --job job.json
  assert_refused "job.json: outputs.image: \"$(pwd -P)/locked/a/b.png\": $(pwd -P)/locked is not writable"
}

@test "a working directory that would break the lines is refused" {
  local dir=$'new\nline'
  mkdir -p "$dir/templates"
  cd "$dir" || return
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  job <<<'{"job_id":"j","workflow_template":"t","outputs":{"image":"a.png"}}'
  render --job job.json
  assert_status 2
  assert_equal "$output" ''
  assert_contains 'new\nline/outputs": control characters in a path' "$stderr"
}

@test "a file input can't be part of an output path" {
  printf 'x' >a.png
  printf '{"1":{"class_type":"X","inputs":{"v":"{input.a}"}}}' | template t
  job <<<'{"job_id":"j","workflow_template":"t","inputs":{"a":"a.png"},"outputs":{"image":"o/{input.a}"}}'
  render --job job.json
  assert_refused "job.json: outputs.image: the value of {input.a} can't be part of a file name"
}

# --- the rest -------------------------------------------------------------------------------------

@test "complaints are harmless lines, whatever stands in the job" {
  printf '{"job_id":"\\u001b[31m\\n\\u202e","workflow_template":"t","\\u0007k\\n":1}' >job.json
  template t <<<'{"1":{"class_type":"X","inputs":{}}}'
  render --job job.json
  assert_status 2
  assert_equal "$(grep -c '^job\.json: ' <<<"$stderr")" 2
  assert_equal "$(grep -c . <<<"$stderr")" 2
  refute_contains $'\x07' "$stderr"
  refute_contains $'\x1b' "$stderr"
  refute_contains $'\342\200\256' "$stderr" # U+202E turns the rest of a line around
}

@test "the C locale, and a copy of the helpers elsewhere, do the same" {
  printf '{"1":{"class_type":"X","inputs":{"v":"{input.a}"}}}' | template t
  job <<<'{"job_id":"j","workflow_template":"t","inputs":{"a":"ünï 日本"},"outputs":{"image":"ü/a.png"}}'
  render --job job.json
  assert_status 0
  local first=$output
  cp -R "$ROOT/helpers" "$TMPDIR/private copy"
  printf 'raise SystemExit("taken from the working directory")\n' | tee job_file.py placeholders.py >json.py
  run --separate-stderr env LC_ALL=C LANG=C PYTHONPATH=. \
    "$AUTOPOD_PYTHON" -I -S "$TMPDIR/private copy/render_template.py" --job job.json
  assert_status 0
  assert_equal "$output" "$first"
}

@test "--help explains; an unknown option is exit 2" {
  render --help
  assert_status 0
  assert_contains '--template-dir'
  render --jobs job.json
  assert_status 2
  assert_contains 'unrecognized arguments: --jobs' "$stderr"
}
