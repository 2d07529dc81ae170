import json
import re

import pytest
from house import ROOT

from tokenprune import scenes
from tokenprune.inspection import inspect_model


def test_the_page_shows_what_is_printed(call, monkeypatch):
    page = (ROOT / "docs/attach.md").read_text("utf-8")
    command, shown = re.search(r"\n\$ tokenprune (inspect .*)\n((?s:.*?))\.\.\.\n```", page).groups()
    monkeypatch.chdir(ROOT)
    found = call(*command.split())
    assert (found.exit_code, found.stderr) == (0, "")
    assert [line.rstrip() for line in found.stdout.splitlines()][: shown.count("\n")] == shown.splitlines()


def test_a_picture_is_counted_at_its_size(call, picture):
    found = call("inspect", scenes.folder(), "--image", picture)
    assert re.search(r"^tokens +256 for 128 x 128 pixels *$", found.stdout, re.MULTILINE)


def test_json_is_what_python_gives(call):
    found = json.loads(call("inspect", "qwen2_vl", "--image", "560x280", "--json").stdout)
    assert found == inspect_model("qwen2_vl", (280, 560)).to_dict()
    assert found["placeholders"]["count"] == 200
    assert found["placeholders"]["width"] == 560


def test_a_pipeline_that_does_not_apply_says_why(call):
    lines = call("inspect", "got_ocr2", COLUMNS="300").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("vispruner")]
    assert "no: 'vispruner' reads cls_attention or received_attention" in line
    assert any(line.split() == ["attention", "none", "is", "read"] for line in lines)


def test_tokens_that_only_a_processor_tells_are_not_made_up(call):
    found = call("inspect", "molmo2", "--image", "40x30", COLUMNS="300")
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("tokens")]
    assert "not known for 40 x 30 pixels: only its image processor tells" in line
    assert not [line for line in call("inspect", "molmo2").stdout.splitlines() if line.startswith("tokens")]


def test_frames_are_counted_beside_an_image(call):
    lines = call("inspect", "qwen2_vl", "--image", "560x280", "--frames", "8", COLUMNS="300").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("of a video")]
    assert "800 for 8 frames of 560 x 280 pixels, 4 rows (unless they are resized" in line
    assert [line for line in lines if line.startswith("videos") and "share its budget" in line]
    assert not [line for line in call("inspect", "qwen2_vl").stdout.splitlines() if line.startswith("of a video")]


def test_a_model_that_is_refused_says_why(call):
    found = call("inspect", "llama", COLUMNS="300")
    assert found.exit_code == 0
    assert "no family is registered for model_type 'llama'" in found.stdout
    assert "vispruner" not in found.stdout
    assert json.loads(call("inspect", "llama", "--json").stdout)["family"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lava"], "knows no model type 'lava'; did you mean 'llava'?"),
        (["./none"], "there is no model folder and no config file at './none'"),
        (["llava", "--image", "large"], "--image takes a width and a height, as in 640x480, or a picture; got 'large'"),
        (["llava", "--image", "none.png"], "there is no image at 'none.png'"),
        (["llava", "--image", "0x5"], "an image of 0x5 has no pixels"),
        (["qwen2_vl", "--frames", "8"], "--frames counts frames of the size that --image says"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(call, arguments, said):
    found = call("inspect", *arguments)
    assert (found.exit_code, found.stdout) == (1, "")
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
