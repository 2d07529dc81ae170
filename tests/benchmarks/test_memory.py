"""The page shows the record of the memory benchmark, and the record has every pipeline."""

import json
import sys

import house

sys.path.insert(0, str(house.ROOT / "benchmarks"))

import memory


def test_the_page_shows_the_record():
    text, record = memory.PAGE.read_text("utf-8"), json.loads(memory.RECORD.read_text("utf-8"))
    assert memory.on_page(text, record) == text
    more = {**record, "bytes": {**record["bytes"], "vispruner": 10**9}}
    assert "The most is 1.00 GB." in memory.on_page(text, more)


def test_the_record_has_every_pipeline_below_a_gigabyte():
    record = json.loads(memory.RECORD.read_text("utf-8"))
    assert sorted(record["bytes"]) == sorted(memory.measured())
    assert max(record["bytes"].values()) < 10**9
