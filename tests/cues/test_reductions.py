"""The reductions against attention written out in float64."""

import pytest
import torch

from tokenprune.attention import cls_row, received

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
