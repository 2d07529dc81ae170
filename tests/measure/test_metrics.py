import pytest
from measure.rows import row

from tokenprune.measure.metrics import METRICS, details, metric


def pairs(name, said):
    """(image, kind, said, right answer) of each row, judged."""
    rows = [(row(right, key=str(n), image=image, kind=kind), text) for n, (image, kind, text, right) in enumerate(said)]
    return [(one, metric(name).judge(text, one)) for one, text in rows]


def value(name, said):
    found = pairs(name, said)
    images, kinds = ({getattr(one, part): None for one, _ in found} for part in ("image", "kind"))
    return float(metric(name).value(metric(name).sums(found, list(images), list(kinds)).sum(0)))


POPE = [
    ("a", "", "yes", "yes"),
    ("a", "", "Yes", "no"),
    ("b", "", "no", "yes"),
    ("b", "", "no", "no"),
    ("c", "", "?", "no"),
]


def test_a_mean_is_one():
    assert value("exact", [("a", "", "x", "x"), ("a", "", "x", "y"), ("b", "", "y", "y")]) == pytest.approx(200 / 3)


def test_f1_is_of_yes():
    assert value("f1", POPE) == 50  # one hit, one false alarm, one miss
    assert value("f1", [("a", "", "no", "no")]) == 0
    assert value("yes_no", POPE) == 40


def test_details_are_those_of_the_predictions():
    found = details(pairs("yes_no", POPE))
    assert found == pytest.approx({"accuracy": 40, "precision": 50, "recall": 50, "f1": 50, "yes_ratio": 40})
    assert details(pairs("yes_no", [("a", "", "no", "no")]))["precision"] == 0
    assert details(pairs("exact", [("a", "", "x", "x")])) == {}


def test_mme_adds_accuracy_and_images_that_are_right_as_a_whole_over_categories():
    said = [
        ("a", "color", "yes", "yes"), ("a", "color", "no", "no"), ("b", "color", "yes", "yes"),
        ("b", "color", "yes", "no"), ("c", "count", "no", "yes"), ("c", "count", "no", "no"),
    ]  # fmt: skip
    assert value("mme", said) == pytest.approx(75 + 50 + 50 + 0)


def test_names_have_short_forms_and_others_are_told():
    assert metric("yes_no") is METRICS["yes_no:word"]
    assert metric("f1:llava").judges == "yes_no:llava"
    assert "first sentence" in metric("mme:llava").rule
    with pytest.raises(LookupError, match="no metric 'f2'; there are exact, vqa"):
        metric("f2")
