"""Run a model's vision encoder once, and read the tokens and their cues off it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from tokenprune.errors import AttachError, MissingCue, UnsupportedMode
from tokenprune.family import Family, Model, Tower, tower_of
from tokenprune.features import pieces_of
from tokenprune.layout import Layout, Seen
from tokenprune.listen import Heard, Settings, cue_sources, listening
from tokenprune.once import once
from tokenprune.pipeline import Pipeline
from tokenprune.question import question_of
from tokenprune.resampled import resampled
from tokenprune.tokens import Cue, VisualTokens

_TURNS: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # models that have been encoded with


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of the images, or of the videos, of one prompt batch.

    Args:
        output: the model's own output object.
        rows: [R, C] feature rows in the order in which they fill placeholders, width of the language model.
        index: [R] int64 into the flattened [B * N] tokens; -1 where a row is a separator.
        tokens: the B rows to choose from.
        names: where each cue comes from, such as ``cls_attention@22``, by the name it is read under.
    """

    output: Any
    rows: Tensor
    index: Tensor
    tokens: VisualTokens
    names: Mapping[str, str]


def encode(
    family: Family,
    model: Model,
    call: Mapping[str, Any],
    pipeline: Pipeline,
    ids: Tensor,
    placeholder: Tensor,
    mask: Tensor | None = None,
    visual: Tensor | None = None,
) -> Encoded:
    """Encode the images of one call, or its videos, and describe their tokens.

    Args:
        family: the model's family, as it is for what is encoded.
        model: the model.
        call: the keyword arguments of the call.
        pipeline: what will choose; its cues are tapped while the encoder runs.
        ids: [P, T] int64, the prompts.
        placeholder: [P, T] bool, where they take feature rows.
        mask: [P, T], zero where a prompt is padding. None: nowhere.
        visual: [P, T] bool, placeholders of what is encoded otherwise among them. None: there are no others.

    Raises:
        UnsupportedMode: the call brings other pixels than the encoder reads.
        AttachError: features and placeholders do not fit.
    """
    sources = cue_sources(family, model, pipeline, call)
    base = model.base_model
    output, heard = _heard(family, model, _arguments(family, model, call), sources)
    pieces = pieces_of(output, family.feature_field)
    rows, room = torch.cat(pieces), placeholder.sum(-1).tolist()
    if len(rows) != sum(room):
        _sample_of([len(piece) for piece in pieces], room)  # does not fit, and says so
    spec = tower_of(family, model)[1]
    layout = (spec.layout or family.layout)(Seen(Settings(model.config, call), base, call, pieces, ids, placeholder))
    layout = resampled(layout, torch.cat(heard.looks)) if heard.looks else layout
    projected = pipeline.stages[0].space != "encoder" or not heard.encoder
    space = layout.spread(rows.detach()) if projected else _encoder_space(layout, spec, heard.encoder)
    cues: dict[str, Cue] = {
        name: layout.pool(_flat(layout, spec, sources[name], values, spec.registers(model.config)))
        for name, values in heard.cues.items()
    }
    sample = torch.tensor(_sample_of(layout.lengths, room), dtype=torch.int64)[layout.item]
    cues["question"] = lambda: question_of(model, ids, mask, placeholder if visual is None else visual)[sample]
    return Encoded(output, rows, layout.index, _tokens(layout, space, cues, sample, family.marked), sources)


def _heard(family: Family, model: Model, arguments: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[Any, Heard]:
    """What the encoder gives, and what was read on its way."""
    method = getattr(model.base_model, family.method)

    def run() -> tuple[Any, Heard]:
        with _TURNS.setdefault(model, threading.RLock()), listening(family, model, sources) as heard:
            return method(**arguments, return_dict=True), heard

    found: tuple[Any, Heard] = once(method, sources, arguments, run)
    return found


def _arguments(family: Family, model: Model, call: Mapping[str, Any]) -> dict[str, Any]:
    """What the encoder reads of a call.

    Raises:
        UnsupportedMode: it needs something that the call does not bring.
    """
    parameters = inspect.signature(getattr(model.base_model, family.method)).parameters.values()
    given = {one.name: call[one.name] for one in parameters if one.name in call}
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if missing := [name for name in needed if name not in given]:
        raise UnsupportedMode(
            f"{family.method} of {type(model).__name__} reads {', '.join(needed)}, and this call brings no "
            f"{', '.join(missing)}; let the processor return that"
        )
    return given


def _tokens(layout: Layout, space: Tensor, cues: Mapping[str, Cue], sample: Tensor, marked: bool) -> VisualTokens:
    return VisualTokens(
        space,
        cues=cues,
        valid=layout.valid,
        place=layout.place,
        canvas=layout.canvas,
        group=layout.group,
        sample=sample,
        overview=layout.overview,
        marked=torch.ones(len(layout.item), dtype=torch.bool) if marked else None,
    )


def _flat(layout: Layout, spec: Tower, source: str, values: list[Tensor], skipped: int) -> Tensor:
    """[H, S] or [S]: what a tap read of every sequence, laid end to end, CLS tokens and dropped outputs left out.

    Raises:
        MissingCue: the layer has another number of outputs than tokens are made of.
    """
    parts = []
    for value in values:  # [b, H, S] or [b, S]
        value = value[..., skipped:]
        if spec.cls is not None:
            value = value[..., 1:] if spec.cls == "first" else value[..., :-1]
        if layout.sequence is not None:
            value = value[..., value.shape[-1] - layout.sequence :]
        parts.append(value.transpose(0, -2).flatten(-2) if value.ndim == 3 else value.flatten())
    flat = torch.cat(parts, -1)
    flat = flat if layout.real is None else flat[..., layout.real]
    if flat.shape[-1] != layout.outputs and layout.mix is None:
        raise MissingCue(
            f"{source} is of {flat.shape[-1]} places, and tokens are made of {layout.outputs}: this encoder merges on "
            "its way; ask for a later layer"
        )
    return flat


def _encoder_space(layout: Layout, spec: Tower, outputs: list[Tensor]) -> Tensor:
    """[B, N, C]: what enters the projector, one vector a token; patches that are merged later are averaged."""
    parts = []
    for output in outputs:  # [b, S, C] or [S, C]
        output = output.detach()
        if output.ndim == 3 and layout.sequence is not None and output.shape[1] > layout.sequence:
            output = output[:, : layout.sequence] if spec.cls == "last" else output[:, -layout.sequence :]
        if output.shape[:-1] == (int((layout.index >= 0).sum()), layout.patches.shape[-1]):
            output = output.mean(1)  # [R, K, C], the patches of each row side by side
        parts.append(output.reshape(-1, output.shape[-1]))
    flat = torch.cat(parts)
    if len(flat) == layout.outputs:
        return layout.pool_rows(flat)
    full = flat.new_zeros(len(layout.index), flat.shape[-1])
    full[layout.index >= 0] = flat  # merged before it enters the projector: one vector a row already
    return layout.spread(full)


def _sample_of(lengths: list[int], room: list[int]) -> list[int]:
    """The prompt of each item: items fill the placeholders of one prompt after the other.

    Raises:
        AttachError: features and placeholders do not fit.
    """
    samples, prompt, used, fits = [], 0, 0, sum(lengths) == sum(room)
    for length in lengths:
        while prompt < len(room) and used == room[prompt]:
            prompt, used = prompt + 1, 0
        samples.append(prompt)
        used += length
        fits = fits and prompt < len(room) and used <= room[prompt]
    if not fits:
        raise AttachError(
            f"the encoder gives {lengths} feature rows, the prompts have {room} placeholders; the processor that made "
            "the prompt belongs to another model or image size, so load the one that belongs to this model"
        )
    return samples
