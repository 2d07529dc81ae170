"""Methods that choose one token after the other, by what was chosen before."""

from __future__ import annotations

import torch
from torch import Tensor

from transcriptions.problem import Problem, mask_of, unit_of

STEP = 8


def vispruner(problem: Problem) -> Tensor:
    """Half by attention; of the rest, round by round, tokens at even places that repeat one at an odd place go."""
    half = problem.keep // 2
    rows = []
    for features, attention in zip(problem.features, problem.cls, strict=True):
        order = attention.mean(0).argsort(descending=True, stable=True)
        listed, end = order[half:], problem.keep - half
        while len(listed) > end:
            even, odd = listed[::2], listed[1::2]
            drop = min(STEP, len(listed) - end, len(even))
            nearest = (unit_of(features[even]) @ unit_of(features[odd]).T).amax(1)
            listed = torch.cat([even[nearest.argsort(descending=True, stable=True)[drop:]], odd])
        rows.append(torch.cat([order[:half], listed]))
    return mask_of(rows, problem.count)


def divprune(problem: Problem) -> Tensor:
    """Each pick is the token whose smallest distance to the picked ones is largest."""
    rows = []
    for features in problem.features:
        unit = unit_of(features)
        distance = 1 - unit @ unit.T
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            worst = distance.topk(2, dim=0, largest=False).values[1] if turn == 0 else distance[picks[:turn]].amin(0)
            picks[turn] = worst.argmax()
        rows.append(picks)
    return mask_of(rows, problem.count)


def cdpruner(problem: Problem) -> Tensor:
    """Greedy inference of a determinantal point process whose kernel is weighed by relevance."""
    rows = []
    for features, words in zip(problem.features, problem.words, strict=True):
        unit = unit_of(features)
        score = (unit_of(words) @ unit.T).mean(0)
        relevance = (score - score.min() + 1e-6) / (score.max() - score.min())
        kernel = relevance[:, None] * (unit @ unit.T) * relevance
        left, factor = kernel.diagonal().clone(), torch.zeros(problem.keep, len(unit))
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            pick = picks[turn] = left.argmax()
            factor[turn] = (kernel[pick] - factor[:turn, pick] @ factor[:turn]) / left[pick].sqrt()
            left -= factor[turn] ** 2
            left[pick] = -torch.inf
        rows.append(picks)
    return mask_of(rows, problem.count)


def scope(problem: Problem) -> Tensor:
    """Each pick is the token that covers most of what is not covered yet, times its attention."""
    rows = []
    for features, attention in zip(problem.features, problem.cls, strict=True):
        unit, saliency = unit_of(features), attention.mean(0)
        similarity = unit @ unit.T
        cover, left = torch.zeros(len(unit), 1), torch.ones(len(unit), dtype=torch.bool)
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            gain = (similarity - cover).clamp(min=0).sum(0) * saliency
            pick = picks[turn] = gain.where(left, -torch.inf).argmax()
            cover = torch.maximum(cover, similarity[:, pick, None])
            left[pick] = False
        rows.append(picks)
    return mask_of(rows, problem.count)


def mmtok(problem: Problem) -> Tensor:
    """Each pick covers most of the other tokens and of the words of the question that is not covered yet."""
    rows = []
    for features, words in zip(problem.features, problem.words, strict=True):
        unit = unit_of(features)
        tokens = (unit @ unit.T / 0.2).softmax(0) / len(unit)
        reach = torch.cat([tokens, 2 * (unit @ unit_of(words).T / 0.02).softmax(0) / len(words)], 1)  # [N, N + M]
        cover, left = torch.zeros(1, reach.shape[1]), torch.ones(len(unit), dtype=torch.bool)
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            pick = picks[turn] = (reach - cover).clamp(min=0).sum(1).where(left, -torch.inf).argmax()
            cover = torch.maximum(cover, reach[pick])
            left[pick] = False
        rows.append(picks)
    return mask_of(rows, problem.count)


def agilepruner(problem: Problem) -> Tensor:
    """By falling attention; each pick puts out what is nearer than a threshold that grows with the effective rank."""
    rows = []
    for features, attention in zip(problem.features, problem.cls, strict=True):
        unit = unit_of(features)
        share = torch.linalg.svdvals(unit)
        share = share / share.sum()
        rank = (-share * share.log()).sum().exp()
        distance, score = 1 - unit @ unit.T, attention.mean(0)
        left, waiting = score.clone(), score.clone()
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            pick = left.argmax()
            if left[pick] == -torch.inf:
                pick = waiting.argmax()
            picks[turn] = pick
            left[distance[pick] < min(1.0, 0.01 * (turn + 1) * float(rank) / 100)] = -torch.inf
            left[pick] = waiting[pick] = -torch.inf
        rows.append(picks)
    return mask_of(rows, problem.count)


def id_selection(problem: Problem) -> Tensor:
    """The highest score, again and again; scores fall by exp(-cosine^2 / sigma)."""
    rows = []
    for features, attention in zip(problem.features, problem.cls, strict=True):
        unit = unit_of(features)
        similarity, score = (unit @ unit.T).clamp(min=0), attention.mean(0)
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            pick = picks[turn] = score.argmax()
            score = score * (-(similarity[pick] ** 2) / 0.5).exp()
            score[picks[: turn + 1]] = -torch.inf
        rows.append(picks)
    return mask_of(rows, problem.count)


def adaptprune(problem: Problem) -> Tensor:
    """The highest score, again and again; scores of tokens that are alike and near fall."""
    place = torch.cartesian_prod(torch.arange(problem.grid[0]), torch.arange(problem.grid[1])).float()
    rows = []
    for features, attention in zip(problem.features, problem.cls, strict=True):
        unit = unit_of(features)
        similarity, away, score = unit @ unit.T, torch.cdist(place, place), attention.mean(0)
        picks = torch.empty(problem.keep, dtype=torch.int64)
        for turn in range(problem.keep):
            pick = picks[turn] = score.argmax()
            alike = (-((1 - similarity[pick]) ** 2) / (2 * 0.05**2)).exp()
            near = (-(away[pick] ** 2) / (2 * 1.5**2)).exp() * (away[pick] <= 5)
            score = score * (1 - alike * near)
            score[picks[: turn + 1]] = -torch.inf
        rows.append(picks)
    return mask_of(rows, problem.count)
