import csv
import json
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
import torch
from cli.test_view import data_of

from tokenprune.cli.pages import _grouped
from tokenprune.measure.task import scenes
from tokenprune.page.items import Run
from tokenprune.receipt import ImageReceipt

SHORT = ("--pipelines", "vispruner,random", "--budgets", "64,7")


def test_answers_stand_side_by_side(call, tmp_path):
    found = call(
        "compare", "sparse:0-1", "--pipelines", "vispruner,random", "--budgets", "7", "--questions", "8", COLUMNS="160"
    )
    assert found.exit_code == 0, found.stderr
    lines = [line.split() for line in found.stdout.splitlines()]
    assert lines[0] == ["question", "all", "tokens", "budget", "vispruner", "random"]
    assert lines[1][:8] == ["scene", "sparse:0:", "What", "color", "is", "the", "star?", "purple"]
    assert ["all", "tokens", "8", "of", "8", "8", "of", "8"] in lines
    assert lines[-1] == ["page:", "compare.html"]
    first, second = data_of(tmp_path / "compare.html")["items"]
    assert [len(first["questions"]), len(second["questions"])] == [7, 1]  # of one picture and one selection: together
    assert first["questions"][0] == {"text": "What color is the star?", "full": "purple", "expected": "purple"}
    assert all(len(run["answers"]) == 7 for pipeline in first["pipelines"] for run in pipeline["runs"])


def test_json_holds_answers_agreement_and_what_was_kept(call):
    told = json.loads(call("compare", "sparse:0", *SHORT, "--prompt", "What color is the star?", "--json").stdout)
    (one,) = told["questions"]
    assert (one["question"], one["full"], one["expected"]) == ("What color is the star?", "purple", None)
    ways = one["ways"]
    assert [(way["pipeline"], way["budget"], way["tokens"]) for way in ways] == [
        ("vispruner", "64", 64),
        ("vispruner", "7", 7),
        ("random", "64", 64),
        ("random", "7", 7),
    ]
    for way in ways:
        assert way["agrees"] == (way["answer"] == "purple")
        assert len(way["kept"]) == way["tokens"]
    assert {way["agrees"] for way in ways} == {True, False}


@pytest.mark.parametrize("ending", ["csv", "parquet", "folder"])
def test_a_task_is_read_as_for_an_evaluation(call, tmp_path, picture, ending):
    """Rows of one picture, columns of other names, an answer of several people, and one that is not known."""
    (tmp_path / "short").mkdir()
    picture.rename(tmp_path / "short/scene.png")
    rows = [("What color is the star?", '["Purple.", "violet"]'), ("How many red objects?", "")]
    if ending == "parquet":
        image = {"bytes": (tmp_path / "short/scene.png").read_bytes(), "path": None}
        table = [{"bild": image, "text": text, "größe": json.loads(said or "[]")} for text, said in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "short/t.parquet")
    else:
        with (tmp_path / "short/t.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("bild", "text", "größe"), *(("scene.png", *row) for row in rows)])
    source = "short" if ending == "folder" else f"short/t.{ending}"
    columns = ("--columns", "image=bild,question=text,answer=größe")
    found = call("compare", source, *columns, "--pipelines", "vispruner", "--budgets", "64", COLUMNS="160")
    assert found.exit_code == 0, found.stderr
    (item,) = data_of(tmp_path / "compare.html")["items"]
    assert [one["expected"] for one in item["questions"]] == ["Purple. or violet", None]
    assert ["all", "tokens", "2", "of", "2", "1", "of", "1"] in [line.split() for line in found.stdout.splitlines()]


def test_the_rows_of_a_set_are_those_of_an_evaluation(call):
    told = json.loads(
        call("compare", "crowded", "--pipelines", "none", "--budgets", "0%", "--questions", 2, "--json").stdout
    )
    assert [one["question"] for one in told["questions"]] == [row.question for row in scenes("crowded", 2).rows]


def test_rows_that_cannot_be_asked_are_counted_and_listed(call, tmp_path, picture):
    rows = [{"image": name, "question": "What color is the star?"} for name in ("gone.png", "no.png", picture.name)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "no.png").write_bytes(b"no picture")
    prompt = ("--prompt", "{question} What number is on the sign?")
    found = call("compare", "rows.jsonl", "--pipelines", "vispruner", "--budgets", "64", *prompt, "--json")
    assert "1 rows of rows.jsonl are skipped (0: there is no image at 'gone.png')" in found.stderr
    assert "1 rows of rows.jsonl could not be asked (1: broken image: cannot identify" in found.stderr
    (one,) = json.loads(found.stdout)["questions"]
    assert one["question"] == "What color is the star? What number is on the sign?"
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[1]))
    assert "no picture of 'rows.jsonl' can be opened" in call("compare", "rows.jsonl").stderr


def test_a_question_that_changes_what_stays_has_pictures_of_its_own():
    image, other = object(), object()
    one, two = torch.tensor([1]), torch.tensor([2])

    def looked(image, kept):
        receipt = ImageReceipt(0, 4, 1, kept, kept, kept[:0], kept[:0], (1,), (2, 2))
        return SimpleNamespace(asked=SimpleNamespace(image=image), runs=[[Run(receipt)]])

    found = [looked(image, one), looked(image, one), looked(image, two), looked(other, two)]
    assert [len(group) for group in _grouped(found)] == [2, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none.png", "--prompt", "What color is the star?"], 1, "there is no image at 'none.png'"),
        (["scene.png"], 2, "a picture needs a question; say --prompt TEXT"),
        (["scene.png", "--prompt", ""], 2, "the prompt is empty"),
        (["sparse:4-2"], 1, "a range of scenes goes upwards, as in sparse:0-4"),
        (["none.jsonl"], 1, "there is no table at 'none.jsonl'"),
        (["empty.jsonl"], 1, "the task 'empty' has no questions to ask"),
        (["broken.jsonl"], 1, "line 2 of 'broken.jsonl' is not JSON"),
        (["short.jsonl"], 1, "'short.jsonl' has no column 'question' for the question; it has 'image'. Name the right"),
        (["scene.csv", "--columns", "answer"], 2, "write ROLE=NAME"),
        (["scene.csv", "--columns", "answer=label"], 1, "no column 'label' for the answer"),
        (["scene.csv", "--prompt", "What?"], 2, "with {question} in it"),
        (["sparse:0", "--out", "nowhere/x.html"], 1, "there is no folder 'nowhere'"),
        (["sparse:0", "--budgets", "150%"], 1, "a budget of '150%'"),
    ],
)
def test_what_cannot_be_is_said(call, picture, tmp_path, arguments, code, said):
    row = json.dumps({"image": "scene.png", "question": "What color is the star?"})
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text(f"{row}\n{{\n")
    (tmp_path / "scene.csv").write_text("image,question\nscene.png,What color is the star?\n")
    (tmp_path / "short.jsonl").write_text('{"image": "scene.png"}\n')
    found = call("compare", *arguments)
    assert (found.exit_code, found.stdout) == (code, "")
    assert said in " ".join(found.stderr.replace("│", " ").split())
