"""A job file: read, checked, and resolved to what the steps after it need.

A module of render_template.py, not a program. `Job` keeps all problems of a job, so that they
are told in one run; `Problem` is for what leaves nothing to go on with. Nothing is written.
"""

from __future__ import annotations

import json
import math
import os
import re

from wording import brief, clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from typing import Any, Callable, Union

    Scalar = Union[str, int, float, bool]
    Json = dict[str, Any]

JOB_KEYS = ["job_id", "workflow_template", "workflow", "inputs", "set", "outputs", "pod_config"]
POD_TEXTS = ["gpu_type", "datacenter", "volume_id", "volume_mount", "image", "template", "cloud"]
POD_COUNTS = ["gpu_count", "disk_gb"]
POD_NUMBERS = ["max_cost_usd", "timeout_minutes", "max_price_usd_per_hour", *POD_COUNTS]
POD_KEYS = [*POD_TEXTS, *POD_NUMBERS]
POD_DEFAULTS = {"gpu_count": 1, "timeout_minutes": 60}
POD_SHAPES = {  # of the texts that can't be any line: a pattern, and what they must do or be
    "gpu_type": (r".*[^\s,].*", "name a GPU"),
    "datacenter": (
        r"\s*[A-Za-z0-9_-]{1,64}(\s*,\s*[A-Za-z0-9_-]{1,64})*\s*",
        "be data centers such as US-GA-1, separated by commas",
    ),
    "volume_id": (r"[A-Za-z0-9_-]{1,64}", "be letters, digits, _ and -, at most 64 of them"),
    "volume_mount": (r"(/+(?!\.\.?(/|$))[^/]+)+/*", "be an absolute path without .."),
    "cloud": (
        r"(?i:secure|community|secure,\s*community|community,\s*secure)",
        "be secure, community, or both between commas",
    ),
}
LARGEST_NUMBER = 1_000_000

NOT_A_JOB = "is not a job: a JSON object is wanted"
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_NAME_BYTES = 200  # leaves room for "-12", a UTC stamp and ".part" in a 255-byte file name

# ComfyUI's /view refuses every name that holds "..", so a prefix made of the id must not.
JOB_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
INPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MEDIA_EXTENSIONS = (
    ".png .jpg .jpeg .webp .gif .bmp .tif .tiff .avif .exr .mp4 .webm .mov .mkv .avi .m4v "
    ".wav .mp3 .flac .ogg .opus .m4a .aac "
    ".safetensors .ckpt .pt .pth .gguf .latent .glb .obj"
)


class Problem(Exception):
    """Something the person who wrote the job has to change; in words for that person."""


class Unreadable(Exception):
    """Node definitions that can't be used; in words for people. Where they were saved, it is
    nobody's fault: others may do."""


UNREADABLE = 65  # the exit code for it: see nodes_with in lib/nodes.sh


# --- words for people ---------------------------------------------------------------------


def nearest(word: str, known: list[str], list_all: bool = False) -> str:
    """A hint for an unknown `word`: the nearest of `known`; all, if none is near or `list_all`."""
    from difflib import get_close_matches

    hints = [f"did you mean {shown(near)}?" for near in get_close_matches(word, known, 1, 0.5)]
    if list_all or not hints:
        hints.append(f"known: {clean(', '.join(known))}" if known else "none is known")
    return "; ".join(hints)


# --- reading ------------------------------------------------------------------------------


def path_label(path: str) -> str:
    """How a file is named to people; - is standard input."""
    return "standard input" if path == "-" else clean(path) or '""'


def without_comments(value: Json) -> Json:
    """Keys that start with _ or $ are for people: comments, "$schema" and the like."""
    return {key: item for key, item in value.items() if not key.startswith(("_", "$"))}


def without_notes(nodes: Json) -> Json:
    """API nodes without "is_changed", a note of the server that saved them: one that gets it
    believes it."""
    return {
        name: {key: item for key, item in node.items() if key != "is_changed"}
        if isinstance(node, dict)
        else node
        for name, node in nodes.items()
    }


def is_link(value: Any) -> bool:
    """Whether an input's value is a link that the server follows, ["NODE", OUTPUT]; a value may be
    a list as well."""
    return isinstance(value, list) and [type(item) for item in value] == [str, int]


def no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    """JSON leaves open which of two equal keys counts, so none does."""
    result: Json = {}
    for key, value in pairs:
        if key in result:
            raise Problem(f"the key {shown(key)} stands twice in one object")
        result[key] = value
    return result


def finite(text: str) -> float:
    """A JSON number with a fraction or exponent; 1e999 is none that can be sent on."""
    value = float(text)
    if not math.isfinite(value):
        raise Problem(f"{brief(text, 40)} is not a number that JSON can hold")
    return value


def read_json(path: str) -> Any:
    """The JSON value in the file `path` ("-": standard input); Problem says what is wrong."""
    text = ""
    try:
        with open(0 if path == "-" else path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise Problem("is larger than 64 MiB: not a job or a template")
        text = data.decode("utf-8-sig")
        return json.loads(
            text, object_pairs_hook=no_duplicates, parse_float=finite, parse_constant=finite
        )
    except (FileNotFoundError, NotADirectoryError):
        fault = "no such file"
    except IsADirectoryError:
        fault = "is a directory, not a JSON file"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        fault = f"not JSON: byte {error.start + 1} is not UTF-8 text"
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        fault = f"not JSON: {where if text.strip() else 'it is empty'}"
    except ValueError:  # Python refuses to read integers of thousands of digits
        fault = "a number has too many digits"
    except RecursionError:
        fault = "nested too deeply"
    raise Problem(fault)


def read_object(path: str, label: str, otherwise: str) -> Json:
    """The JSON object in a file, without comments; Problem begins with `label`."""
    try:
        value = read_json(path)
        if not isinstance(value, dict):
            raise Problem(otherwise)
    except Problem as problem:
        raise Problem(f"{label}: {problem}") from None
    return without_comments(value)


def read_job(path: str, label: str) -> Json:
    """The object in a job file; Problem for all else, above all for a workflow."""
    hint = f"{label}: is not a job; the workflow in it is run by comfy-run --workflow {clean(path)}"
    if path.lower().endswith(tuple(MEDIA_EXTENSIONS.split())) and os.path.isfile(path):
        raise Problem(hint)
    raw = read_object(path, label, NOT_A_JOB)
    nodes = [value for value in raw.values() if isinstance(value, dict) and "class_type" in value]
    if "job_id" not in raw and (nodes or isinstance(raw.get("nodes"), list)):
        raise Problem(hint)
    return raw


# --- paths --------------------------------------------------------------------------------


def absolute(path: str) -> str:
    """`path` from the working directory on, with a leading ~/ filled in."""
    result = os.path.abspath(os.path.expanduser(path) if path.startswith("~/") else path)
    if CONTROL.search(result):
        raise Problem(f"{shown(result)}: control characters in a path")
    return result


def check_place(path: str) -> None:
    """Problem when the absolute `path` can't be made: its nearest existing directory decides."""
    place = os.path.dirname(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
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
    check_place(path)
    return path


# --- inputs -------------------------------------------------------------------------------


def is_file(value: str) -> bool:
    """Whether an input means a file: by how it begins or ends, or because one is there."""
    is_word = value.split() == [value]
    return (
        value.startswith(("./", "../", "/", "~/"))
        or (is_word and value.lower().endswith(tuple(MEDIA_EXTENSIONS.split())))
        or os.path.isfile(value)
    )


def upload_name(path: str, sha256: str) -> str:
    """A name on the server made from the content alone: equal files are uploaded once."""
    extension = re.sub(r"[^a-z0-9]", "", os.path.splitext(path)[1].lower())[:16]
    return f"autopod/{sha256[:16]}" + (f".{extension}" if extension else "")


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


def describe_input(name: str, value: Any, given: bool = False) -> Json:
    """What job.json says of one input; one that is `given` may have the name of a node's field."""
    if not given and not INPUT_NAME.fullmatch(name):
        raise Problem("a name is made of letters, digits, _ . and -")
    if isinstance(value, bool):
        return {"type": "boolean", "value": value}
    if isinstance(value, (int, float)):
        return {"type": "number", "value": value}
    if not isinstance(value, str):
        raise Problem(f"must be a string, a number or a boolean, but is {shown(value)}")
    if value.startswith(("r2://", "s3://")):
        raise Problem(
            f"{shown(value)}: files in a bucket can't be inputs; download it first, "
            'or put "text:" in front to send it as text'
        )
    scheme, colon, rest = value.partition(":")
    if colon and scheme == "text":
        return {"type": "text", "value": rest}
    if colon and scheme == "file":
        return describe_file(rest)
    return describe_file(value) if is_file(value) else {"type": "text", "value": value}


# --- the job ------------------------------------------------------------------------------


class Job:
    """One job, checked on being made; `problems` and `warnings` fill up on the way.

    inputs: NAME -> {"type", "value"} or {"type", "path", "bytes", "sha256", "upload_name"};
    uploads: the distinct files among them; outputs: NAME -> path, by check_outputs; pod_config:
    with its defaults; sets: "set" as it stands there. `raw` is a job that has no file of its own:
    `path` only names it to people. `given` are inputs of the call, which go before the job's.
    Problem when the file `path` holds no JSON object.
    """

    def __init__(self, path: str, raw: Json | None = None, given: Json | None = None) -> None:
        self.label = path_label(path)
        self.given = given or {}
        self.is_made = raw is not None
        self.raw: Json = raw or read_job(path, self.label)
        self.is_doubtful = False  # whether old node definitions may be to blame for problems
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.inputs: Json = {}
        self.sets: Json = {}
        self.uploads: dict[tuple[str, str], Json] = {}
        self.outputs: dict[str, str] = {}
        self.pod_config: Json = {**POD_DEFAULTS}
        self.own_workflow = "workflow" in self.raw  # any file; else it is a template's name
        if self.own_workflow and "workflow_template" in self.raw:
            self.problem("workflow", "goes without workflow_template: one of them is wanted")
        for key in self.raw:
            if key not in JOB_KEYS:
                hint = "it belongs in pod_config" if key in POD_KEYS else nearest(key, JOB_KEYS)
                self.problem(key, f"unknown key; {hint}")
        self.job_id = self._required("job_id")
        if self.job_id and not JOB_ID.fullmatch(self.job_id):
            self.problem(
                "job_id",
                f"{shown(self.job_id)} is no valid id: letters, digits, single dots, _ and -, "
                "starting with a letter or digit, at most 128 characters",
            )
        self.workflow = self._line("workflow", self.raw["workflow"]) if self.own_workflow else ""
        self.template = "" if self.own_workflow else self._required("workflow_template")
        self._check_inputs()
        self._check_sets()
        self._check_pod_config()

    def problem(self, key: str, text: str) -> None:
        """Note a problem with the value at `key`."""
        self.problems.append(f"{self.label}: {clean(key)}: {text}")

    def number(self, key: str, value: Any, whole: bool = False) -> Any:
        """A limit or a count: a number above 0 (a boolean is none); 2.0 becomes 2."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            fault = "a number"
        elif value <= 0:
            fault = "above 0"
        elif value > LARGEST_NUMBER:
            fault = f"at most {LARGEST_NUMBER}"
        elif value == int(value):
            return int(value)
        elif whole:
            fault = "a whole number"
        else:
            return value
        self.problem(key, f"must be {fault}, but is {shown(value)}")
        return value

    def check_outputs(self, fill: Callable[[str, str], str]) -> None:
        """Resolve every output path; `fill` gets its key and text, and fills in placeholders."""
        seen: dict[str, str] = {}
        for name, value in self._section("outputs").items():
            key = f"outputs.{name}"
            try:
                if not name or CONTROL.search(name):
                    raise Problem("the name must be in one line, without control characters")
                if not isinstance(value, str):
                    raise Problem(f"must be a path, but is {shown(value)}")
                path = output_path(fill(key, value))
                if path in seen and not path.endswith("/"):
                    raise Problem(f"has the same path as outputs.{clean(seen[path])}")
                self.outputs[name] = path
                seen[path] = name
            except Problem as problem:
                self.problem(key, str(problem))

    def _section(self, key: str) -> Json:
        value = self.raw.get(key, {})
        if isinstance(value, dict):
            return without_comments(value)
        self.problem(key, f"must be an object, but is {shown(value)}")
        return {}

    def _required(self, key: str) -> str:
        if key in self.raw:
            return self._line(key, self.raw[key])
        self.problems.append(f'{self.label}: the required key "{key}" is missing')
        return ""

    def _line(self, key: str, value: Any) -> str:
        if isinstance(value, str) and value.strip() and not CONTROL.search(value):
            return value
        self.problem(key, f"must be a text in one line, but is {shown(value)}")
        return ""

    def _check_inputs(self) -> None:
        for name, value in {**self._section("inputs"), **self.given}.items():
            self.inputs[name] = {"type": "text", "value": ""}  # a bad one still counts as given
            try:
                item = self.inputs[name] = describe_input(name, value, name in self.given)
            except Problem as problem:
                self._input_problem(name, str(problem))
                continue
            if item["type"] == "file":
                # One upload for files of one content, but the extension says what they are.
                content = item["sha256"], os.path.splitext(item["upload_name"])[1]
                item["upload_name"] = self.uploads.setdefault(content, item)["upload_name"]

    def _input_problem(self, name: str, text: str) -> None:
        if name in self.given:
            self.problems.append(f"--input {clean(name)}: {text}")
        else:
            self.problem(f"inputs.{name}", text)

    def _check_sets(self) -> None:
        for name, value in self._section("set").items():
            if not isinstance(value, (str, int, float)):  # booleans are ints
                fault = f"must be a string, a number or a boolean, but is {shown(value)}"
                self.problem(f"set.{name}", fault)
            elif "." not in name and not SET_NAME.fullmatch(name):
                wanted = "the NAME of a ${NAME}, or NODE.FIELD"
                self.problem(f"set.{name}", f"{wanted} is wanted")
            else:
                self.sets[name] = value

    def _check_pod_config(self) -> None:
        for key, value in self._section("pod_config").items():
            label = f"pod_config.{key}"
            if key in POD_NUMBERS:
                self.pod_config[key] = self.number(label, value, whole=key in POD_COUNTS)
            elif key in POD_TEXTS:
                text = self.pod_config[key] = self._line(label, value)
                if text and key in POD_SHAPES:
                    pattern, wanted = POD_SHAPES[key]
                    if not re.fullmatch(pattern, text):
                        self.problem(label, f"must {wanted}, but is {shown(text)}")
            else:
                self.problem(label, f"unknown key; {nearest(key, POD_KEYS)}")
