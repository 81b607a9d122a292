"""What ComfyUI's GUI makes of texts when it queues a workflow; a module, not a program.

Comments and {a|b} in prompts, and %date:FORMAT% and %NODE.WIDGET% in the names of outputs.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    Chooser = Callable[[int], int]

COMMENTS = re.compile(r"/\*[\s\S]*?\*/|//[^\n\r\u2028\u2029]*")
ESCAPED = re.compile(r"\\([{}|])")
REPLACED = re.compile(r"%([^%]+)%")
NOT_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1F\x7F]')
DATE_PARTS = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy?|yy?")
MAX_DEPTH = 50  # of choices in one another

# Whose filename_prefix is replaced: of other nodes the GUI sends it as it stands.
_NAMED = (
    "SaveImage SaveImageAdvanced SaveSVGNode SaveVideo SaveAnimatedWEBP SaveWEBM SaveAudio "
    "SaveAudioMP3 SaveAudioOpus SaveAudioAdvanced SaveGLB SaveAnimatedPNG CLIPSave VAESave "
    "ModelSave LoraSave SaveLatent VHS_VideoCombine"
)
NAMED_BY_GUI = frozenset(_NAMED.split())


def dynamic_prompt(text: str, choose: Chooser, depth: int = 0) -> str:
    """`text` without comments, each {a|b|..} replaced by one of them, \\{ \\| \\} by { | }.

    choose(n) gives a number below n.
    """
    text = COMMENTS.sub("", text)
    result: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            result.append(char + (text[at] if at < len(text) else ""))
            at += 1
        elif char == "{" and depth < MAX_DEPTH:
            options, at = choices(text, at)
            result.append(dynamic_prompt(options[choose(len(options))], choose, depth + 1))
        else:
            result.append(char)
    return ESCAPED.sub(r"\1", "".join(result))


def choices(text: str, at: int) -> tuple[list[str], int]:
    """The alternatives that begin at `at`, behind the brace, and the place behind them."""
    options: list[str] = []
    level, start = 0, at
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            at += 1
        elif char == "{":
            level += 1
        elif char == "}":
            if not level:
                return [*options, text[start : at - 1]], at
            level -= 1
        elif char == "|" and not level:
            options.append(text[start : at - 1])
            start = at
    return [*options, text[start:]], min(at, len(text))


def format_date(pattern: str, now: tuple[int, int, int, int, int, int]) -> str:
    """`pattern` with d M y h m s, doubled to be padded; now: year, month, day, hour, ..."""
    values = dict(zip("yMdhms", now))

    def part(match: re.Match[str]) -> str:
        text = match[0]
        if text[0] == "y":
            year = str(values["y"])
            return {"yy": year[2:], "yyyy": year}.get(text, text)
        return str(values[text[0]]).rjust(len(text), "0")

    return DATE_PARTS.sub(part, pattern)


def replaced(
    text: str,
    value_of: Callable[[str, str], object],
    now: Callable[[], tuple[int, int, int, int, int, int]],
    unknown: list[str],
) -> str:
    """`text` with %date:FORMAT% and %NODE.WIDGET% replaced; what can't be is left, and noted.

    value_of(node, widget) gives the value; KeyError when there is none. %width% and the like are
    left for the server.
    """

    def one(match: re.Match[str]) -> str:
        name = match[1]
        parts = name.split(".")
        if len(parts) != 2:
            if name.startswith("date:"):
                return format_date(parts[0][5:], now())
            return match[0]
        try:
            value = value_of(parts[0], parts[1])
        except KeyError:
            unknown.append(match[0])
            return match[0]
        return NOT_IN_FILE_NAMES.sub("_", js_text(value))

    return REPLACED.sub(one, text)


def js_text(value: object) -> str:
    """A value as the GUI writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, list):
        return ",".join(js_text(item) for item in value)
    return "[object Object]" if isinstance(value, dict) else str(value)
