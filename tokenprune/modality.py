"""Images and videos of one call: encoded each in its own way, chosen from together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokenprune.encode import Encoded, encode
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.features import short_features
from tokenprune.joined import joined
from tokenprune.pipeline import Pipeline
from tokenprune.selection import Merge, Selection
from tokenprune.tokens import VisualTokens


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

    def short(self, selection: Selection, stays: Tensor) -> Any:
        """The encoder's output, folded, without what is not in ``stays`` [B, T] bool; None if nothing is left."""
        filled = stays[self.placeholder].to(self.encoded.index.device)
        room: list[int] = self.placeholder.sum(-1).tolist()
        merge = self.merge(selection)
        return short_features(self.encoded.output, self.family.feature_field, filled, room, merge)

    def merge(self, selection: Selection) -> Merge | None:
        """What is folded into what of its own, counted in feature rows instead of tokens."""
        if selection.merge is None:
            return None
        index = self.encoded.index
        places = torch.full((selection.mask.numel(),), -1, device=index.device)
        real = (index >= 0).nonzero()[:, 0]
        places[index[real]] = real
        return selection.merge.at(places)


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

    @classmethod
    def alone(cls, part: Part) -> Visuals:
        """Those of one modality."""
        tokens = part.encoded.tokens
        return cls([part], tokens, dict.fromkeys(tokens.group.tolist(), part.name))

    def outputs(self, selection: Selection, stays: Tensor) -> dict[str, Any]:
        """The encoders' outputs by whose placeholders they fill, those of which anything is in ``stays`` [B, T] bool.

        Raises:
            UnsupportedMode: tokens of an image are to be folded into a video, or the other way round.
        """
        if selection.merge is not None and len(self.parts) > 1:
            self._refuse_crossing(selection.merge)
        found = {part.fills: part.short(selection, stays) for part in self.parts}
        return {name: output for name, output in found.items() if output is not None}

    def _refuse_crossing(self, merge: Merge) -> None:
        kinds = torch.tensor([self.kinds[group] == "video" for group in self.tokens.group.tolist()])
        count = self.tokens.shape[1]
        ends = (kinds.to(edges.device)[edges // count] for edges in (merge.source, merge.target))
        if bool(((merge.weight != 0) & torch.ne(*ends)).any()):
            raise UnsupportedMode(
                "this pipeline folds tokens of images and of videos into each other, which are encoded apart; take a "
                "budget per image or per row, or ask about them in calls of their own"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the cues that were read come from."""
        names = [part.encoded.names[name] for name in self.tokens.cues_read for part in self.parts]
        return tuple(dict.fromkeys(names))


def see(
    family: Family, model: Model, call: Mapping[str, Any], pipeline: Pipeline, ids: Tensor, mask: Tensor | None = None
) -> Visuals:
    """Encode what a call brings.

    Args:
        family: the model's family.
        model: the model.
        call: the keyword arguments of the call.
        pipeline: what will choose.
        ids: [B, T] int64, the prompt.
        mask: [B, T], zero where it is padding. None: nowhere.

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
    places = {name: ids == getattr(model.config, one.placeholder) for name, one in brought.items()}  # [B, T]
    visual, parts = torch.stack([*places.values()]).any(0), []
    for name, one in brought.items():
        fills = next(other for other, it in family.modalities.items() if it.placeholder == one.placeholder)
        encoded = encode(one, model, call, pipeline, ids, places[name], mask, visual)
        parts.append(Part(name, fills, one, places[name], encoded))
    return Visuals.alone(parts[0]) if len(parts) == 1 else _side_by_side(parts)


def _side_by_side(parts: Sequence[Part]) -> Visuals:
    """The rows of every part one after the other, those of fewer tokens padded with ones that are not valid."""
    every = [part.encoded.tokens for part in parts]
    most, numbers = max(tokens.shape[1] for tokens in every), _numbers(parts)
    moved, groups, before = [], [], 0
    for part, number in zip(parts, numbers, strict=True):
        index, (rows, count) = part.encoded.index, part.encoded.tokens.shape
        index = torch.where(index < 0, index, (before + index // count) * most + index % count)
        moved.append(replace(part, encoded=replace(part.encoded, index=index)))
        groups += [number[group] for group in part.encoded.tokens.group.tolist()]
        before += rows
    kinds = {one: part.name for part, number in zip(parts, numbers, strict=True) for one in number.values()}
    return Visuals(moved, replace(joined(every), group=torch.tensor(groups)), kinds)


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
