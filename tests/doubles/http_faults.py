"""An HTTP server on loopback that fails in the ways in which servers and links fail.

usage: http_faults.py PORT_FILE LOG_FILE

PORT_FILE gets the port once it listens. LOG_FILE gets a line for each request, as it arrives:
METHOD PATH SECONDS (since the start) and the Range and If-Range headers or -. What it does is in
the path; a fault that passes is counted for each whole path, so that a test names its own:

  /headers/…             200, the request's headers
  /status/CODE/TIMES/…   CODE (TIMES times), then 200; ?retry-after=WORD goes with CODE
  /reset/TIMES/…         reads the request, then resets the connection
  /close/TIMES/…         the same, but closes it
  /short/TIMES/…         promises ten bytes more than it sends
  /file/TIMES/…          a file of FILE_SIZE bytes with an ETag and ranges; cut in the middle
  /plain/TIMES/…         the same without ETag and ranges
  /changed/1/…           the same; the second time it is another file
  /stall/TIMES/…         half of the file, then nothing for a minute
  /slow/1/…              the file, in a second and a half
  /zeros/BYTES/…         that many zeros; /chunked/BYTES/… without saying how many
  /empty/…               200 and nothing
  /redirect/…            302 to /headers/redirected
  /upload/TIMES/…        reads a multipart body, resets; then 200, a JSON object of what came
  /sink/…                reads any body, 200, its length
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FILE_SIZE = 300_000  # more than the buffers between us and a client that has stopped reading
BLOCK = 1 << 20
PARTS_MAX = 8 << 20  # bodies up to this size are taken apart

STARTED = time.monotonic()
LOCK = threading.Lock()
SEEN: dict[str, int] = {}  # path: how often it was asked for


def content(name: str) -> bytes:
    """FILE_SIZE bytes that follow from the name."""
    blocks = (hashlib.sha256(f"{name}{i}".encode()).digest() for i in range(FILE_SIZE // 32 + 1))
    return b"".join(blocks)[:FILE_SIZE]


class Handler(BaseHTTPRequestHandler):
    """One request: log it, then do what its path says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Our own log says what the tests want to know."""

    def do_GET(self) -> None:
        """All methods come here."""
        url = urlsplit(self.path)
        words = url.path.strip("/").split("/") + ["", ""]
        with LOCK:
            times = SEEN[url.path] = SEEN.get(url.path, 0) + 1
            with open(sys.argv[2], "a", encoding="utf-8") as log:
                fields = (
                    self.command,
                    url.path,
                    f"{time.monotonic() - STARTED:.3f}",
                    self.headers.get("Range", "-"),
                    self.headers.get("If-Range", "-"),
                )
                log.write(" ".join(fields) + "\n")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length <= PARTS_MAX else b""
        name, argument = words[0], words[1]
        handle = getattr(self, "on_" + name, None)
        if handle is None:
            self.answer(404, b"no such fault\n")
        elif name in ("zeros", "chunked"):
            handle(int(argument))
        elif name == "status":
            self.on_status(int(argument), times <= int(words[2]), parse_qs(url.query))
        elif name in ("upload", "sink"):
            handle(body, argument.isdigit() and times <= int(argument))
        else:
            handle(argument.isdigit() and times <= int(argument))

    do_POST = do_HEAD = do_PUT = do_GET

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        """A whole answer; underscores in header names stand for dashes."""
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self, reset: bool = True) -> None:
        """End the connection: abruptly, or as if all was said."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        self.connection.close()

    def on_headers(self, _now: bool) -> None:
        """What the client sent."""
        self.answer(200, str(self.headers).encode())

    def on_status(self, code: int, now: bool, query: dict[str, list[str]]) -> None:
        """A status that passes."""
        if not now:
            self.answer(200, b"ok\n")
            return
        wait = query.get("retry-after")
        self.answer(code, b"<html>fault</html>\n", **({"Retry_After": wait[0]} if wait else {}))

    def on_reset(self, now: bool) -> None:
        """No answer."""
        if now:
            self.cut()
        else:
            self.answer(200, b"ok\n")

    def on_close(self, now: bool) -> None:
        """No answer, politely."""
        if now:
            self.cut(reset=False)
        else:
            self.answer(200, b"ok\n")

    def on_short(self, now: bool) -> None:
        """An answer that ends before its length."""
        if not now:
            self.answer(200, b"ok\n")
            return
        self.send_response(200)
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b"ok\n")
        self.wfile.flush()
        self.cut(reset=False)

    def on_file(
        self, cut: bool, name: str = "file", ranges: bool = True, stall: bool = False
    ) -> None:
        """A file, whole or from where the client wants it."""
        data, tag, start = content(name), f'"{name}"', 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and ranges and self.headers.get("If-Range", tag) == tag:
            start = int(wanted[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        if ranges:
            self.send_header("ETag", tag)
        self.end_headers()
        if not cut and not stall:
            self.wfile.write(data[start:])
            return
        self.wfile.write(data[start : start + (len(data) - start) // 2])
        self.wfile.flush()
        if stall:
            self.connection.settimeout(60)
            self.connection.recv(1)  # until the client has had enough
        else:
            time.sleep(0.1)  # a reset takes back what was not yet read
            self.cut()
        self.close_connection = True

    def on_plain(self, cut: bool) -> None:
        """A file that can't be resumed."""
        self.on_file(cut, ranges=False)

    def on_changed(self, first: bool) -> None:
        """A file that is another one after the cut."""
        self.on_file(first, name="old" if first else "new")

    def on_stall(self, now: bool) -> None:
        """A file that stops in the middle."""
        self.on_file(False, stall=now)

    def on_slow(self, _now: bool) -> None:
        """A file that takes its time."""
        data = content("file")
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for start in range(0, len(data), 20_000):
            self.wfile.write(data[start : start + 20_000])
            time.sleep(0.1)

    def on_zeros(self, size: int) -> None:
        """A large body."""
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        block = bytes(BLOCK)
        while size > 0:
            self.wfile.write(block[:size])
            size -= len(block)

    def on_chunked(self, size: int) -> None:
        """A large body of unknown length."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while size > 0:
            block = bytes(min(size, BLOCK))
            self.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            size -= len(block)
        self.wfile.write(b"0\r\n\r\n")

    def on_empty(self, _now: bool) -> None:
        """Nothing, successfully."""
        self.answer(200, b"")

    def on_redirect(self, _now: bool) -> None:
        """Somewhere else."""
        self.answer(302, b"", Location="/headers/redirected")

    def on_upload(self, body: bytes, now: bool) -> None:
        """What a multipart body says, part by part."""
        if now:
            self.cut()
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            data = part.get_payload(decode=True)
            header = part["Content-Disposition"]
            found = re.search(r'; name="([^"]*)"', header)
            file = re.search(r'; filename="(.*)"', header)
            parts[found[1] if found else "?"] = {
                "file": file[1] if file else None,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "text": None if file else data.decode(),
            }
        self.answer(200, json.dumps(parts, ensure_ascii=False).encode())

    def on_sink(self, body: bytes, _now: bool) -> None:
        """How much came."""
        length = int(self.headers.get("Content-Length") or 0)
        left = length - len(body)
        while left > 0:
            block = self.rfile.read(min(left, BLOCK))
            if not block:
                break
            left -= len(block)
        self.answer(200, f"{length - left}\n".encode())


def main() -> int:
    """Serve until killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, address: None  # clients may leave at any time
    with open(sys.argv[1] + ".tmp", "w", encoding="utf-8") as file:
        file.write(f"{server.server_port}\n")
    os.rename(sys.argv[1] + ".tmp", sys.argv[1])  # whole or not there, for who waits for it
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
