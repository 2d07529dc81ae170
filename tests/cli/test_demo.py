import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from tokenprune import scenes
from tokenprune.cli import app, comparison
from tokenprune.cli.comparison import BUDGETS, WAYS
from tokenprune.cli.pictures import enlarged

pytestmark = pytest.mark.xdist_group("demo")  # they share what was measured
KEPT = [256, 64, 28, 14, 64, 28, 14]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The whole command once: what it printed, its folder, and what it measured."""
    measured, folder, compared = [], tmp_path_factory.mktemp("demo"), comparison.compared

    def kept(scene, more):
        measured.append(compared(scene, more))
        return measured[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(comparison, "compared", kept)
        found = CliRunner().invoke(app, ["demo", "--set", "crowded", "--scenes", "1", "--json"])
    return found, folder, measured[0]


@pytest.fixture
def report(whole):
    return whole[2]


@pytest.fixture
def demo(call, report, monkeypatch):
    """The command, with what was measured once."""
    monkeypatch.setattr(comparison, "compared", lambda scene, more: report)
    return lambda *arguments, **env: call("demo", *arguments, **env)


def right_answers(report):
    wanted = [question.answer for question in report.questions]
    return [sum(map(str.__eq__, column.said, wanted)) for column in report.columns]


def test_the_command_writes_json_a_picture_and_nothing_else(whole):
    run, folder, report = whole
    assert (run.exit_code, run.stderr) == (0, "")
    found, scene = json.loads(run.stdout), scenes.draw(0, "crowded")
    assert found["scene"] == {"set": "crowded", "index": 0, "seed": 2}
    assert [(one["text"], one["answer"]) for one in found["questions"]] == [
        (question.text, question.answer) for question in scene.questions(scene.seed)
    ]
    assert [way["tokens"] for way in found["ways"]] == KEPT
    assert [way["said"] for way in found["ways"]] == [list(column.said) for column in report.columns]
    assert found["picture"] == "demo.png"
    with Image.open(folder / "demo.png") as sheet:
        assert sheet.width == 4 * 384 + 5 * 8  # four panels and the gaps around them
        assert sheet.height > 2 * 384
        first = sheet.crop((8, 8, 8 + 384, 8 + 384))
        assert first.tobytes() == enlarged(scene.image, 384).tobytes()


def test_flops_fall_with_the_tokens_and_parts_add_up(report):
    full, *few = (report.parts(column) for column in report.columns)
    for parts in (full, *few):
        assert parts["vision_tower"] == full["vision_tower"]
        assert parts["vision_tower"] + parts["pruner"] + parts["language_model"] == parts["all"]
    half = len(BUDGETS)
    for way in (few[:half], few[half:]):
        work = [parts["language_model"] for parts in way]
        assert full["language_model"] > work[0] > work[1] > work[2] > 0
    assert full["pruner"] == 0
    assert all(0 < parts["pruner"] < 0.05 * full["all"] for parts in few[:half])  # similarities of some tokens
    assert all(parts["pruner"] == 0 for parts in few[half:])


def test_every_way_answers_every_question(report):
    assert tuple(column.way for column in report.columns) == WAYS
    assert {len(column.said) for column in report.columns} == {len(report.questions)}
    assert report.asked == len(report.questions)  # of the one further scene, which is the same
    assert [column.right for column in report.columns] == right_answers(report)
    assert min(right_answers(report)) < report.asked


def test_answers_are_ticked_or_shown(demo, report):
    lines = demo("--scenes", 1, COLUMNS="200").stdout.splitlines()
    for row, question in enumerate(report.questions):
        (line,) = (line for line in lines if line.startswith(question.text))
        said = [column.said[row] for column in report.columns]
        assert line.count("✓") == said.count(question.answer)
        assert line.count("✗") == len(said) - said.count(question.answer)
        assert all(text.split()[0] in line for text in said if text and text != question.answer)
    right = next(line.split() for line in lines if line.startswith("right "))
    assert right[3:] == [str(count) for count in right_answers(report)]
    assert any(line.startswith("right, scenes 0 to 0") and f"of {report.asked}" in line for line in lines)


def test_tokens_flops_and_what_a_toy_can_show_are_told(demo, report):
    found = demo("--out", "mine.png")
    text = " ".join(found.stdout.split())
    assert (found.exit_code, found.stderr) == (0, "")
    for column, kept in zip(report.columns, KEPT, strict=True):
        assert f"{column.way} {kept}/256 {report.parts(column)['vision_tower'] / 1e6:,.1f}" in text
    assert (
        f"With {report.parameters / 1e6:.1f} million parameters this toy saves no time, and no speed-up is claimed."
        in text
    )
    assert "What it can show: which tokens a method keeps" in text
    assert "drawn by its seed; none is left out" in text
    assert text.endswith("picture: mine.png")
    assert "right, scenes" not in text


def test_narrow_terminals_get_marks_alone(demo, report):
    found = demo(COLUMNS="80")
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "From 100 columns on" in " ".join(found.stdout.split())
    marks = found.stdout.count("✓") + found.stdout.count("✗")
    assert marks == len(report.questions) * len(WAYS)
    assert "✗" in found.stdout
    assert not re.search(r"✗ \w", found.stdout)


def test_a_target_that_cannot_be_written_is_refused_before_anything_runs(call, monkeypatch):
    monkeypatch.setattr(comparison, "compared", None)
    found = call("demo", "--out", "nowhere/demo.png")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "error: there is no folder 'nowhere' to write 'demo.png' to\n"
