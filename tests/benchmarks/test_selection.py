"""The benchmark compares like with like: transcriptions choose what ours chooses, and the page shows the record."""

import json
import sys

import house
import pytest
import torch

sys.path.insert(0, str(house.ROOT / "benchmarks"))

import selection
from transcriptions.arithmetic import LAYERS, counted, prefill
from transcriptions.problem import Problem

SIZES = {
    "whole": Problem(4, (12, 12), 64, 36, images=2),
    "odd": Problem(2, (9, 15), 256, 45),
}
LOOSE = {"prumerge_plus": 0.2, "globalcom2": 0.9, "globalcom2_choice": 0.9}


@pytest.mark.parametrize("name", selection.TRANSCRIPTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_a_transcription_chooses_what_ours_chooses(name, size):
    drawn = SIZES[size].drawn()
    agree = selection.agreement(selection.ours(name, drawn)(), selection.TRANSCRIPTIONS[name](drawn))
    assert agree >= LOOSE.get(name, 1)


def test_other_tokens_and_other_vectors_do_not_agree():
    drawn = SIZES["whole"].drawn()
    mask, vectors = selection.ours("visionzip", drawn)()
    assert selection.agreement((mask.roll(1, 1), vectors), (mask, vectors)) < 1
    assert selection.agreement((mask, vectors + 1), (mask, vectors)) == 0
    assert selection.agreement((mask, vectors), (mask, vectors)) == 1


def test_a_line_is_measured_in_a_process_of_its_own():
    line = selection.apart("fastervlm", SIZES["whole"].drawn(), 0.01, 1)
    assert (line["method"], line["agree"], selection.HELD) == ("fastervlm", 1, [])


def test_every_published_method_has_a_transcription():
    """Those that the page of papers knows, before the language model."""
    written = set(selection.TRANSCRIPTIONS)
    assert written >= {"vispruner", "fastervlm", "divprune", "cdpruner", "scope", "visionzip", "globalcom2", "tome"}


def test_work_is_counted_at_two_flops_a_multiply_accumulate():
    one, other = torch.ones(3, 5), torch.ones(5, 7)
    assert counted(lambda: one @ other) == 2 * 3 * 5 * 7
    assert counted(lambda: one @ other + 1) == 2 * 3 * 5 * 7 + 3 * 7
    assert counted(lambda: one.view(15).expand(2, 15)) == 0
    assert prefill(100) - prefill(99) > 2 * 6.4e9
    assert prefill(0) > 2 * LAYERS * 2e8 * 64


def test_the_page_shows_the_record():
    text, record = selection.PAGE.read_text("utf-8"), json.loads(selection.RECORD.read_text("utf-8"))
    assert selection.on_page(text, record) == text
    missed = {**record, "lines": [{**record["lines"][0], "within": False}]}
    assert "missed by" in selection.on_page(text, missed)


def test_what_misses_its_bound_is_told():
    record = json.loads(selection.RECORD.read_text("utf-8"))
    line = {**record["lines"][0], "method": "one", "bound": 0.9, "within": True}
    lines = [line, {**line, "size": "large", "within": False}, {**line, "method": "two"}]
    lines.append({**line, "method": "three", "bound": None})
    one, two = selection.verdicts(lines).splitlines()
    assert one.split()[:6] == ["MISSED", "one", "1", "of", "2", "large:"]
    assert two.split() == ["ok", "two", "1", "of", "1"]


def test_the_written_sequence_is_that_of_a_plain_loop():
    drawn = SIZES["whole"].drawn()
    tokens, (mask, vectors) = (
        drawn.crops(selection.load("globalcom2")),
        selection.ours("globalcom2", SIZES["whole"].drawn())(),
    )
    wanted = []
    for thumbnail, crop in ((0, 1), (2, 3)):
        wanted += [tokens.features[thumbnail, n] for n in mask[thumbnail].nonzero()[:, 0]]
        for y in range(12):
            wanted += [tokens.features[crop, n] for n in mask[crop].nonzero()[:, 0] if n // 12 == y]
            wanted.append(torch.zeros(64))
    assert torch.equal(vectors, torch.stack(wanted))
