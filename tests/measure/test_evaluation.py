import json

import pytest
import torch
from measure.rows import row

import tokenprune
from tokenprune import Budget, scenes
from tokenprune.measure.asking import Asker
from tokenprune.measure.cells import Cell, grid
from tokenprune.measure.evaluation import evaluate, missing
from tokenprune.measure.ledger import Ledger, LedgerError
from tokenprune.measure.metrics import METRICS
from tokenprune.measure.results import results
from tokenprune.measure.sharing import grouped, shares
from tokenprune.measure.task import Task
from tokenprune.measure.task import scenes as scene_task
from tokenprune.scenes.evaluate import answer, take

TASK = scene_task("sparse", 6)
FEW, ALL = Budget.parse("11.1%"), Budget.parse(300)
CELLS = [*grid(["vispruner", "cdpruner", "random"], [FEW], seeds=2), *grid(["vispruner"], [ALL])[1:]]


@pytest.fixture(scope="module")
def asker():
    return Asker(*scenes.load())


def ledger_at(path):
    return Ledger(path, {"task": "t"}, TASK.rows)


@pytest.fixture(scope="module")
def whole(asker, tmp_path_factory):
    """A run that nothing disturbed."""
    found = ledger_at(tmp_path_factory.mktemp("whole") / "answers.jsonl")
    told = []
    evaluate(asker, TASK, CELLS, found, 4, told.append)
    assert sum(told) == len(CELLS) * 6
    return found


def test_the_unpruned_model_says_what_it_says_alone(asker, whole):
    alone = answer(asker.model, asker.processor, take("sparse", 4))
    assert [whole.answers["full", one.key]["said"] for one in TASK.rows[:4]] == alone


def test_a_pipeline_says_what_it_says_alone(asker, whole):
    with tokenprune.attach(asker.model, "cdpruner", budget="11.1%") as attached:
        alone = answer(asker.model, asker.processor, take("sparse", 4))
    lines = [whole.answers["cdpruner|11.1%|default|0", one.key] for one in TASK.rows[:4]]
    assert [line["said"] for line in lines] == alone
    assert [(line["kept"], line["of"]) for line in lines] == [(28, 256)] * 4 == [
        (image.after, image.before) for image in attached.receipt.images
    ]  # fmt: skip


def test_a_budget_above_all_tokens_is_the_unpruned_model(whole):
    lines = [whole.answers["vispruner|300|default|0", one.key] for one in TASK.rows]
    assert [line["said"] for line in lines] == [whole.answers["full", one.key]["said"] for one in TASK.rows]
    assert {(line["kl"], line["top1"], line["kept"]) for line in lines} == {(0.0, True, 256)}
    (found,) = [one for one in results(TASK, CELLS, whole) if (one.pipeline, one.budget) == ("vispruner", "300")]
    assert (found.agreement, found.top1, found.kl, found.score.difference.value) == (100, 100, 0, 0)


def test_the_divergence_is_that_of_the_first_tokens(asker, whole):
    inputs = asker.read([one.open() for one in TASK.rows[:4]], [one.question for one in TASK.rows[:4]])
    said = []
    for pipeline in (None, "vispruner"):
        if pipeline:
            attached = tokenprune.attach(asker.model, pipeline, budget="11.1%")
        with torch.no_grad():
            said.append(asker.model(**inputs, logits_to_keep=1).logits[:, -1].log_softmax(-1))
    attached.detach()
    full, pruned = said
    expected = torch.nn.functional.kl_div(pruned, full, log_target=True, reduction="none").sum(-1)
    lines = [whole.answers["vispruner|11.1%|default|0", one.key] for one in TASK.rows[:4]]
    torch.testing.assert_close(torch.tensor([line["kl"] for line in lines]), expected, atol=1e-4, rtol=1e-3)
    assert [line["top1"] for line in lines] == (full.argmax(-1) == pruned.argmax(-1)).tolist()


@pytest.mark.parametrize("lines", [0, 17])
def test_a_run_that_was_broken_off_goes_on_and_gives_the_same(asker, whole, tmp_path, lines):
    path = tmp_path / "answers.jsonl"
    head, *text = whole.path.read_text().splitlines(keepends=True)
    text = [line for line in text if "said" in line]
    path.write_text(head + "".join(text[:lines]) + text[lines][:25])
    found = ledger_at(path)
    assert missing(TASK, CELLS, found) == len(CELLS) * 6 - lines
    evaluate(asker, TASK, CELLS, found, 4)
    assert found.answers == whole.answers
    assert results(TASK, CELLS, ledger_at(path)) == results(TASK, CELLS, whole)


def test_nothing_is_asked_twice(whole):
    evaluate(None, TASK, CELLS, whole, 4)
    again = ledger_at(whole.path)
    assert (missing(TASK, CELLS, again), again.answers) == (0, whole.answers)


def test_a_pipeline_that_has_changed_does_not_mix_with_its_answers(whole, tmp_path):
    path = tmp_path / "vispruner.yaml"
    path.write_text(tokenprune.load("vispruner").replace(diversifier="max_min").to_yaml())
    with pytest.raises(LedgerError, match="it has changed since"):
        missing(TASK, grid([str(path)], [FEW]), ledger_at(whole.path))


def test_encoding_once_changes_no_answer(asker, whole, tmp_path, monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr("tokenprune.measure.evaluation.encoding_once", nullcontext)
    found = ledger_at(tmp_path / "answers.jsonl")
    evaluate(asker, TASK, CELLS, found, 4)
    assert found.answers == whole.answers


def test_reading_an_image_once_changes_no_answer(asker, whole, tmp_path):
    calls, encoder = [], asker.model.model.vision_tower
    hook = encoder.register_forward_hook(lambda module, given, output: calls.append(len(output.last_hidden_state)))
    found = ledger_at(tmp_path / "answers.jsonl")
    evaluate(asker, TASK, CELLS, found, 4, share=True)
    hook.remove()
    assert calls[:2] == [4, 1]  # four rows unpruned, about one image
    assert found.answers.keys() == whole.answers.keys()
    for key, line in found.answers.items():
        assert line == whole.answers[key] | {"kl": line["kl"]} if "kl" in line else whole.answers[key]
        assert line.get("kl", 0) == pytest.approx(whole.answers[key].get("kl", 0), abs=1e-4)


def test_questions_of_several_images_find_their_places(asker, tmp_path):
    rows = scene_task("crowded", 16).rows
    rows = [*rows[6:10], rows[0], rows[15]]  # two images, a third one, and an image again
    task, cells = Task("t", rows, TASK.metric, {}), grid(["vispruner"], [FEW], ["keep", "renumber"])
    both = [Ledger(tmp_path / f"{share}.jsonl", {}, rows) for share in (False, True)]
    for share, found in enumerate(both):
        evaluate(asker, task, cells, found, 6, share=bool(share))
    told = [{key: (line["said"], line.get("kept")) for key, line in found.answers.items()} for found in both]
    assert told[0] == told[1]


def test_what_depends_on_the_question_is_read_with_it():
    late = {"name": "late", "budget": "50%", "stages": [{"site": {"llm_layer": 2}, "scorer": "random"}]}
    assert [shares(tokenprune.load(one)) for one in ("vispruner", "cdpruner", "pool", late)] == [
        True,
        False,
        True,
        False,
    ]


def test_prompts_that_cannot_be_cut_after_the_image_are_read_one_by_one(asker):
    rows = TASK.rows[:2]
    inputs = asker.read([one.open() for one in rows], [one.question for one in rows])
    assert grouped(asker, rows, inputs) is not None
    assert grouped(asker, rows, {**inputs, "image_sizes": 1}) is None
    ids = inputs["input_ids"].clone()
    ids[1, 0 if inputs["attention_mask"][1, 0] else 1] += 1
    assert grouped(asker, rows, {**inputs, "input_ids": ids}) is None


def broken():
    raise OSError("no picture")


def test_broken_images_are_noted_and_the_rest_is_asked(asker, tmp_path):
    rows = [*TASK.rows[:3], row("x", key="bad", question="how many objects?")]
    rows[3].__dict__["open"] = broken
    task = Task("t", rows, TASK.metric, {})
    found, told = ledger_at(tmp_path / "answers.jsonl"), []
    for _ in range(2):
        evaluate(asker, task, CELLS[:2], found, 4, told.append)
    assert found.skipped == {"bad": "broken image: no picture"}
    assert found.path.read_text().count("skipped") == 1
    (full, pruned) = results(task, CELLS[:2], found)
    assert (full.questions, pruned.questions, pruned.reason) == (3, 3, "")


def test_a_refusal_empties_its_cell_alone_and_is_tried_anew(asker, tmp_path, monkeypatch):
    deep = tmp_path / "deep.yaml"
    deep.write_text("name: deep\nscorer: {use: cls_attention, layer: 8}\nsplitter: equal\nbudget: 28\n")
    cells = [*grid([str(deep), "vispruner"], [Budget.parse(28)]), Cell("later", "1%", reason="the least is 40%")]
    task, found = Task("t", TASK.rows[:2], TASK.metric, {}), ledger_at(tmp_path / "answers.jsonl")
    told = []
    evaluate(asker, task, cells, found, 1, told.append)
    assert sum(told) == 6  # a bar over what is missing comes to its end
    _, refused, fine, unreached = results(task, cells, found)
    assert "this encoder has 5" in refused.reason
    assert (refused.score, refused.share, refused.questions) == (None, None, 0)
    assert (fine.reason, unreached.reason) == ("", "the least is 40%")

    attach, tried = tokenprune.attach, []

    def again(model, pipeline, **more):
        tried.append(pipeline.name)
        return attach(model, pipeline, **more)

    monkeypatch.setattr("tokenprune.measure.evaluation.attach", again)
    evaluate(asker, task, cells, found, 2)
    assert tried == ["deep"]


def test_tokens_that_leave_inside_the_language_model_are_averaged_over_its_layers(asker, tmp_path):
    stage = {"site": {"llm_layer": "25%"}, "scorer": "random", "splitter": "equal", "budget": "50%"}
    path = tmp_path / "late.yaml"
    path.write_text(json.dumps({"name": "late", "stages": [stage]}))
    task = Task("t", TASK.rows[:2], TASK.metric, {})
    cells = grid([str(path)], [Budget.parse("50%"), Budget.parse("5.6%")])
    found = ledger_at(tmp_path / "answers.jsonl")
    evaluate(asker, task, cells, found, 2)
    _, half, few = results(task, cells, found)
    assert half.share == pytest.approx(100 * (2 * 256 + 6 * 85) / 8 / 256)  # nearest from below
    assert "a pipeline whose first tokens leave before layer 2 never averages below" in few.reason
    assert few.score is None


def test_a_table_of_a_run_that_is_not_over_has_no_figures(whole, tmp_path):
    path = tmp_path / "answers.jsonl"
    head, *text = whole.path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join([line for line in text if "said" in line][:5]))
    full, pruned, *_ = results(TASK, CELLS, ledger_at(path))
    assert full.reason.startswith("incomplete: 4 of 6")
    assert pruned.reason.startswith("incomplete: 4 of 6")
    assert full.score is None


def test_a_full_disk_is_told_and_the_model_is_free_again(asker, tmp_path, monkeypatch):
    found = ledger_at(tmp_path / "answers.jsonl")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokenprune.measure.ledger.append", full)
    with pytest.raises(LedgerError, match="make room and run the same command again"):
        evaluate(asker, TASK, CELLS, found, 4)
    assert "_tokenprune" not in asker.model.__dict__


def test_without_judgement_only_fidelity_is_told(whole):
    task = Task("t", TASK.rows, METRICS["none"], {})
    full, pruned, *_ = results(task, CELLS, whole)
    assert (full.score, pruned.score, pruned.mcnemar) == (None, None, None)
    assert 0 < pruned.agreement < 100


def test_lines_say_which_row_they_answer(whole):
    lines = [json.loads(line) for line in whole.path.read_text().splitlines() if '"said"' in line]
    assert {line["of_row"] for line in lines} == {one.digest for one in TASK.rows}


def test_seeds_share_a_line(whole):
    (random,) = [one for one in results(TASK, CELLS, whole) if one.pipeline == "random"]
    assert (random.seeds, len(random.by_seed), random.mcnemar) == (2, 2, None)
    assert random.score.value.value == pytest.approx(sum(random.by_seed) / 2)
