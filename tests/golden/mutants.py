"""Plausible mistakes. A test that lets one pass is no test."""

import torch
from golden.plain import pick, thin


def unsorted(values):
    """Drops the right tokens, and leaves the others in the order they had."""
    by_similarity = sorted(range(len(values)), key=lambda place: -values[place])
    return by_similarity[:8] + sorted(by_similarity[8:])


THINNING = {
    "odd places are thinned": {"halves": lambda listed: (listed[1::2], listed[::2])},
    "the list is cut in the middle": {"halves": lambda x: (x[: (len(x) + 1) // 2], x[(len(x) + 1) // 2 :])},
    "mean similarity": {"nearest": lambda similarity: similarity.mean(1)},
    "the least similar go": {"falling": lambda values: sorted(range(len(values)), key=lambda place: values[place])},
    "what is left keeps its order": {"falling": unsorted},
    "what is left stands by rising similarity": {"joined": lambda even, odd: even[::-1] + odd},
    "odd places first": {"joined": lambda even, odd: odd + even},
    "the list is sorted anew": {"joined": lambda even, odd: sorted(even + odd)},
    "ties go to the later place": {
        "falling": lambda values: sorted(range(len(values)), key=lambda place: (-values[place], -place))
    },
    "twice as many a round": {"step": 16},
}
PICKING = {
    "starts at token 0": {"first": 0},
    "mean similarity": {"crowding": lambda similarity: similarity.mean(1)},
    "similarity to the farthest": {"crowding": lambda similarity: similarity.amin(1)},
    "similarity to the last pick": {"crowding": lambda similarity: similarity[:, -1]},
    "ties go to the higher index": {"lowest": lambda values: max(range(len(values)), key=lambda n: (-values[n], n))},
}


def plain_thinning(**mistake):
    """A stand-in for the class that thins, made of the plain loop."""

    class Stand:
        def __init__(self, unit):
            self.unit = unit.double()

        def run(self, start, end, step):
            rows = zip(self.unit, start, end, strict=True)
            lists = [thin(unit, range(r), d, **{"step": step} | mistake)[-1] for unit, r, d in rows]
            return torch.tensor(lists)

    return Stand


def plain_picking(**mistake):
    """A stand-in for the function that picks."""

    def far_apart(unit, count, pool=None, kept=None, spent=1.0):
        return torch.tensor([pick(row.double(), count, again=spent == 1.0, **mistake) for row in unit])

    return far_apart
