import torch
from hypothesis import given

from tokenprune import Budget, Merge, Scorer, Selection, VisualTokens, load
from tokenprune.pool import Pool
from tokenprune.testing import visual_tokens
from tokenprune.testing.search import alike

IMAGE = Budget.parse("50%")


def pooled(tokens):
    units = [rows for rows, _ in IMAGE.units(tokens)]
    pool = Pool.of(tokens, units)
    return pool, units, pool.tokens(tokens, units)


@given(visual_tokens(reads={"cue"}))
def test_a_unit_is_its_rows_laid_end_to_end(tokens):
    _, units, long = pooled(tokens)
    valid = torch.ones(tokens.shape).bool() if tokens.valid is None else tokens.valid
    for unit, rows in enumerate(units):
        size = len(rows) * tokens.shape[1]
        assert alike(long.features[unit, :size], tokens.features[rows].flatten(0, 1))
        assert alike(long.valid[unit, :size], valid[rows].flatten())
        assert not long.valid[unit, size:].any()
        cue = tokens.cue("cue")
        one = cue[rows].flatten() if cue.ndim == 2 else cue[rows].transpose(0, 1).flatten(1)
        assert alike(long.cue("cue")[unit, ..., :size], one)
        assert (long.group[unit], long.sample[unit]) == (tokens.group[rows[0]], tokens.sample[rows[0]])
    assert long.counts.sum() == tokens.counts.sum()
    assert [total for _, total in IMAGE.units(long)] == [total for _, total in IMAGE.units(tokens)]


@given(visual_tokens())
def test_what_is_chosen_goes_back_to_the_row_it_came_from(tokens):
    pool, _, long = pooled(tokens)
    valid = torch.ones(tokens.shape).bool() if tokens.valid is None else tokens.valid
    back = pool.spread(Selection(long.valid, torch.ones_like(long.valid)))
    assert alike(back.important, valid)
    assert back.diverse.all()
    padding = pool.spread(Selection(~pool.filled, ~pool.filled))
    assert not padding.mask.any()


def test_a_pool_is_where_its_tokens_are():
    tokens = VisualTokens(torch.zeros(3, 2, 1, device="meta"), group=torch.tensor([0, 1, 0]))
    pool, _, long = pooled(tokens)
    back = pool.spread(Selection(long.valid, long.valid))
    assert {x.device.type for x in (pool.index, pool.filled, long.features, back.mask)} == {"meta"}


def test_a_pool_has_the_question_of_its_first_row_and_no_marks():
    question, marked = torch.arange(3.0)[:, None, None].expand(3, 4, 2), torch.tensor([True, False, True])
    tokens = VisualTokens(torch.zeros(3, 2, 1), {"question": question}, group=torch.tensor([0, 1, 0]), marked=marked)
    _, _, long = pooled(tokens)
    assert torch.equal(long.cue("question"), question[:2])
    assert long.marked is None


def test_what_touches_padding_is_folded_into_nothing():
    tokens = VisualTokens(torch.arange(6.0).reshape(3, 2, 1), group=torch.tensor([0, 1, 0]))
    pool, _, long = pooled(tokens)
    assert pool.filled.tolist() == [[True] * 4, [True, True, False, False]]
    none = torch.zeros_like(pool.filled)
    merge = Merge(none, torch.tensor([6, 0, 1]), torch.tensor([4, 7, 2]), torch.ones(3))  # 6 and 7 are padding
    back = pool.spread(Selection(none, none, merge=merge))
    assert back.merge.apply(tokens.features.flatten(0, 1)).flatten().tolist() == [0, 1, 2, 3, 1, 5]
    carriers = long.features[..., 0] > 3
    assert pool.spread(Selection(none, none, carriers)).merged.tolist() == [[False] * 2, [False] * 2, [True] * 2]


def test_a_cue_of_a_pool_is_asked_for_only_when_it_is_read():
    asked = []
    tokens = VisualTokens(
        torch.zeros(2, 3, 1), {"a": lambda: asked.append(1) or torch.ones(2, 3)}, group=torch.zeros(2)
    )
    _, _, long = pooled(tokens)
    assert asked == []
    assert long.cue("a").tolist() == [[1] * 6]
    assert asked == [1]


class Sum(Scorer):
    def score(self, tokens):
        return tokens.features.float().sum(-1)


def test_rows_of_one_image_compete_and_rows_of_others_do_not():
    features = torch.tensor([[9.0, 8, 7], [1, 2, 3], [6, 5, 4]])[..., None]
    tokens = VisualTokens(features, group=torch.tensor([0, 1, 0]))
    pipeline = load({"name": "p", "scorer": Sum(), "splitter": "global_pool", "budget": 3})
    assert pipeline.select(tokens).mask.int().tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert pipeline.replace(budget="3 per row").select(tokens).mask.all()
    together = VisualTokens(features, group=torch.tensor([0, 1, 0]), sample=torch.tensor([0, 0, 0]))
    got = pipeline.replace(budget="5 per prompt").select(together)
    assert got.mask.int().tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 0]]


def test_half_of_a_pool_may_be_diverse():
    pipeline = load({"name": "p", "scorer": Sum(), "splitter": "global_pool", "diversifier": "max_min", "budget": 3})
    tokens = VisualTokens(torch.eye(6).reshape(2, 3, 6), group=torch.zeros(2, dtype=torch.int64))
    half = pipeline.replace(splitter={"use": "global_pool", "important": 0.5}).select(tokens)
    assert (half.important.sum(), half.diverse.sum()) == (1, 2)
