"""What a vision encoder, its projector and the choice of tokens cost, counted without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from tokenprune.encode import Encoded, describe
from tokenprune.errors import AttachError
from tokenprune.family import Family, Model, submodule
from tokenprune.listen import Heard
from tokenprune.measure.blank import blank_prompt, visual
from tokenprune.measure.flops import flops
from tokenprune.measure.meta import on_meta, real, running_without_weights
from tokenprune.vision import Run, run_vision


@dataclass(frozen=True)
class VisionCost:
    """FLOPs of encoding one image.

    Args:
        tower: of the vision encoder, and of the cues if any were read.
        projector: of the projector. 0: the family names none, and it counts with the encoder.
        ran: what came out, without values.
    """

    tower: int
    projector: int
    ran: Run

    @property
    def rows(self) -> int:
        """Feature rows of the image, separators among them."""
        return sum(len(piece) for piece in self.ran.pieces)


def count_vision(family: Family, model: Model, pixels: Mapping[str, Any], sources: Mapping[str, str]) -> VisionCost:
    """Run the encoder of a model on the meta device.

    Args:
        family: the model's family.
        model: the model on the meta device.
        pixels: as `blank_pixels` gives them.
        sources: the cues to read, as in `cue_sources`.

    Raises:
        AttachError: it does not run there.
    """
    call = {name: on_meta(value, model.dtype) for name, value in pixels.items()}
    try:
        with (
            flops() as counted,
            torch.no_grad(),
            running_without_weights(),
            _within(family, model, lambda: counted.total) as spent,
        ):
            ran = run_vision(family, model, call, sources)
    except (RuntimeError, ValueError, TypeError) as problem:
        raise AttachError(
            f"the vision encoder of {type(model).__name__} does not run without weights: {_first_line(problem)}; count "
            "it on a real run with tokenprune.measure.flops"
        ) from problem
    return VisionCost(counted.total - sum(spent), sum(spent), ran)


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n")[0].rstrip(".") or type(problem).__name__


@contextmanager
def _within(family: Family, model: Model, total: Callable[[], int]) -> Iterator[list[int]]:
    """What ``total`` grows by in each call of the projector."""
    spent: list[int] = []
    if family.projector is None:
        yield spent
        return
    projector = submodule(model.base_model, family.projector)
    hooks = [
        projector.register_forward_pre_hook(lambda *_: spent.append(-total())),
        projector.register_forward_hook(lambda *_: spent.append(spent.pop() + total())),
    ]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def random_tokens(family: Family, model: Model, pixels: Mapping[str, Any], ran: Run, space: str) -> Encoded:
    """Tokens on the host as the model's own would be, only that their values and cues are drawn.

    Args:
        family: the model's family.
        model: the model on the meta device.
        pixels: what was encoded.
        ran: what came of it, without values.
        space: where similarity will be measured.
    """
    generator = torch.Generator().manual_seed(0)
    heard = Heard(
        {name: [real(value, generator, positive=True) for value in values] for name, values in ran.heard.cues.items()},
        [real(value, generator) for value in ran.heard.encoder],
        [real(value, generator, positive=True) for value in ran.heard.looks],
    )
    pieces = [real(piece, generator) for piece in ran.pieces]
    ids = blank_prompt(family, model, pixels, sum(map(len, pieces)), 1)["input_ids"]
    drawn = Run(None, pieces, heard, ran.sources)
    return describe(family, model, pixels, space, ids, visual(family, model, ids), drawn)


def asked(encoded: Encoded, text: int) -> Encoded:
    """The same, and a question of ``text`` words that were drawn."""
    tokens = encoded.tokens
    shape = len(tokens.features), text, encoded.rows.shape[-1]
    words = real(torch.empty(shape, device="meta"), torch.Generator().manual_seed(1))
    return replace(encoded, tokens=replace(tokens, cues={**tokens.cues, "question": words}))
