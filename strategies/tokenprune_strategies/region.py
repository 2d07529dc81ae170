"""Importance = whether a token lies in given boxes (the region masks of arXiv 2511.18272). No privacy mechanism."""

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.errors import PipelineError
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens

Share = Annotated[float, Field(ge=0, le=1)]
Box = tuple[Share, Share, Share, Share]


@final
class Region(Scorer):
    """score_n = 1 where the cell of a token touches a box, else 0; the other way round for ``drop``. Cost: O(N).

    It only ranks: a budget of more than what is outside the boxes fills up with tokens inside. And it hides nothing:
    the encoder has mixed every part of the image into every token before any of them is dropped.

    Args:
        boxes: (left, top, right, bottom), each a share of the image's width or height.
        action: ``keep`` or ``drop`` what touches a box.
    """

    boxes: tuple[Box, ...] = ()
    action: Literal["keep", "drop"] = "keep"

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32.

        Raises:
            PipelineError: there are boxes, and tokens have no place in their image.
        """
        inside = torch.zeros(tokens.shape, dtype=torch.bool, device=tokens.device)
        if not self.boxes:
            return self._ranked(inside)
        if tokens.place is None or tokens.canvas is None:
            raise PipelineError("boxes ask where tokens are, and this model's tokens have no place in their image")
        for left, top, right, bottom in self.boxes:
            low, size = tokens.place, tokens.canvas[:, None]  # [B, N, 2], [B, 1, 2] (y, x)
            first, last = (torch.tensor(corner, device=low.device) for corner in ((top, left), (bottom, right)))
            inside |= ((low < last * size) & (low + 1 > first * size)).all(-1)
        return self._ranked(inside)

    def _ranked(self, inside: Tensor) -> Tensor:
        return (inside if self.action == "keep" else ~inside).float()
