"""What a strategy is: a frozen pydantic model whose fields are its settings.

Protocols hold abstract methods only; concrete strategies are final. Register one by an entry point in the group named
by ``group`` and it can be used from YAML under that name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.selection import Merge, Selection, Split
from tokenprune.tokens import VisualTokens

LayerShare = Annotated[str, Field(pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,9})?)%$")]
Layer = int | LayerShare  # of an encoder: a number from 0, from the end if negative; or a share of the depth, as 33%


class Strategy(BaseModel):
    """Anything that can be named in a pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    group: ClassVar[str]

    @property
    def reads(self) -> frozenset[str]:
        """Cues it needs, so that a missing one is an error when attaching. ``"a|b"``: the first that is there."""
        return frozenset()

    @property
    def needs_space(self) -> str | None:
        """The only space of a stage in which it means anything, such as ``projected``. None: any."""
        return None

    @property
    def needs_encoder(self) -> Mapping[str, object]:
        """Values that the config of the vision encoder must have for it to mean anything."""
        return {}


def nested(part: Strategy) -> Iterator[Strategy]:
    """A strategy, and those that are settings of it."""
    yield part
    for _, value in part:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Strategy):
                yield from nested(one)


class Scorer(Strategy):
    """Give every token a number."""

    group: ClassVar[str] = "tokenprune.scorers"

    @abstractmethod
    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32, larger = keep. Values at invalid tokens are ignored."""


class BudgetSplitter(Strategy):
    """Own every division of the budget: over rows, and between important and diverse."""

    group: ClassVar[str] = "tokenprune.splitters"

    @property
    def pools(self) -> bool:
        """Whether the rows of one unit are laid end to end and chosen from as one row."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether the budget is the most that may stay, and fewer may; one of everything keeps everything."""
        return False

    @abstractmethod
    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """Counts for each row: they sum to the budget of each unit, and no row gets more than its valid tokens.

        Where it is ``adaptive``, they sum to no more than the budget, and to at least one where that is not zero.
        """


class Diversifier(Strategy):
    """Choose tokens that repeat neither each other nor the ones already kept."""

    group: ClassVar[str] = "tokenprune.diversifiers"

    @abstractmethod
    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """Choose ``split.diverse`` tokens of each row.

        Args:
            tokens: B rows of N tokens.
            scores: [B, N] float32.
            kept: [B, N] bool, the important tokens; exactly ``split.important`` a row.
            split: how many of each row; the counts are on the host, so no loop has to ask the device.

        Returns:
            [B, N] bool: valid, disjoint from ``kept``, exactly ``split.diverse`` a row.
        """


class Merger(Strategy):
    """Fold tokens that nobody chose into tokens that stay, or into carriers: dropped ones whose slot stays."""

    group: ClassVar[str] = "tokenprune.mergers"

    @abstractmethod
    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """Choose ``split.merged`` carriers of each row and say what is folded into what.

        Args:
            tokens: B rows of N tokens.
            scores: [B, N] float32.
            selection: the important and the diverse tokens.
            split: how many of each row; the counts are on the host.

        Returns:
            Carriers that are valid, not selected yet and exactly ``split.merged`` a row; sources are valid, targets
            are carriers or tokens that stay, weights are finite, and no edge leaves its row.
        """
