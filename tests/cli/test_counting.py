import json
import re

import pytest
from house import ROOT

from tokenprune import Budget, scenes
from tokenprune.cli.counting import Counting, counted
from tokenprune.measure.cells import grid
from tokenprune.measure.conventions import CONVENTIONS

PAGE = (ROOT / "docs/flops.md").read_text("utf-8")
SHOWN = re.findall(r"\n\$ tokenprune (flops .*)\n((?s:.*?))```", PAGE)


@pytest.mark.parametrize(("command", "shown"), SHOWN)
def test_the_page_shows_what_is_printed(call, command, shown):
    found = call(*command.split(), COLUMNS="80")
    assert (found.exit_code, found.stderr) == (0, "")
    assert [line.rstrip() for line in found.stdout.splitlines()] == shown.splitlines()


def test_the_page_shows_several():
    assert len(SHOWN) >= 2


def test_every_convention_can_be_asked_for():
    assert [one.value for one in Counting] == list(CONVENTIONS)


def test_json_is_what_python_gives(call):
    folder = scenes.folder()
    arguments = ["--budgets", "64,25%", "--text", "9", "--dtype", "float32", "--json"]
    found = json.loads(call("flops", folder, *arguments).stdout)
    cells = grid(["vispruner"], [Budget.parse(64), Budget.parse("25%")])[1:]
    assert found == counted(str(folder), cells, text=9, dtype="float32")
    full, few, same = found["lines"]
    assert (full["tokens"], few["tokens"], full["pipeline"]) == (256, 64, None)
    assert {**few, "budget": "25%"} == same
    assert few["slots_by_layer"] == [64 + 9] * found["layers"]
    assert full["kv_bytes"] == 2 * width_of_keys(found["layers"]) * (256 + 9) * 4


def width_of_keys(layers):
    """Width of the keys of all layers of the embedded model."""
    config = json.loads((scenes.folder() / "config.json").read_text("utf-8"))["text_config"]
    assert layers == config["num_hidden_layers"]
    return layers * config["num_key_value_heads"] * (config["hidden_size"] // config["num_attention_heads"])


def test_a_convention_leaves_out_what_it_does_not_count(call):
    found = call("flops", scenes.folder(), "--convention", "fastv", "--pipelines", "none", COLUMNS="200").stdout
    assert "fastv: formula, 1 FLOP a multiply-accumulate" in found
    assert "prefill " not in found.splitlines()[3]
    assert re.search(r"^none 0% +0 ", found, re.MULTILINE)


def test_a_note_says_what_the_size_of_the_image_rests_on(call):
    found = call("flops", scenes.folder() / "config.json", "--image", "96x96", "--pipelines", "random")
    assert found.exit_code == 0
    assert found.stderr == (
        "note: the image is taken to be neither resized nor padded: a config alone has no image processor\n"
    )


def test_a_cell_that_cannot_be_reached_stays_empty_and_says_why(call):
    options = ("flops", scenes.folder(), "--pipelines", "fastv,downsample,vispruner,none", "--budgets", "64,28")
    found = call(*options, COLUMNS="200")
    assert (found.exit_code, found.stderr) == (0, "")
    lines = [line.split() for line in found.stdout.splitlines() if line]
    rows = {" ".join(line[:2]): line[2:] for line in lines[3:]}
    assert (rows["fastv 28"], rows["downsample 64"], rows["downsample 28"]) == (
        ["-", "[1]"],
        ["-", "[2]"],
        ["-", "[2]"],
    )
    assert (rows["fastv 64"][0], rows["vispruner 28"][0], rows["none 0%"][0]) == ("63.5", "28", "0")
    assert [line[0] for line in lines[-2:]] == ["[1]", "[2]"]
    told = json.loads(call(*options, "--json").stdout)["lines"]
    assert [line["pipeline"] for line in told if "reason" in line] == ["fastv", "downsample", "downsample"]
    assert "never averages below 32 of 256 tokens (12.5 %)" in told[2]["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["llava-1.5-7"],
            "llava-next-7b, qwen2.5-vl-7b, llava-small; did you mean",
        ),
        (["./none"], "there is no model folder and no config file at './none'"),
        (["llava-1.5-7b", "--budgets", "600"], "a budget of 600 is more than the 576 visual tokens that one image has"),
        (["llava-1.5-7b", "--pipelines", "vispruned"], "did you mean 'vispruner'"),
        (["llava-1.5-7b", "--budgets", "0"], "a budget of 0: write '0%' to keep none"),
        (["mllama"], "MllamaForConditionalGeneration has no vision encoder whose tokens stand in the prompt"),
        (["llava-1.5-7b", "--image", "large"], "--image takes a width and a height, as in 640x480"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(call, arguments, said):
    found = call("flops", *arguments)
    assert (found.exit_code, found.stdout) == (1, "")
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
