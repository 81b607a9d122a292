#!/usr/bin/env python3
"""Read ComfyUI's history entry of one prompt: how it ended, and which files it made.

stdin is the body of GET /history/ID. The answer is tagged lines, fields separated by TAB:

    state success|error|interrupted|missing      missing: the server knows no such prompt
    seconds 12.345                               from start to end, when known
    times START END                              of that, by the server's clock: ms since 1970
    error TEXT | hint TEXT                       what failed, and what to do about it
    file KIND NODE cached|fresh VIEW_QUERY SERVER_NAME TARGET
    text NODE TARGET CONTENT                     CONTENT is escaped for printf %b
    warning TEXT
    missing_output NAME                          a declared output that nothing matched

Exit code 2 and one line on stderr when stdin is no history answer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]

# The kind of a file is in its extension: ComfyUI lists videos under "images".
EXTENSIONS = {
    "image": "png jpg jpeg webp gif bmp tif tiff avif heic exr hdr svg",
    "video": "mp4 webm mov mkv avi m4v mpg mpeg ogv",
    "audio": "wav mp3 flac ogg opus m4a aac aiff",
    "text": "txt md csv srt vtt log",
    "json": "json",
    "latent": "latent",
    "model": "safetensors ckpt pt pth bin gguf glb gltf obj ply stl fbx",
}
KINDS = {word: kind for kind, words in EXTENSIONS.items() for word in words.split()}
SAME_EXTENSION = {"jpeg": "jpg", "tiff": "tif"}

MAX_NAME_BYTES = 200
MAX_ERROR = 500  # characters
MAX_TIME = 10**14  # milliseconds: the year 5138
ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])")

# What people can do about an error: a pattern for "message [exception type]", and the advice.
HINTS = (
    (
        r"OutOfMemoryError|out of memory|Allocation on device",
        "the GPU ran out of memory: make the picture, batch or model smaller, "
        "or take a GPU with more memory (pod_config.gpu_type)",
    ),
    (
        r"UnidentifiedImageError|InvalidDataError|cannot identify image",
        "an input file is not a picture, video or sound that ComfyUI can read: check the file",
    ),
    (
        r"IsADirectoryError|FileNotFoundError|No such file",
        "a file is missing on the pod: check the inputs and the names of models in the template",
    ),
    (
        r"outside the output folder",
        "filename_prefix must not lead out of the output folder: remove .. and a leading /",
    ),
    (
        r"no kernel image is available|CUDA error: invalid device function",
        "the pod's image does not suit its GPU: choose another image or GPU type",
    ),
    (r"No space left on device", "the pod's disk is full: raise pod_config.disk_gb"),
    (
        r"ModuleNotFoundError|ImportError|No module named",
        "a custom node lacks a Python package on the pod: install its requirements there",
    ),
)


class NotHistory(Exception):
    """stdin or a file of the run is not what it should be."""


# --- words --------------------------------------------------------------------------------


def one_line(text: object, limit: int = MAX_ERROR) -> str:
    """`text` of a server as one harmless line: no colours, no control characters."""
    plain = ANSI.sub("", str(text))
    plain = "".join(c if c.isprintable() else " " for c in plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def as_object(value: object) -> Json:
    """`value` when it is an object, else an empty one: a server can send anything."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """`value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def node_label(node_id: str, class_type: str, workflow: Json) -> str:
    """KSampler "Sampler" (node 3); nodes of a subgraph are named after their parent."""
    node = as_object(workflow.get(node_id) or workflow.get(node_id.split(".")[0]))
    title = one_line(as_object(node.get("_meta")).get("title") or "", 80)
    name = one_line(class_type or node.get("class_type") or "a node", 80)
    quoted = f' "{title}"' if title and title != name else ""
    return f"{name}{quoted} (node {one_line(node_id, 40)})"


def for_printf(text: str) -> str:
    r"""`text` such that bash's printf %b gives it back: \\, \n, \t and \0ooo."""
    escapes = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return "".join(
        escapes.get(c) or (f"\\0{ord(c):03o}" if c < " " or c == "\x7f" else c) for c in text
    )


def query_value(text: str) -> str:
    """`text` percent-encoded (urllib.parse would cost every start some 2 ms)."""
    unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    data = text.encode("utf-8", "replace")
    return "".join(chr(byte) if byte in unreserved else f"%{byte:02X}" for byte in data)


# --- how it ended -------------------------------------------------------------------------


def messages_of(entry: Json) -> list[tuple[str, Json]]:
    """The status messages as (name, data), without anything that has another form."""
    return [
        (str(item[0]), item[1])
        for item in as_list(as_object(entry.get("status")).get("messages"))
        if isinstance(item, list) and len(item) == 2 and isinstance(item[1], dict)
    ]


def state_of(entry: Json, messages: list[tuple[str, Json]]) -> str:
    """success, error or interrupted.

    status_str decides: an execution_error can stand before a success (a blocked node),
    and an interrupted prompt has status_str "error" (both measured on 0.3.64 and 0.33.0).
    """
    if as_object(entry.get("status")).get("status_str") == "success":
        return "success"
    if any(name == "execution_interrupted" for name, _ in messages):
        return "interrupted"
    return "error"


def times_of(messages: list[tuple[str, Json]]) -> tuple[int, int] | None:
    """When it began and ended, by the times of the messages (milliseconds since 1970)."""
    start = end = None
    for name, data in messages:
        time = data.get("timestamp")
        if isinstance(time, (int, float)):
            if name == "execution_start":
                start = time
            elif name in ("execution_success", "execution_error", "execution_interrupted"):
                end = time
    if start is None or end is None or not 0 < start <= end < MAX_TIME:
        return None
    return int(start), int(end)


def error_text(data: Json, workflow: Json) -> str:
    """An execution_error in one line: where, what and which kind of exception."""
    label = node_label(str(data.get("node_id")), str(data.get("node_type") or ""), workflow)
    kind = one_line(data.get("exception_type") or "unknown error", 80)
    room = MAX_ERROR - len(label) - len(kind) - len(":  []")
    message = one_line(data.get("exception_message") or "", room) or "no reason given"
    return f"{label}: {message} [{kind}]"


def ending_lines(state: str, messages: list[tuple[str, Json]], workflow: Json) -> list[list[str]]:
    """error, hint and warning lines about how the prompt ended."""
    if state == "interrupted":
        data = next(data for name, data in messages if name == "execution_interrupted")
        label = node_label(str(data.get("node_id")), str(data.get("node_type") or ""), workflow)
        hint = "if you did not stop it, somebody else who uses this server did: run the job again"
        return [["error", f"interrupted on the server at {label}"], ["hint", hint]]
    errors = [error_text(data, workflow) for name, data in messages if name == "execution_error"]
    if state == "success":
        return [["warning", text] for text in errors]
    if not errors:
        return [["error", "the server says that the workflow failed, but not why"]]
    hints = [hint for pattern, hint in HINTS if re.search(pattern, errors[-1])]
    return [["error", errors[-1]], *(["hint", hint] for hint in hints[:1])]


# --- what was made ------------------------------------------------------------------------


def files_in(value: Any) -> Iterator[Json]:
    """Every object with a string "filename", whatever keys lead to it."""
    if isinstance(value, dict):
        if isinstance(value.get("filename"), str) and value["filename"]:
            yield value
        else:
            for item in value.values():
                yield from files_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from files_in(item)


def texts_in(output: Any) -> list[str]:
    """The strings that a node shows as text."""
    found: list[str] = []
    for key in ("text", "string"):
        value = output.get(key) if isinstance(output, dict) else None
        items = value if isinstance(value, list) else [value]
        found += [item for item in items if isinstance(item, str)]
    return found


def text_or(value: object, default: str) -> str:
    """`value` when it is text, else `default`."""
    return value if isinstance(value, str) else default


def extension_of(name: str) -> str:
    """The extension in lower case without its dot, "" when there is none."""
    return os.path.splitext(name)[1][1:].lower()


def safe_name(name: str) -> str:
    """A server's file name as one that is harmless here, at most MAX_NAME_BYTES long."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if c.isprintable()).strip().lstrip(".-").strip()
    stem, extension = os.path.splitext(name or "output")
    room = MAX_NAME_BYTES - len(extension.encode()[:20])
    return stem.encode()[:room].decode("utf-8", "ignore") + extension.encode()[:20].decode(
        "utf-8", "ignore"
    )


class Targets:
    """Gives each result a local path, by the job's "outputs".

    A name matches, in this order: a node id, a node's title, a filename_prefix, a kind, `*`.
    """

    def __init__(self, job: Json, workflow: Json) -> None:
        self.outputs: dict[str, str] = job.get("outputs") or {}
        self.output_dir: str = job["output_dir"]
        self.workflow = workflow
        self.taken: set[str] = set()
        self.matched: set[str] = set()

    def choose(self, node_ids: list[str], kind: str, name: str) -> str:
        """The path for the result `name` of a node, known by `node_ids` (own id first)."""
        for candidate in self._candidates(node_ids, kind):
            if candidate in self.outputs:
                self.matched.add(candidate)
                return self._free(self._with_extension(self.outputs[candidate], name))
        return self._free(os.path.join(self.output_dir, safe_name(name)))

    def _candidates(self, node_ids: list[str], kind: str) -> Iterator[str]:
        nodes = [as_object(self.workflow.get(node_id)) for node_id in node_ids]
        titles = [as_object(node.get("_meta")).get("title") for node in nodes]
        prefixes = [as_object(node.get("inputs")).get("filename_prefix") for node in nodes]
        bases = [prefix.rsplit("/", 1)[-1] for prefix in prefixes if isinstance(prefix, str)]
        for name in [*node_ids, *titles, *prefixes, *bases, kind, "*"]:
            if isinstance(name, str):
                yield name

    def _with_extension(self, path: str, name: str) -> str:
        """`path` with the extension of the real file; in a directory, the server's name."""
        if path.endswith("/"):
            return path + safe_name(name)
        real, stem = extension_of(safe_name(name)), path
        given = extension_of(path)
        if not real or SAME_EXTENSION.get(real, real) == SAME_EXTENSION.get(given, given):
            return path
        if given in KINDS:  # "result.v2" has no extension, "result.png" has one
            stem = os.path.splitext(path)[0]
        return f"{stem}.{real}"

    def _free(self, path: str) -> str:
        """`path`, with -2, -3 ... before the extension when another result has it.

        Upper and lower case count as one: on a Mac they are one file.
        """
        stem, extension = os.path.splitext(path)
        if extension[1:].lower() not in KINDS:
            stem, extension = path, ""
        free, number = path, 1
        while free.casefold() in self.taken:
            number += 1
            free = f"{stem}-{number}{extension}"
        self.taken.add(free.casefold())
        return free


def family(node_id: str, meta: Json) -> list[str]:
    """A node's id and, for a node that another one expanded into, the other's id."""
    about = as_object(meta.get(node_id))
    ids = [node_id, about.get("display_node"), about.get("real_node_id"), node_id.split(".")[0]]
    return list(dict.fromkeys(item for item in ids if isinstance(item, str)))


def listed_files(outputs: Json, node_ids: list[str]) -> list[tuple[str, str, str, str]]:
    """(node, filename, subfolder, type) of every file, each once.

    Saved files stand before previews, so that a preview never takes the path of one.
    """
    found: dict[tuple[str, str, str], str] = {}
    for node_id in node_ids:
        for item in files_in(outputs[node_id]):
            place = (text_or(item.get("subfolder"), ""), text_or(item.get("type"), "output"))
            found.setdefault((item["filename"], *place), node_id)
    files = [(node_id, *key) for key, node_id in found.items()]
    return sorted(files, key=lambda file: file[3] != "output")


def result_lines(entry: Json, workflow: Json, job: Json) -> list[list[str]]:
    """file, text, warning and missing_output lines, in the order of the workflow's nodes."""
    outputs, meta = as_object(entry.get("outputs")), as_object(entry.get("meta"))
    places = {node_id: place for place, node_id in enumerate(workflow)}
    node_ids = sorted(outputs, key=lambda node_id: places.get(node_id.split(".")[0], len(places)))
    cached = {
        str(node)
        for name, data in messages_of(entry)
        if name == "execution_cached"
        for node in as_list(data.get("nodes"))
    }
    targets = Targets(job, workflow)
    lines: list[list[str]] = []
    for node_id, name, folder, kind_of_place in listed_files(outputs, node_ids):
        kind = KINDS.get(extension_of(name), "file")
        state = "cached" if node_id in cached else "fresh"
        query = (
            f"filename={query_value(name)}&subfolder={query_value(folder)}"
            f"&type={query_value(kind_of_place)}"
        )
        shown = one_line(f"{folder}/{name}" if folder else name, MAX_NAME_BYTES)
        target = targets.choose(family(node_id, meta), kind, name)
        lines.append(["file", kind, one_line(node_id, 80), state, query, shown, target])
        if ".." in name:
            lines.append(["warning", f"{shown}: ComfyUI does not hand out names that hold .."])
    for node_id in node_ids:
        for text in texts_in(outputs[node_id]):
            target = targets.choose(family(node_id, meta), "text", f"text-{node_id}.txt")
            lines.append(["text", one_line(node_id, 80), target, for_printf(text)])
    missing = [name for name in targets.outputs if name not in targets.matched]
    return lines + [["missing_output", name] for name in missing]


# --- the command line ---------------------------------------------------------------------


def load(path: str, what: str) -> Json:
    """The JSON object in a file of the run."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError) as error:
        raise NotHistory(f"{path}: cannot be read as {what}: {one_line(error)}") from None
    if not isinstance(value, dict):
        raise NotHistory(f"{path}: is not {what}")
    return value


def read_entry(prompt_id: str) -> Json | None:
    """The history entry on stdin, None when the server has none for this prompt."""
    data = sys.stdin.buffer.read()
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        start = one_line(data[:200].decode("utf-8", "replace"), 80)
        raise NotHistory(f"the server's history is not JSON: {start or 'empty'}") from None
    if not isinstance(body, dict):
        raise NotHistory("the server's history is not a JSON object")
    entry = body.get(prompt_id)
    if entry is None:
        return None
    if not isinstance(entry, dict) or "outputs" not in entry:
        raise NotHistory("the server's history entry has no outputs: not a history answer")
    return entry


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 when stdin is no history answer."""
    parser = argparse.ArgumentParser(
        prog="history.py",
        description=__doc__,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    parser.add_argument("--prompt-id", required=True, metavar="ID")
    parser.add_argument("--workflow", required=True, metavar="FILE", help="the run's workflow.json")
    parser.add_argument("--job", required=True, metavar="FILE", help="the run's job.json")
    args = parser.parse_args(argv)
    try:
        workflow, job = load(args.workflow, "a workflow"), load(args.job, "a job")
        entry = read_entry(args.prompt_id)
    except NotHistory as error:
        print(error, file=sys.stderr)
        return 2
    lines = [["state", "missing"]]
    if entry is not None:
        messages = messages_of(entry)
        state, times = state_of(entry, messages), times_of(messages)
        lines = [["state", state]]
        if times:
            lines.append(["seconds", f"{(times[1] - times[0]) / 1000:.3f}"])
            lines.append(["times", *map(str, times)])
        lines += ending_lines(state, messages, workflow)
        results = result_lines(entry, workflow, job)
        if state == "success" and not any(line[0] in ("file", "text") for line in results):
            lines.append(["warning", "the workflow succeeded, but made no file and no text"])
        lines += results
    for line in lines:
        sys.stdout.buffer.write("\t".join(line).encode("utf-8", "replace") + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
