"""Relevance in the joint space of the CLIP that a model's vision encoder comes from."""

import json

import pytest
import torch
import yaml
from attach import tiny
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import cosine_similarity
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

import tokenprune
from tokenprune import load
from tokenprune.encode import encode
from tokenprune.errors import AttachError, MissingCue, PipelineError
from tokenprune.family import family_of

WORDS = 7  # that this CLIP reads at a time, between two tokens of its own


def tokenizer(names, folder):
    made = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token=names[3]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=names[0], bos_token=names[1], eos_token=names[2], unk_token=names[3]
    ).save_pretrained(folder)


def clip(folder, **vision):
    """A CLIP whose vision encoder is that of the tiny models, unless said otherwise."""
    torch.manual_seed(0)
    text = {"vocab_size": 70, "hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "max_position_embeddings": WORDS + 2, "bos_token_id": 1, "eos_token_id": 2}
    own = {name: value for name, value in tiny.CLIP.items() if name != "model_type"} | vision
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=own, projection_dim=12)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    tokenizer(["<pad>", "<s>", "</s>", "<unk>", *(f"w{at}" for at in reversed(range(3, 64)))], folder)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The model, and where it and the tokenizer of the language model lie."""
    here = tmp_path_factory.mktemp("clip")
    model = clip(here / "clip")
    tokenizer(["<pad>", "<s>", "</s>", *(f"w{at}" for at in range(3, 64))], here / "words")
    return model, {"folder": str(here / "clip"), "tokenizer": str(here / "words")}


def released(at, **more):
    return load("cdpruner", scorer={"use": "text_relevance", "sign": -1, "clip": at}, budget=5, **more)


def test_scores_are_those_of_clip_itself(folders):
    joint, at = folders
    model, scorer = tiny.llava(), released(at).stages[0].scorer
    inputs = tiny.prompts(model, images=(1, 2), seed=3)
    ids = inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.arange(20, 26).expand(2, -1)], 1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones(2, 6).long()], 1)
    with torch.no_grad():
        found = encode(family_of(model), model, inputs, released(at), ids, ids == tiny.IMAGE)
        scores = scorer.score(found.tokens)
        seen = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[-2][:, 1:]
        seen = joint.visual_projection(joint.vision_model.post_layernorm(seen))
        for row, prompt in enumerate((0, 1, 1)):
            last = (ids[prompt] == tiny.IMAGE).nonzero()[-1, 0]
            said = [67 - int(one) for one in ids[prompt, last + 1 :]]  # CLIP's own list of words goes down
            parts = [said[first : first + WORDS] for first in range(0, len(said), WORDS)]
            assert len(parts) == 2
            told = [joint.get_text_features(torch.tensor([[1, *part, 2]])).pooler_output for part in parts]
            want = -torch.stack([cosine_similarity(seen[row], one) for one in told]).mean(0)
            torch.testing.assert_close(scores[row], want)
    assert scores.std() > 1e-3


def test_a_whole_call_reads_it(folders):
    model, pipeline = tiny.llava(), released(folders[1])
    with tokenprune.attach(model, pipeline) as pruned:
        model.generate(**tiny.prompts(model, images=(2, 0, 1)), max_new_tokens=2)
    assert set(pruned.receipt.source) == {"encoder", "question_ids"}
    assert [image.after for image in pruned.receipt.images] == [5, 5, 5]
    assert pipeline == released(folders[1]) == load(yaml.safe_load(pipeline.to_yaml()))


def test_a_prompt_without_words_makes_all_tokens_alike(folders):
    scorer = released(folders[1]).stages[0].scorer
    ids = torch.tensor([[[5], [6], [-1]], [[-1], [-1], [-1]]])
    cues = {"encoder": torch.randn(2, 32, 6), "question_ids": ids}
    scores = scorer.score(tokenprune.VisualTokens(torch.zeros(2, 6, 4), cues=cues))
    assert scores[0].std() > 0
    assert not scores[1].any()


def test_a_folder_that_is_not_there_is_said_when_loading(folders, tmp_path):
    at = folders[1]
    for wrong, said in (({"folder": "nowhere"}, "no config.json in the folder 'nowhere'"), ({"tokenizer": "x"}, "'x'")):
        with pytest.raises(PipelineError, match=said):
            released({**at, **wrong})
    with pytest.raises(PipelineError, match=r"tokenizer: (is missing|Field required)"):
        released({"folder": at["folder"]})


def test_a_folder_that_holds_something_else_is_said(folders, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    scorer = released({**folders[1], "folder": str(tmp_path)}).stages[0].scorer
    with pytest.raises(PipelineError, match="cannot load a CLIPModel from"):
        _ = scorer.clip.space


@pytest.mark.parametrize(
    ("kind", "vision", "said"),
    [
        ("llava", {"hidden_size": 24}, "of hidden_size 24; that of LlavaForConditionalGeneration has 32"),
        ("llava", {"num_hidden_layers": 2}, "of num_hidden_layers 2; .* has 4. Name the folder"),
        ("llava_siglip", {}, "of model_type 'clip_vision_model'; .* has 'siglip_vision_model'"),
    ],
)
def test_another_encoder_is_refused_when_attaching(folders, tmp_path, kind, vision, said):
    clip(tmp_path, **vision)
    pipeline = released({**folders[1], "folder": str(tmp_path)})
    with pytest.raises(AttachError, match=said):
        tokenprune.attach(tiny.MODELS[kind](), pipeline)


def test_several_layers_side_by_side_are_no_output_of_clip(folders):
    model = tiny.vipllava()
    with tokenprune.attach(model, released(folders[1])), pytest.raises(PipelineError, match="width 96, and the CLIP"):
        model(**tiny.prompts(model))


def test_without_its_cues_it_says_so(folders):
    with pytest.raises(MissingCue, match="question_ids"):
        released(folders[1]).stages[0].scorer.score(tokenprune.VisualTokens(torch.zeros(1, 4, 2)))
