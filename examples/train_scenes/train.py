"""Trains the embedded model from nothing: ``python examples/train_scenes/train.py --out runs/scenes --processes 2``.

Killed? The same command goes on where the last saved state ends.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import distributed
from torch.multiprocessing.spawn import spawn

from data import Share, first_patches
from export import export
from language import Language
from loop import Run, train
from model import new_llava, new_tower
from tower import Images, Tower, Windows


@dataclass(frozen=True)
class Plan:
    """How much to train: steps of the three stages, and scenes in a batch of each, over all processes."""

    seed: int = 1
    windows: int = 900
    images: int = 1250
    language: int = 2800
    window_batch: int = 64
    image_batch: int = 32
    language_batch: int = 16
    layers: int = 8


def share(plan: Plan, run: Run, scenes: int, stage: int) -> Share:
    """A process's part of the batches; stages begin a million scenes apart and never meet the same scene."""
    return Share(scenes // run.processes, run.rank, run.processes, stage * 1_000_000, plan.seed)


def follow(plan: Plan, run: Run) -> Any:
    """All three stages, each from its saved state; gives the finished model."""
    torch.manual_seed(plan.seed)
    tower = Tower(new_tower(first_patches(plan.seed)))
    train(Windows(tower, plan.windows, share(plan, run, plan.window_batch, 1)), run)
    train(Images(tower, plan.images, share(plan, run, plan.image_batch, 2)), run)
    llava = new_llava(tower.net, plan.layers)
    train(Language(llava, plan.language, share(plan, run, plan.language_batch, 3)), run)
    return llava


def work(rank: int, plan: Plan, run: Run) -> None:
    """One process of several; each keeps to one thread, as models this small gain nothing from more."""
    torch.set_num_threads(1)
    run = replace(run, rank=rank)
    if run.processes > 1:
        meeting = f"file://{(run.out / 'meeting').resolve()}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=run.processes)
    llava = follow(plan, run)
    if rank == 0:
        export(llava, run.out / "checkpoint")
    if run.processes > 1:
        distributed.destroy_process_group()


def check_plan(plan: Plan, out: Path) -> None:
    """A run continues only under the plan it began with: otherwise exits and says what differs."""
    path = out / "plan.json"
    if path.exists() and json.loads(path.read_text()) != asdict(plan):
        raise typer.BadParameter(f"{out} began as {path.read_text()}; choose another --out or the same settings")
    path.write_text(json.dumps(asdict(plan)))


def main(
    out: Annotated[Path, typer.Option(help="Folder of states, log and, at the end, checkpoint/.")],
    processes: Annotated[int, typer.Option(help="Processes that share each batch, on a CPU.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that draw scenes, for each of them.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of weights and scenes; 2 is the test set's.")] = 1,
    windows: Annotated[int, typer.Option(help="Steps of the tower on windows.")] = Plan.windows,
    images: Annotated[int, typer.Option(help="Steps of the tower on whole images.")] = Plan.images,
    language: Annotated[int, typer.Option(help="Steps of projector and language model.")] = Plan.language,
) -> None:
    """Trains the embedded model and writes it to OUT/checkpoint."""
    if seed == 2:
        raise typer.BadParameter("seed 2 is what the checkpoint is tested on; choose another")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    plan = Plan(seed, windows, images, language)
    out.mkdir(parents=True, exist_ok=True)
    check_plan(plan, out)
    run = Run(out, chosen, processes=1 if chosen == "cuda" else processes, workers=workers)
    (out / "meeting").unlink(missing_ok=True)
    if run.processes == 1:
        work(0, plan, run)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        spawn(work, (plan, run), nprocs=run.processes)


if __name__ == "__main__":
    typer.run(main)
