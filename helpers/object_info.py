#!/usr/bin/env python3
"""What a ComfyUI server says of its nodes: read lazily, and told in one way for all their forms.

The source is the answer of GET /object_info, in a file. As a program it turns one into the
line shape, of which a reader needs to parse no more than the nodes it asks for:

    object_info.py --lines <RAW >OUT        {            the classes, one a line, sorted
                                            "A":{...},   by name, compact JSON in ASCII
                                            "B":{...}
                                            }
    object_info.py --save OUT <RAW          the same, written beside OUT and renamed

stdin that is no such answer: one line on stderr, exit code 2, nothing written.

The forms of an input are those of ComfyUI 0.3.64 and 0.33.0 (comfy_api/latest/_io.py and
comfy_execution/validation.py): V1 combos [["a", "b"], {..}], V3 combos ["COMBO", {"options":
[..]}], remote ones without a list, and COMFY_DYNAMICCOMBO_V3, _AUTOGROW_V3, _DYNAMICSLOT_V3
and _DYNAMICGROUP_V3, whose own inputs are named NAME.SUB.
"""

from __future__ import annotations

import json
import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from job_file import Problem, Unreadable
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from typing import Any

    Json = dict[str, Any]

MAX_BYTES = 256 * 1024 * 1024  # the answer of a server with hundreds of packs is some 10 MB
MAX_DEPTH = 16  # of dynamic inputs in one another
MAX_INPUTS = 20_000  # of one node
MAX_MEMBERS = 100  # of an autogrow input: ComfyUI's own limit (Autogrow._MaxNames)

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
SLOT = "COMFY_DYNAMICSLOT_V3"
GROUP = "COMFY_DYNAMICGROUP_V3"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"

# Types for which ComfyUI's own frontend (1.27.10, 1.58.1) has a widget; packs may bring others.
WIDGETS = (
    "INT FLOAT STRING BOOLEAN COMBO MARKDOWN TEXTAREA COLOR COLORS CURVE RANGE PAINTER CHART "
    "GALLERIA IMAGECOMPARE BOUNDING_BOX BOUNDING_BOXES COMPOSITOR VIDEO_EDIT TREESELECT "
    "MULTISELECT SELECTBUTTON RESOLUTION_PREVIEW LIGHT_INFO_PREVIEW CAMERA_INFO_STATE "
    "CAMERA_ANGLE_VIEW IMAGEUPLOAD FILEUPLOAD AUDIOUPLOAD AUDIO_UI AUDIO_RECORD WEBCAM LOAD_3D "
    "LOAD_3D_ADVANCED LOAD_3D_ANIMATION PREVIEW_3D PREVIEW_3D_ANIMATION COMFY_BRANCH_SELECTOR "
    f"COMFY_BRANCH_INPUT_NAMES {DYNAMIC_COMBO}"
).split()


class Input:
    """One input of a node.

    kind: "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO" (V1 and V3 alike), a dynamic kind such as
    DYNAMIC_COMBO, or the type of a link, which may be several between commas; "*" when the
    definition is broken. choices: the values of a combo or the keys of a dynamic one, as the
    server has them; None when it has no list (remote combos, all else).
    """

    __slots__ = ("choices", "hidden", "kind", "name", "options", "required")

    def __init__(self, name: str, definition: Any, section: str = "required") -> None:
        parts = definition if isinstance(definition, list) else [definition]
        kind = parts[0] if parts else "*"
        options = parts[1] if len(parts) > 1 else None
        self.name = name
        self.options: Json = options if isinstance(options, dict) else {}
        self.required = section == "required"
        self.hidden = section == "hidden"
        self.choices: list[Any] | None = None
        if isinstance(kind, list):
            self.kind, self.choices = "COMBO", kind
        else:
            self.kind = kind if isinstance(kind, str) and kind else "*"
        listed = self.options.get("options")
        if self.kind == "COMBO" and self.choices is None and isinstance(listed, list):
            self.choices = listed
        elif self.kind == DYNAMIC_COMBO:
            self.choices = [option["key"] for option in self._variants()]
        if not self.choices and ("remote" in self.options or "remote_combo" in self.options):
            self.choices = None

    def __repr__(self) -> str:
        return f"Input({self.name!r}, {self.kind!r}, {'required' if self.required else 'optional'})"

    @property
    def widget(self) -> str:
        """The type that decides on the widget: of "INT,FLOAT" inputs an option names it."""
        kind = self.options.get("widgetType")
        return kind if isinstance(kind, str) and kind else self.kind

    @property
    def is_widget(self) -> bool:
        """Whether the frontend shows a field for it, so that a value for it may be given."""
        linked = self.options.get("forceInput") or self.options.get("rawLink")
        return not self.hidden and not linked and self.widget in WIDGETS

    @property
    def is_upload(self) -> bool:
        """Whether its value is a file that people upload: image_upload, video_upload and so on."""
        return any(key.endswith("_upload") and bool(self.options[key]) for key in self.options)

    def _variants(self) -> list[Json]:
        """The well-formed options of a dynamic combo: each has a key."""
        listed = self.options.get("options")
        items = listed if isinstance(listed, list) else []
        return [item for item in items if isinstance(item, dict) and "key" in item]

    def parts(self, values: Json) -> list[Input]:
        """The inputs that it brings, one level of them, when the node's inputs are `values`.

        Names are NAME.SUB; those of an autogrow input come first and are required as far as its
        "min" says. [] for an input that is not dynamic.
        """
        template = self.options.get("template")
        if self.kind == DYNAMIC_COMBO:
            chosen = values.get(self.name)
            for option in self._variants():
                if type(option["key"]) is type(chosen) and option["key"] == chosen:
                    return read_inputs(option.get("inputs"), None, self.name + ".")
        elif self.kind == AUTOGROW and isinstance(template, dict):
            return self._members(template)
        elif self.kind == SLOT and self.name in values:
            return read_inputs(self.options.get("inputs"), None, self.name + ".")
        elif self.kind == GROUP:
            rows = {key.split(".")[1] for key in values if key.startswith(self.name + ".")}
            numbers = sorted(int(row) for row in rows if row.isascii() and row.isdecimal()
                             and len(row) < 4)  # fmt: skip
            return [
                field
                for number in numbers[:MAX_MEMBERS]
                for field in read_inputs(template, None, f"{self.name}.{number}.")
            ]
        return []

    def _members(self, template: Json) -> list[Input]:
        """All members of an autogrow input, of which some will have no value."""
        models = read_inputs(template.get("input"), None)
        least, most = template.get("min"), template.get("max")
        names = template.get("names")
        if not isinstance(names, list):
            count = most if isinstance(most, int) else 10
            names = [f"{template.get('prefix') or ''}{n}" for n in range(min(count, MAX_MEMBERS))]
        if not models:
            return []
        definition = [models[0].kind, models[0].options]
        least = least if isinstance(least, int) and models[0].required else 0
        result = []
        for number, name in enumerate(names[:MAX_MEMBERS]):
            section = "required" if number < least and self.required else "optional"
            member = Input(f"{self.name}.{name}", definition, section)
            member.choices = models[0].choices
            result.append(member)
        return result


def read_inputs(sections: Any, order: Any, prefix: str = "") -> list[Input]:
    """The inputs of a definition's "input": required, then optional; `order`: its input_order."""
    result: list[Input] = []
    for section in ("required", "optional"):
        definitions = sections.get(section) if isinstance(sections, dict) else None
        if not isinstance(definitions, dict):
            continue
        names = order.get(section) if isinstance(order, dict) else None
        names = names if isinstance(names, list) else []
        first = [name for name in names if isinstance(name, str) and name in definitions]
        for name in dict.fromkeys([*first, *definitions]):
            result.append(Input(prefix + name, definitions[name], section))
    return result


def expand(inputs: list[Input], values: Json) -> list[Input]:
    """`inputs` with those that dynamic ones bring for `values` behind each, at all levels.

    An autogrow input itself takes no value, so that it isn't in the result.
    """
    result: list[Input] = []
    waiting = [(item, MAX_DEPTH) for item in reversed(inputs)]
    while waiting and len(result) < MAX_INPUTS:
        item, depth = waiting.pop()
        if item.kind not in (AUTOGROW, GROUP):
            result.append(item)
        if item.kind.startswith("COMFY_") and depth and len(waiting) < MAX_INPUTS:
            waiting += [(part, depth - 1) for part in reversed(item.parts(values))]
    return result


class NodeDefs:
    """The definitions in a file; without one (None) nothing is `known`.

    Unreadable, on being made or asked, when the file can't be read or holds something else.
    """

    def __init__(self, path: str | None) -> None:
        self.known = path is not None
        self.may_differ = False  # set when they may be out of date, or another server's
        self._label = clean(path or "")
        self._data = b""  # the line shape: parsed node by node
        self._all: Json | None = {} if path is None else None
        self._found: dict[str, Json | None] = {}
        self._inputs: dict[str, list[Input]] = {}
        if path is None:
            return
        try:
            with open(path, "rb") as file:
                # Not read(MAX_BYTES): that makes room for so many bytes first.
                data = file.read() if os.fstat(file.fileno()).st_size <= MAX_BYTES else b""
        except OSError as error:
            raise Unreadable(f"{self._label}: cannot be read: {error.strerror}") from None
        self._data = data
        if not (data.startswith((b'{\n"', b"{\n}")) and data.endswith((b"}\n}\n", b"{\n}\n"))):
            self._parse_all()

    def get(self, class_type: str) -> Json | None:
        """The server's definition of a node; None when it has none of that name."""
        if self._all is None and class_type not in self._found:
            try:
                self._found[class_type] = self._scan(class_type)
            except ValueError:  # it was a line shape by its looks alone
                self._parse_all()
        node = self._found.get(class_type) if self._all is None else self._all.get(class_type)
        return node if isinstance(node, dict) else None

    def inputs(self, class_type: str) -> list[Input]:
        """Its required, then its optional inputs, in the server's order; [] when not known."""
        if class_type not in self._inputs:
            node = self.get(class_type) or {}
            self._inputs[class_type] = read_inputs(node.get("input"), node.get("input_order"))
        return self._inputs[class_type]

    def expanded(self, class_type: str, values: Json) -> list[Input]:
        """The same, with what dynamic inputs bring when the node's inputs are `values`."""
        return expand(self.inputs(class_type), values)

    def outputs(self, class_type: str) -> list[str]:
        """The types of its outputs; a list of values counts as "COMBO"."""
        node = self.get(class_type) or {}
        types = node.get("output")
        if not isinstance(types, list):
            return []
        return [kind if isinstance(kind, str) else "COMBO" for kind in types]

    def classes(self) -> list[str]:
        """The names of all nodes."""
        if self._all is None:
            self._parse_all()
        return list(self._all or {})

    def _scan(self, class_type: str) -> Json | None:
        """The definition in the line shape, by halving: the lines are sorted by their names."""
        key = json.dumps(class_type).encode()
        data, low, high = self._data, 1, len(self._data) - 3  # up to its last line, "}"
        while low < high:
            start = data.rfind(b"\n", 0, (low + high) // 2 + 1) + 1
            middle = data.find(b"\n", start)
            name = data[start : data.find(b'":{', start, middle) + 1]
            if name == key:
                return self._line(start + len(key), middle)
            if name < key:
                low = middle + 1
            else:
                high = start - 1
        start = data.find(b"\n" + key + b":{")  # of one that somebody else made
        return None if start < 0 else self._line(start + len(key) + 1, data.find(b"\n", start + 1))

    def _line(self, start: int, end: int) -> Json:
        return dict(json.loads(self._data[start + 1 : end].rstrip(b",")))

    def _parse_all(self) -> None:
        try:
            self._all = parse(self._data, self._label)
        except Problem as problem:
            raise Unreadable(str(problem)) from None
        self._data = b""


def parse(data: bytes, label: str) -> Json:
    """The nodes of an answer of /object_info; Problem, beginning with `label`, for all else."""
    if len(data) > MAX_BYTES:
        raise Problem(f"{label}: is larger than {MAX_BYTES >> 20} MiB: not node definitions")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Problem(f"{label}: is not JSON, so not an answer of /object_info") from None
    nodes = value if isinstance(value, dict) else {}
    if not any(isinstance(node, dict) and "input" in node for node in nodes.values()):
        hint = f", but {shown(value)}" if not nodes else ""
        raise Problem(f"{label}: no node in it: the answer of GET /object_info is wanted{hint}")
    return {name: node for name, node in nodes.items() if isinstance(node, dict)}


def line_shape(nodes: Json) -> bytes:
    """The nodes in the shape that is read without parsing all of it."""
    named = sorted(
        ((json.dumps(name), node) for name, node in nodes.items()), key=lambda pair: pair[0]
    )
    lines = [f"{name}:{json.dumps(node, separators=(',', ':'))}" for name, node in named]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 2 when stdin is no answer of /object_info, 1 when OUT can't be written."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="object_info.py",
        description=__doc__,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--lines", action="store_true", help="write the line shape to stdout")
    way.add_argument("--save", metavar="OUT", help="write the line shape to the file OUT")
    args = parser.parse_args(argv)
    try:
        data = line_shape(parse(sys.stdin.buffer.read(MAX_BYTES + 1), "/object_info"))
    except (Problem, RecursionError) as error:
        text = str(error) if isinstance(error, Problem) else "/object_info: nested too deeply"
        sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        return 2
    if args.lines:
        sys.stdout.buffer.write(data)
        return 0
    part = f"{args.save}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, args.save)
    except OSError as error:
        if os.path.exists(part):
            os.remove(part)
        print(f"{clean(args.save)}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
