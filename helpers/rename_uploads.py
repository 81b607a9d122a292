"""Put the names that a server gave to uploaded files into a rendered workflow.

stdin: the workflow (ComfyUI API format). --uploads: uploads.json of a run, of the shape
{"uploads": [{"upload_name": str, "server_name": str, ...}, ...]}. stdout: the workflow on one line,
every occurrence of an upload_name in a string replaced by its server_name. The upload names hold a
part of the content's sha256, so nothing else can look like one. Exit 2 when either isn't JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Return `value` (any JSON) with the names exchanged in all its strings."""
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in value.items()}
    return value


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="rename_uploads.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--uploads", required=True, metavar="FILE", help="uploads.json of the run")
    args = parser.parse_args()
    try:
        workflow = json.loads(sys.stdin.buffer.read())
        with open(args.uploads, "rb") as file:
            uploads = json.load(file)["uploads"]
        names = {u["upload_name"]: u["server_name"] for u in uploads}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"the workflow or {args.uploads} can't be read: {error}", file=sys.stderr)
        return 2
    print(json.dumps(renamed(workflow, names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
