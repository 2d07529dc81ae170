"""A direct call of an attached model: scoring, loss, hand-written decode loops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.chunk import cached, chunk_of
from tokenprune.crossing import crossed_forward
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.if_inside import reads
from tokenprune.in_llm import InLlm
from tokenprune.pipeline import Pipeline
from tokenprune.pre_llm import Short, recorded, shorten
from tokenprune.receipt import Receipt
from tokenprune.turn import Turn, forget, remember, remembering, turn_of

Forward = Callable[..., Any]


def pruned_forward(
    family: Family, model: Model, pipeline: Pipeline, inside: InLlm | None, forward: Forward, call: dict[str, Any]
) -> tuple[Any, Receipt | None]:
    """Run ``forward`` on the shortened call; its logits come back at the columns of the given one."""
    if family.cross is not None:
        output, receipt = crossed_forward(family, model, pipeline, forward, {**call, "return_dict": True}, None)
        return (output if _wants_dict(model, call) else output.to_tuple()), receipt
    if "logits_to_keep" not in inspect.signature(type(model).forward).parameters:
        call = {name: value for name, value in call.items() if name != "logits_to_keep"}  # the model gives them all
    short = shorten(family, model, pipeline, call, chunk_of(family, model, call, generating=False))
    arguments = {name: value for name, value in call.items() if name not in consumed(family, model, call)}
    arguments |= short_arguments(short, call)
    whole = short.columns.identity and short.reading is None
    back = None if whole else _Back.of(short, call)
    if back is not None and back.some:
        arguments["logits_to_keep"] = back.have
    with remembering(call.get("past_key_values"), short.turn), reads(inside, short.reading):
        output = forward(**{**arguments, "return_dict": True})
    if back is not None:
        dropped = None if short.reading is None else ~short.reading.left[-1].rows.stays
        output["logits"] = short.columns.scatter(output.logits, back.wanted, back.have, dropped)
    if output.get("past_key_values") is not None:
        remember(output.past_key_values, short.turn)
    return (output if _wants_dict(model, call) else output.to_tuple()), recorded(short, inside)


def short_arguments(short: Short, call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that replace those of the full call."""
    arguments = dict(short.call)
    if short.columns.identity and call.get("attention_mask") is None:
        del arguments["attention_mask"]  # nothing was dropped, so the model may do without as it would have
    return arguments


def continued_forward(family: Family, model: Model, pipeline: Pipeline, forward: Forward, call: dict[str, Any]) -> Any:
    """Decode after a pruned prompt: mask and positions are mapped onto what the cache holds; some models count anew."""
    turn = continues(call)
    assert turn is not None
    if family.cross is not None:
        return crossed_forward(family, model, pipeline, forward, call, turn)[0]
    new = _given(call).shape[1]
    mask = turn.short_mask(call.get("attention_mask"), call["past_key_values"], new)
    positions = turn.positions(mask, new) if family.takes_positions else None
    if call.get("position_ids") is not None:
        positions = call["position_ids"] - turn.shift[..., None]
    return forward(**{**call, "attention_mask": mask, "position_ids": positions})


def continues(call: Mapping[str, Any]) -> Turn | None:
    """The pruned prompt that a call goes on from; a cache that is empty forgets what it held before."""
    if cached(call) and (call.get("input_ids") is not None or call.get("inputs_embeds") is not None):
        return turn_of(call["past_key_values"], len(_given(call)))
    forget(call.get("past_key_values"))
    return None


def _given(call: Mapping[str, Any]) -> Tensor:
    """[B, T] ids or [B, T, C] embeddings."""
    given: Tensor = call["input_ids"] if call.get("input_ids") is not None else call["inputs_embeds"]
    return given


def consumed(family: Family, model: Model, call: Mapping[str, Any]) -> set[str]:
    """Arguments that only the vision encoder reads; it has run."""
    every = [(one, inspect.signature(getattr(model.base_model, one.method))) for one in family.modalities.values()]
    names = {one.renamed.get(name, name) for one, signature in every for name in signature.parameters}
    return names & call.keys()


@dataclass(frozen=True)
class _Back:
    """How logits come back to the columns of the full call.

    Args:
        wanted: [B, W] int64, the full columns whose logits are asked for.
        have: [K] int64 ascending, the short columns whose logits are computed.
        some: whether that is not all of them.
    """

    wanted: Tensor
    have: Tensor
    some: bool

    @classmethod
    def of(cls, short: Short, call: Mapping[str, Any]) -> _Back:
        """Read ``logits_to_keep`` off the full call: a number of last columns, columns [W] or [B, W], or 0 for all.

        Raises:
            UnsupportedMode: it is a mask, whose logits have no columns to come back to.
        """
        keep: int | Tensor = call.get("logits_to_keep", 0)
        batch, length = call["input_ids"].shape
        full = torch.arange(length, device=call["input_ids"].device).expand(batch, -1)  # [B, L]
        if isinstance(keep, int):
            every = torch.arange(short.columns.source.shape[1], device=full.device)
            return cls(full[:, -keep:], short.columns.short(full[:, -keep:]) if keep else every, some=bool(keep))
        if keep.ndim > 1 and keep.dtype == torch.bool:
            raise UnsupportedMode(
                "logits_to_keep is a mask [batch, length]; a pruned prompt gives logits by column, so pass a number of "
                "last columns or the columns themselves"
            )
        wanted = full[:, keep] if keep.ndim == 1 else full.take_along_dim(keep, 1)
        return cls(wanted, short.columns.short(wanted), some=True)


def _wants_dict(model: Model, call: Mapping[str, Any]) -> bool:
    wish = call.get("return_dict")
    return bool(model.config.return_dict if wish is None else wish)
