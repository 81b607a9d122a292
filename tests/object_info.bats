#!/usr/bin/env bats
# helpers/object_info.py: what a server says of its nodes, in all its forms, saved and read lazily.

load test_helper

# drive - stdin is Python with the module's names, same(), and defs(NODES): NodeDefs of their line shape
drive() {
  { cat "$BATS_FILE_TMPDIR/prelude.py" - >"$BATS_TEST_TMPDIR/driver.py"; } && "$AUTOPOD_PYTHON" -IS "$BATS_TEST_TMPDIR/driver.py"
}

setup_file() {
  cat >"$BATS_FILE_TMPDIR/prelude.py" <<'E'
import json, os, random, sys, time
sys.path.insert(0, os.environ["ROOT"] + "/helpers")
import object_info
from object_info import *

def same(got, wanted):
    if got != wanted:
        sys.exit(f"wanted: {wanted}\ngot:    {got}")

def defs(nodes, shape=object_info.line_shape):
    with open("defs.json", "wb") as file:
        file.write(shape(nodes))
    return NodeDefs("defs.json")

def plain(nodes):
    return json.dumps(nodes, indent=1).encode()

def one(definition, section="required"):
    return defs({"A": {"input": {section: {"x": definition}}}}).inputs("A")[0]

def named(inputs):
    return [item.name + ("" if item.required else "?") for item in inputs]
E
}

@test "inputs: kinds, choices, widgets, uploads, order" {
  drive <<'P'
for definition, kind, choices, widget, upload in [
    (["INT", {"min": 1}], "INT", None, True, False),
    (["IMAGE"], "IMAGE", None, False, False),
    (["FLOAT", {"forceInput": True}], "FLOAT", None, False, False),
    (["STRING", {"rawLink": True}], "STRING", None, False, False),
    ([["a", 1, True]], "COMBO", ["a", 1, True], True, False),
    ([[], {"image_upload": True}], "COMBO", [], True, True),
    (["COMBO", {"options": ["a"], "multiselect": False}], "COMBO", ["a"], True, False),
    (["COMBO", {"video_upload": True, "options": []}], "COMBO", [], True, True),
    (["COMBO", {"remote": {"route": "/x"}}], "COMBO", None, True, False),
    (["COMBO", {"remote_combo": {}, "options": []}], "COMBO", None, True, False),
    (["INT,FLOAT", {"widgetType": "INT"}], "INT,FLOAT", None, True, False),
    (["INT,FLOAT", {}], "INT,FLOAT", None, False, False),
    (["COLOR", {}], "COLOR", None, True, False),
    (["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {}}, {"key": 2}]}], "COMFY_DYNAMICCOMBO_V3", ["a", 2], True, False),
    (["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "*"}}], "COMFY_MATCHTYPE_V3", None, False, False),
    (["*", {"image_upload": False}], "*", None, False, False),
]:
    item = one(definition)
    same([item.kind, item.choices, item.is_widget, item.is_upload, item.required, item.hidden],
         [kind, choices, widget, upload, True, False])
node = {"input": {"optional": {"o": ["INT"]}, "required": {"2": ["A"], "b": ["B"], "c": ["C"]}, "hidden": {"p": "PROMPT"}},
        "input_order": {"required": ["b", "2", "gone", 7]}, "output": ["IMAGE", ["x", "y"]]}
for shape in object_info.line_shape, plain:
    nodes = defs({"A": node, "B": {"input": {}}}, shape)
    same(named(nodes.inputs("A")), ["b", "2", "c", "o?"])
    same([nodes.outputs("A"), nodes.outputs("B"), nodes.outputs("no"), nodes.inputs("no"), nodes.get("no")], [["IMAGE", "COMBO"], [], [], [], None])
    same([nodes.classes(), nodes.known, nodes.get("A")], [["A", "B"], True, node])
nothing = NodeDefs(None)
same([nothing.known, nothing.get("A"), nothing.inputs("A"), nothing.classes()], [False, None, [], []])
P
}

@test "dynamic inputs: what they bring, at all levels" {
  drive <<'P'
inner = {"key": "deep", "inputs": {"required": {"way": ["COMFY_DYNAMICCOMBO_V3", {"options": [
    {"key": "one", "inputs": {"required": {"n": ["INT", {}]}, "optional": {"m": ["IMAGE"]}}}, {"key": 1, "inputs": {"required": {"i": ["INT"]}}}]}]}}}
nodes = defs({"A": {"input": {"required": {
    "a": ["IMAGE"], "d": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "none", "inputs": {"required": {}}}, inner]}], "z": ["INT", {}]}}},
  "G": {"input": {"required": {
    "p": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {"tooltip": "t"}]}}, "prefix": "image", "min": 1, "max": 3}}],
    "n": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"v": [["x", "y"], {}]}}, "names": ["l", "r"], "min": 2}}],
    "f": ["COMFY_AUTOGROW_V3", {"template": {"input": {"optional": {"v": ["MASK"]}}, "names": ["q"], "min": 1}}]},
    "optional": {"s": ["COMFY_DYNAMICSLOT_V3", {"slotType": "IMAGE", "inputs": {"required": {"k": ["INT"]}}, "forceInput": True}],
    "g": ["COMFY_DYNAMICGROUP_V3", {"template": {"required": {"t": ["STRING", {}]}}, "min": 0, "max": 20}]}}}})
def expanded(name, values): return named(nodes.expanded(name, values))
same(expanded("A", {}), ["a", "d", "z"])
same(expanded("A", {"d": "none"}), ["a", "d", "z"])
same(expanded("A", {"d": "deep"}), ["a", "d", "d.way", "z"])
same(expanded("A", {"d": "deep", "d.way": "one"}), ["a", "d", "d.way", "d.way.n", "d.way.m?", "z"])
same(expanded("A", {"d": "deep", "d.way": 1}), ["a", "d", "d.way", "d.way.i", "z"])
same(expanded("A", {"d": "deep", "d.way": True}), ["a", "d", "d.way", "z"])
same(expanded("A", {"d": ["1", 0]}), ["a", "d", "z"])
members = ["p.image0", "p.image1?", "p.image2?", "n.l", "n.r", "f.q?", "s?"]
same(expanded("G", {}), members)
same(expanded("G", {"s": ["1", 0], "g.1.t": "x", "g.0.t": "y", "g.no.t": 1}), [*members, "s.k", "g.0.t", "g.1.t"])
left = [item for item in nodes.expanded("G", {}) if item.name == "n.l"][0]
same([left.kind, left.choices], ["COMBO", ["x", "y"]])
P
}

@test "definitions of servers of both versions are read" {
  [ -n "${AUTOPOD_RECORDINGS-}" ] || skip "AUTOPOD_RECORDINGS is not set: no definitions of real servers"
  drive <<'P'
folder, seen = os.environ["AUTOPOD_RECORDINGS"], 0
for place, _, files in os.walk(folder):
    for name in files:
        if "object_info" in name and name.endswith(".json"):
            with open(os.path.join(place, name), encoding="utf-8") as file:
                value = json.load(file)
            body = value["response"]["body"] if "response" in value else value
            body = body.get("json", {}) if "response" in value else body
            if any(isinstance(node, dict) and "input" in node for node in body.values()):
                nodes, seen = defs(body), seen + 1
                for name in body:
                    wanted = [key for part in ("required", "optional") for key in body[name]["input"].get(part, {})]
                    same(sorted(item.name for item in nodes.inputs(name)), sorted(wanted))
                    same(nodes.get(name), body[name])
                assert nodes._all is None
assert seen > 5, seen
P
}

@test "broken definitions crash nothing" {
  drive <<'P'
def some(depth=0):
    kinds = ["INT", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_DYNAMICSLOT_V3", "COMFY_DYNAMICGROUP_V3", "", "*"]
    keys = ["required", "optional", "input", "options", "template", "inputs", "key", "names", "prefix", "min", "max", "x", "x.1.y", "input_order", "output"]
    pick = random.random()
    if depth > 5 or pick < 0.4:
        return random.choice([None, True, -1, 1e9, 3, "", *kinds, *keys, [], {}, [[]], [None]])
    if pick < 0.65:
        return [some(depth + 1) for _ in range(random.randrange(4))]
    if pick < 0.8:
        return [random.choice(kinds), {key: some(depth + 2) for key in random.sample(keys, 4)}]
    return {key: some(depth + 1) for key in random.sample(keys, random.randrange(5))}
random.seed(os.environ.get("SEED", "1"))
for _ in range(3000):
    nodes = {"A": {"input": {"required": {"x": some(), "y": some()}, "optional": some()}, "output": some(), "input_order": some()}, "B": some(), "C": {"input": some()}}
    got = NodeDefs(None)
    got._all = {name: node for name, node in nodes.items() if isinstance(node, dict)}
    for name in nodes:
        values = {"x": random.choice(["x", True, None, ["1", 0]]), "x.1.y": some(), "x.": 1, "y": some()}
        for item in [*got.inputs(name), *got.expanded(name, values)]:
            same([type(item.name), type(item.kind), type(item.is_widget), type(item.is_upload), type(item.options)], [str, str, bool, bool, dict])
        assert all(isinstance(kind, str) for kind in got.outputs(name))
deep = ["COMFY_DYNAMICCOMBO_V3", {"options": []}]
for _ in range(50):
    deep = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "k", "inputs": {"required": {"x": deep}}}]}]
got = defs({"A": {"input": {"required": {"x": deep}}}})
same(len(got.expanded("A", {"x" + ".x" * n: "k" for n in range(300)})), object_info.MAX_DEPTH + 1)
P
}

@test "the line shape: each node found, odd names, lines that others wrote, and fast" {
  drive <<'P'
names = ["A", "A ", "AB", "a", 'q"uo":{te', "back\\slash", "Ü 日本 😀", "line\nbreak", "\x7f", "", "Pack.Node|x", "~"]
nodes = {name: {"input": {}, "name": name, "at": number, "nan": float("inf")} for number, name in enumerate(names)}
data = object_info.line_shape(nodes)
assert data.isascii() and data.count(b"\n") == len(names) + 2, data
same(json.loads(data), nodes)
got = defs(nodes)
for name in names:
    same(got.get(name), nodes[name])
for name in ["B", "A  ", "AA", "\0", "zzz", '"', '":{', "input"]:
    same(got.get(name), None)
assert got._all is None  # nothing was parsed whole
unsorted = b'{\n"B":{"input":{"required":{}}},\n"C":{"input":{}},\n"A":{"input":{"x":1}}\n}\n'
with open("defs.json", "wb") as file:
    file.write(unsorted)
got = NodeDefs("defs.json")
same([got.get(name) is not None for name in "ABCD"], [True, True, True, False])
with open("defs.json", "wb") as file:
    file.write(b'{\n"A":{"input":\n{}},\n"B":{"input":{}}\n}\n')  # only looks like it
got = NodeDefs("defs.json")
same([got.get("A"), got.get("B"), sorted(got.classes())], [{"input": {}}, {"input": {}}, ["A", "B"]])

wide = {"input": {"required": {"x%d" % n: ["INT", {"default": n, "tooltip": "t" * 40}] for n in range(12)}}}
got = defs({"Node %d" % n: wide for n in range(2000)})
assert os.path.getsize("defs.json") > 1_600_000
best = 1.0
for _ in range(5):
    start = time.perf_counter()
    got = NodeDefs("defs.json")
    for n in range(0, 2000, 200):
        same(len(got.inputs("Node %d" % n)), 12)
    best = min(best, time.perf_counter() - start)
start = time.perf_counter()
with open("defs.json", "rb") as file:
    json.load(file)
whole = time.perf_counter() - start
assert best < whole / 3, f"ten nodes: {best}, parsing all: {whole}"
P
}

@test "the program: lines and save, and what is no answer of a server" {
  printf '{"B":{"input":{}},"A":{"input":{"required":{"x":["INT"]}}},"broken":7}' >raw
  "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/object_info.py" --lines <raw >lines
  assert_equal "$(cat lines)" '{
"A":{"input":{"required":{"x":["INT"]}}},
"B":{"input":{}}
}'
  echo old >saved
  "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/object_info.py" --save saved <raw
  cmp lines saved
  for text in '' '[]' '{}' 7 '{"error":{"type":"x"}}' '<html>' '{"A":' '{"A":{"output":[]}}' "$(printf '\377')"; do
    run --separate-stderr "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/object_info.py" --save saved <<<"$text"
    [ "$status" = 2 ] && [ -z "$output" ] && [ "${#stderr_lines[@]}" = 1 ]
  done
  cmp lines saved
  run --separate-stderr "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/object_info.py" --save none/saved <raw
  [ "$status" = 1 ]
  assert_equal "$stderr" 'none/saved: cannot be written: No such file or directory'
  [ "$(ls)" = "$(printf 'lines\nraw\nsaved')" ]
  mkdir taken taken/x
  run "$AUTOPOD_PYTHON" -IS "$ROOT/helpers/object_info.py" --save taken <raw
  assert_status 1
  [ "$(ls)" = "$(printf 'lines\nraw\nsaved\ntaken')" ]
  for file in none . raw; do
    [ "$file" != raw ] || echo '{"A":' >raw
    run "$AUTOPOD_PYTHON" -IS -c 'import sys; sys.path.insert(0, sys.argv[1])
import object_info
try:
    object_info.NodeDefs(sys.argv[2]).classes()
except object_info.Unreadable as problem:
    print(problem)' "$ROOT/helpers" "$file"
    [ "$status" = 0 ]
    assert_contains "$file: "
  done
}
