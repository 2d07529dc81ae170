import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tokenprune import scenes
from tokenprune.cli.tasks import cells_of
from tokenprune.errors import BudgetError
from tokenprune.measure import ledger as module

FEW = ("--task", "sparse", "--questions", 8, "--pipelines", "vispruner,none", "--budgets", "25%,7", "--batch", 4)
FILES = ("table.csv", "table.md", "table.tex", "results.json")


@pytest.fixture
def mine(tmp_path):
    """Two questions about scenes in a file of one's own; a third has no image, a fourth a broken one."""
    rows = []
    for index in range(2):
        scene = scenes.draw(index, "sparse", 2)
        scene.image.save(tmp_path / f"{index}.png")
        question = scene.questions(2)[-1]
        rows.append({"image": f"{index}.png", "question": question.text, "answer": question.answer})
    (tmp_path / "2.png").write_bytes(b"no picture")
    rows += [rows[0] | {"image": "gone.png"}, rows[0] | {"image": "2.png"}]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def texts(folder):
    return [(folder / name).read_text() for name in FILES]


def test_a_killed_run_goes_on_and_gives_the_same_table(call, tmp_path):
    options = list(map(str, FEW))
    command = [sys.executable, "-m", "tokenprune", "eval", *options, "--out", str(tmp_path / "killed")]
    answers = tmp_path / "killed/scenes-sparse.jsonl"
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while run.poll() is None and not (answers.exists() and answers.read_bytes().count(b"\n") > 8):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/table.csv").exists()
    with answers.open("a") as file:
        file.write('{"cell": "full", "row": "spar')  # as if it had been killed in the middle of a line
    before = answers.read_text()
    assert call("eval", *FEW, "--out", "killed").exit_code == 0
    assert answers.read_text().startswith(before[: before.rfind("\n") + 1])
    assert call("eval", *FEW, "--out", "whole").exit_code == 0
    assert texts(tmp_path / "killed") == texts(tmp_path / "whole")
    assert sorted(answers.read_text().splitlines()) == sorted(
        (tmp_path / "whole/scenes-sparse.jsonl").read_text().splitlines()
    )


def test_a_full_disk_is_an_error_that_can_be_mended(call, tmp_path, monkeypatch):
    append, written = module.append, []

    def full(path, data):
        if len(written) > 4:
            raise OSError(28, "No space left on device")
        written.append(append(path, data))

    monkeypatch.setattr(module, "append", full)
    found = call("eval", *FEW, "--out", "eval")
    assert found.exit_code == 1
    assert "No space left on device. Every answer in it is safe" in found.stderr
    kept = (tmp_path / "eval/scenes-sparse.jsonl").read_text()
    assert kept.count("\n") == 16
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert call("eval", *FEW, "--out", "eval").exit_code == 0
    assert (tmp_path / "eval/scenes-sparse.jsonl").read_text().startswith(kept)


def test_rows_of_a_file_are_asked_and_the_others_listed(call, mine, tmp_path):
    deep = tmp_path / "deep.yaml"
    deep.write_text("name: deep\nscorer: {use: cls_attention, layer: 8}\nsplitter: equal\nbudget: 28\n")
    options = ("--task", mine, "--pipelines", "vispruner,deep.yaml", "--budgets", "0.25", "--out", "eval", "--plot")
    found = call("eval", *options, "--positions", "keep")
    assert found.exit_code == 0, found.stderr
    assert "1 rows of" in found.stderr
    assert "2: there is no image at 'gone.png'" in found.stderr
    assert "1 rows of mine could not be asked (3: broken image: cannot identify" in found.stderr
    assert "mine, exact, positions: keep" in found.stdout
    assert "[1] 'cls_attention@8' asks for encoder layer 8" in found.stdout
    told = json.loads((tmp_path / "eval/results.json").read_text())
    assert [one["questions"] for one in told["results"]] == [2, 2, 0]
    assert told["tasks"][0]["skipped"] == {"2": "there is no image at 'gone.png'"}
    assert (tmp_path / "eval/plot.svg").is_file()
    again = json.loads(call("eval", *options, "--positions", "keep", "--json").stdout)
    assert again == told["results"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--task", "gone.jsonl"), 1, "there is no table at 'gone.jsonl'"),
        (("--task", "{mine}", "--columns", "answer=label"), 1, "no column 'label' for the answer"),
        (("--task", "{mine}", "--columns", "label"), 2, "write ROLE=NAME"),
        (("--task", "{mine}", "--metric", "bleu"), 2, "no metric 'bleu'"),
        (("--task", "{mine}", "--metric", "f1"), 1, "needs answers that are yes or no"),
        (("--pipelines", "visprunner"), 1, "visprunner"),
        (("--pipelines", "random,random"), 2, "twice"),
        (("--budgets", "150%"), 1, "a budget of '150%'"),
        (("--budgets", ","), 2, "it lists nothing; write names with commas"),
        (("--positions", "original"), 2, "no policy 'original'"),
        (("--prompt", "What?"), 2, "holds no {question}"),
        (("--out", "{mine}"), 1, "cannot make the folder"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(call, mine, options, code, said):
    found = call("eval", *(str(mine) if one == "{mine}" else one for one in options))
    assert found.exit_code == code
    assert said in " ".join(found.stderr.replace("│", " ").split())
    assert found.stdout == ""


def test_budgets_are_read_as_in_every_command():
    """YAML would make 52 of 064 and 90 of 1:30."""
    assert [one.budget for one in cells_of("random", "064,0.25,11.1%,8 per row")[1:]] == [
        "64",
        "25%",
        "11.1%",
        "8 per row",
    ]
    with pytest.raises(BudgetError, match="1:30"):
        cells_of("random", "1:30")


def test_another_setting_does_not_mix_with_answers_that_are_there(call, tmp_path):
    (tmp_path / "eval").mkdir()
    about = {"task": "scenes-sparse", "model": "embedded", "dtype": "float32", "new_tokens": 3, "prompt": "{question}"}
    (tmp_path / "eval/scenes-sparse.jsonl").write_text(json.dumps({"asked": about | {"batch": 32}}) + "\n")
    found = call("eval", "--task", "sparse")
    assert found.exit_code == 1
    assert "holds answers to something else (new_tokens 3, now None)" in found.stderr


def test_without_matplotlib_a_plot_is_refused_at_once(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = call("eval", "--plot")
    assert found.exit_code == 1
    assert "pip install 'tokenprune-vlm[plots]'" in found.stderr
