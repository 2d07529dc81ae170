"""Run a model's vision encoder once, and read the tokens and their cues off it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from tokenprune.cues import Tap, cls_row, received, tap
from tokenprune.errors import AttachError, MissingCue
from tokenprune.family import Family, Model, Tower, submodule, tower_of
from tokenprune.pipeline import Pipeline
from tokenprune.tokens import VisualTokens
from tokenprune.view import Settings, View

_TURNS: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # models that have been encoded with


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of the images of one prompt batch.

    Args:
        output: the model's own output object.
        rows: [R, C] feature rows in the order in which they fill placeholders, width of the language model.
        lengths: feature rows of each image; they sum to R.
        index: [R] int64 into the flattened [B * N] tokens; -1 where a row is a separator.
        tokens: the B rows to choose from.
        names: the family's name of each cue that is tapped, such as ``cls_attention@22``.
    """

    output: Any
    rows: Tensor
    lengths: list[int]
    index: Tensor
    tokens: VisualTokens
    names: Mapping[str, str]


def cue_sources(family: Family, model: Model, pipeline: Pipeline, call: Mapping[str, Any]) -> dict[str, str]:
    """Where each cue a pipeline reads comes from: {name as it is read: ``NAME@LAYER``}.

    Raises:
        MissingCue: this model does not give one of them.
        UnknownFamily: the family is not built with this encoder.
    """
    encoder, spec = tower_of(family, model)
    given = {"received_attention"} | ({"cls_attention"} if spec.cls else set())
    sources = {}
    for wish in pipeline.reads:
        found = next((name for name in wish.split("|") if name.split("@")[0] in given), None)
        if found is None:
            raise MissingCue(
                f"{pipeline.name!r} reads {wish.replace('|', ' or ')}; {type(model).__name__} gives "
                f"{', '.join(sorted(given))} (add @LAYER for another layer than the default)"
            )
        kind, _, at = found.partition("@")
        depth = len(submodule(encoder, _layers(encoder, spec.attention)))
        sources[found] = (
            f"{kind}@{_absolute(int(at), depth, found) if at else _default(family, model, kind, depth, call)}"
        )
    return sources


def _layers(encoder: Any, paths: tuple[str, ...]) -> str:
    """The path of the encoder's list of layers."""
    for path in paths:
        stem = path.split(".{}")[0]
        try:
            submodule(encoder, stem)
        except AttributeError:
            continue
        return stem
    raise AttachError(
        f"{type(encoder).__name__} has none of {', '.join(paths)}; this transformers version lays it out anew"
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
    state = family.feature_layer(Settings(model.config, call)) % (depth + 1)
    if not state:
        raise MissingCue(f"the language model gets embeddings, which no attention led to; write {kind}@LAYER")
    return state - 1


def encode(family: Family, model: Model, call: Mapping[str, Any], pipeline: Pipeline, sample: list[int]) -> Encoded:
    """Encode the images of one call and describe their tokens.

    Args:
        family: the model's family.
        model: the model.
        call: the keyword arguments of the call.
        pipeline: what will choose; its cues are tapped while the encoder runs.
        sample: feature rows that each prompt of the batch has placeholders for.
    """
    sources = cue_sources(family, model, pipeline, call)
    base = model.base_model
    function = base.get_image_features
    arguments = {name: call[name] for name in inspect.signature(function).parameters if name in call}
    with _TURNS.setdefault(model, threading.RLock()), _listening(family, model, sources) as (heard, seen):
        output = function(**arguments, return_dict=True)
    features: list[Tensor] = list(output.pooler_output)
    lengths = [item.shape[-2] for item in features]
    rows = torch.cat([item.reshape(-1, item.shape[-1]) for item in features])
    view = View.of(family, model, call, seen["encoder"].shape[1])
    space = seen["encoder"] if pipeline.stages[0].space == "encoder" else rows.view(len(lengths), view.length, -1)
    tokens = VisualTokens(
        space.detach()[:, view.low : view.high],
        cues={name: view.patches(value) for tapped in heard for name, value in tapped[1].cues(tapped[0]).items()},
        **view.geometry(len(lengths), rows.device),
        sample=torch.tensor(_sample_of(lengths, sample), dtype=torch.int64),
    )
    return Encoded(output, rows, lengths, view.index(len(lengths), rows.device), tokens, sources)


@contextmanager
def _listening(
    family: Family, model: Model, sources: Mapping[str, str]
) -> Iterator[tuple[list[tuple[Tap, _Reads]], dict[str, Tensor]]]:
    """Tap the attention modules that are asked for, and note what enters the projector; all of it is taken back.

    Only what this thread runs counts: others may be using the model.
    """
    thread = threading.get_ident()
    encoder, spec = tower_of(family, model)
    seen: dict[str, Tensor] = {}

    def note(_: Any, inputs: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            seen["encoder"] = inputs[0]

    projector = submodule(model.base_model, family.projector)
    stem = _layers(encoder, spec.attention)
    suffix = spec.attention[0].split("{}")[1]
    with ExitStack() as stack:
        hook = projector.register_forward_pre_hook(note)
        stack.callback(hook.remove)
        heard = []
        for layer in dict.fromkeys(source.partition("@")[2] for source in sources.values()):
            reads = _Reads({name: source for name, source in sources.items() if source.endswith(f"@{layer}")}, spec)
            found = stack.enter_context(tap(submodule(encoder, f"{stem}.{layer}{suffix}"), reads))
            heard.append((found, reads))
        yield heard, seen


class _Reads:
    """The cues that come from one layer, and what was read of each."""

    def __init__(self, sources: Mapping[str, str], spec: Tower) -> None:
        row, mean = cls_row(0 if spec.cls == "first" else -1), received()
        self.reduces = {name: row if source.startswith("cls_attention") else mean for name, source in sources.items()}
        self.values: dict[str, list[Tensor]] = {name: [] for name in sources}

    def __call__(self, query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        for name, reduce in self.reduces.items():
            self.values[name].append(value := reduce(query, key, mask, scale))
        return value

    def cues(self, found: Tap) -> dict[str, Tensor]:
        """[B, ...] by name; the tap raises if there is nothing."""
        assert found.value is not None
        return {name: torch.cat(values) for name, values in self.values.items()}


def _sample_of(lengths: list[int], room: list[int]) -> list[int]:
    """The prompt each image belongs to: images fill the placeholders of one prompt after the other.

    Raises:
        AttachError: images and placeholders do not fit.
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
            f"the images give {lengths} feature rows, the prompts have {room} placeholders; the processor that made "
            "the prompt belongs to another model or image size, so load the one that belongs to this model"
        )
    return samples
