#!/usr/bin/env python3
"""Read a .env file with python-dotenv and print what it sets: NAME=VALUE, each ended by NUL.

A shell takes the records in with `read -r -d ''` and never evaluates a value. Only names
that a shell can hold are printed, and with --prefix only names that start with one of the
prefixes. A line that is no assignment is skipped and told on stderr by its number alone,
as it may hold a key. The file's ${NAME} are filled in as python-dotenv does it.
"""

from __future__ import annotations

import argparse
import re
import sys

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unreadable(Exception):
    """The file can't be used; the text says why."""


def read_text(path: str) -> str:
    """The file's text; Unreadable when there is none."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"cannot be read: {reason}") from None
    if "\0" in text:
        raise Unreadable("holds a NUL byte: not a .env file")
    return text


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0; 2 when the file can't be read; 3 without python-dotenv."""
    parser = argparse.ArgumentParser(
        prog="load_dotenv.py",
        description=__doc__,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--prefix", action="append", default=[], help="print only names that start with this"
    )
    args = parser.parse_args(argv)
    try:
        text = read_text(args.file)
    except Unreadable as error:
        print(f"{args.file}: {error}", file=sys.stderr)
        return 2
    try:
        import io

        from dotenv.main import DotEnv
        from dotenv.parser import parse_stream
    except ImportError:
        print(
            "reading .env needs python-dotenv: pip install python-dotenv,"
            " or let AUTOPOD_PYTHON name a Python that has it",
            file=sys.stderr,
        )
        return 3

    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.line
            print(f"{args.file}: line {line} is not NAME=value: skipped", file=sys.stderr)
    import logging

    logging.disable(logging.WARNING)  # python-dotenv's own words for the same lines
    values = DotEnv(None, stream=io.StringIO(text)).dict()
    prefixes = tuple(args.prefix) or ("",)
    for name, value in values.items():
        if value is not None and SHELL_NAME.fullmatch(name) and name.startswith(prefixes):
            record = f"{name}={value}\0".encode("utf-8", "surrogateescape")
            sys.stdout.buffer.write(record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
