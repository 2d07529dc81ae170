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
LOOSE = {"prumerge_plus": 0.2, "globalcom2": 0.9, "globalcom2_sequence": 0.9}


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


def test_every_published_method_has_a_transcription():
    """Those that the page of papers knows, before the language model."""
    written = {name.removesuffix("_sequence") for name in selection.TRANSCRIPTIONS}
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
