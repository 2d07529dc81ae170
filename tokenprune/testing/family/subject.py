"""The model under test: its calls, what it gives unmodified, and what its language model is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from tokenprune.attach import Attachment, attach
from tokenprune.family import Family, family_of, submodule, tower_of
from tokenprune.pipeline import Pipeline, load
from tokenprune.testing.family.report import NotApplicable

T = TypeVar("T")
STEPS = 4  # tokens decoded
TOLERANCE = 2e-5  # float32, a few layers
BUDGET = "25%"


@dataclass(frozen=True)
class Heard:
    """One run of the language model: its keyword arguments, and the first thing it gave."""

    given: dict[str, Any]
    gave: Tensor


@dataclass(frozen=True)
class Subject:
    """A model and its prompts; see `check_family`."""

    model: Any
    inputs: Callable[[Any, Sequence[int]], dict[str, Any]]
    prompts: tuple[int, ...]
    mask: Callable[[Any, Tensor, int], Any] | None
    locate: Callable[[dict[str, Any]], Tensor | list[Tensor]] | None
    images: int | None = None
    shares: Callable[[Any, dict[str, Any]], Tensor] | None = None
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once."""
        if name not in self.memo:
            self.memo[name] = make()
        made: T = self.memo[name]
        return made

    @property
    def family(self) -> Family:
        """What is registered for the model."""
        return family_of(self.model)

    @property
    def shown(self) -> Family:
        """The family as it is for what geometry is about: videos, if the prompts bring any."""
        made = self.once("shown", lambda: list(self.brought(self.call()).values())[-1])
        return made

    def brought(self, call: dict[str, Any]) -> dict[str, Family]:
        """The family as it is for images, for videos or for both."""
        every = self.family.modalities.items()
        return {name: one for name, one in every if any(call.get(pixel) is not None for pixel in one.pixels)}

    def visual(self, ids: Tensor) -> Tensor:
        """[...] bool, where a prompt has placeholders, of images or of videos."""
        tokens = [getattr(self.model.config, one.placeholder) for one in self.family.modalities.values()]
        return torch.isin(ids, torch.tensor(tokens))

    @property
    def pipeline(self) -> Pipeline:
        """One that reads a cue and the encoder's space, where there is a cue."""
        return load("vispruner" if tower_of(self.family, self.model)[1].attention else "divprune")

    @property
    def language_model(self) -> Any:
        """The module that is handed embeddings."""
        found = submodule(self.model.base_model, self.family.language_model)
        return found.model if hasattr(found, "lm_head") else found

    def call(self, *prompts: int) -> dict[str, Any]:
        """A batch of some prompts, by default of all."""
        return self.inputs(self.model, prompts or self.prompts)

    def attached(self, budget: str | int = BUDGET, **changes: Any) -> Attachment:
        """The model with a pipeline; a context manager."""
        return attach(self.model, self.pipeline, budget=budget, **changes)

    def forward(self, call: dict[str, Any], **options: Any) -> Tensor:
        """[B, L, V] logits."""
        with torch.no_grad():
            logits: Tensor = self.model(**call, **options).logits
        return logits

    def generate(self, call: dict[str, Any], **options: Any) -> tuple[Tensor, Tensor]:
        """[B, L + STEPS] ids, and [B, STEPS, V] logits."""
        wishes = {"max_new_tokens": STEPS, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
        output = self.model.generate(**call, **{**wishes, **options})
        return output.sequences, torch.stack(output.logits, 1)

    @contextmanager
    def listening(self) -> Iterator[list[Heard]]:
        """Note every run of the language model."""
        heard: list[Heard] = []

        def note(module: Any, args: Any, given: dict[str, Any], output: Any) -> None:
            heard.append(Heard(given, output[0].detach()))

        hook = self.language_model.register_forward_hook(note, with_kwargs=True)
        try:
            yield heard
        finally:
            hook.remove()

    def in_company(self) -> float:
        """By how much a batch changes the logits of the unmodified model."""

        def difference() -> float:
            alone = [self.generate(self.call(one))[1] for one in self.prompts]
            return most(self.generate(self.call())[1], torch.cat(alone))

        return self.once("in company", difference)

    def full(self, call: dict[str, Any]) -> Heard:
        """What the language model of the unmodified model is handed for a whole prompt."""
        with self.listening() as heard:
            self.generate(call, max_new_tokens=1)
        if not self.family.language_model:
            raise NotApplicable("its language model is no module of its own that is handed embeddings")
        return heard[0]


def most(left: Tensor, right: Tensor) -> float:
    """The largest difference; infinite where shapes differ or one is NaN."""
    if left.shape != right.shape:
        return float("inf")
    difference = (left - right).abs().max() if left.numel() else torch.zeros(())
    return float(difference.nan_to_num(float("inf")))


def agree(left: Tensor, right: Tensor, what: str, tolerance: float = TOLERANCE) -> float:
    """The largest difference, which must be small.

    Raises:
        AssertionError: it is not.
    """
    difference = most(left, right)
    if not difference <= tolerance:
        raise AssertionError(f"{what}: they differ by {difference:.1e}, more than {tolerance:.0e}")
    return difference
