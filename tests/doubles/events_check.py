#!/usr/bin/env python3
"""Holds the events of a comfy-run --json against events.schema.json.

Reads its whole standard output on stdin: each line has to be one event, and
they have to make sense together: a run begins with run_started and ends with
run_finished, its percentage does not get less, and time does not go back.
Prints what is wrong; exit status 1 when anything is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

Event = dict[str, Any]


def read_schema(path: str) -> dict[str, Any]:
    """The schema, once it is one itself."""
    with open(path, encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def no_constant(name: str) -> None:
    """NaN and Infinity are Python's own, not JSON's."""
    raise ValueError(f"{name} is not JSON")


def parse(line: bytes) -> Event:
    """The object on a line; ValueError says why there is none."""
    event = json.loads(line.decode("utf-8"), parse_constant=no_constant)
    if not isinstance(event, dict):
        raise ValueError("not an object")
    if len(line.decode("utf-8").splitlines()) != 1:
        raise ValueError("some readers see more than one line in it")
    return event


def faults_of(event: Event, schema: Mapping[str, Any]) -> Iterator[str]:
    """What the schema says against an event: by its own definition (oneOf only says: none fits)."""
    name = event.get("event")
    if not isinstance(name, str) or name not in schema["properties"]["event"]["enum"]:
        yield f"there is no event {name!r}"
        return
    part = {**schema["$defs"][name], "$defs": schema["$defs"]}
    for error in jsonschema.Draft202012Validator(part).iter_errors(event):
        yield f"{error.json_path}: {error.message}"
    if not jsonschema.Draft202012Validator(schema).is_valid(event):
        yield "the schema as a whole does not take it"


class Story:
    """What came before, as far as it decides about what may follow."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.time = ""
        self.open: dict[str, float] = {}
        self.ended = 0

    def add(self, event: Event) -> Iterator[str]:
        """Takes the next event in; yields what can't be."""
        name, run = event["event"], event["run"]
        if event["time"] < self.time:
            yield f"time goes back from {self.time} to {event['time']}"
        self.time = max(self.time, event["time"])
        if name == "run_started":
            if run in self.open:
                yield f"run {run} has begun already"
            self.open[run] = 0
        elif run is not None and run not in self.open:
            yield f"run {run} has not begun, or has ended"
        elif name == "progress":
            percent = event["percent"]
            if percent is not None and percent < self.open[run]:
                yield f"{percent} % after {self.open[run]} %"
            self.open[run] = percent or self.open[run]
        if name == "run_finished":
            self.open.pop(run, None)
            self.ended += 1
            result = event["result"]
            if (run is None or event["status"] == "left") != (result is None):
                yield "a run that has ended has a result, and only such a one"
            elif result and any(
                result[key] != event[key] for key in ("run", "exit_code", "status")
            ):
                yield "it does not say the same as its result"

    def end(self) -> Iterator[str]:
        """Yields what is missing now that all is said."""
        for run in self.open:
            yield f"run {run} has no end"
        if not self.ended:
            yield "there is no run_finished"


def check(lines: bytes, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with all of it."""
    story = Story()
    if lines and not lines.endswith(b"\n"):
        yield "the last line has no end"
    for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n"), 1):
        try:
            event = parse(line)
        except ValueError as error:
            yield f"line {number}: {error}: {line!r}"
            continue
        faults = list(faults_of(event, schema)) or list(story.add(event))
        for fault in faults:
            yield f"line {number}: {fault}: {line!r}"
    yield from story.end()


def main() -> int:
    """Reads the command line and stdin; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("schema", help="events.schema.json")
    schema = read_schema(parser.parse_args().schema)
    faults = list(check(sys.stdin.buffer.read(), schema))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
