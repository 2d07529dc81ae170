"""Kernels and modules of other kinds: flash branches, eager attention under another name, and what is refused."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention

from tokenprune.cues import tap
from tokenprune.errors import AttachError
from tokenprune.reductions import cls_row, received

FLASH = "someone/flash-attn"


def close(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.fixture
def flash():
    """A stand-in that takes sequences laid end to end, as flash kernels do, and notes the name it was called by."""
    names = []

    def forward(module, query, key, value, mask, scaling=None, cu_seq_lens_q=(0, None), **_):
        names.append(module.config._attn_implementation)
        parts = [slice(start, stop) for start, stop in pairwise(cu_seq_lens_q)]
        attend = nn.functional.scaled_dot_product_attention
        out = [attend(query[:, :, p], key[:, :, p], value[:, :, p], scale=scaling) for p in parts]
        return torch.cat(out, 2).transpose(1, 2), None

    AttentionInterface.register(FLASH, forward)
    yield names
    del AttentionInterface._global_mapping[FLASH]


def own_eager_attention_forward(module, query, key, value, mask, **_):
    return "own", module.config


class Own(nn.Module):
    """Looks its attention up as the library's modules do; its eager attention has a name of its own."""

    def __init__(self, name, **options):
        super().__init__()
        self.config = PretrainedConfig(attn_implementation=name)
        self.options = options

    def forward(self, query, key=None, mask=None):
        key = query if key is None else key
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, own_eager_attention_forward)
        return attend(self, query, key, key, mask, **self.options)


@pytest.fixture
def query():
    return torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0))


class TestFlashBranches:
    @torch.no_grad()
    def encode(self, name):
        """An attention that hands a flash kernel all images in one call, and every other kernel one image a call."""
        torch.manual_seed(0)
        config = Qwen2_5_VLVisionConfig(hidden_size=32, num_heads=2)
        config._attn_implementation = name
        part = Qwen2_5_VLVisionAttention(config)
        turn = torch.linspace(0, 1, 10 * 16).view(10, 16)
        bounds = torch.tensor([0, 4, 10], dtype=torch.int32)
        with tap(part, received()) as found:
            out = part(torch.randn(10, 32), bounds, position_embeddings=(turn.cos(), turn.sin()))
        return out, found

    def test_sequences_laid_end_to_end_are_read_one_by_one(self, flash):
        out, found = self.encode(FLASH)
        want, apart = self.encode("sdpa")
        close(out, want)
        assert [value.shape for value in found.values] == [(1, 4), (1, 6)]
        for got, value in zip(found.values, apart.values, strict=True):
            close(got, value)

    def test_the_kernel_sees_the_real_name(self, flash):
        self.encode(FLASH)
        assert [(name, type(name)) for name in flash] == [(FLASH, str)]


class TestMasksThatKernelsImply:
    """``is_causal`` defaults to true where a module says nothing, as in the kernels."""

    def read(self, query, key=None, *, name, mask=None, **options):
        part = Own(name, **options)
        with tap(part, lambda *inputs: inputs[2]) as found:
            part(query, key, mask)
        return found.values[0]

    def test_sdpa_counts_from_the_first_key(self, query):
        mask = self.read(query[:, :, :2], query, name="sdpa")
        assert mask.tolist() == [[[[True, False, False], [True, True, False]]]]

    def test_flash_counts_from_the_last_key(self, query, flash):
        mask = self.read(query[:, :, :2], query, name=FLASH)
        assert mask.tolist() == [[[[True, True, False], [True, True, True]]]]

    def test_flash_takes_padding_by_key(self, query, flash):
        padding = torch.tensor([[0, 1, 1]])
        mask = self.read(query, name=FLASH, mask=padding)
        assert mask.tolist() == [[[[False, False, False], [False, True, False], [False, True, True]]]]
        mask = self.read(query, name=FLASH, mask=padding, is_causal=False)
        assert mask.tolist() == [[[[False, True, True]]]]

    @pytest.mark.parametrize(
        ("name", "count", "options"), [("eager", 3, {}), ("sdpa", 1, {}), ("sdpa", 3, {"is_causal": False})]
    )
    def test_nothing(self, query, name, count, options):
        assert self.read(query[:, :, :count], name=name, **options) is None


class TestWhatAReductionIsGiven:
    @pytest.mark.parametrize(
        ("options", "scale"), [({"scaling": 0.3}, 0.3), ({"scaling": None}, 8**-0.5), ({}, 8**-0.5)]
    )
    def test_the_scale_of_the_call(self, query, options, scale):
        part = Own("eager", **options)
        with tap(part, lambda *inputs: torch.tensor(inputs[3])) as found:
            part(query)
        assert found.value.item() == pytest.approx(scale)

    def test_the_mask_as_far_as_there_are_keys(self, query):
        mask = torch.arange(15.0).view(1, 1, 3, 5)
        with tap(part := Own("eager"), lambda *inputs: inputs[2]) as found:
            part(query, mask=mask)
        assert torch.equal(found.value, mask[..., :3])


class TestEager:
    def test_the_one_that_the_module_names_is_called(self, query):
        part = Own("eager")
        config = part.config
        with tap(part, cls_row()):
            assert part(query) == ("own", config)

    def test_no_name_at_all_means_eager(self, query):
        part = Own(None)
        with tap(part, cls_row()) as found:
            assert part(query)[0] == "own"
        assert len(found.values) == 1


class TestRefusals:
    @pytest.mark.parametrize("term", ["softcap", "position_bias", "s_aux"])
    def test_logits_that_are_changed_on_the_way(self, query, term):
        part = Own("eager", **{term: 30.0})
        with pytest.raises(AttachError, match=f"Own changes its logits with '{term}'"), tap(part, cls_row()):
            part(query)

    def test_a_mask_that_is_no_tensor(self, query):
        part = Own("eager")
        with pytest.raises(AttachError, match="attention of Own under a dict"), tap(part, cls_row()):
            part(query, mask={})

    def test_a_module_without_a_config(self):
        with (
            pytest.raises(AttachError, match="cannot tap MultiheadAttention"),
            tap(nn.MultiheadAttention(8, 2), cls_row()),
        ):
            pass

    def test_a_module_that_never_looks_attention_up(self, build, pixels):
        tower = build()
        part = next(part for name, part in tower.named_modules() if name.endswith("mlp"))
        with tap(part, cls_row()) as found:
            tower(pixels)
        with pytest.raises(AttachError, match="the tapped CLIPMLP gave nothing"):
            _ = found.value
