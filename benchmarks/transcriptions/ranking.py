"""Methods that choose by scores alone."""

from __future__ import annotations

import math
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


def globalcom2_choice(problem: Problem) -> Tensor:
    """The thumbnail says what share of its tokens each crop keeps, and helps it to choose them: the formulas alone."""
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


def globalcom2(problem: Problem) -> tuple[Tensor, Tensor]:
    """The same by the steps of the released code: sums token by token, and what is kept written so into a whole map.

    Then what the language model gets: of each image the thumbnail's tokens, and those of the crops in the reading order
    of the whole map, a newline (zeros here) after each of its lines. The thumbnail's are left in their order, where the
    released code has them by score. Nothing is padded here, so that all tokens of a crop are within the image.
    """
    scores, each, found = problem.logits.mean(1), problem.batch // problem.images, []
    mask = torch.zeros(problem.batch, problem.count, dtype=torch.bool)
    for first in range(0, problem.batch, each):
        best = scores[first].argsort(descending=True, stable=True)[: problem.keep]
        mask[first, best] = True
        found.append(problem.features[first][best.sort().values])
        if each > 1:
            crops = slice(first + 1, first + each)
            scales = _scales(problem, scores[first], each - 1)
            mask[crops], told = _written(problem, scores[first], scores[crops], problem.features[crops], scales)
            found.append(told)
    return mask, torch.cat(found)


def _scales(problem: Problem, thumbnail: Tensor, crops: int) -> list[float]:
    """What share of its tokens each crop keeps, from sums over its tile of the thumbnail."""
    (_, width), sums = problem.grid, [0.0] * crops
    for place, score in enumerate(thumbnail):
        sums[place % width * crops // width] += score.item()
    weight = [math.exp((one - max(sums)) / 10) for one in sums]
    share, mean = problem.keep / problem.count, 1 / crops
    return [min(1.0, share * (1 + one / (sum(weight) + 1e-8) - mean)) for one in weight]


def _written(
    problem: Problem, thumbnail: Tensor, scores: Tensor, features: Tensor, scales: list[float]
) -> tuple[Tensor, Tensor]:
    """[R, N] what stays of R crops side by side, and [L, C] their part of the sequence."""
    (height, width), (crops, count, channels) = problem.grid, features.shape
    size = (height, width * crops)
    chart = interpolate(thumbnail.view(1, 1, height, width), size=size, mode="bilinear", align_corners=False)[0, 0]
    inside = torch.ones(crops, count, dtype=torch.bool)
    final, stays = torch.zeros(crops, count, channels), torch.zeros(crops, count, dtype=torch.bool)
    for crop, scale in enumerate(scales):
        x, own = features[crop][inside[crop]], scores[crop][inside[crop]]
        other = chart[:, crop * width : (crop + 1) * width].flatten()
        best = (own / own.norm() + other / other.norm()).topk(int(count * scale)).indices
        kept = x[best]
        for nth, token in enumerate(best):
            if token < count:
                final[crop, token] = kept[nth]
                stays[crop, token] = True
    whole = final.view(crops, height, width, channels).permute(3, 1, 0, 2).flatten(2)  # [C, h, R w]
    whole = torch.cat([whole, torch.zeros(channels, height, 1)], 2).flatten(1).T
    there = stays.view(crops, height, width).permute(1, 0, 2).flatten(1)  # [h, R w]
    there = torch.cat([there, torch.ones(height, 1, dtype=torch.bool)], 1).flatten()
    return stays, whole[there]
