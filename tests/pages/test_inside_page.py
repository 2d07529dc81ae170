"""The table of the page on stages inside the language model is that of the record."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "benchmarks" / "results" / "inside.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "inside-the-language-model.md").read_text(encoding="utf-8")


def flops():
    """A line for every method at every budget, of LLaVA-1.5-7B."""
    mine = [one for one in RECORD["flops"] if one["model"] == "llava-1.5-7b" and "where" in one]
    for method in dict.fromkeys(one["method"] for one in mine):
        lines = [one for one in mine if one["method"] == method]
        cells = ["unreachable" if "reason" in one else f"{one['prefill'] / 1e12:.2f}" for one in lines]
        pruner = max(one.get("pruner", 0) for one in lines) / 1e9
        yield f"| {lines[0]['where']} | `{method}` | {' | '.join(cells)} | {pruner:.2f} |"


def test_every_line_of_the_records_is_on_the_page():
    lines = [*flops()]
    assert len(lines) > 10
    assert [line for line in lines if line not in PAGE] == []
