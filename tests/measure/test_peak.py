import mmap

import pytest

from tokenprune.measure.peak import peak_memory

MIB = 2**20


def fill(mebibytes):
    """Memory that is the system's own again as soon as nobody holds it; an allocator might keep it."""
    pages = mmap.mmap(-1, mebibytes * MIB)
    for start in range(0, len(pages), mmap.PAGESIZE):
        pages[start] = 1
    return pages


def test_sees_what_was_freed_again_and_not_what_was_there_before():
    there = fill(200)
    with peak_memory() as peak:
        fill(60)
        fill(300)
    assert 298 * MIB < peak.size < 320 * MIB
    assert len(there)


def test_an_earlier_peak_is_forgotten():
    fill(400)
    with peak_memory() as peak:
        fill(20)
    assert 15 * MIB < peak.size < 100 * MIB


def test_is_told_when_the_block_fails():
    def fail():
        fill(60)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), peak_memory() as peak:
        fail()
    assert peak.size > 50 * MIB
