"""Mergers against plain loops and against what torch pools."""

import pytest
import torch
from strategies.problems import exact, fine
from torch.nn.functional import avg_pool1d, avg_pool2d

from tokenprune import Selection, Split, VisualTokens
from tokenprune_strategies import space
from tokenprune_strategies.bipartite import Bipartite
from tokenprune_strategies.grid_cell import GridCell
from tokenprune_strategies.kmeans import KMeans
from tokenprune_strategies.knn_weighted import KnnWeighted
from tokenprune_strategies.nearest import Nearest
from tokenprune_strategies.pooling import Pooling


def fold(merger, tokens, merged, scores=None, important=()):
    """The merge and what it makes of the features, in every row ``merged`` carriers beside the important tokens."""
    batch, count = tokens.shape
    chosen = torch.zeros(batch, count, dtype=torch.bool)
    chosen[:, list(important)] = True
    chosen = chosen if tokens.valid is None else chosen & tokens.valid
    kept = chosen.sum(1)
    split = Split(kept, kept * 0, (tokens.counts - kept).clamp(max=merged))
    scores = torch.zeros(batch, count) if scores is None else scores
    merge = merger.merge(tokens, scores, Selection(chosen, chosen & False), split)
    assert merge.carriers.sum(1).tolist() == split.merged.tolist()
    return merge, merge.apply(tokens.features.flatten(0, 1)).view_as(tokens.features)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


# --- pooling ---------------------------------------------------------------------------------------------------------

X = torch.randn(2, 48, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 48])
def test_pooling_in_one_dimension_is_that_of_torch(size):
    merge, new = fold(Pooling(), VisualTokens(X), 48 // size)
    close(new[merge.carriers].view(2, -1, 3), avg_pool1d(X.mT, size).mT)
    assert merge.carriers[0].nonzero()[:, 0].tolist() == list(range((size - 1) // 2, 48, size))


@pytest.mark.parametrize("count", [5, 12, 48])
def test_runs_that_are_remembered_are_those_of_rows_of_any_length(count):
    """With other rows, for calls that ask for gradients after one that did not, and where all tokens are said valid."""
    for batch in (2, 1, 3):
        with torch.inference_mode():
            fold(Pooling(), VisualTokens(X[:1].expand(batch, -1, -1)), count)
        x = X[:1].repeat(batch, 1, 1).requires_grad_()
        merge, new = fold(Pooling(), VisualTokens(x), count)
        new[merge.carriers].sum().backward()
        other, same = fold(Pooling(), VisualTokens(x, valid=torch.ones(batch, 48, dtype=torch.bool)), count)
        assert torch.equal(merge.carriers, other.carriers)
        assert torch.equal(new, same)
        weights = torch.zeros(batch * 48).index_put_((merge.source,), merge.weight, accumulate=True)
        close(x.grad, weights.view(batch, 48, 1).expand(-1, -1, 3))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_pooling_in_two_dimensions_is_that_of_torch(size):
    x = torch.randn(2, 12 * 24, 3, generator=torch.Generator().manual_seed(1))
    merge, new = fold(Pooling(dims=2), VisualTokens.on_grid(x, (12, 24)), 288 // size**2)
    y, wide = torch.arange(288) // 24 // size, torch.arange(288) % 24 // size
    block = (y * (24 // size) + wide).expand(2, -1)  # where each token's block comes in what torch gives
    pooled = avg_pool2d(x.mT.reshape(2, 3, 12, 24), size).flatten(2).mT  # [B, T, C]
    close(new[merge.carriers], pooled.gather(1, block[..., None].expand(-1, -1, 3))[merge.carriers])
    assert sorted(block[merge.carriers].tolist()) == sorted(2 * list(range(288 // size**2)))


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("count", [1, 5, 7, 31, 47])
def test_cells_differ_by_one_token_at_most_where_it_does_not_divide(dims, count):
    valid = torch.ones(2, 48).bool()
    valid[1, ::5] = False
    tokens = VisualTokens.on_grid(X, (6, 8), valid=valid)
    merge, new = fold(Pooling(dims=dims), tokens, count, important=(3, 4))
    sizes = torch.zeros(96).index_add(0, merge.target, (merge.weight > 0).float()).view(2, 48)
    for row, carriers in enumerate(merge.carriers):
        assert sizes[row, carriers].amax() - sizes[row, carriers].amin() <= 1
    free = valid.index_fill(1, torch.tensor([3, 4]), False)
    assert torch.equal(merge.weight.view(2, 48) > 0, free)
    assert sizes.sum() == free.sum()
    assert torch.equal(new[:, 3], X[:, 3])
    if dims == 2:  # no cell is torn: its tokens hang together
        for row, into in enumerate(merge.target.view(2, 48) - torch.tensor([[0], [48]])):
            for carrier in merge.carriers[row].nonzero()[:, 0].tolist():
                cells = ((into == carrier) & (merge.weight.view(2, 48)[row] > 0)).nonzero()[:, 0]
                places = torch.stack([cells // 8, cells % 8], 1).float()
                assert torch.cdist(places, places).max() <= 4 * (48 / count) ** 0.5 + 2


# --- neighbours and a residual ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["scores", "mean"])
def test_neighbours_are_added_by_score_and_the_rest_is_one_token(weights):
    x, scores = fine((1, 12)) * 1.0, torch.rand(1, 12, generator=torch.Generator().manual_seed(2))
    important = (1, 5, 8)
    merge, new = fold(KnnWeighted(neighbours=4, weights=weights), VisualTokens(x), 1, scores, important)
    features, score = x[0], scores[0]
    for token in important:
        similar = (features @ features[token]).tolist()
        near = sorted((n for n in range(12) if n != token), key=lambda n: (-similar[n], n))[:4]
        wanted = features[token] + (score[near, None] * features[near]).sum(0)
        if weights == "mean":
            wanted = features[[token, *near]].mean(0)
        close(new[0, token], wanted)
    rest = [token for token in range(12) if token not in important]
    carrier = max(rest, key=lambda token: float(score[token]))
    assert merge.carriers[0].nonzero()[:, 0].tolist() == [carrier]
    close(
        new[0, carrier], (score[rest, None] * features[rest]).sum(0) if weights == "scores" else features[rest].mean(0)
    )


def test_without_a_residual_only_neighbours_are_added():
    x = exact((2, 9, 8))
    merge, new = fold(KnnWeighted(neighbours=20, weights="mean"), VisualTokens(x), 0, important=(0, 4))
    assert not merge.carriers.any()
    close(new[:, 0], x.mean(1))
    assert torch.equal(new[:, 1], x[:, 1])


def test_neighbours_are_those_of_the_cue():
    keys = torch.eye(4)[[0, 1, 1, 0]].expand(2, 4, 4)
    tokens = VisualTokens(X[:, :4], cues={"keys": keys.mT})
    _, new = fold(KnnWeighted(neighbours=1, weights="mean", by="keys"), tokens, 0, important=(0,))
    close(new[:, 0], (X[:, 0] + X[:, 3]) / 2)


# --- cells of a map --------------------------------------------------------------------------------------------------


def test_each_cell_becomes_its_best_token():
    """A 4 x 4 map in four cells of 2 x 2; the first cell is kept but for one token."""
    scores = torch.tensor([[9.0, 9, 1, 2, 9, 1, 4, 3, 5, 5, 8, 7, 5, 5, 6, 1]])
    x = torch.randn(1, 16, 3, generator=torch.Generator().manual_seed(3))
    merge, new = fold(GridCell(), VisualTokens.on_grid(x, (4, 4)), 4, scores, important=(0, 1, 4))
    assert merge.carriers[0].nonzero()[:, 0].tolist() == [5, 6, 8, 10]
    assert torch.equal(new[0, 5], x[0, 5])
    for best, cell in ((6, (2, 3, 6, 7)), (8, (8, 9, 12, 13)), (10, (10, 11, 14, 15))):
        weight = scores[0, list(cell), None]
        close(new[0, best], (weight * x[0, list(cell)]).sum(0) / weight.sum())


def test_the_best_cells_are_taken_where_there_are_more_than_carriers():
    scores = torch.tensor([[1.0, 1, 1, 1, 1, 1, 1, 8, 1, 1, 1, 1, 9, 1, 1, 1]])
    x = torch.randn(1, 16, 3, generator=torch.Generator().manual_seed(3))
    merge, new = fold(GridCell(weights="mean"), VisualTokens(x), 2, scores, important=(0, 1))
    assert merge.carriers[0].nonzero()[:, 0].tolist() == [7, 12]
    close(new[0, 7], x[0, 2:8].mean(0))  # runs of eight, without the two that are kept
    close(new[0, 12], x[0, 8:].mean(0))


def test_the_best_of_the_rest_stay_where_there_are_fewer_cells():
    scores = torch.arange(4.0)[None]
    tokens = VisualTokens(X[:1, :4], place=torch.zeros(1, 4, 2).long(), canvas=torch.ones(1, 2).long())
    merge, new = fold(GridCell(weights="mean"), tokens, 2, scores)
    assert merge.carriers.tolist() == [[False, False, True, True]]
    assert torch.equal(new[0, 2], X[0, 2])
    close(new[0, 3], X[0, [0, 1, 3]].mean(0))


# --- clusters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_clusters_are_those_of_plain_rounds(rounds):
    x = torch.randn(1, 30, 4, generator=torch.Generator().manual_seed(4))
    merge, new = fold(KMeans(rounds=rounds), VisualTokens(x), 4, important=(0, 7))
    unit = torch.nn.functional.normalize(x[0].double(), dim=1)
    rest = [token for token in range(30) if token not in (0, 7)]
    seeds = rest[::7]
    centres = unit[seeds]
    for turn in range(rounds + 1):
        home = {token: int((unit[token] - centres).square().sum(1).argmin()) for token in rest}
        home |= {seed: number for number, seed in enumerate(seeds)}
        members = [[token for token in rest if home[token] == number] for number in range(4)]
        if turn < rounds:
            centres = torch.stack([unit[own].mean(0) for own in members])
    assert merge.carriers[0].nonzero()[:, 0].tolist() == seeds
    for seed, own in zip(seeds, members, strict=True):
        close(new[0, seed], x[0, own].mean(0))


def test_tokens_of_one_kind_end_up_together():
    kinds = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(5))
    kinds[[0, 13, 26]] = torch.arange(3)  # the seeds
    x = torch.eye(3)[kinds][None]
    for merger in (KMeans(), Bipartite()):
        merge, new = fold(merger, VisualTokens(x), 3)
        found = new[0, merge.carriers[0]]
        if isinstance(merger, KMeans):
            close(found, torch.eye(3))
        close((merge.weight.view(1, -1, 1) > 0).float().sum(), torch.tensor(40.0))


# --- matching --------------------------------------------------------------------------------------------------------


def matched(unit, count):
    """Clusters of plain rounds of bipartite matching: {last token: members}."""
    groups = [[token] for token in range(len(unit))]
    while len(groups) > count:
        centre = torch.stack([unit[own].sum(0) for own in groups])
        centre = torch.nn.functional.normalize(centre, dim=1)
        even, odd = range(0, len(groups), 2), range(1, len(groups), 2)
        best = []
        for one in even:
            values = [float(centre[one] @ centre[other]) for other in odd]
            best.append((max(values), 2 * values.index(max(values)) + 1, one))
        best.sort(key=lambda pair: (-pair[0], pair[2]))
        for _, other, one in best[: min(len(groups) - count, len(groups) // 2)]:
            groups[other] = groups[other] + groups[one]
            groups[one] = []
        groups = [own for own in groups if own]
    return {own[0]: sorted(own) for own in groups}


@pytest.mark.parametrize("count", [1, 2, 5, 9, 16, 20])
def test_rounds_of_matching_are_plain_rounds(count):
    x = torch.randn(2, 21, 6, generator=torch.Generator().manual_seed(6))
    valid = torch.ones(2, 21).bool()
    valid[1, 4:] = False  # four tokens, which may be fewer than asked for
    merge, new = fold(Bipartite(), VisualTokens(x, valid=valid), count)
    for row, size in ((0, 21), (1, 4)):
        groups = matched(torch.nn.functional.normalize(x[row, :size].double(), dim=1), min(count, size))
        assert merge.carriers[row].nonzero()[:, 0].tolist() == sorted(groups)
        for carrier, own in groups.items():
            close(new[row, carrier], x[row, own].mean(0))


@pytest.mark.parametrize("by", [None, "keys"])
def test_the_nearest_target_by_features_or_by_a_cue_a_row_at_a_time(by, monkeypatch):
    monkeypatch.setattr(space, "_CACHE", 1)
    g = torch.Generator().manual_seed(0)
    x, keys = torch.randn(4, 3, 5, generator=g), torch.randn(4, 3, 6, generator=g)
    targets = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 1], [0, 1, 1]]).bool()
    found = space.nearest(VisualTokens(x, {"keys": keys.mT}), by, targets, targets.sum(1))
    unit = torch.nn.functional.normalize(x if by is None else keys, dim=2)
    wanted = (unit @ unit.mT).masked_fill(~targets[:, None], -2).argmax(2)
    assert torch.equal(found, wanted)


def test_a_cue_too_small_to_have_a_direction_has_none():
    keys = torch.tensor([[[0.0, 0], [1e-30, -1e-30], [3, 4]]])
    unit = space.similarity_space(VisualTokens(torch.ones(1, 3, 1), {"keys": keys.mT}), "keys")
    close(unit, torch.tensor([[[0.0, 0], [0, 0], [0.6, 0.8]]]))


def test_clusters_of_a_row_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    x = torch.randn(5, 30, 4, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(30) < torch.tensor([30, 30, 7, 12, 2])[:, None]  # the last has fewer tokens than clusters
    together = fold(KMeans(), VisualTokens(x, valid=valid), 6)[1]
    monkeypatch.setattr(space, "_CACHE", 2 * 4 * 30 * 4)
    assert torch.equal(fold(KMeans(), VisualTokens(x, valid=valid), 6)[1], together)


@pytest.mark.parametrize("merger", [KMeans(), KnnWeighted(), Bipartite(), GridCell(), Pooling(), Nearest()])
def test_of_no_rows_nothing_is_folded(merger):
    none = torch.zeros(0, 4, dtype=torch.bool)
    tokens, split = VisualTokens.on_grid(torch.zeros(0, 4, 3), (2, 2)), Split(*torch.zeros(3, 0, dtype=torch.int64))
    merge = merger.merge(tokens, torch.zeros(0, 4), Selection(none, none), split)
    assert (merge.carriers.shape, len(merge.source)) == ((0, 4), 0)
