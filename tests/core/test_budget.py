import math
import re
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tokenprune import Budget, TokenpruneError, VisualTokens
from tokenprune.budget import apportion
from tokenprune.errors import BudgetError
from tokenprune.testing import budgets, visual_tokens

# --- what a user may write -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "of_576", "unit"),
    [
        (64, 64, "image"),
        (1, 1, "image"),
        (576, 576, "image"),
        (100_000, 576, "image"),
        (np.int64(64), 64, "image"),
        (0.25, 144, "image"),
        (np.float32(0.25), 144, "image"),
        (np.float64(0.25), 144, "image"),
        (0.999999, 576, "image"),
        (1e-300, 1, "image"),
        ("64", 64, "image"),
        (" 64 ", 64, "image"),
        ("+64", 64, "image"),
        ("64.0", 64, "image"),
        ("11.1%", 64, "image"),
        ("11.1 %", 64, "image"),
        (".5%", 3, "image"),
        ("5.%", 29, "image"),
        ("0%", 0, "image"),
        ("0.0%", 0, "image"),
        ("100%", 576, "image"),
        ("0.0001%", 1, "image"),
        ("64 per image", 64, "image"),
        ("64 per row", 64, "row"),
        ("64  per  row ", 64, "row"),
        ("25% per row", 144, "row"),
        ("500 per prompt", 500, "prompt"),
    ],
)
def test_what_may_be_written(written, of_576, unit):
    budget = Budget.parse(written)
    assert (budget.resolve(576), budget.unit) == (of_576, unit)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (0, "'0%'"),
        (-3, "'0%'"),
        ("0", "'0%'"),
        ("-64", "'0%'"),
        ("0 per row", "'0%'"),
        (0.0, "'0%' or '100%'"),
        (1.0, "'0%' or '100%'"),
        (-0.5, "an int such as 1 for"),
        (64.0, "an int such as 64"),
        (2.7, "an int such as 3"),
        (math.nan, "an int such as 64"),
        (math.inf, "an int such as 64"),
        (-math.inf, "an int such as 64"),
        ("150%", "between '0%' and '100%'"),
        ("100.5%", "between '0%' and '100%'"),
        ("-1%", "between '0%' and '100%'"),
        ("0.5", "a share ends in %"),
        ("64.5", "a share ends in %"),
        ("64 per crop", "per image, per row or per prompt"),
        ("", "'11.1%'"),
        ("many", "'11.1%'"),
        ("1e3", "'11.1%'"),
        ("nan%", "'11.1%'"),
        ("6 4", "'11.1%'"),
        ("64 per", "'11.1%'"),
        ("٦٤", "'11.1%'"),
        ("9" * 5000, "'11.1%'"),
        (True, "'11.1%'"),
        (None, "'11.1%'"),
        ([64], "'11.1%'"),
        (1 + 0j, "'11.1%'"),
    ],
)
def test_what_may_not_be_written_says_what_to_write_instead(written, instead):
    with pytest.raises(BudgetError, match=re.escape(instead)) as caught:
        Budget.parse(written)
    assert repr(written) in str(caught.value) or str(written) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TokenpruneError)


@pytest.mark.parametrize("written", [64, "64", "64.0", "64 per image"])
def test_a_number_is_no_share(written):
    assert Budget.parse(written) == Budget(Fraction(64), share=False)


def test_a_budget_is_read_as_itself():
    budget = Budget.parse("64 per row")
    assert Budget.parse(budget) is budget


@given(budgets())
def test_text_reads_back_as_the_same_budget(budget):
    assert Budget.parse(str(budget)) == budget


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
@example(5e-324)
@example(0.1)
def test_a_float_reads_back_as_the_same_budget(share):
    assert Budget.parse(str(Budget.parse(share))) == Budget.parse(share)


def test_all_digits_of_a_share_are_written():
    written = f"98.{'7' * 400}%"
    assert str(Budget.parse(written)) == written


# --- how many that is ------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(0, 5000))
def test_a_share_is_rounded_to_the_nearest_and_ties_go_up(tenths, count):
    exact = Decimal(tenths) * count / 1000
    nearest = int(exact.to_integral_value(ROUND_HALF_UP))
    expected = 0 if tenths == 0 or count == 0 else max(1, nearest)
    assert Budget.parse(f"{Decimal(tenths) / 10}%").resolve(count) == expected


def test_a_share_that_is_not_zero_keeps_one_of_a_few():
    assert [Budget.parse("1%").resolve(count) for count in (0, 1, 49, 50, 149, 150)] == [0, 1, 1, 1, 1, 2]


@given(budgets(), st.integers(0, 3000))
def test_never_more_than_there_are(budget, count):
    assert 0 <= budget.resolve(count) <= count


def test_units_are_images_rows_or_prompts():
    tokens = VisualTokens(
        torch.zeros(4, 10, 2),
        valid=torch.arange(10)[None] < torch.tensor([[10], [4], [0], [7]]),
        group=torch.tensor([8, 8, 3, 8]),
        sample=torch.tensor([0, 0, 0, 0]),
    )
    assert Budget.parse("50%").units(tokens) == [([0, 1, 3], 11), ([2], 0)]
    assert Budget.parse("50% per row").units(tokens) == [([0], 5), ([1], 2), ([2], 0), ([3], 4)]
    assert Budget.parse("50% per prompt").units(tokens) == [([0, 1, 2, 3], 11)]
    assert Budget.parse("9 per row").units(tokens) == [([0], 9), ([1], 4), ([2], 0), ([3], 7)]


def test_a_counted_budget_is_told_image_by_image():
    valid = torch.arange(10)[None] < torch.tensor([[10], [4], [0], [7]])
    tokens = VisualTokens(torch.zeros(4, 10, 2), valid=valid, group=torch.tensor([8, 3, 5, 8]))
    assert Budget.counted([12, 3, 1]).units(tokens) == [([0, 3], 12), ([1], 3), ([2], 0)]
    assert Budget.counted([30, 5, 0]).units(tokens) == [([0, 3], 17), ([1], 4), ([2], 0)]
    assert (str(Budget.counted([12, 3, 1])), Budget.counted([1]).share) == ("16", False)
    for wrong in ([12, 3], [12, 3, 1, 1]):
        with pytest.raises(ValueError, match="zip"):
            Budget.counted(wrong).units(tokens)


@given(visual_tokens(), budgets())
def test_units_hold_every_row_once(tokens, budget):
    units = budget.units(tokens)
    assert sorted(row for rows, _ in units for row in rows) == list(range(tokens.shape[0]))
    label = {"image": tokens.group, "prompt": tokens.sample, "row": torch.arange(tokens.shape[0])}[budget.unit]
    assert all(len(set(label[rows].tolist())) == 1 for rows, _ in units)
    assert all(total == budget.resolve(int(tokens.counts[rows].sum())) for rows, total in units)


# --- exact division --------------------------------------------------------------------------------------------------


def ideal_shares(total, weights, caps):
    """The only consistent answer to "who is full": try every set of full rows."""
    live = [row for row, weight in enumerate(weights) if weight and caps[row]]
    if total >= sum(caps[row] for row in live):
        return {row: Fraction(caps[row]) for row in live}
    for size in range(len(live)):
        for full in combinations(live, size):
            rest = [row for row in live if row not in full]
            level = Fraction(total - sum(caps[row] for row in full)) / sum(weights[row] for row in rest)
            over = all(level * weights[row] >= caps[row] for row in full)
            if over and all(level * weights[row] < caps[row] for row in rest):
                return {row: Fraction(caps[row]) for row in full} | {row: level * weights[row] for row in rest}
    raise AssertionError("no consistent set of full rows")


def nearest_whole(total, shares, caps):
    """Of all ways to divide, the closest to the shares; among equals the one that favours the lower rows."""
    ways = product(*(range(cap + 1) for cap in caps))
    fair = [way for way in ways if sum(way) == total]
    return max(fair, key=lambda way: (-sum((n - shares.get(r, 0)) ** 2 for r, n in enumerate(way)), way))


def brute_force(total, weights, caps):
    weights = [Fraction(weight) for weight in weights]
    shares = ideal_shares(total, weights, caps)
    held = min(total, int(sum(shares.values())))
    first = nearest_whole(held, shares, [cap if row in shares else 0 for row, cap in enumerate(caps)])
    if held == total:
        return list(first)
    room = [cap - n for cap, n in zip(caps, first, strict=True)]
    rest = nearest_whole(total - held, ideal_shares(total - held, [Fraction(1)] * len(caps), room), room)
    return [a + b for a, b in zip(first, rest, strict=True)]


WEIGHTS = st.one_of(
    st.sampled_from((0, 1, 1, 2)),
    st.floats(0, 10),
    st.fractions(0, 5, max_denominator=7),
    st.sampled_from((1e308, 1.7e308, 1e-308, 5e-324)),
)


@st.composite
def divisions(draw, most_rows=4, most=5):
    caps = draw(st.lists(st.integers(0, most), max_size=most_rows))
    weights = draw(st.lists(WEIGHTS, min_size=len(caps), max_size=len(caps)))
    return draw(st.integers(0, sum(caps))), weights, caps


@given(divisions())
@example((1, [0, 0], [1, 1]))
@example((3, [5, 0, 0], [1, 2, 2]))
@example((4, [1, 1, 1], [1, 5, 5]))
def test_apportion_is_the_closest_division(case):
    assert apportion(*case) == brute_force(*case)


@given(divisions(most_rows=40, most=700))
def test_apportion_is_exact_and_below_the_caps(case):
    total, _, caps = case
    given = apportion(*case)
    assert sum(given) == total
    assert all(0 <= n <= cap for n, cap in zip(given, caps, strict=True))


@given(divisions(most_rows=12, most=50), st.integers(-40, 40))
def test_only_proportions_of_weights_matter(case, power):
    total, weights, caps = case
    scaled = [Fraction(weight) * Fraction(2) ** power for weight in weights]
    assume(all(weight <= 1e308 for weight in scaled))
    assert apportion(total, scaled, caps) == apportion(total, weights, caps)


@given(st.integers(1, 30), st.integers(0, 400))
def test_even_weights_give_the_lower_rows_one_more(rows, total):
    assert apportion(total, [1] * rows, [total] * rows) == [(total + rows - 1 - row) // rows for row in range(rows)]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ((5, [1, 1], [2, 2]), "cannot divide 5 tokens over rows that hold 4"),
        ((-1, [1], [2]), "cannot divide -1 tokens over rows that hold 2"),
        ((1, [-1.0, 2], [2, 2]), "weights are finite and not negative; got [-1.0, 2]"),
        ((1, [math.nan], [2]), "weights are finite and not negative; got [nan]"),
        ((1, [math.inf], [2]), "weights are finite and not negative; got [inf]"),
    ],
)
def test_what_cannot_be_divided_says_so(case, said):
    with pytest.raises(BudgetError, match=re.escape(said)):
        apportion(*case)


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
def test_weights_of_numpy_are_numbers_like_others(kind):
    weights = [0, 1, 2, 5]
    assert apportion(9, [kind(one) / kind(2) for one in weights], [9] * 4) == apportion(9, weights, [9] * 4)
    assert apportion(9, [kind(one) for one in weights], [9] * 4) == apportion(9, weights, [9] * 4)
