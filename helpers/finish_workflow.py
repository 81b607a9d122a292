"""The last steps of render_template.py, where there is more to do than to fill in a template.

A GUI graph is converted, what the call and the job want is put into the nodes, and the whole is
compared with what is known of them. Not a program.
"""

from __future__ import annotations

import re

import job_file
from job_file import Problem
from seeds import seed_text
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

    from job_file import Job, Json
    from object_info import NodeDefs

    Lines = list[tuple[str, ...]]

MARK = re.compile(r"%[^%.]+\.[^%.]+%")  # see text_rules


class Finisher:
    """What becomes of one workflow; `problems`, `warnings` and `findings` fill up on the way.

    label: what it is called to people. known: where the definitions come from, "live", "saved" or
    "none". stale: whether they might be the reason for a complaint.
    """

    def __init__(self, label: str, args: argparse.Namespace) -> None:
        self.label = label
        self.args = args
        self.known = args.info if args.object_info else "none"
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.findings: Lines = []
        self.stale = False
        self.origins: dict[str, str] = {}
        self._defs: NodeDefs | None = None

    @property
    def defs(self) -> NodeDefs:
        """What is known of the nodes; Problem when the file can't be read."""
        if self._defs is None:
            from object_info import NodeDefs

            self._defs = NodeDefs(self.args.object_info)
            self._defs.may_differ = self.known == "saved"
        return self._defs

    def convert(self, graph: Json, values: Json, new: Json | None = None) -> Json | None:
        """The graph in API format; None when more must be known of the nodes first.

        `values`, those of the resolved job, say how, and which texts were held back; `new`: what
        fields are going to be (ID -> field -> value).
        """
        if self.known == "none":
            from graph import Workflow

            try:
                self.warnings += Workflow(graph, self.label).warnings
            except Problem as problem:
                self.problems += str(problem).split("\n")
            return None
        from convert_workflow import Options, UnknownNodes, convert

        options = Options(values.get("plain_text", False), new)
        try:
            workflow, warnings = convert(graph, self.defs, self.label, options)
        except Problem as problem:
            texts = str(problem).split("\n")
            if isinstance(problem, UnknownNodes) and self.known == "saved":
                self.stale = True
                texts = [text.replace(f"{self.label}: ", "", 1) for text in texts]
                self.findings += [("finding", "warning", "1", "", "", text) for text in texts]
            else:
                self.problems += texts
            return None
        self.warnings += warnings
        held = values.get("held")
        if held:
            from placeholders import release

            workflow = release(workflow, held)
        return workflow

    def set_in_graph(self, graph: Json, workflow: Json, resolved: Json) -> None:
        """set_values for a GUI graph: names of outputs tell (%NODE.FIELD%) what was set."""
        told = any(MARK.search(text) for text in texts_of(graph))
        before = {key: dict(node["inputs"]) for key, node in workflow.items()} if told else {}
        self.set_values(workflow, resolved)
        new = {
            key: {name: v for name, v in workflow[key]["inputs"].items() if inputs.get(name) != v}
            for key, inputs in before.items()
        }
        if not any(new.values()):
            return
        warnings, self.warnings = self.warnings, []
        again = self.convert(graph, resolved.get("values", {}), new) or {}
        self.warnings = warnings
        for key, node in again.items():
            if "filename_prefix" in node["inputs"] and "filename_prefix" not in new[key]:
                workflow[key]["inputs"]["filename_prefix"] = node["inputs"]["filename_prefix"]

    def find_nodes(self, graph: Json, values: Json) -> None:
        """Refuses values for nodes whose ids are not in the graph, as long as that is all it has.

        A title may be one that only a server knows.
        """
        from graph import as_id

        nodes = [node for node in graph["nodes"] if isinstance(node, dict)]
        ids = {as_id(node.get("id")) for node in nodes}
        places = [(f"--set {shown(item)}", item) for item in values.get("fields", [])]
        places += [(f"set.{clean(spec)}", spec) for spec in values.get("job_fields", {})]
        for label, place in places:
            node_id = re.match(r"([0-9]+)[:.]", place)
            titled = any(place.startswith(f"{node.get('title')}.") for node in nodes)
            if node_id and node_id[1] not in ids and not titled:
                text = f"{self.label}: {label}: there is no node {node_id[1]} in it"
                self.problems.append(text)

    def set_values(self, workflow: Json, resolved: Json) -> None:
        """What the call and the job want to have in the nodes."""
        values = (value for node in workflow.values() for value in node["inputs"].values())
        if (resolved["set"] or resolved["inputs"]) and any(isinstance(v, bool) for v in values):
            from node_values import write_booleans

            write_booleans(workflow, self.defs)
        wishes = resolved.get("values", {})
        if any(wishes.get(key) for key in ("options", "fields", "loose", "job_fields", "inputs")):
            import job_values

            found: list[str] = []
            job_values.apply(workflow, self.defs, wishes, resolved["inputs"], found, self.warnings)
            self.problems += [f"{self.label}: {text}" for text in found]

    def check(self, workflow: Json, uploads: set[str]) -> None:
        """Compares it with the definitions; errors are problems, unless they may be out of date."""
        if self.args.no_check or self.problems:
            return
        from check_workflow import check

        found = check(workflow, self.defs, self.known, uploads, self.origins)
        for item in found:
            stale = "1" if item.stale else "0"
            self.findings.append(
                ("finding", item.severity, stale, item.node, item.field, item.text)
            )
            self.stale = self.stale or (item.stale and self.known == "saved")
            if item.severity == "error" and not self.args.plan_findings:
                self.problems.append(item.line(self.label).replace(" error: ", " ", 1))


def texts_of(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_of(item)


def upload_names(resolved: Json) -> set[str]:
    """What the job's files will be called on the server."""
    return {item["upload_name"] for item in resolved["inputs"].values() if item["type"] == "file"}


def lines(finisher: Finisher, template: str, tree: Json,
          workflow: Json | None) -> tuple[Lines, Lines]:  # fmt: skip
    """The lines about the workflow, before and after the job's."""
    from render_job import one_line_json, workflow_lines

    stale: Lines = [("stale", "1")] if finisher.stale else []
    if workflow is None:
        return [], [*finisher.findings, *stale, ("graph", one_line_json(tree))]
    seed = seed_text(workflow, finisher.defs)
    return workflow_lines(template, workflow, seed, [*finisher.findings, *stale])


def finished(kind: str, tree: Json, label: str, resolved: Json, job: Job,
             args: argparse.Namespace) -> tuple[Lines, Lines]:  # fmt: skip
    """The lines about the workflow `tree`; problems and warnings are noted in `job`."""
    from render_job import one_line_json

    finisher = Finisher(label, args)
    complete = not job.problems
    workflow: Json | None = tree
    source: Lines = []
    if kind == "gui":
        if finisher.known == "saved":  # what is sent should go by what its own server says
            source = [("source", one_line_json(tree))]
        workflow = finisher.convert(tree, resolved.get("values", {}))
        if finisher.known == "none":
            finisher.find_nodes(tree, resolved.get("values", {}))
    if workflow is not None:
        if kind == "gui":
            finisher.set_in_graph(tree, workflow, resolved)
        else:
            finisher.set_values(workflow, resolved)
        if complete:
            finisher.check(workflow, upload_names(resolved))
    # On a server as it is now, a value that was refused may be right.
    job.is_doubtful = finisher.known == "saved" and bool(finisher.problems) and complete
    job.problems += finisher.problems
    job.warnings += finisher.warnings
    if job.problems:
        return [], []
    head, tail = lines(finisher, resolved["template"]["name"], tree, workflow)
    return head, [*(source if workflow is not None else []), *tail]


def later(args: argparse.Namespace) -> Lines:
    """--graph: what was laid down before anything was known of the nodes, now that it is."""
    label = clean(args.graph)
    resolved = job_file.read_object(args.job, clean(args.job), job_file.NOT_A_JOB)
    graph = job_file.read_object(args.graph, label, "is not a graph")
    template = resolved["template"]
    finisher = Finisher(clean(template["path"]), args)
    if finisher.known == "none":
        raise Problem("--graph goes with --object-info")
    finisher.known = "live"
    workflow = finisher.convert(graph, resolved.get("values", {}))
    if workflow is not None:
        finisher.set_in_graph(graph, workflow, resolved)
        finisher.check(workflow, upload_names(resolved))
    if finisher.problems:
        raise Problem("\n".join(finisher.problems))
    head, tail = lines(finisher, template["name"], graph, workflow)
    return [*head, *(("warning", text) for text in finisher.warnings), *tail]
