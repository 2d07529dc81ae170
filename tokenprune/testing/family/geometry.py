"""Cues, vectors and places of tokens, against what derivatives say they are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokenprune.cross_attention import encode_crossed
from tokenprune.encode import Encoded, encode
from tokenprune.family import tower_of
from tokenprune.testing.family.eager import eager_cue, eager_looks
from tokenprune.testing.family.origin import Origin, entering, features, origin_of, pixels_of
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import Subject, agree
from tokenprune.testing.search import require

CLOSE = 1e-6


def cues_are_eager(subject: Subject) -> str:
    """A token's cue is the mean, over what it is made of, of the attention that eager weights show."""
    call = subject.call()
    encoded = _encoded(subject, call)
    names = encoded.names
    if not names:
        raise NotApplicable("no attention of the encoder can be read")
    ((name, source),) = names.items()
    values = eager_cue(subject, call, source)  # [H, S] or [S]
    values = values.reshape(-1, values.shape[-1])
    cue = encoded.tokens.cues[name]
    assert isinstance(cue, Tensor)
    flat = (cue.transpose(0, 1).flatten(1) if cue.ndim == 3 else cue.flatten()).reshape(
        -1, cue.shape[0] * cue.shape[-1]
    )
    real = encoded.index >= 0
    if subject.family.resampler:
        wanted = values @ eager_looks(subject, call).T
    else:
        wanted = _pooled(subject, call, values)[:, real]
    worst = agree(flat[:, encoded.index[real]], wanted, f"{source} and eager attention", CLOSE)
    return f"{source} within {worst:.0e}"


def _pooled(subject: Subject, call: dict[str, Any], values: Tensor) -> Tensor:
    """[H, R] the mean over what each row is made of, of values [H, S]; zero for separators."""
    origin = subject.once("origin", lambda: origin_of(subject, call))
    _cls_is_no_token(subject, origin)
    return _mean(values.T, _made_of(subject, call, origin, origin.seen)).T


def features_are_inputs(subject: Subject) -> str:
    """A token's vector is the mean of what enters the projector for it, or its feature row where that is asked for."""
    call = subject.call()
    encoded = _encoded(subject, call)
    flat, real = encoded.tokens.features.flatten(0, 1), encoded.index >= 0
    rows = encoded.rows[real].detach()
    if subject.pipeline.stages[0].space == "encoder" and subject.shown.projector:
        origin = subject.once("origin", lambda: origin_of(subject, call))
        assert origin.entering is not None
        rows = _mean(entering(subject, call), _made_of(subject, call, origin, origin.entering)[real])
    worst = agree(flat[encoded.index[real]], rows, "the tokens' vectors and what they are made of", CLOSE)
    negative = {name: -pixels for name, pixels in pixels_of(subject, call).items()}
    with torch.no_grad():
        others = features(subject, {**call, **negative})
    changed = (others != encoded.rows).flatten(1).any(-1) & ~real
    if subject.family.cross is None and bool(changed.any()):
        origin = subject.once("origin", lambda: origin_of(subject, call))
        cls = origin.seen.any(-1) & ~origin.pixels.any(-1)  # it sees pixels through attention alone
        require(not (changed & ~cls).any(), "separators are the same for other pixels, but for CLS tokens")
    return f"{int(real.sum())} tokens within {worst:.0e}"


def places_are_pixels(subject: Subject) -> str:
    """A token's (y, x) is where the pixels lie that it is made of."""
    call = subject.call()
    encoded = _encoded(subject, call)
    if encoded.tokens.place is None or encoded.tokens.canvas is None:
        raise NotApplicable("tokens have no places")
    origin = subject.once("origin", lambda: origin_of(subject, call))
    real = encoded.index >= 0
    if not origin.pixels.any():
        raise NotApplicable("no derivative reaches the pixels: the encoder gives codes")
    where = _located(subject, call)  # [P, 2]
    within = torch.stack([where[one].nanmean(0) for one in origin.pixels[real]])  # [R, 2]
    token = encoded.index[real]
    canvas = encoded.tokens.canvas.repeat_interleave(encoded.tokens.shape[1], 0)[token]
    found, said = (within * canvas + 1e-4).floor().long(), encoded.tokens.place.flatten(0, 1)[token]
    wrong = (found != said).any(-1)
    require(
        not wrong.any(),
        f"place is where the pixels are; wrong for {int(wrong.sum())} of {len(wrong)} tokens, first: pixels at "
        f"{found[wrong][:1].tolist()}, place {said[wrong][:1].tolist()}, canvas {canvas[wrong][:1].tolist()}",
    )
    return f"{len(wrong)} tokens"


def _located(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[P, 2] the (y, x) of every pixel as a fraction of its canvas, those of all arguments laid end to end."""
    if subject.locate is not None:
        given = subject.locate(call)
        parts = [given] if isinstance(given, Tensor) else list(given)
    else:
        parts = [_whole(pixels) for pixels in pixels_of(subject, call).values()]
    return torch.cat([part.flatten(0, -2) for part in parts])


def _whole(pixels: Tensor) -> Tensor:
    """[..., h, w, 2] of [..., h, w] pixels, each picture a canvas."""
    height, width = pixels.shape[-2:]
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).expand(*pixels.shape, 2)


def _encoded(subject: Subject, call: dict[str, Any]) -> Encoded:
    if subject.family.cross is not None:
        with torch.no_grad():
            return encode_crossed(subject.family, subject.model, call, subject.pipeline)[0]
    ids = call["input_ids"]
    placeholder = ids == getattr(subject.model.config, subject.shown.placeholder)
    with torch.no_grad():
        return encode(subject.shown, subject.model, call, subject.pipeline, ids, placeholder)


def _cls_is_no_token(subject: Subject, origin: Origin) -> None:
    """Where the spec says the CLS token is, no pixel is."""
    cls = tower_of(subject.shown, subject.model)[1].cls
    if cls is None:
        return
    ends = torch.cat([origin.starts[1:], torch.tensor([origin.seen.shape[1]])]) - 1
    tokens = (origin.seen & origin.pixels.any(1)[:, None]).any(0)
    at = origin.starts if cls == "first" else ends
    require(not tokens[at].any(), f"the CLS token is {cls} in its sequence")


def _made_of(subject: Subject, call: dict[str, Any], origin: Origin, what: Tensor) -> Tensor:
    """[R, S] how much of each row each place is; as derivatives say, unless the case says how it is interpolated."""
    if subject.shares is None:
        return origin.made_of(what)
    said = subject.shares(subject.model, call)
    require(torch.equal(said > 0, what), "rows are made of what their shares say")
    return said


def _mean(values: Tensor, over: Tensor) -> Tensor:
    """[S, C] averaged over what each row of [R, S] weighs: [R, C]."""
    share = over.double()
    return ((share / share.sum(-1, keepdim=True)) @ values.double()).float()
