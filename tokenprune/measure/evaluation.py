"""Asking every question in every cell, batch after batch, and keeping each answer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenprune.attach import attach
from tokenprune.errors import TokenpruneError
from tokenprune.measure.asking import Asker, Said
from tokenprune.measure.cells import FULL, Cell
from tokenprune.measure.ledger import Ledger, Line
from tokenprune.measure.row import Row, broken
from tokenprune.measure.sharing import Grouped, grouped, shares
from tokenprune.measure.task import Task
from tokenprune.once import encoding_once

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokenprune.receipt import Receipt


def missing(task: Task, cells: Sequence[Cell], ledger: Ledger) -> int:
    """How many answers are not there yet; rows that cannot be opened count until they have been tried.

    Raises:
        LedgerError: some that are there were given by a pipeline that has changed since.
    """
    ledger.state({cell.key: cell.recipe for cell in cells if cell.made is not None})
    live = [cell.key for cell in cells if not cell.reason]
    return sum(not ledger.has(key, row.key) for key in live for row in task.rows)


def evaluate(
    asker: Asker,
    task: Task,
    cells: Sequence[Cell],
    ledger: Ledger,
    batch: int = 32,
    advance: Callable[[int], object] = lambda _: None,
    share: bool = False,
) -> None:
    """Ask what is not answered yet.

    A batch holds the same rows whenever it is asked and goes through all cells before the next one comes, so that the
    images are encoded once and every answer stands beside that of the unpruned model. A run that is resumed asks the
    batch that was broken off as a whole, and so gives what one run would have given.

    Args:
        asker: the model.
        task: the questions.
        cells: ways to ask them, the unpruned model among them.
        ledger: where answers are kept.
        batch: rows that are asked at once.
        advance: told how many answers of `missing` are done with.
        share: read an image once for all questions about it in a batch, where model and pipeline allow it. Answers are
            the same but for rounding.
    """
    ledger.state({cell.key: cell.recipe for cell in cells if cell.made is not None})
    for cell in cells:
        ledger.refused.pop(cell.key, None)  # tried anew
    for start in range(0, len(task.rows), batch):
        before = set(ledger.refused)
        _Batch(asker, task.rows[start : start + batch], ledger, advance, share).ask(cells)
        for key in set(ledger.refused) - before:
            advance(sum(not ledger.has(key, row.key) for row in task.rows))


@dataclass(frozen=True)
class _Batch:
    """Rows that are asked together."""

    asker: Asker
    rows: Sequence[Row]
    ledger: Ledger
    advance: Callable[[int], object]
    share: bool

    def ask(self, cells: Sequence[Cell]) -> None:
        live = [cell for cell in cells if not cell.reason]
        if not any(self._todo(cell, self.rows) for cell in live):
            return
        rows, images = self._opened(live)
        todo = [cell for cell in live if self._todo(cell, rows)]
        if not todo:
            return
        inputs = self.asker.read(images, [row.question for row in rows])
        full = self.asker.ask(inputs)
        alike = grouped(self.asker, rows, inputs) if self.share else None
        with encoding_once():
            for cell in todo:
                lines = self._lines(cell, rows, inputs, full, alike)
                self.ledger.add(lines)
                self.advance(sum("said" in line for line in lines))

    def _todo(self, cell: Cell, rows: Sequence[Row]) -> list[Row]:
        if cell.key in self.ledger.refused:
            return []
        return [row for row in rows if not self.ledger.has(cell.key, row.key)]

    def _opened(self, cells: Sequence[Cell]) -> tuple[list[Row], list[Image]]:
        """The rows whose image can be read, and the images; the others are noted."""
        rows, images, unread = [], [], []
        for row in self.rows:
            try:
                images.append(row.open())
                rows.append(row)
            except (OSError, ValueError) as problem:
                unread.append({"row": row.key, "skipped": broken(problem)})
                self.advance(len(cells))
        self.ledger.add([line for line in unread if self.ledger.skipped.get(line["row"]) != line["skipped"]])
        return rows, images

    def _lines(self, cell: Cell, rows: Sequence[Row], inputs: Any, full: Said, alike: Grouped | None) -> list[Line]:
        """What is kept of one cell's answers, or of its refusal."""
        if cell.made is None:
            return self._new(FULL, rows, ({"said": text} for text in full.texts))
        together = alike if shares(cell.made) else None
        try:
            with attach(self.asker.model, cell.made, strict=True) as attached:
                said = self.asker.ask(inputs) if together is None else together.ask(self.asker)
        except TokenpruneError as problem:
            return [{"cell": cell.key, "refused": " ".join(str(problem).split())}]
        samples = range(len(rows)) if together is None else together.image
        return self._new(cell.key, rows, _beside(said, full, samples, attached.receipt))

    def _new(self, cell: str, rows: Sequence[Row], told: Iterator[Line]) -> list[Line]:
        both = zip(rows, told, strict=True)
        lines = [{"cell": cell, "row": row.key, "of_row": row.digest, **one} for row, one in both]
        return [line for line in lines if not self.ledger.has(cell, line["row"])]


def _beside(said: Said, full: Said, samples: Sequence[int], receipt: Receipt | None) -> Iterator[Line]:
    """Each answer, how far its first token is from the unpruned model's, and what was kept of its image.

    ``samples`` are the prompts of the receipt that the answers belong to.
    """
    assert receipt is not None  # every row has an image, and an image that cannot be pruned has raised
    divergence, same = said.divergence(full).tolist(), said.same_first(full).tolist()
    for number, text in enumerate(said.texts):
        images = [nth for nth, image in enumerate(receipt.images) if image.sample == samples[number]]
        yield {
            "said": text,
            "kl": round(divergence[number], 6),
            "top1": same[number],
            "kept": sum(_kept(receipt, nth) for nth in images),
            "of": sum(receipt.images[nth].before for nth in images),
        }


def _kept(receipt: Receipt, nth: int) -> float:
    """Tokens of an image; where some leave inside the language model, averaged over its layers."""
    after = receipt.images[nth].after
    if not receipt.layers:
        return after
    bounds = [one.layer for one in receipt.layers] + [receipt.depth]
    spans = [stop - start for start, stop in pairwise(bounds)]
    inside = sum(span * len(one.kept[nth]) for span, one in zip(spans, receipt.layers, strict=True))
    return round((bounds[0] * after + inside) / receipt.depth, 4)
