"""2.7.2: pods created by GraphQL, REST v1 for the rest."""

from __future__ import annotations

import sys
from typing import Any, Callable

from .api import Client
from .base import CliError, during, show, without_empty
from .cobra import Call
from .pods import (
    LISTED,
    billing_query,
    check_create,
    connection,
    created_text,
    env_map,
    graphql_keys,
    graphql_pods,
    key_info,
    key_records,
    list_cutoff,
    rank,
    show_user,
    ssh_ports,
    wanted,
)

CREATED_FIELDS = """
  id name imageName desiredStatus costPerHr containerDiskInGb volumeInGb volumeMountPath gpuCount
  memoryInGb vcpuCount ports lastStatusChange env machine { gpuDisplayName location }
"""
POD: dict[str, Any] = {"id": "", "name": "", "desiredStatus": "", "imageName": ""}
POD.update(gpuCount=0, volumeInGb=0, containerDiskInGb=0)
IF_ANY = ["createdAt", "lastStatusChange", "uptimeSeconds", "gpuTypeId", "memoryInGb", "vcpuCount"]
IF_ANY += ["volumeMountPath", "ports", "costPerHr", "machine", "runtime", "env"]


def new_client() -> Client:
    return Client("api key not found. run 'runpodctl doctor' or set RUNPOD_API_KEY")


def v1_pod(raw: dict[str, Any]) -> dict[str, Any]:
    """A REST v1 pod, of which 2.7 knows only these fields."""
    pod = {name: raw.get(name) or empty for name, empty in POD.items()}
    pod.update({name: raw.get(name) for name in IF_ANY})
    return without_empty(pod, *IF_ANY)


def graphql_ssh(client: Client, pod: dict[str, Any]) -> dict[str, Any]:
    """The ssh block of a pod in 2.7."""
    found = connection(pod, ssh_ports(pod), key_info(lambda: graphql_keys(client)))
    if found:
        return found
    status = pod["desiredStatus"]
    return {"error": "pod not ready", "id": pod["id"], "name": pod["name"], "status": status}


def pod_list(call: Call) -> None:
    query = {"computeType": call.compute_type, "name": call.name}
    pods = [v1_pod(raw) for raw in new_client().rest_v1("GET", "/pods", query)]
    if call.all and call.status:
        raise CliError("--all and --status cannot be used together", reported=True)
    cutoff = list_cutoff(call)
    items = []
    for pod in pods:
        if wanted(pod, call, cutoff):
            item = {name: pod[name] for name in LISTED if name in pod}
            items.append(without_empty({**item, "createdAt": created_text(pod)}, "createdAt"))
    show(items)


def pod_get(call: Call) -> None:
    client = new_client()
    query = {
        "includeMachine": "true" if call.include_machine else "",
        "includeNetworkVolume": "true" if call.include_network_volume else "",
    }
    with during("failed to get pod"):
        pod = v1_pod(client.rest_v1("GET", f"/pods/{call.args[0]}", query))
    pod["ssh"] = {"error": "ssh info unavailable"}
    try:
        seen = next((p for p in graphql_pods(client) if call.args[0] in (p["id"], p["name"])), None)
    except CliError:
        seen = None
    if seen:
        for name in ("lastStatusChange", "uptimeSeconds"):
            if name not in pod and seen.get(name) is not None:
                pod[name] = seen[name]
        pod["ssh"] = graphql_ssh(client, seen)
    show(pod)


def create_input(call: Call, cloud: str) -> dict[str, Any]:
    """The input of podFindAndDeployOnDemand."""
    centers = call.data_center_ids.split(",")
    if len(centers) > 1:
        text = "only the first data center id is used; graphql api supports a single data center"
        print(f"note: {text}", file=sys.stderr)
    value = {
        "cloudType": cloud,
        "containerDiskInGb": call.container_disk_in_gb,
        "gpuCount": call.gpu_count,
        "gpuTypeId": call.gpu_id.strip(),
        "imageName": call.image,
        "name": call.name,
        "startSsh": call.ssh,
        "supportPublicIp": call.public_ip and cloud == "COMMUNITY",
        "templateId": call.template_id,
        "volumeInGb": call.volume_in_gb,
        "volumeMountPath": call.volume_mount_path,
        "networkVolumeId": call.network_volume_id,
        "ports": call.ports,
        "dataCenterId": centers[0].strip(),
        "minCudaVersion": call.min_cuda_version,
        "dockerArgs": call.docker_args,
        "containerRegistryAuthId": call.registry_auth_id.strip(),
        "countryCode": call.country_code,
        "stopAfter": call.stop_after,
        "terminateAfter": call.terminate_after,
        "compliance": call.compliance.split(",") if call.compliance else [],
        "env": [{"key": name, "value": text} for name, text in env_map(call).items()],
    }
    return without_empty(value, *(name for name in value if name != "startSsh"))


def pod_create(call: Call) -> None:
    cloud = check_create(call)
    with during("failed to create pod"):
        query = (
            "mutation createPod($input: PodFindAndDeployOnDemandInput!) "
            f"{{ podFindAndDeployOnDemand(input: $input) {{ {CREATED_FIELDS} }} }}"
        )
        client = new_client()
        pod = client.graphql(query, {"input": create_input(call, cloud)})
        made = pod.get("podFindAndDeployOnDemand")
        if made is None:
            raise CliError("pod creation returned no data", reported=True)
    show(made)


def act(action: str) -> Callable[[Call], None]:
    """The run of `pod start` or `pod stop`."""

    def run(call: Call) -> None:
        with during(f"failed to {action} pod"):
            pod = new_client().rest_v1("POST", f"/pods/{call.args[0]}/{action}")
        show(v1_pod(pod or {}))

    return run


pod_start, pod_stop = act("start"), act("stop")


def pod_delete(call: Call) -> None:
    with during("failed to delete pod"):
        new_client().rest_v1("DELETE", f"/pods/{call.args[0]}")
    show({"deleted": True, "id": call.args[0]})


def ssh_info(call: Call) -> None:
    client = new_client()
    with during("failed to get pods"):
        pods = graphql_pods(client)
    pod = next((pod for pod in pods if call.args[0] in (pod["id"], pod["name"])), None)
    if not pod:
        raise CliError(f"pod '{call.args[0]}' not found", reported=True)
    show(graphql_ssh(client, pod))


def ssh_list_keys(_call: Call) -> None:
    with during("failed to get ssh keys"):
        show({"keys": key_records(graphql_keys(new_client())) or None})


def graphql_centers(client: Client) -> list[dict[str, Any]]:
    """The data centres with what is in stock there."""
    fields = "id name location gpuAvailability { gpuTypeId displayName stockStatus }"
    return client.account(f"query {{ dataCenters {{ {fields} }} }}").get("dataCenters") or []


def gpu_list(call: Call) -> None:
    client = new_client()
    fields = "id displayName memoryInGb secureCloud communityCloud"
    gpus = client.account(f"query {{ gpuTypes {{ {fields} securePrice communityPrice }} }}")
    stock: dict[str, str] = {}
    for center in graphql_centers(client):
        for entry in center.get("gpuAvailability") or []:
            name, level = entry["gpuTypeId"], entry.get("stockStatus") or ""
            stock[name] = max(stock.get(name, ""), level, key=rank)
    records = []
    for gpu in gpus.get("gpuTypes") or []:
        level = stock.get(gpu["id"], "")
        if gpu["id"] == "unknown" or not (call.include_unavailable or level):
            continue
        record = {name: gpu.get(name) for name in fields.split() if name != "id"}
        record.update(gpuId=gpu["id"], stockStatus=level, available=bool(level))
        records.append(without_empty(record, "stockStatus"))
    show(records)


def datacenter_list(_call: Call) -> None:
    show([without_empty(center, "gpuAvailability") for center in graphql_centers(new_client())])


def volume_list(_call: Call) -> None:
    names = {"id": "", "name": "", "size": 0, "dataCenterId": ""}
    volumes = new_client().rest_v1("GET", "/networkvolumes") or []
    show([{name: volume.get(name) or empty for name, empty in names.items()} for volume in volumes])


def billing_pods(call: Call) -> None:
    query = {**billing_query(call), "grouping": call.grouping.replace("gpuId", "gpuTypeId")}
    names = ("timeBilledMs", "diskSpaceBilledGb", "podId", "endpointId", "gpuTypeId")
    records = []
    for raw in new_client().rest_v1("GET", "/billing/pods", query) or []:
        record = {"time": raw.get("time") or "", "amount": raw.get("amount") or 0}
        record.update({name: raw.get(name) for name in names})
        records.append(without_empty(record, *names))
    show(records)


def user(_call: Call) -> None:
    show_user(new_client())
