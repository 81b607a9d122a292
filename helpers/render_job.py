"""What render_template.py does: a job, or a workflow, resolved to the lines that it prints.

Not a program.
"""

from __future__ import annotations

import argparse
import binascii
import json
import os
import re
import sys

import job_file
from job_file import SET_NAME, UNREADABLE, Job, Problem, Unreadable, absolute, path_label
from placeholders import Filler, as_text, typed
from seeds import seed_text
from template_file import (
    fill_graph,
    fill_nodes,
    find_template,
    find_workflow,
    has_circle,
    read_template,
    template_name,
    workflow_problems,
)
from wording import brief, clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from job_file import Json, Scalar

    Lines = list[tuple[str, ...]]

DECIMAL = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
OPTIONS = (
    "prompt", "negative", "seed", "image_id", "output_folder",
    "width", "height", "steps", "cfg", "denoise", "batch_size",
)  # fmt: skip
RARE = {"workflow": None, "input": (), "plain_text": False, "no_check": False, "graph": None}
COMMON = {
    "--job", "--template-dir", "--set", "--output-dir", "--timeout", "--object-info", "--info",
    "--plan-findings",
}  # fmt: skip
MAX_SHOWN = 200  # characters of a value that people are shown


class Doubtful(Problem):
    """Definitions that may be out of date speak against the job."""


# --- job and template together ------------------------------------------------------------


def timings_name(template: str, workflow: Json) -> str:
    """The file for what is learnt of a workflow: inputs and titles may differ, its nodes not."""
    nodes = sorted((node_id, node["class_type"]) for node_id, node in workflow.items())
    # It only keeps shapes of one template apart: not worth hashlib, 3 ms of every start.
    sum_of_them = binascii.crc32(json.dumps(nodes).encode())
    return f"{NOT_IN_NAMES.sub('_', template)[:100]}-{sum_of_them:08x}"


def values_of(job: Job, sets: Json, options: Json) -> dict[str, Scalar]:
    """What each placeholder stands for; options of the call go before what the job says."""
    values: dict[str, Scalar] = {"{job_id}": job.job_id}
    for name, item in job.inputs.items():
        values[f"{{input.{name}}}"] = item["upload_name" if item["type"] == "file" else "value"]
    for name, value in {**job.sets, **sets}.items():
        values[f"${{{name}}}"] = typed(value) if name in sets else value
    for name, value in options.items():
        values[f"${{{name.upper()}}}"] = values[f"{{input.{name}}}"] = value
    return values


def tell_placeholders(job: Job, sets: Json, filler: Filler, placed: Json) -> None:
    """Placeholders without a value are one problem; values without a placeholder warn.

    Inputs in `placed` are for fields of nodes.
    """
    unused = [clean(name) for name in job.inputs if f"{{input.{name}}}" not in filler.used]
    if filler.missing:
        lacking = ", ".join(f"{name} ({where})" for name, where in filler.missing.items())
        hint = f"; no placeholder uses {', '.join(unused)}" if unused else ""
        job.problems.append(f"{job.label}: no value for {lacking}{hint}")
    job.warnings += [
        f"{job.label}: inputs.{name}: no placeholder uses it"
        for name in unused
        if name not in placed
    ]
    for name in {**job.sets, **sets}:
        if "." not in name and f"${{{name}}}" not in filler.used and name not in loose(sets):
            where = f"--set {name}" if name in sets else f"{job.label}: set.{name}"
            job.warnings.append(f"{where}: no placeholder uses it")


def loose(sets: Json) -> list[str]:
    """The NAMEs of which NAME=VALUE may also be a field of a node whose title has a = in it."""
    return [name for name, value in sets.items() if "." in value.rpartition("=")[0]]


def job_of(args: argparse.Namespace) -> Job:
    """The job that the file holds, or the one that a workflow becomes, with the call's inputs."""
    given = {}
    for item in args.input:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise Problem(f"--input {shown(item)}: NAME=VALUE is wanted")
        given[name] = typed(utf8(f"--input {clean(name)}", value))
    if args.workflow is None:
        return Job(args.job, None, given)
    name = os.path.splitext(os.path.basename(args.workflow))[0]
    job_id = re.sub(r"\.+", ".", NOT_IN_NAMES.sub("_", name)).lstrip("._-")[:100] or "workflow"
    if args.image_id and job_file.JOB_ID.fullmatch(args.image_id):  # read_options() tells others
        job_id = args.image_id
    raw = {"job_id": job_id, "workflow": args.workflow}
    return Job(args.workflow, raw, given)


def fill(job: Job, filler: Filler, args: argparse.Namespace) -> tuple[str, str, Json]:
    """Where the workflow is, "api" or "gui", and what it becomes; problems are noted in `job`."""
    path, kind = "", "api"
    tree: Json = {}
    try:
        if job.workflow:
            path = find_workflow(job.workflow)
        elif job.template:
            path = find_template(job.template, ["templates", *args.template_dir])
        else:
            return path, kind, tree
        kind, tree = read_template(path, job)
        from_media = kind.startswith("media")
        kind = {"media": "api", "media-gui": "gui"}.get(kind, kind)
        if not from_media and kind == "api":
            tree = fill_nodes(tree, filler)
        elif not from_media:
            filler.held = {}  # what is given is sent as it is, whatever the graph's own texts mean
            tree = fill_graph(tree, filler)
        if kind == "api":
            job.problems += [f"{path_label(path)}: {text}" for text in filler.problems]
            # A link to nothing is no matter where no output needs it, which the check knows.
            links = not (args.object_info or args.no_check)
            faults = workflow_problems(tree, links)
            job.problems += [f"{path_label(path)}: {text}" for text in faults]
            filler.problems.clear()
    except Problem as problem:
        if job.is_made:  # its file is the workflow
            text = str(problem).removeprefix(f"{job.label}: ")
            job.problems.append(f"{job.label}: {text.removeprefix(f'{shown(job.workflow)}: ')}")
        else:
            job.problem("workflow" if job.own_workflow else "workflow_template", str(problem))
    return path, kind, tree


def wishes_of(job: Job, by_nodes: set[str], used: set[str], sets: Json, fields: list[str],
              options: Json) -> Json:  # fmt: skip
    """What is left to be set in the workflow's nodes, as job_values.py takes it.

    Of the placeholders, `by_nodes` were used there, `used` there or in the paths of outputs.
    """
    wishes: Json = {
        "options": {
            name: value
            for name, value in options.items()
            if f"${{{name.upper()}}}" not in by_nodes and f"{{input.{name}}}" not in by_nodes
        },
        "fields": fields,
        "loose": [f"{name}={sets[name]}" for name in loose(sets) if f"${{{name}}}" not in used],
        "job_fields": {name: value for name, value in job.sets.items() if "." in name},
        "inputs": {
            name: f"--input {name}" if name in job.given else f"inputs.{name}"
            for name in job.inputs
            if (job.own_workflow or name in job.given) and f"{{input.{name}}}" not in used
        },
    }
    if wishes["options"].pop("image_id", None) and not (job.is_made or "${IMAGE_ID}" in used):
        job.warnings.append("--image-id: no placeholder uses it")
    return {key: value for key, value in wishes.items() if value}


def resolve(args: argparse.Namespace) -> list[tuple[str, ...]]:
    """The lines for stdout, as fields; Problem holds all that is wrong, one a line."""
    if args.graph:
        from finish_workflow import later

        return later(args)
    sets, fields = parse_sets(args.set)
    job = job_of(args)
    options = read_options(args, job.problems)
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

    filler = Filler(values_of(job, sets, options))
    path, kind, tree = fill(job, filler, args)
    by_nodes = set(filler.used)

    def fill_path(key: str, text: str) -> str:
        filler.where = clean(key)
        return filler.fill_path(text)

    job.check_outputs(fill_path)
    job.problems += [f"{job.label}: {text}" for text in filler.problems]
    wishes = wishes_of(job, by_nodes, filler.used, sets, fields, options)
    if tree:
        tell_placeholders(job, sets, filler, wishes.get("inputs", {}))
    resolved = {
        "job_id": job.job_id,
        "template": {"name": template_name(path), "path": absolute(path)},
        "inputs": job.inputs,
        "outputs": job.outputs,
        "output_dir": output_dir,
        "pod_config": job.pod_config,
        "set": {**{name: value for name, value in job.sets.items() if "." not in name}, **sets},
    }
    held = filler.held or {}
    if wishes or options or args.plain_text or held:
        rest = {"plain_text": args.plain_text, "drawn": args.seed == "random", "held": held}
        resolved["values"] = {"given": options, **wishes, **rest}
    told = finish(kind, tree, path, resolved, job, args) if tree else ([], [])
    if job.problems:
        text = "\n".join(job.problems)
        raise Doubtful(text) if job.is_doubtful else Problem(text)
    return lines(job, resolved, *told)


def finish(kind: str, tree: Json, path: str, resolved: Json, job: Job,
           args: argparse.Namespace) -> tuple[Lines, Lines]:  # fmt: skip
    """The lines about the workflow, before and after the job's; problems are noted in `job`."""
    if kind == "api" and not args.object_info and not resolved.get("values"):
        if job.problems:
            return [], []
        if args.no_check or not has_circle(tree):
            return workflow_lines(resolved["template"]["name"], tree, seed_text(tree), [])
    from finish_workflow import finished

    if kind == "api" and workflow_problems(tree, False):
        return [], []  # they are noted
    return finished(kind, tree, path_label(path), resolved, job, args)


# --- the command line ---------------------------------------------------------------------


def lines(job: Job, resolved: Json, head: Lines, tail: Lines) -> Lines:
    """What render_template.py says of stdout, each line as its fields."""
    given = resolved.get("values", {}).get("given", {})
    values = [
        (name, item["value"])
        for name, item in job.inputs.items()
        if "value" in item and name not in given
    ]
    values += [*resolved["set"].items(), *given.items()]
    uploads = [{**item, "server_name": item["upload_name"]} for item in job.uploads.values()]
    minutes = job.pod_config["timeout_minutes"]
    return [
        ("job_id", job.job_id),
        ("template", resolved["template"]["name"]),
        ("timeout_minutes", decimal(minutes)),
        ("timeout_seconds", str(-int(-minutes * 60 // 1))),
        ("max_cost_usd", decimal(job.pod_config.get("max_cost_usd"))),
        *(("value", clean(name), brief(as_text(value), MAX_SHOWN)) for name, value in values),
        *(
            ("upload", str(item["bytes"]), item["sha256"], item["upload_name"], item["path"])
            for item in job.uploads.values()
        ),
        *(("output", name, path) for name, path in job.outputs.items()),
        ("output_dir", resolved["output_dir"]),
        *head,
        *(("warning", text) for text in job.warnings),
        ("uploads", one_line_json({"uploads": uploads})),
        ("job", one_line_json(resolved)),
        *tail,
    ]


def workflow_lines(template: str, workflow: Json, seed: str,
                   findings: Lines) -> tuple[Lines, Lines]:  # fmt: skip
    """The lines about a workflow that is ready to be sent, before and after the job's."""
    head: Lines = [("timings", timings_name(template, workflow))]
    if seed:
        head.append(("seed", seed))
    return head, [*findings, ("workflow", one_line_json(workflow))]


def one_line_json(value: Json) -> str:
    """Compact JSON; lone surrogates and DEL (special to bash 3.2) stay escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "backslashreplace").decode()


def decimal(value: int | float | None) -> str:
    """A number without exponent, as shells and awk read it; nothing for None."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def utf8(label: str, value: str) -> str:
    """A text of the command line that can be sent."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Problem(f"{label}: the value is not UTF-8 text") from None
    return value


def parse_sets(items: list[str]) -> tuple[dict[str, str], list[str]]:
    """--set NAME=VALUE, of which the last with a name counts; and --set NODE.FIELD=VALUE, whole."""
    sets, fields = {}, []
    for item in items:
        name, equals, value = item.partition("=")
        if equals and SET_NAME.fullmatch(name):
            sets[name] = utf8(f"--set {name}", value)
        elif "." in item.rpartition("=")[0]:
            fields.append(utf8("--set", item))
        else:
            raise Problem(f"--set {shown(item)}: NAME=VALUE or NODE.FIELD=VALUE is wanted")
    return sets, fields


def read_options(args: argparse.Namespace, problems: list[str]) -> Json:
    """What the options for values say, in the types that they stand for; --seed random is drawn."""
    result: Json = {}
    for name in OPTIONS:
        text = getattr(args, name)
        if text is None:
            continue
        from job_values import option_value

        try:
            result[name] = option_value(name, utf8(f"--{name.replace('_', '-')}", text))
        except Problem as problem:
            problems.append(str(problem))
    return result


def add_rare(add: Callable[..., object]) -> None:
    """The arguments that few calls have; RARE has their defaults."""
    add("--workflow", metavar="FILE", help="a workflow in any form, instead of a job")
    add("--input", action="append", default=[], metavar="NAME=VALUE", help="as a job's inputs")
    for name in OPTIONS:
        add(f"--{name.replace('_', '-')}", metavar="VALUE",
            help=f"the value of ${{{name.upper()}}}, else of the nodes that have it")  # fmt: skip
    add("--plain-text", action="store_true", help="leave {a|b} and comments in a graph alone")
    add("--no-check", action="store_true", help="don't compare the workflow with --object-info")
    add("--graph", metavar="FILE", help="convert the graph.json of a run, --job being its job.json")


def parse_arguments(argv: list[str], description: str) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="render_template.py",
        description=description,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--job", default="-", metavar="FILE", help="the job (-, the default: standard input)")
    add("--template-dir", nargs="+", action="extend", default=[], metavar="DIR",
        help="where templates are looked for after ./templates")  # fmt: skip
    add("--set", action="append", default=[], metavar="NAME=VALUE",
        help="the value of ${NAME}; or NODE.FIELD=VALUE: an id, title or class")  # fmt: skip
    add("--output-dir", default="outputs", metavar="DIR", help="for files no output names")
    add("--timeout", metavar="MINUTES", help="instead of the job's timeout_minutes")
    add("--object-info", metavar="FILE", help="an answer of /object_info, or one that is kept")
    add("--info", choices=("live", "saved"), default="live", help="whether that may be out of date")
    add("--plan-findings", action="store_true", help="errors of that are told as lines only")
    words = {word.partition("=")[0] for word in argv if word.startswith("-")}
    if words <= COMMON:  # argparse takes 30 µs for each argument that it knows
        parser.set_defaults(**RARE, **dict.fromkeys(OPTIONS))
    else:
        add_rare(add)
    args = parser.parse_args(argv)
    single = {*OPTIONS, "job", "workflow", "output_dir", "timeout"}
    for name, value in vars(args).items():  # of --NAME=-- old Pythons make an empty list
        if isinstance(value, list) and name in single:
            setattr(args, name, "--")
        elif name in ("set", "input"):
            setattr(args, name, [item if isinstance(item, str) else "--" for item in value])
    return args


def run(argv: list[str], description: str) -> int:
    """Exit code: 0; 2 when the job, its template or an option is wrong; job_file.UNREADABLE."""
    try:
        result = resolve(parse_arguments(argv, description))
    except (Problem, Unreadable, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        text = "the template is nested too deeply" if deep else str(error)
        sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        if isinstance(error, Doubtful):
            print("stale\t1")
        return UNREADABLE if isinstance(error, Unreadable) else 2
    for fields in result:
        sys.stdout.buffer.write("\t".join(fields).encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.flush()
    return 0
