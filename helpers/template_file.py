"""Where a workflow comes from: a template by its name, or a file of any kind that holds one.

A module of render_template.py, not a program. What is a plain template in API format is read here;
all else (GUI graphs, media files, JSON that is none until it is filled in) by workflow_file.py.
"""

from __future__ import annotations

import os

import job_file
from job_file import Job, Problem, absolute, nearest, path_label
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from job_file import Json
    from placeholders import Filler

# Names with these endings are files, not names of templates.
FILE_EXTENSIONS = ".json .png .webp .jpg .jpeg .flac .mp3 .ogg .opus .mp4 .m4v .mov .webm .mkv"
OTHERWISE = "is not a workflow: a JSON object of nodes is wanted"
# Nodes of the GUI that only people read.
NOTES = ("Note", "MarkdownNote")


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
    """The path of the template `wanted`, a name or a path to a file."""
    is_path = "/" in wanted or wanted.lower().endswith(tuple(FILE_EXTENSIONS.split()))
    if is_path:
        candidates = [absolute(wanted) if wanted.startswith("~/") else wanted]
    else:
        candidates = [os.path.join(directory, wanted + ".json") for directory in directories]
    for path in candidates:
        if os.path.exists(path):
            return path
    hint = nearest(template_name(wanted), known_templates(directories), list_all=True)
    raise Problem(f"{shown(wanted)}: no such template{' file' if is_path else ''}; {hint}")


def find_workflow(wanted: str) -> str:
    """The path of the workflow `wanted`, which is a file in any case."""
    if wanted == "-":
        return wanted
    path = absolute(wanted) if wanted.startswith("~/") else wanted
    if not os.path.exists(path):
        raise Problem(f"{shown(wanted)}: no such file")
    return path


# --- reading ------------------------------------------------------------------------------


def read_template(path: str, job: Job) -> tuple[str, Json]:
    """What is in the file, placeholders and all: ("api", nodes) or ("gui", graph).

    API nodes may be wrapped as {"prompt": NODES}; what stands beside them is told as a warning.
    ("media", nodes) and ("media-gui", graph): from a picture and the like, so that it ran as it is
    and holds no placeholders.
    """
    label = path_label(path)
    if path == "-" or not path.lower().endswith(".json"):
        return read_any(path, label, job)
    try:
        nodes = job_file.read_object(path, label, OTHERWISE)
    except Problem as problem:
        # Perhaps not yet; or what is no number stands in a note that isn't sent.
        if ": not JSON: " in str(problem) or "not a number that JSON can" in str(problem):
            return read_any(path, label, job)
        raise
    inner = nodes.get("prompt")
    inner = job_file.without_comments(inner) if isinstance(inner, dict) else None
    if inner is not None and "class_type" not in inner and has_nodes(inner):
        beside = [key for key in nodes if key != "prompt"]
        job.warnings += [f'{label}: {shown(key)} beside "prompt" is not sent' for key in beside]
        nodes = inner
    if not nodes:
        raise Problem(f"{label}: has no nodes")
    return ("api", job_file.without_notes(nodes)) if is_api(nodes) else read_any(path, label, job)


def has_nodes(nodes: Json) -> bool:
    """Whether there are nodes in API format, good ones or bad ones, and nothing else."""
    return all(isinstance(node, dict) for node in nodes.values())


def is_api(nodes: Json) -> bool:
    """Whether they are nodes by their ids, good ones or bad ones: at least one has a class."""
    return any(isinstance(node, dict) and "class_type" in node for node in nodes.values())


def read_any(path: str, label: str, job: Job) -> tuple[str, Json]:
    """The same of any file."""
    from workflow_file import read_source

    from_media, (kind, tree) = read_source(path, label, job.warnings)
    return {"api": "media", "gui": "media-gui"}[kind] if from_media else kind, tree


# --- filling in ---------------------------------------------------------------------------


def node_label(node_id: str, node: Any) -> str:
    """How a node is named to people: its number and, when it has one, its title."""
    meta = node.get("_meta") if isinstance(node, dict) else None
    title = meta.get("title") if isinstance(meta, dict) else None
    label = f"node {clean(node_id)}"
    return f"{label} {shown(title)}" if isinstance(title, str) and title else label


def node_problems(node: Any, ids: Json, links: bool) -> list[str]:
    """What is wrong with a node of a workflow of the nodes `ids`; `links`: with its links, too.

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
        if links and job_file.is_link(value) and value[0] not in ids:
            problems.append(f"{clean(name)} is linked to node {shown(value[0])}, which is missing")
    return problems


def fill_nodes(nodes: Json, filler: Filler) -> Json:
    """The API workflow that `nodes` become."""
    workflow = {}
    for node_id, node in nodes.items():
        filler.where = node_label(node_id, node)
        workflow[node_id] = filler.fill(node)
    return workflow


def workflow_problems(workflow: Json, links: bool) -> list[str]:
    """What is wrong with the nodes of a workflow in API format, and with `links` with those."""
    return [
        f"{node_label(node_id, node)}: {text}"
        for node_id, node in workflow.items()
        for text in node_problems(node, workflow, links)
    ]


def has_circle(workflow: Json) -> bool:
    """Whether some nodes of a sound workflow wait for one another."""
    waiting: dict[str, int] = {}  # for how many others a node waits
    followers: dict[str, list[str]] = {}
    for node_id, node in workflow.items():
        sources = {value[0] for value in node["inputs"].values() if job_file.is_link(value)}
        waiting[node_id] = len(sources & workflow.keys())
        for source in sources:
            followers.setdefault(source, []).append(node_id)
    ready = [node_id for node_id, count in waiting.items() if not count]
    for node_id in ready:  # it grows meanwhile
        for follower in followers.get(node_id, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return len(ready) < len(workflow)


def fill_graph(graph: Json, filler: Filler) -> Json:
    """A copy of a GUI graph with the placeholders in its nodes filled in, also in subgraphs."""

    def filled(node: Any) -> Any:
        if not isinstance(node, dict) or node.get("type") in NOTES:
            return node
        title = node.get("title")
        filler.where = f"node {clean(str(node.get('id')))}"
        filler.where += f" {shown(title)}" if isinstance(title, str) and title else ""
        return filler.fill(node)

    def with_nodes(part: Any) -> Any:
        if not isinstance(part, dict) or not isinstance(part.get("nodes"), list):
            return part
        return {**part, "nodes": [filled(node) for node in part["nodes"]]}

    result = dict(with_nodes(graph))
    definitions = result.get("definitions")
    if isinstance(definitions, dict) and isinstance(definitions.get("subgraphs"), list):
        parts = [with_nodes(part) for part in definitions["subgraphs"]]
        result["definitions"] = {**definitions, "subgraphs": parts}
    extra = result.get("extra")
    if isinstance(extra, dict) and isinstance(extra.get("groupNodes"), dict):
        groups = {name: with_nodes(part) for name, part in extra["groupNodes"].items()}
        result["extra"] = {**extra, "groupNodes": groups}
    return result
