"""Folding tokens into others, against the language model run by hand on the folded and shortened sequence."""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE, Hand, see
from families import native

import tokenprune
from tokenprune.encode import encode
from tokenprune.family import family_of

BATCHES = [((1,), "left"), ((0, 1, 2), "left"), ((2, 0, 1), "right")]
DOMINANT, CARRIERS = 6, 3
VISIONZIP = tokenprune.load(
    "visionzip", budget=DOMINANT + CARRIERS, splitter={"use": "equal", "merged": CARRIERS / (DOMINANT + CARRIERS)}
)


@pytest.fixture(params=BATCHES, ids=lambda batch: f"{batch[0]} {batch[1]}")
def inputs(request, model):
    return tiny.prompts(model, *request.param)


def keys_by_hand(twin, pixels):
    """[I, N, d] the mean over heads of the keys in the layer whose output is read, CLS token left out."""
    tower = twin.model.vision_tower
    layer = tower.vision_model.encoder.layers[-2] if hasattr(tower, "vision_model") else tower.encoder.layers[-2]
    states = tower(pixels, output_hidden_states=True, return_dict=True).hidden_states[-3]
    keys = layer.self_attn.k_proj(layer.layer_norm1(states))  # [I, 1 + N, C]
    return keys.view(*keys.shape[:2], 4, -1).mean(2)[:, 1:]


def zipped(rows, attention, keys):
    """VisionZip on one image, step by step: rows [N, C], attention [N], keys [N, d] -> new rows, which stay."""
    dominant = attention.argsort(descending=True)[:DOMINANT].tolist()
    left = [token for token in range(len(rows)) if token not in dominant]
    centres = left[:: len(left) // CARRIERS][:CARRIERS]
    near = torch.nn.functional.normalize(keys, dim=-1)
    homes = {centre: [] for centre in centres}
    for token in set(left) - set(centres):
        homes[max(centres, key=lambda centre: float(near[token] @ near[centre]))].append(token)
    new = rows.clone()
    for centre, members in homes.items():
        new[centre] = rows[centre] + (rows[members].mean(0) if members else 0)
    return new, sorted(dominant + centres)


def by_hand(twin, inputs, positions, numbering="generate"):
    """The language model on what VisionZip leaves."""
    with torch.no_grad():
        seen, keys = see(twin, inputs["pixel_values"]), keys_by_hand(twin, inputs["pixel_values"])
        attention = seen.attention.sum(1)  # [I, N]
        parts = [zipped(*image) for image in zip(seen.rows, attention, keys, strict=True)]
    rows, stays = torch.stack([new for new, _ in parts]), torch.zeros(seen.rows.shape[:2], dtype=torch.bool)
    for row, (_, tokens) in zip(stays, parts, strict=True):
        row[tokens] = True
    return Hand(twin, inputs, stays, positions, numbering, rows)


@pytest.mark.parametrize("kind", ["llava"], indirect=True)
class TestLlava:
    def test_forward(self, model, twin, inputs, positions):
        hand = by_hand(twin, inputs, positions, "forward")
        with tokenprune.attach(model, VISIONZIP, positions=positions) as pruned, torch.no_grad():
            logits = model(**inputs).logits
        for row, slots in enumerate(pruned.receipt.slots):
            assert torch.equal(slots, hand.slots[row])
            torch.testing.assert_close(logits[row, slots], hand.logits(row), **CLOSE)
        assert [len(image.merged) for image in pruned.receipt.images] == [CARRIERS] * len(pruned.receipt.images)

    def test_generate(self, model, twin, positions):
        inputs = tiny.prompts(model, (0, 1, 2))
        with tokenprune.attach(model, VISIONZIP, positions=positions):
            out = model.generate(**inputs, max_new_tokens=4, output_logits=True, return_dict_in_generate=True)
        ids, logits = by_hand(twin, inputs, positions).greedy(4)
        assert torch.equal(out.sequences[:, -4:], ids)
        torch.testing.assert_close(torch.stack(out.logits, 1), logits, **CLOSE)

    def test_without_the_merge_it_is_another_answer(self, model, twin):
        """The oracle sees the difference that folding makes."""
        inputs = tiny.prompts(model, (1,))
        hand = by_hand(twin, inputs, "keep")
        plain = Hand(twin, inputs, hand.kept[inputs["input_ids"] == tiny.IMAGE].view(1, -1), "keep")
        assert (plain.logits(0) - hand.logits(0)).abs().max() > 1e-2

    def test_a_budget_of_everything_changes_no_bit(self, model, inputs):
        with torch.no_grad():
            plain = model(**inputs).logits
            with tokenprune.attach(model, VISIONZIP, budget="100%") as pruned:
                attached = model(**inputs).logits
        assert pruned.receipt.after == pruned.receipt.before > 0
        assert torch.equal(plain, attached)


def flat(stream):
    """[R, C] of a tensor, or of one for each image or prompt."""
    parts = [stream] if isinstance(stream, torch.Tensor) else stream
    return torch.cat([part.flatten(0, -2) for part in parts])


def test_deepstack_streams_are_merged_alike():
    model = native.qwen3_vl()
    inputs = native.patches(model, [0, 1])
    pipeline = tokenprune.load("visionzip", budget="60%", splitter={"use": "equal", "merged": 0.5})
    family, ids = family_of(model), inputs["input_ids"]
    with torch.no_grad():
        encoded = encode(family, model, inputs, pipeline, ids, ids == native.IMAGE, inputs["attention_mask"])
        merge, stays = pipeline.select(encoded.tokens).merge, pipeline.select(encoded.tokens).mask.flatten()
        full = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True)
        short = tokenprune.prune_inputs(model, inputs, pipeline, positions="renumber")["mm_encoder_outputs"]["image"]
    assert torch.equal(encoded.index, encoded.tokens.valid.flatten().nonzero()[:, 0])  # rows are the valid tokens
    table = torch.zeros(stays.numel(), stays.numel())
    table.index_put_((merge.target, merge.source), merge.weight, accumulate=True)
    still = ~(table != 0).any(1)
    table[still, still] = 1
    table = table[stays][:, encoded.index]  # [kept, R]
    assert len(short.deepstack_features) == 2
    streams = [(full.pooler_output, short.pooler_output)]
    streams += zip(full.deepstack_features, short.deepstack_features, strict=True)
    for before, after in [map(flat, stream) for stream in streams]:
        torch.testing.assert_close(after, table @ before, rtol=0, atol=1e-5)
        assert not torch.equal(after, before[stays[encoded.index]])
