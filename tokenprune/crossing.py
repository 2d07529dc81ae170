"""Calls of an attached model that looks at images through cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.callbacks import mending
from tokenprune.chunk import Chunk, chunk_of, has_encoded, setting
from tokenprune.cross_attention import CrossAttention, Kept, encode_crossed, repeat_rows
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model, submodule
from tokenprune.modality import Part, Visuals
from tokenprune.pipeline import Pipeline
from tokenprune.pre_llm import receipt_of, timed
from tokenprune.receipt import Receipt
from tokenprune.turn import Turn, remember


@dataclass
class Crossing:
    """One call on its way through the language model.

    Args:
        family: the model's family.
        model: the model.
        kept: the columns that stay. None: all.
        full: the encoder's states as the model's own code makes them. None: the images are in the cache.
        prompts: how many the call brings.
        cache: the cache of the call, once it is known.
        states: what the language model was given last.
    """

    family: Family
    model: Model
    kept: Kept | None
    full: Tensor | None = None
    prompts: int = 0
    cache: Any = None
    states: Tensor | None = None

    @property
    def cross(self) -> CrossAttention:
        """How the language model is handed images."""
        assert self.family.cross is not None
        return self.family.cross

    def given(self, call: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """The call with states of ``rows`` sequences in place of pixels.

        Where nothing is dropped, repeated prompts are encoded as the model itself would have, to the bit.
        """
        assert self.full is not None
        if self.states is None or len(self.states) != rows:
            if self.kept is None:
                self.states = self.full if rows == self.prompts else self.cross.encode(self.model.base_model, call)
            else:
                self.states = repeat_rows(self.kept.cut(self.full), rows)
        return {**call, **dict.fromkeys(self.cross.pixels), self.cross.states: self.states}

    def encoded_once(self, inputs: Any) -> Any:
        """Inputs of one step of ``generate``, with states where there were pixels."""
        pixels = inputs.get(self.cross.pixels[0])
        return inputs if pixels is None else self.given(inputs, len(pixels))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Cut the mask of every run of the language model that belongs to this call."""
        language = submodule(self.model.base_model, self.family.language_model)
        with ExitStack() as stack:
            if self.kept is not None:
                stack.callback(language.register_forward_pre_hook(self._enters, with_kwargs=True).remove)
            yield

    def _enters(self, _: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache, states = given.get("past_key_values"), given.get(self.cross.states)
        if (states is None or states is not self.states) and (cache is None or cache is not self.cache):
            return args, given  # somebody else's, from inside a callback
        self.cache = cache
        assert self.kept is not None
        new = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]  # [B, Q, ...]
        kept, mask = self.kept.repeated(len(new)), given.get(self.cross.mask)
        if mask is None:  # every slot sees all that is kept; without a mask, SDPA would take it for a causal one
            dtype = next(self.model.parameters()).dtype
            mask = new.new_zeros(len(new), 1, new.shape[1], int(kept.index.max()) + 1, dtype=dtype)
        width = self._width(cache) or kept.index.shape[1]
        return args, {**given, self.cross.mask: kept.cut_mask(mask, width)}

    def _width(self, cache: Any) -> int | None:
        """Columns of a buffer of fixed size. None: it grows with what it is given."""
        layer = self.cross.layers(self.model.config)[0]
        if cache is None or layer >= len(cache.layers):
            return None
        found: int | None = getattr(cache.layers[layer], "max_cache_len", None)
        return found


def crossed_generate(
    family: Family,
    model: Model,
    pipeline: Pipeline,
    generate: Callable[..., Any],
    call: dict[str, Any],
    turn: Turn | None,
) -> tuple[Any, Receipt | None]:
    """Run ``generate`` on the columns that stay, or on those that are in the cache.

    Args as in `pruned_generate`; ``turn`` is the pruned prompt that the call goes on from. None: it brings images.
    """
    if setting(model, call, "prefill_chunk_size"):
        raise UnsupportedMode("chunked prefill would encode the images once a chunk; leave out prefill_chunk_size")
    crossing, turn, receipt = _begun(family, model, pipeline, call, turn, generating=True)
    with crossing.running(), mending(model, crossing.encoded_once):
        output = generate(**call)
    if (cache := getattr(output, "past_key_values", call.get("past_key_values"))) is not None:
        remember(cache, turn)
    return output, receipt


def crossed_forward(
    family: Family,
    model: Model,
    pipeline: Pipeline,
    forward: Callable[..., Any],
    call: dict[str, Any],
    turn: Turn | None,
) -> tuple[Any, Receipt | None]:
    """Run ``forward``; arguments as in `crossed_generate`."""
    crossing, turn, receipt = _begun(family, model, pipeline, call, turn, generating=False)
    given = call if crossing.full is None else crossing.given(call, crossing.prompts)
    with crossing.running():
        output = forward(**given)
    if (cache := getattr(output, "past_key_values", call.get("past_key_values"))) is not None:
        remember(cache, turn)
    return output, receipt


def _begun(
    family: Family, model: Model, pipeline: Pipeline, call: dict[str, Any], turn: Turn | None, *, generating: bool
) -> tuple[Crossing, Turn, Receipt | None]:
    if turn is not None:
        return Crossing(family, model, turn.cross, cache=call["past_key_values"]), turn, None
    if has_encoded(family, call):
        raise UnsupportedMode("a call brings pixels or encoded images, not both; leave one of them out")
    _refuse_second(family, model, call.get("past_key_values"))
    chunk, clock = chunk_of(family, model, call, generating=generating), dict[str, float]()
    with timed(clock, "encode"):
        encoded, there = encode_crossed(family, model, call, pipeline)
    with timed(clock, "select"), torch.no_grad():
        selection = pipeline.select(encoded.tokens)
    part = Part("image", "image", family, there, encoded)
    rows = part.rows(selection, pipeline.separators) & there.flatten()
    stays = rows.view(there.shape)
    kept = None if bool((stays == there).all()) else Kept.of(stays)
    if kept is not None:
        _refuse_empty(stays, there)
    turn = _turn(chunk, kept)
    positions, separators = pipeline.positions or family.positions, int((rows & (encoded.index < 0)).sum())
    receipt = receipt_of(positions, model, pipeline, Visuals.alone(part), selection, turn, separators, clock)
    states, merge = encoded.output, part.merge(selection)
    if merge is not None:
        states = merge.apply(states.reshape(-1, states.shape[-1])).view_as(states)
    return Crossing(family, model, kept, states, len(chunk.ids)), turn, receipt


def _turn(chunk: Chunk, kept: Kept | None) -> Turn:
    """Every column of the text stays."""
    mask = chunk.mask if chunk.prefix is None else torch.cat([chunk.prefix, chunk.mask.to(chunk.prefix.dtype)], 1)
    following = (chunk.positions[..., -1] + 1).expand(len(mask))
    return Turn(mask.bool(), mask, following, torch.zeros_like(following), kept)


def _refuse_second(family: Family, model: Model, cache: Any) -> None:
    assert family.cross is not None
    layers = family.cross.layers(model.config)
    if cache is not None and any(int(cache.get_seq_length(at)) for at in layers if at < len(cache.layers)):
        raise UnsupportedMode(
            "the cache holds images, and this call brings more; ask again from the start, with all images and an empty "
            "cache"
        )


def _refuse_empty(stays: Tensor, there: Tensor) -> None:
    nothing = ~stays.any(-1)
    if bool((nothing & there.any(-1)).any()):
        raise UnsupportedMode("nothing is left of the images of a prompt; keep a token, or the CLS tokens")
    if bool(nothing.any()):
        raise UnsupportedMode(
            f"prompt {', '.join(map(str, nothing.nonzero()[:, 0].tolist()))} has no image, and the model lets it look "
            "at what pads those of the others; ask it by itself"
        )
