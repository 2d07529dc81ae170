"""An oracle of stages inside the language model: the unmodified model, whose layers do not see what has left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from tokenprune.attach import attach
from tokenprune.errors import UnsupportedMode
from tokenprune.pipeline import Pipeline, load
from tokenprune.receipt import Receipt
from tokenprune.standard_layers import reason
from tokenprune.strategy import Scorer
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import TOLERANCE, Subject, agree
from tokenprune.testing.search import require
from tokenprune.tokens import VisualTokens

Given = dict[str, Any]


@final
class LastRow(Scorer):
    """What the last token of the prompt looks at, heads alike; of ``previous`` layer or ``this`` one."""

    layer: str = "previous"

    @property
    def reads(self) -> frozenset[str]:
        """That row."""
        return frozenset({f"last_attention@{self.layer}"})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        (name,) = self.reads
        return tokens.cue(name).mean(1)


def equals_masked_layers(subject: Subject) -> str:
    """Tokens that leave before layers are as if these layers of the unmodified model could not see them."""
    depth = _depth(subject)
    call, worst = subject.call(), 0.0
    alone = subject.in_company() > TOLERANCE
    calls = [subject.call(one) for one in subject.prompts] if alone else [call]
    said = []
    for pipeline in _pipelines(depth):
        for one in calls:
            with attach(subject.model, pipeline) as pruned:
                found = subject.generate(one)
                again = subject.generate(one, use_cache=False)
                cache = subject.model.generate(**one, max_new_tokens=1, return_dict_in_generate=True).past_key_values
            assert pruned.receipt is not None
            _is_true(pruned.receipt, pipeline, cache, one["input_ids"].shape[1])
            with _blind(subject, pruned.receipt):
                oracle, own = subject.generate(one), subject.generate(one, use_cache=False)
            worst = max(worst, agree(found[1], oracle[1], f"{pipeline.name} and the layers that do not see"))
            require(torch.equal(found[0], oracle[0]), f"{pipeline.name} and the layers that do not see say the same")
            if _same(own[1], oracle[1]):
                agree(again[1], found[1], f"{pipeline.name} without cache and with it")
        said.append(pipeline.name)
    with attach(subject.model, _pipelines(depth)[-1], budget="100%"):
        whole = subject.generate(call)[1]
    require(torch.equal(whole, subject.generate(call)[1]), "at 100 % generate gives the same bits")
    return f"logits within {worst:.0e}, {', '.join(said)}"


def _same(left: Tensor, right: Tensor) -> bool:
    """Whether the unmodified model gives the same without cache."""
    return bool((left - right).abs().max() <= TOLERANCE)


def _depth(subject: Subject) -> int:
    """Layers of the language model.

    Raises:
        NotApplicable: tokens cannot leave between them, and attaching says why.
    """
    if why := reason(subject.family, subject.model):
        try:
            attach(subject.model, _pipelines(2)[0]).detach()
        except UnsupportedMode as refused:
            require(why in str(refused), "attaching says why", str(refused))
            raise NotApplicable(f"refused: {why}") from refused
        raise AssertionError("stages inside the language model are not refused")
    return len(subject.language_model.layers)


def _pipelines(depth: int) -> list[Pipeline]:
    """One stage as FastV has it, and two where there are layers for them."""
    one = {"site": {"llm_layer": 1}, "scorer": LastRow(), "budget": "25%"}
    found = [load({"name": "one stage", "stages": [one], "positions": "keep"})]
    if depth > 2:
        first, second = {**one, "budget": "50%"}, {**one, "site": {"llm_layer": 2}, "scorer": LastRow(layer="this")}
        found.append(load({"name": "two stages", "stages": [first, second], "positions": "keep"}))
    return found


def _is_true(receipt: Receipt, pipeline: Pipeline, cache: Any, length: int) -> None:
    """The budget of every image is kept at every stage, to the token; caches are as short as the receipt says."""
    for at, held in enumerate(cache.layers):
        columns = [length, *(one.columns for one in receipt.layers if one.layer <= at)][-1]
        require(held.keys.shape[-2] == columns, f"layer {at} holds {columns} columns", held.keys.shape[-2])
    for stage, layer in zip(pipeline.stages, receipt.layers, strict=True):
        assert stage.budget is not None
        for image, kept in zip(receipt.images, layer.kept, strict=True):
            asked = stage.budget.resolve(image.before)
            require(len(kept) == asked, f"layer {layer.layer} gets {asked} of {image.before} tokens", len(kept))
        require(layer.columns == max(map(len, layer.slots)), "slots are counted", layer.columns)


@contextmanager
def _blind(subject: Subject, receipt: Receipt) -> Iterator[None]:
    """Let the layers of the unmodified model see nothing of the columns that had left before them."""
    hooks = []
    for at, layer in enumerate(subject.language_model.layers):
        stages = [one for one in receipt.layers if one.layer <= at]
        if not stages:
            continue
        gone = torch.ones(len(stages[-1].slots), receipt.length, dtype=torch.bool)
        for row, slots in zip(gone, stages[-1].slots, strict=True):
            row[slots] = False
        hook = partial(_hide, at, gone, subject.language_model.config._attn_implementation == "eager")
        hooks.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hide(
    at: int, gone: Tensor, eager: bool, layer: Any, args: tuple[Any, ...], given: Given
) -> tuple[tuple[Any, ...], Given]:
    """The mask of a layer without some columns; a column still sees itself, so that nothing is undefined."""
    states, cache = args[0] if args else given["hidden_states"], given.get("past_key_values")
    count = states.shape[1]
    past = 0 if cache is None else int(cache.layers[at].get_seq_length())
    mask = given.get("attention_mask")
    place = torch.arange(past + count)
    itself = place == (past + torch.arange(count))[:, None]  # [Q, K]
    hidden = torch.zeros(len(states), past + count, dtype=torch.bool)
    hidden[:, : gone.shape[1]] = gone
    hidden = hidden[:, None, None] & ~itself
    if mask is None:
        mask = (place <= (past + torch.arange(count))[:, None])[None, None].expand(len(states), 1, -1, -1)
        if eager:
            mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    nothing: Any = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    return args, {**given, "attention_mask": mask.expand(len(states), -1, -1, -1).masked_fill(hidden, nothing)}
