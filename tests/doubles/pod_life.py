#!/usr/bin/env python3
"""How long a pod lives, for tests, by what is so rather than by what autopod thinks.

usage: pod_life.py PODS SECONDS

PODS is the directory with local pods (AUTOPOD_HOME/local): the first one's life is from the moment
it was begun until the last of its processes has ended. Or it is the URL of RunPod's stand-in: there
the first pod's life is what it is billed for. Prints `born EPOCH` and `ended EPOCH`, a line each,
with milliseconds; gives up after SECONDS (status 1).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Protocol

PACE = 0.03  # seconds between two looks at processes
API_PACE = 0.25  # and at the stand-in


class Pod(Protocol):
    """Where it can be seen when the first pod came and went; 0 as long as it didn't."""

    pace: float

    def born(self) -> float: ...

    def ended(self) -> float: ...


class LocalPod:
    """One of the local provider's."""

    pace = PACE

    def __init__(self, pods: Path) -> None:
        self.pods = pods
        self.place: Path | None = None
        self.processes: set[int] = set()
        self.gone_at = 0.0

    def born(self) -> float:
        with contextlib.suppress(OSError):
            self.place = next(iter(sorted(self.pods.iterdir())), None)
        return time.time() if self.place else 0.0

    def ended(self) -> float:
        self.processes |= self.recorded()
        if not self.processes or any(map(alive, self.processes)):
            self.gone_at = 0.0
            return 0.0
        self.gone_at = self.gone_at or time.time()
        # It isn't just between the first of its processes and the next.
        return self.gone_at if time.time() - self.gone_at > 10 * PACE else 0.0

    def recorded(self) -> set[int]:
        """The processes that its file names: NAME PID START PORT, a line each."""
        found = set()
        with contextlib.suppress(OSError):
            assert self.place is not None
            for line in (self.place / "processes").read_text().splitlines():
                words = line.split()
                if len(words) == 4 and words[1].isdigit():
                    found.add(int(words[1]))
        return found


class RunpodPod:
    """One of the stand-in's, tests/doubles/runpod_api.py."""

    pace = API_PACE

    def __init__(self, url: str) -> None:
        self.url = f"{url}/control/state"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def born(self) -> float:
        return self.at("created")

    def ended(self) -> float:
        return self.at("stopped")

    def at(self, what: str) -> float:
        """That time of the first pod, as 2026-10-02T05:28:38.366Z."""
        with contextlib.suppress(OSError, ValueError):
            with self.opener.open(self.url, timeout=5) as answer:
                pods = json.load(answer)["pods"]
            if pods and pods[0][what]:
                when = datetime.fromisoformat(pods[0][what].replace("Z", "+00:00"))
                return when.timestamp()
        return 0.0


def alive(pid: int) -> bool:
    """Whether it runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    except OSError:  # no /proc here; or it ended in this very moment, which the next look tells
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def follow(pod: Pod, until: float) -> bool:
    """Prints the two lines; False when there was no time for both."""
    steps = [("born", pod.born), ("ended", pod.ended)]
    while steps and time.time() < until:
        what, look = steps[0]
        when = look()
        if when:
            print(f"{what} {when:.3f}", flush=True)
            steps.pop(0)
        else:
            time.sleep(pod.pace)
    return not steps


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("pods")
    parser.add_argument("seconds", type=float)
    found = parser.parse_args()
    pod: Pod = LocalPod(Path(found.pods))
    if found.pods.startswith("http://"):
        pod = RunpodPod(found.pods)
    return 0 if follow(pod, time.time() + found.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
