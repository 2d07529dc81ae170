import pytest

from tokenprune.measure.paired import Ratio, interleave, ratio


def test_every_round_runs_all_and_begins_with_another():
    order, now = [], iter(range(100))
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = interleave(runs, rounds=4, clock=lambda: next(now) ** 2)
    assert "".join(order) == "abcbcacababc"
    assert seconds["a"] == [1, 11**2 - 10**2, 15**2 - 14**2, 19**2 - 18**2]


def test_drift_cancels_in_paired_ratios():
    below = [1.0, 10.0, 3.0, 40.0, 2.0]
    assert ratio([2 * value for value in below], below) == Ratio(2.0, 2.0, 2.0, 5)


def test_the_interval_covers_what_the_pairs_leave_open():
    found = ratio([0.8, 1.0, 1.1, 1.3, 0.9, 1.2], [1.0] * 6)
    assert 0.8 <= found.low < 1 < found.high <= 1.3
    assert found.median == pytest.approx(1.05)
    assert not found.settled
    assert ratio([1.2, 1.3, 1.4], [1.0] * 3).settled
    assert ratio([0.7, 0.6, 0.5], [1.0] * 3).settled


def test_is_reproducible_and_prints_its_size():
    values = [1.1**power for power in range(12)]
    once, again = (ratio(values, [1.0] * 12, resamples=7) for _ in range(2))
    assert once == again
    assert once != ratio(values, [1.0] * 12, resamples=7, seed=1)
    assert str(once).startswith("1.69 (")
    assert str(once).endswith("n = 12)")


@pytest.mark.parametrize(("above", "below"), [([], []), ([1.0, 2.0], [1.0])])
def test_what_is_not_paired_is_refused(above, below):
    with pytest.raises(ValueError, match="as many values above as below"):
        ratio(above, below)
