"""Which fields the GUI shows for a node, and which of its saved values belongs to which.

A module of convert_workflow.py, not a program. The values of a node are saved as a list without
names, in the order of its fields, among which are some that only the GUI has: what becomes of a
seed after the run, the button of an upload, and so on.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from object_info import AUTOGROW, DYNAMIC_COMBO, WIDGETS, Input, read_inputs
from text_rules import js_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from object_info import Json

FIELDS = frozenset(WIDGETS)
CONTROLS = frozenset(["fixed", "increment", "decrement", "randomize", "increment-wrap"])
UNSAVED = frozenset(["AUDIO_UI", "RESOLUTION_PREVIEW", "LIGHT_INFO_PREVIEW"])
BUTTONS = frozenset(["IMAGEUPLOAD", "AUDIOUPLOAD", "FILEUPLOAD"])
DRAWN = frozenset(["LOAD_3D", "LOAD_3D_ANIMATION", "PREVIEW_3D", "PREVIEW_3D_ANIMATION"])
NO_FIELDS = frozenset(["choose video to upload", "videopreview", "upload"])  # of lists by name
MAX_DEPTH = 16  # of dynamic combos in one another


class Widget:
    """A field of a node. value: what it holds; given: whether the file says so."""

    __slots__ = ("given", "input", "name", "value")

    def __init__(self, item: Input, value: Any, given: bool) -> None:
        self.input = item
        self.name = item.name
        self.value = value
        self.given = given


def has_field(item: Input) -> bool:
    """Whether the GUI shows a field for an input."""
    return not item.hidden and not item.options.get("forceInput") and item.widget in FIELDS


def controls(item: Input) -> int:
    """How many fields follow this one that say what becomes of its value after a run."""
    control = item.options.get("control_after_generate")
    if item.widget == "COMBO":
        if not control:
            return 0
        return 1 if item.options.get("multi_select") or item.options.get("multiselect") else 2
    if item.widget != "INT":
        return 0
    if control is None:
        control = item.name in ("seed", "noise_seed")
    return 1 if control else 0


def extras(item: Input) -> int:
    """How many other fields follow this one."""
    remote = item.options.get("remote")
    count = 2 if isinstance(remote, dict) and remote.get("refresh_button") else 0
    return count + (4 if item.options.get("component") == "ImageCrop" else 0)


def default(item: Input) -> Any:
    """The value of a field that the file has none for; None when there is none to be had."""
    value = item.options.get("default")
    if item.kind == DYNAMIC_COMBO:
        return item.choices[0] if item.choices else None
    if item.widget == "COMBO":
        if value:
            return value
        if item.options.get("multi_select") or item.options.get("multiselect"):
            return []
        return item.choices[0] if item.choices else None
    if value is not None:
        return value
    return {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": ""}.get(item.widget)


class Reader:
    """Hands out the values of a list to the fields in their order; `at` is the next one."""

    def __init__(self, values: list[Any], elastic: int, exact: bool) -> None:
        self.values = values
        self.elastic = elastic  # places that a 3D view takes, as many as are left over
        self.exact = exact  # every field has its place in the list
        self.at = 0
        self.widgets: list[Widget] = []

    def take(self, item: Input) -> Any:
        """Appends the field of an input with its value, which is returned."""
        given = self.at < len(self.values)
        widget = Widget(item, self.values[self.at] if given else default(item), given)
        self.at += 1
        self.widgets.append(widget)
        return widget.value

    def skip_controls(self, count: int) -> None:
        """Passes over what only the GUI has; it may be missing in a list that is too short."""
        for _ in range(count):
            word = self.values[self.at] if self.at < len(self.values) else None
            known = word is None or (isinstance(word, str) and (word in CONTROLS or not word))
            if self.exact or known:
                self.at += 1

    def read(self, inputs: list[Input], depth: int = 0) -> None:
        """The fields of `inputs`, with those that dynamic ones bring."""
        for item in inputs:
            if item.kind == AUTOGROW:
                self.read_members(item, depth)
                continue
            if not has_field(item):
                continue
            if item.widget in UNSAVED:
                continue
            if item.widget in BUTTONS:
                self.at += 1
                continue
            if item.widget in DRAWN:
                self.at += self.elastic
            value = self.take(item)
            if item.kind == DYNAMIC_COMBO and depth < MAX_DEPTH:
                self.read(variant(item, value), depth + 1)
            self.skip_controls(controls(item))
            self.at += extras(item)

    def read_members(self, item: Input, depth: int) -> None:
        """The fields of an autogrow input: at first there is one more than it must have."""
        template = item.options.get("template")
        least = template.get("min", 1) if isinstance(template, dict) else 1
        count = least + 1 if isinstance(least, int) else 2
        members = [part for part in item.parts({}) if has_field(part)]
        if depth < MAX_DEPTH:
            self.read(members[: max(count, 1)], depth + 1)


def variant(item: Input, value: Any) -> list[Input]:
    """The inputs that a dynamic combo brings when it has `value`."""
    listed = item.options.get("options")
    for option in listed if isinstance(listed, list) else []:
        if isinstance(option, dict) and option.get("key") == value:
            return read_inputs(option.get("inputs"), None, item.name + ".")
    return []


def read_list(inputs: list[Input], values: list[Any]) -> tuple[list[Widget], int]:
    """The fields with their values from a list; and by how many values that is too long (or, below
    0, too short)."""
    probe = Reader(values, 0, True)
    probe.read(inputs)
    wanted = probe.at
    drawn = any(has_field(item) and item.widget in DRAWN for item in inputs)
    if drawn and len(values) > wanted:
        probe = Reader(values, len(values) - wanted, True)
        probe.read(inputs)
        return probe.widgets, 0
    # Before 1.16 the GUI saved a value for inputs that have no field as well.
    forced = with_forced(inputs, values) if len(values) > wanted else None
    if forced is not None:
        values = forced
    left = len(values) - wanted
    reader = probe if left >= 0 and forced is None else Reader(values, 0, left >= 0)
    if reader is not probe:
        reader.read(inputs)
        left = len(values) - reader.at
    if left > 0:
        stray = without_stray(inputs, values, left)
        if stray is not None:
            return stray, 0
    uploads = any(has_field(item) and item.is_upload for item in inputs)
    return reader.widgets, left - 1 if uploads and left > 0 else left


def with_forced(inputs: list[Input], values: list[Any]) -> list[Any] | None:
    """`values` without those of inputs that have no field, if the file has them; else None."""
    flags: list[bool] = []
    for item in inputs:
        forced = bool(item.options.get("forceInput")) and item.widget in FIELDS
        if forced or has_field(item):
            flags.append(forced)
            flags += [False] * controls(item)
    if len(flags) != len(values) or not any(flags):
        return None
    return [value for value, forced in zip(values, flags) if not forced]


def without_stray(inputs: list[Input], values: list[Any], left: int) -> list[Widget] | None:
    """The fields when the list has `left` words for controls of which the definition knows nothing.

    None when it isn't these that make it too long.
    """
    fields = [item for item in inputs if has_field(item)]
    kept, at = [], 0
    for item in fields:
        if at >= len(values):
            return None
        kept.append(values[at])
        at += 1
        for _ in range(controls(item) + extras(item)):
            kept.append(values[at] if at < len(values) else None)
            at += 1
        word = values[at] if at < len(values) else None
        stray = isinstance(word, str) and word in CONTROLS
        if left and stray and item.widget == "INT" and not controls(item):
            at += 1
            left -= 1
    if left or at != len(values):
        return None
    reader = Reader(kept, 0, True)
    reader.read(inputs)
    return reader.widgets


def read_named(inputs: list[Input], values: Json) -> tuple[list[Widget], Json]:
    """The fields with their values from an object; and what else is in it that nodes may read."""
    widgets: list[Widget] = []

    def read(items: list[Input], depth: int) -> None:
        for item in items:
            if not has_field(item) or item.widget in UNSAVED or item.widget in BUTTONS:
                continue
            given = item.name in values
            widget = Widget(item, values[item.name] if given else default(item), given)
            widgets.append(widget)
            if item.kind == DYNAMIC_COMBO and depth < MAX_DEPTH:
                read(variant(item, widget.value), depth + 1)

    read(inputs, 0)
    known = {widget.name for widget in widgets}
    more = {
        name: value
        for name, value in values.items()
        if name not in known and name not in NO_FIELDS and isinstance(value, (str, int, float))
    }
    return widgets, more


def listed(value: Any, choices: list[Any]) -> Any:
    """The one of `choices` that `value` is but for case and kind of slash; None: no or several."""
    if not isinstance(value, str):
        return None
    plain = value.replace("\\", "/").casefold()
    found = [
        choice
        for choice in choices
        if isinstance(choice, str) and choice.replace("\\", "/").casefold() == plain
    ]
    return found[0] if len(found) == 1 else None


def as_sent(widget: Widget, value: Any) -> Any:
    """A value as it stands in the API format, where a bare list would be a link."""
    kind = widget.input.widget
    if kind == "IMAGECOMPARE":
        return {"__value__": ["", ""]}
    if kind == "CURVE" and value is not None:
        return {"__type__": "CURVE", "__value__": value}
    multiline = kind == "TEXTAREA" or (
        kind == "STRING" and bool(widget.input.options.get("multiline"))
    )
    if multiline and value is not None and not isinstance(value, str):
        return js_text(value)
    if isinstance(value, list):
        return {"__value__": value}
    if kind == "INT" and isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value
