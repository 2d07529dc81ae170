import math
import time
from fractions import Fraction

import pytest
import torch
from attach import tiny
from families.cases import CASES
from transformers import LogitsProcessorList

import tokenprune
from tokenprune.errors import AttachError, BudgetError, UnsupportedMode
from tokenprune.measure import random_weights
from tokenprune.measure.bench import bench, headline
from tokenprune.measure.break_even import Size, break_even, pays_from
from tokenprune.measure.clock import Clock, Stamps
from tokenprune.measure.contest import Contest, noise_prompt, without_scores
from tokenprune.measure.paired import Ratio
from tokenprune.measure.stages import Stages, cache_bytes

MODELS = {"llava": (24, 24), "llava_next": (48, 30), "qwen2_5_vl": (56, 40)}
NEW = 3


@pytest.fixture(params=MODELS)
def contest(request):
    torch.manual_seed(0)
    model = CASES[request.param].build() if request.param != "llava" else tiny.llava()
    model.generation_config.eos_token_id = None
    inputs = noise_prompt(model, MODELS[request.param], 7)
    return Contest(model, inputs, tokenprune.load("vispruner", budget=0.4), NEW)


class LastRow(tokenprune.Scorer):
    """What the last token of the prompt looks at, heads alike."""

    @property
    def reads(self):
        return frozenset({"last_attention@previous"})

    def score(self, tokens):
        return tokens.cue("last_attention@previous").mean(1)


class TestContest:
    def test_every_way_says_what_it_should(self, contest):
        model, inputs = contest.model, contest.inputs
        full, pruned, limit = (run().sequences for run in (contest.full, contest.pruned, contest.limit))
        assert torch.equal(full, model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW))
        with tokenprune.attach(model, contest.pipeline) as attached:
            assert torch.equal(pruned, model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW))
        assert attached.receipt.after == contest.receipt.after < contest.receipt.before
        assert torch.equal(pruned[:, -NEW:], limit[:, -NEW:])
        assert limit.shape[1] - NEW == inputs["input_ids"].shape[1] - contest.receipt.before + contest.receipt.after

    def test_the_limit_chooses_nothing(self, contest, monkeypatch):
        def refuse(*_):
            raise AssertionError("the limit chose")

        monkeypatch.setattr("tokenprune.stage.Stage.select", refuse)
        contest.limit()
        with pytest.raises(AssertionError, match="the limit chose"):
            contest.pruned()

    def test_laps_are_noted_and_forgotten(self, contest):
        contest.pruned()
        contest.pruned()
        laps = contest.laps
        assert [len(laps[name].first) for name in laps] == [0, 2, 0]
        assert all(0 < each < math.inf for each in (*laps["pruned"].first, *laps["pruned"].each))
        contest.forget()
        assert contest.laps["pruned"].first == []

    def test_a_budget_that_leaves_nothing_out_is_refused(self, contest):
        pipeline = contest.pipeline.replace(budget=1000)
        with pytest.raises(
            BudgetError, match=r"a budget of 1000 keeps all \d+ visual tokens .* ask for fewer, such as"
        ):
            Contest(contest.model, contest.inputs, pipeline, NEW)

    def test_a_smaller_image_is_no_choice(self, contest):
        with pytest.raises(UnsupportedMode, match="'downsample' shrinks the image and chooses nothing, so there is no"):
            Contest(contest.model, contest.inputs, tokenprune.load("downsample"), NEW)

    def test_what_looks_at_images_sideways_is_refused(self):
        case = CASES["mllama"]
        model = case.build()
        with pytest.raises(AttachError, match="looks at images through cross-attention"):
            Contest(model, case.inputs(model, (0,)), tokenprune.load("divprune"), NEW)


class TestStages:
    def test_each_does_what_the_pruned_run_does(self, contest):
        stages = Stages(contest)
        for run in stages.runs.values():
            run()
        heard = stages.ran.heard.cues
        again = stages.cue().cues
        assert list(again) == list(heard)
        for name, values in heard.items():
            for one, other in zip(values, again[name], strict=True):
                torch.testing.assert_close(one, other)
        _, chosen = stages.selection()
        assert int(chosen.mask.sum()) == contest.receipt.after
        assert len(stages.split) == 1
        assert stages.split[0] > 0

    def test_caches_hold_what_was_prefilled(self, contest):
        stages = Stages(contest)
        for name in ("prefill, full", "prefill, pruned"):
            stages.runs[name]()
        config, slots = contest.model.config.get_text_config(), contest.inputs["input_ids"].shape[1]
        width = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4
        dropped = contest.receipt.before - contest.receipt.after
        for name, length in (("full", slots), ("pruned", slots - dropped)):
            assert cache_bytes(stages.cache[name]) == [length * width] * config.num_hidden_layers


class TestRecord:
    @pytest.fixture(scope="class")
    @classmethod
    def record(cls):
        model = tiny.llava()
        inputs = noise_prompt(model, (24, 24), 7)
        told = []
        found = bench(Contest(model, inputs, tokenprune.load("vispruner", budget=9), NEW), 2, tell=told.append)
        assert len(told) == 4
        return found

    def test_says_what_was_compared(self, record):
        assert record["tokens"] == {"full": 36, "pruned": 9}
        assert record["same_answer_as_the_limit"]
        for what in ("first_token", "each_token"):
            seconds = record[what]["seconds"]
            assert list(seconds) == ["full", "pruned", "limit"]
            assert min(seconds.values()) > 0
            assert record[what]["overhead"]["count"] == 2
        assert sum(record["cache_bytes"]["full"]) > sum(record["cache_bytes"]["pruned"])

    def test_says_what_it_depends_on(self, record):
        wanted = ("device", "dtype", "attention", "layers", "budget", "prompt", "rounds", "warm_ups", "load")
        assert all(record[name] for name in wanted)
        assert record["environment"]["threads"] == torch.get_num_threads()
        assert record["prompt"] == 36 + 7

    def test_stages_inside_the_language_model(self):
        model = tiny.llava()
        stages = [{"site": {"llm_layer": 1}, "scorer": LastRow(), "budget": "25%"}]
        pipeline = tokenprune.load({"name": "inside", "stages": stages})
        contest = Contest(model, noise_prompt(model, (24, 24), 7), pipeline, NEW)
        found = bench(contest, 2)
        assert found["tokens"] == {"full": 36, "pruned": (36 + 9) / 2}
        full, pruned = (found["cache_bytes"][name] for name in ("full", "pruned"))
        assert full[0] == pruned[0]
        assert pruned[1] * (36 + 7) == full[1] * (9 + 7)
        assert list(found["stages"]["seconds"]) == ["vision tower", "prefill, full", "projector"]
        assert "break_even" not in found
        with tokenprune.attach(model, without_scores(pipeline)) as attached:
            model(**contest.inputs)
        assert attached.receipt.layers[0].kept[0].tolist() == list(range(9))

    def test_one_token_has_none_after_it(self):
        model = tiny.llava()
        contest = Contest(model, noise_prompt(model, (24, 24), 7), tokenprune.load("vispruner", budget=9), 1)
        found = bench(contest, 2, sizes=False)
        assert "each_token" not in found
        assert "break_even" not in found


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Ratio(1.3, 0.9, 1.6, 9), "no speed-up is claimed: the interval covers 1"),
        (Ratio(1.3, 1.1, 1.6, 9), "1.30 times as fast to the first token; interval 1.10 to 1.60"),
        (Ratio(0.8, 0.7, 0.9, 9), "no speed-up: pruned takes longer"),
    ],
)
def test_only_what_is_settled_is_claimed(ratio, said):
    assert headline(ratio).startswith(said)


class TestBreakEven:
    @pytest.mark.parametrize(
        ("lows", "least"),
        [
            ([0.5, 0.9, 1.1, 2.0], 64),
            ([1.2, 0.9, 1.1, 2.0], 64),
            ([0.9] * 4, None),
            ([1.1] * 4, 16),
            ([2, 2, 2, 1], None),
        ],
    )
    def test_every_larger_size_has_to_pay_too(self, lows, least):
        sizes = [Size(count, 1, Ratio(3.0, low, 4.0, 5)) for count, low in zip((16, 36, 64, 144), lows, strict=True)]
        assert pays_from(sizes) == least

    def test_sizes_end_at_that_of_the_image(self, contest):
        tokens = Stages(contest).selection()[0].tokens
        found = break_even(contest, tokens, Fraction(1, 4), 0.0, 2)
        assert [size["tokens"] for size in found["sizes"]] == [16, 36, 64][: len(found["sizes"])]
        assert [size["kept"] for size in found["sizes"]] == [4, 9, 16][: len(found["sizes"])]
        assert found["sizes"][-1]["tokens"] <= contest.receipt.before

    def test_what_choosing_takes_beside_counts(self, contest):
        tokens = Stages(contest).selection()[0].tokens
        found = break_even(contest, tokens, Fraction(1, 4), 1e6, 2)
        assert found["pays_from"] is None
        assert found["sizes"][0]["speed_up"]["high"] < 1e-3


class TestRandomWeights:
    def config(self):
        return tiny.llava().config

    def test_they_are_fit_to_run(self):
        model = random_weights.random_model(
            random_weights.cut_to(self.config(), 1), torch.device("cpu"), torch.bfloat16
        )
        assert len(model.model.language_model.layers) == 1
        assert model.dtype == torch.bfloat16
        inputs = noise_prompt(model, (24, 24), 7)
        logits = model(**inputs).logits
        assert torch.isfinite(logits).all()
        assert logits.float().std() > 0
        assert all((weight == 1).all() for name, weight in model.named_parameters() if name.endswith("norm.weight"))

    def test_the_config_that_was_given_stays(self):
        config = self.config()
        random_weights.cut_to(config, 1)
        assert config.text_config.num_hidden_layers == 2

    def test_layers_that_are_listed_are_cut_too(self):
        config = random_weights.cut_to(CASES["gemma3"].build().config, 1)
        assert len(config.get_text_config().layer_types) == 1

    def test_more_layers_than_there_are(self):
        with pytest.raises(AttachError, match="--layers 3: this language model has 2; ask for 1 to 2"):
            random_weights.cut_to(self.config(), 3)

    def test_what_does_not_fit_is_refused_before_it_is_made(self, monkeypatch):
        monkeypatch.setattr(random_weights, "free_memory", lambda device: 2**10)
        with pytest.raises(
            AttachError, match=r"these weights take 0.0 GiB in float32, and 0.0 GiB are free on cpu; cut"
        ):
            random_weights.random_model(self.config(), torch.device("cpu"), torch.float32)

    def test_free_memory_is_known_of_this_machine(self):
        assert 2**20 < random_weights.free_memory(torch.device("cpu")) < 2**50
        assert random_weights.free_memory(torch.device("meta")) is None


class TestClock:
    def test_the_process_may_be_watched_instead_of_the_wall(self):
        clock = Clock(torch.device("cpu"), busy=True)
        first, wall = clock.mark(), time.perf_counter()
        time.sleep(0.05)
        assert clock.between(first, clock.mark()) < time.perf_counter() - wall
        with pytest.raises(
            AttachError, match="the clock of the process says nothing of a model on cuda:0; take --clock"
        ):
            Clock(torch.device("cuda:0"), busy=True)

    def test_stamps_are_marked_once_a_token_and_change_nothing(self):
        clock, now = Clock(torch.device("cpu")), iter([1.0, 3.0, 3.5, 4.5])
        clock.mark = lambda: next(now)
        stamps = LogitsProcessorList([Stamps(clock)])
        scores = torch.randn(1, 5)
        for _ in range(3):
            assert stamps(torch.zeros(1, 2, dtype=torch.int64), scores) is scores
        assert stamps[0].seconds() == (2.0, 0.75)

    def test_the_host_has_no_events(self):
        clock = Clock(torch.device("cpu"))
        first = clock.mark()
        assert clock.between(first, first + 2.5) == 2.5
