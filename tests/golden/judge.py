"""Judge each decision in float64, given the state that an implementation itself had reached.

On inputs where rounding decides, two right implementations part ways at the first near-tie and never meet again, so
comparing what they end with says nothing. A decision is right when nothing better by more than ``eps`` was left.
Every function returns complaints; none means right.
"""

from itertools import pairwise

EPS = 5e-7  # four units of rounding in float32


def top(scores, mask, eps=EPS):
    """Whether ``mask`` [N] holds the largest of ``scores`` [N]."""
    if mask.all() or not mask.any():
        return []
    worst, best = scores[mask].min(), scores[~mask].max()
    return [] if worst >= best - eps else [f"keeps {worst} and drops {best}"]


def thinning(unit, lists, end, step, eps=EPS):
    """Whether each list of tokens is a right round after the one before; ``unit`` [N, C] float64."""
    complaints = [] if len(lists[-1]) == end else [f"ends with {len(lists[-1])} tokens, not {end}"]
    for turn, (before, after) in enumerate(pairwise(lists)):
        complaints += [f"round {turn}: {what}" for what in _round(unit, before, after, end, step, eps)]
    return complaints


def _round(unit, before, after, end, step, eps):
    even, odd = before[::2], before[1::2]
    stay = len(even) - min(step, len(before) - end, len(even))
    if len(after) != stay + len(odd) or after[stay:] != odd or not set(after[:stay]) <= set(even):
        return [f"{len(before)} tokens become {len(after)}, of which {after[:stay]} should be even and the rest odd"]
    nearest = (unit @ unit[odd].T).amax(1)
    kept, gone = nearest[after[:stay]], nearest[sorted(set(even) - set(after[:stay]))]
    complaints = []
    if stay and (kept[1:] > kept[:-1] + eps).any():
        complaints.append("what is left does not stand by falling similarity")
    if stay and len(gone) and gone.min() < kept.max() - eps:
        complaints.append(f"drops similarity {gone.min()} and keeps {kept.max()}")
    return complaints


def picks(unit, order, eps=EPS):
    """Whether each of ``order`` was farthest from those before it; ``unit`` [N, C] float64."""
    similarity = unit @ unit.T
    others = similarity.clone().fill_diagonal_(-float("inf")).amax(1)
    complaints = [] if others[order[0]] <= others.min() + eps else [f"starts with {order[0]}"]
    for turn in range(1, len(order)):
        near = similarity[:, order[:turn]].amax(1)
        left = [token for token in range(len(unit)) if token not in order[:turn]]
        if order[turn] in order[:turn] or near[order[turn]] > near[left].min() + eps:
            complaints.append(f"pick {turn} is {order[turn]} at {near[order[turn]]}, with {near[left].min()} left")
    return complaints
