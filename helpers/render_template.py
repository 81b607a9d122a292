#!/usr/bin/env python3
"""Turn one job file and its template into the workflow that is sent to ComfyUI.

The job is checked, its file inputs are hashed and named, its template is found and
filled in. All problems of a job are told in one run. Nothing is written and nothing
is contacted: the caller gets tagged lines, fields separated by TAB:

    job_id ID | template NAME | timeout_minutes N | timeout_seconds N (rounded up)
    max_cost_usd N                                     empty when the job sets none
    value NAME TEXT                                    an input or --set, for people
    upload BYTES SHA256 UPLOAD_NAME ABSOLUTE_PATH      one per distinct file
    output NAME ABSOLUTE_PATH                          a directory ends in /
    output_dir ABSOLUTE_PATH                           for files no output names
    timings FILE_NAME                                  where its nodes' times are kept
    warning TEXT
    uploads JSON                                       uploads.json, if all keep their names
    job JSON                                           the resolved job
    workflow JSON                                      what is POSTed as "prompt"

Problems go to stderr, one a line, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import binascii
import json
import os
import re
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import job_file
from job_file import Job, Problem, absolute, nearest
from placeholders import Filler, as_text, typed
from wording import brief, clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from job_file import Json, Scalar

SET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DECIMAL = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
MAX_SHOWN = 200  # characters of a value that people are shown


# --- the template -------------------------------------------------------------------------


def template_name(path: str) -> str:
    """What a template is called: its file name without .json."""
    return os.path.basename(path).removesuffix(".json")


def known_templates(directories: list[str]) -> list[str]:
    """The names of all templates that can be read, each once."""
    names: dict[str, None] = {}
    for directory in directories:
        try:
            files = sorted(os.listdir(directory))
        except OSError:
            continue
        names.update((template_name(file), None) for file in files if file.endswith(".json"))
    return list(names)


def find_template(wanted: str, directories: list[str]) -> str:
    """The path of the template `wanted`, a name or a path to a JSON file."""
    is_path = "/" in wanted or wanted.endswith(".json")
    if is_path:
        candidates = [absolute(wanted) if wanted.startswith("~/") else wanted]
    else:
        candidates = [os.path.join(directory, wanted + ".json") for directory in directories]
    for path in candidates:
        if os.path.exists(path):
            return path
    hint = nearest(template_name(wanted), known_templates(directories), list_all=True)
    raise Problem(f"{shown(wanted)}: no such template{' file' if is_path else ''}; {hint}")


def read_template(path: str, job: Job) -> Json:
    """The nodes of a template, by their ids; they may be wrapped as {"prompt": NODES}."""
    label = clean(path)
    otherwise = "is not a workflow: a JSON object of nodes is wanted"
    nodes = job_file.read_object(path, label, otherwise)
    inner = nodes.get("prompt")
    if isinstance(inner, dict) and "class_type" not in inner:
        beside = [key for key in nodes if key != "prompt"]
        job.warnings += [f'{label}: {shown(key)} beside "prompt" is not sent' for key in beside]
        nodes = job_file.without_comments(inner)
    if isinstance(nodes.get("nodes"), list):
        raise Problem(
            f"{label}: is in the GUI format; "
            "in ComfyUI choose Workflow > Export (API) and use that file"
        )
    if not nodes:
        raise Problem(f"{label}: has no nodes")
    return nodes


def node_label(node_id: str, node: Any) -> str:
    """How a node is named to people: its number and, when it has one, its title."""
    meta = node.get("_meta") if isinstance(node, dict) else None
    title = meta.get("title") if isinstance(meta, dict) else None
    label = f"node {clean(node_id)}"
    return f"{label} {shown(title)}" if isinstance(title, str) and title else label


def node_problems(node: Any, ids: Json) -> list[str]:
    """What is wrong with a node of a workflow that has the nodes `ids`.

    A node without an inputs object kills the worker of a ComfyUI server for good
    (measured on 0.3.64 and 0.33.0), so it must not get that far.
    """
    if not isinstance(node, dict):
        return ["must be an object with class_type and inputs"]
    problems = []
    if not isinstance(node.get("class_type"), str) or not node["class_type"]:
        problems.append("has no class_type")
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        return [*problems, "has no inputs object"]
    for name, value in inputs.items():
        is_link = isinstance(value, list) and [type(item) for item in value] == [str, int]
        if is_link and value[0] not in ids:
            problems.append(f"{clean(name)} is linked to node {shown(value[0])}, which is missing")
    return problems


def render(path: str, job: Job, filler: Filler) -> Json:
    """The workflow that the template at `path` becomes; its problems are noted in `job`."""
    nodes = read_template(path, job)
    workflow, problems = {}, []
    for node_id, node in nodes.items():
        filler.where = node_label(node_id, node)
        workflow[node_id] = filler.fill(node)
        problems += [f"{filler.where}: {text}" for text in node_problems(workflow[node_id], nodes)]
    job.problems += [f"{clean(path)}: {text}" for text in filler.problems + problems]
    filler.problems.clear()
    return workflow


def timings_name(template: str, workflow: Json) -> str:
    """The file for what is learnt of a workflow: inputs and titles may differ, its nodes not."""
    nodes = sorted((node_id, node["class_type"]) for node_id, node in workflow.items())
    # It only keeps shapes of one template apart: not worth hashlib, 3 ms of every start.
    sum_of_them = binascii.crc32(json.dumps(nodes).encode())
    return f"{NOT_IN_NAMES.sub('_', template)[:100]}-{sum_of_them:08x}"


# --- job and template together ------------------------------------------------------------


def values_of(job: Job, sets: dict[str, str]) -> dict[str, Scalar]:
    """What each placeholder stands for."""
    values: dict[str, Scalar] = {"{job_id}": job.job_id}
    for name, item in job.inputs.items():
        values[f"{{input.{name}}}"] = item["upload_name" if item["type"] == "file" else "value"]
    values.update({f"${{{name}}}": typed(text) for name, text in sets.items()})
    return values


def tell_placeholders(job: Job, sets: dict[str, str], filler: Filler) -> None:
    """Placeholders without a value are one problem; values without a placeholder warn."""
    unused = [clean(name) for name in job.inputs if f"{{input.{name}}}" not in filler.used]
    if filler.missing:
        lacking = ", ".join(f"{name} ({where})" for name, where in filler.missing.items())
        hint = f"; no placeholder uses {', '.join(unused)}" if unused else ""
        job.problems.append(f"{job.label}: no value for {lacking}{hint}")
    job.warnings += [f"{job.label}: inputs.{name}: no placeholder uses it" for name in unused]
    unused = [name for name in sets if f"${{{name}}}" not in filler.used]
    job.warnings += [f"--set {name}: no placeholder uses it" for name in unused]


def resolve(args: argparse.Namespace) -> list[tuple[str, ...]]:
    """The lines for stdout, as fields; Problem holds all that is wrong, one a line."""
    sets = parse_sets(args.set)
    job = Job(args.job)
    if args.timeout is not None:
        minutes = args.timeout
        if DECIMAL.fullmatch(minutes):
            minutes = float(minutes) if "." in minutes else int(minutes)
        job.pod_config["timeout_minutes"] = job.number("--timeout", minutes)
    output_dir = absolute(args.output_dir)
    try:
        job_file.check_place(output_dir + "/")
    except Problem as problem:
        job.problem("--output-dir", str(problem))

    filler = Filler(values_of(job, sets))
    workflow: Json = {}
    path = ""
    try:
        if job.template:
            path = find_template(job.template, ["templates", *args.template_dir])
            workflow = render(path, job, filler)
    except Problem as problem:
        job.problem("workflow_template", str(problem))

    def fill_path(key: str, text: str) -> str:
        filler.where = clean(key)
        return filler.fill_path(text)

    job.check_outputs(fill_path)
    job.problems += [f"{job.label}: {text}" for text in filler.problems]
    if workflow:
        tell_placeholders(job, sets, filler)
    if job.problems:
        raise Problem("\n".join(job.problems))
    resolved = {
        "job_id": job.job_id,
        "template": {"name": template_name(path), "path": absolute(path)},
        "inputs": job.inputs,
        "outputs": job.outputs,
        "output_dir": output_dir,
        "pod_config": job.pod_config,
        "set": sets,
    }
    return lines(job, resolved, workflow)


# --- the command line ---------------------------------------------------------------------


def lines(job: Job, resolved: Json, workflow: Json) -> list[tuple[str, ...]]:
    """What the module's docstring says of stdout, each line as its fields."""
    values = [(name, item["value"]) for name, item in job.inputs.items() if "value" in item]
    values += resolved["set"].items()
    uploads = [{**item, "server_name": item["upload_name"]} for item in job.uploads.values()]
    minutes = job.pod_config["timeout_minutes"]
    return [
        ("job_id", job.job_id),
        ("template", resolved["template"]["name"]),
        ("timeout_minutes", decimal(minutes)),
        ("timeout_seconds", str(-int(-minutes * 60 // 1))),
        ("max_cost_usd", decimal(job.pod_config.get("max_cost_usd"))),
        *(("value", name, brief(as_text(value), MAX_SHOWN)) for name, value in values),
        *(
            ("upload", str(item["bytes"]), item["sha256"], item["upload_name"], item["path"])
            for item in job.uploads.values()
        ),
        *(("output", name, path) for name, path in job.outputs.items()),
        ("output_dir", resolved["output_dir"]),
        ("timings", timings_name(resolved["template"]["name"], workflow)),
        *(("warning", text) for text in job.warnings),
        ("uploads", one_line_json({"uploads": uploads})),
        ("job", one_line_json(resolved)),
        ("workflow", one_line_json(workflow)),
    ]


def one_line_json(value: Json) -> str:
    """Compact JSON; lone surrogates and DEL (special to bash 3.2) stay escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "backslashreplace").decode()


def decimal(value: int | float | None) -> str:
    """A number without exponent, as shells and awk read it; nothing for None."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def parse_sets(items: list[str]) -> dict[str, str]:
    """--set NAME=VALUE, of which the last with a name counts."""
    sets = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not SET_NAME.fullmatch(name):
            raise Problem(f"--set {shown(item)}: NAME=VALUE is wanted")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Problem(f"--set {name}: the value is not UTF-8 text") from None
        sets[name] = value
    return sets


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="render_template.py",
        description=__doc__,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--job", default="-", metavar="FILE", help="the job (-, the default: standard input)")
    add("--template-dir", nargs="+", action="extend", default=[], metavar="DIR",
        help="where templates are looked for after ./templates")  # fmt: skip
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="the value of ${NAME}")
    add("--output-dir", default="outputs", metavar="DIR", help="for files no output names")
    add("--timeout", metavar="MINUTES", help="instead of the job's timeout_minutes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 when the job, its template or an option is wrong."""
    try:
        result = resolve(parse_arguments(argv))
    except (Problem, RecursionError) as error:
        text = str(error) if isinstance(error, Problem) else "the template is nested too deeply"
        sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        return 2
    for fields in result:
        sys.stdout.buffer.write("\t".join(fields).encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
