"""The texts in films: the boxes of MP4, MOV and AVIF, the elements of WEBM and MKV.

A module of media_metadata.py, not a program. The functions raise Broken for what is broken, with
what was found before it in `texts`.
"""

from __future__ import annotations

import struct

from media_source import Broken, decoded, read_exif

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from media_source import Source, Texts

ITEM_NAMES = {b"\xa9cmt": "comment", b"desc": "description", b"\xa9des": "description"}


def boxes(source: Source, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an MP4 from `start` on: kind, and where its content starts and ends."""
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", source.at(start, 8))
        head = 8
        if size == 1:
            size, head = source.number(start + 8, 8), 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            raise Broken
        yield kind, start + head, start + size
        start += size


def read_mp4(source: Source, texts: Texts, start: int = 0, end: int = -1) -> None:
    """The texts of an MP4, MOV, AVIF or JPEG XL."""
    for kind, first, last in boxes(source, start, source.size if end < 0 else end):
        if kind in (b"moov", b"udta"):
            read_mp4(source, texts, first, last)
        elif kind == b"meta":
            read_meta(source, first, last, texts)
        elif kind == b"Exif":  # in a JPEG XL
            read_exif(source, first + 4 + source.number(first, 4), texts)
        elif kind in ITEM_NAMES and last - first > 4:  # QuickTime: length, language, text
            texts.setdefault(ITEM_NAMES[kind], decoded(source.at(first + 4, last - first - 4)))


def read_meta(source: Source, start: int, end: int, texts: Texts) -> None:
    """The box "meta": its texts, with their names in "keys", in "----" or as kinds of boxes."""
    names: list[str] = []
    start += 0 if source.at(start + 4, 4) == b"hdlr" else 4
    items: list[int] = []
    places = -1
    for kind, first, last in boxes(source, start, end):
        if kind == b"keys":
            for _, name_start, name_end in boxes(source, first + 8, last):
                names.append(decoded(source.at(name_start, name_end - name_start)))
        elif kind == b"ilst":
            for item, item_start, item_end in boxes(source, first, last):
                number = int.from_bytes(item, "big") - 1
                name = names[number] if 0 <= number < len(names) else ITEM_NAMES.get(item, "")
                read_item(source, item_start, item_end, name, texts)
        elif kind == b"iinf":
            items = exif_items(source, first, last)
        elif kind == b"iloc":
            places = first
    for place in item_places(source, places, items) if items and places >= 0 else []:
        read_exif(source, place + 4 + source.number(place, 4), texts)


def read_item(source: Source, start: int, end: int, name: str, texts: Texts) -> None:
    """One text of "ilst"; that of an item "----" has its name beside it."""
    for kind, first, last in boxes(source, start, end):
        if kind == b"name":
            name = decoded(source.at(first + 4, max(last - first - 4, 0)))
        elif kind == b"data" and name:
            texts.setdefault(name, decoded(source.at(first + 8, max(last - first - 8, 0))))


def exif_items(source: Source, start: int, end: int) -> list[int]:
    """The numbers of an AVIF's items that are EXIF data."""
    result = []
    start += 6 if source.number(start, 1) == 0 else 8
    for kind, first, _ in boxes(source, start, end):
        version = source.number(first, 1)
        if kind == b"infe" and version >= 2:
            wide = 2 if version == 2 else 4
            if source.at(first + 6 + wide, 4) == b"Exif":
                result.append(source.number(first + 4, wide))
    return result


def item_places(source: Source, start: int, wanted: list[int]) -> list[int]:
    """Where in the file the `wanted` items of an AVIF start."""
    version, sizes = source.number(start, 1), source.number(start + 4, 2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 2 if version < 2 else 4
    count, place, result = source.number(start + 6, wide), start + 6 + wide, []
    for _ in range(count):
        item = source.number(place, wide)
        place += wide + (4 if version else 2)
        base = source.number(place, of_base)
        extents = source.number(place + of_base, 2)
        place += of_base + 2
        skip = of_index if version else 0
        if item in wanted and extents:
            result.append(base + source.number(place + skip, of_offset))
        place += extents * (skip + of_offset + of_length)
    return result


def element(source: Source, offset: int) -> tuple[int, int, int]:
    """The id of a WEBM's element, where its content starts, and its length (-1: not known)."""
    wide = 9 - source.number(offset, 1).bit_length()
    name = source.number(offset, wide)
    offset += wide
    wide = 9 - source.number(offset, 1).bit_length()
    ones = (1 << 7 * wide) - 1
    length = source.number(offset, wide) & ones
    if not name or wide > 8:
        raise Broken
    return name, offset + wide, -1 if length == ones else length


def read_webm(source: Source, texts: Texts) -> None:
    """The tags of a WEBM or MKV: all that can hold them is entered, all else skipped."""
    offset, name = 0, ""
    while offset < source.size:
        kind, offset, length = element(source, offset)
        if kind in (0x18538067, 0x1254C367, 0x7373, 0x67C8) or length < 0:
            continue  # Segment, Tags, Tag, SimpleTag
        if kind == 0x45A3:
            name = decoded(source.at(offset, length))
        elif kind == 0x4487:
            texts.setdefault(name, decoded(source.at(offset, length)))
        offset += length
