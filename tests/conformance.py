#!/usr/bin/env python3
"""Holds a server against recorded requests and answers of a real ComfyUI.

For each recording it brings the server into the state that the recording presupposes (uploads the
files that it names, runs or queues the prompts that its answer speaks of), sends the recorded
request, and compares status, headers and the shape of the body: keys, types, and the values that
don't depend on time, machine or history. What is prepared follows from the recorded request and
answer; the few that need more are in PREPARATIONS.

The recordings are JSON files in the folder AUTOPOD_RECORDINGS. The server is COMFYUI_URL, or else
the simulator, started on a free port with a directory of its own for as long as this runs.

It prints how many of how many agree, those that don't with the first reason, and how many were not
replayed and why. Exit status: 0 when at least --min of them agree, 1 when fewer do, 2 when there
is nothing to replay.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import glob
import http.client
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

Json = Any
RECORDED_HOST = "127.0.0.1:8199"
# The recording session marked the names of its uploads with this; so each replay can have its own.
RECORDED_TAG = "6903ff"

# Where the simulator differs on purpose, by name. These are replayed and count as not agreeing.
NO_MODELS = "the recorded server had no models; the simulator pretends to have some"
DELIBERATE = {
    "get_object_info$": "the simulator has the nodes that it can run, not all 392",
    "get_models_checkpoints": NO_MODELS,
    "get_object_info_CheckpointLoaderSimple": NO_MODELS,
    "prompt_err_ckpt_not_in_list": NO_MODELS,
    "media_loadimage_traversal": "it never reads files outside of its folders (CVE-2026-56673)",
    "media_audio_(mp3|opus)": "no MP3 or Opus encoder",
    "media_(webm|animatedpng)": "MP4 and animated WEBP are the only films",
    "media_loadvideo_": "no video decoder",
    "media_maskpreview": "no nodes for masks",
    "media_savelatent": "latents are stand-ins that nothing else could load",
    "ws_execution_blocker_": "no node blocks the execution",
    "ws_subgraph_expansion": "no node expands into a graph",
    "ws_ischanged_raises": "no node's change marker raises",
    "flags_cors_": "no --enable-cors-header: nothing of autopod runs in a browser",
    "get_internal_logs": "a log tells of its own server",
}

# What can't be replayed, and why. These don't count.
NO_EXCHANGE = "not one request with its answer, and not one prompt"
SKIPPED = {
    "bench_|interrupt_right_after_post|ws_slow_reader|ws_edge_cases|lifecycle": NO_EXCHANGE,
    "png_metadata|object_info.noapi.full|upload_parallel": NO_EXCHANGE,
    "view_cached_output_deleted|cached_output_file_deleted": "someone must delete a server's file",
    "multiuser_|get_internal_f": "a route that autopod doesn't use",
    "get_(settings|users|userdata|i18n|workflow_templates)": "a route that autopod doesn't use",
}

# Flags of the server that made these. They are replayed on a simulator with the same ones.
FLAGS = {
    "flags_(upload|features)": ["--max-upload-size", "300"],
    "flags_cache_none": ["--cache-none"],
    "flags_cors_": ["--enable-cors-header"],
}

# Values that depend on the time, the machine or what ran before: only their type is compared.
VOLATILE = {
    *("timestamp", "sid", "ram_total", "ram_free", "vram_total", "vram_free", "torch_vram_total"),
    *("torch_vram_free", "python_version", "pytorch_version", "argv", "traceback"),
    *("current_inputs", "tooltip", "description", "output_tooltips"),
}
# Lists whose members come in any order (a real server makes them from sets).
UNORDERED = {"executed", "current_outputs", "nodes", "errors", "dependent_outputs"}


# --- talking to a server -------------------------------------------------------------------------


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Json:
        return json.loads(self.body)


class Client:
    """Requests to one server."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.netloc = f"{self.host}:{self.port}"

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | Iterator[bytes] = b"",
    ) -> Answer:
        """Sends one request; headers are all there are, but for Host and Content-Length."""
        given = dict(headers or {})
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given.setdefault("Host", self.netloc)
            if isinstance(body, bytes) and (body or method == "POST"):
                given.setdefault("Content-Length", str(len(body)))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders()
            chunks = [body] if isinstance(body, bytes) else body
            # A server may answer, and close, before it has read everything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for chunk in chunks:
                    if chunk:
                        connection.send(chunk)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Json:
        return self.send("GET", path).json()

    def post(self, path: str, body: Json) -> Answer:
        return self.send("POST", path, {}, json.dumps(body).encode())

    def upload(self, name: str, data: bytes, subfolder: str = "", kind: str = "input") -> None:
        """Uploads a file, over one that is there."""
        fields = {"overwrite": "true", "subfolder": subfolder, "type": kind}
        self.send("POST", "/upload/image", *form(fields, name, data))

    def wait_idle(self, seconds: float = 20.0) -> None:
        """Waits until nothing runs and nothing is queued."""
        self.wait(lambda: not self.get("/prompt")["exec_info"]["queue_remaining"], seconds)

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> None:
        """Waits for a condition; gives up silently: what is compared then tells."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.005)

    def settle(self) -> None:
        """Ends all prompts and forgets what they left in memory."""
        self.post("/queue", {"clear": True})
        end = time.monotonic() + 20
        while self.get("/prompt")["exec_info"]["queue_remaining"] and time.monotonic() < end:
            self.post("/interrupt", {})
            time.sleep(0.01)
        self.post("/history", {"clear": True})
        self.post("/free", {"free_memory": True})
        # Done by the worker when it gets to it, and not before a prompt that comes too soon.
        time.sleep(0.01)


def form(fields: dict[str, str], name: str, data: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an upload."""
    boundary = uuid.uuid4().hex
    body = io.BytesIO()
    for field_name, value in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field_name}"\r\n\r\n'
        body.write(head.encode() + value.encode() + b"\r\n")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{quoted}"\r\n'
    body.write(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n")
    body.write(data + f"\r\n--{boundary}--\r\n".encode())
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body.getvalue()


def png(width: int = 16, height: int = 16, shade: int = 128) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = (b"\0" + bytes([shade]) * (3 * width)) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def wav() -> bytes:
    """A tenth of a second of silence."""
    data = bytes(1600)
    head = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + head
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def sample_file(name: str) -> bytes:
    """Content that suits a file's name; nonsense where the session had uploaded nonsense."""
    if name.startswith("z_"):
        return b""
    extension = os.path.splitext(name)[1]
    if extension == ".wav":
        return wav()
    if extension in (".txt", ".html"):
        return b"hello"
    if extension == ".mp4":
        return struct.pack(">I4s4sI", 24, b"ftyp", b"mp42", 0) + b"mp42isom"
    return png()


# --- comparing -----------------------------------------------------------------------------------


def kind_of(value: Json) -> str:
    """A JSON type; whole numbers and fractions are one."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {dict: "object", list: "list", str: "string", type(None): "null"}[type(value)]


def normal(value: str) -> str:
    """A string without what differs from server to server: counters, paths, random names."""
    value = re.sub(r"_\d{5}_?\.", "_00001_.", value)
    value = re.sub(r"ComfyUI_temp_[a-z]{5}", "ComfyUI_temp_xxxxx", value)
    value = re.sub(r"(?<!\d)20\d\d-\d\d-\d\d(?!\d)", "2000-01-01", value)  # also before a counter
    # Of an absolute path only the name of a file is what the request spoke of.
    return re.sub(r"(?<![^\s'])/[^\s']*?([^\s'/]+\.\w+)?(?=[\s']|$)", r"/.../\1", value)


def differ(want: Json, got: Json, path: str = "") -> str:
    """Why two JSON values differ, or nothing."""
    if kind_of(want) != kind_of(got):
        return f"{path or 'body'} is {kind_of(got)}, not {kind_of(want)}"
    last = path.rpartition(".")[2]
    if last in VOLATILE:
        return ""
    if isinstance(want, dict):
        if set(want) != set(got):
            missing, extra = sorted(set(want) - set(got)), sorted(set(got) - set(want))
            return f"{path or 'body'}: missing keys {missing}, other keys {extra}"
        return next(filter(None, (differ(want[k], got[k], f"{path}.{k}") for k in want)), "")
    if isinstance(want, list):
        if len(want) != len(got):
            return f"{path or 'body'}: {len(got)} members, not {len(want)}"
        if last in UNORDERED or path.endswith("prompt[4]"):
            want, got = (
                sorted(one, key=lambda x: json.dumps(x, sort_keys=True)) for one in (want, got)
            )
        pairs = enumerate(zip(want, got))
        return next(filter(None, (differ(a, b, f"{path}[{i}]") for i, (a, b) in pairs)), "")
    if isinstance(want, str):
        want, got = normal(want), normal(got)
    return "" if want == got else f"{path or 'body'} is {got!r:.120}, not {want!r:.120}"


def differ_headers(recording: Json, answer: Answer, exact_length: bool) -> str:
    """Compares status and the headers that a client relies on."""
    if answer.status != recording["status"]:
        return f"status is {answer.status}, not {recording['status']}"
    want = {name.lower(): value for name, value in recording["headers"].items()}
    got = {name.lower(): value for name, value in answer.headers.items()}
    # An empty answer has no type that matters: aiohttp's versions differ in sending one.
    compared = ["content-disposition", "accept-ranges", "content-range"]
    if recording["body"].get("size") or "content-type" in want:
        compared.append("content-type")
    if exact_length:
        compared.append("content-length")
    for name in compared:
        if (want.get(name) or "") != (got.get(name) or ""):
            return f"header {name} is {got.get(name)!r}, not {want.get(name)!r}"
    if ("etag" in want) != ("etag" in got):
        return "only one answer has an ETag"
    return ""


# --- one recording -------------------------------------------------------------------------------


class NotReplayed(Exception):
    """This recording can't be replayed; says why."""


class Differs(Exception):
    """The server differs in a way that ends the replay; says how."""


@dataclass
class Replay:
    """A recording on its way: its content with names of its own, and the server to hold it to."""

    name: str
    data: Json
    client: Client
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    def __post_init__(self) -> None:
        text = json.dumps(self.data, ensure_ascii=False).replace(RECORDED_TAG, self.tag)
        self.data = json.loads(text.replace(RECORDED_HOST, self.client.netloc))

    # Preparing.

    def upload_named(self, prompt: Json) -> None:
        """Uploads the files that a prompt's load nodes name."""
        for node in prompt.values() if isinstance(prompt, dict) else ():
            inputs = node.get("inputs") if isinstance(node, dict) else None
            if not isinstance(inputs, dict) or "Load" not in str(node.get("class_type")):
                continue
            for value in inputs.values():
                if isinstance(value, str) and value and "." not in value and self.tag not in value:
                    self.client.upload("any.png", png(), value)
                elif isinstance(value, str):
                    self.upload_one(value)

    def upload_one(self, name: str) -> None:
        """Uploads a file that the session had: one with its tag in the name."""
        kind = "input"
        found = re.fullmatch(r"(.*) \[(input|output|temp)\]", name)
        if found:
            name, kind = found.groups()
        if self.tag in name and ".." not in name:
            subfolder, _, base = name.rpartition("/")
            self.client.upload(base, sample_file(base), subfolder, kind)

    def post_item(self, item: Json, all_outputs: bool = True) -> str:
        """Queues a prompt as an item of /queue or the history shows it; returns its id."""
        number, prompt_id, prompt, extra, outputs = item
        self.upload_named(prompt)
        body = {"prompt": prompt, "prompt_id": prompt_id, "extra_data": extra, "number": number}
        if not all_outputs:
            body["partial_execution_targets"] = outputs
        self.client.post("/prompt", body)
        return str(prompt_id)

    def warm(self, prompt: Json, nodes: list[str]) -> None:
        """Runs the given nodes of a prompt, so that they are cached."""
        if not nodes:
            return
        part = {node: copy.deepcopy(prompt[node]) for node in nodes}
        for node in nodes:
            # A node runs only when an output node, such as PreviewAny, depends on it.
            kind = prompt[node]["class_type"]
            if self.client.get(f"/object_info/{kind}").get(kind, {}).get("output"):
                part["show " + node] = {"class_type": "PreviewAny", "inputs": {"source": [node, 0]}}
        # With a client of its own, whose messages go nowhere: else all would get some of them.
        self.client.post("/prompt", {"prompt": part, "client_id": "nobody"})
        self.client.wait_idle()

    def run_entry(self, entry: Json) -> None:
        """Runs the prompt of a history entry, interrupting it if it was, cached if it was."""
        messages = dict(entry["status"]["messages"])
        self.warm(entry["prompt"][2], messages.get("execution_cached", {}).get("nodes"))
        prompt_id = self.post_item(entry["prompt"], all_outputs=False)
        if "execution_interrupted" in messages:
            self.client.wait(lambda: self.client.get("/queue")["queue_running"])
            time.sleep(0.1)
            self.client.post("/interrupt", {"prompt_id": prompt_id})
        self.client.wait_idle()

    def view_file(self) -> None:
        """Puts the file there that a /view answered with."""
        request, response = self.data["request"], self.data["response"]
        if response["status"] in (400, 403, 404, 405):
            return
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request["url"]).query))
        name, kind = query["filename"], query.get("type", "output")
        found = re.fullmatch(r"(.*) \[(input|output|temp)\]", name)
        if found:
            name, kind = found.groups()
        headers, body = response["headers"], response["body"]
        total = headers.get("Content-Range", "/0").rpartition("/")[2]
        size = int(total) or int(headers.get("Content-Length") or 0)
        if body.get("text") and response["status"] == 200:
            data = body["text"].encode()
        else:
            data = sample_file(name)
            if not self.converted():
                data = data[:size] + bytes(max(0, size - len(data)))
        self.client.upload(name, data, query.get("subfolder", ""), kind)

    def converted(self) -> bool:
        """Whether a /view asked for another form of the file."""
        return bool(re.search(r"[?&](preview|channel)=", self.data["request"]["url"]))

    def prepare_upload(self, form_text: str) -> None:
        """Makes the names taken that the answer shows were taken."""
        for reference in re.findall(r'\r\n(\{"filename".*\})\r\n', form_text):
            self.upload_one(json.loads(reference)["filename"])
        answered = self.data["response"]["body"].get("json") or {}
        taken = re.fullmatch(r"(.*) \((\d+)\)(\.\w+)?", answered.get("name", ""))
        count, name = 0, answered.get("name", "")
        if taken:
            name, count = taken.group(1) + (taken.group(3) or ""), int(taken.group(2))
        elif 'name="overwrite"' in form_text:
            count = 1
        for number in range(count):
            headers, body = form({}, name, png(shade=number))
            self.client.send("POST", "/upload/image", headers, body)

    def prepare(self) -> None:
        """Brings the server into the state that the recording presupposes."""
        request, response = self.data["request"], self.data["response"]
        path = urllib.parse.urlsplit(request["url"]).path
        answered = response["body"].get("json")
        for pattern, preparation in PREPARATIONS.items():
            if re.search(pattern, self.name):
                preparation(self)
        if path == "/view":
            self.view_file()
        elif path.startswith("/upload/") and isinstance(request["body"], str):
            self.prepare_upload(request["body"])
        elif path == "/prompt" and isinstance(request["body"], dict):
            self.upload_named(request["body"].get("prompt"))
        elif path.startswith("/object_info/") and isinstance(answered, dict):
            for name in re.findall(rf'"([^"]*{self.tag}[^"]*)"', json.dumps(answered)):
                self.upload_one(name)
        elif path.startswith("/history") and isinstance(answered, dict):
            decoy = self.decoy()
            if "offset" not in request["url"] and "max_items" in request["url"]:
                self.run_entry(decoy)
            for entry in answered.values():
                self.run_entry(entry)
            if "offset" in request["url"]:
                self.run_entry(decoy)
        elif isinstance(answered, dict) and "queue_running" in answered:
            for item in answered["queue_running"]:
                self.post_item(item)
                self.client.wait(lambda: self.client.get("/queue")["queue_running"])
            for item in answered.get("queue_pending", ()):
                self.post_item(item)
        elif isinstance(answered, dict) and answered.get("exec_info", {}).get("queue_remaining"):
            for _ in range(answered["exec_info"]["queue_remaining"]):
                self.post_item(self.sleeper())

    def decoy(self) -> Json:
        """The history entry of some short prompt."""
        prompt = {"1": {"class_type": "LabText", "inputs": {"text": self.tag}}}
        return {"prompt": [0, str(uuid.uuid4()), prompt, {}, ["1"]], "status": {"messages": []}}

    def sleeper(self, prompt_id: str = "", number: float = 0) -> Json:
        """A prompt that takes as long as it is let."""
        noise = {"width": 8, "height": 8, "batch_size": 1, "seed": int(self.tag, 16)}
        sleep = {"image": ["1", 0], "seconds": 60.0, "steps": 6000}
        prompt = {
            "1": {"class_type": "LabNoise", "inputs": noise},
            "2": {"class_type": "LabSleep", "inputs": sleep},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        }
        return [number, prompt_id or str(uuid.uuid4()), prompt, {}, ["3"]]

    # Replaying.

    def request_body(self, request: Json) -> tuple[dict[str, str], bytes | Iterator[bytes]]:
        """Headers and body to send: the recorded ones, or made anew where they weren't kept."""
        dropped = ("Content-Length", "User-Agent", "Connection")
        headers = {name: value for name, value in request["headers"].items() if name not in dropped}
        body = request["body"]
        if body is None:
            return headers, b""
        if isinstance(body, str) and body == "<stream>":
            answered = self.data["response"]["body"]["json"]["name"]
            own, data = form({}, answered, png())
            chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
            return {**headers, **own}, iter([chunked])
        if isinstance(body, str):
            return headers, body.encode("latin-1" if "multipart" in str(headers) else "utf-8")
        if isinstance(body, dict) and set(body) == {"size", "head"}:
            # A large body, of which the beginning was kept: the rest was zeros (files) or text.
            head = body["head"].encode("latin-1", "replace")
            tail = b'"}'
            if "multipart" in headers.get("Content-Type", ""):
                tail = (
                    b"\r\n--"
                    + headers["Content-Type"].partition("boundary=")[2].encode()
                    + b"--\r\n"
                )
            rest = body["size"] - len(head) - len(tail)
            headers["Content-Length"] = str(body["size"])
            filler = (b"a" if tail == b'"}' else b"\0") * (1 << 20)
            sizes = [len(filler)] * (rest >> 20) + [rest & 0xFFFFF]
            return headers, iter([head, *(filler[:size] for size in sizes), tail])
        return headers, json.dumps(body).encode()

    def run_http(self) -> str:
        """Replays one request; says why the answer differs, or nothing."""
        request, response = self.data["request"], self.data["response"]
        self.prepare()
        parts = urllib.parse.urlsplit(request["url"])
        path = parts.path + ("?" + parts.query if parts.query else "")
        headers, body = self.request_body(request)
        for name, source in (("If-None-Match", "Etag"), ("If-Modified-Since", "Last-Modified")):
            if name in headers:
                headers[name] = self.client.send("HEAD", path).headers[source]
        answer = self.client.send(request["method"], path, headers, body)
        exact = parts.path == "/view" and not self.converted()
        reason = differ_headers(response, answer, exact)
        if reason:
            return reason
        recorded = response["body"]
        if "json" in recorded:
            return differ(*self.comparable(request, recorded["json"], answer.json()))
        if "excerpt" in recorded:
            start = recorded["excerpt"].encode()[: recorded["size"] // 2]
            return "" if answer.body.startswith(start[:1000]) else "the body starts in another way"
        if "text" in recorded and recorded["text"].encode() != answer.body:
            return f"body is {answer.body[:80]!r}, not {recorded['text'][:80]!r}"
        if recorded.get("size") and not answer.body:
            return "the body is empty"
        return ""

    def comparable(self, request: Json, want: Json, got: Json) -> tuple[Json, Json]:
        """Takes out of an answer what the server was free to choose."""
        path = urllib.parse.urlsplit(request["url"]).path
        if path == "/prompt" and isinstance(want, dict) and "number" in want:
            given = request["body"] if isinstance(request["body"], dict) else {}
            if "prompt_id" not in given:
                uuid.UUID(got.get("prompt_id", ""))
                want["prompt_id"] = got["prompt_id"]
            if "number" not in given and (want["number"] < 0) == (got.get("number", 0) < 0):
                want["number"] = got["number"]
        if path in ("/extensions", "/object_info/LoadImage") and "before" not in self.name:
            # The files there are: some of the right form.
            def shapes(value: Json) -> Json:
                if isinstance(value, list) and len(value) > 1 and isinstance(value[0], str):
                    return ["..."] if "." in value[0] else value
                if isinstance(value, list):
                    return [shapes(one) for one in value]
                return (
                    {k: shapes(v) for k, v in value.items()} if isinstance(value, dict) else value
                )

            return shapes(want), shapes(got)
        if path.startswith("/history") and isinstance(want, dict):
            for one in (*want.values(), *(got.values() if isinstance(got, dict) else ())):
                comparable_entry(one)
        return want, got

    def run_prompt(self, prompt: Json, client_id: str, recorded: Json) -> Json:
        """Runs a prompt and returns its history entry."""
        body = {"prompt": copy.deepcopy(prompt), "client_id": client_id}
        if not recorded["prompt"][3]:
            del body["client_id"]
        answered = self.client.post("/prompt", body).json()
        prompt_id = answered.get("prompt_id")
        if prompt_id is None:
            raise Differs(f"the prompt is refused: {json.dumps(answered)[:160]}")
        self.client.wait(lambda: self.client.get(f"/history/{prompt_id}"))
        entry = self.client.get(f"/history/{prompt_id}").get(prompt_id, {})
        return json.loads(json.dumps(entry).replace(str(prompt_id), recorded["prompt"][1]))

    def differ_entries(self, want: Json, got: Json) -> str:
        """Compares two history entries."""
        return differ(comparable_entry(copy.deepcopy(want)), comparable_entry(got))

    def run_media(self) -> str:
        """Runs a prompt; compares the history and what /view tells of each file."""
        prompt, recorded = self.data["prompt"], self.data["history"]
        self.upload_named(prompt)
        if self.data["post"].get("prompt_id") is None:
            raise NotReplayed("the prompt was refused")
        self.warm(prompt, execution(recorded, "execution_cached").get("nodes"))
        entry = self.run_prompt(prompt, "media", recorded)
        reason = self.differ_entries(recorded, entry)
        if reason:
            return reason
        for view in self.data.get("views") or []:
            found = entry["outputs"][view["node"]][view["key"]]
            same = [
                one for one in found if normal(one["filename"]) == normal(view["item"]["filename"])
            ]
            answer = self.client.send("GET", "/view?" + urllib.parse.urlencode(same[0]))
            if answer.status != view["view_status"]:
                return f"/view: status is {answer.status}"
            if answer.headers.get("Content-Type") != view["view_headers"]["Content-Type"]:
                return f"/view: type is {answer.headers.get('Content-Type')}"
            # What kind of file it is stands in the first bytes; sizes depend on the picture.
            if answer.body[:4].hex() != view["magic"][:8] and b"ftyp" not in answer.body[:8]:
                return f"/view: the file starts with {answer.body[:8].hex()}"
        return ""

    def run_entries(self) -> str:
        """Runs recorded prompts one after another and compares their history entries."""
        entries = [self.data[key] for key in ("first", "second", "history") if key in self.data]
        for recorded in entries:
            prompt = self.data.get("sent") or recorded["prompt"][2]
            if len(entries) == 1:
                self.warm(prompt, execution(recorded, "execution_cached").get("nodes"))
            reason = self.differ_entries(recorded, self.run_prompt(prompt, "c", recorded))
            if reason:
                return reason
        return ""

    def run_socket(self) -> str:
        """Runs a prompt with a WebSocket open; compares the messages, but for "status"."""
        try:
            import websocket
        except ImportError:
            raise NotReplayed("websocket-client is not installed") from None
        client_id = uuid.uuid4().hex
        socket_ = websocket.create_connection(
            f"ws://{self.client.netloc}/ws?clientId={client_id}", timeout=20
        )
        try:
            return self._run_socket(socket_, client_id)
        finally:
            socket_.close()

    def _run_socket(self, socket_: Any, client_id: str) -> str:
        recorded = [message for message in self.data["messages"] if not is_status(message)]
        kinds = [kind_of_message(message) for message in recorded]
        body = copy.deepcopy((self.data.get("prompt_post") or {}).get("body") or {})
        body.setdefault("prompt", self.data.get("prompt"))
        if "prompt_post" not in self.data or body.get("client_id"):
            body["client_id"] = client_id
        socket_.recv()
        if "feature_flags" in kinds:
            flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            socket_.send(json.dumps(flags))
        for message in recorded:
            if kind_of_message(message) == "execution_cached":
                self.warm(body["prompt"], message["json"]["data"]["nodes"])
        answered = self.client.post("/prompt", body).json()
        prompt_id = answered.get("prompt_id")
        if prompt_id is None:
            raise Differs(f"the prompt is refused: {json.dumps(answered)[:160]}")
        stop = self.interrupted_after(recorded, kinds)
        for count, want in enumerate(recorded, 1):
            got = self.next_message(socket_)
            reason = differ_messages(want, got, prompt_id)
            if reason:
                return f"message {count} ({kind_of_message(want)}): {reason}"
            if count == stop:
                # The message may be here before the node that it announces has begun.
                time.sleep(0.05)
                self.client.post("/interrupt", {"prompt_id": prompt_id})
        entry = (self.data.get("history_after") or {}).values()
        self.client.wait_idle()
        found = self.client.get(f"/history/{prompt_id}").get(prompt_id)
        for want in entry:
            text = json.dumps(found).replace(prompt_id, want["prompt"][1])
            client = want["prompt"][3].get("client_id")
            reason = self.differ_entries(want, json.loads(text.replace(client_id, str(client))))
            if reason:
                return "history: " + reason
        return ""

    def interrupted_after(self, recorded: list[Json], kinds: list[str]) -> int:
        """How many messages came before the interrupt was sent; 0 when none was.

        It took effect when the node came to its next step: some time after the message before.
        """
        if "execution_interrupted" not in kinds:
            return 0
        stop = kinds.index("execution_interrupted")
        end = recorded[stop]["t_ms"]
        while end - recorded[stop - 1]["t_ms"] < 50:
            stop -= 1
        return stop

    def next_message(self, socket_: Any) -> Json:
        """The next message that is not about the queue."""
        while True:
            data = socket_.recv()
            if isinstance(data, bytes):
                return {"binary": {"event_type": struct.unpack(">I", data[:4])[0]}}
            message = {"json": json.loads(data)}
            if not is_status(message):
                return message

    def run(self) -> str:
        """Replays the recording; says why the server differs, or nothing."""
        self.client.settle()
        if "request" in self.data:
            return self.run_http()
        if "views" in self.data:
            return self.run_media()
        if "messages" in self.data:
            return self.run_socket()
        if "history" in self.data or "first" in self.data:
            return self.run_entries()
        raise NotReplayed("not one request with its answer, or one exchange")


def execution(entry: Json, kind: str) -> Json:
    """The data of a message of a history entry."""
    return next((data for name, data in entry["status"]["messages"] if name == kind), {})


def comparable_entry(entry: Json) -> Json:
    """Takes out of a history entry what the server was free to choose."""
    if isinstance(entry, dict) and "prompt" in entry:
        entry["prompt"][0] = 0
        entry["prompt"][3] = {k: v for k, v in entry["prompt"][3].items() if k != "client_id"}
    return entry


def is_status(message: Json) -> bool:
    """Whether a WebSocket message is about the queue: their order is undefined."""
    return bool(message.get("json", {}).get("type") == "status")


def kind_of_message(message: Json) -> str:
    """A message's type; "binary N" for a frame of event type N."""
    if "json" in message:
        return str(message["json"]["type"])
    return f"binary {message['binary']['event_type']}"


def differ_messages(want: Json, got: Json, prompt_id: str) -> str:
    """Why two WebSocket messages differ, or nothing."""
    if kind_of_message(want) != kind_of_message(got):
        return f"got {kind_of_message(got)}"
    if "json" not in want:
        return ""
    recorded = want["json"]["data"].get("prompt_id")
    text = json.dumps(got["json"]["data"])
    if recorded:
        text = text.replace(prompt_id, recorded)
    return differ(want["json"]["data"], json.loads(text))


# --- what some recordings presuppose beyond what they show ---------------------------------------


def own_id(replay: Replay) -> str:
    """The prompt_id that a request speaks of."""
    request = replay.data["request"]
    body = request["body"] if isinstance(request["body"], dict) else {}
    named = body.get("prompt_id") or (body.get("delete") or [""])[0]
    return str(named or urllib.parse.unquote(request["url"].rpartition("/")[2]))


def running(replay: Replay) -> None:
    """The prompt runs."""
    replay.post_item(replay.sleeper(own_id(replay)))
    replay.client.wait(lambda: replay.client.get("/queue")["queue_running"])


def pending(replay: Replay) -> None:
    """The prompt is pending behind another one."""
    replay.post_item(replay.sleeper())
    replay.client.wait(lambda: replay.client.get("/queue")["queue_running"])
    replay.post_item(replay.sleeper(own_id(replay), 1))


def pending_twin(replay: Replay) -> None:
    """A prompt with the id and number of the one in the request is pending."""
    body = replay.data["request"]["body"]
    replay.post_item(replay.sleeper())
    replay.client.wait(lambda: replay.client.get("/queue")["queue_running"])
    replay.post_item(replay.sleeper(body["prompt_id"], body["number"]))


def deleted(replay: Replay) -> None:
    """The prompt was deleted while it was pending."""
    pending(replay)
    replay.client.post("/queue", {"delete": [own_id(replay)]})


def counted(replay: Replay) -> None:
    """The server has taken a prompt before, so that its counter is not at 0."""
    replay.run_entry(replay.decoy())


PREPARATIONS: dict[str, Callable[[Replay], None]] = {
    r"history_while_running|interrupt_by_prompt_id|queue_delete_(running|string)": running,
    r"history_while_queued|interrupt_pending|queue_delete_pending|queue_clear": pending,
    r"history_after_deleted": deleted,
    r"prompt_dup_id_third": pending_twin,
    r"prompt_ok_front": counted,
}


# --- all recordings ------------------------------------------------------------------------------


def matching(table: dict[str, Any], name: str) -> Any:
    """The value of the first pattern that matches."""
    return next((value for pattern, value in table.items() if re.match(pattern, name)), None)


class Simulators:
    """Simulators with different flags, each started when it is needed."""

    def __init__(self, cleanup: contextlib.ExitStack) -> None:
        self.cleanup = cleanup
        self.started: dict[tuple[str, ...], Client] = {}

    def with_flags(self, flags: list[str]) -> Client:
        key = tuple(flags)
        if key not in self.started:
            self.started[key] = self.start(flags)
        return self.started[key]

    def start(self, flags: list[str]) -> Client:
        base = self.cleanup.enter_context(tempfile.TemporaryDirectory())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        program = os.path.join(root, "helpers", "comfyui_sim.py")
        command = [sys.executable, program, "--port", str(port), "--base-directory", base, *flags]
        log = os.path.join(base, "log")
        with open(log, "w", encoding="utf-8") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.cleanup.callback(process.wait)
        self.cleanup.callback(process.terminate)
        assert process.stdout is not None
        self.cleanup.callback(process.stdout.close)
        if not process.stdout.readline():
            with open(log, encoding="utf-8") as errors:
                sys.exit("conformance: the simulator didn't start: " + errors.read().strip())
        return Client(f"http://127.0.0.1:{port}")


@dataclass
class Outcome:
    """What came of all recordings."""

    agreed: list[str] = field(default_factory=list)
    differed: dict[str, str] = field(default_factory=dict)
    deliberate: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def replayed(self) -> int:
        return len(self.agreed) + len(self.differed) + len(self.deliberate)

    def note(self, name: str, reason: str) -> None:
        """Takes one result: no reason means that the server agreed."""
        why = matching(DELIBERATE, name)
        if not reason:
            self.agreed.append(name)
        elif why:
            self.deliberate[name] = why
        else:
            self.differed[name] = reason


def replay_all(names: list[str], folder: str, url: str, verbose: bool) -> Outcome:
    """Replays recordings by name."""
    outcome = Outcome()
    with contextlib.ExitStack() as cleanup:
        simulators = Simulators(cleanup)
        for name in names:
            why = matching(SKIPPED, name)
            flags = matching(FLAGS, name) or []
            if not why and flags and url:
                why = "needs a server with flags of its own"
            if why:
                outcome.skipped[why] += 1
                continue
            client = Client(url) if url else simulators.with_flags(flags)
            with open(os.path.join(folder, name + ".json"), encoding="utf-8") as file:
                data = json.load(file)
            start = time.monotonic()
            try:
                reason = Replay(name, data, client).run()
            except NotReplayed as error:
                outcome.skipped[str(error)] += 1
                continue
            except Differs as error:
                reason = str(error)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            outcome.note(name, reason)
            if verbose:
                took = time.monotonic() - start
                print(f"{'ok  ' if not reason else 'DIFF'} {took:5.2f}s {name} {reason}")
    return outcome


def report(outcome: Outcome) -> None:
    """Prints what came of it."""
    total = max(1, outcome.replayed)
    share = 100 * len(outcome.agreed) / total
    print(f"{len(outcome.agreed)} of {outcome.replayed} recordings agree ({share:.1f} %)")
    if outcome.differed:
        print(f"\n{len(outcome.differed)} differ:")
        for name, reason in sorted(outcome.differed.items()):
            print(f"  {name}: {reason}")
    if outcome.deliberate:
        print(f"\n{len(outcome.deliberate)} differ on purpose (counted as not agreeing):")
        for name, reason in sorted(outcome.deliberate.items()):
            print(f"  {name}: {reason}")
    if outcome.skipped:
        print(f"\n{sum(outcome.skipped.values())} not replayed:")
        for reason, count in outcome.skipped.most_common():
            print(f"  {count:3} {reason}")


def main() -> int:
    """Replays all recordings; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--min", type=float, default=0.90, help="share that must agree (0.90)")
    parser.add_argument("--only", default="", metavar="REGEX", help="only recordings like this")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each recording")
    found = parser.parse_args()
    folder = os.environ.get("AUTOPOD_RECORDINGS", "")
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*.json"))) if folder else []
    names = [os.path.basename(path)[: -len(".json")] for path in paths]
    names = [name for name in names if re.search(found.only, name)]
    if not names:
        print("conformance: no recordings: set AUTOPOD_RECORDINGS to their folder", file=sys.stderr)
        return 2
    outcome = replay_all(names, folder, os.environ.get("COMFYUI_URL", ""), found.verbose)
    report(outcome)
    enough = outcome.replayed > 0 and len(outcome.agreed) / outcome.replayed >= found.min
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
