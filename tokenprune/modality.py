"""Images and videos of one call: encoded each in its own way, chosen from together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.encode import Encoded, encode
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.features import short_features
from tokenprune.pipeline import Pipeline
from tokenprune.tokens import Selection, VisualTokens


@dataclass(frozen=True)
class Part:
    """What a call brings of one modality.

    Args:
        name: ``image`` or ``video``.
        fills: whose placeholders its rows fill, which is how transformers is told of them: ``generate`` counts these
            when it repeats features for beams or cuts a prompt into chunks.
        family: the family as it is for that.
        placeholder: [B, T] bool, where its R feature rows go.
        encoded: what its encoder made; ``index`` counts the tokens of all modalities.
    """

    name: str
    fills: str
    family: Family
    placeholder: Tensor
    encoded: Encoded

    def rows(self, selection: Selection, separators: str | None) -> Tensor:
        """[R] bool: which feature rows stay. Separators do, unless the pipeline drops them."""
        index = self.encoded.index
        return torch.where(index >= 0, selection.mask.flatten()[index.clamp(min=0)], separators != "drop")

    def short(self, stays: Tensor) -> Any:
        """The encoder's output without what is not in ``stays`` [B, T] bool; None if nothing is left."""
        filled = stays[self.placeholder].to(self.encoded.index.device)
        room: list[int] = self.placeholder.sum(-1).tolist()
        return short_features(self.encoded.output, self.family.feature_field, filled, room)


@dataclass(frozen=True)
class Visuals:
    """All images and videos of a call.

    Args:
        parts: one a modality.
        tokens: the rows of all of them; groups are numbered in the order of the prompts.
        kinds: the modality of each group.
    """

    parts: Sequence[Part]
    tokens: VisualTokens
    kinds: Mapping[int, str]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the cues that were read come from."""
        names = [part.encoded.names[name] for name in self.tokens.cues_read for part in self.parts]
        return tuple(dict.fromkeys(names))


def see(family: Family, model: Model, call: Mapping[str, Any], pipeline: Pipeline, ids: Tensor) -> Visuals:
    """Encode what a call brings.

    Args:
        family: the model's family.
        model: the model.
        call: the keyword arguments of the call.
        pipeline: what will choose.
        ids: [B, T] int64, the prompt.

    Raises:
        UnsupportedMode: images and videos of this model cannot be told apart, or not be compared.
        AttachError: features and placeholders do not fit.
    """
    brought = {
        name: one for name, one in family.modalities.items() if any(call.get(pixel) is not None for pixel in one.pixels)
    }
    if len({one.placeholder for one in brought.values()}) < len(brought):
        raise UnsupportedMode(
            f"{type(model).__name__} has one placeholder for {' and '.join(f'{name}s' for name in brought)}, so it "
            "takes only one of them in a call; ask about them in calls of their own"
        )
    parts = []
    for name, one in brought.items():
        placeholder = ids == getattr(model.config, one.placeholder)
        fills = next(other for other, it in family.modalities.items() if it.placeholder == one.placeholder)
        parts.append(Part(name, fills, one, placeholder, encode(one, model, call, pipeline, ids, placeholder)))
    if len(parts) == 1:
        tokens = parts[0].encoded.tokens
        return Visuals(parts, tokens, dict.fromkeys(tokens.group.tolist(), parts[0].name))
    return _side_by_side(parts)


def _side_by_side(parts: Sequence[Part]) -> Visuals:
    """The rows of every part one after the other, those of fewer tokens padded with ones that are not valid."""
    every = [part.encoded.tokens for part in parts]
    most, numbers = max(tokens.shape[1] for tokens in every), _numbers(parts)
    joined, groups, before = [], [], 0
    for part, number in zip(parts, numbers, strict=True):
        index, (rows, count) = part.encoded.index, part.encoded.tokens.shape
        index = torch.where(index < 0, index, (before + index // count) * most + index % count)
        joined.append(replace(part, encoded=replace(part.encoded, index=index)))
        groups += [number[group] for group in part.encoded.tokens.group.tolist()]
        before += rows
    kinds = {one: part.name for part, number in zip(parts, numbers, strict=True) for one in number.values()}
    tokens = _joined([_widened(one, most) for one in every])
    return Visuals(joined, replace(tokens, group=torch.tensor(groups)), kinds)


def _numbers(parts: Sequence[Part]) -> list[dict[int, int]]:
    """For each part the number of each of its groups, in the order in which they come in the prompts."""
    starts = []
    for at, part in enumerate(parts):
        slots, index = part.placeholder.flatten().nonzero()[:, 0].tolist(), part.encoded.index.tolist()
        groups, count = part.encoded.tokens.group.tolist(), part.encoded.tokens.shape[1]
        first: dict[int, int] = {}
        for slot, token in zip(slots, index, strict=True):
            if token >= 0:
                first.setdefault(groups[token // count], slot)
        starts += [(slot, at, group) for group, slot in first.items()]
    found: list[dict[int, int]] = [{} for _ in parts]
    for number, (_, at, group) in enumerate(sorted(starts)):
        found[at][group] = number
    return found


def _widened(tokens: VisualTokens, most: int) -> VisualTokens:
    """The same rows, ``most`` tokens wide, with every flag said."""
    few = most - tokens.shape[1]
    valid = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device) if tokens.valid is None else tokens.valid
    no = torch.zeros(len(tokens.group), dtype=torch.bool)
    return replace(
        tokens,
        features=pad(tokens.features, (0, 0, 0, few)),
        cues={name: pad(tokens.cue(name), (0, few)) for name in tokens.cues},
        valid=pad(valid, (0, few)),
        place=None if tokens.place is None else pad(tokens.place, (0, 0, 0, few), value=-1),
        overview=no if tokens.overview is None else tokens.overview,
        marked=no if tokens.marked is None else tokens.marked,
    )


def _joined(every: Sequence[VisualTokens]) -> VisualTokens:
    """Rows of the same width under each other; groups are still those of each.

    Raises:
        UnsupportedMode: they have different cues, or vectors of different width.
    """
    shapes = [
        {"width": one.features.shape[-1], **{name: one.cue(name).shape[1:] for name in one.cues}} for one in every
    ]
    if any(shape != shapes[0] for shape in shapes):
        raise UnsupportedMode(
            f"the encoders of images and of videos give different cues or vectors ({shapes}), which cannot be "
            "compared; ask about them in calls of their own"
        )
    fields: dict[str, Any] = {}
    for name in ("features", "valid", "place", "canvas", "group", "sample", "overview", "marked"):
        values = [getattr(one, name) for one in every]
        fields[name] = None if any(value is None for value in values) else torch.cat(values)
    return VisualTokens(**fields, cues={name: torch.cat([one.cue(name) for one in every]) for name in every[0].cues})
