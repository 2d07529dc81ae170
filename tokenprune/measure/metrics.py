"""Metrics: from judged answers to the one figure of a table, with everything that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenprune.measure.judging import JUDGES, YES_NO, Judged
from tokenprune.measure.row import Row

Floats = NDArray[np.float64]
Pair = tuple[Row, Judged]


@dataclass(frozen=True)
class Metric:
    """A figure over many answers. It depends on them through sums over images alone, so images can be drawn anew.

    Args:
        name: what a table calls it, with the rule that answers are read by.
        rule: the same in words.
        judges: name of the judge in `judging.JUDGES`.
        terms: what the answers about one image add: K numbers.
        value: [..., K] sums to [...] figures.
        shares: whether the figure is a mean of scores, in percent.
    """

    name: str
    rule: str
    judges: str
    terms: Callable[[Sequence[Pair], Sequence[str]], Sequence[float]]
    value: Callable[[Floats], Floats]
    shares: bool = True

    def judge(self, said: str, row: Row) -> Judged:
        """One answer."""
        return JUDGES[self.judges](said, row)

    def sums(self, pairs: Sequence[Pair], images: Sequence[str], kinds: Sequence[str]) -> Floats:
        """[I, K]: what the answers about each image add, in the order of ``images``."""
        groups: dict[str, list[Pair]] = {image: [] for image in images}
        for row, judged in pairs:
            groups[row.image].append((row, judged))
        return np.array([self.terms(group, kinds) for group in groups.values()], dtype=float)


def _total(pairs: Sequence[Pair], _: Sequence[str]) -> Sequence[float]:
    return [sum(judged.score for _, judged in pairs), len(pairs)]


def _mean(sums: Floats) -> Floats:
    return np.asarray(100 * sums[..., 0] / sums[..., 1])


def _found(pairs: Sequence[Pair], _: Sequence[str]) -> Sequence[float]:
    """True positives, and false ones of both kinds; an answer that says neither is no yes."""
    yes = [(judged.read == "yes", judged.truth == "yes") for _, judged in pairs]
    return [sum(a and b for a, b in yes), sum(a != b for a, b in yes)]


def _f1(sums: Floats) -> Floats:
    both = 2 * sums[..., 0] + sums[..., 1]
    return np.asarray(100 * np.divide(2 * sums[..., 0], both, out=np.zeros_like(both), where=both > 0))


def _by_kind(pairs: Sequence[Pair], kinds: Sequence[str]) -> Sequence[float]:
    """For each category: right answers, answers, images with every answer right, images."""
    found: list[float] = []
    for kind in kinds:
        scores = [judged.score for row, judged in pairs if row.kind == kind]
        found += [sum(scores), len(scores), float(bool(scores) and all(scores)), float(bool(scores))]
    return found


def _mme(sums: Floats) -> Floats:
    parts = sums.reshape(*sums.shape[:-1], -1, 4)
    count, images = np.maximum(parts[..., 1], 1), np.maximum(parts[..., 3], 1)
    return np.asarray(100 * (parts[..., 0] / count + parts[..., 2] / images).sum(-1))


def _rule(name: str) -> str:
    """In words, from the docstring of what judges."""
    family, _, rule = name.partition(":")
    doc = YES_NO[rule].__doc__ if family == "yes_no" else JUDGES[name].__doc__
    return " ".join((doc or "").split())


def _means(name: str) -> Metric:
    return Metric(name, _rule(name), name, _total, _mean)


METRICS: dict[str, Metric] = {
    **{name: _means(name) for name in JUDGES},
    **{f"f1:{rule}": Metric(f"f1:{rule}", _rule(f"yes_no:{rule}"), f"yes_no:{rule}", _found, _f1, False)
       for rule in YES_NO},
    **{f"mme:{rule}": Metric(f"mme:{rule}", _rule(f"yes_no:{rule}"), f"yes_no:{rule}", _by_kind, _mme, False)
       for rule in YES_NO},
}  # fmt: skip
_SHORT = {"yes_no": "yes_no:word", "f1": "f1:word", "mme": "mme:word", "exact_match": "exact", "choice": "letter"}


def metric(name: str) -> Metric:
    """A metric by its name; ``yes_no``, ``f1`` and ``mme`` take a rule after a colon.

    Raises:
        LookupError: there is none of that name.
    """
    found = METRICS.get(_SHORT.get(name, name))
    if found is None:
        raise LookupError(f"no metric {name!r}; there are {', '.join(METRICS)}")
    return found


def details(pairs: Sequence[Pair]) -> dict[str, float]:
    """For questions of yes and no: precision, recall and F1 of yes, and how many predictions are yes; in percent."""
    truths = {judged.truth for _, judged in pairs}
    if not truths <= {"yes", "no"}:
        return {}
    said = sum(judged.read == "yes" for _, judged in pairs)
    meant = sum(judged.truth == "yes" for _, judged in pairs)
    hit = sum(judged.read == judged.truth == "yes" for _, judged in pairs)
    accuracy = sum(judged.score for _, judged in pairs) / len(pairs)
    shares = {
        "accuracy": accuracy,
        "precision": hit / said if said else 0.0,
        "recall": hit / meant if meant else 0.0,
        "f1": 2 * hit / (said + meant) if said + meant else 0.0,
        "yes_ratio": said / len(pairs),
    }
    return {name: 100 * value for name, value in shares.items()}
