"""Run a program and say how much memory it, or any program it ran, had at most.

usage: peak.py FILE CMD [ARG...]

FILE gets the peak resident size in KiB; the exit status is the program's.
"""

from __future__ import annotations

import resource
import subprocess
import sys


def main() -> int:
    """Run the program given on the command line."""
    code = subprocess.call(sys.argv[2:])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if sys.platform == "darwin":
        peak //= 1024  # bytes there
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(f"{peak}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
