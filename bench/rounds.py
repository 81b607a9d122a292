"""Times commands against each other, in interleaved rounds.

Each round runs every command once, in the order given, so that whatever else the machine does
hits all of them alike. The first command is what the others are held against.

Lines out, TAB separated:
    time   LABEL  MEDIAN  N  RAW...          seconds; RAW is one figure a round, split by blanks
    ratio  LABEL  MEDIAN  N  RAW...          time of LABEL / time of the first, round by round
    peak   LABEL  PROGRAM  KIB               largest resident size of that program's processes
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

SAMPLE_EVERY = 0.2  # seconds between two looks at the processes' memory


@dataclass
class Contender:
    """A command and what was measured of it: seconds a round, and KiB by program."""

    label: str
    command: list[str]
    seconds: list[float] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)


def processes() -> Iterator[tuple[int, int, int, str]]:
    """Every process: pid, parent, KiB, program.

    On Linux the KiB are the largest size so far (VmHWM), so a rare look is enough. Elsewhere it is
    the present size that ps tells.
    """
    if not os.path.isdir("/proc/self"):
        listing = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,rss=,comm="], stdout=subprocess.PIPE, check=True, text=True
        )
        for line in listing.stdout.splitlines():
            pid, parent, size, program = line.split(None, 3)
            yield int(pid), int(parent), int(size), os.path.basename(program)
        return
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                facts = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        except OSError:
            continue  # it has ended meanwhile
        if "VmHWM" in facts:  # not of a kernel thread or a zombie
            yield int(name), int(facts["PPid"]), int(facts["VmHWM"].split()[0]), facts["Name"]


def look(root: int, watched: dict[int, str], peaks: dict[str, int]) -> None:
    """Raises peaks to the present sizes of root, everything below it, and the watched processes."""
    table = {pid: (parent, size, program) for pid, parent, size, program in processes()}
    for pid, (_, size, program) in table.items():
        above = pid
        while above != root and above in table:
            above = table[above][0]
        label = watched.get(pid) or (program if above == root else "")
        if label:
            peaks[label] = max(peaks.get(label, 0), size)


def run(contender: Contender, number: int, watched: dict[int, str], memory: bool) -> None:
    """Runs the command once and notes its seconds; {n} in its words becomes the number.

    Raises CalledProcessError, with what the command said, when its status is not 0.
    """
    command = [word.replace("{n}", str(number)) for word in contender.command]
    ended = threading.Event()

    def watch(pid: int) -> None:
        while not ended.wait(SAMPLE_EVERY):
            look(pid, watched, contender.peaks)

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        watcher = threading.Thread(target=watch, args=(process.pid,))
        if memory:
            watcher.start()
        try:
            status = process.wait()
            seconds = time.perf_counter() - began
        finally:
            ended.set()
            if memory:
                watcher.join()
            if process.poll() is None:
                process.terminate()
                process.wait()
        if status != 0:
            said.seek(0)
            raise subprocess.CalledProcessError(status, command, stderr=said.read())
    contender.seconds.append(seconds)


def report(contenders: list[Contender], skipped: int) -> None:
    """Prints the lines; the first rounds, as many as skipped, do not count."""
    base = contenders[0].seconds[skipped:]
    for contender in contenders:
        counted = contender.seconds[skipped:]
        ratios = [mine / other for mine, other in zip(counted, base)]
        for kind, values in (("time", counted), ("ratio", ratios)):
            raw = " ".join(f"{value:.3f}" for value in values)
            print(
                kind,
                contender.label,
                f"{statistics.median(values):.4f}",
                len(values),
                raw,
                sep="\t",
            )
        for program, size in sorted(contender.peaks.items()):
            print("peak", contender.label, program, size, sep="\t")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=15, metavar="N", help="that count (default: %(default)s)")
    add("--warm-up", type=int, default=1, metavar="N", help="before those (default: %(default)s)")
    add("--seconds", type=float, default=300, help="after these no new round begins")
    add("--first", type=int, default=1, metavar="N", help="what {n} begins with")
    add("--between", metavar="COMMAND", help="run, but not timed, before each command")
    add("--memory", action="store_true", help="also the peak memory of each command's processes")
    add("--watch", action="append", default=[], metavar="NAME=PID", help="and of this process")
    add("contenders", nargs="+", metavar="LABEL=COMMAND", help="{n} in it differs at every start")
    return parser.parse_args(arguments)


def main() -> int:
    """Runs the command line; returns the exit status: 1 when a command failed."""
    given = parse()
    contenders = []
    for text in given.contenders:
        label, _, command = text.partition("=")
        contenders.append(Contender(label, shlex.split(command)))
    watched = {int(pid): name for name, _, pid in (text.partition("=") for text in given.watch)}
    deadline = time.monotonic() + given.seconds
    number = given.first
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the command is ended, too
    try:
        for count in range(given.warm_up + given.rounds):
            if count > given.warm_up and time.monotonic() > deadline:
                break
            for contender in contenders:
                if given.between:
                    subprocess.run(shlex.split(given.between), check=True)
                run(contender, number, watched, given.memory)
                number += 1
    except subprocess.CalledProcessError as error:
        print(f"rounds.py: status {error.returncode}: {shlex.join(error.cmd)}", file=sys.stderr)
        print(error.stderr or "", end="", file=sys.stderr)
        return 1
    report(contenders, given.warm_up)
    return 0


if __name__ == "__main__":
    sys.exit(main())
