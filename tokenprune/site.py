"""Where a stage runs: before the language model, or before one of its layers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tokenprune.errors import PipelineError

_SHARE = re.compile(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*%\s*", re.ASCII)


def _layer(value: Any) -> int | str:
    """A layer as people write it.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < Fraction(match[1]) < 100:
        raise ValueError(
            f"a layer is a number from 1 on or a share of the depth such as '25%'; got {value!r}. Tokens that leave "
            "before layer 0 leave before the language model: site: pre_llm"
        )
    return f"{match[1]}%"


class LlmLayer(BaseModel):
    """Tokens leave before this layer of the language model runs; the layers below it see all of them.

    Args:
        llm_layer: a layer from 1 on, counted from 0, or a share of the depth: ``25%`` is layer 8 of 32, to the nearest,
            ties up, at least 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    llm_layer: Annotated[int | str, BeforeValidator(_layer)]

    def of(self, depth: int) -> int:
        """The layer, in a language model of ``depth`` layers.

        Raises:
            PipelineError: it has no such layer.
        """
        if isinstance(self.llm_layer, str):
            found = math.floor(Fraction(self.llm_layer.rstrip("%")) / 100 * depth + Fraction(1, 2))
            return min(max(found, 1), depth - 1)
        if self.llm_layer >= depth:
            raise PipelineError(
                f"llm_layer: {self.llm_layer} asks for a layer that is not there; this language model has {depth}, "
                f"numbered from 0, so write 1 to {depth - 1} or a share such as '25%'"
            )
        return self.llm_layer

    def __str__(self) -> str:
        return f"layer {self.llm_layer}"


Site = Literal["pre_llm", "image"] | LlmLayer


def is_inside(data: Any) -> bool:
    """Whether what describes a stage puts it inside the language model."""
    if isinstance(data, Mapping):
        return isinstance(data.get("site"), Mapping | LlmLayer)
    return getattr(data, "inside", False)
