"""A stand-in for a ComfyUI server, for trying autopod out and for testing it without a GPU.

It speaks the HTTP and WebSocket protocol of ComfyUI 0.3.64 as recorded from a real server, and it
really executes prompts: images are loaded, transformed and saved with Pillow. What needs a model
(checkpoints, samplers, upscalers, text and image encoders) is replaced by stand-ins that draw a
picture from everything that leads to it, so the same prompt and seed give the same bytes.
Files are real: PNG and animated WEBP by Pillow, FLAC (uncompressed) and MP4 (motion JPEG, without
sound) by the small writers in this file. It has no other encoders and reads no sound but WAV.

Routes: /system_stats /features /queue /prompt /history /view /upload/image /upload/mask
/object_info /interrupt /free /embeddings /extensions /models /internal/logs /ws, each also under
/api.

It trusts whoever can reach its port, as ComfyUI does: keep it on a loopback address.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import datetime
import email.message
import filecmp
import functools
import hashlib
import heapq
import io
import ipaddress
import json
import math
import mimetypes
import os
import random
import re
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import urllib.parse
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, cast

try:
    import PIL
    from aiohttp import content_disposition_filename, parse_content_disposition, web
except ImportError as error:
    print(f"comfyui_sim: {error}: pip install aiohttp Pillow", file=sys.stderr)
    sys.exit(3)

if TYPE_CHECKING:
    from PIL import Image, PngImagePlugin

VERSION = "0.3.64"
Json = Any
Images = list["Image.Image"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A sampler step takes this long, so that progress and interrupts can be seen without a GPU.
SAMPLER_STEP_SECONDS = 0.01
# The real server announces the end of a prompt before it stores the history entry; a client that
# asks at once found nothing in up to half of the tries (measured on ComfyUI 0.3.64).
HISTORY_LAG_SECONDS = 0.0015
# What a node costs a real server beside its own work: 5 to 8 ms for a prompt of two nodes.
NODE_SECONDS = 0.001

MAX_HISTORY = 10000
MAX_LOG = 300

# Names that a fresh ComfyUI install commonly has; files below models/ are listed beside them.
STAND_IN_MODELS: dict[str, list[str]] = {
    "checkpoints": [
        "sd_xl_base_1.0.safetensors",
        "svd.safetensors",
        "v1-5-pruned-emaonly-fp16.safetensors",
        "v1-5-pruned-emaonly.safetensors",
    ],
    "loras": ["lcm-lora-sdv1-5.safetensors"],
    "vae": ["vae-ft-mse-840000-ema-pruned.safetensors", "wan_2.1_vae.safetensors"],
    "text_encoders": ["clip_l.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors"],
    "diffusion_models": ["wan2.2_s2v_14B_fp8_scaled.safetensors"],
    "clip_vision": ["clip_vision_h.safetensors"],
    "upscale_models": [
        "4x-UltraSharp.pth",
        "RealESRGAN_x2.pth",
        "RealESRGAN_x4plus.pth",
        "RealESRGAN_x4plus.safetensors",
    ],
    "audio_encoders": ["wav2vec2_large_english_fp16.safetensors"],
}
FOLDER_NAMES = (
    "checkpoints configs loras vae text_encoders diffusion_models clip_vision style_models "
    "embeddings diffusers vae_approx controlnet gligen upscale_models custom_nodes hypernetworks "
    "photomaker classifiers model_patches audio_encoders"
)
MODEL_FOLDERS = FOLDER_NAMES.split()

EXTENSIONS = ["/extensions/core/clipspace.js", "/extensions/core/widgetInputs.js"]


# --- folders -------------------------------------------------------------------------------------


class Folders:
    """Where files are, and ComfyUI's rules for turning names from a client into paths."""

    ANNOTATIONS = {"[output]": "output", "[input]": "input", "[temp]": "temp"}

    def __init__(self, base: str, **given: str | None) -> None:
        self.base = os.path.abspath(base)
        self.models = os.path.join(self.base, "models")
        self.by_type: dict[str, str] = {}
        for kind in ("input", "output", "temp"):
            self.by_type[kind] = os.path.abspath(given.get(kind) or os.path.join(self.base, kind))
        # Nodes name temp files with a random part, so that previews of two runs stay apart.
        self.temp_tag = "".join(random.choices("abcdefghijklmnopqrstupvxyz", k=5))

    def prepare(self) -> None:
        """Makes the folders; what an earlier server left in temp/ goes, as in ComfyUI."""
        self.clean_temp()
        for path in (*self.by_type.values(), self.models):
            os.makedirs(path, exist_ok=True)

    def clean_temp(self) -> None:
        shutil.rmtree(self.by_type["temp"], ignore_errors=True)

    def split_annotation(self, name: str) -> tuple[str, str | None]:
        """Splits "x.png [output]" into its name and folder; the folder is None without one."""
        for ending, kind in self.ANNOTATIONS.items():
            if name.endswith(ending):
                # ComfyUI cuts the blank in front of the bracket without looking at it.
                return name[: -len(ending) - 1], self.by_type[kind]
        return name, None

    def input_path(self, name: str) -> str:
        """The path of an input named by a prompt.

        Raises ValueError for a name that leaves its folder. ComfyUI 0.3.64 would read such a
        file; later versions refuse it too (CVE-2026-56673).
        """
        name, folder = self.split_annotation(name)
        folder = folder or self.by_type["input"]
        path = os.path.join(folder, name)
        if not is_inside(os.path.abspath(path), folder):
            raise ValueError(f"{name} is outside of its folder")
        return path

    def input_exists(self, name: str) -> bool:
        """Whether a prompt may name this input; an empty name or a folder passes, as in ComfyUI."""
        try:
            return os.path.exists(self.input_path(name))
        except ValueError:
            return False

    def inputs(self, *kinds: str) -> list[str]:
        """Files directly in input/ whose MIME type starts with one of the kinds, sorted."""
        found = []
        for entry in os.scandir(self.by_type["input"]):
            kind = mimetypes.guess_type(entry.name)[0] or ""
            if kind.startswith(kinds) and entry.is_file():
                found.append(entry.name)
        return sorted(found)

    def model_names(self, folder: str) -> list[str]:
        """Stand-in names and the files below models/FOLDER, sorted."""
        names = set(STAND_IN_MODELS.get(folder, ()))
        top = os.path.join(self.models, folder)
        for path, _, files in os.walk(top):
            names.update(os.path.relpath(os.path.join(path, name), top) for name in files)
        return sorted(names)

    def next_output(
        self, kind: str, prefix: str, width: int = 0, height: int = 0
    ) -> tuple[str, str, str, int]:
        """Where a node saves its next file: folder, subfolder, name and counter.

        The counter is one above the highest in the folder, whatever the extension. Raises
        Exception (that is what ComfyUI raises) for a prefix that leaves the folder.
        """
        top = self.by_type[kind]
        if "%" in prefix:
            prefix = fill_prefix(prefix, width, height)
        subfolder, name = os.path.split(os.path.normpath(prefix))
        folder = os.path.join(top, subfolder)
        if not is_inside(os.path.abspath(folder), top):
            raise Exception(
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                f" full_output_folder: {os.path.abspath(folder)}\n         output_dir: {top}\n"
                f"         commonpath: {os.path.commonpath((top, os.path.abspath(folder)))}"
            )
        os.makedirs(folder, exist_ok=True)
        counter = 0
        for entry in os.listdir(folder):
            if entry.startswith(name + "_"):
                digits = entry[len(name) + 1 :].split("_")[0]
                if digits.isdigit():
                    counter = max(counter, int(digits))
        return folder, subfolder, name, counter + 1


def is_inside(path: str, folder: str) -> bool:
    """Whether an absolute path is the folder itself or below it."""
    return os.path.commonpath((folder, path)) == folder


def fill_prefix(prefix: str, width: int, height: int) -> str:
    """Fills in the variables that the server knows; %date:...% is the browser's job."""
    codes = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
    values = {name: time.strftime(code) for name, code in codes.items()}
    values.update(width=str(width), height=str(height))
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix


# --- values that travel along links --------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """What stands in for a model, a conditioning or the like: how it came about.

    key is a digest of everything upstream; text labels the pictures that are drawn from it.
    """

    key: str
    text: str = ""


@dataclass
class Latent:
    """Stands in for latents: a size in pixels, a count, and the pictures behind them, if any."""

    width: int
    height: int
    count: int
    pictures: Images | None = None
    moving: bool = False


@dataclass(frozen=True)
class Audio:
    """Sound as interleaved little-endian 16 bit samples."""

    samples: bytes
    rate: int
    channels: int


@dataclass
class Video:
    """Frames and how many of them make a second."""

    frames: Images
    fps: float


@dataclass
class Result:
    """What a node left behind: what it shows in the history, if anything, and its outputs."""

    shown: dict[str, Json] | None
    outputs: tuple[Any, ...] = ()


class OutOfMemoryError(RuntimeError):
    """What torch raises when a GPU's memory is full."""


# Clients see the full name of the type.
OutOfMemoryError.__module__ = "torch"


class Interrupted(Exception):
    """Raised inside a node when the user asked to stop."""


def digest(value: Any) -> str:
    """A digest of any value that travels along a link; equal content gives equal digests."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha: Any, value: Any) -> None:
    if isinstance(value, Recipe):
        sha.update(b"recipe" + value.key.encode())
    elif isinstance(value, Latent):
        _feed(sha, (value.width, value.height, value.count, value.pictures, value.moving))
    elif isinstance(value, Audio):
        sha.update(f"audio {value.rate} {value.channels} ".encode() + value.samples)
    elif isinstance(value, Video):
        _feed(sha, (value.frames, value.fps))
    elif isinstance(value, (list, tuple)):
        sha.update(f"list {len(value)}".encode())
        for item in value:
            _feed(sha, item)
    elif hasattr(value, "tobytes"):
        sha.update(repr((value.mode, value.size)).encode() + value.tobytes())
    else:
        sha.update(repr(value).encode())


def describe(value: Any) -> Json:
    """How a value is shown in current_inputs of an error: scalars as they are, others as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)[:200]


# --- pictures ------------------------------------------------------------------------------------


def draw_picture(key: str, width: int, height: int, text: str) -> Image.Image:
    """Draws a picture of soft colours and discs that depends on key alone, with text on it."""
    from PIL import Image, ImageDraw

    noise = hashlib.shake_256(key.encode()).digest(256)
    picture = Image.frombytes("RGB", (6, 4), noise[:72]).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(picture, "RGBA")
    for disc in range(8):
        x, y, size, red, green, blue, alpha = noise[72 + disc * 7 : 79 + disc * 7]
        radius = max(2, min(width, height) * (size + 32) // 1024)
        left, top = x * width // 256, y * height // 256
        box = (left - radius, top - radius, left + radius, top + radius)
        pen.ellipse(box, fill=(red, green, blue, 64 + alpha // 2))
    label = text.encode("ascii", "replace").decode()
    if label and width >= 128 and height >= 64:
        pen.rectangle((0, height - 18, width, height), fill=(0, 0, 0, 144))
        pen.text((6, height - 15), label, fill=(255, 255, 255, 255))
    return picture


def move_picture(picture: Image.Image, width: int, height: int, count: int) -> Images:
    """A slow zoom into a picture: count frames of width x height."""
    from PIL import Image

    frames = []
    for index in range(count):
        zoom = 0.125 * index / max(1, count - 1)
        left, top = picture.width * zoom, picture.height * zoom
        box = (left, top, picture.width - left, picture.height - top)
        frames.append(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return frames


def scale_picture(
    picture: Image.Image, width: int, height: int, method: str, crop: str = "disabled"
) -> Image.Image:
    """Scales as ComfyUI does; crop "center" cuts to the new shape first."""
    from PIL import Image, ImageOps

    methods = {
        "nearest-exact": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "area": Image.Resampling.BOX,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    if crop == "center":
        return ImageOps.fit(picture, (width, height), methods[method])
    return picture.resize((width, height), methods[method])


# --- file formats that Pillow doesn't write ------------------------------------------------------


def _crc_table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for index in range(256):
        crc = index << (bits - 8)
        for _ in range(8):
            crc = ((crc << 1) ^ polynomial if crc & top else crc << 1) & mask
        table.append(crc)
    return table


def flac_file(audio: Audio) -> bytes:
    """A FLAC file with verbatim (uncompressed) subframes. Source: RFC 9639."""
    crc8, crc16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)
    block = 4096
    step = 2 * audio.channels
    total = len(audio.samples) // step
    info = struct.pack(">HH", block, block) + bytes(6)
    info += struct.pack(">Q", audio.rate << 44 | (audio.channels - 1) << 41 | 15 << 36 | total)
    info += hashlib.md5(audio.samples).digest()
    out = bytearray(b"fLaC" + struct.pack(">I", 0x80000000 | len(info)) + info)
    for number, start in enumerate(range(0, total, block)):
        count = min(block, total - start)
        # Block size in 16 bits, rate from STREAMINFO; channels; 16 bits a sample.
        frame = bytearray(b"\xff\xf8\x70")
        frame.append((audio.channels - 1) << 4 | 8)
        # The coded number is UTF-8 as of old: it goes on where Unicode ends.
        frame += chr(number).encode("utf-8", "surrogatepass") + struct.pack(">H", count - 1)
        check = 0
        for byte in frame:
            check = crc8[check ^ byte]
        frame.append(check)
        samples = audio.samples[start * step : (start + count) * step]
        for channel in range(audio.channels):
            frame.append(0x02)
            part = bytearray(2 * count)
            part[0::2] = samples[channel * 2 + 1 :: step]
            part[1::2] = samples[channel * 2 :: step]
            frame += part
        check = 0
        for byte in frame:
            check = (check << 8 & 0xFF00) ^ crc16[check >> 8 ^ byte]
        out += frame + struct.pack(">H", check)
    return bytes(out)


def _u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _u32(len(body) + 8) + kind + body


def mp4_file(frames: Images, fps: float) -> bytes:
    """An MP4 file with motion JPEG frames and without sound.

    Players built on FFmpeg show it, browsers don't. Sources: ISO/IEC 14496-12, -14 and -1
    (object type 0x6C is JPEG).
    """
    pictures = []
    for frame in frames:
        data = io.BytesIO()
        frame.convert("RGB").save(data, "JPEG", quality=90)
        pictures.append(data.getvalue())
    sizes = [len(picture) for picture in pictures]
    # The header tells where the frames start, which is behind itself: its length is known then.
    start = len(_mp4_header(sizes, frames[0].size, fps, 0)) + 8
    return _mp4_header(sizes, frames[0].size, fps, start) + _box(b"mdat", *pictures)


def _mp4_header(sizes: list[int], size: tuple[int, int], fps: float, start: int) -> bytes:
    width, height = size
    count, scale = len(sizes), 90000
    delta = max(1, round(scale / fps))
    length = count * delta
    matrix = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    decoder = b"\x04\x0d\x6c\x11" + bytes(11)
    sample = _box(
        b"mp4v",
        struct.pack(">6xH16xHH", 1, width, height),
        struct.pack(">IIIH32xHh", 0x480000, 0x480000, 0, 1, 24, -1),
        _box(b"esds", bytes(4), b"\x03\x15\0\1\0", decoder, b"\x06\x01\x02"),
    )
    table = _box(
        b"stbl",
        _box(b"stsd", _u32(0, 1), sample),
        _box(b"stts", _u32(0, 1, count, delta)),
        _box(b"stsc", _u32(0, 1, 1, count, 1)),
        _box(b"stsz", _u32(0, 0, count, *sizes)),
        _box(b"stco", _u32(0, 1, start)),
    )
    reference = _box(b"dref", _u32(0, 1), _box(b"url ", _u32(1)))
    media = _box(
        b"mdia",
        _box(b"mdhd", _u32(0, 0, 0, scale, length, 0x55C40000)),
        _box(b"hdlr", _u32(0, 0), b"vide", bytes(13)),
        _box(b"minf", _box(b"vmhd", _u32(1, 0, 0)), _box(b"dinf", reference), table),
    )
    place = (*matrix, width << 16, height << 16)
    track = _box(b"trak", _box(b"tkhd", _u32(7, 0, 0, 1, 0, length, 0, 0, 0, 0, *place)), media)
    movie = (0, 0, 0, scale, length, 0x10000, 0x1000000, 0, 0, *matrix, 0, 0, 0, 0, 0, 0, 2)
    brands = _box(b"ftyp", b"isom", _u32(0x200), b"isomiso2mp41mp42")
    return brands + _box(b"moov", _box(b"mvhd", _u32(*movie)), track)


def read_audio(path: str) -> Audio:
    """Reads a WAV file of 8, 16, 24 or 32 bit; raises ValueError for anything else."""
    import wave

    try:
        with wave.open(path, "rb") as sound:
            width, channels = sound.getsampwidth(), sound.getnchannels()
            raw, rate = sound.readframes(sound.getnframes()), sound.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"Invalid data found when processing input: '{path}'") from error
    samples = bytearray(len(raw) // width * 2)
    if width == 1:
        samples[1::2] = bytes(byte ^ 0x80 for byte in raw)
    else:
        samples[0::2] = raw[width - 2 :: width]
        samples[1::2] = raw[width - 1 :: width]
    return Audio(bytes(samples), rate, channels)


# --- nodes: how one is declared ------------------------------------------------------------------

SAMPLERS = (
    "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral "
    "lms dpm_fast dpm_adaptive dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde "
    "dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun "
    "dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis res_multistep "
    "res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp "
    "gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver "
    "sa_solver_pece ddim uni_pc uni_pc_bh2"
)
SCHEDULERS = (
    "simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal"
)
# Lists of choices that several declarations name.
CHOICES = {
    "samplers": SAMPLERS.split(),
    "schedulers": SCHEDULERS.split(),
    "scaling": ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"],
    "crop": ["disabled", "center"],
}


@dataclass(frozen=True)
class Input:
    """One input of a node; source says where the choices of a "combo" come from."""

    kind: str
    options: Mapping[str, Json]
    source: str
    optional: bool

    @classmethod
    def parse(cls, line: str) -> tuple[str, Input]:
        """Reads one line of a declaration; returns the input's name and the input.

        NAME[?] KIND [DEFAULT] [LOW..HIGH] [OPTION=VALUE]... [# TOOLTIP]
        ? makes it optional. KIND is a type, or a source of choices: a|b|c, $a_list_above,
        @a_models_folder or %a,mime,kind for files in input/. Values are JSON without blanks.
        """
        line, _, tip = line.partition(" # ")
        name, kind, *words = line.split()
        options: dict[str, Json] = {"tooltip": tip} if tip else {}
        for word in words:
            key, equals, value = word.partition("=")
            low, dots, high = word.partition("..")
            if equals:
                options[key] = json.loads(value)
            elif dots:
                options.update(min=json.loads(low), max=json.loads(high))
            else:
                options["default"] = json.loads(word)
        source = kind if "|" in kind or kind[0] in "$@%" else ""
        kind = "COMBO" if source else kind
        return name.rstrip("?"), cls(kind, options, source, name.endswith("?"))

    def allowed(self, folders: Folders) -> list[str] | None:
        """The allowed values now, or None when anything goes."""
        if not self.source:
            return None
        name = self.source[1:]
        if self.source[0] == "@":
            return folders.model_names(name)
        if self.source[0] == "%":
            return folders.inputs(*name.split(","))
        return CHOICES[name] if self.source[0] == "$" else self.source.split("|")

    def config(self, folders: Folders, v3: bool) -> list[Json]:
        """[TYPE, OPTIONS] as /object_info shows it; combos have one form for each node API."""
        allowed = self.allowed(folders)
        options = dict(self.options)
        if allowed is not None and v3:
            return ["COMBO", {"multiselect": False, "options": allowed, **options}]
        kind = self.kind if allowed is None else allowed
        return [kind, options] if options or v3 else [kind]


Check = Callable[[Folders, Any], Optional[str]]
Marker = Callable[[Folders, Mapping[str, Any]], str]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Node:
    """A node class: its declaration and the function that runs it."""

    name: str
    category: str
    title: str | None
    outputs: list[str]
    output_names: list[str]
    inputs: dict[str, Input]
    run: Callable[..., Any]
    about: str = ""
    module: str = "nodes"
    # Whether it is written against ComfyUI's newer node API: that is shown differently.
    v3: bool = False
    is_output: bool = False
    hidden: tuple[str, ...] = ()
    tips: list[str] | None = None
    # What /prompt asks before it takes a value: None, or why it is refused; by input name.
    checks: dict[str, Check] = field(default_factory=dict)
    # Gives what must be equal for a cached result to be used again.
    marker: Marker | None = None

    def info(self, folders: Folders) -> dict[str, Json]:
        """The node's entry in /object_info."""
        groups: dict[str, dict[str, Json]] = {"required": {}}
        for name, declared in self.inputs.items():
            group = groups.setdefault("optional" if declared.optional else "required", {})
            group[name] = declared.config(folders, self.v3)
        if self.hidden:
            groups["hidden"] = {
                name: [name.upper()] if self.v3 else name.upper() for name in self.hidden
            }
        found: dict[str, Json] = {
            "input": groups,
            "input_order": {group: list(names) for group, names in groups.items()},
            "output": self.outputs,
            "output_is_list": [False] * len(self.outputs),
            "output_name": self.output_names,
            "name": self.name,
            "display_name": self.title,
            "description": self.about,
            "python_module": self.module,
            "category": self.category,
            "output_node": self.is_output,
        }
        if self.v3:
            found["output_tooltips"] = [None] * len(self.outputs)
            found.update(deprecated=False, experimental=False, api_node=False)
        elif self.tips:
            found["output_tooltips"] = self.tips
        return found


NODES: dict[str, Node] = {}


def declare(declaration: str, run: Callable[..., Any], saves: bool = False, **more: Any) -> None:
    """Registers a node class.

    declaration: a line "NAME | CATEGORY | OUTPUTS | TITLE", then a line for each input, see
    Input.parse. OUTPUTS are types, each with a name in front if it has one (width:INT). No TITLE
    means the name, "-" means none. saves: it is an output node that is told the whole prompt.
    """
    head, *lines = declaration.strip().splitlines()
    name, category, outputs, title = ([part.strip() for part in head.split("|")] + [""])[:4]
    if saves:
        more.update(is_output=True, hidden=("prompt", "extra_pnginfo"))
    NODES[name] = Node(
        name,
        category,
        None if title == "-" else title or name,
        [output.split(":")[-1] for output in outputs.split()],
        [output.split(":")[0] for output in outputs.split()],
        dict(Input.parse(line) for line in lines),
        run,
        **more,
    )


def node(declaration: str, **more: Any) -> Callable[[Function], Function]:
    """Registers the function below as a node class, see declare()."""

    def register(run: Function) -> Function:
        declare(declaration, run, **more)
        return run

    return register


@dataclass
class Run:
    """What a node's function is told about its run."""

    folders: Folders
    node_id: str
    prompt: dict[str, Json]
    extra: dict[str, Json]
    metadata: bool
    # Tells clients (step, steps, preview) and raises Interrupted when the user asked to stop.
    progress: Callable[[int, int, Image.Image | None], None]
    say: Callable[[str], None]

    def recipe(self, *parts: Any) -> str:
        """A digest of this node's class and some values."""
        return digest((self.prompt[self.node_id]["class_type"], *parts))


# --- nodes: images -------------------------------------------------------------------------------

PREFIX_TIP = (
    "The prefix for the file to save. This may include formatting information such as "
    "%date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from nodes."
)


def file_check(kind: str) -> Check:
    """A check that an input file is there."""

    def check(folders: Folders, name: Any) -> str | None:
        return None if folders.input_exists(name) else f"Invalid {kind} file: {name}"

    return check


def file_marker(name: str) -> Marker:
    """A marker that changes with the content of the file that an input names."""

    def marker(folders: Folders, inputs: Mapping[str, Any]) -> str:
        sha = hashlib.sha256()
        with open(folders.input_path(inputs[name]), "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                sha.update(block)
        return sha.hexdigest()

    return marker


@node("""
EmptyImage | image | IMAGE
    width INT 512 1..16384 step=1
    height INT 512 1..16384 step=1
    batch_size INT 1 1..4096
    color INT 0 0..16777215 step=1 display="color"
""")
def empty_image(run: Run, width: int, height: int, batch_size: int, color: int) -> tuple[Images]:
    from PIL import Image

    shade = (color >> 16 & 255, color >> 8 & 255, color & 255)
    return ([Image.new("RGB", (width, height), shade)] * batch_size,)


@node(
    """
LoadImage | image | IMAGE MASK | Load Image
    image %image image_upload=true
""",
    checks={"image": file_check("image")},
    marker=file_marker("image"),
)
def load_image(run: Run, image: str) -> tuple[Images, Images]:
    from PIL import Image, ImageOps, ImageSequence

    pictures: Images = []
    masks: Images = []
    with Image.open(run.folders.input_path(image)) as file:
        for frame in ImageSequence.Iterator(file):
            whole = ImageOps.exif_transpose(frame)
            picture = whole.convert("RGB")
            if pictures and picture.size != pictures[0].size:
                continue
            pictures.append(picture)
            if "A" in whole.getbands() or "transparency" in whole.info:
                masks.append(ImageOps.invert(whole.convert("RGBA").getchannel("A")))
            else:
                masks.append(Image.new("L", (64, 64)))
    return pictures, masks


@node("""
ImageInvert | image | IMAGE | Invert Image
    image IMAGE
""")
def image_invert(run: Run, image: Images) -> tuple[Images]:
    from PIL import ImageOps

    return ([ImageOps.invert(picture) for picture in image],)


@node("""
ImageScale | image/upscaling | IMAGE | Upscale Image
    image IMAGE
    upscale_method $scaling
    width INT 512 0..16384 step=1
    height INT 512 0..16384 step=1
    crop $crop
""")
def image_scale(
    run: Run, image: Images, upscale_method: str, width: int, height: int, crop: str
) -> tuple[Images]:
    if not width and not height:
        return (image,)
    # A side of 0 follows from the other one.
    width = width or max(1, round(image[0].width * height / image[0].height))
    height = height or max(1, round(image[0].height * width / image[0].width))
    return ([scale_picture(one, width, height, upscale_method, crop) for one in image],)


@node(
    """
ImageBlur | image/postprocessing | IMAGE | -
    image IMAGE
    blur_radius INT 1 1..31 step=1
    sigma FLOAT 1.0 0.1..10.0 step=0.1
""",
    v3=True,
)
def image_blur(run: Run, image: Images, blur_radius: int, sigma: float) -> tuple[Images]:
    from PIL import ImageFilter

    # Pillow's radius is the standard deviation; ComfyUI's is where the kernel ends.
    blur = ImageFilter.GaussianBlur(min(sigma, float(blur_radius)))
    return ([one.filter(blur) for one in image],)


def saved(kind: str, subfolder: str, name: str) -> dict[str, str]:
    """A file as it stands in the history."""
    return {"filename": name, "subfolder": subfolder, "type": kind}


def png_metadata(run: Run) -> PngImagePlugin.PngInfo | None:
    """The tEXt chunks of a saved PNG: the prompt always, the browser's workflow when sent."""
    from PIL import PngImagePlugin

    if not run.metadata:
        return None
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("prompt", json.dumps(run.prompt))
    for name, value in (run.extra.get("extra_pnginfo") or {}).items():
        chunks.add_text(name, json.dumps(value))
    return chunks


def save_png(run: Run, images: Images, kind: str, prefix: str, level: int) -> Result:
    """Saves each picture as a PNG file."""
    width, height = images[0].size
    folder, subfolder, name, counter = run.folders.next_output(kind, prefix, width, height)
    chunks = png_metadata(run)
    files = []
    for number, picture in enumerate(images):
        file = f"{name.replace('%batch_num%', str(number))}_{counter + number:05}_.png"
        path = os.path.join(folder, file)
        picture.save(path, "PNG", pnginfo=chunks, compress_level=level)
        files.append(saved(kind, subfolder, file))
    return Result({"images": files})


@node(
    f"""
SaveImage | image | | Save Image
    images IMAGE # The images to save.
    filename_prefix STRING "ComfyUI" # {PREFIX_TIP}
""",
    saves=True,
)
def save_image(run: Run, images: Images, filename_prefix: str) -> Result:
    return save_png(run, images, "output", filename_prefix, 4)


@node(
    """
PreviewImage | image | | Preview Image
    images IMAGE
""",
    saves=True,
)
def preview_image(run: Run, images: Images) -> Result:
    return save_png(run, images, "temp", "ComfyUI_temp_" + run.folders.temp_tag, 1)


@node(
    """
SaveAnimatedWEBP | image/animation |
    images IMAGE
    filename_prefix STRING "ComfyUI"
    fps FLOAT 6.0 0.01..1000.0 step=0.01
    lossless BOOLEAN true
    quality INT 80 0..100
    method default|fastest|slowest
""",
    saves=True,
)
def save_animated_webp(
    run: Run, images: Images, filename_prefix: str, fps: float, method: str, **options: Any
) -> Result:
    width, height = images[0].size
    folder, subfolder, name, counter = run.folders.next_output(
        "output", filename_prefix, width, height
    )
    file = f"{name}_{counter:05}_.webp"
    options["method"] = {"default": 4, "fastest": 0, "slowest": 6}[method]
    options.update(save_all=True, append_images=images[1:], duration=int(1000.0 / fps))
    images[0].save(os.path.join(folder, file), **options)
    return Result({"images": [saved("output", subfolder, file)], "animated": (len(images) != 1,)})


# --- nodes: video and sound ----------------------------------------------------------------------


def save_bytes(run: Run, kind: str, prefix: str, extension: str, data: bytes) -> dict[str, str]:
    """Saves one file; returns it as it stands in the history."""
    folder, subfolder, name, counter = run.folders.next_output(kind, prefix)
    file = f"{name}_{counter:05}_.{extension}"
    with open(os.path.join(folder, file), "wb") as out:
        out.write(data)
    return saved(kind, subfolder, file)


@node(
    """
CreateVideo | image/video | VIDEO | Create Video
    images IMAGE
    fps FLOAT 30.0 1.0..120.0 step=1.0
    audio? AUDIO
""",
    v3=True,
)
def create_video(run: Run, images: Images, fps: float, audio: Audio | None = None) -> tuple[Video]:
    return (Video(images, fps),)


@node(
    f"""
SaveVideo | image/video | | Save Video
    video VIDEO # The video to save.
    filename_prefix STRING "video/ComfyUI" multiline=false # {PREFIX_TIP}
    format auto|mp4 default="auto" # The format to save the video as.
    codec auto|h264 default="auto" # The codec to use for the video.
""",
    module="comfy_extras.nodes_video",
    v3=True,
    saves=True,
)
def save_video(run: Run, video: Video, filename_prefix: str, format: str, codec: str) -> Result:
    # /prompt doesn't check the choices of nodes against the newer API, so they come up here.
    if format not in ("auto", "mp4"):
        raise ValueError(f"{format!r} is not a valid VideoContainer")
    if codec not in ("auto", "h264"):
        raise ValueError(f"{codec!r} is not a valid VideoCodec")
    file = save_bytes(run, "output", filename_prefix, "mp4", mp4_file(video.frames, video.fps))
    return Result({"images": [file], "animated": (True,)})


@node(
    """
LoadAudio | audio | AUDIO | Load Audio
    audio %audio,video audio_upload=true
""",
    checks={"audio": file_check("audio")},
    marker=file_marker("audio"),
)
def load_audio(run: Run, audio: str) -> tuple[Audio]:
    return (read_audio(run.folders.input_path(audio)),)


@node(
    """
SaveAudio | audio | | Save Audio (FLAC)
    audio AUDIO
    filename_prefix STRING "audio/ComfyUI"
""",
    saves=True,
)
def save_audio(run: Run, audio: Audio, filename_prefix: str) -> Result:
    return Result({"audio": [save_bytes(run, "output", filename_prefix, "flac", flac_file(audio))]})


@node(
    """
PreviewAudio | audio | | Preview Audio
    audio AUDIO
""",
    saves=True,
)
def preview_audio(run: Run, audio: Audio) -> Result:
    prefix = "ComfyUI_temp_" + run.folders.temp_tag
    return Result({"audio": [save_bytes(run, "temp", prefix, "flac", flac_file(audio))]})


# --- nodes: values and text ----------------------------------------------------------------------


def same_value(run: Run, value: Any) -> tuple[Any]:
    """Hands its input on."""
    return (value,)


for _kind in ("Int", "Float", "String", "Boolean"):
    declare(
        f"Primitive{_kind} | utils/primitive | {_kind.upper()} | {_kind}\n value {_kind.upper()}",
        same_value,
        v3=True,
    )


@node(
    """
PreviewAny | utils | | Preview Any
    source *
""",
    is_output=True,
)
def preview_any(run: Run, source: Any) -> Result:
    return Result({"text": (str(describe(source)),)})


# --- nodes: what needs a model -------------------------------------------------------------------


# Nodes that turn models and conditionings into others; stand_in() runs them all.
STAND_INS = """
ImageOnlyCheckpointLoader | loaders/video_models | MODEL CLIP_VISION VAE |\
 Image Only Checkpoint Loader (img2vid model)
    ckpt_name @checkpoints

UNETLoader | advanced/loaders | MODEL | Load Diffusion Model
    unet_name @diffusion_models
    weight_dtype default|fp8_e4m3fn|fp8_e4m3fn_fast|fp8_e5m2

VAELoader | loaders | VAE | Load VAE
    vae_name @vae

CLIPLoader | advanced/loaders | CLIP | Load CLIP
    clip_name @text_encoders
    type stable_diffusion|stable_cascade|sd3|stable_audio|mochi|ltxv|pixart|cosmos|lumina2|wan|\
hidream|chroma|ace|omnigen2|qwen_image|hunyuan_image
    device? default|cpu advanced=true

LoraLoader | loaders | MODEL CLIP | Load LoRA
    model MODEL
    clip CLIP
    lora_name @loras
    strength_model FLOAT 1.0 -100.0..100.0 step=0.01
    strength_clip FLOAT 1.0 -100.0..100.0 step=0.01

CLIPSetLastLayer | conditioning | CLIP | CLIP Set Last Layer
    clip CLIP
    stop_at_clip_layer INT -1 -24..-1 step=1

ModelSamplingSD3 | advanced/model | MODEL
    model MODEL
    shift FLOAT 3.0 0.0..100.0 step=0.01

VideoLinearCFGGuidance | sampling/video_models | MODEL
    model MODEL
    min_cfg FLOAT 1.0 0.0..100.0 step=0.5 round=0.01
"""
STAND_INS_V3 = """
AudioEncoderLoader | loaders | AUDIO_ENCODER | -
    audio_encoder_name @audio_encoders

AudioEncoderEncode | conditioning | AUDIO_ENCODER_OUTPUT | -
    audio_encoder AUDIO_ENCODER
    audio AUDIO
"""


@node(
    """
CheckpointLoaderSimple | loaders | MODEL CLIP VAE | Load Checkpoint
    ckpt_name @checkpoints # The name of the checkpoint (model) to load.
""",
    tips=[
        "The model used for denoising latents.",
        "The CLIP model used for encoding text prompts.",
        "The VAE model used for encoding and decoding images to and from latent space.",
    ],
)
@node("""
CLIPTextEncode | conditioning | CONDITIONING | CLIP Text Encode (Prompt)
    text STRING multiline=true dynamicPrompts=true
    clip CLIP
""")
def stand_in(run: Run, **inputs: Any) -> tuple[Recipe, ...]:
    """Gives each output a recipe of its own; its label is the first text among the inputs."""
    texts = [value.text for value in inputs.values() if isinstance(value, Recipe) and value.text]
    label = inputs.get("text", texts[0] if texts else "")
    key = run.recipe(sorted(inputs.items()))
    count = len(NODES[run.prompt[run.node_id]["class_type"]].outputs)
    return tuple(Recipe(digest((key, slot)), label) for slot in range(count))


for _declaration in STAND_INS.split("\n\n"):
    declare(_declaration, stand_in)
for _declaration in STAND_INS_V3.split("\n\n"):
    declare(_declaration, stand_in, v3=True)


@node("""
EmptyLatentImage | latent | LATENT | Empty Latent Image
    width INT 512 16..16384 step=8
    height INT 512 16..16384 step=8
    batch_size INT 1 1..4096
""")
def empty_latent(run: Run, width: int, height: int, batch_size: int) -> tuple[Latent]:
    return (Latent(width // 8 * 8, height // 8 * 8, batch_size),)


@node("""
VAEEncode | latent | LATENT | VAE Encode
    pixels IMAGE
    vae VAE
""")
def vae_encode(run: Run, pixels: Images, vae: Recipe) -> tuple[Latent]:
    width, height = (max(8, size // 8 * 8) for size in pixels[0].size)
    pictures = [scale_picture(one, width, height, "bilinear", "center") for one in pixels]
    return (Latent(width, height, len(pictures), pictures),)


@node("""
VAEDecode | latent | IMAGE | VAE Decode
    samples LATENT
    vae VAE
""")
def vae_decode(run: Run, samples: Latent, vae: Recipe) -> tuple[Images]:
    if samples.pictures is None:
        return empty_image(run, samples.width, samples.height, samples.count, 0x808080)
    return (samples.pictures,)


@node(
    """
KSampler | sampling | LATENT
    model MODEL # The model used for denoising the input latent.
    seed INT 0 0..18446744073709551615 control_after_generate=true # The random seed.
    steps INT 20 1..10000 # The number of steps used in the denoising process.
    cfg FLOAT 8.0 0.0..100.0 step=0.1 round=0.01 # How closely the image follows the prompt.
    sampler_name $samplers # The algorithm used when sampling.
    scheduler $schedulers # How noise is gradually removed to form the image.
    positive CONDITIONING # The attributes you want to include in the image.
    negative CONDITIONING # The attributes you want to exclude from the image.
    latent_image LATENT # The latent image to denoise.
    denoise FLOAT 1.0 0.0..1.0 step=0.01 # How much of the initial image is replaced.
""",
    tips=["The denoised latent."],
)
def ksampler(
    run: Run,
    seed: int,
    steps: int,
    positive: Recipe,
    latent_image: Latent,
    denoise: float,
    **others: Any,
) -> tuple[Latent]:
    """Stands in for a sampler: draws pictures from all that leads to it, step by step.

    With pictures to start from, denoise says how much of them goes.
    """
    from PIL import Image

    latent = latent_image
    key = run.recipe(seed, steps, positive, latent, denoise, sorted(others.items()))
    label = f"{positive.text}  (seed {seed})"
    drawn = [
        draw_picture(digest((key, index)), latent.width, latent.height, label)
        for index in range(1 if latent.moving else latent.count)
    ]
    if latent.pictures is not None:
        # A film shows its first picture whatever happens to it.
        share = min(denoise, 0.35) if latent.moving else denoise
        drawn = [Image.blend(old, new, share) for old, new in zip(latent.pictures, drawn)]
    for step in range(steps):
        time.sleep(SAMPLER_STEP_SECONDS)
        run.progress(step + 1, steps, None)
    if latent.moving:
        drawn = move_picture(drawn[0], latent.width, latent.height, latent.count)
    return (Latent(latent.width, latent.height, latent.count, drawn),)


def film(
    run: Run, label: str, width: int, height: int, count: int, still: Images | None, *others: Any
) -> tuple[Recipe, Recipe, Latent]:
    """Conditionings and a latent for count frames that start from a still."""
    pictures = None
    if still:
        pictures = [scale_picture(still[0], width, height, "bilinear", "center")]
    key = run.recipe(width, height, count, still or (), others)
    latent = Latent(width, height, count, pictures, moving=True)
    return Recipe(digest((key, 0)), label), Recipe(digest((key, 1))), latent


@node(
    """
SVD_img2vid_Conditioning | conditioning/video_models |\
 positive:CONDITIONING negative:CONDITIONING latent:LATENT
    clip_vision CLIP_VISION
    init_image IMAGE
    vae VAE
    width INT 1024 16..16384 step=8
    height INT 576 16..16384 step=8
    video_frames INT 14 1..4096
    motion_bucket_id INT 127 1..1023
    fps INT 6 1..1024
    augmentation_level FLOAT 0.0 0.0..10.0 step=0.01
"""
)
def svd_conditioning(
    run: Run, init_image: Images, width: int, height: int, video_frames: int, **others: Any
) -> tuple[Recipe, Recipe, Latent]:
    return film(run, "", width, height, video_frames, init_image, sorted(others.items()))


@node(
    """
WanSoundImageToVideo | conditioning/video_models |\
 positive:CONDITIONING negative:CONDITIONING latent:LATENT | -
    positive CONDITIONING
    negative CONDITIONING
    vae VAE
    width INT 832 16..16384 step=16
    height INT 480 16..16384 step=16
    length INT 77 1..16384 step=4
    batch_size INT 1 1..4096
    audio_encoder_output? AUDIO_ENCODER_OUTPUT
    ref_image? IMAGE
    control_video? IMAGE
    ref_motion? IMAGE
""",
    v3=True,
)
def wan_sound_to_video(
    run: Run,
    positive: Recipe,
    width: int,
    height: int,
    length: int,
    ref_image: Images | None = None,
    **others: Any,
) -> tuple[Recipe, Recipe, Latent]:
    # One latent frame stands for four frames after the first.
    count = (length - 1) // 4 * 4 + 1
    rest = (positive, sorted(others.items()))
    return film(run, positive.text, width, height, count, ref_image, rest)


@node(
    """
UpscaleModelLoader | loaders | UPSCALE_MODEL | Load Upscale Model
    model_name @upscale_models
""",
    v3=True,
)
def upscale_model_loader(run: Run, model_name: str) -> tuple[Recipe]:
    # /prompt doesn't check the choices of nodes against the newer API, so they come up here.
    if model_name not in run.folders.model_names("upscale_models"):
        raise FileNotFoundError(
            f"Model in folder 'upscale_models' with filename '{model_name}' not found."
        )
    return (Recipe(run.recipe(model_name), model_name),)


@node(
    """
ImageUpscaleWithModel | image/upscaling | IMAGE | Upscale Image (using Model)
    upscale_model UPSCALE_MODEL
    image IMAGE
""",
    v3=True,
)
def image_upscale_with_model(run: Run, upscale_model: Recipe, image: Images) -> tuple[Images]:
    # Upscale models are named after their factor: 4x-UltraSharp.pth, RealESRGAN_x2.pth.
    factor = 2 if re.search("x2|2x", upscale_model.text.lower()) else 4
    larger = []
    for number, one in enumerate(image):
        larger.append(scale_picture(one, one.width * factor, one.height * factor, "lanczos"))
        run.progress(number + 1, len(image), None)
    return (larger,)


# --- nodes: for tests ----------------------------------------------------------------------------


def lab(declaration: str, **more: Any) -> Callable[[Function], Function]:
    """Registers a test node under its plain name and under its name in the recordings (Lab...)."""

    def register(run: Function) -> Function:
        for prefix in ("", "Lab"):
            text = prefix + declaration.lstrip()
            declare(text, run, module="custom_nodes.lab_nodes", **more)
        return run

    return register


@lab(
    """
Sleep | lab | OUTPUT:IMAGE | Lab Sleep
    image IMAGE
    seconds FLOAT 1.0 0.0..3600.0 step=0.01
    steps INT 10 1..10000
    preview? BOOLEAN false
    seed? INT 0 0..9223372036854775807
""",
    about="Sleeps in steps and reports progress. preview=True also sends a preview image each "
    "step.",
)
def lab_sleep(
    run: Run, image: Images, seconds: float, steps: int, preview: bool = False, seed: int = 0
) -> tuple[Images]:
    for step in range(steps):
        time.sleep(seconds / steps)
        run.progress(step + 1, steps, image[0] if preview else None)
    return (image,)


@lab("""
SleepBlind | lab | IMAGE
    image IMAGE
    seconds FLOAT 1.0 0.0..3600.0 step=0.01
    seed? INT 0 0..9223372036854775807
""")
def lab_sleep_blind(run: Run, image: Images, seconds: float, seed: int = 0) -> tuple[Images]:
    """Sleeps without progress: an interrupt is noticed by the next node only."""
    time.sleep(seconds)
    return (image,)


@lab("""
Fail | lab | IMAGE | Lab Fail
    image IMAGE
    message STRING "failure"
""")
def lab_fail(run: Run, image: Images, message: str) -> None:
    raise RuntimeError(message)


@lab("""
OOM | lab | IMAGE
    image IMAGE
""")
def lab_oom(run: Run, image: Images) -> None:
    raise OutOfMemoryError("Allocation on device (lab: pretend CUDA out of memory)")


def refuse_text(folders: Folders, value: Any) -> str | None:
    """Refuses "bad", fails on "raise"."""
    if value == "raise":
        raise ValueError("validate raised")
    return "the text is bad" if value == "bad" else None


@lab(
    """
FailValidate | lab | IMAGE
    image IMAGE
    text STRING ""
""",
    checks={"text": refuse_text},
)
def lab_fail_validate(run: Run, image: Images, text: str) -> tuple[Images]:
    return (image,)


@lab(
    """
Text | lab | STRING
    text STRING "hello" multiline=true
""",
    is_output=True,
    hidden=("unique_id",),
)
def lab_text(run: Run, text: str) -> Result:
    run.say("progress text: " + text)
    return Result({"text": (text,)}, (text,))


@lab(
    """
Ui | lab |
    json STRING "{}" multiline=true
""",
    is_output=True,
)
def lab_ui(run: Run, **inputs: str) -> Result:
    """Shows any JSON object as its output, as custom nodes do."""
    return Result(json.loads(inputs["json"]))


@lab("""
Noise | lab | IMAGE
    width INT 512 1..16384
    height INT 512 1..16384
    batch_size INT 1 1..4096
    seed INT 0 0..9223372036854775807
""")
def lab_noise(run: Run, width: int, height: int, batch_size: int, seed: int) -> tuple[Images]:
    from PIL import Image

    pictures = []
    for index in range(batch_size):
        noise = hashlib.shake_256(f"{seed} {index}".encode()).digest(width * height * 3)
        pictures.append(Image.frombytes("RGB", (width, height), noise))
    return (pictures,)


@lab("""
Tone | lab | AUDIO
    seconds FLOAT 1.0 0.01..600.0 step=0.01
    hz FLOAT 440.0 1.0..20000.0
""")
def lab_tone(run: Run, seconds: float, hz: float) -> tuple[Audio]:
    rate = 44100
    turn = 2 * math.pi * hz / rate
    wave = [round(16000 * math.sin(turn * at)) for at in range(int(seconds * rate))]
    return (Audio(struct.pack(f"<{len(wave)}h", *wave), rate, 1),)


# --- validation of a prompt ----------------------------------------------------------------------


def is_link(value: Any) -> bool:
    """Whether an input value names another node's output."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], (int, float))


def type_name(error: BaseException) -> str:
    """The full name of an exception's class; built-in ones go without a module."""
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def stack_of(error: BaseException) -> list[str]:
    """The traceback of an exception, a call a line."""
    return traceback.format_tb(error.__traceback__)


def problem(kind: str, message: str, details: str, **extra: Json) -> dict[str, Json]:
    """An error as /prompt answers it."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def types_match(received: str, wanted: str) -> bool:
    """Whether an output may go into an input; both can be lists with commas, "*" is any."""
    return "*" in (received, wanted) or set(received.split(",")) <= set(wanted.split(","))


class Validator:
    """Validates one prompt as ComfyUI 0.3.64 does, coercing its values in place.

    The order of checks and what happens when one raises are the server's own: a graph with a
    circle, for instance, ends at Python's recursion limit and is refused without a reason.
    """

    COERCIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}

    def __init__(self, folders: Folders, prompt: Any) -> None:
        self.folders = folders
        self.prompt = prompt
        self.seen: dict[str, tuple[bool, list[Json]]] = {}

    def run(self, targets: Sequence[str] | None) -> tuple[Json, list[str], dict[str, Json]]:
        """Validates all outputs, or those among the targets.

        Returns the error, or None; the outputs that can run; and what is wrong by node. Raises
        whatever a malformed prompt leads to; the server answers that with a 500.
        """
        outputs = []
        for node_id in self.prompt:
            entry = self.prompt[node_id]
            if "class_type" not in entry:
                message = "Cannot execute because a node is missing the class_type property."
            elif entry["class_type"] not in NODES:
                message = f"Cannot execute because node {entry['class_type']} does not exist."
            else:
                if NODES[entry["class_type"]].is_output and (targets is None or node_id in targets):
                    outputs.append(node_id)
                continue
            return problem("invalid_prompt", message, f"Node ID '#{node_id}'"), [], {}
        if not outputs:
            return problem("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
        good = []
        lines = []
        node_errors: dict[str, Json] = {}
        for output in outputs:
            try:
                valid, faults = self._node(output)
            except Exception as error:
                message = "Exception when validating node"
                about = {"exception_type": type_name(error), "traceback": stack_of(error)}
                fault = problem("exception_during_validation", message, str(error), **about)
                valid, faults = self.seen[output] = (False, [fault])
            if valid:
                good.append(output)
                continue
            lines += [f"{fault['message']}: {fault['details']}" for fault in faults]
            for node_id, (_, faults) in self.seen.items():
                if faults:
                    kind = self.prompt[node_id]["class_type"]
                    entry = {"errors": faults, "dependent_outputs": [], "class_type": kind}
                    node_errors.setdefault(node_id, entry)["dependent_outputs"].append(output)
        if good:
            return None, good, node_errors
        message = "Prompt outputs failed validation"
        failed = problem("prompt_outputs_failed_validation", message, "\n".join(lines))
        return failed, [], node_errors

    def _node(self, node_id: str) -> tuple[bool, list[Json]]:
        """Whether a node and all that leads to it is valid, and what is wrong with the node."""
        if node_id in self.seen:
            return self.seen[node_id]
        inputs = self.prompt[node_id]["inputs"]
        declared = NODES[self.prompt[node_id]["class_type"]]
        found: list[Json] = []
        valid = True
        for name, wanted in declared.inputs.items():
            if name not in inputs:
                if not wanted.optional:
                    message = "Required input is missing"
                    fault = problem("required_input_missing", message, name, input_name=name)
                    found.append(fault)
                continue
            about = {"input_name": name, "input_config": self._config(wanted)}
            if isinstance(inputs[name], list):
                fault, upstream = self._link(name, wanted, inputs[name], about)
                valid = valid and upstream
            else:
                fault = self._coerce(name, wanted, inputs, about)
                if fault is None and name in declared.checks:
                    fault = self._check(name, declared.checks[name], inputs[name])
                elif fault is None:
                    fault = self._limits(name, wanted, inputs[name], declared.v3, about)
            found.append(fault)
        faults = [fault for fault in found if fault]
        self.seen[node_id] = (valid and not faults, faults)
        return self.seen[node_id]

    def _config(self, wanted: Input) -> list[Json]:
        allowed = wanted.allowed(self.folders)
        return [wanted.kind if allowed is None else allowed, dict(wanted.options)]

    def _link(
        self, name: str, wanted: Input, value: list[Any], about: dict[str, Json]
    ) -> tuple[Json, bool]:
        """Checks a link; the second value is False when something upstream is at fault."""
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return problem("bad_linked_input", message, name, **about, received_value=value), True
        source = value[0]
        # A tuple, as the class would have: the message of an IndexError names the type.
        kind = tuple(NODES[self.prompt[source]["class_type"]].outputs)[value[1]]
        if not types_match(kind, wanted.kind):
            message = "Return type mismatch between linked nodes"
            details = f"{name}, received_type({kind}) mismatch input_type({wanted.kind})"
            about.update(received_type=kind, linked_node=value)
            return problem("return_type_mismatch", message, details, **about), True
        try:
            return None, self._node(source)[0]
        except Exception as error:
            message = "Exception when validating inner node"
            about.update(
                exception_message=str(error),
                exception_type=type_name(error),
                traceback=stack_of(error),
                linked_node=value,
            )
            fault = problem("exception_during_inner_validation", message, str(error), **about)
            self.seen[source] = (False, [fault])
            return None, False

    def _coerce(
        self, name: str, wanted: Input, inputs: dict[str, Any], about: dict[str, Json]
    ) -> Json:
        """Makes a plain value one of the wanted type, in the prompt itself."""
        value = inputs[name]
        try:
            if isinstance(value, dict) and "__value__" in value:
                value = inputs[name] = value["__value__"]
            if wanted.kind in self.COERCIONS:
                inputs[name] = self.COERCIONS[wanted.kind](value)
        except Exception as error:
            message = f"Failed to convert an input value to a {wanted.kind} value"
            about.update(received_value=value, exception_message=str(error))
            return problem("invalid_input_type", message, f"{name}, {value}, {error}", **about)
        return None

    def _check(self, name: str, check: Check, value: Any) -> Json:
        """Asks the node itself."""
        refused = check(self.folders, value)
        if refused is None:
            return None
        message, details = "Custom validation failed for node", f"{name} - {refused}"
        return problem("custom_validation_failed", message, details, input_name=name)

    def _limits(
        self, name: str, wanted: Input, value: Any, v3: bool, about: dict[str, Json]
    ) -> Json:
        """Checks a plain value against its limits or choices."""
        about["received_value"] = value
        low, high = wanted.options.get("min"), wanted.options.get("max")
        if low is not None and value < low:
            message = f"Value {value} smaller than min of {low}"
            return problem("value_smaller_than_min", message, name, **about)
        if high is not None and value > high:
            message = f"Value {value} bigger than max of {high}"
            return problem("value_bigger_than_max", message, name, **about)
        allowed = wanted.allowed(self.folders)
        # Nodes against the newer API ("v3") find a wrong choice only when they run.
        if allowed is None or v3 or value in allowed:
            return None
        shown = str(allowed)
        if len(allowed) > 20:
            shown, about["input_config"] = f"(list of length {len(allowed)})", None
        details = f"{name}: '{value}' not in {shown}"
        return problem("value_not_in_list", "Value not in list", details, **about)


# --- queue and history ---------------------------------------------------------------------------

# number, prompt_id, prompt, extra_data, outputs to execute
Item = tuple[float, str, dict[str, Json], dict[str, Json], list[str]]


class Queue:
    """Pending prompts as a heap, running ones, and the history. Safe to use from any thread."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)
        self._pending: list[Item] = []
        self._running: dict[int, Item] = {}
        self._history: dict[str, Json] = {}
        self._tasks = 0
        self._changed = changed

    def put(self, item: Item) -> None:
        """Queues a prompt.

        Raises TypeError when number and prompt_id equal those of a pending one: the heap then
        compares the prompts. It is queued all the same, and the client gets a 500.
        """
        with self._ready:
            try:
                heapq.heappush(self._pending, item)
            finally:
                self._ready.notify()
            self._changed()

    def get(self) -> tuple[int, Item] | None:
        """Waits for a prompt; its task number and itself, or None when wake() was called."""
        with self._ready:
            if not self._pending:
                self._ready.wait()
            if not self._pending:
                return None
            item = heapq.heappop(self._pending)
            task = self._tasks
            self._tasks += 1
            self._running[task] = copy.deepcopy(item)
            self._changed()
            return task, item

    def wake(self) -> None:
        with self._ready:
            self._ready.notify()

    def done(self, task: int, result: dict[str, Json]) -> None:
        """Moves a prompt from running to the history, in one step."""
        with self._lock:
            item = self._running.pop(task)
            if len(self._history) >= MAX_HISTORY:
                del self._history[next(iter(self._history))]
            self._history[item[1]] = {"prompt": item, **result}
            self._changed()

    def remaining(self) -> int:
        """How many prompts are running or pending."""
        with self._lock:
            return len(self._running) + len(self._pending)

    def current(self) -> tuple[list[Item], list[Item]]:
        """Running and pending prompts; the pending ones in heap order."""
        with self._lock:
            return list(self._running.values()), list(self._pending)

    def clear(self) -> None:
        """Drops all pending prompts."""
        with self._lock:
            self._pending = []
            self._changed()

    def delete(self, prompt_id: str) -> None:
        """Drops the first pending prompt of that id, if any."""
        with self._lock:
            for index, item in enumerate(self._pending):
                if item[1] == prompt_id:
                    del self._pending[index]
                    heapq.heapify(self._pending)
                    self._changed()
                    return

    def history(
        self, prompt_id: str | None = None, max_items: int | None = None, offset: int = -1
    ) -> dict[str, Json]:
        """One entry, or all in the order they ended; max_items alone means the last ones."""
        with self._lock:
            names = list(self._history) if prompt_id is None else [prompt_id]
            if max_items is not None:
                start = offset if offset >= 0 else max(0, len(names) - max_items)
                names = names[start : start + max_items]
            return {name: self._history[name] for name in names if name in self._history}

    def forget(self, prompt_id: str | None) -> None:
        """Removes one entry, or all."""
        with self._lock:
            if prompt_id is None:
                self._history = {}
            else:
                self._history.pop(prompt_id, None)


# --- execution -----------------------------------------------------------------------------------


class Cache:
    """Results of the last prompt's nodes, found again by what the node is made of.

    Like ComfyUI's default cache it keeps only what the prompt before this one used.
    """

    def __init__(self, folders: Folders, enabled: bool) -> None:
        self._folders = folders
        self._enabled = enabled
        self._results: dict[str, Result] = {}
        self._keys: dict[str, str] = {}

    def take_prompt(self, prompt: dict[str, Json]) -> None:
        """Computes the keys of all nodes and drops the results that none of them has.

        Raises KeyError or AttributeError for a node without an inputs object, wherever it is.
        """
        states: dict[str, str] = {}
        self._keys = {node_id: self._key(prompt, node_id, states) for node_id in prompt}
        alive = set(self._keys.values())
        self._results = {key: value for key, value in self._results.items() if key in alive}

    def get(self, node_id: str) -> Result | None:
        """A node's result, of this prompt or of the one before."""
        return self._results.get(self._keys[node_id])

    def put(self, node_id: str, result: Result) -> None:
        self._results[self._keys[node_id]] = result

    def clear(self) -> None:
        self._results = {}

    def _key(self, prompt: dict[str, Json], node_id: str, states: dict[str, str]) -> str:
        """A digest of a node's class and inputs, and of those of all nodes that lead to it."""
        order = {node_id: 0}
        parts: list[list[Json]] = []
        if not self._enabled:
            # Nothing is found again, but for the nodes of the prompt itself.
            parts.append([str(uuid.uuid4())])
        for current in (pending := [node_id]):
            if current not in prompt:
                parts.append([str(uuid.uuid4())])
                continue
            inputs, class_type = prompt[current]["inputs"], prompt[current]["class_type"]
            if current not in states:
                states[current] = self._state(NODES[class_type].marker, inputs)
            part = [class_type, states[current]]
            if "unique_id" in NODES[class_type].hidden:
                part.append(current)
            for name, value in sorted(inputs.items()):
                if is_link(value):
                    if value[0] not in order:
                        order[value[0]] = len(order)
                        pending.append(value[0])
                    value = {"node": order[value[0]], "slot": value[1]}
                part.append([name, value])
            parts.append(part)
        return digest(json.dumps(parts, sort_keys=True))

    def _state(self, marker: Marker | None, inputs: dict[str, Json]) -> str:
        try:
            return marker(self._folders, inputs) if marker else ""
        except Exception:
            # As in ComfyUI: who can't say whether it changed, did.
            return str(uuid.uuid4())


class Plan:
    """Which nodes must run, and in what order."""

    def __init__(self, prompt: dict[str, Json], targets: Sequence[str], cache: Cache) -> None:
        self._prompt = prompt
        # What each node waits for, and who waits for it.
        self.waiting: dict[str, set[str]] = {}
        self._blocking: dict[str, list[str]] = {}
        for node_id in (pending := list(reversed(targets))):
            if node_id in self.waiting:
                continue
            values = prompt[node_id]["inputs"].values()
            sources = {value[0] for value in values if is_link(value)}
            self.waiting[node_id] = {one for one in sources if not cache.get(one)}
            for source in sorted(self.waiting[node_id]):
                self._blocking.setdefault(source, []).append(node_id)
                pending.append(source)

    def _is_output(self, node_id: str) -> bool:
        return NODES[self._prompt[node_id]["class_type"]].is_output

    def pick(self) -> str:
        """A node that can run now: an output first, then what leads to one soonest."""
        ready = [node_id for node_id, sources in self.waiting.items() if not sources]
        near = {node_id: [node_id] for node_id in ready}
        for _ in range(3):
            for node_id in ready:
                if any(self._is_output(one) for one in near[node_id]):
                    return node_id
            for node_id in ready:
                near[node_id] = [b for one in near[node_id] for b in self._blocking.get(one, ())]
        return ready[0]

    def finish(self, node_id: str) -> None:
        """Takes a node that has run out of the plan."""
        del self.waiting[node_id]
        for after in self._blocking.pop(node_id, ()):
            self.waiting[after].discard(node_id)


class NodeFailed(Exception):
    """A node raised; details are what clients are told of it."""

    TIPS = (
        "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked "
        "before you might have accidentally set the batch_size to a large number."
    )

    def __init__(self, error: Exception, inputs: dict[str, Any]) -> None:
        super().__init__(str(error))
        tips = self.TIPS if isinstance(error, OutOfMemoryError) else ""
        self.details = {
            "exception_message": f"{error}\n{tips}",
            "exception_type": type_name(error),
            "traceback": stack_of(error),
            "current_inputs": {name: [describe(value)] for name, value in inputs.items()},
        }


class Executor:
    """Runs prompts, one at a time, in the worker's thread."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cache = Cache(server.folders, server.options.caching)
        self._start((0.0, "", {}, {}, []))

    def _start(self, item: Item) -> None:
        _, self._prompt_id, self._prompt, self._extra, self._targets = item
        self._success = True
        self._messages: list[tuple[str, Json]] = []
        self._executed: list[str] = []
        # What progress_state tells: each node that runs or has ended.
        self._nodes: dict[str, dict[str, Json]] = {}
        self._shown: dict[str, Json] = {}

    def result(self) -> dict[str, Json]:
        """What the history keeps of the last run, beside the prompt."""
        meta = {
            node_id: {
                "node_id": node_id,
                "display_node": node_id,
                "parent_node": None,
                "real_node_id": node_id,
            }
            for node_id in self._shown
        }
        status = {
            "status_str": "success" if self._success else "error",
            "completed": self._success,
            "messages": self._messages,
        }
        return {"outputs": self._shown, "status": status, "meta": meta}

    def run(self, item: Item) -> None:
        """Runs a prompt to its end.

        Raises only for prompts that also end the worker of a real server.
        """
        self._start(item)
        server, prompt, about = self.server, self._prompt, {"prompt_id": self._prompt_id}
        server.interrupted.clear()
        server.client_id = self._extra.get("client_id")
        self._tell("execution_start", about)
        self.cache.take_prompt(prompt)
        cached = [node_id for node_id in prompt if self.cache.get(node_id)]
        self._tell("execution_cached", {"nodes": cached, **about})
        plan = Plan(prompt, self._targets, self.cache)
        while plan.waiting:
            node_id = plan.pick()
            try:
                self._run_node(node_id)
            except Interrupted:
                self._success = False
                self._tell("execution_interrupted", self._place(node_id), broadcast=True)
                break
            except NodeFailed as failure:
                self._success = False
                server.log(f"!!! Exception during processing !!! {failure}")
                details = {**failure.details, "current_outputs": list(self._prompt)}
                self._tell("execution_error", {**self._place(node_id), **details})
                break
            plan.finish(node_id)
        else:
            self._tell("execution_success", about)
        server.last_node_id = None

    def _place(self, node_id: str) -> dict[str, Json]:
        return {
            "prompt_id": self._prompt_id,
            "node_id": node_id,
            "node_type": self._prompt[node_id]["class_type"],
            "executed": list(self._executed),
        }

    def _tell(self, event: str, data: dict[str, Json], broadcast: bool = False) -> None:
        """Notes a message for the history, and sends it to the client if there is one."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        self._messages.append((event, data))
        if self.server.client_id is not None or broadcast:
            self.server.send(event, data, self.server.client_id)

    def _send(self, event: str, data: dict[str, Json]) -> None:
        if self.server.client_id is not None:
            self.server.send(event, data, self.server.client_id)

    def _state(self, node_id: str, value: float, top: float, state: str) -> dict[str, Json]:
        """Sends progress_state; without a client_id everyone gets it, as from ComfyUI."""
        about = {
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        self._nodes[node_id] = {"value": value, "max": top, "state": state, **about}
        data = {"prompt_id": self._prompt_id, "nodes": dict(self._nodes)}
        self.server.send("progress_state", data, self.server.client_id)
        return about

    def _finish(self, node_id: str) -> None:
        top = self._nodes.get(node_id, {}).get("max", 1.0)
        self._state(node_id, top, top, "finished")

    def _run_node(self, node_id: str) -> None:
        told = {"node": node_id, "display_node": node_id, "prompt_id": self._prompt_id}
        result = self.cache.get(node_id)
        if result is not None:
            self._send("executed", {**told, "output": result.shown})
            if result.shown is not None:
                self._shown[node_id] = result.shown
            self._finish(node_id)
            return
        declared = NODES[self._prompt[node_id]["class_type"]]
        inputs: dict[str, Any] = {}
        try:
            self._state(node_id, 0.0, 1.0, "running")
            inputs = self._inputs(declared, self._prompt[node_id]["inputs"])
            if self.server.client_id is not None:
                self.server.last_node_id = node_id
            time.sleep(NODE_SECONDS)
            self._send("executing", told)
            result = self._result(node_id, declared, inputs)
        except Interrupted:
            raise
        except Exception as error:
            raise NodeFailed(error, inputs) from error
        self.cache.put(node_id, result)
        if result.shown is not None:
            self._shown[node_id] = result.shown
            self._send("executed", {**told, "output": result.shown})
        self._finish(node_id)
        self._executed.append(node_id)

    def _inputs(self, declared: Node, given: dict[str, Any]) -> dict[str, Any]:
        inputs = {name: given[name] for name in declared.inputs if name in given}
        for name, value in inputs.items():
            if is_link(value):
                source = self.cache.get(value[0])
                inputs[name] = source.outputs[int(value[1])] if source else None
        return inputs

    def _result(self, node_id: str, declared: Node, inputs: dict[str, Any]) -> Result:
        self.server.raise_if_interrupted()
        metadata = self.server.options.metadata
        run = Run(
            self.server.folders,
            node_id,
            self._prompt,
            self._extra,
            metadata,
            functools.partial(self._progress, node_id),
            functools.partial(self._say, node_id),
        )
        found = declared.run(run, **inputs)
        return found if isinstance(found, Result) else Result(None, found)

    def _progress(self, node_id: str, value: int, top: int, preview: Image.Image | None) -> None:
        server = self.server
        server.raise_if_interrupted()
        about = self._state(node_id, value, top, "running")
        if preview:
            server.send_preview(about, preview)
        told = {"value": value, "max": top, "prompt_id": self._prompt_id, "node": node_id}
        server.send("progress", told, server.client_id)
        if preview:
            server.send_preview({}, preview)

    def _say(self, node_id: str, text: str) -> None:
        """Sends a progress text."""
        name = node_id.encode()
        head = struct.pack(">II", 3, len(name)) + name
        self.server.send("", head + text.encode(), self.server.client_id)


# --- server --------------------------------------------------------------------------------------


@dataclass
class Options:
    """What the command line said; max_upload is in bytes."""

    max_upload: float
    caching: bool
    metadata: bool
    arguments: list[str]


def is_loopback(host: str | None) -> bool:
    """Whether a Host header names this machine."""
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses browsers that come from elsewhere, as long as Host is a loopback name."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if host and origin:
        asked = urllib.parse.urlsplit("//" + host.lower())
        came = urllib.parse.urlsplit(origin.lower())
        wanted = asked.netloc if came.port is not None else asked.hostname
        given = came.netloc if asked.port is not None else came.hostname
        if wanted and given and wanted != given and is_loopback(asked.hostname):
            return web.Response(status=403)
    return web.Response() if request.method == "OPTIONS" else await handler(request)


class Server:
    """The HTTP and WebSocket side, and the worker that runs prompts."""

    def __init__(self, folders: Folders, options: Options) -> None:
        self.folders = folders
        self.options = options
        self.queue = Queue(self._queue_changed)
        self.interrupted = threading.Event()
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self._log: list[str] = []
        self._number = 0
        self._free_memory = False
        self._uploading = threading.Lock()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._client_features: dict[str, dict[str, Json]] = {}
        self._loop: asyncio.AbstractEventLoop
        self._outbox: asyncio.Queue[tuple[str, Any, str | None]]

    # Called from the worker's thread, too.

    def log(self, text: str) -> None:
        """Adds to what /internal/logs tells."""
        entry = f"{datetime.datetime.now().isoformat()} - {text}\n"
        self._log = [*self._log[1 - MAX_LOG :], entry]

    def _queue_info(self) -> dict[str, Json]:
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}

    def _queue_changed(self) -> None:
        self.send("status", {"status": self._queue_info()}, None)

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """Hands a message to the publisher: for one client, or for all. No event: bytes."""
        self._loop.call_soon_threadsafe(self._outbox.put_nowait, (event, data, client_id))

    def send_preview(self, about: dict[str, Json], picture: Image.Image) -> None:
        """Sends a JPEG preview, with metadata to clients that asked for it and to no others."""
        features = self._client_features.get(self.client_id or "", {})
        if bool(about) != bool(features.get("supports_preview_metadata")):
            return
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=95)
        head = struct.pack(">II", 1, 1)
        if about:
            told = json.dumps({**about, "image_type": "image/jpeg"}).encode()
            head = struct.pack(">II", 4, len(told)) + told
        self.send("", head + data.getvalue(), self.client_id)

    def raise_if_interrupted(self) -> None:
        """Raises Interrupted once for each time the user asked to stop."""
        if self.interrupted.is_set():
            self.interrupted.clear()
            raise Interrupted()

    def prompt_worker(self) -> None:
        """Runs prompts for ever. An exception ends it for good, as it does in ComfyUI."""
        try:
            self._work()
        except Exception:
            # In these words Python tells it, and a log keeps it, wherever this thread has a name.
            self.log("Exception in thread Thread-2 (prompt_worker):\n" + traceback.format_exc())
            raise

    def _work(self) -> None:
        executor = Executor(self)
        while True:
            got = self.queue.get()
            if got is not None:
                task, item = got
                began = time.monotonic()
                executor.run(item)
                self.log(f"Prompt executed in {time.monotonic() - began:.2f} seconds")
                time.sleep(HISTORY_LAG_SECONDS)
                self.queue.done(task, executor.result())
                if self.client_id is not None:
                    self.send("executing", {"node": None, "prompt_id": item[1]}, self.client_id)
            if self._free_memory:
                self._free_memory = False
                executor.cache.clear()

    # Called in the event loop.

    async def _publish(self) -> None:
        """Sends messages one after another: a client that doesn't read stops them all."""
        while True:
            event, data, client_id = await self._outbox.get()
            names = list(self._sockets) if client_id is None else [client_id]
            for one in [self._sockets[name] for name in names if name in self._sockets]:
                # A client that has gone is taken off the table by its own handler.
                with contextlib.suppress(ConnectionError, RuntimeError):
                    if event:
                        await one.send_str(json.dumps({"type": event, "data": data}))
                    else:
                        await one.send_bytes(data)

    async def _start(self, app: web.Application) -> None:
        self._loop = asyncio.get_running_loop()
        self._outbox = asyncio.Queue()
        self._publisher = asyncio.create_task(self._publish())
        threading.Thread(target=self.prompt_worker, daemon=True).start()
        self.log(f"ComfyUI version: {VERSION}")
        self.log("Starting server\n")

    def app(self) -> web.Application:
        """The web application with all routes."""
        app = web.Application(
            client_max_size=cast(int, self.options.max_upload),
            middlewares=[check_origin],
        )
        # What a GET answers without looking at the request.
        plain: dict[str, Callable[[], Json]] = {
            "/system_stats": self._system_stats,
            "/features": self._features,
            "/embeddings": lambda: self.folders.model_names("embeddings"),
            "/extensions": lambda: EXTENSIONS,
            "/internal/logs": lambda: "".join(self._log),
            "/models": lambda: MODEL_FOLDERS,
            "/prompt": self._queue_info,
            "/queue": self._queue_lists,
        }
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            *(("GET", path, self._plainly(answer)) for path, answer in plain.items()),
            ("GET", "/ws", self.websocket),
            ("GET", "/models/{folder}", self.models),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{node_class}", self.object_info),
            ("GET", "/history", self.get_history),
            ("GET", "/history/{prompt_id}", self.get_history),
            ("GET", "/view", self.view),
            ("POST", "/prompt", self.post_prompt),
            ("POST", "/queue", self.post_queue),
            ("POST", "/history", self.post_history),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("POST", "/upload/image", self.upload),
            ("POST", "/upload/mask", self.upload),
        ]
        for method, path, handler in routes:
            for prefix in ("", "/api"):
                app.router.add_route(method, prefix + path, handler)
                if method == "GET":
                    app.router.add_route("HEAD", prefix + path, handler)
        app.router.add_get("/{rest:.*}", self.nothing)
        app.on_startup.append(self._start)
        return app

    def _plainly(self, answer: Callable[[], Json]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response(answer())

        return handler

    async def nothing(self, request: web.Request) -> web.Response:
        """What the static file handler of a real server says to an unknown path."""
        return web.Response(status=404, content_type="application/octet-stream")

    def _system_stats(self) -> Json:
        total, free = memory()
        device: dict[str, Json] = {"name": "cpu", "type": "cpu", "index": None}
        for kind in ("vram", "torch_vram"):
            device.update({kind + "_total": total, kind + "_free": free})
        system = {
            "os": os.name,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": VERSION,
            "required_frontend_version": "1.27.10",
            "installed_templates_version": "0.1.95",
            "required_templates_version": "0.1.95",
            "python_version": sys.version,
            "pytorch_version": f"none (comfyui_sim, Pillow {PIL.__version__})",
            "embedded_python": False,
            "argv": ["main.py", *self.options.arguments],
        }
        return {"system": system, "devices": [device]}

    def _features(self) -> dict[str, Json]:
        return {"supports_preview_metadata": True, "max_upload_size": self.options.max_upload}

    def _queue_lists(self) -> Json:
        running, pending = self.queue.current()
        return {"queue_running": running, "queue_pending": pending}

    async def models(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in MODEL_FOLDERS:
            return web.Response(status=404)
        return web.json_response(self.folders.model_names(folder))

    async def object_info(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("node_class")
        names = list(NODES) if wanted is None else [wanted] if wanted in NODES else []
        return web.json_response({name: NODES[name].info(self.folders) for name in names})

    # Prompts, queue and history. A malformed body raises, which aiohttp answers with the same
    # 500 as the real server's.

    async def post_prompt(self, request: web.Request) -> web.Response:
        self.log("got prompt")
        body = await request.json()
        number: float
        if "number" in body:
            number = float(body["number"])
        else:
            number = -self._number if "front" in body and body["front"] else self._number
            self._number += 1
        if "prompt" not in body:
            message = "No prompt provided"
            refused = problem("no_prompt", message, message)
            return web.json_response({"error": refused, "node_errors": {}}, status=400)
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        validator = Validator(self.folders, body["prompt"])
        error, outputs, node_errors = validator.run(body.get("partial_execution_targets"))
        extra = body.get("extra_data", {})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        answer = {"node_errors": node_errors}
        if error is not None:
            return web.json_response({"error": error, **answer}, status=400)
        self.queue.put((number, prompt_id, body["prompt"], extra, outputs))
        return web.json_response({"prompt_id": prompt_id, "number": number, **answer})

    async def post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self.queue.clear()
        for prompt_id in body.get("delete", ()):
            self.queue.delete(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            body = {}
        prompt_id = body.get("prompt_id")
        running, _ = self.queue.current()
        if not prompt_id or any(item[1] == prompt_id for item in running):
            self.interrupted.set()
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("free_memory"):
            self._free_memory = True
            self.queue.wake()
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        limit = request.query.get("max_items")
        found = self.queue.history(
            request.match_info.get("prompt_id"),
            None if limit is None else int(limit),
            int(request.query.get("offset", -1)),
        )
        return web.json_response(found)

    async def post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self.queue.forget(None)
        for prompt_id in body.get("delete", ()):
            self.queue.forget(prompt_id)
        return web.Response()

    # Files.

    async def view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "filename" not in query:
            return web.Response(status=404)
        name, folder = self.folders.split_annotation(query["filename"])
        folder = folder or self.folders.by_type.get(query.get("type", "output"))
        if not name or name[0] == "/" or ".." in name or folder is None:
            return web.Response(status=400)
        below = os.path.join(folder, query.get("subfolder", ""))
        if not is_inside(os.path.abspath(below), folder):
            return web.Response(status=403)
        name = os.path.basename(name)
        path = os.path.join(below, name)
        if not os.path.isfile(path):
            return web.Response(status=404)
        headers = {"Content-Disposition": f'filename="{name}"'}
        if "preview" in query or query.get("channel") in ("rgb", "a"):
            job = functools.partial(converted, path, dict(query))
            kind, data = await asyncio.get_running_loop().run_in_executor(None, job)
            return web.Response(body=data, content_type=kind, headers=headers)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        if kind in ("text/html", "application/xhtml+xml", "text/javascript", "text/css"):
            kind = "application/octet-stream"
        return web.FileResponse(path, headers={**headers, "Content-Type": kind})

    async def upload(self, request: web.Request) -> web.Response:
        with contextlib.ExitStack() as cleanup:
            folder = self.folders.by_type["temp"]
            form = await read_form(request, self.options.max_upload, folder, cleanup)
            job = functools.partial(self._take_upload, form, request.path.endswith("mask"))
            return await asyncio.get_running_loop().run_in_executor(None, job)

    def _take_upload(self, form: dict[str, Any], is_mask: bool) -> web.Response:
        image = form.get("image")
        kind = form.get("type", "input")
        # An unknown type raises, and so does an image that is no file: the real server's 500s.
        top = self.folders.by_type[kind]
        if not image or not image.name:
            return web.Response(status=400)
        name, subfolder = image.name, form.get("subfolder", "")
        folder = os.path.join(top, os.path.normpath(subfolder))
        path = os.path.abspath(os.path.join(folder, name))
        if not is_inside(path, top):
            return web.Response(status=400)
        os.makedirs(folder, exist_ok=True)
        stem, extension = os.path.splitext(name)
        overwrite = form.get("overwrite") in ("true", "1")
        number = 0
        # One at a time: uploads of one name must see each other's files.
        with self._uploading:
            while os.path.exists(path) and not overwrite:
                if filecmp.cmp(path, image.path, shallow=False):
                    break
                number += 1
                name = f"{stem} ({number}){extension}"
                path = os.path.join(folder, name)
            else:
                if is_mask:
                    self._save_mask(image.path, form, path)
                else:
                    shutil.move(image.path, path)
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    def _save_mask(self, mask_path: str, form: dict[str, Any], path: str) -> None:
        """Puts an uploaded mask's alpha channel into a copy of the picture it was made for."""
        from PIL import Image

        reference = json.loads(form["original_ref"])
        name, top = self.folders.split_annotation(reference["filename"])
        top = top or self.folders.by_type[reference.get("type", "output")]
        original = os.path.join(top, reference.get("subfolder", ""), os.path.basename(name))
        if not is_inside(os.path.abspath(original), top) or not os.path.isfile(original):
            # The real server answers with a name here, and writes no file.
            return
        with Image.open(original) as picture, Image.open(mask_path) as mask:
            whole = picture.convert("RGBA")
            whole.putalpha(mask.convert("RGBA").getchannel("A").resize(whole.size))
            whole.save(path, "PNG", compress_level=4)

    # WebSocket.

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        one = web.WebSocketResponse()
        await one.prepare(request)
        sid = request.query.get("clientId", "") or uuid.uuid4().hex

        async def tell(event: str, data: Json) -> None:
            await one.send_str(json.dumps({"type": event, "data": data}))

        self._sockets[sid] = one
        self._client_features[sid] = {}
        try:
            await tell("status", {"status": self._queue_info(), "sid": sid})
            if self.client_id == sid and self.last_node_id is not None:
                # Who comes back in the middle of a run is told the node, and nothing else.
                await tell("executing", {"node": self.last_node_id})
            first = True
            async for message in one:
                with contextlib.suppress(ValueError, AttributeError):
                    body = json.loads(message.data)
                    if first and body.get("type") == "feature_flags":
                        self._client_features[sid] = body.get("data", {})
                        await tell("feature_flags", self._features())
                    first = False
        finally:
            # By name: when a client came back before its old socket was closed, the new one is
            # dropped here and hears nothing more. That is what ComfyUI does.
            self._sockets.pop(sid, None)
            self._client_features.pop(sid, None)
        return one


@dataclass
class Upload:
    """A file of a form: the name that the client gave, and where it lies."""

    name: str
    path: str


class FormReader:
    """Reads a multipart body up to one marker after another, in constant memory."""

    def __init__(self, stream: Any, limit: float) -> None:
        self._stream = stream
        self._limit = limit
        # A line end in front makes the first delimiter like the others.
        self.data = b"\r\n"
        self.size = 0

    async def fill(self, count: int) -> None:
        """Makes data at least that long; raises ValueError when the body ends before."""
        while len(self.data) < count:
            more = await self._stream.readany()
            if not more:
                raise ValueError("the form ends early")
            self.data += more

    async def read_until(self, marker: bytes, write: Callable[[memoryview], Any]) -> None:
        """Writes what stands in front of the marker, and takes that and the marker away.

        Raises HTTPRequestEntityTooLarge when all that was written exceeds the limit.
        """
        while True:
            at = self.data.find(marker)
            end = at if at >= 0 else max(0, len(self.data) - len(marker) + 1)
            self.size += end
            if self.size > self._limit:
                message = f"Maximum request body size {self._limit} exceeded."
                raise web.HTTPRequestEntityTooLarge(int(self._limit), self.size, text=message)
            write(memoryview(self.data)[:end])
            if at >= 0:
                self.data = self.data[at + len(marker) :]
                return
            self.data = self.data[end:]
            await self.fill(len(self.data) + 1)


async def read_form(
    request: web.Request, limit: float, folder: str, cleanup: contextlib.ExitStack
) -> dict[str, Any]:
    """Reads a form: fields as text, files as Upload, kept in folder until cleanup is closed.

    limit is in bytes. aiohttp's own request.post() takes twice as long for large files.
    """
    if not request.content_type.startswith("multipart/"):
        return dict(await request.post())
    header = email.message.Message()
    header["Content-Type"] = request.headers["Content-Type"]
    delimiter = b"\r\n--" + str(header.get_param("boundary")).encode()
    reader = FormReader(request.content, limit)
    await reader.read_until(delimiter, bytearray().extend)
    form: dict[str, Any] = {}
    while True:
        await reader.fill(2)
        if reader.data.startswith(b"--"):
            return form
        head = bytearray()
        await reader.read_until(b"\r\n\r\n", head.extend)
        reader.size -= len(head)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        disposition = {name.lower(): value for name, value in fields.items()}["content-disposition"]
        _, parameters = parse_content_disposition(disposition)
        name = content_disposition_filename(parameters, "filename")
        if name:
            path = os.path.join(folder, f".upload-{uuid.uuid4().hex}")
            cleanup.callback(remove_if_there, path)
            with open(path, "wb") as file:
                await reader.read_until(delimiter, file.write)
            form[parameters["name"]] = Upload(name, path)
        else:
            value = bytearray()
            await reader.read_until(delimiter, value.extend)
            form[parameters["name"]] = value.decode()


def remove_if_there(path: str) -> None:
    """Removes a file that may have been moved away."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def memory() -> tuple[int, int]:
    """Bytes of memory in this machine, and how many are free."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    try:
        return total, page * os.sysconf("SC_AVPHYS_PAGES")
    except ValueError:
        # macOS doesn't tell this way.
        return total, total // 2


def converted(path: str, query: Mapping[str, str]) -> tuple[str, bytes]:
    """A picture in another form, as /view?preview=webp;50 or channel=rgb or channel=a asks."""
    from PIL import Image

    channel = query.get("channel", "")
    kind, options = "png", {}
    with Image.open(path) as file:
        picture: Image.Image = file
        if "preview" in query:
            kind, *rest = query["preview"].split(";")
            if kind not in ("webp", "jpeg") or "a" in channel:
                kind = "webp"
            options["quality"] = int(rest[-1]) if rest and rest[-1].isdigit() else 90
        if channel == "rgb" or kind == "jpeg":
            picture = picture.convert("RGB")
        elif channel == "a" and kind == "png":
            picture = Image.new("RGBA", file.size)
            picture.putalpha(file.convert("RGBA").getchannel("A"))
        data = io.BytesIO()
        picture.save(data, kind, **options)
    return "image/" + kind, data.getvalue()


# --- command line --------------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the arguments that aren't known."""
    parser = argparse.ArgumentParser(
        prog="comfyui_sim.py",
        description=f"A stand-in for a ComfyUI {VERSION} server that needs no GPU and no model.",
        epilog="Other flags of ComfyUI's main.py are ignored with a note.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--listen", default="127.0.0.1", metavar="IP", help="address (default: %(default)s)")
    add("--port", type=int, default=8188, help="port, 0 for any (default: %(default)s)")
    add("--base-directory", default=".", metavar="DIR", help="where input output temp models are")
    add("--input-directory", metavar="DIR", help="in place of input in the base directory")
    add("--output-directory", metavar="DIR", help="in place of output in the base directory")
    add("--temp-directory", metavar="DIR", help="the folder in which temp is made")
    add("--max-upload-size", type=float, metavar="MB", help="for any request (default: 100)")
    add("--cache-none", action="store_true", help="run every node of every prompt")
    add("--disable-metadata", action="store_true", help="don't save prompts in files")
    return parser.parse_known_args(arguments)


async def serve(server: Server, host: str, port: int) -> int:
    """Serves until SIGINT or SIGTERM comes; returns the signal's number.

    Raises OSError when the address can't be had.
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.put_nowait, number)
    runner = web.AppRunner(server.app(), access_log=None, read_bufsize=1 << 20)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    address = f"http://{host}:{runner.addresses[0][1]}"
    print(f"comfyui_sim: ready at {address}, files in {server.folders.base}", flush=True)
    # Nothing is closed: a ComfyUI that is stopped leaves its sockets without a close frame, too.
    return await stopped.get()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    found, ignored = parse_arguments(given)
    if ignored:
        print("comfyui_sim: note: ignored: " + " ".join(ignored), file=sys.stderr)
    limit = found.max_upload_size
    options = Options(
        # As on the wire of a real server: a whole number unless the flag is given.
        max_upload=100 << 20 if limit is None else limit * (1 << 20),
        caching=not found.cache_none,
        metadata=not found.disable_metadata,
        arguments=given,
    )
    temp = found.temp_directory
    folders = Folders(
        found.base_directory,
        input=found.input_directory,
        output=found.output_directory,
        temp=os.path.join(temp, "temp") if temp else None,
    )
    try:
        folders.prepare()
        number = asyncio.run(serve(Server(folders, options), found.listen, found.port))
    except OSError as error:
        print(f"comfyui_sim: can't start: {error}", file=sys.stderr)
        return 1
    if number == signal.SIGINT:
        folders.clean_temp()
    return 0


if __name__ == "__main__":
    sys.exit(main())
