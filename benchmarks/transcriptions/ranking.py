"""Methods that choose by scores alone."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from transcriptions.problem import Problem, mask_of


def fastervlm(problem: Problem) -> Tensor:
    """The highest attention."""
    return mask_of([row.mean(0).topk(problem.keep).indices for row in problem.cls], problem.count)


def hiprune(problem: Problem) -> Tensor:
    """Anchors by a middle layer, the cells around them, and the rest by the output layer."""
    (height, width), rows = problem.grid, []
    for middle, last in zip(problem.early.mean(1), problem.received.mean(1), strict=True):
        anchors = middle.topk(int(problem.keep * 0.02)).indices.tolist()
        kept = list(anchors)
        for anchor in anchors:
            y, x = divmod(anchor, width)
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if 0 <= y + down < height and 0 <= x + right < width:
                    cell = (y + down) * width + x + right
                    if cell not in kept and len(kept) < problem.keep:
                        kept.append(cell)
        rest = last.index_fill(0, torch.tensor(kept, dtype=torch.int64), -torch.inf)
        kept += rest.topk(problem.keep - len(kept)).indices.tolist()
        rows.append(torch.tensor(kept))
    return mask_of(rows, problem.count)


def holov(problem: Problem) -> Tensor:
    """Sixteen stretches share the budget by their mean attention; each gives its highest tokens."""
    starts = [-(-one * problem.count // 16) for one in range(17)]
    rows = []
    for score in problem.cls.mean(1):
        parts = [score[first:end] for first, end in pairwise(starts)]
        mean = torch.stack([part.mean() for part in parts])
        share = mean / mean.sum() * problem.keep
        quota = share.floor().long()
        quota[(share - quota).topk(problem.keep - int(quota.sum())).indices] += 1
        kept = [first + part.topk(int(n)).indices for first, part, n in zip(starts, parts, quota, strict=False)]
        rows.append(torch.cat(kept))
    return mask_of(rows, problem.count)


def globalcom2(problem: Problem) -> Tensor:
    """The thumbnail says what share of its tokens each crop keeps, and helps it to choose them."""
    (height, width), each = problem.grid, problem.batch // problem.images
    scores, rows, share = problem.logits.mean(1), [], problem.keep / problem.count
    for first in range(0, problem.batch, each):
        thumbnail = scores[first].view(height, width)
        rows.append(scores[first].topk(problem.keep).indices)
        if each == 1:
            continue
        ends = [-(-crop * width // (each - 1)) for crop in range(each)]
        seen = torch.stack([thumbnail[:, left:right].sum() for left, right in pairwise(ends)])
        p = ((seen - seen.max()) / 10).softmax(0)
        scales = (share * (1 + p - p.mean())).clamp(max=1)
        size = (height, width * (each - 1))
        chart = interpolate(thumbnail[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        for crop in range(each - 1):
            own, other = scores[first + 1 + crop], chart[:, crop * width : (crop + 1) * width].flatten()
            score = own / own.norm() + other / other.norm()
            rows.append(score.topk(int(problem.count * float(scales[crop]))).indices)
    return mask_of(rows, problem.count)


def globalcom2_sequence(problem: Problem) -> tuple[Tensor, Tensor]:
    """The same, and then what goes to the language model, written token by token as the released code does.

    The thumbnail's tokens, then those of the crops in the reading order of the whole map, a newline after each line;
    without the newlines, so that it can be compared.
    """
    (height, width), each = problem.grid, problem.batch // problem.images
    mask, sequence = globalcom2(problem), []
    for first in range(0, problem.batch, each):
        sequence += [problem.features[first, token] for token in mask[first].nonzero()[:, 0].tolist()]
        for y in range(height):
            for x in range(width * (each - 1)):
                crop, token = first + 1 + x // width, y * width + x % width
                if mask[crop, token].item():
                    sequence.append(problem.features[crop, token])
    return mask, torch.stack(sequence)
