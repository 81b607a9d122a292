"""Which node of a workflow has the positive text, the negative one, the size, the steps.

Not a program. Found by following links back from the samplers, so that neither the order nor the
numbers of nodes matter. `workflow` is in API format, `defs` says what is known of the nodes (see
node_values.py). More than one candidate is a Problem that names them all.
"""

from __future__ import annotations

import re

from job_file import Problem
from node_values import (
    PRIMITIVE,
    class_of,
    how,
    inputs_of,
    is_link,
    known_input,
    named,
    node_name,
    set_field,
    title_of,
)
from seeds import MAX_STEPS
from wording import clean, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from job_file import Json
    from node_values import Field
    from object_info import NodeDefs

OTHER = {"positive": "negative", "negative": "positive"}
# The texts of encoders; those of one group are one text for several models.
GROUPS = (
    ("text_g", "text_l"),
    ("clip_l", "clip_g", "t5xxl", "llama"),
    ("bert", "mt5xl"),
    ("wildcard_text", "populated_text"),
    ("text",),
    ("prompt",),
    ("user_prompt",),
    ("text_positive",),
    ("tags",),
    ("string",),
)
# Links that lead to something else than the text.
ASIDE = re.compile(
    r"^(clip|model|vae|image|images|pixels|mask|masks|audio|video|noise|sampler|sigmas|latent|"
    r"latents|latent_image|samples|control_net|controlnet|style_model|clip_vision.*|gligen.*|"
    r"ip_?adapter|reference.*|bbox.*|sam_.*|seed|noise_seed|strength|width|height|.*_image|.*_model)"
    r"[0-9]*$"
)
NO_SIZE = re.compile(r"3d|bounding|bbox|crop", re.I)  # not what the picture's size is
NO_TEXT = re.compile(r"zero_?out", re.I)  # what it gives is nothing, whatever it got
SEPARATORS = ("delimiter", "separator", "action", "mode", "find", "replace", "tidy_tags")
CONDITIONING = re.compile(
    r"^((positive|negative|cond(itioning)?)([_ ]?(to|from|in|[a-d]|\d+))?"
    r"|(base|refiner)_(positive|negative)|text_embeds)$"
)
MAX_VISITS = 2000


# --- the sampler's texts --------------------------------------------------------------------------


class Texts:
    """Goes from samplers back to where the text of a role ("positive", "negative") stands."""

    def __init__(self, workflow: Json, defs: NodeDefs | None) -> None:
        self.workflow = workflow
        self.defs = defs
        # The fields, and what they are fields of: those of one encoder are one text.
        self.found: dict[Field, str] = {}
        self.dead_ends: list[str] = []  # where a text is computed, or there is none
        self.seen: set[tuple[str, int, str]] = set()

    def roots(self) -> list[tuple[str, str]]:
        """The (node, input) pairs at which a role's conditioning goes into a sampler.

        A node that hands its conditioning on to another one is on the way, not at the end of it.
        """
        consumers: dict[str, set[str]] = {}
        for node_id in self.workflow:
            for name, value in inputs_of(self.workflow, node_id).items():
                if is_link(value):
                    consumers.setdefault(value[0], set()).add(name)
        result: list[tuple[str, str]] = []
        unused: list[tuple[str, str]] = []
        for node_id in self.workflow:
            inputs, by = inputs_of(self.workflow, node_id), consumers.get(node_id, set())
            names = [n for n in inputs if is_conditioning(n) and is_link(inputs[n])]
            if "cond1" in names and "negative" in names and "cond2" in names:
                names.remove("cond2")  # of DualCFGGuider: a negative for the first one
            if any(is_conditioning(name) for name in by):
                continue
            pair = "positive" in names or "negative" in names
            if names and (pair or "guider" in by):
                (result if by else unused).extend((node_id, name) for name in names)
        return result or unused

    def follow(self, role: str) -> None:
        """Notes the fields that have the text of the role."""
        for node_id, name in self.roots():
            theirs = "negative" if "negative" in name else "positive"
            if theirs == role or name == "text_embeds":  # which has both
                link = inputs_of(self.workflow, node_id)[name]
                self.visit(link[0], link[1], role)

    def visit(self, node_id: str, slot: int, role: str) -> None:
        """A node from whose output `slot` the conditioning of a role comes."""
        if (node_id, slot, role) in self.seen or len(self.seen) > MAX_VISITS:
            return
        self.seen.add((node_id, slot, role))
        if NO_TEXT.search(class_of(self.workflow, node_id)):
            self.dead_ends.append(node_name(self.workflow, node_id))
            return
        inputs = inputs_of(self.workflow, node_id)
        if is_link(inputs.get("positive")) and is_link(inputs.get("negative")):
            role_here = self.role_of_slot(node_id, slot, role)
        else:
            role_here = role
        fields = text_fields(inputs, role_here)
        # Beside a conditioning it is the text of a part of the picture.
        behind = any(
            is_conditioning(n) and is_link(inputs[n]) for n in inputs if n != "text_embeds"
        )
        if fields and not behind:
            for name in fields:
                self.text(node_id, name, node_id)
            return
        links = self.conditioning_links(node_id, role_here)
        if not links:
            self.dead_ends.append(node_name(self.workflow, node_id))
        for link in links:
            self.visit(link[0], link[1], role_here)

    def role_of_slot(self, node_id: str, slot: int, role: str) -> str:
        """Which of a node's two conditionings an output is: by its name, else by its place."""
        node = self.defs.get(class_of(self.workflow, node_id)) if self.defs else None
        names = node.get("output_name") if node is not None else None
        if isinstance(names, list) and slot < len(names) and isinstance(names[slot], str):
            for word in OTHER:
                if word in names[slot].lower():
                    return word
        return ("positive", "negative")[slot] if slot in (0, 1) else role

    def conditioning_links(self, node_id: str, role: str) -> list[Any]:
        """The links of a node along which its conditioning comes."""
        inputs = inputs_of(self.workflow, node_id)
        links = {name: value for name, value in inputs.items() if is_link(value)}
        if role in links:
            return [links[role]]
        named = [name for name in links if is_conditioning(name) and name != OTHER[role]]
        if named:
            return [links[name] for name in named]
        known = {name for name in links if self.is_known_conditioning((node_id, name))}
        return [
            links[name]
            for name in links
            if name in known or (not known and not ASIDE.match(name) and name != OTHER[role])
        ]

    def is_known_conditioning(self, field: Field) -> bool:
        known = known_input(self.workflow, self.defs, field)
        return known is not None and "CONDITIONING" in known.kind.split(",")

    def text(self, node_id: str, name: str, owner: str, steps: int = 32) -> None:
        """A field with a text, or one that is linked to it."""
        value = inputs_of(self.workflow, node_id).get(name)
        if isinstance(value, str):
            self.found[(node_id, name)] = owner
        elif isinstance(value, list) and is_link(value) and steps:
            source = value[0]
            inputs = inputs_of(self.workflow, source)
            names = [
                key
                for key, item in inputs.items()
                if (isinstance(item, str) and item and self.is_text(source, key))
                or (is_link(item) and not ASIDE.match(key))
            ] or [key for key, item in inputs.items()
                  if isinstance(item, str) and self.is_text(source, key)][:1]  # fmt: skip
            for key in names:
                self.text(source, key, f"{source}.{key}", steps - 1)
            if not names:
                self.dead_ends.append(node_name(self.workflow, source))

    def is_text(self, node_id: str, name: str) -> bool:
        """Whether a field holds text that people write."""
        known = known_input(self.workflow, self.defs, (node_id, name))
        if known is not None:
            return known.kind == "STRING" and name not in SEPARATORS
        return name not in SEPARATORS


def is_conditioning(name: str) -> bool:
    """Whether an input of this name takes what a text has become."""
    return bool(CONDITIONING.match(name))


def text_fields(inputs: Json, role: str) -> list[str]:
    """The inputs of an encoder that are its text; [] for a node that is none."""
    for name in (role, f"{role}_prompt", f"prompt_{role}", f"text_{role}"):
        if isinstance(inputs.get(name), str):
            return [name]
        if name != role and is_link(inputs.get(name)):
            return [name]
    if any(isinstance(inputs.get(f"{other}_prompt"), str) for other in OTHER):
        return []
    for group in GROUPS:
        names = [name for name in group if isinstance(inputs.get(name), str)]
        links = [name for name in group if is_link(inputs.get(name))]
        if names or links:
            return names or links
    return []


def prompt_fields(workflow: Json, defs: NodeDefs | None, role: str,
                  warnings: list[str]) -> list[Field]:  # fmt: skip
    """The field, or the fields of one encoder, that hold the text of a role."""
    texts = Texts(workflow, defs)
    texts.follow(role)
    found = texts.found
    if not texts.roots():
        found = {field: field[0] for field in fields_without_sampler(workflow, role)}
    if not found:
        where = f": it ends at {', '.join(texts.dead_ends)}" if texts.dead_ends else ""
        hint = "comfy-params lists what can be set, --set NODE.FIELD=... sets it"
        raise Problem(f"no node has the {role} text{where}; {hint}")
    owners = chosen(workflow, found, role)
    fields = [field for field, owner_ in found.items() if owner_ in owners]
    if not owners:
        fields = list(found)
        raise Problem(f"the {role} text may be {named(workflow, fields)}; {how(workflow, fields)}")
    others = Texts(workflow, defs)
    others.follow(OTHER[role])
    both = [field for field in fields if field in others.found]
    if both:
        where = f"{named(workflow, both)} is the positive text and the negative one at once"
        if role == "negative":
            raise Problem(f"{where}; {how(workflow, both)}")
        warnings.append(f"--prompt: {where}")
    return fields


def chosen(workflow: Json, found: dict[Field, str], role: str) -> set[str]:
    """Which of the owners of texts is meant, by what people have titled it; none: nobody knows.

    Several that have the same text now are copies of one.
    """
    owners = set(found.values())
    for is_it in (has_title, is_prompt):
        titled = {item for field, item in found.items() if is_it(workflow, field[0], role)}
        if len(owners) > 1 and len(titled) == 1:
            return titled
    texts = {inputs_of(workflow, node_id).get(name) for node_id, name in found}
    return owners if len(owners) == 1 or (len(texts) == 1 and texts != {""}) else set()


def has_title(workflow: Json, node_id: str, role: str) -> bool:
    """Whether people have called a node so."""
    return role in title_of(workflow, node_id).lower()


def is_prompt(workflow: Json, node_id: str, role: str) -> bool:
    """Whether they have called it the prompt and nothing else."""
    title = " ".join(title_of(workflow, node_id).lower().split())
    return role == "positive" and title in ("prompt", "user prompt", "main prompt")


def fields_without_sampler(workflow: Json, role: str) -> list[Field]:
    """The same where nothing has a positive and a negative side: by the names of fields."""
    found = []
    for node_id in workflow:
        inputs = inputs_of(workflow, node_id)
        names = [f"{role}_prompt", f"prompt_{role}", f"text_{role}", role]
        own = [name for name in names if isinstance(inputs.get(name), str)]
        if not own and role == "positive":
            own = [n for n in ("prompt", "text", "tags") if isinstance(inputs.get(n), str)]
        if not own or (role == "positive" and has_title(workflow, node_id, "negative")):
            continue
        found.append((node_id, own[0]))
    prompts = [field for field in found if "prompt" in field[1]]
    return prompts or found


# --- numbers --------------------------------------------------------------------------------------


def number_fields(workflow: Json, defs: NodeDefs | None, name: str) -> list[Field]:
    """The fields behind --width, --height, --batch-size, --steps, --cfg and --denoise."""
    if name in ("width", "height", "batch_size"):
        fields = size_fields(workflow, name)
    else:
        fields = sampler_fields(workflow, name)
    fields = fields or [
        field
        for field in find_any(workflow, name)
        if not NO_SIZE.search(class_of(workflow, field[0]))
    ]
    values = {source_value(workflow, field) for field in fields}
    owned = list(dict.fromkeys(owner(workflow, field) for field in fields))
    if not owned:
        raise Problem(f"no node has {name}; comfy-params lists what can be set")
    if len(owned) > 1 and (len(values) > 1 or name in ("width", "height", "batch_size")):
        raise Problem(f"may be {named(workflow, owned)}; {how(workflow, owned)}")
    return owned


def find_any(workflow: Json, name: str) -> list[Field]:
    """Every field of that name."""
    return [(node_id, name) for node_id in workflow if name in inputs_of(workflow, node_id)]


def owner(workflow: Json, field: Field) -> Field:
    """The field itself, or the one of its name, or of a node with only a number, behind it."""
    node_id, name = field
    for _ in range(MAX_STEPS):
        value = inputs_of(workflow, node_id).get(name)
        if not isinstance(value, list) or not is_link(value):
            return field if isinstance(value, (str, bool)) or value is None else (node_id, name)
        node_id = value[0]
        inputs = inputs_of(workflow, node_id)
        if field[1] in inputs:
            name = field[1]
            continue
        names = [key for key, item in inputs.items() if type(item) in (int, float)]
        names += [key for key, item in inputs.items() if is_link(item)]
        only = len(inputs) == 1 or PRIMITIVE.search(class_of(workflow, node_id))
        if not only or len(names) != 1:
            return field  # it is computed there
        name = names[0]
    return field


def source_value(workflow: Json, field: Field) -> str:
    """The number that a field has now, for comparing."""
    node_id, name = owner(workflow, field)
    value = inputs_of(workflow, node_id).get(name)
    return shown(float(value) if isinstance(value, (int, float)) else value)


def back_from(workflow: Json, starts: list[str], wanted: str, along: re.Pattern[str]) -> list[str]:
    """The nearest nodes with an input `wanted`, from `starts` back along links of some names."""
    found: dict[str, None] = {}
    todo, seen = list(starts), set(starts)
    while todo:
        node_id = todo.pop(0)
        inputs = inputs_of(workflow, node_id)
        if wanted in inputs:
            found[node_id] = None
            continue
        for name, value in inputs.items():
            if is_link(value) and along.match(name) and value[0] not in seen:
                seen.add(value[0])
                todo.append(value[0])
    return list(found)


def samplers(workflow: Json) -> list[str]:
    """The nodes that turn noise into a latent: they have a latent and what leads it."""
    return [
        node_id
        for node_id in workflow
        if any(is_link(inputs_of(workflow, node_id).get(name)) for name in LATENTS)
        and any(
            is_link(inputs_of(workflow, node_id).get(name))
            for name in ("positive", "guider", "text_embeds", "conditioning", "model")
        )
        and any(
            name in inputs_of(workflow, node_id)
            for name in ("seed", "noise_seed", "noise", "sampler_name", "sampler", "steps", "cfg")
        )
    ]


LATENTS = ("latent_image", "latent", "samples", "latents", "optional_latent_image", "image_embeds")
TO_SCHEDULE = re.compile(r"^(sigmas|guider|scheduler|sampler|sigma|cfg|steps)$")
TO_LATENT = re.compile(r"^(pixels|image|any|input|value|model_?.*|.*latent.*)$")


def sampler_fields(workflow: Json, name: str) -> list[Field]:
    """steps, cfg and denoise of the samplers, or of the schedulers and guiders behind them."""
    found = back_from(workflow, samplers(workflow), name, TO_SCHEDULE)
    return [(node_id, name) for node_id in found]


def size_fields(workflow: Json, name: str) -> list[Field]:
    """Where the latents of the samplers begin: a node with this field, and no latent before it."""
    found: dict[Field, None] = {}
    todo = samplers(workflow)
    seen = set(todo)
    while todo:
        inputs = inputs_of(workflow, todo[0])
        node_id = todo.pop(0)
        latents = [inputs[key] for key in LATENTS if is_link(inputs.get(key))]
        if not latents:
            latents = [v for k, v in inputs.items() if is_link(v) and "latent" in k]
        if not latents and name in inputs:
            found[(node_id, name)] = None
        elif not latents and not any(is_link(inputs.get(k)) for k in ("pixels", "image")):
            latents = [v for k, v in inputs.items() if is_link(v) and TO_LATENT.match(k)]
        for link in latents:
            if link[0] not in seen:
                seen.add(link[0])
                todo.append(link[0])
    return list(found)


# --- the folder -----------------------------------------------------------------------------------


def set_folder(workflow: Json, defs: NodeDefs | None, folder: str) -> None:
    """Puts the folder before what the workflow's files are called."""
    fields = find_any(workflow, "filename_prefix")
    if not fields:
        raise Problem("no node has a filename_prefix")
    for field in fields:
        node_id, name = field
        value = inputs_of(workflow, node_id)[name]
        if is_link(value):
            source = inputs_of(workflow, value[0])
            texts = [key for key, item in source.items() if isinstance(item, str)]
            if len(texts) != 1:
                source_name = node_name(workflow, value[0])
                raise Problem(f"{clean(node_id)}.{name} is linked to {source_name}, which makes it")
            field, value = (value[0], texts[0]), source[texts[0]]
            if value.startswith(folder + "/"):
                continue  # of two nodes that share it
        last = str(value).replace("\\", "/").rstrip("/").rpartition("/")[2] or "ComfyUI"
        set_field(workflow, defs, field, f"{folder}/{last}")
