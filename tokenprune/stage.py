"""A stage: one choice, made by a scorer, a splitter, a diversifier and a merger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.coarse import check_image, coarser
from tokenprune.cue_names import LLM_CUES
from tokenprune.described import stage_schema
from tokenprune.marked import filled
from tokenprune.named import BudgetField, Named
from tokenprune.pool import Pool
from tokenprune.selection import Selection, Split
from tokenprune.site import LlmLayer, Site, is_inside
from tokenprune.strategy import BudgetSplitter, Diversifier, Merger, Scorer, Strategy, nested
from tokenprune.tokens import VisualTokens, top

Space = Literal["encoder", "projected", "hidden", "normed"]
_BEFORE, _INSIDE = ("encoder", "projected"), ("hidden", "normed")


class Stage(BaseModel):
    """One choice: score, keep the important ones, fill up with diverse ones, fold the rest into what stays.

    Args:
        scorer: importance of each token. None: all alike.
        splitter: how the budget is divided over rows and between important and diverse. None: all of it is important;
            only inside the language model, where a row is a whole image.
        diversifier: who chooses the diverse ones. None: they are chosen by score too.
        merger: who folds the rest into what stays. None: it is dropped.
        space: where similarity is measured: the vision ``encoder``'s output, or the projector's (``projected``); inside
            the language model its ``hidden`` states, or these after its last norm (``normed``). None: the first.
        site: where tokens leave: ``pre_llm``, or ``{llm_layer: k}`` before layer k of the language model. ``image``:
            the image itself is re-encoded at the resolution that fits, which leaves the splitter alone something to do.
        budget: what stays after this stage, of the tokens that the image had at first; only where there are stages
            inside the language model. None: as the schedule of the pipeline says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    scorer: Named[Scorer] | None = None
    splitter: Named[BudgetSplitter] | None
    diversifier: Named[Diversifier] | None = None
    merger: Named[Merger] | None = None
    space: Space = "encoder"
    site: Site = "pre_llm"
    budget: BudgetField | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_its_site(cls, data: Any) -> Any:
        """Inside the language model similarity is measured on its own states, and rows need no splitter."""
        return {"space": "hidden", "splitter": None, **data} if is_inside(data) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A splitter is required before the language model only."""
        return stage_schema(handler.resolve_ref_schema(handler(core)))

    @model_validator(mode="after")
    def _every_part_in_its_space(self) -> Self:
        if self.space not in (_INSIDE if self.inside else _BEFORE):
            where = "inside" if self.inside else "before"
            raise ValueError(f"there is no {self.space} space {where} the language model; write another space or site")
        if self.splitter is None and not self.inside:
            raise ValueError("splitter: None divides nothing over rows; write equal")
        for part in (inner for outer in self.parts for inner in nested(outer)):
            if part.needs_space not in (None, self.space):
                raise ValueError(
                    f"{type(part).__name__} means nothing in {self.space} space; write space: {part.needs_space}"
                )
        return self

    @model_validator(mode="after")
    def _an_image_is_not_chosen_from(self) -> Self:
        if self.site == "image":
            check_image(self.splitter, {"scorer": self.scorer, "diversifier": self.diversifier, "merger": self.merger})
        return self

    @property
    def adaptive(self) -> bool:
        """Whether fewer tokens than the budget may stay."""
        return self.site == "image" or (self.splitter is not None and self.splitter.adaptive)

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Scorer, splitter, diversifier and merger, those that there are."""
        parts = (self.scorer, self.splitter, self.diversifier, self.merger)
        return tuple(part for part in parts if part is not None)

    @property
    def inside(self) -> bool:
        """Whether it runs inside the language model."""
        return isinstance(self.site, LlmLayer)

    @property
    def reads(self) -> frozenset[str]:
        """Cues the parts need."""
        return frozenset[str]().union(*(part.reads for part in self.parts))

    @property
    def reads_inside(self) -> frozenset[str]:
        """Those of them that are read in the language model."""
        wishes = self.reads if self.inside else frozenset[str]()
        return frozenset(wish for wish in wishes if any(one.split("@")[0] in LLM_CUES for one in wish.split("|")))

    def select(self, tokens: VisualTokens, budget: Budget) -> Selection:
        """Choose the tokens that stay; exact in every unit of the budget, unless the stage is ``adaptive``."""
        if self.site == "image":
            return coarser(tokens, self.counts(tokens, budget))
        pools = self.splitter is not None and self.splitter.pools
        if not pools and tokens.marked is None:  # then units have no say in it
            return self._select(tokens, budget, lambda chosen: chosen)
        units = [rows for rows, _ in budget.units(tokens)]
        if pools and any(len(rows) > 1 for rows in units):
            pool = Pool.of(tokens, units)

            def fill(chosen: Selection) -> Selection:
                if tokens.marked is None:
                    return chosen
                whole = filled(tokens, pool.spread(chosen), units, self.scores)
                important, diverse = (pool.gather(mask) & pool.filled for mask in (whole.important, whole.diverse))
                return Selection(important, diverse)

            return pool.spread(self._select(pool.tokens(tokens, units), budget, fill))
        return self._select(tokens, budget, lambda chosen: filled(tokens, chosen, units, self.scores))

    def counts(self, tokens: VisualTokens, budget: Budget) -> Tensor:
        """[B] int64 on the host: what the budget leaves of each row where no score has a say."""
        assert self.splitter is not None  # a stage before the language model has one
        return self.splitter.split(tokens, tokens.features.new_zeros(tokens.shape).float(), budget).total

    def scores(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32, the importance of each token; without a scorer all alike."""
        if self.scorer is not None:
            return self.scorer.score(tokens).float()
        return tokens.features.new_zeros(tokens.shape).float()

    def _select(self, tokens: VisualTokens, budget: Budget, fill: Callable[[Selection], Selection]) -> Selection:
        """Choose, ``fill`` marked rows that are empty, and only then fold the rest into what stays."""
        scores = self.scores(tokens)
        split = _all_important(tokens, budget) if self.splitter is None else self.splitter.split(tokens, scores, budget)
        whole = None if self.merger is None else split.total == tokens.counts  # rows with nothing to fold
        merger = None if whole is None or whole.all() else self.merger
        split = split.without_merged(None if merger is None else whole)
        split = split if self.diversifier is not None else split.without_diverse()
        important = top(scores, split.important, tokens.valid)  # [B, N]
        diverse = torch.zeros_like(important)
        if self.diversifier is not None and split.diverse.any():
            diverse = self.diversifier.choose(tokens, scores, important, split)
        chosen = fill(Selection(important, diverse))
        if merger is None:
            return chosen
        merge = merger.merge(tokens, scores, chosen, split)
        return Selection(chosen.important, chosen.diverse, merge.carriers, merge)


def _all_important(tokens: VisualTokens, budget: Budget) -> Split:
    """Rows that are whole images keep what the budget gives them."""
    important = torch.zeros(tokens.shape[0], dtype=torch.int64)
    for rows, total in budget.units(tokens):
        for row in rows:
            important[row] = min(total, int(tokens.counts[row]))
            total -= int(important[row])
    return Split(important, important * 0)


def check_stages(stages: tuple[Stage, ...], budget: Budget | None, schedule: str) -> None:
    """See whether stages can follow each other under the budget of a pipeline.

    Raises:
        ValueError: they cannot.
    """
    if any(not stage.inside for stage in stages[1:]):
        raise ValueError("stages: one stage before the language model, and it is the first; then those inside it")
    if not any(stage.inside for stage in stages):
        if budget is None:
            raise ValueError("budget: write what is kept of an image, such as 64 or 11.1%")
        if stages[0].budget is not None or schedule != "scaled":
            raise ValueError("a stage before the language model has the budget of the pipeline; write it there")
        return
    if stages[0].site == "image":
        raise ValueError("stages: a smaller image is a pipeline of its own, no stage follows it")
    if budget is None and (schedule != "scaled" or any(stage.budget is None for stage in stages)):
        raise ValueError("budget: write the average over the layers, or a budget of its own for every stage")
    budgets = [budget, *(stage.budget for stage in stages)]
    if any(one is not None and one.unit != "image" for one in budgets):
        raise ValueError("budgets of stages inside the language model are per image; leave the unit out")


def without_default_space(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage in plain values, without the space that its site has anyway."""
    default = "site" in stage and stage.get("space") == "hidden"
    return {key: value for key, value in stage.items() if not (default and key == "space")}
