"""Cues, vectors and places of tokens, against what derivatives say they are made of."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from tokenprune.cross_attention import encode_crossed
from tokenprune.cues import Reduce
from tokenprune.encode import Encoded, encode
from tokenprune.family import tower_of
from tokenprune.testing.family.origin import Origin, attentions, entering, features, origin_of, pixels_of
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import Subject, agree
from tokenprune.testing.search import require

CLOSE = 1e-6


def cues_are_eager(subject: Subject) -> str:
    """A token's cue is the mean, over what it is made of, of the attention that eager weights show."""
    call = subject.call()
    encoded, origin = _encoded(subject, call), subject.once("origin", lambda: origin_of(subject, call))
    names = encoded.names
    if not names:
        raise NotApplicable("no attention of the encoder can be read")
    ((name, source),) = names.items()
    values = _eager(subject, call, source)  # [H, S] or [S]
    cue = encoded.tokens.cues[name]
    assert isinstance(cue, Tensor)
    flat = (cue.transpose(0, 1).flatten(1) if cue.ndim == 3 else cue.flatten()).reshape(
        -1, cue.shape[0] * cue.shape[-1]
    )
    real = encoded.index >= 0
    wanted = _mean(values.reshape(-1, values.shape[-1]).T, origin.seen[real]).T  # [H, R]
    worst = agree(flat[:, encoded.index[real]], wanted, f"{source} and eager attention", CLOSE)
    require(bool((origin.seen[real].sum(-1) > 0).all()), "every token is made of something")
    _cls_is_no_token(subject, origin)
    return f"{source} within {worst:.0e}"


def features_are_inputs(subject: Subject) -> str:
    """A token's vector is the mean of what enters the projector for it, or its feature row where that is asked for."""
    call = subject.call()
    encoded = _encoded(subject, call)
    flat, real = encoded.tokens.features.flatten(0, 1), encoded.index >= 0
    rows = encoded.rows[real].detach()
    if subject.pipeline.stages[0].space == "encoder" and subject.family.projector:
        origin = subject.once("origin", lambda: origin_of(subject, call))
        assert origin.entering is not None
        rows = _mean(entering(subject, call), origin.entering[real])
    worst = agree(flat[encoded.index[real]], rows, "the tokens' vectors and what they are made of", CLOSE)
    return f"{int(real.sum())} tokens within {worst:.0e}"


def places_are_pixels(subject: Subject) -> str:
    """A token's (y, x) is where the pixels lie that it is made of."""
    call = subject.call()
    encoded, origin = _encoded(subject, call), subject.once("origin", lambda: origin_of(subject, call))
    if encoded.tokens.place is None or encoded.tokens.canvas is None:
        raise NotApplicable("tokens have no places")
    real = encoded.index >= 0
    where = _located(subject, call)  # [*pixels, 2]
    within = torch.stack([where[one].nanmean(0) for one in origin.pixels[real]])  # [R, 2]
    token = encoded.index[real]
    canvas = encoded.tokens.canvas.repeat_interleave(encoded.tokens.shape[1], 0)[token]
    found, said = (within * canvas).floor().long(), encoded.tokens.place.flatten(0, 1)[token]
    wrong = (found != said).any(-1)
    require(
        not wrong.any(),
        f"place is where the pixels are; wrong for {int(wrong.sum())} of {len(wrong)} tokens, first: pixels at "
        f"{found[wrong][:1].tolist()}, place {said[wrong][:1].tolist()}, canvas {canvas[wrong][:1].tolist()}",
    )
    return f"{len(wrong)} tokens"


def _located(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[*pixels, 2] the (y, x) of every pixel as a fraction of its canvas."""
    if subject.locate is not None:
        return subject.locate(call)
    pixels = pixels_of(subject, call)
    height, width = pixels.shape[-2:]
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).expand(*pixels.shape, 2)


def _encoded(subject: Subject, call: dict[str, Any]) -> Encoded:
    if subject.family.cross is not None:
        with torch.no_grad():
            return encode_crossed(subject.family, subject.model, call, subject.pipeline)[0]
    ids = call["input_ids"]
    placeholder = ids == getattr(subject.model.config, subject.family.placeholder)
    with torch.no_grad():
        return encode(subject.family, subject.model, call, subject.pipeline, ids, placeholder)


def _cls_is_no_token(subject: Subject, origin: Origin) -> None:
    """Where the spec says the CLS token is, no pixel is."""
    cls = tower_of(subject.family, subject.model)[1].cls
    if cls is None:
        return
    ends = torch.cat([origin.starts[1:], torch.tensor([origin.seen.shape[1]])]) - 1
    tokens = (origin.seen & origin.pixels.flatten(1).any(1)[:, None]).any(0)
    at = origin.starts if cls == "first" else ends
    require(not tokens[at].any(), f"the CLS token is {cls} in its sequence")


def _mean(values: Tensor, over: Tensor) -> Tensor:
    """[S, C] averaged over what each row of [R, S] marks: [R, C]."""
    share = over.double()
    return ((share / share.sum(-1, keepdim=True)) @ values.double()).float()


def _eager(subject: Subject, call: dict[str, Any], source: str) -> Tensor:
    """[H, S] or [S]: the cue read off the weights that the model's eager attention makes in one layer."""
    kind, _, layer = source.partition("@")
    module = attentions(subject)[int(layer)]
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

    before = {one: one.config._attn_implementation for one in attentions(subject)}
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
    return _read_off(subject, kind, weights, masks)


def _read_off(subject: Subject, kind: str, weights: list[Tensor], masks: list[Tensor | None]) -> Tensor:
    """[H, S] or [S]: a cue off the weights [B, H, Q, K] of every call of one layer, laid end to end."""
    spec = tower_of(subject.family, subject.model)[1]
    if kind in spec.reads:
        reduce = spec.reads[kind](subject.model.config)
        each = [_as_reduced(reduce, *pair) for pair in zip(weights, masks, strict=True)]
    elif kind == "received_attention":
        each = [one.mean((1, 2)) for one in weights]
    else:
        each = [one[:, :, 0 if spec.cls == "first" else -1] for one in weights]
    return torch.cat([one.transpose(0, 1).flatten(1) if one.ndim == 3 else one.flatten() for one in each], -1)


def _as_reduced(reduce: Reduce, weights: Tensor, mask: Tensor | None) -> Tensor:
    """What is read of queries and keys whose attention is ``weights`` [B, H, Q, K]: unit keys give them back."""
    keys = torch.eye(weights.shape[-1]).expand(*weights.shape[:2], -1, -1)
    return reduce(weights.clamp(min=1e-38).log(), keys, mask, 1.0)
