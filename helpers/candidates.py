#!/usr/bin/env python3
"""Say which pods are worth trying to rent, in the order to try them.

--wish is one JSON object; what is absent, null or "" was not said:
    gpu_type "A40, RTX A6000"       names as people write them, or ids, the preferred first
    gpu_count N                     of one pod (1)
    datacenter "US-GA-1,CA-MTL-1"   anywhere, if not said
    cloud "secure,community"        secure, if not said
    volume_id ID                    forces its data centre and the secure cloud
    max_price_usd_per_hour N        of the whole pod
--gpus and --volumes are JSON lines:
    {"id", "name", "memory_gb", "price": {"secure", "community"}, "clouds", "stock",
     "available", "data_centers": [{"id", "stock"}] or null, "pretends"}   price: $/h of one GPU
    {"id", "name", "size_gb", "data_center"}
Without GPUs the shipped table of names is used: then neither price nor stock is known. A GPU
that "pretends" stands for every other one, in no data centre and with no volume.

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
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from collections.abc import Iterable
    from typing import Any

    Json = dict[str, Any]

CLOUDS = ("secure", "community")
MOST_SHOWN = 6  # GPUs in one message
DATA_CENTER = re.compile(r"[A-Za-z0-9_-]{1,64}")

# What people leave out of a GPU's name, or add to it.
NOISE = re.compile(r"nvidia|geforce|quadro|tesla|amd|instinct|rtx|generation|edition")
# "80 GB", then a model (a40, 4090, l40s, mi300x), then other words, glued together or not:
# "3090ti" is "3090" and "ti".
WORD = re.compile(r"\d+\s*gb|[a-z]{0,2}\d+(?:[a-z](?![a-z]))?|[a-z]+\d*")

# id, display name and memory in GB, from docs.runpod.io/references/gpu-types (2026).
SHIPPED_GPUS = """
AMD Instinct MI300X OAM|MI300X|192
NVIDIA A30|A30|24
NVIDIA A40|A40|48
NVIDIA A100 80GB PCIe|A100 PCIe|80
NVIDIA A100-SXM4-80GB|A100 SXM|80
NVIDIA B200|B200|180
NVIDIA B300 SXM6 AC|B300|288
NVIDIA GeForce RTX 3070|RTX 3070|8
NVIDIA GeForce RTX 3080|RTX 3080|10
NVIDIA GeForce RTX 3080 Ti|RTX 3080 Ti|12
NVIDIA GeForce RTX 3090|RTX 3090|24
NVIDIA GeForce RTX 3090 Ti|RTX 3090 Ti|24
NVIDIA GeForce RTX 4070 Ti|RTX 4070 Ti|12
NVIDIA GeForce RTX 4080|RTX 4080|16
NVIDIA GeForce RTX 4080 SUPER|RTX 4080 SUPER|16
NVIDIA GeForce RTX 4090|RTX 4090|24
NVIDIA GeForce RTX 5080|RTX 5080|16
NVIDIA GeForce RTX 5090|RTX 5090|32
NVIDIA H100 80GB HBM3|H100 SXM|80
NVIDIA H100 NVL|H100 NVL|94
NVIDIA H100 PCIe|H100 PCIe|80
NVIDIA H200|H200 SXM|141
NVIDIA L4|L4|24
NVIDIA L40|L40|48
NVIDIA L40S|L40S|48
NVIDIA RTX 2000 Ada Generation|RTX 2000 Ada|16
NVIDIA RTX 4000 Ada Generation|RTX 4000 Ada|20
NVIDIA RTX 4000 SFF Ada Generation|RTX 4000 Ada SFF|20
NVIDIA RTX 5000 Ada Generation|RTX 5000 Ada|32
NVIDIA RTX 6000 Ada Generation|RTX 6000 Ada|48
NVIDIA RTX A2000|RTX A2000|6
NVIDIA RTX A4000|RTX A4000|16
NVIDIA RTX A4500|RTX A4500|20
NVIDIA RTX A5000|RTX A5000|24
NVIDIA RTX A6000|RTX A6000|48
Tesla V100-FHHL-16GB|V100 FHHL|16
Tesla V100-PCIE-16GB|Tesla V100|16
Tesla V100-SXM2-16GB|V100 SXM2|16
Tesla V100-SXM2-32GB|V100 SXM2 32GB|32
"""


class WrongWish(Exception):
    """Something in the wish that its author has to change; one problem a line."""


class NothingFits(Exception):
    """The wish is a good one, but no pod on offer fits it."""


# --- words --------------------------------------------------------------------------------


def clean(text: str) -> str:
    """`text` with everything that could move a cursor or fake a line written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """`value` as JSON in one short line."""
    text = clean(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 80 else text[:77] + "..."


def amount(dollars: float) -> str:
    """Dollars with two to four decimals."""
    text = f"{dollars:.4f}"
    return text[:-2] + text[-2:].rstrip("0")


def squeezed(text: str) -> str:
    """`text` without needless blanks; RunPod's lists hold "NVIDIA  RTX A4500", too."""
    return " ".join(text.split())


def nearest(word: str, known: dict[str, str], most: int) -> list[str]:
    """The at most `most` values of `known` whose keys are most like `word`."""
    from difflib import get_close_matches  # some 5 ms, and only mistakes need it

    keys = get_close_matches(word, list(known), len(known) or 1, 0.6)
    return list(dict.fromkeys(known[key] for key in keys))[:most]


# --- what there is ------------------------------------------------------------------------


def read_lines(path: str | None) -> list[Json]:
    """The objects in the JSON lines of a file; none when it is missing."""
    try:
        with open(path or "/dev/null", encoding="utf-8") as file:
            values = [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:
        return []
    return [value for value in values if isinstance(value, dict)]


def text_of(line: Json, key: str) -> str:
    """The text at `key` of a line; empty when there is none."""
    value = line.get(key)
    return clean(squeezed(value)) if isinstance(value, str) else ""


def number_of(value: object) -> float | None:
    """`value` when it is a number that can be a price, a size or a count, else None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9:
        return value
    return None


class Gpu:
    """A kind of GPU: a line of --gpus, in which nothing but the id is taken for granted.

    prices: cloud -> $/h; centers: data centre in lower case -> (its id, stock), None when the
    list does not say.
    """

    def __init__(self, line: Json) -> None:
        self.id: str = line["id"]
        self.name = text_of(line, "name") or squeezed(self.id)
        memory = number_of(line.get("memory_gb"))
        self.memory = "" if memory is None else f"{memory:g}"
        self.pretends = line.get("pretends") is True
        self.available = line.get("available") is not False
        self.stock = text_of(line, "stock") or ("" if self.available else "None")
        price = line.get("price")
        price = price if isinstance(price, dict) else {}
        self.prices = {cloud: number_of(price.get(cloud)) for cloud in CLOUDS}
        offered = line.get("clouds")
        if not isinstance(offered, list):
            offered = [cloud for cloud in CLOUDS if self.prices[cloud] is not None] or CLOUDS
        self.clouds = [cloud for cloud in CLOUDS if cloud in offered]
        self.centers: dict[str, tuple[str, str]] | None = None
        centers = line.get("data_centers")
        if isinstance(centers, list):
            centers = [center for center in centers if isinstance(center, dict)]
            pairs = [(text_of(center, "id"), text_of(center, "stock")) for center in centers]
            self.centers = {pair[0].lower(): pair for pair in pairs if pair[0]}

    def stock_in(self, center: str) -> str:
        """The stock in a data centre; everywhere, when it is empty or the list does not say."""
        if not center or self.centers is None:
            return self.stock
        return self.centers.get(center.lower(), ("", "None"))[1]

    def words(self) -> set[str]:
        """Every word that may stand in its name, "48gb" among them."""
        size = {f"{self.memory}gb"} if self.memory else set()
        return words(self.id) | words(self.name) | size


def load_gpus(lines: Iterable[Json]) -> list[Gpu]:
    """The GPUs in `lines`, each once: of ids that differ in blanks only, the available one."""
    gpus: dict[str, Gpu] = {}
    for line in lines:
        gpu_id = line.get("id")
        if isinstance(gpu_id, str) and gpu_id.strip() and gpu_id.isprintable():
            gpu = Gpu(line)
            old = gpus.setdefault(squeezed(gpu_id).lower(), gpu)
            if gpu.available and not old.available:
                gpus[squeezed(gpu_id).lower()] = gpu
    return list(gpus.values())


def shipped_gpus() -> list[Gpu]:
    """The GPUs that RunPod is known to have had."""
    rows = [row.split("|") for row in SHIPPED_GPUS.split("\n") if row]
    return [Gpu({"id": row[0], "name": row[1], "memory_gb": int(row[2])}) for row in rows]


# --- GPU names ----------------------------------------------------------------------------


def compact(text: str) -> str:
    """What is left of a GPU's name when all that is optional is gone."""
    return re.sub(r"[^a-z0-9]", "", NOISE.sub(" ", text.lower()))


def words(text: str) -> set[str]:
    """The words that count in a GPU's name; SXM4 and SXM5 are one, as in the display names."""
    plain = re.sub(r"sxm\d", "sxm ", NOISE.sub(" ", text.lower()))
    return {re.sub(r"\s", "", word) for word in WORD.findall(plain)}


def find(wanted: str, gpus: list[Gpu]) -> list[Gpu]:
    """The GPUs that `wanted` may mean: those of that very name, or else whose name holds it."""
    name, parts = squeezed(wanted).lower(), words(wanted)
    return (
        [gpu for gpu in gpus if name in (squeezed(gpu.id).lower(), gpu.name.lower())]
        or [gpu for gpu in gpus if parts and parts in (words(gpu.id), words(gpu.name))]
        or [gpu for gpu in gpus if parts and parts <= gpu.words()]
    )


def unknown_gpu(wanted: str, gpus: list[Gpu]) -> str:
    """What to say about a name that no GPU has."""
    known = {compact(text): gpu.name for gpu in gpus for text in (gpu.id, gpu.name)}
    near = nearest(compact(wanted), known, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "autopod-gpus lists those there are"
    return f"GPU {shown(wanted)} is not known; {hint}"


def ambiguous_gpu(wanted: str, gpus: list[Gpu]) -> str:
    """What to say about a name that several GPUs may have."""
    listed = ", ".join(f"{gpu.name} ({squeezed(gpu.id)})" for gpu in gpus[:MOST_SHOWN])
    more = f", ... ({len(gpus)} in all)" if len(gpus) > MOST_SHOWN else ""
    return f"GPU {shown(wanted)} may mean {listed}{more}; name one, or several between commas"


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
                self.problems.append(f"datacenter: {shown(center)} is no data centre's name")
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
    """The wished data centres as the provider spells them; a warning for each it doesn't have."""
    known = {key: pair[0] for gpu in gpus for key, pair in (gpu.centers or {}).items()}
    for center in wish.centers:
        if known and center.lower() not in known:
            near = nearest(center.lower(), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            wish.warnings.append(f"data centre {center} is not on the provider's list{hint}")
    spelled = [known.get(center.lower(), center.upper()) for center in wish.centers]
    return list(dict.fromkeys(spelled))


def volume_words(volume: Json) -> str:
    """A volume for people: its id, name, size and place, as far as they are known."""
    size = number_of(volume.get("size_gb"))
    about = [text_of(volume, "name"), "" if size is None else f"{size:g} GB"]
    about = [word for word in (*about, text_of(volume, "data_center")) if word]
    return text_of(volume, "id") + (f" ({', '.join(about)})" if about else "")


def volume_center(wish: Wish, volumes: list[Json], centers: list[str]) -> str:
    """The data centre of the wished volume; WrongWish when it contradicts the rest."""
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
    """A GPU in a cloud and a data centre (empty: anywhere); price: $/h, None when not known."""

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
