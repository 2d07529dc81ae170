"""Attention as a model's own eager code makes it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import submodule, tower_of
from tokenprune.reductions import Reduce
from tokenprune.testing.family.origin import attentions, features
from tokenprune.testing.family.subject import Subject


def eager_cue(subject: Subject, call: dict[str, Any], source: str) -> Tensor:
    """[H, S] or [S]: the cue read off the weights of one layer of the encoder."""
    kind, _, layer = source.partition("@")
    weights, masks = _weights(subject, call, attentions(subject)[int(layer)])
    spec = tower_of(subject.shown, subject.model)[1]
    if kind in spec.reads:
        reduce = spec.reads[kind](subject.model.config)
        each = [_as_reduced(reduce, *pair) for pair in zip(weights, masks, strict=True)]
    elif kind == "received_attention":
        each = [_received(one) for one in weights]
    else:
        each = [one[:, :, 0 if spec.cls == "first" else -1] for one in weights]
    return torch.cat([one.transpose(0, 1).flatten(1) if one.ndim == 3 else one.flatten() for one in each], -1)


def _as_reduced(reduce: Reduce, weights: Tensor, mask: Tensor | None) -> Tensor:
    """What is read of queries and keys whose attention is ``weights`` [B, H, Q, K]: unit keys give them back."""
    keys = torch.eye(weights.shape[-1]).expand(*weights.shape[:2], -1, -1)
    return reduce(weights.clamp(min=1e-38).log(), keys, mask, 1.0)


def eager_looks(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[R, S]: how each latent looks at the encoder's outputs, those of its own tile alone; latents come after these."""
    assert subject.family.resampler is not None
    module = submodule(subject.model.base_model, subject.family.resampler)
    looks = [one.mean(0) for batch in _weights(subject, call, module)[0] for one in batch]  # [Q, K] of each tile
    parts = [one[:, : one.shape[1] - one.shape[0]] for one in looks]
    made: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return made


def _weights(subject: Subject, call: dict[str, Any], module: Any) -> tuple[list[Tensor], list[Tensor | None]]:
    """[B, H, Q, K] the weights of each time that one module runs, and the masks."""
    beside = inspect.unwrap(type(module).forward).__globals__
    words = inspect.unwrap(type(module).forward).__code__.co_names
    name = next(word for word in words if word.endswith("eager_attention_forward"))
    real, weights, masks = beside[name], [], []

    def noting(asked: Any, *inputs: Any, **options: Any) -> Any:
        output = real(asked, *inputs, **options)
        if asked is module:
            weights.append(output[1])
            masks.append(inputs[3] if len(inputs) > 3 else options.get("attention_mask"))
        return output

    before = {one: one.config._attn_implementation for one in (*attentions(subject).values(), module)}
    for one in before:
        one.config._attn_implementation = "eager"
    beside[name] = noting
    try:
        with torch.no_grad():
            features(subject, call)
    finally:
        beside[name] = real
        for one, was in before.items():
            one.config._attn_implementation = was
    return weights, masks


def _received(weights: Tensor) -> Tensor:
    """[b * S]: the mean weight [b, H, S, S] that a place gets from its own sequence; padding is where nobody looks."""
    looks, real = weights > 0, weights.any(1).any(1)[:, None, :, None]
    together = (looks | looks.transpose(-1, -2)) & real
    return ((weights * real).sum((1, 2)) / together.sum((1, 2)).clamp(min=1)).flatten()
