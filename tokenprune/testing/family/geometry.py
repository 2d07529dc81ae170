"""Where tokens come from, found by derivatives: with attention out of the way, a token depends on its own pixels only.

The identity takes the place of attention in every layer of the encoder. What then reaches a feature row, of the pixels,
of the sequence that the attention sees and of what enters the projector, is what the row is made of; no layout is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.encode import Encoded, encode
from tokenprune.family import submodule, tower_of
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import Subject, agree
from tokenprune.testing.search import require

CLOSE = 1e-6


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


def cues_are_eager(subject: Subject) -> str:
    """A token's cue is the mean, over what it is made of, of the attention that eager weights show."""
    call = subject.call()
    encoded, origin = _encoded(subject, call), subject.once("origin", lambda: _origin(subject, call))
    names = encoded.names
    if not names:
        raise NotApplicable("no attention of the encoder can be read")
    ((name, source),) = names.items()
    values = _eager(subject, call, source)  # [H, S] or [S]
    cue = encoded.tokens.cues[name]
    assert isinstance(cue, Tensor)
    flat = (cue.transpose(0, 1).flatten(1) if cue.ndim == 3 else cue.flatten()).reshape(-1, cue.shape[0] * cue.shape[-1])
    real = encoded.index >= 0
    wanted = _mean(values.reshape(-1, values.shape[-1]).T, origin.seen[real]).T  # [H, R]
    worst = agree(flat[:, encoded.index[real]], wanted, f"{source} and eager attention", CLOSE)
    require(bool((origin.seen[real].sum(-1) > 0).all()), "every token is made of something")
    _cls_is_no_token(subject, origin)
    return f"{source} within {worst:.0e}"


def features_are_inputs(subject: Subject) -> str:
    """A token's vector is the mean of what enters the projector for it, or its feature row where there is none."""
    call = subject.call()
    encoded, origin = _encoded(subject, call), subject.once("origin", lambda: _origin(subject, call))
    flat, real = encoded.tokens.features.flatten(0, 1), encoded.index >= 0
    rows = encoded.rows[real].detach()
    if subject.pipeline.stages[0].space == "encoder" and origin.entering is not None:
        rows = _mean(_entering(subject, call), origin.entering[real])
    worst = agree(flat[encoded.index[real]], rows, "the tokens' vectors and what they are made of", CLOSE)
    return f"{int(real.sum())} tokens within {worst:.0e}"


def places_are_pixels(subject: Subject) -> str:
    """A token's (y, x) is where the pixels lie that it is made of."""
    call = subject.call()
    encoded, origin = _encoded(subject, call), subject.once("origin", lambda: _origin(subject, call))
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
    pixels = _pixels(subject, call)
    height, width = pixels.shape[-2:]
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack(torch.broadcast_tensors(y[:, None], x[None]), -1).expand(*pixels.shape, 2)


def _pixels(subject: Subject, call: dict[str, Any]) -> Tensor:
    pixels: Tensor = call[subject.family.pixels[0]]
    return pixels


def _encoded(subject: Subject, call: dict[str, Any]) -> Encoded:
    ids = call["input_ids"]
    placeholder = ids == getattr(subject.model.config, subject.family.placeholder)
    with torch.no_grad():
        return encode(subject.family, subject.model, call, subject.pipeline, ids, placeholder)


def _features(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[R, C] feature rows, from the model's own function."""
    function = subject.model.base_model.get_image_features
    arguments = {name: call[name] for name in inspect.signature(function).parameters if name in call}
    output = function(**arguments, return_dict=True)
    return torch.cat([piece.reshape(-1, piece.shape[-1]) for piece in output[subject.family.feature_field]])


def _attentions(subject: Subject) -> list[Any]:
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
        for at, module in enumerate(_attentions(subject)):

            def pass_on(_: Any, inputs: Any, given: Any, output: Any, at: int = at) -> Any:
                hidden = enters("attention" if at == 0 else "other", inputs, given)
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


def _origin(subject: Subject, call: dict[str, Any]) -> Origin:
    """Derivatives of every feature row, one after the other."""
    pixels = _pixels(subject, call).clone().requires_grad_()
    with torch.enable_grad(), _noted(subject, identity=True) as noted:
        rows = _features(subject, {**call, subject.family.pixels[0]: pixels})
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


def _entering(subject: Subject, call: dict[str, Any]) -> Tensor:
    """[E, C] what enters the projector, attention in its place."""
    with torch.no_grad(), _noted(subject, identity=False) as noted:
        _features(subject, call)
    return noted["projector"].flatten(0, -2)


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
    module = _attentions(subject)[int(layer)]
    beside = inspect.unwrap(type(module).forward).__globals__
    name = next(word for word in type(module).forward.__code__.co_names if word.endswith("eager_attention_forward"))
    real, weights = beside[name], []

    def noting(asked: Any, *inputs: Any, **options: Any) -> Any:
        output = real(asked, *inputs, **options)
        if asked is module:
            weights.append(output[1])
        return output

    before = {one: one.config._attn_implementation for one in _attentions(subject)}
    for one in before:
        one.config._attn_implementation = "eager"
    beside[name] = noting
    try:
        with torch.no_grad():
            _features(subject, call)
    finally:
        beside[name] = real
        for one, was in before.items():
            one.config._attn_implementation = was
    if kind == "received_attention":
        return torch.cat([one.mean((1, 2)).flatten() for one in weights])
    at = 0 if tower_of(subject.family, subject.model)[1].cls == "first" else -1
    return torch.cat([one[:, :, at].transpose(0, 1).flatten(1) for one in weights], -1)
