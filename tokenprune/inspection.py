"""What attaching a model would find, read off its config: the model is laid out without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from inspect import isfunction
from typing import Any

from tokenprune.configs import config_of, laid_out, processor_of
from tokenprune.counted import Counted
from tokenprune.errors import AttachError, MissingCue, RefusedFamily, TokenpruneError, UnknownFamily
from tokenprune.family import Family, Model, check_policy, named_family, tower_of
from tokenprune.footage import Footage, footage
from tokenprune.layers import attending, layers_path
from tokenprune.listen import cue_sources, cues_of, default_layer
from tokenprune.pipeline import load
from tokenprune.placeholders import Placeholders, Size, count_placeholders, layout_of
from tokenprune.registry import list_pipelines
from tokenprune.seams import check_seams
from tokenprune.standard_layers import check_inside


@dataclass(frozen=True)
class Inspection:
    """What attaching would find. Where it is refused, what is not known stays empty.

    Args:
        model_type: of the config.
        family: name the family is registered under.
        refused: why the model cannot be attached. None: it can.
        model: class of the model.
        encoder: type of the vision encoder. None: there is none, as where patches are projected as they are.
        tower: path from the base model to it.
        depth: how many layers it has.
        attention: path from the base model to the attention of layer ``{}``. None: none is read.
        cls: where the CLS token stands in the encoder's sequence; ``own``: the family reads it in a way of its own.
            None: there is none.
        cues: where each cue comes from when no layer is named, ``NAME@LAYER``; or why one must be.
        positions: default policy for position ids.
        layout: how images are laid out; ``own``: by a function of the family.
        placeholders: of the image asked about. None: none was.
        videos: what becomes of them.
        pipelines: each registered pipeline, and why it does not apply. None: it does.
    """

    model_type: str
    family: str | None = None
    refused: str | None = None
    model: str | None = None
    encoder: str | None = None
    tower: str | None = None
    depth: int | None = None
    attention: str | None = None
    cls: str | None = None
    cues: Mapping[str, str] = field(default_factory=dict)
    positions: str | None = None
    layout: str | None = None
    placeholders: Placeholders | None = None
    videos: Footage | None = None
    pipelines: Mapping[str, str | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def inspect_model(source: str, image: Size | None = None, frames: int | None = None) -> Inspection:
    """What attaching a model would find, from its config alone; no weights are read.

    Args:
        source: a model folder, a config file, a name on the hub (``OWNER/NAME``), or a model type, whose default config
            is then taken.
        image: (height, width) in pixels of an image to count the placeholder tokens of.
        frames: count those of a video too, of so many frames of that size.

    Raises:
        UnknownName: transformers knows no such model type.
        AttachError: the config cannot be read, or its model cannot be laid out.
    """
    config = config_of(source)
    kind, name = str(config.model_type), None
    try:
        name, family = named_family(config, type(config).__name__)
        model = laid_out(config)
    except (UnknownFamily, RefusedFamily) as problem:
        return Inspection(kind, name, str(problem))
    try:
        check_seams(family, model)
        found = _tower(family, model)
    except AttachError as problem:
        return Inspection(kind, name, str(problem), type(model).__name__)
    return Inspection(
        kind,
        name,
        None,
        type(model).__name__,
        **found,
        positions=family.positions,
        placeholders=None if image is None else count_placeholders(family, model, image, *processor_of(source)),
        videos=footage(family, model, image, frames),
        pipelines={one: _why_not(family, model, one) for one in list_pipelines()},
    )


def _tower(family: Family, model: Model) -> dict[str, Any]:
    """What is known of the vision encoder."""
    encoder, spec = tower_of(family, model)
    layout = layout_of(family, spec)
    found = {
        "encoder": getattr(getattr(model.config, "vision_config", None), "model_type", None),
        "tower": family.tower,
        "cls": spec.cls or ("own" if "cls_attention" in spec.reads else None),
        "layout": _named(family, layout),
    }
    if not spec.attention:
        return found
    stem, attention = layers_path(encoder, spec)
    layers = attending(encoder, spec)
    path = f"{family.tower}.{stem}.{{}}.{attention}"
    cues = {cue: _source(family, model, cue, layers) for cue in sorted(cues_of(spec))}
    return {**found, "depth": len(layers), "attention": path, "cues": cues}


def _source(family: Family, model: Model, cue: str, layers: list[bool]) -> str:
    try:
        return f"{cue}@{default_layer(family, model, cue, layers, {})}"
    except MissingCue as problem:
        return str(problem)


def _why_not(family: Family, model: Model, pipeline: str) -> str | None:
    """Why a registered pipeline does not apply to a model."""
    chosen = load(pipeline)
    try:
        check_inside(family, model, chosen)
        check_policy(family, model, chosen.positions)
        cue_sources(family, model, chosen, {})
    except TokenpruneError as problem:
        return str(problem)
    return None


def _named(family: Family, layout: Any) -> str:
    """What a layout is called."""
    if family.cross:
        return "cross-attention"
    return "own" if isfunction(layout) or isinstance(layout, Counted) else type(layout).__name__.lower()
