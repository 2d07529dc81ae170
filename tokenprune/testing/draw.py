"""Tokens, splits and budgets to draw with hypothesis, and how to write tokens down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.selection import Split
from tokenprune.testing.inside import INSIDE, inside
from tokenprune.testing.values import KINDS, attention, features
from tokenprune.tokens import PIXELS, SPACES, Cue, VisualTokens

__all__ = ["DTYPES", "KINDS", "MakeCue", "as_code", "budgets", "splits", "visual_tokens"]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MakeCue = Callable[[Tensor], Tensor]
_LIMIT = 65504.0  # the largest half-precision number: what a model in half precision can hand over


@st.composite
def visual_tokens(
    draw: st.DrawFn,
    kinds: Sequence[str] = KINDS,
    reads: Iterable[str] = (),
    cues: Mapping[str, MakeCue] | None = None,
    dtypes: Sequence[torch.dtype] = DTYPES,
    device: str = "cpu",
) -> VisualTokens:
    """Tokens of every shape the framework hands out, from one row of one token on.

    Args:
        draw: given by hypothesis.
        kinds: what the features look like; see `KINDS`.
        reads: names of cues to draw, as in `Strategy.reads`; of ``"a|b"`` one, the other or both are there. Cues are
            [B, H, N] or [B, N], not negative, unless their name says what they are; see `INSIDE`.
        cues: for cues of another shape or range, name -> function of the features [B, N, C].
        dtypes: what the features may be in.
        device: where the tensors are.
    """
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    grid = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    group = draw(st.lists(st.sampled_from((0, 5, 2)), min_size=1, max_size=5))
    batch, count = len(group), grid[0] * grid[1]
    kind = draw(st.sampled_from(tuple(kinds)))
    width = draw(st.sampled_from((5, 7)))  # never the number of tokens, so that no axis is taken for another
    x = features(kind, (batch, count, width), draw(st.sampled_from(tuple(dtypes))), generator).to(device)
    if draw(st.booleans()):  # the same values, but not contiguous
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    drawn = {name: draw(_cue(name, kind, x, cues or {}, generator)) for name in draw(_names(reads))}
    valid = draw(_valid(batch, count, generator))
    rows: dict[str, Any] = {"group": torch.tensor(group)}
    rows["sample"] = rows["group"] // draw(st.sampled_from((1, 3, 6)))
    return VisualTokens(
        x,
        drawn,
        valid=None if valid is None else valid.to(device),
        **draw(_places(grid, torch.tensor(group), valid, device)),
        **({} if draw(st.booleans()) and len(set(group)) == batch else rows),
        extra=draw(st.sampled_from((None, x.new_ones(1, width)))),
    )


@st.composite
def _names(draw: st.DrawFn, reads: Iterable[str]) -> list[str]:
    """Of each ``a|b`` at least one."""
    chosen = []
    for name in sorted(reads):
        chosen += draw(st.lists(st.sampled_from(name.split("|")), min_size=1, unique=True))
    return list(dict.fromkeys(chosen))


@st.composite
def _cue(draw: st.DrawFn, name: str, kind: str, x: Tensor, made: Mapping[str, MakeCue], g: torch.Generator) -> Cue:
    kind_of_cue = name.partition("@")[0]
    if name in made:
        value = made[name](x)
    elif kind_of_cue in INSIDE:
        value = inside(kind_of_cue, kind, x, g)
    elif kind_of_cue in SPACES:  # [B, C, N], as wide as words
        value = features(kind, (x.shape[0], x.shape[1], x.shape[2]), x.dtype, g).to(x.device).mT
    elif kind_of_cue.endswith("keys"):  # [B, d, N]
        value = features(kind, (*x.shape[:2], 3), x.dtype, g).to(x.device).mT
    elif kind_of_cue == PIXELS:  # [B, L, N]
        value = attention(kind, (x.shape[0], 4, x.shape[1]), torch.float32, g).to(x.device)
    else:
        batch, count = x.shape[:2]
        shape = draw(st.sampled_from(((batch, count), (batch, 1, count), (batch, 4, count))))
        value = attention(kind, shape, draw(st.sampled_from((x.dtype, torch.float32))), g).to(x.device)
    lazy = draw(st.booleans())
    return (lambda: value) if lazy else value


@st.composite
def _valid(draw: st.DrawFn, batch: int, count: int, generator: torch.Generator) -> Tensor | None:
    share = draw(st.sampled_from((None, 1.0, 0.7, 0.3, 0.0)))
    return None if share is None else torch.rand(batch, count, generator=generator) < share


@st.composite
def _places(draw: st.DrawFn, grid: tuple[int, int], group: Tensor, valid: Tensor | None, device: str) -> dict[str, Any]:
    """No geometry, or the crops of each image one below the other, perhaps after a thumbnail with a map of its own."""
    kind = draw(st.sampled_from(("none", "crops", "thumbnail")))
    if kind == "none":
        return {}
    height, width = grid
    overview = torch.zeros(len(group), dtype=torch.bool)
    cell = torch.arange(height * width)
    place = torch.stack([cell // width, cell % width], -1).repeat(len(group), 1, 1)  # [B, N, 2]
    canvas = torch.tensor([[height, width]] * len(group))  # [B, 2]
    for image in set(group.tolist()):
        rows = (group == image).nonzero()[:, 0]
        if kind == "thumbnail" and len(rows) > 1:
            overview[rows[0]] = True
            rows = rows[1:]
        place[rows, :, 0] += torch.arange(len(rows))[:, None] * height
        canvas[rows, 0] = height * len(rows)
    if valid is not None:
        place[~valid] = -1  # padding lies outside the map
    return {"place": place.to(device), "canvas": canvas.to(device), "overview": overview}


def budgets() -> st.SearchStrategy[Budget]:
    """Budgets of every unit, as counts and as shares, with none and all among them."""
    number = st.one_of(st.sampled_from(("0%", "100%", "1", "100000")), st.integers(1, 9).map(str), _percent())
    return st.builds("{} per {}".format, number, st.sampled_from(("image", "row", "prompt"))).map(Budget.parse)


def _percent() -> st.SearchStrategy[str]:
    return st.integers(0, 1000).map(lambda tenths: f"{tenths / 10}%")


@st.composite
def splits(draw: st.DrawFn, tokens: VisualTokens, merged: bool = False) -> Split:
    """Counts that a splitter could give, with carriers if ``merged``: no row gets more than its valid tokens."""
    rows: list[tuple[int, int, int]] = []
    for count in tokens.counts.tolist():
        total = draw(st.integers(0, count))
        important = draw(st.integers(0, total))
        diverse = draw(st.integers(0, total - important)) if merged else total - important
        rows.append((important, diverse, total - important - diverse))
    return Split(*torch.tensor(rows, dtype=torch.int64).unbind(-1))


def modest(tokens: VisualTokens) -> bool:
    """Whether every number is finite and fits half precision."""
    values = (value for value in tensors(tokens).values() if value.is_floating_point())
    return all(bool((value.abs() <= _LIMIT).all()) for value in values)


def tensors(tokens: VisualTokens) -> dict[str, Tensor]:
    """Every tensor that is in there, by name; reading them leaves no trace in ``cues_read``."""
    named: dict[str, Any] = {f.name: getattr(tokens, f.name) for f in fields(tokens) if f.init and f.name != "cues"}
    named |= {f"cue {name}": cue if isinstance(cue, Tensor) else cue() for name, cue in tokens.cues.items()}
    return {name: value for name, value in named.items() if value is not None}


def as_code(tokens: VisualTokens) -> str:
    """An expression that builds the tokens again, given ``import torch`` and ``from math import inf, nan``."""
    given = tensors(tokens)
    cues = [f"{name.removeprefix('cue ')!r}: {_code(x)}" for name, x in given.items() if name.startswith("cue ")]
    rest = [f"{name}={_code(x)}" for name, x in given.items() if not name.startswith(("cue ", "features"))]
    return f"VisualTokens({', '.join([_code(given['features']), '{' + ', '.join(cues) + '}', *rest])})"


def _code(x: Tensor) -> str:
    shape = f".reshape{tuple(x.shape)}" if 0 in x.shape else ""
    return f"torch.tensor({[] if shape else _digits(x.tolist())}, dtype={x.dtype}){shape}"


def _digits(value: Any) -> Any:
    """Whole numbers without their ``.0``, so that an example is short."""
    if isinstance(value, list):
        return [_digits(one) for one in value]
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value
