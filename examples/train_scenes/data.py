"""What a stage trains on. A batch is a function of its number alone: a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model import GRID, PATCH, VISUAL, to_patches
from tokenprune.scenes import SETS, Scene, Sign, Thing, draw
from tokenprune.scenes.dice import Dice
from tokenprune.scenes.grounds import BACKGROUNDS
from tokenprune.scenes.scene import COLORS, REGIONS
from tokenprune.scenes.shapes import SHAPES

SIGN = len(SHAPES) + 1  # the class after the shapes; 0 is nothing
WINDOW = 6  # patches
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Share:
    """Which part of every batch a process draws: ``size`` scenes at each step, from scene ``first`` of ``seed`` on."""

    size: int
    rank: int = 0
    processes: int = 1
    first: int = 0
    seed: int = 1

    def scenes(self, step: int) -> Iterator[Scene]:
        """The scenes of a step; sparse and crowded take turns."""
        start = self.first + (step * self.processes + self.rank) * self.size
        return (draw(index, SETS[index % 2], self.seed) for index in range(start, start + self.size))


def batches(make: Callable[[int], Any], start: int, steps: int, workers: int) -> DataLoader[Any]:
    """``make(start)`` to ``make(steps - 1)`` in order, drawn ahead by worker processes."""
    return DataLoader(_Numbered(make, steps), batch_size=None, sampler=range(start, steps), num_workers=workers)


class _Numbered(Dataset[Any]):
    def __init__(self, make: Callable[[int], Any], steps: int) -> None:
        self._make, self._steps = make, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Any:
        return self._make(step)


def pixels(scene: Scene) -> NDArray[np.float32]:
    """``[3, 128, 128]`` in [-1, 1], as the processor of the checkpoint gives them."""
    return np.moveaxis(np.asarray(scene.image, dtype=np.float32), -1, 0) / 127.5 - 1


def first_patches(seed: int, scenes: int = 400) -> Tensor:
    """Pixels of patches ``[scenes * 256, 192]``, for the start of the patch embedding."""
    drawn = Share(scenes, seed=seed).scenes(0)
    return to_patches(torch.from_numpy(np.stack([pixels(scene) for scene in drawn])))


def _classes(item: Thing | Sign) -> tuple[int, int, int, int]:
    """Shape, colour and two digits as classes; 0 is none."""
    if isinstance(item, Sign):
        return SIGN, 0, int(item.number[0]) + 1, int(item.number[1]) + 1
    return SHAPES.index(item.shape) + 1, list(COLORS).index(item.color) + 1, 0, 0


def patch_labels(scene: Scene) -> NDArray[np.int64]:
    """Shape, colour, two digits, region and background of what each patch shows: ``[16, 16, 6]``.

    The region is the whole thing's, wherever its patch lies.
    """
    items = [(*_classes(item), REGIONS.index(item.region) + 1) for item in scene.items]
    table = np.array([*items, (0, 0, 0, 0, 0)])  # the last row: background, index -1
    ground = np.full((GRID, GRID, 1), BACKGROUNDS.index(scene.background))
    return np.concatenate([table[scene.map()], ground], axis=-1)


def caption_labels(scene: Scene) -> NDArray[np.int64]:
    """What a caption would say: shape and colour in the nine regions, two digits, background: ``[21]``."""
    regions = np.zeros((len(REGIONS), 2), dtype=np.int64)
    digits = np.zeros(2, dtype=np.int64)
    for item in scene.items:
        shape, color, tens, ones = _classes(item)
        regions[REGIONS.index(item.region)] = shape, color
        digits += (tens, ones)
    return np.array([*regions.ravel(), *digits, BACKGROUNDS.index(scene.background)])


def image_batch(share: Share, step: int) -> Batch:
    """Whole images ``[B, 3, 128, 128]`` with ``patches`` ``[B, 256, 6]`` and ``caption`` ``[B, 21]``."""
    scenes = list(share.scenes(step))
    return {
        "pixels": torch.from_numpy(np.stack([pixels(scene) for scene in scenes])),
        "patches": torch.from_numpy(np.stack([patch_labels(scene) for scene in scenes])).flatten(1, 2),
        "caption": torch.from_numpy(np.stack([caption_labels(scene) for scene in scenes])),
    }


def window_batch(share: Share, step: int, each: int = 3) -> Batch:
    """Windows of 6 x 6 patches around things, at most ``each`` of a scene: ``[B, 3, 48, 48]``.

    ``patches`` ``[B, 36, 6]``, ``center`` ``[B, 4]`` (classes of the thing in the middle) and ``positions`` ``[B, 37]``
    (rows of the tower's position table).
    """
    windows: list[tuple[Any, ...]] = []
    for scene in share.scenes(step):
        dice = Dice(share.seed, scene.index, len(SETS))
        things: list[Thing | Sign] = list(dice.shuffled(scene.things))
        items = [scene.sign, *things] if scene.sign else things
        windows.extend(_window(scene, item, dice) for item in items[:each])
        if len(windows) >= share.size:
            break
    names = ("pixels", "patches", "center", "positions")
    columns = zip(*windows[: share.size], strict=True)
    return {name: torch.from_numpy(np.stack(column)) for name, column in zip(names, columns, strict=True)}


def _window(scene: Scene, item: Thing | Sign, dice: Dice) -> tuple[Any, ...]:
    top, left = (_corner(dice, at) for at in (item.y, item.x))
    rows, columns = slice(top, top + WINDOW), slice(left, left + WINDOW)
    part = slice(top * PATCH, (top + WINDOW) * PATCH), slice(left * PATCH, (left + WINDOW) * PATCH)
    numbers = np.arange(VISUAL).reshape(GRID, GRID)[rows, columns].ravel()
    return (
        pixels(scene)[:, part[0], part[1]],
        patch_labels(scene)[rows, columns].reshape(-1, 6),
        np.array(_classes(item)),
        np.concatenate([[0], numbers + 1]),
    )


def _corner(dice: Dice, at: float) -> int:
    """The first patch of a window around a pixel: half of them are off centre by up to one patch."""
    shift = dice.whole(-1, 1) if dice.chance(0.5) else 0
    return min(max(round(at / PATCH) - WINDOW // 2 + shift, 0), GRID - WINDOW)


def maker(make: Callable[..., Batch], share: Share, *settings: int) -> Callable[[int], Batch]:
    """``make`` as a function of the step alone."""
    return _Maker(make, share, settings)


@dataclass(frozen=True)
class _Maker:
    make: Callable[..., Batch]
    share: Share
    settings: tuple[int, ...]

    def __call__(self, step: int) -> Batch:
        return self.make(self.share, step, *self.settings)
