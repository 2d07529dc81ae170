"""The columns that a call adds to what is in its cache, with masks and positions as the model would make them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.turn import Turn, turn_of


@dataclass(frozen=True)
class Chunk:
    """The columns of a prompt that are not in the cache yet.

    Args:
        ids: [B, T] int64.
        mask: [B, T] int64.
        positions: [..., B or 1, T] int64, as the model would make them for the unpruned prompt.
        prefix: [B, P] int64, attention mask of what is in the cache, in the cache's own count. None: no cache.
        stays: [B, Q] bool, columns before the chunk and whether they are in the cache. None: no cache.
        shift: [..., B] int64, by how much ``positions`` are smaller already than on the full prompt.
        before: [B, P] int64, the ids in the cache. None: no cache, or the call does not bring them.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    prefix: Tensor | None = None
    stays: Tensor | None = None
    shift: Tensor | None = None
    before: Tensor | None = None


def setting(model: Model, call: Mapping[str, Any], name: str) -> Any:
    """What ``generate`` goes by: an argument, else the given configuration, else the model's."""
    for value in (call.get(name), getattr(call.get("generation_config"), name, None)):
        if value is not None:
            return value
    return getattr(model.generation_config, name, None)


def pad_id(model: Model) -> int:
    """What fills the gaps of a short prompt; it is masked, so any id does."""
    pad = getattr(model, "generation_config", None) and model.generation_config.pad_token_id
    return int(pad if isinstance(pad, int) else pad[0]) if pad else 0


def cached(call: Mapping[str, Any]) -> int:
    """Tokens in the cache that a call brings."""
    cache = call.get("past_key_values")
    return int(cache.get_seq_length()) if cache is not None else 0


def chunk_of(family: Family, model: Model, call: Mapping[str, Any], *, generating: bool) -> Chunk:
    """Read the new columns off a call.

    Args:
        family: the model's family.
        model: the model.
        call: the keyword arguments. ``generate`` takes the whole conversation, ``forward`` only what is new.
        generating: which of the two it is; they make position ids differently.

    Raises:
        UnsupportedMode: the attention mask is not two-dimensional, or does not fit.
    """
    ids, mask, cache = call["input_ids"], call.get("attention_mask"), call.get("past_key_values")
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise UnsupportedMode(f"the attention mask is {shape}; a pruned prompt needs the 2-D one, [batch, length]")
    if generating and mask is None:
        mask = _inferred_mask(model, call)
    past = cached(call)
    turn = turn_of(cache, len(ids)) if past else None
    count = past + (turn.dropped if turn else 0)
    before = None
    if generating and count and (mask is None or mask.shape[1] == ids.shape[1]):
        before, ids = ids[:, :count], ids[:, count:]
    new = ids.shape[1]
    here = torch.ones_like(ids) if mask is None else mask[:, -new:]
    if turn is None and mask is not None and mask.shape != (want := (len(ids), past + new)):
        raise UnsupportedMode(f"the attention mask is {tuple(mask.shape)}; for this prompt it must be {want}")
    if turn is not None:
        before = None if before is None else turn.short_ids(before, pad_id(model))
        return _continued(turn, call, ids, here, mask, before)
    positions = _positions(family, model, {**call, "attention_mask": mask}, generating, past + new)[..., -new:]
    if not past:
        return Chunk(ids, here, positions)
    prefix = torch.ones(len(ids), past, dtype=here.dtype, device=ids.device) if mask is None else mask[:, :past]
    return Chunk(ids, here, positions, prefix, prefix.bool(), before=before)


def _continued(
    turn: Turn, call: Mapping[str, Any], ids: Tensor, here: Tensor, mask: Tensor | None, before: Tensor | None
) -> Chunk:
    """The columns after a pruned prompt."""
    new, cache = ids.shape[1], call["past_key_values"]
    short = turn.short_mask(mask, cache, new)
    positions = turn.positions(short, new)
    if call.get("position_ids") is not None:
        positions = call["position_ids"][..., -new:] - turn.shift[..., None]
    prefix = short[:, :-new]
    stays = torch.cat([turn.stays, prefix[:, turn.mask.shape[1] :].bool()], 1)
    return Chunk(ids, here, positions, prefix, stays, turn.shift, before)


def _inferred_mask(model: Model, call: Mapping[str, Any]) -> Tensor:
    """What ``generate`` reads off the ids when it is given no mask: padding ids are padding, unless they end a text."""

    def ids_of(name: str) -> list[int]:
        value = setting(model, call, name)
        return [] if value is None else [value] if isinstance(value, int) else list(value)

    ids, pad, eos = call["input_ids"], ids_of("pad_token_id"), ids_of("eos_token_id")
    if not pad or set(pad) & set(eos):
        return torch.ones_like(ids)
    mask: Tensor = ids != pad[0]
    return mask.long()


def _positions(family: Family, model: Model, call: Mapping[str, Any], generating: bool, length: int) -> Tensor:
    """[..., B or 1, length] position ids of the unpruned prompt, exactly as the model makes them in this call."""
    if call.get("position_ids") is not None:
        given: Tensor = call["position_ids"]
        return given
    ids = call["input_ids"]
    if generating:
        made: Tensor = model._prepare_position_ids_for_generation(ids, dict(call))
        return made
    axes = _axes(model.base_model, call) if hasattr(model.base_model, "compute_3d_position_ids") else None
    if axes is not None:
        return axes
    return torch.arange(family.first_position, family.first_position + length, device=ids.device)[None]


def _axes(base: Any, call: Mapping[str, Any]) -> Tensor | None:
    """[A, B, T] position ids along several axes, if the model makes such for this call."""
    ids = call["input_ids"]
    given = {**call, "inputs_embeds": torch.empty(*ids.shape, 0, device=ids.device), "past_key_values": None}
    if (sound := call.get("feature_attention_mask")) is not None:
        given["audio_feature_lengths"] = sound.sum(-1)  # which is how forward gets it
    names = inspect.signature(base.compute_3d_position_ids).parameters
    made: Tensor | None = base.compute_3d_position_ids(**{name: given.get(name) for name in names})
    return made


def has_text_row(model: Model, positions: Tensor) -> bool:
    """Whether the first axis of position ids counts text, one more than the axes that the rotary embedding has."""
    if positions.ndim == 2:
        return False
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    return positions.shape[0] == len(rope.get("mrope_section") or (0, 0, 0)) + 1


def _pixels(family: Family) -> tuple[str, ...]:
    """The arguments that carry what this family takes; read in compiled graphs, so kept plain."""
    return family.pixels + (family.video.pixels if family.video is not None else ())


def has_pixels(family: Family, call: Mapping[str, Any]) -> bool:
    """Whether a call brings images, or videos that this family takes, to encode."""
    return any(call.get(name) is not None for name in _pixels(family))


def has_encoded(family: Family, call: Mapping[str, Any]) -> bool:
    """Whether a call brings images that are encoded already."""
    states = None if family.cross is None else call.get(family.cross.states)
    return bool(call.get("mm_encoder_outputs")) or states is not None


def has_strange_video(family: Family, call: Mapping[str, Any]) -> bool:
    """Whether a call brings a video that this family is not said to take."""
    strange = [
        value for name, value in call.items() if "video" in name and "pixel" in name and name not in _pixels(family)
    ]
    return any(value is not None for value in strange)


def bound(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name, those of ``**kwargs`` among them."""
    signature = inspect.signature(function)
    named = signature.bind(*args, **kwargs).arguments
    loose = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    rest = named.pop(loose, {})
    return {**named, **rest}
