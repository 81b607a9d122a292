"""Start a program, send it signals, and say how it ended: as the parent shell sees it.

usage: signalled.py SIGNALS READY_FILE CMD [ARG...]

SIGNALS is a list like `TERM`, `INT+1.5,INT` (a pause of 1.5 s after the first) or `TERM,TERM`
(at once); `^INT` goes to the program's whole process group, as a terminal's Ctrl+C does. They are
sent when READY_FILE exists. A shell can't trap a signal that was ignored when
it started, as SIGINT is in the background jobs of a script: so all start out with the default.
Prints `signal NAME` or `exit N`; ends with 1 when the program had to be killed after 20 s, or left
a process of its group behind (which would hold the caller's pipe open).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

LIMIT = 20.0  # seconds for the program to get ready, and again to end
GRACE = 3.0  # and for what it started to end after it
NAMES = ("INT", "TERM", "HUP", "QUIT")


def defaults() -> None:
    """Undo what the caller ignores or blocks."""
    for name in NAMES:
        signal.signal(getattr(signal, "SIG" + name), signal.SIG_DFL)


def alive(group: int) -> bool:
    """Whether a process group has a living process."""
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def main() -> int:
    """Run the program given on the command line."""
    signals, ready, *command = sys.argv[1:]
    child = subprocess.Popen(command, preexec_fn=defaults, start_new_session=True)
    deadline = time.monotonic() + LIMIT
    while not os.path.exists(ready) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    for item in signals.split(","):
        name, _, pause = item.partition("+")
        number = getattr(signal, "SIG" + name.lstrip("^"))
        if child.poll() is None:
            (os.killpg if name.startswith("^") else os.kill)(child.pid, number)
        time.sleep(float(pause or 0))
    try:
        code = child.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        print("did not end", flush=True)
        return 1
    deadline = time.monotonic() + GRACE
    while alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    if alive(child.pid):
        os.killpg(child.pid, signal.SIGKILL)
        print("left a process behind", flush=True)
        return 1
    print("signal " + signal.Signals(-code).name[3:] if code < 0 else f"exit {code}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
