"""Inputs that are the same on every machine, to the bit: integers from raw PCG64 words, scaled by powers of two.

The stream of a bit generator is covered by numpy's compatibility guarantee; the distributions drawn from it are not.

In the exact kinds every row is a vector of integers whose length is exactly 4096 (for ``pm1`` the square root of C, a
power of four). So a normalised row, every product of two and every partial sum of products is a multiple of 2^-24 not
above 1: float32 holds all of them, and nothing depends on the order of summation, on threads or on the device. A
selection then has one right answer. The float kinds are ordinary float32, where rounding decides between near-ties.
"""

import hashlib
import itertools
import math
from functools import cache

import numpy as np

NORM = 4096
_BLOBS = 12  # centres of the clustered kinds


def make(spec):
    """The array of ``{"fn": "features" | "attention", "kind": ..., "seed": ..., "shape": [...]}``."""
    return {"features": features, "attention": attention}[spec["fn"]](spec["kind"], spec["seed"], tuple(spec["shape"]))


def sha(array):
    """Fingerprint of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def features(kind, seed, shape):
    """[..., N, C] float32."""
    *lead, count, width = shape
    flat = (math.prod(lead), count, width)
    x = _MAKERS[kind](seed, *flat)
    return np.ascontiguousarray(x.reshape(shape).astype(np.float32))


def attention(kind, seed, shape):
    """[..., N] float32, multiples of 2^-18 below 1: sums over up to 64 heads are exact."""
    lanes = _lanes(seed, 7, math.prod(shape))
    if kind == "dyadic":
        value = lanes[:, 0] * 4 + (lanes[:, 1] >> 14)
    elif kind == "peaky":  # a product of two 9-bit numbers: a heavy right tail
        value = (lanes[:, 0] >> 7) * (lanes[:, 1] >> 7)
    else:  # "ties": eight levels
        value = (lanes[:, 0] >> 13) << 15
    return (value.astype(np.float32) / np.float32(2**18)).reshape(shape)


def _raw(seed, stream, count):
    return np.random.PCG64(np.random.SeedSequence([seed, stream])).random_raw(count)


def _lanes(seed, stream, count):
    """[count, 4] int64 of 16 bits each."""
    words = _raw(seed, stream, count)
    return np.stack([(words >> np.uint64(16 * lane)) & np.uint64(0xFFFF) for lane in range(4)], -1).astype(np.int64)


def _bell(seed, stream, shape):
    """Sums of four uniform integers: mean 0, standard deviation about 37837."""
    return _lanes(seed, stream, math.prod(shape)).sum(-1).reshape(shape) - 131070


def _scale(width):
    """k such that (bell * k) >> 20 has a standard deviation of about 0.97 * NORM / sqrt(width)."""
    return math.isqrt(((NORM * NORM * 94) // (100 * width)) << 40) // 37837


def _exact(seed, batch, count, width):
    v = (_bell(seed, 0, (batch * count, width)) * _scale(width)) >> 20
    return _fix_norm(v).reshape(batch, count, width)


def _exact_dup(seed, batch, count, width):
    """Every token about three times."""
    return _exact(seed, batch, count, width)[:, np.arange(count) % max(1, count // 3)]


def _blobs(seed, batch, count, width):
    """Twelve centres, and noise of four strengths around them; integers."""
    centres = _bell(seed, 1, (batch, _BLOBS, width))
    which = (_raw(seed, 2, batch * count) % np.uint64(_BLOBS)).astype(np.int64).reshape(batch, count, 1)
    strength = (_raw(seed, 3, batch * count) >> np.uint64(60)).astype(np.int64).reshape(batch, count, 1) % 4
    noise = _bell(seed, 0, (batch, count, width)) // (1 << strength)
    return np.take_along_axis(centres, np.repeat(which, width, -1), 1) * 3 + noise * 2


def _exact_clustered(seed, batch, count, width):
    v = (_blobs(seed, batch, count, width).reshape(batch * count, width) * (_scale(width) * 10 // 33)) >> 20
    return _fix_norm(v)


def _pm1(seed, batch, count, width):
    bit = (_raw(seed, 0, batch * count * width) >> np.uint64(40)) & np.uint64(1)
    return bit.astype(np.int64) * 2 - 1


_MAKERS = {
    "exact": _exact,
    "exact_dup": _exact_dup,
    "exact_clustered": _exact_clustered,
    "pm1": _pm1,
    "iid": lambda seed, *shape: _bell(seed, 0, shape).astype(np.float32) / np.float32(2**15),
    "clustered": lambda seed, *shape: _blobs(seed, *shape).astype(np.float32) / np.float32(2**16),
}


def _fix_norm(v):
    """Move the integer rows of [M, C] a little, so that each has length NORM.

    The last four entries are made small, the others move towards zero or away from it by whole ones until the sum of
    squares is just below its target, and the last four make up the rest: every number is a sum of four squares.
    """
    size = np.abs(v)
    size[:, -4:] %= 61
    sign = np.where(size == 0, 1 - 2 * (np.arange(v.shape[1]) % 2), np.sign(v))
    head = size[:, :-4]
    _lower(head, size)
    _raise(head, size)
    missing = NORM**2 - (size**2).sum(1)
    for row in np.flatnonzero(missing):
        size[row, -4:] = _four_squares(int(missing[row] + (size[row, -4:] ** 2).sum()))
    assert ((size**2).sum(1) == NORM**2).all()
    return size * sign


def _lower(head, size):
    """Take one from entries, first ones first, until no row is too long."""
    while ((excess := (size**2).sum(1) - NORM**2) > 0).any():
        gain = np.where(head > 0, 2 * head - 1, 0)
        head -= (np.cumsum(gain, 1) - gain < excess[:, None]) & (head > 0) & (excess[:, None] > 0)


def _raise(head, size):
    """Add one to entries, first ones first, as long as the row does not become too long."""
    while (more := np.cumsum(2 * head + 1, 1) <= (NORM**2 - (size**2).sum(1))[:, None]).any():
        head += more


@cache
def _two_squares(limit=1 << 17):
    """Sums of two squares up to ``limit`` -> (c, d), the pair that is closest."""
    best = {}
    for c in range(math.isqrt(limit) + 1):
        for d in range(min(c, math.isqrt(limit - c * c)) + 1):
            if c * c + d * d not in best or c - d < best[c * c + d * d][0] - best[c * c + d * d][1]:
                best[c * c + d * d] = (c, d)
    return best


def _four_squares(total):
    """(a, b, c, d) whose squares sum to ``total``; a and b near half its root."""
    two, half = _two_squares(), math.isqrt(total // 4)
    for a, b in itertools.product(_around(half, 2 * half + 64), _around(half, 24)):
        rest = total - a * a - b * b
        if min(a, b, rest) >= 0 and rest in two:
            return a, b, *two[rest]
    raise AssertionError(total)


def _around(centre, steps):
    """The numbers at distance 0, 1, 2, ... from ``centre``."""
    return [n for step in range(steps) for n in dict.fromkeys((centre - step, centre + step))]
