"""Recycling against a plain loop: who is clustered, around which peaks, and what the clusters become."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import Selection, Split, VisualTokens
from tokenprune.tokens import top
from tokenprune_strategies.density_clusters import DensityClusters


def plain(x, scores, free, count, share, nearest):
    """{peak: members} of one row, in float64; ``free`` are the tokens that nobody chose."""
    some = min(len(free), max(int(share * len(free)) + 1, count))
    pool = sorted(free, key=lambda token: (-float(scores[token]), token))[:some]
    apart = {(a, b): float((x[a] - x[b]).square().sum()) / len(x[a]) for a in pool for b in pool}
    k = min(nearest or count, some)
    thin = {a: round(sum(sorted(apart[a, b] for b in pool)[:k]) / k, 6) for a in pool}
    far, worth = max(apart.values()), {}
    for place, a in enumerate(pool):
        above = [b for other, b in enumerate(pool) if (thin[b], other) < (thin[a], place)]
        away = min([apart[a, b] for b in above], default=far)
        worth[a] = away**0.5 * torch.tensor(-thin[a]).double().exp().item()
    peaks = sorted(pool, key=lambda token: -worth[token])[:count]
    return pool, peaks, {a: a if a in peaks else min(peaks, key=lambda b: apart[a, b]) for a in pool}, worth


@st.composite
def problems(draw):
    """Rows of different lengths with different counts, kept tokens and scores."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    batch, count = draw(st.integers(1, 3)), draw(st.integers(2, 30))
    x, scores = torch.randn(batch, count, 5, generator=g), torch.rand(batch, count, generator=g)
    valid = torch.rand(batch, count, generator=g) < 0.8 if draw(st.booleans()) else None
    tokens = VisualTokens(x, valid=valid)
    important = (tokens.counts * torch.rand(batch, generator=g) * 0.5).long()
    merged = ((tokens.counts - important) * torch.rand(batch, generator=g) * 0.6).long()
    chosen = top(torch.rand(batch, count, generator=g), important, valid)
    return tokens, scores, Selection(chosen, chosen & False), Split(important, important * 0, merged)


@settings(deadline=None, max_examples=60)
@given(problems(), st.sampled_from((0.0, 0.3, 1.0)), st.sampled_from((None, 1, 4)))
def test_clusters_are_those_of_the_plain_loop(problem, share, nearest):
    tokens, scores, selection, split = problem
    merge = DensityClusters(share=share, nearest=nearest).merge(*problem)
    new = merge.apply(tokens.features.flatten(0, 1)).view_as(tokens.features)
    for row, count in enumerate(split.merged.tolist()):
        there = range(tokens.shape[1]) if tokens.valid is None else tokens.valid[row].nonzero()[:, 0].tolist()
        free = [token for token in there if not selection.important[row, token]]
        found = merge.carriers[row].nonzero()[:, 0].tolist()
        assert len(found) == count
        if not count:
            assert torch.equal(new[row], tokens.features[row])
            continue
        x = tokens.features[row].double()
        pool, peaks, home, worth = plain(x, scores[row], free, count, share, nearest)
        rest = [worth[token] for token in pool if token not in found]
        assert set(found) <= set(pool)
        assert not rest or min(worth[token] for token in found) >= max(rest) - 1e-5
        if sorted(peaks) == sorted(found):  # else two tokens are worth the same
            for peak in peaks:
                mean = x[[token for token in pool if home[token] == peak]].mean(0)
                torch.testing.assert_close(new[row, peak], mean.float(), rtol=1e-4, atol=1e-4)


def test_the_worst_of_the_dropped_are_lost():
    """Of ten tokens two are kept; of the other eight three are clustered, and the carrier is their middle."""
    x = torch.tensor([0.0, 9, 1, 50, 1.2, 60, 1.3, 70, 80, 90])[None, :, None]
    scores = torch.tensor([[9.0, 9, 8, 1, 8, 1, 8, 1, 1, 1]])
    kept = torch.zeros(1, 10).bool().index_fill(1, torch.tensor([0, 1]), True)
    split = Split(torch.tensor([2]), torch.tensor([0]), torch.tensor([1]))
    merge = DensityClusters(nearest=3).merge(VisualTokens(x), scores, Selection(kept, kept & False), split)
    assert merge.carriers[0].nonzero()[:, 0].tolist() == [4]
    torch.testing.assert_close(merge.apply(x[0])[4, 0], torch.tensor((1 + 1.2 + 1.3) / 3))
    assert (merge.weight > 0).nonzero()[:, 0].tolist() == [2, 4, 6]


def test_clusters_are_those_of_the_cue():
    g = torch.Generator().manual_seed(0)
    kinds = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])
    keys = torch.eye(2)[kinds] + 0.01 * torch.randn(8, 2, generator=g)
    tokens = VisualTokens(kinds[None, :, None].float(), cues={"keys@this": keys.T[None]})
    none = torch.zeros(1, 8).bool()
    split = Split(torch.tensor([0]), torch.tensor([0]), torch.tensor([2]))
    merger = DensityClusters(share=1.0, by="keys@this")
    merge = merger.merge(tokens, torch.zeros(1, 8), Selection(none, none), split)
    assert merger.reads == {"keys@this"}
    assert sorted(merge.apply(tokens.features[0])[merge.carriers[0], 0].tolist()) == [0, 1]
