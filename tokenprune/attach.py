"""Attach a pipeline to a model: its ``generate`` and ``forward`` shorten their prompts until it is detached."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from tokenprune.chunk import bound, cached, has_encoded, has_pixels, has_strange_video
from tokenprune.complaints import Complaints, NotCopied
from tokenprune.errors import AlreadyAttached, NothingPrunedWarning, UnprunedInputWarning, UnsupportedMode
from tokenprune.family import Family, Model, check_policy, family_of
from tokenprune.flash import positions_hidden
from tokenprune.forwarding import continued_forward, continues, pruned_forward
from tokenprune.generating import pruned_generate
from tokenprune.if_inside import check_levels, detached, part
from tokenprune.in_llm import InLlm
from tokenprune.listen import cue_sources
from tokenprune.pipeline import Pipeline, Source, load
from tokenprune.receipt import Receipt
from tokenprune.recording import uncut
from tokenprune.seams import check_seams, unwrapped
from tokenprune.standard_layers import check_inside
from tokenprune.turn import guard, release, remembers

_KEY = "_tokenprune"
_ATTACHING = threading.Lock()


def attach(model: Model, pipeline: Source = "vispruner", *, strict: bool = False, **changes: Any) -> Attachment:
    """Prune the visual tokens of everything this model is asked, until the attachment is detached.

        with tokenprune.attach(model, "vispruner", budget=64) as pruned:
            model.generate(**inputs)
        print(pruned.receipt)

    Args:
        model: a Hugging Face vision-language model, unmodified.
        pipeline: as in `load`.
        strict: raise where something that could have been pruned is not, instead of warning.
        **changes: keys of the pipeline to replace, ``budget=64`` above all.

    Raises:
        UnknownFamily: no family is registered for this model.
        RefusedFamily: this model cannot be pruned; the message says why.
        AlreadyAttached: it has a pipeline.
        MissingCue: the pipeline reads what this model does not give.
        UnsupportedMode: the pipeline asks for position ids that this model does not follow.
        AttachError: the model is a wrapper, or this transformers version lacks what is needed.
    """
    chosen = load(pipeline, **changes)
    inner = unwrapped(model)
    with _ATTACHING:
        if _KEY in inner.__dict__:
            raise AlreadyAttached(
                f"this {type(inner).__name__} already runs {inner.__dict__[_KEY].pipeline.name!r}; detach that first"
            )
        check_seams(family := family_of(inner), inner)
        check_inside(family, inner, chosen)
        check_policy(family, inner, chosen.positions)
        for one in family.modalities.values():
            cue_sources(one, inner, chosen, {})
        return Attachment(inner, family, chosen, strict)


class Attachment(NotCopied):
    """A pipeline on a model; a context manager. One thread at a time runs the model, each has its own receipt."""

    def __init__(self, model: Model, family: Family, pipeline: Pipeline, strict: bool) -> None:
        self.model, self.family, self.pipeline, self.strict = model, family, pipeline, strict
        self._lock, self._local, self._complain = threading.RLock(), threading.local(), Complaints(strict)
        self._before = {name: model.__dict__.get(name) for name in ("generate", "forward")}
        self._generate, self._forward = model.generate, model.forward
        self._ours = {name: self._in_place_of(name) for name in self._before}
        # Pruning reads values, so it breaks a graph that the caller compiles; ``_cache`` is what such a graph can read.
        self._cache, self._apart = None, torch.compiler.disable(self._on_forward)  # type: ignore[no-untyped-call]
        self._inside = InLlm(family, model, pipeline) if pipeline.inside else None
        model.__dict__.update({_KEY: self, **self._ours})

    def _in_place_of(self, name: str) -> Any:
        """Ours for a method of the model; no function, so that a copy of the model finds the way to `__deepcopy__`."""
        ours = functools.partial(getattr(self, f"_on_{name}"))
        return functools.update_wrapper(ours, getattr(type(self.model), name).__get__(self.model))

    @property
    def attached(self) -> bool:
        """Whether the model still runs this pipeline."""
        return self.model.__dict__.get(_KEY) is self

    @property
    def receipt(self) -> Receipt | None:
        """What the last call of this thread that had images or videos kept; None when there was none yet."""
        return getattr(self._local, "receipt", None)

    def detach(self) -> None:
        """Leave the model exactly as it was, once no thread runs it. Detaching twice does nothing."""
        with self._lock:
            if not self.attached:
                return
            state = self.model.__dict__
            del state[_KEY]
            detached(self._inside)
            for name, before in self._before.items():
                if state.get(name) is not self._ours[name]:
                    continue  # somebody has wrapped it since; from now on it only passes calls on
                if before is None:
                    del state[name]
                else:
                    state[name] = before

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    @contextmanager
    def _running(self, call: Mapping[str, Any]) -> Iterator[bool]:
        """One thread runs the model at a time; gives whether it is still attached when its turn comes."""
        with self._lock:
            before, cache = getattr(self._local, "running", None), call.get("past_key_values")
            check_levels(self._inside, cache if self.attached and cached(call) else None)
            self._local.running, self._cache = (cache,), cache
            if self.attached:
                release(cache)
            try:
                yield self.attached
            finally:
                self._local.running, self._cache = before, before and before[0]
                guard(cache)

    def _part_of_running(self, call: Mapping[str, Any]) -> bool:
        """Whether the running call makes this one, which is then its own affair; a callback may make others."""
        running = getattr(self._local, "running", None)
        if running is None or has_pixels(self.family, call):
            return False
        return call.get("past_key_values") is running[0] or not continues(call)

    def _hidden(self) -> AbstractContextManager[None]:
        return positions_hidden(self.family, self.model, self.pipeline.positions or self.family.positions)

    def _on_generate(self, *args: Any, **kwargs: Any) -> Any:
        if self._part_of_running(kwargs):
            return self._generate(*args, **kwargs)
        call = bound(self._ours["generate"], args, kwargs)
        if call.get("input_ids") is None and call.get("inputs") is not None:
            call["input_ids"] = call.pop("inputs")
        with self._running(call) as attached, torch.no_grad(), self._hidden():
            images = attached and self._has_work(call)
            if not attached or not (images or continues(call)):
                return self._generate(*args, **kwargs)
            parts = (self.family, self.model, self.pipeline, self._inside, self._generate, call)
            output, receipt = pruned_generate(*parts, images=images)
            self._record(receipt)
            return output

    def _on_forward(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            cache = kwargs.get("past_key_values")
            ours = args or has_pixels(self.family, kwargs) or (remembers(cache) and cache is not self._cache)
            if ours and not torch.compiler.is_dynamo_compiling():
                raise UnsupportedMode("choosing tokens cannot be exported; export the model without the attachment")
            return self._apart(*args, **kwargs) if ours else self._forward(*args, **kwargs)
        if self._part_of_running(kwargs):
            with part(self._inside, kwargs):
                return self._forward(*args, **kwargs)
        call = bound(self._ours["forward"], args, kwargs)
        parts = (self.family, self.model, self.pipeline)
        with self._running(call) as attached, self._hidden():
            if attached and self._has_work(call):
                output, receipt = pruned_forward(*parts, self._inside, self._forward, call)
                self._record(receipt)
                return output
            goes_on = attached and continues(call)
            return continued_forward(*parts, self._forward, call) if goes_on else self._forward(*args, **kwargs)

    def _has_work(self, call: Mapping[str, Any]) -> bool:
        """Whether a call brings images or videos that can be pruned; says so when it brings some that cannot."""
        pixels, video = has_pixels(self.family, call), has_strange_video(self.family, call)
        if pixels and not video and call.get("input_ids") is not None and call.get("inputs_embeds") is None:
            return True
        embedded = call.get("inputs_embeds") is not None and not continues(call)  # text after a pruned prompt is fine
        if pixels or video or embedded or has_encoded(self.family, call):
            self._complain(
                "this call reaches the model unpruned: it brings a video of a family that is proven with images "
                "alone, inputs_embeds or encoded images, and only a prompt of input_ids with the pixels can be pruned",
                UnprunedInputWarning,
            )
        return False

    def _record(self, receipt: Receipt | None) -> None:
        if receipt is None:
            return
        self._local.receipt = receipt
        if message := uncut(self.pipeline, receipt):
            self._complain(message, NothingPrunedWarning)
