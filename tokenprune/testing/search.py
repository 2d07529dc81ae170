"""Running a check: draw inputs, look for the smallest that breaks a rule, say which rule and what broke it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from torch import Tensor

from tokenprune.testing.draw import as_code, tensors
from tokenprune.tokens import VisualTokens

R = TypeVar("R")
PHASES = (Phase.generate, Phase.shrink)


def require(holds: bool | Tensor, rule: str, found: object = None) -> None:
    """One rule: what must be, and what was found instead."""
    if not bool(holds):
        raise AssertionError(rule if found is None else f"{rule}; got {found}")


def search(
    subject: object, inputs: Sequence[st.SearchStrategy[Any]], rules: Callable[..., None], examples: int
) -> None:
    """Run ``rules`` on examples of each of ``inputs``: tuples of tokens and what else the rules take.

    The examples are the same every time. One search for each sort of tokens, because hypothesis repeats itself within
    a search, and would draw half of them from the sort it met first.

    Raises:
        AssertionError: a rule is broken, or the subject raises; the message holds the smallest input that was found.
    """
    limits = settings(max_examples=examples, deadline=None, database=None, report_multiple_bugs=False, phases=PHASES)
    limits = settings(limits, suppress_health_check=list(HealthCheck))

    def trial(drawn: tuple[Any, ...]) -> None:
        _trial(subject, rules, *drawn)

    for number, drawn in enumerate(inputs):
        try:
            seed(number)(limits(given(drawn)(trial)))()
        except AssertionError as broken:
            raise AssertionError(str(broken)) from broken.__cause__  # without the notes of hypothesis
        except Flaky as problem:
            raise AssertionError(f"{subject!r} answers one input in different ways at different times") from problem


def _trial(subject: object, rules: Callable[..., None], tokens: VisualTokens, *rest: Any) -> None:
    try:
        rules(tokens, *rest)
    except AssertionError as broken:
        raise AssertionError(_report(subject, str(broken), tokens, rest)) from broken
    except Exception as problem:  # what is under test may raise anything at all
        said = f"it raises {type(problem).__name__}: {problem}"
        raise AssertionError(_report(subject, said, tokens, rest)) from problem


def _report(subject: object, rule: str, tokens: VisualTokens, rest: tuple[Any, ...]) -> str:
    others = "".join(f"\n  with {one!r}" for one in rest)
    return f"{subject!r} breaks a rule: {rule}\n  on {as_code(tokens)}{others}"


def settled(call: Callable[[VisualTokens], R], tokens: VisualTokens, same: Callable[[R, R], bool]) -> R:
    """Call twice: the same answer, nothing given is written to, the global random numbers are left alone."""
    before = {name: value.clone() for name, value in tensors(tokens).items()}
    state = torch.random.get_rng_state()
    first = call(replace(tokens))
    require(torch.equal(state, torch.random.get_rng_state()), "global random numbers are left alone; keep a seed")
    for name, value in tensors(tokens).items():
        require(alike(value, before[name]), f"what is given is not written to, but {name} was", value.tolist())
    require(same(first, call(replace(tokens))), "two calls on the same tokens give the same answer", first)
    return first


def alike(one: Tensor, other: Tensor) -> bool:
    """Same dtype, shape and values; NaN equals NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def prompts(tokens: VisualTokens) -> Iterator[Tensor]:
    """Row numbers of each prompt."""
    for sample in sorted(set(tokens.sample.tolist())):
        yield (tokens.sample == sample).nonzero()[:, 0]


def alone(tokens: VisualTokens, rows: Tensor) -> VisualTokens:
    """Some rows as a batch of their own."""
    cut = {name: value[rows.to(value.device)] for name, value in tensors(tokens).items() if name != "extra"}
    cues = {name.removeprefix("cue "): cut.pop(name) for name in list(cut) if name.startswith("cue ")}
    return VisualTokens(cues=cues, extra=tokens.extra, **cut)


def spoilt(tokens: VisualTokens) -> VisualTokens:
    """Other numbers where tokens are not valid; what is chosen among the valid ones must not depend on them."""
    if tokens.valid is None:
        return tokens
    dropped = ~tokens.valid  # [B, N]
    cues = {name: _overwrite(cue, dropped) for name, cue in tokens.cues.items()}
    return replace(tokens, features=tokens.features.masked_fill(dropped[..., None], 3.0), cues=cues)


def _overwrite(cue: Any, dropped: Tensor) -> Tensor:
    """Per-token cues only; [B, N], [B, H, N] or [B, H, R, N]."""
    value: Tensor = cue if isinstance(cue, Tensor) else cue()
    if value.shape == dropped.shape:
        return value.masked_fill(dropped, 3.0)
    if value.ndim > 2 and (len(value), value.shape[-1]) == tuple(dropped.shape):
        return value.masked_fill(dropped.view(len(value), *[1] * (value.ndim - 2), -1), 3.0)
    return value
