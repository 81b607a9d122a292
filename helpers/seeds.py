"""The seeds of a workflow in API format: which fields hold them, and what they are.

For helpers beside it; not a program.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from job_file import Json
    from object_info import NodeDefs

    Field = tuple[str, str]

NAMES = ("seed", "noise_seed")
MAX_STEPS = 32  # from node to node along links


def inputs_of(workflow: Json, node_id: Any) -> Json:
    """The inputs of a node; {} for none and for what is no node."""
    node = workflow.get(node_id) if isinstance(node_id, str) else None
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def source_of(workflow: Json, field: Field) -> Field | None:
    """The field that has the number of `field`, along links to nodes that only hold one value."""
    node_id, name = field
    for _ in range(MAX_STEPS):
        value = inputs_of(workflow, node_id).get(name)
        if not isinstance(value, list):
            return (node_id, name)
        if not value or not isinstance(value[0], str):
            return None
        node_id = value[0]
        inputs = inputs_of(workflow, node_id)
        whole = [key for key, item in inputs.items() if type(item) is int]
        links = [key for key, item in inputs.items() if isinstance(item, list)]
        names = [key for key in NAMES if key in inputs] or whole or links
        if len(names) != 1:
            return None  # it is computed there
        name = names[0]
    return None


def seed_names(workflow: Json, node_id: str, defs: NodeDefs | None) -> list[str]:
    """The inputs of a node that are seeds."""
    inputs = inputs_of(workflow, node_id)
    names = [name for name in NAMES if name in inputs]
    if defs is not None and defs.known:
        node = workflow[node_id]
        kind = node.get("class_type") if isinstance(node, dict) else None
        known = defs.inputs(kind) if isinstance(kind, str) else []
        if len(known) > 1:  # a node that only holds a number is none by itself
            names += [
                item.name
                for item in known
                if item.kind == "INT"
                and item.name in inputs
                and item.name not in names
                and item.options.get("control_after_generate")
            ]
    return names


def seed_fields(workflow: Json, defs: NodeDefs | None = None) -> list[Field]:
    """The fields that hold the seeds of all samplers, each once; none that is computed."""
    found: dict[Field, None] = {}
    for node_id in workflow:
        for name in seed_names(workflow, node_id, defs):
            field = source_of(workflow, (node_id, name))
            value = inputs_of(workflow, field[0]).get(field[1]) if field else None
            fraction = isinstance(value, float) and not value.is_integer()
            if field and not fraction and not isinstance(value, bool):
                found[field] = None
    return list(found)


def seeds(workflow: Json, defs: NodeDefs | None = None) -> list[tuple[str, str, int]]:
    """(node id, field, seed) of all of them; a sampler that adds no noise has none."""
    found = []
    for node_id, name in seed_fields(workflow, defs):
        inputs = inputs_of(workflow, node_id)
        value = inputs.get(name)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 25:
            value = int(value)
        if isinstance(value, float):
            value = int(value)  # other programs write 5.0
        if isinstance(value, int) and inputs.get("add_noise") != "disable":
            found.append((node_id, name, value))
    return found


def seed_text(workflow: Json, defs: NodeDefs | None = None) -> str:
    """The seed when all are the same, else NODE=SEED of each, between commas; "" for none."""
    found = seeds(workflow, defs)
    numbers = {number for _, _, number in found}
    if len(numbers) < 2:
        return "".join(str(number) for number in numbers)
    return ",".join(f"{node_id}={number}" for node_id, _, number in found)
