"""The graphs of a workflow, each where it stands, and what its nodes' fields hold there.

A module of convert_workflow.py, not a program. A `Scope` is one graph in one place: the workflow
itself, or a subgraph as one instance of it has it. Ids of what is inside are OUTER:INNER.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from graph import ACTIVE, Graph, Node, Slot, Subgraph, Workflow
from group_nodes import Builder, group_name, group_values
from job_file import Problem
from object_info import Input
from virtual_nodes import ALL, CORE, proxied
from widgets import Widget, controls, has_field, read_list, read_named
from wording import brief, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from object_info import Json, NodeDefs

MAX_SCOPES = 20_000


class Scope:
    """A graph where it stands. overrides: {(node id, field): value}, what is set from outside."""

    def __init__(self, graph: Graph, prefix: str) -> None:
        self.graph = graph
        self.prefix = prefix
        self.parent: Scope | None = None
        self.instance: Node | None = None
        self.definition: Subgraph | None = None
        self.overrides: dict[tuple[str, str], Any] = {}
        self.promoted: dict[int, Any] = {}  # values of the instance's own fields, by its input
        self.children: dict[str, Scope] = {}
        self.fields: dict[str, tuple[list[Widget], Json]] = {}
        self.slots: dict[str, list[Slot]] = {}


class Network:
    """All scopes of a workflow, and what its inputs are fed with."""

    def __init__(self, workflow: Workflow, defs: NodeDefs, label: str) -> None:
        self.workflow = workflow
        self.defs = defs
        self.where = f"{label}: "
        self.warnings = workflow.warnings
        self.groups: dict[str, Subgraph] = {}
        self.nodes: list[tuple[Scope, Node]] = []  # what runs, and what is muted or bypassed
        self.hosts: list[tuple[Scope, Node]] = []  # the instances of subgraphs
        self.count = 0
        self.root = Scope(workflow.graph, "")
        self.expand(self.root, [])

    # --- subgraphs ------------------------------------------------------------------------

    def definition(self, node: Node) -> Subgraph | None:
        """The subgraph that a node is an instance of."""
        found = self.workflow.subgraphs.get(node.type)
        name = group_name(node.type) if found is None else None
        if name is None or name not in self.workflow.groups:
            return found
        if name not in self.groups:
            raw = self.workflow.groups[name]
            builder = Builder(name, raw if isinstance(raw, dict) else {}, self.defs, self.where)
            self.groups[name] = builder.build()
        return self.groups[name]

    def expand(self, scope: Scope, chain: list[Subgraph]) -> None:
        """Notes all nodes of a scope, those of its subgraphs included."""
        self.count += 1
        if self.count > MAX_SCOPES:
            raise Problem(f"{self.where}has more than {MAX_SCOPES} subgraphs in one another")
        for node in scope.graph.nodes.values():
            definition = self.definition(node)
            if definition is None:
                self.nodes.append((scope, node))
                continue
            if definition in chain or len(chain) > 50:
                raise Problem(f"{self.where}subgraph {shown(definition.name)} contains itself")
            if node.mode != ACTIVE:
                continue
            child = Scope(definition.graph, f"{scope.prefix}{node.id}:")
            child.parent, child.instance, child.definition = scope, node, definition
            scope.children[node.id] = child
            self.hosts.append((scope, node))
            self.expand(child, [*chain, definition])
            self.set_values(scope, node, child, definition)

    def set_values(self, scope: Scope, node: Node, child: Scope, definition: Subgraph) -> None:
        """What an instance says of the fields inside: `promoted` and `overrides` of its scope."""
        if definition.fields is not None:
            child.overrides.update(group_values(definition, node))
            return
        values, pairs = node.values, proxied(node)
        names = [slot.name for slot in definition.inputs]
        by_name = values if isinstance(values, dict) else node.named
        if by_name:
            child.promoted = {names.index(n): by_name[n] for n in by_name if n in names}
        if isinstance(values, dict):
            return
        sources = [self.source(child, number) for number in range(len(names))]
        shown_inputs = [number for number, source in enumerate(sources) if source is not None]
        if len(shown_inputs) != len(values):  # the definitions are of another version
            saved = [number for number in range(len(names)) if self.is_saved_field(child, number)]
            shown_inputs = saved if len(saved) == len(values) else shown_inputs
        longer = len(values) > len(shown_inputs) and not pairs
        at = 0
        for number in shown_inputs if not by_name else []:
            if at < len(values) and values[at] is not None:
                child.promoted[number] = values[at]
            item = self.source_input(child, number) if longer else None
            at += 1 + (controls(item) if item is not None else 0)
        for (inner, field), value in zip(pairs, values):
            if value is None:
                continue
            if inner == "-1":
                if field in names:
                    child.promoted[names.index(field)] = value
            elif (inner, field) in sources:
                child.promoted[sources.index((inner, field))] = value
            elif inner:
                child.overrides[inner, field] = value

    def source(self, child: Scope, number: int) -> tuple[str, str] | None:
        """(node, field) whose value an input of a subgraph shows: the first that it feeds."""
        definition = child.definition
        for link_id in definition.fed[number] if definition is not None else []:
            link = child.graph.links.get(link_id)
            target = child.graph.nodes.get(link.target) if link is not None else None
            if link is None or target is None:
                continue
            slot = next((slot for slot in target.inputs if slot.link == link_id), None)
            if slot is None:
                continue
            if self.definition(target) is not None:
                inner = child.children.get(target.id)
                index = self.input_index(target, slot)
                if inner is not None and index is not None and self.source(inner, index):
                    return target.id, slot.name
            elif any(widget.name == slot.name for widget in self.widgets(child, target)):
                return target.id, slot.name
        return None

    def is_saved_field(self, child: Scope, number: int) -> bool:
        """Whether the file says that an input of a subgraph feeds a field."""
        definition = child.definition
        for link_id in definition.fed[number] if definition is not None else []:
            link = child.graph.links.get(link_id)
            target = child.graph.nodes.get(link.target) if link is not None else None
            slots = target.inputs if target is not None else []
            if any(slot.link == link_id and slot.widget is not None for slot in slots):
                return True
        return False

    def source_input(self, child: Scope, number: int) -> Input | None:
        """The input whose value an input of a subgraph shows, however deep it is."""
        for _ in range(60):
            found = self.source(child, number)
            if found is None:
                return None
            target = child.graph.nodes[found[0]]
            if self.definition(target) is None:
                widgets = self.widgets(child, target)
                return next((w.input for w in widgets if w.name == found[1]), None)
            slot = target.input(found[1])
            index = self.input_index(target, slot) if slot is not None else None
            inner = child.children.get(target.id)
            if inner is None or index is None:
                return None
            child, number = inner, index
        return None

    def input_index(self, instance: Node, slot: Slot) -> int | None:
        """Which input of the definition a slot of an instance is."""
        definition = self.definition(instance)
        if definition is None:
            return None
        names = [item.name for item in definition.inputs]
        if slot.name in names:
            return names.index(slot.name)
        at = instance.inputs.index(slot) if slot in instance.inputs else len(names)
        return at if at < len(names) else None

    def outer_slot(self, child: Scope, number: int) -> Slot | None:
        """The slot of an instance for an input of its definition."""
        instance, definition = child.instance, child.definition
        if instance is None or definition is None or number >= len(definition.inputs):
            return None
        slot = instance.input(definition.inputs[number].name)
        if slot is not None:
            return slot
        names = {item.name for item in definition.inputs}
        other = instance.inputs[number] if number < len(instance.inputs) else None
        return other if other is not None and other.name not in names else None

    def shown_value(self, child: Scope, number: int) -> list[Any] | None:
        """The value that an instance has for one of its inputs, in a list; None: no field."""
        if child.definition is not None and child.definition.fields is not None:
            return None  # a group node has set it inside
        definition = child.definition
        if definition is None or number >= len(definition.fed):
            return None
        source = self.source(child, number)
        if source is None:
            return None
        instance, parent = child.instance, child.parent
        if instance is not None and parent is not None:
            name = definition.inputs[number].name
            if (instance.id, name) in parent.overrides:
                return [parent.overrides[instance.id, name]]
        if number in child.promoted:
            return [child.promoted[number]]
        target = child.graph.nodes[source[0]]
        inner = child.children.get(target.id)
        if inner is not None:
            slot = target.input(source[1])
            index = self.input_index(target, slot) if slot is not None else None
            return self.shown_value(inner, index) if index is not None else None
        for widget in self.widgets(child, target):
            if widget.name == source[1]:
                return [self.own_value(child, target, widget)]
        return None

    # --- fields and slots of one node -----------------------------------------------------

    def is_virtual(self, node: Node) -> bool:
        """Whether it is one of those that only the GUI has."""
        return node.type in CORE or (node.type in ALL and self.defs.get(node.type) is None)

    def widgets(self, scope: Scope, node: Node) -> list[Widget]:
        """Its fields, with the values that the file has for them."""
        return self.read_fields(scope, node)[0]

    def read_fields(self, scope: Scope, node: Node) -> tuple[list[Widget], Json]:
        """The same, and what else its values hold; warnings are noted once."""
        if node.id in scope.fields:
            return scope.fields[node.id]
        inputs = self.defs.inputs(node.type)
        more: Json = {}
        if isinstance(node.values, dict):
            widgets, more = read_named(inputs, node.values)
        else:
            widgets, left = read_list(inputs, node.values)
            if node.named:
                widgets, _ = read_named(inputs, node.named)
            stray = [value for value in node.values[-left:] if value not in (None, "")]
            if left > 0 and stray and self.is_core(node) and node.mode == ACTIVE:
                text = f"no field for the last of its values, {brief(shown(stray)[1:-1], 60)}"
                self.warn(scope, node, f"{text}: it was saved with another version")
        scope.fields[node.id] = (widgets, more)
        return widgets, more

    def is_core(self, node: Node) -> bool:
        """Whether it comes with ComfyUI, so that no pack adds to it in the GUI."""
        module = (self.defs.get(node.type) or {}).get("python_module")
        return isinstance(module, str) and module.split(".")[0] in (
            "nodes",
            "comfy_extras",
            "comfy_api_nodes",
        )

    def own_value(self, scope: Scope, node: Node, widget: Widget) -> Any:
        """The value of a field of a node as it stands in its scope."""
        return scope.overrides.get((node.id, widget.name), widget.value)

    def inputs(self, scope: Scope, node: Node) -> list[Slot]:
        """Its inputs in the GUI's order, with its own types: sockets, then fields, then others."""
        if node.id in scope.slots:
            return scope.slots[node.id]
        result = list(node.inputs)
        if self.defs.get(node.type) is not None and not self.is_virtual(node):
            named = {slot.name: slot for slot in node.inputs}
            items = [w.input for w in self.widgets(scope, node)]
            sockets = [i for i in self.defs.inputs(node.type) if not has_field(i) and not i.hidden]
            result = []
            fed = self.table(scope, node) if not node.inputs else {}
            for item in [*(i for i in sockets if not i.kind.startswith("COMFY_AUTOGROW")), *items]:
                own = named.pop(item.name, None)
                link = own.link if own else fed.get(len(result))
                slot = Slot(item.name, socket_type(item), link, None)
                slot.widget = item.name if has_field(item) else None
                result.append(slot)
            result += named.values()
        scope.slots[node.id] = result
        return result

    def table(self, scope: Scope, node: Node) -> dict[int, str]:
        """The links to a node of which the file doesn't list the inputs, by their places."""
        links = scope.graph.links.items()
        return {link.target_slot: key for key, link in links if link.target == node.id}

    def output_type(self, node: Node, number: int) -> str | None:
        """The type of one of its outputs."""
        kinds = self.defs.outputs(node.type)
        if number < len(kinds):
            return "*" if kinds[number].startswith("COMFY_MATCHTYPE") else kinds[number]
        return node.outputs[number].type if number < len(node.outputs) else None

    def label(self, scope: Scope, node: Node) -> str:
        """How a node is named to people: its id and its title or type."""
        definition = self.definition(node)
        name = node.title or (definition.name if definition is not None else "") or node.type
        return f"node {brief(scope.prefix + node.id, 60)} {shown(name)}"

    def warn(self, scope: Scope, node: Node, text: str) -> None:
        """Notes a warning about a node."""
        text = f"{self.where}{self.label(scope, node)}: {text}"
        if text not in self.warnings:
            self.warnings.append(text)


def socket_type(item: Input) -> str:
    """The type of the slot of an input."""
    template = item.options.get("template")
    if item.kind.startswith("COMFY_MATCHTYPE") and isinstance(template, dict):
        allowed = template.get("allowed_types")
        return allowed if isinstance(allowed, str) else "*"
    return item.kind
