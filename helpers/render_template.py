#!/usr/bin/env python3
"""Turn one job file and its template into the workflow that is sent to ComfyUI.

The job is checked, its file inputs are hashed and named, its template is found and
filled in. All problems of a job are told in one run. Nothing is written and nothing
is contacted: the caller gets tagged lines, fields separated by TAB:

    job_id ID | template NAME | timeout_minutes N | max_cost_usd N (or empty)
    upload BYTES SHA256 UPLOAD_NAME ABSOLUTE_PATH      one per distinct file
    output NAME ABSOLUTE_PATH                          a directory ends in /
    warning TEXT
    job JSON                                           the resolved job
    workflow JSON                                      what is POSTed as "prompt"

Problems go to stderr, one a line, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from typing import Any, Callable, Union

    Scalar = Union[str, int, float, bool]
    Json = dict[str, Any]

JOB_KEYS = ["job_id", "workflow_template", "inputs", "outputs", "pod_config"]
POD_KEYS = {
    "gpu_type": "text",
    "gpu_count": "count",
    "max_cost_usd": "number",
    "timeout_minutes": "number",
    "datacenter": "text",
    "volume_id": "text",
    "volume_mount": "text",
    "image": "text",
    "template": "text",
    "cloud": "text",
    "disk_gb": "count",
    "max_price_usd_per_hour": "number",
}
POD_DEFAULTS = {"gpu_count": 1, "timeout_minutes": 60}
CLOUDS = ("secure", "community", "SECURE", "COMMUNITY")
LARGEST_NUMBER = 1_000_000

MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_NAME_BYTES = 200  # leaves room for "-12", a UTC stamp and ".part" in a 255-byte file name

# ComfyUI's /view refuses every name that holds "..", so a prefix made of the id must not.
JOB_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
INPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MEDIA_EXTENSIONS = (
    "png jpg jpeg webp gif bmp tif tiff avif exr mp4 webm mov mkv avi m4v wav mp3 flac ogg opus "
    "m4a aac safetensors ckpt pt pth gguf latent glb obj"
)
PLACEHOLDER = re.compile(
    r"\{(?P<text>\{(?:input\.[^{}]*|job_id)\})\}"  # {{input.x}}: the text {input.x}
    r"|\$(?P<settext>\$\{[A-Za-z_][A-Za-z0-9_]*(?:\|[^{}]*)?\})"  # $${X}: the text ${X}
    r"|\{(?P<name>input\.[^{}|]*|job_id)(?:\|(?P<default>[^{}]*))?\}"
    r"|\$\{(?P<set>[A-Za-z_][A-Za-z0-9_]*)(?:\|(?P<setdefault>[^{}]*))?\}"
    r"|(?P<broken>\{input\.)"
)


class Problem(Exception):
    """Something the person who wrote the job has to change."""


# --- words for people ---------------------------------------------------------------------


def clean(text: str) -> str:
    """`text` with everything that could move a cursor or fake a line written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """`value` as JSON in one short line."""
    text = json.dumps(value, ensure_ascii=False)
    return clean(text if len(text) <= 80 else text[:77] + "...")


def nearest(word: str, known: list[str]) -> str:
    """A hint for an unknown `word`: the nearest of `known`, else all of them."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {shown(close[0])}?"
    return f"known: {clean(', '.join(known))}" if known else "none is known"


def for_people(key: str) -> bool:
    """Keys that start with _ or $ hold comments, "$schema" and the like."""
    return key.startswith(("_", "$"))


# --- reading ------------------------------------------------------------------------------


def no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    """JSON leaves open which of two equal keys counts, so none does."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Problem(f"the key {shown(twice)} stands twice in one object")
    return result


def finite(text: str) -> float:
    """A JSON number with a fraction or exponent; 1e999 is none that can be sent on."""
    value = float(text)
    if not math.isfinite(value):
        raise Problem(f"{clean(text[:40])} is not a number that JSON can hold")
    return value


def parse_json(data: bytes) -> Any:
    """The JSON value in `data`; Problem names line and column."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(f"not JSON: byte {error.start + 1} is not UTF-8 text") from None
    try:
        return json.loads(
            text, object_pairs_hook=no_duplicates, parse_float=finite, parse_constant=finite
        )
    except json.JSONDecodeError as error:
        if not text.strip():
            raise Problem("not JSON: it is empty") from None
        raise Problem(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise Problem("a number has too many digits") from None
    except RecursionError:
        raise Problem("nested too deeply") from None


def read_json(path: str) -> Any:
    """The JSON value in the file `path` ("-": standard input)."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_JSON_BYTES + 1)
        elif not os.path.exists(path):
            raise Problem("no such file")
        elif os.path.isdir(path):
            raise Problem("is a directory, not a JSON file")
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_JSON_BYTES + 1)
    except (OSError, ValueError) as error:
        raise Problem(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_JSON_BYTES:
        raise Problem("is larger than 64 MiB: not a job or a template")
    return parse_json(data)


def absolute(path: str) -> str:
    """`path` from the working directory on, with a leading ~/ filled in."""
    return os.path.abspath(os.path.expanduser(path) if path.startswith("~/") else path)


# --- the template -------------------------------------------------------------------------


def known_templates(directories: list[str]) -> dict[str, str]:
    """Name to path of all templates; the first directory that has a name wins."""
    found: dict[str, str] = {}
    for directory in directories:
        if os.path.isdir(directory):
            for name in sorted(os.listdir(directory)):
                if name.endswith(".json") and not name.startswith("."):
                    found.setdefault(name[: -len(".json")], os.path.join(directory, name))
    return found


def template_name(path: str) -> str:
    """What a template is called: its file name without .json."""
    name = os.path.basename(path)
    return name[: -len(".json")] if name.endswith(".json") else name


def find_template(wanted: str, directories: list[str]) -> str:
    """The path of the template `wanted`, a name or a path to a JSON file."""
    is_path = "/" in wanted or wanted.endswith(".json")
    path = os.path.expanduser(wanted) if wanted.startswith("~/") else wanted
    if is_path:
        if os.path.exists(path):
            return path
    else:
        for directory in directories:
            candidate = os.path.join(directory, wanted + ".json")
            if os.path.exists(candidate):
                return candidate
    known = list(known_templates(directories))
    problem = "no such template file" if is_path else "no such template"
    hint = nearest(template_name(wanted), known)
    listed = "" if hint.startswith("known") or not known else f"; known: {', '.join(known)}"
    raise Problem(f"{shown(wanted)}: {problem}; {hint}{clean(listed)}")


def node_label(node_id: str, node: Any) -> str:
    """How a node is named to people: its number and, when it has one, its title."""
    meta = node.get("_meta") if isinstance(node, dict) else None
    title = meta.get("title") if isinstance(meta, dict) else None
    label = f"node {clean(node_id)}"
    return f"{label} {shown(title)}" if isinstance(title, str) and title else label


def unwrap(template: Any, warn: Callable[[str], None]) -> Json:
    """The nodes of a template, which may be wrapped as {"prompt": NODES}."""
    if not isinstance(template, dict):
        raise Problem("is not a workflow: a JSON object of nodes is wanted")
    inner = template.get("prompt")
    if isinstance(inner, dict) and "class_type" not in inner:
        for key in template:
            if key != "prompt" and not for_people(key):
                warn(f'{shown(key)} beside "prompt" is not sent')
        template = inner
    if isinstance(template.get("nodes"), list):
        raise Problem(
            "is in the GUI format; in ComfyUI choose Workflow > Export (API) and use that file"
        )
    nodes = {key: value for key, value in template.items() if not for_people(key)}
    if not nodes:
        raise Problem("has no nodes")
    return nodes


def node_problems(nodes: Json) -> list[str]:
    """What is wrong with the nodes themselves.

    A node without an inputs object kills the worker of a ComfyUI server for good
    (measured on 0.3.64 and 0.33.0), so it must not get that far.
    """
    problems = []
    for node_id, node in nodes.items():
        label = node_label(node_id, node)
        if not isinstance(node, dict):
            problems.append(f"{label}: must be an object with class_type and inputs")
            continue
        if not isinstance(node.get("class_type"), str) or not node["class_type"]:
            problems.append(f"{label}: has no class_type")
        inputs = node.get("inputs")
        if not isinstance(inputs, dict):
            problems.append(f"{label}: has no inputs object")
            continue
        for name, value in inputs.items():
            is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
            if is_link and isinstance(value[1], int) and value[0] not in nodes:
                problems.append(
                    f"{label}: {clean(name)} is linked to node {shown(value[0])}, which is missing"
                )
    return problems


# --- placeholders -------------------------------------------------------------------------


def typed(text: str) -> Scalar:
    """The number or boolean that JSON would write exactly as `text`, else `text` itself.

    "42" becomes 42; "007", "1.50" and "1e5" stay text, from which ComfyUI makes numbers
    where a node wants one: so nothing is lost where it wants text.
    """
    if text in ("true", "false"):
        return text == "true"
    if NUMBER.fullmatch(text):
        value: int | float = float(text) if "." in text else int(text)
        if json.dumps(value) == text:
            return value
    return text


def as_text(value: Scalar) -> str:
    """A value inside a longer string."""
    return value if isinstance(value, str) else json.dumps(value)


class Filler:
    """Puts values into placeholders and remembers what was used and what was lacking.

    `values` is keyed "job_id", "input.NAME" and "$NAME". Values are put in, never read
    again: a value that looks like a placeholder is text.
    """

    def __init__(self, values: dict[str, Scalar]) -> None:
        self.values = values
        self.used: set[str] = set()
        self.missing: dict[str, str] = {}
        self.problems: list[str] = []
        self.where = ""

    def fill(self, value: Any) -> Any:
        """A copy of the JSON `value` with all placeholders in its strings filled in."""
        if isinstance(value, str):
            return self.fill_text(value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return value

    def fill_text(self, text: str) -> Scalar:
        """A string that is one placeholder takes the value's own type."""
        whole = PLACEHOLDER.fullmatch(text)
        if whole:
            return self._value(whole, typed)
        return PLACEHOLDER.sub(lambda match: as_text(self._value(match, str)), text)

    def fill_path(self, text: str) -> str:
        """An output path: a value may be part of a name, but not lead to another directory."""

        def part(match: re.Match[str]) -> str:
            value = as_text(self._value(match, str))
            if "/" in value or CONTROL.search(value) or value in (".", ".."):
                self._problem(f"the value of {clean(match.group())} can't be part of a file name")
            return value

        return PLACEHOLDER.sub(part, text)

    def _value(self, match: re.Match[str], read: Callable[[str], Scalar]) -> Scalar:
        literal = match["text"] or match["settext"]
        if literal:
            return str(literal)
        if match["broken"] or not self._well_named(match):
            near = clean(match.string[match.start() : match.start() + 40])
            self._problem(f"{near} is no placeholder; {{{{input.x}}}} stands for the text itself")
            return ""
        key = match["name"] or "$" + match["set"]
        default = match["default"] if match["name"] else match["setdefault"]
        self.used.add(key)
        if key in self.values:
            value = self.values[key]
            return read(value) if key.startswith("$") and isinstance(value, str) else value
        if default is not None:
            return read(default)
        self.missing.setdefault(f"${{{key[1:]}}}" if match["set"] else f"{{{key}}}", self.where)
        return ""

    def _well_named(self, match: re.Match[str]) -> bool:
        name = match["name"] or ""
        return not name.startswith("input.") or bool(INPUT_NAME.fullmatch(name[len("input.") :]))

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self.where}: {text}")


# --- inputs -------------------------------------------------------------------------------


def file_path(value: str) -> str | None:
    """The path when the input `value` means a file, else None (it is text)."""
    if value.startswith("text:"):
        return None
    if value.startswith("file:"):
        return value[len("file:") :]
    if re.match(r"(r2|s3)://", value):
        raise Problem(
            f"{shown(value)}: files in a bucket can't be inputs; download it first, "
            'or put "text:" in front to send it as text'
        )
    if value.startswith(("./", "../", "/", "~/")) or names_media(value):
        return value
    return value if os.path.isfile(value) else None


def names_media(value: str) -> bool:
    """One word that ends in the extension of a picture, film, sound or model."""
    _, dot, extension = value.rpartition(".")
    is_word = len(value.split()) == 1 and value == value.strip()
    return bool(dot) and is_word and extension.lower() in MEDIA_EXTENSIONS.split()


def upload_name(path: str, sha256: str) -> str:
    """A name on the server made from the content: equal files are uploaded once."""
    stem, extension = os.path.splitext(os.path.basename(path))
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)
    stem = re.sub(r"\.{2,}", ".", stem).lstrip(".-")[:60] or "file"
    extension = re.sub(r"[^a-z0-9]", "", extension.lower())[:16]
    return f"autopod/{stem}-{sha256[:12]}" + (f".{extension}" if extension else "")


def describe_file(path: str) -> Json:
    """Absolute path, size, SHA-256 and upload name of an input file."""
    import hashlib

    if CONTROL.search(path):
        raise Problem(f'{shown(path)}: control characters in a path; "text:" makes it text')
    real = absolute(path)
    if not os.path.lexists(real):
        raise Problem(f'{shown(path)}: no such file; put "text:" in front to send it as text')
    if not os.path.isfile(real):
        kind = "a directory" if os.path.isdir(real) else "not a regular file"
        raise Problem(f"{shown(path)}: is {kind}; a file is wanted")
    digest, size = hashlib.sha256(), 0
    try:
        with open(real, "rb") as file:
            for block in iter(lambda: file.read(1024 * 1024), b""):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise Problem(f"{shown(path)}: cannot be read: {error.strerror}") from None
    if size == 0:
        raise Problem(f"{shown(path)}: is an empty file")
    sha256 = digest.hexdigest()
    name = upload_name(real, sha256)
    return {"type": "file", "path": real, "bytes": size, "sha256": sha256, "upload_name": name}


def describe_input(value: Any) -> Json:
    """What job.json says of one input."""
    if isinstance(value, bool):
        return {"type": "boolean", "value": value}
    if isinstance(value, (int, float)):
        return {"type": "number", "value": value}
    if not isinstance(value, str):
        raise Problem(f"must be a string, a number or a boolean, but is {shown(value)}")
    path = file_path(value)
    if path is not None:
        return describe_file(path)
    return {"type": "text", "value": value[5:] if value.startswith("text:") else value}


# --- outputs ------------------------------------------------------------------------------


def writable_place(path: str) -> None:
    """Problem when `path` can't be made: its nearest existing directory has to let us."""
    place = path.rstrip("/") if path.endswith("/") else os.path.dirname(path)
    while place and not os.path.lexists(place):
        place = os.path.dirname(place)
    place = place or "/"
    if not os.path.isdir(place):
        raise Problem(f"{shown(path)}: {clean(place)} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise Problem(f"{shown(path)}: {clean(place)} is not writable")


def output_path(text: str) -> str:
    """The absolute form of an output path; what means a directory ends in /."""
    if not text or CONTROL.search(text):
        raise Problem(f"must be a path without control characters, but is {shown(text)}")
    path = absolute(text)
    if text.endswith("/") or os.path.isdir(path):
        path = path.rstrip("/") + "/"
    elif os.path.lexists(path) and not os.path.isfile(path):
        raise Problem(f"{shown(text)}: is not a regular file")
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in path.split("/")):
        raise Problem(f"{shown(text)}: a name in it is longer than {MAX_NAME_BYTES} bytes")
    writable_place(path)
    return path


# --- the job ------------------------------------------------------------------------------


class Job:
    """One job being checked and resolved; `problems` and `warnings` fill up on the way."""

    def __init__(self, label: str, raw: Json, sets: dict[str, str]) -> None:
        self.label = label
        self.raw = {key: value for key, value in raw.items() if not for_people(key)}
        self.sets = sets
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.inputs: Json = {}
        self.files: dict[tuple[str, str], Json] = {}
        self.outputs: dict[str, str] = {}
        self.pod_config: Json = {}

    def problem(self, key: str, text: str) -> None:
        """Note a problem with the value at `key`."""
        self.problems.append(f"{self.label}: {clean(key)}: {text}")

    def section(self, key: str) -> Json:
        """The object at `key` without what is for people; empty when there is none."""
        value = self.raw.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"must be an object, but is {shown(value)}")
            return {}
        return {name: item for name, item in value.items() if not for_people(name)}

    def text(self, key: str) -> str:
        """The required text at `key`, "" when there is none."""
        value = self.raw.get(key)
        if key not in self.raw:
            self.problems.append(f'{self.label}: the required key "{key}" is missing')
        elif not isinstance(value, str) or not value or CONTROL.search(value):
            self.problem(key, f"must be a non-empty text in one line, but is {shown(value)}")
        else:
            return value
        return ""

    def check_keys(self) -> None:
        """Unknown keys are told with the nearest known one."""
        for key in self.raw:
            if key not in JOB_KEYS:
                hint = "it belongs in pod_config" if key in POD_KEYS else nearest(key, JOB_KEYS)
                self.problem(key, f"unknown key; {hint}")

    def check_job_id(self) -> str:
        """The job's id, which becomes a file name."""
        job_id = self.text("job_id")
        if job_id and not JOB_ID.fullmatch(job_id):
            self.problem(
                "job_id",
                f"{shown(job_id)} is no valid id: letters, digits, single dots, _ and -, "
                "starting with a letter or digit, at most 128 characters",
            )
        return job_id

    def check_inputs(self) -> None:
        """Describe every input; one with a problem still counts as given."""
        for name, value in self.section("inputs").items():
            self.inputs[name] = {"type": "text", "value": ""}
            if not INPUT_NAME.fullmatch(name):
                self.problem(f"inputs.{name}", "a name is made of letters, digits, _ . and -")
                continue
            try:
                self.inputs[name] = describe_input(value)
                self.share_upload(self.inputs[name])
            except Problem as problem:
                self.problem(f"inputs.{name}", str(problem))

    def share_upload(self, described: Json) -> None:
        """Files with the same content and extension are one upload, whatever their names."""
        if described["type"] == "file":
            extension = os.path.splitext(described["upload_name"])[1]
            first = self.files.setdefault((described["sha256"], extension), described)
            described["upload_name"] = first["upload_name"]

    def check_outputs(self, filler: Filler) -> None:
        """Resolve every output path; two of the same path would overwrite each other."""
        seen: dict[str, str] = {}
        for name, value in self.section("outputs").items():
            key = f"outputs.{name}"
            if not name or CONTROL.search(name):
                self.problem(key, "the name must be in one line, without control characters")
                continue
            if not isinstance(value, str):
                self.problem(key, f"must be a path, but is {shown(value)}")
                continue
            filler.where = clean(key)
            try:
                path = output_path(filler.fill_path(value))
            except Problem as problem:
                self.problem(key, str(problem))
                continue
            if path in seen and not path.endswith("/"):
                self.problem(key, f"has the same path as outputs.{clean(seen[path])}")
            seen[path] = name
            self.outputs[name] = path

    def check_pod_config(self) -> None:
        """Names, kinds and limits of pod_config."""
        for key, value in self.section("pod_config").items():
            kind, label = POD_KEYS.get(key), f"pod_config.{key}"
            if kind is None:
                self.problem(label, f"unknown key; {nearest(key, list(POD_KEYS))}")
            elif kind != "text":
                self.check_number(label, value, whole=kind == "count")
            elif not isinstance(value, str) or not value.strip() or CONTROL.search(value):
                self.problem(label, f"must be a text in one line, but is {shown(value)}")
            elif key == "volume_mount" and not value.startswith("/"):
                self.problem(label, f"must start with /, but is {shown(value)}")
            elif key == "cloud" and value not in CLOUDS:
                self.problem(label, f"must be secure or community, but is {shown(value)}")
            if kind == "count" and isinstance(value, float) and value.is_integer():
                value = int(value)
            self.pod_config[key] = value

    def check_number(self, key: str, value: Any, whole: bool) -> None:
        """A limit or a count: a number above 0 (a boolean is none)."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problem(key, f"must be a number, but is {shown(value)}")
        elif value <= 0:
            self.problem(key, f"must be above 0, but is {shown(value)}")
        elif value > LARGEST_NUMBER:
            self.problem(key, f"must be at most {LARGEST_NUMBER}, but is {shown(value)}")
        elif whole and value != int(value):
            self.problem(key, f"must be a whole number, but is {shown(value)}")

    def use_server_names(self, uploads_file: str) -> None:
        """Take over the names that the server gave to files which were uploaded."""
        uploads = read_json(uploads_file)
        if not isinstance(uploads, dict) or not isinstance(uploads.get("uploads"), list):
            raise Problem('an object with a list "uploads" is wanted')
        names = {
            item.get("upload_name"): item.get("server_name")
            for item in uploads["uploads"]
            if isinstance(item, dict)
        }
        for name, described in self.inputs.items():
            if described["type"] == "file":
                server_name = names.get(described["upload_name"])
                if not isinstance(server_name, str) or not server_name:
                    self.problem(f"inputs.{name}", "has changed since it was uploaded")
                else:
                    described["server_name"] = server_name

    def values(self, job_id: str) -> dict[str, Scalar]:
        """What placeholders stand for."""
        values: dict[str, Scalar] = {"job_id": job_id}
        for name, described in self.inputs.items():
            if described["type"] == "file":
                value = described.get("server_name", described["upload_name"])
            else:
                value = described["value"]
            values["input." + name] = value
        values.update({"$" + name: value for name, value in self.sets.items()})
        return values


def render(job: Job, wanted: str, directories: list[str], filler: Filler) -> tuple[Json, str]:
    """The workflow and the path of its template; problems are noted in `job`."""
    path = find_template(wanted, directories)
    try:
        nodes = unwrap(read_json(path), lambda text: job.warnings.append(f"{path}: {text}"))
    except Problem as problem:
        raise Problem(f"{clean(path)}: {problem}") from None
    workflow = {}
    for node_id, node in nodes.items():
        filler.where = node_label(node_id, node)
        workflow[node_id] = filler.fill(node)
    job.problems += [f"{clean(path)}: {t}" for t in filler.problems + node_problems(workflow)]
    filler.problems.clear()
    return workflow, path


def tell_placeholders(job: Job, filler: Filler) -> None:
    """Placeholders without a value are one problem; values without a placeholder warn."""
    job.problems += [f"{job.label}: {text}" for text in filler.problems]
    unused = [name for name in job.inputs if "input." + name not in filler.used]
    if filler.missing:
        lacking = ", ".join(f"{name} ({where})" for name, where in filler.missing.items())
        hint = f"; no placeholder uses {clean(', '.join(unused))}" if unused else ""
        job.problems.append(f"{job.label}: no value for {lacking}{hint}")
    for name in unused:
        job.warnings.append(f"{job.label}: inputs.{clean(name)}: no placeholder uses it")
    for name in job.sets:
        if "$" + name not in filler.used:
            job.warnings.append(f"--set {name}: no placeholder uses it")


# --- the command line ---------------------------------------------------------------------


def one_line_json(value: Json) -> bytes:
    """Compact UTF-8 JSON; lone surrogates and DEL (special to bash 3.2) stay escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("utf-8", "backslashreplace")


def decimal(value: int | float | None) -> str:
    """A number without exponent, as shells and awk read it; nothing for None."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def print_lines(job: Job, resolved: Json, workflow: Json) -> None:
    """Write the result to stdout."""
    lines: list[list[str]] = [
        ["job_id", resolved["job_id"]],
        ["template", resolved["template"]["name"]],
        ["timeout_minutes", decimal(resolved["pod_config"]["timeout_minutes"])],
        ["max_cost_usd", decimal(resolved["pod_config"].get("max_cost_usd"))],
    ]
    for item in job.files.values():
        fields = (str(item["bytes"]), item["sha256"], item["upload_name"], item["path"])
        lines.append(["upload", *fields])
    lines += [["output", name, path] for name, path in job.outputs.items()]
    lines += [["warning", text] for text in job.warnings]
    out = sys.stdout.buffer
    for line in lines:
        out.write("\t".join(line).encode("utf-8", "surrogateescape") + b"\n")
    out.write(b"job\t" + one_line_json(resolved) + b"\n")
    out.write(b"workflow\t" + one_line_json(workflow) + b"\n")
    out.flush()


def parse_sets(items: list[str]) -> dict[str, str]:
    """--set NAME=VALUE, of which the last with a name counts."""
    sets = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not SET_NAME.fullmatch(name):
            raise Problem(f"--set {shown(item)}: NAME=VALUE is wanted")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Problem(f"--set {name}: the value is not UTF-8 text") from None
        sets[name] = value
    return sets


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="render_template.py",
        description=__doc__,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--job", default="-", metavar="FILE", help="the job (-, the default: standard input)")
    add("--template-dir", nargs="+", action="extend", default=[], metavar="DIR",
        help="where templates are looked for after ./templates")  # fmt: skip
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="the value of ${NAME}")
    add("--output-dir", default="outputs", metavar="DIR", help="for files no output names")
    add("--uploads", metavar="FILE", help="uploads.json: use the names the server gave")
    add("--timeout", metavar="MINUTES", help="instead of the job's timeout_minutes")
    return parser.parse_args(argv)


def load_job(args: argparse.Namespace) -> Job:
    """The job of the command line, not yet checked."""
    label = "standard input" if args.job == "-" else clean(args.job)
    sets = parse_sets(args.set)
    try:
        raw = read_json(args.job)
        if not isinstance(raw, dict):
            raise Problem("is not a job: a JSON object is wanted")
    except Problem as problem:
        raise Problem(f"{label}: {problem}") from None
    return Job(label, raw, sets)


def take_options(job: Job, args: argparse.Namespace) -> str:
    """What the command line says about a job's limits and places; the output directory."""
    if args.timeout is not None:
        number = NUMBER.fullmatch(args.timeout)
        minutes = json.loads(args.timeout) if number else args.timeout
        job.check_number("--timeout", minutes, whole=False)
        job.pod_config["timeout_minutes"] = minutes
    output_dir = absolute(args.output_dir)
    try:
        writable_place(output_dir + "/")
    except Problem as problem:
        job.problem("--output-dir", str(problem))
    try:
        if args.uploads:
            job.use_server_names(args.uploads)
    except Problem as problem:
        job.problem("--uploads", f"{clean(args.uploads)}: {problem}")
    return output_dir


def resolve(args: argparse.Namespace) -> tuple[Job, Json, Json]:
    """The checked job, the content of job.json, and the workflow."""
    job = load_job(args)
    job.check_keys()
    job_id = job.check_job_id()
    wanted = job.text("workflow_template")
    job.check_inputs()
    job.check_pod_config()
    output_dir = take_options(job, args)
    filler = Filler(job.values(job_id))
    workflow: Json = {}
    path = ""
    try:
        if wanted:
            workflow, path = render(job, wanted, ["templates", *args.template_dir], filler)
    except Problem as problem:
        job.problem("workflow_template", str(problem))
    job.check_outputs(filler)
    if workflow:
        tell_placeholders(job, filler)
    return job, {
        "job_id": job_id,
        "template": {"name": template_name(path), "path": absolute(path)},
        "inputs": job.inputs,
        "outputs": job.outputs,
        "output_dir": output_dir,
        "pod_config": {**POD_DEFAULTS, **job.pod_config},
        "set": job.sets,
    }, workflow  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 when the job, its template or an option is wrong."""
    try:
        job, resolved, workflow = resolve(parse_arguments(argv))
        problems = job.problems
    except Problem as problem:
        problems = [str(problem)]
    except RecursionError:
        problems = ["the template is nested too deeply"]
    if problems:
        for text in problems:
            sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        return 2
    print_lines(job, resolved, workflow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
