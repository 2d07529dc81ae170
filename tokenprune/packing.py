"""Where the tokens of an overview and its crops arrive when a model's own code has packed them."""

from __future__ import annotations

import torch
from torch import Tensor


def shrunk(numbers: Tensor) -> bool:
    """Whether an image was interpolated between its crops: then its rows are no tokens, but mixtures of some.

    Args:
        numbers: [R, 2] float64, token numbers and their squares as they come out of the packing; -1: a newline.
    """
    number, square = numbers[numbers[:, 0] >= 0].unbind(-1)
    return bool((number**2 != square).any())  # a mean of some may be a number, but then not of their squares


def rows_of(packed: list[Tensor], crops: list[int], count: int) -> tuple[list[Tensor], list[int], int]:
    """Which token of which row each feature row is.

    Args:
        packed: [R, 2] float64 of each image, as in `shrunk`.
        crops: of each image, the overview among them.
        count: tokens of a crop.

    Returns:
        [R] int64 of each image, b * N + n, -1 for newlines; rows of each image: its crops, or the overview and the map
        of what was shrunk; and N.
    """
    rows = [2 if shrunk(one) else number for one, number in zip(packed, crops, strict=True)]
    most = max([count, *(int((one[count:, 0] >= 0).sum()) for one in packed if shrunk(one))])
    found, row, first = [], 0, 0
    for image, crop, taken in zip(packed, crops, rows, strict=True):
        numbers = image[:, 0]
        own = numbers.long() - first
        if shrunk(image):
            tokens = (numbers >= 0).cumsum(0) - 1
            own = torch.where(tokens < count, tokens, most + tokens - count)
        else:
            own = own // count * most + own % count
        found.append(torch.where(numbers < 0, -1, row * most + own))
        row, first = row + taken, first + crop * count
    return found, rows, most


def arriving(index: Tensor, rows: int, most: int) -> Tensor:
    """[B, N] bool: which of ``rows`` times ``most`` tokens arrive, where ``index`` [R] says which do."""
    there = torch.zeros(rows * most + 1, dtype=torch.bool, device=index.device)
    there[index] = True  # -1, the separators, goes to the spare last place
    return there[:-1].view(rows, most)


def placed(index: list[Tensor], rows: list[int], side: int, most: int) -> tuple[Tensor, Tensor]:
    """Place [B, N, 2] and canvas [B, 2] of every token: its line and column between the newlines.

    Args:
        index: as `rows_of` gives it.
        rows: of each image.
        side: tokens along a side of an overview.
        most: N.
    """
    count, start = side**2, 0
    place = torch.full((sum(rows) * most, 2), -1, dtype=torch.int64)
    canvas = torch.full((sum(rows), 2), side, dtype=torch.int64)
    cell = torch.stack([torch.arange(count) // side, torch.arange(count) % side], -1)
    for image, number in zip(index, rows, strict=True):
        place[start * most : start * most + count] = cell
        rest = image.cpu()[count:]
        if number > 1:
            line = (rest < 0).cumsum(0) - (rest < 0).long()
            begins = torch.cat([torch.zeros(1, dtype=torch.int64), (rest < 0).nonzero()[:, 0] + 1])
            column = torch.arange(len(rest)) - begins[line]
            real = rest >= 0
            place[rest[real]] = torch.stack([line[real], column[real]], -1)
            lines = int((rest < 0).sum()) or 1
            canvas[start + 1 : start + number] = torch.tensor([lines, int(real.sum()) // lines])
        start += number
    return place.view(-1, most, 2), canvas
