import pytest
from measure.rows import judged

from tokenprune.measure.judging import JUDGES, YES_NO


@pytest.mark.parametrize(
    ("judge", "said", "answers", "score", "read"),
    [
        ("exact", "Top left.", ["top left"], 1, "top left"),
        ("exact", "left", ["top left"], 0, "left"),
        ("exact", "cat", ["dog", "Cat"], 1, "cat"),
        ("exact", " ", ["dog"], 0, None),
        ("vqa", "a dog", ["dog"] * 10, 1, "dog"),
        ("vqa", "dog", ["dog"] * 3 + ["cat"] * 7, 0.9, "dog"),
        ("vqa", "dog", ["dog"] * 1 + ["cat"] * 9, 0.3, "dog"),
        ("vqa", "dog", ["dog"] * 2 + ["cat"] * 8, 0.6, "dog"),
        ("vqa", "bird", ["dog"] * 10, 0, "bird"),
        ("vqa", "two", ["2"], 1, "2"),
        ("anls", "hello", ["hello"], 1, "hello"),
        ("anls", "helo", ["hello", "nothing"], 0.8, "helo"),
        ("anls", "h", ["hello"], 0, "h"),
        ("anls", "ab", ["abcd"], 0.5, "ab"),
        ("relaxed", "104", ["100"], 1, "104"),
        ("relaxed", "105", ["100"], 1, "105"),
        ("relaxed", "106", ["100"], 0, "106"),
        ("relaxed", "25%", ["0.25"], 1, "25%"),
        ("relaxed", "0.01", ["0"], 0, "0.01"),
        ("relaxed", "Blue", ["blue"], 1, "blue"),
        ("none", "anything", [], 0, "anything"),
    ],
)
def test_answers_are_scored(judge, said, answers, score, read):
    found = judged(judge, said, *answers)
    assert found.score == pytest.approx(score)
    assert found.read == read


YES = [  # said, word, llava, bare
    ("Yes", "yes", "yes", "yes"),
    ("Yes.", "yes", "yes", None),
    ("no", "no", "no", "no"),
    ("No, there is none", "no", "no", None),
    ("There is not", "no", "no", None),
    ("Yes, no doubt", "yes", "no", None),
    ("A cat", None, "yes", None),
    ("Maybe. No", "no", "yes", None),
    ("nothing", None, "yes", None),
]


@pytest.mark.parametrize("nth", range(3))
@pytest.mark.parametrize("case", YES)
def test_every_rule_of_yes_and_no_is_the_one_it_is_named_after(case, nth):
    said, *reads = case
    rule = list(YES_NO)[nth]
    found = judged(f"yes_no:{rule}", said, "Yes.")
    assert (found.read, found.score) == (reads[nth], float(reads[nth] == "yes"))


LETTERS = [
    ("B", "B"),
    ("(B)", "B"),
    ("B.", "B"),
    ("B. a dog", "B"),
    ("(B) a dog", "B"),
    ("B: a dog", "B"),
    ("The answer is B", "B"),
    ("the answer is: (B).", "B"),
    ("a Dog", "B"),
    ("A dog", "B"),
    ("Big dogs", None),
    ("", None),
]


@pytest.mark.parametrize(("said", "read"), LETTERS)
def test_the_letter_of_a_choice_is_found(said, read):
    found = judged("letter", said, "B", choices=("a cat", "a dog"))
    assert (found.read, found.score) == (read, float(read == "B"))


def test_every_rule_says_what_it_does():
    assert all((judge.func if hasattr(judge, "func") else judge).__doc__ for judge in JUDGES.values())
