#!/usr/bin/env python3
"""The WebSocket side of a ComfyUI, for tests: it plays what a real one was recorded to send.

It speaks the protocol byte by byte, so that a test can have it do what no library would. As a real
server it knows its sockets by the client's id alone: when one is closed, whoever came later with
the same id hears nothing more.

GET /double tells which sockets there were: {"sockets": [{"id", "origin", "open", "pings",
"pongs"}]}.
POST /double {ACTION: VALUE, "to": CLIENT_ID} acts on the socket that the table has ("*": all; "#N":
the Nth ever made, whether it is in the table or not):
  play NAME          the messages of a recording, "prompt" in place of its prompt's id; only
                     those from number "from" up to (not with) "until"
  send TEXT          one text message; sends LIST: many, with "pause" seconds between
  hex BYTES          these bytes as they are
  huge SIZE          a message of so many bytes, of the kind "kind" (1 text, 2 binary)
  split TEXT         one text message in frames of three bytes, byte by byte, with a ping in between
  cut true           the connection is reset
  forget true        the table loses it, but it stays open
  set OBJECT         {"mute": true} answers nothing any more and greets nobody, {"status": 403}
                     refuses, {"location": URL} goes with it, {"greet": [MESSAGE]} follows
                     the first status, {"linger": SECONDS} is slow to close; null ends it
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import struct
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

FIXTURE = os.path.join(os.path.dirname(__file__), "..", "fixtures", "comfyui", "ws.json")
STATUS = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}


def frame(kind: int, payload: bytes, last: bool = True) -> bytes:
    """A frame as servers send it."""
    first = bytes([kind | (128 if last else 0)])
    if len(payload) < 126:
        return first + bytes([len(payload)]) + payload
    if len(payload) < 1 << 16:
        return first + struct.pack(">BH", 126, len(payload)) + payload
    return first + struct.pack(">BQ", 127, len(payload)) + payload


class Socket:
    """A client's connection."""

    def __init__(self, client: str, origin: str, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.told = {"id": client, "origin": origin, "open": True, "pings": 0, "pongs": 0}

    async def send(self, *parts: bytes, pause: float = 0) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)


class Double:
    """The server."""

    def __init__(self, recordings: dict[str, Any]) -> None:
        self.recordings = recordings
        self.sockets: list[Socket] = []
        self.table: dict[str, Socket] = {}
        self.faults: dict[str, Any] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:])
            }
            if target == "/double":
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if method == "POST":
                    await self.act(json.loads(body))
                answer = json.dumps({"sockets": [one.told for one in self.sockets]}).encode()
                size = (
                    f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(size.encode() + answer)
            else:
                await self.websocket(target, headers, reader, writer)
        writer.close()

    async def websocket(
        self,
        target: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """A client's connection, from its handshake to its end."""
        client = parse_qs(urlsplit(target).query)["clientId"][0]
        one = Socket(client, headers.get("origin", ""), writer)
        self.sockets.append(one)
        try:
            if "status" in self.faults:
                status, where = self.faults["status"], self.faults.get("location", "")
                writer.write(f"HTTP/1.1 {status} X\r\nLocation: {where}\r\n".encode())
                writer.write(b"Content-Length: 0\r\n\r\n")
                return
            while self.faults.get("mute"):
                if not await reader.read(4096):
                    return
            key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            writer.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            self.table[client] = one
            first = {"type": "status", "data": {**STATUS["data"], "sid": client}}
            for message in [first, *self.faults.get("greet", [])]:
                await one.send(frame(1, json.dumps(message).encode()))
            await self.listen(one, reader)
        finally:
            one.told["open"] = False
            if client in self.table:
                del self.table[client]  # whoever it is by now

    async def listen(self, one: Socket, reader: asyncio.StreamReader) -> None:
        """Answers pings until the client goes."""
        while True:
            first, size = await reader.readexactly(2)
            size &= 127
            if size == 126:
                (size,) = struct.unpack(">H", await reader.readexactly(2))
            mask = await reader.readexactly(4)
            data = bytes(a ^ mask[i % 4] for i, a in enumerate(await reader.readexactly(size)))
            if first & 15 == 9:
                one.told["pings"] += 1
            one.told["pongs"] += first & 15 == 10
            if self.faults.get("mute"):
                continue
            if first & 15 == 8:
                await asyncio.sleep(self.faults.get("linger", 0))
                await one.send(frame(8, data))
                return
            if first & 15 == 9:
                await one.send(frame(10, data))

    async def act(self, what: dict[str, Any]) -> None:
        """What a test wants to happen."""
        to = what.get("to", "*")
        if to == "*":
            those = list(self.table.values())
        elif to.startswith("#"):
            those = [self.sockets[int(to[1:])]]
        else:
            those = [self.table[to]] if to in self.table else []
        for name, value in what.get("set", {}).items():
            self.faults.pop(name, None)
            if value is not None:
                self.faults[name] = value
        for one in those:
            await one.send(*self.parts(what), pause=what.get("pause", 0))
            if "cut" in what:
                one.writer.transport.abort()
            if "forget" in what:
                self.table = {key: kept for key, kept in self.table.items() if kept is not one}

    def parts(self, what: dict[str, Any]) -> list[bytes]:
        """The bytes that an action sends."""
        if "send" in what or "sends" in what:
            return [frame(1, text.encode()) for text in what.get("sends", [what.get("send")])]
        if "hex" in what:
            return [bytes.fromhex(what["hex"])]
        if "huge" in what:
            return [frame(what.get("kind", 2), b"\0" * what["huge"])]
        if "split" in what:
            text = what["split"].encode()
            pieces = [text[i : i + 3] for i in range(0, len(text), 3)]
            found = frame(1, pieces[0], False) + frame(9, b"there?")
            for piece in pieces[1:]:
                found += frame(0, piece, piece is pieces[-1])
            return [bytes([byte]) for byte in found]
        if "play" not in what:
            return []
        found = []
        for message in self.recordings[what["play"]]["messages"][
            what.get("from", 0) : what.get("until")
        ]:
            if isinstance(message, int):
                found.append(frame(2, struct.pack(">II", 1, 1) + b"\xff" * message))
            else:
                text = json.dumps(message).replace("PROMPT", what.get("prompt", "PROMPT"))
                found.append(frame(1, text.encode()))
        return found


async def run(port: int, recordings: dict[str, Any]) -> None:
    """Serves for ever."""
    double = Double(recordings)
    server = await asyncio.start_server(double.serve, "127.0.0.1", port)
    print(f"ready at http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> int:
    """Exit code: that of the signal that ends it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    with open(FIXTURE, encoding="utf-8") as file:
        recordings = json.load(file)
    asyncio.run(run(args.port, recordings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
