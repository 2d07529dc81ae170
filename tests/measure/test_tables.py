import csv
import io
import json
import sys
from xml.etree import ElementTree

import pytest
from measure.rows import row

from tokenprune.measure.cells import Cell
from tokenprune.measure.ledger import Ledger
from tokenprune.measure.metrics import metric
from tokenprune.measure.plot import PlotError, check_plots, plot
from tokenprune.measure.results import results
from tokenprune.measure.tables import as_csv, as_latex, as_markdown, flat, plain
from tokenprune.measure.task import Task

MADE = object()  # nothing is attached here
CELLS = [
    Cell(),
    *(Cell("a_b", budget, policy, made=MADE) for policy in ("keep", "renumber") for budget in ("50%", "7")),
    *(Cell("random", "50%", "keep", seed, made=MADE) for seed in range(2)),
    Cell("random", "7", "keep", reason="at least 40%"),
    Cell("late", "50%", "keep", reason="at least 40%"),
    Cell("late", "7", "keep", reason="needs a CLS token & more"),
    Cell("none", "0%", "keep", made=MADE),
]
ROWS = [row("yes", key=str(n), image=str(n // 2), kind="ab"[n % 2]) for n in range(8)]
TASK = Task("toy", ROWS, metric("yes_no"), {})


def said(cell, number):
    """The unpruned model is always right; the others forget more the less they keep."""
    wrong = {"full": 0, "a_b|50%|keep|0": 1, "a_b|7|keep|0": 4, "random|50%|keep|0": 1, "random|50%|keep|1": 3}
    bad = number < wrong.get(cell.key, 2)
    return ("hm" if number else "no") if bad else "yes"


@pytest.fixture
def found(tmp_path):
    ledger = Ledger(tmp_path / "answers.jsonl", {}, ROWS)
    more = {"kl": 0.5, "top1": False, "kept": 4, "of": 8}
    for cell in CELLS:
        if not cell.reason:
            ledger.add(
                {"cell": cell.key, "row": one.key, "of_row": one.digest, "said": said(cell, number), **more}
                for number, one in enumerate(ROWS)
            )
    return results(TASK, CELLS, ledger, resamples=200)


def test_figures_come_from_the_answers(found):
    full, half, few, *_ = found
    assert (full.pipeline, full.score.value.value, full.agreement) == ("all tokens", 100, None)
    assert (half.pipeline, half.budget, half.positions, half.share) == ("a_b", "50%", "keep", 50)
    assert half.score.value.value == half.agreement == 87.5
    assert (few.score.relative.value, few.score.difference.value, few.unparsed) == (50, -50, 3)
    assert (few.mcnemar.lost, few.mcnemar.gained, few.mcnemar.p) == (4, 0, pytest.approx(0.125))
    assert few.by_kind == {"a": 50, "b": 50}
    assert few.details == pytest.approx(
        {"accuracy": 50, "precision": 100, "recall": 50, "f1": 100 * 2 / 3, "yes_ratio": 50}
    )
    assert (few.kl, few.top1) == (0.5, 0)
    random = next(one for one in found if one.pipeline == "random")
    assert (random.by_seed, random.score.value.value) == ((87.5, 62.5), 75)


def test_csv_holds_every_line_and_empty_cells_their_reason(found):
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(lines) == len(found)
    assert lines[1]["score"] == "87.5000"
    assert (lines[1]["lost"], lines[1]["gained"], lines[1]["questions"]) == ("1", "0", "8")
    (late,) = [one for one in lines if one["reason"].startswith("needs")]
    assert {late[name] for name in ("score", "low", "kl", "share", "questions", "p")} == {""}
    assert flat(found[0])["relative"] == "100.0000"


def test_markdown_has_a_table_for_each_policy_and_notes(found):
    keep, renumber = as_markdown(found).split("**toy, yes_no:word, positions: ")[1:]
    assert keep.startswith("keep**")
    lines = {line.split("|")[1].strip(): line for line in keep.splitlines() if line.startswith("|")}
    assert lines["pipeline"] == "| pipeline | 50% | 7 |"
    assert lines["all tokens"].startswith("| all tokens | 100.0 ±0.0 |")
    assert lines["late"] == "| late | - [1] | - [2] |"
    assert lines["random (2 seeds)"].endswith("| - [1] |")
    assert lines["none, 0%"].startswith("| none, 0% | 75.0 ±")
    assert keep.rstrip().endswith("[1] at least 40%\n\n[2] needs a CLS token & more")
    assert "random" not in renumber


def test_latex_says_the_same_and_escapes(found):
    text = as_latex(found)
    assert text.count(r"\begin{tabular}{lrr}") == text.count(r"\end{tabular}") == 2
    assert r"a\_b & 87.5 $\pm$ " in text
    assert "% [2] needs a CLS token & more" in text


def test_json_leaves_out_what_there_is_not(found):
    told = json.loads(json.dumps([plain(one) for one in found]))
    assert told[1]["score"]["difference"]["value"] == -12.5
    assert set(told[-2]) == {
        "task",
        "metric",
        "pipeline",
        "budget",
        "positions",
        "seeds",
        "questions",
        "reason",
        "unparsed",
    }


def test_budgets_of_one_pipeline_alone_need_no_columns_of_their_own(found):
    alone = [one for one in found if one.pipeline in ("all tokens", "none")]
    assert "| pipeline | 0% |" in as_markdown(alone)
    assert "| pipeline | all |" in as_markdown(alone[:1])


def test_a_plot_has_lines_for_pipelines_and_is_the_same_each_time(found, tmp_path):
    first, again = (tmp_path / name for name in ("first.svg", "again.svg"))
    plot(found, first)
    plot(found, again)
    assert first.read_bytes() == again.read_bytes()
    assert ElementTree.parse(first).getroot().tag.endswith("svg")
    plot(found, again, names=["a_b"])
    assert len(again.read_bytes()) < len(first.read_bytes())
    plot(found, tmp_path / "plot.png")
    with pytest.raises(PlotError, match="cannot write the plot"):
        plot(found, tmp_path / "plot.xyz")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"pip install 'tokenprune-vlm\[plots\]'"):
        check_plots()
