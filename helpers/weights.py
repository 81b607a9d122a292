"""How far a workflow is, and how long the rest of it takes.

Fed with what a ComfyUI server says of one prompt. Nodes weigh as many seconds as they took in
earlier runs. The time is given by the caller; nothing is read or written here.

For helpers beside it; not a program.
"""

from __future__ import annotations

import math

from wording import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TITLE_COLUMNS = 24
MOST_NODES = 10000  # more than these are not kept: ids come from the server
MOST_STEPS = 999999999
ENOUGH_STEPS = 5  # after these a node's pace is known


def number(value: Any) -> float | None:
    """`value` if it is a number that can be reckoned with, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def columns(char: str) -> int:
    """How many columns of a terminal a printable character takes."""
    if char.isascii():
        return 1
    import unicodedata  # rarely needed, and 1 ms of the start

    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def title_of(node_id: str, node: Any) -> str:
    """How people know a node: its title or class, clean, at most TITLE_COLUMNS wide."""
    node = node if isinstance(node, dict) else {}
    meta = node.get("_meta")
    names = [meta.get("title") if isinstance(meta, dict) else None, node.get("class_type")]
    given = [name for name in names if isinstance(name, str) and name.strip()]
    text = clean((given[0] if given else f"node {node_id}").strip()[: TITLE_COLUMNS * 4])
    widths = [columns(char) for char in text]
    if sum(widths) <= TITLE_COLUMNS:
        return text
    end = 0
    while sum(widths[: end + 1]) <= TITLE_COLUMNS - 3:
        end += 1
    return text[:end].rstrip() + "..."


def sources_of(node: Any, workflow: dict[str, Any]) -> list[str]:
    """The nodes of `workflow` that a node of it is linked to."""
    inputs = node.get("inputs") if isinstance(node, dict) else None
    values = inputs.values() if isinstance(inputs, dict) else ()
    links = [value[0] for value in values if isinstance(value, list) and len(value) == 2]
    return [source for source in links if isinstance(source, str) and source in workflow]


def leading_to_outputs(workflow: dict[str, Any], idle: set[str]) -> set[str]:
    """The nodes from which a way leads to an output node.

    Which class is an output only the server knows: here it is a node that nobody consumes, unless
    it is one of `idle`, the nodes that an earlier run left out.
    """
    sources = {node_id: sources_of(node, workflow) for node_id, node in workflow.items()}
    consumed = {source for given in sources.values() for source in given}
    pending = [node_id for node_id in workflow if node_id not in consumed | idle]
    found: set[str] = set()
    while pending:
        node_id = pending.pop()
        if node_id not in found:
            found.add(node_id)
            pending += sources[node_id]
    return found - idle or set(workflow)


class Node:
    """What is known of one node of the workflow."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.done = False
        self.seen = False  # it was seen to run
        self.began: float | None = None  # when it was seen to start
        self.seconds: float | None = None  # how long it took in this run
        self.value = self.top = 0.0  # its steps
        self.first: tuple[float, float] = (0.0, 0.0)  # the first step that was seen, and when
        self.counts = True  # they are its own, not of one of those that it was expanded to


class Progress:
    """One prompt: fed with events, it says how far the workflow is."""

    def __init__(self, workflow: Any, timings: Any) -> None:
        """`workflow` is what was POSTed, `timings` what learnt() said of it last time."""
        self.workflow: dict[str, Any] = workflow if isinstance(workflow, dict) else {}
        timings = timings if isinstance(timings, dict) else {}
        known, idle = timings.get("nodes"), timings.get("idle")
        self.runs = int(min(max(number(timings.get("runs")) or 0, 0), MOST_STEPS))
        self.known: dict[str, float] = {}
        for node_id, value in known.items() if isinstance(known, dict) else ():
            seconds = number(value)
            if node_id in self.workflow and seconds is not None and seconds >= 0:
                self.known[node_id] = seconds
        self.idle = (
            {one for one in idle if isinstance(one, str)} if isinstance(idle, list) else set()
        )
        self.nodes = {one: Node(title_of(one, node)) for one, node in self.workflow.items()}
        self.needed = leading_to_outputs(self.workflow, self.idle)
        mean = sum(self.known.values()) / len(self.known) if self.known else 1.0
        self.mean = max(mean, 0.001)
        self.succeeded = False
        self.whole = True  # no event of this run was missed
        self.blind = False  # one may just have been missed
        self.current = ""
        self.percent = 0

    # --- what happens ---------------------------------------------------------------------

    def owner(self, node_id: Any, display: Any = None) -> str:
        """The workflow's node that an id stands for; "2.0.0.1" belongs to "2". "" for nonsense."""
        if not isinstance(node_id, str):
            return ""
        for name in (node_id, display, node_id.partition(".")[0]):
            if isinstance(name, str) and name in self.nodes:
                return name
        if self.workflow or len(self.nodes) >= MOST_NODES:
            return ""
        self.nodes[node_id] = Node(title_of(node_id, None))  # the workflow could not be read
        return node_id

    def begin(self) -> None:
        """The server starts with the prompt: nothing of it was missed."""
        self.whole, self.blind = True, False

    def cached(self, node_id: Any) -> None:
        """The server has the node's result from an earlier prompt."""
        node = self.nodes.get(self.owner(node_id))
        if node:
            node.done = True

    def run(self, node_id: Any, display: Any, now: float) -> None:
        """The node, or one that it was expanded to, runs."""
        owner = self.owner(node_id, display)
        node = self.nodes.get(owner)
        if not node or node.done:
            return
        self.current = owner
        self.needed.add(owner)
        if self.blind:  # only of the node that ran all the time is it known since when
            for other in self.nodes.values():
                other.began = other.began if other is node else None
            self.blind = False
        elif not node.seen:
            node.began = now
        node.seen = True

    def step(self, node_id: Any, display: Any, value: Any, top: Any, now: float) -> None:
        """The running node has done `value` of `top` steps."""
        self.run(node_id, display, now)
        node = self.nodes.get(self.owner(node_id, display))
        value, top = number(value), number(top)
        if not node or node.done or value is None or top is None or top <= 1:
            return  # 0 of 1 and 1 of 1 are what nodes without steps say
        top = min(top, float(MOST_STEPS))
        value = min(max(value, 0.0), top)
        if top != node.top or value < node.value:
            node.first = (value, now)
        node.value, node.top, node.counts = value, top, node_id in self.nodes

    def finish(self, node_id: Any, now: float) -> str:
        """The node has ended. Its id when that is news and its time is known, else ""."""
        owner = self.owner(node_id)
        if not owner or owner != node_id or self.nodes[owner].done:
            return ""
        node = self.nodes[owner]
        node.done = True
        self.needed.add(owner)
        if node.began is None or self.blind:
            return ""
        node.seconds = now - node.began
        return owner

    def lose_sight(self) -> None:
        """Events are missed: what starts or ends meanwhile has no known time."""
        self.whole, self.blind = False, True

    def succeed(self) -> None:
        """The whole prompt has ended well."""
        self.succeeded = True

    # --- what that amounts to -------------------------------------------------------------

    def weight(self, node_id: str) -> float:
        """The seconds that a node is expected to take."""
        return max(self.known.get(node_id, self.mean), 0.001)

    def steps_of(self, node_id: str) -> tuple[str, str]:
        """Value and maximum of a node's steps; empty when it has none."""
        node = self.nodes[node_id]
        return (str(int(node.value)), str(int(node.top))) if node.top else ("", "")

    def share(self, node_id: str) -> float:
        """Which part of a node is done; what it was expanded to does not count."""
        node = self.nodes[node_id]
        if node.done:
            return 1.0
        return node.value / node.top if node.top and node.counts else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until the end; None while there is nothing to base it on."""
        rest = [one for one in self.needed if not self.nodes[one].done]
        if not self.known or any(one not in self.known for one in rest):
            return None
        ran = [(one, self.nodes[one].seconds) for one in self.needed]
        expected = sum(self.weight(one) for one, seconds in ran if seconds is not None)
        actual = sum(seconds for _, seconds in ran if seconds is not None)
        # How this run compares to earlier ones; the less of it is done, the less that says.
        ahead = sum(self.weight(one) for one in rest)
        scale = (actual + ahead) / (expected + ahead) if expected + ahead else 1.0
        return sum(self.left_of(one, scale, now) for one in rest)

    def left_of(self, node_id: str, scale: float, now: float) -> float:
        """Seconds that a node still takes: by its own pace, once that is known well enough."""
        node = self.nodes[node_id]
        expected = self.weight(node_id) * scale
        if node.began is None:
            expected *= 1 - self.share(node_id)
        else:
            expected = max(expected - (now - node.began), 0.0)
        value, since = node.first
        if not node.counts or node.value <= value or now <= since:
            return expected
        trust = min((node.value - value) / ENOUGH_STEPS, 1.0)
        pace = (now - since) / (node.value - value)
        return trust * pace * (node.top - node.value) + (1 - trust) * expected

    def fields(self, now: float) -> tuple[str, ...]:
        """PERCENT LEFT DONE TOTAL VALUE MAX NODE TITLE, as text."""
        total = sum(self.weight(one) for one in self.needed)
        done = sum(self.weight(one) * self.share(one) for one in self.needed)
        count = sum(self.nodes[one].done for one in self.needed)
        left = self.left(now)
        if self.succeeded:
            self.percent, count, left = 100, len(self.needed), 0.0 if self.known else None
        elif self.workflow and total:
            self.percent = max(self.percent, min(99, int(100 * done / total)))
        node = self.nodes.get(self.current)
        return (
            str(self.percent),
            "" if left is None else str(math.ceil(left)),
            str(count),
            str(len(self.needed)),
            *(self.steps_of(self.current) if node else ("", "")),
            clean(self.current)[:40],
            node.title if node else "",
        )

    def learnt(self) -> dict[str, Any]:
        """What the next run of this workflow should know: seconds per node."""
        nodes = {one: round(seconds, 3) for one, seconds in self.known.items()}
        for one, node in self.nodes.items():
            if node.seconds is not None and one in self.workflow:
                before = self.known.get(one, node.seconds)
                nodes[one] = round((before + node.seconds) / 2, 3)
        idle = self.idle
        if self.succeeded and self.whole:
            idle = {one for one, node in self.nodes.items() if not node.done}
        return {"runs": self.runs + self.succeeded, "nodes": nodes, "idle": sorted(idle)}
