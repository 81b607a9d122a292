"""A file of which one reads here and there without believing what it says, and EXIF in it.

For helpers beside it; not a program. No read goes beyond the file's end, a text may have at most
64 MiB (also unpacked), and all reading of one file has an end: Broken says that it was reached.
"""

from __future__ import annotations

import contextlib
import re

from job_file import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    Texts = dict[str, str]

MAX_TEXT = 64 * 1024 * 1024  # bytes
MAX_READ = 3 * MAX_TEXT  # bytes of one file over all, those that are unpacked among them
MAX_STEPS = 200_000  # reads of one file: half a second
EXIF_NAMES = {0x010E: "description", 0x9286: "usercomment"}
NAMED = re.compile(r"\s*([A-Za-z_]\w{0,40})\s*:\s*(?=[{\[\"])", re.ASCII)


class Broken(Exception):
    """The file ends early, contradicts itself, or asks for too much."""


class Source:
    """A file or bytes, of which no read goes beyond the end or the limits."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.left, self.steps = MAX_READ, MAX_STEPS

    def at(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset` on."""
        self.steps -= 1
        self.left -= count
        if not 0 <= offset <= offset + count <= self.size or count > MAX_TEXT:
            raise Broken
        if self.steps < 0 or self.left < 0:
            raise Broken
        self.file.seek(offset)
        data = self.file.read(count)
        if len(data) != count:
            raise Broken
        return data

    def number(self, offset: int, count: int, order: Any = "big") -> int:
        """The unsigned number in `count` bytes."""
        return int.from_bytes(self.at(offset, count), order)


def decoded(data: bytes) -> str:
    """A text in UTF-8, or in Latin 1 where it can't be that."""
    try:
        return data.decode("utf-8").rstrip("\0")
    except UnicodeDecodeError:
        return data.decode("latin-1").rstrip("\0")


def unpacked(source: Source, data: bytes) -> bytes:
    """What zlib made smaller; Problem when it would be a lot more than any workflow."""
    import zlib

    unpacker = zlib.decompressobj()
    try:
        result = unpacker.decompress(data, MAX_TEXT)
    except zlib.error:
        raise Broken from None
    if unpacker.unconsumed_tail:
        raise Problem("a text in its metadata unpacks to more than 64 MiB")
    source.left -= len(result)
    return result


def wide(data: bytes, order: str) -> str:
    """A text in UTF-16; `order` counts where the text itself doesn't say: some write it wrong."""
    if data[:1] == b"\0" or data[:2] == b"\xfe\xff":
        order = "big"
    elif data[1:2] == b"\0" or data[:2] == b"\xff\xfe":
        order = "little"
    return data.decode("utf-16-be" if order == "big" else "utf-16-le", "replace").lstrip("\ufeff")


def read_exif(source: Source, start: int, texts: Texts) -> None:
    """The texts in EXIF data, of which ComfyUI's are NAME:JSON; up to what is broken."""
    with contextlib.suppress(Broken):
        read_tags(source, start, texts)


def read_tags(source: Source, start: int, texts: Texts) -> None:
    """The same; Broken when it is."""
    if source.at(start, 6) == b"Exif\0\0":
        start += 6
    order = "little" if source.at(start, 2) == b"II" else "big"
    places = [source.number(start + 4, 4, order)]
    for place in places:  # one more is added for the part that has UserComment
        for index in range(source.number(start + place, 2, order)):
            entry = start + place + 2 + 12 * index
            tag, kind = source.number(entry, 2, order), source.number(entry + 2, 2, order)
            count, value = source.number(entry + 4, 4, order), source.number(entry + 8, 4, order)
            if tag == 0x8769 and len(places) == 1:
                places.append(value)
            if kind != 2 and tag != 0x9286:
                continue
            data = source.at(entry + 8 if count <= 4 else start + value, count)
            if tag == 0x9286:
                text = wide(data[8:], order) if data[:8] == b"UNICODE\0" else decoded(data[8:])
            else:
                text = decoded(data)
            named = NAMED.match(text)
            if named:
                texts.setdefault(named[1], text[named.end() :])
            elif tag in EXIF_NAMES:
                texts.setdefault(EXIF_NAMES[tag], text)
