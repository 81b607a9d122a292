#!/usr/bin/env python3
"""Say in plain words why ComfyUI refused a workflow, or a part of it.

stdin is the body of POST /prompt: a 400, or a 200 with node_errors. The answer is tagged
lines, fields separated by TAB:

    problem KSampler "Sampler" (node 3): steps: 0 is below the smallest allowed value, 1
    hint did you mean "euler"?                     what to do about the problem above it
    class CheckpointLoaderSimple                   its list of allowed values was cut off:
                                                   get /object_info/CLASS, call again with it

The wordings stand on the error types of ComfyUI 0.3.64 and 0.33.0 (execution.py); a type
that is not known is told in the server's words.
"""

from __future__ import annotations

import argparse
import json
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]
    Line = tuple[str, str]

MAX_TEXT = 500  # characters
LISTED_VALUES = 12
TYPE_WORDS = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false"}
MODEL_FILE = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|gguf|sft)$", re.IGNORECASE)

ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])")


# --- words --------------------------------------------------------------------------------


def one_line(text: object, limit: int = MAX_TEXT) -> str:
    """`text` of a server as one harmless line: no colours, no control characters."""
    plain = ANSI.sub("", str(text))
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def shown(value: object) -> str:
    """A value as JSON in one short line."""
    return one_line(json.dumps(value, ensure_ascii=False), 80)


def as_object(value: object) -> Json:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """`value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def nearest(word: str, known: list[Any]) -> list[Line]:
    """A hint with the nearest allowed value, when one is near."""
    from difflib import get_close_matches

    lower = {str(item).lower(): str(item) for item in known}
    close = get_close_matches(word.lower(), list(lower), n=1, cutoff=0.5)
    return [("hint", f"did you mean {shown(lower[close[0]])}?")] if close else []


class Workflow:
    """The workflow that was sent, to name its nodes and find its broken links."""

    def __init__(self, nodes: Json) -> None:
        self.nodes = nodes

    def label(self, node_id: str, class_type: object = None) -> str:
        """KSampler "Sampler" (node 3)."""
        node = as_object(self.nodes.get(node_id))
        name = one_line(class_type or node.get("class_type") or "a node", 80)
        title = one_line(as_object(node.get("_meta")).get("title") or "", 80)
        quoted = f' "{title}"' if title and title != name else ""
        return f"{name}{quoted} (node {one_line(node_id, 40)})"

    def place(self, node_id: str) -> int:
        """Where a node stands in the workflow, to tell problems in that order."""
        ids = list(self.nodes)
        return ids.index(node_id) if node_id in self.nodes else len(ids)

    def links(self, node_id: str) -> Iterator[tuple[str, list[Any]]]:
        """Input name and [node, slot] of every linked input of a node."""
        for name, value in as_object(as_object(self.nodes.get(node_id)).get("inputs")).items():
            if isinstance(value, list) and len(value) == 2:
                yield name, value

    def broken_link(self, node_id: str) -> str | None:
        """What is wrong with the first link of `node_id` that leads nowhere."""
        for name, (source, _) in self.links(node_id):
            if not isinstance(source, str):
                return f"{name}: a link names its node as text: [{shown(str(source))}, 0]"
            if source not in self.nodes:
                return f"{name}: linked to node {shown(source)}, which is missing"
        return None

    def circle(self) -> list[str]:
        """The ids of nodes that are linked in a circle, empty when there is none."""
        done: set[str] = set()
        for start in self.nodes:
            path, iterators = [start], [self.links(start)]
            while path and start not in done:
                for _, (source, _slot) in iterators[-1]:
                    if source in path:
                        return [*path[path.index(source) :], source]
                    if isinstance(source, str) and source in self.nodes and source not in done:
                        path.append(source)
                        iterators.append(self.links(source))
                        break
                else:
                    done.add(path.pop())
                    iterators.pop()
        return []


# --- errors of one node -------------------------------------------------------------------


def allowed_values(config: object) -> list[Any] | None:
    """The values of a list input in ComfyUI's V1 or V3 form, None when they are not there."""
    if not isinstance(config, list) or not config:
        return None
    options = config[0]
    if not isinstance(options, list) and len(config) > 1:
        options = as_object(config[1]).get("options")
    return options if isinstance(options, list) else None


def known_values(object_info: Json, class_type: str, field: str) -> list[Any] | None:
    """The values that `object_info` allows for an input, None when it does not say."""
    inputs = as_object(as_object(object_info.get(class_type)).get("input"))
    for group in ("required", "optional"):
        values = allowed_values(as_object(inputs.get(group)).get(field))
        if values is not None:
            return values
    return None


def not_in_list(class_type: str, field: str, info: Json, object_info: Json) -> list[Line]:
    """A value that the server doesn't offer: a wrong word, or a model that isn't there."""
    value = info.get("received_value")
    values = allowed_values(info.get("input_config"))
    # ComfyUI leaves a list of more than 20 values out: input_config is then null.
    if values is None:
        values = known_values(object_info, class_type, field)
    is_model = isinstance(value, str) and bool(MODEL_FILE.search(value))
    install = ("hint", "put that model on the pod's disk or volume, or name one that is there")
    if values is None:
        lines = [("problem", f"{field}: {shown(value)} is not on the server's list")]
        return [*lines, ("class", class_type)] if class_type else lines
    if not values:
        return [("problem", f"{field}: {shown(value)} is not on the server: it has none"), install]
    listed = ", ".join(one_line(item, 80) for item in values[:LISTED_VALUES])
    more = f", ... ({len(values)} in all)" if len(values) > LISTED_VALUES else ""
    verb = "is not on the server, which has" if is_model else "is not one of"
    problem = ("problem", f"{field}: {shown(value)} {verb}: {listed}{more}")
    return [problem, *(nearest(str(value), values) or ([install] if is_model else []))]


def limit_line(field: str, info: Json, which: str, message: str) -> list[Line]:
    """A number outside of its limits; `which` is min or max."""
    config = info.get("input_config")
    limits = as_object(config[1]) if isinstance(config, list) and len(config) > 1 else {}
    if which not in limits:
        return [("problem", f"{field}: {message}")]
    words = "below the smallest" if which == "min" else "above the largest"
    value, limit = shown(info.get("received_value")), shown(limits[which])
    return [("problem", f"{field}: {value} is {words} allowed value, {limit}")]


def own_check_failed(field: str, details: str) -> list[Line]:
    """A node's own check said no; for LoadImage and its like that is a missing file."""
    text = details[len(field) + 3 :] if details.startswith(f"{field} - ") else details
    lines = [("problem", f"{field}: {text}" if field else text)]
    if re.match(r"Invalid (image|audio|video|mask)? ?file", text):
        hint = "that file is not on the server: give it in the job's inputs, which are uploaded"
        lines.append(("hint", hint))
    return lines


def exception_lines(workflow: Workflow, node_id: str, details: str, info: Json) -> list[Line]:
    """The server stumbled over the node: mostly a link that leads nowhere."""
    broken = workflow.broken_link(node_id)
    kind = one_line(info.get("exception_type") or "", 80)
    if "inputs" not in as_object(workflow.nodes.get(node_id)):
        return [("problem", "has no inputs object")]
    if kind == "KeyError" and broken:
        return [("problem", one_line(broken))]
    if kind == "IndexError":
        names = ", ".join(one_line(name, 80) for name, _ in workflow.links(node_id))
        text = f"a link names an output that its node does not have (linked: {names})"
        return [("problem", text)]
    return [("problem", f"could not be checked: {details}" + (f" [{kind}]" if kind else ""))]


def error_lines(
    workflow: Workflow, node_id: str, class_type: str, error: Json, object_info: Json
) -> list[Line]:
    """problem, hint and class lines for one error of one node, without the node's name."""
    kind, info = error.get("type"), as_object(error.get("extra_info"))
    field = one_line(info.get("input_name") or "", 80)
    details, message = one_line(error.get("details") or ""), one_line(error.get("message") or "")
    config = info.get("input_config")
    wanted = config[0] if isinstance(config, list) and config else None
    if kind == "required_input_missing":
        return [("problem", f"{field or details}: is required, but the workflow does not give it")]
    if kind == "invalid_input_type":
        words = TYPE_WORDS.get(str(wanted), one_line(wanted or "another type", 40))
        value = shown(info.get("received_value"))
        return [("problem", f"{field}: must be {words}, but is {value}")]
    if kind == "value_smaller_than_min":
        return limit_line(field, info, "min", message)
    if kind == "value_bigger_than_max":
        return limit_line(field, info, "max", message)
    if kind == "value_not_in_list":
        return not_in_list(class_type, field, info, object_info)
    if kind == "return_type_mismatch":
        link = info.get("linked_node")
        source = workflow.label(str(link[0])) if isinstance(link, list) and link else "its link"
        given, need = one_line(info.get("received_type"), 40), one_line(wanted, 40)
        return [("problem", f"{field}: needs {need}, but {source} gives {given}")]
    if kind == "bad_linked_input":
        value = shown(info.get("received_value"))
        return [("problem", f'{field}: a link is ["NODE", OUTPUT], but this is {value}')]
    if kind == "custom_validation_failed":
        return own_check_failed(field, details)
    if kind == "exception_during_validation":
        return exception_lines(workflow, node_id, details, info)
    if kind == "exception_during_inner_validation":
        # input_name belongs to the node that is linked to this one, so it is left out.
        name = one_line(info.get("exception_type") or "error", 80)
        return [("problem", f"its own check failed: {details} [{name}]")]
    if kind == "dependency_cycle":
        return [("problem", f"the links form a circle: {details}")]
    text = f"{message}: {details}" if message and details else message or details
    text = text or f"refused ({one_line(kind, 80)})"
    return [("problem", f"{field}: {text}" if field and not text.startswith(field) else text)]


# --- errors of the whole workflow ---------------------------------------------------------


def missing_class(workflow: Workflow, error: Json) -> list[Line]:
    """A class that the server lacks, or a node without class_type."""
    info, details = as_object(error.get("extra_info")), str(error.get("details"))
    match = re.search(r"#(.+?)'", details)
    node_id = str(info.get("node_id") or (match.group(1) if match else ""))
    class_type = as_object(workflow.nodes.get(node_id)).get("class_type")
    if not class_type:
        return [("problem", f"node {one_line(node_id, 40)}: has no class_type")]
    label = workflow.label(node_id)
    return [
        ("problem", f"{label}: the server has no node of this class"),
        ("hint", "install the custom node that brings it on the pod, or check the spelling"),
    ]


def whole_lines(workflow: Workflow, error: Json, has_node_errors: bool) -> list[Line]:
    """Lines for the error of the whole workflow; none when the nodes' errors say it all."""
    kind, message = error.get("type"), one_line(error.get("message") or "")
    details = one_line(error.get("details") or "")
    if kind == "missing_node_type" or (kind == "invalid_prompt" and "Node ID" in details):
        return missing_class(workflow, error)
    if kind == "prompt_no_outputs":
        return [
            ("problem", "the workflow has no output node"),
            ("hint", "add a node that saves something, such as SaveImage"),
        ]
    if kind == "no_prompt":
        return [("problem", "the server got no workflow")]
    if kind == "prompt_outputs_failed_validation":
        if has_node_errors:
            return []
        # 0.3.64 refuses links in a circle without a word about why.
        circle = [one_line(node_id, 40) for node_id in workflow.circle()]
        if circle:
            return [("problem", f"the links form a circle: node {' -> '.join(circle)}")]
    text = f"{message}: {details}" if details and details != message else message
    return [("problem", text or f"refused ({one_line(kind, 80)})")]


def answer_lines(body: bytes, workflow: Workflow, object_info: Json) -> list[Line]:
    """All lines for an answer of the server; one problem line at least when it refused."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        text = one_line(re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace")), 200)
        return [("problem", f"the server gave no readable reason: {text or 'an empty answer'}")]
    node_errors = as_object(answer.get("node_errors"))
    lines: list[Line] = []
    for node_id in sorted(node_errors, key=workflow.place):
        about = as_object(node_errors[node_id])
        class_type = str(about.get("class_type") or "")
        errors = [item for item in as_list(about.get("errors")) if isinstance(item, dict)]
        label = workflow.label(node_id, class_type)
        # The server collects a node's errors in a set: their order changes from run to run.
        for error in sorted(errors, key=lambda item: str(item.get("details"))):
            for tag, text in error_lines(workflow, node_id, class_type, error, object_info):
                lines.append((tag, f"{label}: {text}" if tag == "problem" else text))
    whole = answer.get("error")
    if isinstance(whole, str):  # some gateways and forks answer {"error": "text"}
        whole = {"message": whole}
    if isinstance(whole, dict):
        lines = whole_lines(workflow, whole, bool(lines)) + lines
    return list(dict.fromkeys(lines))


# --- the command line ---------------------------------------------------------------------


def load(path: str) -> Json:
    """The JSON object in `path`; ValueError when it is something else."""
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 when a file given on the command line can't be read."""
    parser = argparse.ArgumentParser(
        prog="rejection.py",
        description=__doc__,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    parser.add_argument("--workflow", required=True, metavar="FILE", help="the run's workflow.json")
    parser.add_argument(
        "--object-info", metavar="FILE", help="answers of /object_info[/CLASS] in one object"
    )
    args = parser.parse_args(argv)
    path = args.workflow
    try:
        workflow = Workflow(load(path))
        path = args.object_info or path
        object_info = load(path) if args.object_info else {}
    except (OSError, ValueError) as error:
        print(f"{path}: {one_line(getattr(error, 'strerror', None) or error)}", file=sys.stderr)
        return 2
    for tag, text in answer_lines(sys.stdin.buffer.read(), workflow, object_info):
        sys.stdout.buffer.write(f"{tag}\t{text}\n".encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
