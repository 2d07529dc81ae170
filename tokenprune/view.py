"""Which of an encoder's outputs are tokens, and where they lie on the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import Config, Family, Model, tower_of


class Settings:
    """The model's config, with what this call overrides."""

    def __init__(self, config: Config, call: Mapping[str, Any]) -> None:
        self._config, self._call = config, call

    def __getattr__(self, name: str) -> Any:
        value = self._call.get(name)
        return getattr(self._config, name) if value is None else value


@dataclass(frozen=True)
class View:
    """Which of an image's feature rows are tokens: ``low`` to ``high`` of ``length``; the rest is a CLS token."""

    length: int
    low: int
    high: int
    cls: str | None
    skipped: int
    grid: tuple[int, int] | None

    @classmethod
    def of(cls, family: Family, model: Model, call: Mapping[str, Any], length: int) -> View:
        """The view of images that give ``length`` feature rows each."""
        settings = Settings(model.config, call)
        _, spec = tower_of(family, model)
        dropped = bool(family.drops_first(settings))
        low = int(spec.cls == "first" and not dropped)
        high = length - int(spec.cls == "last")
        return cls(length, low, high, spec.cls, int(dropped and spec.cls != "first"), family.grid(settings))

    def patches(self, cue: Tensor) -> Tensor:
        """[..., S] over the encoder's sequence to [..., N] over the tokens."""
        if self.cls == "first":
            return cue[..., 1:]
        return cue[..., self.skipped : cue.shape[-1] - int(self.cls == "last")]

    def geometry(self, images: int, device: torch.device) -> dict[str, Any]:
        """Place and canvas of every token, if the family has a grid that fits."""
        count = self.high - self.low
        if self.grid is None or self.grid[0] * self.grid[1] != count + self.skipped:
            return {"place": None, "canvas": None}
        cell = torch.arange(self.skipped, self.skipped + count, device=device)
        place = torch.stack([cell // self.grid[1], cell % self.grid[1]], -1).expand(images, -1, -1)  # [B, N, 2]
        return {"place": place, "canvas": torch.tensor(self.grid, device=device).expand(images, -1)}

    def index(self, images: int, device: torch.device) -> Tensor:
        """[R] the token behind each feature row, -1 for the CLS token."""
        count = self.high - self.low
        index = torch.full((images, self.length), -1, dtype=torch.int64, device=device)
        index[:, self.low : self.high] = torch.arange(images * count, device=device).view(images, count)
        return index.flatten()
