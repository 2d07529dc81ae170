"""Cells of frames against torch's own pooling and interpolation."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from tokenprune.frames import blocks, halved

SIDES = [(1, 1), (2, 2), (3, 5), (4, 6), (5, 4), (27, 27), (24, 24)]


def pooled(cells, frame):
    """[h, w] the tokens of a frame of numbers."""
    values = frame.flatten()[cells.patches]
    made = values.mean(-1) if cells.weights is None else (values * cells.weights).sum(-1)
    return made.view(cells.grid)


@pytest.mark.parametrize("patches", SIDES)
def test_halved_is_bilinear(patches):
    frame = torch.randn(patches, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = [(patches[0] + 1) // 2, (patches[1] + 1) // 2]
    wanted = interpolate(frame[None, None], size=size, mode="bilinear")[0, 0]
    cells = halved(patches)
    assert cells.grid == tuple(size)
    assert cells.of == patches[0] * patches[1]
    assert torch.allclose(pooled(cells, frame), wanted, atol=1e-6)
    assert torch.allclose(cells.weights.sum(-1), torch.ones(len(cells.patches)))


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("patches", [one for one in SIDES if min(one) >= 3])
def test_blocks_are_average_pooling(patches, side):
    frame = torch.randn(patches, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cells = blocks(patches, side)
    assert torch.allclose(pooled(cells, frame), avg_pool2d(frame[None, None], side)[0, 0])
    assert cells.of == patches[0] * patches[1]
