"""Which encoder layer and which of its rows the language model gets: from the config, or from the call."""

import copy

import pytest
import torch
import yaml
from attach import tiny
from transformers import LlavaForConditionalGeneration

import tokenprune
from tokenprune.errors import MissingCue, PipelineError
from tokenprune.layers import layer_at

DEPTH = tiny.DEPTH
ERROR = {"without_cls": "error"}
FULL, DEFAULT = {"vision_feature_select_strategy": "full"}, {"vision_feature_select_strategy": "default"}


def changed(build, kind, **config):
    """A model of that kind with another config, ready to run."""
    settings = copy.deepcopy(build(kind).config)
    for name, value in config.items():
        setattr(settings, name, value)
    torch.manual_seed(0)
    return tiny._alive(LlavaForConditionalGeneration(settings), 0)


def prompt(rows):
    """One image that takes so many placeholders."""
    ids = torch.tensor([[1, 5, 6, *[tiny.IMAGE] * rows, 7, 8]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": tiny.pixels(1)}


def attention(model, inputs, layer):
    """[H, S, S] of one encoder layer, as the library shows it."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        return eager.model.vision_tower(inputs["pixel_values"], output_attentions=True).attentions[layer][0]


def ran(model, inputs, pipeline="fastervlm", budget=9, call=None, **changes):
    with tokenprune.attach(model, pipeline, budget=budget, **changes) as pruned:
        model.generate(**inputs, max_new_tokens=1, **(call or {}))
        first = pruned.receipt
        model(**inputs, **(call or {}))
    assert torch.equal(first.images[0].kept, pruned.receipt.images[0].kept)
    return pruned.receipt


ONE = [(-1, 3), (-2, 2), (-4, 0), (1, 0), (3, 2), (4, 3)]
SEVERAL = [([-2], 2), ([1, 3], 2), ([-1, -3], 3), ([3, -4], 2), ([-4, 3], 2)]


class TestFeatureLayer:
    """A hidden state counts from the embeddings, 0, and comes out of the layer before."""

    @pytest.mark.parametrize(("states", "layer"), ONE + SEVERAL, ids=str)
    def test_the_cue_comes_from_the_deepest_layer_that_is_used(self, build, states, layer):
        model, inputs = changed(build, "llava", vision_feature_layer=states), prompt(36)
        receipt = ran(model, inputs)
        scores = attention(model, inputs, layer)[:, 0, 1:].mean(0)
        assert receipt.source == (f"cls_attention@{layer}",)
        assert receipt.images[0].kept.tolist() == sorted(scores.topk(9).indices.tolist())

    @pytest.mark.parametrize(("states", "layer"), [(-1, 3), (1, 0), ([2], 1)], ids=str)
    def test_a_call_overrides_the_config(self, build, states, layer):
        model, inputs = build("llava"), prompt(36)
        receipt = ran(model, inputs, call={"vision_feature_layer": states})
        want = ran(changed(build, "llava", vision_feature_layer=states), inputs)
        assert receipt.source == want.source == (f"cls_attention@{layer}",)
        assert torch.equal(receipt.images[0].kept, want.images[0].kept)
        assert ran(model, inputs).source == ("cls_attention@2",)

    @pytest.mark.parametrize("states", [-5, [0], [0, -5]], ids=str)
    def test_embeddings_come_from_no_layer(self, build, states):
        model, inputs = changed(build, "llava", vision_feature_layer=states), prompt(36)
        with pytest.raises(MissingCue, match=r"embeddings.*cls_attention@LAYER"):
            tokenprune.attach(model, "fastervlm")
        assert ran(model, inputs, "divprune").after == 9
        assert ran(model, inputs, scorer={"use": "cls_attention", "layer": 0}).source == ("cls_attention@0",)

    def test_the_space_of_several_layers_is_all_of_them(self, build):
        model, inputs = changed(build, "llava", vision_feature_layer=[1, 3]), prompt(36)
        assert ran(model, inputs, "vispruner").space == "encoder"
        with torch.no_grad():
            seen = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states
        want = tokenprune.VisualTokens.on_grid(torch.cat([seen[1], seen[3]], -1)[:, 1:], (6, 6))
        pipeline = tokenprune.load("divprune", space="encoder", budget=9)
        assert torch.equal(ran(model, inputs, pipeline).images[0].kept, pipeline.select(want).indices()[0])


class TestClsToken:
    def test_it_stays_where_it_reaches_the_language_model_and_is_never_counted(self, build):
        model, inputs = build("llava_full"), prompt(37)
        for budget, after in ((9, 9), ("25%", 9), ("0%", 0), ("100%", 36), (36, 36)):
            receipt = ran(model, inputs, budget=budget)
            assert (receipt.before, receipt.after, receipt.separators) == (36, after, 1)
            visual = [slot for slot in receipt.slots[0].tolist() if 3 <= slot < 40]
            assert visual == [3, *(4 + kept for kept in receipt.images[0].kept.tolist())]
            assert receipt.images[0].grid == (6, 6)

    def test_its_attention_chooses_among_the_others(self, build):
        model, inputs = build("llava_full"), prompt(37)
        scores = attention(model, inputs, 2)[:, 0, 1:].mean(0)
        assert ran(model, inputs).images[0].kept.tolist() == sorted(scores.topk(9).indices.tolist())

    @pytest.mark.parametrize(("kind", "call", "rows"), [("llava", FULL, 37), ("llava_full", DEFAULT, 36)])
    def test_a_call_overrides_the_config(self, build, kind, call, rows):
        receipt = ran(build(kind), prompt(rows), call=call)
        assert (receipt.before, receipt.after, receipt.separators) == (36, 9, rows - 36)
        assert len(receipt.slots[0]) == 5 + 9 + rows - 36

    def test_the_same_tokens_are_chosen_with_and_without_it(self, build):
        one, two = ran(build("llava"), prompt(36)), ran(build("llava"), prompt(37), call=FULL)
        assert torch.equal(one.images[0].kept, two.images[0].kept)


class TestSiglip:
    """No CLS token: the attention received in the last layer; ``default`` cuts the first patch off."""

    @pytest.mark.parametrize(("strategy", "rows"), [("full", 36), ("default", 35)])
    def test_the_attention_received_chooses(self, build, strategy, rows):
        model = changed(build, "llava_siglip", vision_feature_select_strategy=strategy)
        inputs = prompt(rows)
        receipt = ran(model, inputs)
        scores = attention(model, inputs, DEPTH - 1).mean((0, 1))[36 - rows :]
        assert receipt.source == (f"received_attention@{DEPTH - 1}",)
        assert receipt.images[0].kept.tolist() == sorted(scores.topk(9).indices.tolist())
        assert (receipt.before, receipt.separators) == (rows, 0)
        assert receipt.images[0].grid == ((6, 6) if rows == 36 else None)

    def test_a_call_overrides_the_config(self, build):
        receipt = ran(build("llava_siglip"), prompt(35), call=DEFAULT)
        assert (receipt.before, receipt.after) == (35, 9)

    @pytest.mark.parametrize("pipeline", ["vispruner", "divprune", "uniform", "random"])
    def test_every_pipeline_runs_without_the_first_patch(self, build, pipeline):
        model = changed(build, "llava_siglip", **DEFAULT)
        assert ran(model, prompt(35), pipeline).after == 9


def test_vipllava_drops_the_cls_token_whatever_is_asked(build):
    model = build("vipllava")
    receipt = ran(model, tiny.prompts(model))
    assert (receipt.before, receipt.after, receipt.separators) == (36, 9, 0)
    assert receipt.source == ("cls_attention@2",)  # of [-2, -4, 1]


class TestShareOfTheDepth:
    """``33%`` is layer 8 of 24."""

    @pytest.mark.parametrize(
        ("at", "depth", "layer"),
        [
            ("33%", 24, 8),
            ("21%", 24, 5),
            ("47%", 32, 15),
            ("33%", 3, 1),
            ("0%", 24, 0),
            ("100%", 24, 23),
            ("37.5%", 4, 2),
        ],
    )
    def test_it_is_rounded_to_the_nearest(self, at, depth, layer):
        assert layer_at(at, [True] * depth, "cue") == layer

    def test_the_nearest_layer_with_attention_serves(self):
        layers = [False, True, False, False, True, False]
        assert [layer_at(f"{share}%", layers, "cue") for share in (0, 34, 50, 99)] == [1, 1, 4, 4]

    @pytest.mark.parametrize(("share", "layer"), [("0%", 0), ("37%", 1), ("75%", 3)])
    def test_a_pipeline_reads_it(self, build, share, layer):
        model, inputs = build("llava"), prompt(36)
        said = {"use": "cls_attention", "layer": share}
        receipt = ran(model, inputs, scorer=said)
        assert receipt.source == (f"cls_attention@{layer}",)
        want = ran(model, inputs, scorer={"use": "cls_attention", "layer": layer})
        assert torch.equal(receipt.images[0].kept, want.images[0].kept)
        assert tokenprune.load("fastervlm", scorer=said) == tokenprune.load(
            yaml.safe_load(tokenprune.load("fastervlm", scorer=said).to_yaml())
        )

    def test_a_layer_that_is_not_there_is_refused_with_a_way_out(self, build):
        said = r"'cls_attention@9' asks for encoder layer 9; this encoder has 4.*as in 'cls_attention@40%'"
        with pytest.raises(MissingCue, match=said):
            tokenprune.attach(build("llava"), "fastervlm", scorer={"use": "cls_attention", "layer": 9, **ERROR})

    @pytest.mark.parametrize("share", ["101%", "-3%", "%", "5 %", "1e1%"])
    def test_what_is_no_share_is_refused(self, share):
        with pytest.raises(PipelineError, match="layer"):
            tokenprune.load("fastervlm", scorer={"use": "cls_attention", "layer": share})

    @pytest.mark.parametrize("pipeline", ["hiprune", "vscan"])
    def test_methods_that_name_layers_of_clip_read_those(self, pipeline):
        reads = tokenprune.load(pipeline).reads_outside
        layers = {layer_at(wish.split("|")[0].partition("@")[2] or "22", [True] * 24, wish) for wish in reads}
        assert layers == {"hiprune": {8, 22}, "vscan": {5, 22}}[pipeline]


@pytest.mark.parametrize("kind", ["llava", "llava_siglip"])
def test_global_queries_are_those_that_receive_most(build, kind):
    model, inputs = build(kind), prompt(36)
    scorer = {"use": "attention_received", "times": 1.2, "layer": "50%"}
    receipt = ran(model, inputs, scorer=scorer)
    weights = attention(model, inputs, 2).mean(0)
    usual = weights.mean(0)
    seeks = usual > 1.2 * usual.mean()
    assert 0 < seeks.sum() < 20
    scores = weights[seeks].mean(0)[-36:]
    assert receipt.images[0].kept.tolist() == sorted(scores.topk(9).indices.tolist())
    assert receipt.source == ("global_attention:1.2@2",)
