#!/usr/bin/env python3
"""Follow prompts on a ComfyUI server by its WebSocket, and say in short lines what happens.

Commands come on stdin, events go to stdout, both a line each, fields separated by TAB:

    watch URL CLIENT_ID PROMPT_ID WORKFLOW_FILE TIMINGS_FILE NEW_TIMINGS_FILE
                          follow that prompt; URL as http://127.0.0.1:8188
    url URL               the server is to be reached there from now on
    seal URL              the headers that follow are for the server at URL, and for no other;
                          those before are forgotten
    header NAME: VALUE    one of them
    stop                  forget the prompt, close the connection

    ready                 this program is up
    watching PROMPT_ID    what comes from here on is about that prompt
    open                  connected: nothing that is POSTed from here on is missed
    lost REASON           there is no connection; it is tried again all the time
    back                  connected again
    queue N               the server's queue changed: N prompts run or wait
    progress PERCENT LEFT DONE TOTAL VALUE MAX NODE TITLE
                          how far the workflow is, seconds left (or empty), nodes, steps of NODE
                          (or empty); at most 10 a second, but the last state always comes
    node NODE SECONDS TITLE    a node has ended
    error TEXT            the server told an error; only its history says whether that was the end
    done                  the prompt has ended; what was learnt is in NEW_TIMINGS_FILE

The timings are {"runs": N, "nodes": {ID: SECONDS}, "idle": [ID]}. A line out has at most 500 bytes.
The program ends when its stdin does. It needs websocket-client.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import time

try:
    from links import Link, Lost
except ImportError as missing:
    print(f"watch.py needs websocket-client: {missing}", file=sys.stderr)
    sys.exit(3)

from outbox import Outbox
from wording import brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from prompt import Prompt

RETRY_FIRST, RETRY_LAST = 0.2, 5.0
OPEN_SECONDS = 2.0  # the second connection may take so long before the first is enough
MISSED_SECONDS = 2.0  # a broadcast reaches all connections to a server within these


def fresh_id() -> str:
    """A client's id that nobody has."""
    return os.urandom(16).hex()


class Watcher:
    """The program: connections, commands and events in one loop.

    A server knows its sockets by the client's id alone: when one is closed, a newer one with the
    same id is dropped with it, and hears nothing more (measured on ComfyUI 0.3.64 and 0.33.0). So
    after a loss, and when the only one is silent, there are two: `main` with a fresh id, which
    hears of the queue, and `own` with the prompt's id, for its progress. `own` is closed and made
    anew when it may have been dropped.
    """

    def __init__(self, ping: float, silence: float) -> None:
        self.ping = ping
        self.silence = silence
        self.out = Outbox()
        self.hear_wake, self.waker = os.pipe()
        self.url = self.client_id = ""
        self.sealed_url = ""  # what is below it gets these headers
        self.headers: list[str] = []
        self.prompt: Prompt | None = None
        self.links: list[Link] = []
        self.main: Link | None = None
        self.own: Link | None = None
        self.used = False  # the server may have had a connection with the client's id
        self.opened = False  # "open" was said
        self.down = False  # "lost" was said
        self.retry = {"main": 0.0, "own": 0.0}  # when to try again
        self.pause = {"main": 0.0, "own": 0.0}
        self.typed = b""

    # --- commands -------------------------------------------------------------------------

    def take_input(self) -> bool:
        """Reads commands; False at the end of stdin."""
        data = os.read(0, 65536)
        *lines, self.typed = (self.typed + data).split(b"\n")
        for line in lines:
            name, *fields = os.fsdecode(line).split("\t")
            if name == "watch" and len(fields) == 6:
                self.start(*fields)
            elif name == "url" and len(fields) == 1:
                self.move(fields[0])
            elif name == "seal" and len(fields) == 1:
                self.sealed_url, self.headers = fields[0].rstrip("/"), []
            elif name == "header" and len(fields) == 1:
                self.headers.append(fields[0])
            elif name == "stop":
                self.stop()
            elif line:
                print(
                    f"not a command: {brief(os.fsdecode(line), 80)}",
                    file=sys.stderr,
                    flush=True,
                )
        return bool(data)

    def start(self, url: str, client: str, prompt: str, *files: str) -> None:
        """Follows another prompt; a connection that serves for it is kept."""
        now = time.monotonic()
        if client != self.client_id or url.rstrip("/") != self.url:
            self.stop()
            self.url, self.client_id = url.rstrip("/"), client
            self.used = any(one.client_id == client for one in self.links)
        self.out.forget()
        self.out.put("watching", prompt)
        self.opened = self.down = False
        self.pause = {"main": 0.0, "own": 0.0}
        self.retry = {"main": now, "own": now}
        self.timers(now)  # connects while the rest is read
        from prompt import Prompt

        self.prompt = Prompt(prompt, *files)

    def move(self, url: str) -> None:
        """The server is to be reached elsewhere; a connection to the same place is tested."""
        now = time.monotonic()
        if url.rstrip("/") == self.url and self.main:
            if self.main.state == "open":
                self.main.doubt(now, self.ping)
            return
        self.url = url.rstrip("/")
        if self.main:
            self.lose(self.main, "the address has changed", now)
        self.pause = {"main": 0.0, "own": 0.0}
        self.retry = {"main": now, "own": now}

    def stop(self) -> None:
        """Forgets the prompt, and closes."""
        now = time.monotonic()
        for link in (self.main, self.own):
            if link:
                link.close(now)
        self.main = self.own = self.prompt = None
        self.client_id = ""
        self.out.forget()

    # --- connections ----------------------------------------------------------------------

    def timers(self, now: float) -> None:
        """Does what time asks for: connects, pings, gives up."""
        for link in [*self.links]:
            try:
                link.settle(now)
                if link.state == "closing" and now >= link.deadline:
                    link.drop()
                link.keep_alive(now, self.ping)
            except Lost as lost:
                self.lose(link, str(lost), now)
        self.links = [one for one in self.links if one.state != "gone" or one.pending()]
        if self.client_id:
            self.tend(now)

    def tend(self, now: float) -> None:
        """Makes the connections that are wanted, and says when they are there."""
        if not self.main and now >= self.retry["main"]:
            self.main = self.connect(fresh_id() if self.used else self.client_id, now)
        elif self.main and now >= self.main_deaf_at():
            self.own, self.main, self.used = (
                self.main,
                self.connect(fresh_id(), now),
                True,
            )
        if self.needs_own(now):
            self.own = self.connect(self.client_id, now)
        elif self.own and self.own.told and now >= self.own_deaf_at():
            self.lose(self.own, "", now)
            self.retry["own"] = now
        if self.main and self.main.told and self.prompt and not self.opened:
            # The prompt's own connection is the one that must not miss anything.
            heard = self.main.client_id == self.client_id or (self.own and self.own.told)
            if heard or now >= self.main.told_at + OPEN_SECONDS:
                self.opened, self.down = True, False
                self.out.put("open")

    def connect(self, client_id: str, now: float) -> Link:
        """Begins a connection."""
        headers = [*self.headers] if self.url == self.sealed_url else []
        link = Link(self.url, client_id, self.waker, now, headers)
        self.links.append(link)
        return link

    def needs_own(self, now: float) -> bool:
        """Whether a second connection is to be made; never while an older one is being closed."""
        if self.own or not self.main or self.main.client_id == self.client_id:
            return False
        older = [one for one in self.links if one.client_id == self.client_id]
        return now >= self.retry["own"] and all(one.state == "gone" for one in older)

    def main_deaf_at(self) -> float:
        """When the only connection may have been dropped by the server: somebody with the same id,
        of an earlier process perhaps, may be leaving just now.
        """
        main = self.main
        if not main or not self.prompt or not main.told or main.client_id != self.client_id:
            return math.inf
        return max(main.news, main.told_at) + self.silence

    def own_deaf_at(self) -> float:
        """When `own` counts as dropped by the server: by silence, or by a broadcast it missed."""
        if not self.own or not self.main or not self.prompt:
            return math.inf
        silent = self.own.news + self.silence
        if self.own.news < self.main.news - MISSED_SECONDS / 2:
            return min(silent, self.main.news + MISSED_SECONDS)
        return silent

    def lose(self, link: Link, reason: str, now: float) -> None:
        """A connection is of no use any more."""
        link.close(now)
        if link not in (self.main, self.own):
            return
        self.used = self.used or (link.client_id == self.client_id and not link.refused)
        if self.prompt:
            self.prompt.progress.lose_sight()
        if link is self.own:
            self.own = None
            self.wait("own", link, now)
            return
        self.main = None
        self.wait("main", link, now)
        if self.own:  # it goes the same way
            self.own.close(now)
            self.own = None
        if self.prompt and not self.down:
            self.out.put("lost", reason)
            self.down = True

    def wait(self, name: str, link: Link, now: float) -> None:
        """Sets when a lost connection is tried again: later each time, unless it had been good."""
        good = link.told and now - link.told_at > RETRY_LAST
        pause = RETRY_FIRST if good else max(self.pause[name], RETRY_FIRST)
        self.retry[name] = now + pause
        self.pause[name] = min(pause * 2, RETRY_LAST)

    # --- messages -------------------------------------------------------------------------

    def hear(self, link: Link, payload: bytes, now: float) -> None:
        """Takes in one message."""
        prompt = self.prompt
        if len(payload) > 4096 and (not prompt or prompt.needle not in payload):
            return
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
            return
        kind, data = message.get("type"), message["data"]
        if kind == "status":
            self.hear_status(link, data, now)
        elif not prompt:
            return
        elif data.get("prompt_id") == prompt.prompt_id:
            if prompt.hear(kind, data, self.out.put, now):
                self.out.queue = b""
                self.out.prompt = prompt
                self.out.flush_progress(now)
                self.out.put("done")
                self.prompt = None
            else:
                self.out.prompt = prompt
        elif link.client_id == self.client_id and prompt.hear_greeting(kind, data, now):
            self.out.prompt = prompt

    def hear_status(self, link: Link, data: dict[str, Any], now: float) -> None:
        """The queue changed; the first such message greets a new connection."""
        if not link.told:
            link.told, link.told_at = True, now
            if link is self.main and self.down and self.opened:
                self.out.put("back")
                self.down = False
        elif link is self.main and self.prompt:
            status = data.get("status")
            info = status.get("exec_info") if isinstance(status, dict) else None
            count = info.get("queue_remaining") if isinstance(info, dict) else None
            if type(count) is int and 0 <= count < 1 << 30:
                self.out.put_queue(count)

    # --- the loop -------------------------------------------------------------------------

    def next_time(self, now: float) -> float | None:
        """Seconds until something is to be done without being asked; None for not at all."""
        if any(link.more for link in self.links):
            return 0.0
        times = [link.due(self.ping) for link in self.links if link.state != "gone"]
        if self.client_id and not self.main:
            times.append(self.retry["main"])
        elif self.main and self.main.client_id != self.client_id:
            times.append(self.own_deaf_at() if self.own else max(self.retry["own"], now + 0.05))
        times.append(self.main_deaf_at())
        if self.main and self.main.told and self.prompt and not self.opened:
            times.append(self.main.told_at + OPEN_SECONDS)
        soon = min(times, default=math.inf)
        return None if soon == math.inf else max(soon - now, 0.0)

    def turn(self) -> bool:
        """Waits for something and handles it; False at the end of stdin."""
        now = time.monotonic()
        self.timers(now)
        wait, due = self.next_time(now), self.out.due(now)
        writers = [1] if due is not None and due <= now else []
        if due is not None and not writers:
            wait = min(due - now, wait) if wait is not None else due - now
        open_links = [link for link in self.links if link.state in ("open", "closing")]
        readers: list[Any] = [0, self.hear_wake, *open_links]
        readable, writable, _ = select.select(readers, writers, [], wait)
        now = time.monotonic()
        if writable:
            self.out.write()
        if self.hear_wake in readable:
            os.read(self.hear_wake, 4096)
        for link in open_links:
            if link in readable or link.more:
                self.listen(link, now)
        return 0 not in readable or self.take_input()

    def listen(self, link: Link, now: float) -> None:
        """Reads what a connection has to say; of one that is being closed nobody listens."""
        try:
            for payload in link.read(now):
                if link in (self.main, self.own):
                    link.news = now
                    self.hear(link, payload, now)
        except Lost as lost:
            if link.state == "closing":
                link.drop()
            self.lose(link, str(lost), now)


def parse_arguments(argv: list[str]) -> dict[str, float]:
    """The command line; without arguments argparse and its time are spared."""
    found = {"ping": 20.0, "silence": 30.0}
    if argv:
        import argparse

        parser = argparse.ArgumentParser(
            prog="watch.py",
            description=__doc__,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
            allow_abbrev=False,
        )
        for name, text in (
            ("ping", "a silent server is pinged after these (default: 20)"),
            ("silence", "a silent connection may be deaf after these (default: 30)"),
        ):
            parser.add_argument(f"--{name}", type=float, metavar="SECONDS", help=text)
        given = vars(parser.parse_args(argv))
        found.update({name: value for name, value in given.items() if value is not None})
    return found


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0; 3 without websocket-client."""
    watcher = Watcher(**parse_arguments(sys.argv[1:] if argv is None else argv))
    for which in (signal.SIGINT, signal.SIGHUP):  # they are for who started us
        signal.signal(which, signal.SIG_IGN)
    watcher.out.put("ready")
    try:
        while watcher.turn():
            pass
    except BrokenPipeError:
        pass  # nobody listens any more
    return 0


if __name__ == "__main__":
    sys.exit(main())
