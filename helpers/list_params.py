#!/usr/bin/env python3
"""List what can be set in a workflow: a table, or with --json one JSON object.

    {"workflow": FILE, "converted": true|false, "params": [{"node", "title", "class", "field",
     "type", "value", "choices", "min", "max", "upload", "linked", "option", "set"}]}

"option" is the one of comfy-run that sets the field (--prompt, --seed, ...), "set" what stands
before the = of its --set; "linked" is [NODE, OUTPUT] when a link gives the field its value. null
is what is not known. A workflow in the GUI format needs --object-info. What is wrong goes to
stderr, one line, exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import node_roles
from job_file import UNREADABLE, Problem, Unreadable, path_label
from node_values import listing
from object_info import NodeDefs
from seeds import seed_fields
from wording import brief, shown
from workflow_file import read_workflow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from job_file import Json
    from node_values import Field

NUMBERS = ("width", "height", "steps", "cfg", "denoise", "batch_size")
WIDEST = (12, 28, 24, 8, 40, 60)  # of the columns, in characters
HEADINGS = ("NODE", "TITLE", "FIELD", "TYPE", "VALUE", "ALLOWED")


def options_of(workflow: Json, defs: NodeDefs) -> dict[Field, str]:
    """Which option of comfy-run sets a field, as far as it can tell."""
    result = dict.fromkeys(seed_fields(workflow, defs), "--seed")
    for name in NUMBERS:
        try:
            fields = node_roles.number_fields(workflow, defs, name)
        except Problem:
            continue
        result.update((field, f"--{name.replace('_', '-')}") for field in fields)
    for role, option in (("negative", "--negative"), ("positive", "--prompt")):
        try:
            fields = node_roles.prompt_fields(workflow, defs, role, [])
        except Problem:
            continue
        result.update((field, option) for field in fields)
    return result


def read(path: str, object_info: str | None) -> Json:
    """What the module's docstring says of --json."""
    label = path_label(path)
    warnings: list[str] = []
    kind, workflow = read_workflow(path, label, warnings)
    defs = NodeDefs(object_info)
    if kind == "gui":
        if not defs.known:
            raise Problem(
                f"{label}: is in the GUI format: what its fields are called is known only to a "
                "server; --object-info FILE takes its answer (curl URL/object_info)"
            )
        from convert_workflow import convert

        workflow, warnings = convert(workflow, defs, label)
    options = options_of(workflow, defs)
    rows = listing(workflow, defs)
    for row in rows:
        row["option"] = options.get((row["node"], row["field"]))
        row["set"] = f"{row['node']}.{row['field']}"
    return {"workflow": path, "converted": kind == "gui", "params": rows}


def allowed(row: Json) -> str:
    """The values that a field takes, in a few words."""
    if row["linked"]:
        return f"linked to node {row['linked'][0]}"
    if row["upload"]:
        return "a file: --input"
    choices = row["choices"]
    if choices is not None:
        texts = [choice if isinstance(choice, str) else shown(choice) for choice in choices[:20]]
        text = brief(", ".join(texts), WIDEST[5] - 8)
        return f"{text} ({len(choices)})" if text.endswith("...") or len(choices) > 20 else text
    least, most = row["min"], row["max"]
    if least is None and most is None:
        return ""
    return f"{'' if least is None else least} to {'' if most is None else most}".strip()


def table(rows: list[Json]) -> str:
    """The rows for people, below their headings; an option stands behind what it sets."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    for row in rows:
        value = row["value"]
        text = value if isinstance(value, str) else "" if value is None else shown(value)
        title = row["title"] or row["class"]
        known = allowed(row)
        option = row["option"]
        extra = f"{option}  {known}".rstrip() if option else known
        cells = (row["node"], title, row["field"], row["type"], " ".join(text.split()), extra)
        lines.append(tuple(brief(cell, most) for cell, most in zip(cells, WIDEST)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS) - 1)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths)), line[-1]]).rstrip()
        + "\n"
        for line in lines
    )


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0; 2 when the file holds no workflow, or can't be converted; UNREADABLE."""
    parser = argparse.ArgumentParser(
        prog="list_params.py",
        description=__doc__,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    parser.add_argument("--object-info", metavar="FILE", help="an answer of /object_info")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("workflow", metavar="FILE", help="any form (-: standard input)")
    args = parser.parse_args(argv)
    try:
        found = read(args.workflow, args.object_info)
    except (Problem, Unreadable, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        text = "the workflow is nested too deeply" if deep else str(error)
        sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        return UNREADABLE if isinstance(error, Unreadable) else 2
    text = json.dumps(found) + "\n" if args.json else table(found["params"])
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
