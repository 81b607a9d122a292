"""Group nodes, which came before subgraphs: each becomes a subgraph here. A module, not a program.

`extra.groupNodes` of a workflow has {NAME: {nodes, links, external, config}}: nodes are named by
their numbers, links are [FROM, SLOT, TO, SLOT, ...], and which slots and fields the group node
shows, and in which order, follows from them.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from graph import (
    INPUT_NODE,
    OUTPUT_NODE,
    Graph,
    Link,
    Node,
    Slot,
    Subgraph,
    as_id,
    as_list,
    as_object,
    as_slot,
    as_type,
)
from job_file import Problem
from virtual_nodes import ALL, PRIMITIVE, REROUTES
from widgets import controls, has_field
from wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from object_info import Json, NodeDefs

PREFIXES = ("workflow>", "workflow/")


def group_name(kind: str) -> str | None:
    """The name of the group that a node of the type `kind` stands for; None for others."""
    for prefix in PREFIXES:
        if kind.startswith(prefix):
            return kind[len(prefix) :]
    return None


class Builder:
    """Makes the subgraph of one group."""

    def __init__(self, name: str, raw: Json, defs: NodeDefs, where: str) -> None:
        self.where = f"{where}group node {shown(name)}: "
        self.raw = raw
        self.defs = defs
        self.group = Subgraph(name, Graph())
        self.nodes: list[Node] = []
        self.seen: dict[str, int] = {}
        self.shown_outputs: set[str] = set()
        # Where links inside begin and end: (node, slot)
        self.fed: dict[tuple[str, int], Link] = {}
        self.used: dict[tuple[str, int], list[Link]] = {}
        self.outer = {
            (as_id(item[0]), as_slot(item[1]))
            for item in as_list(raw.get("external"))
            if isinstance(item, list) and len(item) >= 2
        }

    def build(self) -> Subgraph:
        """The group as a subgraph, with `fields`: its fields in order as (name, node, field)."""
        for number, item in enumerate(as_list(self.raw.get("nodes"))):
            if not isinstance(item, dict) or not isinstance(item.get("type"), str):
                raise Problem(f"{self.where}nodes[{number}] is no node: {shown(item)}")
            node = Node(str(number), item)
            for slot in node.inputs:
                slot.link = None
            self.nodes.append(node)
            self.group.graph.nodes[node.id] = node
        self.read_links()
        self.group.fields = []
        later: list[tuple[Node, str]] = []
        for node in self.nodes:
            later += self.add_node(node)
            self.add_outputs(node)
        for node, name in later:
            shown_as = self.new_name(node, name)
            self.add_input(node, name, shown_as)
            self.group.fields += self.field(node, name, shown_as)
        return self.group

    def read_links(self) -> None:
        """The links inside, each at both of its ends."""
        links = self.group.graph.links
        for item in as_list(self.raw.get("links")):
            parts = as_list(item)
            if len(parts) < 4 or parts[0] is None:
                continue
            origin, start, target, end = (as_id(parts[0]), as_slot(parts[1]), as_id(parts[2]),
                                          as_slot(parts[3]))  # fmt: skip
            if origin is None or start is None or target is None or end is None:
                continue
            node = self.group.graph.nodes.get(target)
            if origin not in self.group.graph.nodes or node is None:
                continue
            link = Link(origin, start, target, end)
            self.fed[target, end] = link
            self.used.setdefault((origin, start), []).append(link)
            if end < len(node.inputs):
                node.inputs[end].link = str(len(links))
                links[str(len(links))] = link

    def config(self, node: Node, section: str, name: str) -> Json:
        """What people have set for a slot: name, visible."""
        settings = as_object(as_object(self.raw.get("config")).get(node.id))
        return as_object(as_object(settings.get(section)).get(name))

    def new_name(self, node: Node, name: str) -> str:
        """What an inner input or field is called on the group node."""
        own = node.input(name)
        custom = self.config(node, "input", name).get("name")
        label = own.label if own is not None else ""
        result = custom if isinstance(custom, str) and custom else label or name
        key, prefix = result, ""
        if (node.type == PRIMITIVE and node.title) or result in self.seen:
            prefix = f"{node.title or node.type} "
            key = result = prefix + name
            if result in self.seen:
                result = f"{prefix}{self.seen[result]} {name}"
        self.seen[key] = self.seen.get(key, 1) + 1
        return result

    def field(self, node: Node, name: str, shown_as: str) -> list[tuple[str, str, str]]:
        """The places that a field takes among the values of the group node."""
        item = next((item for item in self.defs.inputs(node.type) if item.name == name), None)
        count = controls(item) if item is not None else 0
        return [(shown_as, node.id, name), *[("", "", "")] * count]

    def add_input(self, node: Node, name: str, shown_as: str) -> None:
        """A slot of the group node that feeds the input `name` of an inner node."""
        graph = self.group.graph
        slot = node.input(name)
        if slot is None:
            slot = Slot(name, "*", None, None)
            node.inputs.append(slot)
        link_id = f"in{len(self.group.inputs)}"
        graph.links[link_id] = Link(
            INPUT_NODE, len(self.group.inputs), node.id, node.inputs.index(slot)
        )
        slot.link = link_id
        self.group.inputs.append(Slot(shown_as, slot.type, None, None))
        self.group.fed.append([link_id])

    def add_node(self, node: Node) -> list[tuple[Node, str]]:
        """The slots and fields that an inner node brings; those to be added at the end."""
        assert self.group.fields is not None
        if node.type in ALL and self.defs.get(node.type) is None:
            self.add_virtual(node)
            return []
        later, sockets = [], []
        for item in self.defs.inputs(node.type):
            if not has_field(item):
                sockets.append(item.name)
                continue
            slot = node.input(item.name)
            if slot is not None and slot.widget == item.name:
                if slot.link is None:  # of a linked one the group node shows nothing
                    later.append((node, item.name))
                continue
            shown_as = self.new_name(node, item.name)
            self.group.fields += self.field(node, item.name, shown_as)
        for name in sockets:
            slot = node.input(name)
            if slot is not None and slot.link is not None:
                continue
            shown_as = self.new_name(node, name)
            if self.config(node, "input", name).get("visible") is not False:
                self.add_input(node, name, shown_as)
        return later

    def add_virtual(self, node: Node) -> None:
        """The same for a node that only the GUI has."""
        assert self.group.fields is not None
        targets = self.used.get((node.id, 0), [])
        if node.type == PRIMITIVE and targets:
            shown_as = self.new_name(node, "value")
            self.group.fields.append((shown_as, node.id, "value"))
            if self.kind_of(targets[0]) in ("INT", "FLOAT"):
                self.group.fields.append(("", "", ""))
            elif self.kind_of(targets[0]) == "COMBO":
                self.group.fields += [("", "", "")] * 2
        elif node.type in REROUTES and (node.id, 0) not in self.fed:
            kind = self.kind_of(targets[0]) if targets else "*"
            if not node.inputs:
                node.inputs.append(Slot("", kind, None, None))
            shown_as = self.new_name(node, kind)
            name = node.inputs[0].name
            self.add_input(node, name, shown_as)

    def kind_of(self, link: Link) -> str:
        """The type of the input that a link ends in."""
        node = self.group.graph.nodes[link.target]
        slot = node.inputs[link.target_slot] if link.target_slot < len(node.inputs) else None
        for item in self.defs.inputs(node.type):
            if slot is not None and item.name == slot.name:
                return item.widget
        return slot.type if slot is not None else "*"

    def add_outputs(self, node: Node) -> None:
        """The outputs of an inner node that the group node shows."""
        kinds = self.defs.outputs(node.type)
        if node.type in REROUTES and (
            not self.used.get((node.id, 0)) or (node.id, 0) not in self.fed
            or (node.id, 0) in self.outer
        ):  # fmt: skip
            kinds = ["*"]
        for number, kind in enumerate(kinds):
            inside = self.used.get((node.id, number)) and (node.id, number) not in self.outer
            visible = self.config(node, "output", str(number)).get("visible")
            if not (visible if isinstance(visible, bool) else not inside):
                continue
            place = len(self.group.outputs)
            link_id = f"out{place}"
            self.group.graph.links[link_id] = Link(node.id, number, OUTPUT_NODE, place)
            self.group.outputs.append(Slot("", as_type(kind), None, None))
            self.group.result.append(link_id)


def group_values(group: Subgraph, node: Node) -> dict[tuple[str, str], Any]:
    """What the fields of a group node say: {(inner node, field): value}."""
    result: dict[tuple[str, str], Any] = {}
    values = node.values
    for place, (name, inner, field) in enumerate(group.fields or []):
        if not inner:
            continue
        if isinstance(values, dict):
            if name in values:
                result[inner, field] = values[name]
        elif place < len(values):
            result[inner, field] = values[place]
    return result
