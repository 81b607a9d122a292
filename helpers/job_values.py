"""What a call or a job wants to have in a workflow's nodes, put there.

A module of render_template.py, not a program. Wishes are the "values" of a resolved job:

    options     NAME -> value    of the call that no placeholder took (prompt, seed, width, ...)
    fields      [SPEC=VALUE]     --set of the call
    loose       [NAME=VALUE]     the same, of which NAME is no placeholder: perhaps a title has a =
    job_fields  SPEC -> value    "set" of the job
    inputs      NAME -> LABEL    of the job's inputs that no placeholder took
    drawn       true             the seed is nobody's choice: it may be made smaller to fit
"""

from __future__ import annotations

import os
import re

import node_values
from job_file import CONTROL, JOB_ID, Problem
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from job_file import Json
    from node_values import Field
    from object_info import NodeDefs

LARGEST_SEED = 2**64 - 1
RANDOM_BITS = 53  # so that every program can hold it, also those that know only floats
KINDS = ("image", "video", "audio", "mask")


# --- reading the options --------------------------------------------------------------------------


def option_value(name: str, text: str) -> Any:
    """The value of the option --NAME TEXT; Problem when it can't be one."""
    label = f"--{name.replace('_', '-')} {shown(text)}"
    if name == "seed":
        if text == "random":
            return int.from_bytes(os.urandom(8), "big") >> (64 - RANDOM_BITS)
        if re.fullmatch(r"[0-9]{1,20}", text) and int(text) <= LARGEST_SEED:
            return int(text)
        raise Problem(f"{label}: must be a whole number from 0 to {LARGEST_SEED}, or random")
    if name in ("width", "height", "steps", "batch_size"):
        if re.fullmatch(r"[0-9]{1,9}", text) and int(text) > 0:
            return int(text)
        raise Problem(f"{label}: must be a whole number above 0")
    if name in ("cfg", "denoise"):
        try:
            return node_values.number(text, False)
        except Problem as problem:
            raise Problem(f"{label}: {problem}") from None
    if name == "image_id" and not JOB_ID.fullmatch(text):
        raise Problem(f"{label}: letters, digits, single dots, _ and -, at most 128, are wanted")
    if name == "output_folder":
        return folder(label, text)
    return text


def folder(label: str, text: str) -> str:
    """A folder below the server's own output folder."""
    parts = text.strip("/").split("/")
    if text.startswith("/") or "\\" in text or CONTROL.search(text) or ":" in text:
        raise Problem(f"{label}: a folder below the server's output folder is wanted")
    if any(part in ("", ".", "..") for part in parts):
        raise Problem(f"{label}: a folder without . and .. is wanted")
    return "/".join(parts)


# --- putting them there ---------------------------------------------------------------------------


def apply(workflow: Json, defs: NodeDefs | None, wishes: Json, inputs: Json,
          problems: list[str], warnings: list[str]) -> None:  # fmt: skip
    """Sets all `wishes` in `workflow`; what can't be is told. `inputs` are the job's, resolved.

    What the call says goes before the job, and a named field before what is found by links.
    """

    def attempt(label: str, change: Callable[..., None], *what: Any) -> None:
        try:
            change(workflow, defs, *what)
        except Problem as problem:
            problems.append(f"{label}: {problem}")

    for spec, value in wishes.get("job_fields", {}).items():
        attempt(f"set.{clean(spec)}", node_values.set_value, spec, value)
    for name, label in wishes.get("inputs", {}).items():
        attempt(clean(label), place_input, name, inputs[name])
    options = wishes.get("options", {})
    if wishes.get("drawn") and "seed" in options:
        most = largest_seed(workflow, defs)
        options["seed"] = wishes["given"]["seed"] = options["seed"] % (most + 1)
    taken: dict[Field, tuple[str, Any]] = {}
    for name, value in options.items():
        attempt(f"--{name.replace('_', '-')}", set_option, name, value, warnings, taken)
    for item in wishes.get("loose", []):
        if not node_values.fields_of(workflow, defs, item):
            warnings.append(f"--set {item.partition('=')[0]}: no placeholder uses it")
        else:
            attempt(f"--set {shown(item)}", set_item, item)
    for item in wishes.get("fields", []):
        attempt(f"--set {shown(item)}", set_item, item)


def largest_seed(workflow: Json, defs: NodeDefs | None) -> int:
    """The largest number that all seeds of a workflow may be."""
    from seeds import seed_fields

    known = (
        node_values.known_input(workflow, defs, field) for field in seed_fields(workflow, defs)
    )
    limits = (item.options.get("max") for item in known if item is not None)
    return min([LARGEST_SEED, *(most for most in limits if type(most) is int and most > 0)])


def set_item(workflow: Json, defs: NodeDefs | None, item: str) -> None:
    """--set SPEC=VALUE."""
    field, value = node_values.find_item(workflow, defs, item)
    node_values.set_field(workflow, defs, field, value)


def set_option(workflow: Json, defs: NodeDefs | None, name: str, value: Any,
               warnings: list[str], taken: dict[Field, tuple[str, Any]]) -> None:  # fmt: skip
    """One of the options that no placeholder took; `taken` are the fields of the others."""
    import node_roles

    if name in ("prompt", "negative"):
        role = "positive" if name == "prompt" else "negative"
        fields = node_roles.prompt_fields(workflow, defs, role, warnings)
    elif name == "seed":
        from seeds import seed_fields

        fields = seed_fields(workflow, defs)
        if not fields:
            raise Problem("no node has a seed that can be set")
    elif name == "output_folder":
        node_roles.set_folder(workflow, defs, value)
        return
    else:
        fields = node_roles.number_fields(workflow, defs, name)
    for field in fields:
        other, before = taken.setdefault(field, (name, value))
        if before != value:
            text = f"--{other.replace('_', '-')} and this are one field, {clean('.'.join(field))}"
            raise Problem(f"{text}; say which is meant by --set")
        node_values.set_field(workflow, defs, field, value)


def place_input(workflow: Json, defs: NodeDefs | None, name: str, item: Json) -> None:
    """An input of the job goes into the one field that its name means."""
    is_file = item["type"] == "file"
    value = item["upload_name"] if is_file else item["value"]
    found = node_values.find(workflow, defs, name) if "." in name else []
    if not found:
        found = input_fields(workflow, defs, name, is_file)
    if not found:
        raise Problem(nothing_for(workflow, defs, name, is_file))
    if len(found) > 1:
        named = node_values.named(workflow, found)
        raise Problem(f"may be {named}; say which: --input {clean('.'.join(found[0]))}=...")
    node_values.set_field(workflow, defs, found[0], value)


def input_fields(workflow: Json, defs: NodeDefs | None, name: str, is_file: bool) -> list[Field]:
    """The fields that an input's `name` may mean: by field, by kind of file, or by title."""
    fields = [
        (node_id, field)
        for node_id in workflow
        for field in node_values.field_names(workflow, defs, node_id)
        if not node_values.is_link(node_values.inputs_of(workflow, node_id).get(field))
    ]
    kinds = {field: node_values.upload_kind(workflow, defs, field) for field in fields}
    uploads = [field for field in fields if kinds[field]]
    titled = [
        field
        for field in (uploads if is_file else fields)
        if node_values.title_of(workflow, field[0]).lower() == name.lower()
    ]
    if len(titled) == 1:
        return titled
    wanted = "image" if name == "mask" else name
    same_kind = [field for field in uploads if kinds[field] == wanted or field[1] == name]
    if is_file and name in KINDS and len(same_kind) > 1:
        loads_mask = [
            field
            for field in same_kind
            if ("mask" in node_values.class_of(workflow, field[0]).lower()) == (name == "mask")
        ]
        same_kind = loads_mask or same_kind
    if is_file:
        return same_kind or (uploads if name == "file" else [])
    return [field for field in fields if field[1] == name]


def nothing_for(workflow: Json, defs: NodeDefs | None, name: str, is_file: bool) -> str:
    """Why an input has no place: what there is instead."""
    if "." in name:
        return node_values.not_found(workflow, defs, name)
    uploads = [
        (node_id, field)
        for node_id in workflow
        for field in node_values.field_names(workflow, defs, node_id)
        if is_file and node_values.upload_kind(workflow, defs, (node_id, field))
    ]
    if uploads:
        return f"no node takes it; for files there is {node_values.named(workflow, uploads)}"
    what = "no node takes a file" if is_file else "no node has a field of that name"
    return f"no placeholder and {what}; comfy-params lists what can be set"
