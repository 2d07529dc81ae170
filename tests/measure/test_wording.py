import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune.measure.wording import distance, number, plain, vqa_plain

VQA = [
    ("Yes.", "yes"),
    ("two", "2"),
    ("None", "0"),
    ("A dog", "dog"),
    ("the  red\nbus", "red bus"),
    ("dont know", "don't know"),
    ("couldnt've", "couldn't've"),
    ("10,000", "10000"),
    ("3.5", "3.5"),
    ("3.", "3"),
    ("black-and-white", "black and white"),
    ("black - white", "black white"),
    ("what?", "what"),
    ("man's hat", "man 's hat"),
    ("twelve", "twelve"),
]


@pytest.mark.parametrize(("said", "read"), VQA)
def test_answers_are_read_as_the_server_reads_them(said, read):
    assert vqa_plain(said) == read


def test_plain_answers_lose_case_spaces_and_a_full_stop():
    assert plain("  Top   LEFT. ") == "top left"
    assert plain("3.5") == "3.5"


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("1,200", 1200), ("$3.5", 3.5), ("25%", 0.25), ("-2.", -2), ("two", None), ("", None)],
)
def test_numbers_are_read(text, value):
    assert number(text) == value


words = st.text("abc", max_size=6)


@settings(deadline=None, max_examples=60)
@given(words, words, words)
def test_the_distance_is_one(one, other, third):
    assert distance(one, other) == distance(other, one)
    assert (distance(one, other) == 0) == (one == other)
    assert distance(one, third) <= distance(one, other) + distance(other, third)
    assert abs(len(one) - len(other)) <= distance(one, other) <= max(len(one), len(other))


def test_the_distance_counts_changes():
    assert [distance(*pair) for pair in [("kitten", "sitting"), ("", "abc"), ("flaw", "lawn")]] == [3, 3, 2]
