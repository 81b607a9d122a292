"""Makes what the measurement of converting needs: a server's answer and a workflow of its GUI.

conversion.py DIR    info.json       1.6 MB, as GET /object_info of a server with some packs
                     workflow.json   100 nodes: samplers, texts, reroutes, muted branches, notes
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

Json = dict[str, Any]

OTHERS = 1000  # nodes that the workflow doesn't use
CHAINS = 12  # of 8 nodes each
FILES = [f"models/some-checkpoint-{number}.safetensors" for number in range(40)]


def definition(name: str, required: Json, outputs: list[str], **more: Any) -> Json:
    """What /object_info says of one node."""
    return {
        "input": {"required": required, "hidden": {"unique_id": "UNIQUE_ID"}},
        "input_order": {"required": list(required), "hidden": ["unique_id"]},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": outputs,
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": "nodes",
        "category": "bench",
        "output_node": False,
        **more,
    }


def definitions() -> Json:
    """The nodes of the workflow, and as many others as a server with some packs has."""
    number = {"default": 512, "min": 1, "max": 16384, "step": 1, "tooltip": "How much of it."}
    text = ["STRING", {"multiline": True, "dynamicPrompts": True}]
    sampler: Json = {
        "model": ["MODEL"],
        "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
        "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
        "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}],
        "sampler_name": [["euler", "heun", "dpmpp_2m"]],
        "scheduler": ["COMBO", {"options": ["simple", "karras"]}],
        "positive": ["CONDITIONING"],
        "negative": ["CONDITIONING"],
        "latent_image": ["LATENT"],
        "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}],
    }
    size = {"width": ["INT", number], "height": ["INT", number], "batch_size": ["INT", number]}
    save = {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}
    decode = {"samples": ["LATENT"], "vae": ["VAE"]}
    nodes = {
        "Loader": definition("Loader", {"ckpt_name": [FILES]}, ["MODEL", "CLIP", "VAE"]),
        "Encode": definition("Encode", {"text": text, "clip": ["CLIP"]}, ["CONDITIONING"]),
        "Latent": definition("Latent", size, ["LATENT"]),
        "Sampler": definition("Sampler", sampler, ["LATENT"]),
        "Decode": definition("Decode", decode, ["IMAGE"]),
        "Save": definition("Save", save, [], output_node=True),
    }
    for index in range(OTHERS):
        inputs = {f"value_{place}": ["INT", number] for place in range(7)}
        inputs["choice"] = [[f"choice {place} of them" for place in range(12)], {}]
        name = f"Other {index}"
        nodes[name] = definition(name, inputs, ["IMAGE", "MASK"], description="What it does. " * 12)
    return nodes


class Graph:
    """A workflow in the GUI's format, as it grows."""

    def __init__(self) -> None:
        self.nodes: list[Json] = []
        self.links: list[list[Any]] = []

    def add(
        self, kind: str, values: list[Any], mode: int = 0, **inputs: tuple[int, int, str]
    ) -> int:
        """A node whose `inputs` are linked to (node, slot, type); its id."""
        node = len(self.nodes) + 1
        slots = []
        for slot, (name, (origin, origin_slot, kind_of_link)) in enumerate(inputs.items()):
            link = len(self.links) + 1
            self.links.append([link, origin, origin_slot, node, slot, kind_of_link])
            slots.append({"name": name, "type": kind_of_link, "link": link})
        self.nodes.append(
            {
                "id": node,
                "type": kind,
                "mode": mode,
                "pos": [300 * (node % 10), 200 * (node // 10)],
                "size": [300, 180],
                "flags": {},
                "order": node,
                "properties": {"Node name for S&R": kind},
                "inputs": slots,
                "outputs": [],
                "widgets_values": values,
            }
        )
        return node

    def whole(self) -> Json:
        """The workflow."""
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "version": 0.4,
        }


def workflow() -> Json:
    """100 nodes: chains from a loader to a file, two of them muted."""
    graph = Graph()
    for number in range(CHAINS):
        mode = 2 if number in (3, 7) else 0
        loader = graph.add("Loader", [FILES[number]], mode)
        clip = (loader, 1, "CLIP")
        good = graph.add("Encode", [f"a house by the sea, number {number}"], mode, clip=clip)
        bad = graph.add("Encode", ["blurry /* never */"], mode, clip=clip)
        latent = graph.add("Latent", [1024, 1024, 1], mode)
        way = graph.add("Reroute", [], 0, **{"": (latent, 0, "LATENT")})
        sampler = graph.add(
            "Sampler",
            [number, "randomize", 20, 7.5, "euler", "karras", 1],
            mode,
            model=(loader, 0, "MODEL"),
            positive=(good, 0, "CONDITIONING"),
            negative=(bad, 0, "CONDITIONING"),
            latent_image=(way, 0, "LATENT"),
        )
        links = {"samples": (sampler, 0, "LATENT"), "vae": (loader, 2, "VAE")}
        image = graph.add("Decode", [], mode, **links)
        graph.add("Save", ["bench"], mode, images=(image, 0, "IMAGE"))
    while len(graph.nodes) < 100:
        graph.add("Note", ["what is seen in the GUI alone"])
    return graph.whole()


def main() -> int:
    """Write both files."""
    for name, value in ("info.json", definitions()), ("workflow.json", workflow()):
        with open(os.path.join(sys.argv[1], name), "w", encoding="utf-8") as file:
            json.dump(value, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
