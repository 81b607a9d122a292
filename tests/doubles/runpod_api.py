#!/usr/bin/env python3
"""RunPod's API on loopback, for tests: GraphQL, REST v1 and REST v2 over one account.

Routes, shapes, states and error texts are those that runpodctl's source (2.7.2 and the newest one),
its tests, and RunPod's migration notes show; where nobody says how the server words something, the
comment says "wording ours", and no program may depend on it.

Its pods are real: each gets an sshd and a ComfyUI (runpod_pod.sh, through lib/providers/local.sh)
unless --no-machines is given. A pod's public port appears when the boot delay is over, changes with
every stop and start, and lets in the keys of its PUBLIC_KEY, else the account's. A session has
RUNPOD_POD_ID, a pod-scoped RUNPOD_API_KEY, a home of its own and an nvidia-smi.

Control, without a key; every answer is the state:
  GET    /control/state   {now, balance, spend_per_hr, running, pods: [], requests: [], faults, …}
  POST   /control         {faults: {NAME: {...} | null}, balance, spend_limit, boot_delay, machines,
                           ssh_keys: [...], advance_seconds, stock: {GPU: {DATA_CENTER: LEVEL}},
                           prices: {GPU: {secure, community}}, forget_requests: true,
                           pods: {ID: {action: stop|start|terminate, locked}}   as the console does,
                           add_pods: [{name, status, gpu, gpu_count, cloud, data_center, env, age,
                                       volume_gb, volume_id}]      rows without a machine}
  DELETE /control         no faults, and balance, keys, stock and prices as at the start

Faults. Each may be limited: times (so often), apis [graphql v1 v2], operations [create list get
start stop restart reset terminate update user keys gpus datacenters volumes billing logs], gpus,
data_centers, clouds, pods. Without limits it holds for everything that it can hold for.
  capacity          create is refused; text: a key of CAPACITY, or any text
  balance_low       create and start are refused
  unauthorized, forbidden           401, 403
  rate_limited      429; retry_after [1]
  server_error      status [502], html true: a page instead of JSON
  slow              seconds [1] before anything else happens
  create_hangs      the pod is made, the answer never comes
  create_500_but_made, create_500_not_made
  never_boots       no runtime, no port        boots_without_sshd  a port, and nobody listens
  no_public_ip      the port is mapped on a private address only
  unreachable_address   somebody takes the connection and never says a word
  wrong_pod         the address leads to another pod: RUNPOD_POD_ID differs
  bare_session      the session has none of RUNPOD_*
  quoted_environment    it has them with quotes around the values, as in RunPod's own ComfyUI image
  stale_address     seconds [90]: after a start the old port is shown for so long
  stale_runtime     a stopped pod goes on showing its last port
  moved_address     port: a running pod is shown at this one
  zero_gpus_after_start, no_free_gpus_on_start
  stop_not_done, terminate_not_done     accepted, and nothing happens
  stop_says_nothing     GraphQL answers {"podStop": null}, and nothing happens
  locked            stop and terminate are refused
  list_hides_stopped, price_zero_on_read
  surcharge         factor: what is made costs that many times its list price
  v1_gone           410 on all of /v1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import string
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]

ACCOUNT_KEY = "rpa_TESTKEY0123456789"
READONLY_KEY = "rpa_READONLY0123456789"
POD_KEY = "rpa_POD"  # + the pod's id
BALANCE = 25.0
SPEND_LIMIT = 80.0  # $/h, RunPod's default
DISK_USD_PER_GB_MONTH = 0.20  # volume disk of a stopped pod
HOURS_PER_MONTH = 730.0

NO_INSTANCES = "There are no longer any instances available with"
CAPACITY = {
    "refresh": f"{NO_INSTANCES} the requested specifications. Please refresh and try again.",
    "later": f"{NO_INSTANCES} the request specifications. Please try again later.",
    "disk": f"{NO_INSTANCES} enough disk space.",
    "current": "There are no instances currently available",
    "no_gpu": "no gpu available",
    "supply": "SUPPLY_CONSTRAINT",
    "machine": "Unable to find a machine with capacity",
    "resources": "This machine does not have the resources to deploy your pod. "
    "Please try a different machine.",
}
CAPACITY_OF_API = {"graphql": "refresh", "v1": "current", "v2": "no_gpu"}
BALANCE_TEXT = "Your account balance is too low. Please add funds and try again."
NO_FREE_GPUS = "There are not enough free GPUs on the host machine to start this pod."
SOMETHING_WRONG = "Something went wrong. Please try again later or contact support."

BOOT_FAULTS = (  # decided when a boot begins, and kept until the next one
    "never_boots",
    "boots_without_sshd",
    "wrong_pod",
    "no_public_ip",
    "unreachable_address",
    "bare_session",
    "quoted_environment",
)
FAULTS = {
    *BOOT_FAULTS,
    *("capacity", "balance_low", "unauthorized", "forbidden", "rate_limited", "server_error"),
    *("slow", "create_hangs", "create_500_but_made", "create_500_not_made", "stale_address"),
    *("stale_runtime", "zero_gpus_after_start", "no_free_gpus_on_start", "stop_not_done"),
    *("terminate_not_done", "stop_says_nothing", "locked", "list_hides_stopped"),
    *("price_zero_on_read", "surcharge", "v1_gone", "moved_address"),
}

# id, display name, GB, $/h secure, $/h community (None: not offered there), serverless pool
GPUS: list[tuple[str, str, int, float | None, float | None, str]] = [
    ("NVIDIA A40", "A40", 48, 0.40, 0.35, "AMPERE_48"),
    ("NVIDIA RTX A6000", "RTX A6000", 48, 0.49, 0.33, "AMPERE_48"),
    ("NVIDIA RTX A5000", "RTX A5000", 24, 0.27, 0.16, "AMPERE_24"),
    ("NVIDIA RTX A4000", "RTX A4000", 16, 0.25, 0.17, "AMPERE_16"),
    ("NVIDIA A30", "A30", 24, 0.30, 0.22, ""),
    ("NVIDIA L4", "L4", 24, 0.43, None, "AMPERE_24"),
    ("NVIDIA L40S", "L40S", 48, 0.86, 0.79, "ADA_48_PRO"),
    ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 48, 0.77, 0.74, "ADA_48_PRO"),
    ("NVIDIA GeForce RTX 3080", "RTX 3080", 10, None, 0.17, ""),
    ("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 0.46, 0.22, "AMPERE_24"),
    ("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34, "ADA_24"),
    ("NVIDIA GeForce RTX 5090", "RTX 5090", 32, 0.94, 0.69, "ADA_32_PRO"),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.64, 1.19, "AMPERE_80"),
    ("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, 1.74, None, "AMPERE_80"),
    ("NVIDIA H100 PCIe", "H100 PCIe", 80, 2.39, 1.99, "ADA_80_PRO"),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 2.69, "ADA_80_PRO"),
]
# id: country (GraphQL), region (v2), stock by the GPU's display name
DATA_CENTERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "US-GA-1": (
        *("United States", "NORTH_AMERICA"),
        {"A40": "High", "RTX A6000": "Medium", "RTX A5000": "Low", "RTX 4090": "High"},
    ),
    "CA-MTL-1": (
        *("Canada", "NORTH_AMERICA"),
        {"A40": "Medium", "RTX A5000": "High", "RTX A4000": "Medium", "L40S": "Low"},
    ),
    "EU-RO-1": (
        *("Romania", "EUROPE"),
        {"RTX A6000": "Low", "RTX 4090": "High", "L4": "High", "RTX 6000 Ada": "Medium"},
    ),
    "US-KS-2": (
        *("United States", "NORTH_AMERICA"),
        {"L40S": "Medium", "RTX 5090": "Low", "A100 SXM": "Medium", "H100 SXM": "High"},
    ),
}
VOLUMES = [
    {"id": "vol4ga1models", "name": "models", "size": 100, "dataCenterId": "US-GA-1"},
    {"id": "vol7mtl1arch", "name": "archive", "size": 50, "dataCenterId": "CA-MTL-1"},
]
TEMPLATES = {"cw3nka7d08": "runpod/comfyui:cuda12.8", "2lv7ev3wfp": "runpod/comfyui:cuda13.0"}


# --- small things ---------------------------------------------------------------------------------


class Refusal(Exception):
    """A request that is not done. Each API words it in its own way, see error_answer().

    v2, v1: the status there; http: GraphQL uses it as well, instead of 200 and `errors`.
    """

    def __init__(
        self,
        text: str,
        *,
        v2: int = 400,
        v1: int = 500,
        http: bool = False,
        code: str = "RUNPOD",
        errors: Iterable[str] = (),
        headers: dict[str, str] | None = None,
        html: bool = False,
    ) -> None:
        super().__init__(text)
        self.text, self.v2, self.v1, self.http, self.code = text, v2, v1, http, code
        self.errors, self.headers, self.html = list(errors), headers or {}, html


def refusal_of(status: int, text: str, **more: Any) -> Refusal:
    """One that is the same HTTP status everywhere."""
    return Refusal(text, v2=status, v1=status, http=True, **more)


def not_found(what: str = "pod") -> Refusal:
    return Refusal(f"{what} not found", v2=404, v1=404)


def utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc)


def rfc3339(at: float) -> str:
    """As REST v2 has it: 2026-10-02T05:28:38.366Z"""
    return utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def go_time(at: float) -> str:
    """As REST v1 has it: 2026-10-02 05:28:38.366 +0000 UTC"""
    return f"{utc(at):%Y-%m-%d %H:%M:%S}.{int(at * 1000) % 1000:03d} +0000 UTC"


def status_change(what: str, at: float) -> str:
    """lastStatusChange: Rented by User: Fri Oct 02 2026 05:28:38 GMT+0000 (Coordinated …)"""
    return f"{what}: {utc(at):%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)"


def new_id() -> str:
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=14))


def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_all(processes: Iterable[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def children_of(root: int, table: str) -> list[int]:
    """The processes under `root`, from lines of `ps -o pid=,ppid=`."""
    under: dict[int, list[int]] = {}
    for line in table.splitlines():
        pid, parent = line.split()
        under.setdefault(int(parent), []).append(int(pid))
    found, look = [], [root]
    while look:
        look += under.get(look[0], [])
        found += under.get(look.pop(0), [])
    return found


# --- the world: an account, its pods, its faults --------------------------------------------------


class Faults:
    """What is switched on, and how often each was used."""

    LISTS = {
        "apis": "api",
        "operations": "operation",
        "gpus": "gpu",
        "data_centers": "data_center",
        "clouds": "cloud",
        "pods": "pod",
    }

    def __init__(self) -> None:
        self.on: dict[str, Json] = {}
        self.used: dict[str, int] = {}

    def switch(self, wanted: Json) -> None:
        for name, how in wanted.items():
            if name not in FAULTS:
                raise refusal_of(400, f"no such fault: {name}")
            self.on.pop(name, None)
            self.used.pop(name, None)
            if how is not None and how is not False:
                self.on[name] = how if isinstance(how, dict) else {}

    def find(self, name: str, **here: str) -> Json | None:
        """The fault's settings if it holds here; a limit on what `here` doesn't name holds."""
        how = self.on.get(name)
        if how is None or self.used.get(name, 0) >= how.get("times", sys.maxsize):
            return None
        for limit, thing in self.LISTS.items():
            if limit in how and thing in here and here[thing] not in how[limit]:
                return None
        return {"name": name, **how}  # true, even when it has no settings

    def hit(self, name: str, **here: str) -> Json | None:
        """The same, and counts it."""
        how = self.find(name, **here)
        if how is not None:
            self.used[name] = self.used.get(name, 0) + 1
        return how


@dataclass
class Wish:
    """A create, whichever API it came by."""

    api: str
    name: str
    gpu: str
    count: int = 1
    image: str = ""
    template: str = ""
    cloud: str = "SECURE"
    data_centers: list[str] = field(default_factory=list)
    volume: str = ""
    mount: str = ""
    disk_gb: int = 20
    volume_gb: int = 0
    ports: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    public_ip: bool = True


@dataclass
class Pod:
    """A rented machine. Times are the world's; status is RUNNING, EXITED or TERMINATED."""

    wish: Wish
    id: str
    data_center: str
    price: float  # $/h, all GPUs together
    created: float
    status: str = "RUNNING"
    change: str = ""
    locked: bool = False
    machine: bool = True
    gpus: int = 1  # as of now: a start may come up with none
    # this boot
    boot: dict[str, Json] = field(default_factory=dict)  # faults that hold for it
    boot_from: float = 0.0
    boot_until: float = 0.0
    port: int | None = None
    last_port: int | None = None
    stale_until: float = 0.0
    local_id: str = ""
    sshd: int = 0
    silent: socket.socket | None = None
    on: bool = False
    trouble: str = ""
    guard: asyncio.Lock = field(default_factory=asyncio.Lock)
    # money
    settled: float = 0.0
    running_seconds: float = 0.0
    stopped_seconds: float = 0.0
    gpu_usd: float = 0.0
    disk_usd: float = 0.0
    stopped: float | None = None
    terminated: float | None = None

    @property
    def billed(self) -> float:
        return self.gpu_usd + self.disk_usd


class World:
    """The account and everything that RunPod knows of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.state = Path(options.state).resolve()
        self.home = self.state / "pods-home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.keys_at_start = [Path(file).read_text().strip() for file in options.ssh_key]
        self.offset = 0.0
        self.url = ""
        self.pods: dict[str, Pod] = {}
        self.requests: list[Json] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.closing = asyncio.Event()
        self.normal()

    def normal(self) -> None:
        """As it is at the start, but for pods and time."""
        self.faults = Faults()
        self.credit = BALANCE + sum(pod.billed for pod in self.pods.values())
        self.spend_limit = SPEND_LIMIT
        self.machines: bool = self.options.machines
        self.boot_delay: float = self.options.boot_delay
        self.ssh_keys = list(self.keys_at_start)
        self.prices = {row[0]: {"SECURE": row[3], "COMMUNITY": row[4]} for row in GPUS}
        self.stock = {
            row[0]: {
                dc: about[2][row[1]] for dc, about in DATA_CENTERS.items() if row[1] in about[2]
            }
            for row in GPUS
        }
        self.requests.clear()

    # time and money

    def now(self) -> float:
        return time.time() + self.offset

    def settle(self, pod: Pod) -> None:
        """Bills a pod up to now: its price while it runs, its volume disk while it is stopped."""
        seconds, pod.settled = self.now() - pod.settled, self.now()
        if pod.status == "RUNNING":
            pod.running_seconds += seconds
            pod.gpu_usd += self.rate(pod) * seconds / 3600
        elif pod.status == "EXITED":
            pod.stopped_seconds += seconds
            month = pod.wish.volume_gb * DISK_USD_PER_GB_MONTH
            pod.disk_usd += month / HOURS_PER_MONTH * seconds / 3600

    def rate(self, pod: Pod) -> float:
        return pod.price * pod.gpus / pod.wish.count

    def balance(self) -> float:
        for pod in self.pods.values():
            self.settle(pod)
        return self.credit - sum(pod.billed for pod in self.pods.values())

    def spend(self) -> float:
        return sum(self.rate(pod) for pod in self.pods.values() if pod.status == "RUNNING")

    async def collect_debts(self) -> None:
        """At balance 0 pods with a network volume are stopped, others terminated (docs)."""
        if self.balance() > 0:
            return
        for pod in list(self.pods.values()):
            if pod.status == "RUNNING":
                await self.set_status(pod, "EXITED" if pod.wish.volume else "TERMINATED", "Runpod")

    # create

    def place(self, wish: Wish) -> str:
        """Finds the data centre for a wish, or refuses it as RunPod does."""
        if self.faults.hit("balance_low", api=wish.api, operation="create"):
            raise Refusal(BALANCE_TEXT, v2=402, code="INSUFFICIENT_BALANCE")
        if wish.gpu not in self.prices:
            raise Refusal(
                f'invalid gpu type id "{wish.gpu}"', v1=400, code="BAD_USER_INPUT"
            )  # ours
        price = self.prices[wish.gpu].get(wish.cloud)
        centers = list(wish.data_centers)
        if wish.volume:
            volume = next((v for v in VOLUMES if v["id"] == wish.volume), None)
            home = str(volume["dataCenterId"]) if volume else ""
            # so it answers wrong combinations (runpodctl#172), which is why clients check before
            if not volume or wish.cloud != "SECURE" or (centers and home not in centers):
                raise Refusal(SOMETHING_WRONG, code="INTERNAL_SERVER_ERROR")
            centers = [home]
        here = {"api": wish.api, "gpu": wish.gpu, "cloud": wish.cloud, "operation": "create"}
        fits = [
            dc
            for dc in centers or DATA_CENTERS
            if (wish.cloud == "COMMUNITY" or self.stock[wish.gpu].get(dc, "None") != "None")
            and not self.faults.find("capacity", data_center=dc, **here)
        ]
        if price is None or not fits:
            how = self.faults.hit("capacity", **here) or {}
            text = str(how.get("text", CAPACITY_OF_API[wish.api]))
            raise Refusal(CAPACITY.get(text, text), code="SUPPLY_CONSTRAINT")
        if self.balance() < price * wish.count:  # an hour of it must be there
            raise Refusal(BALANCE_TEXT, v2=402, code="INSUFFICIENT_BALANCE")
        if self.spend() + price * wish.count > self.spend_limit:
            raise Refusal("spend limit exceeded", v2=402, code="SPEND_LIMIT")  # wording ours
        return fits[0]

    def add(self, wish: Wish, data_center: str, *, machine: bool, age: float = 0.0) -> Pod:
        now = self.now()
        if wish.template:
            wish.image = wish.image or TEMPLATES[wish.template]
        price = (self.prices[wish.gpu].get(wish.cloud) or 0.0) * wish.count
        dearer = self.faults.hit(
            "surcharge", gpu=wish.gpu, data_center=data_center, cloud=wish.cloud
        )
        price *= (dearer or {}).get("factor", 1)
        pod = Pod(wish, new_id(), data_center, round(price, 4), now - age, machine=machine)
        pod.settled, pod.gpus = pod.created, wish.count
        pod.change = status_change("Rented by User", pod.created)
        self.pods[pod.id] = pod
        return pod

    async def create(self, wish: Wish) -> Pod:
        here = {"api": wish.api, "gpu": wish.gpu, "cloud": wish.cloud, "operation": "create"}
        if self.faults.hit("create_500_not_made", **here):
            raise refusal_of(500, "Internal Server Error")
        pod = self.add(wish, self.place(wish), machine=self.machines)
        self.begin_boot(pod)
        if self.faults.hit("create_hangs", **here):
            await self.closing.wait()
        if self.faults.hit("create_500_but_made", **here):
            raise refusal_of(500, "Internal Server Error")
        return pod

    # life of a pod

    def begin_boot(self, pod: Pod) -> None:
        """Its port comes later, and asynchronously; who waits for it polls."""
        here = {
            "pod": pod.id,
            "gpu": pod.wish.gpu,
            "data_center": pod.data_center,
            "cloud": pod.wish.cloud,
        }
        hits = {name: self.faults.hit(name, **here) for name in BOOT_FAULTS}
        pod.boot = {name: how for name, how in hits.items() if how is not None}
        pod.boot_from, pod.boot_until = self.now(), self.now() + self.boot_delay
        pod.last_port, pod.port = pod.port or pod.last_port, None
        task = asyncio.get_running_loop().create_task(self.converge(pod))
        self.tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self.tasks.discard)

    async def converge(self, pod: Pod) -> None:
        """Makes the machine what the pod's status says."""
        async with pod.guard:
            try:
                if pod.status == "RUNNING" and not pod.on:
                    await self._switch_on(pod)
                elif pod.status != "RUNNING" and pod.on:
                    await self._switch_off(pod)
                if pod.status == "TERMINATED" and pod.local_id:
                    await self._machine(pod, "terminate")
                    pod.local_id = ""
            except (OSError, ValueError, RuntimeError) as error:
                pod.trouble = str(error)
                print(f"pod {pod.id}: {error}", file=sys.stderr, flush=True)

    async def _switch_on(self, pod: Pod) -> None:
        if "never_boots" in pod.boot:
            return
        if not pod.machine:
            pod.port, pod.on = random.randint(10000, 59999), True
            return
        if "boots_without_sshd" in pod.boot:
            pod.port, pod.on = closed_port(), True
            return
        if "unreachable_address" in pod.boot:
            pod.silent = socket.create_server(("127.0.0.1", 0))  # nobody ever accepts
            pod.port, pod.on = pod.silent.getsockname()[1], True
            return
        machine = json.loads(await self._machine(pod, "start" if pod.local_id else "create"))
        pod.local_id = machine["id"]
        if not machine["ssh"]:
            raise RuntimeError(f"the machine is {machine['status']}: {machine['reason']}")
        processes = (self.home / "local" / pod.local_id / "processes").read_text().splitlines()
        pod.sshd = next(int(line.split()[1]) for line in processes if line.startswith("sshd "))
        self.write_session(pod, int(machine["ssh"]["port"]))
        pod.port, pod.on = int(machine["ssh"]["port"]), True

    async def _switch_off(self, pod: Pod) -> None:
        """Ends the machine and all that was started in it, as the end of a container does."""
        pod.on = False
        if pod.silent:
            pod.silent.close()
            pod.silent = None
        if not pod.local_id or not pod.sshd:
            return
        # The logins first, while it can be seen whose they are; what left its parents, and who was
        # just about to log in, is found by its mark.
        kill_all(children_of(pod.sshd, await run_program("ps", "-A", "-o", "pid=,ppid=")))
        pod.sshd = 0
        await self._machine(pod, "stop")
        quiet = 0
        while quiet < 3:
            marked = self.marked(pod)
            kill_all(marked)
            quiet = 0 if marked else quiet + 1
            await asyncio.sleep(0.03)

    def marked(self, pod: Pod) -> list[int]:
        """The processes that sessions of the pod started (on Linux; elsewhere nobody can tell)."""
        marks = {
            "environ": f"RUNPOD_API_DOUBLE={self.mark(pod)}\0".encode(),
            "cmdline": f"{self.home}/local/{pod.local_id}/session\0".encode(),
        }
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(mark in (process / name).read_bytes() for name, mark in marks.items()):
                    found.append(int(process.name))
        return found

    def mark(self, pod: Pod) -> str:
        return f"{self.state}/{pod.id}"

    async def _machine(self, pod: Pod, action: str) -> str:
        script = str(Path(__file__).with_name("runpod_pod.sh"))
        environment = dict(os.environ)
        # One machine after the other has the port that stands for a pod's 8188.
        others = (other for other in self.pods.values() if other is not pod)
        if self.options.comfy_port and not any(other.sshd for other in others):
            extra = environment.get("AUTOPOD_LOCAL_COMFYUI_ARGS", "")
            port = f"--port {self.options.comfy_port}"
            environment["AUTOPOD_LOCAL_COMFYUI_ARGS"] = f"{extra} {port}".strip()
        arguments = [script, str(self.home), action] + ([pod.local_id] if pod.local_id else [])
        return await run_program("bash", *arguments, environment=environment)

    def write_session(self, pod: Pod, port: int) -> None:
        """Who may log in, and what a session finds: called with each boot."""
        place = self.home / "local" / pod.local_id
        count, gpu = pod.gpus, pod.wish.gpu
        listed = [f"GPU {n}: {gpu} (UUID: GPU-{pod.id}-{n})" for n in range(count)]
        tools, home = place / "bin", place / "root"
        for directory in (tools, home):
            directory.mkdir(exist_ok=True)
        smi = tools / "nvidia-smi"
        says = "printf '%s\\n' " + " ".join(map(shlex.quote, listed or ["No devices were found"]))
        smi.write_text(f"#!/bin/sh\n{says}\nexit {0 if listed else 6}\n")
        environment = {"HOME": str(home), "RUNPOD_API_DOUBLE": self.mark(pod)}
        if "AUTOPOD_TEST_MARK" in os.environ:
            environment["AUTOPOD_TEST_MARK"] = os.environ["AUTOPOD_TEST_MARK"]
        if "bare_session" not in pod.boot:
            environment.update(
                RUNPOD_POD_ID=new_id() if "wrong_pod" in pod.boot else pod.id,
                RUNPOD_API_KEY=POD_KEY + pod.id,
                RUNPOD_GRAPHQL_URL=f"{self.url}/graphql",
                RUNPOD_DC_ID=pod.data_center,
                RUNPOD_GPU_COUNT=str(count),
                RUNPOD_PUBLIC_IP="127.0.0.1",
                RUNPOD_TCP_PORT_22=str(port),
                RUNPOD_VOLUME_ID=pod.wish.volume,
            )
        if "quoted_environment" in pod.boot:
            # start.sh writes NAME="value" into /root/.ssh/environment, and sshd keeps the quotes
            for name in ("RUNPOD_POD_ID", "RUNPOD_API_KEY"):
                environment[name] = f'"{environment[name]}"'
        lines = ["#!/usr/bin/env bash"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        lines += [
            f"export PATH={shlex.quote(str(tools))}:$PATH",
            "command=${SSH_ORIGINAL_COMMAND:-}",
            "unset SSH_ORIGINAL_COMMAND AUTOPOD_POD_ID",
            'cd "$HOME" || exit',
            "case $command in",
            "  '') exec bash ;;",
            f"  internal-sftp) exec {shlex.quote(sftp_server())} ;;",
            '  *) exec bash -c "$command" ;;',
            "esac",
        ]
        session = place / "session"
        session.write_text("\n".join(lines) + "\n")
        for program in (smi, session):
            program.chmod(0o700)
        own = pod.wish.env.get("PUBLIC_KEY") or pod.wish.env.get("SSH_PUBLIC_KEY")
        keys = own.splitlines() if own else self.ssh_keys
        command = shlex.quote(str(session)).replace('"', '\\"')
        (place / "authorized_keys").write_text(
            "".join(f'command="{command}" {key}\n' for key in keys if key.strip())
        )

    def is_up(self, pod: Pod) -> bool:
        return pod.status == "RUNNING" and pod.port is not None and self.now() >= pod.boot_until

    def shown_port(self, pod: Pod) -> int | None:
        """The public port of 22 as reads show it, None when there is none."""
        if "22/tcp" not in pod.wish.ports:
            return None
        if pod.status != "RUNNING":
            stale = pod.status == "EXITED" and self.faults.find("stale_runtime", pod=pod.id)
            return pod.port or pod.last_port if stale else None
        if self.now() < pod.stale_until:
            return pod.last_port
        if not self.is_up(pod):
            return None
        moved = self.faults.find("moved_address", pod=pod.id)
        return int(moved["port"]) if moved else pod.port

    def has_runtime(self, pod: Pod) -> bool:
        """Whether reads show a container: with its ports, or before them when it has none."""
        return self.is_up(pod) or self.shown_port(pod) is not None

    async def set_status(self, pod: Pod, status: str, who: str = "user") -> None:
        self.settle(pod)
        pod.status = status
        verb = "Exited" if status == "EXITED" else "Terminated"
        pod.change = status_change(f"{verb} by {who}", self.now())
        pod.stopped = pod.stopped or self.now()
        if status == "TERMINATED":
            pod.terminated = self.now()
        await self.converge(pod)

    def find(self, pod_id: str) -> Pod:
        pod = self.pods.get(pod_id)
        if pod is None or pod.status == "TERMINATED":
            raise not_found()
        self.settle(pod)
        return pod

    def listed(self, api: str) -> list[Pod]:
        """Newest first, without those that are gone."""
        hide = self.faults.hit("list_hides_stopped", api=api, operation="list")
        shown = [pod for pod in self.pods.values() if pod.status != "TERMINATED"]
        shown = [pod for pod in shown if not hide or pod.status == "RUNNING"]
        for pod in shown:
            self.settle(pod)
        return sorted(shown, key=lambda pod: -pod.created)

    def refuse_locked(self, pod: Pod, api: str, operation: str) -> None:
        here = {"api": api, "operation": operation, "pod": pod.id}
        if pod.locked or self.faults.hit("locked", **here):
            raise Refusal("pod is locked", v2=409)  # wording ours

    async def stop(self, pod: Pod, api: str) -> str:
        """Stops it; returns the status that the answer claims."""
        self.refuse_locked(pod, api, "stop")
        if api == "v2" and pod.status != "RUNNING":
            raise Refusal(f"cannot stop a pod in state {pod.status}", v2=409)  # wording ours
        if not self.faults.hit("stop_not_done", api=api, operation="stop", pod=pod.id):
            await self.set_status(pod, "EXITED")
        return "EXITED"

    async def terminate(self, pod: Pod, api: str) -> None:
        self.refuse_locked(pod, api, "terminate")
        here = {"api": api, "operation": "terminate", "pod": pod.id}
        if not self.faults.hit("terminate_not_done", **here):
            await self.set_status(pod, "TERMINATED")

    async def start(self, pod: Pod, api: str) -> None:
        here = {"api": api, "operation": "start", "pod": pod.id, "gpu": pod.wish.gpu}
        if pod.status == "RUNNING":
            if api == "v2":
                raise Refusal(f"cannot start a pod in state {self.v2_status(pod)}", v2=409)  # ours
            return
        if self.faults.hit("no_free_gpus_on_start", **here):
            raise Refusal(NO_FREE_GPUS)
        if self.faults.hit("balance_low", **here) or self.balance() < pod.price:
            raise Refusal(BALANCE_TEXT, v2=402, code="INSUFFICIENT_BALANCE")
        self.settle(pod)
        pod.status, pod.stopped = "RUNNING", None
        pod.change = status_change("Rented by User", self.now())
        pod.gpus = 0 if self.faults.hit("zero_gpus_after_start", **here) else pod.wish.count
        stale = self.faults.hit("stale_address", **here)
        self.begin_boot(pod)
        pod.stale_until = self.now() + stale.get("seconds", 90) if stale else 0.0

    async def restart(self, pod: Pod) -> None:
        """The container anew, on another port."""
        if pod.status != "RUNNING":
            raise Refusal(f"cannot restart a pod in state {pod.status}", v2=409)  # wording ours
        pod.status = "EXITED"
        await self.converge(pod)
        pod.status = "RUNNING"
        self.begin_boot(pod)

    # how each API shows it

    def v2_status(self, pod: Pod) -> str:
        if pod.status != "RUNNING":
            return pod.status
        if self.is_up(pod):
            return "RUNNING"
        half = pod.boot_from + (pod.boot_until - pod.boot_from) / 2
        return "PROVISIONING" if self.now() < half else "STARTING"

    def shown_price(self, pod: Pod, api: str, operation: str) -> float:
        """0 for a stopped pod, as RunPod has it."""
        zero = operation != "create" and self.faults.hit(
            "price_zero_on_read", api=api, operation=operation, pod=pod.id
        )
        return 0.0 if zero or pod.status != "RUNNING" else pod.price

    def address(self, pod: Pod, api: str) -> tuple[str, bool]:
        """The IP that reads show and whether it is public. The newest runpodctl takes a loopback
        address for a private one, and 0.0.0.0, which leads to this machine, for public."""
        if "no_public_ip" in pod.boot or not pod.wish.public_ip:
            return "100.65.17.95", False
        return ("0.0.0.0" if api == "v2" else "127.0.0.1"), True

    def uptime(self, pod: Pod) -> int:
        return max(0, int(self.now() - pod.boot_until))


def sftp_server() -> str:
    for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server"):
        if os.access(path, os.X_OK):
            return path
    return shutil.which("sftp-server") or "sftp-server"


async def run_program(*command: str, environment: dict[str, str] | None = None) -> str:
    """The output of a program; RuntimeError with its complaint when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, complaint = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[-1]}: {complaint.decode(errors='replace').strip()}")
    return out.decode(errors="replace")


# --- the door: who asks, what is recorded, which faults strike first ------------------------------

WRITES = {"create", "start", "stop", "restart", "reset", "terminate", "update", "set_keys"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """What all requests to the three APIs go through."""

    def __init__(self, world: World) -> None:
        self.world = world

    def key_of(self, request: web.Request) -> str:
        header = request.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            return header[len("Bearer ") :]
        return request.query.get("api_key", "")  # GraphQL takes it; it ends up in logs

    def identify(self, key: str) -> str:
        """account, readonly, pod:ID, none or unknown."""
        if key == ACCOUNT_KEY:
            return "account"
        if key == READONLY_KEY:
            return "readonly"
        pod = self.world.pods.get(key[len(POD_KEY) :]) if key.startswith(POD_KEY) else None
        return f"pod:{pod.id}" if pod else ("unknown" if key else "none")

    async def pass_through(
        self, request: web.Request, api: str, operation: str, target: str
    ) -> None:
        """Raises what a request meets before anybody reads it; `target` is a pod's id or ""."""
        faults = self.world.faults
        here = {"api": api, "operation": operation}
        if target:
            here["pod"] = target
        who = self.identify(self.key_of(request))
        request["record"].update(api=api, operation=operation, key=who)
        if "api_key" in request.query:
            request["record"]["key_in_url"] = True
        slow = faults.hit("slow", **here)
        if slow:
            await asyncio.sleep(slow.get("seconds", 1))
        if request.headers.get("User-Agent", "").startswith("Python-urllib"):
            raise refusal_of(403, "error code: 1010", html=True)  # Cloudflare does so
        if api == "v1" and faults.hit("v1_gone", **here):
            raise refusal_of(410, "REST API v1 has been retired. Please migrate to v2.")  # ours
        limited = faults.hit("rate_limited", **here)
        if limited is not None:
            wait = {"Retry-After": str(limited.get("retry_after", 1))}
            raise refusal_of(429, "rate limit exceeded", headers=wait)
        if who in ("none", "unknown") or faults.hit("unauthorized", **here):
            raise refusal_of(401, "Unauthorized")
        # A pod's own key stops that pod over GraphQL; REST answers it with 403 (field reports).
        own_stop = api == "graphql" and operation == "stop" and who == f"pod:{target}"
        allowed = who == "account" or own_stop or (who == "readonly" and operation not in WRITES)
        if not allowed or faults.hit("forbidden", **here):
            raise refusal_of(403, "Forbidden: the API key lacks the scope for this action")
        broken = faults.hit("server_error", **here)
        if broken is not None:
            status = broken.get("status", 502)
            raise refusal_of(status, HTTPStatus(status).phrase, html=bool(broken.get("html")))
        await self.world.collect_debts()

    @web.middleware
    async def record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Notes every request but those of /control, and words refusals."""
        if request.path.startswith("/control"):
            try:
                return await handler(request)
            except Refusal as refusal:
                return web.json_response({"error": refusal.text}, status=400)
        record: Json = {"method": request.method, "path": request.path, "status": None}
        query = {name: value for name, value in request.query.items() if name != "api_key"}
        if query:
            record["query"] = query
        request["record"] = record
        self.world.requests.append(record)
        api = request.path.split("/")[1]
        try:
            answer = await handler(request)
        except Refusal as refusal:
            answer = error_answer(api, record.get("operation", ""), refusal)
        except web.HTTPException as error:
            answer = error_answer(api, "", refusal_of(error.status, error.reason))
        record["status"] = answer.status
        return answer


def error_answer(api: str, operation: str, refusal: Refusal) -> web.Response:
    """A refusal as the API words it."""
    text, headers = refusal.text, refusal.headers
    if refusal.html:
        page = f"<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>"
        return web.Response(status=refusal.v2, text=page, content_type="text/html", headers=headers)
    if api == "v1":
        if refusal.v1 == 500 and operation in WRITES:  # {"error":"create pod: …","status":500}
            text = f"{operation} pod: {text}"
        body: Json = {"error": text, "status": refusal.v1}
        return web.json_response(body, status=refusal.v1, headers=headers)
    if api == "v2":  # an RFC 9457 problem
        body = {"title": HTTPStatus(refusal.v2).phrase, "status": refusal.v2, "detail": text}
        if refusal.errors:
            body["errors"] = refusal.errors
        return web.json_response(
            body, status=refusal.v2, headers=headers, content_type="application/problem+json"
        )
    errors = [{"message": text, "extensions": {"code": refusal.code}}]
    status = refusal.v2 if refusal.http else 200
    return web.json_response({"errors": errors, "data": None}, status=status, headers=headers)


async def body_of(request: web.Request) -> Json:
    try:
        body = await request.json()
    except ValueError:
        raise refusal_of(400, "invalid JSON in the request body") from None
    if not isinstance(body, dict):
        raise refusal_of(400, "the request body must be an object")
    return body


# --- REST v2 --------------------------------------------------------------------------------------


class V2:
    """https://api.runpod.io/v2, what the newest runpodctl uses for pods, catalog and volumes."""

    ACTIONS = ("start", "stop", "restart", "terminate")
    FIELDS = {
        *("args", "cloud", "cmd", "cpu", "dataCenterIds", "disk", "entrypoint", "env"),
        *("globalNetworking", "gpu", "image", "mounts", "name", "ports", "registry"),
        *("startSsh", "templateId"),
    }

    def __init__(self, world: World, door: Door) -> None:
        self.world, self.door = world, door

    def routes(self) -> list[web.RouteDef]:
        return [
            self.route("GET", "/pods", "list", self.list),
            self.route("POST", "/pods", "create", self.create),
            self.route("GET", "/pods/{id}", "get", self.get),
            self.route("PATCH", "/pods/{id}", "update", self.update),
            self.route("DELETE", "/pods/{id}", "terminate", self.delete),
            self.route("POST", "/pods/{id}/action", "", self.action),
            self.route("GET", "/pods/{id}/logs", "logs", self.logs),
            self.route("GET", "/catalog/gpus", "gpus", self.gpus),
            self.route("GET", "/catalog/cpus", "gpus", self.cpus),
            self.route("GET", "/catalog/datacenters", "datacenters", self.data_centers),
            self.route("GET", "/network-volumes", "volumes", self.volumes),
            self.route("GET", "/network-volumes/{id}", "volumes", self.volume),
            self.route("GET", "/account/ssh-keys", "keys", self.keys),
            self.route("PUT", "/account/ssh-keys", "set_keys", self.set_keys),
            self.route("GET", "/billing/pods", "billing", self.billing),
        ]

    def route(self, method: str, path: str, operation: str, handler: Handler) -> web.RouteDef:
        async def handle(request: web.Request) -> web.StreamResponse:
            named = operation
            if not named:  # the action stands in the body
                named = str((await body_of(request)).get("action"))
            await self.door.pass_through(request, "v2", named, request.match_info.get("id", ""))
            return await handler(request)

        return web.route(method, f"/v2{path}", handle)

    def show(self, pod: Pod, operation: str, status: str = "") -> Json:
        """A pod, as in runpodctl's tests and the migration notes."""
        wish, world = pod.wish, self.world
        status = status or world.v2_status(pod)
        runtime = None
        if world.has_runtime(pod):
            ip, _public = world.address(pod, "v2")
            port = world.shown_port(pod)
            ports = [
                # http ports are reported on an address of the proxy's
                {"ip": "100.65.17.95", "private": int(p[:-5]), "public": 60000 + n, "type": "http"}
                for n, p in enumerate(wish.ports)
                if p.endswith("/http")
            ]
            if port is not None:
                ports.append({"ip": ip, "private": 22, "public": port, "type": "tcp"})
            gpus = [{"id": f"GPU-{pod.id}-{n}", "utilization": 0} for n in range(pod.gpus)]
            runtime = {"uptime": world.uptime(pod), "gpus": gpus, "ports": ports}
        network = [{"volumeId": wish.volume, "path": wish.mount}] if wish.volume else []
        persistent = {"size": wish.volume_gb, "path": wish.mount} if wish.volume_gb else None
        actions = ["restart", "stop", "terminate"] if status != "EXITED" else ["start", "terminate"]
        return {
            "id": pod.id,
            "name": wish.name,
            "status": status,
            "image": wish.image,
            "createdAt": rfc3339(pod.created),
            "gpu": {"id": wish.gpu, "count": pod.gpus, "vcpuCount": 9, "memory": 50},
            "cpu": None,
            "disk": wish.disk_gb,
            "mounts": {"persistent": persistent, "network": network},
            "ports": wish.ports,
            "env": wish.env,
            "cost": world.shown_price(pod, "v2", operation),
            "dataCenterId": pod.data_center,
            "cloud": wish.cloud,
            "locked": pod.locked,
            "template": None,
            "registry": None,
            "actions": actions,
            "runtime": runtime,
        }

    async def list(self, request: web.Request) -> web.Response:
        """Unknown query parameters are ignored; pages by limit and cursor."""
        pods = self.world.listed("v2")
        try:
            start, limit = int(request.query.get("cursor", 0)), int(request.query.get("limit", 100))
        except ValueError:
            raise refusal_of(400, "invalid limit or cursor") from None
        more = len(pods) > start + limit
        return web.json_response(
            {
                "pods": [self.show(pod, "list") for pod in pods[start : start + limit]],
                "pagination": {
                    "hasNextPage": more,
                    "nextCursor": str(start + limit) if more else None,
                },
            }
        )

    async def get(self, request: web.Request) -> web.Response:
        pod = self.world.find(request.match_info["id"])
        return web.json_response(self.show(pod, "get"))

    async def create(self, request: web.Request) -> web.Response:
        pod = await self.world.create(self.wish(await body_of(request)))
        return web.json_response(self.show(pod, "create"), status=201)

    def wish(self, body: Json) -> Wish:
        """A checked body: unknown and missing fields are named, as the real one does."""
        errors = [f"$: missing property '{name}'" for name in ("name",) if not body.get(name)]
        extra = sorted(set(body) - self.FIELDS)
        if extra:
            named = ", ".join(f"'{name}'" for name in extra)
            errors.append(f"$: additional properties {named} not allowed")
        if not body.get("image") and not body.get("templateId"):
            errors.append("$: missing property 'image'")
        if not all(isinstance(value, str) for value in body.get("env", {}).values()):
            errors.append("$.env: got number, want string")
        if body.get("cloud", "SECURE") not in ("SECURE", "COMMUNITY"):
            errors.append("$.cloud: value must be one of 'SECURE', 'COMMUNITY'")
        if errors:
            raise Refusal("Request validation failed.", v2=422, errors=errors)
        gpu, mounts = body.get("gpu"), body.get("mounts") or {}
        if not gpu or body.get("cpu"):
            raise Refusal("exactly one of gpu or cpu must be set")  # CPU pods: not here
        network, persistent = mounts.get("network") or [], mounts.get("persistent") or {}
        if network and persistent:
            raise Refusal("mounts.persistent and mounts.network are mutually exclusive")
        if (network and not network[0].get("path")) or (persistent and persistent["size"] < 10):
            raise Refusal("Request validation failed.", v2=422, errors=["$.mounts: not valid"])
        if body.get("templateId") and body["templateId"] not in TEMPLATES:
            raise Refusal("template not found", v2=404)
        mount = network[0]["path"] if network else persistent.get("path", "")
        return Wish(
            "v2",
            body["name"],
            gpu["id"],
            count=gpu.get("count", 1),
            image=body.get("image", ""),
            template=body.get("templateId", ""),
            cloud=body.get("cloud", "SECURE"),
            data_centers=body.get("dataCenterIds", []),
            volume=network[0]["volumeId"] if network else "",
            mount=mount,
            disk_gb=body.get("disk", 20),
            volume_gb=persistent.get("size", 0),
            ports=body.get("ports", []),
            env=body.get("env", {}),
        )

    async def update(self, request: web.Request) -> web.Response:
        pod, body = self.world.find(request.match_info["id"]), await body_of(request)
        pod.wish.name = body.get("name", pod.wish.name)
        pod.wish.env.update(body.get("env", {}))
        pod.locked = body.get("locked", pod.locked)
        return web.json_response(self.show(pod, "update"))

    async def delete(self, request: web.Request) -> web.Response:
        await self.world.terminate(self.world.find(request.match_info["id"]), "v2")
        return web.Response(status=204)

    async def action(self, request: web.Request) -> web.Response:
        action = (await body_of(request)).get("action")
        if action not in self.ACTIONS:
            allowed = ", ".join(f"'{name}'" for name in self.ACTIONS)
            errors = [f"$.action: value must be one of {allowed}"]
            raise Refusal("Request validation failed.", v2=422, errors=errors)
        pod, claims = self.world.find(request.match_info["id"]), ""
        if action == "start":
            await self.world.start(pod, "v2")
        elif action == "stop":
            claims = await self.world.stop(pod, "v2")
        elif action == "restart":
            await self.world.restart(pod)
        else:
            await self.world.terminate(pod, "v2")
            claims = "TERMINATED"
        return web.json_response(self.show(pod, action, claims))

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the lines there are, and then the connection stays open for ever."""
        pod = self.world.find(request.match_info["id"])
        lines = [("system", pod.created, f"create container {pod.wish.image}")]
        if not self.world.is_up(pod):
            lines.append(("system", self.world.now(), f"still fetching image {pod.wish.image}"))
        else:
            lines.append(("container", pod.boot_until, "Starting ComfyUI"))
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for source, at, line in lines:
            if request.query.get("source", source) == source:
                event = {"source": source, "line": line, "ts": rfc3339(at)}
                await answer.write(f"id: {rfc3339(at)}\ndata: {json.dumps(event)}\n\n".encode())
        while not self.world.closing.is_set() and request.transport is not None:
            await asyncio.sleep(0.2)
        return answer

    def level(self, gpu: str, data_center: str) -> str:
        return self.world.stock[gpu].get(data_center, "None").upper()

    async def gpus(self, request: web.Request) -> web.Response:
        """Stock is there only when it is asked for: ?include=AVAILABILITY."""
        answer, ranks = [], ["HIGH", "MEDIUM", "LOW", "NONE"]
        for gpu, name, memory, _secure, _community, pool in GPUS:
            price = self.world.prices[gpu]
            entry: Json = {
                "id": gpu,
                "name": name,
                "memory": memory,
                "secure": price["SECURE"] is not None,
                "community": price["COMMUNITY"] is not None,
                "pool": pool,
                "price": {"secure": price["SECURE"], "community": price["COMMUNITY"]},
            }
            if "AVAILABILITY" in request.query.get("include", ""):
                centers = [{"id": dc, "availability": self.level(gpu, dc)} for dc in DATA_CENTERS]
                entry["dataCenters"] = [dc for dc in centers if dc["availability"] != "NONE"]
                levels = [dc["availability"] for dc in centers]
                if price["SECURE"] is None:  # community stock has no data centre
                    levels.append("LOW")
                entry["availability"] = min(levels, key=ranks.index)
            answer.append(entry)
        return web.json_response({"gpus": answer})

    async def cpus(self, request: web.Request) -> web.Response:
        return web.json_response({"cpus": []})

    async def data_centers(self, request: web.Request) -> web.Response:
        answer = []
        for dc, (_country, region, _stock) in DATA_CENTERS.items():
            entry: Json = {
                "id": dc,
                "name": dc,
                "region": region,
                "networkVolumeTypes": ["STANDARD"],
                "compliance": [],
            }
            if "GPU_AVAILABILITY" in request.query.get("include", ""):
                entry["gpuAvailability"] = [
                    {"id": row[0], "name": row[1], "availability": self.level(row[0], dc)}
                    for row in GPUS
                    if self.level(row[0], dc) != "NONE"
                ]
            answer.append(entry)
        return web.json_response({"dataCenters": answer})

    @staticmethod
    def show_volume(volume: Json) -> Json:
        """v2 calls it dataCenter."""
        renamed = {"dataCenter": volume["dataCenterId"], "type": "STANDARD"}
        return {**{name: volume[name] for name in ("id", "name", "size")}, **renamed}

    async def volumes(self, request: web.Request) -> web.Response:
        return web.json_response({"networkVolumes": [self.show_volume(v) for v in VOLUMES]})

    async def volume(self, request: web.Request) -> web.Response:
        for volume in VOLUMES:
            if volume["id"] == request.match_info["id"]:
                return web.json_response(self.show_volume(volume))
        raise not_found("network volume")

    async def keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": self.world.ssh_keys})

    async def set_keys(self, request: web.Request) -> web.Response:
        """The whole set is replaced; pods take new keys in when they boot."""
        self.world.ssh_keys = list((await body_of(request)).get("keys", []))
        return web.json_response({"keys": self.world.ssh_keys})

    async def billing(self, request: web.Request) -> web.Response:
        """One record a pod; real ones are also split by the bucket of time."""
        self.world.balance()
        wanted = request.query.get("podId")
        records = [
            {
                "podId": pod.id,
                "time": rfc3339(pod.created),
                "totalAmount": pod.billed,
                "gpuAmount": pod.gpu_usd,
                "cpuAmount": 0,
                "diskAmount": pod.disk_usd,
                "timeBilledMs": int(pod.running_seconds * 1000),
            }
            for pod in self.world.pods.values()
            if wanted in (None, pod.id)
        ]
        amounts = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")
        totals = {name: sum(float(str(record[name])) for record in records) for name in amounts}
        metadata = {
            "query": dict(request.query),
            "recordCount": len(records),
            "uniquePodCount": len(records),
            "totals": totals,
        }
        return web.json_response({"records": records, "metadata": metadata})


# --- REST v1 --------------------------------------------------------------------------------------


class V1:
    """https://rest.runpod.io/v1: what runpodctl up to 2.10 uses for all but create, ssh, GPUs."""

    def __init__(self, world: World, door: Door) -> None:
        self.world, self.door = world, door

    def routes(self) -> list[web.RouteDef]:
        return [
            self.route("GET", "/pods", "list", self.list),
            self.route("POST", "/pods", "create", self.create),
            self.route("GET", "/pods/{id}", "get", self.get),
            self.route("PATCH", "/pods/{id}", "update", self.update),
            self.route("DELETE", "/pods/{id}", "terminate", self.delete),
            self.route("POST", "/pods/{id}/start", "start", self.start),
            self.route("POST", "/pods/{id}/stop", "stop", self.stop),
            self.route("POST", "/pods/{id}/restart", "restart", self.restart),
            self.route("POST", "/pods/{id}/reset", "reset", self.reset),
            self.route("GET", "/networkvolumes", "volumes", self.volumes),
            self.route("GET", "/networkvolumes/{id}", "volumes", self.volume),
            self.route("GET", "/billing/pods", "billing", self.billing),
        ]

    def route(self, method: str, path: str, operation: str, handler: Handler) -> web.RouteDef:
        async def handle(request: web.Request) -> web.StreamResponse:
            await self.door.pass_through(request, "v1", operation, request.match_info.get("id", ""))
            return await handler(request)

        return web.route(method, f"/v1{path}", handle)

    def show(self, request: web.Request, pod: Pod, operation: str, status: str = "") -> Json:
        """A pod as of the v1 specification. `runtime` is never there; a price of 0 is left out."""
        wish, world = pod.wish, self.world
        ip, public = world.address(pod, "v1")
        port = world.shown_port(pod) if public else None
        shown: Json = {
            "id": pod.id,
            "name": wish.name,
            "desiredStatus": status or pod.status,
            "createdAt": go_time(pod.created),
            "lastStatusChange": pod.change,
            "lastStartedAt": go_time(pod.boot_from),
            "image": wish.image,
            "imageName": wish.image,
            "templateId": wish.template,
            "gpuTypeId": wish.gpu,
            "gpuCount": pod.gpus,
            "gpu": {"id": wish.gpu, "count": pod.gpus, "displayName": display_name(wish.gpu)},
            "volumeInGb": wish.volume_gb,
            "containerDiskInGb": wish.disk_gb,
            "memoryInGb": 50,
            "vcpuCount": 9,
            "volumeMountPath": wish.mount,
            "ports": wish.ports,
            "env": wish.env,
            "interruptible": False,
            "locked": pod.locked,
            "publicIp": ip if port is not None else "",
            "portMappings": {"22": port} if port is not None else None,
            "machineId": f"m{pod.id}",
        }
        price = world.shown_price(pod, "v1", operation)
        if price:
            shown["costPerHr"] = shown["adjustedCostPerHr"] = price
        if wish.volume:
            shown["networkVolumeId"] = wish.volume
            if request.query.get("includeNetworkVolume") == "true":
                shown["networkVolume"] = next(v for v in VOLUMES if v["id"] == wish.volume)
        if request.query.get("includeMachine") == "true":
            shown["machine"] = {
                "dataCenterId": pod.data_center,
                "gpuTypeId": wish.gpu,
                "location": DATA_CENTERS[pod.data_center][0],
                "secureCloud": wish.cloud == "SECURE",
            }
        return shown

    async def list(self, request: web.Request) -> web.Response:
        """A bare array; filters are the server's."""
        wanted = request.query
        return web.json_response(
            [
                self.show(request, pod, "list")
                for pod in self.world.listed("v1")
                if wanted.get("name", pod.wish.name).lower() == pod.wish.name.lower()
                and wanted.get("desiredStatus", pod.status) == pod.status
                and wanted.get("gpuTypeId", pod.wish.gpu) == pod.wish.gpu
                and wanted.get("dataCenterId", pod.data_center) == pod.data_center
                and wanted.get("computeType", "GPU") == "GPU"
            ]
        )

    async def get(self, request: web.Request) -> web.Response:
        pod = self.world.find(request.match_info["id"])
        return web.json_response(self.show(request, pod, "get"))

    async def create(self, request: web.Request) -> web.Response:
        """The first of gpuTypeIds that can be had; ports, volume and mount have defaults here."""
        body, refused = await body_of(request), Refusal("gpuTypeIds is required", v1=400)
        if not body.get("imageName") and body.get("templateId") not in TEMPLATES:
            raise Refusal("imageName or templateId is required", v1=400)
        for gpu in body.get("gpuTypeIds", []):
            wish = Wish(
                "v1",
                body.get("name", "my pod"),
                gpu,
                count=body.get("gpuCount", 1),
                image=body.get("imageName", ""),
                template=body.get("templateId", ""),
                cloud=body.get("cloudType", "SECURE"),
                data_centers=body.get("dataCenterIds", []),
                volume=body.get("networkVolumeId", ""),
                mount=body.get("volumeMountPath", "/workspace"),
                disk_gb=body.get("containerDiskInGb", 50),
                volume_gb=0 if body.get("networkVolumeId") else body.get("volumeInGb", 20),
                ports=body.get("ports", ["8888/http", "22/tcp"]),
                env=body.get("env", {}),
                public_ip=body.get("cloudType") != "COMMUNITY" or bool(body.get("supportPublicIp")),
            )
            try:
                pod = await self.world.create(wish)
            except Refusal as refusal:
                refused = refusal
                if refusal.code != "SUPPLY_CONSTRAINT":
                    break
            else:
                return web.json_response(self.show(request, pod, "create"), status=201)
        raise refused

    async def update(self, request: web.Request) -> web.Response:
        pod, body = self.world.find(request.match_info["id"]), await body_of(request)
        pod.wish.name = body.get("name", pod.wish.name)
        pod.wish.env.update(body.get("env", {}))
        pod.locked = body.get("locked", pod.locked)
        return web.json_response(self.show(request, pod, "update"))

    async def delete(self, request: web.Request) -> web.Response:
        await self.world.terminate(self.world.find(request.match_info["id"]), "v1")
        return web.Response(status=204)

    async def start(self, request: web.Request) -> web.Response:
        pod = self.world.find(request.match_info["id"])
        await self.world.start(pod, "v1")
        return web.json_response(self.show(request, pod, "start"))

    async def stop(self, request: web.Request) -> web.Response:
        pod = self.world.find(request.match_info["id"])
        claims = await self.world.stop(pod, "v1")
        return web.json_response(self.show(request, pod, "stop", claims))

    async def restart(self, request: web.Request) -> web.Response:
        """Says that all is well, and does nothing (runpod-python#450)."""
        pod = self.world.find(request.match_info["id"])
        return web.json_response(self.show(request, pod, "restart"))

    async def reset(self, request: web.Request) -> web.Response:
        pod = self.world.find(request.match_info["id"])
        await self.world.restart(pod)
        return web.json_response(self.show(request, pod, "reset"))

    async def volumes(self, request: web.Request) -> web.Response:
        return web.json_response(VOLUMES)

    async def volume(self, request: web.Request) -> web.Response:
        for volume in VOLUMES:
            if volume["id"] == request.match_info["id"]:
                return web.json_response(volume)
        raise not_found("network volume")

    async def billing(self, request: web.Request) -> web.Response:
        self.world.balance()
        wanted = request.query.get("podId")
        return web.json_response(
            [
                {
                    "time": f"{utc(pod.created):%Y-%m-%d %H:00:00}",
                    "amount": pod.billed,
                    "timeBilledMs": int(pod.running_seconds * 1000),
                    "diskSpaceBilledGb": pod.wish.volume_gb + pod.wish.disk_gb,
                    "podId": pod.id,
                    "gpuTypeId": pod.wish.gpu,
                }
                for pod in self.world.pods.values()
                if wanted in (None, pod.id)
            ]
        )


def display_name(gpu: str) -> str:
    return next((row[1] for row in GPUS if row[0] == gpu), gpu)


# --- GraphQL --------------------------------------------------------------------------------------


@dataclass
class Field:
    """A selected field: name, its key in the answer, arguments, and what is selected of it."""

    name: str
    key: str
    arguments: Json
    fields: list[Field] | None


class Query:
    """As much of a GraphQL document as clients send: one operation, no fragments."""

    TOKEN = re.compile(
        r'"(?:[^"\\]|\\.)*"|\$?[A-Za-z_]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[!{}()\[\]:=]'
    )

    def __init__(self, text: str, variables: Json) -> None:
        text = re.sub(r"#[^\n]*", "", text)
        self.tokens, self.at, self.variables = self.TOKEN.findall(text), 0, variables
        try:
            self.mutation = self.tokens[0] == "mutation"
            while self.tokens[self.at] != "{":
                if self.tokens[self.at] == "(":
                    self.at = self.tokens.index(")", self.at)
                self.at += 1
            self.fields = self._selection()
        except (IndexError, ValueError):
            raise refusal_of(400, "Syntax Error: Unexpected <EOF>.") from None

    def _next(self) -> str:
        self.at += 1
        return str(self.tokens[self.at - 1])

    def _selection(self) -> list[Field]:
        fields = []
        self._next()
        while self.tokens[self.at] != "}":
            key = name = self._next()
            if self.tokens[self.at] == ":":
                self._next()
                name = self._next()
            arguments = self._object(")") if self.tokens[self.at] == "(" else {}
            inner = self._selection() if self.tokens[self.at] == "{" else None
            fields.append(Field(name, key, arguments, inner))
        self._next()
        return fields

    def _object(self, end: str) -> Json:
        found: Json = {}
        self._next()
        while self.tokens[self.at] != end:
            name = self._next()
            self._next()
            found[name] = self._value()
        self._next()
        return found

    def _value(self) -> Any:
        token = str(self.tokens[self.at])
        if token == "{":
            return self._object("}")
        if token == "[":
            self._next()
            items = []
            while self.tokens[self.at] != "]":
                items.append(self._value())
            self._next()
            return items
        self._next()
        if token.startswith("$"):
            return self.variables.get(token[1:])
        with contextlib.suppress(ValueError):
            return json.loads(token)
        return token  # an enum's value


def select(value: Any, wanted: Field) -> Any:
    """What is asked for of `value`, whose dicts are whole types with a __typename."""
    if isinstance(value, list):
        return [select(item, wanted) for item in value]
    if not isinstance(value, dict) or "__typename" not in value:
        return value
    if not wanted.fields:
        text = f'Field "{wanted.name}" of type "{value["__typename"]}" must have a selection'
        raise refusal_of(400, f"{text} of subfields.", code="GRAPHQL_VALIDATION_FAILED")
    answer = {}
    for inner in wanted.fields:
        if inner.name not in value:
            text = f'Cannot query field "{inner.name}" on type "{value["__typename"]}".'
            raise refusal_of(400, text, code="GRAPHQL_VALIDATION_FAILED")
        answer[inner.key] = select(value[inner.name], inner)
    return answer


class GraphQL:
    """https://api.runpod.io/graphql: the account's money and keys for every runpodctl; create, ssh
    addresses, GPUs and data centres for those up to 2.10."""

    ROOTS = {
        "podFindAndDeployOnDemand": "create",
        "podStop": "stop",
        "podResume": "start",
        "podTerminate": "terminate",
        "pod": "get",
        "gpuTypes": "gpus",
        "dataCenters": "datacenters",
        "updateUserSettings": "set_keys",
    }

    def __init__(self, world: World, door: Door) -> None:
        self.world, self.door = world, door

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/graphql", self.answer)]

    def operation(self, root: Field) -> str:
        if root.name != "myself":
            return self.ROOTS.get(root.name, root.name)
        names = {inner.name for inner in root.fields or []}
        for name, operation in (
            ("pods", "list"),
            ("networkVolumes", "volumes"),
            ("pubKey", "keys"),
        ):
            if name in names:
                return operation
        return "user"

    async def answer(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        query = Query(str(body.get("query", "")), body.get("variables") or {})
        data: Json = {}
        for root in query.fields:
            target = (root.arguments.get("input") or {}).get("podId", "")
            operation = self.operation(root)
            await self.door.pass_through(request, "graphql", operation, target)
            resolve = getattr(self, f"root_{root.name}", None)
            if resolve is None:
                kind = "Mutation" if query.mutation else "Query"
                text = f'Cannot query field "{root.name}" on type "{kind}".'
                raise refusal_of(400, text, code="GRAPHQL_VALIDATION_FAILED")
            try:
                data[root.key] = select(await resolve(root, operation), root)
            except Refusal as refusal:
                if refusal.http:
                    raise
                error = {
                    "message": refusal.text,
                    "path": [root.key],
                    "extensions": {"code": refusal.code},
                }
                return web.json_response({"errors": [error], "data": {root.key: None}})
        return web.json_response({"data": data})

    def show(self, pod: Pod, operation: str, status: str = "") -> Json:
        """Ports are one text and env is a list of K=V, unlike REST's."""
        wish, world = pod.wish, self.world
        runtime = None
        if world.has_runtime(pod):
            ip, public = world.address(pod, "graphql")
            port = world.shown_port(pod)
            ports = [
                self.port("100.65.17.95", False, int(p[:-5]), 60000 + n, "http")
                for n, p in enumerate(wish.ports)
                if p.endswith("/http")
            ]
            if port is not None:
                ports.append(self.port(ip, public, 22, port, "tcp"))
            runtime = {
                "__typename": "PodRuntime",
                "uptimeInSeconds": world.uptime(pod),
                "ports": ports,
            }
        volume = next((self.volume(v) for v in VOLUMES if v["id"] == wish.volume), None)
        price = world.shown_price(pod, "graphql", operation)
        return {
            "__typename": "Pod",
            "id": pod.id,
            "name": wish.name,
            "imageName": wish.image,
            "desiredStatus": status or pod.status,
            "costPerHr": price,
            "adjustedCostPerHr": price,
            "containerDiskInGb": wish.disk_gb,
            "createdAt": rfc3339(pod.created),
            "dockerArgs": "",
            "dockerId": None,
            "env": [f"{name}={value}" for name, value in wish.env.items()],
            "gpuCount": pod.gpus,
            "lastStartedAt": rfc3339(pod.boot_from),
            "lastStatusChange": pod.change,
            "locked": pod.locked,
            "machine": {
                "__typename": "PodMachineInfo",
                "gpuDisplayName": display_name(wish.gpu),
                "gpuTypeId": wish.gpu,
                "location": DATA_CENTERS[pod.data_center][0],
                "dataCenterId": pod.data_center,
                "secureCloud": wish.cloud == "SECURE",
                "podHostId": f"{pod.id}-64410abc",
            },
            "machineId": f"m{pod.id}",
            "memoryInGb": 50,
            "networkVolume": volume,
            "networkVolumeId": wish.volume or None,
            "podType": "RESERVED",
            "port": None,
            "ports": ",".join(wish.ports),
            "runtime": runtime,
            "templateId": wish.template or None,
            "uptimeSeconds": 0,
            "vcpuCount": 9,
            "volumeInGb": wish.volume_gb,
            "volumeMountPath": wish.mount,
        }

    @staticmethod
    def port(ip: str, public: bool, private_port: int, public_port: int, kind: str) -> Json:
        return {
            "__typename": "PodRuntimePorts",
            "ip": ip,
            "isIpPublic": public,
            "privatePort": private_port,
            "publicPort": public_port,
            "type": kind,
        }

    @staticmethod
    def volume(volume: Json) -> Json:
        return {"__typename": "NetworkVolume", **volume}

    async def root_myself(self, root: Field, operation: str) -> Json:
        world = self.world
        wants_pods = any(inner.name == "pods" for inner in root.fields or [])
        return {
            "__typename": "User",
            "id": "user_2autopodtest",
            "email": "somebody@example.com",
            "clientBalance": round(world.balance(), 6),
            "currentSpendPerHr": round(world.spend(), 4),
            "spendLimit": world.spend_limit,
            "minBalance": 0,
            "underBalance": False,
            "notifyPodsStale": True,
            "notifyPodsGeneral": True,
            "notifyLowBalance": True,
            "pubKey": "\n\n".join(world.ssh_keys),
            "pods": [self.show(p, "list") for p in world.listed("graphql")] if wants_pods else [],
            "networkVolumes": [self.volume(volume) for volume in VOLUMES],
        }

    async def root_updateUserSettings(self, root: Field, operation: str) -> Json:
        text = (root.arguments.get("input") or {}).get("pubKey", "")
        self.world.ssh_keys = [line.strip() for line in text.splitlines() if line.strip()]
        return await self.root_myself(root, operation)

    async def root_pod(self, root: Field, operation: str) -> Json | None:
        try:
            return self.show(self.world.find(self.target(root)), operation)
        except Refusal:
            return None  # a missing resource is no error here

    @staticmethod
    def target(root: Field) -> str:
        return str((root.arguments.get("input") or {}).get("podId", ""))

    async def root_podStop(self, root: Field, operation: str) -> Json | None:
        pod = self.world.find(self.target(root))
        if self.world.faults.hit("stop_says_nothing", api="graphql", pod=pod.id):
            return None
        return self.show(pod, operation, await self.world.stop(pod, "graphql"))

    async def root_podResume(self, root: Field, operation: str) -> Json:
        pod = self.world.find(self.target(root))
        await self.world.start(pod, "graphql")
        return self.show(pod, operation)

    async def root_podTerminate(self, root: Field, operation: str) -> None:
        """Answers null (its type is Void)."""
        await self.world.terminate(self.world.find(self.target(root)), "graphql")

    async def root_podFindAndDeployOnDemand(self, root: Field, operation: str) -> Json:
        """One dataCenterId; ports are one text; env is a list of {key, value}."""
        wanted: Json = root.arguments.get("input") or {}
        if not wanted.get("imageName") and wanted.get("templateId") not in TEMPLATES:
            raise Refusal("imageName or templateId is required", code="BAD_USER_INPUT")  # ours
        cloud = str(wanted.get("cloudType") or "ALL").replace("ALL", "SECURE")
        pod = await self.world.create(
            Wish(
                "graphql",
                wanted.get("name", "my pod"),
                wanted.get("gpuTypeId", ""),
                count=wanted.get("gpuCount", 1),
                image=wanted.get("imageName", ""),
                template=wanted.get("templateId", ""),
                cloud=cloud,
                data_centers=[wanted["dataCenterId"]] if wanted.get("dataCenterId") else [],
                volume=wanted.get("networkVolumeId", ""),
                mount=wanted.get("volumeMountPath", ""),
                disk_gb=wanted.get("containerDiskInGb", 20),
                volume_gb=wanted.get("volumeInGb", 0),
                ports=[port for port in (wanted.get("ports") or "").split(",") if port],
                env={pair["key"]: pair["value"] for pair in wanted.get("env") or []},
                public_ip=cloud != "COMMUNITY" or bool(wanted.get("supportPublicIp")),
            )
        )
        return self.show(pod, operation)

    def stock(self, gpu: str, data_center: str) -> str | None:
        level = self.world.stock[gpu].get(data_center, "None")
        return None if level == "None" else level

    async def root_gpuTypes(self, root: Field, operation: str) -> list[Json]:
        """A price is 0 where a GPU is not offered, and stockStatus null where there is none."""
        only, answer = (root.arguments.get("input") or {}).get("id"), []
        for gpu, name, memory, *_prices in GPUS:
            price, order = self.world.prices[gpu], ["High", "Medium", "Low"]
            levels = [level for dc in DATA_CENTERS if (level := self.stock(gpu, dc))]
            lowest = [usd for usd in price.values() if usd is not None]
            answer.append(
                {
                    "__typename": "GpuType",
                    "id": gpu,
                    "displayName": name,
                    "memoryInGb": memory,
                    "maxGpuCount": 8,
                    "secureCloud": price["SECURE"] is not None,
                    "communityCloud": price["COMMUNITY"] is not None,
                    "securePrice": price["SECURE"] or 0,
                    "communityPrice": price["COMMUNITY"] or 0,
                    "lowestPrice": {
                        "__typename": "LowestPrice",
                        "gpuName": name,
                        "gpuTypeId": gpu,
                        "minMemory": 50,
                        "minVcpu": 9,
                        "stockStatus": min(levels, key=order.index) if levels else None,
                        "minimumBidPrice": None,
                        "uninterruptablePrice": min(lowest) if lowest else None,
                    },
                }
            )
        return [gpu for gpu in answer if only in (None, gpu["id"])]

    async def root_dataCenters(self, root: Field, operation: str) -> list[Json]:
        return [
            {
                "__typename": "DataCenter",
                "id": dc,
                "name": dc,
                "location": country,
                "listed": True,
                "storageSupport": True,
                "gpuAvailability": [
                    {
                        "__typename": "GpuAvailability",
                        "gpuTypeId": row[0],
                        "displayName": row[1],
                        "stockStatus": self.stock(row[0], dc),
                        "available": self.stock(row[0], dc) is not None,
                    }
                    for row in GPUS
                ],
            }
            for dc, (country, _region, _stock) in DATA_CENTERS.items()
        ]


# --- control --------------------------------------------------------------------------------------


class Control:
    """The tests' own way in."""

    def __init__(self, world: World) -> None:
        self.world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/control/state", self.state),
            web.post("/control", self.change),
            web.delete("/control", self.reset),
        ]

    async def state(self, request: web.Request) -> web.Response:
        world = self.world
        balance = world.balance()
        faults = {
            name: {**how, "used": world.faults.used.get(name, 0)}
            for name, how in world.faults.on.items()
        }
        pods = list(world.pods.values())
        return web.json_response(
            {
                "now": rfc3339(world.now()),
                "balance": round(balance, 6),
                "spend_per_hr": round(world.spend(), 4),
                "running": sum(pod.status == "RUNNING" for pod in pods),
                "left": sum(pod.status != "TERMINATED" for pod in pods),
                "billed_usd": round(sum(pod.billed for pod in pods), 6),
                "pods": [self.show(pod) for pod in pods],
                "requests": world.requests,
                "faults": faults,
                "ssh_keys": world.ssh_keys,
            }
        )

    def show(self, pod: Pod) -> Json:
        wish, world = pod.wish, self.world
        return {
            "id": pod.id,
            "name": wish.name,
            "status": pod.status,
            "lifecycle": world.v2_status(pod),
            "api": wish.api,
            "gpu": wish.gpu,
            "gpu_count": pod.gpus,
            "cloud": wish.cloud,
            "data_center": pod.data_center,
            "data_centers_asked": wish.data_centers,
            "image": wish.image,
            "template": wish.template,
            "env": wish.env,
            "ports": wish.ports,
            "disk_gb": wish.disk_gb,
            "volume_gb": wish.volume_gb,
            "volume_id": wish.volume or None,
            "mount": wish.mount or None,
            "price": pod.price,
            "created": rfc3339(pod.created),
            "stopped": rfc3339(pod.stopped) if pod.stopped else None,
            "terminated": rfc3339(pod.terminated) if pod.terminated else None,
            "running_seconds": round(pod.running_seconds, 3),
            "stopped_seconds": round(pod.stopped_seconds, 3),
            "billed_usd": round(pod.billed, 6),
            "locked": pod.locked,
            "ssh_port": world.shown_port(pod),
            "real_port": pod.port,
            "machine": str(world.home / "local" / pod.local_id) if pod.local_id else None,
            "machine_on": pod.on,
            "trouble": pod.trouble or None,
        }

    async def change(self, request: web.Request) -> web.Response:
        world, body = self.world, await body_of(request)
        known = (
            "faults balance spend_limit boot_delay machines ssh_keys advance_seconds stock prices"
        )
        unknown = set(body) - set(f"{known} pods add_pods forget_requests".split())
        if unknown:
            raise refusal_of(400, f"control knows no {', '.join(sorted(unknown))}")
        world.faults.switch(body.get("faults", {}))
        if "balance" in body:
            world.credit += body["balance"] - world.balance()
        for name in ("spend_limit", "boot_delay", "machines", "ssh_keys"):
            if name in body:
                setattr(world, name, body[name])
        for gpu, levels in body.get("stock", {}).items():
            world.stock[gpu].update(levels)
        for gpu, prices in body.get("prices", {}).items():
            world.prices[gpu].update({cloud.upper(): usd for cloud, usd in prices.items()})
        if body.get("forget_requests"):
            world.requests.clear()
        for entry in body.get("add_pods", []):
            self.add(entry)
        for pod_id, wanted in body.get("pods", {}).items():
            await self.act(world.find(pod_id), wanted)
        world.offset += body.get("advance_seconds", 0)
        await world.collect_debts()
        return await self.state(request)

    def add(self, entry: Json) -> None:
        """A pod that somebody else made, without a machine."""
        wish = Wish(
            "console",
            entry.get("name", "somebody's pod"),
            entry.get("gpu", "NVIDIA A40"),
            count=entry.get("gpu_count", 1),
            image=entry.get("image", "runpod/pytorch"),
            cloud=entry.get("cloud", "SECURE"),
            volume=entry.get("volume_id", ""),
            mount="/workspace",
            volume_gb=entry.get("volume_gb", 0),
            ports=entry.get("ports", ["22/tcp"]),
            env=entry.get("env", {}),
        )
        place = entry.get("data_center", "US-GA-1")
        pod = self.world.add(wish, place, machine=False, age=entry.get("age", 0.0))
        pod.status = entry.get("status", "RUNNING")
        pod.boot_from = pod.boot_until = pod.created
        if pod.status == "RUNNING":
            pod.port, pod.on = random.randint(10000, 59999), True
        else:
            pod.stopped = pod.created
            pod.change = status_change("Exited by user", pod.created)

    async def act(self, pod: Pod, wanted: Json) -> None:
        pod.locked = wanted.get("locked", pod.locked)
        action = wanted.get("action")
        if action == "start":
            await self.world.start(pod, "console")
        elif action in ("stop", "terminate"):
            status = {"stop": "EXITED", "terminate": "TERMINATED"}[action]
            await self.world.set_status(pod, status, wanted.get("who", "user"))
        elif action:
            raise refusal_of(400, f"no such action: {action}")

    async def reset(self, request: web.Request) -> web.Response:
        self.world.balance()
        self.world.normal()
        return await self.state(request)


# --- the program ----------------------------------------------------------------------------------


async def serve(options: argparse.Namespace) -> None:
    world = World(options)
    door = Door(world)
    app = web.Application(middlewares=[door.record], client_max_size=4 << 20)
    for part in (GraphQL(world, door), V1(world, door), V2(world, door), Control(world)):
        app.add_routes(part.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port)
    await site.start()
    port = runner.addresses[0][1]
    world.url = f"http://127.0.0.1:{port}"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, world.closing.set)
    print(f"listening {port}", flush=True)
    await world.closing.wait()
    await asyncio.gather(*(world.set_status(pod, "TERMINATED") for pod in world.pods.values()))
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="RunPod's API on loopback, for tests.")
    parser.add_argument(
        "--port", type=int, default=0, help="0: a free one; `listening PORT` says it"
    )
    parser.add_argument("--state", required=True, metavar="DIR", help="where its pods live")
    parser.add_argument("--comfy-port", type=int, default=0, help="stands for a pod's 8188")
    parser.add_argument("--boot-delay", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument(
        "--ssh-key", action="append", default=[], metavar="FILE", help="of the account"
    )
    parser.add_argument(
        "--no-machines", dest="machines", action="store_false", help="pods are rows"
    )
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
