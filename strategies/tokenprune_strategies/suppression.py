"""Tokens by score, each of which suppresses what repeats it: maximal marginal relevance and non-maximum suppression."""

from functools import partial
from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune import Diversifier, Split, VisualTokens
from tokenprune_strategies.effective_rank import effective_rank
from tokenprune_strategies.greedy import greedy
from tokenprune_strategies.similarity import Similarity
from tokenprune_strategies.suppress import TAKES, Decay, Suppress, Take, worth


@final
class Suppression(Diversifier):
    """Pick the highest, take from what resembles it, and again; what is out fills up in the end, by score.

    Cost: one product of all pairs, then N for each pick; ``growth`` also takes eigenvalues, min(N, C)^3.

    Args:
        decay: ``subtract``: balance * score - (1 - balance) * largest cosine to a pick, scores from 0 to 1 (IDPruner);
            ``gaussian``: score * exp(-cosine^2 / sigma) for every pick (soft-NMS; ID-Selection, arXiv 2604.05601);
            ``joint``: score * (1 - exp(-(1 - cosine)^2 / 2 sigma^2) * exp(-cells^2 / 2 (0.3 radius)^2)) for every pick
            within the radius (AdaptPrune, arXiv 2503.08019); ``threshold``: out where 1 - cosine < tau (D2Pruner).
        balance: weight of the score in ``subtract``.
        sigma: width of the bell in ``gaussian`` and ``joint``.
        threshold: tau of ``threshold``.
        growth: tau of pick k is threshold * k * effective rank / average_rank, up to ``cap`` (AgilePruner, 2603.01236).
        average_rank: effective rank of an ordinary image; it depends on the encoder and has to be measured.
        cap: of tau; at 1 nothing is out that is not alike at all.
        radius: cells; what is nearer to a pick counts as alike by 1 - cells / radius too, or as above. None: no place.
    """

    decay: Decay = "gaussian"
    balance: float = Field(default=0.5, ge=0, le=1)
    sigma: float = Field(default=0.5, gt=0)
    threshold: float = Field(default=0.01, ge=0)
    growth: bool = False
    average_rank: float = Field(default=100.0, gt=0)
    cap: float = Field(default=1.0, ge=0, le=2)
    radius: float | None = Field(default=None, gt=0)

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        value, places = worth(scores, tokens.valid, self.decay, self.balance), tokens.place if self.radius else None

        def begin(rows: slice, steps: int) -> Suppress:
            unit, place = tokens.unit_of(rows).detach(), None if places is None else places[rows]
            take = self._take(unit if tokens.valid is None else unit * tokens.valid[rows, :, None])
            return Suppress(value[rows], Similarity(unit), place, take)

        return greedy(tokens, scores, kept, split, begin, 4 * tokens.shape[1] ** 2)

    def _take(self, unit: Tensor) -> Take:
        rate: float | Tensor = {"subtract": 1 - self.balance, "threshold": self.threshold}.get(self.decay, self.sigma)
        if self.growth and self.decay == "threshold":
            rate = rate * effective_rank(unit) / self.average_rank
        return partial(TAKES[self.decay], rate, self.radius or 1, self.cap)
