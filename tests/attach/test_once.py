from contextlib import suppress

import pytest
import torch

from tokenprune.once import encoding_once, once


class Encoder:
    def __init__(self):
        self.calls = 0

    def __call__(self, pixels, size=1):
        self.calls += 1
        return pixels * size


@pytest.fixture
def encode():
    encoder = Encoder()

    def run(pixels, cues=(), **more):
        return once(encoder, dict(cues), {"pixels": pixels, **more}, lambda: encoder(pixels, **more))

    run.encoder = encoder
    return run


def test_everything_runs_outside_of_the_block(encode):
    pixels = torch.ones(2)
    assert encode(pixels) is not encode(pixels)
    with encoding_once():
        encode(pixels)
    encode(pixels)
    assert encode.encoder.calls == 4


def test_the_same_tensors_cues_and_settings_run_once(encode):
    pixels = torch.ones(2)
    with encoding_once():
        first = encode(pixels, size=2)
        assert encode(pixels, size=2) is first
        assert encode.encoder.calls == 1
        assert encode(pixels, size=3) is not first
        assert encode(pixels, cues={"cls_attention": "cls_attention@3"}, size=2) is not first
        assert encode(pixels.clone(), size=2) is not first
    assert encode.encoder.calls == 4


def test_a_tensor_that_is_gone_is_not_taken_for_a_new_one(encode):
    with encoding_once():
        for value in range(200):  # a freed tensor's identity is soon another one's
            assert encode(torch.tensor([value])).item() == value


def test_blocks_may_be_nested(encode):
    pixels = torch.ones(2)
    with encoding_once():
        encode(pixels)
        with encoding_once():
            encode(pixels)
        encode(pixels)
    assert encode.encoder.calls == 2


def test_an_error_ends_the_block(encode):
    pixels = torch.ones(2)
    with suppress(ZeroDivisionError), encoding_once():
        encode(pixels, size=1 / 0)
    assert encode(pixels) is not encode(pixels)
