"""The tap reads what eager attention would have shown, and the model never notices."""

import threading

import pytest
import torch
from transformers import LlamaConfig, LlamaModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tokenprune.cues import tap
from tokenprune.errors import AttachError
from tokenprune.reductions import cls_row, received


@torch.no_grad()
def encode(tower, pixels):
    return tower(pixels).last_hidden_state


@torch.no_grad()
def eager_weights(model, layer=-2, **inputs):
    """[B, H, Q, K] as the library shows them."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    weights = model(**inputs, output_attentions=True).attentions[layer]
    model.set_attn_implementation(before)
    return weights


def close(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


class TestWhatIsRead:
    @pytest.mark.parametrize("kernel", ["sdpa", "eager"])
    def test_a_row_is_the_eager_row(self, tower, attention, pixels, kernel):
        tower.set_attn_implementation(kernel)
        for index in (0, -1):
            with tap(attention(tower), cls_row(index)) as found:
                encode(tower, pixels)
            close(found.value, eager_weights(tower, pixel_values=pixels)[:, :, index])
            close(found.value.sum(-1), torch.ones(2, 4))

    def test_received_is_the_mean_of_the_eager_columns(self, tower, attention, pixels):
        with tap(attention(tower), received(chunk=5)) as found:
            encode(tower, pixels)
        close(found.value, eager_weights(tower, pixel_values=pixels).mean((1, 2)))
        close(found.value.sum(-1), torch.ones(2))

    def test_each_call_gives_a_value_and_value_lays_them_end_to_end(self, build, attention, pixels):
        tower = build()
        with tap(attention(tower), cls_row()) as found:
            encode(tower, pixels)
            encode(tower, pixels[:1])
        assert [len(value) for value in found.values] == [2, 1]
        assert torch.equal(found.value, torch.cat(found.values))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_gives_float32(self, tower, attention, pixels, dtype):
        with tap(attention(tower.to(dtype)), cls_row()) as found:
            encode(tower, pixels.to(dtype))
        assert found.value.dtype == torch.float32
        close(found.value.sum(-1), torch.ones(2, 4))

    def test_autocast_does_not_reach_the_row(self, build, attention, pixels):
        kept = []

        def keep(*inputs):
            kept.append(inputs)
            return cls_row()(*inputs)

        with torch.autocast("cpu", torch.bfloat16), tap(attention(build()), keep) as found:
            encode(tower := build(), pixels)  # another tower: nothing is read from it
            assert not found.values
        with torch.autocast("cpu", torch.bfloat16), tap(attention(tower), keep) as found:
            encode(tower, pixels)
        assert torch.equal(found.value, cls_row()(*kept[0]))

    def test_no_gradient_hangs_on_a_cue(self, build, attention, pixels):
        tower = build()
        with tap(attention(tower), cls_row()) as found:
            tower(pixels).last_hidden_state.sum().backward()
        assert not found.value.requires_grad
        assert attention(tower).q_proj.weight.grad is not None


class TestLanguageModels:
    """Grouped queries, a causal kernel without a mask, and a mask made for padding on the left."""

    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        sizes = {"vocab_size": 64, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3}
        return LlamaModel(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()

    @pytest.mark.parametrize("padding", [0, 4])
    def test_rows_and_columns(self, model, attention, padding):
        ids = torch.arange(24).view(2, 12)
        mask = torch.ones_like(ids)
        mask[0, :padding] = 0
        weights = eager_weights(model, input_ids=ids, attention_mask=mask)
        for reduce, want in ((cls_row(-1), weights[:, :, -1]), (received(5), weights.mean((1, 2)))):
            with torch.no_grad(), tap(attention(model), reduce) as found:
                model(ids, attention_mask=mask)
            rows = slice(None) if reduce.__name__ == "row" else slice(1, None)  # queries of padding have no meaning
            close(found.value[rows], want[rows])


class TestTheModelNeverNotices:
    @pytest.mark.parametrize("reduce", [cls_row(), received()], ids=["row", "received"])
    def test_outputs_are_the_same_bits(self, tower, attention, pixels, reduce):
        before = encode(tower, pixels)
        with tap(attention(tower), reduce):
            during = encode(tower, pixels)
        assert torch.equal(before, during)
        assert torch.equal(before, encode(tower, pixels))

    def test_only_the_tapped_module_changes_and_only_inside_the_block(self, tower, attention, pixels):
        state = {part: dict(vars(part)) for part in tower.modules()}
        name = tower.config._attn_implementation
        with tap(attention(tower), cls_row()):
            encode(tower, pixels)
            changed = [part for part in tower.modules() if vars(part) != state[part]]
            assert changed == [attention(tower)]
            assert tower.config._attn_implementation == name
        assert all(list(vars(part).items()) == list(state[part].items()) for part in tower.modules())

    @pytest.mark.parametrize("where", ["block", "reduce", "kernel"])
    def test_an_exception_leaves_nothing_behind(self, build, attention, pixels, where, monkeypatch):
        tower = build()
        state = dict(vars(attention(tower)))

        def fail(*_, **__):
            raise RuntimeError("on purpose")

        if where == "kernel":
            monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", fail)
        reduce = fail if where == "reduce" else cls_row()
        with pytest.raises(RuntimeError, match="on purpose"), tap(attention(tower), reduce):
            fail() if where == "block" else encode(tower, pixels)
        assert list(vars(attention(tower)).items()) == list(state.items())

    def test_a_second_tap_on_a_module_is_refused(self, build, attention, pixels):
        part = attention(tower := build())
        with tap(part, cls_row()) as found:
            with pytest.raises(AttachError, match="tapped already"), tap(part, cls_row()):
                pass
            encode(tower, pixels)
        assert len(found.values) == 1
        with tap(part, cls_row()):
            pass

    def test_a_compiled_layer_gives_the_same_in_one_graph(self, build, attention, pixels):
        tower, compiled = build(), build()
        layer_one = next(name for name, _ in compiled.named_modules() if name.endswith("layers.1"))
        torch.compiler.reset()
        compiled.get_submodule(layer_one).compile(backend="eager", fullgraph=True)
        for inputs in (pixels, pixels + 1):
            want, weights = encode(tower, inputs), eager_weights(tower, pixel_values=inputs)
            for reduce, value in ((cls_row(), weights[:, :, 0]), (cls_row(-1), weights[:, :, -1])):
                with tap(attention(compiled), reduce) as found:
                    assert torch.equal(encode(compiled, inputs), want)
                assert len(found.values) == 1
                close(found.value, value)
                assert torch.equal(encode(compiled, inputs), want)


class TestThreads:
    def test_another_model_runs_while_this_one_is_read(self, build, attention, pixels):
        tapped, other = build(seed=0), build(seed=1)
        want, state = encode(other, pixels), dict(vars(attention(other)))
        seen = []

        def run_other():
            hook = attention(other).register_forward_pre_hook(lambda part, _: seen.append(vars(part)["config"]))
            seen.append(encode(other, pixels))
            hook.remove()

        def reduce(*inputs):
            thread = threading.Thread(target=run_other)
            thread.start()
            thread.join()
            return cls_row()(*inputs)

        with tap(attention(tapped), reduce):
            encode(tapped, pixels)
        config, output = seen
        assert config is state["config"]
        assert torch.equal(output, want)
        assert dict(vars(attention(other))) == state

    def test_two_models_are_read_at_once(self, build, attention, pixels):
        towers = [build(seed=seed) for seed in (0, 1)]
        both = threading.Barrier(2, timeout=30)
        rows = {}

        def read(seed):
            def reduce(*inputs):
                both.wait()
                return cls_row()(*inputs)

            with tap(attention(towers[seed]), reduce) as found:
                encode(towers[seed], pixels)
            rows[seed] = found.value

        threads = [threading.Thread(target=read, args=(seed,)) for seed in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for seed, tower in enumerate(towers):
            close(rows[seed], eager_weights(tower, pixel_values=pixels)[:, :, 0])
