"""Run a model's vision encoder once, and read the tokens and their cues off it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.cues import Tap, cls_row, received, tap
from tokenprune.errors import AttachError, MissingCue
from tokenprune.family import Family, Model, Tower, submodule, tower_of
from tokenprune.layout import Layout, Seen
from tokenprune.pipeline import Pipeline
from tokenprune.tokens import VisualTokens


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of the images of one prompt batch.

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


class Settings:
    """The model's config, with what a call overrides."""

    def __init__(self, config: Any, call: Mapping[str, Any]) -> None:
        self._config, self._call = config, call

    def __getattr__(self, name: str) -> Any:
        value = self._call.get(name)
        return getattr(self._config, name) if value is None else value


def cue_sources(family: Family, model: Model, pipeline: Pipeline, call: Mapping[str, Any]) -> dict[str, str]:
    """Where each cue a pipeline reads comes from: {name as it is read: ``NAME@LAYER``}.

    Raises:
        MissingCue: this model does not give one of them.
        UnknownFamily: the family is not built with this encoder.
    """
    encoder, spec = tower_of(family, model)
    given = {"received_attention"} | ({"cls_attention"} if spec.cls else set()) if spec.attention else set()
    sources = {}
    for wish in pipeline.reads:
        found = next((name for name in wish.split("|") if name.split("@")[0] in given), None)
        if found is None:
            raise MissingCue(
                f"{pipeline.name!r} reads {wish.replace('|', ' or ')}; {type(model).__name__} gives "
                f"{', '.join(sorted(given)) or 'no cue'}"
                + (" (add @LAYER for another layer than the default)" if given else "; 'divprune' needs none")
            )
        kind, _, at = found.partition("@")
        depth = len(submodule(encoder, _layers(encoder, spec)))
        sources[found] = (
            f"{kind}@{_absolute(int(at), depth, found) if at else _default(family, model, kind, depth, call)}"
        )
    return sources


def _layers(encoder: Any, spec: Tower) -> str:
    """The path of the encoder's list of layers."""
    for path in spec.attention:
        stem = path.split(".{}")[0]
        try:
            submodule(encoder, stem)
        except AttributeError:
            continue
        return stem
    raise AttachError(
        f"{type(encoder).__name__} has none of {', '.join(spec.attention)}; this transformers version lays it out anew"
    )


def _absolute(layer: int, depth: int, name: str) -> int:
    if not -depth <= layer < depth:
        raise MissingCue(f"{name!r} asks for encoder layer {layer}; this encoder has {depth}, numbered from 0")
    return layer % depth


def _default(family: Family, model: Model, kind: str, depth: int, call: Mapping[str, Any]) -> int:
    """The layer whose output the language model gets; for received attention without CLS token the last one."""
    _, spec = tower_of(family, model)
    if kind == "received_attention" and spec.cls is None:
        return depth - 1
    state = family.feature_layer(Settings(model.config, call))
    return _absolute(state if state < 0 else state - 1, depth, kind)


def encode(
    family: Family, model: Model, call: Mapping[str, Any], pipeline: Pipeline, ids: Tensor, placeholder: Tensor
) -> Encoded:
    """Encode the images of one call and describe their tokens.

    Args:
        family: the model's family.
        model: the model.
        call: the keyword arguments of the call.
        pipeline: what will choose; its cues are tapped while the encoder runs.
        ids: [B, T] int64, the prompt.
        placeholder: [B, T] bool, where it takes feature rows.
    """
    sources = cue_sources(family, model, pipeline, call)
    base = model.base_model
    function = base.get_image_features
    arguments = {name: call[name] for name in inspect.signature(function).parameters if name in call}
    with _listening(family, model, sources) as (taps, seen):
        output = function(**arguments, return_dict=True)
    pieces = [piece.reshape(-1, piece.shape[-1]) for piece in output[family.feature_field]]
    rows = torch.cat(pieces)
    _check(len(rows), placeholder)
    layout = family.layout(Seen(Settings(model.config, call), base, call, pieces, ids, placeholder))
    samples = torch.tensor(_sample_of(layout.lengths, placeholder.sum(-1).tolist()), dtype=torch.int64)
    spec = tower_of(family, model)[1]
    space = layout.spread(rows.detach())
    if pipeline.stages[0].space == "encoder" and "encoder" in seen:
        space = _encoder_space(layout, spec, seen["encoder"].detach())
    tokens = VisualTokens(
        space,
        cues={name: layout.pool(_flat(layout, spec, one.values)) for name, one in taps.items()},
        valid=layout.valid,
        place=layout.place,
        canvas=layout.canvas,
        group=layout.group,
        sample=samples[layout.item],
        overview=layout.overview,
    )
    return Encoded(output, rows, layout.index, tokens, sources)


@contextmanager
def _listening(
    family: Family, model: Model, sources: Mapping[str, str]
) -> Iterator[tuple[dict[str, Tap], dict[str, Tensor]]]:
    """Tap the attention modules that are asked for, and note what enters the projector; all of it is taken back."""
    encoder, spec = tower_of(family, model)
    seen: dict[str, Tensor] = {}
    here = threading.get_ident()

    def note(_: Any, inputs: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == here:  # another thread may run the same model meanwhile
            seen["encoder"] = inputs[0]

    with ExitStack() as stack:
        if family.projector:
            hook = submodule(model.base_model, family.projector).register_forward_pre_hook(note)
            stack.callback(hook.remove)
        taps = {}
        for name, source in sources.items():
            kind, _, layer = source.partition("@")
            stem, suffix = _layers(encoder, spec), spec.attention[0].split("{}")[1]
            reduce = cls_row(0 if spec.cls == "first" else -1) if kind == "cls_attention" else received()
            taps[name] = stack.enter_context(tap(submodule(encoder, f"{stem}.{layer}{suffix}"), reduce))
        yield taps, seen


def _flat(layout: Layout, spec: Tower, values: list[Tensor]) -> Tensor:
    """[H, S] or [S]: what a tap read of every sequence, laid end to end, CLS tokens and dropped outputs left out."""
    parts = []
    for value in values:  # [b, H, S] or [b, S]
        if spec.cls is not None:
            value = value[..., 1:] if spec.cls == "first" else value[..., :-1]
        if layout.sequence is not None:
            value = value[..., value.shape[-1] - layout.sequence :]
        parts.append(value.transpose(0, -2).flatten(-2) if value.ndim == 3 else value.flatten())
    return torch.cat(parts, -1)


def _encoder_space(layout: Layout, spec: Tower, outputs: Tensor) -> Tensor:
    """[B, N, C]: what enters the projector, one vector a token; patches that are merged later are averaged."""
    if outputs.ndim == 3 and layout.sequence is not None and outputs.shape[1] > layout.sequence:
        outputs = outputs[:, : layout.sequence] if spec.cls == "last" else outputs[:, -layout.sequence :]
    flat = outputs.reshape(-1, outputs.shape[-1])
    if len(flat) == layout.outputs:
        return layout.pool_rows(flat)
    full = flat.new_zeros(len(layout.index), flat.shape[-1])
    full[layout.index >= 0] = flat  # merged before it enters the projector: one vector a row already
    return layout.spread(full)


def _check(rows: int, placeholder: Tensor) -> None:
    """Feature rows and placeholders must agree.

    Raises:
        AttachError: they do not.
    """
    room = placeholder.sum(-1).tolist()
    if rows != sum(room):
        raise AttachError(
            f"the images give {rows} feature rows, the prompts have {sum(room)} placeholders ({room}); the processor "
            "that made the prompt belongs to another model or image size"
        )


def _sample_of(lengths: list[int], room: list[int]) -> list[int]:
    """The prompt of each item: items fill the placeholders of one prompt after the other.

    Raises:
        AttachError: one would have to be spread over two prompts.
    """
    samples, prompt, used = [], 0, 0
    for length in lengths:
        while prompt < len(room) and used == room[prompt]:
            prompt, used = prompt + 1, 0
        if prompt == len(room) or used + length > room[prompt]:
            raise AttachError(
                f"images of {lengths} feature rows do not fill prompts of {room} placeholders; the processor that made "
                "the prompt belongs to another model or image size"
            )
        samples.append(prompt)
        used += length
    return samples
