"""Dropping tokens before the language model or inside it, at the same average over its layers: FLOPs, or time.

python benchmarks/inside.py                     # FLOPs of real sizes without weights; results/inside.json
python benchmarks/inside.py --times embedded --times llava-small    # time to the first token instead, of the embedded
                                                # model and of a size whose weights are drawn; results/inside-times.json

Methods are timed in turn, in 15 rounds, so that intervals of the ratios mean something; ``--rounds`` says another
number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from tokenprune import load, scenes
from tokenprune.errors import BudgetError
from tokenprune.measure.contest import Contest, noise_prompt
from tokenprune.measure.costs import Subject
from tokenprune.measure.environment import environment
from tokenprune.measure.paired import interleave, ratio
from tokenprune.measure.random_weights import random_model
from tokenprune.measure.sizes import described

RESULTS = Path(__file__).parent / "results"
SIZES = ("llava-1.5-7b", "llava-next-7b", "qwen2.5-vl-7b")
BUDGETS = ("50%", "33.3%", "22.2%")
METHODS = {
    "before": ("vispruner", "fastervlm", "divprune", "cdpruner"),
    "inside": ("fastv", "dart", "pyramiddrop", "sparsevlm", "v2drop"),
    "both": ("vscan", "visiondrop"),
}
TIMED = "33.3%"


def counts(size: str) -> Iterator[dict[str, Any]]:
    """A line for every method and budget; where an average cannot be reached, why not."""
    subject = Subject(described(size))
    full = subject.full()
    yield {"model": size, "method": "all tokens", "tokens": full.average, "flops": full.total, "prefill": full.prefill}
    for where, names in METHODS.items():
        for name in names:
            for budget in BUDGETS:
                line = {"model": size, "where": where, "method": name, "budget": budget}
                try:
                    cost = subject.pruned(load(name, budget=budget))
                except BudgetError as problem:
                    yield line | {"reason": str(problem)}
                    continue
                yield line | {
                    "tokens": round(cost.average, 2),
                    "pruner": cost.cue + cost.selection,
                    "prefill": cost.prefill,
                    "flops": cost.total,
                    "of_full": round(cost.total / full.total, 4),
                    "cache_elements": sum(cost.cache),
                }


def subject(name: str) -> tuple[Any, int]:
    """The model to time and the side of its image: the embedded one, or one of this size, its weights drawn."""
    if name == "embedded":
        return scenes.load()[0], 128
    found = described(name)
    return random_model(found.config, torch.device("cpu"), torch.float32), found.image[0]


def times(name: str, rounds: int) -> dict[str, Any]:
    """Seconds that the process computes up to the first token, every method in turn."""
    model, side = subject(name)
    inputs = noise_prompt(model, (side, side), 59)
    methods = [method for names in METHODS.values() for method in names]
    contests = {one: Contest(model, inputs, load(one, budget=TIMED), 1, busy=True) for one in methods}
    first = contests[methods[0]]
    runs = {"all tokens": first.full, **{one: contest.pruned for one, contest in contests.items()}}
    for run in runs.values():
        run()
    seconds = interleave(runs, rounds, first.clock.read)
    lines = [
        {
            "method": one,
            "tokens": round(contests[one].receipt.average, 2)
            if one in contests
            else contests[methods[0]].receipt.before,
            "seconds": round(median(values), 4),
            "all_over_this": ratio(seconds["all tokens"], values).to_dict(),
        }
        for one, values in seconds.items()
    ]
    return {"model": name, "budget": TIMED, "rounds": rounds, "load": os.getloadavg()[0], "lines": lines}


def show(record: dict[str, Any], console: Console) -> None:
    for size in SIZES if "flops" in record else ():
        lines = [line for line in record["flops"] if line["model"] == size]
        console.print(f"\n{size}: {lines[0]['flops'] / 1e12:.2f} T with all {lines[0]['tokens']:g} tokens")
        table = Table("where", "method", *BUDGETS)
        for where, names in METHODS.items():
            for name in names:
                cells = [line for line in lines if line["method"] == name]
                table.add_row(where, name, *(f"{c['flops'] / 1e12:.2f}" if "flops" in c else "" for c in cells))
        console.print(table)
    for timed in record.get("times", []):
        console.print(f"\n{timed['model']}: up to the first token, {timed['budget']} of the tokens on average")
        table = Table("method", "tokens", "seconds", "all / this (95 %)")
        for line in timed["lines"]:
            spread = "{median:.2f} ({low:.2f} to {high:.2f})".format(**line["all_over_this"])
            table.add_row(line["method"], f"{line['tokens']:g}", f"{line['seconds']:.4f}", spread)
        console.print(table)


def main(
    timed: Annotated[list[str] | None, typer.Option("--times", help="embedded, or a size; may be repeated")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="rounds of each method")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare methods before the language model with methods inside it."""
    record: dict[str, Any] = {"command": "python benchmarks/inside.py"}
    if timed:
        torch.set_num_threads(1)
        record["command"] += "".join(f" --times {name}" for name in timed) + f" --rounds {rounds}"
        record["clock"] = "time that the process spends computing, 1 thread"
        record["times"] = [times(name, rounds) for name in timed]
    else:
        record["convention"] = "measured, up to the first token; 59 tokens of text"
        record["flops"] = [line for size in SIZES for line in counts(size)]
    record["environment"] = environment()
    path = RESULTS / ("inside-times.json" if timed else "inside.json")
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1)) if as_json else show(record, Console())


if __name__ == "__main__":
    typer.run(main)
