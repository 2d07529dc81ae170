"""Where tokens come from, found by derivatives: with attention out of the way, a token depends on its own pixels only.

The identity takes the place of attention in every layer of the encoder. What then reaches a feature row, of the pixels,
of the sequence that the attention sees, and of what enters the projector, is what the row is made of.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import submodule, tower_of
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import Subject


@dataclass(frozen=True)
class Origin:
    """What each of R feature rows is made of.

    Args:
        seen: [R, S] bool, places of the sequences that the attention sees, laid end to end.
        pixels: [R, *pixels] bool.
        entering: [R, E] bool, vectors that enter the projector. None: there is no projector.
        starts: where each sequence begins in S.
    """

    seen: Tensor
    pixels: Tensor
    entering: Tensor | None
    starts: Tensor


def pixels_of(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[*pixels] what the encoder is given."""
    pixels: Tensor = call[subject.family.pixels[0]]
    return pixels


def features(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[R, C] feature rows, from the model's own function."""
    base, cross = subject.model.base_model, subject.family.cross
    if cross is not None:
        return cross.encode(base, call).flatten(0, -2)
    function = base.get_image_features
    arguments = {name: call[name] for name in inspect.signature(function).parameters if name in call}
    output = function(**arguments, return_dict=True)
    return torch.cat([piece.reshape(-1, piece.shape[-1]) for piece in output[subject.family.feature_field]])


def attentions(subject: Subject) -> list[Any]:
    """The attention modules of the encoder, in order of depth."""
    encoder, spec = tower_of(subject.family, subject.model)
    for path in spec.attention:
        stem, suffix = path.split(".{}")
        try:
            return [submodule(encoder, f"{stem}.{at}{suffix}") for at in range(len(submodule(encoder, stem)))]
        except AttributeError:
            continue
    raise NotApplicable("no attention of the encoder can be read")


@contextmanager
def _noted(subject: Subject, *, identity: bool) -> Iterator[dict[str, Tensor]]:
    """Note what enters the first attention and the projector; on wish with the identity in place of every attention."""
    noted: dict[str, Tensor] = {}

    def enters(name: str, inputs: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        hidden: Tensor = inputs[0] if inputs else next(iter(given.values()))
        noted[name] = hidden
        return hidden

    with ExitStack() as stack:
        first, *_ = attentions(subject)
        encoder, _ = tower_of(subject.family, subject.model)
        for module in (one for one in encoder.modules() if type(one) is type(first)):

            def pass_on(asked: Any, inputs: Any, given: Any, output: Any) -> Any:
                hidden = enters("attention" if asked is first else "other", inputs, given)
                if not identity:
                    return None
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            stack.callback(module.register_forward_hook(pass_on, with_kwargs=True).remove)
        if subject.family.projector:
            projector = submodule(subject.model.base_model, subject.family.projector)

            def note(_: Any, inputs: Any, given: Any) -> None:
                enters("projector", inputs, given)

            stack.callback(projector.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield noted


def origin_of(subject: Subject, call: dict[str, Any]) -> Origin:
    """Derivatives of every feature row, one after the other."""
    pixels = pixels_of(subject, call).clone().requires_grad_()
    with torch.enable_grad(), _noted(subject, identity=True) as noted:
        rows = features(subject, {**call, subject.family.pixels[0]: pixels})
    targets = [pixels, noted["attention"], *([noted["projector"]] if "projector" in noted else [])]
    weights = torch.randn(rows.shape[-1], generator=torch.Generator().manual_seed(0))  # a plain sum may cancel
    reached: list[list[Tensor]] = [[] for _ in targets]
    for row in rows:
        if not row.requires_grad:
            parts: tuple[Tensor | None, ...] = (None,) * len(targets)
        else:
            parts = torch.autograd.grad((row * weights).sum(), targets, retain_graph=True, allow_unused=True)
        for found, target, part in zip(reached, targets, parts, strict=True):
            found.append(torch.zeros_like(target, dtype=torch.bool) if part is None else part != 0)
    seen = torch.stack(reached[1]).any(-1).flatten(1)
    entering = torch.stack(reached[2]).any(-1).flatten(1) if len(targets) == 3 else None
    length = noted["attention"].shape[-2]
    return Origin(seen, torch.stack(reached[0]), entering, torch.arange(0, seen.shape[1], length))


def entering(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[E, C] what enters the projector, attention in its place."""
    with torch.no_grad(), _noted(subject, identity=False) as noted:
        features(subject, call)
    return noted["projector"].flatten(0, -2)
