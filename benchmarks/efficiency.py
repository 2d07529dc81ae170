"""The efficiency table of VisPruner (arXiv 2412.01818): LLaVA-NeXT-7B, counted anew without weights, cell by cell.

python benchmarks/efficiency.py          # a table, and benchmarks/results/efficiency.json
python benchmarks/efficiency.py --json   # the same figures on standard output
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tokenprune.measure.conventions import CONVENTIONS
from tokenprune.measure.costs import Subject, cached, counted
from tokenprune.measure.environment import environment
from tokenprune.measure.sizes import described

RESULTS = Path(__file__).parent / "results" / "efficiency.json"
DEPTH, FULL, BEFORE = 32, 2880, 2  # FastV's tokens leave before its third layer
PRINTED = {  # row: TFLOPs and MB of the cache, as printed
    ("all tokens", 2880): (43.6, 1440),
    ("FastV", 640): (13.5, 380),
    ("VisPruner", 640): (11.5, 360),
    ("FastV", 160): (6.3, 95),
    ("VisPruner", 160): (3.8, 80),
}
EARLIER = {640: 720, 160: 145}  # tokens of the same rows in the paper's first version (FasterVLM)


def slots(method: str, tokens: int) -> list[int]:
    """Visual tokens in each layer."""
    early = FULL if method == "FastV" else tokens
    return [early] * BEFORE + [tokens] * (DEPTH - BEFORE)


def lines(subject: Subject) -> list[dict[str, Any]]:
    """What each row comes to at the number of tokens it names, and at that of the first version."""
    full, convention, found = subject.full(), CONVENTIONS["vispruner"], []
    for (method, tokens), (printed, storage) in PRINTED.items():
        for count in dict.fromkeys((tokens, EARLIER.get(tokens, tokens))):
            cost = replace(full, tokens=slots(method, count))
            found.append(
                {
                    "method": method,
                    "row": tokens,
                    "tokens": count,
                    "printed_tflops": printed,
                    "tflops": round(counted(convention, subject, cost) / 1e12, 2),
                    "printed_mb": storage,
                    "mib": round(cached(convention, subject, cost) * 2 / 2**20, 1),
                }
            )
    return found


def main(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Count the cells of the paper's efficiency table."""
    record = {
        "command": "python benchmarks/efficiency.py",
        "model": "llava-next-7b, 2880 visual tokens, cache in float16",
        "convention": CONVENTIONS["vispruner"].scope,
        "environment": environment(),
        "lines": lines(Subject(described("llava-next-7b"))),
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(record, indent=1))
        return
    table = Table("method", "row", "counted at", "paper, T", "here, T", "paper, MB", "here, MiB")
    for line in record["lines"]:
        table.add_row(*(str(value) for value in line.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
