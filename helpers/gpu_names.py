"""The kinds of GPU that can be rented, and which of them a name means that a person wrote.

A line about one is a JSON object, in which nothing but the id is taken for granted:
    {"id", "name", "memory_gb", "price": {"secure", "community"}, "clouds", "stock",
     "available", "data_centers": [{"id", "stock"}] or null, "pretends"}   price: $/h of one GPU
For helpers beside it; not a program.
"""

from __future__ import annotations

import re

from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every start some 4 ms
    from collections.abc import Iterable
    from typing import Any

    Json = dict[str, Any]

CLOUDS = ("secure", "community")
MOST_SHOWN = 6  # GPUs in one message

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


def squeezed(text: str) -> str:
    """`text` without needless blanks; RunPod's lists hold "NVIDIA  RTX A4500", too."""
    return " ".join(text.split())


def nearest(word: str, known: dict[str, str], most: int) -> list[str]:
    """The at most `most` values of `known` whose keys are most like `word`."""
    from difflib import get_close_matches  # some 5 ms, and only mistakes need it

    keys = get_close_matches(word, list(known), len(known) or 1, 0.6)
    return list(dict.fromkeys(known[key] for key in keys))[:most]


# --- what there is ------------------------------------------------------------------------


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

    prices: cloud -> $/h; centers: data center in lower case -> (its id, stock), None when the
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
        """The stock in a data center; everywhere, when it is empty or the list does not say."""
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


# --- their names --------------------------------------------------------------------------


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
