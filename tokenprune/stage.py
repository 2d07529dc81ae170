"""A stage: one choice, made by a scorer, a splitter, a diversifier and a merger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.coarse import coarser
from tokenprune.marked import filled
from tokenprune.named import Named
from tokenprune.pool import Pool
from tokenprune.selection import Selection
from tokenprune.strategy import BudgetSplitter, Diversifier, Merger, Scorer, Strategy
from tokenprune.tokens import VisualTokens, top

Space = Literal["encoder", "projected"]


def _nested(part: Strategy) -> Iterator[Strategy]:
    """A strategy, and those that are settings of it."""
    yield part
    for _, value in part:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Strategy):
                yield from _nested(one)


class Stage(BaseModel):
    """One choice: score, keep the important ones, fill up with diverse ones, fold the rest into what stays.

    Args:
        scorer: importance of each token. None: all alike.
        splitter: how the budget is divided over rows and between important and diverse.
        diversifier: who chooses the diverse ones. None: they are chosen by score too.
        merger: who folds the rest into what stays. None: it is dropped.
        space: where similarity is measured: the vision encoder's output, or the projector's.
        site: ``pre_llm``: tokens are chosen before the language model; ``image``: the image itself is re-encoded at the
            resolution that fits, which leaves the splitter alone something to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    scorer: Named[Scorer] | None = None
    splitter: Named[BudgetSplitter]
    diversifier: Named[Diversifier] | None = None
    merger: Named[Merger] | None = None
    space: Space = "encoder"
    site: Literal["pre_llm", "image"] = "pre_llm"

    @model_validator(mode="after")
    def _every_part_in_its_space(self) -> Self:
        for part in (inner for outer in self.parts for inner in _nested(outer)):
            if part.needs_space not in (None, self.space):
                raise ValueError(
                    f"{type(part).__name__} means nothing in {self.space} space; write space: {part.needs_space}"
                )
        return self

    @model_validator(mode="after")
    def _an_image_is_not_chosen_from(self) -> Self:
        if self.site != "image":
            return self
        parts = {"scorer": self.scorer, "diversifier": self.diversifier, "merger": self.merger}
        if idle := [name for name, part in parts.items() if part is not None]:
            raise ValueError(f"site: image chooses no tokens, so leave out {', '.join(idle)}")
        if self.splitter.pools or self.splitter.adaptive or self.splitter.reads:
            raise ValueError("site: image divides the budget before there are tokens to read; write splitter: equal")
        return self

    @property
    def adaptive(self) -> bool:
        """Whether fewer tokens than the budget may stay."""
        return self.site == "image" or self.splitter.adaptive

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Scorer, splitter, diversifier and merger, those that there are."""
        parts = (self.scorer, self.splitter, self.diversifier, self.merger)
        return tuple(part for part in parts if part is not None)

    @property
    def reads(self) -> frozenset[str]:
        """Cues the parts need."""
        return frozenset[str]().union(*(part.reads for part in self.parts))

    @property
    def needs_encoder(self) -> dict[str, object]:
        """Values that the config of the vision encoder must have."""
        inner = [part for outer in self.parts for part in _nested(outer)]
        return {name: value for part in inner for name, value in part.needs_encoder.items()}

    def select(self, tokens: VisualTokens, budget: Budget) -> Selection:
        """Choose the tokens that stay; exact in every unit of the budget, unless the stage is ``adaptive``."""
        if self.site == "image":
            return coarser(tokens, self.counts(tokens, budget))
        units = [rows for rows, _ in budget.units(tokens)]
        if self.splitter.pools and any(len(rows) > 1 for rows in units):
            pool = Pool.of(tokens, units)

            def fill(chosen: Selection) -> Selection:
                if tokens.marked is None:
                    return chosen
                whole = filled(tokens, pool.spread(chosen), units, self._scores)
                important, diverse = (pool.gather(mask) & pool.filled for mask in (whole.important, whole.diverse))
                return Selection(important, diverse)

            return pool.spread(self._select(pool.tokens(tokens, units), budget, fill))
        return self._select(tokens, budget, lambda chosen: filled(tokens, chosen, units, self._scores))

    def counts(self, tokens: VisualTokens, budget: Budget) -> Tensor:
        """[B] int64 on the host: what the budget leaves of each row where no score has a say."""
        return self.splitter.split(tokens, tokens.features.new_zeros(tokens.shape).float(), budget).total

    def _scores(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32; without a scorer all alike."""
        if self.scorer is not None:
            return self.scorer.score(tokens).float()
        return tokens.features.new_zeros(tokens.shape).float()

    def _select(self, tokens: VisualTokens, budget: Budget, fill: Callable[[Selection], Selection]) -> Selection:
        """Choose, ``fill`` marked rows that are empty, and only then fold the rest into what stays."""
        scores = self._scores(tokens)
        split = self.splitter.split(tokens, scores, budget)
        whole = split.total == tokens.counts  # rows that drop nothing have nothing to fold
        merger = None if whole.all() else self.merger
        split = split.without_merged(None if merger is None else whole)
        split = split if self.diversifier is not None else split.without_diverse()
        important = top(scores, split.important, tokens.valid)  # [B, N]
        diverse = important & False
        if self.diversifier is not None and split.diverse.any():
            diverse = self.diversifier.choose(tokens, scores, important, split)
        chosen = fill(Selection(important, diverse))
        if merger is None:
            return chosen
        merge = merger.merge(tokens, scores, chosen, split)
        return Selection(chosen.important, chosen.diverse, merge.carriers, merge)
