from dataclasses import replace

import pytest
import torch
from attach import tiny
from families.cases import CASES
from transformers import DynamicCache

import tokenprune
from tokenprune import Scorer
from tokenprune.errors import AttachError, BudgetError, UnsupportedMode
from tokenprune.family import family_of
from tokenprune.measure.blank import blank_prompt
from tokenprune.measure.conventions import CONVENTIONS, by_formula
from tokenprune.measure.costs import Subject, cached, counted
from tokenprune.measure.flops import flops
from tokenprune.measure.layers import LanguageCost
from tokenprune.measure.sizes import Described, built_in, described

TEXT = 7


def subject(model, image=(24, 24)):
    return Subject(Described("tiny", model.config, image, None, ""), text=TEXT)


MODELS = {
    "llava": (tiny.llava, (24, 24)),
    "llava_next": (CASES["llava_next"].build, (48, 30)),
    "qwen2_5_vl": (CASES["qwen2_5_vl"].build, (56, 40)),
    "qwen3_vl_moe": (CASES["qwen3_vl_moe"].build, (32, 40)),
}


class TestAgainstARealRun:
    """What is counted without weights is what a real run counts."""

    @pytest.fixture(params=MODELS)
    def both(self, request):
        build, image = MODELS[request.param]
        model = build()
        return model, subject(model, image)

    def real(self, model, subject, pipeline):
        rows = subject.vision.rows
        inputs = blank_prompt(subject.family, model, {**subject.pixels}, rows, TEXT)
        inputs["pixel_values"] = torch.randn(inputs["pixel_values"].shape)
        cache = DynamicCache(config=model.config.get_text_config())
        with torch.no_grad(), flops() as counted:
            if pipeline is None:
                model(**inputs, past_key_values=cache, logits_to_keep=1)
            else:
                with tokenprune.attach(model, pipeline) as attached:
                    model(**inputs, past_key_values=cache, logits_to_keep=1)
                assert attached.receipt.average < attached.receipt.before
        return counted.total, sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)

    def test_with_all_tokens(self, both):
        model, found = both
        cost = found.full()
        assert (cost.total, sum(cost.cache)) == self.real(model, found, None)
        assert min(cost.vision, cost.projector, cost.decode) > 0

    @pytest.mark.parametrize("name", ["vispruner", "divprune", "cdpruner"])
    def test_pruned(self, both, name):
        model, found = both
        pipeline = tokenprune.load(name, budget=0.4)
        cost = found.pruned(pipeline)
        assert (cost.total, sum(cost.cache)) == self.real(model, found, pipeline)
        assert (cost.cue > 0) == (name == "vispruner")
        assert cost.average == pipeline.budget.resolve(int(found.full().average))


@pytest.fixture(scope="module")
def parts():
    model = tiny.llava()
    model.model.language_model.layers.extend(tiny.llava(1).model.language_model.layers)
    model.config.text_config.num_hidden_layers = 4
    for index, layer in enumerate(model.model.language_model.layers):
        layer.self_attn.layer_idx = index
    return model, LanguageCost(family_of(model), subject(model).model)


class Looks(Scorer):
    """What the words of the question, or the last token, look at, heads alike."""

    wish: str

    @property
    def reads(self):
        return frozenset({self.wish})

    def score(self, tokens):
        seen = tokens.cue(self.wish)
        return seen.flatten(1, -2).mean(1) if seen.ndim > 2 else seen


STAGES = {
    "fastv": [{"site": {"llm_layer": 1}, "scorer": Looks(wish="last_attention@previous")}],
    "this": [{"site": {"llm_layer": 1}, "scorer": Looks(wish="text_attention@this")}],
    "both": [
        {"scorer": "attention_received", "splitter": "equal"},
        {"site": {"llm_layer": 1}, "scorer": Looks(wish="visual_attention@previous"), "diversifier": "max_min"},
    ],
}


class TestStagesInside:
    """The same, where tokens leave between the layers."""

    @pytest.mark.parametrize("kind", STAGES)
    @pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
    def test_a_real_run_counts_the_same(self, name, kind):
        build, image = MODELS[name]
        model = build()
        found = subject(model, image)
        stages = [{**one, "budget": f"{80 - 40 * nth}%"} for nth, one in enumerate(STAGES[kind])]
        pipeline = tokenprune.load({"name": "inside", "stages": stages})
        cost = found.pruned(pipeline)
        assert (cost.total, sum(cost.cache)) == TestAgainstARealRun().real(model, found, pipeline)
        assert cost.tokens[0] > cost.tokens[-1] > 0
        assert cost.cue > 0

    def test_a_smaller_image_is_no_choice(self):
        with pytest.raises(UnsupportedMode, match="'downsample' shrinks the image and chooses nothing; leave it out"):
            subject(tiny.llava()).pruned(tokenprune.load("downsample"))


class TestTokensThatLeaveBetweenLayers:
    def run(self, model, slots):
        """Each layer in turn is given the first so many of its slots; their counts and what the cache holds."""
        language = model.model.language_model
        cache = DynamicCache()
        words = torch.randn(1, slots[0], 48)
        states, angles = words, language.rotary_emb(words, torch.arange(slots[0])[None])
        with torch.no_grad(), flops() as counted:
            for layer, count in zip(language.layers, slots, strict=True):
                angles = tuple(part[:, :count] for part in angles)
                states = layer(states[:, :count], position_embeddings=angles, past_key_values=cache)
            model.lm_head(states[:, -1:])
        return counted.total, [layer.keys.numel() + layer.values.numel() for layer in cache.layers]

    @pytest.mark.parametrize("slots", [[30, 30, 30, 30], [30, 30, 12, 12], [30, 20, 11, 5]])
    def test_the_sum_over_layers_is_what_runs(self, parts, slots):
        model, cost = parts
        with torch.no_grad(), flops() as angles:
            model.model.language_model.rotary_emb(torch.zeros(1, 30, 48), torch.arange(30)[None])
        total, kept = self.run(model, slots)
        assert cost.prefill(slots) == total + angles.total
        assert cost.cache(slots) == kept

    def test_a_layer_without_slots_keeps_nothing(self, parts):
        assert parts[1].cache([30, 30, 0, 0])[2:] == [0, 0]

    def test_decoding_costs_more_after_more(self, parts):
        cost = parts[1]
        width, layers = 48, 4
        saved = cost.decode([30] * layers) - cost.decode([30, 30, 12, 12])
        assert saved == 2 * 2 * 2 * (30 - 12) * width  # layers, products, FLOPs


@pytest.fixture(scope="module")
def large():
    return Subject(described("llava-next-7b"))


class TestConventions:
    """The figures that papers print, digit by digit as far as they print them."""

    @pytest.mark.parametrize(
        ("name", "count", "printed"),
        [("fastv", 576 + 59, "3.30"), ("pyramiddrop", 576, "3.82"), ("vispruner", 720, "9.60")],
    )
    def test_of_the_language_model(self, name, count, printed):
        config = tokenprune.measure.sizes.described("llava-1.5-7b").config.text_config
        assert f"{by_formula(CONVENTIONS[name], config, [count] * 32) / 1e12:.2f}" == printed

    @pytest.mark.parametrize(("tokens", "printed"), [(2880, 43.56), (720, 11.51), (145, 3.80)])
    def test_of_vispruner_with_its_vision_encoder(self, large, tokens, printed):
        cost = replace(large.full(), tokens=[tokens] * 32)
        assert round(counted(CONVENTIONS["vispruner"], large, cost) / 1e12, 2) == printed
        assert cached(CONVENTIONS["vispruner"], large, cost) * 2 == tokens * 2**19

    def test_of_fastv_where_tokens_leave_after_two_layers(self, large):
        cost = replace(large.full(), tokens=[2880] * 2 + [720] * 30)
        assert round(counted(CONVENTIONS["vispruner"], large, cost) / 1e12, 2) == 13.51
        assert cached(CONVENTIONS["vispruner"], large, cost) * 2 == 427.5 * 2**20

    def test_measured_counts_everything(self, large):
        cost = large.full()
        assert cost.tokens == [2880] * 32
        assert cost.slots == [2880 + 48 + 59] * 32  # newlines and text
        assert counted(CONVENTIONS["measured"], large, cost) == cost.total
        assert cached(CONVENTIONS["measured"], large, cost) == sum(cost.cache)
        with_text = counted(CONVENTIONS["fastv"], large, cost)
        assert with_text == by_formula(CONVENTIONS["fastv"], large.language.config, cost.slots)

    def test_grouped_queries_count_as_what_they_are(self):
        config = described("qwen2.5-vl-7b").config.get_text_config()
        wide, narrow, inner = 3584, 512, 18944
        layer = 2 * 100 * wide * (wide + narrow) + 2 * 100**2 * wide + 3 * 100 * wide * inner
        assert by_formula(CONVENTIONS["pyramiddrop"], config, [100] * 28) == 28 * layer

    @pytest.mark.parametrize("case", ["qwen3_vl_moe", "gemma3", "qwen3_5"])
    def test_layers_that_differ_have_no_formula(self, case):
        config = CASES[case].build().config.get_text_config()
        with pytest.raises(AttachError, match="count with --convention measured"):
            by_formula(CONVENTIONS["fastv"], config, [3])


class TestRefusals:
    def test_more_tokens_than_there_are(self):
        found = subject(tiny.llava())
        assert found.pruned(tokenprune.load("random", budget=36)).average == 36
        with pytest.raises(BudgetError, match=r"a budget of 37 is more than the 36 visual tokens .* at most 36"):
            found.pruned(tokenprune.load("random", budget=37))

    def test_no_images_among_the_slots(self):
        with pytest.raises(AttachError, match="MllamaForConditionalGeneration has no vision encoder whose tokens"):
            subject(CASES["mllama"].build())

    def test_an_image_that_only_a_processor_knows(self):
        with pytest.raises(AttachError, match=r"Gemma4.* only its image processor knows; name the folder"):
            subject(CASES["gemma4"].build())

    def test_what_does_not_run_without_weights_says_so(self):
        model = CASES["step3p7"].build()
        with pytest.raises(AttachError, match=r"does not run without weights: .*; count it on a real run"):
            LanguageCost(family_of(model), model.to("meta")).at(3)

    def test_layers_that_are_not_there(self):
        model = tiny.llava()
        model.config.text_config.num_hidden_layers = 5
        with pytest.raises(AttachError, match="LlamaModel has no list of 5 layers"):
            LanguageCost(family_of(model), model)


def test_every_size_is_laid_out_whole():
    parameters = {
        "llava-1.5-7b": 7.06,
        "llava-1.5-13b": 13.35,
        "llava-next-7b": 7.06,
        "qwen2.5-vl-7b": 8.29,
        "llava-small": 0.256,
    }
    assert set(built_in()) == set(parameters)
    for name, billions in parameters.items():
        model = tokenprune.configs.laid_out(described(name).config)
        assert sum(weight.numel() for weight in model.parameters()) / 1e9 == pytest.approx(billions, abs=0.006)
