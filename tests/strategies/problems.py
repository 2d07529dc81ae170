"""Tokens to choose from, in which cosines are exact and ties, duplicates and zero vectors abound."""

import torch
from hypothesis import strategies as st

from tokenprune import Split, VisualTokens
from tokenprune.tokens import top


def exact(shape, seed=0):
    """[..., N, C] of -1, 0 and 1: four entries that are not zero make norm 2, and cosines are quarters."""
    g = torch.Generator().manual_seed(seed)
    sign = torch.randint(0, 2, shape, generator=g) * 2.0 - 1
    return sign * (torch.rand(shape, generator=g).argsort(-1) < 4)


def fine(shape, seed=0):
    """[..., N, 256] of -1 and 1: norm 16, so that cosines are many different multiples of 1/256."""
    return torch.randint(0, 2, (*shape, 256), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1


@st.composite
def problems(draw, rows=4, most=60):
    """(tokens, scores, kept, split): ragged or not, counts that differ from row to row or not."""
    seed, batch, count = draw(st.integers(0, 2**16)), draw(st.integers(1, rows)), draw(st.integers(1, most))
    g = torch.Generator().manual_seed(seed)
    x = exact((batch, count, draw(st.sampled_from((4, 8)))), seed)
    x = x * (torch.rand(batch, count, 1, generator=g) < draw(st.sampled_from((0.7, 1.0))))  # some are zero
    valid = torch.rand(batch, count, generator=g) < 0.7 if draw(st.booleans()) else None
    scores = torch.randint(0, draw(st.sampled_from((1, 5, 1000))), (batch, count), generator=g).float()
    tokens = VisualTokens(x, valid=valid)
    share = torch.rand(2, batch, generator=g) if draw(st.booleans()) else torch.rand(2, 1, generator=g)
    important = (tokens.counts * share[0] * draw(st.sampled_from((0, 1, 1)))).long()
    split = Split(important, ((tokens.counts - important) * share[1] + 0.5).long())
    kept = top(torch.rand(batch, count, generator=g), important, valid)  # any tokens, not those of highest score
    return tokens, scores, kept, split


def row(problem, nth):
    """One row of a problem, as a problem of its own."""
    tokens, scores, kept, split = problem
    only = slice(nth, nth + 1)
    valid = None if tokens.valid is None else tokens.valid[only]
    part = Split(split.important[only], split.diverse[only])
    return VisualTokens(tokens.features[only], valid=valid), scores[only], kept[only], part


def free(tokens, kept, nth):
    """Tokens of a row that may be chosen."""
    open_ = ~kept[nth] if tokens.valid is None else tokens.valid[nth] & ~kept[nth]
    return open_.nonzero()[:, 0].tolist()


def marks(picked, count):
    """[N] bool of a list of tokens."""
    return torch.zeros(count, dtype=torch.bool).index_fill(0, torch.tensor(picked, dtype=torch.int64), True)
