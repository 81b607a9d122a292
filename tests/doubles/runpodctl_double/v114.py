"""1.14: verb first, tables, GraphQL alone."""

from __future__ import annotations

from typing import Any

from .api import Client
from .base import CliError, setting, without_empty
from .cobra import Call
from .pods import connection, graphql_keys, graphql_pods, key_records, ssh_ports


def table(header: list[str], rows: list[list[str]]) -> None:
    """Prints a table of 1.14: columns padded with blanks, each closed by a tab."""
    widths = [max(len(row[i]) for row in [header, *rows] if row) for i in range(len(header))]
    for row in [header, *rows]:
        print("".join(f"{cell:<{width}}\t" for cell, width in zip(row, widths)))


def new_client() -> Client:
    if not setting("apiKey", "RUNPOD_API_KEY"):
        print("API key not found")
    return Client("API key not found", 10)


def get_pod(call: Call) -> None:
    pods = graphql_pods(new_client())
    header = ["ID", "NAME", "GPU", "IMAGE NAME", "STATUS"]
    more = ["POD TYPE", "VCPU", "MEM", "CONTAINER DISK", "VOLUME DISK"]
    more += ["LOCATION", "$/HR", "PORTS"]
    rows: list[list[str]] = []
    for pod in pods:
        if call.args and pod["id"] != call.args[0].lower():
            rows.append([])  # the real one leaves the row empty, too
            continue
        machine = pod.get("machine") or {}
        gpu = f"{pod['gpuCount']} {machine.get('gpuDisplayName', '')}"
        row = [pod["id"], pod["name"], gpu, pod["imageName"], pod["desiredStatus"]]
        if call.allfields:
            names = ("podType", "vcpuCount", "memoryInGb", "containerDiskInGb", "volumeInGb")
            row += [str(pod.get(name, "")) for name in names]
            row += [str(machine.get("location", "")), f"{pod.get('costPerHr') or 0:.3f}"]
            row += [",".join(mapping(port) for port in ssh_ports(pod))]
        rows.append(row)
    table(header + more if call.allfields else header, rows)


def create_pod(call: Call) -> None:
    env = [entry.split("=") for entry in call.env or []]
    for entry in env:
        if len(entry) != 2:
            raise CliError(f"wrong env value: [{' '.join(entry)}]")
    value = {
        "cloudType": "SECURE" if call.secureCloud else "COMMUNITY",
        "containerDiskInGb": call.containerDiskSize,
        "deployCost": call.cost,
        "dataCenterId": call.dataCenterId,
        "dockerArgs": call.flags["args"],
        "env": [{"key": name, "value": text} for name, text in env],
        "gpuCount": call.gpuCount,
        "gpuTypeId": call.gpuType,
        "imageName": call.imageName,
        "minMemoryInGb": call.mem,
        "minVcpuCount": call.vcpu,
        "name": call.name or call.imageName.split(":")[0],
        "networkVolumeId": call.networkVolumeId,
        "ports": ",".join(call.ports or []),
        "startSsh": call.startSSH,
        "templateId": call.templateId,
        "volumeInGb": call.volumeSize,
        "volumeMountPath": call.volumePath,
    }
    query = """
      mutation Mutation($input: PodFindAndDeployOnDemandInput!) {
        podFindAndDeployOnDemand(input: $input) { id costPerHr desiredStatus lastStatusChange }
      }"""
    optional = (name for name in value if name not in ("startSsh", "env"))
    data = new_client().graphql(query, {"input": without_empty(value, *optional)})
    pod = data.get("podFindAndDeployOnDemand")
    if pod is None:
        raise CliError("podFindAndDeployOnDemand is nil")
    print(f'pod "{pod["id"]}" created for ${pod["costPerHr"]:.3f} / hr')


def change(mutation: str, pod_id: str, fields: str = "") -> Any:
    """Sends a mutation that takes a pod's id; returns what it answers."""
    query = (
        f"mutation Mutation($podId: String!) {{ {mutation}(input: {{podId: $podId}}) {fields} }}"
    )
    return new_client().graphql(query, {"podId": pod_id}).get(mutation)


def stop_pod(call: Call) -> None:
    pod = change("podStop", call.args[0], "{ id desiredStatus lastStatusChange }")
    if pod is None:
        raise CliError("podStop is nil")
    if pod["desiredStatus"] == "EXITED":
        print(f'pod "{call.args[0]}" stopped')
    else:
        print(f'pod "{call.args[0]}" stop failed; status is {pod["desiredStatus"]}')


def start_pod(call: Call) -> None:
    fields = "{ id costPerHr desiredStatus lastStatusChange }"
    pod = change("podResume", call.args[0], fields)
    if pod is None:
        raise CliError("podResume is nil")
    if pod["desiredStatus"] != "RUNNING":
        raise CliError(f'pod "{call.args[0]}" start failed; status is {pod["desiredStatus"]}')
    print(f'pod "{call.args[0]}" started with ${pod["costPerHr"]:.3f} / hr')


def remove_pod(call: Call) -> None:
    change("podTerminate", call.args[0])
    print(f'pod "{call.args[0]}" removed')


def ssh_connect(call: Call) -> None:
    for pod in graphql_pods(new_client()):
        if call.args and call.args[0] not in (pod["id"], pod["name"]):
            continue
        key: dict[str, Any] = {"exists": False}
        found = connection(pod, ssh_ports(pod), key)
        named = f'{{ id: "{pod["id"]}", name: "{pod["name"]}" }}'
        if found:
            print(found["ssh_command"] if call.args else f"{found['ssh_command']}  # {named}")
        else:
            print(f"# pod {named} not yet ready")


def ssh_list_keys(_call: Call) -> None:
    keys = key_records(graphql_keys(new_client()))
    if not keys:
        print("No SSH keys found.")
        return
    rows = [["Name", "Type", "Fingerprint"], ["----", "----", "-----------"]]
    rows += [[key["name"] or "N/A", key["type"], key["fingerprint"]] for key in keys]
    for name, kind, last in rows:
        print(f"{name:<12}{kind:<14}{last}")


def mapping(port: dict[str, Any]) -> str:
    """A port mapping as 1.14's table has it."""
    reach = "pub" if port["isIpPublic"] else "prv"
    return f"{port['ip']}:{port['publicPort']}->{port['privatePort']}\u00a0({reach},{port['type']})"
