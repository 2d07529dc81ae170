import pytest

from tokenprune.cli.figures import share, short


@pytest.mark.parametrize(
    ("count", "text"),
    [(8.436e12, "8.44 T"), (1.273e9, "1.27 G"), (24.96e9, "25.0 G"), (766e6, "766 M"), (4e4, "0.04 M"), (0, "0.00 M")],
)
def test_counts_are_short(count, text):
    assert short(int(count)) == text


def test_shares_are_percent():
    assert share(28, 256) == "10.9 %"
