"""What every generation has: how it fails, how Go prints, where settings come from."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VERSIONS = {"main": "source", "2.7": "v2.7.2", "1.14": "v1.14.15"}
GENERATION = os.environ.get("RUNPODCTL_DOUBLE") or "main"


class CliError(Exception):
    """A failure: text for people; code and HTTP status for the newest generation.

    `reported`: 2.7 prints the bare cause first, as it does for what the API refused.
    """

    def __init__(self, text: str, code: str = "cli_error", status: int = 0, reported: bool = False):
        super().__init__(text)
        self.cause = text
        self.code = code
        self.status = status
        self.reported = reported


@contextmanager
def during(what: str) -> Iterator[None]:
    """Tells a failure inside as part of something larger, the way Go wraps errors."""
    try:
        yield
    except CliError as error:
        error.args = (f"{what}: {error}",)
        raise


def escaped(text: str) -> str:
    """JSON text with the characters that encoding/json escapes for HTML's sake."""
    for char in "&<>\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def as_go(value: Any) -> Any:
    """The value as it leaves Go: whole floats without a fraction, gpuTypeId(s) named gpuId(s)."""
    if isinstance(value, dict):
        names = {"gpuTypeId": "gpuId", "gpuTypeIds": "gpuIds"}
        return {names.get(name, name): as_go(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_go(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def show(value: Any) -> None:
    """Prints a result: indented JSON, keys in alphabetical order."""
    print(escaped(json.dumps(as_go(value), indent=2, sort_keys=True, ensure_ascii=False)))


def without_empty(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """The record without those of the named fields that are empty (Go's omitempty)."""
    return {name: item for name, item in record.items() if name not in names or item}


def config_path() -> str:
    """~/.runpod/config.toml; without a HOME there is nothing that the real one could do."""
    home = os.environ.get("HOME")
    if not home:
        sys.exit("Error: $HOME is not defined")
    return f"{home}/.runpod/config.toml"


def init_config() -> None:
    """Writes the file with its defaults when there is none, before any command runs."""
    path = config_path()
    if os.path.exists(path):
        return
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write("apikey = ''\napiurl = 'https://api.runpod.io/graphql'\n")
    except OSError:
        return  # the real one ignores it as well: the environment may have all it needs


def setting(name: str, variable: str = "") -> str:
    """A setting: the variable, else viper's way: the upper-cased name, else config.toml."""
    value = os.environ.get(variable) or os.environ.get(name.upper())
    if value:
        return value
    try:
        with open(config_path(), encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return ""
    found = re.search(rf"(?im)^\s*{name}\s*=\s*(['\"]?)(.*?)\1\s*$", text)
    return found[2] if found else ""


def seconds(name: str, default: float) -> float:
    """A duration from the settings. A bare number is nanoseconds, as cast.ToDuration has it."""
    units = {"": 1e-9, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
    units["h"] = 3600.0
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([a-zµ]*)", setting(name))
    return (float(found[1]) * units.get(found[2], 0) if found else 0) or default
