"""A workflow from whatever holds one: JSON of several shapes, or a picture, sound or film.

For helpers beside it; not a program. JSON may be ComfyUI's API format or its GUI format, as it
is or inside of {"prompt": ..}, {"output": ..}, {"workflow": ..}, what a serverless worker is sent
({"input": {"workflow": ..}}) or an entry of /history. A file of another kind carries it in its
metadata: see media_metadata.py.

A text may be JSON only after its placeholders are filled, as in {"seed": ${SEED}}: a placeholder
in the place of a value is read as the string "${SEED}", which takes the type of what is put in.
Values themselves never get into the text, so that none can change what the JSON says.
"""

from __future__ import annotations

import io
import json
import re

from job_file import (
    MAX_JSON_BYTES,
    Problem,
    finite,
    no_duplicates,
    without_comments,
    without_notes,
)
from placeholders import PLACEHOLDER
from wording import brief, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from job_file import Json

NOT_NODES = "is not a workflow: a JSON object of nodes is wanted"
MAX_WRAPPERS = 6  # of a workflow in an answer in a text in metadata
STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
OF_INTEREST = r'["{}\[\]:,$]|[^\s"{}\[\]:,$]+'


# --- JSON ---------------------------------------------------------------------------------


def quoted(text: str) -> tuple[str, list[tuple[int, int]]]:
    """`text` with "" around each placeholder that stands bare in the place of a value.

    The list is for telling places: what is from an offset on in the result has moved by so many
    characters in all.
    """
    tokens, strings = re.compile(OF_INTEREST), re.compile(STRING, re.DOTALL)
    parts: list[str] = []
    moves: list[tuple[int, int]] = []
    inside: list[str] = []  # the brackets that are open
    done = position = length = 0
    wants_value = True
    while True:
        token = tokens.search(text, position)
        if not token:
            break
        start, position, mark = token.start(), token.end(), token.group()
        bare = PLACEHOLDER.match(text, start) if mark in "{$" else None
        string = strings.match(text, start) if mark == '"' else None
        if bare and bare["name"] and wants_value:
            put = json.dumps(bare.group())
            parts += [text[done:start], put]
            length += start - done + len(put)
            position = done = bare.end()
            moves.append((length, length - done))
        elif string:
            position = string.end()
        elif mark == '"':  # never closed: the reader of JSON says so
            break
        elif mark in "{[":
            inside.append(mark)
        elif mark in "}]" and inside:
            inside.pop()
        wants_value = mark in "[:" or (mark == "," and inside[-1:] == ["["])
    return "".join([*parts, text[done:]]), moves


def loads(text: str, from_media: bool = False) -> Any:
    """The JSON value that `text` is, or becomes when it is filled; Problem says what is wrong.

    Metadata may hold what Python writes and reads beyond JSON: NaN and bare control characters.
    """
    ways: Json = {"parse_float": finite, "parse_constant": float}
    if from_media:
        ways["strict"] = False
    else:
        ways["object_pairs_hook"] = no_duplicates
    moves: list[tuple[int, int]] = []
    try:
        try:
            return json.loads(text, **ways)
        except json.JSONDecodeError as error:
            # Its place is that of the first placeholder ("{" alone would be right), or all is said.
            if not any(PLACEHOLDER.match(text, max(error.pos - by, 0)) for by in (0, 1)):
                raise
            changed, moves = quoted(text)
            return json.loads(changed, **ways)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise Problem("not JSON: it is empty") from None
        place = error.pos - max([(at, by) for at, by in moves if at <= error.pos] or [(0, 0)])[1]
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        fault = f"not JSON: line {line}, column {column}: {error.msg}"
    except ValueError:  # Python refuses to read integers of thousands of digits
        fault = "a number has too many digits"
    except RecursionError:
        fault = "nested too deeply"
    raise Problem(fault)


def without_nan(value: Any, from_media: bool) -> Any:
    """`value` with null for NaN and infinities, as frontends read them; Problem in a text file."""
    if isinstance(value, dict):
        return {key: without_nan(item, from_media) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item, from_media) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        if not from_media:
            raise Problem(f"{json.dumps(value)} is not a number that JSON can hold")
        return None
    return value


# --- what is in it ------------------------------------------------------------------------


def has_nodes(value: Any) -> bool:
    """Whether `value` has nodes of the API format."""
    items = value.values() if isinstance(value, dict) else []
    return any(isinstance(item, dict) and "class_type" in item for item in items)


def of_history(value: Json) -> Any:
    """The one entry of an answer of /history, else None; Problem when there are several."""
    entries = [item for item in value.values() if isinstance(item, dict)]
    if not entries or not all(isinstance(item.get("prompt"), list) for item in entries):
        return None
    if len(entries) > 1:
        raise Problem(f"holds {len(entries)} runs: keep the one that is wanted")
    return entries[0]


def wrapped(value: Json, warnings: list[str], from_media: bool, depth: int) -> Any:
    """The workflow inside of the object `value`, as pick() gives it; None when there is none."""
    for key in ("prompt", "output", "workflow"):
        inner = value.get(key)
        if isinstance(inner, str) and inner.lstrip().startswith(("{", '"')):
            inner = loads(inner, from_media=True)
        if isinstance(inner, list) and len(inner) > 2:  # as in /history and /queue
            inner = inner[2]
        if not isinstance(inner, dict) or not inner or "class_type" in inner:
            continue
        if has_nodes(value) and not has_nodes(inner):
            continue  # it is a node, though a broken one
        beside = [name for name in value if name != key]
        if key == "prompt" and has_nodes(inner):
            known = ("client_id", "prompt_id", "extra_data", "front", "number", "workflow",
                     "outputs", "status", "meta", "partial_execution_targets")  # fmt: skip
            warnings += [
                f'{shown(name)} beside "prompt" is not sent' for name in beside if name not in known
            ]
        return pick(inner, warnings, from_media, depth + 1)
    entry = of_history(value)
    inner = value.get("input")
    if (
        isinstance(inner, dict)
        and not has_nodes(value)
        and ("workflow" in inner or "prompt" in inner)
    ):
        entry = inner
    return None if entry is None else pick(entry, warnings, from_media, depth + 1)


def pick(value: Any, warnings: list[str], from_media: bool, depth: int = 0) -> tuple[str, Json]:
    """("api" or "gui", the workflow) of a JSON value that is one or holds one; else Problem."""
    if isinstance(value, str) and from_media and depth < MAX_WRAPPERS:
        return pick(loads(value, from_media), warnings, from_media, depth + 1)
    if isinstance(value, list) and len(value) > 2 and has_nodes(value[2]):
        value = value[2]
    if not isinstance(value, dict) or depth > MAX_WRAPPERS:
        raise Problem(NOT_NODES)
    value = without_comments(value)
    if isinstance(value.get("nodes"), list):
        return "gui", value
    found: tuple[str, Json] | None = wrapped(value, warnings, from_media, depth)
    if found:
        return found
    if not value or value.get("prompt") == {}:
        raise Problem("has no nodes")
    if not any(isinstance(item, dict) and ("inputs" in item or "class_type" in item)
               for item in value.values()):  # fmt: skip
        if "workflow_template" in value or "job_id" in value:
            raise Problem("is not a workflow, but a job")
        raise Problem(f"{NOT_NODES}; no class_type is in it")
    if from_media:  # some programs put notes of their own beside the nodes
        others = [name for name, node in value.items() if not isinstance(node, dict)
                  or "class_type" not in node]  # fmt: skip
        warnings += [f"{shown(name)} is no node and is left out" for name in others]
        value = {name: node for name, node in value.items() if name not in others}
    return "api", without_notes(value)


# --- files --------------------------------------------------------------------------------


def from_text(data: bytes, warnings: list[str]) -> tuple[str, Json]:
    """The workflow in the bytes of a JSON file."""
    if len(data) > MAX_JSON_BYTES:
        raise Problem("is larger than 64 MiB: not a workflow")
    try:
        is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # as Windows' own tools write it
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(
            f"not JSON: byte {error.start + 1} is not {error.encoding.upper()} text"
        ) from None
    kind, workflow = pick(loads(text), warnings, False)
    may_have = b"NaN" in data or b"Infinity" in data or is_wide
    return kind, without_nan(workflow, False) if may_have else workflow


def from_texts(texts: dict[str, str], warnings: list[str]) -> tuple[str, Json]:
    """The workflow in the metadata of a picture, sound or film: prompt before workflow."""
    names = {name.lower(): name for name in reversed(list(texts))}
    faults = []
    for wanted in ("prompt", "workflow", "comment", "description", "usercomment"):
        text = texts.get(names.get(wanted, ""), "").strip("\0 \t\r\n")
        if not text.startswith(("{", '"', "[")):
            continue
        try:
            kind, workflow = pick(loads(text, True), warnings, True)
            return kind, without_nan(workflow, True)
        except Problem as problem:
            faults.append(f"its {wanted}: {problem}")
    if faults:
        raise Problem("; ".join(faults))
    if "parameters" in names:
        raise Problem("holds no workflow: its metadata is of another program (parameters)")
    listed = ", ".join(brief(name, 30) for name in list(texts)[:8])
    held = f" (its metadata: {listed})" if texts else ""
    raise Problem(f"holds no workflow{held}; it is lost when a picture is converted or re-saved")


def read_file(file: BinaryIO, warnings: list[str]) -> tuple[bool, tuple[str, Json]]:
    """Whether an open file is a picture or the like, and the workflow in it."""
    head = file.read(32)
    # The length that a safetensors file begins with may look like any character.
    if len(head) > 8 and (head[:1] not in b" \t\r\n{[" or head[5:8] == b"\0\0\0"):
        import media_metadata

        if media_metadata.is_media(head):
            if not file.seekable():
                file = io.BytesIO(head + file.read(MAX_JSON_BYTES))
            return True, from_texts(media_metadata.read(file), warnings)
    return False, from_text(head + file.read(MAX_JSON_BYTES + 1 - len(head)), warnings)


def read_workflow(path: str, label: str, warnings: list[str] | None = None) -> tuple[str, Json]:
    """("api" or "gui", the workflow) in the file `path` ("-": standard input).

    Problem begins with `label`, and so do the `warnings` that are put into the list. Of an API
    workflow, keys that begin with _ or $ are left out of the nodes: they are comments.
    """
    return read_source(path, label, [] if warnings is None else warnings)[1]


def read_source(path: str, label: str, warnings: list[str]) -> tuple[bool, tuple[str, Json]]:
    """The same, behind whether it is a picture or the like: then it has run as it stands there."""
    noted: list[str] = []
    try:
        with open(0 if path == "-" else path, "rb") as file:
            result = read_file(file, noted)
        warnings += [f"{label}: {text}" for text in noted]
        return result
    except Problem as problem:
        fault = str(problem)
    except (FileNotFoundError, NotADirectoryError):
        fault = "no such file"
    except IsADirectoryError:
        fault = "is a directory, not a workflow"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except RecursionError:
        fault = "nested too deeply"
    raise Problem(f"{label}: {fault}")
