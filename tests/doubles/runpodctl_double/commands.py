"""The commands of each generation, with the flags that their help names."""

from __future__ import annotations

import sys
from types import ModuleType

from . import newest, v27, v114
from .base import GENERATION, VERSIONS, CliError
from .cobra import Call, Command, Flag

ONE = (1, 1)
ANY = (0, sys.maxsize)


def version(_call: Call) -> None:
    print(f"runpodctl {VERSIONS[GENERATION]}")


def not_done(_call: Call) -> None:
    """The run of commands that the real one has and that nobody here needs."""
    raise CliError("this stand-in for runpodctl does not do that")


def text(name: str, usage: str, default: str = "") -> Flag:
    return Flag(name, "string", default, usage)


def number(name: str, usage: str, default: int = 0) -> Flag:
    return Flag(name, "int", default, usage)


def switch(name: str, usage: str, default: bool = False, short: str = "") -> Flag:
    return Flag(name, "bool", default, usage, short)


LONG_CREATE = """create a new pod.

you can create a pod either from a template or by specifying an image directly."""
LONG_STATUS = """.

runtimeStatus reports what the pod is actually doing, which desiredStatus
cannot: running (container up and reporting), initializing (no container
reported yet - image pull, create or boot), stopped, terminated, or unknown
(not derivable, read desiredStatus)."""
LONG_ROOT = """runpodctl - manage your ai system.

getting started:
  1. get your api key at https://www.runpod.io/console/user/settings
  2. run: runpodctl doctor (will prompt for key and save it)
  or: export RUNPOD_API_KEY=your-key"""

CREATE_FLAGS = [
    text("name", "pod name"),
    text("template-id", "template id (use 'runpodctl template search' to find templates)"),
    text("image", "docker image name (required if no template)"),
    text("compute-type", "compute type (GPU or CPU)", "GPU"),
    text("gpu-id", "gpu id (from 'runpodctl gpu list')"),
    number("gpu-count", "number of gpus", 1),
    number("volume-in-gb", "volume size in gb"),
    number("container-disk-in-gb", "container disk size in gb", 20),
    text("volume-mount-path", "volume mount path", "/workspace"),
    switch("global-networking", "enable global networking (secure cloud only)"),
    switch("public-ip", "require public ip (community cloud only)"),
    text("ports", "comma-separated list of ports (e.g., '8888/http,22/tcp')"),
    text("env", "environment variables as json object"),
    text("cloud-type", "cloud type (SECURE or COMMUNITY)", "SECURE"),
    text("data-center-ids", "comma-separated list of data center ids"),
    switch("ssh", "enable ssh on the pod", True),
    text("network-volume-id", "network volume id to attach"),
    text("min-cuda-version", "minimum cuda version (e.g., 12.6)"),
    text("docker-args", "docker cmd arguments"),
    text("registry-auth-id", "container registry auth id (from 'runpodctl registry list')"),
    text("country-code", "limit pod to a specific country (e.g., US, DE)"),
    text("compliance", "comma-separated compliance requirements (e.g., HIPAA,SOC_2_TYPE_2)"),
]
WAIT_FLAGS = [
    switch("wait", "block until ssh is reachable, then print the pod as 'pod get' does"),
    text("wait-timeout", "max time to wait with --wait, e.g. 90s, 10m, 1h", "10m"),
]
AFTER_FLAGS = [
    text("stop-after", "auto-stop datetime (e.g., 2026-04-15T00:00:00Z)"),
    text("terminate-after", "auto-terminate datetime (e.g., 2026-04-15T00:00:00Z)"),
]
LIST_FLAGS = [
    text("compute-type", "filter by compute type (GPU or CPU)"),
    text("name", "filter by pod name"),
    text("status", "filter by desired status (e.g. RUNNING, EXITED)"),
    text("since", "filter pods created within duration (e.g. 1h, 7d)"),
    text("created-after", "filter pods created after date (e.g. 2025-01-15)"),
    switch("all", "show all pods including exited (default: running only)", short="a"),
]
GET_FLAGS = [
    switch("include-machine", "include machine info"),
    switch("include-network-volume", "include network volume info"),
]
GPU_FLAGS = [switch("include-unavailable", "include gpus with no current availability")]
BILLING_FLAGS = [
    text("start-time", "start time (RFC3339 format)"),
    text("end-time", "end time (RFC3339 format)"),
    text("bucket-size", "bucket size (hour, day, week, month, year)", "day"),
    text("pod-id", "filter by pod id"),
]
GROUPING_FLAGS = [text("grouping", "grouping (podId, gpuId)", "gpuId")]


def pod_commands(how: ModuleType) -> list[Command]:
    """`pod` of 2.x."""
    new = how is newest
    status = LONG_STATUS if new else ""
    create = Command("create", "create a new pod", how.pod_create, LONG_CREATE)
    create.flags += CREATE_FLAGS + (WAIT_FLAGS if new else AFTER_FLAGS)
    create.refused = ["global-networking", "wait", *(["country-code", "compliance"] if new else [])]
    listing = Command(
        "list", "list all pods", how.pod_list, f"list all pods in your account{status}"
    )
    listing.flags += LIST_FLAGS
    get = Command("get <pod-id>", "get pod details", how.pod_get, args=ONE)
    get.long = f"get details for a specific pod by id{status}"
    get.flags += GET_FLAGS
    delete = Command("delete <pod-id>", "delete a pod", how.pod_delete, args=ONE)
    delete.long, delete.aliases = "delete/terminate a pod by id", ["rm", "remove"]
    logs = [Command("logs <pod-id>", "show logs for a pod", not_done, args=ONE)] if new else []
    return [
        *(create, listing, get, delete, *logs),
        Command("start <pod-id>", "start a stopped pod", how.pod_start, args=ONE),
        Command("stop <pod-id>", "stop a running pod", how.pod_stop, args=ONE),
        Command("restart <pod-id>", "restart a pod", not_done, args=ONE),
        Command("update <pod-id>", "update an existing pod", not_done, args=ONE),
    ]


def noun_first(how: ModuleType) -> Command:
    """The commands of 2.x: noun first, JSON."""
    info = Command("info <pod-id>", "show ssh info for a pod", how.ssh_info, args=ONE)
    info.long = "show ssh info for a pod (command + key). does not connect."
    info.flags.append(switch("verbose", "include pod id and name in output", short="v"))
    keys = Command("list-keys", "list all ssh keys", how.ssh_list_keys, args=ANY)
    gpus = Command("list", "list available gpu types", how.gpu_list)
    gpus.flags += GPU_FLAGS
    bills = Command("pods", "view pod billing history", how.billing_pods)
    bills.flags += BILLING_FLAGS + ([] if how is newest else GROUPING_FLAGS)
    volumes = Command("list", "list all network volumes", how.volume_list)
    centers = Command("list", "list all datacenters", how.datacenter_list)
    user = Command("user", "show account info", how.user, aliases=["account", "me"])
    root = Command("runpodctl", "cli for runpod.io", long=LONG_ROOT)
    root.flags += [
        Flag("output", "string", "json", "output format (json, yaml)", "o"),
        switch("version", "print the version of runpodctl", short="v"),
    ]
    return root.adopt(
        Command("pod", "manage gpu pods", aliases=["pods"]).adopt(*pod_commands(how)),
        Command("ssh", "manage ssh keys and connections").adopt(info, keys),
        Command("gpu", "list available gpu types", aliases=["gpus"]).adopt(gpus),
        Command("network-volume", "manage network volumes", aliases=["nv"]).adopt(volumes),
        Command("datacenter", "list datacenters", aliases=["dc"]).adopt(centers),
        Command("billing", "view billing history").adopt(bills),
        user,
        Command("doctor", "diagnose and fix cli issues", not_done),
        Command("version", "print the version", version, args=ANY),
    )


FIRST_CREATE_FLAGS = [
    text("args", "container arguments"),
    switch("communityCloud", "create in community cloud"),
    number("containerDiskSize", "container disk size in GB", 20),
    Flag("cost", "float32", 0, "$/hr price ceiling"),
    text("dataCenterId", "datacenter id to create in"),
    Flag("env", "strings", None, "container arguments"),
    number("gpuCount", "number of GPUs for the pod", 1),
    text("gpuType", "gpu type id, e.g. 'NVIDIA GeForce RTX 3090'"),
    text("imageName", "container image name"),
    number("mem", "minimum system memory needed", 20),
    text("name", "any pod name for easy reference"),
    text("networkVolumeId", "network volume id"),
    Flag("ports", "strings", None, "ports to expose; e.g. '8888/http'"),
    switch("secureCloud", "create in secure cloud"),
    switch("startSSH", "enable SSH login"),
    text("templateId", "templateId to use with the pod"),
    number("vcpu", "minimum vCPUs needed", 1),
    text("volumePath", "container volume path", "/runpod"),
    number("volumeSize", "persistent volume disk size in GB", 1),
]


def verb_first() -> Command:
    """The commands of 1.14: verb first, tables."""
    create = Command("pod", "start a pod", v114.create_pod, required=["gpuType", "imageName"])
    create.flags += FIRST_CREATE_FLAGS
    get = Command("pod [podId]", "get all pods", v114.get_pod, args=(0, 1))
    get.flags.append(switch("allfields", "include all fields in output", short="a"))
    start = Command("pod [podId]", "start a pod", v114.start_pod, args=ONE, refused=["bid"])
    start.flags.append(Flag("bid", "float32", 0, "bid per gpu for spot price"))
    stop = Command("pod [podId]", "stop a pod", v114.stop_pod, args=ONE)
    remove = Command("pod [podId]", "remove a pod", v114.remove_pod, args=ONE)
    connect = Command("connect [pod-id]", "Returns SSH commands", v114.ssh_connect, args=(0, 1))
    keys = Command("list-keys", "List all SSH keys", v114.ssh_list_keys, args=ANY)
    root = Command("runpodctl", "CLI for runpod.io")
    root.flags.append(switch("version", "Print the version of runpodctl", short="v"))
    return root.adopt(
        Command("create", "create a resource").adopt(create),
        Command("get", "get resource").adopt(get),
        Command("start", "start a resource").adopt(start),
        Command("stop", "stop a resource").adopt(stop),
        Command("remove", "remove a resource").adopt(remove),
        Command("ssh", "SSH keys and commands").adopt(connect, keys),
        Command("config", "Manage CLI configuration", not_done),
        Command("version", "runpodctl version", version, args=ANY),
    )


GENERATIONS = {
    "main": lambda: noun_first(newest),
    "2.7": lambda: noun_first(v27),
    "1.14": verb_first,
}
