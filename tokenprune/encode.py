"""Run a model's vision encoder once, and read the tokens and their cues off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tokenprune.downsampling import downsampled
from tokenprune.errors import MissingCue
from tokenprune.family import Family, Model, Tower, tower_of
from tokenprune.features import pieces_of
from tokenprune.filling import describing, sample_of
from tokenprune.layout import Layout
from tokenprune.listen import Heard, cue_sources
from tokenprune.pipeline import Pipeline
from tokenprune.question import question_cues
from tokenprune.resampled import resampled
from tokenprune.tokens import SPACES, Cue, VisualTokens
from tokenprune.vision import Run, arguments_of, run_vision


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
    if pipeline.stages[0].site != "image":
        ran = run_vision(family, model, call, sources)
    else:
        ran = _run_smaller(family, model, call, pipeline, ids, placeholder)
    return describe(family, model, call, pipeline.stages[0].space, ids, placeholder, ran, mask, visual)


def describe(
    family: Family,
    model: Model,
    call: Mapping[str, Any],
    space: str,
    ids: Tensor,
    placeholder: Tensor,
    ran: Run,
    mask: Tensor | None = None,
    visual: Tensor | None = None,
) -> Encoded:
    """The tokens and the cues of what has ``ran``, similarity in ``space``; the rest, and errors, as in `encode`."""
    pieces, heard, sources, spec = ran.pieces, ran.heard, ran.sources, tower_of(family, model)[1]
    rows, room = torch.cat(pieces), placeholder.sum(-1).tolist()
    if len(rows) != sum(room):
        sample_of([len(piece) for piece in pieces], room)  # does not fit, and says so
    layout, sample = describing(spec.layout or family.layout, model, call, ids, placeholder)(pieces)
    layout = resampled(layout, torch.cat(heard.looks)) if heard.looks else layout

    def vectors(space: str) -> Tensor:
        own = space == "encoder" and heard.encoder
        return _encoder_space(layout, spec, heard.encoder) if own else layout.spread(rows.detach())

    cues = _read(layout, spec, sources, heard, spec.registers(model.config))
    cues |= {name: partial(_turned, vectors, name) for name in SPACES & sources.keys()}
    cues |= question_cues(model, ids, mask, placeholder if visual is None else visual, sample)
    tokens = _tokens(layout, vectors(space), cues, sample, family.marked)
    return Encoded(ran.output, rows, layout.index, tokens, sources)


def _read(layout: Layout, spec: Tower, sources: Mapping[str, str], heard: Heard, skipped: int) -> dict[str, Cue]:
    """The cues that were tapped, of tokens."""
    tapped = heard.cues.items()
    return {name: layout.pool(_flat(layout, spec, sources[name], values, skipped)) for name, values in tapped}


def _turned(vectors: Callable[[str], Tensor], space: str) -> Tensor:
    """[B, C, N]."""
    return vectors(space).mT


def _run_smaller(
    family: Family, model: Model, call: Mapping[str, Any], pipeline: Pipeline, ids: Tensor, placeholder: Tensor
) -> Run:
    """The same of smaller images, in the shape of the full ones."""
    lay_out = describing(tower_of(family, model)[1].layout or family.layout, model, call, ids, placeholder)

    def described(pieces: list[Tensor]) -> VisualTokens:
        layout, sample = lay_out(pieces)
        return _tokens(layout, layout.spread(torch.cat(pieces)), {}, sample, family.marked)

    output = downsampled(family, model, pipeline, arguments_of(family, model, call), int(placeholder.sum()), described)
    return Run(output, pieces_of(output, family.feature_field), Heard(), {})


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
