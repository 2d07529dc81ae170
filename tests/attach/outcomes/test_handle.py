"""One model, one pipeline: attach, detach, and nothing is left."""

import pytest
import torch
from attach import tiny

import tokenprune
from tokenprune.attach import Attachment
from tokenprune.errors import AlreadyAttached, AttachError, PipelineError


class Interrupt(BaseException):
    """What Ctrl-C raises, without stopping the test run."""


def says(problem, *words):
    text = str(problem.value)
    assert [word for word in words if word not in text] == [], text


class TestLifetime:
    def test_a_context_manager_prunes_inside_the_block_only(self, model, inputs, traces):
        want, before = model.generate(**inputs, max_new_tokens=6), traces(model)
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            assert isinstance(pruned, Attachment)
            assert pruned.receipt is None
            inside = model.generate(**inputs, max_new_tokens=6)
            assert pruned.receipt.after == 3
        assert traces(model) == before
        assert torch.equal(model.generate(**inputs, max_new_tokens=6), want)
        assert not torch.equal(inside, want)
        assert pruned.receipt.after == 3  # the record outlives the block

    def test_a_handle_prunes_until_it_is_detached(self, model, inputs, traces):
        before = traces(model)
        pruned = tokenprune.attach(model, "fastervlm", budget=3)
        model.generate(**inputs, max_new_tokens=2)
        first = pruned.receipt
        model(**inputs)
        assert pruned.receipt is not first
        pruned.detach()
        model.generate(**inputs, max_new_tokens=2)
        assert pruned.receipt.milliseconds is not first.milliseconds
        assert traces(model) == before

    def test_detaching_twice_does_nothing(self, model, inputs, traces):
        before = traces(model)
        pruned = tokenprune.attach(model, "fastervlm", budget=3)
        pruned.detach()
        pruned.detach()
        assert traces(model) == before

    def test_a_stale_handle_does_not_detach_its_successor(self, model, inputs):
        first = tokenprune.attach(model, "fastervlm", budget=3)
        first.detach()
        with tokenprune.attach(model, "random", budget=5) as second:
            first.detach()
            model.generate(**inputs, max_new_tokens=2)
        assert second.receipt.after == 5
        assert first.receipt is None

    def test_detaching_inside_the_block_is_fine(self, model, inputs, traces):
        before = traces(model)
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            pruned.detach()
            assert traces(model) == before
        assert traces(model) == before

    def test_a_model_can_be_attached_again_and_again(self, model, inputs, traces):
        before = traces(model)
        for budget in (3, 4, 5):
            with tokenprune.attach(model, "fastervlm", budget=budget) as pruned:
                model.generate(**inputs, max_new_tokens=2)
            assert pruned.receipt.after == budget
        assert traces(model) == before

    def test_the_receipt_is_that_of_the_last_call_that_pruned(self, model, inputs):
        text = tiny.prompts(model, images=(0,))
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            model.generate(**text, max_new_tokens=2)
            assert pruned.receipt is None
            model.generate(**inputs, max_new_tokens=2)
            found = pruned.receipt
            model.generate(**text, max_new_tokens=2)
            model(**text)
            assert pruned.receipt is found


class TestTwoPipelines:
    def test_a_second_attach_names_the_first_and_changes_nothing(self, model, inputs, traces):
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            before = traces(model)
            with pytest.raises(AlreadyAttached) as problem:
                tokenprune.attach(model, "random", budget=20)
            says(problem, "LlavaForConditionalGeneration", "'fastervlm'", "detach")
            assert traces(model) == before
            model.generate(**inputs, max_new_tokens=2)
        assert (pruned.receipt.pipeline, pruned.receipt.after) == ("fastervlm", 3)

    def test_a_mistake_in_the_second_pipeline_is_told_first(self, model):
        with tokenprune.attach(model, "fastervlm"), pytest.raises(PipelineError):
            tokenprune.attach(model, "random", budgett=20)

    def test_attaching_another_model_inside_the_block_is_fine(self, build, traces):
        first, second = build(seed=0), build(seed=5)
        inputs, before = tiny.prompts(first), (traces(first), traces(second))
        with tokenprune.attach(first, "fastervlm", budget=3) as one:
            with tokenprune.attach(second, "random", budget=5) as two:
                first.generate(**inputs, max_new_tokens=2)
                second.generate(**inputs, max_new_tokens=2)
            assert traces(second) == before[1]
            first.generate(**inputs, max_new_tokens=2)
        assert (one.receipt.after, two.receipt.after) == (3, 5)
        assert traces(first) == before[0]

    def test_two_models_detach_in_any_order(self, build, traces):
        first, second = build(seed=0), build(seed=5)
        inputs, before = tiny.prompts(first), (traces(first), traces(second))
        one = tokenprune.attach(first, "fastervlm", budget=3)
        two = tokenprune.attach(second, "fastervlm", budget=5)
        one.detach()
        assert traces(first) == before[0]
        second.generate(**inputs, max_new_tokens=2)
        assert two.receipt.after == 5
        two.detach()
        assert traces(second) == before[1]


class TestExceptions:
    def test_the_block_may_raise(self, model, inputs, traces):
        want, before = model.generate(**inputs, max_new_tokens=6), traces(model)

        def block():
            with tokenprune.attach(model, "fastervlm", budget=3):
                model.generate(**inputs, max_new_tokens=2)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            block()
        assert traces(model) == before
        assert torch.equal(model.generate(**inputs, max_new_tokens=6), want)

    @pytest.mark.parametrize("where", ["encoder", "projector", "language model", "third step"])
    @pytest.mark.parametrize("error", [ZeroDivisionError, Interrupt])
    def test_an_exception_in_the_middle_leaves_no_state(self, model, inputs, traces, where, error):
        core, calls = model.model, []
        part = {"encoder": core.vision_tower.encoder.layers[-1], "projector": core.multi_modal_projector}.get(
            where, core.language_model.layers[1]
        )

        def fail(*_):
            calls.append(1)
            if len(calls) == (3 if where == "third step" else 1):
                raise error

        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            want, during = model.generate(**inputs, max_new_tokens=6), traces(model)
            first = pruned.receipt
            hook = part.register_forward_hook(fail)
            with pytest.raises(error):
                model.generate(**inputs, max_new_tokens=6)
            hook.remove()
            assert traces(model) == during
            assert pruned.receipt is first
            assert torch.equal(model.generate(**inputs, max_new_tokens=6), want)
            hook = part.register_forward_hook(fail)
            calls.clear()
            if where != "third step":
                with pytest.raises(error):
                    model(**inputs)
            hook.remove()
            assert traces(model) == during
            model(**inputs)

    def test_a_selection_that_fails_leaves_no_state(self, model, inputs, traces):
        with tokenprune.attach(model, "fastervlm", budget=3):
            during = traces(model)
            with pytest.raises(AttachError):
                model.generate(**{**inputs, "pixel_values": tiny.pixels(2)}, max_new_tokens=2)
            assert traces(model) == during


class TestRefusedPipelines:
    @pytest.mark.parametrize(
        ("pipeline", "changes", "words"),
        [
            ("fastervml", {}, ["fastervml", "did you mean 'fastervlm'?"]),
            ("fastervlm", {"budget": 0}, ["write '0%' to keep none"]),
            ("fastervlm", {"budget": 1.5}, ["share between 0 and 1"]),
            ("fastervlm", {"positions": "sideways"}, ["positions"]),
        ],
    )
    def test_a_pipeline_that_makes_no_sense_is_refused_at_attach(self, model, traces, pipeline, changes, words):
        before = traces(model)
        with pytest.raises(tokenprune.TokenpruneError) as problem:
            tokenprune.attach(model, pipeline, **changes)
        says(problem, *words)
        assert traces(model) == before
