"""The most memory that choosing tokens takes at once: one image of very many tokens, every pipeline before the model.

python benchmarks/memory.py                                        # a table
python benchmarks/memory.py --json benchmarks/results/memory.json  # and the record
python benchmarks/memory.py --page                                 # the record's table into docs/performance.md

Each pipeline runs in a process of its own, from raw features and cues to the mask, and to merged vectors where it
merges. What counts is the growth of resident memory over what was there before; the features themselves are not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from selection import Problem, ours

from tokenprune import load
from tokenprune.measure.environment import environment
from tokenprune.measure.peak import peak_memory
from tokenprune.registry import list_pipelines

HERE = Path(__file__).resolve().parent
RECORD, PAGE = HERE / "results" / "memory.json", HERE.parent / "docs" / "performance.md"
SIDE, WIDTH, KEEP, CROPS = 100, 1024, 64, 5
MIB = 2**20
MARKS = "<!-- memory -->\n", "<!-- end memory -->\n"


def measured() -> list[str]:
    """Pipelines that choose among tokens before the language model."""
    return [name for name in list_pipelines() if name != "none" and load(name).stages[0].site == "pre_llm"]


def weigh(name: str) -> int:
    """Bytes that one pipeline takes at most."""
    torch.set_num_threads(1)
    rows = CROPS if name == "globalcom2" else 1
    with torch.inference_mode():
        run = ours(name, Problem(rows, (SIDE, SIDE), WIDTH, KEEP).drawn())
        with peak_memory() as peak:
            run()
    return peak.size


def in_a_process(name: str) -> int:
    """The same where nothing was allocated before, and what is freed goes back to the system."""
    place = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    told = subprocess.run([sys.executable, __file__, "--only", name], env=place, capture_output=True, text=True)
    if told.returncode:
        raise RuntimeError(f"{name} failed: {told.stderr}")
    return int(told.stdout)


def section(record: dict[str, Any]) -> str:
    """What the page says of a record."""
    most, where = sorted(record["bytes"].items(), key=lambda pair: -pair[1]), record["environment"]
    rows = "".join(f"| `{name}` | {size / MIB:.0f} |\n" for name, size in most)
    text = (
        f"{SIDE**2:,} tokens of {WIDTH} float32 entries, of which {KEEP} stay; `globalcom2` with {CROPS} crops of as "
        f"many. torch {where['torch']}. The most is {most[0][1] / 1e9:.2f} GB."
    )
    return f"{text}\n\n| pipeline | peak, MiB |\n| --- | --: |\n{rows}"


def on_page(text: str, record: dict[str, Any]) -> str:
    """The page with the record's section between its marks."""
    head, start, rest = text.partition(MARKS[0])
    return f"{head}{start}\n{section(record)}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def main(
    only: Annotated[str, typer.Option(help="one pipeline, its bytes and nothing else")] = "",
    as_json: Annotated[Path | None, typer.Option("--json", help="write the record to this file")] = None,
    page: Annotated[bool, typer.Option("--page", help="put the record on its page, and measure nothing")] = False,
) -> None:
    """Measure the most memory that choosing tokens takes."""
    if only:
        print(weigh(only))
        return
    if page:
        PAGE.write_text(on_page(PAGE.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))), encoding="utf-8")
        return
    found = {name: in_a_process(name) for name in track(measured(), console=Console(stderr=True))}
    record = {"command": "python benchmarks/memory.py", "environment": environment(), "bytes": found}
    if as_json:
        as_json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    Console(width=120).print(section(record), markup=False)


if __name__ == "__main__":
    typer.run(main)
