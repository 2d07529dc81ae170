"""Wrappers around a model, and models that others have hooked: unwrapped, passed through, or refused by name."""

import copy
import functools
import threading
import warnings

import peft
import pytest
import torch
from accelerate import hooks
from attach import tiny
from torch import distributed, nn

import tokenprune
from tokenprune.errors import AlreadyAttached, AttachError, UnsupportedMode


def answer(model, inputs, new=5):
    return model.generate(**inputs, max_new_tokens=new)


def lora(model, modules="q_proj"):
    """A PEFT model whose adapters matter."""
    config = peft.LoraConfig(target_modules=f".*{modules}", r=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # peft's own affair
        wrapped = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return wrapped.eval()


class TestPeft:
    def test_the_model_inside_is_attached_and_the_adapters_run(self, model, inputs):
        wrapped = lora(model)
        merged = copy.deepcopy(wrapped).merge_and_unload()
        plain = answer(wrapped, inputs)
        with tokenprune.attach(merged, "vispruner", budget=5) as pruned:
            want, kept, logits = answer(merged, inputs), pruned.receipt.images[0].kept, merged(**inputs).logits
        with tokenprune.attach(wrapped, "vispruner", budget=5) as pruned:
            assert pruned.model is model
            assert torch.equal(answer(wrapped, inputs), want)
            assert torch.equal(pruned.receipt.images[0].kept, kept)
            torch.testing.assert_close(wrapped(**inputs).logits, logits, equal_nan=True, rtol=1e-3, atol=1e-4)
        assert torch.equal(answer(wrapped, inputs), plain)

    def test_the_adapters_count_where_tokens_are_chosen(self, model, inputs):
        wrapped = lora(model, "vision_tower.*q_proj")
        with tokenprune.attach(wrapped, "fastervlm", budget=9) as pruned:
            answer(wrapped, inputs)
            adapted = pruned.receipt.images[0].kept
            with wrapped.disable_adapter():
                answer(wrapped, inputs)
        assert not torch.equal(pruned.receipt.images[0].kept, adapted)

    def test_gradients_reach_the_adapters(self, model, inputs):
        wrapped = lora(model).train()
        with tokenprune.attach(wrapped, "fastervlm", budget=5):
            wrapped(**inputs, labels=inputs["input_ids"]).loss.backward()
        grads = {name: weight.grad for name, weight in wrapped.named_parameters() if weight.requires_grad}
        assert all(grad is not None for name, grad in grads.items() if "language_model" in name)
        assert any(float(grad.abs().sum()) > 0 for grad in grads.values() if grad is not None)

    def test_wrapper_and_inside_are_one_model(self, model):
        wrapped = lora(model)
        with tokenprune.attach(wrapped, "fastervlm"), pytest.raises(AlreadyAttached, match="'fastervlm'"):
            tokenprune.attach(model, "random")
        with tokenprune.attach(model, "fastervlm"), pytest.raises(AlreadyAttached):
            tokenprune.attach(wrapped, "random")

    def test_adapters_may_come_and_go_while_attached(self, model, inputs, traces):
        plain = answer(model, inputs)
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            before = answer(model, inputs)
            wrapped = lora(model)
            answer(wrapped, inputs)
            assert pruned.receipt.after == 3
            assert wrapped.unload() is model
            assert torch.equal(answer(model, inputs), before)
        assert torch.equal(answer(model, inputs), plain)

    def test_a_copy_is_refused(self, model):
        wrapped = lora(model)
        with tokenprune.attach(wrapped, "fastervlm"), pytest.raises(UnsupportedMode, match="Detach it first"):
            copy.deepcopy(wrapped)

    def test_inputs_are_pruned(self, model, inputs):
        wrapped = lora(model)
        short = tokenprune.prune_inputs(wrapped, inputs, "fastervlm", budget=5)
        with tokenprune.attach(wrapped, "fastervlm", budget=5):
            want = answer(wrapped, inputs)
        assert torch.equal(answer(wrapped, short)[:, -5:], want[:, -5:])


def compiled(model):
    return torch.compile(model, backend="eager")


class Parallel(nn.Module):
    """Like other libraries' parallel wrappers."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)


WRAPPERS = {
    "compiled": (compiled, ["OptimizedModule", "model._orig_mod"]),
    "compiled PEFT": (lambda model: compiled(lora(model)), ["OptimizedModule", "model._orig_mod"]),
    "data parallel": (nn.DataParallel, ["DataParallel", "copies the model", "one process for each device"]),
    "parallel": (Parallel, ["Parallel", "model.module"]),
    "parallel PEFT": (lambda model: Parallel(lora(model)), ["Parallel", "model.module"]),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_other_wrappers_are_refused_by_name(model, inputs, traces, kind):
    make, words = WRAPPERS[kind]
    wrapper = make(model)
    before = traces(model)
    for refuse in (tokenprune.attach, lambda wrapper, name: tokenprune.prune_inputs(wrapper, inputs, name)):
        with pytest.raises(AttachError) as problem:
            refuse(wrapper, "fastervlm")
        assert [word for word in words if word not in str(problem.value)] == [], str(problem.value)
    assert traces(model) == before


def test_a_parallel_wrapper_runs_the_attached_model(model, inputs, tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapper = nn.parallel.DistributedDataParallel(model)
        with pytest.raises(AttachError, match=r"DistributedDataParallel is a parallel wrapper.*model\.module"):
            tokenprune.attach(wrapper, "fastervlm")
        with tokenprune.attach(wrapper.module, "fastervlm", budget=5) as pruned:
            logits = wrapper(**inputs).logits
            want = model(**inputs).logits
    finally:
        distributed.destroy_process_group()
    assert torch.equal(logits.nan_to_num(), want.nan_to_num())
    assert pruned.receipt.after == 5


class Counting(hooks.ModelHook):
    """What accelerate hangs on a model: it wraps the instance's forward."""

    def __init__(self):
        self.before = self.after = 0

    def pre_forward(self, module, *args, **kwargs):
        self.before += 1
        return args, kwargs

    def post_forward(self, module, output):
        self.after += 1
        return output


class TestForwardReplacedBefore:
    def test_accelerate_hooks_keep_working_and_come_back_exactly(self, model, inputs, traces):
        plain = answer(model, inputs)
        with tokenprune.attach(model, "fastervlm", budget=3):
            want = answer(model, inputs)
        hook = Counting()
        hooks.add_hook_to_module(model, hook)
        before, hooked = traces(model), vars(model)["forward"]
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            assert torch.equal(answer(model, inputs), want)
            assert hook.before == hook.after == 5
            assert pruned.receipt.after == 3
            model(**inputs)
            assert hook.after == 6
        assert traces(model) == before
        assert vars(model)["forward"] is hooked
        assert torch.equal(answer(model, inputs), plain)

    @pytest.mark.parametrize("style", ["bare", "wraps"])
    def test_a_hand_written_wrapper_keeps_working_and_comes_back_exactly(self, model, inputs, traces, style):
        with tokenprune.attach(model, "fastervlm", budget=3):
            want, logits = answer(model, inputs), model(**inputs).logits
        forward, calls = model.forward, []

        def outer(*args, **kwargs):
            calls.append(1)
            return forward(*args, **kwargs)

        model.forward = functools.wraps(forward)(outer) if style == "wraps" else outer
        before = traces(model)
        with tokenprune.attach(model, "fastervlm", budget=3):
            assert torch.equal(answer(model, inputs), want)
            assert torch.equal(model(**inputs).logits.nan_to_num(), logits.nan_to_num())
            got = model(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"]).logits
            assert torch.equal(got.nan_to_num(), logits.nan_to_num())
        assert len(calls) == 7
        assert traces(model) == before

    def test_offloaded_parts_run(self, model, inputs):
        from accelerate import cpu_offload

        with tokenprune.attach(model, "vispruner", budget=5) as pruned:
            want = answer(model, inputs)
            kept = pruned.receipt.images[0].kept
        cpu_offload(model, execution_device=torch.device("cpu"))
        with tokenprune.attach(model, "vispruner", budget=5) as pruned:
            assert torch.equal(answer(model, inputs), want)
        assert torch.equal(pruned.receipt.images[0].kept, kept)


class TestForwardReplacedAfter:
    def test_a_hook_added_while_attached_is_left_alone(self, model, inputs):
        plain = answer(model, inputs)
        pruned = tokenprune.attach(model, "fastervlm", budget=3)
        want, hook = answer(model, inputs), Counting()
        hooks.add_hook_to_module(model, hook)
        hooked = vars(model)["forward"]
        assert torch.equal(answer(model, inputs), want)
        pruned.detach()
        assert vars(model)["forward"] is hooked
        hook.before = hook.after = 0
        assert torch.equal(answer(model, inputs), plain)
        assert hook.before == hook.after == 5
        hooks.remove_hook_from_module(model)
        assert torch.equal(answer(model, inputs), plain)
        with tokenprune.attach(model, "fastervlm", budget=3):
            assert torch.equal(answer(model, inputs), want)

    def test_what_stays_behind_does_not_let_a_copy_drive_the_model(self, model, inputs):
        pruned = tokenprune.attach(model, "fastervlm", budget=3)
        hooks.add_hook_to_module(model, Counting())
        pruned.detach()
        with pytest.raises(UnsupportedMode, match="copied"):
            copy.deepcopy(model)


class TestCompiledByTheCaller:
    """Compiling beside an attachment is never a way to run unpruned."""

    @pytest.fixture(autouse=True)
    def forgotten(self):
        torch.compiler.reset()
        yield
        torch.compiler.reset()

    @pytest.mark.parametrize("order", ["attached", "compiled", "run"])
    def test_a_compiled_wrapper_around_the_model_prunes(self, model, inputs, order):
        if order != "attached":  # the wrapper is older than the attachment
            wrapper = torch.compile(model, backend="eager")
        with torch.no_grad():
            if order == "run":
                language = model.model.language_model
                language.forward = torch.compiler.disable(language.forward)  # the encoder is what we hang hooks on
                wrapper(**inputs)
            with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
                if order == "attached":
                    wrapper = torch.compile(model, backend="eager")
                logits = wrapper(**inputs).logits
                assert pruned.receipt.after == 3
                torch.testing.assert_close(logits, model(**inputs).logits, equal_nan=True)

    def test_another_thread_that_decodes_does_not_let_it_through(self, model, inputs):
        wrapper, found = torch.compile(model, backend="eager"), []

        class Streamer:
            """Calls the compiled wrapper from another thread, in the middle of generate."""

            def put(self, value):
                if not found and value.ndim == 1:
                    found.append(threading.Thread(target=beside))
                    found[0].start()

            def end(self):
                pass

        def beside():
            with torch.no_grad():
                found.append(wrapper(**inputs).logits)
            found.append(pruned.receipt)

        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            model.generate(**inputs, max_new_tokens=3, streamer=Streamer())
            found[0].join(60)
        assert found[1].isnan().any()
        assert found[2].after == 3

    def test_a_model_that_is_exported_with_images_is_refused(self, model, inputs):
        text = tiny.prompts(model, images=(0,))
        with tokenprune.attach(model, "fastervlm", budget=3):
            with pytest.raises(UnsupportedMode, match=r"cannot be exported.*without the attachment"):
                torch.export.export(model, (), kwargs=inputs, strict=False)
            model(**text)


class TestCallsInsideCalls:
    """What a callback asks the model in the middle of generate is a call of its own."""

    def test_a_forward_with_pixels_is_pruned(self, model, inputs):
        found = []

        def look(ids, scores):
            found.append((model(**inputs).logits, pruned.receipt))
            return scores

        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            want, logits = answer(model, inputs), model(**inputs).logits
            first = pruned.receipt
            got = model.generate(**inputs, max_new_tokens=5, logits_processor=[look])
        assert torch.equal(got, want)
        assert len(found) == 5
        for one, receipt in found:
            assert torch.equal(one.nan_to_num(), logits.nan_to_num())
            assert receipt is not first

    def test_a_conversation_of_its_own_goes_on(self, model, inputs):
        other = tiny.prompts(model, seed=4)

        def decode():
            """Greedy, by hand, one step a call."""
            out, mask = model(**other, use_cache=True), other["attention_mask"]
            while True:
                token = out.logits[:, -1:].argmax(-1)
                yield int(token)
                mask = torch.cat([mask, mask.new_ones(1, 1)], 1)
                out = model(input_ids=token, attention_mask=mask, past_key_values=out.past_key_values)

        def look(ids, scores):
            said.append(next(steps))
            return scores

        said = []
        with tokenprune.attach(model, "fastervlm", budget=3), torch.no_grad():
            steps = decode()
            want = [next(steps) for _ in range(5)]
            first = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
            turn = {"input_ids": torch.cat([first.sequences, torch.tensor([[7, 8]])], 1)}
            plain = model.generate(**turn, past_key_values=copy.deepcopy(first.past_key_values), max_new_tokens=5)
            steps = decode()
            got = model.generate(
                **turn, past_key_values=first.past_key_values, max_new_tokens=5, logits_processor=[look]
            )
        assert said == want
        assert torch.equal(got, plain)

    def test_a_generate_inside_a_generate(self, model, inputs):
        found = []

        class Streamer:
            def put(self, value):
                if not found:
                    found.append(model.generate(**inputs, max_new_tokens=5))

            def end(self):
                pass

        with tokenprune.attach(model, "fastervlm", budget=3):
            want = answer(model, inputs)
            got = model.generate(**inputs, max_new_tokens=5, streamer=Streamer())
        assert torch.equal(got, want)
        assert torch.equal(found[0], want)

    def test_detaching_inside_a_call(self, model, inputs, traces):
        plain, before = answer(model, inputs), traces(model)

        class Streamer:
            def put(self, value):
                pruned.detach()

            def end(self):
                pass

        pruned = tokenprune.attach(model, "fastervlm", budget=3)
        want = answer(model, inputs)
        assert torch.equal(model.generate(**inputs, max_new_tokens=5, streamer=Streamer()), want)
        assert traces(model) == before
        assert torch.equal(answer(model, inputs), plain)
