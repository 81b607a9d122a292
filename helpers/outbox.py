"""The events of watch.py on their way to stdout: lines that wait until it takes them.

For helpers beside it; not a program.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prompt import Prompt

LINE_BYTES = 500  # a pipe takes them in one piece, and select() promises that there is room
MOST_LINES = 1000  # that wait for a reader
PROGRESS_SECONDS = 0.1  # between two lines of progress


class Outbox:
    """Lines that wait until stdout takes them; of progress and queue only the latest does."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.queue = b""
        self.prompt: Prompt | None = None  # how far that is, is to be said
        self.said = b""  # the last progress
        self.free_at = 0.0  # when the next one may be said

    def put_queue(self, count: int) -> None:
        """How many prompts run or wait; only the latest number is said."""
        self.queue = as_line(("queue", str(count)))

    def put(self, *fields: str) -> None:
        """An event that is to be said in any case, unless nobody reads."""
        if len(self.lines) < MOST_LINES or fields[0] not in ("node", "error"):
            self.lines.append(as_line(fields))

    def flush_progress(self, now: float) -> None:
        """Says how far it is before what is said from now on."""
        line = as_line(("progress", *self.prompt.progress.fields(now))) if self.prompt else b""
        self.prompt = None
        if line and line != self.said:
            self.said = line
            self.free_at = now + PROGRESS_SECONDS
            self.lines.append(line)

    def forget(self) -> None:
        """Drops what is left of an earlier prompt."""
        self.queue = self.said = b""
        self.prompt = None

    def due(self, now: float) -> float | None:
        """When there may be something to write: a time that has come, or None for not at all."""
        if self.prompt and not self.lines and not self.queue and now >= self.free_at:
            self.flush_progress(now)
        if self.lines or self.queue:
            return now
        return self.free_at if self.prompt else None

    def write(self) -> None:
        """Writes one line."""
        if self.lines:
            os.write(1, self.lines.pop(0))
        else:
            line, self.queue = self.queue, b""
            os.write(1, line)


def as_line(fields: tuple[str, ...]) -> bytes:
    """An event as it is written. The fields are clean already."""
    text = "\t".join(fields).encode("utf-8", "replace")
    return text[: LINE_BYTES - 1].decode("utf-8", "ignore").encode() + b"\n"
