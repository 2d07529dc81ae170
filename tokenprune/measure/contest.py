"""Three ways to answer one prompt: with all tokens, pruned, and shortened by hand at no cost, which is the limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokenprune.attach import attach
from tokenprune.chunk import chunk_of
from tokenprune.errors import AttachError, BudgetError, UnsupportedMode
from tokenprune.family import Family, Model, family_of
from tokenprune.features import short_features
from tokenprune.forwarding import consumed
from tokenprune.measure.blank import blank_pixels, blank_prompt, visual
from tokenprune.measure.clock import Clock, Stamps
from tokenprune.pipeline import Pipeline
from tokenprune.placeholders import Size
from tokenprune.pre_llm import shorten
from tokenprune.receipt import Receipt
from tokenprune.vision import run_vision


@dataclass
class Laps:
    """Seconds of one way, a number each round.

    Args:
        first: up to the logits of the first token.
        each: for each token after it.
    """

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)


class Contest:
    """One prompt, one model and one pipeline; each way is a function without arguments that runs it once.

    The limit runs the vision encoder, cuts its output by a selection that was made beforehand, and generates from a
    prompt that was shortened beforehand: what is left when choosing costs nothing. Where tokens leave inside the
    language model there is no such prompt: the limit then is the same pipeline without scorers and diversifiers, which
    keeps the first tokens unseen.

    Args:
        model: a model that is not attached, on the device to measure.
        inputs: a whole call for one prompt with one image, on the same device.
        pipeline: what chooses.
        new_tokens: tokens that every way generates, no more and no fewer.
        busy: as in `Clock`.

    Raises:
        BudgetError: nothing is left out.
        UnsupportedMode: the pipeline takes a smaller image instead; or as in `shorten`.
        AttachError: as in `shorten`.
    """

    def __init__(
        self, model: Model, inputs: Mapping[str, Any], pipeline: Pipeline, new_tokens: int, busy: bool = False
    ) -> None:
        self.model, self.inputs, self.pipeline = model, dict(inputs), pipeline
        self.family: Family = family_of(model)
        if self.family.cross is not None:
            raise AttachError(
                f"{type(model).__name__} looks at images through cross-attention: there is no short prompt"
            )
        if pipeline.stages[0].site == "image":
            raise UnsupportedMode(
                f"{pipeline.name!r} shrinks the image and chooses nothing, so there is no limit to compare with; take "
                "another pipeline, or time the model with a smaller --image"
            )
        self.image = self.family.modalities["image"]
        self.clock = Clock(model.device, busy)
        self.length = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False, "num_beams": 1}
        self.ways: dict[str, Callable[[], Any]] = {"full": self.full, "pruned": self.pruned, "limit": self.limit}
        self.laps = {name: Laps() for name in self.ways}
        self.receipt: Receipt | None = None
        self.prefilled: Any = None  # the cache after a prefill, where tokens leave inside the language model
        self._shorten()

    def _shorten(self) -> None:
        """Make the prompt and the selection of the limit."""
        chunk = chunk_of(self.family, self.model, self.inputs, generating=True)
        with torch.no_grad():
            short = shorten(self.family, self.model, self.pipeline, self.inputs, chunk)
        place = visual(self.image, self.model, self.inputs["input_ids"])
        self.rows: Tensor = short.columns.stays[place].cpu()  # [R]
        gone = consumed(self.family, self.model, self.inputs)
        self.short = {name: value for name, value in {**self.inputs, **short.call}.items() if name not in gone}
        self.short.pop("mm_encoder_outputs")
        self.receipt = short.receipt if not self.pipeline.inside else self._looked()
        if not self.pipeline.inside and short.receipt.after == short.receipt.before:
            raise BudgetError(
                f"a budget of {self.pipeline.budget} keeps all {short.receipt.before} visual tokens of this image, so "
                f"there is nothing to compare; ask for fewer, such as {max(1, short.receipt.before // 4)}"
            )

    def full(self) -> Any:
        """Answer with all tokens."""
        return self._generate("full", self.model.generate, lambda: self.inputs)

    def pruned(self) -> Any:
        """Answer with the pipeline attached; attaching happens once for many prompts, and is not measured."""
        with attach(self.model, self.pipeline):
            return self._generate("pruned", self.model.generate, lambda: self.inputs)

    def limit(self) -> Any:
        """Answer from what was shortened by hand."""
        if self.pipeline.inside:
            with attach(self.model, without_scores(self.pipeline)):
                return self._generate("limit", self.model.generate, lambda: self.inputs)
        return self._generate("limit", self.model.generate, self.shortened)

    def shortened(self) -> dict[str, Any]:
        """The shortened call, its image encoded now."""
        with torch.no_grad():
            output = getattr(self.model.base_model, self.image.method)(**self.pixels, return_dict=True)
            room = [len(self.rows)]
            short = short_features(output, self.image.feature_field, self.rows.to(self.clock.device), room)
        return {**self.short, "mm_encoder_outputs": {"image": short}} if short is not None else self.short

    def _looked(self) -> Receipt | None:
        """What the stages inside the language model leave."""
        with attach(self.model, self.pipeline) as attached, torch.no_grad():
            self.prefilled = self.model(**self.inputs, use_cache=True, logits_to_keep=1).past_key_values
        return attached.receipt

    @property
    def pixels(self) -> dict[str, Any]:
        """What the encoder reads of the call."""
        return {name: self.inputs[name] for name in consumed(self.image, self.model, self.inputs)}

    def _generate(self, name: str, generate: Callable[..., Any], inputs: Callable[[], Mapping[str, Any]]) -> Any:
        stamps = Stamps(self.clock)
        with torch.no_grad():
            output = generate(**inputs(), **self.length, logits_processor=[stamps], return_dict_in_generate=True)
        first, each = stamps.seconds()
        self.laps[name].first.append(first)
        self.laps[name].each.append(each)
        return output

    def forget(self) -> None:
        """Start anew, after warming up."""
        self.laps = {name: Laps() for name in self.ways}


def without_scores(pipeline: Pipeline) -> Pipeline:
    """The same stages, which keep as many tokens and look at none."""
    parts = {"scorer": None, "diversifier": None, "merger": None}
    return pipeline.replace(stages=tuple(stage.model_copy(update=parts) for stage in pipeline.stages))


def noise_prompt(model: Model, image: Size, text: int, processor: Any = None) -> dict[str, Any]:
    """A call for one image of noise and so many tokens of text, on the model's device.

    Args:
        model: the model.
        image: (height, width) in pixels.
        text: tokens of text; which ones is drawn.
        processor: the model's image processor. None: see `blank_pixels`.
    """
    family = family_of(model).modalities["image"]
    generator = torch.Generator().manual_seed(0)
    pixels = {
        name: torch.randn(value.shape, generator=generator).to(model.device, model.dtype)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in blank_pixels(family, model, image, processor).items()
    }
    there = {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in pixels.items()}
    with torch.no_grad():
        rows = sum(len(piece) for piece in run_vision(family, model, there, {}).pieces)
    call = blank_prompt(family, model, there, rows, text)
    return {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in call.items()}
