"""The file that answers are kept in: one line for each, safe as soon as it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenprune.errors import TokenpruneError
from tokenprune.measure.row import Row

Line = dict[str, Any]


class LedgerError(TokenpruneError, OSError):
    """Answers that cannot be kept, or that belong to something else."""


class Ledger:
    """Answers by cell and row, in a file of JSON lines that a killed run may leave at any point.

    The first line says who was asked, and how. A last line without its end is dropped when the file is opened, and that
    answer is asked again. Lines are written in one piece and flushed to the disk before `add` returns. Every answer
    bears the digest of its row, so that a task may grow or shrink but never be mistaken for another one.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], rows: Iterable[Row]) -> None:
        """Open a file, or begin one.

        Args:
            path: where it lies.
            asked: who is asked, and how, as plain values. A file holds answers to one such thing.
            rows: the questions; answers to others stay in the file.

        Raises:
            LedgerError: it cannot be read or written, or holds answers to something else.
        """
        self.path, self.asked = path, json.loads(json.dumps(asked))
        self.digests = {row.key: row.digest for row in rows}
        self.answers: dict[tuple[str, str], Line] = {}
        self.skipped: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.recipes: dict[str, str] = {}
        try:
            lines = _mended(path)
        except OSError as problem:
            raise LedgerError(f"cannot open {str(path)!r}: {problem}") from problem
        if not lines:
            self._write([{"asked": self.asked}])
        for number, line in enumerate(lines, 1):
            self._take(line, number)

    def add(self, lines: Iterable[Line]) -> None:
        """Keep answers, skipped rows and refused cells.

        Args:
            lines: answers have ``cell``, ``row``, ``of_row`` (its digest), ``said`` and more; skipped rows have ``row``
                and ``skipped``, refused cells have ``cell`` and ``refused``: why.

        Raises:
            LedgerError: the disk is full, or the file cannot be written; what was kept before is safe.
        """
        lines = list(lines)
        self._write(lines)
        for line in lines:
            self._sort(line)

    def state(self, recipes: Mapping[str, str]) -> None:
        """Note what is attached in each cell, by its key, before anything is asked there.

        Raises:
            LedgerError: a cell has answers that were given under another recipe.
        """
        for cell, recipe in recipes.items():
            if self.recipes.get(cell, recipe) != recipe:
                raise LedgerError(
                    f"{str(self.path)!r} holds answers of another pipeline as {cell!r}; it has changed since. Name "
                    "another --out, or give the pipeline another name"
                )
        self.add({"cell": cell, "recipe": recipe} for cell, recipe in recipes.items() if cell not in self.recipes)

    def has(self, cell: str, row: str) -> bool:
        """Whether there is an answer."""
        return (cell, row) in self.answers

    def _take(self, text: bytes, number: int) -> None:
        try:
            line = json.loads(text)
        except ValueError as problem:
            raise LedgerError(f"line {number} of {str(self.path)!r} is damaged; delete that line") from problem
        if number == 1:
            self._compare(line.get("asked") if isinstance(line, dict) else None)
        else:
            self._sort(line)

    def _compare(self, before: Any) -> None:
        if not isinstance(before, dict):
            raise LedgerError(f"{str(self.path)!r} holds no answers of tokenprune eval; name another --out")
        differ = [name for name in {**before, **self.asked} if before.get(name) != self.asked.get(name)]
        if differ:
            told = "; ".join(f"{name} {before.get(name)!r}, now {self.asked.get(name)!r}" for name in differ)
            raise LedgerError(
                f"{str(self.path)!r} holds answers to something else ({told}). Name another --out, or ask as before"
            )

    def _sort(self, line: Line) -> None:
        if "skipped" in line:
            self.skipped[line["row"]] = line["skipped"]
        elif "refused" in line:
            self.refused[line["cell"]] = line["refused"]
        elif "recipe" in line:
            self.recipes[line["cell"]] = line["recipe"]
        elif self.digests.get(line["row"], line["of_row"]) != line["of_row"]:
            raise LedgerError(
                f"{str(self.path)!r} holds an answer to another question as row {line['row']!r}; name another --out"
            )
        else:
            self.answers.setdefault((line["cell"], line["row"]), line)

    def _write(self, lines: Iterable[Line]) -> None:
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        if not text:
            return
        try:
            append(self.path, text.encode())
        except OSError as problem:
            raise LedgerError(
                f"cannot write to {str(self.path)!r}: {problem.strerror or problem}. Every answer in it is safe; make "
                "room and run the same command again"
            ) from problem


def append(path: Path, data: bytes) -> None:
    """Add bytes to a file and wait until they are on the disk. A piece of them may stay behind when that fails."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    finally:
        os.close(file)


def _mended(path: Path) -> list[bytes]:
    """The whole lines of a file, which is cut after them; none where there is no file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return data[:whole].splitlines()
