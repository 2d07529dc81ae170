"""What a caller hands to ``generate`` sees the prompt that the caller gave, not the short one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import Model


@dataclass(frozen=True)
class Prompt:
    """The given prompt, and the one that goes into the model instead.

    Args:
        full: [B, L] int64.
        short: [B, S] int64.
    """

    full: Tensor
    short: Tensor

    def restore(self, ids: Tensor) -> Tensor:
        """[R, S + new] to [R, L + new]; R is a multiple of B when there are beams or several sequences a prompt."""
        full = self.full.repeat_interleave(len(ids) // len(self.full), 0).to(ids.device)
        return torch.cat([full, ids[:, self.short.shape[1] :]], 1)

    def restore_one(self, number: int, ids: Tensor) -> Tensor:
        """[S + new] of prompt ``number`` to [L + new]."""
        return torch.cat([self.full[number].to(ids.device), ids[self.short.shape[1] :]])


def show_prompt(arguments: dict[str, Any], prompt: Prompt) -> None:
    """What a caller hands in sees the prompt that the caller gave."""
    from transformers import LogitsProcessorList, StoppingCriteriaList

    if arguments.get("logits_processor"):
        wrapped = [_SeesPrompt(one, prompt) for one in arguments["logits_processor"]]
        arguments["logits_processor"] = LogitsProcessorList(wrapped)
    if arguments.get("stopping_criteria"):
        criteria = arguments["stopping_criteria"]
        criteria = criteria if isinstance(criteria, list) else [criteria]
        arguments["stopping_criteria"] = StoppingCriteriaList([_StopSeesPrompt(one, prompt) for one in criteria])
    if arguments.get("prefix_allowed_tokens_fn") is not None:
        allowed = arguments["prefix_allowed_tokens_fn"]
        arguments["prefix_allowed_tokens_fn"] = lambda number, ids: allowed(number, prompt.restore_one(number, ids))
    if arguments.get("streamer") is not None:
        arguments["streamer"] = _StreamsPrompt(arguments["streamer"], prompt)


class _SeesPrompt:
    """A logits processor that is called with the given prompt; transformers reads the signature of ``__call__``."""

    def __init__(self, inner: Any, prompt: Prompt) -> None:
        self._inner, self._prompt = inner, prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Any:
        return self._inner(self._prompt.restore(input_ids), scores)

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_prompt"):  # while it is being copied
            raise AttributeError(name)
        return getattr(self._inner, name)


class _StopSeesPrompt(_SeesPrompt):
    """A stopping criterion that is called with the given prompt."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **rest: Any) -> Any:
        return self._inner(self._prompt.restore(input_ids), scores, **rest)


class _StreamsPrompt:
    """A streamer whose first piece is the given prompt."""

    def __init__(self, inner: Any, prompt: Prompt) -> None:
        self._inner, self._prompt, self._first = inner, prompt, True

    def put(self, value: Tensor) -> None:
        """Hand a piece on."""
        self._inner.put(self._prompt.full.to(value.device) if self._first else value)
        self._first = False

    def end(self) -> None:
        """Hand the end on."""
        self._inner.end()


@contextmanager
def mending(model: Model, mend: Callable[[Any], Any]) -> Iterator[None]:
    """Mend the inputs of every step on their way from ``generate`` to ``forward``."""
    state = model.__dict__
    before = state.get("prepare_inputs_for_generation")
    prepare = model.prepare_inputs_for_generation
    state["prepare_inputs_for_generation"] = lambda *args, **kwargs: mend(prepare(*args, **kwargs))
    try:
        yield
    finally:
        if before is None:
            del state["prepare_inputs_for_generation"]
        else:
            state["prepare_inputs_for_generation"] = before
