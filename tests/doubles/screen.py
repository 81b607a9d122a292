"""Show what stands on a terminal that was sent the bytes on stdin: enough for a redrawn line.

usage: screen.py COLUMNS

Knows carriage return, newline, the way up, erase to the end of the line or of the screen, wrapping
or not, and colours (left out). A line that is longer than COLUMNS wraps, as it does on a real
terminal. Ends with 1 and says which when anything else was sent.
"""

from __future__ import annotations

import re
import sys
import unicodedata


def main() -> int:
    """Print the screen."""
    columns = int(sys.argv[1])
    text = sys.stdin.buffer.read().decode()
    rows, x, y, wraps = [""], 0, 0, True
    for token in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|.|\n", text, re.DOTALL):
        if token == "\r":
            x = 0
        elif token == "\n":
            x, y = 0, y + 1
            rows += [""] * (y + 1 - len(rows))
        elif token == "\x1b[K":
            rows[y] = rows[y][:x]
        elif token == "\x1b[J":
            rows[y:] = [rows[y][:x]]
        elif token in ("\x1b[?7l", "\x1b[?7h"):
            wraps = token.endswith("h")
        elif up := re.fullmatch(r"\x1b\[([0-9]+)A", token):
            y = max(0, y - int(up[1]))
        elif re.fullmatch(r"\x1b\[[0-9;]*m", token):
            pass
        elif unicodedata.category(token[0]) == "Cc":
            print(f"the terminal was sent {token!r}")
            return 1
        else:
            if x == columns and wraps:
                x, y = 0, y + 1
                rows += [""] * (y + 1 - len(rows))
            x = min(x, columns - 1)
            rows[y] = rows[y][:x] + token + rows[y][x + 1 :]
            x += 1
    print("\n".join(row.rstrip() for row in rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
