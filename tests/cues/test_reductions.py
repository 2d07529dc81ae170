"""The reductions against attention written out in float64."""

import pytest
import torch

from tokenprune.reductions import (
    OF_ALL,
    OF_CLS,
    cls_logits,
    cls_row,
    globally_received,
    keys,
    mean_keys,
    received,
    reduce_of,
    wide_cls_row,
)

B, H, GROUPS, Q, K, D = 2, 4, 2, 5, 7, 8
SCALE = 0.3


def sample(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def masks():
    attend = sample(B, H, Q, K, seed=3) > -0.7
    attend[..., 0] = True
    return {
        "none": None,
        "bool": attend,
        "bool, one row for all": attend[:, :1, :1],
        "additive": sample(B, 1, Q, K, seed=4) * 3,
        "additive, minimum": torch.zeros(B, 1, 1, K).masked_fill(~attend[:, :1, :1], torch.finfo(torch.float32).min),
    }


def written_out(query, key, mask):
    """[B, H, Q, K] float64."""
    logits = torch.zeros(B, query.shape[1], query.shape[2], K, dtype=torch.float64)
    for head in range(query.shape[1]):
        shared = key[:, head * key.shape[1] // query.shape[1]].double()
        logits[:, head] = query[:, head].double() @ shared.transpose(1, 2) * SCALE
    if mask is not None:
        logits += mask.double() if mask.dtype != torch.bool else torch.where(mask, 0.0, -torch.inf)
    return logits.softmax(-1)


@pytest.mark.parametrize("mask", masks().values(), ids=masks())
@pytest.mark.parametrize("heads", [H, GROUPS, 1])
class TestAgainstAttentionWrittenOut:
    @pytest.mark.parametrize("index", [0, 2, -1])
    def test_row(self, mask, heads, index):
        query, key = sample(B, H, Q, D) * 2, sample(B, heads, K, D, seed=1) * 2
        row = cls_row(index)(query, key, mask, SCALE)
        assert row.shape == (B, H, K)
        torch.testing.assert_close(row.double(), written_out(query, key, mask)[:, :, index], rtol=0, atol=1e-6)

    @pytest.mark.parametrize("chunk", [1, 3, 64])
    def test_received(self, mask, heads, chunk):
        query, key = sample(B, H, Q, D) * 2, sample(B, heads, K, D, seed=1) * 2
        mean = received(chunk)(query, key, mask, SCALE)
        assert mean.shape == (B, K)
        torch.testing.assert_close(mean.double(), written_out(query, key, mask).mean((1, 2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_padding_looks_at_nothing_that_counts(additive, chunk):
    query, key, length = sample(B, H, K, D), sample(B, H, K, D, seed=1), 4
    mask = (torch.arange(K) < length).expand(B, 1, K, K)
    given = torch.zeros(B, 1, K, K).masked_fill(~mask, torch.finfo(torch.float32).min) if additive else mask
    mean = received(chunk)(query, key, given, SCALE)
    alone = received(chunk)(query[:, :, :length], key[:, :, :length], None, SCALE)
    torch.testing.assert_close(mean[:, :length], alone)
    assert not mean[:, length:].any()


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_sequences_end_to_end_give_what_each_gives_alone(chunk):
    query, key, first = sample(B, H, K, D), sample(B, H, K, D, seed=1), 3
    block = torch.arange(K) < first
    mean = received(chunk)(query, key, (block[:, None] == block)[None, None], SCALE)
    for part in (slice(0, first), slice(first, K)):
        torch.testing.assert_close(mean[:, part], received(chunk)(query[:, :, part], key[:, :, part], None, SCALE))


@pytest.mark.parametrize("reduce", [cls_row(), received()], ids=["row", "received"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_in_float32(reduce, dtype):
    query, key = (sample(B, H, Q, D) * 2).to(dtype), (sample(B, GROUPS, K, D, seed=1) * 2).to(dtype)
    value = reduce(query, key, None, SCALE)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, reduce(query.float(), key.float(), None, SCALE), rtol=0, atol=0)


def test_a_query_that_may_look_nowhere_gives_numbers():
    query, key = sample(B, H, Q, D), sample(B, H, K, D, seed=1)
    row = cls_row()(query, key, torch.zeros(B, 1, Q, K, dtype=torch.bool), SCALE)
    torch.testing.assert_close(row.sum(-1), torch.ones(B, H))


def test_padding_asks_for_nothing():
    query, key = sample(B, H, K, D), sample(B, H, K, D, seed=1)
    there = torch.arange(K) < K - 2
    alone = received()(query[:, :, there], key[:, :, there], None, SCALE)
    for mask in (there[None, None, None], torch.zeros(1, 1, K, K).masked_fill(~there, torch.finfo(torch.float32).min)):
        found = received(3)(query, key, mask, SCALE)
        torch.testing.assert_close(found[:, there], alone, rtol=0, atol=1e-6)
        assert not found[:, ~there].any()


@pytest.mark.parametrize("heads", [H, GROUPS, 1])
@pytest.mark.parametrize("index", [0, -1])
class TestOfOneQuery:
    """What other methods read of the CLS token, wherever it stands, with keys that heads share."""

    def test_logits(self, heads, index):
        query, key = sample(B, H, Q, D) * 2, sample(B, heads, K, D, seed=1) * 2
        logits = cls_logits(index)(query, key, None, SCALE)
        assert logits.shape == (B, H, K)
        torch.testing.assert_close(logits.softmax(-1), cls_row(index)(query, key, None, SCALE))
        for head in range(H):
            product = torch.einsum("bd,bkd->bk", query[:, head, index], key[:, head * heads // H]).double() * SCALE
            torch.testing.assert_close(logits[:, head].double(), product, rtol=0, atol=1e-5)

    def test_wide_row(self, heads, index):
        query, key = sample(B, H, Q, D), sample(B, heads, K, D, seed=1)
        row = wide_cls_row(index)(query, key, None, SCALE)
        assert row.shape == (B, K)
        products = sum(
            torch.einsum("bd,bkd->bk", query[:, head, index].double(), key[:, head * heads // H].double())
            for head in range(H)
        )
        torch.testing.assert_close(row.double(), (products / (H * D) ** 0.5).softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_are_handed_on(dtype):
    query, key = sample(B, H, Q, D).to(dtype), sample(B, GROUPS, K, D, seed=1).to(dtype)
    every, mean = keys(query, key, None, SCALE), mean_keys(query, key, None, SCALE)
    assert (every.shape, mean.shape) == ((B, GROUPS * D, K), (B, D, K))
    for head in range(GROUPS):
        assert torch.equal(every[:, head * D : (head + 1) * D], key[:, head].float().mT)
    torch.testing.assert_close(mean, (key[:, 0].float() + key[:, 1].float()).mT / 2)


def heard(weights, times):
    """[N] float64: what the global queries of [N, N] give each."""
    usual = weights.mean(0)
    seeks = usual > times * usual.mean()
    return weights[seeks].mean(0) if seeks.any() else usual


@pytest.mark.parametrize("times", [0.5, 1.0, 1.3, 50])
@pytest.mark.parametrize("chunk", [2, 64])
def test_global_queries_alone_are_heard(times, chunk):
    query, key = sample(B, H, K, D) * 3, sample(B, GROUPS, K, D, seed=1)
    found = globally_received(times, chunk)(query, key, None, SCALE)
    want = torch.stack([heard(one, times) for one in attention_of(query, key).mean(1)])
    torch.testing.assert_close(found.double(), want, rtol=0, atol=1e-6)
    told = reduce_of(f"global_attention:{times}", 0)(query, key, None, SCALE)
    torch.testing.assert_close(told, found)
    assert torch.allclose(found, received()(query, key, None, SCALE), atol=1e-6) == (times in (0.5, 50))  # all, or none


def attention_of(query, key):
    """[B, H, N, N] float64."""
    return (query.double() @ key.double().repeat_interleave(H // GROUPS, 1).mT * SCALE).softmax(-1)


def test_sequences_laid_end_to_end_have_global_queries_of_their_own():
    query, key = sample(B, H, K, D) * 3, sample(B, H, K, D, seed=1)
    block = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    apart = globally_received(1.1, 3)(query, key, (block[:, None] == block)[None, None], SCALE)
    padded = globally_received(1.1, 3)(query, key, (block == 1).expand(B, 1, 1, -1), SCALE)
    for part in (block == 0, block == 1):
        alone = globally_received(1.1)(query[:, :, part], key[:, :, part], None, SCALE)
        torch.testing.assert_close(apart[:, part], alone)
    torch.testing.assert_close(padded[:, block == 1], alone)


@pytest.mark.parametrize("kind", sorted(OF_CLS | OF_ALL))
def test_every_kind_of_cue_is_made_of_the_token_that_is_named(kind):
    query, key = sample(B, H, K, D), sample(B, GROUPS, K, D, seed=1)
    first, last = (reduce_of(kind, at)(query, key, None, SCALE) for at in (0, -1))
    flipped = reduce_of(kind, 0)(query.flip(2), key.flip(2), None, SCALE).flip(-1)
    torch.testing.assert_close(last, flipped)
    assert torch.equal(first, last) == (kind in OF_ALL)
