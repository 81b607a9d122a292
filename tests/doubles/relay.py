#!/usr/bin/env python3
"""A link that breaks on demand, for tests: it relays TCP from a port on loopback to another one.

usage: relay.py TO [--port PORT]

Prints its port, and the port that takes commands: a line a connection, answered by "done".
  pass    everything goes through again; what waited comes late, as after a network's short drop
  cut     all connections are reset, and nobody listens any more
  silent  connections stay, and new ones are taken, but nothing comes through in either direction
  deaf    WebSockets (GET /ws, GET /api/ws) stay, but nothing comes from the server on those that
          have had its greeting; all else goes through
  count   answers with the number of connections that were ever taken
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
import sys

BLOCK = 1 << 16


class Relay:
    """The relay: its listener, its connections, and what is wrong with it at the moment."""

    def __init__(self, to: int, port: int) -> None:
        self.to = to
        self.port = port
        self.mode = "pass"
        self.taken = 0
        self.sound = asyncio.Event()
        self.sound.set()
        self.listener: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Begins to take connections."""
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.taken += 1
        self.writers.add(writer)
        ends = [writer]
        try:
            await self.sound.wait()
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.to)
            self.writers.add(far)
            ends.append(far)
            first = await reader.read(BLOCK)
            await self.sound.wait()
            far.write(first)
            is_socket = first.startswith((b"GET /ws", b"GET /api/ws"))
            there = asyncio.ensure_future(self.copy(reader, far, False))
            back = asyncio.ensure_future(self.copy(far_reader, writer, is_socket))
            _, left = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            for one in left:
                # Who has said all may still want to hear the rest.
                with contextlib.suppress(asyncio.TimeoutError, OSError):
                    await asyncio.wait_for(one, 1)
        except OSError:
            pass
        finally:
            for end in ends:
                self.writers.discard(end)
                end.close()

    async def copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_socket: bool
    ) -> None:
        """Passes on what comes, as far as the mode lets it."""
        greeted = False  # the first message of a ComfyUI has the client's own id
        with contextlib.suppress(OSError):
            while data := await reader.read(BLOCK):
                await self.sound.wait()
                if is_socket and greeted and self.mode == "deaf":
                    continue
                greeted = greeted or b'"sid"' in data
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    async def command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A line that somebody tells us."""
        words = (await reader.readline()).decode().split()
        answer = "done"
        if words == ["count"]:
            answer = str(self.taken)
        elif len(words) == 1 and words[0] in ("pass", "cut", "silent", "deaf"):
            await self.turn(words[0])
        else:
            answer = "what?"
        writer.write(f"{answer}\n".encode())
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async def turn(self, mode: str) -> None:
        """Another mode."""
        self.mode = mode
        if mode == "silent":
            self.sound.clear()
        else:
            self.sound.set()
        if mode == "cut":
            if self.listener:
                self.listener.close()
                self.listener = None
            for writer in [*self.writers]:
                made = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        elif not self.listener:
            await self.listen()


async def run(to: int, port: int) -> None:
    """Relays until it is killed."""
    relay = Relay(to, port)
    await relay.listen()
    control = await asyncio.start_server(relay.command, "127.0.0.1", 0)
    print(relay.port, control.sockets[0].getsockname()[1], flush=True)
    await control.serve_forever()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("to", type=int)
    parser.add_argument("--port", type=int, default=0)
    found = parser.parse_args()
    asyncio.run(run(found.to, found.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
