import json
import re
import runpy

import numpy as np
import pytest
from house import ROOT
from PIL import Image

SHORT = ("--pipelines", "vispruner,divprune", "--budgets", "64,5.6%")


def data_of(path):
    """What a page draws from."""
    text = path.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """One run that several tests look at: its output and its folder."""
    from typer.testing import CliRunner

    from tokenprune.cli import app

    folder = tmp_path_factory.mktemp("view")
    arguments = ["view", "sparse:0", *SHORT, "--out", str(folder / "kept.png"), "--note", "a toy & <more>"]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "120", "NO_COLOR": "1"}), folder


def test_a_table_says_what_stays_and_where_it_was_drawn(once):
    found, folder = once
    assert (found.exit_code, found.stderr.strip()) == (0, "")
    lines = [line.split() for line in found.stdout.splitlines()]
    assert lines[0] == ["pipeline", "budget", "tokens", "important", "diverse", "merged"]
    assert lines[1] == ["vispruner", "64", "64/256", "25.0", "%", "32", "32", "0"]
    assert lines[4] == ["divprune", "5.6%", "14/256", "5.5", "%", "0", "14", "0"]
    assert lines[5:] == [["sheet:", str(folder / "kept.png")], ["page:", str(folder / "kept.html")]]


def test_the_sheet_has_a_line_for_each_pipeline(once):
    with Image.open(once[1] / "kept.png") as sheet:
        assert sheet.width > 3 * 384
        assert sheet.height > 2 * 384


def test_the_page_holds_what_was_kept(once):
    data = data_of(once[1] / "kept.html")
    (item,) = data["items"]
    assert data["budgets"] == ["64", "5.6%"]
    assert (item["width"], item["height"], item["note"], item["questions"]) == (128, 128, "", [])
    assert item["rows"] == [{"grid": [16, 16], "box": [0, 0, 128, 128], "again": False}]
    assert item["tokens"] == [[0, y, x] for y in range(16) for x in range(16)]
    one, other = item["pipelines"]
    assert [run["after"] for run in one["runs"]] == [64, 14]
    assert one["runs"][0]["kept"].count("2") == one["runs"][0]["kept"].count("3") == 32
    assert len(one["scores"]) == 256
    assert (min(one["scores"]), max(one["scores"])) == (0, 1)
    important = [at for at, digit in enumerate(one["runs"][1]["kept"]) if digit == "2"]
    assert min(np.array(one["scores"])[important]) > 0.9  # the best by score
    assert other["scores"] is None
    assert ["note", "a toy & <more>"] in data["facts"]


def test_the_page_asks_nothing_of_anybody(once):
    text = (once[1] / "kept.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(
        r"""(src|href)=["']?(?!data:)\w|url\(|https?:|fetch\(|import """, text.replace("<!doctype html>", "")
    )
    assert "<more>" not in text


def test_json_is_the_receipts(call, tmp_path):
    found = call("view", "crowded:1", "--pipelines", "fastervlm", "--budgets", "9", "--page", "own.html", "--json")
    told = json.loads(found.stdout)
    assert (told["image"], told["sheet"], told["page"]) == ("crowded:1", "view.png", "own.html")
    assert (told["model"], told["placement"]) == ("embedded", "exact")
    assert [len(one["images"][0]["kept"]) for one in told["receipts"]] == [9]
    assert (tmp_path / "own.html").is_file()
    assert (tmp_path / "view.png").is_file()


def test_crops_of_another_model_lie_where_they_were_cut(call, tmp_path):
    write = runpy.run_path(str(ROOT / "examples" / "draw_pictures.py"))["write_model"]
    write(tmp_path / "anyres")
    Image.effect_noise((451, 300), 90).save(tmp_path / "noise.png")
    arguments = ["--pipelines", "vispruner", "--budgets", "160", "--prompt", "What color is the star?"]
    found = call("view", "noise.png", "--model", "anyres", *arguments, "--json")
    assert found.exit_code == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["placement"] == "exact"
    (item,) = data_of(tmp_path / "view.html")["items"]
    whole, *crops = item["rows"]  # resized to 506 x 336, padded left and right to 672 x 336
    assert whole == {"grid": [24, 24], "box": [0, 0, 451, 300], "again": True}
    pad = 83 * 451 / 506
    want = [[-pad, 0, 225.5, 300], [225.5, 0, 451 + pad, 300]]
    assert [row["box"] for row in crops] == [pytest.approx(box, abs=0.001) for box in want]
    assert len(item["tokens"]) == 576 + 864  # of the crops, what is no padding
    assert [len(image["kept"]) for one in told["receipts"] for image in one["images"]] == [160]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none.png"], 1, "there is no image at 'none.png'"),
        (
            ["sparse:0", "--pipelines", "visprunner"],
            1,
            "no 'visprunner' among the pipelines; did you mean 'vispruner'?",
        ),
        (["sparse:0", "--budgets", "64,150%"], 1, "a budget of '150%': a share lies between '0%' and '100%'"),
        (["sparse:0", "--out", "nowhere/x.png"], 1, "there is no folder 'nowhere'"),
        (
            ["sparse:0", "--page", "nowhere/x.html"],
            1,
            "there is no folder 'nowhere' to write 'x.html' to; make it first",
        ),
        (["sparse:0", "--page", "x.txt"], 1, "cannot write a page to 'x.txt'; name a file that ends in .html"),
        (["sparse:0", "--prompt", "What colour?"], 1, "the embedded model does not know 'colour'"),
        (["sparse:0", "--pipelines", ","], 2, "it lists nothing"),
        (["sparse:0", "--budgets", "9,9"], 2, "it lists '9' twice"),
        (["sparse:0", "--prompt", " "], 2, "the prompt is empty"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_is_said(call, arguments, code, said):
    found = call("view", *arguments)
    assert (found.exit_code, found.stdout) == (code, "")
    assert said in " ".join(found.stderr.replace("│", " ").split())
