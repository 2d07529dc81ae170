"""Where tokens come from, found by derivatives: with attention out of the way, a token depends on its own pixels only.

The identity takes the place of attention in every layer of the encoder. What then reaches a feature row, of the pixels,
of the sequence that the attention sees, and of what enters the projector, is what the row is made of.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import submodule, tower_of
from tokenprune.features import pieces_of
from tokenprune.listen import cue_sources
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import Subject


@dataclass(frozen=True)
class Origin:
    """What each of R feature rows is made of.

    Args:
        seen: [R, S] bool, places of the sequences that the attention sees, laid end to end.
        pixels: [R, P] bool, all pixels laid end to end.
        entering: [R, E] bool, vectors that enter the projector. None: there is no projector.
        starts: where each sequence begins in S.
    """

    seen: Tensor
    pixels: Tensor
    entering: Tensor | None
    starts: Tensor


def pixels_of(subject: Subject, call: dict[str, Any]) -> dict[str, Tensor]:
    """What the encoder is given, by name of the argument."""
    return {name: call[name] for name in subject.family.pixels if call.get(name) is not None}


def features(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[R, C] feature rows, from the model's own function."""
    base, cross = subject.model.base_model, subject.family.cross
    if cross is not None:
        return cross.encode(base, call).flatten(0, -2)
    function = base.get_image_features
    arguments = {name: call[name] for name in inspect.signature(function).parameters if name in call}
    output = function(**arguments, return_dict=True)
    return torch.cat(pieces_of(output, subject.family.feature_field))


def attentions(subject: Subject) -> dict[int, Any]:
    """The attention modules of the encoder by layer, in order of depth."""
    encoder, spec = tower_of(subject.family, subject.model)
    if subject.family.tower is None:
        return {}
    for path in spec.attention:
        stem, suffix = path.split(".{}.")
        found = {}
        with suppress(AttributeError):
            for at, layer in enumerate(submodule(encoder, stem)):
                with suppress(AttributeError):  # a layer with a convolution in its place
                    found[at] = submodule(layer, suffix)
        if found:
            return found
    raise NotApplicable("no attention of the encoder can be read")


@dataclass
class _Noted:
    """What enters the attention of each layer, a call each, and each call of the projector."""

    layers: dict[int, list[Tensor]] = field(default_factory=dict)
    projector: list[Tensor] = field(default_factory=list)


@contextmanager
def _noted(subject: Subject, *, identity: bool) -> Iterator[_Noted]:
    """Note what enters attention and the projector; on wish with the identity in place of every attention."""
    noted = _Noted()

    def enters(inputs: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        hidden: Tensor = inputs[0] if inputs else next(iter(given.values()))
        return hidden

    with ExitStack() as stack:
        listed = {id(module): at for at, module in attentions(subject).items()}
        encoder: Any = tower_of(subject.family, subject.model)[0]
        kinds = {type(module) for module in attentions(subject).values()}
        for module in (one for one in (encoder.modules() if listed else ()) if type(one) in kinds):

            def pass_on(_: Any, inputs: Any, given: Any, output: Any, at: int | None = listed.get(id(module))) -> Any:
                hidden = enters(inputs, given)
                if at is not None:
                    noted.layers.setdefault(at, []).append(hidden)
                if not identity:
                    return None
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            stack.callback(module.register_forward_hook(pass_on, with_kwargs=True).remove)
        if subject.family.projector:
            projector = submodule(subject.model.base_model, subject.family.projector)

            def note(_: Any, inputs: Any, given: Any) -> None:
                noted.projector.append(enters(inputs, given))

            stack.callback(projector.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield noted


def _sequences(subject: Subject, noted: _Noted) -> list[Tensor]:
    """What the tapped attention sees, or the first layer that sees as much: not all that is tapped reaches the rows."""
    if not noted.layers:
        return []
    sources = cue_sources(subject.family, subject.model, subject.pipeline, {}).values()
    layers = {at: [one.shape for one in calls] for at, calls in noted.layers.items()}
    tapped = next((int(source.partition("@")[2]) for source in sources), min(layers))
    return next(noted.layers[at] for at in sorted(layers) if layers[at] == layers[tapped])


def origin_of(subject: Subject, call: dict[str, Any]) -> Origin:
    """Derivatives of every feature row, one after the other."""
    pixels = {name: value.clone().requires_grad_() for name, value in pixels_of(subject, call).items()}
    with torch.enable_grad(), _noted(subject, identity=True) as noted:
        rows = features(subject, {**call, **pixels})
    sequences = _sequences(subject, noted)
    targets = [*pixels.values(), *sequences, *noted.projector]
    every = [torch.stack(one) for one in _reached(rows, targets)]
    seen, last = len(pixels), len(pixels) + len(sequences)
    lengths = [one.shape[-2] for one in sequences for _ in range(one.shape[:-2].numel())]
    return Origin(
        _laid(every[seen:last], channels=True),
        _laid(every[:seen], channels=False),
        _laid(every[last:], channels=True) if noted.projector else None,
        torch.tensor([0, *lengths[:-1]]).cumsum(0),
    )


def _reached(rows: Tensor, targets: list[Tensor]) -> list[list[Tensor]]:
    """For each target and each row, where the target changes the row."""
    weights = torch.randn(rows.shape[-1], generator=torch.Generator().manual_seed(0))  # a plain sum may cancel
    reached: list[list[Tensor]] = [[] for _ in targets]
    for row in rows:
        if not row.requires_grad:
            parts: tuple[Tensor | None, ...] = (None,) * len(targets)
        else:
            parts = torch.autograd.grad((row * weights).sum(), targets, retain_graph=True, allow_unused=True)
        for found, target, part in zip(reached, targets, parts, strict=True):
            found.append(torch.zeros_like(target, dtype=torch.bool) if part is None else part != 0)
    return reached


def _laid(parts: list[Tensor], *, channels: bool) -> Tensor:
    """[R, S] from [R, ..., S, C], several laid end to end; any of the channels counts."""
    return torch.cat([(part.any(-1) if channels else part).flatten(1) for part in parts] or [torch.zeros(0, 0)], 1)


def entering(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[E, C] what enters the projector, attention in its place."""
    with torch.no_grad(), _noted(subject, identity=False) as noted:
        features(subject, call)
    return torch.cat([one.flatten(0, -2) for one in noted.projector])
