"""``generate`` of an attached model: a short prompt goes in, the given prompt comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.callbacks import Prompt, mending, show_prompt
from tokenprune.chunk import Chunk, cached, chunk_of, setting
from tokenprune.crossing import crossed_generate
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.forwarding import consumed
from tokenprune.if_inside import reads
from tokenprune.in_llm import InLlm
from tokenprune.pipeline import Pipeline
from tokenprune.pre_llm import recorded, shorten
from tokenprune.receipt import Receipt
from tokenprune.turn import Turn, remember, remembering, turn_of

Generate = Callable[..., Any]


def pruned_generate(
    family: Family,
    model: Model,
    pipeline: Pipeline,
    inside: InLlm | None,
    generate: Generate,
    call: dict[str, Any],
    *,
    images: bool,
) -> tuple[Any, Receipt | None]:
    """Run ``generate`` on the shortened prompt, or on what follows a pruned one in the cache.

    Args:
        family: the model's family.
        model: the model.
        pipeline: what chooses.
        inside: the stages inside the language model. None: there are none.
        generate: the model's own method.
        call: its keyword arguments.
        images: whether they bring images; else they go on from a pruned prompt.
    """
    _refuse(model, call, inside)
    if family.cross is not None:
        return crossed_generate(family, model, pipeline, generate, call, None if images else _turn(call))
    chunk = chunk_of(family, model, call, generating=True)
    arguments = {name: value for name, value in call.items() if name not in consumed(family, model, call)}
    short = shorten(family, model, pipeline, call, chunk) if images else None
    if short is not None:
        arguments, turn = arguments | short.call, short.turn
    else:
        arguments, turn = _text(family, arguments, chunk)
    _precede(family, arguments, chunk)
    prompt = Prompt(call["input_ids"], arguments["input_ids"])
    _lengths(model, arguments, prompt.full.shape[1] - prompt.short.shape[1])
    show_prompt(arguments, prompt)
    held, reading = remembering(call.get("past_key_values"), turn), short.reading if short else None
    with mending(model, _without_borders), held, reads(inside, reading):
        output = generate(**arguments)
    return _restored(output, prompt, turn), recorded(short, inside) if short else None


def _turn(call: Mapping[str, Any]) -> Turn:
    """The pruned prompt that a call goes on from."""
    turn = turn_of(call["past_key_values"], len(call["input_ids"]))
    assert turn is not None
    return turn


def _text(family: Family, arguments: dict[str, Any], chunk: Chunk) -> tuple[dict[str, Any], Turn]:
    """The arguments of a call that adds no images to a pruned prompt, and that prompt."""
    turn = _turn(arguments)
    assert chunk.prefix is not None
    mask = torch.cat([chunk.prefix, chunk.mask.to(chunk.prefix.dtype)], 1)
    rest = {name: value for name, value in arguments.items() if name not in family.per_token}  # text is their default
    positions = {"position_ids": chunk.positions} if family.takes_positions else {}
    return {**rest, "input_ids": chunk.ids, "attention_mask": mask, **positions}, turn


def _precede(family: Family, arguments: dict[str, Any], chunk: Chunk) -> None:
    """Put what is in the cache before what is new; ``generate`` counts from there, and reads the ids of earlier turns.

    Positions and types are those of columns that are never computed again, so that zeros do.
    """
    if chunk.prefix is None:
        return
    for name in ("position_ids", *family.per_token):
        if name in arguments:
            arguments[name] = pad(arguments[name], (chunk.prefix.shape[1], 0))
    if chunk.before is not None:
        arguments["input_ids"] = torch.cat([chunk.before, arguments["input_ids"]], 1)


def _refuse(model: Model, call: Mapping[str, Any], inside: InLlm | None) -> None:
    """Modes that would go wrong."""
    _refuse_parts(model, call, inside)
    if setting(model, call, "cache_implementation") == "paged":
        raise UnsupportedMode(
            "cache_implementation='paged' takes lists of token ids and drops the images; use 'dynamic' or 'static'"
        )
    if call.get("input_ids") is None or call.get("inputs_embeds") is not None:
        raise UnsupportedMode(
            "the cache holds a pruned prompt, and generate goes on from that with input_ids alone; pass the ids, or "
            "call the model itself with inputs_embeds"
        )
    drafts = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit")
    if cached(call) and any(setting(model, call, name) for name in drafts):
        raise UnsupportedMode(
            "assisted decoding does not go on from a cache: transformers feeds what is in it to the model once more. "
            "Leave out the assistant, or past_key_values"
        )


def _refuse_parts(model: Model, call: Mapping[str, Any], inside: InLlm | None) -> None:
    """Modes that run part of a prompt, where that goes wrong."""
    from transformers.generation import utils

    whole = ("prefill_chunk_size", "assistant_early_exit")
    if inside is not None and (name := next((one for one in whole if setting(model, call, one)), None)):
        raise UnsupportedMode(
            f"{name}={setting(model, call, name)!r} runs layers on part of a prompt, and stages inside the language "
            "model choose when it is whole; leave that out, or take a pipeline that drops tokens before it"
        )
    if (size := setting(model, call, "prefill_chunk_size")) and not hasattr(utils, "_slice_mm_encoder_output"):
        raise UnsupportedMode(
            f"prefill_chunk_size={size!r} needs transformers 5.23 or newer: an older one runs the chunks without what "
            "the images became. Leave that out, or pip install 'transformers>=5.23'"
        )


def _lengths(model: Model, arguments: dict[str, Any], shorter: int) -> None:
    """Absolute lengths keep their meaning: they count the given prompt."""
    for name, relative in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        value = setting(model, arguments, name)
        if not shorter or value is None or setting(model, arguments, relative) is not None:
            continue
        value = max(value - shorter, 0)
        if arguments.get("generation_config") is None or name in arguments:
            arguments[name] = value
        else:
            arguments["generation_config"] = deepcopy(arguments["generation_config"])
            setattr(arguments["generation_config"], name, value)


def _without_borders(inputs: Any) -> Any:
    """Mend the inputs of a run without cache."""
    if inputs.get("attention_mask") is None and inputs.get("past_key_values") is None:
        # Without mask and cache, gaps between position ids would be read as borders of packed sequences.
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


def _restored(output: Any, prompt: Prompt, turn: Turn) -> Any:
    """The output with the given prompt in front, its cache remembering what was dropped."""
    if isinstance(output, Tensor):
        return prompt.restore(output)
    output = copy(output)
    output["sequences"] = prompt.restore(output.sequences)
    if output.get("past_key_values") is not None:
        remember(output.past_key_values, turn)
    return output
