#!/usr/bin/env python3
"""Compare a workflow in API format with node definitions, before anybody pays for it.

What the server itself would refuse (or what stops its worker for good) is an error, all else a
warning. The rules are those of ComfyUI 0.3.64 and 0.33.0 (validate_prompt and validate_inputs in
execution.py): every node's class has to exist; beyond that only nodes that lead to an output are
looked at; defaults are not applied; values are coerced as Python does; lists of V3 nodes are not
checked (newer servers do). Nodes of custom packs may have checks of their own instead of those for
limits, lists and types of links, so that there these are warnings.

As a program it prints a line each, FILE:NODE:FIELD: SEVERITY: TEXT (no NODE and no FIELD where it
is about the whole), and exits with 2 when there is an error.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from check_values import value_findings
from job_file import is_link
from object_info import DYNAMIC_COMBO, MATCH_TYPE, SLOT
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any

    from object_info import Input, NodeDefs

    Json = dict[str, Any]

LISTED = 5  # nodes of one unknown class that are named
# Of packs whose nodes may check what they are given in a way of their own.
OWN_CHECKS = ("custom_nodes", "comfy_api_nodes")


class Finding:
    """One thing to say of a workflow; `node` and `field` are empty where it is about the whole.

    stale: on another server, or on one that has changed, it could be otherwise.
    """

    __slots__ = ("field", "node", "severity", "stale", "text")

    def __init__(self, severity: str, node: str, field: str, text: str, stale: bool) -> None:
        self.severity = severity  # "error" or "warning"
        self.node = clean(node)
        self.field = clean(field)
        self.text = clean(text)
        self.stale = stale

    def __repr__(self) -> str:
        return (
            f"Finding({self.severity}, {self.node!r}, {self.field!r}, {self.text!r}, {self.stale})"
        )

    def line(self, label: str) -> str:
        """How it is told to people: FILE:NODE:FIELD: SEVERITY: TEXT."""
        place = f"{self.node}:{self.field}:" if self.field else f"{self.node}:" if self.node else ""
        return f"{clean(label)}:{place} {self.severity}: {self.text}"


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean "X"?` for the nearest of `known`; empty when none is near."""
    from difflib import get_close_matches

    lower = {item.lower(): item for item in known}
    close = get_close_matches(word.lower(), lower, 1, 0.6)
    return f"; did you mean {shown(lower[close[0]])}?" if close else ""


def types_fit(given: Any, wanted: Any) -> bool:
    """Whether an output of the type `given` may be linked to an input of the type `wanted`.

    As validate_node_input: types between commas are a union, of which one has to be common;
    "*" and match types fit all. A list is the type of a V1 combo.
    """
    if given == wanted or "*" in (given, wanted) or MATCH_TYPE in (given, wanted):
        return True
    if not isinstance(given, str) or not isinstance(wanted, str):
        return isinstance(given, list) and (wanted == "COMBO" or isinstance(wanted, list))
    sides = [{part.strip() for part in side.split(",")} for side in (given, wanted)]
    return "*" in sides[0] | sides[1] or bool(sides[0] & sides[1])


class Checker:
    """The check of one workflow; see check()."""

    def __init__(self, workflow: Json, defs: NodeDefs, source: str, uploads: Collection[str],
                 origins: dict[str, str]) -> None:  # fmt: skip
        self.workflow = workflow
        self.defs = defs
        self.live = source == "live"
        self.uploads = uploads
        self.origins = origins
        self.findings: list[Finding] = []
        self.nodes: Json = {}  # those that have a class and inputs
        self.needed: set[str] = set()  # those that the server validates
        self.told: set[str] = set()  # of the others those of which something was said

    def note(self, severity: str, node: str, field: str, text: str, stale: bool = False,
             everywhere: bool = False) -> None:  # fmt: skip
        """Notes a finding. What another server may have is an error only on this one.

        everywhere: the server looks at it also in nodes that no output needs.
        """
        if severity == "error" and stale and not self.live:
            severity = "warning"
        if node in self.nodes and node not in self.needed and not everywhere:
            if node in self.told:
                return
            self.told.add(node)
            severity, text = "warning", f"{text} (no output needs this node)"
        self.findings.append(Finding(severity, node, field, self._named(node, text), stale))

    def _named(self, node: str, text: str) -> str:
        """`text` with the node's class and title in front, as people know it."""
        if node not in self.nodes:
            return text
        class_type, title = self.nodes[node]["class_type"], title_of(self.nodes[node])
        name = class_type if title in ("", class_type) else f"{class_type} {shown(title)}"
        return f"{name[:100]}: {text}"

    def run(self) -> list[Finding]:
        """All findings, in the order of the nodes."""
        self._structure()
        known = self.defs.known
        unknown = self._classes() if known else False
        outputs = self._outputs(unknown)
        self.needed = self._reach(outputs)
        self._circles()
        for node_id, node in self.nodes.items():
            if known and self.defs.get(node["class_type"]):
                self._inputs(node_id, node)
            else:
                self._links_without_definition(node_id, node)
        order = {node_id: place for place, node_id in enumerate(self.workflow)}
        self.findings.sort(key=lambda finding: order.get(finding.node, -1))
        return self.findings

    # --- the whole ---

    def _structure(self) -> None:
        """Nodes that are none: the server refuses them, or its worker stops for good."""
        for node_id, node in self.workflow.items():
            if not isinstance(node, dict):
                self.note("error", node_id, "", "must be an object with class_type and inputs")
            elif not isinstance(node.get("class_type"), str) or not node["class_type"]:
                self.note("error", node_id, "", "has no class_type")
            elif not isinstance(node.get("inputs"), dict):
                text = "has no inputs object, which stops the worker of a server for good"
                self.note("error", node_id, "", text)
            else:
                self.nodes[node_id] = node

    def _classes(self) -> bool:
        """Whether there are nodes of classes that the definitions lack; each class is told once."""
        users: dict[str, list[str]] = {}
        for node_id, node in self.nodes.items():
            if not self.defs.get(node["class_type"]):
                users.setdefault(node["class_type"], []).append(node_id)
        for class_type, ids in users.items():
            where = "the server has no node of this class" if self.live else (
                "no node of this class is among the definitions at hand")  # fmt: skip
            if len(ids) > 1:
                listed = ", ".join(ids[1 : LISTED + 1]) + (", ..." if len(ids) > LISTED + 1 else "")
                where += f" (also node {listed})"
            pack = self.origins.get(class_type)
            if pack:
                hint = f"; it is in the pack {shown(pack)}: install that with ComfyUI-Manager"
            else:
                hint = near(class_type, self.defs.classes())
                hint = hint or "; ComfyUI-Manager finds the pack that has it"
            self.note("error", ids[0], "", where + hint, True, True)
        return bool(users)

    def _outputs(self, unknown: bool) -> list[str]:
        """The nodes from which the server goes through the workflow.

        Where not every class is known, also those that nothing is linked to: each may be one.
        """
        outputs = [
            node_id
            for node_id, node in self.nodes.items()
            if (self.defs.get(node["class_type"]) or {}).get("output_node") is True
        ]
        if self.defs.known and not unknown:
            if not outputs and len(self.nodes) == len(self.workflow):
                text = "has no output node, so there is nothing to run: add one, such as SaveImage"
                self.note("error", "", "", text)
            return outputs
        linked = {source for node_id in self.nodes for _, source in self._sources(node_id)}
        return outputs + [
            node_id
            for node_id, node in self.nodes.items()
            if node_id not in linked
            and (not self.defs.known or not self.defs.get(node["class_type"]))
        ]

    def _sources(self, node_id: str) -> Iterator[tuple[str, str]]:
        """The inputs that are linked to nodes of the workflow, with these; as far as validated."""
        node = self.nodes[node_id]
        names = None
        if self.defs.known and self.defs.get(node["class_type"]):
            names = {item.name for item in self.defs.expanded(node["class_type"], node["inputs"])}
        for name, value in node["inputs"].items():
            if is_link(value) and value[0] in self.nodes and (names is None or name in names):
                yield name, value[0]

    def _reach(self, outputs: list[str]) -> set[str]:
        """The nodes that lead to one of `outputs`, and these."""
        found, waiting = set(outputs), list(outputs)
        while waiting:
            for _, source in self._sources(waiting.pop()):
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found

    def _circles(self) -> None:
        """Links in a circle; one is told for each way into it."""
        done: set[str] = set()
        for start in self.nodes:
            path, ways = [start], [self._sources(start)]
            inside = {start}
            while path and start not in done:
                for name, source in ways[-1]:
                    if source in inside:
                        circle = path[path.index(source) :]
                        ids = [clean(item) for item in (*circle, source)]
                        text = f"the links form a circle: node {' -> '.join(ids)}"
                        self.note("error", path[-1], name, text)
                    elif source not in done:
                        path.append(source)
                        inside.add(source)
                        ways.append(self._sources(source))
                        break
                else:
                    done.add(path[-1])
                    inside.discard(path.pop())
                    ways.pop()

    # --- one node ---

    def _links_without_definition(self, node_id: str, node: Json) -> None:
        """What can be said of the links of a node that nothing is known of."""
        for name, value in node["inputs"].items():
            if is_link(value):
                self._source_problem(node_id, name, value)

    def _inputs(self, node_id: str, node: Json) -> None:
        """The inputs of a node that is known, one after another."""
        class_type, inputs = node["class_type"], node["inputs"]
        declared = self.defs.expanded(class_type, inputs)
        names = {item.name for item in declared}
        others = [name for name in inputs if name not in names]
        for item in declared:
            if item.name not in inputs:
                self._missing(node_id, item, others)
            elif isinstance(inputs[item.name], list):
                self._link(node_id, item, inputs[item.name])
            else:
                value = inputs[item.name]
                if isinstance(value, dict) and "__value__" in value:
                    value = value["__value__"]
                own = self._has_own_checks(class_type)
                for severity, text, stale in value_findings(
                    class_type, item, value, own, self.uploads
                ):
                    self.note(severity, node_id, item.name, text, stale)
        for name in others:
            # The server does not look at it, but when it runs the node it follows the link.
            if is_link(inputs[name]) and inputs[name][0] not in self.workflow:
                self._source_problem(node_id, name, inputs[name])

    def _has_own_checks(self, class_type: str) -> bool:
        """Whether the node is of a pack that may check limits, lists and types in its own way."""
        module = (self.defs.get(class_type) or {}).get("python_module")
        return isinstance(module, str) and module.startswith(OWN_CHECKS)

    def _missing(self, node_id: str, item: Input, others: list[str]) -> None:
        """An input without a value; the server applies no defaults."""
        if item.kind.startswith("COMFY_DYNAMIC"):
            # It is left out of the check then, and lacking when the node runs.
            if item.required:
                self.note("warning", node_id, item.name, "is required, but not given")
            return
        if not item.required:
            return
        if item.is_widget:
            text = "is required, but the workflow does not give it"
            if "default" in item.options:
                text += f" (the default, {shown(item.options['default'])}, is only the browser's)"
        else:
            text = f"must be linked to a node that gives {item.kind}"
        self.note("error", node_id, item.name, text + near(item.name, others))

    def _source_problem(self, node_id: str, name: str, value: list[Any]) -> bool:
        """Notes a link to a node that is not there; whether it was noted."""
        source = value[0]
        if isinstance(source, str) and source in self.workflow:
            return source not in self.nodes  # what is wrong with that one is told already
        text = f"is linked to node {shown(source)}, which is missing"
        if isinstance(source, (int, float)) and str(source) in self.workflow:
            text = f'a link names its node as text: ["{source}", {shown(value[1])}]'
        self.note("error", node_id, name, text)
        return True

    def _link(self, node_id: str, item: Input, value: list[Any]) -> None:
        """A list where a value is wanted: the server takes it for a link."""
        if item.kind == DYNAMIC_COMBO:  # it is left out of the check then, and of the run
            self.note("warning", node_id, item.name, "takes one of its choices, not a link")
            return
        if len(value) != 2:
            text = f'a link is ["NODE", OUTPUT], but this is {shown(value)}'
            text += ' (a list as a value is {"__value__": [...]})'
            self.note("error", node_id, item.name, text)
            return
        if self._source_problem(node_id, item.name, value):
            return
        source, slot = self.nodes[value[0]]["class_type"], value[1]
        definition = self.defs.get(source)
        if not definition:
            return
        types = definition.get("output")
        types = types if isinstance(types, list) else []
        name = f"node {value[0]} ({source})"
        if not isinstance(slot, int) or not -len(types) <= slot < len(types):
            count = f"{len(types)} output{'' if len(types) == 1 else 's'}"
            text = (
                f"is linked to output {shown(slot)} of {name}, which has {count} (counted from 0)"
            )
            certain = not isinstance(slot, int) or not self._has_own_checks(source)
            self.note("error" if certain else "warning", node_id, item.name, text)
        elif item.kind != SLOT and not types_fit(types[slot], wanted_type(item)):
            given = types[slot] if isinstance(types[slot], str) else "one of a list"
            text = f"needs {item.kind}, but output {slot} of {name} gives {given}"
            own = self._has_own_checks(self.nodes[node_id]["class_type"])
            self.note("warning" if own else "error", node_id, item.name, text)


def wanted_type(item: Input) -> Any:
    """The type of an input as the server compares it: a V1 combo's is its list."""
    is_v1 = item.kind == "COMBO" and item.choices is not None and "options" not in item.options
    return item.choices if is_v1 else item.kind


def title_of(node: Json) -> str:
    """The title that somebody gave the node; empty when it has none."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) else ""


def check(
    workflow: Json,
    defs: NodeDefs,
    source: str,
    uploads: Collection[str] = (),
    origins: dict[str, str] | None = None,
) -> list[Finding]:
    """What is wrong with a workflow in API format.

    source: where `defs` come from: "live" (the very server that is going to run it), "saved" (of
    another time or server) or "none". uploads: names of files that will be on the server by then.
    origins: the packs in which unknown classes are, as far as a GUI graph has said so.
    """
    return Checker(workflow, defs, source, uploads, origins or {}).run()


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0; 2 when there is an error, or a file can't be read."""
    import argparse

    import job_file
    from object_info import NodeDefs

    parser = argparse.ArgumentParser(
        prog="check_workflow.py",
        description=__doc__,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    parser.add_argument("--object-info", metavar="FILE", help="an answer of /object_info")
    parser.add_argument("--live", action="store_true", help="it is of the server that will run it")
    parser.add_argument("workflow", metavar="WORKFLOW", help="in API format")
    args = parser.parse_args(argv)
    label = clean(args.workflow)
    try:
        otherwise = "is not a workflow: a JSON object of nodes is wanted"
        workflow = job_file.read_object(args.workflow, label, otherwise)
        defs = NodeDefs(args.object_info)
        source = "none" if not defs.known else "live" if args.live else "saved"
        findings = check(workflow, defs, source)
    except (job_file.Problem, job_file.Unreadable) as problem:
        sys.stderr.buffer.write(str(problem).encode("utf-8", "backslashreplace") + b"\n")
        return 2
    lines = "".join(finding.line(args.workflow) + "\n" for finding in findings)
    sys.stdout.buffer.write(lines.encode("utf-8", "backslashreplace"))
    return 2 if any(finding.severity == "error" for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
