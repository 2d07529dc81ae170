"""Two ways of choosing, one after the other."""

from typing import Annotated, final

from pydantic import Field, WithJsonSchema
from torch import Tensor

from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity_dedup import SimilarityDedup
from tokenprune_strategies.windowed import Windowed

_NAMED = {"anyOf": [{"type": "string"}, {"type": "object", "required": ["use"]}]}  # a union may hold a union
_Part = Annotated[Named[Diversifier], WithJsonSchema(_NAMED)]


@final
class Union(Diversifier):
    """The first chooses its share of the count, rounded down, the second the rest, what the first chose being kept.

    Args:
        first: by name, or with settings.
        then: likewise.
        share: of the first.
    """

    first: _Part = Windowed()
    then: _Part = SimilarityDedup()
    share: float = Field(default=0.5, ge=0, le=1)

    @property
    def reads(self) -> frozenset[str]:
        """What both read."""
        return self.first.reads | self.then.reads

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        one = (split.diverse * self.share).long()
        chosen = self.first.choose(tokens, scores, kept, Split(split.important, one))
        other = Split(split.important + one, split.diverse - one)
        return chosen | self.then.choose(tokens, scores, kept | chosen, other)
