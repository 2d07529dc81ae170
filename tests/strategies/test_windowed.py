"""Windows: shares by largest remainder, the best of each, whatever is full passes on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import free, marks

from tokenprune import Split, VisualTokens, load, ranks
from tokenprune.testing import splits, visual_tokens
from tokenprune.tokens import top
from tokenprune_strategies.windowed import Windowed
from tokenprune_strategies.windows import window_of


def windows(tokens, nth, part):
    """{token: its window} of a row, valid tokens only."""
    there = range(tokens.shape[1]) if tokens.valid is None else tokens.valid[nth].nonzero()[:, 0].tolist()
    high, wide = part.window
    if part.segments:
        return {token: place * part.segments // len(there) for place, token in enumerate(there)}
    if tokens.place is None:
        return {token: place // (high * wide) for place, token in enumerate(there)}
    return {token: tuple((tokens.place[nth, token] // torch.tensor(part.window)).tolist()) for token in there}


def plain(tokens, scores, kept, split, part):
    """[B, N] bool: floors of the shares, then one at a time to the window that lacks most of its share."""
    chosen = []
    for nth, count in enumerate(split.diverse.tolist()):
        held, found = {}, windows(tokens, nth, part)
        for token in sorted(free(tokens, kept, nth), key=lambda token: (-scores[nth, token], token)):
            held.setdefault(found[token], []).append(token)
        weigh = {name: sum(max(0.0, float(scores[nth, token])) for token in some) for name, some in held.items()}
        mean = {name: weigh[name] / len(some) for name, some in held.items()}
        if part.share == "equal" or not sum(mean.values()):
            mean = dict.fromkeys(held, 1.0)
        share = {name: count * mean[name] / sum(mean.values()) for name in held}
        given = {name: min(int(share[name] + 1e-9), len(held[name])) for name in held}
        while sum(given.values()) < count:
            open_ = [name for name in held if given[name] < len(held[name])]
            first = min(
                open_,
                key=lambda name: (
                    round(given[name] - share[name], 6),
                    -scores[nth, held[name][given[name]]],
                    held[name][given[name]],
                ),
            )
            given[first] += 1
        picks = [token for name, some in held.items() for token in some[: given[name]]]
        chosen.append(marks(picks, tokens.shape[1]))
    return torch.stack(chosen)


CASES = [
    Windowed(window=(1, 2)),
    Windowed(window=(2, 1), share="mean"),
    Windowed(segments=3),
    Windowed(segments=4, share="mean"),
]


@pytest.mark.parametrize("part", CASES)
def test_takes_the_same_where_nothing_is_looked_at(part, monkeypatch):
    """Many tokens of few scores, in windows that are held in part, and valid in part."""
    g = torch.Generator().manual_seed(0)
    valid, scores = torch.rand(4, 900, generator=g) < 0.8, torch.randint(-1, 5, (4, 900), generator=g).float()
    tokens = VisualTokens.on_grid(torch.zeros(4, 900, 1), (30, 30), valid=valid)
    split = Split(torch.tensor([40, 0, 9, 3]), torch.tensor([100, 33, 0, 250]))
    kept = top(torch.rand(4, 900, generator=g), split.important, valid)
    near = part.choose(tokens, scores, kept, split)
    assert torch.equal(near, plain(tokens, scores, kept, split, part))
    monkeypatch.setattr(ranks, "AT_HAND", ())
    assert torch.equal(part.choose(tokens, scores, kept, split), near)


@pytest.mark.parametrize("part", CASES)
@settings(deadline=None, max_examples=80)
@given(st.data())
def test_takes_as_the_plain_loop(part, data):
    tokens = data.draw(visual_tokens(("normal",)))
    split = data.draw(splits(tokens))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    scores = torch.randint(-1, 8, tokens.shape, generator=g).float()
    kept = top(torch.rand(tokens.shape, generator=g), split.important, tokens.valid)
    assert torch.equal(part.choose(tokens, scores, kept, split), plain(tokens, scores, kept, split, part))


def test_every_window_gives_its_best():
    tokens = VisualTokens.on_grid(torch.zeros(1, 144, 2), (12, 12))
    scores = torch.rand(1, 144, generator=torch.Generator().manual_seed(0))
    rest = marks([], 144)[None], Split(torch.tensor([0]), torch.tensor([4]))
    chosen = Windowed().choose(tokens, scores, *rest)[0].view(12, 12)
    for y in (0, 6):
        for x in (0, 6):
            part, value = chosen[y : y + 6, x : x + 6], scores[0].view(12, 12)[y : y + 6, x : x + 6]
            assert part.flatten().nonzero().tolist() == [[int(value.flatten().argmax())]]


def test_segments_weigh_by_their_mean():
    """Four segments of mean 4, 2, 1, 1 share 8 tokens: 4, 2, 1, 1; what one that is full leaves goes by score."""
    scores = torch.tensor([4.0, 2, 1, 1]).repeat_interleave(6)[None]
    rest = torch.zeros(1, 24, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([8]))
    chosen = Windowed(segments=4, share="mean").choose(VisualTokens(torch.zeros(1, 24, 2)), scores, *rest)
    assert chosen.view(4, 6).sum(1).tolist() == [4, 2, 1, 1]
    more = rest[0], Split(torch.tensor([0]), torch.tensor([16]))
    chosen = Windowed(segments=4, share="mean").choose(VisualTokens(torch.zeros(1, 24, 2)), scores, *more)
    assert chosen.view(4, 6).sum(1).tolist() == [6, 5, 3, 2]


def test_another_scorer_ranks():
    cue = torch.arange(12.0)[None]
    tokens = VisualTokens(torch.zeros(1, 12, 2), {"cls_attention@5": cue})
    rest = torch.zeros(1, 12, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([3]))
    part = Windowed(segments=3, scorer={"use": "cls_attention", "layer": 5, "without_cls": "error"})
    assert part.reads == {"cls_attention@5"}
    assert part.choose(tokens, -cue, *rest).nonzero()[:, 1].tolist() == [3, 7, 11]


def test_holov_shares_by_attention_and_variance():
    """Shares of the stretches from the authors' formula, in which the variance has its full say."""
    g = torch.Generator().manual_seed(0)
    x, attention = torch.randn(1, 144, 16, generator=g), torch.rand(1, 144, generator=g) ** 4
    unit, total = (x / x.norm(dim=-1, keepdim=True)).double(), 60
    worth = []
    for part, values in zip(unit[0].split(9), attention[0].double().split(9), strict=True):
        like = (part @ part.T).fill_diagonal_(0)
        spread = ((like - like.sum(1, keepdim=True) / 8) ** 2).sum(1) / 8
        worth.append(float((1e3 * values + 0.09 * spread * 1e3 * values.mean() / (spread.mean() + 1e-6)).mean()))
    shares = [total * one / sum(worth) for one in worth]
    counts = [int(share) for share in shares]
    for place in sorted(range(16), key=lambda place: counts[place] - shares[place])[: total - sum(counts)]:
        counts[place] += 1
    assert max(counts) <= 9  # so that none is full
    assert len(set(counts)) > 3
    mask = load("holov", budget=total).select(VisualTokens(x, cues={"cls_attention": attention})).mask
    assert mask.view(16, 9).sum(1).tolist() == counts
    for kept, values in zip(mask.view(16, 9), attention.view(16, 9), strict=True):
        assert not kept.any() or kept.all() or values[kept].min() > values[~kept].max()


def test_every_window_has_a_number_of_its_own():
    """Of a 5 x 7 map in windows of 2 x 3, the last ones of which hold less."""
    found = window_of(VisualTokens.on_grid(torch.zeros(1, 35, 1), (5, 7)), (2, 3), None)[0].tolist()
    windows = [(cell // 7 // 2, cell % 7 // 3) for cell in range(35)]
    assert len(set(found)) == len(set(windows)) == len(set(zip(found, windows, strict=True)))


def test_more_windows_than_a_hundred_give_one_after_the_other():
    """130 windows of two give 65: of the last but five, which holds the best two, one alone."""
    scores = -torch.arange(260.0)[None]
    scores[0, [248, 0, 249]] = torch.tensor([300.0, 200, 100])
    tokens, split = VisualTokens.on_grid(torch.zeros(1, 260, 1), (1, 260)), Split(*torch.tensor([[1], [65]]))
    chosen = Windowed(window=(1, 2)).choose(tokens, scores, marks([0], 260)[None], split)[0]
    assert chosen[[248, 249]].tolist() == [True, False]


def test_segments_without_any_score_share_alike():
    rest = torch.zeros(1, 24), marks([], 24)[None], Split(torch.tensor([0]), torch.tensor([4]))
    chosen = Windowed(segments=4, share="mean").choose(VisualTokens(torch.zeros(1, 24, 1)), *rest)
    assert chosen[0].nonzero()[:, 0].tolist() == [0, 6, 12, 18]


def test_numbers_of_windows_are_whole():
    tokens = VisualTokens.on_grid(torch.zeros(1, 16, 1), (8, 2))
    found = window_of(tokens, (2, 1), None)
    assert (found.dtype, len(found.unique())) == (torch.int64, 8)
    found = window_of(VisualTokens(torch.zeros(1, 5, 1)), (2, 2), None)
    assert (found.dtype, found.tolist()) == (torch.int64, [[0, 0, 0, 0, 1]])
