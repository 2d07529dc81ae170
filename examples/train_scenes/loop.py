"""One training loop for every stage: resumable, on one or several processes, with a progress bar."""

from __future__ import annotations

import json
import math
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed, nn

from data import Batch, batches
from model import trainable
from optim import optimizers, set_rate


class Stage(Protocol):
    """What is trained, on what, and how fast: the rate falls from ``peak`` to ``floor`` along a cosine."""

    name: str
    peak: float
    floor: float
    decay: float
    warmup: int
    module: Any
    steps: int
    draw: Callable[[int], Batch]

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]: ...


@dataclass(frozen=True)
class Run:
    """Where and how to train; ``every`` counts steps between log lines, ``save`` between saved states."""

    out: Path
    device: str = "cpu"
    rank: int = 0
    processes: int = 1
    workers: int = 1
    every: int = 25
    save: int = 50


@dataclass
class State:
    """All that a resumed run needs; batches are functions of the step, and nothing else is random."""

    module: nn.Module
    chosen: list[torch.optim.Optimizer]
    step: int = 0
    cpu_s: float = 0.0  # of all processes and runs
    clock: float = field(default_factory=lambda: _cpu_seconds())  # up to here they are counted
    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def save(self, path: Path) -> None:
        """Written beside and moved into place, so that no crash leaves half a file."""
        found = {"step": self.step, "cpu_s": self.cpu_s, "module": self.module.state_dict()}
        found["optimizers"] = [optimizer.state_dict() for optimizer in self.chosen]
        torch.save(found, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path, device: str) -> None:
        found = torch.load(path, map_location=device, weights_only=True)
        self.step, self.cpu_s = found["step"], found["cpu_s"]
        self.module.load_state_dict(found["module"])
        for optimizer, state in zip(self.chosen, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)


def rate(stage: Stage, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
    return (stage.floor + (stage.peak - stage.floor) * cosine) * min(1.0, (step + 1) / stage.warmup)


def train(stage: Stage, run: Run) -> None:
    """Trains a stage to its end, from its saved state if there is one."""
    module, path = stage.module.to(run.device), run.out / f"{stage.name}.pt"
    state = State(module, optimizers(module, stage.decay))
    if path.exists():
        state.load(path, run.device)
    share_weights(module, run.processes)
    module.train()
    with Progress(
        TextColumn(stage.name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=run.rank > 0
    ) as bar:
        task = bar.add_task(stage.name, total=stage.steps, completed=state.step)
        for batch in batches(stage.draw, state.step, stage.steps, run.workers):
            _step(stage, state, run, batch)
            bar.update(task, completed=state.step)
            if state.step % run.every == 0:
                _log(stage, state, run, bar)
            if state.step % run.save == 0:
                _save(state, run, path)
    _save(state, run, path)  # by now the workers have ended and count


def _save(state: State, run: Run, path: Path) -> None:
    """All processes call it, as their seconds are added up; the first one writes."""
    now = _cpu_seconds()
    state.cpu_s, state.clock = state.cpu_s + _total(now - state.clock, run.processes), now
    if run.rank == 0:
        state.save(path)


def _step(stage: Stage, state: State, run: Run, batch: Batch) -> None:
    on_device = {name: values.to(run.device, non_blocking=True) for name, values in batch.items()}
    set_rate(state.chosen, rate(stage, state.step))
    with torch.autocast(run.device, torch.bfloat16):
        loss, notes = stage.loss(on_device, state.step / stage.steps)
    loss.backward()  # type: ignore[no-untyped-call]
    weights = trainable(state.module)
    share_gradients(weights, run.processes)
    nn.utils.clip_grad_norm_(weights, 1.0)
    for optimizer in state.chosen:
        optimizer.step()
        optimizer.zero_grad()
    state.step += 1
    for name, value in {"loss": loss.detach(), **notes}.items():
        state.sums[name].append(float(value))


def _log(stage: Stage, state: State, run: Run, bar: Progress) -> None:
    """Means since the last line, to the terminal and ``log.jsonl``: no scene comes twice, so they are held out."""
    means = {name: sum(values) / len(values) for name, values in state.sums.items()}
    state.sums.clear()
    if run.rank == 0:
        line = {"stage": stage.name, "step": state.step, "time": round(time.time())}
        line |= {name: round(mean, 4) for name, mean in means.items()}
        with (run.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        bar.console.print(" ".join(f"{name} {value}" for name, value in line.items() if name != "time"), soft_wrap=True)


def _cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _total(value: float, processes: int) -> float:
    if processes == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64)
    distributed.all_reduce(total)
    return float(total)


def share_weights(module: nn.Module, processes: int) -> None:
    """Everybody starts from the first process's weights."""
    if processes > 1:
        for weight in module.parameters():
            distributed.broadcast(weight.data, 0)


def share_gradients(weights: list[Tensor], processes: int) -> None:
    """Replaces each gradient by its mean over the processes, in one message."""
    if processes == 1:
        return
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    parts = torch.split(flat / processes, [weight.numel() for weight in weights])
    for weight, part in zip(weights, parts, strict=True):
        weight.grad = part.view_as(weight)
