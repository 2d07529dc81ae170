"""What a prompt asks: which words, and nothing else."""

from types import SimpleNamespace

import pytest
import torch
from attach import tiny

import tokenprune
from tokenprune.encode import encode
from tokenprune.family import family_of
from tokenprune.question import question_of

PAD, BOS, EOS, IMAGE = 0, 1, 2, 9
TABLE = torch.nn.Embedding(12, 4)


def model(**special):
    """A model that has word embeddings and says which tokens are no words."""
    config = SimpleNamespace(**{"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, **special})
    return SimpleNamespace(generation_config=config, get_input_embeddings=lambda: TABLE)


def words(*rows):
    """[P, M, C] embeddings of rows of ids, zero where one is shorter."""
    longest = max(map(len, rows))
    found = torch.zeros(len(rows), longest, 4)
    for row, ids in zip(found, rows, strict=True):
        row[: len(ids)] = TABLE(torch.tensor(ids, dtype=torch.int64)).detach()
    return found


def asked(rows, mask=None, of=None):
    ids = torch.tensor(rows)
    mask = None if mask is None else torch.tensor(mask)
    return question_of(of or model(), ids, mask, ids == IMAGE)


def test_the_text_after_the_last_image():
    found = asked([[BOS, 3, IMAGE, IMAGE, 4, IMAGE, 5, 6]])
    assert torch.equal(found, words([5, 6]))
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_all_text_where_nothing_follows_the_last_image():
    assert torch.equal(asked([[BOS, 3, 4, IMAGE, 5, IMAGE]]), words([3, 4, 5]))
    assert torch.equal(asked([[BOS, 3, 4, IMAGE, EOS]]), words([3, 4]))
    assert torch.equal(asked([[BOS, 3, 4]]), words([3, 4]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_text(side):
    row, fill = [BOS, IMAGE, 5, 6], [7, 7]  # whatever id it has
    ids, mask = ([fill + row], [[0, 0, 1, 1, 1, 1]]) if side == "left" else ([row + fill], [[1, 1, 1, 1, 0, 0]])
    assert torch.equal(asked(ids, mask), words([5, 6]))


def test_prompts_of_different_length():
    rows = [[PAD, BOS, IMAGE, 3, 4, 5], [BOS, 6, IMAGE, IMAGE, 7, EOS], [BOS, 8, 3, 4, 5, IMAGE]]
    mask = [[0, 1, 1, 1, 1, 1], [1] * 6, [1] * 6]
    assert torch.equal(asked(rows, mask), words([3, 4, 5], [7], [8, 3, 4, 5]))


def test_a_prompt_without_words_gives_one_row_of_zeros():
    assert torch.equal(asked([[BOS, IMAGE, IMAGE, EOS]]), torch.zeros(1, 1, 4))


def test_special_tokens_may_be_several_or_none():
    assert torch.equal(asked([[IMAGE, 3, 4, 5]], of=model(eos_token_id=[4, 5])), words([3]))
    none = model(bos_token_id=None, eos_token_id=None, pad_token_id=None)
    assert torch.equal(asked([[IMAGE, BOS, 3]], of=none), words([BOS, 3]))


def test_every_image_of_a_prompt_hears_the_question_of_that_prompt():
    """Prompts with none, one and two images: rows are images, and each has the words of its own prompt."""
    llava = tiny.llava()
    inputs = tiny.prompts(llava, (0, 1, 2))
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    pipeline = tokenprune.load("divprune", budget=4)
    encoded = encode(family_of(llava), llava, inputs, pipeline, ids, ids == tiny.IMAGE, mask)
    question, table = encoded.tokens.cue("question"), llava.get_input_embeddings().weight.detach()
    assert encoded.tokens.sample.tolist() == [1, 2, 2]
    for row, prompt in enumerate(encoded.tokens.sample.tolist()):
        last = (ids[prompt] == tiny.IMAGE).nonzero()[-1].item()
        wanted = table[ids[prompt, last + 1 :]]
        assert torch.equal(question[row, : len(wanted)], wanted)
        assert not question[row, len(wanted) :].any()


@pytest.mark.parametrize("space", ["encoder", "projected"])
def test_projected_features_are_a_cue_in_either_space(space):
    """What reaches the language model, [B, C, N], beside the features that similarity is measured on."""
    model = tiny.llava()
    inputs = tiny.prompts(model, images=(1, 2))
    pipeline = tokenprune.load("mmtok", space=space, budget=5)
    ids = inputs["input_ids"]
    with torch.no_grad():
        found = encode(family_of(model), model, inputs, pipeline, ids, ids == tiny.IMAGE)
        rows = torch.stack(list(model.model.get_image_features(inputs["pixel_values"]).pooler_output))
    assert torch.equal(found.tokens.cue("projected").mT, rows)
    assert found.tokens.features.shape[2] == {"encoder": 32, "projected": 48}[space]
    with tokenprune.attach(model, pipeline) as pruned, torch.no_grad():
        model(**inputs)
    assert set(pruned.receipt.source) == {"question", "projected"}
