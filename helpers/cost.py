#!/usr/bin/env python3
"""What pods and jobs have cost, from what autopod has written down: a table, or JSON.

--ledger is ledger.jsonl (a line for each pod that is gone), --live the lines of those that are
there, as if they ended now; --runs is the directory of the runs, whose result.json files tell
what each job took. --billing is what the providers say, a line of {"pod", "usd"} each: then the
pods are compared with that, each as a whole.

What can't be read is left out and counted. Exit code 2 when --since is no time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from datetime import date, datetime, timedelta

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wording import brief  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from collections.abc import Iterable, Iterator
    from typing import Any, Callable

    Json = dict[str, Any]

KINDS = ("boot", "tunnel", "transfer", "queue", "compute", "idle", "tail")
SPANS = {"h": 3600, "d": 86400, "w": 7 * 86400}
FOREVER = float("inf")
COLUMNS = {  # of the tables: the title, and how wide it is; negative ones stand on the left
    "pod": (
        ("POD", -18),
        ("GPU", -16),
        ("BEGAN", -11),
        ("RAN", 8),
        ("BUSY", 5),
        ("IDLE", 8),
        ("COST", 8),
    ),
    "day": (("DAY", -12), ("PODS", 5), ("RAN", 9), ("BUSY", 6), ("IDLE", 9), ("COST", 9)),
    "job": (("JOB", -34), ("RUNS", 5), ("DONE", 5), ("TOOK", 9), ("BUSY", 6), ("COST", 9)),
    "template": (
        ("TEMPLATE", -34),
        ("RUNS", 5),
        ("DONE", 5),
        ("TOOK", 9),
        ("BUSY", 6),
        ("COST", 9),
    ),
    "bill": (("POD", -22), ("BEGAN", -12), ("RAN", 9), ("OURS", 10), ("BILLED", 10), ("MORE", 10)),
}


class NotATime(Exception):
    """--since is nothing that can be understood."""


def number(value: object) -> float:
    """The value when it is a number that one can count with, else 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0.0
    return float(value)


def as_object(value: object) -> Json:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def overlap(spans: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """How many seconds of the spans are between start and end."""
    return sum(max(0.0, min(last, end) - max(first, start)) for first, last in spans)


class Pod:
    """A pod, from its line in the ledger."""

    def __init__(self, line: Json, now: float) -> None:
        self.id = str(line["pod"])
        self.provider = str(line.get("provider") or "")
        count = int(number(line.get("gpu_count"))) or 1
        self.gpu = (f"{count} x " if count > 1 else "") + str(line.get("gpu") or "")
        self.priced = line.get("usd_per_hour") is not None
        self.since = number(line.get("since"))
        self.live = line.get("ended") is None
        self.end = max(now if self.live else number(line.get("ended")), self.since)
        self.ready = line.get("ready") is not False
        self.running = [
            (number(span[0]), number(span[1]))
            for span in line.get("running") or []
            if isinstance(span, list) and len(span) == 2
        ]
        self.ran = number(line.get("seconds_run"))
        self.stopped = number(line.get("seconds_stopped"))
        self.cost = number(line.get("cost_usd"))
        seconds, usd = as_object(line.get("seconds")), as_object(line.get("usd"))
        self.seconds = {kind: number(seconds.get(kind)) for kind in KINDS}
        self.usd = {kind: number(usd.get(kind)) for kind in KINDS}
        self.disk = number(usd.get("disk"))

    def between(self, start: float, end: float) -> Share | None:
        """What of it is from the time between start and end; None when nothing is."""
        if self.end < start or self.since >= end:
            return None
        if start <= self.since and self.end < end:
            return Share(self, 1.0, 1.0)
        ran = overlap(self.running, start, end)
        rested = min(self.end, end) - max(self.since, start) - ran
        return Share(
            self,
            min(ran / self.ran, 1.0) if self.ran else 0.0,
            min(max(rested, 0.0) / self.stopped, 1.0) if self.stopped else 0.0,
        )


class Share:
    """A part of what a pod cost: of the time that it ran, and of the time that it stood still."""

    def __init__(self, pod: Pod, of_run: float, of_rest: float) -> None:
        self.pod = pod
        self.ran = pod.ran * of_run
        self.stopped = pod.stopped * of_rest
        self.seconds = {kind: value * of_run for kind, value in pod.seconds.items()}
        self.usd = {kind: value * of_run for kind, value in pod.usd.items()}
        self.disk = pod.disk * of_rest
        self.cost = (pod.cost - pod.disk) * of_run + self.disk


class Sums:
    """Shares, or runs, added up."""

    def __init__(self) -> None:
        self.count = self.done = self.failed = 0
        self.ran = self.compute = self.idle = self.cost = self.disk = self.boot = self.lost = 0.0

    def add(self, share: Share) -> None:
        """Adds what of a pod falls into it."""
        self.count += 1
        self.ran += share.ran
        self.compute += share.seconds["compute"]
        self.idle += share.usd["idle"] + share.usd["tail"]
        self.disk += share.disk
        self.cost += share.cost
        if share.pod.ready:
            self.boot += share.usd["boot"]
        elif not share.pod.live:
            self.failed += 1
            self.lost += share.cost

    def add_run(self, result: Json) -> None:
        """Adds a run of a job."""
        self.count += 1
        self.done += result.get("exit_code") == 0
        seconds = as_object(as_object(result.get("bill")).get("seconds"))
        taken = sum(number(value) for value in seconds.values())
        self.ran += taken or number(as_object(result.get("seconds")).get("total"))
        self.compute += number(seconds.get("compute")) or number(result.get("server_seconds"))
        self.cost += number(result.get("cost_usd"))

    def busy(self) -> float | None:
        """Which part of the time the GPU computed."""
        return min(self.compute / self.ran, 1.0) if self.ran > 0 else None


# --- reading ----------------------------------------------------------------------------------


def read_lines(path: str) -> Iterator[Json | None]:
    """Each line of a file as an object; None for one that is none."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if line.strip():
                yield record if isinstance(record, dict) else None


def read_pods(paths: list[str], now: float) -> tuple[list[Pod], int]:
    """The pods, the newest first, each by its last line; and how many lines say nothing."""
    pods: dict[str, Pod] = {}
    bad = 0
    for path in paths:
        for line in read_lines(path):
            if (
                line is None
                or not isinstance(line.get("pod"), str)
                or not number(line.get("since"))
            ):
                bad += 1
            else:
                pods[line["pod"]] = Pod(line, now)
    return sorted(pods.values(), key=lambda pod: (-pod.since, pod.id)), bad


def read_runs(directory: str, since: float) -> list[Json]:
    """The results of the runs that ended since then."""
    results = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        names = []
    for name in names:
        path = os.path.join(directory, name, "result.json")
        try:
            if (
                os.stat(path).st_mtime < since - 86400
            ):  # nothing that ended later is written earlier
                continue
            with open(path, encoding="utf-8") as file:
                result = json.load(file)
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(result, dict) and epoch_of(result.get("finished_at")) >= since:
            results.append(result)
    return results


def epoch_of(text: object) -> float:
    """A time like 2026-01-31T23:59:59Z in seconds since 1970; 0 when it is none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def parse_since(text: str, now: float) -> float:
    """24h, 7d, 4w, a date (its midnight here) or all, in seconds since 1970."""
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", text)
    if found:
        return now - int(found[1]) * SPANS[found[2]]
    if text == "all":
        return 0.0
    try:
        return datetime.strptime(text, "%Y-%m-%d").timestamp()
    except (ValueError, OverflowError, OSError):
        raise NotATime(
            f'--since is "{brief(text, 40)}", but must be like 24h, 7d, 4w, 2026-01-31, or all'
        ) from None


# --- adding up --------------------------------------------------------------------------------


def days_of(pods: list[Pod], since: float) -> Iterator[tuple[str, Sums]]:
    """What each day has cost, the newest first."""
    days: dict[date, Sums] = {}
    for pod in pods:
        start = max(pod.since, since)
        day = datetime.fromtimestamp(start).date()
        while (midnight := datetime.combine(day, datetime.min.time()).timestamp()) <= pod.end:
            after = datetime.combine(day + timedelta(days=1), datetime.min.time()).timestamp()
            share = pod.between(max(midnight, start), after)
            if share and (share.ran or share.cost):
                days.setdefault(day, Sums()).add(share)
            day += timedelta(days=1)
    for day in sorted(days, reverse=True):
        yield day.isoformat(), days[day]


def groups_of(results: list[Json], key: Callable[[Json], object]) -> Iterator[tuple[str, Sums]]:
    """The runs by what key says of each, the dearest first."""
    groups: dict[str, Sums] = {}
    for result in results:
        groups.setdefault(str(key(result) or "?"), Sums()).add_run(result)
    yield from sorted(groups.items(), key=lambda item: (-item[1].cost, -item[1].ran, item[0]))


def job_of(result: Json) -> object:
    """Which job it is a run of."""
    return result.get("job_id")


def template_of(result: Json) -> object:
    """Which template it is a run of; runs of old versions don't say."""
    return result.get("template")


# --- showing ----------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Seconds in words."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def dollars(usd: float) -> str:
    """An amount, rounded up to the cent: a bill is never told smaller than it is."""
    return f"${math.ceil(usd * 100 - 1e-6) / 100 + 0.0:.2f}"


def percent(part: float | None) -> str:
    """A part of one, in percent."""
    return "-" if part is None else f"{int(part * 100)} %"


def day_and_time(epoch: float) -> str:
    """A time in short."""
    return time.strftime("%m-%d %H:%M", time.localtime(epoch))


def iso(epoch: float) -> str:
    """A time as UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def show_table(name: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Prints a table; a name that is too long loses its end."""
    columns = COLUMNS[name]
    for row in (tuple(title for title, _ in columns), *rows):
        cells = []
        for text, (_, width) in zip(row, columns):
            text = brief(text, abs(width)) if width < 0 else text
            cells.append(text.ljust(-width) if width < 0 else text.rjust(width))
        print(" ".join(cells).rstrip())


def pod_row(share: Share) -> tuple[str, ...]:
    """A pod in the table."""
    pod, sums = share.pod, Sums()
    sums.add(share)
    busy = percent(sums.busy()) if pod.ready else "fail"
    if pod.live and not pod.ready:
        busy = "boot"
    cost = dollars(share.cost) if pod.priced else "unknown"
    ran = duration(share.ran) + ("+" if pod.live else "")
    return pod.id, pod.gpu, day_and_time(pod.since), ran, busy, dollars(sums.idle), cost


def run_row(name: str, sums: Sums) -> tuple[str, ...]:
    """Runs of a job, or of a template, in the table."""
    counts = str(sums.count), str(sums.done)
    return name, *counts, duration(sums.ran), percent(sums.busy()), dollars(sums.cost)


def day_row(name: str, sums: Sums) -> tuple[str, ...]:
    """A day in the table."""
    taken = duration(sums.ran), percent(sums.busy())
    return name, str(sums.count), *taken, dollars(sums.idle), dollars(sums.cost)


def show_totals(total: Sums, shares: list[Share], since: float, bad: int) -> None:
    """Prints what all of it comes to."""
    when = f"since {time.strftime('%Y-%m-%d %H:%M', time.localtime(since))}" if since else "in all"
    pods = f"{total.count} pod{'' if total.count == 1 else 's'}"
    print(f"\n{dollars(total.cost)} {when}: {pods}, which ran for {duration(total.ran)}.")
    if total.ran:
        idle = f"; idle cost {dollars(total.idle)}, boots {dollars(total.boot)}"
        print(f"The GPU was busy for {percent(total.busy())} of it{idle}.")
    if total.failed:
        boots = f"{total.failed} pod{'' if total.failed == 1 else 's'} that never got ready"
        print(f"Lost to {boots}: {dollars(total.lost)}.")
    if total.disk:
        print(f"Disks of stopped pods: {dollars(total.disk)}.")
    live = [share for share in shares if share.pod.live]
    if live:
        print(f"{len(live)} of them still there (+): counted up to now.")
    unknown = sum(not share.pod.priced for share in shares)
    if unknown:
        print(f"{unknown} of unknown price: not in the sum.")
    if bad:
        print(f"{bad} lines of the ledger can't be read: not in the sum.")


def share_json(share: Share) -> Json:
    """A pod for programs."""
    pod = share.pod
    return {
        "pod": pod.id,
        "provider": pod.provider,
        "gpu": pod.gpu,
        "since": iso(pod.since),
        "ended": None if pod.live else iso(pod.end),
        "ready": pod.ready,
        "seconds_run": round(share.ran, 3),
        "seconds_stopped": round(share.stopped, 3),
        "cost_usd": round(share.cost, 4) if pod.priced else None,
        "seconds": {kind: round(value, 3) for kind, value in share.seconds.items()},
        "usd": {
            **{kind: round(value, 4) for kind, value in share.usd.items()},
            "disk": round(share.disk, 4),
        },
    }


def sums_json(sums: Sums) -> Json:
    """Runs for programs."""
    busy = sums.busy()
    return {
        "runs": sums.count,
        "done": sums.done,
        "seconds": round(sums.ran, 3),
        "compute_seconds": round(sums.compute, 3),
        "gpu_busy": None if busy is None else round(busy, 4),
        "cost_usd": round(sums.cost, 4),
    }


def day_json(sums: Sums) -> Json:
    """A day for programs."""
    busy = sums.busy()
    return {
        "pods": sums.count,
        "seconds_run": round(sums.ran, 3),
        "compute_seconds": round(sums.compute, 3),
        "gpu_busy": None if busy is None else round(busy, 4),
        "idle_usd": round(sums.idle, 4),
        "cost_usd": round(sums.cost, 4),
    }


def total_json(total: Sums, shares: list[Share]) -> Json:
    """What all of it comes to, for programs."""
    return {
        **day_json(total),
        "boot_usd": round(total.boot, 4),
        "disk_usd": round(total.disk, 4),
        "failed_boots": total.failed,
        "failed_boots_usd": round(total.lost, 4),
        "live_pods": sum(share.pod.live for share in shares),
        "unknown_prices": sum(not share.pod.priced for share in shares),
    }


# --- beside the provider's bill -----------------------------------------------------------------


def read_bill(path: str) -> dict[str, float]:
    """What the provider says of each pod."""
    bill: dict[str, float] = {}
    for line in read_lines(path):
        if line and isinstance(line.get("pod"), str):
            bill[line["pod"]] = bill.get(line["pod"], 0.0) + number(line.get("usd"))
    return bill


def show_bill(
    shares: list[Share], bill: dict[str, float], providers: list[str], as_json: bool
) -> None:
    """Prints our numbers beside those of the providers that keep a bill."""
    asked = [share for share in shares if share.pod.provider in providers]
    known = {share.pod.id for share in asked}
    others = {pod: usd for pod, usd in bill.items() if pod not in known}
    if as_json:
        rows = []
        for share in asked:
            billed = bill.get(share.pod.id)
            difference = None if billed is None else round(billed - share.cost, 4)
            rows.append({**share_json(share), "billed_usd": billed, "more_usd": difference})
        print_json(
            {
                "by": "bill",
                "rows": rows,
                "others": [{"pod": pod, "billed_usd": usd} for pod, usd in others.items()],
            }
        )
        return
    table = []
    for share in asked:
        billed = bill.get(share.pod.id)
        more = "-" if billed is None else f"{billed - share.cost:+.2f}"
        ran = duration(share.ran) + ("+" if share.pod.live else "")
        ours = dollars(share.cost) if share.pod.priced else "unknown"
        told = "-" if billed is None else f"${billed:.2f}"
        table.append((share.pod.id, day_and_time(share.pod.since), ran, ours, told, more))
    show_table("bill", table)
    ours_sum = sum(share.cost for share in asked if share.pod.id in bill)
    billed_sum = sum(bill.get(pod, 0.0) for pod in known)
    both = f"ours is {dollars(ours_sum)}, billed were ${billed_sum:.2f}"
    print(f"\nOf those on the bill {both} ({billed_sum - ours_sum:+.2f}).")
    if any(share.pod.id not in bill for share in asked):
        print("-: not on the bill; a provider may take an hour or more to write it.")
    if others:
        pods = f"{len(others)} pod{'' if len(others) == 1 else 's'}"
        print(f"Also on the bill, and not made here: {pods}, ${sum(others.values()):.2f}.")


# --- the command line -------------------------------------------------------------------------


def print_json(value: Json) -> None:
    """Prints a record in one line."""
    print(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledger", required=True, metavar="FILE", help="ledger.jsonl")
    parser.add_argument(
        "--live", required=True, metavar="FILE", help="lines of the pods that are there"
    )
    parser.add_argument("--runs", required=True, metavar="DIR", help="the runs")
    parser.add_argument("--since", required=True, metavar="TIME", help="24h, 7d, 4w, a date, all")
    parser.add_argument("--by", choices=("pod", "day", "job", "template"), default="pod")
    parser.add_argument("--billing", metavar="FILE", help="what the providers say")
    parser.add_argument("--providers", default="", metavar="NAMES", help="whose bill that is")
    parser.add_argument(
        "--whole", action="store_true", help="each pod as a whole, also before that time"
    )
    parser.add_argument("--json", action="store_true", help="one object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Prints the table or the object."""
    args = parse(argv)
    now = time.time()
    try:
        since = parse_since(args.since, now)
    except NotATime as error:
        print(error, file=sys.stderr)
        return 2
    pods, bad = read_pods([args.ledger, args.live], now)
    pods = [pod for pod in pods if pod.end >= since]
    start = 0.0 if args.whole or args.billing else since
    shares = [share for share in (pod.between(start, FOREVER) for pod in pods) if share]
    if args.billing:
        show_bill(shares, read_bill(args.billing), args.providers.split(), args.json)
        return 0
    total = Sums()
    for share in shares:
        total.add(share)
    groups: list[tuple[str, Sums]] = []
    if args.by == "day":
        groups = list(days_of(pods, since))
    elif args.by != "pod":
        groups = list(
            groups_of(read_runs(args.runs, since), job_of if args.by == "job" else template_of)
        )
    if args.json:
        as_json = day_json if args.by == "day" else sums_json
        rows = [{args.by: name, **as_json(sums)} for name, sums in groups]
        if args.by == "pod":
            rows = [share_json(share) for share in shares]
        print_json(
            {
                "since": iso(since),
                "by": args.by,
                "rows": rows,
                "total": total_json(total, shares),
                "unreadable": bad,
            }
        )
        return 0
    if args.by == "pod":
        show_table("pod", map(pod_row, shares))
    else:
        row = day_row if args.by == "day" else run_row
        show_table(args.by, (row(name, sums) for name, sums in groups))
    show_totals(total, shares, since, bad)
    return 0


if __name__ == "__main__":
    sys.exit(main())
