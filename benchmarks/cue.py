"""What reading a cue costs: peak memory and time of CLIP ViT-L/14-336 (random weights, fp32) with and without it.

python benchmarks/cue.py                 # a table, and benchmarks/results/cue.json
python benchmarks/cue.py --json          # the same figures on standard output
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionConfig, CLIPVisionModel

from tokenprune.cues import tap
from tokenprune.measure.environment import environment
from tokenprune.measure.paired import interleave, ratio
from tokenprune.measure.peak import peak_memory
from tokenprune.reductions import cls_row, received

MIB = 2**20
ALLOWED = {"times": 1.1, "mib_a_crop": 2.0}  # a cue costs at most either of the two
RESULTS = Path(__file__).parent / "results" / "cue.json"
READS = {"sdpa": None, "sdpa + CLS row": cls_row(), "sdpa + received": received()}


def build() -> CLIPVisionModel:
    """Random weights, filled in place: the usual initialisation of 300 million of them takes longer than the rest."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = CLIPVisionConfig(**sizes, image_size=336, patch_size=14, projection_dim=768)
    with torch.device("meta"):
        tower = CLIPVisionModel._from_config(config, attn_implementation="sdpa")
    tower = tower.to_empty(device="cpu").eval()
    for name, buffer in tower.named_buffers():
        buffer.copy_(torch.arange(buffer.numel()).view_as(buffer) if name.endswith("position_ids") else 0 * buffer)
    for name, weight in tower.named_parameters():
        weight.data.normal_(1.0 if "norm" in name and weight.ndim == 1 else 0.0, 0.02)
    return tower


def ways(crops: int) -> dict[str, Callable[[], object]]:
    """One encode each way, by name."""
    torch.manual_seed(0)
    tower, pixels = build(), torch.randn(crops, 3, 336, 336)
    layers = [part for name, part in tower.named_modules() if name.endswith("self_attn")]

    @torch.inference_mode()
    def on_the_side(reduce: Any) -> Any:
        with nullcontext() if reduce is None else tap(layers[-2], reduce):
            return tower(pixels).last_hidden_state

    @torch.inference_mode()
    def by_eager() -> Any:
        tower.set_attn_implementation("eager")
        try:
            return tower(pixels, output_attentions=True).attentions[-2][:, :, 0]
        finally:
            tower.set_attn_implementation("sdpa")

    runs: dict[str, Callable[[], object]] = {
        name: lambda reduce=reduce: on_the_side(reduce) for name, reduce in READS.items()
    }
    return {**runs, "eager, all attentions": by_eager}


def weigh(crops: int, rounds: int) -> dict[str, list[float]]:
    """Peak MiB above idle, each round of each way."""
    runs = ways(crops)
    peaks: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            with peak_memory() as peak:
                run()
            if turn:  # the first round warms up
                peaks[name].append(peak.size / MIB)
    return peaks


def clock(crops: int, rounds: int) -> dict[str, list[float]]:
    """Seconds, each round of each way, interleaved."""
    runs = ways(crops)
    for run in runs.values():
        run()
    return interleave(runs, rounds)


def apart(what: str, crops: int, rounds: int, threads: int) -> dict[str, list[float]]:
    """In a process of its own; for memory one where freed tensors go back to the system at once."""
    extra = {"MALLOC_MMAP_THRESHOLD_": "65536"} if what == "memory" else {}
    command = [sys.executable, __file__, "--worker", what, "--crops", str(crops), "--rounds", str(rounds)]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, env={**os.environ, **extra}, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def summarise(crops: int, peaks: dict[str, list[float]], seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One line each way, against plain SDPA."""
    plain = median(peaks["sdpa"])
    lines = []
    for name, values in peaks.items():
        peak, pair = median(values), ratio(seconds[name], seconds["sdpa"])
        lines.append(
            {
                "crops": crops,
                "way": name,
                "peak_mib": round(peak, 1),
                "peak_times": round(peak / plain, 3),
                "extra_mib_a_crop": round((peak - plain) / crops, 2),
                "within": peak <= plain * ALLOWED["times"] or (peak - plain) / crops <= ALLOWED["mib_a_crop"],
                "seconds": round(median(seconds[name]), 3),
                "time_times": round(pair.median, 3),
                "time_interval": [round(pair.low, 3), round(pair.high, 3)],
            }
        )
    return lines


def show(lines: list[dict[str, Any]], rounds: int, console: Console) -> None:
    table = Table(title=f"CLIP ViT-L/14-336, fp32; median of {rounds}, time as interleaved paired ratio to sdpa (95 %)")
    for head in ("crops", "way", "peak MiB", "x", "MiB a crop", "within", "seconds", "x (interval)"):
        table.add_column(head, justify="left" if head == "way" else "right")
    for line in lines:
        low, high = line["time_interval"]
        table.add_row(
            str(line["crops"]),
            line["way"],
            f"{line['peak_mib']:.1f}",
            f"{line['peak_times']:.3f}",
            f"{line['extra_mib_a_crop']:+.2f}",
            "yes" if line["within"] else "no",
            f"{line['seconds']:.2f}",
            f"{line['time_times']:.3f} ({low:.3f} to {high:.3f})",
        )
    console.print(table)


def main(
    crops: Annotated[list[int] | None, typer.Option(help="crops in a batch; may be repeated (default 4 and 5)")] = None,
    rounds: Annotated[int, typer.Option(help="rounds of each way")] = 5,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure peak memory and time of reading a cue."""
    torch.set_num_threads(threads)
    batches = crops or [4, 5]
    if worker:
        print(json.dumps((weigh if worker == "memory" else clock)(batches[0], rounds)))
        return
    lines = []
    for count in batches:
        lines += summarise(count, *(apart(what, count, rounds, threads) for what in ("memory", "time")))
    record = {
        "command": "python benchmarks/cue.py",
        "model": "CLIP ViT-L/14-336, random weights",
        "dtype": "float32",
        "rounds": rounds,
        "allowed": ALLOWED,
        "environment": environment(),
        "lines": lines,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1)) if as_json else show(lines, rounds, Console())


if __name__ == "__main__":
    typer.run(main)
