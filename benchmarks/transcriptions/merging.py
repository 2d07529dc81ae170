"""Methods after which some tokens stand for several."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from transcriptions.problem import Problem, mask_of, unit_of

Merged = tuple[Tensor, Tensor]


def _slots(rows: list[Tensor], vectors: list[Tensor], count: int) -> Merged:
    """Masks, and vectors by rising slot, from the slots of each row and their vectors."""
    by_slot = [x[slot.argsort()] for slot, x in zip(rows, vectors, strict=True)]
    return mask_of(rows, count), torch.stack(by_slot)


def _dominant_and_contextual(problem: Problem, contextual: int) -> Merged:
    """Dominant tokens by attention; of the rest every so manieth is a centre, to which the mean of the others that are
    most similar to it is added. Tokens are taken out of the batch by masks over all channels, as published."""
    x, metric, batch = problem.features, problem.mean_keys.mT, problem.batch
    count, width = problem.count, problem.width
    dominant = problem.keep - contextual
    best = problem.cls.sum(1).topk(dominant, dim=1).indices
    rest = torch.ones(batch, count, dtype=torch.bool).scatter_(1, best, False)
    first = x.masked_select(~rest[..., None]).view(batch, dominant, width)
    left = x.masked_select(rest[..., None]).view(batch, count - dominant, width)
    here = unit_of(metric.masked_select(rest[..., None]).view(batch, count - dominant, -1))
    step = max(1, (count - dominant) // contextual)
    centres = torch.arange(0, count - dominant, step)[:contextual]
    others = ~torch.isin(torch.arange(count - dominant), centres)
    nearest = (here[:, others] @ here[:, centres].mT).argmax(2)
    assigned = torch.zeros(batch, int(others.sum()), contextual).scatter_(2, nearest[..., None], 1)
    mean = assigned.mT @ left[:, others] / assigned.sum(1)[..., None].clamp(min=1)
    new = left[:, centres] + mean
    places = rest.nonzero()[:, 1].view(batch, -1)[:, centres]
    mask = (~rest).scatter(1, places, True)
    slots = torch.cat([best.sort(dim=1).values, places], 1).argsort(dim=1)
    vectors = torch.cat([first, new], 1)
    return mask, vectors.gather(1, slots[..., None].expand(-1, -1, width))


def visionzip(problem: Problem) -> Merged:
    return _dominant_and_contextual(problem, int(problem.keep * 0.15625 + 0.5))


def visiondrop(problem: Problem) -> Merged:
    return _dominant_and_contextual(problem, int(problem.keep * 0.125 + 0.5))


def _with_neighbours(problem: Problem, kept: Tensor, row: int, residual: int) -> tuple[Tensor, Tensor]:
    """Slots and vectors of one row: each kept token and its 32 most similar ones by attention, one for the rest."""
    x, keys, weight = problem.features[row], unit_of(problem.keys[row].T), problem.cls[row].mean(0)
    similar = keys[kept] @ keys.T
    similar[torch.arange(len(kept)), kept] = -torch.inf
    near = similar.topk(min(32, problem.count - 1), dim=1).indices  # [T, 32]
    new = x[kept] + (weight[near][..., None] * x[near]).sum(1)
    if not residual:
        return kept, new
    rest = torch.ones(problem.count, dtype=torch.bool)
    rest[kept] = False
    last = weight.masked_fill(~rest, -torch.inf).argmax()[None]
    return torch.cat([kept, last]), torch.cat([new, (weight[rest][:, None] * x[rest]).sum(0, keepdim=True)])


def prumerge(problem: Problem) -> Merged:
    """As many as stand out of the attention, at most the budget, and one for the rest."""
    rows, vectors = [], []
    for row, weight in enumerate(problem.cls.mean(1)):
        low, high = weight.quantile(torch.tensor([0.25, 0.75]))
        wish = min(int((weight > high + 1.5 * (high - low)).sum()), problem.keep - 1)
        slots, new = _with_neighbours(problem, weight.topk(wish).indices, row, 1)
        rows.append(slots)
        vectors.append(new[slots.argsort()])
    return mask_of(rows, problem.count), torch.cat(vectors)


def prumerge_plus(problem: Problem) -> Merged:
    """A quarter by attention, evenly spread ones besides, and one in a hundred for the rest."""
    rows, vectors, residual = [], [], int(problem.keep * 0.01 + 0.5)
    for row, weight in enumerate(problem.cls.mean(1)):
        best = weight.topk(problem.keep // 4).indices
        free = torch.ones(problem.count, dtype=torch.bool)
        free[best] = False
        free = free.nonzero()[:, 0]
        count = problem.keep - len(best) - residual
        spread = free[torch.arange(count) * len(free) // count]
        slots, new = _with_neighbours(problem, torch.cat([best, spread]), row, residual)
        rows.append(slots)
        vectors.append(new)
    return _slots(rows, vectors, problem.count)


def vscan(problem: Problem) -> Merged:
    """Half by attention, half the best of windows of an early layer, and the others folded into the nearest by mean."""
    (height, width), half = problem.grid, problem.keep // 2
    across = -(-width // 6)
    y, x = torch.arange(height)[:, None] // 6, torch.arange(width) // 6
    window = (y * across + x).flatten()
    rows, vectors = [], []
    for features, last, early in zip(problem.features, problem.cls.mean(1), problem.early.mean(1), strict=True):
        best = last.topk(half).indices
        behind = torch.empty(problem.count, dtype=torch.int64)
        for one in range(int(window.max()) + 1):
            inside = (window == one).nonzero()[:, 0]
            behind[inside[early[inside].argsort(descending=True)]] = torch.arange(len(inside))
        place = torch.empty(problem.count).scatter_(0, early.argsort(), torch.arange(problem.count).float())
        local = place / problem.count / 2 - behind
        local[best] = -torch.inf
        kept = torch.cat([best, local.topk(problem.keep - half).indices]).sort().values
        rest = torch.ones(problem.count, dtype=torch.bool)
        rest[kept] = False
        unit = unit_of(features)
        nearest = (unit[rest] @ unit[kept].T).argmax(1)
        total = features[kept].index_add(0, nearest, features[rest])
        size = torch.ones(len(kept)).index_add(0, nearest, torch.ones(len(nearest)))
        rows.append(kept)
        vectors.append(total / size[:, None])
    return _slots(rows, vectors, problem.count)


def vflowopt(problem: Problem) -> Merged:
    """The highest attention received; what is dropped is recycled by cells of the map, weighted by score."""
    height, width = problem.grid
    carriers = int(problem.keep * 0.016 + 0.5)
    side = (problem.count / carriers) ** 0.5
    y, x = torch.cartesian_prod(torch.arange(height), torch.arange(width)).T
    cell = (y / side).long() * width + (x / side).long()
    rows, vectors = [], []
    for features, score in zip(problem.features, problem.received.mean(1), strict=True):
        order = score.argsort(descending=True, stable=True)
        kept, dropped = order[: problem.keep - carriers], order[problem.keep - carriers :]
        heads, new = [], []
        for label in cell[dropped].unique():
            inside = dropped[cell[dropped] == label]  # by falling score
            weight = score[inside] / score[inside].sum()
            heads.append(inside[0])
            new.append((weight[:, None] * features[inside]).sum(0))
        heads, new = torch.stack(heads), torch.stack(new)
        first = score[heads].argsort(descending=True, stable=True)[:carriers]
        rows.append(torch.cat([kept, heads[first]]))
        vectors.append(torch.cat([features[kept], new[first]]))
    return _slots(rows, vectors, problem.count)


def vmtc(problem: Problem) -> Merged:
    """Half by attention, half the means of clusters of the rest, by ten rounds of Lloyd's algorithm."""
    clusters = int(problem.keep * 0.5 + 0.5)
    rows, vectors = [], []
    for features, score in zip(problem.features, problem.cls.mean(1), strict=True):
        kept = score.topk(problem.keep - clusters).indices
        rest = torch.ones(problem.count, dtype=torch.bool)
        rest[kept] = False
        rest = rest.nonzero()[:, 0]
        x, seeds = unit_of(features[rest]), torch.arange(0, len(rest), len(rest) // clusters)[:clusters]
        centres = x[seeds]
        for turn in range(11):
            slot = torch.cdist(x, centres).argmin(1)
            slot[seeds] = torch.arange(clusters)
            size = slot.bincount(minlength=clusters)[:, None]
            source = x if turn < 10 else features[rest]
            centres = torch.zeros(clusters, source.shape[1]).index_add(0, slot, source) / size
        rows.append(torch.cat([kept, rest[seeds]]))
        vectors.append(torch.cat([features[kept], centres]))
    return _slots(rows, vectors, problem.count)


def tome(problem: Problem) -> Merged:
    """Rounds of bipartite soft matching until the budget is left."""
    rows, vectors = [], []
    for features, keys in zip(problem.features, problem.mean_keys.mT, strict=True):
        x, metric, size, place = features, unit_of(keys), torch.ones(problem.count, 1), torch.arange(problem.count)
        while len(x) > problem.keep:
            pairs = min(len(x) - problem.keep, len(x) // 2)
            unit = unit_of(metric)
            value, partner = (unit[::2] @ unit[1::2].T).max(1)
            order = value.argsort(descending=True, stable=True)
            gone, into = order[:pairs], partner[order[:pairs]]

            def merged(y: Tensor, gone: Tensor = gone, into: Tensor = into) -> Tensor:
                y = y.clone()
                y[1::2] = y[1::2].index_add(0, into, y[::2][gone])
                return y

            left = torch.ones(len(x), dtype=torch.bool)
            left[2 * gone] = False
            total, weight = merged(x * size), merged(size)
            x, metric, place = (total / weight)[left], merged(metric)[left], place[left]
            size = weight[left]
        rows.append(place)
        vectors.append(x)
    return _slots(rows, vectors, problem.count)


def llavolta(problem: Problem) -> Merged:
    """Runs of tokens in order become their mean."""
    run = problem.count // problem.keep
    pooled = avg_pool1d(problem.features.mT, run).mT
    slots = torch.arange(problem.keep) * run + (run - 1) // 2
    return mask_of([slots] * problem.batch, problem.count), pooled
