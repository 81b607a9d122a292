#!/usr/bin/env python3
"""A ComfyUI that lies, for tests: it speaks the protocol, with faults that are switched on.

Faults come from the environment variable LYING_FAULTS and from POST /double, both a JSON object
(null switches one off). GET /double tells what happened: requests, executions, what is held.
Every execution is also noted in a file, so that it counts over restarts.

Faults, by the route they belong to (the values are in brackets; FAULT_once is over after one use):
  hold, hold_after   ["POST /prompt"]: wait before, or after, it is done, until {"release": true};
                     {"release": "drop"} cuts the connection instead (what waited before is
                     lost); hold_after "GET /view?..." waits in the middle of the file
  answers            [object]: PATH -> [STATUS, TEXT], for GET and POST, before all else
  stats              [html 500]
  limit              [bytes]: /features max_upload_size
  upload             [html 413 500]    upload_name [text]: the name that the server gives it
  prompt             [500_queued 500 cut half other_id partial html dropped 429 refuse]
  refusal            [object]: what "refuse" says; refusal_status [400]
  seconds            [number]: an execution takes that long    deaf [true]: it can't be interrupted
  ending             [success error oom blocked]    message [text] of the error
  outputs            [object]: history's outputs    cached [list of node ids]
  history            [html cut list missing garbage]    queue [html]
  view               [html short reset 404 302 500 503 empty]    view_bytes [number]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

VERSION = "0.3.64"
HTML = b"<html><body>\x1b[31mBad Gateway\x1b[0m</body></html>"


def picture(name: str, size: int) -> bytes:
    """A PNG of one pixel whose colour follows from its name, filled up to `size` bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    colour = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:3]
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(b"\x00" + colour)) + chunk(b"IEND", b"")
    room = size - len(head) - len(tail) - 12
    return head + (chunk(b"fiLl", b"\x00" * room) if room > 0 else b"") + tail


class World:
    """What the server knows; `changed` guards all of it."""

    def __init__(self, notes: str | None, faults: dict[str, Any]) -> None:
        self.changed = threading.Condition()
        self.faults = faults
        self.notes = notes
        self.pending: list[tuple[int, str, Any]] = []
        self.running: tuple[int, str, Any] | None = None
        self.history: dict[str, Any] = {}
        self.requests: list[str] = []
        self.executions: list[str] = []
        self.uploads: dict[str, int] = {}
        self.uploaded: list[str] = []
        self.held = 0
        self.released = 0
        self.dropped = False
        self.interrupted = False
        self.number = 0
        threading.Thread(target=self._work, daemon=True).start()

    def fault(self, name: str) -> Any:
        """The fault `name`, or None; `name`_once counts once."""
        with self.changed:
            if name + "_once" in self.faults:
                return self.faults.pop(name + "_once")
            return self.faults.get(name)

    def tell(self, change: dict[str, Any]) -> None:
        """Takes POST /double in."""
        with self.changed:
            release = change.pop("release", None)
            if change.pop("restart", None):
                self.pending, self.running, self.history, self.number = [], None, {}, 0
                self.interrupted = True
            for name, value in change.items():
                self.faults.pop(name, None)
                if value is not None:
                    self.faults[name] = value
            if release:
                self.dropped = release == "drop"
                self.released += 1
            self.changed.notify_all()

    def wait_while_held(self, what: str, route: str) -> bool:
        """Waits while the fault `what` names `route`; False when it was dropped."""
        with self.changed:
            if route not in (self.faults.get(what) or []):
                return True
            turn = self.released
            self.held += 1
            self.changed.wait_for(lambda: self.released > turn, timeout=120)
            self.held -= 1
            return not self.dropped

    def queue(self, prompt_id: str, prompt: Any) -> int:
        """Puts a prompt into the queue; returns its number."""
        with self.changed:
            self.number += 1
            self.pending.append((self.number, prompt_id, prompt))
            self.changed.notify_all()
            return self.number

    def _work(self) -> None:
        """The worker thread: one prompt at a time."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: bool(self.pending))
                item = self.running = self.pending.pop(0)
                self.interrupted = False
                self.executions.append(item[1])
                if self.notes:
                    with open(self.notes, "a", encoding="utf-8") as notes:
                        notes.write(item[1] + "\n")
                count = len(self.executions)
                seconds = float(self.faults.get("seconds") or 0)
                self.changed.wait_for(
                    lambda: self.interrupted and not self.faults.get("deaf"), timeout=seconds
                )
                if self.running is item:  # else the server was "restarted"
                    self.running = None
                    self.history[item[1]] = self._entry(item, count)

    def _entry(self, item: tuple[int, str, Any], count: int) -> dict[str, Any]:
        """The history entry of a prompt that has ended."""
        number, prompt_id, prompt = item
        about = {"prompt_id": prompt_id, "timestamp": int(time.time() * 1000)}
        messages: list[Any] = [["execution_start", about]]
        if self.faults.get("cached"):
            messages.append(["execution_cached", {"nodes": self.faults["cached"], **about}])
        outputs = self.faults.get("outputs")
        if outputs is None:
            outputs = {}
            for node_id, node in prompt.items():
                prefix = node["inputs"].get("filename_prefix")
                if prefix is not None:
                    folder, _, name = str(prefix).rpartition("/")
                    file = {"filename": f"{name}_{count:05d}_.png", "subfolder": folder}
                    outputs[node_id] = {"images": [{**file, "type": "output"}]}
        ending = "interrupted" if self.interrupted else self.faults.get("ending", "success")
        failure = {"node_id": "1", "node_type": "EmptyImage", "executed": [], **about}
        if ending == "interrupted":
            messages.append(["execution_interrupted", failure])
        elif ending in ("error", "oom"):
            kind = "torch.OutOfMemoryError" if ending == "oom" else "RuntimeError"
            text = self.faults.get("message") or "Allocation on device\nTIPS: fewer\n"
            failure.update(exception_message=text, exception_type=kind, traceback=["  File x\n"])
            messages.append(["execution_error", failure])
        else:
            messages.append(["execution_success", about])
        return {
            "prompt": [number, prompt_id, prompt, {}, []],
            "outputs": {} if ending in ("interrupted", "blocked") else outputs,
            "status": {
                "status_str": "success" if ending in ("success", "blocked") else "error",
                "completed": ending in ("success", "blocked"),
                "messages": messages,
            },
            "meta": {},
        }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "Python/3.11 aiohttp/3.14.5"
    sys_version = ""
    world: World
    port = 0

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the tests read /double."""

    def answer(
        self, body: bytes, status: int = 200, kind: str = "text/html", **headers: str
    ) -> None:
        """Sends a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, status: int = 200) -> None:
        """Sends `value` as JSON."""
        self.answer(json.dumps(value).encode(), status, "application/json; charset=utf-8")

    def cut(self) -> None:
        """Ends the connection with a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        raise ConnectionAbortedError

    def handle_one_request(self) -> None:
        """As the base class does, but a cut connection is no error."""
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def handle(self) -> None:
        """As the base class does, but nothing is flushed after a cut."""
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def finish(self) -> None:
        """As the base class does, but a cut connection is no error."""
        try:
            super().finish()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        """HEAD: as GET."""
        self.route()

    def do_GET(self) -> None:
        """GET."""
        self.route()

    def do_POST(self) -> None:
        """POST."""
        self.route()

    def route(self) -> None:
        """Finds the method for a path: /upload/image is on_upload."""
        path = urlsplit(self.path).path
        first = path.strip("/").split("/")[0]
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        if first != "double":
            with self.world.changed:
                self.world.requests.append(f"{self.command} {self.path}")
        name = f"{self.command} /{first}"
        if not self.world.wait_while_held("hold", name):
            self.cut()
        said = (self.world.faults.get("answers") or {}).get(path)
        if said is not None:
            self.answer(said[1].encode("utf-8", "surrogateescape"), said[0], "application/json")
            return
        found = getattr(self, "on_" + first, None)
        if found is None:
            self.answer(b"", 404, "application/octet-stream")
        else:
            found(path, parse_qs(urlsplit(self.path).query, keep_blank_values=True))

    def after(self) -> None:
        """What is done is done; the answer may still be held back."""
        if not self.world.wait_while_held("hold_after", f"{self.command} {self.path}"):
            self.cut()

    def on_double(self, path: str, query: dict[str, list[str]]) -> None:
        """The tests' own door."""
        if self.command == "POST":
            self.world.tell(json.loads(self.body))
        with self.world.changed:
            world = self.world
            self.json(
                {
                    "requests": world.requests,
                    "executions": world.executions,
                    "held": world.held,
                    "uploaded": world.uploaded,
                    "pending": len(world.pending),
                    "running": world.running is not None,
                }
            )

    def on_system_stats(self, path: str, query: dict[str, list[str]]) -> None:
        """GET /system_stats."""
        fault = self.world.fault("stats")
        if fault == "html":
            self.answer(HTML)
        elif fault == "500":
            self.answer(HTML, 500)
        else:
            self.json({"system": {"comfyui_version": VERSION, "argv": ["main.py"]}, "devices": []})

    def on_features(self, path: str, query: dict[str, list[str]]) -> None:
        """GET /features."""
        self.json({"max_upload_size": self.world.faults.get("limit", 104857600)})

    def on_object_info(self, path: str, query: dict[str, list[str]]) -> None:
        """GET /object_info/CLASS: every class is unknown."""
        self.json({})

    def on_upload(self, path: str, query: dict[str, list[str]]) -> None:
        """POST /upload/image."""
        fault = self.world.fault("upload")
        if fault == "html":
            self.answer(HTML)
        elif fault in ("413", "500"):
            self.answer(b"no", int(fault), "text/plain")
        else:
            found = re.search(rb'filename="([^"\r\n]*)"', self.body)
            folder = re.search(rb'name="subfolder"\r\n\r\n([^\r\n]*)', self.body)
            name = found.group(1).decode() if found else "none"
            subfolder = folder.group(1).decode() if folder else ""
            size = len(self.body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0]) if found else 0
            name = self.world.fault("upload_name") or name
            with self.world.changed:
                self.world.uploads[f"{subfolder}/{name}"] = size
                self.world.uploaded.append(f"{subfolder}/{name}")
            self.after()
            self.json({"name": name, "subfolder": subfolder, "type": "input"})

    def on_prompt(self, path: str, query: dict[str, list[str]]) -> None:
        """POST /prompt."""
        fault = self.world.fault("prompt")
        if fault in ("500", "429"):
            self.answer(b"500 Internal Server Error", int(fault), "text/plain", Retry_After="0")
            return
        if fault == "refuse":
            status = int(self.world.faults.get("refusal_status", 400))
            refusal = self.world.faults.get("refusal")
            if isinstance(refusal, str):
                self.answer(refusal.encode(), status)
            else:
                self.json(refusal, status)
            return
        body = json.loads(self.body)
        prompt_id, prompt = body["prompt_id"], body["prompt"]
        if fault == "other_id":
            prompt_id = "00000000-0000-4000-8000-000000000000"
        number = 0 if fault == "dropped" else self.world.queue(prompt_id, prompt)
        self.after()
        answer: dict[str, Any] = {"prompt_id": prompt_id, "number": number, "node_errors": {}}
        if fault == "500_queued":
            self.answer(b"500 Internal Server Error", 500, "text/plain")
        elif fault == "html":
            self.answer(HTML)
        elif fault == "cut":
            self.cut()
        elif fault == "half":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"prompt_id": "')
            self.cut()
        else:
            if fault == "partial":
                problem = {
                    "type": "custom_validation_failed",
                    "message": "Custom validation failed for node",
                    "details": "image - Invalid image file: nothere.png",
                    "extra_info": {"input_name": "image"},
                }
                answer["node_errors"] = {
                    "1": {"errors": [problem], "dependent_outputs": [], "class_type": "LoadImage"}
                }
            self.json(answer)

    def on_queue(self, path: str, query: dict[str, list[str]]) -> None:
        """GET and POST /queue."""
        if self.world.fault("queue") == "html":
            self.answer(HTML)
            return
        with self.world.changed:
            if self.command == "POST":
                gone = json.loads(self.body).get("delete", [])
                self.world.pending = [item for item in self.world.pending if item[1] not in gone]
                self.answer(b"", 200, "text/plain")
                return
            running = [self.world.running] if self.world.running else []
            rows = [[[*item, {}, []] for item in part] for part in (running, self.world.pending)]
        self.json({"queue_running": rows[0], "queue_pending": rows[1]})

    def on_interrupt(self, path: str, query: dict[str, list[str]]) -> None:
        """POST /interrupt."""
        with self.world.changed:
            wanted = json.loads(self.body or b"{}").get("prompt_id")
            if self.world.running and self.world.running[1] == wanted:
                self.world.interrupted = True
                self.world.changed.notify_all()
        self.answer(b"", 200, "text/plain")

    def on_history(self, path: str, query: dict[str, list[str]]) -> None:
        """GET /history/ID."""
        prompt_id = path.rpartition("/")[2]
        fault = self.world.fault("history")
        with self.world.changed:
            entry = self.world.history.get(prompt_id)
        if fault == "html":
            self.answer(HTML)
        elif fault == "list":
            self.json([prompt_id])
        elif fault == "garbage" and entry:
            self.json({prompt_id: {"outputs": 7, "status": "\u001b[2J", "prompt": None}})
        elif fault == "cut" and entry:
            self.answer(json.dumps({prompt_id: entry}).encode()[:-40], 200, "application/json")
        else:
            self.json({prompt_id: entry} if entry and fault != "missing" else {})

    def on_view(self, path: str, query: dict[str, list[str]]) -> None:
        """GET and HEAD /view."""
        name = query.get("filename", [""])[0]
        folder = query.get("subfolder", [""])[0]
        if query.get("type") == ["input"]:
            size = self.world.uploads.get(f"{folder}/{name}")
            if size is None:
                self.answer(b"", 404)
            else:
                self.answer(b"\x00" * size, 200, "application/octet-stream")
            return
        fault = self.world.fault("view")
        data = picture(f"{folder}/{name}", int(self.world.faults.get("view_bytes", 300)))
        if not name.lower().endswith(".png"):
            data = f"made of {folder}/{name}".encode("utf-8", "surrogateescape")
        if fault == "html":
            self.answer(HTML)
        elif fault == "302":
            self.answer(b"", 302, Location=f"http://127.0.0.1:{self.port}/view?filename=else.png")
        elif fault in ("404", "500", "503"):
            self.answer(b"", int(fault), "application/octet-stream", Retry_After="0")
        elif fault == "empty":
            self.answer(b"", 200, "image/png")
        else:
            self.send_part(data, fault)

    def send_part(self, data: bytes, fault: str | None) -> None:
        """Sends a file, from where the client wants it on, in full or not."""
        start = 0
        tag = '"one"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.headers.get("If-Range", tag) == tag:
            start = int(wanted.group(1))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", "image/png")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("short", "reset"):
            self.wfile.write(data[start : (start + len(data)) // 2])
            self.wfile.flush()
            if fault == "reset":
                time.sleep(0.1)  # what was sent shall arrive
                self.cut()
            self.close_connection = True
            return
        half = (start + len(data)) // 2
        self.wfile.write(data[start:half])
        self.wfile.flush()
        self.after()
        self.wfile.write(data[half:])


def main() -> int:
    """Serves until it is killed; prints its port."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--notes", help="a file that takes the id of every execution")
    found, _rest = parser.parse_known_args()  # also the flags that a ComfyUI is started with
    world = World(
        found.notes or os.environ.get("LYING_NOTES"),
        json.loads(os.environ.get("LYING_FAULTS") or "{}"),
    )
    server = ThreadingHTTPServer(("127.0.0.1", found.port), Handler)
    server.daemon_threads = True
    Handler.world, Handler.port = world, server.server_address[1]
    print(Handler.port, flush=True)
    server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
