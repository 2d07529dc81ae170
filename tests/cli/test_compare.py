import json
from types import SimpleNamespace

import pytest
import torch
from cli.test_view import data_of

from tokenprune.cli.pages import _grouped
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


def test_rows_of_ones_own(call, tmp_path, picture):
    rows = [{"image": picture.name, "question": "What color is the star?", "answer": "purple"}]
    rows.append({"image": picture.name, "question": "How many red objects?"})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    told = json.loads(call("compare", "rows.jsonl", *SHORT, "--json").stdout)
    assert [one["expected"] for one in told["questions"]] == ["purple", None]
    assert [one["question"] for one in told["questions"]] == [row["question"] for row in rows]


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
        (["none.jsonl"], 1, "cannot read the questions in 'none.jsonl'"),
        (["empty.jsonl"], 1, "there is no question in 'empty.jsonl'"),
        (["broken.jsonl"], 1, "line 2 of 'broken.jsonl' is no JSON"),
        (["short.jsonl"], 1, "line 1 of 'short.jsonl' has no question; a row is"),
        (["sparse:0", "--out", "nowhere/x.html"], 1, "there is no folder 'nowhere'"),
        (["sparse:0", "--budgets", "150%"], 1, "a budget of '150%'"),
    ],
)
def test_what_cannot_be_is_said(call, picture, tmp_path, arguments, code, said):
    row = json.dumps({"image": "scene.png", "question": "What color is the star?"})
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text(f"{row}\n{{\n")
    (tmp_path / "short.jsonl").write_text('{"image": "scene.png"}\n')
    found = call("compare", *arguments)
    assert (found.exit_code, found.stdout) == (code, "")
    assert said in " ".join(found.stderr.replace("│", " ").split())
