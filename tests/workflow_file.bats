#!/usr/bin/env bats
# helpers/workflow_file.py: a workflow is found in JSON of many shapes and in pictures, sounds and films.

load test_helper

# The driver's arguments are
#   cases     lines TEXT#WANTED: TEXT (\n is a newline) is a file; WANTED is "api JSON" or "gui JSON", maybe with a warning
#             behind a tab, or else the problem
#   python    stdin is Python that uses want(DATA, ...) and refused(DATA, TEXT)
setup_file() {
  cat >"$BATS_FILE_TMPDIR/driver.py" <<'E'
import base64, io, json, os, random, struct, sys, time, zlib
sys.path.insert(0, os.environ["ROOT"] + "/helpers")
import media_metadata, workflow_file
from job_file import Problem

PROMPT = {"1": {"class_type": "KSampler", "inputs": {"seed": 7, "text": 'ü "q" 日本'}}}
GRAPH = {"nodes": [{"id": 1, "type": "KSampler"}], "links": []}
P, G = json.dumps(PROMPT).encode(), json.dumps(GRAPH).encode()

def told(data, label="f"):
    with open("file", "wb") as file:
        file.write(data)
    notes = []
    try:
        kind, value = workflow_file.read_workflow("file", label, notes)
    except Problem as problem:
        return str(problem)
    return "\t".join([kind + " " + json.dumps(value, ensure_ascii=False), *notes])

def same(got, wanted, what=""):
    if got != wanted:
        sys.exit(f"{what}\nwanted: {wanted}\ngot:    {got}")

def want(data, value=PROMPT, what=""):
    kind = "gui" if "nodes" in value else "api"
    same(told(data), kind + " " + json.dumps(value, ensure_ascii=False), what or data[:60])

def refused(data, text):
    same(told(data), "f: " + text, data[:60])

def chunk(kind, data, length=None):
    length = len(data) if length is None else length
    return struct.pack(">I4s", length, kind) + data + struct.pack(">I", zlib.crc32(kind + data))

def png(*chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")

def text(name, value, kind=b"tEXt"):
    return chunk(kind, name.encode() + b"\0" + value)

def box(kind, *contents):
    data = b"".join(contents)
    return struct.pack(">I4s", 8 + len(data), kind) + data

def samples():
    with open(os.environ["ROOT"] + "/tests/fixtures/media.txt") as file:
        lines = [line.split() for line in file if line[:1] != "#"]
    return {name: base64.b64decode(data) for name, data in lines}

stdin = sys.stdin.buffer.read().decode("utf-8")
if sys.argv[1] == "python":
    exec(stdin)
else:
    assert stdin
    for line in stdin.splitlines():
        source, mark, wanted = line.rpartition("#")
        same(told(source.replace("\\n", "\n").encode()), wanted.replace("\\t", "\t"), source)
E
}

drive() { "$AUTOPOD_PYTHON" -IS "$BATS_FILE_TMPDIR/driver.py" "$@"; }

@test "JSON: both formats, and what they are wrapped in" {
  drive cases <<'T'
{"1":{"class_type":"A","inputs":{}}}#api {"1": {"class_type": "A", "inputs": {}}}
{"nodes":[],"links":[]}#gui {"nodes": [], "links": []}
{"prompt":{"1":{"class_type":"A"}},"client_id":"x"}#api {"1": {"class_type": "A"}}
{"prompt":{"1":{"class_type":"A"}},"mine":"x"}#api {"1": {"class_type": "A"}}\tf: "mine" beside "prompt" is not sent
{"prompt":{"_":"a note","1":{"class_type":"A"}},"_":"a note"}#api {"1": {"class_type": "A"}}
{"prompt":"{\"1\":{\"class_type\":\"A\"}}"}#api {"1": {"class_type": "A"}}
{"workflow":{"nodes":[]}}#gui {"nodes": []}
{"workflow":"{\"nodes\":[]}"}#gui {"nodes": []}
{"workflow":{"nodes":[]},"output":{"1":{"class_type":"A"}}}#api {"1": {"class_type": "A"}}
{"prompt":null,"workflow":{"nodes":[]}}#gui {"nodes": []}
{"prompt":[3,"id",{"1":{"class_type":"A"}},{},["1"]],"outputs":{},"status":{}}#api {"1": {"class_type": "A"}}
{"id":{"prompt":[3,"id",{"1":{"class_type":"A"}},{},["1"]],"outputs":{}}}#api {"1": {"class_type": "A"}}
[3,"id",{"1":{"class_type":"A"}},{},["1"]]#api {"1": {"class_type": "A"}}
{"input":{"workflow":{"1":{"class_type":"A"}},"images":[]}}#api {"1": {"class_type": "A"}}
{"input":{"workflow":{"nodes":[]}}}#gui {"nodes": []}
{"input":{"class_type":"A","inputs":{"prompt":1}}}#api {"input": {"class_type": "A", "inputs": {"prompt": 1}}}
{"a":{"prompt":[3,"a",{}]},"b":{"prompt":[4,"b",{}]}}#f: holds 2 runs: keep the one that is wanted
{"prompt":{"class_type":"A","inputs":{}}}#api {"prompt": {"class_type": "A", "inputs": {}}}
{"output":{"class_type":"A"},"1":{"class_type":"B"}}#api {"output": {"class_type": "A"}, "1": {"class_type": "B"}}
{"1":{"class_type":"A","inputs":{},"is_changed":["stale"]}}#api {"1": {"class_type": "A", "inputs": {}}}
{"1":{"class_type":"A","inputs":{},"is_changed":[NaN]}}#api {"1": {"class_type": "A", "inputs": {}}}
T
}

@test "JSON that is no workflow, or no JSON" {
  drive cases <<'T'
{}#f: has no nodes
{"prompt":{}}#f: has no nodes
[]#f: is not a workflow: a JSON object of nodes is wanted
7#f: is not a workflow: a JSON object of nodes is wanted
{"a":{"b":1}}#f: is not a workflow: a JSON object of nodes is wanted; no class_type is in it
{"job_id":"x","workflow_template":"y"}#f: is not a workflow, but a job
{"1":{"class_type":"A","class_type":"B"}}#f: the key "class_type" stands twice in one object
{"1":{"class_type":"A","inputs":{"a":NaN}}}#f: NaN is not a number that JSON can hold
{"1":{"class_type":"A","inputs":{"a":1e999}}}#f: 1e999 is not a number that JSON can hold
{"1": {"class_type": "A",\n  oops}}#f: not JSON: line 2, column 3: Expecting property name enclosed in double quotes
 \n#f: not JSON: it is empty
T
  drive python <<'P'
refused(b"{\"1\": \"\xff\"}", "not JSON: byte 8 is not UTF-8 text")
refused(b"\x7fELF\x02\x01\x01" + b"\0" * 40, "not JSON: line 1, column 1: Expecting value")
refused(b"[" * 200000, "nested too deeply")
refused(b'{"1":{"class_type":"A","inputs":{"a":' + b"9" * 6000 + b"}}}", "a number has too many digits")
refused(b'{"a": ' + b'{"prompt":' * 300 + b"1" + b"}" * 301, "is not a workflow: a JSON object of nodes is wanted; no class_type is in it")
want(b"\xef\xbb\xbf" + P)
want(b"\n\n" + P)
want(P.decode().encode("utf-16"))
start = time.monotonic()
refused(b'{"1":{"class_type":"A","inputs":{"a":[' + b'{"b":"${X}"},' * 200_000 + b"}", "not JSON: line 1, column 2600039: Expecting value")
assert time.monotonic() - start < 4, "looked for placeholders where there are none"
want(b"\xfe\xff" + P.decode().encode("utf-16-be"))
refused(b"\xff\xfe" + P.decode().encode("utf-16-le") + b"\0", "not JSON: byte %d is not UTF-16-LE text" % (2 * len(P.decode()) + 3))
for path, wanted in ("none", "no such file"), ("file/x", "no such file"), (".", "is a directory, not a workflow"):
    try:
        workflow_file.read_workflow(path, "it")
    except Problem as problem:
        same(str(problem), "it: " + wanted)
P
}

@test "placeholders without quotes stand where a value may stand, and nowhere else" {
  drive cases <<'T'
{"1":{"class_type":"A","inputs":{"seed": ${SEED}, "w":{input.w},"c": ${C|7.5} }}}#api {"1": {"class_type": "A", "inputs": {"seed": "${SEED}", "w": "{input.w}", "c": "${C|7.5}"}}}
{"nodes":[{"widgets_values":[${SEED},"fixed", {input.w|1},{job_id}]}]}#gui {"nodes": [{"widgets_values": ["${SEED}", "fixed", "{input.w|1}", "{job_id}"]}]}
{"1":{"class_type":"A","inputs":{"a":"\"${X} {","b":${X|"} , "c":1,"d":""}}}#api {"1": {"class_type": "A", "inputs": {"a": "\"${X} {", "b": "${X|\"}", "c": 1, "d": ""}}}
{"1":{"class_type":"A","inputs":{"a":"\\","b":[${X|\n}]}}}#api {"1": {"class_type": "A", "inputs": {"a": "\\", "b": ["${X|\n}"]}}}
{${K}:{"class_type":"A"}}#f: not JSON: line 1, column 2: Expecting property name enclosed in double quotes
{"1":{"class_type":"A",${K}:1}}#f: not JSON: line 1, column 24: Expecting property name enclosed in double quotes
{"a":${A}${B}}#f: not JSON: line 1, column 10: Expecting ',' delimiter
{"a":${A}5}#f: not JSON: line 1, column 10: Expecting ',' delimiter
{"a":-${A}}#f: not JSON: line 1, column 6: Expecting value
{"a":$${A}}#f: not JSON: line 1, column 6: Expecting value
{"a":${A}}}#f: not JSON: line 1, column 11: Extra data
{"a":${A},\n "b":{input.b},\n "c": nope}#f: not JSON: line 3, column 7: Expecting value
{"a":${A},"b":"never closed ${X}}#f: not JSON: line 1, column 15: Unterminated string starting at
${X}#f: is not a workflow: a JSON object of nodes is wanted
T
}

@test "no value changes what the JSON of a template says" {
  drive python <<'P'
from placeholders import Filler
template = b'{"1":{"class_type":"A","inputs":{"a": ${X}, "b": [${X}, "x ${X}"], "c": {input.y|2}}}}'
with open("file", "wb") as file:
    file.write(template)
workflow = workflow_file.read_workflow("file", "f")[1]
for value in ['"', '"}, "2": {"class_type": "Evil', "\\", "}]}", "\n\0\u2028", "${X}", "{input.y}", "", 7, True, 1.5]:
    filler = Filler({"${X}": value})
    inputs = json.loads(json.dumps(filler.fill(workflow)))["1"]["inputs"]
    same(inputs, {"a": value, "b": [value, "x " + (value if isinstance(value, str) else json.dumps(value))], "c": 2})
P
}

@test "real files: pictures, sounds and films, as ComfyUI's nodes write them" {
  drive python <<'P'
found = samples()
assert len(found) >= 16
for name, data in found.items():
    want(data, what=name)
want(found["audio.mp3"][:10] + found["audio.mp3"][10:].replace(b"TXXX", b"TXXY", 1), GRAPH)
texts = media_metadata.chunks("file")
assert json.loads(texts["workflow"]) == GRAPH, texts
P
}

@test "PNG: kinds of texts, names in any case, prompt before workflow, what is no JSON in them" {
  drive python <<'P'
packed = zlib.compress(P)
for chunks in [
    [text("prompt", P)], [text("Prompt", P)], [text("workflow", G), text("prompt", P)],
    [chunk(b"zTXt", b"prompt\0\0" + packed)], [chunk(b"iTXt", b"prompt\0\0\0en\0x\0" + P)],
    [chunk(b"iTXt", b"prompt\0\1\0\0\0" + packed)], [text("prompt", b"null"), text("workflow", P)],
    [text("prompt", json.dumps(P.decode()).encode())], [text("comment", b'{"prompt": ' + P + b"}")],
    [text("prompt", '"ä"'.encode("latin-1")), text("workflow", P)],
    [chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"), text("prompt", P)], [text("prompt", P + b"\0")],
    [text("prompt", b'{"broken":'), text("workflow", P)],
]:
    want(png(*chunks), what=chunks)
want(png(text("workflow", G)), GRAPH)
nan = b'{"1":{"class_type":"A","inputs":{"a":NaN,"b":[-Infinity,"x\ty"]},"is_changed":[NaN]}}'
want(png(text("prompt", nan)), {"1": {"class_type": "A", "inputs": {"a": None, "b": [None, "x\ty"]}}})
refused(png(), "holds no workflow; it is lost when a picture is converted or re-saved")
refused(png(text("Software", b"x"), text("e\x1b[2J" + "v" * 60, b"x")),
        "holds no workflow (its metadata: Software, e\\x1b[2J" + "v" * 19 + "...); it is lost when a picture is converted or re-saved")
refused(png(text("parameters", b"a cat\nSteps: 20")), "holds no workflow: its metadata is of another program (parameters)")
refused(png(text("prompt", b"{}"), text("workflow", b"[[")), "its prompt: has no nodes; its workflow: not JSON: line 1, column 3: Expecting value")
P
}

@test "other carriers: safetensors, GLB, SVG, EXIF in both orders, texts of wide characters" {
  drive python <<'P'
head = json.dumps({"__metadata__": {"prompt": P.decode()}}).encode()
for extra in (0, (0x7B - len(head)) % 256, (0x20 - len(head)) % 256):  # its length begins with { or a space
    data = head[:-1] + b" " * extra + b"}"
    want(struct.pack("<Q", len(data)) + data + b"\0" * 64)
glb = json.dumps({"asset": {"extras": {"workflow": GRAPH}}}).encode()
want(b"glTF" + struct.pack("<III", 2, 20 + len(glb), len(glb)) + b"JSON" + glb, GRAPH)
want(b"<?xml version='1.0'?><svg><metadata id='x'><![CDATA[{\"prompt\":" + P + b"}]]></metadata></svg>")
notes = P[:-1] + b', "extra": {"a": 1}, "extraMetadata": "{}"}'
for order, mark, code in ("<", b"II*\0", "utf-16-le"), (">", b"MM\0*", "utf-16-be"), ("<", b"II*\0", "utf-16-be"):
    note = b"UNICODE\0" + notes.decode().encode(code)
    place = 8 + 2 + 12 + 4 + 2 + 12 + 4
    exif = mark + struct.pack(order + "I", 8) + struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    exif += struct.pack(order + "HHHIII", 1, 0x9286, 7, len(note), place, 0) + note
    webp = b"WEBPVP8X" + struct.pack("<I", 3) + b"\0\0\0\0" + b"EXIF" + struct.pack("<I", len(exif)) + exif
    extra = "\tf: \"extra\" is no node and is left out\tf: \"extraMetadata\" is no node and is left out"
    for data in b"RIFF" + struct.pack("<I", len(webp)) + webp, exif, box(b"JXL ", b"\r\n\x87\n") + box(b"Exif", b"\0\0\0\0" + exif):
        same(told(data), "api " + json.dumps(PROMPT, ensure_ascii=False) + extra)
def id3(frame):
    tag = b"TXXX" + struct.pack(">I", len(frame)) + b"\0\0" + frame
    return b"ID3\3\0\0" + bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0)) + tag
want(id3(b"\2" + ("prompt\0" + P.decode()).encode("utf-16-be")))
want(id3(b"\1" + ("\ufeffprompt\0\ufeff" + P.decode()).encode("utf-16-le")))
item = box(b"----", box(b"mean", b"\0\0\0\0com.apple"), box(b"name", b"\0\0\0\0prompt"), box(b"data", b"\0\0\0\1\0\0\0\0" + P))
meta = box(b"meta", b"\0\0\0\0", box(b"hdlr", b"\0" * 25), box(b"ilst", item))
want(box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", box(b"udta", meta)))
P
}

@test "lengths that lie, files that end early, and what would fill the memory" {
  drive python <<'P'
broken = "is cut off or broken: there is no workflow to be read"
refused(png(chunk(b"tEXt", b"prompt\0" + P, 1 << 31)), broken)
refused(png(chunk(b"zTXt", b"prompt\0\0not packed")), broken)
whole = png(text("prompt", P), text("workflow", G))
want(whole[: len(png(text("prompt", P))) - 30] + b"\xff" * 9)
bomb = zlib.compressobj(9)
squeezed = b"".join(bomb.compress(b" " * (1 << 20)) for _ in range(65)) + bomb.flush()
start = time.monotonic()
refused(png(chunk(b"zTXt", b"prompt\0\0" + squeezed)), "a text in its metadata unpacks to more than 64 MiB")
many = [chunk(b"zTXt", b"n%d\0\0" % n + squeezed[: len(squeezed) // 2]) for n in range(40)]
assert told(png(*many)).startswith("f: holds no workflow"), "many bombs"
same(told(b"fLaC" + b"\4\0\0\x08" + b"\0\0\0\0\xff\xff\xff\xff"), "f: " + broken)
same(told(box(b"ftyp", b"isom\0\0\0\0") + b"\0\0\0\1moov" + b"\xff" * 8), "f: " + broken)
same(told(box(b"ftyp", b"isom\0\0\0\0") + b"\0\0\0\0udta" * 3000)[:30], "f: nested too deeply")
same(told(b"\x1aE\xdf\xa3" + b"\x80\x18\x53\x80\x67\x01" + b"\xff" * 30)[:20], "f: is cut off or broken"[:20])
assert told(b"\x1aE\xdf\xa3\x80" + b"\xec\x80" * 3_000_000).startswith("f: is cut off"), "3 million elements"
jpeg = told(b"\xff\xd8" + b"\xff" * 3_000_000)
assert jpeg.startswith("f: is cut off"), jpeg
assert time.monotonic() - start < 20, time.monotonic() - start

# A film of 6 GB, of which only what describes it is read.
meta = box(b"keys", b"\0\0\0\0\0\0\0\1", box(b"mdta", b"prompt")) + box(b"ilst", box(b"\0\0\0\1", box(b"data", b"\0\0\0\1\0\0\0\0" + P)))
moov = box(b"moov", box(b"udta", box(b"meta", b"\0\0\0\0", box(b"hdlr", b"\0" * 24), meta)))
with open("film.mp4", "wb") as file:
    file.write(box(b"ftyp", b"isom\0\0\0\0") + b"\0\0\0\1mdat" + struct.pack(">Q", 6 << 30))
    file.seek(16 + (6 << 30))
    file.write(moov)
start = time.monotonic()
same(workflow_file.read_workflow("film.mp4", "film")[1], PROMPT)
assert time.monotonic() - start < 1
os.remove("film.mp4")
P
}

@test "damaged files of each kind: a problem in words or a workflow, and soon" {
  drive python <<'P'
random.seed(os.environ.get("SEED", "1"))
files = {**samples(), "png": png(text("prompt", P), chunk(b"zTXt", b"workflow\0\0" + zlib.compress(G))),
         "json": b'{"prompt":[1,"x",{"1":{"class_type":"A","inputs":{"a":${X},"b":[{input.c|1},NaN]}}}]}'}
start = time.monotonic()
for name, data in files.items():
    for _ in range(150):
        bad = bytearray(data[: random.randrange(len(data))] if random.random() < 0.3 else data)
        for _ in range(random.choice([1, 1, 3, 12])):
            place = random.randrange(min(len(bad), 400)) if bad and random.random() < 0.7 else random.randrange(len(bad) + 1)
            bad[place : place + random.choice([0, 1, 4])] = random.choice([b"", b"\xff" * 4, b"\0\0\0\1", bytes([random.randrange(256)])])
        try:
            from_media, (kind, value) = workflow_file.read_file(io.BytesIO(bad), [])
            assert kind in ("api", "gui") and isinstance(value, dict)
            json.dumps(value, allow_nan=False)
        except (Problem, RecursionError) as problem:
            assert str(problem).isprintable() and len(str(problem)) < 1000, (name, str(problem))
        except BaseException as error:
            sys.exit(f"{name}: {error!r}: {bytes(bad)!r}")
assert time.monotonic() - start < 60
P
}

@test "standard input, which can't be sought in" {
  drive python <<'P'
with open("api.json", "wb") as file:
    file.write(P)
with open("film.mp4", "wb") as file:
    file.write(samples()["save_video.mp4"])
P
  for file in api.json film.mp4; do
    # shellcheck disable=SC2002 # a pipe, not a file
    cat "$file" | "$AUTOPOD_PYTHON" -IS -c '
import sys
sys.path.insert(0, sys.argv[1] + "/helpers")
from workflow_file import read_source
from_media, (kind, workflow) = read_source("-", "standard input", [])
assert from_media == (sys.argv[2] == "film.mp4")
assert kind == "api" and workflow["1"]["inputs"]["seed"] == 7, workflow' "$ROOT" "$file"
  done
}
