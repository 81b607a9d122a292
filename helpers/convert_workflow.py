#!/usr/bin/env python3
"""Turn a workflow that ComfyUI's GUI saved into the API format, which is what a server runs.

The result runs as if the GUI had queued it: fields in their order, muted and bypassed nodes,
reroutes, primitives, set and get nodes, group nodes, subgraphs. What the nodes' fields are called
only the server knows, so its answer to GET /object_info is wanted. What has to be left out is
told on stderr, a line each. A workflow in the API format comes out as it is.

WORKFLOW: JSON, or a picture or video that carries a workflow. Exit code: 0; 2 for one that can't
be converted.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from graph import ACTIVE, Node, Slot, Workflow, find_circle
from graph_problems import UnknownNodes as UnknownNodes
from graph_problems import refuse_unknown, tell_lost
from job_file import UNREADABLE, Problem, Unreadable, path_label
from link_trace import UNLINKED, Trace
from object_info import NodeDefs
from subgraphs import Network, Scope
from text_rules import NAMED_BY_GUI, dynamic_prompt, replaced
from virtual_nodes import PRIMITIVE, first_value
from widgets import Widget, as_sent, default, listed
from wording import brief, clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from object_info import Json

NOT_SENT = frozenset(["RESOLUTION_PREVIEW", "LIGHT_INFO_PREVIEW", "AUDIO_UI"])
POWER_LORAS = "Power Lora Loader (rgthree)"


class Options:
    """How to convert. plain_text: {a|b} and comments in prompts stay as they are.

    new_values: id -> field -> what it is going to be, for names of outputs that tell it.
    """

    def __init__(self, plain_text: bool = False, new_values: dict[str, Json] | None = None) -> None:
        self.plain_text = plain_text
        self.new_values = new_values or {}


def convert(
    graph: Any, defs: NodeDefs, label: str, options: Any = None
) -> tuple[dict[str, Json], list[str]]:
    """The API workflow {ID: {class_type, inputs, _meta: {title}}} of `graph`, and warnings.

    Problem for what can't be converted (UnknownNodes when the definitions lack types); it and the
    warnings begin with `label`.
    """
    label = clean(label)
    try:
        return Converter(Workflow(graph, label), defs, label, options or Options()).result()
    except RecursionError:
        raise Problem(f"{label}: is nested too deeply") from None


class Converter:
    """One conversion."""

    def __init__(self, workflow: Workflow, defs: NodeDefs, label: str, options: Any) -> None:
        self.where = f"{label}: "
        self.network = Network(workflow, defs, label)
        self.defs = defs
        self.plain_text = bool(getattr(options, "plain_text", False))
        self.new_values: dict[str, Json] = getattr(options, "new_values", {})
        self.ids: set[str] = set()

    def result(self) -> tuple[dict[str, Json], list[str]]:
        """See convert()."""
        network = self.network
        running = [
            (scope, node)
            for scope, node in network.nodes
            if node.mode == ACTIVE and not network.is_virtual(node)
        ]
        refuse_unknown(network, running)
        self.ids = {scope.prefix + node.id for scope, node in running}
        tell_lost(network, running)
        api: dict[str, Json] = {}
        for scope, node in running:
            api[scope.prefix + node.id] = self.node(scope, node)
        if not api:
            raise Problem(f"{self.where}nothing in it runs: all nodes are muted, bypassed or notes")
        circle = find_circle(api)
        if circle:
            names = " < ".join(brief(node_id, 40) for node_id in circle[:10])
            raise Problem(f"{self.where}these nodes wait for one another: {names}")
        return api, network.warnings

    # --- one node -------------------------------------------------------------------------

    def node(self, scope: Scope, node: Node) -> Json:
        """A node in the API format."""
        definition = self.defs.get(node.type) or {}
        inputs: Json = {}
        widgets, more = self.network.read_fields(scope, node)
        for widget in widgets:
            self.add_value(scope, node, widget, inputs)
        inputs.update(more)
        if node.type == POWER_LORAS and isinstance(node.values, list):
            inputs.update(power_loras(node.values))
        names = {widget.name for widget in widgets}
        for slot in self.network.inputs(scope, node):
            if slot.link is not None:
                self.add_link(scope, node, slot, names, inputs)
            elif self.network.workflow.broadcasts and scope.parent is None:
                self.add_broadcast(scope, node, slot, inputs)
        title = node.title or definition.get("display_name") or node.type
        return {"class_type": node.type, "inputs": inputs, "_meta": {"title": str(title)}}

    def add_value(self, scope: Scope, node: Node, widget: Widget, inputs: Json) -> None:
        """The value of one of its fields."""
        item = widget.input
        if item.widget in NOT_SENT:
            return
        value = self.network.own_value(scope, node, widget)
        if value is None and item.choices:
            value = default(item)  # as the GUI does
        if value is None and not widget.given:
            return
        if value is None and item.required:
            self.network.warn(scope, node, f"its field {shown(widget.name)} is empty")
        inputs[widget.name] = self.final(scope, node, widget, value)

    def final(self, scope: Scope, node: Node, widget: Widget, value: Any) -> Any:
        """A value as it is sent."""
        item = widget.input
        if isinstance(value, str):
            if item.options.get("dynamicPrompts") is True and not self.plain_text:
                value = dynamic_prompt(value, choose)
            elif widget.name == "filename_prefix" and node.type in NAMED_BY_GUI:
                value = self.named(scope, node, value)
        return self.listed(scope, node, widget, value)

    def listed(self, scope: Scope, node: Node, widget: Widget, value: Any) -> Any:
        """The same, its text left alone; one of a list as the server spells it."""
        item = widget.input
        choices = item.choices
        if item.widget == "COMBO" and choices and isinstance(value, str) and value not in choices:
            right = listed(value, choices)
            if right is not None:
                text = f"{brief(widget.name, 80)}: {shown(value)} is sent as {shown(right)}"
                self.network.warn(scope, node, f"{text}, as the server has it")
                value = right
        return as_sent(widget, value)

    def named(self, scope: Scope, node: Node, text: str) -> str:
        """The name of an output with %date:..% and %NODE.WIDGET% replaced."""
        unknown: list[str] = []
        result = replaced(text, self.value_of, now, unknown)
        for name in unknown:
            self.network.warn(scope, node, f"{shown(name)} in its text: no such field")
        return result

    def primitive_text(self, scope: Scope, node: Node, text: str) -> str:
        """What a primitive says, replaced as the name of an output is if people wish so."""
        wished = node.properties.get("Run widget replace on values")
        return self.named(scope, node, text) if wished is True else text

    def value_of(self, name: str, field: str) -> Any:
        """The value of a field of the node with that name or title; KeyError."""
        nodes = [*self.network.nodes, *self.network.hosts]
        found = [pair for pair in nodes if self.search_name(pair[1]) == name]
        found = found or [pair for pair in nodes if self.title(pair[1]) == name]
        for scope, node in found[:1]:
            host = scope.children.get(node.id)
            if host is not None and host.definition is not None:
                names = [slot.name for slot in host.definition.inputs]
                value = (
                    self.network.shown_value(host, names.index(field)) if field in names else None
                )
                if value is not None:
                    return value[0]
            for widget in self.network.widgets(scope, node):
                if widget.name == field:
                    new = self.new_values.get(scope.prefix + node.id, {})
                    return new.get(field, self.network.own_value(scope, node, widget))
            if node.type == PRIMITIVE and field == "value":
                return first_value(node)
        raise KeyError(name)

    def search_name(self, node: Node) -> str:
        """The name by which texts refer to a node."""
        name = node.properties.get("Node name for S&R")
        if isinstance(name, str):
            return name
        return "" if node.type in NAMED_BY_GUI else node.type

    def title(self, node: Node) -> str:
        """Its title, as the GUI shows it."""
        shown_as = (self.defs.get(node.type) or {}).get("display_name")
        return node.title or (shown_as if isinstance(shown_as, str) else node.type)

    # --- links ----------------------------------------------------------------------------

    def add_link(self, scope: Scope, node: Node, slot: Slot, names: set[str], inputs: Json) -> None:
        """What a link brings to an input, which counts more than its field's value."""
        network = self.network
        if slot.widget is not None and slot.widget not in names and network.is_core(node):
            text = f"its input {shown(slot.name)} is left out: the server's node has none"
            network.warn(scope, node, text)
            return
        found = Trace(network).input(scope, node, slot, slot.type)
        reason = ""
        if isinstance(found, str):
            reason = found
        elif isinstance(found, list):
            widget = next((w for w in network.widgets(scope, node) if w.name == slot.name), None)
            value = found[0]
            if widget is not None:
                # The GUI puts what a primitive says into the field, but not what a subgraph does.
                rule = self.final if len(found) > 1 else self.listed
                if len(found) > 1 and isinstance(value, str):
                    value = self.primitive_text(scope, found[1], value)
                inputs[slot.name] = rule(scope, node, widget, value)
            else:
                inputs[slot.name] = {"__value__": value} if isinstance(value, list) else value
        else:
            inputs[slot.name] = [found[0], found[1]]
        is_lacking = slot.name not in inputs and self.is_required(node, slot)
        if reason and (reason != UNLINKED or is_lacking):
            kept = "keeps its own value" if slot.name in inputs else "is left out"
            network.warn(scope, node, f"its input {shown(slot.name)} {kept}: {reason}")

    def is_required(self, node: Node, slot: Slot) -> bool:
        """Whether a node can't do without an input."""
        items = self.defs.inputs(node.type)
        return any(item.name == slot.name and item.required for item in items)

    def add_broadcast(self, scope: Scope, node: Node, slot: Slot, inputs: Json) -> None:
        """What "Use Everywhere" nodes bring to an input that nothing is linked to."""
        own = node.input(slot.name)
        place = (node.id, node.inputs.index(own)) if own is not None else ("", 0)
        start = self.network.workflow.broadcasts.get(place)
        origin = scope.graph.nodes.get(start[0]) if start is not None else None
        if start is not None and origin is not None:
            found = Trace(self.network).output(scope, origin, start[1], slot.type)
            if isinstance(found, tuple):
                inputs[slot.name] = [found[0], found[1]]


def power_loras(values: list[Any]) -> Json:
    """The inputs of rgthree's loader, which makes a field for each LoRA."""
    result: Json = {}
    for value in values:
        if isinstance(value, dict) and "lora" in value:
            result[f"lora_{len(result) + 1}"] = value
    return result


def choose(count: int) -> int:
    """One of `count` alternatives, at random."""
    import random

    return random.randrange(count)


def now() -> tuple[int, int, int, int, int, int]:
    """The local time: year, month, day, hour, minute, second."""
    import time

    return time.localtime()[:6]


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0; 2 when the workflow can't be converted; job_file.UNREADABLE."""
    import argparse
    import json

    parser = argparse.ArgumentParser(
        prog="convert_workflow.py",
        description=__doc__,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--object-info", metavar="FILE", help="the server's answer of GET /object_info")
    add("--plain-text", action="store_true", help="leave {a|b} and comments in prompts alone")
    add("workflow", metavar="WORKFLOW")
    args = parser.parse_args(argv)
    warnings: list[str] = []
    label = path_label(args.workflow)
    try:
        kind, graph = read(args.workflow, label)
        if kind == "gui":
            if args.object_info is None:
                raise Problem(
                    f"{label}: is in the GUI format, and what its nodes are like is "
                    "not known: --object-info FILE (curl URL/object_info makes one)"
                )
            graph, warnings = convert(
                graph, NodeDefs(args.object_info), label, Options(args.plain_text)
            )
        try:
            text = json.dumps(graph, indent=2, ensure_ascii=False, allow_nan=False)
        except ValueError:
            raise Problem(f"{label}: has a value that is no number") from None
    except (Problem, Unreadable, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        problem = "it is nested too deeply" if deep else str(error)
        sys.stderr.buffer.write(problem.encode("utf-8", "backslashreplace") + b"\n")
        return UNREADABLE if isinstance(error, Unreadable) else 2
    for line in warnings:
        sys.stderr.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()
    return 0


def read(path: str, label: str) -> tuple[str, Any]:
    """("gui" or "api", the workflow in the file)."""
    from workflow_file import read_workflow

    return read_workflow(path, label)


if __name__ == "__main__":
    sys.exit(main())
