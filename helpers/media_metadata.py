"""The texts that pictures, sounds and films carry beside what they show, by their names.

For helpers beside it; not a program. ComfyUI writes "prompt" and "workflow", as JSON:

    PNG          tEXt, zTXt, iTXt; animated ones: chunks "comf" behind the picture's data
    WEBP, JPEG   EXIF texts NAME:JSON in the tags Model, Make and those below, or one
                 JSON with both in UserComment; also AVIF, JPEG XL and TIFF
    FLAC, OGG    Vorbis comments (Opus, Vorbis, FLAC in OGG)
    MP3          ID3v2 frames TXXX
    MP4, MOV     moov/udta/meta with keys and ilst; "comment" of other programs
    WEBM, MKV    SimpleTags (their names in capitals)
    GLB, SVG     asset.extras of the JSON chunk; <metadata>
    safetensors  __metadata__ (ComfyUI's .latent files)

A file is never read whole (media_source.py). What is broken ends the reading; what was found
before it counts.
"""

from __future__ import annotations

import io
import json
import struct

from job_file import Problem
from media_source import MAX_TEXT, Broken, Source, decoded, read_exif, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from media_source import Texts


# --- pictures -----------------------------------------------------------------------------


def read_png(source: Source, texts: Texts) -> None:
    """The chunks of a PNG, up to its end."""
    offset = 8
    while True:
        length, kind = struct.unpack(">I4s", source.at(offset, 8))
        if kind in (b"tEXt", b"comf", b"zTXt", b"iTXt"):
            name, _, text = source.at(offset + 8, length).partition(b"\0")
            if kind == b"zTXt":
                text = unpacked(source, text[1:])
            elif kind == b"iTXt":
                packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
                text = unpacked(source, text) if packed else text
            texts.setdefault(decoded(name), decoded(text))
        elif kind == b"eXIf":
            read_exif(source, offset + 8, texts)
        elif kind == b"IEND":
            return
        offset += 12 + length


def read_webp(source: Source, texts: Texts) -> None:
    """The EXIF chunk of a WEBP."""
    offset = 12
    while offset + 8 <= source.size:
        kind, length = struct.unpack("<4sI", source.at(offset, 8))
        if kind == b"EXIF":
            read_exif(source, offset + 8, texts)
            return
        offset += 8 + length + length % 2


def read_tiff(source: Source, texts: Texts) -> None:
    """The tags of a TIFF, which are what EXIF data is."""
    read_exif(source, 0, texts)


def read_jpeg(source: Source, texts: Texts) -> None:
    """EXIF and comments of a JPEG, up to where its picture begins."""
    offset = 2
    while True:
        mark, kind = source.at(offset, 2)
        if mark != 0xFF or kind == 0xDA:
            return
        if kind == 0xFF or kind == 1 or 0xD0 <= kind <= 0xD7:
            offset += 1 if kind == 0xFF else 2
            continue
        length = source.number(offset + 2, 2)
        if kind == 0xE1 and source.at(offset + 4, min(6, length)) == b"Exif\0\0":
            read_exif(source, offset + 4, texts)
        elif kind == 0xFE and length > 2:
            texts.setdefault("comment", decoded(source.at(offset + 4, length - 2)))
        offset += 2 + max(length, 2)


# --- sounds -------------------------------------------------------------------------------


def read_comments(data: bytes, texts: Texts) -> None:
    """Vorbis comments: NAME=TEXT each."""
    source = Source(io.BytesIO(data))
    offset = 4 + source.number(0, 4, "little")
    count = source.number(offset, 4, "little")
    offset += 4
    for _ in range(count):
        length = source.number(offset, 4, "little")
        name, _, text = source.at(offset + 4, length).partition(b"=")
        texts.setdefault(decoded(name), decoded(text))
        offset += 4 + length


def read_flac(source: Source, texts: Texts, offset: int = 0) -> None:
    """The block of comments of a FLAC."""
    offset += 4
    while True:
        kind, length = source.number(offset, 1), source.number(offset + 1, 3)
        if kind & 0x7F == 4:
            read_comments(source.at(offset + 4, length), texts)
        if kind & 0x80:
            return
        offset += 4 + length


def packets(source: Source) -> Iterator[bytes]:
    """The packets of the first stream in an OGG."""
    offset, packet, stream = 0, bytearray(), b""
    while True:
        head = source.at(offset, 27)
        if head[:4] != b"OggS":
            raise Broken
        sizes = source.at(offset + 27, head[26])
        body = source.at(offset + 27 + len(sizes), sum(sizes))
        offset += 27 + len(sizes) + len(body)
        stream = stream or head[14:18]
        if head[14:18] != stream:
            continue
        start = 0
        for size in sizes:
            packet += body[start : start + size]
            start += size
            if size < 255:
                yield bytes(packet)
                packet.clear()
        if len(packet) > MAX_TEXT:
            raise Broken


def read_ogg(source: Source, texts: Texts) -> None:
    """The comments of an OGG: they are among its first packets."""
    for number, packet in enumerate(packets(source)):
        if packet.startswith(b"OpusTags"):
            read_comments(packet[8:], texts)
        elif packet.startswith(b"\x03vorbis"):
            read_comments(packet[7:], texts)
        elif number and packet[:1] in (b"\x04", b"\x84"):  # FLAC in OGG
            read_comments(packet[4:], texts)
        if texts or number > 8:
            return


def read_id3(source: Source, texts: Texts) -> None:
    """The frames of an ID3v2 tag with texts that have names; FLAC may follow it."""
    version, flags = source.at(3, 3)[0], source.at(5, 1)[0]
    size = seven_bits(source.at(6, 4))
    if source.at(10 + size, min(4, max(0, source.size - 10 - size))) == b"fLaC":
        read_flac(source, texts, 10 + size)
        return
    tag = source.at(10, size)
    if flags & 0x80 and version < 4:
        tag = tag.replace(b"\xff\0", b"\xff")
    offset = 0
    if flags & 0x40 and version > 2:  # a header more
        offset = seven_bits(tag[:4]) if version == 4 else 4 + int.from_bytes(tag[:4], "big")
    width = 3 if version == 2 else 4
    while offset + 2 * width < len(tag) and tag[offset]:
        kind, number = tag[offset : offset + width], tag[offset + width : offset + 2 * width]
        size = seven_bits(number) if version == 4 else int.from_bytes(number, "big")
        offset += 6 if version == 2 else 10
        if kind in (b"TXXX", b"TXX") and 0 < size <= len(tag) - offset:
            read_named(tag[offset : offset + size], texts)
        offset += size


def seven_bits(data: bytes) -> int:
    """A number of which each byte has seven bits."""
    result = 0
    for byte in data:
        result = result << 7 | byte & 0x7F
    return result


def read_named(frame: bytes, texts: Texts) -> None:
    """A frame TXXX: an encoding, a name, a text."""
    if frame[0] in (1, 2):
        wide = frame[1:].decode("utf-16-be" if frame[0] == 2 else "utf-16", "replace")
        name, _, text = wide.partition("\0")
        texts.setdefault(name, text.strip("\0\ufeff"))
    else:
        first, _, rest = frame[1:].partition(b"\0")
        texts.setdefault(decoded(first), decoded(rest))


# --- what has JSON inside -----------------------------------------------------------------


def read_headed(source: Source, texts: Texts) -> None:
    """GLB and safetensors, which begin with JSON."""
    if source.at(0, 4) == b"glTF":
        data = source.at(20, source.number(12, 4, "little"))
        path: tuple[str, ...] = ("asset", "extras")
    else:
        data = source.at(8, source.number(0, 8, "little"))
        path = ("__metadata__",)
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Broken from None
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    for name, item in value.items() if isinstance(value, dict) else ():
        texts.setdefault(name, item if isinstance(item, str) else json.dumps(item))


def read_svg(source: Source, texts: Texts) -> None:
    """The <metadata> of an SVG."""
    text = source.at(0, min(source.size, MAX_TEXT)).partition(b"<metadata")[2]
    text = text.partition(b"</metadata>")[0]
    start, end = text.find(b"{"), text.rfind(b"}")
    if 0 <= start < end:
        texts["comment"] = decoded(text[start : end + 1])


# --- all of them --------------------------------------------------------------------------


def reader_of(head: bytes) -> Callable[[Source, Texts], None] | None:
    """What reads a file that begins with the bytes `head`, some 32 of them."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return read_png
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return read_webp
    if head.startswith(b"\x1aE\xdf\xa3"):
        from media_films import read_webm

        return read_webm
    if head[:1] == b"\0" and head[4:8] in (
        b"ftyp",
        b"moov",
        b"wide",
        b"free",
        b"skip",
        b"mdat",
        b"JXL ",
    ):
        from media_films import read_mp4

        return read_mp4
    if head[8:10] == b'{"' and head[5:8] == b"\0\0\0":
        return read_headed
    readers: dict[bytes, Callable[[Source, Texts], None]] = {
        b"\xff\xd8\xff": read_jpeg,
        b"II*\0": read_tiff,
        b"MM\0*": read_tiff,
        b"fLaC": read_flac,
        b"OggS": read_ogg,
        b"ID3": read_id3,
        b"glTF": read_headed,
        b"<svg": read_svg,
        b"<?xml": read_svg,
    }
    for start, reader in readers.items():
        if head.startswith(start):
            return reader
    return None


def is_media(head: bytes) -> bool:
    """Whether a file that begins with `head` is of a kind that is known here."""
    return reader_of(head) is not None


def read(file: BinaryIO) -> Texts:
    """The texts in an open file; {} when it has none.

    Problem when it is of no known kind, or broken before any text was found.
    """
    source = Source(file)
    reader = reader_of(source.at(0, min(32, source.size)))
    texts: Texts = {}
    if reader is None:
        raise Problem("is of no kind that carries workflows")
    try:
        reader(source, texts)
    except Broken:
        if not texts:
            raise Problem("is cut off or broken: there is no workflow to be read") from None
    return texts


def chunks(path: str) -> Texts:
    """The same for the file `path`; OSError when it can't be read."""
    with open(path, "rb") as file:
        return read(file)
