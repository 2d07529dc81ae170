"""Judge greedy choices by formulas as their papers write them: one row, one step at a time, in float64."""

import torch
from golden.plain import unit_of
from strategies.problems import free, marks

from tokenprune_strategies import greedy


def picked(monkeypatch, part, problem):
    """What ``part`` chooses [B, N], and its picks in order [B, T]."""
    found, real = [], greedy.mask

    def mask(index, counts, size):
        found.extend(row[:count].tolist() for row, count in zip(index, counts, strict=True))
        return real(index, counts, size)

    with monkeypatch.context() as patch:
        patch.setattr(greedy, "mask", mask)
        chosen = part.choose(*problem)
    return chosen, found or [[]] * len(chosen)


def complaints(monkeypatch, part, problem, gains, eps=1e-4):
    """What is wrong with the choice: each pick must be one of the largest gains, given those before; none means right.

    Args:
        monkeypatch: of pytest.
        part: a diversifier.
        problem: (tokens, scores, kept, split).
        gains: function of (unit [N, C], scores [N], tokens that are there, picks, row) that gives [N] in float64.
        eps: how much smaller than the largest a gain may be, relative to it above one.
    """
    tokens, scores, kept, split = problem
    chosen, orders = picked(monkeypatch, part, problem)
    wrong = []
    for nth, (order, count) in enumerate(zip(orders, split.diverse.tolist(), strict=True)):
        there = range(tokens.shape[1]) if tokens.valid is None else tokens.valid[nth].nonzero()[:, 0].tolist()
        unit, worth = unit_of(tokens.features[nth]), scores[nth].double()
        held = sorted(kept[nth].nonzero()[:, 0].tolist(), key=lambda token: -worth[token])
        left, start = free(tokens, kept, nth), len(held) if count else 0
        if order[:start] != held[:start] or not torch.equal(chosen[nth], marks(order[start:], tokens.shape[1])):
            wrong.append(f"row {nth} keeps {held}, picks {order} and chooses {chosen[nth].nonzero()[:, 0].tolist()}")
        for step in range(start, start + count):
            found = gains(unit, worth, list(there), order[:step], nth)
            best = max(float(found[token]) for token in left)
            if order[step] not in left or float(found[order[step]]) < best - eps * max(1, abs(best)):
                wrong.append(f"row {nth}: pick {step} is {order[step]} with {found[order[step]]}; there is {best}")
            left = [token for token in left if token != order[step]]
    return wrong


def scaled(scores, there):
    """[N] from 0 for the lowest to 1 for the highest of the tokens that are ``there``; all one if they are the same."""
    low, high = scores[there].min(), scores[there].max()
    return (scores - low) / (high - low) if high > low else torch.ones_like(scores)
