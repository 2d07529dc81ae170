"""Attention as a model's own eager code makes it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import submodule, tower_of
from tokenprune.testing.family.origin import attentions, features
from tokenprune.testing.family.subject import Subject


def eager_cue(subject: Subject, call: dict[str, Any], source: str) -> Tensor:
    """[H, S] or [S]: the cue read off the weights of one layer of the encoder."""
    kind, _, layer = source.partition("@")
    weights = _weights(subject, call, attentions(subject)[int(layer)])
    if kind == "received_attention":
        return torch.cat([_received(one).flatten() for one in weights])
    at = 0 if tower_of(subject.family, subject.model)[1].cls == "first" else -1
    return torch.cat([one[:, :, at].transpose(0, 1).flatten(1) for one in weights], -1)


def eager_looks(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[R, S]: how each latent looks at the encoder's outputs, those of its own tile alone; latents come after these."""
    assert subject.family.resampler is not None
    module = submodule(subject.model.base_model, subject.family.resampler)
    looks = [one.mean(0) for batch in _weights(subject, call, module) for one in batch]  # [Q, K] of each tile
    parts = [one[:, : one.shape[1] - one.shape[0]] for one in looks]
    made: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return made


def _weights(subject: Subject, call: dict[str, Any], module: Any) -> list[Tensor]:
    """[B, H, Q, K] the weights of each time that one module runs."""
    beside = inspect.unwrap(type(module).forward).__globals__
    name = next(word for word in type(module).forward.__code__.co_names if word.endswith("eager_attention_forward"))
    real, weights = beside[name], []

    def noting(asked: Any, *inputs: Any, **options: Any) -> Any:
        output = real(asked, *inputs, **options)
        if asked is module:
            weights.append(output[1])
        return output

    before = {one: one.config._attn_implementation for one in (*attentions(subject), module)}
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
    return weights


def _received(weights: Tensor) -> Tensor:
    """[B, K]: the mean of [B, H, K, K] over heads and queries; what nobody looks at is padding, and does not count."""
    per = weights.mean(1)  # [B, K, K]
    there = per.any(1)  # [B, K]
    return torch.stack([one[here].mean(0) for one, here in zip(per, there, strict=True)])
