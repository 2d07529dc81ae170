"""Budgets over several stages: exact arithmetic on what each of them keeps."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenprune import Budget
from tokenprune.errors import BudgetError
from tokenprune.schedule import Plan


@st.composite
def plans(draw):
    depth = draw(st.integers(2, 40))
    count = draw(st.integers(1, min(4, depth - 1)))
    inside = sorted(draw(st.sets(st.integers(1, depth - 1), min_size=count, max_size=count)))
    layers = (0, *inside) if draw(st.booleans()) else tuple(inside)
    shares = st.sampled_from(["0%", "3%", "12.5%", "50%", "80%", "100%", 7, 64])
    stages = tuple(Budget.parse(draw(shares)) if draw(st.booleans()) else None for _ in layers)
    return Plan(layers, depth, stages, schedule=draw(st.sampled_from(["scaled", "geometric"])))


def by_layer(plan, count, kept):
    """Tokens in each layer, one by one."""
    found = []
    for layer in range(plan.depth):
        done = [one for at, one in zip(plan.layers, kept, strict=True) if at <= layer]
        found.append(done[-1] if done else count)
    return found


@given(plans(), st.integers(1, 700), st.sampled_from([1, 5, 64, 300, 5000, "0.5%", "11.1%", "50%", "99%", "100%"]))
def test_the_average_is_never_above_the_budget_and_no_larger_one_fits(plan, count, written):
    budget = Budget.parse(written)
    plan = Plan(plan.layers, plan.depth, plan.stages, budget, plan.schedule)
    wanted = budget.amount * count if budget.share else min(budget.amount, count)
    try:
        kept = plan.counts(count)
    except BudgetError:
        assert plan.least(count) > Fraction(int(wanted * plan.depth), plan.depth)
        return
    layers = by_layer(plan, count, kept)
    assert plan.average(count, kept) == Fraction(sum(layers), plan.depth) <= wanted
    assert layers == sorted(layers, reverse=True)
    if wanted >= count:
        assert set(layers) == {count}
        return
    largest = 1 / min((one for one in plan._shape(count) if one), default=Fraction(1))
    for step in range(1, 50):
        other = plan.average(count, plan._at(largest * Fraction(step, 49), count))
        assert other > wanted or other <= plan.average(count, kept)


@given(plans(), st.integers(1, 700))
def test_without_a_budget_stages_keep_what_they_say(plan, count):
    plan = Plan(plan.layers, plan.depth, tuple(one or Budget.parse("50%") for one in plan.stages))
    most = count
    for stage, kept in zip(plan.stages, plan.counts(count), strict=True):
        most = min(most, stage.resolve(count))
        assert kept == most


def shares(*written):
    return tuple(Budget.parse(one) for one in written)


@pytest.mark.parametrize(
    ("plan", "count", "kept", "average"),
    [
        (Plan((8, 16, 24), 32, shares("50%", "25%", "12.5%")), 576, (288, 144, 72), 270),
        (Plan((8, 16, 24), 32, shares("50%", "25%", "12.5%"), Budget.parse(270)), 576, (288, 144, 72), 270),
        (Plan((0, 16), 32, shares("16.67%", "5.56%"), Budget.parse(64)), 576, (96, 32), 64),
        (Plan((2,), 32, (None,), Budget.parse(128)), 576, (98,), Fraction(4092, 32)),
        (Plan((1, 2), 4, (None, None), Budget.parse("50%"), "geometric"), 100, (50, 25), 50),
    ],
)
def test_known_schedules(plan, count, kept, average):
    assert plan.counts(count) == kept
    assert plan.average(count, kept) == average


def test_what_cannot_be_reached_names_the_least():
    plan = Plan((2,), 32, (None,), Budget.parse(30))
    with pytest.raises(BudgetError, match=r"budget of 30 .* before layer 2 never averages below 36 of 576 .*6\.3 %"):
        plan.counts(576)
    assert Plan((2,), 32, (None,), Budget.parse(36)).counts(576) == (0,)
