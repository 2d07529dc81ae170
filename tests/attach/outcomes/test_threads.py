"""Threads: one model serves one at a time and each keeps its receipt; nobody else's model, or call, is touched."""

import contextlib
import importlib
import threading

import pytest
import torch
from attach import tiny
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import tokenprune
from tokenprune.encode import encode
from tokenprune.errors import AlreadyAttached
from tokenprune.family import family_of

WAIT = 30  # seconds, when something is broken


def run(*functions):
    """Each function in a thread of its own; their results, or the first error."""
    results, errors = {}, []

    def body(number, function):
        try:
            results[number] = function()
        except BaseException as problem:
            errors.append(problem)

    threads = [threading.Thread(target=body, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)
    return [results[number] for number in range(len(functions))]


class Gate:
    """A hook that stops one thread, the first time it comes by, until it is opened."""

    def __init__(self, module, thread=None):
        self.thread, self.there, self.open = thread, threading.Event(), threading.Event()
        self.hook = module.register_forward_pre_hook(self._wait)

    def _wait(self, *_):
        if (self.thread or threading.get_ident()) == threading.get_ident() and not self.there.is_set():
            self.there.set()
            assert self.open.wait(WAIT)


def answer(model, inputs, new=5):
    return model.generate(**inputs, max_new_tokens=new)


class TestOneModel:
    def test_threads_take_turns_and_each_has_its_receipt(self, model):
        asked = [tiny.prompts(model, images, seed=seed) for seed, images in enumerate([(1,), (2,), (1, 1), (0,)], 1)]
        with tokenprune.attach(model, "vispruner", budget=5) as pruned:
            want = [answer(model, inputs) for inputs in asked]
            together = threading.Barrier(len(asked), timeout=WAIT)

            def ask(inputs):
                together.wait()
                got = [answer(model, inputs) for _ in range(4)]
                return got, pruned.receipt

            found = run(*(lambda inputs=inputs: ask(inputs) for inputs in asked))
        for inputs, expected, (got, receipt) in zip(asked, want, found, strict=True):
            assert all(torch.equal(one, expected) for one in got)
            images = len(inputs.get("pixel_values", ()))
            assert (len(receipt.images) if receipt else 0) == images
            assert receipt is None or receipt.length == inputs["input_ids"].shape[1]

    def test_a_second_thread_waits_for_the_first(self, model, inputs):
        gate, ran = Gate(model.lm_head), []
        model.lm_head.register_forward_hook(lambda *_: ran.append(threading.get_ident()))

        def first():
            answer(model, inputs)
            return threading.get_ident()

        def second():
            assert gate.there.wait(WAIT)
            model(**inputs)
            return threading.get_ident()

        def opener():
            assert gate.there.wait(WAIT)
            threading.Event().wait(0.1)
            early = list(ran)
            gate.open.set()
            return early

        with tokenprune.attach(model, "fastervlm", budget=3):
            one, two, early = run(first, second, opener)
        assert early == []
        assert ran == [one] * 5 + [two]

    def test_detaching_waits_until_the_running_call_is_done(self, model, inputs, traces):
        plain = answer(model, inputs)
        pruned = tokenprune.attach(model, "fastervlm", budget=3)
        want = answer(model, inputs)
        gate = Gate(model.lm_head)
        before = dict(vars(model))

        def running():
            return answer(model, inputs), answer(model, inputs)

        def waiting():
            assert gate.there.wait(WAIT)
            entered.set()
            return answer(model, inputs)

        def detaching():
            assert gate.there.wait(WAIT)
            assert entered.wait(WAIT)
            threading.Timer(0.1, gate.open.set).start()
            pruned.detach()
            return "generate" in vars(model)

        entered = threading.Event()
        (during, after), late, still = run(running, waiting, detaching)
        assert torch.equal(during, want)
        assert any(torch.equal(after, one) for one in (want, plain))  # in its turn, before or after the detaching
        assert any(torch.equal(late, one) for one in (want, plain))
        assert not still
        assert set(vars(model)) == set(before) - {"_tokenprune", "generate", "forward"}
        assert torch.equal(answer(model, inputs), plain)

    def test_a_call_that_waited_for_the_detaching_is_not_pruned(self, model, inputs):
        plain = answer(model, inputs)
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            generate, forward = model.generate, model.forward  # what a thread has looked up before it waits
        assert torch.equal(generate(**inputs, max_new_tokens=5), plain)
        assert torch.equal(forward(**inputs).logits, model(**inputs).logits)
        assert pruned.receipt is None

    def test_many_threads_detach_once(self, model, traces):
        before, together = traces(model), threading.Barrier(8, timeout=WAIT)
        pruned = tokenprune.attach(model, "fastervlm", budget=3)

        def detach():
            together.wait()
            pruned.detach()

        run(*[detach] * 8)
        assert traces(model) == before

    def test_of_two_threads_one_attaches(self, model, traces, monkeypatch):
        before, together = traces(model), threading.Barrier(2)

        def slow(*_):  # the second thread gets here too, if anybody lets it
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.5)

        def attach():
            try:
                return tokenprune.attach(model, "fastervlm", budget=3)
            except AlreadyAttached:
                return None

        monkeypatch.setattr(importlib.import_module("tokenprune.attach"), "check_seams", slow)
        (pruned,) = filter(None, run(attach, attach))
        pruned.detach()
        assert traces(model) == before

    def test_a_failure_in_one_thread_lets_the_others_go_on(self, model, inputs):
        wrong = {**inputs, "pixel_values": tiny.pixels(3)}
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            want = answer(model, inputs)

            def failing():
                with pytest.raises(tokenprune.TokenpruneError):
                    answer(model, wrong)
                return pruned.receipt

            nothing, got = run(failing, lambda: answer(model, inputs))
        assert nothing is None
        assert torch.equal(got, want)


class TestTwoModels:
    def test_two_attached_models_run_at_once(self, build):
        models = [build(seed=0), build(seed=5)]
        inputs = tiny.prompts(models[0], (1, 1))
        meeting = threading.Barrier(2, timeout=WAIT)
        pipelines = [("fastervlm", 3), ("vispruner", 10)]

        def ask(model, pipeline, budget):
            with tokenprune.attach(model, pipeline, budget=budget) as pruned:
                got = answer(model, inputs)
            return got, [image.kept for image in pruned.receipt.images]

        def meet(*_):
            meeting.wait()

        asked = [(model, *pipeline) for model, pipeline in zip(models, pipelines, strict=True)]
        want = [ask(*one) for one in asked]
        for model in models:
            model.model.vision_tower.encoder.layers[1].register_forward_pre_hook(meet)
        found = run(*(lambda one=one: ask(*one) for one in asked))
        for (got, kept), (expected, chosen) in zip(found, want, strict=True):
            assert torch.equal(got, expected)
            assert all(map(torch.equal, kept, chosen))

    def test_an_unattached_model_never_notices(self, build, traces):
        attached, other = build(seed=0), build(seed=5)
        inputs = tiny.prompts(other)
        want, before = answer(other, inputs), traces(other)
        gate = Gate(attached.model.vision_tower.encoder.layers[2].self_attn)  # its attention is tapped at that moment

        def beside():
            assert gate.there.wait(WAIT)
            try:
                return answer(other, inputs), traces(other)
            finally:
                gate.open.set()

        with tokenprune.attach(attached, "fastervlm", budget=3):
            _, (got, during) = run(lambda: answer(attached, inputs), beside)
        assert torch.equal(got, want)
        assert during == before


def everything(model, inputs):
    """What a plain caller gets of the model: an encoding and an answer."""
    with torch.no_grad():
        features = model.model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
    return torch.cat(list(features)), answer(model, inputs)


STOPS = {  # where the pruning thread stands still while another one uses the model
    "before the tapped layer": lambda model: model.model.vision_tower.encoder.layers[2],
    "in the tapped layer": lambda model: model.model.vision_tower.encoder.layers[2].self_attn.q_proj,
    "after the tapped layer": lambda model: model.model.vision_tower.encoder.layers[3],
    "in the projector": lambda model: model.model.multi_modal_projector.linear_1,
}


class TestOthersUseTheModel:
    """``prune_inputs`` leaves the model to everybody; their calls and its own do not mix."""

    @pytest.mark.parametrize("stop", STOPS)
    @pytest.mark.parametrize("kind", ["llava", "llava_siglip"])
    def test_their_calls_are_not_read(self, build, traces, stop, kind):
        model = build(kind)
        mine, theirs = tiny.prompts(model, seed=1), tiny.prompts(model, (2,), seed=2)
        want = tokenprune.prune_inputs(model, mine, "vispruner", budget=5)
        plain, before = everything(model, theirs), traces(model)
        gate = Gate(STOPS[stop](model))

        def others():
            assert gate.there.wait(WAIT)
            try:
                return everything(model, theirs)
            finally:
                gate.open.set()

        got, found = run(lambda: tokenprune.prune_inputs(model, mine, "vispruner", budget=5), others)
        gate.hook.remove()
        assert torch.equal(got["input_ids"], want["input_ids"])
        assert torch.equal(got.receipt.images[0].kept, want.receipt.images[0].kept)
        assert all(map(torch.equal, found, plain))
        assert traces(model) == before

    def test_they_may_reach_the_attention_when_it_is_no_longer_tapped(self, build, traces, monkeypatch):
        model = build()
        inputs, layers = tiny.prompts(model), model.model.vision_tower.encoder.layers
        want, before = everything(model, inputs), traces(model)
        looked_up, untapped, got = threading.Event(), threading.Event(), []
        other = threading.Thread(target=lambda: got.extend(everything(model, inputs)))
        find = type(ALL_ATTENTION_FUNCTIONS).get_interface

        def slow(registry, name, default):
            found = find(registry, name, default)
            if threading.current_thread() is other and found.__module__.startswith("tokenprune"):
                looked_up.set()
                assert untapped.wait(WAIT)
            return found

        def start(*_):
            if other.ident is None:
                other.start()
                assert looked_up.wait(WAIT)

        monkeypatch.setattr(type(ALL_ATTENTION_FUNCTIONS), "get_interface", slow)
        hook = layers[3].register_forward_pre_hook(start)  # the tapped layer is the one before
        tokenprune.prune_inputs(model, inputs, "fastervlm", budget=3)
        untapped.set()
        other.join(WAIT)
        hook.remove()
        assert len(got) == 2
        assert all(map(torch.equal, got, want))
        assert traces(model) == before

    def test_two_threads_prune_inputs_of_one_model(self, model):
        asked = [tiny.prompts(model, (1,), seed=seed) for seed in (1, 2, 3)]
        want = [tokenprune.prune_inputs(model, inputs, "vispruner", budget=5) for inputs in asked]
        together = threading.Barrier(3, timeout=WAIT)

        def prune(inputs):
            together.wait()
            return [tokenprune.prune_inputs(model, inputs, "vispruner", budget=5) for _ in range(5)]

        for many, one in zip(run(*(lambda i=i: prune(i) for i in asked)), want, strict=True):
            assert all(torch.equal(got["input_ids"], one["input_ids"]) for got in many)
            assert all(torch.equal(got.receipt.images[0].kept, one.receipt.images[0].kept) for got in many)

    def test_prune_inputs_waits_for_the_encoding_of_an_attached_model(self, model, inputs):
        want = tokenprune.prune_inputs(model, inputs, "random", budget=5)
        gate = Gate(model.model.vision_tower.encoder.layers[2])

        def beside():
            assert gate.there.wait(WAIT)
            threading.Timer(0.1, gate.open.set).start()
            return tokenprune.prune_inputs(model, inputs, "random", budget=5)

        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            (_, receipt), got = run(lambda: (answer(model, inputs), pruned.receipt), beside)
        assert torch.equal(got["input_ids"], want["input_ids"])
        assert (receipt.pipeline, got.receipt.pipeline) == ("fastervlm", "random")

    def test_models_are_not_kept_alive(self, build):
        import gc
        import weakref

        model = build()
        tokenprune.prune_inputs(model, tiny.prompts(model), "fastervlm", budget=3)
        seen = weakref.ref(model)
        del model
        gc.collect()
        assert seen() is None


class Both(tokenprune.Scorer):
    """Reads two cues, which may come from one layer."""

    at: int

    @property
    def reads(self):
        return frozenset({"cls_attention", f"received_attention@{self.at}"})

    def score(self, tokens):
        return tokens.cue("cls_attention").mean(1) - tokens.cue(f"received_attention@{self.at}")


@pytest.mark.parametrize("at", [2, 1])
def test_two_cues_may_come_from_one_layer(model, inputs, at):
    def read(scorer, cue):
        pipeline = tokenprune.load("uniform", scorer=scorer, budget=5)
        ids = inputs["input_ids"]
        placeholder = ids == model.config.image_token_id
        return encode(family_of(model), model, inputs, pipeline, ids, placeholder).tokens.cue(cue)

    one = tokenprune.load("fastervlm").stages[0].scorer
    assert torch.equal(read(Both(at=at), "cls_attention"), read(one, "cls_attention|received_attention"))
    received, eager = f"received_attention@{at}", tiny.llava()
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        seen = eager.model.vision_tower(inputs["pixel_values"], output_attentions=True).attentions[at]
    torch.testing.assert_close(read(Both(at=at), received), seen.mean((1, 2))[:, 1:], rtol=0, atol=1e-6)
    with tokenprune.attach(model, "uniform", scorer=Both(at=at), budget=5) as pruned:
        answer(model, inputs)
    assert pruned.receipt.source == ("cls_attention@2", f"received_attention@{at}")
