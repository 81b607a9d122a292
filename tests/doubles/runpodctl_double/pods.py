"""What the generations share about pods: states, ssh, what `pod list` leaves away."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import re
import sys
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

from .api import Client
from .base import GENERATION, CliError, config_path, show
from .cobra import Call

POD_GONE = ("terminated", "stopped")


def stop_reason(status: str, text: Any) -> str:
    """A token for what lastStatusChange says about who ended a pod."""
    lower = text.lower() if isinstance(text, str) else ""
    verb = "exited" if status == "stopped" else "terminated"
    for who in ("user", "runpod"):
        if f"{verb} by {who}" in lower:
            return f"{status}_by_{who}"
    return f"{status}_outbid" if "outbid" in lower else ""


def runtime_state(desired: str, reported: bool, last_change: Any) -> tuple[str, str]:
    """runtimeStatus and its reason, from what was asked for and what the host reports."""
    if desired == "RUNNING":
        return ("running", "") if reported else ("initializing", "awaiting_container")
    if desired == "EXITED":
        status = "terminated" if "terminated by" in str(last_change).lower() else "stopped"
        return status, stop_reason(status, last_change)
    if desired == "TERMINATED":
        return "terminated", stop_reason("terminated", last_change)
    return "unknown", ""


def is_public(address: str) -> bool:
    """Whether the newest generation takes the address for one that the internet reaches."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    closed = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"]
    closed += ["100.64.0.0/10", "fc00::/7", "fe80::/10", "::1/128"]
    return not any(ip in ipaddress.ip_network(net) for net in closed)


def fingerprint(key: str) -> str:
    """The SHA256 fingerprint of a public key line; empty when it isn't one."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def key_records(lines: list[str]) -> list[dict[str, str]]:
    """The account's public keys, one record for each line that is one."""
    records = []
    for line in lines:
        if fingerprint(line):
            kind, blob, *name = line.split(None, 2)
            records.append(
                {
                    "name": name[0].strip() if name else "",
                    "type": kind,
                    "key": f"{kind} {blob}\n",
                    "fingerprint": fingerprint(line),
                }
            )
    return records


def key_info(account_keys: Callable[[], list[str]]) -> dict[str, Any]:
    """runpodctl's own ssh key: where it is or would be, and whether the account has it."""
    folder = os.path.dirname(config_path()) + "/ssh"
    names = ("runpodctl-ssh-key", "RunPod-Key-Go")
    path = next((f"{folder}/{name}" for name in names if os.path.exists(f"{folder}/{name}")), "")
    if not path:
        return {"path": f"{folder}/{names[0]}", "exists": False, "source": "runpodctl doctor"}
    info: dict[str, Any] = {"path": path, "exists": True, "source": "runpodctl doctor"}
    try:
        with open(f"{path}.pub", encoding="utf-8") as file:
            own = fingerprint(file.read())
        if own:
            info["fingerprint"] = own
            info["in_account"] = own in [fingerprint(line) for line in account_keys()]
    except (OSError, CliError):
        pass  # what it can't find out it leaves away
    return info


def connection(pod: dict[str, Any], ports: list[Any], key: dict[str, Any]) -> dict[str, Any] | None:
    """How to reach a pod by ssh; None while port 22 has no public mapping."""
    for port in ports:
        if port["isIpPublic"] and port["privatePort"] == 22:
            identity = f"-i {key['path']} " if key["exists"] else ""
            record = {
                "id": pod["id"],
                "name": pod["name"],
                "ip": port["ip"],
                "port": port["publicPort"],
                "ssh_command": f"ssh {identity}root@{port['ip']} -p {port['publicPort']}",
                "ssh_key": key,
            }
            if not key["exists"] or not key.get("in_account", True):
                record["setup"] = "runpodctl doctor"
            return record
    return None


def list_cutoff(call: Call) -> datetime | None:
    """The time before which `pod list` leaves pods away."""
    if call.since:
        found = re.fullmatch(r"(\d+)([smhd])", call.since)
        if not found:
            raise CliError(f'invalid duration "{call.since}"')
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
        return datetime.now(timezone.utc) - timedelta(seconds=int(found[1]) * unit)
    if call.created_after:
        try:
            return datetime.strptime(call.created_after, "%Y-%m-%d").replace(tzinfo=timezone.utc)
        except ValueError as error:
            text = "invalid --created-after format, expected YYYY-MM-DD"
            raise CliError(f"{text}: {error}") from error
    return None


def created(pod: dict[str, Any]) -> datetime | None:
    """When a pod was created. 2.7 can't read the layout in which REST v1 says it."""
    text = str(pod.get("createdAt") or "")
    if GENERATION == "main":
        text = re.sub(r"^(\S+) (\S+) \+0000 UTC$", r"\1T\2Z", text)
    text = re.sub(r"\.\d+Z$", "Z", text)
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def created_text(pod: dict[str, Any]) -> str:
    """The same as `pod list` prints it."""
    born = created(pod)
    return born.strftime("%Y-%m-%dT%H:%M:%SZ") if born else ""


def wanted(pod: dict[str, Any], call: Call, cutoff: datetime | None) -> bool:
    """Whether `pod list` shows this pod: running ones unless told otherwise."""
    status = call.status.upper() or ("" if call.all else "RUNNING")
    if status and pod.get("desiredStatus", "").upper() != status:
        return False
    born = created(pod)
    return not cutoff or (born is not None and born >= cutoff)


LISTED = ["id", "name", "desiredStatus", "imageName"]
LISTED += ["gpuTypeId", "gpuCount", "volumeInGb", "costPerHr"]


def check_create(call: Call) -> str:
    """Refuses what `pod create` refuses before it asks anybody; returns the cloud type."""
    if not call.template_id and not call.image:
        raise CliError(
            "either --template-id or --image is required\n\n"
            "use 'runpodctl template search <term>' to find templates"
        )
    compute = call.compute_type.strip().upper() or "GPU"
    if compute not in ("GPU", "CPU"):
        raise CliError(f'invalid --compute-type "{call.compute_type}" (use GPU or CPU)')
    if "," in call.gpu_id:
        raise CliError(
            "only one gpu id is supported; use --gpu-count for multiple gpus of the same type"
        )
    if compute == "CPU" and call.gpu_id.strip():
        raise CliError("--gpu-id is not supported for compute type CPU")
    if compute == "CPU":
        raise CliError("this stand-in for runpodctl does not do --compute-type CPU")
    cloud = call.cloud_type.strip().upper() or "SECURE"
    if call.public_ip and cloud == "SECURE":
        text = "note: secure cloud pods always have public ips; --public-ip has no effect"
        print(text, file=sys.stderr)
    return cloud


def env_map(call: Call) -> dict[str, str]:
    """--env; its values must be strings."""
    if not call.env:
        return {}
    try:
        env = json.loads(call.env)
    except ValueError as error:
        raise CliError(f"invalid env json: {error}") from error
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        text = "json: cannot unmarshal into Go value of type map[string]string"
        raise CliError(f"invalid env json: {text}")
    return env


STOCK_RANK = {"High": 4, "Medium": 3, "Low": 2, "none": 0, "": 0}


def rank(stock: str) -> int:
    """Puts stock levels in order. What nobody knows is more than none and less than low."""
    return STOCK_RANK.get(stock, 1)


def billing_query(call: Call) -> dict[str, str]:
    """The query of `billing pods`, the same for both REST versions."""
    return {
        "startTime": call.start_time,
        "endTime": call.end_time,
        "bucketSize": call.bucket_size,
        "podId": call.pod_id,
    }


USER: dict[str, Any] = {"id": "", "email": ""}
USER.update(clientBalance=0, currentSpendPerHr=0, spendLimit=0)
USER.update(notifyPodsStale=False, notifyPodsGeneral=False, notifyLowBalance=False)


def show_user(client: Client) -> None:
    """Prints the account."""
    myself = client.account(f"query {{ myself {{ {' '.join(USER)} }} }}").get("myself")
    show(myself and {name: myself.get(name) or empty for name, empty in USER.items()})


POD_FIELDS = """
  id containerDiskInGb costPerHr desiredStatus lastStatusChange uptimeSeconds dockerArgs env
  gpuCount imageName memoryInGb name podType ports vcpuCount volumeInGb volumeMountPath
  machine { gpuDisplayName location }
  runtime { ports { ip isIpPublic privatePort publicPort type } }
"""


def graphql_pods(client: Client) -> list[dict[str, Any]]:
    """The account's pods by GraphQL, which alone knows port mappings."""
    data = client.graphql(f"query myPods {{ myself {{ pods {{ {POD_FIELDS} }} }} }}")
    return (data.get("myself") or {}).get("pods") or []


def graphql_keys(client: Client) -> list[str]:
    """The account's public keys, a line each."""
    data = client.graphql("query myself { myself { id pubKey } }")
    return [line for line in ((data.get("myself") or {}).get("pubKey") or "").split("\n") if line]


def ssh_ports(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The port mappings of a pod of GraphQL's."""
    return (pod.get("runtime") or {}).get("ports") or []
