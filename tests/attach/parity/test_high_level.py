"""The embedded model in transformers' own pipeline, which calls ``generate`` for itself."""

import pytest
import torch
from transformers import pipeline

import tokenprune
from tokenprune import scenes


@pytest.fixture(scope="module")
def embedded():
    return scenes.load()


@pytest.fixture
def ask(embedded):
    model, processor = embedded
    return pipeline("image-text-to-text", model=model, processor=processor)


@pytest.fixture
def chats():
    """Two questions about two scenes."""
    drawn = [scenes.draw(0), scenes.draw(1)]
    return [
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": scene.image},
                    {"type": "text", "text": scene.questions()[0].text},
                ],
            }
        ]
        for scene in drawn
    ]


def _texts(answers):
    flat = [answer[0] if isinstance(answer, list) else answer for answer in answers]
    return [answer["generated_text"].strip() for answer in flat]


@pytest.mark.parametrize("batch", [1, 2])
def test_pipeline(embedded, ask, chats, batch):
    model, processor = embedded
    options = {"max_new_tokens": 4, "return_full_text": False, "batch_size": batch}
    plain = _texts(ask(text=chats, **options))
    with tokenprune.attach(model, "vispruner", budget="100%") as pruned:
        assert _texts(ask(text=chats, **options)) == plain
        assert pruned.receipt.before == 256 * batch
    with tokenprune.attach(model, "vispruner", budget=32) as pruned:
        found = _texts(ask(text=chats, **options))
        assert pruned.receipt.after == 32 * batch
        wanted = [_by_generate(model, processor, chat) for chat in chats]
    assert found == wanted
    assert _texts(ask(text=chats, **options)) == plain


def _by_generate(model, processor, chat):
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=4)
    return processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
