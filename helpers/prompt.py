"""What a ComfyUI server says of one prompt, taken in message by message.

For helpers beside it; not a program.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from weights import Progress
from wording import brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def read_json(path: str) -> Any:
    """What a file holds; None when it can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError):
        return None


class Prompt:
    """The prompt at hand."""

    def __init__(self, prompt_id: str, workflow: str, timings: str, new_timings: str) -> None:
        self.prompt_id = prompt_id
        self.needle = prompt_id.encode()
        self.new_timings = new_timings
        self.progress = Progress(read_json(workflow), read_json(timings))

    def save(self) -> None:
        """Writes what was learnt."""
        if not self.new_timings:
            return
        part = f"{self.new_timings}.{os.getpid()}"
        try:
            with open(part, "w", encoding="utf-8") as file:
                json.dump(self.progress.learnt(), file)
            os.replace(part, self.new_timings)
        except OSError as error:
            print(f"{self.new_timings}: {error.strerror}", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):
                os.unlink(part)

    def hear(self, kind: Any, data: dict[str, Any], put: Callable[..., None], now: float) -> bool:
        """Takes in a message about this prompt; True when it was the last."""
        progress = self.progress
        node, display = data.get("node"), data.get("display_node")
        if kind == "execution_start":
            progress.begin()
        elif kind == "execution_cached":
            nodes = data.get("nodes")
            for one in nodes if isinstance(nodes, list) else ():
                progress.cached(one)
        elif kind == "progress_state":
            nodes = data.get("nodes")
            for one, state in nodes.items() if isinstance(nodes, dict) else ():
                if isinstance(state, dict):
                    self.take_state(one, state, put, now)
        elif kind == "progress":
            progress.step(node, display, data.get("value"), data.get("max"), now)
        elif kind == "executing" and node is None:
            self.save()
            return True
        elif kind == "executing":
            progress.run(node, display, now)
        elif kind == "executed":
            self.finish(node, put, now)
        elif kind == "execution_success":
            progress.succeed()
        elif kind == "execution_error":
            put("error", error_text(data))
        return False

    def take_state(
        self, node: str, state: dict[str, Any], put: Callable[..., None], now: float
    ) -> None:
        """Takes in what progress_state says of one node."""
        display = state.get("display_node_id")
        if state.get("state") == "running":
            self.progress.step(node, display, state.get("value"), state.get("max"), now)
        elif state.get("state") == "finished":
            self.finish(node, put, now)

    def finish(self, node: Any, put: Callable[..., None], now: float) -> None:
        """Notes that a node has ended, and tells it when that is news."""
        news = self.progress.finish(node, now)
        if news:
            ended = self.progress.nodes[news]
            put("node", brief(news, 40), f"{ended.seconds:.1f}", ended.title)

    def hear_greeting(self, kind: Any, data: dict[str, Any], now: float) -> bool:
        """Takes in what is told to who comes back in the middle of a run: the node alone."""
        node = data.get("node")
        if kind != "executing" or "prompt_id" in data or not isinstance(node, str):
            return False
        self.progress.run(node, data.get("display_node"), now)
        return True


def error_text(data: dict[str, Any]) -> str:
    """What execution_error says, in one line."""
    kind, message = data.get("exception_type"), data.get("exception_message")
    lines = message.strip().splitlines() if isinstance(message, str) else []
    parts = [data.get("node_type"), kind, lines[0] if lines else None]
    return brief(": ".join(part for part in parts if isinstance(part, str) and part), 150)
