"""Every rule of the conformance checks is broken here once, and the checks must say so."""

import re
from math import inf, nan

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field

from tokenprune import BudgetSplitter, Diversifier, Merge, Merger, Scorer, Split, VisualTokens, load
from tokenprune.testing import (
    KINDS,
    as_code,
    budgets,
    check_diversifier,
    check_merger,
    check_pipeline,
    check_scorer,
    check_settings,
    check_splitter,
    search,
    splits,
    variants,
    visual_tokens,
)
from tokenprune.testing.inside import INSIDE
from tokenprune.testing.search import alike
from tokenprune.tokens import top
from tokenprune_strategies.cls_attention import ClsAttention
from tokenprune_strategies.equal import Equal
from tokenprune_strategies.max_min import MaxMin

NAMES = {"torch": torch, "VisualTokens": VisualTokens, "inf": inf, "nan": nan}


@pytest.fixture(autouse=True)
def no_shrinking(request, monkeypatch):
    """One broken rule is enough to see; looking for the smallest input takes seconds."""
    if "smallest" not in request.node.name:
        monkeypatch.setattr(search, "PHASES", (Phase.generate,))


def fails(check, strategy, said):
    """The check fails with these words; and the message names the strategy and gives the input."""
    with pytest.raises(AssertionError, match=re.escape(said)) as caught:
        check(strategy)
    assert repr(strategy) in str(caught.value)
    return str(caught.value)


class Sum(Scorer):
    def score(self, tokens):
        return tokens.features.float().nan_to_num(0, 0, 0).sum(-1)


# --- what is drawn ---------------------------------------------------------------------------------------------------


SOME = {
    "one row of one token": lambda t: t.shape == (1, 1),
    "several images": lambda t: len(set(t.group.tolist())) > 1,
    "several rows to an image": lambda t: len(set(t.group.tolist())) < t.shape[0],
    "images that share a prompt": lambda t: len(set(t.sample.tolist())) < len(set(t.group.tolist())),
    "ragged rows": lambda t: len(set(t.counts.tolist())) > 1,
    "rows with nothing valid": lambda t: t.counts.min() == 0,
    "all valid, said": lambda t: t.valid is not None and t.valid.all(),
    "all valid, not said": lambda t: t.valid is None,
    "no geometry": lambda t: t.place is None,
    "a grid": lambda t: t.grid is not None and len(set(t.group.tolist())) > 1,
    "crops of one map": lambda t: t.canvas is not None and t.canvas[:, 0].max() > 3,
    "a thumbnail": lambda t: t.overview is not None and t.overview.any(),
    "padding outside the map": lambda t: t.place is not None and (t.place < 0).any(),
    "half precision": lambda t: t.features.dtype == torch.float16,
    "not contiguous": lambda t: not t.features.is_contiguous(),
    "a CLS vector": lambda t: t.extra is not None,
    "heads": lambda t: t.cue("a|b").ndim == 3,
    "no heads": lambda t: t.cue("a|b").ndim == 2,
    "a lazy cue": lambda t: any(callable(cue) for cue in t.cues.values()),
    "the second alternative alone": lambda t: set(t.cues) == {"b"},
    "NaN": lambda t: t.features.isnan().any(),
    "a NaN cue": lambda t: t.cue("a|b").isnan().any(),
    "ties": lambda t: t.shape[1] > 2 and (t.features == t.features[:1, :1]).all(),
    "zeros": lambda t: (t.features == 0).all(-1).any(),
    "numbers whose squares overflow": lambda t: t.features.float().square().isinf().any(),
    "numbers whose squares underflow": lambda t: (t.features.float().abs() < 1e-25).logical_and(t.features != 0).any(),
}


def test_tokens_of_every_awkward_sort_are_drawn():
    missing = dict(SOME)

    def look(tokens):
        for name in [name for name, condition in missing.items() if bool(condition(tokens))]:
            del missing[name]

    search.search("what is drawn", [st.tuples(visual_tokens((kind,), {"a|b"})) for kind in KINDS], look, examples=10)
    assert list(missing) == []


def test_budgets_of_every_sort_are_drawn():
    seen = set()

    def look(tokens, budget):
        kept = sum(total for _, total in budget.units(tokens))
        seen.update((budget.unit, "a share" if budget.share else "a count"))
        if tokens.counts.sum():
            seen.add("none" if not kept else "all" if kept == tokens.counts.sum() else "some")

    search.search("what is drawn", [st.tuples(visual_tokens((kind,)), budgets()) for kind in KINDS], look, examples=10)
    assert seen == {"image", "row", "prompt", "a share", "a count", "none", "all", "some"}


@given(visual_tokens(kinds=["exact"], dtypes=[torch.float32], reads={"a"}))
def test_exact_tokens_give_the_same_sums_in_any_order(tokens):
    x, order = tokens.unit, torch.randperm(tokens.unit.shape[-1])
    assert alike(x @ x.mT, x[..., order] @ x[..., order].mT)
    assert (tokens.unit.norm(dim=-1) == 1).all()
    cue = tokens.cue("a")
    assert alike(cue.sum(0), cue.flip(0).sum(0))


@given(visual_tokens(kinds=[kind for kind in KINDS if kind not in ("nan", "huge")], reads={"a", "b"}))
def test_what_is_not_called_nan_or_huge_is_finite(tokens):
    assert tokens.features.isfinite().all()
    assert tokens.cue("a").isfinite().all()
    assert (tokens.cue("b") >= 0).all()


@given(visual_tokens(reads={"a|b", "c@9"}))
def test_code_builds_the_same_tokens_again(tokens):
    again = eval(as_code(tokens), NAMES)
    assert as_code(again) == as_code(tokens)
    assert alike(again.features, tokens.features)
    assert again.group.tolist() == tokens.group.tolist()
    assert set(again.cues) == set(tokens.cues)
    assert tokens.cues_read == ()


@given(st.data())
def test_splits_never_ask_for_more_than_is_valid(data):
    tokens = data.draw(visual_tokens())
    split = data.draw(splits(tokens))
    assert (split.total <= tokens.counts).all()
    assert min(split.important.min(), split.diverse.min()) >= 0


def test_variants_are_the_defaults_and_each_setting_in_turn():
    found = {repr(variant) for variant in variants(ClsAttention)}
    assert repr(ClsAttention()) in found
    assert {repr(ClsAttention(heads="sum")), repr(ClsAttention(without_cls="error"))} <= found
    wanted = {repr(Equal(**{name: x})) for name in ("important", "merged") for x in (0.0, 0.5, 1.0)}
    assert wanted == {repr(variant) for variant in variants(Equal)}
    assert [repr(variant) for variant in variants(MaxMin)] == ["MaxMin(as_released=False)"]


# --- settings --------------------------------------------------------------------------------------------------------


class Thawed(Sum):
    model_config = ConfigDict(frozen=False)


class Lax(Sum):
    model_config = ConfigDict(extra="ignore")


class Use(Sum):
    use: str = "x"


class ReadsText(Sum):
    @property
    def reads(self):
        return "cls_attention"


class ReadsNoName(Sum):
    @property
    def reads(self):
        return frozenset({"CLS attention"})


class Odd(Sum):
    power: int = 2

    def __eq__(self, other):
        return False

    __hash__ = Sum.__hash__


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (Equal(), "is a tokenprune.Scorer"),
        (Thawed(), "is frozen"),
        (Lax(), "refuses unknown settings"),
        (Use(), "has no setting called 'use'"),
        (ReadsText(), "reads is a frozenset of NAME, NAME@LAYER or alternatives a|b; got cls_attention"),
        (ReadsNoName(), "reads is a frozenset of NAME, NAME@LAYER or alternatives a|b; got frozenset"),
        (Odd(), "is the same after a trip through YAML"),
    ],
)
def test_settings_that_break_a_rule(strategy, said):
    fails(lambda it: check_settings(it, Scorer), strategy, said)
    fails(check_scorer, strategy, said)


@pytest.mark.parametrize("check", [check_splitter, check_diversifier])
def test_settings_are_checked_whatever_the_kind(check):
    kind = "BudgetSplitter" if check is check_splitter else "Diversifier"
    fails(check, ClsAttention(), f"is a tokenprune.{kind}")


# --- scorers ---------------------------------------------------------------------------------------------------------


def scorer(score, reads=frozenset()):
    class Bad(Scorer):
        @property
        def reads(self):
            return frozenset(reads)

    Bad.score = lambda self, tokens: score(tokens)
    Bad.__abstractmethods__ = frozenset()
    return Bad()


def total(tokens):
    return tokens.features.float().nan_to_num(0, 0, 0).sum(-1)


def spill(tokens):
    tokens.features.add_(1)
    return total(tokens)


def spill_cue(tokens):
    tokens.cue("a").mul_(0.5)
    return total(tokens)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (scorer(lambda t: total(t).double()), "scores are torch.float32"),
        (scorer(lambda t: total(t)[:, :-1]), "scores are torch.float32"),
        (scorer(lambda t: total(t).log()), "finite features and cues give finite scores"),
        (scorer(lambda t: total(t) + torch.rand(t.shape)), "global random numbers are left alone; keep a seed"),
        (scorer(spill), "not written to, but features was"),
        (scorer(spill_cue, {"a"}), "not written to, but cue a was"),
        (scorer(lambda t: total(t) + total(t).mean(-1, keepdim=True)), "tokens that are not valid change no score"),
        (scorer(lambda t: total(t) - t.group[:, None] * t.shape[0]), "prompts change no score of each other"),
        (scorer(total, {"a"}), "without a, which it says it reads, it raises MissingCue"),
        (scorer(lambda t: t.cue("a").float().reshape(-1, *t.shape[1:])[: t.shape[0]]), "it raises MissingCue: no cue"),
        (scorer(lambda t: 1 / 0), "it raises ZeroDivisionError: division by zero"),
    ],
)
def test_scores_that_break_a_rule(bad, said):
    message = fails(check_scorer, bad, said)
    assert "on VisualTokens(torch.tensor(" in message


class Restless(Scorer):
    def score(self, tokens):
        Restless.calls = getattr(Restless, "calls", 0) + 1
        return total(tokens) + Restless.calls


def test_a_scorer_with_a_memory_of_its_own_is_found():
    fails(check_scorer, Restless(), "two calls on the same tokens give the same answer")


def test_cues_of_other_shapes_can_be_given():
    class Relevance(Scorer):
        @property
        def reads(self):
            return frozenset({"caption"})

        def score(self, tokens):
            x, text = tokens.features.float(), tokens.cue("caption").float()  # [B, N, C], [B, M, C]
            return (x @ text.mT).nan_to_num(0, 0, 0).amax(-1)

    with pytest.raises(AssertionError, match="it raises RuntimeError"):
        check_scorer(Relevance())
    check_scorer(Relevance(), cues={"caption": lambda x: torch.ones(len(x), 2, x.shape[2])})


# --- splitters -------------------------------------------------------------------------------------------------------


class Splits(BudgetSplitter):
    wrong: str

    def split(self, tokens, scores, budget):
        split = Equal(important=0.5).split(tokens, scores, budget)
        a, b = split.important, split.diverse
        return {
            "none": Split(a, b),
            "dtype": Split(a.int(), b),
            "shape": Split(a[:, None], b),
            "negative": Split(a + 1 + b, -b * 0 - 1),
            "one more": Split(a + 1, b),
            "one less": Split((a - 1).clamp(min=0), b),
            "to the first": Split(torch.cat([a.sum()[None], a[1:] * 0]), torch.cat([b.sum()[None], b[1:] * 0])),
        }[self.wrong]


def test_the_splitter_below_is_right_when_nothing_is_wrong():
    check_splitter(Splits(wrong="none"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("dtype", "on the host; got torch.int32 ["),
        ("shape", ", 1] on cpu"),
        ("negative", "diverse is never negative; got [-1"),
        ("one more", "as the budget says; got"),
        ("one less", "as the budget says; got"),
        ("to the first", "no row gets more than its valid tokens"),
    ],
)
def test_splits_that_break_a_rule(wrong, said):
    message = fails(check_splitter, Splits(wrong=wrong), said)
    assert "with Budget(" in message


class Fewer(BudgetSplitter):
    wrong: str

    @property
    def adaptive(self):
        return self.wrong != "not said"

    def split(self, tokens, scores, budget):
        counts = [0] * len(tokens.counts)
        for rows, total in budget.units(tokens):
            everything = int(tokens.counts[rows].sum())
            half = total if total == everything and self.wrong != "not all" else (total + 1) // 2
            left = min({"more": total + 1, "none": 0}.get(self.wrong, half), everything)
            for row in rows:
                counts[row] = min(left, int(tokens.counts[row]))
                left -= counts[row]
        return Split(torch.tensor(counts), torch.zeros(len(counts), dtype=torch.int64))


def test_an_adaptive_splitter_may_keep_fewer():
    check_splitter(Fewer(wrong="nothing"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("not said", "as the budget says; got"),
        ("not all", "as the budget says; got"),
        ("more", "keep at most"),
        ("none", "keep a token at least"),
    ],
)
def test_adaptive_splits_that_break_a_rule(wrong, said):
    fails(check_splitter, Fewer(wrong=wrong), said)


# --- diversifiers ----------------------------------------------------------------------------------------------------


class Chooses(Diversifier):
    wrong: str

    def choose(self, tokens, scores, kept, split):
        free = ~kept if tokens.valid is None else tokens.valid & ~kept
        x = tokens.features.float()
        wish = {
            "coupled": x.sum(-1) * (1 if x.shape[0] == 1 else -1),
            "reads invalid": x.sum(-1) * x.sum((1, 2)).cos()[:, None],
        }.get(self.wrong, scores)
        right = top(wish, split.diverse, free)
        return {
            "dtype": right.int(),
            "not valid": top(wish, split.diverse, ~kept),
            "kept": top(wish, split.diverse, tokens.valid),
            "too few": top(wish, (split.diverse - 1).clamp(min=0), free),
        }.get(self.wrong, right)


def test_the_diversifier_below_is_right_when_nothing_is_wrong():
    check_diversifier(Chooses(wrong="none"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("dtype", "what is chosen is torch.bool ["),
        ("not valid", "what is chosen holds valid tokens only"),
        ("kept", "what is chosen was not kept before"),
        ("too few", "each row chooses `split.diverse` tokens"),
        ("coupled", "prompts change no choice of each other"),
        ("reads invalid", "tokens that are not valid change no choice"),
    ],
)
def test_choices_that_break_a_rule(wrong, said):
    message = fails(check_diversifier, Chooses(wrong=wrong), said)
    assert "with Split(" in message


# --- mergers ---------------------------------------------------------------------------------------------------------


class Merges(Merger):
    """Carriers are the first free tokens; every free token is folded into the first token of its row that stays."""

    wrong: str

    def merge(self, tokens, scores, selection, split):
        batch, count = tokens.shape
        valid = torch.ones(batch, count).bool() if tokens.valid is None else tokens.valid
        free = valid & ~selection.mask
        carriers = self._carriers(free, valid, selection.mask, split.merged)
        stays = selection.mask | carriers
        into = stays.byte().argmax(1, keepdim=True).expand(batch, count)
        if self.wrong == "last":
            into = (~stays).byte().argmax(1, keepdim=True).expand(batch, count)
        first = torch.arange(batch)[:, None] * count
        come = free & ~carriers & stays.any(1, keepdim=True)
        source, target = (torch.arange(count) + first).flatten(), (into + first).flatten()
        merge = Merge(carriers, source, target, self._weight(tokens, come, valid, stays).flatten())
        return self._spoil(merge, count)

    def _carriers(self, free, valid, chosen, merged):
        order = -torch.arange(free.shape[1]).expand(free.shape).float()
        if self.wrong == "too few":
            merged = (merged - 1).clamp(min=0)
        open_ = {"not valid": ~chosen, "chosen": valid}.get(self.wrong, free)
        return top(order, merged, open_)

    def _weight(self, tokens, come, valid, stays):
        x = tokens.features.float()
        weight = {
            "none": come.float(),
            "infinite": torch.where(come, torch.inf, 0.0),
            "reads invalid": torch.where(come, x.sum((1, 2))[:, None].nan_to_num(0, 0, 0).cos(), 0.0),
            "coupled": come.float() * len(x),
            "of invalid": (~valid & stays.any(1, keepdim=True)).float(),
            "full rows": torch.where(come | stays, 0.5, 0.0),
            "other row": (come & stays.any(1).all()).float(),
            "restless": come * (1.0 + torch.rand((), generator=GENERATOR)),
        }
        return weight.get(self.wrong, weight["none"])

    def _spoil(self, merge, count):
        carriers, source, target, weight = merge.carriers, merge.source, merge.target, merge.weight
        return {
            "carrier type": Merge(carriers.int(), source, target, weight),
            "edge type": Merge(carriers, source.int(), target, weight),
            "weight type": Merge(carriers, source, target, weight.double()),
            "edge shape": Merge(carriers, source[:, None], target[:, None], weight[:, None]),
            "other row": Merge(carriers, source, target.roll(count), weight),
        }.get(self.wrong, merge)


GENERATOR = torch.Generator().manual_seed(0)


def test_the_merger_below_is_right_when_nothing_is_wrong():
    check_merger(Merges(wrong="none"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("carrier type", "what carries is torch.bool ["),
        ("not valid", "what carries holds valid tokens only"),
        ("chosen", "carriers were not chosen before"),
        ("too few", "each row has `split.merged` carriers"),
        ("edge type", "source, target and weight are [E] int64, int64, float32"),
        ("weight type", "source, target and weight are [E] int64, int64, float32"),
        ("edge shape", "source, target and weight are [E] int64, int64, float32"),
        ("infinite", "weights are finite"),
        ("of invalid", "sources are valid tokens"),
        ("last", "targets are carriers or tokens that stay"),
        ("other row", "no edge leaves its row"),
        ("full rows", "where nothing is dropped nothing changes"),
        ("reads invalid", "tokens that are not valid change no merge"),
        ("coupled", "prompts change no merge of each other"),
        ("restless", "two calls on the same tokens give the same answer"),
    ],
)
def test_merges_that_break_a_rule(wrong, said):
    message = fails(check_merger, Merges(wrong=wrong), said)
    assert "with Split(" in message


# --- pipelines -------------------------------------------------------------------------------------------------------

RIGHT = {"name": "mine", "scorer": "random", "splitter": {"use": "equal", "important": 0.5}, "diversifier": "max_min"}


@pytest.mark.parametrize(
    ("part", "cls", "wrong", "said"),
    [
        ("splitter", Splits, "one less", "together, as the budget says"),
        ("diversifier", Chooses, "too few", "together, as the budget says"),
        ("diversifier", Chooses, "dtype", "diverse is torch.bool"),
        ("diversifier", Chooses, "not valid", "diverse holds valid tokens only"),
        ("diversifier", Chooses, "kept", "important, diverse and merged share no token"),
        ("diversifier", Chooses, "coupled", "prompts change no selection of each other"),
        ("diversifier", Chooses, "reads invalid", "tokens that are not valid change no selection"),
    ],
)
def test_pipelines_that_break_a_rule(plant, part, cls, wrong, said):
    for group, one in (("splitters", Splits), ("diversifiers", Chooses)):
        plant(group, "planted", f"{one.__module__}:{one.__qualname__}")
    check_pipeline(load({**RIGHT, "budget": 3}), examples=5)
    pipeline = load({**RIGHT, part: cls(wrong=wrong), "budget": 3})
    with pytest.raises(AssertionError, match=re.escape(said)) as caught:
        check_pipeline(pipeline)
    assert "mine" in str(caught.value)


def test_every_stage_of_a_pipeline_is_checked(plant):
    for group, one in (("splitters", Splits), ("diversifiers", Chooses)):
        plant(group, "planted", f"{one.__module__}:{one.__qualname__}")
    first = {**{key: RIGHT[key] for key in RIGHT.keys() - {"name"}}, "budget": "50%"}
    last = {**first, "site": {"llm_layer": 2}}
    check_pipeline(load({"name": "mine", "stages": [first, last]}), examples=5)
    pipeline = load({"name": "mine", "stages": [first, {**last, "diversifier": Chooses(wrong="too few")}]})
    with pytest.raises(AssertionError, match="together, as the budget says"):
        check_pipeline(pipeline)


class Forgetful(Sum):
    seed: int = Field(default=0, exclude=True)


def test_a_pipeline_that_yaml_does_not_hold_is_found(plant):
    plant("scorers", "forgetful", f"{Forgetful.__module__}:Forgetful")
    check_pipeline(load({**RIGHT, "scorer": Forgetful(), "budget": 3}), examples=1)
    with pytest.raises(AssertionError, match="'mine' is the same pipeline after a trip through YAML; got name='mine'"):
        check_pipeline(load({**RIGHT, "scorer": Forgetful(seed=3), "budget": 3}))


@settings(deadline=None, max_examples=30)
@given(visual_tokens(("normal",), reads=INSIDE))
def test_cues_of_the_language_model_agree_on_who_speaks(tokens):
    sizes = {}
    for name, axes in INSIDE.items():
        value = tokens.cue(name)
        assert value.ndim == len(axes)
        for axis, size in zip(axes, value.shape, strict=True):
            assert sizes.setdefault(axis, size) == size
    assert (sizes["B"], sizes["N"], sizes["C"]) == tuple(tokens.features.shape)
    spoken = (tokens.cue("text_attention") != 0).any(3).any(1)  # [B, R]
    for name in ("text_prior", "text_keys", "text_states", "question"):
        assert torch.equal((tokens.cue(name) != 0).any(2), spoken)


def test_the_smallest_input_is_found():
    with pytest.raises(AssertionError) as caught:
        check_diversifier(Chooses(wrong="too few"))
    code = re.search(r"on (VisualTokens.*)", str(caught.value))[1]
    assert eval(code, NAMES).shape == (1, 1)


def test_a_scorer_with_nothing_wrong_passes():
    check_scorer(Sum())
