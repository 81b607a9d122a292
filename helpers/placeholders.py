"""Placeholders in a template: {input.NAME}, {job_id} and ${NAME}, each also with |DEFAULT.

A module of render_template.py, not a program. {{input.NAME}}, {{job_id}} and $${NAME} stand for
the text itself; all else in a string is left alone.
"""

from __future__ import annotations

import json
import re

from job_file import CONTROL, Problem
from wording import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from job_file import Scalar

PLACEHOLDER = re.compile(
    r"\{(?P<braced>\{(?:input\.[^{}]*|job_id)\})\}"  # {{input.x}}: the text {input.x}
    r"|\$(?P<dollared>\$\{[A-Za-z_]\w*(?:\|[^{}]*)?\})"  # $${X}: the text ${X}
    r"|(?P<name>\{input\.[A-Za-z0-9][\w.-]*|\{job_id|\$\{[A-Za-z_]\w*)(?:\|(?P<default>[^{}]*))?\}"
    r"|(?P<broken>\{input\.[^{}]{0,40}\}?)",
    re.ASCII,
)

# Texts in which a GUI graph's conversion would see choices ({a|b}), comments or escapes.
RULED = r"[{}|\\]|//|/\*"
MARK = "\ue000[0-9]+\ue001"


def typed(text: str) -> Scalar:
    """The number or boolean that JSON would write exactly as `text`, else `text` itself.

    "42" becomes 42; "007", "1.50" and "1e5" stay text, from which ComfyUI makes numbers where a
    node wants one: so nothing is lost where it wants text.
    """
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (int, float)) and json.dumps(value) == text else text


def as_text(value: Scalar) -> str:
    """A value inside a longer string; as_text(typed(TEXT)) is TEXT."""
    return value if isinstance(value, str) else json.dumps(value)


def release(value: Any, held: dict[str, str]) -> Any:
    """A copy of the JSON `value` with the texts again for which a Filler has put in marks."""
    if isinstance(value, str):
        return re.sub(MARK, lambda match: held.get(match.group(), match.group()), value)
    if isinstance(value, list):
        return [release(item, held) for item in value]
    if isinstance(value, dict):
        return {key: release(item, held) for key, item in value.items()}
    return value


class Filler:
    """Puts values into placeholders, and remembers what was used and what was lacking.

    `values` is keyed by the placeholder: "{job_id}", "{input.NAME}", "${NAME}". A value is put in,
    never read again: one that looks like a placeholder is text. `where` names the place at work.
    """

    def __init__(self, values: dict[str, Scalar]) -> None:
        self.values = values
        self.used: set[str] = set()
        self.missing: dict[str, str] = {}  # the placeholder -> where it stood first
        self.problems: list[str] = []
        self.where = ""
        self.held: dict[str, str] | None = None  # see release(); None: all values are put in

    def fill(self, value: Any) -> Any:
        """A copy of the JSON `value` with all placeholders in its strings filled in."""
        if isinstance(value, str):
            return self._fill_text(value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return value

    def fill_path(self, text: str) -> str:
        """An output path: a value may be part of a name, but not lead to another directory."""

        def part(match: re.Match[str]) -> str:
            value = as_text(self._value(match))
            if "/" in value or CONTROL.search(value) or value in (".", ".."):
                raise Problem(f"the value of {clean(match.group())} can't be part of a file name")
            return value

        return PLACEHOLDER.sub(part, text)

    def _fill_text(self, text: str) -> Scalar:
        whole = PLACEHOLDER.fullmatch(text)
        if whole:  # it takes the value's own type
            return self._kept(self._value(whole))
        return PLACEHOLDER.sub(lambda match: as_text(self._kept(self._value(match))), text)

    def _kept(self, value: Scalar) -> Scalar:
        """What is put in for a value: a mark, if the GUI's rules would make another text of it."""
        if self.held is None or not isinstance(value, str) or not re.search(RULED, value):
            return value
        mark = f"\ue000{len(self.held)}\ue001"
        self.held[mark] = value
        return mark

    def _value(self, match: re.Match[str]) -> Scalar:
        literal = match["braced"] or match["dollared"]
        if literal:
            return str(literal)
        if match["broken"]:
            fault = "is no placeholder; {{input.x}} stands for the text itself"
            self.problems.append(f"{self.where}: {clean(match['broken'])} {fault}")
            return str(match["broken"])
        placeholder = match["name"] + "}"
        self.used.add(placeholder)
        if placeholder in self.values:
            return self.values[placeholder]
        if match["default"] is not None:
            return typed(match["default"])
        self.missing.setdefault(placeholder, self.where)
        return placeholder
