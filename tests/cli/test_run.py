import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tokenprune import scenes
from tokenprune.cli.figures import short
from tokenprune.cli.running import _number

STAR = "What color is the star?"


@pytest.fixture
def run(call, picture):
    """run("--budget", 7) asks the embedded model about a scene."""
    return lambda *arguments, prompt=STAR, image=picture: call("run", "--image", image, "--prompt", prompt, *arguments)


@pytest.fixture
def folder(tmp_path):
    """The embedded model as a folder of its own."""
    return shutil.copytree(scenes.folder(), tmp_path / "model")


def test_both_answers_tokens_and_flops_are_told(run):
    found = run("--budget", 28, "--out", "kept.png")
    assert (found.exit_code, found.stderr) == (0, "picture: kept.png\n")
    head, answer, tokens, flops, _, *receipt = found.stdout.splitlines()
    assert head.split() == ["all", "tokens", "vispruner"]
    told = json.loads(run("--budget", 28, "--json").stdout)
    assert answer.split() == ["answer", *(word for side in ("full", "pruned") for word in told[side]["answer"].split())]
    assert tokens.split() == ["visual", "tokens", "256", "28", "(10.9", "%)"]
    full, pruned = (told[side]["prefill_flops"] for side in ("full", "pruned"))
    assert flops.split() == [
        "prefill",
        "FLOPs",
        *f"{short(full)} {short(pruned)} ({100 * pruned / full:.1f} %)".split(),
    ]
    assert receipt[0].startswith("vispruner on LlavaForConditionalGeneration: 28 of 256 tokens (10.9 %)")


def test_json_holds_the_same_and_the_receipt(run, picture):
    found = json.loads(run("--pipeline", "fastervlm", "--budget", "25%", "--positions", "keep", "--json").stdout)
    assert (found["image"], found["model"], found["prompt"]) == (str(picture), "embedded", STAR)
    assert (found["full"]["tokens"], found["pruned"]["tokens"]) == (256, 64)
    assert found["pruned"]["prefill_flops"] < found["full"]["prefill_flops"]
    receipt = found["receipt"]
    assert (receipt["pipeline"], receipt["budget"], receipt["positions"]) == ("fastervlm", "25% per image", "keep")
    assert len(receipt["images"][0]["kept"]) == 64


def test_stdout_holds_json_and_stderr_nothing(picture):
    command = [sys.executable, "-m", "tokenprune", "run", "--image", str(picture), "--prompt", STAR, "--json"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert run.stderr == ""
    assert json.loads(run.stdout)["full"]["answer"]


def test_the_prefill_is_counted_and_nothing_after_it(run):
    long, brief = (
        json.loads(run("--max-new-tokens", count, "--json", prompt="Where is the purple star?").stdout)
        for count in (8, 1)
    )
    assert len(brief["full"]["answer"].split()) == 1 < len(long["full"]["answer"].split())
    for side in ("full", "pruned"):
        assert long[side]["prefill_flops"] == brief[side]["prefill_flops"]


def test_a_folder_is_a_model_like_the_embedded_one(run, folder):
    own = json.loads(run("--json", "--budget", 64).stdout)
    (folder / "chat_template.jinja").unlink()  # the prompt is then the image and the text, as written
    for options in (["--dtype", "float32"], ["--device", "cpu"]):
        found = run("--model", folder, *options, "--json", "--budget", 64, prompt="giraffe")
        assert found.exit_code == 0, found.stderr
        given = json.loads(found.stdout)
        assert given["model"] == str(folder)
        assert given["pruned"]["tokens"] == own["pruned"]["tokens"]


def test_the_picture_shows_the_image_in_whole_multiples(run, tmp_path):
    assert run("--out", "kept.png").exit_code == 0
    with Image.open(tmp_path / "kept.png") as kept:
        assert kept.width == 512
        assert kept.height > 512  # the caption is below


def test_other_pictures_get_a_note(run, tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "wide.png")
    found = run("--budget", 7, image="wide.png")
    assert found.exit_code == 0
    assert found.stderr.startswith("note: the embedded model knows drawn scenes of 128 x 128 pixels only")
    assert "note" not in found.stdout


def test_unknown_words_are_named_with_what_would_work(run):
    found = run(prompt="What colour is the giraffe?")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "does not know 'colour' and 'giraffe'; did you mean 'color'?" in found.stderr
    assert "use --model DIR_OR_HUB_ID" in found.stderr
    examples = [text for text in found.stderr.split("'") if text.endswith("?") and " " in text and text[0].isupper()]
    assert len(examples) == 3
    assert not any(map(scenes.unknown_words, examples))


def test_a_word_like_no_other_gets_no_guess(run):
    assert "does not know 'giraffe'. It knows" in run(prompt="giraffe").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pipeline", "visprunner"], "no 'visprunner' among the pipelines; did you mean 'vispruner'?"),
        (["--pipeline", "none.yaml"], "cannot read the pipeline file 'none.yaml'"),
        (["--budget", "150%"], "a budget of '150%': a share lies between '0%' and '100%'"),
        (["--budget", "0"], "a budget of 0"),
        (["--budget", "many"], "cannot read the budget 'many'"),
        (["--out", "nowhere/kept.png"], "there is no folder 'nowhere' to write 'kept.png' to"),
        (["--out", "kept.txt"], "cannot write a picture to 'kept.txt'"),
        (["--model", "./nowhere"], "there is no model folder at './nowhere'"),
        (["--model", "."], "cannot load the model '.'"),
        (["--device", "nowhere"], "cannot use the device 'nowhere'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(run, arguments, said):
    found = run(*arguments)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith(f"error: {said}")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.png", None, "there is no image at 'none.png'"),
        ("text.png", b"no picture", "cannot read the image 'text.png': it is no picture"),
        ("cut.png", 300, "cannot read the image 'cut.png': "),
    ],
)
def test_images_that_cannot_be_read(run, tmp_path, picture, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(picture.read_bytes()[:content] if isinstance(content, int) else content)
    found = run(image=name)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith(f"error: {said}")
    assert found.stderr.count("\n") == 1


def test_debug_gives_the_error_itself(run):
    assert type(run("--budget", "0", "--debug").exception).__name__ == "BudgetError"


@pytest.mark.parametrize(
    ("text", "value"), [("64", 64), ("0.25", 0.25), ("11.1%", "11.1%"), ("64 per row", "64 per row")]
)
def test_a_budget_is_read_as_in_yaml(text, value):
    assert _number(text) == value
    assert type(_number(text)) is type(value)
