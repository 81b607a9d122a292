"""Follows a link of a workflow back, through all that only the GUI knows, to what really runs.

A module of convert_workflow.py, not a program.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from graph import BYPASSED, INPUT_NODE, MUTED, Link, Node, Slot
from job_file import Problem
from virtual_nodes import (
    GETTERS,
    PRIMITIVE,
    REROUTES,
    SETTERS,
    first_value,
    name_of,
    setter_of,
)
from wording import brief, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from subgraphs import Network, Scope

    # (node id, output), a value in a list (followed by the primitive that it is from), or why
    # there is nothing
    Found = Union[tuple[str, int], list[Any], str]

UNLINKED = "nothing is linked to the subgraph's input"
MAX_STEPS = 20_000  # of one link through nodes that do not run


def fits(one: str, other: str) -> bool:
    """Whether slots of two types may be linked: "*" takes all, "A,B" takes either."""
    if one in ("", "*") or other in ("", "*") or one == other:
        return True
    ours, theirs = one.casefold().split(","), other.casefold().split(",")
    return any(kind in ("", "*") or kind in theirs for kind in ours)


class Trace:
    """One link on its way back to what feeds it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps: set[tuple[int, str, int, bool]] = set()
        self.detour = False  # it went through a node that does not run

    def once(self, scope: Scope, node: Node, number: int, is_output: bool) -> None:
        """Problem when this place was passed before: the link feeds itself."""
        step = (id(scope), node.id, number, is_output)
        if step in self.steps or len(self.steps) > MAX_STEPS:
            label = self.network.label(scope, node)
            raise Problem(f"{self.network.where}{label}: its links go round in a circle")
        self.steps.add(step)

    def input(self, scope: Scope, node: Node, slot: Slot, kind: str) -> Found:
        """What feeds a slot; kind: the type that is wanted where the link ends."""
        while True:
            link = scope.graph.links.get(slot.link) if slot.link is not None else None
            if link is None:
                return "nothing is linked to it" if slot.link is None else "its link is not there"
            self.once(scope, node, -1 - link.target_slot, False)
            if link.origin != INPUT_NODE or scope.parent is None or scope.instance is None:
                return self.origin(scope, link, kind)
            # A file leaves out the inputs of an instance that nothing is linked to.
            outer = self.network.outer_slot(scope, link.origin_slot)
            if outer is None or outer.link is None:
                value = self.network.shown_value(scope, link.origin_slot)
                return value if value is not None else UNLINKED
            node, slot, scope = scope.instance, outer, scope.parent

    def origin(self, scope: Scope, link: Link, kind: str) -> Found:
        """What comes out where a link begins."""
        node = scope.graph.nodes.get(link.origin)
        if node is None:
            return f"it is linked to node {brief(link.origin, 40)}, which is not there"
        return self.output(scope, node, link.origin_slot, kind)

    def output(self, scope: Scope, node: Node, number: int, kind: str) -> Found:
        """What comes out of an output."""
        network = self.network
        self.once(scope, node, number, True)
        if node.mode == BYPASSED and node.type != PRIMITIVE:
            return self.bypass(scope, node, number, kind)
        child = scope.children.get(node.id)
        definition = network.definition(node)
        if definition is not None:
            if child is None:
                return f"it is linked to {network.label(scope, node)}, which is muted"
            link_id = definition.result[number] if number < len(definition.result) else None
            link = child.graph.links.get(link_id) if link_id is not None else None
            if link is None:
                return f"nothing comes out of output {number} of {network.label(scope, node)}"
            if link.origin != INPUT_NODE:
                return self.origin(child, link, kind)
            outer = network.outer_slot(child, link.origin_slot)
            if outer is not None and outer.link is not None:
                return self.input(scope, node, outer, kind)
            return f"nothing comes out of output {number} of {network.label(scope, node)}"
        if node.mode == MUTED and node.type != PRIMITIVE:
            return f"it is linked to {network.label(scope, node)}, which is muted"
        if not network.is_virtual(node):
            return scope.prefix + node.id, number
        return self.virtual(scope, node, number, kind)

    def virtual(self, scope: Scope, node: Node, number: int, kind: str) -> Found:
        """What comes out of a node that only the GUI has."""
        network = self.network
        if node.type == PRIMITIVE:
            if self.detour:
                return (
                    f"the value of {network.label(scope, node)} goes only to what it is linked to"
                )
            return [scope.overrides.get((node.id, "value"), first_value(node)), node]
        self.detour = True
        if node.type in GETTERS:
            place: Scope | None = scope
            while place is not None:
                setter = setter_of(node, place.graph)
                if setter is not None and setter.inputs:
                    return self.input(place, setter, setter.inputs[0], kind)
                place = place.parent
            return f"no node sets {shown(name_of(node))}, which {network.label(scope, node)} gets"
        if node.type in REROUTES or node.type in SETTERS:
            index = number if number < len(node.inputs) else 0
            if node.inputs:
                return self.input(scope, node, node.inputs[index], kind)
        return f"nothing comes out of {network.label(scope, node)}"

    def bypass(self, scope: Scope, node: Node, number: int, kind: str) -> Found:
        """What goes past a bypassed node: its input at the same place, else the first that fits."""
        slots = self.network.inputs(scope, node)
        out = self.network.output_type(node, number)
        label = self.network.label(scope, node)
        chosen: Slot | None = None
        if kind in ("*", ""):
            chosen = slots[number if number < len(slots) else 0] if slots else None
        elif out is not None:
            same = slots[number] if number < len(slots) else None
            if same is not None and fits(same.type, out) and fits(same.type, kind):
                chosen = same
            else:
                exact = [slot for slot in slots if slot.type == kind]
                loose = [slot for slot in slots if fits(slot.type, out) and fits(slot.type, kind)]
                found = exact or loose
                chosen = found[0] if found else None
        if chosen is None:
            return f"{label} is bypassed and has no input of the type {shown(kind)}"
        self.detour = True
        if chosen.link is None:
            return f"{label} is bypassed and its input {shown(chosen.name)} is not linked"
        return self.input(scope, node, chosen, chosen.type)
