"""What ``tokenprune eval`` does between reading its options and printing: a model, its answers, files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenprune.cli.tasks import tell
from tokenprune.cli.terminal import CommandError, stderr

if TYPE_CHECKING:
    from tokenprune.cli.options import Dtype
    from tokenprune.measure.asking import Asker
    from tokenprune.measure.cells import Cell
    from tokenprune.measure.ledger import Ledger
    from tokenprune.measure.results import Result
    from tokenprune.measure.task import Task


@dataclass(frozen=True)
class Run:
    """A model, loaded when the first question has to be asked, and what else answers depend on.

    Args:
        model: a folder or a name on the hub; None for the embedded model.
        device: where it runs.
        dtype: number format of its weights. None: as saved; float32 for the embedded model.
        new_tokens: length of an answer.
        prompt: what is made of a question.
        batch: questions asked at once.
        out: the folder that answers go to.
        share: whether an image is read once for all questions about it.
    """

    model: str | None
    device: str | None
    dtype: Dtype | None
    new_tokens: int | None
    prompt: str
    batch: int
    out: Path
    share: bool = False

    @cached_property
    def asker(self) -> Asker:
        """The model with its processor."""
        from tokenprune.cli.models import loaded, quiet_transformers
        from tokenprune.measure.asking import Asker
        from tokenprune.scenes import folder

        with stderr().status("loading the model"), quiet_transformers(bars=self.model is not None):
            where = "cpu" if self.model is None else None
            parts = loaded(self.model or str(folder()), self.device or where, self.settings["dtype"])
        return Asker(*parts, new_tokens=self.new_tokens, prompt=self.prompt)

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on besides the task."""
        dtype = self.dtype.value if self.dtype else "auto" if self.model else "float32"
        told = {name: getattr(self, name) for name in ("new_tokens", "prompt", "batch")}
        return {"model": self.model or "embedded", "dtype": dtype, **told}

    def asked(self, task: Task, cells: Sequence[Cell]) -> list[Result]:
        """The lines of one task, once everything has been asked that was not answered before."""
        from tokenprune.cli.models import quiet_transformers
        from tokenprune.measure.evaluation import evaluate, missing
        from tokenprune.measure.ledger import Ledger
        from tokenprune.measure.results import results

        ledger = Ledger(self.out / f"{task.name}.jsonl", {"task": task.name, **self.settings}, task.rows)
        if count := missing(task, cells, ledger):
            asker = self.asker
            with quiet_transformers(), _progress(task, count) as advance:
                evaluate(asker, task, cells, ledger, self.batch, advance, self.share)
        tell(_unasked(task, ledger), f"of {task.name} could not be asked")
        return results(task, cells, ledger)


def _unasked(task: Task, ledger: Ledger) -> dict[str, str]:
    from tokenprune.measure.cells import FULL

    return {key: why for key, why in ledger.skipped.items() if not ledger.has(FULL, key)}


@contextmanager
def _progress(task: Task, count: int) -> Iterator[Callable[[int], object]]:
    """A bar on stderr over answers that are missing."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=stderr()) as bar:
        number = bar.add_task(task.name, total=count)
        yield lambda more: bar.advance(number, more)


def write(found: Sequence[Result], run: Run, tasks: Sequence[Task], plot: bool) -> None:
    """The tables, the record, and the plot if it is wanted.

    Raises:
        CommandError: a file cannot be written.
    """
    from tokenprune.measure.environment import environment
    from tokenprune.measure.plot import plot as draw
    from tokenprune.measure.tables import as_csv, as_latex, as_markdown, plain

    about = [
        {"task": task.name, "rows": len(task.rows), "skipped": dict(task.skipped), "fingerprint": task.fingerprint,
         "metric": task.metric.name, "rule": task.metric.rule} for task in tasks
    ]  # fmt: skip
    record = {
        "tasks": about,
        "settings": run.settings,
        "environment": environment(),
        "results": [plain(one) for one in found],
    }
    texts = {"table.csv": as_csv(found), "table.md": as_markdown(found), "table.tex": as_latex(found)}
    texts["results.json"] = f"{json.dumps(record, indent=1, ensure_ascii=False)}\n"
    try:
        for name, text in texts.items():
            (run.out / name).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise CommandError(
            f"cannot write the tables to {str(run.out)!r}: {problem}. The answers are safe; make room and run the same "
            "command again"
        ) from problem
    if plot:
        draw(found, run.out / "plot.svg")
