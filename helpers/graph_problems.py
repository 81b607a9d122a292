"""What keeps a workflow of the GUI from being converted, or can't be taken over from it.

A module of convert_workflow.py, not a program.
"""

from __future__ import annotations

import os
import re
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from graph import ACTIVE
from group_nodes import group_name
from job_file import Problem
from virtual_nodes import BROADCASTERS
from wording import brief, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from graph import Node
    from subgraphs import Network, Scope

SUBGRAPH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MADE_BY_GUI = frozenset(["LOAD_3D", "LOAD_3D_ANIMATION", "WEBCAM", "AUDIO_RECORD"])


class UnknownNodes(Problem):
    """The definitions lack types that the workflow uses; other ones may have them."""


def refuse_unknown(network: Network, running: list[tuple[Scope, Node]]) -> None:
    """UnknownNodes when the definitions lack some of the nodes; Problem when the file does."""
    missing: dict[str, list[str]] = {}
    packs: dict[str, str] = {}
    for scope, node in running:
        group = group_name(node.type)
        if SUBGRAPH.fullmatch(node.type) or group is not None:
            what = f"group node {shown(group)}" if group is not None else "subgraph"
            label = network.label(scope, node)
            raise Problem(f"{network.where}{label}: its {what} is not in the file")
        if network.defs.get(node.type) is None:
            missing.setdefault(node.type, []).append(scope.prefix + node.id)
            packs[node.type] = packs.get(node.type, "") or node.pack
    if not missing:
        return
    parts = []
    for kind, ids in missing.items():
        where = ", ".join(brief(node_id, 40) for node_id in ids[:5])
        where += f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        pack = f", from the pack {brief(packs[kind], 80)}" if packs[kind] else ""
        parts.append(f"{brief(kind, 80)} (node {where}{pack})")
    raise UnknownNodes(
        f"{network.where}the server has no such nodes: {'; '.join(parts)}; "
        "install the packs there, or take the definitions of a server that has them"
    )


def tell_lost(network: Network, running: list[tuple[Scope, Node]]) -> None:
    """Warnings for what only the GUI itself could make or know."""
    for scope, node in running:
        for item in network.defs.inputs(node.type):
            if item.widget in MADE_BY_GUI:
                text = "the GUI makes it in the browser, which nothing else can do"
                network.warn(scope, node, f"{brief(item.name, 80)}: {text}")
    if network.workflow.broadcasts:
        return
    for scope, node in network.nodes:
        if node.type in BROADCASTERS and node.mode == ACTIVE:
            text = "what it feeds is not in the file: save it with a newer Use Everywhere"
            network.warn(scope, node, f"{text}, or link the inputs")
