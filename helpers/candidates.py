#!/usr/bin/env python3
"""Say which pods are worth trying to rent, in the order to try them.

--wish is one JSON object; what is absent, null or "" was not said:
    gpu_type "A40, RTX A6000"       names as people write them, or ids, the preferred first
    gpu_count N                     of one pod (1)
    datacenter "US-GA-1,CA-MTL-1"   anywhere, if not said
    cloud "secure,community"        secure, if not said
    volume_id ID                    forces its data center and the secure cloud
    max_price_usd_per_hour N        of the whole pod
--gpus and --volumes are JSON lines:
    {"id", "name", "memory_gb", "price": {"secure", "community"}, "clouds", "stock",
     "available", "data_centers": [{"id", "stock"}] or null, "pretends"}   price: $/h of one GPU
    {"id", "name", "size_gb", "data_center"}
Without GPUs the shipped table of names is used: then neither price nor stock is known. A GPU
that "pretends" stands for every other one, in no data center and with no volume.

stdout is tagged lines, fields separated by TAB, an empty field for what is not known:
    warning TEXT
    candidate GPU_ID GPU_NAME DATA_CENTER CLOUD PRICE STOCK MEMORY_GB
DATA_CENTER is empty for anywhere, PRICE is $/h of the whole pod, STOCK "None" when the list
says that there is none.

Problems go to stderr, one a line. Exit code: 2 when the wish is wrong, 4 when nothing fits it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from gpu_names import (
    CLOUDS,
    Gpu,
    ambiguous_gpu,
    find,
    load_gpus,
    nearest,
    number_of,
    shipped_gpus,
    squeezed,
    text_of,
    unknown_gpu,
)
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from typing import Any

    Json = dict[str, Any]

DATA_CENTER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class WrongWish(Exception):
    """Something in the wish that its author has to change; one problem a line."""


class NothingFits(Exception):
    """The wish is a good one, but no pod on offer fits it."""


# --- words --------------------------------------------------------------------------------


def amount(dollars: float) -> str:
    """Dollars with two to four decimals."""
    text = f"{dollars:.4f}"
    return text[:-2] + text[-2:].rstrip("0")


# --- what there is ------------------------------------------------------------------------


def read_lines(path: str | None) -> list[Json]:
    """The objects in the JSON lines of a file; none when it is missing."""
    try:
        with open(path or "/dev/null", encoding="utf-8") as file:
            values = [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:
        return []
    return [value for value in values if isinstance(value, dict)]


# --- the wish -----------------------------------------------------------------------------


class Wish:
    """What was asked for, checked on being made; WrongWish names every problem with it.

    Lists are empty when nothing was said. What fills up on the way: `warnings`, and of these
    `dropped`, why something that was asked for is not among the candidates.
    """

    def __init__(self, values: Json) -> None:
        self.values = values
        self.warnings: list[str] = []
        self.dropped: list[str] = []
        self.problems: list[str] = []
        self.gpus = self._listed("gpu_type")
        self.centers = self._listed("datacenter")
        for center in self.centers:
            if not DATA_CENTER.fullmatch(center):
                self.problems.append(f"datacenter: {shown(center)} is no data center's name")
        self.clouds = list(dict.fromkeys(cloud.lower() for cloud in self._listed("cloud")))
        for cloud in self.clouds:
            if cloud not in CLOUDS:
                text = f"cloud: must be secure or community, but is {shown(cloud)}"
                self.problems.append(text)
        self.volume_id = self._text("volume_id")
        count = self._number("gpu_count")
        if count is not None and count != int(count):
            self.problems.append(f"gpu_count: must be a whole number, but is {shown(count)}")
        self.gpu_count = int(count or 1)
        self.max_price = self._number("max_price_usd_per_hour")
        self.stop_on_problems()

    def stop_on_problems(self) -> None:
        """WrongWish when there is any problem."""
        if self.problems:
            raise WrongWish("\n".join(self.problems))

    def drop(self, reason: str) -> None:
        """Note why something that was asked for is left out."""
        self.warnings.append(reason)
        self.dropped.append(reason)

    def _text(self, key: str) -> str:
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return squeezed(value or "")
        self.problems.append(f"{key}: must be a text, but is {shown(value)}")
        return ""

    def _listed(self, key: str) -> list[str]:
        parts = [part.strip() for part in self._text(key).split(",")]
        return list(dict.fromkeys(part for part in parts if part))

    def _number(self, key: str) -> float | None:
        value = self.values.get(key)
        number = number_of(value)
        if value is not None and value != "" and not number:
            self.problems.append(f"{key}: must be a number above 0, but is {shown(value)}")
        return number or None


def wanted_gpus(wish: Wish, gpus: list[Gpu]) -> list[Gpu]:
    """The GPUs that the wish names, each once; WrongWish for names that mean none or several."""
    if not wish.gpus:
        raise WrongWish("which GPU? name one, such as A40 (gpu_type, --gpu, AUTOPOD_GPU)")
    shipped = shipped_gpus()
    if not gpus:
        wish.warnings.append("there is no list of GPUs: their prices and stock are not known")
    wanted: dict[str, Gpu] = {}
    for name in wish.gpus:
        found = find(name, gpus or shipped)
        if len(found) == 1:
            wanted[found[0].id] = found[0]
        elif found:
            wish.problems.append(ambiguous_gpu(name, found))
        elif find(name, shipped):
            wish.drop(f"GPU {shown(name)} is not on offer now")
        else:
            wish.problems.append(unknown_gpu(name, [*gpus, *shipped]))
    wish.stop_on_problems()
    return list(wanted.values())


def known_centers(wish: Wish, gpus: list[Gpu]) -> list[str]:
    """The wished data centers as the provider spells them; a warning for each it doesn't have."""
    known = {key: pair[0] for gpu in gpus for key, pair in (gpu.centers or {}).items()}
    for center in wish.centers:
        if known and center.lower() not in known:
            near = nearest(center.lower(), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            wish.warnings.append(f"data center {center} is not on the provider's list{hint}")
    spelled = [known.get(center.lower(), center.upper()) for center in wish.centers]
    return list(dict.fromkeys(spelled))


def volume_words(volume: Json) -> str:
    """A volume for people: its id, name, size and place, as far as they are known."""
    size = number_of(volume.get("size_gb"))
    about = [text_of(volume, "name"), "" if size is None else f"{size:g} GB"]
    about = [word for word in (*about, text_of(volume, "data_center")) if word]
    return text_of(volume, "id") + (f" ({', '.join(about)})" if about else "")


def volume_center(wish: Wish, volumes: list[Json], centers: list[str]) -> str:
    """The data center of the wished volume; WrongWish when it contradicts the rest."""
    for volume in volumes:
        if volume.get("id") == wish.volume_id:
            break
    else:
        listed = ", ".join(volume_words(volume) for volume in volumes)
        there = f"those there are: {listed}" if listed else "there is none at all"
        raise WrongWish(f"there is no volume {shown(wish.volume_id)}; {there}")
    center, name = text_of(volume, "data_center"), f"Volume {text_of(volume, 'id')}"
    if center and centers and center.lower() not in (other.lower() for other in centers):
        raise WrongWish(f"{name} is in {center}, but you asked for {', '.join(centers)}")
    if wish.clouds and "secure" not in wish.clouds:
        raise WrongWish(f"{name} works in the secure cloud only, but you asked for community")
    return center


# --- candidates ---------------------------------------------------------------------------


class Candidate:
    """A GPU in a cloud and a data center (empty: anywhere); price: $/h, None when not known."""

    def __init__(self, gpu: Gpu, center: str, cloud: str, count: int) -> None:
        self.gpu, self.center, self.cloud = gpu, center, cloud
        price = gpu.prices[cloud]
        self.price = None if price is None else price * count

    def fields(self) -> tuple[str, ...]:
        """The fields of its line."""
        price = "" if self.price is None else amount(self.price)
        stock = self.gpu.stock_in(self.center)
        return (self.gpu.id, self.gpu.name, self.center, self.cloud, price, stock, self.gpu.memory)


def affordable(wish: Wish, candidates: list[Candidate]) -> list[Candidate]:
    """Those that don't cost more than the wish allows, or of unknown price; NothingFits."""
    if wish.max_price is None:
        return candidates
    limit = f"${amount(wish.max_price)}/h"
    # 3 * 0.1 is a little more than 0.3.
    dear = [c for c in candidates if c.price is not None and c.price > wish.max_price + 1e-6]
    if dear and len(dear) == len(candidates):
        best = min(dear, key=lambda c: c.price or 0)
        raise NothingFits(
            f"every GPU that fits costs more than {limit}; the cheapest is {best.gpu.name} "
            f"at ${amount(best.price or 0)}/h in the {best.cloud} cloud"
        )
    wish.warnings += dict.fromkeys(
        f"{c.gpu.name} in the {c.cloud} cloud is left out: it costs ${amount(c.price or 0)}/h, "
        f"more than {limit}"
        for c in dear
    )
    unknown = dict.fromkeys(c.gpu.name for c in candidates if c.price is None)
    if unknown:
        wish.warnings.append(
            f"the price of {', '.join(unknown)} is not known before the pod is made, so the limit "
            f"of {limit} can't be checked yet"
        )
    return [c for c in candidates if c not in dear]


def pretended(wish: Wish, gpu: Gpu) -> list[Candidate]:
    """The one candidate of a GPU that takes any name as its label; its price is the pod's."""
    gpu.name = clean(wish.gpus[0]) if wish.gpus else gpu.name
    return [Candidate(gpu, "", cloud, 1) for cloud in gpu.clouds[:1]]


def rentable(wish: Wish, gpus: list[Gpu], volumes: list[Json]) -> list[Candidate]:
    """All that is offered of what the wish names, in its order; WrongWish or NothingFits."""
    clouds, centers = wish.clouds or ["secure"], known_centers(wish, gpus)
    if wish.volume_id:
        center = volume_center(wish, volumes, centers)
        centers, clouds = [center] if center else centers, ["secure"]
    result = []
    for gpu in wanted_gpus(wish, gpus):
        for cloud in clouds:
            if cloud not in gpu.clouds:
                wish.drop(f"{gpu.name} is not offered in the {cloud} cloud")
        result += [
            Candidate(gpu, center, cloud, wish.gpu_count)
            for center in centers or [""]
            for cloud in clouds
            if cloud in gpu.clouds
        ]
    if not result:
        raise NothingFits("; ".join(wish.dropped))
    return result


# --- the command line ---------------------------------------------------------------------


def read_wish(path: str) -> Wish:
    """The wish in a file."""
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return Wish(value)


def say(stream: Any, text: str) -> None:
    """Write one line as UTF-8, whatever the locale."""
    stream.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 2 when the wish or a file is wrong, 4 when nothing fits."""
    parser = argparse.ArgumentParser(
        prog="candidates.py",
        description=__doc__,
        # A given width spares argparse the import of shutil: 3 ms of every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    parser.add_argument("--wish", required=True, metavar="FILE", help="what is wanted")
    parser.add_argument("--gpus", metavar="FILE", help="what the provider has")
    parser.add_argument("--volumes", metavar="FILE", help="the account's network volumes")
    args = parser.parse_args(argv)
    path = args.wish
    try:
        wish = read_wish(path)
        path = args.gpus
        gpus = load_gpus(read_lines(path))
        path = args.volumes
        volumes = read_lines(path)
        pretends = bool(gpus) and gpus[0].pretends
        found = pretended(wish, gpus[0]) if pretends else rentable(wish, gpus, volumes)
        candidates = affordable(wish, found)
    except (WrongWish, NothingFits) as error:
        say(sys.stderr, str(error))
        return 2 if isinstance(error, WrongWish) else 4
    except (OSError, ValueError, RecursionError) as error:
        say(sys.stderr, f"{path}: {clean(str(getattr(error, 'strerror', None) or error))}")
        return 2
    for text in wish.warnings:
        say(sys.stdout, f"warning\t{text}")
    for candidate in candidates:
        say(sys.stdout, "\t".join(("candidate", *candidate.fields())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
