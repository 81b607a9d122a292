"""The nodes that only the GUI has: they never reach the server. A module, not a program."""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from graph import Graph, Node, as_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRIMITIVE = "PrimitiveNode"
REROUTES = frozenset(["Reroute", "Reroute (rgthree)"])
SETTERS = frozenset(["SetNode", "easy setNode"])
GETTERS = frozenset(["GetNode", "easy getNode"])
# They feed inputs that nothing is linked to; which ones is saved in the file by newer versions.
BROADCASTERS = frozenset(
    [
        "Anything Everywhere",
        "Anything Everywhere?",
        "Anything Everywhere3",
        "Prompts Everywhere",
        "Seed Everywhere",
    ]
)
# Notes, labels and switches for other nodes: nothing comes out of them.
SILENT = frozenset(
    [
        "Note",
        "MarkdownNote",
        "Note Plus (mtb)",
        "Bookmark (rgthree)",
        "Label (rgthree)",
        "Fast Muter (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Actions Button (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Random Unmuter (rgthree)",
        "Node Collector (rgthree)",
        "Node Combiner (rgthree)",
    ]
)
CORE = BROADCASTERS | REROUTES | {PRIMITIVE, "Note", "MarkdownNote"}
ALL = CORE | SETTERS | GETTERS | SILENT | BROADCASTERS


def first_value(node: Node) -> Any:
    """What its first field holds; None when it has none."""
    if isinstance(node.values, dict):
        return next(iter(node.values.values()), None)
    return node.values[0] if node.values else None


def setter_of(node: Node, graph: Graph) -> Node | None:
    """The node that sets what `node` gets: the first with the same name in its field."""
    name = name_of(node)
    for other in graph.nodes.values() if name else []:
        if other.type in SETTERS and name_of(other) == name:
            return other
    return None


def name_of(node: Node) -> str:
    """The name that a set or get node carries: in its field, else in its title, Get_NAME."""
    name = first_value(node)
    if isinstance(name, str) and name:
        return name
    return node.title[4:] if node.title.startswith(("Get_", "Set_")) else ""


def proxied(node: Node) -> list[tuple[str, str]]:
    """The fields of inner nodes that an instance of a subgraph shows: [(node id, field)]."""
    listed = node.properties.get("proxyWidgets")
    if isinstance(listed, str):
        import json

        try:
            listed = json.loads(listed)
        except (ValueError, RecursionError):
            return []
    result = []
    for item in as_list(listed):
        pair = as_list(item)
        if len(pair) >= 2 and isinstance(pair[1], str):
            result.append((str(pair[0]), pair[1]))
        else:
            result.append(("", ""))
    return result
