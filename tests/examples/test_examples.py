"""Every example runs as it stands, in an empty folder, and shows what it promises."""

import ast
import json
import re
import runpy
import sys

import pytest
from house import ROOT
from PIL import Image

import tokenprune
from tokenprune import scenes

EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """example("quickstart", "--option") runs a script in an empty folder and gives what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_the_quickstart_answers_with_a_quarter_of_the_tokens(example, tmp_path):
    full, pruned, first, *_, last = example("quickstart").splitlines()
    assert full == pruned
    assert full.startswith(scenes.draw(0).questions()[0].text)
    assert "64 of 256 tokens (25.0 %)" in first
    assert last == "picture: kept.png"
    with Image.open(tmp_path / "kept.png") as picture:
        assert picture.width == 512


def test_methods_are_compared_with_the_unpruned_model_and_with_controls(example):
    head, columns, full, *lines = example("compare_methods", 1).splitlines()
    assert head == f"{len(scenes.draw(0).questions())} questions about 1 scenes"
    assert columns.split()[:2] == ["method", "kept"]
    assert full.split()[:3] == ["all", "tokens", "100%"]
    assert full.split()[-1] == "100.0"
    methods = ["vispruner", "fastervlm", "divprune", "random", "uniform"]
    assert [line.split()[:2] for line in lines] == [[m, budget] for budget in ("25%", "11.1%", "5.6%") for m in methods]
    shares = [float(line.split()[-1]) for line in lines]
    assert min(shares) < 100  # not all of them measured the unpruned model


def test_a_scorer_of_ones_own_is_checked_and_attached(example):
    told = example("own_scorer").splitlines()
    assert told[0] == "the scorer keeps the rules"
    assert re.fullmatch(r"What .*\? \w+; right: \w+", told[1])
    assert told[2].startswith("contrast on LlavaForConditionalGeneration: 28 of 256 tokens")
    assert "14 important, 14 diverse" in told[4]


def test_a_budget_is_divided_over_crops(example):
    told = example("anyres").splitlines()
    assert "160 of 832 tokens" in told[0]
    divided = {line.split()[0]: line for line in told if "thumbnail" in line}
    for splitter in ("equal", "global_pool", "thumbnail_guided"):
        rows = [*map(int, re.findall(r"\d+", divided[splitter].split("thumbnail ", 1)[1]))]
        assert (len(rows), sum(rows)) == (5, 160)
    assert "320 of 832 tokens" in divided["64"]
    assert "92 of 832 tokens" in divided["11.1%"]
    assert told[-1] == "separators that stay: 18, or 0"


def test_random_weights_are_said_to_be_random():
    assert "RANDOM weights" in ast.get_docstring(ast.parse((EXAMPLES / "anyres.py").read_text("utf-8")))


def test_a_folder_is_asked_about_once_whatever_stops_it(example, tmp_path, monkeypatch):
    folder, out = tmp_path / "pictures", tmp_path / "answers.jsonl"
    folder.mkdir()
    for number in range(5):
        scenes.draw(number).image.save(folder / f"scene{number}.png")
    (folder / "broken.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")

    with monkeypatch.context() as patch:
        asked, budgets = stopped_after(patch, batches=2)
        with pytest.raises(KeyboardInterrupt):
            example("batch_folder", folder, "--batch", 2, "--budget", 64)
    assert (len(asked), budgets) == (2, ["64"])
    first = out.read_text().splitlines()
    assert [json.loads(line)["image"] for line in first] == ["broken.png", "scene0.png"]

    out.write_text("\n".join(first) + '\n{"image": "sce')  # stopped in the middle of a line
    assert "4 pictures asked about, 6 lines" in example("batch_folder", folder, "--batch", 2, "--budget", 64)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["image"] for line in lines] == ["broken.png", *(f"scene{number}.png" for number in range(5))]
    assert "cannot identify" in lines[0]["error"]
    assert {line["tokens"] for line in lines[1:]} == {64}
    assert all(line["answer"] for line in lines[1:])
    assert "0 pictures asked about, 6 lines" in example("batch_folder", folder, "--batch", 2, "--budget", 64)


def stopped_after(patch, batches):
    """The model stops at its batch of this number, as Ctrl-C does; what was asked, and under which budgets."""
    asked, budgets, attach = [], [], tokenprune.attach

    def stopping(model, *arguments, **changes):
        budgets.append(changes["budget"])
        attached = attach(model, *arguments, **changes)
        generate = model.generate

        def generate_some(*some, **more):
            asked.append(len(more["input_ids"]))
            if len(asked) == batches:
                raise KeyboardInterrupt
            return generate(*some, **more)

        model.generate = generate_some
        return attached

    patch.setattr(tokenprune, "attach", stopping)
    return asked, budgets


def test_a_folder_that_is_not_there_is_made(example, tmp_path):
    assert "10 pictures asked about, 10 lines" in example("batch_folder", "--batch", 10)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 10


NOTEBOOKS = [path for path in sorted(EXAMPLES.glob("*.py")) if "# %%" in path.read_text("utf-8")]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {
        "quickstart",
        "compare_methods",
        "own_scorer",
        "anyres",
        "batch_folder",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_cells_and_says_how_it_is_run(path):
    text = path.read_text("utf-8")
    assert f"python examples/{path.name}" in ast.get_docstring(ast.parse(text))
    assert len(re.findall(r"^# %% \S", text, re.MULTILINE)) >= 4
    for page in (EXAMPLES / "README.md", EXAMPLES.parent / "docs/examples.md"):
        assert path.name in page.read_text("utf-8")
