"""What an attachment asks of its stages inside the language model, if it has any."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tokenprune.errors import UnsupportedMode
from tokenprune.in_llm import InLlm
from tokenprune.levels import levels_of
from tokenprune.reading import Reading


def reads(inside: InLlm | None, reading: Reading | None) -> AbstractContextManager[None]:
    """`InLlm.reads`, where there is one."""
    return nullcontext() if inside is None else inside.reads(reading)


def part(inside: InLlm | None, call: Mapping[str, Any]) -> AbstractContextManager[None]:
    """`InLlm.part`, where there is one."""
    return nullcontext() if inside is None else inside.part(call)


def check_levels(inside: InLlm | None, cache: Any) -> None:
    """See whether what a cache remembers is what these stages leave.

    Raises:
        UnsupportedMode: other stages made it.
    """
    layers = [level.layer for level in levels_of(cache)]
    if not set(layers) <= set(() if inside is None else inside.stages):
        raise UnsupportedMode(
            f"the cache holds a prompt of which tokens left before layers {', '.join(map(str, layers))} of the "
            "language model, and the pipeline that is attached has other stages; attach the one that made it, or start "
            "with an empty cache"
        )


def detached(inside: InLlm | None) -> None:
    """`InLlm.remove`, where there is one."""
    if inside is not None:
        inside.remove()
