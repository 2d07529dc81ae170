import numpy as np
import pytest

from tokenprune.measure.significance import compared, mcnemar


def mean(sums):
    return 100 * sums[..., 0] / sums[..., 1]


def test_the_interval_is_that_of_pairs():
    rng = np.random.default_rng(0)
    full = (rng.random(400) < 0.8).astype(float)
    worse = full * (rng.random(400) < 0.95)
    sums, base = (np.stack([one, np.ones(400)], -1) for one in (worse, full))
    found = compared(sums, base, mean)
    assert found.value.value == pytest.approx(100 * worse.mean())
    assert found.difference.value == pytest.approx(100 * (worse - full).mean())
    assert found.relative.value == pytest.approx(100 * worse.mean() / full.mean())
    half = (found.difference.high - found.difference.low) / 2
    assert half == pytest.approx(196 * (worse - full).std() / 20, rel=0.15)
    assert half < (found.value.high - found.value.low) / 2


def test_images_are_drawn_as_wholes():
    one = np.stack([np.tile([1.0, 0.0], 50), np.ones(100)], -1)
    many = one * 10  # ten questions about each image, all of them right or all of them wrong
    narrow, wide = compared(one, one, mean).value, compared(many, many, mean).value
    assert (narrow.low, narrow.high) == (wide.low, wide.high)


def test_seeds_are_averaged_within_each_draw():
    base = np.stack([np.ones(50), np.ones(50)], -1)
    half = base * [0.5, 1.0]
    found = compared(np.stack([base, half]), base, mean)
    assert (found.value.value, found.value.low, found.value.high) == (75, 75, 75)
    assert found.difference.value == -25


def test_nothing_is_relative_to_nothing():
    none = np.stack([np.zeros(5), np.ones(5)], -1)
    assert compared(none, none, mean).relative is None


def test_draws_are_the_same_each_time():
    sums = np.stack([np.arange(50) ** 0.7, np.ones(50)], -1)
    assert compared(sums, sums, mean) == compared(sums, sums, mean)
    assert compared(sums, sums, mean) != compared(sums, sums, mean, seed=1)


def test_mcnemar_is_exact():
    full, pruned = [1.0] * 12 + [0.0] * 8, [1.0] * 4 + [0.0] * 8 + [1.0] * 2 + [0.0] * 6
    found = mcnemar(pruned, full)
    assert (found.lost, found.gained) == (8, 2)
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(full, full).p == 1
    assert mcnemar([0.0] * 3000, [1.0] * 3000).p == 0 or mcnemar([0.0] * 3000, [1.0] * 3000).p < 1e-300
    assert mcnemar([0.5], [1.0]) is None
