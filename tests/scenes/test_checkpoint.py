"""The shipped checkpoint is ordinary, small, offline, and answers."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from tokenprune import scenes
from tokenprune.scenes.evaluate import Tally, answer, take, tally

MIB = 2**20


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return scenes.load()


def test_importing_scenes_imports_neither_torch_nor_transformers() -> None:
    code = "import sys; from tokenprune import scenes; scenes.draw(0).questions(); scenes.folder()\n"
    code += "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_folder_is_small_complete_and_readable() -> None:
    files = {path.name: path.stat() for path in scenes.folder().iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert {"tokenizer_config.json", "processor_config.json", "chat_template.jinja", "README.md"} <= set(files)
    assert sum(stat.st_size for stat in files.values()) <= 8 * MIB
    assert all(stat.st_mode & 0o444 == 0o444 for stat in files.values())


def test_the_model_is_a_plain_llava(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert type(processor).__name__ == "LlavaProcessor"
    assert model.config.text_config.num_hidden_layers == 8
    assert model.config.vision_feature_layer == -2
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert json.loads((scenes.folder() / "config.json").read_text())["dtype"] == "float16"


def test_the_processor_makes_room_for_256_tokens(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    scene = scenes.draw(0)
    inputs = processor(images=scene.image, text="USER: <image> What color is the star? ASSISTANT:", return_tensors="pt")
    ids = inputs["input_ids"][0]
    assert int((ids == model.config.image_token_index).sum()) == 256
    assert processor.tokenizer.convert_ids_to_tokens(ids[:2].tolist()) == ["<s>", "USER:"]
    question = ["what", "color", "is", "the", "star", "?", "ASSISTANT:"]
    assert processor.tokenizer.convert_ids_to_tokens(ids[258:].tolist()) == question


def test_the_chat_template_is_the_prompt_it_was_trained_on(loaded: tuple[Any, Any]) -> None:
    turn = [{"type": "image"}, {"type": "text", "text": "What color is the star?"}]
    prompt = loaded[1].apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True)
    assert prompt == "USER: <image> What color is the star? ASSISTANT:"


def test_the_tokenizer_knows_the_vocabulary_and_nothing_else(loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1].tokenizer
    specials = {"<pad>", "<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:", "?"}
    assert set(tokenizer.get_vocab()) == scenes.VOCABULARY | specials
    assert tokenizer("dog")["input_ids"][-1] == tokenizer.unk_token_id


@pytest.mark.parametrize("kind", scenes.SETS)
def test_it_answers_held_out_questions(loaded: tuple[Any, Any], kind: str) -> None:
    asked = take(kind, 60)
    found = tally(asked, answer(*loaded, asked))
    assert found["all"].asked == 60
    assert found["all"].right >= (56 if kind == "sparse" else 51)


def test_it_looks_at_the_image(loaded: tuple[Any, Any]) -> None:
    asked = take("crowded", 60)
    swapped = [(scenes.draw(1000 + i, "crowded"), question) for i, (_, question) in enumerate(asked)]
    assert tally(asked, answer(*loaded, swapped))["all"].right <= 30


def test_a_tally_counts_and_brackets() -> None:
    low, high = Tally(90, 100).interval()
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert Tally(5, 5).interval()[1] == pytest.approx(1.0)
    asked = take("sparse", 8)
    answers = [question.answer for _, question in asked[:4]] + ["wrong"] * 4
    found = tally(asked, answers)
    assert (found["all"].right, found["all"].asked) == (4, 8)
    assert sum(found[kind].asked for kind in scenes.KINDS) == 8


def test_questions_are_taken_scene_by_scene() -> None:
    asked = take("sparse", 20)
    assert [scene.index for scene, _ in asked] == sorted(scene.index for scene, _ in asked)
    assert [question for _, question in asked[:3]] == list(scenes.draw(0).questions(2)[:3])


def test_the_command_prints_json() -> None:
    command = [sys.executable, "-m", "tokenprune.scenes.evaluate", "--set", "sparse", "--questions", "8", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert (report["set"], report["seed"], report["kinds"]["all"]["asked"]) == ("sparse", 2, 8)
