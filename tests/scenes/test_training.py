"""The recipe in examples/train_scenes: its parts, a whole run at toy size, and going on after a crash."""

import importlib
import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tokenprune import scenes

RECIPE = Path(__file__).parents[2] / "examples" / "train_scenes"
MODULES = ("model", "optim", "data", "tower", "language", "loop", "export", "train")


@pytest.fixture(scope="module")
def recipe() -> Iterator[Any]:
    """The modules of the recipe, which import each other as a script's neighbours do; on one thread, as they train."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(RECIPE))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        torch.set_num_threads(threads)
        sys.path.remove(str(RECIPE))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def fresh(recipe: Any) -> Any:
    torch.manual_seed(0)
    return recipe.tower.Tower(recipe.model.new_tower(recipe.data.first_patches(1, 4)))


@pytest.fixture
def tower(fresh: Any) -> Any:
    return deepcopy(fresh)


def weights(module: Any) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


def test_orthogonalize_brings_singular_values_to_about_one(recipe: Any) -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 16), (2, 8, 32), (2, 32, 8)):
        values = torch.linalg.svdvals(recipe.optim.orthogonalize(torch.randn(shape), rounds=6))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_orthogonalize_keeps_directions(recipe: Any) -> None:
    torch.manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(12, 12))[0], torch.linalg.qr(torch.randn(12, 12))[0]
    given = left @ torch.diag(torch.linspace(1, 2, 12)) @ right.T
    turned = left.T @ recipe.optim.orthogonalize(given[None])[0] @ right
    assert (turned - torch.diag(turned.diag())).abs().max() < 1e-4


def test_muon_takes_matrices_and_adamw_the_rest(recipe: Any, tower: Any) -> None:
    muon, adamw = recipe.optim.optimizers(tower, decay=0.05)
    assert {weight.ndim for weight in muon.param_groups[0]["params"]} == {2}
    assert len(muon.param_groups[0]["params"]) == 5 * 6  # q, k, v, out and two of the MLP in five layers
    count = sum(len(group["params"]) for optimizer in (muon, adamw) for group in optimizer.param_groups)
    assert count == len(list(tower.parameters()))


def test_muon_descends(recipe: Any) -> None:
    torch.manual_seed(0)
    matrix, goal = torch.nn.Parameter(torch.zeros(8, 8)), torch.randn(8, 8)
    muon = recipe.optim.Muon([matrix], lr=0.05, decay=0.0)
    for _ in range(200):
        muon.zero_grad()
        (matrix - goal).square().sum().backward()
        muon.step()
    assert (matrix - goal).square().mean() < 0.1 * goal.square().mean()


def test_processes_share_the_scenes_and_never_meet(recipe: Any) -> None:
    parts = [recipe.data.Share(2, rank, 2, first=100) for rank in range(2)]
    met = [(scene.index, scene.kind) for step in range(3) for part in parts for scene in part.scenes(step)]
    assert met == [(index, scenes.SETS[index % 2]) for index in range(100, 112)]


def test_labels_say_what_is_in_the_scene(recipe: Any) -> None:
    scene = scenes.draw(3, "crowded")
    assert scene.sign is not None
    assert scene.sign.number == "54"
    labels, caption = recipe.data.patch_labels(scene), recipe.data.caption_labels(scene)
    thing, sign = scene.things[0], scene.sign
    at = labels[int(thing.y / 8), int(thing.x / 8)]
    assert at[0] == recipe.data.SHAPES.index(thing.shape) + 1
    assert list(recipe.data.COLORS)[at[1] - 1] == thing.color
    digits = [int(digit) + 1 for digit in sign.number]
    assert labels[int(sign.y / 8), int(sign.x / 8)].tolist()[:4] == [recipe.data.SIGN, 0, *digits]
    assert caption[18:20].tolist() == digits
    region = recipe.data.REGIONS.index(thing.region)
    assert caption[2 * region : 2 * region + 2].tolist() == at[:2].tolist()
    assert (labels[..., 0] > 0).mean() == scene.area


def test_windows_are_cut_around_their_thing(recipe: Any) -> None:
    batch = recipe.data.window_batch(recipe.data.Share(8), 0)
    assert batch["pixels"].shape == (8, 3, 48, 48)
    middle = batch["patches"].view(8, 6, 6, 6)[:, 1:5, 1:5].flatten(1, 2)
    assert all((middle[i, :, :4] == batch["center"][i]).all(-1).any() for i in range(8))
    whole = recipe.data.pixels(scenes.draw(0, "sparse", 1))
    y, x = divmod(int(batch["positions"][0, 1]) - 1, 16)
    np.testing.assert_array_equal(batch["pixels"][0], whole[:, y * 8 : y * 8 + 48, x * 8 : x * 8 + 48])


def test_windows_and_images_agree_on_position(tower: Any) -> None:
    pixels = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        patches, cls = tower(pixels)
        placed, again = tower(pixels, torch.arange(257)[None])
    torch.testing.assert_close(patches, placed)
    torch.testing.assert_close(cls, again)


def test_the_language_model_reads_what_the_tower_was_trained_on(tower: Any) -> None:
    pixels = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        states = tower.net(pixels, output_hidden_states=True).hidden_states
        torch.testing.assert_close(tower(pixels)[0], states[-2][:, 1:])


def test_targets_are_the_next_tokens_of_answers(recipe: Any) -> None:
    question = scenes.Question("at", "What is in the top left?", "red star")
    ids, targets, turns, kinds = recipe.language.chat([question, question])
    words = {number: word for word, number in recipe.model.WORDS.items()}
    half = len(ids) // 2
    assert " ".join(words[i] for i in ids[:half]) == "what is in the top left ? ASSISTANT: red star </s>"
    assert [(words[i], words[t]) for i, t in zip(ids[:half], targets[:half], strict=True) if t >= 0] == [
        ("ASSISTANT:", "red"),
        ("red", "star"),
        ("star", "</s>"),
    ]
    assert turns == [1] * half + [2] * half
    assert set(kinds) == {scenes.KINDS.index("at")}


def test_a_turn_sees_the_image_and_itself(recipe: Any) -> None:
    mask = recipe.language.block_mask(torch.tensor([[1, 1, 2, 2, -1]]))[0, 0]
    prefix = recipe.language.PREFIX
    assert mask[prefix:, :prefix].all()
    own = mask[prefix:, prefix:].int().tolist()
    assert own == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert not mask[:prefix, prefix:].any()
    assert torch.equal(mask[:prefix, :prefix], torch.ones(prefix, prefix, dtype=torch.bool).tril())


def test_packed_training_equals_the_shipped_prompt(recipe: Any, tower: Any, tmp_path: Path) -> None:
    """The first question behind the image gets the logits that the processor's prompt gets from the whole model."""
    llava = recipe.model.new_llava(tower.net, 2).eval()
    stage = recipe.language.Language(llava, 1, recipe.data.Share(1), questions=3)
    batch = stage.draw(0)
    with torch.no_grad():
        packed = stage._answer(stage._see(batch["pixels"]), batch)
    recipe.export.new_processor().save_pretrained(tmp_path)
    scene = scenes.draw(0, "sparse", 1)
    length = int((batch["turns"][0] == 1).sum()) - 1  # without </s>
    words = {number: word for word, number in recipe.model.WORDS.items()}
    text = " ".join(words[i] for i in batch["ids"][0, :length].tolist()).replace(" ?", "?")
    processor = recipe.export.LlavaProcessor.from_pretrained(tmp_path)
    inputs = processor(images=scene.image, text=f"USER: <image> {text}", return_tensors="pt")
    with torch.no_grad():
        whole = llava(**inputs).logits[:, recipe.language.PREFIX :]
    torch.testing.assert_close(whole, packed[:, :length], atol=1e-4, rtol=1e-4)


def test_right_answers_are_counted_by_question(recipe: Any, tower: Any) -> None:
    stage = recipe.language.Language(recipe.model.new_llava(tower.net, 1), 1, recipe.data.Share(2), questions=6)
    batch = stage.draw(0)
    perfect = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), len(recipe.model.WORDS)).float()
    assert all(float(share) == 1 for share in stage._right(perfect, batch).values())
    assert all(float(share) == 0 for share in stage._right(perfect.roll(1, dims=-1), batch).values())


def test_the_rate_rises_and_falls(recipe: Any, tower: Any) -> None:
    stage = recipe.tower.Images(tower, 1000, recipe.data.Share(2))
    rates = [recipe.loop.rate(stage, step) for step in range(1001)]
    assert rates[0] < stage.peak / 40
    assert max(rates) == pytest.approx(stage.peak, rel=0.01)
    assert rates[-1] == pytest.approx(stage.floor)


class Crash(Exception):
    """What stops a run in the test."""


def test_a_crashed_run_ends_like_one_that_ran_through(recipe: Any, fresh: Any, tmp_path: Path) -> None:
    def run(name: str, crash: bool) -> torch.Tensor:
        tower = deepcopy(fresh)
        stage = recipe.tower.Windows(tower, 5, recipe.data.Share(4))
        draw = stage.draw

        def fail(step: int) -> Any:
            if step == 3:
                raise Crash
            return draw(step)

        stage.draw = fail if crash else draw
        (tmp_path / name).mkdir(exist_ok=True)
        recipe.loop.train(stage, recipe.loop.Run(tmp_path / name, workers=0, every=1, save=2))
        return weights(tower)

    through = run("through", crash=False)
    with pytest.raises(Crash):
        run("crashed", crash=True)
    assert torch.load(tmp_path / "crashed" / "tower-windows.pt", weights_only=True)["step"] == 2
    assert torch.equal(run("crashed", crash=False), through)
    steps = [json.loads(line)["step"] for line in (tmp_path / "crashed" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 3, 4, 5]


def test_a_toy_run_writes_a_checkpoint_that_loads(recipe: Any, tmp_path: Path, capsys: Any) -> None:
    plan = recipe.train.Plan(1, windows=2, images=1, language=2, window_batch=4, image_batch=2, language_batch=2)
    llava = recipe.train.follow(replace(plan, layers=1), recipe.loop.Run(tmp_path, workers=0, every=1))
    assert "language" in capsys.readouterr().out
    recipe.export.export(llava, tmp_path / "checkpoint")
    model, processor = scenes.load(tmp_path / "checkpoint")
    inputs = processor(
        images=scenes.draw(0).image, text="USER: <image> How many objects? ASSISTANT:", return_tensors="pt"
    )
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] <= 258 + 5 + 2
    assert model.config.text_config.num_hidden_layers == 1
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == sorted(
        path.name for path in scenes.folder().iterdir() if path.name != "README.md"
    )


def test_the_frozen_tower_is_not_moved_by_the_language_stage(recipe: Any, tower: Any, tmp_path: Path) -> None:
    llava = recipe.model.new_llava(tower.net, 1)
    before = weights(llava.model.vision_tower), weights(llava.model.multi_modal_projector)
    assert not {id(w) for w in llava.model.vision_tower.parameters()} & {id(w) for w in recipe.model.trainable(llava)}
    recipe.loop.train(
        recipe.language.Language(llava, 2, recipe.data.Share(2)), recipe.loop.Run(tmp_path, workers=0, every=1)
    )
    assert torch.equal(weights(llava.model.vision_tower), before[0])
    assert not torch.equal(weights(llava.model.multi_modal_projector), before[1])


def test_other_settings_do_not_continue_a_run(recipe: Any, tmp_path: Path) -> None:
    recipe.train.check_plan(recipe.train.Plan(), tmp_path)
    recipe.train.check_plan(recipe.train.Plan(), tmp_path)
    with pytest.raises(recipe.train.typer.BadParameter, match="choose another --out"):
        recipe.train.check_plan(recipe.train.Plan(seed=3), tmp_path)


def test_two_processes_train_one_model(recipe: Any, tmp_path: Path) -> None:
    plan = recipe.train.Plan(1, 1, 1, 2, window_batch=4, image_batch=4, language_batch=4, layers=1)
    run = recipe.loop.Run(tmp_path, processes=2, workers=0, every=1)
    recipe.train.spawn(recipe.train.work, (plan, run), nprocs=2)
    model, _ = scenes.load(tmp_path / "checkpoint")
    assert model.config.text_config.num_hidden_layers == 1
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in steps] == [
        ("tower-windows", 1),
        ("tower-images", 1),
        ("language", 1),
        ("language", 2),
    ]


def test_the_test_set_is_no_training_set(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(recipe.train.typer.BadParameter, match="choose another"):
        recipe.train.main(tmp_path, seed=2)
