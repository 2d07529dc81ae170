"""Shorter inputs without touching the model: encode, choose, and hand back a prompt like any other."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch

from tokenprune.chunk import chunk_of, has_pixels, has_strange_video
from tokenprune.complaints import warn
from tokenprune.errors import NothingPrunedWarning, UnsupportedMode
from tokenprune.family import Family, Model, family_of
from tokenprune.forwarding import consumed, short_arguments
from tokenprune.pipeline import Source, load
from tokenprune.pre_llm import shorten
from tokenprune.receipt import Receipt
from tokenprune.recording import uncut
from tokenprune.seams import check_seams, unwrapped


class PrunedInputs(UserDict[str, Any]):
    """Shorter inputs for ``model(**inputs)`` and ``model.generate(**inputs)``; ``receipt`` says what was kept.

    None: the prompt has neither images nor videos.
    """

    receipt: Receipt | None = None

    def __getitem__(self, name: str) -> Any:
        """A value; encoded images as a copy, because ``generate`` repeats them for its beams in place."""
        value = super().__getitem__(name)
        if name == "mm_encoder_outputs":
            return {kind: copy(output) for kind, output in value.items()}
        return value


def prune_inputs(
    model: Model, inputs: Mapping[str, Any], pipeline: Source = "vispruner", **changes: Any
) -> PrunedInputs:
    """Encode the images and videos of a processor's output and give inputs that are shorter; the model is not touched.

    Args:
        model: a Hugging Face vision-language model.
        inputs: what its processor returns.
        pipeline: as in `load`.
        **changes: keys of the pipeline to replace.

    Returns:
        A prompt like any other: positions are numbered anew. Without images or videos, the inputs as they are.

    Raises:
        UnsupportedMode: the pipeline keeps positions, which needs `attach`; or there are pixels without input_ids, or
            videos of a family of which only images can be pruned.
        UnknownFamily, MissingCue, AttachError: as in `attach`.
    """
    chosen, inner = load(pipeline, **changes), unwrapped(model)
    family = family_of(inner)
    if chosen.inside:
        raise UnsupportedMode(
            f"{chosen.name!r} drops tokens inside the language model, which inputs cannot say; use attach"
        )
    _check_writable(family, chosen.positions or family.positions)
    if has_strange_video(family, inputs):
        raise UnsupportedMode(
            f"videos of {type(inner).__name__} cannot be pruned, only its images; pass a prompt with a video as it is"
        )
    if not has_pixels(family, inputs):
        return PrunedInputs(inputs)
    if inputs.get("input_ids") is None or inputs.get("inputs_embeds") is not None:
        raise UnsupportedMode(f"only input_ids with pixels can be pruned; these inputs are {', '.join(inputs)}")
    check_seams(family, inner)
    with torch.no_grad():
        short = shorten(family, inner, chosen, inputs, chunk_of(family, inner, inputs, generating=False))
    gone = consumed(family, inner, inputs) | {"position_ids"}
    arguments = short_arguments(short, inputs)
    result = PrunedInputs({name: value for name, value in {**inputs, **arguments}.items() if name not in gone})
    result.receipt = short.receipt
    if message := uncut(chosen, short.receipt):
        warn(message, NothingPrunedWarning)
    return result


def _check_writable(family: Family, policy: str) -> None:
    """See whether a pruned prompt can be written into inputs.

    Raises:
        UnsupportedMode: it cannot.
    """
    if family.cross is not None:
        raise UnsupportedMode(
            "the model looks at images through cross-attention, so its inputs hold no visual tokens to leave out; use "
            "attach"
        )
    if policy == "keep":
        raise UnsupportedMode(
            "positions='keep' cannot be written into inputs, because the model numbers what it decodes by itself; "
            "use attach, or positions='renumber'"
        )
