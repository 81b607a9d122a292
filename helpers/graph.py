"""A workflow as ComfyUI's GUI saves it, read into one shape whichever its age.

A module, not a program. Old files (version 0.4) have links as lists [ID, FROM, SLOT, TO, SLOT,
TYPE], new ones (version 1, and all subgraphs) as objects; ids are numbers or texts. Here all ids
are texts. Nothing is judged but the shape: `Problem` for what is no workflow, and warnings for
parts that can't be read.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from job_file import Problem
from wording import brief, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from typing import Any

    Json = dict[str, Any]

ACTIVE, MUTED, BYPASSED = 0, 2, 4  # node modes; 1 and 3 run like 0
INPUT_NODE, OUTPUT_NODE = "-10", "-20"  # the ends of a subgraph, as links name them
MAX_NODES = 100_000


def as_id(value: Any) -> str | None:
    """An id as text; None when it can't be one."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return str(int(value)) if value == value and abs(value) < 2**63 else None


def as_slot(value: Any) -> int | None:
    """The number of a slot; None when it can't be one."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value < 100_000 else None


def as_list(value: Any) -> list[Any]:
    """A list; [] for everything else."""
    return value if isinstance(value, list) else []


def as_object(value: Any) -> Json:
    """An object; {} for everything else."""
    return value if isinstance(value, dict) else {}


def as_type(value: Any) -> str:
    """The type of a slot: a combo's list of values counts as COMBO, nothing as anything."""
    if isinstance(value, list):
        return "COMBO"
    return value if isinstance(value, str) else "*"


class Link:
    """A connection of two slots; `origin` and `target` are ids of nodes."""

    __slots__ = ("origin", "origin_slot", "target", "target_slot")

    def __init__(self, origin: str, origin_slot: int, target: str, target_slot: int) -> None:
        self.origin = origin
        self.origin_slot = origin_slot
        self.target = target
        self.target_slot = target_slot


class Slot:
    """An input or output. link: the id of the link to an input; widget: the field it belongs to."""

    __slots__ = ("label", "link", "name", "type", "widget")

    def __init__(self, name: str, kind: str, link: str | None, widget: str | None) -> None:
        self.name = name
        self.label = ""
        self.type = kind
        self.link = link
        self.widget = widget


class Node:
    """One node. values: its widgets' values, a list in their order or an object by name.

    named: the same values by name, when newer files have the list in both forms.
    """

    __slots__ = (
        "id",
        "inputs",
        "mode",
        "named",
        "outputs",
        "pack",
        "properties",
        "title",
        "type",
        "values",
    )

    def __init__(self, node_id: str, raw: Json) -> None:
        self.id = node_id
        self.type = str(raw["type"])
        title = raw.get("title")
        self.title = title if isinstance(title, str) else ""
        mode = raw.get("mode")
        self.mode = mode if mode in (MUTED, BYPASSED) else ACTIVE
        self.properties = as_object(raw.get("properties"))
        self.inputs = [read_slot(slot) for slot in as_list(raw.get("inputs")) if as_object(slot)]
        self.outputs = [read_slot(slot) for slot in as_list(raw.get("outputs")) if as_object(slot)]
        values = raw.get("widgets_values")
        named = raw.get("widgets_values_named")
        if not isinstance(values, (list, dict)) and isinstance(named, dict):
            values = named
        self.values: list[Any] | Json = values if isinstance(values, (list, dict)) else []
        # Somebody who changes a value by hand may change it in the list alone.
        in_both = isinstance(named, dict) and named and list(named.values()) == values
        self.named: Json = as_object(named) if in_both else {}
        pack = self.properties.get("cnr_id") or self.properties.get("aux_id")
        self.pack = pack if isinstance(pack, str) else ""

    def input(self, name: str) -> Slot | None:
        """Its input of that name."""
        return next((slot for slot in self.inputs if slot.name == name), None)


def read_slot(raw: Json) -> Slot:
    """An input or output of a node or subgraph."""
    name, widget = raw.get("name"), raw.get("widget")
    # A very old file has the widget's name in a list: [NAME, ...].
    held = widget.get("name") if isinstance(widget, dict) else None
    name = name if isinstance(name, str) else ""
    held = held if isinstance(held, str) else (name if isinstance(widget, (dict, list)) else None)
    slot = Slot(name, as_type(raw.get("type")), as_id(raw.get("link")), held)
    label = raw.get("label")
    slot.label = label if isinstance(label, str) else ""
    return slot


class Graph:
    """The nodes and links of a workflow or of a subgraph."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.links: dict[str, Link] = {}


class Subgraph:
    """A definition that nodes are instances of, by its `id`; also what a group node stands for.

    inputs and outputs: its slots; fed: for each input the ids of the links from it;
    result: for each output the id of the link to it. fields: of a group node, see group_nodes.py.
    """

    def __init__(self, name: str, graph: Graph) -> None:
        self.name = name
        self.graph = graph
        self.inputs: list[Slot] = []
        self.outputs: list[Slot] = []
        self.fed: list[list[str]] = []
        self.result: list[str | None] = []
        self.fields: list[tuple[str, str, str]] | None = None


def read_links(raw: Any, where: str, warnings: list[str]) -> dict[str, Link]:
    """Links by their ids, of either form."""
    items = list(raw.values()) if isinstance(raw, dict) else as_list(raw)
    links, broken = {}, 0
    for item in items:
        if isinstance(item, dict):
            keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            item = [item.get(key) for key in keys]
        parts = as_list(item)
        if len(parts) < 5:
            broken += item is not None
            continue
        link_id, origin, target = as_id(parts[0]), as_id(parts[1]), as_id(parts[3])
        start, end = as_slot(parts[2]), as_slot(parts[4])
        if link_id is None or origin is None or target is None or start is None or end is None:
            broken += 1
            continue
        links[link_id] = Link(origin, start, target, end)
    if broken:
        warnings.append(f"{where}{broken} of its links can't be read and are left out")
    return links


def read_graph(raw: Json, where: str, warnings: list[str]) -> Graph:
    """The nodes and links in `raw`; `where` begins what is said of it."""
    graph = Graph()
    nodes = raw.get("nodes")
    if not isinstance(nodes, list):
        raise Problem(f"{where}is not a workflow: it has no list of nodes")
    if len(nodes) > MAX_NODES:
        raise Problem(f"{where}has more than {MAX_NODES} nodes")
    for number, item in enumerate(nodes):
        node_id = as_id(item.get("id")) if isinstance(item, dict) else None
        if node_id is None or not isinstance(item.get("type"), str) or not item["type"]:
            raise Problem(
                f"{where}nodes[{number}] is no node, which has id and type: {shown(item)}"
            )
        if node_id in graph.nodes:
            warnings.append(f"{where}two nodes have the id {brief(node_id, 40)}; the first counts")
            continue
        graph.nodes[node_id] = Node(node_id, item)
    graph.links = read_links(raw.get("links"), where, warnings)
    for link_id, link in graph.links.items():
        # The table of links counts more than what a slot says of its link.
        node = graph.nodes.get(link.target)
        slot = (
            node.inputs[link.target_slot] if node and link.target_slot < len(node.inputs) else None
        )
        if slot is not None and (slot.link is None or slot.link not in graph.links):
            slot.link = link_id
    return graph


def read_subgraph(raw: Json, where: str, warnings: list[str]) -> Subgraph:
    """A definition of definitions.subgraphs."""
    name = raw.get("name")
    name = name if isinstance(name, str) else ""
    where = f"{where}subgraph {shown(name)}: "
    subgraph = Subgraph(name, read_graph(raw, where, warnings))
    links = subgraph.graph.links
    enter = as_id(as_object(raw.get("inputNode")).get("id")) or INPUT_NODE
    leave = as_id(as_object(raw.get("outputNode")).get("id")) or OUTPUT_NODE
    for link in links.values():
        link.origin = INPUT_NODE if link.origin == enter else link.origin
        link.target = OUTPUT_NODE if link.target == leave else link.target
    for number, item in enumerate(as_list(raw.get("inputs"))):
        subgraph.inputs.append(read_slot(as_object(item)))
        known = [as_id(link) for link in as_list(as_object(item).get("linkIds"))]
        ids = [link for link in known if link is not None and link in links]
        if not ids:
            ids = [
                key
                for key, link in links.items()
                if link.origin == INPUT_NODE and link.origin_slot == number
            ]
        subgraph.fed.append(ids)
    for number, item in enumerate(as_list(raw.get("outputs"))):
        subgraph.outputs.append(read_slot(as_object(item)))
        subgraph.result.append(output_link(item, number, links))
    return subgraph


def output_link(raw: Any, number: int, links: dict[str, Link]) -> str | None:
    """The id of the link to an output of a subgraph."""
    for key, link in links.items():
        if link.target == OUTPUT_NODE and link.target_slot == number:
            return key
    for item in as_list(as_object(raw).get("linkIds")):
        link_id = as_id(item)
        if link_id is not None and link_id in links:
            return link_id
    return None


class Workflow:
    """A whole file: its own graph, and by their ids the subgraphs that it defines.

    broadcasts: [FROM, SLOT, TO, SLOT], the links that "Use Everywhere" nodes stood for.
    """

    def __init__(self, raw: Any, label: str) -> None:
        where = f"{label}: "
        if not isinstance(raw, dict):
            raise Problem(f"{where}is not a workflow, but {shown(raw)}")
        self.warnings: list[str] = []
        self.graph = read_graph(raw, where, self.warnings)
        if not self.graph.nodes:
            raise Problem(f"{where}has no nodes")
        self.subgraphs: dict[str, Subgraph] = {}
        listed = as_object(raw.get("definitions")).get("subgraphs")
        listed = list(listed.values()) if isinstance(listed, dict) else as_list(listed)
        for item in listed:
            key = as_id(as_object(item).get("id"))
            if key is None:
                raise Problem(f"{where}definitions.subgraphs has one without an id: {shown(item)}")
            self.subgraphs[key] = read_subgraph(item, where, self.warnings)
        extra = as_object(raw.get("extra"))
        self.groups = as_object(extra.get("groupNodes"))
        self.broadcasts = read_broadcasts(extra.get("ue_links"))


def read_broadcasts(raw: Any) -> dict[tuple[str, int], tuple[str, int]]:
    """Where "Use Everywhere" fed which input from: {(TO, SLOT): (FROM, SLOT)}."""
    result = {}
    for item in as_list(raw):
        item = as_object(item)
        target, origin = as_id(item.get("downstream")), as_id(item.get("upstream"))
        end, start = as_slot(item.get("downstream_slot")), as_slot(item.get("upstream_slot"))
        if target is not None and origin is not None and end is not None and start is not None:
            result[target, end] = (origin, start)
    return result


def find_circle(api: dict[str, Json]) -> list[str]:
    """The ids of nodes of an API workflow that wait for one another; [] when there are none."""
    done: set[str] = set()
    for start in api:
        path: list[str] = []
        on_path: set[str] = set()
        stack = [(start, False)]
        while stack:
            node_id, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(node_id)
                continue
            if node_id in on_path:
                return [*path[path.index(node_id) :], node_id]
            if node_id in done:
                continue
            path.append(node_id)
            on_path.add(node_id)
            stack.append((node_id, True))
            for value in api[node_id]["inputs"].values():
                if isinstance(value, list) and value[0] in api:
                    stack.append((value[0], False))
    return []
