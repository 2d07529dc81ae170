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
from tokenprune.testing.family.subject import Subject


@dataclass(frozen=True)
class Origin:
    """What each of R feature rows is made of.

    Args:
        seen: [R, S] bool, places of the sequences that the attention sees, laid end to end.
        pixels: [R, P] bool, all pixels laid end to end.
        entering: [R, E] bool, vectors that enter the projector. None: there is no projector.
        starts: where each sequence begins in S.
        share: [R, E] how much of each row comes from what left the projector. None: it left nothing of a row's width.
    """

    seen: Tensor
    pixels: Tensor
    entering: Tensor | None
    starts: Tensor
    share: Tensor | None = None

    def made_of(self, what: Tensor) -> Tensor:
        """[R, S] or [R, E] float64: the parts of ``what``, which is ``seen`` or ``entering``; alike, unless mixed."""
        if self.share is None or self.share.shape != what.shape:
            return what.double()
        return self.share if (self.share - self.share.round()).abs().max() > 1e-4 else what.double()


def pixels_of(subject: Subject, call: dict[str, Any]) -> dict[str, Tensor]:
    """What the encoder is given, by name of the argument."""
    return {name: call[name] for name in subject.shown.pixels if call.get(name) is not None}


def features(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[R, C] feature rows, from the model's own function."""
    base, cross = subject.model.base_model, subject.family.cross
    if cross is not None:
        return cross.encode(base, call).flatten(0, -2)
    function = getattr(base, subject.shown.method)
    names = {name: subject.shown.renamed.get(name, name) for name in inspect.signature(function).parameters}
    arguments = {name: call[brought] for name, brought in names.items() if brought in call}
    output = function(**arguments, return_dict=True)
    return torch.cat(pieces_of(output, subject.shown.feature_field))


def attentions(subject: Subject) -> dict[int, Any]:
    """The attention modules of the encoder by layer, in order of depth."""
    encoder, spec = tower_of(subject.shown, subject.model)
    if not spec.attention or subject.shown.tower is None:
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
    raise AssertionError(f"{type(encoder).__name__} has attention at one of {spec.attention}")


def unread(subject: Subject) -> list[Any]:
    """Modules of the encoder that go by the name of attention but are not read."""
    if subject.shown.tower is None:
        return []
    encoder, read = tower_of(subject.shown, subject.model)[0], list(attentions(subject).values())
    return [one for one in encoder.modules() if type(one).__name__.endswith("Attention") and one not in read]


@dataclass
class _Noted:
    """What enters the attention of each layer, a call each, and what enters and leaves the projector."""

    layers: dict[int, list[Tensor]] = field(default_factory=dict)
    projector: list[Tensor] = field(default_factory=list)
    projected: list[Any] = field(default_factory=list)


@contextmanager
def _noted(subject: Subject, *, identity: bool) -> Iterator[_Noted]:
    """Note what enters attention and the projector; on wish with the identity in place of every attention."""
    noted = _Noted()
    with ExitStack() as stack:
        for at, module in attentions(subject).items():

            def pass_on(_: Any, inputs: Any, given: Any, output: Any, at: int = at) -> Any:
                hidden = _entered(inputs, given)
                noted.layers.setdefault(at, []).append(hidden)
                if not identity:
                    return None
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            stack.callback(module.register_forward_hook(pass_on, with_kwargs=True).remove)
        for module in unread(subject) if identity else ():
            stack.callback(module.register_forward_hook(_passes_on, with_kwargs=True).remove)
        if subject.shown.projector:
            projector = submodule(subject.model.base_model, subject.shown.projector)

            def note(_: Any, inputs: Any, given: Any) -> None:
                noted.projector.append(_entered(inputs, given))

            stack.callback(projector.register_forward_pre_hook(note, with_kwargs=True).remove)
            leaves = projector.register_forward_hook(lambda _, __, output: noted.projected.append(output))
            stack.callback(leaves.remove)
        yield noted


def _entered(inputs: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
    hidden: Tensor = inputs[0] if inputs else next(iter(given.values()))
    return hidden


def _passes_on(_: Any, inputs: Any, given: Any, output: Any) -> Any:
    """What entered, if it has the shape of what came out."""
    hidden = _entered(inputs, given)
    first = output[0] if isinstance(output, tuple) else output
    if first.shape != hidden.shape:
        return None
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _sequences(subject: Subject, noted: _Noted) -> list[Tensor]:
    """What the tapped attention sees, or the first layer that sees as much: not all that is tapped reaches the rows."""
    if not noted.layers:
        return []
    sources = cue_sources(subject.shown, subject.model, subject.pipeline, {}).values()
    layers = {at: [one.shape for one in calls] for at, calls in noted.layers.items()}
    tapped = next((int(source.partition("@")[2]) for source in sources), min(layers))
    return next(noted.layers[at] for at in sorted(layers) if layers[at] == layers[tapped])


def origin_of(subject: Subject, call: dict[str, Any]) -> Origin:
    """Derivatives of every feature row, one after the other."""
    pixels = {name: value.clone().requires_grad_() for name, value in pixels_of(subject, call).items()}
    with torch.enable_grad(), _noted(subject, identity=True) as noted:
        rows = features(subject, {**call, **pixels})
    projected = [one for one in noted.projected if isinstance(one, Tensor) and one.shape[-1] == rows.shape[-1]]
    sequences = _sequences(subject, noted)
    groups = [list(pixels.values()), sequences, noted.projector, projected]
    weights = torch.randn(rows.shape[-1], generator=torch.Generator().manual_seed(0))  # a plain sum may cancel
    every = iter(_reached(rows, weights, [one for group in groups for one in group]))
    made = [[next(every) for _ in group] for group in groups]
    lengths = [one.shape[-2] for one in sequences for _ in range(one.shape[:-2].numel())]
    shares = [(part.double() @ weights.double()).flatten(1) / (weights.double() @ weights.double()) for part in made[3]]
    return Origin(
        _laid(made[1], channels=True),
        _laid(made[0], channels=False),
        _laid(made[2], channels=True) if noted.projector else None,
        torch.tensor([0, *lengths[:-1]]).cumsum(0),
        torch.cat(shares, 1) if shares else None,
    )


def _reached(rows: Tensor, weights: Tensor, targets: list[Tensor]) -> list[Tensor]:
    """[R, *target] for each target, by how much it changes each row, weighed."""
    reached: list[list[Tensor]] = [[] for _ in targets]
    for row in rows:
        parts: tuple[Tensor | None, ...] = (None,) * len(targets)
        if row.requires_grad:
            parts = torch.autograd.grad((row * weights).sum(), targets, retain_graph=True, allow_unused=True)
        for found, target, part in zip(reached, targets, parts, strict=True):
            found.append(torch.zeros_like(target) if part is None else part)
    return [torch.stack(one) for one in reached]


def _laid(parts: list[Tensor], *, channels: bool) -> Tensor:
    """[R, S] from [R, ..., S, C], several laid end to end; any of the channels counts."""
    marked = [(part != 0).any(-1) if channels else part != 0 for part in parts]
    return torch.cat([part.flatten(1) for part in marked] or [torch.zeros(0, 0)], 1)


def entering(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[E, C] what enters the projector, attention in its place."""
    with torch.no_grad(), _noted(subject, identity=False) as noted:
        features(subject, call)
    return torch.cat([one.flatten(0, -2) for one in noted.projector])
