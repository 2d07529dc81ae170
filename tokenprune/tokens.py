"""The tokens that travel through a pipeline, with their cues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import MissingCue
from tokenprune.ranks import at_hand
from tokenprune.ranks import leading as leading
from tokenprune.ranks import ranking as ranking
from tokenprune.ranks import top as top

Cue = Tensor | Callable[[], Tensor]
TEXT = frozenset({"question", "question_ids"})  # of a row's prompt: [B, M, C], zero where shorter; [B, M, 1], -1 there
SPACES = frozenset({"encoder", "projected"})  # the tokens' vectors in a space: [B, C, N], as those of keys
PIXELS = "grey_histogram"  # shares of the levels of grey among a token's pixels: [B, 256, N]
OF_NO_LAYER = TEXT | SPACES | {PIXELS}


@dataclass(frozen=True)
class VisualTokens:
    """One rectangle of visual tokens; a row is a crop, a frame, a tile or a whole image.

    Args:
        features: [B, N, C] what similarity is measured on.
        cues: signals by name, ``NAME`` or ``NAME@LAYER``; a callable is called at most once, on first use.
            Per-token cues are [B, N] or [B, H, N], those of `SPACES` and `PIXELS` [B, C, N]; of `TEXT` [B, M, ...].
        valid: [B, N] bool, false where a token never reaches the language model. None: all do.
        place: [B, N, 2] int (y, x) in the unpadded map of the image. None: no geometry (resamplers).
        canvas: [B, 2] int (height, width) of that map.
        group: [B] int on the host, the image or video a row belongs to. Default: each row is its own.
        sample: [B] int on the host, the prompt a row belongs to. Default: ``group``.
        overview: [B] bool on the host, thumbnail rows.
        marked: [B] bool on the host, frames between markers of their own, which should not be empty.
        extra: [E, C] vectors that are never selected (the CLS token).
    """

    features: Tensor
    cues: Mapping[str, Cue] = field(default_factory=dict)
    valid: Tensor | None = None
    place: Tensor | None = None
    canvas: Tensor | None = None
    group: Tensor = None  # type: ignore[assignment]  # filled in below
    sample: Tensor = None  # type: ignore[assignment]
    overview: Tensor | None = None
    extra: Tensor | None = None
    marked: Tensor | None = None
    _memo: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 3:
            raise ValueError(f"features are [B, N, C]; got {(*self.features.shape,)}. Add the row axis with x[None].")
        rows = torch.arange(len(self.features)) if self.group is None else self.group.cpu()
        object.__setattr__(self, "group", rows)
        object.__setattr__(self, "sample", rows if self.sample is None else self.sample.cpu())
        batch, count = self.shape
        wanted = {"valid": (batch, count), "place": (batch, count, 2), "canvas": (batch, 2)}
        for name in ("valid", "place", "canvas", "group", "sample", "overview", "marked"):
            value = getattr(self, name)
            if value is not None:
                self._check(name, value, wanted.get(name, (batch,)))

    def _check(self, name: str, value: Tensor, wanted: tuple[int, ...]) -> None:
        if value.shape != wanted:
            raise ValueError(
                f"{name} is {tuple(value.shape)}; with features {tuple(self.features.shape)} it must be {wanted}"
            )
        if value.dtype != torch.bool and name in ("valid", "overview", "marked"):
            raise ValueError(f"{name} is {value.dtype}; it must be torch.bool, as {name}.bool() gives")

    @classmethod
    def on_grid(cls, features: Tensor, grid: tuple[int, int], **rest: Any) -> VisualTokens:
        """Rows that are full rectangles in reading order.

        Args:
            features: [B, h * w, C].
            grid: (h, w).
            **rest: the other fields.
        """
        height, width = grid
        batch, count = features.shape[:2]
        if height * width != count:
            raise ValueError(f"a grid of {height} x {width} holds {height * width} tokens; features have {count} a row")
        cell = torch.arange(count, device=features.device)
        place = torch.stack([cell // width, cell % width], -1).expand(batch, -1, -1)  # [B, N, 2]
        canvas = torch.tensor([height, width], device=features.device).expand(batch, -1)
        return cls(features, place=place, canvas=canvas, **rest)

    @property
    def shape(self) -> tuple[int, int]:
        """(B, N)."""
        return self.features.shape[0], self.features.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.features.device

    @property
    def grid(self) -> tuple[int, int] | None:
        """(h, w) when every row is the same full rectangle in reading order, else None. Reads back from the device."""
        if self.place is None or self.canvas is None or not len(self.canvas):
            return None
        height, width = (int(side) for side in self.canvas[0])
        if height * width != self.shape[1] or (self.valid is not None and not bool(self.valid.all())):
            return None
        want = VisualTokens.on_grid(self.features, (height, width))
        same = torch.equal(self.place, want.place) and torch.equal(self.canvas, want.canvas)  # type: ignore[arg-type]
        return (height, width) if same else None

    @property
    def counts(self) -> Tensor:
        """[B] int64 on the host: valid tokens in each row. Read back from the device once, if ``valid`` is given."""
        if "counts" not in self._memo:
            batch, count = self.shape
            full = torch.full((batch,), count, dtype=torch.int64)
            self._memo["counts"] = full if self.valid is None else self.valid.sum(-1).cpu()
        return self._memo["counts"]  # type: ignore[no-any-return]

    @property
    def unit(self) -> Tensor:
        """[B, N, C] float32, features with norm one. One that is zero, or not finite, is zero: similar to nothing."""
        if "unit" not in self._memo:
            self._memo["unit"] = unit_vectors(self.features)
        return self._memo["unit"]  # type: ignore[no-any-return]

    def unit_of(self, rows: slice) -> Tensor:
        """[b, N, C] the same of some rows; remembered only if that is all: so a few at a time stay in a CPU's cache."""
        if "unit" in self._memo or rows.indices(len(self.features)) == (0, len(self.features), 1):
            return self.unit[rows]
        return unit_vectors(self.features[rows])

    def cue(self, name: str) -> Tensor:
        """The cue called ``name``; ``"a|b"`` means the first of them that is there.

        Raises:
            MissingCue: this model gives none of them.
        """
        found = next((one for one in name.split("|") if one in self.cues), None)
        if found is None:
            there = ", ".join(sorted(self.cues)) or "none"
            raise MissingCue(f"no cue {name.replace('|', ' or ')!r} here; there is: {there}")
        if ("cue", found) not in self._memo:
            value = self.cues[found]
            self._memo["cue", found] = value if isinstance(value, Tensor) else value()
        return self._memo["cue", found]  # type: ignore[no-any-return]

    @property
    def cues_read(self) -> tuple[str, ...]:
        """Names of the cues that were read so far, in order."""
        return tuple(key[1] for key in self._memo if isinstance(key, tuple))


def unit_vectors(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors of norm one along ``dim``, float32. One that is zero, or not finite, is zero: similar to nothing."""
    x = vectors.float()
    # Across rows of memory a norm is several times slower than its formula.
    norm: Tensor = x.norm(dim=-1, keepdim=True) if dim == -1 else x.square().sum(dim, keepdim=True).sqrt()
    if at_hand(norm) and norm.isfinite().all():  # as they mostly are; it saves a pass over them
        return x / norm.masked_fill(norm == 0, torch.inf)
    return (x / norm).nan_to_num_(0, 0, 0)  # what has no direction: 0 / 0, inf / inf, NaN
