"""The values of a workflow's nodes: found by what people call them, set in their type, listed.

Not a program. A field is (node id, input's name); people write it NODE.FIELD, TITLE.FIELD or
CLASS.FIELD. `workflow` is in API format and is changed in place; `defs` is an object_info.NodeDefs,
or None when nothing is known of the nodes: then the value that is there decides on the type.
Problem says in one line what is wrong, and what to write instead.
"""

from __future__ import annotations

import math
import re

from job_file import Problem
from job_file import is_link as is_link
from seeds import inputs_of as inputs_of
from wording import brief, clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from job_file import Json
    from object_info import Input, NodeDefs

    Field = tuple[str, str]

WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
TRUE = ("true", "yes", "1", "on")
FALSE = ("false", "no", "0", "off")
# Node classes that hold nothing but a value, for the fields of other nodes.
PRIMITIVE = re.compile(
    r"primitive|constant|literal|multiline|^(int|float|string|bool|boolean|seed|text)\b"
    r"|(int|float|string|seed|text|boolean)$",
    re.IGNORECASE,
)
UPLOADS = {  # which field of which class names a file in the server's input folder, and its kind
    ("LoadImage", "image"): "image",
    ("LoadImageMask", "image"): "image",
    ("LoadImageOutput", "image"): "image",
    ("LoadAudio", "audio"): "audio",
    ("LoadVideo", "file"): "video",
    ("VHS_LoadVideo", "video"): "video",
    ("VHS_LoadVideoFFmpeg", "video"): "video",
    ("VHS_LoadAudioUpload", "audio"): "audio",
    ("LoadLatent", "latent"): "file",
    ("Load3D", "model_file"): "file",
}
MOST_NAMED = 8  # candidates that a complaint names


# --- the workflow ---------------------------------------------------------------------------------


def class_of(workflow: Json, node_id: str) -> str:
    """The class of a node, as the server calls it."""
    node = workflow.get(node_id)
    kind = node.get("class_type") if isinstance(node, dict) else None
    return kind if isinstance(kind, str) else ""


def title_of(workflow: Json, node_id: str) -> str:
    """The title that people gave a node; "" for none."""
    node = workflow.get(node_id)
    meta = node.get("_meta") if isinstance(node, dict) else None
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) else ""


def node_name(workflow: Json, node_id: str) -> str:
    """How a node is named to people: node 6 "Title" (CLASS)."""
    title = title_of(workflow, node_id)
    kind = class_of(workflow, node_id)
    text = f"node {clean(node_id)}"
    text += f" {shown(title)}" if title and title != kind else ""
    return f"{text} ({brief(kind, 60)})"


def field_name(workflow: Json, field: Field) -> str:
    """The same of a field, with how its value begins: 6.text of node 6 "Title", now "a cat"."""
    node_id, name = field
    value = inputs_of(workflow, node_id).get(name)
    title = title_of(workflow, node_id) or class_of(workflow, node_id)
    now = "" if value is None or is_link(value) else f", now {first_words(value)}"
    return f"{clean(node_id)}.{clean(name)} ({shown(title)}{now})"


def first_words(value: Any) -> str:
    """How a value begins, quoted if it is a text."""
    return shown(brief(" ".join(value.split()), 40)) if isinstance(value, str) else shown(value)


def known_inputs(workflow: Json, defs: NodeDefs | None, node_id: str) -> list[Input]:
    """What is known of a node's inputs; [] when nothing is."""
    if defs is None or not defs.known:
        return []
    return defs.expanded(class_of(workflow, node_id), inputs_of(workflow, node_id))


def known_input(workflow: Json, defs: NodeDefs | None, field: Field) -> Input | None:
    """What is known of a field."""
    for item in known_inputs(workflow, defs, field[0]):
        if item.name == field[1]:
            return item
    return None


def field_names(workflow: Json, defs: NodeDefs | None, node_id: str) -> list[str]:
    """The fields of a node that may have a value, in their order; links are among them."""
    known = {item.name: item for item in known_inputs(workflow, defs, node_id)}
    here = inputs_of(workflow, node_id)
    names = [name for name, item in known.items() if item.is_widget or name in here]
    return [*names, *(name for name in here if name not in known)]


# --- finding a field ------------------------------------------------------------------------------


def find(workflow: Json, defs: NodeDefs | None, text: str) -> list[Field]:
    """The fields that `text` may mean, by node id, else by title, else by class.

    Else a subgraph's id stands for the nodes in it, OUTER:INNER, and their fields with a value.
    """
    splits = [(text[:i], text[i + 1 :]) for i, c in enumerate(text) if c == "."]
    tiers: list[list[Field]] = [[], [], [], []]
    for node_id in workflow:
        names = {node_id, title_of(workflow, node_id), class_of(workflow, node_id)}
        for name, field in splits:
            if name and name in names and field in field_names(workflow, defs, node_id):
                whose = 0 if name == node_id else 1 if name == title_of(workflow, node_id) else 2
                tiers[whose].append((node_id, field))
            elif name and node_id.startswith(name + ":"):
                value = inputs_of(workflow, node_id).get(field)
                if value is not None and not is_link(value):
                    tiers[3].append((node_id, field))
    return next((tier for tier in tiers if tier), [])


def find_one(workflow: Json, defs: NodeDefs | None, text: str) -> Field:
    """The one field that `text` means."""
    found = find(workflow, defs, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise Problem(f"{shown(text)} may be {named(workflow, found)}; {how(workflow, found)}")
    raise Problem(not_found(workflow, defs, text))


def named(workflow: Json, fields: list[Field]) -> str:
    """Several fields as a list for people."""
    names = [field_name(workflow, field) for field in fields[:MOST_NAMED]]
    more = f" and {len(fields) - MOST_NAMED} more" if len(fields) > MOST_NAMED else ""
    return (", ".join(names) if more else " or ".join(names)) + more


def how(workflow: Json, fields: list[Field]) -> str:
    """How to choose one of several fields."""
    return f"say which: --set {clean('.'.join(fields[0]))}=..."


def not_found(workflow: Json, defs: NodeDefs | None, text: str) -> str:
    """Why `text` means no field: what is there instead."""
    from job_file import nearest

    for i in (i for i, c in enumerate(text) if c == "."):
        for node_id in workflow:
            names = (node_id, title_of(workflow, node_id), class_of(workflow, node_id))
            if text[:i] in names:
                fields = field_names(workflow, defs, node_id)
                hint = nearest(text[i + 1 :], fields)
                return f"{node_name(workflow, node_id)} has no field {shown(text[i + 1 :])}; {hint}"
    known = [
        f"{name}.{field}"
        for node_id in workflow
        for name in (title_of(workflow, node_id), class_of(workflow, node_id), node_id)
        if name
        for field in field_names(workflow, defs, node_id)
        if not is_link(inputs_of(workflow, node_id).get(field))
    ]
    from difflib import get_close_matches

    near = get_close_matches(text, known, 1, 0.6)
    hint = f"did you mean {shown(near[0])}?" if near else "comfy-params lists what can be set"
    return f"no node has that id, title or class; {hint}"


def specs_of(item: str) -> list[tuple[str, str]]:
    """What SPEC=VALUE may be taken apart to: titles and values may hold = as well."""
    return [(item[:i], item[i + 1 :]) for i, c in enumerate(item) if c == "="]


def fields_of(workflow: Json, defs: NodeDefs | None, item: str) -> list[tuple[Field, str]]:
    """The fields that SPEC=VALUE may mean, each with its value."""
    found = {
        (field, value): None
        for spec, value in specs_of(item)
        for field in find(workflow, defs, spec)
    }
    return list(found)


def find_item(workflow: Json, defs: NodeDefs | None, item: str) -> tuple[Field, str]:
    """The one field that SPEC=VALUE means, and the value."""
    fields = fields_of(workflow, defs, item)
    if len(fields) == 1:
        return fields[0]
    if not fields:
        specs = specs_of(item)
        first = next((pair for pair in specs if "." in pair[0]), specs[0])
        raise Problem(not_found(workflow, defs, first[0]))
    places = [field for field, _ in fields]
    raise Problem(f"may be {named(workflow, places)}; {how(workflow, places)}")


# --- giving it a value ----------------------------------------------------------------------------


class NotListed(Problem):
    """A value that is in no list; on another server it may be."""


def set_field(workflow: Json, defs: NodeDefs | None, field: Field, value: Any) -> None:
    """Gives a field a value, a text or a JSON scalar, in the type that it wants."""
    node_id, name = field
    inputs = inputs_of(workflow, node_id)
    if is_link(inputs.get(name)):
        raise Problem(linked_text(workflow, field))
    known = known_input(workflow, defs, field)
    if known is None and name not in inputs:
        raise Problem(not_found(workflow, defs, f"{node_id}.{name}"))
    label = f"{clean(node_id)}.{clean(name)}"
    try:
        inputs[name] = of_kind(value, known) if known else like(value, inputs[name])
    except Problem as problem:
        if not (defs and defs.may_differ and isinstance(problem, NotListed)):
            raise Problem(f"{label} {problem}") from None
        inputs[name] = value  # the check tells it


def set_value(workflow: Json, defs: NodeDefs | None, spec: str, value: Any) -> None:
    """The same for NODE.FIELD, TITLE.FIELD or CLASS.FIELD."""
    set_field(workflow, defs, find_one(workflow, defs, spec), value)


def linked_text(workflow: Json, field: Field) -> str:
    """That a field gets its value by a link, from where, and how to set that."""
    node_id, name = field
    source = inputs_of(workflow, node_id)[name][0]
    text = f"{clean(node_id)}.{clean(name)} is linked to {node_name(workflow, source)}"
    values = [key for key, item in inputs_of(workflow, source).items() if not is_link(item)]
    if len(values) == 1 or (values and PRIMITIVE.search(class_of(workflow, source))):
        return f"{text}, which has its value: --set {clean(source)}.{clean(values[0])}=..."
    return f"{text}, which gives it its value"


def of_kind(value: Any, known: Input) -> Any:
    """`value` in the type of an input that is known."""
    if known.kind == "STRING":
        return value if isinstance(value, str) else shown(value)
    if known.kind in ("INT", "FLOAT"):
        return in_range(number(value, known.kind == "INT"), known.options)
    if known.kind == "BOOLEAN":
        return boolean(value)
    if known.choices is not None or known.kind == "COMBO":
        return choice(value, known)
    if not known.is_widget:
        raise Problem(f"wants a link to {brief(known.kind, 60)}, not a value")
    return value


def write_booleans(workflow: Json, defs: NodeDefs | None) -> None:
    """Where a text is wanted, true and false are words: the server would write them in its way."""
    for node_id in workflow:
        inputs = inputs_of(workflow, node_id)
        if any(isinstance(value, bool) for value in inputs.values()):
            for item in known_inputs(workflow, defs, node_id):
                if item.kind == "STRING" and isinstance(inputs.get(item.name), bool):
                    inputs[item.name] = shown(inputs[item.name])


def like(value: Any, present: Any) -> Any:
    """`value` in the type of the value that is there, when nothing else is known."""
    if isinstance(present, bool):
        return boolean(value)
    if isinstance(present, (int, float)):
        return number(value, False)
    if isinstance(present, str):
        return value if isinstance(value, str) else shown(value)
    if present is None:
        from placeholders import typed

        return typed(value) if isinstance(value, str) else value
    raise Problem(f"holds {shown(present)}, which no single value can replace")


def number(value: Any, whole: bool) -> int | float:
    """A number; a `whole` one for INT: the server would cut the rest off without a word."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str):
        if WHOLE.fullmatch(text):
            return int(text)
        if NUMBER.fullmatch(text) and not (whole and not float(text).is_integer()):
            text = float(text)
    if isinstance(text, bool) or not isinstance(text, (int, float)) or not math.isfinite(text):
        raise Problem(f"must be a {'whole ' if whole else ''}number, but is {shown(value)}")
    if whole and isinstance(text, float):
        if not text.is_integer():
            raise Problem(f"must be a whole number, but is {shown(value)}")
        return int(text)
    return text


def in_range(value: int | float, options: Json) -> int | float:
    """The number, when the server would take it."""
    least, most = options.get("min"), options.get("max")
    if isinstance(least, (int, float)) and value < least:
        limit = f"at least {least}"
    elif isinstance(most, (int, float)) and value > most:
        limit = f"at most {most}"
    else:
        return value
    raise Problem(f"must be {limit}, but is {value}")


def boolean(value: Any) -> bool:
    """true or false, as people write them; to the server the text "false" is true."""
    if isinstance(value, bool):
        return value
    text = (value if isinstance(value, str) else shown(value)).strip().lower()
    if text in TRUE or text in FALSE:
        return text in TRUE
    raise Problem(f"must be true or false, but is {shown(value)}")


def choice(value: Any, known: Input) -> Any:
    """One of the values in a list, as it stands there; files may be others on another server."""
    choices = known.choices
    if choices is None:
        return value
    for item in choices:
        if type(item) is type(value) and item == value:
            return item
    texts = [item if isinstance(item, str) else shown(item) for item in choices]
    wanted = value if isinstance(value, str) else shown(value)
    if wanted in texts:
        return choices[texts.index(wanted)]
    if known.is_upload or are_files(texts):
        return value
    from job_file import nearest

    lower = [text for text in texts if text.lower() == wanted.lower()]
    hint = f"did you mean {shown(lower[0])}?" if lower else nearest(wanted, texts[:200])
    raise NotListed(f"can't be {shown(value)}; {brief(hint, 300)}")


def are_files(choices: list[str]) -> bool:
    """Whether a list looks like that of a folder, which is another one on another server."""
    return not choices or all(re.search(r"\.[A-Za-z0-9]{2,11}$", text) for text in choices)


# --- telling --------------------------------------------------------------------------------------


def upload_kind(workflow: Json, defs: NodeDefs | None, field: Field) -> str:
    """image, video, audio or file when the field names an uploaded file, else ""."""
    known = known_input(workflow, defs, field)
    for key, value in known.options.items() if known else ():
        if key.endswith("_upload") and value:
            return key[: -len("_upload")]
    return UPLOADS.get((class_of(workflow, field[0]), field[1]), "")


def listing(workflow: Json, defs: NodeDefs | None) -> list[Json]:
    """What can be set: each field, its value, and what is known of the values that it takes.

    The keys are those of list_params.py; "linked" is [NODE, OUTPUT] for a field that gets its value
    by a link; None is what is not known.
    """
    rows = []
    for node_id in workflow:
        inputs = inputs_of(workflow, node_id)
        known = {item.name: item for item in known_inputs(workflow, defs, node_id)}
        for name in field_names(workflow, defs, node_id):
            item, value = known.get(name), inputs.get(name)
            linked = value if is_link(value) else None
            if linked and (item is None or not item.is_widget):
                continue  # a link it will always be, or nobody knows
            options = item.options if item else {}
            rows.append({
                "node": node_id, "title": title_of(workflow, node_id),
                "class": class_of(workflow, node_id), "field": name,
                "type": item.kind if item else type_name(value),
                "value": None if linked else value,
                "choices": item.choices if item else None,
                "min": options.get("min"), "max": options.get("max"),
                "upload": bool(upload_kind(workflow, defs, (node_id, name))), "linked": linked,
            })  # fmt: skip
    return rows


def type_name(value: Any) -> str:
    """The type that a value has by its looks."""
    for kind, name in ((bool, "BOOLEAN"), (int, "INT"), (float, "FLOAT"), (str, "STRING")):
        if isinstance(value, kind):
            return name
    return "*"
