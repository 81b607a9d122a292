"""Runs one ComfyUI workflow the way a bare script does: POST, WebSocket, GET /view.

What `make bench` holds comfy-run against. It checks nothing, keeps no record, and knows
neither pods nor jobs. Needs websocket-client.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.parse
import urllib.request
import uuid
from typing import Any

import websocket

TIMEOUT = 60.0


def with_values(workflow: dict[str, Any], values: list[str]) -> dict[str, Any]:
    """The workflow with inputs set by NODE.INPUT=VALUE, where VALUE is JSON.

    Raises KeyError when there is no such node, and ValueError when VALUE is not JSON.
    """
    for value in values:
        where, _, text = value.partition("=")
        node, _, name = where.partition(".")
        workflow[node]["inputs"][name] = json.loads(text)
    return workflow


def wait_until_done(socket: websocket.WebSocket, prompt_id: str) -> list[dict[str, str]]:
    """Follows the prompt to its end; returns the files that it saved.

    Raises RuntimeError when the prompt fails, and WebSocketTimeoutException after TIMEOUT seconds
    of silence.
    """
    files: list[dict[str, str]] = []
    while True:
        message = socket.recv()
        if not isinstance(message, str):
            continue
        event = json.loads(message)
        data = event.get("data", {})
        if data.get("prompt_id") != prompt_id:
            continue
        if event["type"] == "executed":
            files += [file for value in data["output"].values() for file in value]
        elif event["type"] in ("execution_error", "execution_interrupted"):
            raise RuntimeError(f"{event['type']}: {data}")
        elif event["type"] == "execution_success":
            return files


def run(host: str, workflow: dict[str, Any], stem: str) -> int:
    """Runs the workflow at host (NAME:PORT); returns the number of files, which are STEM-N.png."""
    client_id, prompt_id = str(uuid.uuid4()), str(uuid.uuid4())
    socket = websocket.create_connection(f"ws://{host}/ws?clientId={client_id}", timeout=TIMEOUT)
    body = {"prompt": workflow, "client_id": client_id, "prompt_id": prompt_id}
    request = urllib.request.Request(
        f"http://{host}/prompt", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        answer.read()
    files = wait_until_done(socket, prompt_id)
    for number, file in enumerate(files, 1):
        url = f"http://{host}/view?{urllib.parse.urlencode(file)}"
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT) as answer,
            open(f"{stem}-{number}.png", "wb") as out,
        ):
            out.write(answer.read())
    socket.close()
    return len(files)


def main() -> int:
    """Runs the command line; returns the exit status: 1 when the workflow made no file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", required=True, metavar="NAME:PORT", help="where ComfyUI answers")
    parser.add_argument("--workflow", required=True, metavar="FILE", help="in API format")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=JSON")
    parser.add_argument("--output", required=True, metavar="STEM", help="files become STEM-N.png")
    given = parser.parse_args()
    with open(given.workflow, encoding="utf-8") as file:
        workflow = with_values(json.load(file), given.set)
    return 0 if run(given.host, workflow, given.output) else 1


if __name__ == "__main__":
    sys.exit(main())
