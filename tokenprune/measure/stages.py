"""The parts of a pruned prefill, each run by itself on what the parts before it gave."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from tokenprune.cues import tap
from tokenprune.encode import describe
from tokenprune.family import submodule, tower_of
from tokenprune.layers import layers_path
from tokenprune.listen import Heard, Reads, cue_sources
from tokenprune.measure.blank import visual
from tokenprune.measure.contest import Contest
from tokenprune.tokens import OF_NO_LAYER
from tokenprune.vision import Run, run_vision


class Stages:
    """What can be timed apart, by name.

    ``vision tower`` (its projector is timed within it, see `split`), ``cue`` (queries and keys are there, the tap reads
    them), ``selection`` (tokens and cues are laid out, and chosen from), ``prefill, full`` and ``prefill, pruned`` (the
    language model, with the logits of the last token). Stages inside the language model run only as it does: of such a
    pipeline the encoder and the full prefill are timed.

    Args:
        contest: the model, the prompt and the pipeline.
    """

    def __init__(self, contest: Contest) -> None:
        self.contest, self.model, self.image = contest, contest.model, contest.image
        self.split: list[float] = []  # seconds of the projector in each round
        self.sources = cue_sources(self.image, self.model, contest.pipeline, contest.inputs)
        with torch.no_grad():
            self.seen = self._taps()
            self.ran = run_vision(self.image, self.model, contest.inputs, self.sources)
        self.cut = contest.shortened()
        whole = {name: value for name, value in contest.inputs.items() if name not in contest.pixels}
        self.whole = {**whole, "mm_encoder_outputs": {"image": self.ran.output}}
        self.cache: dict[str, Any] = {}
        self.runs: dict[str, Callable[[], object]] = {
            "vision tower": self.tower,
            "cue": self.cue,
            "selection": self.selection,
            "prefill, full": lambda: self.prefill("full", self.whole),
            "prefill, pruned": lambda: self.prefill("pruned", self.cut),
        }
        if contest.pipeline.inside:
            self.runs = {name: self.runs[name] for name in ("vision tower", "prefill, full")}
            self.cache["pruned"] = contest.prefilled

    def _taps(self) -> dict[str, list[tuple[Any, ...]]]:
        """By layer, what each tap is given."""
        encoder, spec = tower_of(self.image, self.model)
        layers = {source.partition("@")[2] for source in self.sources.values() if source not in OF_NO_LAYER}
        seen: dict[str, list[tuple[Any, ...]]] = {layer: [] for layer in sorted(layers)}
        with ExitStack() as stack:
            for layer, given in seen.items():
                stem, attention = layers_path(encoder, spec)
                module = submodule(encoder, f"{stem}.{layer}.{attention}")

                def note(*values: Any, given: list[tuple[Any, ...]] = given) -> Tensor:
                    given.append(values)
                    return torch.zeros(())

                stack.enter_context(tap(module, note))
            run_vision(self.image, self.model, self.contest.inputs, {})
        return seen

    def tower(self) -> None:
        """The vision encoder and its projector; how long that took is noted."""
        clock, marks = self.contest.clock, list[Any]()
        hooks = []
        if self.image.projector is not None:
            projector = submodule(self.model.base_model, self.image.projector)
            hooks = [
                projector.register_forward_pre_hook(lambda *_: marks.append(clock.mark())),
                projector.register_forward_hook(lambda *_: marks.append(clock.mark())),
            ]
        with torch.no_grad():
            getattr(self.model.base_model, self.image.method)(**self.contest.pixels, return_dict=True)
        clock.wait()
        for hook in hooks:
            hook.remove()
        pairs = zip(marks[::2], marks[1::2], strict=True)
        self.split.append(sum(clock.between(first, last) for first, last in pairs))

    def cue(self) -> Heard:
        """Read every cue of the pipeline from queries and keys."""
        heard = Heard()
        spec = tower_of(self.image, self.model)[1]
        with torch.no_grad():
            for layer, calls in self.seen.items():
                here = {name: source for name, source in self.sources.items() if source.endswith(f"@{layer}")}
                reads = Reads(here, self.model.config, spec, heard)
                for call in calls:
                    reads(*call)
        self.contest.clock.wait()
        return heard

    def selection(self) -> Any:
        """Lay the tokens out and choose."""
        inputs, pipeline = self.contest.inputs, self.contest.pipeline
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        place = visual(self.image, self.model, ids)
        ran = Run(self.ran.output, self.ran.pieces, self.ran.heard, self.ran.sources)
        with torch.no_grad():
            space = pipeline.stages[0].space
            encoded = describe(self.image, self.model, inputs, space, ids, place, ran, mask)
            chosen = pipeline.select(encoded.tokens)
        self.contest.clock.wait()
        return encoded, chosen

    def prefill(self, name: str, inputs: dict[str, Any]) -> None:
        """The language model over a prompt whose image is encoded; its cache is kept for a look."""
        with torch.no_grad():
            output = self.model(**inputs, use_cache=True, logits_to_keep=1)
        self.cache[name] = output.past_key_values
        self.contest.clock.wait()


def cache_bytes(cache: Any) -> list[int]:
    """Bytes of keys and values that each layer of a cache holds."""
    found = []
    for layer in cache.layers:
        parts = (getattr(layer, "keys", None), getattr(layer, "values", None))
        found.append(sum(part.numel() * part.element_size() for part in parts if part is not None))
    return found
