"""How many tokens are kept: what a user may write, and exact arithmetic on it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from numbers import Integral, Real
from typing import Literal

from tokenprune.errors import BudgetError
from tokenprune.tokens import VisualTokens

Unit = Literal["image", "row", "prompt"]
_NUMBER = r"[+-]?(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})"
_TEXT = re.compile(rf"\s*(?P<number>{_NUMBER})\s*(?P<percent>%?)(?:\s*per\s+(?P<unit>\w+))?\s*", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """What is KEPT of each unit: a number of tokens, or a share of the unit's own tokens.

    Args:
        amount: tokens when ``share`` is false, else a fraction from 0 to 1.
        share: whether ``amount`` is a share.
        unit: an ``image`` (or video), a ``row`` (crop, frame) or a whole ``prompt``.
    """

    amount: Fraction
    share: bool
    unit: Unit = "image"

    @classmethod
    def parse(cls, value: object) -> Budget:
        """Read ``64``, ``0.25``, ``"11.1%"``, ``"64 per row"`` or ``"500 per prompt"``.

        Raises:
            BudgetError: the value has no meaning; the message says what to write instead.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, str):
            return _from_text(value)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise BudgetError(f"a budget is a number or a text such as 64, 0.25 or '11.1%'; got {value!r}")
        return _from_int(int(value), value) if isinstance(value, Integral) else _from_float(float(value))

    def resolve(self, count: int) -> int:
        """Tokens kept of a unit that has ``count``: nearest, ties up, at least one of a share that is not zero."""
        if not self.share:
            return min(int(self.amount), count)
        if not self.amount or not count:
            return 0
        return min(max(1, math.floor(self.amount * count + Fraction(1, 2))), count)

    def units(self, tokens: VisualTokens) -> list[tuple[list[int], int]]:
        """The rows of each unit, and how many tokens they keep together."""
        counts = tokens.counts.tolist()
        if self.unit == "row":
            kept = {count: self.resolve(count) for count in set(counts)}  # rows are mostly of one size
            return [([row], kept[count]) for row, count in enumerate(counts)]
        rows: dict[int, list[int]] = {}
        for row, key in enumerate((tokens.group if self.unit == "image" else tokens.sample).tolist()):
            rows.setdefault(key, []).append(row)
        return [(members, self.resolve(sum([counts[row] for row in members]))) for members in rows.values()]

    @classmethod
    def counted(cls, totals: Sequence[int]) -> Budget:
        """What is kept of each image, by number: ``totals[i]`` of the i-th group of rows."""
        return Counted(Fraction(sum(totals)), share=False, totals=tuple(totals))

    def __str__(self) -> str:
        number = f"{_decimal(self.amount * 100)}%" if self.share else str(int(self.amount))
        return number if self.unit == "image" else f"{number} per {self.unit}"


@dataclass(frozen=True)
class Counted(Budget):
    """A budget that is told image by image; it cannot be written down.

    Args:
        totals: what is kept of each image, in the order of their first rows.
    """

    totals: tuple[int, ...] = ()

    def units(self, tokens: VisualTokens) -> list[tuple[list[int], int]]:
        """The rows of each image, and how many tokens they keep together."""
        found = Budget(Fraction(1), share=True).units(tokens)
        return [(rows, min(total, most)) for (rows, most), total in zip(found, self.totals, strict=True)]


def _decimal(number: Fraction) -> str:
    """All digits of a number that was written in decimal, so that reading it back gives the same."""
    with localcontext(prec=402):  # below 100, and 400 digits after the point
        return format((Decimal(number.numerator) / Decimal(number.denominator)).normalize(), "f")


def _from_int(number: int, written: object, unit: Unit = "image") -> Budget:
    if number < 1:
        raise BudgetError(f"a budget of {written!r}: write '0%' to keep none, or a number of tokens from 1 on")
    return Budget(Fraction(number), share=False, unit=unit)


def _from_float(value: float) -> Budget:
    if not math.isfinite(value) or not 0 < value < 1:
        raise BudgetError(
            f"a budget of {value!r}: a float is a share between 0 and 1. Write '0%' or '100%' for none or all, "
            f"and an int such as {max(1, round(value)) if math.isfinite(value) else 64} for a number of tokens"
        )
    return Budget(Fraction(repr(value)), share=True)


def _from_text(value: str) -> Budget:
    match = _TEXT.fullmatch(value)
    if match is None:
        raise BudgetError(f"cannot read the budget {value!r}; write 64, '11.1%', '64 per row' or '500 per prompt'")
    unit = match["unit"] or "image"
    if unit not in ("image", "row", "prompt"):
        raise BudgetError(f"a budget is per image, per row or per prompt, not per {unit!r} (in {value!r})")
    number = Fraction(match["number"])
    if match["percent"]:
        if not 0 <= number <= 100:
            raise BudgetError(f"a budget of {value!r}: a share lies between '0%' and '100%'")
        return Budget(number / 100, share=True, unit=unit)  # type: ignore[arg-type]  # checked above
    if number.denominator != 1:
        raise BudgetError(f"a budget of {value!r}: tokens are counted in whole numbers; a share ends in %")
    return _from_int(int(number), value, unit)  # type: ignore[arg-type]


def apportion(total: int, weights: Sequence[float | Fraction], caps: Sequence[int]) -> list[int]:
    """Divide ``total`` over rows in proportion to ``weights``, no row above its cap, exact to the token.

    Rows whose share passes their cap are filled first; the rest is divided by largest remainder, ties to the lower
    row. What rows of weight zero must take, because the others are full, is divided evenly.

    Raises:
        BudgetError: ``total`` is more than all caps together, or a weight is negative or not finite.
    """
    if not 0 <= total <= sum(caps):
        raise BudgetError(f"cannot divide {total} tokens over rows that hold {sum(caps)}")
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise BudgetError(f"weights are finite and not negative; got {list(weights)}")
    given = _fill(total, _whole(weights), list(caps))
    left = total - sum(given)
    if left:
        more = _fill(left, [1] * len(caps), [cap - count for cap, count in zip(caps, given, strict=True)])
        given = [a + b for a, b in zip(given, more, strict=True)]
    return given


def _whole(weights: Sequence[float | Fraction]) -> list[int]:
    """Whole numbers in the same proportion, which divide exactly and much faster than fractions do."""
    pairs = [(int(weight) if isinstance(weight, Integral) else weight).as_integer_ratio() for weight in weights]
    size = math.lcm(*(below for _, below in pairs))
    return [above * (size // below) for above, below in pairs]


def _fill(total: int, weights: list[int], caps: list[int]) -> list[int]:
    """Water-filling by weight; stops short of ``total`` only when every row with a weight is full."""
    given = [0] * len(caps)
    open_rows = [row for row, weight in enumerate(weights) if weight and caps[row]]
    while open_rows:
        left = total - sum(given)
        mass = sum([weights[row] for row in open_rows])
        full = [row for row in open_rows if left * weights[row] >= caps[row] * mass]
        if not full:
            _largest_remainder(left, mass, weights, open_rows, given)
            break
        for row in full:
            given[row] = caps[row]
        open_rows = [row for row in open_rows if row not in set(full)]
    return given


def _largest_remainder(total: int, mass: int, weights: list[int], rows: list[int], given: list[int]) -> None:
    """Give each row the floor of its share, and one more to the largest remainders; every share is below its cap."""
    over = {}
    for row in rows:
        given[row], over[row] = divmod(total * weights[row], mass)
    left = total - sum([given[row] for row in rows])
    for row in sorted(rows, key=lambda row: (-over[row], row))[:left]:
        given[row] += 1
