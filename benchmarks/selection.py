"""What choosing diverse tokens costs, against one product of all pairs: the least that a method based on them can do.

python benchmarks/selection.py                                           # a table
python benchmarks/selection.py --json benchmarks/results/selection.json  # and the record

Three ways, interleaved in one process on the same float32 features. Their entries are 1 and -1, so that nothing rounds
where C is a power of four, and ours and the paper's have to choose the same tokens.

* ours: the diversifier, from raw features to the mask, normalisation included;
* floor: one product of all pairs of tokens to choose from, already normalised and in order, and one pass over it (its
  row maxima), in groups of rows that fit the cache. Ours computes each pair once where a product computes it twice, so
  that it can come out below;
* paper: the algorithm as published, row by row; near-duplicate removal compares its tokens anew in every round,
  farthest-point choice takes the minimum over all picked tokens for every pick, the determinantal point process keeps a
  Cholesky factor of the weighed kernel, facility location sums what is not covered yet over all tokens for every pick.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tokenprune import Split, VisualTokens
from tokenprune.measure.environment import environment
from tokenprune.measure.paired import Ratio, interleave, ratio
from tokenprune.strategy import Diversifier
from tokenprune.tokens import top
from tokenprune_strategies.dpp import Dpp
from tokenprune_strategies.facility_location import FacilityLocation
from tokenprune_strategies.max_min import MaxMin
from tokenprune_strategies.similarity import groups
from tokenprune_strategies.similarity_dedup import SimilarityDedup

CACHE = 12 * 2**20
STEP = 8


@dataclass(frozen=True)
class Size:
    """B rows of N tokens of C entries, of which T are kept, ``important`` of them by score."""

    batch: int
    count: int
    width: int
    keep: int
    important: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.count} x {self.width}, T = {self.keep}"


@dataclass(frozen=True)
class Method:
    """A diversifier, the published algorithm for one row, and how many floors it may take."""

    diversifier: Diversifier
    paper: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    allowed: float
    sizes: tuple[Size, ...]


def drop_duplicates(features: Tensor, scores: Tensor, listed: Tensor, end: int) -> Tensor:
    """VisPruner, for one row: tokens of ``features`` [N, C] that are left of the list [R]."""
    while len(listed) > end:
        even, odd = listed[::2], listed[1::2]
        drop = min(STEP, len(listed) - end, len(even))
        one, other = features[even], features[odd]
        one = one / one.norm(dim=-1, keepdim=True)
        other = other / other.norm(dim=-1, keepdim=True)
        nearest = (one @ other.T).amax(1)
        listed = torch.cat([even[nearest.argsort(descending=True, stable=True)[drop:]], odd])
    return listed


def pick_far(features: Tensor, scores: Tensor, listed: Tensor, end: int) -> Tensor:
    """DivPrune, for one row: tokens of ``features`` [N, C] in the order of the picks; all of them stand in the list."""
    unit = features / features.norm(dim=-1, keepdim=True)
    distance = 1 - unit @ unit.T
    picks = torch.empty(end, dtype=torch.int64)
    for turn in range(end):
        worst = distance.topk(2, dim=0, largest=False).values[1] if turn == 0 else distance[picks[:turn]].amin(0)
        picks[turn] = worst.argmax()
    return picks


def span_most(features: Tensor, scores: Tensor, listed: Tensor, end: int) -> Tensor:
    """CDPruner, for one row, ``scores`` [N] as relevance: tokens of ``features`` [N, C], in the order of the picks."""
    unit = features / features.norm(dim=-1, keepdim=True)
    relevance = (scores - scores.min() + 1e-6) / (scores.max() - scores.min())
    kernel = relevance[:, None] * (unit @ unit.T) * relevance
    left, factor = kernel.diagonal().clone(), torch.zeros(end, len(unit))
    picks = torch.empty(end, dtype=torch.int64)
    for turn in range(end):
        pick = picks[turn] = left.argmax()
        factor[turn] = (kernel[pick] - factor[:turn, pick] @ factor[:turn]) / left[pick].sqrt()
        left -= factor[turn] ** 2
        left[pick] = -torch.inf
    return picks


def cover_most(features: Tensor, scores: Tensor, listed: Tensor, end: int) -> Tensor:
    """SCOPE, for one row, ``scores`` [N] as saliency: tokens of ``features`` [N, C], in the order of the picks."""
    unit = features / features.norm(dim=-1, keepdim=True)
    similarity = unit @ unit.T
    cover, left = torch.zeros(len(unit), 1), torch.ones(len(unit), dtype=torch.bool)
    picks = torch.empty(end, dtype=torch.int64)
    for turn in range(end):
        gain = (similarity - cover).clamp(min=0).sum(0) * scores
        pick = picks[turn] = gain.where(left, -torch.inf).argmax()
        cover = torch.maximum(cover, similarity[:, pick, None])
        left[pick] = False
    return picks


EVERY_SIZE = (
    Size(1, 576, 1024, 64, 0, 100),
    Size(5, 576, 1024, 64, 0, 30),
    Size(16, 576, 1024, 64, 0, 15),
    Size(1, 2880, 1024, 320, 0, 10),
    Size(32, 729, 1152, 66, 0, 6),
)
METHODS = {
    "similarity_dedup": Method(
        SimilarityDedup(step=STEP),
        drop_duplicates,
        2.5,
        (
            Size(1, 576, 1024, 64, 32, 200),
            Size(5, 576, 1024, 64, 32, 60),
            Size(32, 729, 1152, 66, 33, 12),
            Size(1, 2880, 1024, 320, 160, 20),
        ),
    ),
    "dpp": Method(Dpp(), span_most, 3.0, EVERY_SIZE),
    "facility_location": Method(FacilityLocation(), cover_most, 12.0, EVERY_SIZE),
    "max_min": Method(MaxMin(), pick_far, 1.3, (Size(16, 576, 1024, 64, 0, 40), Size(1, 2880, 1024, 320, 0, 30))),
}


def ways(method: Method, size: Size) -> dict[str, Callable[[], Tensor]]:
    """The three, by name, each as a function of nothing; ours and the paper's give the mask."""
    g = torch.Generator().manual_seed(0)
    shape = (size.batch, size.count)
    features = torch.randint(0, 2, (*shape, size.width), generator=g) * 2.0 - 1
    scores = torch.rand(shape, generator=g)
    important = torch.full((size.batch,), size.important)
    split, end = Split(important, size.keep - important), size.keep - size.important
    kept = top(scores, important)
    listed = scores.argsort(dim=1, descending=True)[:, size.important :]  # [B, R]
    unit = features / features.norm(dim=-1, keepdim=True)
    ordered = torch.stack([row[order] for row, order in zip(unit, listed, strict=True)])  # [B, R, C]

    def ours() -> Tensor:
        return method.diversifier.choose(VisualTokens(features), scores, kept, split)

    def floor() -> Tensor:
        rows = groups(size.batch, 4 * ordered.shape[1] ** 2, CACHE)
        return torch.cat([(ordered[part] @ ordered[part].mT).amax(-1) for part in rows])

    def paper() -> Tensor:
        mask = torch.zeros(shape, dtype=torch.bool)
        for row in range(size.batch):
            mask[row, method.paper(features[row], scores[row], listed[row], end)] = True
        return mask

    return {"ours": ours, "floor": floor, "paper": paper}


def measure(name: str, size: Size, scale: float) -> dict[str, Any]:
    """One line: how many floors ours takes, and how many times ours the published loop takes."""
    method = METHODS[name]
    runs = ways(method, size)
    same = torch.equal(runs["ours"](), runs["paper"]())
    runs["floor"]()
    seconds = interleave({way: runs[way] for way in ("ours", "floor")}, max(3, round(size.rounds * scale)))
    slow = interleave({way: runs[way] for way in ("ours", "paper")}, 3)
    floors = ratio(seconds["ours"], seconds["floor"])
    return {
        "method": name,
        "size": str(size),
        "same_as_paper": same,
        "ours_ms": round(median(seconds["ours"]) * 1e3, 2),
        "floor_ms": round(median(seconds["floor"]) * 1e3, 2),
        "paper_ms": round(median(slow["paper"]) * 1e3, 2),
        "ours_to_floor": written(floors),
        "of_minima": round(min(seconds["ours"]) / min(seconds["floor"]), 2),
        "allowed": method.allowed,
        "within": floors.median <= method.allowed,
        "paper_to_ours": written(ratio(slow["paper"], slow["ours"])),
    }


def written(pairs: Ratio) -> dict[str, float]:
    return {
        "median": round(pairs.median, 2),
        "low": round(pairs.low, 2),
        "high": round(pairs.high, 2),
        "n": pairs.count,
    }


def show(lines: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="Choosing diverse tokens: medians of interleaved paired ratios (95 % interval, n)")
    times = ["ours ms", "floor ms", "paper ms"]
    heads = ["method", "size", *times, "ours / floor", "of minima", "at most", "paper / ours", "same"]
    for head in heads:
        table.add_column(head, justify="left" if head in heads[:2] else "right")
    for line in lines:
        times = [f"{line[key]:.1f}" for key in ("ours_ms", "floor_ms", "paper_ms")]
        floors, paper = (
            "{median:.2f} ({low:.2f} to {high:.2f}, {n})".format(**line[key])
            for key in ("ours_to_floor", "paper_to_ours")
        )
        same = "yes" if line["same_as_paper"] else "no"
        table.add_row(
            line["method"], line["size"], *times, floors, str(line["of_minima"]), str(line["allowed"]), paper, same
        )
    console.print(table)


def main(
    only: Annotated[str, typer.Option(help="methods whose name holds this")] = "",
    scale: Annotated[float, typer.Option(help="times as many rounds")] = 1.0,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 2,
    as_json: Annotated[Path | None, typer.Option("--json", help="write the record to this file")] = None,
) -> None:
    """Measure what choosing diverse tokens costs."""
    torch.set_num_threads(threads)
    sizes = [(name, size) for name, method in METHODS.items() if only in name for size in method.sizes]
    with torch.inference_mode():
        lines = [measure(name, size, scale) for name, size in sizes]
    show(lines, Console(width=180))
    if as_json:
        record = {
            "command": "python benchmarks/selection.py",
            "environment": environment() | {"cpus": os.cpu_count()},
            "lines": lines,
        }
        as_json.parent.mkdir(parents=True, exist_ok=True)
        as_json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
