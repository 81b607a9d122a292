#!/usr/bin/env python3
"""A gateway in front of a ComfyUI, for tests: a reverse proxy with a door, and faults of its own.

usage: gateway.py UPSTREAM_PORT [--require "NAME: VALUE"]... [--port N]

It prints the port at which it listens. Whatever lacks one of the required headers gets 401. The
rest goes to 127.0.0.1:UPSTREAM_PORT, WebSockets too, unless a rule says otherwise. It also takes
requests as a forward proxy gets them (GET http://host/path), for addresses that are nobody's here.

POST /gateway sets the rules, a JSON list; the first that fits is taken:
  match     the beginning of "METHOD /path?query"
  times     how often it is taken (default: always)
  status    what is answered (default: 502), with a page of HTML
  body, type  another body and its content type
  location  a header of the answer
  forward   true: the request goes upstream first, and its answer is thrown away
  delay     with forward: it goes upstream so many seconds after the answer
GET /gateway tells what came: a JSON list of {"request", "host", "headers", "status"}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import socketserver
import threading
import time
from typing import Any

PAGE = b"<!DOCTYPE html><html><head><title>\x1b[31mgateway</title></head><body>no</body></html>"


class World:
    """What all connections share."""

    def __init__(self, upstream: int, required: list[str]) -> None:
        self.upstream = upstream
        self.required = [one.partition(": ")[::2] for one in required]
        self.lock = threading.Lock()
        self.rules: list[dict[str, Any]] = []
        self.seen: list[dict[str, Any]] = []

    def rule(self, request: str) -> dict[str, Any] | None:
        """The rule that is about this request, used once more."""
        with self.lock:
            for rule in self.rules:
                if request.startswith(rule["match"]) and rule.get("times", 1) > 0:
                    if "times" in rule:
                        rule["times"] -= 1
                    return rule
        return None


class Door(socketserver.BaseRequestHandler):
    """One connection, one request."""

    world: World

    def handle(self) -> None:
        """Reads the request, and answers it or passes it on."""
        with contextlib.suppress(OSError, ValueError):
            self.serve()

    def serve(self) -> None:
        """The same; raises what connections raise."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.request.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        line, *rows = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (r.partition(":") for r in rows)
        }
        if "://" in target:
            target = "/" + target.partition("://")[2].partition("/")[2]
        if headers.get("expect"):
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) < int(headers.get("content-length", 0)):
            body += self.request.recv(65536)
        request = f"{method} {target}"
        if target == "/gateway":
            self.control(method, body)
            return
        rule = self.world.rule(request)
        allowed = all(headers.get(name.lower()) == value for name, value in self.world.required)
        status = 401 if not allowed else rule.get("status", 502) if rule else 0
        with self.world.lock:
            self.world.seen.append(
                {
                    "request": request,
                    "host": headers.get("host"),
                    "headers": headers,
                    "status": status,
                }
            )
        lines = [
            f"{method} {target} HTTP/1.1",
            *(r for r in rows if not r.lower().startswith("connection:")),
        ]
        upgrade = "upgrade" in headers
        lines.append("Connection: Upgrade" if upgrade else "Connection: close")
        message = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
        if not allowed:
            self.answer(401, PAGE, "text/html", method, "WWW-Authenticate: Basic")
        elif rule:
            if rule.get("forward") and not rule.get("delay"):
                self.swallow(message)
            text = rule["body"].encode() if "body" in rule else PAGE
            location = f"Location: {rule['location']}" if "location" in rule else ""
            self.answer(status, text, rule.get("type", "text/html"), method, location)
            if rule.get("forward") and rule.get("delay"):
                self.request.close()
                time.sleep(rule["delay"])
                self.swallow(message)
        else:
            self.splice(message)

    def control(self, method: str, body: bytes) -> None:
        """Sets rules, or tells what came."""
        with self.world.lock:
            if method == "POST":
                self.world.rules, self.world.seen = json.loads(body), []
            told = json.dumps(self.world.seen).encode()
        self.answer(200, told, "application/json", method)

    def answer(self, status: int, body: bytes, kind: str, method: str, more: str = "") -> None:
        """Sends an answer of our own."""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        head += f"Connection: close\r\n{more}{more and chr(13) + chr(10)}\r\n"
        self.request.sendall(head.encode() + (b"" if method == "HEAD" else body))

    def swallow(self, message: bytes) -> None:
        """Passes it on, and throws the answer away."""
        with socket.create_connection(("127.0.0.1", self.world.upstream)) as there:
            there.sendall(message)
            while there.recv(65536):
                pass

    def splice(self, message: bytes) -> None:
        """Passes it on, and from then on all that either side says."""
        try:
            there = socket.create_connection(("127.0.0.1", self.world.upstream))
        except OSError:
            self.answer(502, PAGE, "text/html", "GET")
            return
        with there:
            there.sendall(message)
            while True:
                for one in select.select([self.request, there], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    (there if one is self.request else self.request).sendall(data)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("upstream", type=int)
    parser.add_argument("--require", action="append", default=[])
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    Door.world = World(args.upstream, args.require)
    with Server(("127.0.0.1", args.port), Door) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
