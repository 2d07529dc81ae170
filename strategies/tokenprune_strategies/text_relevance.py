"""Importance = how similar a token is to the words of the question (the text side of MMTok and of CDPruner)."""

from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.errors import PipelineError
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.scaling import valid_of


@final
class TextRelevance(Scorer):
    """score_n = sign * mean or max over words m of cos(x_n, w_m), with w the language model's word embeddings.

    Only ``space: projected`` lies in the width of the words. With a ``temperature`` t each word says
    softmax_n(cos(x_n, w_m) / t) instead, as in MMTok (arXiv 2508.18264). A prompt without words makes all tokens alike.
    Depends on the question, so what is kept cannot serve another one. Cost: one product, tokens by words.

    Args:
        over: ``mean`` or ``max`` over the words.
        sign: 1: what is relevant stays; -1: what is not, which is how CDPruner (arXiv 2506.10967) was released.
        temperature: of the softmax over the tokens of a row. None: the cosines as they are.
    """

    over: Literal["mean", "max"] = "mean"
    sign: Literal[1, -1] = 1
    temperature: float | None = Field(default=None, gt=0)

    @property
    def reads(self) -> frozenset[str]:
        """The question."""
        return frozenset({"question"})

    @property
    def needs_space(self) -> str:
        """That of the words."""
        return "projected"

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        question = tokens.cue("question")  # [B, M, C]
        if question.shape[2] != tokens.features.shape[2]:
            raise PipelineError(
                f"words are {question.shape[2]} wide and tokens {tokens.features.shape[2]}, which do not compare; "
                "write space: projected"
            )
        words, real = VisualTokens(question).unit, (question != 0).any(2)  # [B, M, C], [B, M]
        similar = words @ tokens.unit.mT  # [B, M, N]
        if self.temperature is not None:
            logits = (similar / self.temperature).masked_fill(~valid_of(tokens)[:, None], -torch.inf)
            similar = logits.softmax(2).nan_to_num(0)
        if self.over == "max":
            best = similar.masked_fill(~real[..., None], -torch.inf).amax(1)
            return self.sign * best.masked_fill(~real.any(1, keepdim=True), 0)
        return self.sign * similar.masked_fill(~real[..., None], 0).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
