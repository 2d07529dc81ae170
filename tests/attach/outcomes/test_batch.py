"""A batch is answered as its prompts are one by one, whatever is longest in it."""

import pytest
import torch
from attach import tiny

import tokenprune

IMAGES = [tiny.IMAGE] * tiny.SIDE**2
PROMPTS = {
    "a long text beside a short image": [[1, *tiny.text(60, 1)], [1, *IMAGES, *tiny.text(5, 2)]],
    "as long as the full prompt": [[1, *tiny.text(41, 1)], [1, *IMAGES, *tiny.text(5, 2)]],
    "as long as the short prompt": [[1, *tiny.text(8, 1)], [1, *IMAGES, *tiny.text(5, 2)]],
    "text, two images, one": [
        [1, *tiny.text(20, 1)],
        [1, *IMAGES, 7, *IMAGES, 8],
        [1, *tiny.text(9, 3), *IMAGES, *tiny.text(3, 4)],
    ],
}


def images_in(ids):
    return ids.count(tiny.IMAGE) // len(IMAGES)


@pytest.mark.parametrize("rows", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_a_batch_is_answered_as_its_prompts_alone(model, rows, positions):
    pixels = tiny.pixels(sum(map(images_in, rows)))
    with tokenprune.attach(model, "fastervlm", budget=3, positions=positions) as pruned:
        together = model.generate(**tiny.padded(rows, "left"), pixel_values=pixels, max_new_tokens=5)
        receipt, used = pruned.receipt, 0
        for row, answer in zip(rows, together, strict=True):
            own = pixels[used : used + images_in(row)]
            used += len(own)
            alone = model.generate(
                **tiny.padded([row], "left"), **({"pixel_values": own} if len(own) else {}), max_new_tokens=5
            )
            assert torch.equal(answer[-5:], alone[0, -5:])
    assert [image.after for image in receipt.images] == [3] * len(pixels)
    assert [len(slots) for slots in receipt.slots] == [len(row) - 33 * images_in(row) for row in rows]
