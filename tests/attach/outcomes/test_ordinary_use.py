"""Ordinary use: the same answer every time, nothing of the caller's changed, not a word of warning, any grad mode."""

import copy
import warnings

import pytest
import torch
from attach import tiny
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.utils import logging

import tokenprune

PIPELINES = ["vispruner", "fastervlm", "divprune", "random", "uniform"]


def answer(model, inputs, new=5, **options):
    return model.generate(**inputs, max_new_tokens=new, **options)


class TestTheSameEveryTime:
    @pytest.mark.parametrize("pipeline", PIPELINES)
    def test_one_prompt(self, model, pipeline):
        inputs, found = tiny.prompts(model, (2, 1)), []
        for _ in range(2):  # attachments
            with tokenprune.attach(model, pipeline, budget=7) as pruned, torch.no_grad():
                found += [(answer(model, inputs), model(**inputs).logits, pruned.receipt) for _ in range(2)]
        for ids, logits, receipt in found[1:]:
            assert torch.equal(ids, found[0][0])
            assert torch.equal(logits.nan_to_num(), found[0][1].nan_to_num())
            assert str(receipt).splitlines()[:-1] == str(found[0][2]).splitlines()[:-1]
            assert all(map(torch.equal, receipt.slots, found[0][2].slots))

    def test_a_seed_is_not_used_up(self, model, inputs):
        options = {"do_sample": True, "max_new_tokens": 1}
        with tokenprune.attach(model, "random", budget=7):
            torch.manual_seed(3)
            state = torch.get_rng_state()
            model(**inputs)
            assert torch.equal(torch.get_rng_state(), state)
            first = model.generate(**inputs, **options)
            torch.manual_seed(3)
            assert torch.equal(model.generate(**inputs, **options), first)

    def test_the_order_of_calls_does_not_matter(self, model):
        asked = [tiny.prompts(model, images, seed=seed) for seed, images in enumerate([(1,), (2, 0), (1, 1)], 1)]
        with tokenprune.attach(model, "vispruner", budget=7):
            want = [answer(model, inputs) for inputs in asked]
            for number in (2, 0, 1, 0):
                assert torch.equal(answer(model, asked[number]), want[number])


class TestNothingOfTheCallersChanges:
    @pytest.mark.parametrize("call", ["generate", "forward"])
    def test_inputs_and_options(self, model, call):
        inputs = tiny.prompts(model, (2, 1))
        length = inputs["input_ids"].shape[1]
        config = GenerationConfig(max_length=length + 3, min_length=length + 1, pad_token_id=0, num_beams=2)
        options = {"generation_config": config, "bad_words_ids": [[5]]}
        if call == "forward":
            options = {"labels": inputs["input_ids"].clone(), "position_ids": torch.arange(length)[None].repeat(2, 1)}
        given, kept = dict(inputs | options), copy.deepcopy(inputs | options)
        before = model.generation_config.to_dict(), model.config.to_dict()
        with tokenprune.attach(model, "vispruner", budget=7):
            model.generate(**inputs, **options) if call == "generate" else model(**inputs, **options)
        assert (model.generation_config.to_dict(), model.config.to_dict()) == before
        for name, value in (inputs | options).items():
            assert value is given[name]
            same = torch.equal(value, kept[name]) if isinstance(value, torch.Tensor) else value == kept[name]
            assert same, name

    def test_lists_that_were_handed_in(self, model, inputs):
        from transformers import LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList, TopKLogitsWarper

        processors = LogitsProcessorList([TopKLogitsWarper(3)])
        criteria = StoppingCriteriaList([MaxLengthCriteria(10_000)])
        inside = processors[0], criteria[0]
        with tokenprune.attach(model, "vispruner", budget=7):
            answer(model, inputs, logits_processor=processors, stopping_criteria=criteria)
        assert (list(processors), list(criteria)) == ([inside[0]], [inside[1]])

    def test_the_pipeline(self, model, inputs):
        pipeline = tokenprune.load("vispruner", budget=7)
        text = pipeline.to_yaml()
        with tokenprune.attach(model, pipeline) as pruned:
            answer(model, inputs)
        assert pipeline.to_yaml() == text
        assert pruned.pipeline == pipeline

    def test_encoded_images_of_another_call(self, model, inputs):
        """A cache that was filled before is read, not changed but for what the call adds."""
        with torch.no_grad():
            first = model(**tiny.prompts(model, (0,)), use_cache=True).past_key_values
        keys = first.layers[0].keys.clone()
        with tokenprune.attach(model, "fastervlm", budget=7), torch.no_grad():
            model(**{**inputs, "attention_mask": None}, past_key_values=first)
        assert torch.equal(first.layers[0].keys[:, :, : keys.shape[2]], keys)


class TestNotAWord:
    @pytest.mark.parametrize("kind", tiny.MODELS)
    @pytest.mark.parametrize("pipeline", PIPELINES)
    def test_ordinary_use(self, build, kind, pipeline, capfd):
        model = build(kind)
        verbosity = logging.get_verbosity()
        logging.set_verbosity_info()
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                with tokenprune.attach(model, pipeline, budget=7) as pruned:
                    out = answer(model, tiny.prompts(model, (1, 2)), return_dict_in_generate=True)
                    answer(model, tiny.prompts(model, (0,)))
                    model(**tiny.prompts(model))
                    ids = torch.cat([out.sequences, torch.full((2, 2), 7)], 1)
                    model.generate(input_ids=ids, past_key_values=out.past_key_values, max_new_tokens=2)
                tokenprune.prune_inputs(model, tiny.prompts(model), pipeline, budget=7)
                str(pruned.receipt)
        finally:
            logging.set_verbosity(verbosity)
        assert [str(one.message) for one in told] == []
        assert "tokenprune" not in "".join(capfd.readouterr())


MODES = {"grad": torch.enable_grad, "no grad": torch.no_grad, "inference": torch.inference_mode}


class TestGradModes:
    @pytest.mark.parametrize("mode", MODES)
    def test_generate(self, model, inputs, mode):
        with tokenprune.attach(model, "vispruner", budget=7):
            want = answer(model, inputs)
            with MODES[mode]():
                out = answer(model, inputs, return_dict_in_generate=True, output_scores=True)
                assert torch.is_grad_enabled() == (mode == "grad")
        assert torch.equal(out.sequences, want)
        assert not any(scores.requires_grad for scores in out.scores)

    def test_generate_encodes_without_a_graph(self, model, inputs):
        seen = []
        model.model.multi_modal_projector.register_forward_hook(lambda *it: seen.append(it[-1].requires_grad))
        with tokenprune.attach(model, "vispruner", budget=7):
            answer(model, inputs)
            model(**inputs)
        assert seen == [False, True]

    @pytest.mark.parametrize("mode", MODES)
    def test_forward(self, model, inputs, mode):
        with tokenprune.attach(model, "vispruner", budget=7) as pruned:
            with torch.no_grad():
                want = model(**inputs).logits
            with MODES[mode]():
                logits = model(**inputs).logits
        assert torch.equal(logits.nan_to_num(), want.nan_to_num())
        assert logits.requires_grad == (mode == "grad")
        assert not any(image.kept.requires_grad for image in pruned.receipt.images)

    def test_a_turn_of_inference_mode_goes_on_outside_of_it(self, model, inputs):
        with tokenprune.attach(model, "vispruner", budget=7):
            found = []
            for mode in (torch.no_grad, torch.inference_mode):
                with mode():
                    out = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
                ids = torch.cat([out.sequences, torch.tensor([[7, 8]])], 1)
                found.append(model.generate(input_ids=ids, past_key_values=out.past_key_values, max_new_tokens=3))
        assert torch.equal(*found)

    @pytest.mark.parametrize("pipeline", PIPELINES)
    def test_gradients_flow_through_what_stays(self, model, inputs, pipeline):
        pixels = inputs["pixel_values"].clone().requires_grad_()
        with tokenprune.attach(model, pipeline, budget=1):
            model(**{**inputs, "pixel_values": pixels}, labels=inputs["input_ids"]).loss.backward()
        assert float(pixels.grad.abs().sum()) > 0
        assert float(model.model.multi_modal_projector.linear_2.weight.grad.abs().sum()) > 0

    def test_choosing_has_no_gradient(self, model, inputs):
        """The scores come from a layer whose output the language model does not get."""
        layers = model.model.vision_tower.encoder.layers
        with tokenprune.attach(model, "vispruner", budget=9, scorer={"use": "cls_attention", "layer": 3}):
            model(**inputs, labels=inputs["input_ids"]).loss.backward()
        assert [layer.self_attn.q_proj.weight.grad is not None for layer in layers] == [True, True, True, False]

    def test_nothing_visual_still_trains_the_language_model(self, model, inputs):
        with tokenprune.attach(model, "fastervlm", budget="0%"):
            model(**inputs, labels=inputs["input_ids"]).loss.backward()
        assert float(model.lm_head.weight.grad.abs().sum()) > 0
        assert model.model.multi_modal_projector.linear_2.weight.grad is None


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_generate_batch_takes_text(build):
    """Continuous batching takes lists of ids, so that there are no images it could get."""
    prompts, found = [[1, *tiny.text(4, 1)], [1, *tiny.text(7, 2)]], []
    config = GenerationConfig(max_new_tokens=3, pad_token_id=0, do_sample=False, eos_token_id=None)
    small = ContinuousBatchingConfig(num_blocks=4, max_batch_tokens=16, page_size=32, max_requests_per_batch=2)
    for attached in (False, True):
        model = build()
        handle = tokenprune.attach(model, "fastervlm", budget=3, strict=True) if attached else None
        out = model.generate_batch(prompts, generation_config=config, continuous_batching_config=small, warmup=False)
        found.append([out[name].generated_tokens for name in sorted(out)])
        assert handle is None or handle.receipt is None
    assert found[0] == found[1]
    assert [len(tokens) for tokens in found[0]] == [3, 3]
