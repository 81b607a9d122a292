"""One plain value of a workflow against what a node's definition says of it.

A module of check_workflow.py, not a program. Values are coerced as ComfyUI does it (int(), float(),
str(), bool()) before they are compared.
"""

from __future__ import annotations

import re

from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from object_info import Input

    Found = tuple[str, str, bool]  # severity, text, stale

LISTED = 8  # values that are named
TYPE_WORDS = {"INT": "a whole number", "FLOAT": "a number"}
COERCIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
FALSE_WORDS = ("false", "no", "off", "0", "none", "null")
# Types that only a link can give.
LINK_TYPES = (
    *("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "AUDIO", "VIDEO"),
    *("CONTROL_NET", "CLIP_VISION", "CLIP_VISION_OUTPUT", "STYLE_MODEL", "UPSCALE_MODEL"),
    *("NOISE", "SAMPLER", "SIGMAS", "GUIDER", "GLIGEN"),
)
# Nodes of ComfyUI's own that look for the file themselves, though their list is not marked.
LOADERS = ("LoadLatent", "LoadImage", "LoadImageMask", "LoadImageOutput", "LoadAudio", "LoadVideo")

# The folder below models/ that a field's list is of (nodes.py and comfy_extras of ComfyUI).
MODEL_FIELDS = {
    "ckpt_name": "checkpoints",
    "vae_name": "vae",
    "lora_name": "loras",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "text_encoder": "text_encoders",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "photomaker_model_name": "photomaker",
    "audio_encoder_name": "audio_encoders",
    "config_name": "configs",
}
MODEL_CLASSES = {  # where the field's name says another one, or nothing
    "CLIPVisionLoader": "clip_vision",
    "UpscaleModelLoader": "upscale_models",
    "ModelPatchLoader": "model_patches",
    "LatentUpscaleModelLoader": "latent_upscale_models",
    "LTXVAudioVAELoader": "checkpoints",
    "BackgroundRemovalLoader": "background_removal",
    "FrameInterpolationModelLoader": "frame_interpolation",
}
MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|yaml)$", re.IGNORECASE)
NUMBERED = re.compile(r"_?[0-9]+$")


def model_folder(class_type: str, field: str) -> str:
    """The folder below models/ from which a field takes its files; empty when not known."""
    plain = NUMBERED.sub("", field.rpartition(".")[2])
    return MODEL_CLASSES.get(class_type) or MODEL_FIELDS.get(plain, "")


def nearest_value(value: Any, choices: list[Any]) -> str:
    """`; did you mean "X"?`, when a choice is near; of paths those with the same file first."""
    from difflib import get_close_matches

    word = str(value).lower().replace("\\", "/")
    plain = {str(item).lower().replace("\\", "/"): item for item in choices}
    same = [item for item in plain if item.rpartition("/")[2] == word.rpartition("/")[2]]
    close = ([word] if word in plain else []) or same[:1] or get_close_matches(word, plain, 1, 0.6)
    return f"; did you mean {shown(plain[close[0]])}?" if close else ""


def not_in_list(class_type: str, item: Input, value: Any) -> str:
    """What is said of a value that is not among the choices."""
    choices = item.choices or []
    folder = model_folder(class_type, item.name)
    is_file = isinstance(value, str) and bool(MODEL_FILE.search(value))
    listed = ", ".join(clean(str(choice))[:60] for choice in choices[:LISTED])
    listed += f", ... ({len(choices)} in all)" if len(choices) > LISTED else ""
    near = nearest_value(value, choices)
    if folder:
        text = f"{shown(value)} is not in the server's models/{folder}"
        text += f", which has {listed}" if choices else ", which is empty"
        return text + (near or f"; put it there, as models/{folder}/NAME")
    if not choices:
        return f"{shown(value)} is not on the server: its list is empty"
    if is_file:
        return f"{shown(value)} is not on the server, which has {listed}{near}"
    return f"{shown(value)} is not one of {listed}{near}"


def coerce(item: Input, value: Any) -> tuple[Any, str]:
    """The value as the server makes it, and what stands in the way (empty: nothing)."""
    try:
        return (COERCIONS[item.kind](value) if item.kind in COERCIONS else value), ""
    except Exception:
        return value, f"must be {TYPE_WORDS.get(item.kind, item.kind)}, but is {shown(value)}"


def out_of_limits(item: Input, value: Any) -> str:
    """What is wrong with a value beyond its smallest or largest; empty when nothing is."""
    low, high = item.options.get("min"), item.options.get("max")
    try:
        if low is not None and value < low:
            return f"{shown(value)} is below the smallest allowed value, {shown(low)}"
        if high is not None and value > high:
            return f"{shown(value)} is above the largest allowed value, {shown(high)}"
    except TypeError:
        return f"{shown(value)} can't be compared with its limits"
    return ""


def oddity(item: Input, value: Any, coerced: Any) -> str:
    """What the server takes without a word, though hardly anybody means it."""
    if item.kind == "INT" and isinstance(value, float) and value != coerced:
        return f"{shown(value)} is cut to {coerced}"
    if item.kind == "BOOLEAN" and isinstance(value, str) and value.lower() in FALSE_WORDS:
        return f"{shown(value)} counts as true: write false without quotes"
    if item.kind == "STRING" and value is None:
        return 'null becomes the text "None"'
    if item.kind in LINK_TYPES and (value is not None or item.required):
        return f"needs a link to a node that gives {item.kind}, but is {shown(value)}"
    return ""


def value_findings(
    class_type: str, item: Input, value: Any, own_checks: bool, uploads: Collection[str]
) -> list[Found]:
    """What there is to say of a plain value: (severity, text, stale), one at most."""
    coerced, problem = coerce(item, value)
    if problem:
        return [("error", problem, False)]
    problem = out_of_limits(item, coerced)
    if problem:
        return [("warning" if own_checks else "error", problem, False)]
    if item.choices is None:
        odd = oddity(item, value, coerced)
        return [("warning", odd, False)] if odd else []
    try:
        listed = coerced in item.choices
    except TypeError:
        listed = False
    if listed:
        return []
    if item.is_upload or class_type in LOADERS or (own_checks and value in uploads):
        return _upload(value, uploads)
    several = item.options.get("multiselect") and isinstance(coerced, list)
    if several and all(each in item.choices for each in coerced):
        return []
    text = not_in_list(class_type, item, coerced)
    is_v1 = item.kind == "COMBO" and "options" not in item.options
    return [("error" if is_v1 and not own_checks else "warning", text, True)]


def _upload(value: Any, uploads: Collection[str]) -> list[Found]:
    """A file that people upload: those in folders, or of other kinds, are on no list."""
    if not isinstance(value, str) or value in uploads or "/" in value or value.endswith("]"):
        return []
    text = f"{shown(value)} is not among the server's input files"
    return [("warning", f"{text}: give it in the job's inputs, which are uploaded", True)]
