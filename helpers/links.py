"""Connections to the WebSocket of a ComfyUI server, for a program that waits for several at once.

Needs websocket-client, which makes the connection and sends. What comes in is taken apart here:
a frame may come in pieces without anybody waiting for the rest, and pictures go by without being
held.

For helpers beside it; not a program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading

import websocket
from websocket import WebSocket
from wording import brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MESSAGE_BYTES = 64 << 20  # a longer message is thrown away as it comes
TURN_BYTES = 4 << 20  # read from one connection before the others have their turn
CONNECT_SECONDS = 15.0
CLOSE_SECONDS = 2.0  # a server gets these to close its side
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Lost(Exception):
    """The connection is of no use any more; the text says why."""


class Frames:
    """Takes the frames of a WebSocket apart; binary and huge ones go by without being held."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.skip = 0  # bytes of a frame's payload that are to be thrown away
        self.message: bytearray | None = None  # of the text message that is coming in
        self.dropping = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Whole text messages and control frames, as their kind and payload."""
        found: list[tuple[int, bytes]] = []
        self.buffer += data
        while True:
            if self.skip:
                gone = min(self.skip, len(self.buffer))
                del self.buffer[:gone]
                self.skip -= gone
            if self.skip or len(self.buffer) < 2:
                return found
            first, size, head = self.buffer[0], self.buffer[1], 2
            kind, last = first & 15, first & 128
            if (
                first & 0x70
                or size & 128
                or kind not in (CONTINUED, TEXT, BINARY, CLOSE, PING, PONG)
            ):
                raise Lost("the server does not speak WebSocket")
            if size >= 126:
                head = 4 if size == 126 else 10
                if len(self.buffer) < head:
                    return found
                size = int.from_bytes(self.buffer[2:head], "big")
            if kind >= CLOSE:
                if size > 125:
                    raise Lost("the server does not speak WebSocket")
            elif self.unwanted(kind, size):
                self.dropping = not last
                del self.buffer[:head]
                self.skip = size
                continue
            if len(self.buffer) < head + size:
                return found
            payload = bytes(self.buffer[head : head + size])
            del self.buffer[: head + size]
            if kind >= CLOSE:
                found.append((kind, payload))
                continue
            self.message = (self.message or bytearray()) + payload
            if last:
                found.append((TEXT, bytes(self.message)))
                self.message = None

    def unwanted(self, kind: int, size: int) -> bool:
        """Whether the payload of a data frame goes by; then nothing of its message is kept."""
        if kind == CONTINUED and self.dropping:
            return True
        if kind == BINARY or len(self.message or b"") + size > MESSAGE_BYTES:
            self.message = None
            return True
        return False


class Link:
    """One connection to a server's /ws, made in the background."""

    def __init__(
        self, url: str, client_id: str, waker: int, now: float, headers: list[str] | None = None
    ) -> None:
        self.url = url
        self.client_id = client_id
        self.state = "connecting"  # then open, closing, gone
        self.told, self.told_at = False, now  # its first status has come: the server knows it
        self.heard = self.news = now  # when a frame came, and when a message
        self.deadline = now + CONNECT_SECONDS
        self.asked = 0.0  # when the ping was sent that has no answer yet
        self.more = False  # there is more to read than one turn allows
        self.failure = ""
        self.refused = False  # nothing listens there
        self.socket: Any = None
        self.frames = Frames()
        self._headers = headers or []
        self._made: Any = None
        self._waker = waker
        threading.Thread(target=self._connect, daemon=True).start()

    def _connect(self) -> None:
        """In a thread: nothing else can wait for a handshake without being held up."""
        try:
            self._made = dial(f"{self.url}/ws?clientId={self.client_id}", self._headers)
        except Exception as error:
            self.refused = isinstance(error, ConnectionRefusedError)
            self.failure = reason_of(error)
        with contextlib.suppress(OSError):  # the program may be at its end
            os.write(self._waker, b".")

    def settle(self, now: float) -> None:
        """Takes over what the thread made; Lost when that is nothing."""
        if self.state != "connecting":
            if self._made and self.state == "gone":
                self._made.shutdown()  # nobody waits for it any more
        elif self._made:
            self.socket, self.state, self.heard = self._made, "open", now
            self.socket.settimeout(0)
        elif self.failure:
            raise Lost(self.failure)

    def pending(self) -> bool:
        """Whether its thread is still about to connect."""
        return not (self._made or self.failure)

    def fileno(self) -> int:
        """For select()."""
        return int(self.socket.sock.fileno())

    def read(self, now: float) -> list[bytes]:
        """The text messages that have come; Lost when it is over."""
        found: list[bytes] = []
        room = TURN_BYTES
        self.more = False
        while room > 0:
            try:
                data = self.socket.sock.recv(65536)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                return found
            except (OSError, AttributeError) as error:
                raise Lost(reason_of(error)) from None
            if not data:
                raise Lost("the server closed the connection")
            room -= len(data)
            self.heard, self.asked = now, 0.0
            for kind, payload in self.frames.feed(data):
                if kind == TEXT:
                    found.append(payload)
                elif kind == PING:
                    self.send(PONG, payload)
                elif kind == CLOSE and self.state != "closing":
                    raise Lost("the server closed the connection")
        self.more = True
        return found

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Sends a control frame."""
        try:
            self.socket.send(payload, kind)
        except (OSError, websocket.WebSocketException, AttributeError) as error:
            raise Lost(reason_of(error)) from None

    def keep_alive(self, now: float, every: float) -> None:
        """Pings a server that has been silent; Lost when there is no answer."""
        if self.state == "connecting" and now >= self.deadline:
            raise Lost("no answer")
        if self.state != "open":
            return
        if self.asked and now >= self.asked + every / 2:
            raise Lost("no answer")
        if not self.asked and now >= self.heard + every:
            self.asked = now
            self.send(PING)

    def doubt(self, now: float, every: float) -> None:
        """Has the next keep_alive ping at once."""
        self.heard = min(self.heard, now - every)

    def due(self, every: float) -> float:
        """When keep_alive has something to do."""
        if self.state != "open":
            return self.deadline
        return self.asked + every / 2 if self.asked else self.heard + every

    def close(self, now: float) -> None:
        """Begins to close: the server is to close first, so that it is known to have noticed."""
        if self.state != "open":
            self.drop()
            return
        self.state, self.deadline = "closing", now + CLOSE_SECONDS
        try:
            self.send(CLOSE, b"\x03\xe8")
        except Lost:
            self.drop()

    def drop(self) -> None:
        """Closes at once."""
        if self.socket:
            self.socket.shutdown()
        self.state = "gone"


def dial(url: str, headers: list[str]) -> WebSocket:
    """A connection to `url`, as http://127.0.0.1:8188/ws, asked for with these headers too (each as
    "Name: value"); raises Lost, OSError and others.
    """
    made: Any = WebSocket(skip_utf8_validation=True)
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https"):
        raise Lost("not an address")
    host = rest.partition("/")[0]
    options: dict[str, Any] = {}
    if scheme == "http" and host.rpartition(":")[0] in LOOPBACK:
        # Our own socket: the library would ask a proxy that the environment names.
        name, _, port = host.rpartition(":")
        options["socket"] = socket.create_connection((name.strip("[]"), int(port)), CONNECT_SECONDS)
    # No Origin, which a server compares with its Host; and no other place than the one given.
    made.connect(
        f"{'ws' if scheme == 'http' else 'wss'}://{rest}",
        timeout=CONNECT_SECONDS,
        suppress_origin=True,
        redirect_limit=0,
        header=headers,
        **options,
    )
    if made.getstatus() != 101:
        made.shutdown()
        raise Lost(f"HTTP {made.getstatus()}")
    return made  # type: ignore[no-any-return]


def reason_of(error: BaseException) -> str:
    """What an error of a connection comes down to, in a few words."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return f"HTTP {status}"
    if isinstance(error, (TimeoutError, socket.timeout, websocket.WebSocketTimeoutException)):
        return "no answer"
    if isinstance(error, (AttributeError, websocket.WebSocketConnectionClosedException)):
        return "the server closed the connection"
    if isinstance(error, OSError) and error.strerror:
        return brief(error.strerror[:1].lower() + error.strerror[1:], 100)
    return brief(str(error).strip() or type(error).__name__, 100)
