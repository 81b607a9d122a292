"""The newest generation: REST v2, errors with codes, runtimeStatus."""

from __future__ import annotations

import re
import shlex
from typing import Any, Callable
from urllib.parse import quote

from .api import Client
from .base import CliError, during, show, without_empty
from .cobra import Call
from .pods import (
    LISTED,
    POD_GONE,
    billing_query,
    check_create,
    connection,
    created_text,
    env_map,
    is_public,
    key_info,
    key_records,
    list_cutoff,
    rank,
    runtime_state,
    show_user,
    wanted,
)

NO_KEY = (
    "api key not found. get your key at https://www.runpod.io/console/user/settings "
    "then: export RUNPOD_API_KEY=your-key OR run: runpodctl doctor"
)


def new_client() -> Client:
    return Client(NO_KEY)


def go_time(stamp: Any) -> str:
    """An RFC 3339 time in the layout of Go's time.String, which v1 had and v2 is put into."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+?)0*)?Z", str(stamp or ""))
    if not found:
        return str(stamp or "")
    fraction = f".{found[3]}" if found[3] else ""
    return f"{found[1]} {found[2]}{fraction} +0000 UTC"


def v2_desired(pod: dict[str, Any]) -> str:
    """The state that was asked for, from the state that v2 observes."""
    status = str(pod.get("status") or "").upper()
    return "RUNNING" if status in ("PROVISIONING", "STARTING", "RUNNING", "ERROR") else status


def v2_ports(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """v2's port mappings with GraphQL's names."""
    return [
        {
            "ip": port.get("ip") or "",
            "isIpPublic": port.get("type") == "tcp" and is_public(port.get("ip") or ""),
            "privatePort": port.get("private"),
            "publicPort": port.get("public") or 0,
        }
        for port in (pod.get("runtime") or {}).get("ports") or []
    ]


def v2_state(pod: dict[str, Any]) -> tuple[str, str]:
    return runtime_state(v2_desired(pod), pod.get("runtime") is not None, None)


def v2_to_pod(pod: dict[str, Any]) -> dict[str, Any]:
    """A v2 pod with the field names that runpodctl has always printed."""
    machine = pod.get("gpu") or pod.get("cpu") or {}
    mounts = pod.get("mounts") or {}
    persistent = mounts.get("persistent") or {}
    network = (mounts.get("network") or [{}])[0]
    record = {
        "id": pod.get("id", ""),
        "name": pod.get("name", ""),
        "desiredStatus": v2_desired(pod),
        "createdAt": go_time(pod.get("createdAt")),
        "imageName": pod.get("image") or "",
        "gpuTypeId": (pod.get("gpu") or {}).get("id"),
        "gpuCount": (pod.get("gpu") or {}).get("count") or 0,
        "volumeInGb": persistent.get("size") or 0,
        "containerDiskInGb": pod.get("disk") or 0,
        "memoryInGb": int(machine.get("memory") or 0),
        "vcpuCount": int(machine.get("vcpuCount") or 0),
        "volumeMountPath": persistent.get("path") or network.get("path"),
        "ports": pod.get("ports"),
        "dockerStartCmd": pod.get("cmd"),
        "dockerEntrypoint": pod.get("entrypoint"),
        "costPerHr": pod.get("cost"),
        "networkVolumeId": network.get("volumeId"),
        "env": pod.get("env"),
    }
    always = [
        "gpuCount",
        "volumeInGb",
        "containerDiskInGb",
        "id",
        "name",
        "desiredStatus",
        "imageName",
    ]
    return without_empty(record, *(name for name in record if name not in always))


def v2_not_ready(pod: dict[str, Any]) -> str:
    """Why there is no ssh connection yet."""
    status, _reason = v2_state(pod)
    ports = pod.get("ports") or []
    pod_id = pod["id"]
    if status == "initializing":
        return "pod not ready: no container reported yet (image pull, container create or boot)"
    if status == "stopped":
        return f"pod not ready: pod is stopped; start it with 'runpodctl pod start {pod_id}'"
    if status == "terminated":
        return "pod not ready: pod is terminated"
    if status != "running":
        return "pod not ready"
    if not any(port.split("/")[0].strip() == "22" for port in ports):
        more = ",".join([*ports, "22/tcp"])
        return (
            "pod not ready: pod does not publish 22/tcp; add it with "
            f"'runpodctl pod update {pod_id} --ports {more}' "
            "(--ports replaces the whole list, and changing it may restart the container)"
        )
    if any(port["privatePort"] == 22 for port in v2_ports(pod)):
        return "pod not ready: port 22 is mapped but not publicly routable on this machine"
    return "pod not ready: port 22 is declared but the host has not published a mapping for it yet"


def v2_ssh(client: Client, pod: dict[str, Any]) -> dict[str, Any]:
    """The ssh block of a pod: a connection, or why there is none."""
    key = key_info(lambda: client.rest_v2("GET", "/account/ssh-keys").get("keys") or [])
    found = connection(pod, v2_ports(pod), key)
    if found and v2_state(pod)[0] not in POD_GONE:
        return found
    error = v2_not_ready(pod)
    return {"error": error, "id": pod["id"], "name": pod["name"], "status": v2_desired(pod)}


def v2_pods(client: Client) -> list[dict[str, Any]]:
    """All pods, page by page."""
    pods: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = client.rest_v2("GET", "/pods", {"cursor": cursor})
        pods += page.get("pods") or []
        paging = page.get("pagination") or {}
        cursor = paging.get("nextCursor") or ""
        if not (paging.get("hasNextPage") and cursor):
            return pods


def v2_path(pod_id: str, more: str = "") -> str:
    """The path of a pod. Without an id the request isn't made: it would reach the collection."""
    if not pod_id:
        raise CliError("a resource id is required", "usage_error")
    return f"/pods/{quote(pod_id, safe='')}{more}"


def pod_list(call: Call) -> None:
    client = new_client()
    pods = [pod for pod in v2_pods(client) if call.name.lower() in ("", pod["name"].lower())]
    if call.since and call.created_after:
        raise CliError("--since and --created-after cannot be used together")
    cutoff = list_cutoff(call)
    if call.all and call.status:
        raise CliError("--all and --status cannot be used together")
    items = []
    for raw in pods:
        pod = v2_to_pod(raw)
        if not wanted(pod, call, cutoff):
            continue
        item = {name: pod[name] for name in LISTED if name in pod}
        status, reason = v2_state(raw)
        item.update(runtimeStatus=status, runtimeStatusReason=reason)
        item["createdAt"] = created_text(pod)
        uptime = (raw.get("runtime") or {}).get("uptime")
        if status == "running" and uptime is not None:
            item["uptimeSeconds"] = uptime
        items.append(without_empty(item, "runtimeStatusReason", "createdAt"))
    show(items)


def pod_get(call: Call) -> None:
    client = new_client()
    with during("failed to get pod"):
        raw = client.rest_v2("GET", v2_path(call.args[0]))
    pod = v2_to_pod(raw)
    if call.include_machine:
        secure = str(raw.get("cloud")).upper() == "SECURE"
        pod["machine"] = {"dataCenterId": raw.get("dataCenterId") or "", "secureCloud": secure}
    status, reason = v2_state(raw)
    pod.update(runtimeStatus=status, runtimeStatusReason=reason, ssh=v2_ssh(client, raw))
    uptime = (raw.get("runtime") or {}).get("uptime")
    if status == "running" and uptime is not None:
        pod["uptimeSeconds"] = uptime
    show(without_empty(pod, "runtimeStatusReason"))


def v2_create_body(call: Call, cloud: str) -> dict[str, Any]:
    """The body of POST /v2/pods."""
    mounts: dict[str, Any] = {}
    if call.network_volume_id:
        path = call.volume_mount_path or "/workspace"
        mounts = {"network": [{"volumeId": call.network_volume_id, "path": path}]}
    elif call.volume_in_gb > 0:
        mounts = {"persistent": {"size": call.volume_in_gb, "path": call.volume_mount_path}}
    gpu = {
        "id": call.gpu_id.strip(),
        "count": call.gpu_count,
        "minCudaVersion": call.min_cuda_version,
    }
    centers = [name.strip() for name in call.data_center_ids.split(",") if name.strip()]
    body = {
        "name": call.name,
        "image": call.image,
        "templateId": call.template_id,
        "cloud": cloud,
        "gpu": without_empty(gpu, "count", "minCudaVersion"),
        "disk": call.container_disk_in_gb,
        "mounts": mounts,
        "ports": call.ports.split(",") if call.ports else [],
        "env": env_map(call),
        "cmd": shlex.split(call.docker_args),
        "dataCenterIds": centers,
        "registry": call.registry_auth_id.strip(),
        "startSsh": call.ssh,
    }
    return without_empty(body, *(name for name in body if name != "name"))


def pod_create(call: Call) -> None:
    cloud = check_create(call)
    if call.public_ip and cloud == "COMMUNITY":
        # That it is refused is documented; the words are not.
        raise CliError("--public-ip is not supported on community cloud", "usage_error")
    with during("failed to create pod"):
        raw = new_client().rest_v2("POST", "/pods", body=v2_create_body(call, cloud))
    pod = v2_to_pod(raw)
    record = {name: pod.get(name, 0) for name in ("memoryInGb", "vcpuCount", "costPerHr", *LISTED)}
    del record["gpuTypeId"]
    record.update(
        containerDiskInGb=pod["containerDiskInGb"],
        volumeMountPath=pod.get("volumeMountPath", ""),
        ports=",".join(pod.get("ports") or []),
        env=sorted(f"{name}={value}" for name, value in (pod.get("env") or {}).items()),
    )
    show(record)


def act(action: str) -> Callable[[Call], None]:
    """The run of `pod start` or `pod stop`."""

    def run(call: Call) -> None:
        client = new_client()
        with during(f"failed to {action} pod"):
            path = v2_path(call.args[0], "/action")
            pod = client.rest_v2("POST", path, body={"action": action})
            if pod is None:
                pod = client.rest_v2("GET", v2_path(call.args[0]))
        show(v2_to_pod(pod))

    return run


pod_start, pod_stop = act("start"), act("stop")


def pod_delete(call: Call) -> None:
    with during("failed to delete pod"):
        new_client().rest_v2("DELETE", v2_path(call.args[0]))
    show({"deleted": True, "id": call.args[0]})


def ssh_info(call: Call) -> None:
    client = new_client()
    with during("failed to get pods"):
        pods = v2_pods(client)
    pod = next((pod for pod in pods if call.args[0] in (pod["id"], pod["name"])), None)
    if not pod:
        raise CliError(f"pod '{call.args[0]}' not found", "not_found")
    block = v2_ssh(client, pod)
    if "error" in block:
        block["runtimeStatus"] = v2_state(pod)[0]
    show(block)


def ssh_list_keys(_call: Call) -> None:
    with during("failed to get ssh keys"):
        lines = new_client().rest_v2("GET", "/account/ssh-keys").get("keys") or []
    show({"keys": key_records(lines) or None})


def stock_name(level: Any) -> str:
    """v2's HIGH as High; NONE as nothing."""
    return "" if str(level or "NONE").upper() == "NONE" else str(level).capitalize()


def gpu_list(call: Call) -> None:
    query = {"include": "AVAILABILITY", "product": "POD"}
    records = []
    for gpu in new_client().rest_v2("GET", "/catalog/gpus", query).get("gpus") or []:
        centers = [
            {
                "dataCenterId": center["id"],
                "stockStatus": stock_name(center.get("availability")) or "none",
            }
            for center in gpu.get("dataCenters") or []
        ]
        levels = [
            stock_name(gpu.get("availability")),
            *(center["stockStatus"] for center in centers),
        ]
        stock = max(levels, key=rank)
        if gpu["id"] == "unknown" or not (call.include_unavailable or rank(stock)):
            continue
        price = gpu.get("price") or {}
        record = {
            "gpuId": gpu["id"],
            "displayName": gpu.get("name") or "",
            "memoryInGb": gpu.get("memory") or 0,
            "secureCloud": bool(gpu.get("secure")),
            "communityCloud": bool(gpu.get("community")),
            "securePricePerHr": price.get("secure") or 0 if gpu.get("secure") else None,
            "communityPricePerHr": price.get("community") or 0 if gpu.get("community") else None,
            "stockStatus": stock if rank(stock) else "",
            "available": rank(stock) > 0,
            "dataCenterAvailability": centers,
        }
        records.append(without_empty(record, "stockStatus", "dataCenterAvailability"))
    show(records)


def datacenter_list(_call: Call) -> None:
    query = {"include": "GPU_AVAILABILITY"}
    answer = new_client().rest_v2("GET", "/catalog/datacenters", query)
    records = []
    for center in answer.get("dataCenters") or []:
        gpus = [
            {
                "gpuTypeId": gpu["id"],
                "displayName": gpu.get("name") or "",
                "stockStatus": stock_name(gpu.get("availability")),
            }
            for gpu in center.get("gpuAvailability") or []
        ]
        record = {
            "id": center["id"],
            "name": center.get("name") or "",
            "location": center.get("region") or "",
            "gpuAvailability": gpus,
        }
        records.append(without_empty(record, "gpuAvailability"))
    show(records)


def volume_list(_call: Call) -> None:
    volumes = new_client().rest_v2("GET", "/network-volumes").get("networkVolumes") or []
    show(
        [
            {
                "id": volume["id"],
                "name": volume.get("name") or "",
                "size": volume.get("size") or 0,
                "dataCenterId": volume.get("dataCenter") or "",
            }
            for volume in volumes
        ]
    )


def billing_pods(call: Call) -> None:
    answer = new_client().rest_v2("GET", "/billing/pods", billing_query(call))
    names = ("startTime", "endTime", "podId", "totalAmount", "gpuAmount", "cpuAmount", "diskAmount")
    empty = {"startTime": "", "endTime": "", "podId": ""}
    records = answer.get("records") or []
    show([{name: record.get(name, empty.get(name, 0)) for name in names} for record in records])


def user(_call: Call) -> None:
    show_user(new_client())
