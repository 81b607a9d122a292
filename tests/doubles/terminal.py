#!/usr/bin/env python3
"""Runs a command in a terminal of its own and types into it, for tests.

usage: terminal.py [--type AFTER PAUSE KEYS]... COMMAND [ARGUMENT...]

Each KEYS (Python escapes, "\\x03" is Ctrl+C) is typed PAUSE seconds after the text AFTER has
appeared since the last ones. What the command wrote goes to stdout; the exit status is the
command's, 128+n after signal n, 124 when it has not ended in 60 seconds.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time

SECONDS = 60


def main(arguments: list[str]) -> int:
    """The exit status of the command."""
    keys: list[tuple[bytes, float, bytes]] = []
    while arguments[:1] == ["--type"]:
        typed = arguments[3].encode().decode("unicode_escape").encode()
        keys.append((arguments[1].encode(), float(arguments[2]), typed))
        arguments = arguments[4:]
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvp(arguments[0], arguments)
    deadline, seen = time.monotonic() + SECONDS, b""
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # Linux says so when the last writer is gone
                data = b""
            if not data:
                break
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            seen += data
        if keys and keys[0][0] in seen:
            _, pause, typed = keys.pop(0)
            time.sleep(pause)
            os.write(terminal, typed)
            seen = b""
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return 124
    status = os.waitpid(child, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
