"""Both loops as their papers write them: one row, similarity anew in every round, and every decision replaceable.

Slow and obvious on purpose. With other decisions passed in they are the mistakes that a test has to notice.
"""

import torch


def halves(listed):
    return listed[::2], listed[1::2]


def nearest(similarity):
    """[M] of [M, K]; nothing to be near to is least similar of all."""
    return similarity.amax(1) if similarity.shape[1] else similarity.new_full(similarity.shape[:1], -torch.inf)


def falling(values):
    return sorted(range(len(values)), key=lambda place: -values[place])


def joined(even, odd):
    return even + odd


def thin(unit, listed, end, step, halves=halves, nearest=nearest, falling=falling, joined=joined):
    """The list of tokens before each round of near-duplicate removal, and after the last.

    Args:
        unit: [N, C] float64 of length one or zero.
        listed: tokens in order.
        end: how many stay.
        step: how many go in a round.
    """
    lists = [list(listed)]
    while len(lists[-1]) > end:
        even, odd = halves(lists[-1])
        drop = min(step, len(even) + len(odd) - end, len(even))
        order = falling(nearest(unit[even] @ unit[odd].T).tolist())
        lists.append(joined([even[place] for place in order[drop:]], odd))
    return lists


def crowding(similarity):
    """[M] similarity to the nearest of K picked ones, from [M, K]."""
    return similarity.amax(1)


def lowest(values):
    return min(range(len(values)), key=lambda token: values[token])


def pick(unit, count, pool=None, kept=(), again=False, first=None, crowding=crowding, lowest=lowest):
    """``count`` tokens of ``pool`` by farthest-point choice, in order.

    Args:
        unit: [N, C] float64 of length one or zero.
        count: how many.
        pool: tokens to pick from. None: all.
        kept: tokens that are kept already.
        again: whether a picked token may be picked once more.
        first: the first pick. None: the token whose nearest other is farthest.
    """
    pool = list(range(len(unit))) if pool is None else list(pool)
    picks, similarity = [], unit @ unit.T
    for _ in range(count):
        near = list(kept) + picks
        if near:
            values = crowding(similarity[:, near])
        else:
            values = similarity[:, pool].masked_fill(torch.eye(len(unit)).bool()[:, pool], -torch.inf).amax(1)
        legal = [token for token in pool if again or token not in picks]
        found = legal[lowest(values[legal].tolist())]
        picks.append(found if near or first is None else first)
    return picks


def unit_of(features):
    """[..., C] float64 of length one; a vector that has no direction is zero."""
    x = features.double()
    return (x / x.norm(dim=-1, keepdim=True)).nan_to_num(0, 0, 0)
