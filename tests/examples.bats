#!/usr/bin/env bats
# templates/, jobs/ and job.schema.json: what ships works as it stands, and the schema says the same
# as helpers/render_template.py.

load test_helper

# render JOB [ARG...] - renders from the root of the repo, as people do
render() {
  cd "$ROOT" || return
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/render_template.py" --job "$@"
}

@test "every job renders as it stands, without a warning" {
  local job
  for job in "$ROOT"/jobs/*.json; do
    render "jobs/${job##*/}" --output-dir "$TMPDIR/outputs"
    assert_status 0
    assert_equal "$stderr" ""
    refute_contains "warning	"
    refute_contains '{input.'
    assert_equal "$(sed -n 's/^job_id	//p' <<<"$output")" "$(basename "$job" .json)"
    assert_equal "$(sed -n 's/^output	[^	]*	//p' <<<"$output" | grep -cv "^$ROOT/outputs/")" 0 "outputs elsewhere"
  done
}

@test "every template has a job, and every job points to the schema" {
  local template job
  for template in "$ROOT"/templates/*.json; do
    assert_file "$ROOT/jobs/${template##*/}"
  done
  for job in "$ROOT"/jobs/*.json; do
    assert_equal "$(jq -r '.["$schema"]' "$job")" ../job.schema.json
  done
}

@test "templates: every node has a title, and the inputs that the template names are its placeholders" {
  "$AUTOPOD_PYTHON" - "$ROOT"/templates/*.json <<'E'
import json, re, sys
for path in sys.argv[1:]:
    text = open(path, encoding="utf-8").read()
    nodes = {key: node for key, node in json.loads(text).items() if not key.startswith("_")}
    about = json.loads(text)["_about"] + " " + json.loads(text).get("_inputs", "")
    titles = [node["_meta"]["title"] for node in nodes.values()]
    assert len(set(titles)) == len(titles), (path, "two nodes with one title", titles)
    for name in set(re.findall(r"\{input\.([a-z_]+)", text)):
        assert re.search(rf"\b{name}\b", about), (path, "does not tell of its input", name)
    links = [value for node in nodes.values() for value in node["inputs"].values() if isinstance(value, list)]
    unused = set(nodes) - {link[0] for link in links}
    assert all(nodes[node_id]["class_type"].startswith("Save") for node_id in unused), (path, unused)
E
}

@test "the demo needs no model, and the examples' files are small" {
  local allowed='LoadImage|ImageScale|ImageInvert|ImageBlur|SaveImage'
  assert_equal "$(jq -r '.[] | objects.class_type' "$ROOT/templates/demo.json" | grep -Evxc "$allowed")" 0
  local file size
  for file in "$ROOT"/jobs/inputs/*; do
    size=$(wc -c <"$file")
    [ "$size" -gt 1000 ]
    [ "$size" -lt 51200 ]
  done
}

@test "the schema is a schema, and every job keeps to it" {
  "$AUTOPOD_PYTHON" - "$ROOT" <<'E'
import glob, json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(f"{sys.argv[1]}/job.schema.json", encoding="utf-8"))
Draft202012Validator.check_schema(schema)
jobs = glob.glob(f"{sys.argv[1]}/jobs/*.json")
assert len(jobs) >= 6
for job in jobs:
    Draft202012Validator(schema).validate(json.load(open(job, encoding="utf-8")))
E
}

@test "the schema and the helper agree on good and bad jobs" {
  mkdir templates
  printf '{"1":{"class_type":"X","inputs":{"a":"{input.a|1}"}}}' >templates/t.json
  cat >cases <<'E'
good {}
good {"$schema": 1, "_note": [], "inputs": {"_x": null, "a": "text"}, "outputs": {"$y": 1}, "pod_config": {"_z": {}}}
good {"inputs": {"a": "", "b-c.d_e": true, "0": 1.5}}
good {"inputs": {"a": "text:s3://bucket/x"}}
good {"outputs": {"9": "o/a.png", "My title": "o/", "a/b": "x", "*": "rest"}}
good {"pod_config": {"gpu_type": "RTX A40", "gpu_count": 2, "max_cost_usd": 0.01, "timeout_minutes": 1000000}}
good {"pod_config": {"gpu_count": 2.0, "disk_gb": 1, "cloud": "community", "volume_mount": "/w", "datacenter": "EU"}}
good {"pod_config": {"gpu_type": "A40, 4090,", "datacenter": " EU-RO-1 ,US-GA-1", "volume_id": "a-B_9", "volume_mount": "/w/..x/.y/"}}
good {"pod_config": {"cloud": "secure", "image": "a/b:c@sha256:d", "template": "cw3nka7d08", "max_price_usd_per_hour": 0.01}}
good {"job_id": "A.b_c-9"}
good {"set": {"A": 1, "B_2": true, "c": "x", "_d": [], "$e": null}}
good {"set": {"1.a": 5}}
good {"set": {"X.a": 0.5}}
bad {"set": []}
bad {"set": {"A": null}}
bad {"set": {"1.a": {}}}
bad {"set": {"a b": 1}}
bad {"set": {"1a": 1}}
bad {"set": {"": 1}}
bad {"set": {"A\n": 1}}
bad {"workflow": "templates/t.json"}
bad {"job_id": null}
bad {"job_id": ""}
bad {"job_id": 7}
bad {"job_id": "a/b"}
bad {"job_id": "a..b"}
bad {"job_id": "-a"}
bad {"job_id": "a b"}
bad {"job_id": "a\n"}
bad {"job_id": "$(id)"}
bad {"workflow_template": ""}
bad {"workflow_template": ["t"]}
bad {"workflow_template": "t\n"}
bad {"unknown": 1}
bad {"inputs": []}
bad {"inputs": {"a": null}}
bad {"inputs": {"a": {}}}
bad {"inputs": {"a b": 1}}
bad {"inputs": {"a\n": 1}}
bad {"inputs": {"": 1}}
bad {"inputs": {"a": "s3://bucket/x"}}
bad {"outputs": []}
bad {"outputs": {"image": ""}}
bad {"outputs": {"image": 5}}
bad {"outputs": {"image": "a\tb"}}
bad {"outputs": {"": "a"}}
bad {"outputs": {"a\u0085": "a"}}
bad {"pod_config": []}
bad {"pod_config": {"gpu": "x"}}
bad {"pod_config": {"gpu_type": " "}}
bad {"pod_config": {"gpu_type": 1}}
bad {"pod_config": {"gpu_count": 0}}
bad {"pod_config": {"gpu_count": 1.5}}
bad {"pod_config": {"gpu_count": true}}
bad {"pod_config": {"gpu_count": "1"}}
bad {"pod_config": {"disk_gb": -1}}
bad {"pod_config": {"max_cost_usd": 0}}
bad {"pod_config": {"max_cost_usd": -5}}
bad {"pod_config": {"max_cost_usd": "5"}}
bad {"pod_config": {"timeout_minutes": null}}
bad {"pod_config": {"timeout_minutes": 1000001}}
bad {"pod_config": {"max_price_usd_per_hour": false}}
bad {"pod_config": {"max_price_usd_per_hour": 0}}
bad {"pod_config": {"disk_gb": 0.5}}
bad {"pod_config": {"gpu_type": " , "}}
bad {"pod_config": {"datacenter": ""}}
bad {"pod_config": {"datacenter": "EU RO 1"}}
bad {"pod_config": {"datacenter": "EU-RO-1,"}}
bad {"pod_config": {"datacenter": "EU-RO-1\n"}}
bad {"pod_config": {"datacenter": "EU-RO-1;id"}}
bad {"pod_config": {"volume_id": ""}}
bad {"pod_config": {"volume_id": "a/b"}}
bad {"pod_config": {"volume_id": "a\n"}}
bad {"pod_config": {"volume_id": "a123456789b123456789c123456789d123456789e123456789f123456789g1234"}}
bad {"pod_config": {"volume_mount": "w"}}
bad {"pod_config": {"volume_mount": "/"}}
bad {"pod_config": {"volume_mount": "/w/.."}}
bad {"pod_config": {"volume_mount": "/../w"}}
bad {"pod_config": {"volume_mount": "/./w"}}
bad {"pod_config": {"volume_mount": "/w\n"}}
bad {"pod_config": {"volume_mount": "/w\u0000"}}
bad {"pod_config": {"cloud": "public"}}
bad {"pod_config": {"image": "a\nb"}}
E
  "$AUTOPOD_PYTHON" - "$ROOT" cases <<'E'
import json, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from jsonschema import Draft202012Validator
root, cases = sys.argv[1:]
validator = Draft202012Validator(json.load(open(f"{root}/job.schema.json", encoding="utf-8")))

def verdicts(line):
    wanted, _, text = line.partition(" ")
    job = {"job_id": "j", "workflow_template": "t", **json.loads(text)}
    done = subprocess.run([sys.executable, "-I", "-S", f"{root}/helpers/render_template.py"],
                          input=json.dumps(job).encode(), capture_output=True)
    assert done.returncode in (0, 2), done
    return line, wanted == "good", validator.is_valid(job), done.returncode == 0

lines = open(cases, encoding="utf-8").read().splitlines()
with ThreadPoolExecutor(4) as pool:
    wrong = [v for v in pool.map(verdicts, lines) if not v[1] == v[2] == v[3]]
assert not wrong, ("line, wanted, schema, helper", wrong)
assert not validator.is_valid({"job_id": "j"}) and not validator.is_valid({"workflow_template": "t"})
E
}
