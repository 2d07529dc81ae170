"""What choosing tokens costs: every published method against a plain transcription of its algorithm.

python benchmarks/selection.py                                           # a table
python benchmarks/selection.py --json benchmarks/results/selection.json  # and the record
python benchmarks/selection.py --page                                    # the record's table into docs/performance.md

Ours is the whole pipeline, from raw features and cues to the mask, and to merged vectors where it merges. The
transcriptions in benchmarks/transcriptions do the same from the papers' formulas, row by row, and have to choose the
same tokens. Both run in turn, on the same float32 tensors, in one process, a new one for each line, because what an
allocator has seen before decides what memory costs. What is read is the median of the ratios of neighbours, in CPU time
where there is one thread, so that other processes count for little. Methods that compare all pairs of tokens also run
against the least that they can do: one product of all pairs, already normalised, and one pass over it. Ours computes
each pair once where a product does so twice. Needs a system that forks processes, as Linux and macOS do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor
from transcriptions import choosing, merging, ranking
from transcriptions.arithmetic import TEXT, counted, prefill, reads_back, without_values
from transcriptions.problem import Problem, unit_of

from tokenprune import Pipeline, VisualTokens, load
from tokenprune.measure.environment import environment
from tokenprune.measure.paired import Ratio, interleave, ratio
from tokenprune_strategies.similarity import groups

HERE = Path(__file__).resolve().parent
RECORD, PAGE = HERE / "results" / "selection.json", HERE.parent / "docs" / "performance.md"
CACHE = 12 * 2**20
SIZES = (
    Problem(1, (24, 24), 1024, 64),
    Problem(5, (24, 24), 1024, 64),
    Problem(16, (24, 24), 1024, 64, images=4, prompts=16),
    Problem(1, (48, 60), 1024, 320),
    Problem(32, (27, 27), 1152, 81, images=8),
)
TRANSCRIPTIONS = {
    name: found
    for module in (ranking, choosing, merging)
    for name, found in vars(module).items()
    if getattr(found, "__module__", "") == module.__name__ and not name.startswith("_")
}
PAIRWISE = ("vispruner", "divprune", "cdpruner", "scope", "mmtok", "agilepruner", "id_selection", "adaptprune")
LEAST, SLACK = 0.9, 0.2  # times as fast as the transcription; or so many ms slower
SLOW = 5.0  # seconds; what takes longer runs once more, everything else three times at least
TURNS = 200  # and so often at most
HELD: list[Problem] = []  # what a copy of this process measures on
BOUNDS = {"visionzip": 5.0, "globalcom2": 5.0, "cdpruner": 1.2}
ALONE = ("globalcom2", "cdpruner")  # of a single row, which has no crops, or no batch, nothing more is asked


def bound(name: str, size: Problem) -> float | None:
    """How many times as fast as the transcription ours should be; None: it is told besides, and nothing is asked."""
    if name.endswith("_choice"):
        return None
    return LEAST if name in ALONE and size.batch == 1 else BOUNDS.get(name, LEAST)


def pipeline_of(name: str, size: Problem) -> Pipeline:
    """The method under the budget of a problem; of one that goes on inside the language model, what is before it."""
    of_image = name.startswith("globalcom2")
    budget = size.keep * (size.batch // size.images) if of_image else f"{size.keep} per row"
    whole = load(name.removesuffix("_choice"))
    if not whole.inside:
        return whole.replace(budget=budget)
    return load({"name": name, **{key: value for key, value in whole.stages[0] if key != "budget"}, "budget": budget})


def ours(name: str, size: Problem, merged: bool = True) -> Callable[[], tuple[Tensor, Tensor | None]]:
    """The pipeline as a function of nothing: what stays, and the vectors that stand there if they are wanted."""
    pipeline, of_image = pipeline_of(name, size), name.startswith("globalcom2")

    given = size.crops(pipeline) if of_image else size.tokens(pipeline)

    def run() -> tuple[Tensor, Tensor | None]:
        tokens = replace(given)  # nothing is remembered from one call to the next
        found = pipeline.select(tokens)
        if name == "globalcom2" and merged:
            return found.mask, sequence(tokens, found.mask)
        if found.merge is not None and merged:
            return found.mask, found.merge.apply(tokens.features.flatten(0, 1), found.mask.flatten())
        return found.mask, None

    return run


def sequence(tokens: VisualTokens, mask: Tensor) -> Tensor:
    """[L, C] of each image the thumbnail's tokens that stay, then those of its crops, a newline after each line."""
    (batch, count), size = tokens.shape, tokens.canvas.amax(0).tolist()
    images = int(tokens.group[-1]) + 1
    room = count + size[0] * (size[1] + 1) if batch > images else count
    at = torch.arange(count).expand(batch, -1)
    there = count + tokens.place[..., 0] * (size[1] + 1) + tokens.place[..., 1]
    spot = torch.where(tokens.overview[:, None], at, there) + tokens.group[:, None] * room
    packed = torch.full((images * room,), -1).scatter_(0, spot.flatten(), torch.arange(batch * count))  # -1: a newline
    packed = packed[mask.flatten()[packed] | (packed < 0)]
    found = tokens.features.flatten(0, 1).index_select(0, packed.clamp(min=0))
    return found.index_fill_(0, (packed < 0).nonzero()[:, 0], 0)


def floor(size: Problem) -> Callable[[], Tensor]:
    unit = unit_of(size.features)

    def run() -> Tensor:
        rows = groups(size.batch, 4 * size.count**2, CACHE)
        return torch.cat([(unit[part] @ unit[part].mT).amax(-1) for part in rows])

    return run


def agreement(one: tuple[Tensor, Tensor | None], other: Tensor | tuple[Tensor, Tensor]) -> float:
    """Share of the transcription's tokens that ours has too; if all, share of the vectors that are alike."""
    mask, vectors = other if isinstance(other, tuple) else (other, None)
    share = float((one[0] & mask).sum() / mask.sum())
    if share < 1 or one[1] is None or vectors is None or len(one[1]) != vectors.flatten(0, -2).shape[0]:
        return share
    far = (one[1].sort(1).values - vectors.flatten(0, -2).sort(1).values).abs().amax(1)
    return float((far < 1e-3).float().mean())


def measure(name: str, size: Problem, seconds: float) -> dict[str, Any]:
    """One line: how many times as fast ours is, how far from the floor, and what it computes."""
    plain, mine = TRANSCRIPTIONS[name], ours(name, size)
    runs = {"ours": mine, "plain": lambda: plain(size)}
    runs |= {"floor": floor(size)} if name in PAIRWISE else {}
    start = time.perf_counter()
    same = agreement(mine(), plain(size))
    once = time.perf_counter() - start
    turns = max(1 if once > SLOW else 3, min(TURNS, int(seconds / once)))
    interleave(runs, turns // 8)  # so that caches and the interpreter have settled
    took = interleave(runs, turns, time.process_time if torch.get_num_threads() == 1 else time.perf_counter)
    faster = ratio(took["plain"], took["ours"])
    later = median(a - b for a, b in zip(took["ours"], took["plain"], strict=True)) * 1e3
    least = bound(name, size)
    light = replace(size, tensors=without_values(size.tensors))
    tokens = size.batch * size.keep // size.prompts
    return {
        "method": name,
        "size": str(size),
        "agree": round(same, 4),
        "ours_ms": round(median(took["ours"]) * 1e3, 3),
        "plain_ms": round(median(took["plain"]) * 1e3, 3),
        "plain_to_ours": written(faster),
        "later_ms": round(later, 3),
        "bound": least,
        "within": least is None or faster.median >= least or (least == LEAST and later <= SLACK),
        "ours_to_floor": written(ratio(took["ours"], took["floor"])) if "floor" in took else None,
        "reads_back": reads_back(lambda: ours(name, light, merged=False)()),
        "share_of_prefill": counted(mine) / (size.prompts * prefill(tokens)),
    }


def apart(name: str, size: Problem, seconds: float, threads: int) -> dict[str, Any]:
    """`measure` in a copy of this process, which has one thread and has measured nothing."""
    with ProcessPoolExecutor(1, get_context("fork"), _begin, (size, threads)) as pool:
        return pool.submit(_measure, name, seconds).result()


def _begin(size: Problem, threads: int) -> None:
    torch.set_num_threads(threads)
    HELD.append(size)  # which a copy has, and which need not be sent


def _measure(name: str, seconds: float) -> dict[str, Any]:
    with torch.inference_mode():
        return measure(name, HELD[-1], seconds)


def written(pairs: Ratio) -> dict[str, float]:
    values = {"median": pairs.median, "low": pairs.low, "high": pairs.high}
    return {name: round(value, 3) for name, value in values.items()} | {"n": pairs.count}


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a table in Markdown."""
    heads = ("method", "size", "plain / ours (95 %, n)", "bound", "ours / floor", "agree", "reads back", "of prefill")
    rows = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for line in lines:
        told = "{median:.2f} ({low:.2f} to {high:.2f}, {n})".format(**line["plain_to_ours"])
        late = f" by {line['later_ms']:.2f} ms" if line["later_ms"] > 0 else ""
        slow = "" if line["within"] else f", missed{late}"
        pairs = f"{line['ours_to_floor']['median']:.2f}" if line["ours_to_floor"] else ""
        share = f"{line['share_of_prefill']:.2%}".replace("0.00%", "< 0.01%")
        facts = (f"`{line['method']}`", line["size"], told, f"{line['bound']}{slow}" if line["bound"] else "", pairs)
        back = "counts" if line["reads_back"] else "no"
        rows.append("| " + " | ".join((*facts, f"{line['agree']:.0%}", back, share)) + " |")
    return "\n".join(rows) + "\n"


def section(record: dict[str, Any]) -> str:
    """What the page says of a record."""
    lines = [line for line in record["lines"] if line["bound"]]
    where, missed, total = record["environment"], sum(not line["within"] for line in lines), len(lines)
    load_ = " to ".join(f"{one:.1f}" for one in record["load"])
    text = (
        f"{where['threads']} thread of {where['processor']} with {where['cpus']} cores, torch {where['torch']}, load "
        f"from {load_}: read ratios, not times. {total - missed} of {total} lines are within their bounds."
    )
    return f"{text}\n\n{table(record['lines'])}"


def verdicts(lines: list[dict[str, Any]]) -> str:
    """A line for each method: whether all of its sizes are within their bounds, and the sizes that are not."""
    told = []
    for name in dict.fromkeys(line["method"] for line in lines if line["bound"]):
        own = [line for line in lines if line["method"] == name]
        missed = [
            f"{line['size']}: {line['plain_to_ours']['median']:.2f} of {line['bound']}, {line['later_ms']:.2f} ms later"
            for line in own
            if not line["within"]
        ]
        told.append(
            f"{'MISSED' if missed else 'ok':8}{name:16}{len(own) - len(missed)} of {len(own)}  {'; '.join(missed)}"
        )
    return "\n".join(told)


def on_page(text: str, record: dict[str, Any]) -> str:
    """The page with the record's section between its marks."""
    head, _, rest = text.partition("<!-- selection -->\n")
    return f"{head}<!-- selection -->\n{section(record)}<!-- end -->\n" + rest.partition("<!-- end -->\n")[2]


def main(
    only: Annotated[str, typer.Option(help="methods whose name holds one of these, as in prune,zip")] = "",
    rows: Annotated[str, typer.Option(help="sizes that hold this")] = "",
    seconds: Annotated[float, typer.Option(help="so long for each line")] = 2.0,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
    as_json: Annotated[
        Path | None,
        typer.Option("--json", help="write the record to this file; lines that it holds already are replaced"),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="put the record's table on its page, and measure nothing")
    ] = False,
) -> None:
    """Measure what choosing tokens costs."""
    if page:
        PAGE.write_text(on_page(PAGE.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))), encoding="utf-8")
        return
    torch.set_num_threads(1)  # copies begin with one
    before = os.getloadavg()[0]
    known = json.loads(as_json.read_text("utf-8")) if as_json and as_json.is_file() else {"lines": [], "load": []}
    lines, loads = [line for line in known["lines"] if line["method"] in TRANSCRIPTIONS], [*known["load"], before]
    for size in (one for one in SIZES if rows in str(one)):
        drawn = size.drawn()
        for name in (one for one in TRANSCRIPTIONS if any(part in one for part in only.split(","))):
            line = apart(name, drawn, seconds, threads)
            lines = [one for one in lines if (one["method"], one["size"]) != (name, str(size))] + [line]
            print(name, size, line["plain_to_ours"], file=sys.stderr, flush=True)
            if as_json:
                record = record_of(lines, loads, seconds, threads)
                as_json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    Console(width=220).print(section(record_of(lines, loads, seconds, threads)), markup=False)
    Console(width=220).print(verdicts(lines), markup=False, highlight=False)


def record_of(lines: list[dict[str, Any]], loads: list[float], seconds: float, threads: int) -> dict[str, Any]:
    """What is written down: lines by method, then by size, and where they were measured."""
    names, sizes = list(TRANSCRIPTIONS), [str(size) for size in SIZES]
    return {
        "command": f"python benchmarks/selection.py --seconds {seconds} --threads {threads}",
        "environment": environment() | {"cpus": os.cpu_count(), "threads": threads},
        "load": [min(*loads, os.getloadavg()[0]), max(*loads, os.getloadavg()[0])],
        "prompt": f"{TEXT} words and the tokens that stay",
        "lines": sorted(lines, key=lambda line: (names.index(line["method"]), sizes.index(line["size"]))),
    }


if __name__ == "__main__":
    typer.run(main)
