"""Importance = how similar a token is to the words of the question (the text side of MMTok and of CDPruner)."""

from collections.abc import Mapping
from typing import Literal, final

from pydantic import Field
from torch import Tensor

from tokenprune.errors import PipelineError
from tokenprune.joint import Clip
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.relevance import Over, relevance


@final
class TextRelevance(Scorer):
    """score_n = sign * mean or max over words m of cos(x_n, w_m), with w the language model's word embeddings.

    Only ``space: projected`` lies in the width of the words. With a ``temperature`` t each word says softmax_n(cos / t)
    instead, as in MMTok (arXiv 2508.18264). A prompt without words makes all tokens alike. Depends on the question, so
    what is kept cannot serve another one. Cost: one product, tokens by words; with ``clip`` its text encoder.

    Args:
        over: ``mean`` or ``max`` over the words.
        sign: 1: what is relevant stays; -1: what is not, which is how CDPruner (arXiv 2506.10967) was released.
        temperature: of the softmax over the tokens of a row. None: the cosines as they are.
        clip: folders of the CLIP that the vision encoder comes from and of the prompt's tokenizer; x and w then lie in
            CLIP's joint space, w in segments of what it reads, as CDPruner was released. None: no CLIP.
    """

    over: Over = "mean"
    sign: Literal[1, -1] = 1
    temperature: float | None = Field(default=None, gt=0)
    clip: Clip | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The question."""
        return frozenset({"question"} if self.clip is None else {"question_ids", "encoder"})

    @property
    def needs_space(self) -> str | None:
        """That of the words."""
        return "projected" if self.clip is None else None

    @property
    def needs_encoder(self) -> Mapping[str, object]:
        """That of CLIP."""
        return {} if self.clip is None else self.clip.encoder

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        words = tokens.cue("question") if self.clip is None else self.clip.texts(tokens)  # [B, M, C]
        images = None if self.clip is None else self.clip.images(tokens)
        width = (tokens.features if images is None else images).shape[2]
        if words.shape[2] != width:
            told = f"words are {words.shape[2]} wide and tokens {width}, which do not compare"
            raise PipelineError(f"{told}; write space: projected")
        return self.sign * relevance(tokens, words, images, self.over, self.temperature)
