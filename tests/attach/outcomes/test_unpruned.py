"""What cannot be pruned passes, and says so unless there is nothing to say; with ``strict`` it is an error."""

import warnings

import pytest
import torch
from attach import tiny

import tokenprune
from tokenprune.errors import NothingPruned, NothingPrunedWarning, UnprunedInputWarning, UnsupportedMode
from tokenprune.selection import Split


def embedded(model, inputs):
    """The same prompt as ``inputs_embeds``, images in place."""
    core = model.model
    with torch.no_grad():
        features = torch.cat(list(core.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output))
        embeds = core.get_input_embeddings()(inputs["input_ids"])
        embeds[inputs["input_ids"] == tiny.IMAGE] = features
    return {"inputs_embeds": embeds, "attention_mask": inputs["attention_mask"]}


def encoded(model, inputs):
    """The same prompt with features that the caller made."""
    with torch.no_grad():
        output = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
    return {**rest, "mm_encoder_outputs": {"image": output}}


def beside(names):
    """Embeddings, and other things beside them that the model is going to ignore or refuse."""
    return lambda model, inputs: {**embedded(model, inputs), **{name: inputs[name] for name in names}}


UNPRUNED = {"inputs_embeds": embedded, "mm_encoder_outputs": encoded}
CALLS = {
    "generate": lambda model, inputs: model.generate(**inputs, max_new_tokens=4),
    "forward": lambda model, inputs: model(**inputs).logits,
}


class TestWithoutImages:
    @pytest.mark.parametrize("strict", [False, True])
    @pytest.mark.parametrize("call", CALLS)
    def test_a_text_prompt_passes_without_a_word(self, model, call, strict):
        inputs = tiny.prompts(model, images=(0, 0))
        want = CALLS[call](model, inputs)
        with tokenprune.attach(model, "fastervlm", budget=3, strict=strict) as pruned:
            got = CALLS[call](model, inputs)
        assert torch.equal(got, want)
        assert pruned.receipt is None

    def test_a_decode_step_passes_without_a_word(self, model):
        inputs = tiny.prompts(model, images=(0,))
        with tokenprune.attach(model, "fastervlm", budget=3, strict=True):
            first = model(**inputs, use_cache=True)
            model(input_ids=torch.tensor([[7]]), past_key_values=first.past_key_values)

    def test_empty_encoder_outputs_are_no_images(self, model):
        inputs = tiny.prompts(model, images=(0,))
        with tokenprune.attach(model, "fastervlm", budget=3, strict=True):
            model(**inputs, mm_encoder_outputs={}, pixel_values=None)


@pytest.mark.parametrize("kind", UNPRUNED)
class TestUnprunedInput:
    @pytest.mark.parametrize("call", CALLS)
    def test_it_reaches_the_model_as_it_is_with_a_warning(self, model, inputs, kind, call):
        want = CALLS[call](model, UNPRUNED[kind](model, inputs))
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            with pytest.warns(UnprunedInputWarning, match="input_ids with the pixels") as told:
                got = CALLS[call](model, UNPRUNED[kind](model, inputs))
            assert len(told) == 1
        assert torch.equal(got, want)
        assert pruned.receipt is None

    def test_the_warning_comes_once(self, model, inputs, kind):
        with tokenprune.attach(model, "fastervlm", budget=3), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for call in CALLS.values():
                call(model, UNPRUNED[kind](model, inputs))
                call(model, UNPRUNED[kind](model, inputs))
        assert [one.category for one in told] == [UnprunedInputWarning]

    @pytest.mark.parametrize("call", CALLS)
    def test_the_warning_points_at_the_caller(self, model, inputs, kind, call):
        with tokenprune.attach(model, "fastervlm", budget=3), pytest.warns(UnprunedInputWarning) as told:
            CALLS[call](model, UNPRUNED[kind](model, inputs))
        assert [one.filename for one in told] == [__file__]

    @pytest.mark.parametrize("call", CALLS)
    def test_strict_refuses_it_and_goes_on(self, model, inputs, kind, call, traces):
        with tokenprune.attach(model, "fastervlm", budget=3, strict=True) as pruned:
            before = traces(model)
            for _ in range(2):
                with pytest.raises(NothingPruned, match="inputs_embeds or encoded images"):
                    CALLS[call](model, UNPRUNED[kind](model, inputs))
            assert traces(model) == before
            CALLS[call](model, inputs)
        assert pruned.receipt.after == 3

    def test_the_next_prompt_is_pruned(self, model, inputs, kind):
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            with pytest.warns(UnprunedInputWarning):
                model.generate(**UNPRUNED[kind](model, inputs), max_new_tokens=2)
            model.generate(**inputs, max_new_tokens=2)
        assert pruned.receipt.after == 3


class Everything(tokenprune.BudgetSplitter):
    """A third party's splitter that does not divide anything."""

    def split(self, tokens, scores, budget):
        return Split(tokens.counts, tokens.counts * 0)


class AllButOneImage(tokenprune.BudgetSplitter):
    """A third party's splitter that forgets the second image."""

    def split(self, tokens, scores, budget):
        counts = tokens.counts.clone()
        counts[0] = 1
        return Split(counts, counts * 0)


@pytest.mark.parametrize("splitter", [Everything, AllButOneImage])
@pytest.mark.parametrize("budget", [3, "25%", "3 per row", "3 per prompt"])
class TestNothingPruned:
    def asked(self, model, splitter):
        """One prompt for each image, so that a prompt is left whole in either case."""
        return tiny.prompts(model, images=(1, 1))

    @pytest.mark.parametrize("call", CALLS)
    def test_it_warns_once_and_names_the_splitter(self, model, splitter, budget, call):
        pipeline, inputs = tokenprune.load("uniform", budget=budget, splitter=splitter()), self.asked(model, splitter)
        with tokenprune.attach(model, pipeline) as pruned, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            CALLS[call](model, inputs)
            CALLS[call](model, inputs)
        assert [one.category for one in told] == [NothingPrunedWarning]
        for word in (splitter.__name__, str(pipeline.budget)):
            assert word in str(told[0].message)
        assert pruned.receipt.images[1].after == 36

    @pytest.mark.parametrize("call", CALLS)
    def test_strict_makes_it_an_error(self, model, splitter, budget, call, traces):
        pipeline, inputs = tokenprune.load("uniform", budget=budget, splitter=splitter()), self.asked(model, splitter)
        with tokenprune.attach(model, pipeline, strict=True):
            before = traces(model)
            for _ in range(2):
                with pytest.raises(NothingPruned, match=splitter.__name__):
                    CALLS[call](model, inputs)
            assert traces(model) == before

    def test_prune_inputs_warns_too(self, model, splitter, budget):
        pipeline, inputs = tokenprune.load("uniform", budget=budget, splitter=splitter()), self.asked(model, splitter)
        with pytest.warns(NothingPrunedWarning, match=splitter.__name__):
            tokenprune.prune_inputs(model, inputs, pipeline)


def test_each_kind_of_warning_comes_once(model, inputs):
    pipeline = tokenprune.load("uniform", budget=3, splitter=Everything())
    with tokenprune.attach(model, pipeline), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            model.generate(**embedded(model, inputs), max_new_tokens=1)
            model.generate(**inputs, max_new_tokens=1)
    assert [one.category for one in told] == [UnprunedInputWarning, NothingPrunedWarning]


@pytest.mark.parametrize("budget", [36, 37, 10_000, "100%", "500 per row", "500 per prompt"])
@pytest.mark.parametrize("call", CALLS)
def test_a_budget_of_all_there_is_or_more_is_the_identity_without_a_word(model, inputs, budget, call):
    want = CALLS[call](model, inputs)
    with tokenprune.attach(model, "vispruner", budget=budget, strict=True) as pruned:
        got = CALLS[call](model, inputs)
    assert torch.equal(got, want)
    assert (pruned.receipt.before, pruned.receipt.after) == (36, 36)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("names", [["pixel_values"], ["pixel_values", "input_ids"]], ids=len)
def test_pixels_beside_embeddings_are_not_pruned_and_that_is_said(model, inputs, call, names):
    with tokenprune.attach(model, "fastervlm", budget=3, strict=True), pytest.raises(NothingPruned):
        CALLS[call](model, beside(names)(model, inputs))


CALLS_AND_INPUTS = {**CALLS, "prune_inputs": lambda model, inputs: tokenprune.prune_inputs(model, inputs, "fastervlm")}


@pytest.mark.parametrize("call", CALLS_AND_INPUTS)
def test_pixels_beside_encoded_images_are_refused(model, inputs, call):
    both = {**encoded(model, inputs), "pixel_values": inputs["pixel_values"]}
    with tokenprune.attach(model, "fastervlm", budget=3), pytest.raises(UnsupportedMode, match="not both; leave one"):
        CALLS_AND_INPUTS[call](model, both)
