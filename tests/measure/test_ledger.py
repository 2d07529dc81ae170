import errno
import json
import os
from pathlib import Path

import pytest
from measure.rows import row

from tokenprune.measure import ledger as module
from tokenprune.measure.ledger import Ledger, LedgerError, append

ASKED = {"task": "t", "model": "embedded"}
ROWS = [row("yes", key=str(number), question=f"{number}?") for number in range(4)]


def answer(number, cell="full"):
    return {"cell": cell, "row": ROWS[number].key, "of_row": ROWS[number].digest, "said": f"said {number}"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.jsonl"


def opened(path, **asked):
    return Ledger(path, ASKED | asked, ROWS)


def test_answers_are_there_when_the_file_is_opened_again(path):
    opened(path).add([answer(0), answer(1), {"row": "2", "skipped": "broken"}, {"cell": "c", "refused": "why"}])
    found = opened(path)
    assert [found.has("full", key) for key in "0123"] == [True, True, False, False]
    assert (found.skipped, found.refused) == ({"2": "broken"}, {"c": "why"})


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line_at_the_end_is_dropped_and_written_anew(path, cut):
    opened(path).add([answer(0), answer(1)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    found = opened(path)
    assert found.has("full", "0")
    assert not found.has("full", "1")
    found.add([answer(1)])
    assert path.read_bytes() == whole


def test_a_file_that_was_broken_off_in_its_first_line_begins_anew(path):
    path.write_text('{"asked": {"ta')
    opened(path).add([answer(0)])
    assert opened(path).has("full", "0")
    assert len(path.read_text().splitlines()) == 2


def test_an_answer_that_was_given_twice_counts_once(path):
    opened(path).add([answer(0), answer(0) | {"said": "later"}])
    assert opened(path).answers["full", "0"]["said"] == "said 0"


def test_a_file_of_something_else_is_refused(path):
    opened(path)
    with pytest.raises(LedgerError, match=r"something else \(model 'embedded', now 'other'\)"):
        opened(path, model="other")
    path.write_text('{"image": "a.png"}\n')
    with pytest.raises(LedgerError, match="holds no answers of tokenprune eval"):
        opened(path)
    with pytest.raises(LedgerError, match="cannot open"):
        opened(path.parent)


def test_another_question_under_the_same_key_is_refused_and_more_rows_are_not(path):
    opened(path).add([answer(0)])
    more = [*ROWS, row("no", key="9")]
    assert Ledger(path, ASKED, more).has("full", "0")
    assert Ledger(path, ASKED, ROWS[1:]).has("full", "0")
    with pytest.raises(LedgerError, match="another question as row '0'"):
        Ledger(path, ASKED, [row("yes", key="0", question="another?")])


def test_answers_of_a_pipeline_that_has_changed_are_refused(path):
    first = opened(path)
    first.state({"a": "name: a", "b": "name: b"})
    first.add([answer(0, "a")])
    before = path.read_bytes()
    opened(path).state({"b": "name: b", "a": "name: a"})
    assert path.read_bytes() == before
    with pytest.raises(LedgerError, match="answers of another pipeline as 'b'; it has changed since"):
        opened(path).state({"a": "name: a", "b": "name: b, but other"})


def test_a_damaged_line_is_named(path):
    opened(path).add([answer(0), answer(1)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:9], lines[2], ""]))
    with pytest.raises(LedgerError, match=r"line 2 of .* is damaged"):
        opened(path)


def test_a_full_disk_loses_nothing_that_was_there(path, monkeypatch):
    first = opened(path)
    first.add([answer(0)])
    write, room = os.write, [30, 0]  # a piece of the first line still fits

    def full(file, data):
        if left := room.pop(0):
            return write(file, data[:left])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(LedgerError, match=r"No space left on device\. Every answer in it is safe"):
        first.add([answer(1), answer(2)])
    monkeypatch.undo()
    again = opened(path)
    assert [again.has("full", key) for key in "012"] == [True, False, False]
    again.add([answer(1), answer(2)])
    assert [json.loads(line).get("row") for line in path.read_text().splitlines()] == [None, "0", "1", "2"]


def test_a_device_that_is_full_raises():
    with pytest.raises(OSError, match="No space left on device"):
        append(Path("/dev/full"), b"anything")


def test_lines_are_on_the_disk_before_add_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(module.os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    opened(path).add([answer(0)])
    assert synced == [len(path.read_text().splitlines()[0]) + 1, path.stat().st_size]
