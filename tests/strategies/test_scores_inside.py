"""Scorers that read the language model against their formulas, one head, word and token at a time in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import VisualTokens
from tokenprune_strategies.layer_change import LayerChange
from tokenprune_strategies.previous import Previous
from tokenprune_strategies.raters import raters
from tokenprune_strategies.text_attention import TextAttention
from tokenprune_strategies.visual_attention import VisualAttention


def drawn(seed, batch, heads, words, count, width=6):
    """Cues of prompts that have fewer words and fewer tokens than the longest, or none."""
    g = torch.Generator().manual_seed(seed)
    many = torch.randint(0, words + 1, (batch,), generator=g)
    spoken = torch.arange(words) < many[:, None]  # [B, R]
    there = torch.rand(batch, 2 * count, generator=g) < 0.8
    text = torch.rand(batch, heads, words, count, generator=g) * spoken[:, None, :, None]
    cues = {f"{kind}@{layer}": value for layer in ("previous", "this") for kind, value in {
        "last_attention": torch.rand(batch, heads, count, generator=g),
        "last_prior": torch.rand(batch, count, generator=g) + 0.1,
        "text_attention": text * (1 if layer == "previous" else 2),
        "text_prior": (torch.rand(batch, words, count, generator=g) + 0.1) * spoken[..., None],
    }.items()}  # fmt: skip
    cues["question"] = torch.randn(batch, words, width, generator=g) * spoken[..., None]
    cues["inputs"] = torch.randn(batch, 2 * count, width, generator=g) * there[..., None]
    valid = torch.rand(batch, count, generator=g) < 0.8 if seed % 2 else None
    return VisualTokens(torch.zeros(batch, count, 1), cues=cues, valid=valid), many.tolist()


def speaking(tokens, row, many):
    """Words whose mean share of the tokens' interest is above the mean; all where none is."""
    images = [x for x in tokens.cue("inputs")[row].double() if x.any()]
    words = tokens.cue("question")[row, :many].double()
    if not images or not many:
        return list(range(many))
    share = sum((words @ x).softmax(0) for x in images) / len(images)
    return [word for word in range(many) if share[word] > share.mean()] or list(range(many))


def wanted(scorer, tokens, row, many, token):
    """The score of one token."""
    last = scorer.query == "last"
    kind = "last" if last else "text"
    asks = {"last": [0], "all": list(range(many)), "raters": speaking(tokens, row, many)}[scorer.query]
    rows = tokens.cue(f"{kind}_attention@{scorer.layer}")[row].double()  # [H, N] or [H, R, N]
    rows = rows[:, None] if last else rows
    prior = tokens.cue(f"{kind}_prior@{scorer.layer}")[row].double()
    prior = prior[None] if last else prior
    there = range(rows.shape[2]) if tokens.valid is None else tokens.valid[row].nonzero()[:, 0].tolist()
    heads = list(range(len(rows)))
    if scorer.heads == "top":
        heads.sort(key=lambda head: -sum(float(rows[head, ask, n]) for ask in asks for n in there))
        heads = heads[: scorer.top]
    said = []
    for head in heads:
        each = [rows[head, ask, token] / (prior[ask, token] if scorer.debias else 1) for ask in asks]
        said.append(sum(map(float, each)) / max(1, len(asks)))
    return max(said) if scorer.heads == "max" else sum(said) / len(said)


scorers = st.builds(
    TextAttention,
    query=st.sampled_from(("last", "all", "raters")),
    heads=st.sampled_from(("mean", "max", "top")),
    top=st.integers(1, 5),
    debias=st.sampled_from((None, "rope")),
    layer=st.sampled_from(("previous", "this")),
)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 7))


@settings(deadline=None, max_examples=100)
@given(scorers, st.integers(0, 2**16), shapes)
def test_text_attention(scorer, seed, shape):
    tokens, many = drawn(seed, *shape)
    found = scorer.score(tokens)
    for row in range(len(found)):
        there = range(found.shape[1]) if tokens.valid is None else tokens.valid[row].nonzero()[:, 0].tolist()
        want = torch.tensor([wanted(scorer, tokens, row, many[row], token) for token in there])
        torch.testing.assert_close(found[row, list(there)], want.float(), rtol=1e-4, atol=1e-6)


def test_a_setting_that_is_ignored_is_noticed():
    tokens, _ = drawn(0, 2, 4, 5, 6)
    scorer = TextAttention(query="raters", heads="top", top=2, debias="rope")
    other = {"query": "all", "heads": "mean", "top": 3, "debias": None, "layer": "this"}
    for name, value in other.items():
        changed = scorer.model_copy(update={name: value}).score(tokens)
        assert not torch.allclose(changed, scorer.score(tokens)), name


def test_text_attention_reads_what_it_asks_for():
    assert TextAttention().reads == {"last_attention@previous"}
    assert TextAttention(layer="this", debias="rope").reads == {"last_attention@this", "last_prior@this"}
    assert TextAttention(query="all", debias="rope").reads == {"text_attention@previous", "text_prior@previous"}
    assert TextAttention(query="raters").reads == {"text_attention@previous", "inputs", "question"}


def test_raters_are_all_words_where_none_says_more():
    image = torch.tensor([[[1.0, 0]], [[1, 0]], [[1, 0]]])
    question = torch.tensor([[[1.0, 1], [1, 2], [0, 0]], [[2, 0], [0, 1], [1, 0]], [[0, 0], [0, 0], [0, 0]]])
    assert raters(image, question).tolist() == [[True, True, False], [True, False, False], [False] * 3]


def test_what_position_alone_forbids_stays_finite():
    cues = {"last_attention@previous": torch.tensor([[[0.5, 0.0]]]), "last_prior@previous": torch.zeros(1, 2)}
    assert TextAttention(debias="rope").score(VisualTokens(torch.zeros(1, 2, 1), cues=cues)).isfinite().all()


def test_scores_that_are_handed_over():
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    cues = {"visual_attention@this": x, "visual_attention@previous": 2 * x, "layer_change": 3 * x}
    cues |= {"previous_scores": 4 * x.half()}
    tokens = VisualTokens(torch.zeros(2, 6, 1), cues=cues)
    assert torch.equal(VisualAttention(layer="this").score(tokens), x)
    assert torch.equal(VisualAttention().score(tokens), 2 * x)
    assert torch.equal(LayerChange(sign=-1).score(tokens), -LayerChange().score(tokens))
    assert torch.equal(LayerChange().score(tokens), 3 * x)
    assert torch.equal(Previous().score(tokens), 4 * x.half().float())
