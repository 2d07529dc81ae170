"""Importance = the attention that the prompt's text pays to a token, inside the language model (FastV, ECCV 2024)."""

from typing import Literal, final

from pydantic import Field
from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.attention_rows import mean_over, over_heads, rows_of
from tokenprune_strategies.raters import raters
from tokenprune_strategies.scaling import valid_of

_LEAST = 1e-20  # far below what rotary position can give, and a quotient of it stays finite


@final
class TextAttention(Scorer):
    """score_n = mean over heads h and queries q of A[h, q, n], softmax rows of one layer over the whole prompt.

    Depends on the question, so what is kept cannot serve another one. Cost: one row of attention for each query.

    Args:
        query: ``last``: the last token of the prompt (FastV, arXiv 2403.06764; PyramidDrop, CVPR 2025, arXiv
            2410.17247); ``all``: the words of the question; ``raters``: those of them that the image is about
            (SparseVLM, ICML 2025, arXiv 2410.04417).
        heads: ``mean`` or ``max`` over heads, or ``top``: the mean of those that pay the image most attention.
        top: how many, if the layer has so many.
        debias: ``rope`` divides each row by the attention that rotary position alone would give (SparseVLM+; D2Pruner,
            arXiv 2512.19443). None: as it is.
        layer: ``previous``: the layer that ran last (FastV); ``this``: the one about to run (PyramidDrop).
    """

    query: Literal["last", "all", "raters"] = "last"
    heads: Literal["mean", "max", "top"] = "mean"
    top: int = Field(default=14, ge=1)
    debias: Literal["rope"] | None = None
    layer: Literal["previous", "this"] = "previous"

    @property
    def reads(self) -> frozenset[str]:
        """The rows, what position alone gives, and what raters are chosen by."""
        names = {self._name("attention")} | ({self._name("prior")} if self.debias else set())
        return frozenset(names | ({"inputs", "question"} if self.query == "raters" else set()))

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        rows = rows_of(tokens, self._name("attention"))  # [B, H, R, N]
        seen = rows.masked_fill(~valid_of(tokens)[:, None, None], 0)
        asks = seen.any(3).any(1)  # [B, R], false where a prompt has fewer words
        if self.query == "raters":
            asks = raters(tokens.cue("inputs"), tokens.cue("question"))
        if self.debias:
            rows = rows / rows_of(tokens, self._name("prior")).clamp(min=_LEAST)
        best = self.top if self.heads == "top" else None
        return over_heads(mean_over(asks, rows), mean_over(asks, seen).sum(2), self.heads == "max", best)

    def _name(self, of: str) -> str:
        return f"{'last' if self.query == 'last' else 'text'}_{of}@{self.layer}"
