#!/usr/bin/env bats
# helpers/convert_workflow.py and comfy-convert: what the GUI saved becomes what a server runs. Each graph in
# fixtures/convert has with it what must come out, and which warnings.

load test_helper

FIXTURES=$BATS_TEST_DIRNAME/fixtures/convert

# drive - stdin is Python with the module's names, same(), DEFS, GRAPHS {name: fixture}, convert_to(GRAPH)
drive() {
  { cat "$BATS_FILE_TMPDIR/prelude.py" - >"$BATS_TEST_TMPDIR/driver.py"; } && "$AUTOPOD_PYTHON" -IS "$BATS_TEST_TMPDIR/driver.py"
}

setup_file() {
  export FIXTURES
  cat >"$BATS_FILE_TMPDIR/prelude.py" <<'E'
import copy, glob, json, os, sys
sys.path.insert(0, os.environ["ROOT"] + "/helpers")
import convert_workflow as cw
from convert_workflow import Options, Problem, UnknownNodes, convert
from object_info import NodeDefs

DEFS = NodeDefs(os.environ["FIXTURES"] + "/object_info.json")
GRAPHS = {}
for path in sorted(glob.glob(os.environ["FIXTURES"] + "/*.json")):
    if not path.endswith("object_info.json"):
        with open(path, encoding="utf-8") as file:
            GRAPHS[os.path.basename(path)[:-5]] = json.load(file)

def same(got, wanted, what=""):
    if got != wanted:
        sys.exit(f"{what}\nwanted: {wanted}\ngot:    {got}")

def convert_to(graph, **options):
    api, warnings = convert(copy.deepcopy(graph), DEFS, "w.json", Options(**options))
    plain = {key: [node["class_type"], node["inputs"]] for key, node in api.items()}
    return plain, warnings, api

def problem(graph):
    try:
        convert(graph, DEFS, "w.json")
    except Problem as error:
        return str(error)
    return "no problem"

def node(graph, node_id):
    return next(node for node in graph["nodes"] if node["id"] == node_id)

PLAIN = GRAPHS["plain"]["graph"]
E
}

@test "every feature has a graph, and each becomes what the GUI would queue" {
  drive <<'P'
assert len(GRAPHS) > 40
for name, case in GRAPHS.items():
    plain, warnings, api = convert_to(case["graph"], **case.get("options", {}))
    same(plain, case["api"], name)
    same(warnings, ["w.json: " + text for text in case["warnings"]], name)
    assert all(isinstance(node["_meta"]["title"], str) for node in api.values())
P
}

@test "the same with ids as texts, links as lists or objects, nodes in another order" {
  drive <<'P'
KEYS = ["id", "origin_id", "origin_slot", "target_id", "target_slot", "type"]

def graphs(graph):
    return [graph, *graph.get("definitions", {}).get("subgraphs", [])]

def texts(graph):
    for part in graphs(graph):
        for node in part["nodes"]:
            node["id"] = str(node["id"])
            for slot in node.get("inputs", []):
                slot["link"] = None if slot["link"] is None else str(slot["link"])
        for link in part["links"]:
            places = range(5) if isinstance(link, list) else KEYS[:5]
            for place in places:
                link[place] = str(link[place])

def objects(graph):
    graph["links"] = [dict(zip(KEYS, link)) if isinstance(link, list) else link for link in graph["links"]]

def lists(graph):
    for part in graphs(graph):
        part["links"] = [[link[key] for key in KEYS] if isinstance(link, dict) else link for link in part["links"]]

def table(graph):
    graph["links"] = {str(number): link for number, link in enumerate(graph["links"])}

def turned(graph):
    for part in graphs(graph):
        part["nodes"].reverse()
    graph.get("definitions", {}).get("subgraphs", []).reverse()

for name, case in GRAPHS.items():
    for change in (texts, objects, lists, table, turned):
        graph = copy.deepcopy(case["graph"])
        change(graph)
        plain, warnings, _ = convert_to(graph, **case.get("options", {}))
        same(plain, case["api"], f"{name} {change.__name__}")
        same(sorted(warnings), sorted("w.json: " + text for text in case["warnings"]), name)
P
}

@test "titles: the node's own, else the one of its definition" {
  drive <<'P'
graph = copy.deepcopy(PLAIN)
node(graph, 5)["title"] = "mine"
api = convert_to(graph)[2]
same([api["5"]["_meta"], api["1"]["_meta"]], [{"title": "mine"}, {"title": "Load Checkpoint"}])
P
}

@test "unknown nodes are told all at once, with the pack that has them; muted ones do not matter" {
  drive <<'P'
graph = copy.deepcopy(PLAIN)
for number, (kind, mode, properties) in enumerate([
    ("Nope", 0, {"cnr_id": "some-pack"}), ("Nope", 0, {}), ("Other", 0, {"aux_id": "who/what"}),
    ("Gone", 2, {}), ("Gone", 4, {}), ("Third\nline", 0, {}),
]):
    graph["nodes"].append({"id": 50 + number, "type": kind, "mode": mode, "properties": properties})
try:
    convert(graph, DEFS, "w.json")
except UnknownNodes as error:
    same(str(error), "w.json: the server has no such nodes: Nope (node 50, 51, from the pack some-pack); "
         "Other (node 52, from the pack who/what); Third\\nline (node 55); "
         "install the packs there, or take the definitions of a server that has them")
else:
    sys.exit("no UnknownNodes")
P
}

@test "what is broken is one clear line" {
  drive <<'P'
def changed(change):
    graph = copy.deepcopy(PLAIN)
    change(graph)
    return graph

def loop(graph):
    graph["links"].append([90, 5, 0, 4, 0, "INT"])
    node(graph, 4)["inputs"] = [{"name": "width", "type": "INT", "link": 90, "widget": {"name": "width"}}]

def reroutes(graph):
    for this, other in ((60, 61), (61, 60)):
        graph["links"].append([this, other, 0, this, 0, "MODEL"])
        graph["nodes"].append({"id": this, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": this}],
                               "outputs": [{"name": "", "type": "*"}]})
    graph["links"].append([70, 60, 0, 5, 0, "MODEL"])
    node(graph, 5)["inputs"][0]["link"] = 70

def instance(graph, kind):
    graph["nodes"].append({"id": 30, "type": kind})

def itself(graph):
    key = "11111111-1111-4111-8111-000000000001"
    instance(graph, key)
    graph["definitions"] = {"subgraphs": [{"id": key, "name": "S", "nodes": [{"id": 1, "type": key}], "links": []}]}

for graph, wanted in [
    (None, "is not a workflow, but null"),
    ([1], "is not a workflow, but [1]"),
    ({}, "is not a workflow: it has no list of nodes"),
    ({"nodes": {}}, "is not a workflow: it has no list of nodes"),
    ({"nodes": []}, "has no nodes"),
    ({"nodes": [{"id": 1}]}, 'nodes[0] is no node, which has id and type: {"id": 1}'),
    ({"nodes": [{"id": None, "type": "X"}]}, 'nodes[0] is no node, which has id and type: {"id": null, "type": "X"}'),
    ({"nodes": [{"id": 1, "type": "Note"}]}, "nothing in it runs: all nodes are muted, bypassed or notes"),
    (changed(loop), "these nodes wait for one another: 4 < 5 < 4"),
    (changed(reroutes), 'node 60 "Reroute": its links go round in a circle'),
    (changed(itself), 'subgraph "S" contains itself'),
    (changed(lambda graph: instance(graph, "11111111-1111-4111-8111-00000000000f")),
     'node 30 "11111111-1111-4111-8111-00000000000f": its subgraph is not in the file'),
    (changed(lambda graph: instance(graph, "workflow>mine")), 'node 30 "workflow>mine": its group node "mine" is not in the file'),
    (changed(lambda graph: graph.update(definitions={"subgraphs": [{"nodes": []}]})),
     'definitions.subgraphs has one without an id: {"nodes": []}'),
    (changed(lambda graph: graph.update(definitions={"subgraphs": [{"id": "a", "name": "A\x1b"}]})),
     'subgraph "A\\u001b": is not a workflow: it has no list of nodes'),
]:
    same(problem(graph), "w.json: " + wanted)

# Deep, wide and both: it ends.
deep = []
for number in range(3000):
    deep = [deep]
graph = copy.deepcopy(PLAIN)
node(graph, 5)["widgets_values"] = deep
problem(graph)
subgraphs = []
for number in range(40):
    inner = [{"id": k, "type": f"s{number + 1}" if number < 39 else "Note"} for k in range(3)]
    subgraphs.append({"id": f"s{number}", "name": f"s{number}", "nodes": inner, "links": []})
graph = {"nodes": [{"id": 1, "type": "s0"}], "links": [], "definitions": {"subgraphs": subgraphs}}
same(problem(graph), "w.json: has more than 20000 subgraphs in one another")
P
}

@test "whatever is changed in a graph: a result or a problem, soon" {
  drive <<'P'
import random, time
ODD = [None, True, 0, -1, 1, 2, 4, 5, 7, 11, 30, -10, -20, 1e300, -1.5, "", "x", "5", "Reroute", "PrimitiveNode", "GetNode",
       "11111111-1111-4111-8111-000000000001", "workflow>my group", [], {}, [[]], [5, 7, 0, 5, 0, "X"], {"id": 1}, "\ud800"]

def places(value, found):
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            places(value[key], found)
    return found

rng = random.Random(6)
graphs = [case["graph"] for case in GRAPHS.values()]
counts = [0, 0]
for _ in range(1500):
    graph = copy.deepcopy(rng.choice(graphs))
    for _ in range(rng.choice([1, 1, 2, 3, 6, 15])):
        holder, key = rng.choice(places(graph, []))
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    start = time.monotonic()
    try:
        api, warnings = convert(graph, DEFS, "w.json")
        counts[0] += 1
        for item in api.values():
            assert item["class_type"] and isinstance(item["inputs"], dict)
            for value in item["inputs"].values():
                assert not isinstance(value, list) or value[0] in api
        assert "\n" not in "".join(warnings) and json.dumps(api)
    except Problem as error:
        counts[1] += 1
        assert "\n" not in str(error)
    assert time.monotonic() - start < 5
assert min(counts) > 200, counts
P
}

@test "texts: choices, comments, dates" {
  drive <<'P'
from text_rules import dynamic_prompt, format_date
first, last = (lambda count: 0), (lambda count: count - 1)
for text, one, other in [
    ("a {b|c} d", "a b d", "a c d"),
    ("{a|{b|c}}", "a", "c"),
    ("{a}", "a", "a"),
    ("{|x}", "", "x"),
    ("{}", "", ""),
    ("\\{a\\|b\\} \\\\", "{a|b} \\\\", "{a|b} \\\\"),
    ("{a\\|b|c}", "a|b", "c"),
    ("x // y\nz /* 1\n2 */ w", "x \nz  w", "x \nz  w"),
    ("http://host/path", "http:", "http:"),
    ("{a|b", "a", "b"),
    ("a|b}", "a|b}", "a|b}"),
    ("", "", ""),
]:
    same([dynamic_prompt(text, first), dynamic_prompt(text, last)], [one, other], text)
dynamic_prompt("{" * 5000 + "|", last)
date = (2026, 3, 7, 9, 5, 4)
for pattern, wanted in [("yyyy-MM-dd", "2026-03-07"), ("yy.M.d", "26.3.7"), ("hhmmss h:m:s", "090504 9:5:4"), ("yyy y x", "yyy y x")]:
    same(format_date(pattern, date), wanted, pattern)

graph = copy.deepcopy(PLAIN)
node(graph, 7)["widgets_values"] = ["%date:yyyy%/%nobody.x%_%KSampler.nope%_100%"]
cw.now = lambda: date
plain, warnings, _ = convert_to(graph)
same(plain["7"][1]["filename_prefix"], "2026/%nobody.x%_%KSampler.nope%_100%")
same(warnings, ['w.json: node 7 "SaveImage": "%nobody.x%" in its text: no such field',
                'w.json: node 7 "SaveImage": "%KSampler.nope%" in its text: no such field'])
node(graph, 2)["widgets_values"] = ["{a|b}"]
same(sorted({convert_to(graph)[0]["2"][1]["text"] for _ in range(60)}), ["a", "b"])
P
}

# program ARG... - runs the helper; $output is stdout, $stderr what it complained of
program() { run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/convert_workflow.py" "$@"; }

# graph NAME - makes graph.json of a fixture
graph() { jq .graph "$FIXTURES/$1.json" >graph.json; }

@test "the program: JSON on stdout, warnings on stderr, 2 for what can't be converted" {
  graph wrong_case
  program --object-info "$FIXTURES/object_info.json" graph.json
  assert_status 0
  assert_equal "$(jq -c '[keys[0], .["1"].inputs.ckpt_name]' <<<"$output")" '["1","sub/Other.safetensors"]'
  assert_equal "${#stderr_lines[@]}" 2
  assert_contains 'graph.json: node 5 "KSampler": sampler_name: "Euler" is sent as "euler", as the server has it' "$stderr"

  program graph.json
  assert_status 2
  assert_equal "$output" ''
  assert_equal "$stderr" 'graph.json: is in the GUI format, and what its nodes are like is not known: --object-info FILE (curl URL/object_info makes one)'

  jq '{"1": {class_type: "X", inputs: {a: 1}}}' -n >api.json
  program api.json
  assert_status 0
  assert_equal "$(jq -c . <<<"$output")" '{"1":{"class_type":"X","inputs":{"a":1}}}'

  graph plain_text
  program --plain-text --object-info "$FIXTURES/object_info.json" graph.json
  assert_equal "$(jq -r '.["2"].inputs.text' <<<"$output")" 'a {red|blue} // end'
}

@test "comfy-convert: prints, or writes a file; warnings are told; definitions are given or saved ones" {
  graph wrong_case
  run --separate-stderr "$ROOT/bin/comfy-convert" --object-info "$FIXTURES/object_info.json" graph.json
  assert_status 0
  assert_equal "$(jq 'length' <<<"$output")" 7
  assert_contains 'warning: graph.json: node 5 "KSampler": sampler_name' "$stderr"

  mkdir -p "$AUTOPOD_HOME/object_info"
  cp "$FIXTURES/object_info.json" "$AUTOPOD_HOME/object_info/0.3.64@somewhere.json"
  run --separate-stderr "$ROOT/bin/comfy-convert" graph.json -o api.json
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(jq 'length' api.json)" 7
  (umask 027 && "$ROOT/bin/comfy-convert" -q graph.json -o mine.json)
  assert_equal "$(find mine.json -perm 640)" mine.json 'who may read it'

  run --separate-stderr "$ROOT/bin/comfy-convert" graph.json -o nowhere/api.json
  assert_status 1
  assert_contains 'nowhere/api.json could not be written' "$stderr"
}

@test "comfy-convert -o: a device, a pipe and a link stay what they are, a directory is refused" {
  local program=("$ROOT/bin/comfy-convert" -q --object-info "$FIXTURES/object_info.json" graph.json -o)
  graph plain
  ln -s target.json link.json
  run "${program[@]}" link.json
  assert_status 0
  [ -L link.json ]
  assert_equal "$(jq 'length' target.json)" 7
  mkfifo pipe
  cat pipe >got.json &
  run "${program[@]}" pipe
  assert_status 0
  wait "$!"
  [ -p pipe ]
  cmp got.json target.json
  ln -s /dev/null null
  run "${program[@]}" null
  assert_status 0
  [ -L null ]
  mkdir dir
  run "${program[@]}" dir
  assert_status 2
  assert_contains '-o dir: is a directory'
  assert_equal "$(ls dir)" ''
}

@test "comfy-convert: no definitions, no workflow, no such file" {
  graph plain
  run --separate-stderr "$ROOT/bin/comfy-convert" graph.json
  assert_status 2
  assert_contains 'graph.json: is in the GUI format, and what its nodes are like is not known: --object-info FILE (curl URL/object_info makes one)' "$stderr"
  run --separate-stderr "$ROOT/bin/comfy-convert"
  assert_status 2
  run --separate-stderr "$ROOT/bin/comfy-convert" nothing.json
  assert_status 2
  assert_contains nothing.json "$stderr"
  run --separate-stderr "$ROOT/bin/comfy-convert" --object-info nowhere.json graph.json
  assert_status 2
  assert_contains nowhere.json "$stderr"
}
