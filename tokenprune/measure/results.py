"""Lines of a table, made from the answers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import fmean

import numpy as np

from tokenprune.measure.cells import FULL, Cell
from tokenprune.measure.judging import Judged
from tokenprune.measure.ledger import Ledger, Line
from tokenprune.measure.metrics import Pair, details
from tokenprune.measure.row import Row
from tokenprune.measure.significance import Compared, McNemar, compared, mcnemar
from tokenprune.measure.task import Task


@dataclass(frozen=True)
class Result:
    """One line: a pipeline with a budget and a policy, all its seeds together.

    Args:
        task: name of the task.
        metric: name of the metric, with its parsing rule.
        pipeline: its name, or ``all tokens``.
        budget: as it was asked for.
        positions: the policy, or ``default`` for the family's own.
        seeds: how many.
        questions: answered questions, of each seed.
        reason: why there are no figures; empty where there are.
        share: visual tokens kept, in percent of all.
        score: the figure beside the unpruned model's; None without answers to compare with, or where nothing is judged.
        mcnemar: of a single seed with answers that are right or wrong.
        agreement: answers that are the unpruned model's word for word, in percent.
        kl: mean KL divergence of the first token, in nats.
        top1: likeliest first tokens that are the unpruned model's, in percent.
        unparsed: answers that the rule reads nothing off, all seeds together.
        by_seed: the figure of each seed.
        by_kind: mean score of each kind of question, in percent.
        details: of questions of yes and no.
    """

    task: str
    metric: str
    pipeline: str
    budget: str = ""
    positions: str = ""
    seeds: int = 1
    questions: int = 0
    reason: str = ""
    share: float | None = None
    score: Compared | None = None
    mcnemar: McNemar | None = None
    agreement: float | None = None
    kl: float | None = None
    top1: float | None = None
    unparsed: int = 0
    by_seed: tuple[float, ...] = ()
    by_kind: dict[str, float] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)


def results(task: Task, cells: Sequence[Cell], ledger: Ledger, resamples: int = 2000) -> list[Result]:
    """One line for each cell of a task; seeds of one pipeline share a line."""
    rows = [row for row in task.rows if ledger.has(FULL, row.key) or row.key not in ledger.skipped]
    board = _Board(task, ledger, rows, resamples)
    groups = groupby(cells, key=lambda cell: (cell.pipeline, cell.budget, cell.positions))
    return [board.line(list(group)) for _, group in groups]


@dataclass(frozen=True)
class _Board:
    """What lines are made from."""

    task: Task
    ledger: Ledger
    rows: Sequence[Row]
    resamples: int

    def line(self, seeds: Sequence[Cell]) -> Result:
        one = seeds[0]
        head = Result(
            task=self.task.name,
            metric=self.task.metric.name,
            pipeline=one.pipeline or "all tokens",
            budget=one.budget,
            positions="" if one.pipeline is None else one.positions or "default",
            seeds=len(seeds),
            questions=len(self.rows),
        )
        reason = self._reason(seeds)
        return _with(head, reason=reason, questions=0) if reason else _with(head, **self._figures(seeds))

    def _reason(self, seeds: Sequence[Cell]) -> str:
        for cell in (Cell(), *seeds):
            if reason := cell.reason or self.ledger.refused.get(cell.key, ""):
                return reason
            there = sum(self.ledger.has(cell.key, row.key) for row in self.rows)
            if there < len(self.rows):
                return f"incomplete: {there} of {len(self.rows)} questions answered; run the same command again"
        return "" if self.rows else "no question could be asked"

    def _figures(self, seeds: Sequence[Cell]) -> dict[str, object]:
        told = [self._answers(cell) for cell in seeds]
        pairs, full = [self._pairs(lines) for lines in told], self._pairs(self._answers(Cell()))
        every = [judged for one in pairs for _, judged in one]
        found: dict[str, object] = {
            "unparsed": sum(judged.read is None for judged in every),
            "details": _mean([details(one) for one in pairs]),
        }
        if self.task.metric.judges != "none":
            found |= self._scores(pairs, full)
        if seeds[0].pipeline is None:
            found["mcnemar"] = None
        return found | self._fidelity(told) if seeds[0].pipeline else found

    def _scores(self, pairs: Sequence[Sequence[Pair]], full: Sequence[Pair]) -> dict[str, object]:
        metric, images = self.task.metric, tuple(dict.fromkeys(row.image for row in self.rows))
        sums = np.stack([metric.sums(one, images, self.task.kinds) for one in pairs])  # [S, I, K]
        whole = metric.sums(full, images, self.task.kinds)
        tested = mcnemar(_scores(pairs[0]), _scores(full)) if len(pairs) == 1 else None
        return {
            "score": compared(sums, whole, metric.value, self.resamples),
            "mcnemar": tested,
            "by_seed": tuple(float(metric.value(one.sum(0))) for one in sums),
            "by_kind": _mean([dict(_by_kind(one, self.task.kinds)) for one in pairs]),
        }

    def _fidelity(self, told: Sequence[Sequence[Line]]) -> dict[str, object]:
        lines = [line for one in told for line in one]
        same = [line["said"] == self.ledger.answers[FULL, line["row"]]["said"] for line in lines]
        return {
            "agreement": 100 * fmean(same),
            "kl": fmean(line["kl"] for line in lines),
            "top1": 100 * fmean(line["top1"] for line in lines),
            "share": 100 * sum(line["kept"] for line in lines) / max(1, sum(line["of"] for line in lines)),
        }

    def _answers(self, cell: Cell) -> list[Line]:
        return [self.ledger.answers[cell.key, row.key] for row in self.rows]

    def _pairs(self, lines: Sequence[Line]) -> list[Pair]:
        metric = self.task.metric
        return [(row, metric.judge(line["said"], row)) for row, line in zip(self.rows, lines, strict=True)]


def _with(result: Result, **changes: object) -> Result:
    return replace(result, **changes)  # type: ignore[arg-type]


def _scores(pairs: Sequence[Pair]) -> list[float]:
    return [judged.score for _, judged in pairs]


def _by_kind(pairs: Sequence[Pair], kinds: Sequence[str]) -> Iterator[tuple[str, float]]:
    if len(kinds) < 2:
        return
    for kind in kinds:
        scores: list[float] = [_score(judged) for row, judged in pairs if row.kind == kind]
        if scores:
            yield kind, 100 * fmean(scores)


def _score(judged: Judged) -> float:
    return judged.score


def _mean(told: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(one[name] for one in told) for name in told[0]}
