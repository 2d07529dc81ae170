"""From how many visual tokens on pruning pays: the language model over all, against choosing and over the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.errors import TokenpruneError
from tokenprune.family import submodule
from tokenprune.measure.contest import Contest
from tokenprune.measure.paired import Ratio, interleave, ratio
from tokenprune.tokens import TEXT, VisualTokens

SIDES = (4, 6, 8, 12, 16, 24, 36, 54)  # of square images, in tokens


@dataclass(frozen=True)
class Size:
    """One size of image.

    Args:
        tokens: visual tokens.
        kept: those that stay.
        ratio: seconds with all of them over seconds with choosing.
    """

    tokens: int
    kept: int
    ratio: Ratio


class BreakEven:
    """The same share of images of several sizes, up to that of the contest.

    Args:
        contest: the model and the pipeline.
        tokens: what the pipeline chooses from in the contest; their cues are drawn anew at each size.
        share: of the tokens that stays.
        extra: seconds that choosing takes beside, reading the cue above all.
    """

    def __init__(self, contest: Contest, tokens: VisualTokens, share: Fraction, extra: float) -> None:
        self.contest, self.tokens, self.extra = contest, tokens, extra
        self.pipeline = contest.pipeline.replace(budget=Budget(share, share=True))
        model = contest.model
        self.language = submodule(model.base_model, contest.family.language_model)
        self.text = contest.inputs["input_ids"].shape[1] - len(contest.rows)

    def measure(self, rounds: int) -> list[Size]:
        """Each size in turn; the two ways of one size take turns."""
        most = int(self.tokens.counts.sum())
        return [self._size(side, rounds) for side in SIDES if side**2 <= most]

    def _size(self, side: int, rounds: int) -> Size:
        drawn = self._drawn(side)
        kept = int(self.pipeline.select(drawn).mask.sum())

        def few() -> None:
            self.pipeline.select(self._drawn_again(drawn))
            self._prefill(kept)

        runs = {"all": lambda: self._prefill(side**2), "few": few}
        for run in runs.values():
            run()
        seconds = interleave(runs, rounds, self.contest.clock.read)
        return Size(side**2, kept, ratio(seconds["all"], [one + self.extra for one in seconds["few"]]))

    def _prefill(self, tokens: int) -> None:
        table = self.contest.model.get_input_embeddings().weight
        words = table.new_full((1, tokens + self.text, table.shape[-1]), 0.01)
        with torch.no_grad():
            states = self.language(inputs_embeds=words, use_cache=True)[0]
            self.contest.model.get_output_embeddings()(states[:, -1:])
        self.contest.clock.wait()

    def _drawn(self, side: int) -> VisualTokens:
        """Tokens [1, side * side, C] with values and cues that are drawn."""
        generator = torch.Generator().manual_seed(side)
        device, count = self.tokens.device, side**2

        def draw(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator).to(device)

        cues: dict[str, Any] = {}
        for name in self.tokens.cues:
            like = self.tokens.cue(name)
            shape = like.shape[1:] if name in TEXT else [*like.shape[1:-1], count]
            cues[name] = draw(1, *shape)
        return VisualTokens.on_grid(draw(1, count, self.tokens.features.shape[-1]), (side, side), cues=cues)

    def _drawn_again(self, tokens: VisualTokens) -> VisualTokens:
        """The same tokens, and nothing remembered of them."""
        return VisualTokens(tokens.features, tokens.cues, place=tokens.place, canvas=tokens.canvas)


def pays_from(sizes: Sequence[Size]) -> int | None:
    """The smallest number of tokens from which on every size that was measured is faster with choosing. None: none."""
    found = None
    for size in reversed(sizes):
        if size.ratio.low <= 1:
            break
        found = size.tokens
    return found


def break_even(contest: Contest, tokens: VisualTokens, share: Fraction, extra: float, rounds: int) -> dict[str, Any]:
    """Sizes and the smallest that pays, as plain values; or why the pipeline cannot choose from such images."""
    try:
        sizes = BreakEven(contest, tokens, share, extra).measure(rounds)
    except (TokenpruneError, ValueError) as problem:
        return {"pays_from": None, "sizes": [], "reason": str(problem)}
    plain = [{"tokens": size.tokens, "kept": size.kept, "speed_up": size.ratio.to_dict()} for size in sizes]
    return {"pays_from": pays_from(sizes), "sizes": plain}
