"""Text from elsewhere, made fit to be shown to a person on one line.

For helpers beside it; not a program.
"""

from __future__ import annotations

import json


def clean(text: str) -> str:
    """`text` with everything that could move a cursor or fake a line written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(text: str, most: int) -> str:
    """The clean `text`, cut to at most `most` characters."""
    result = clean(text[: most + 1])
    return result if len(result) <= most else result[: most - 3] + "..."


def shown(value: object) -> str:
    """`value` as JSON in one short line."""
    return brief(json.dumps(value, ensure_ascii=False), 80)
