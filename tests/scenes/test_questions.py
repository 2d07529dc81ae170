"""Answers agree with what stands in the scene, worked out again from the words of the question."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import scenes
from tokenprune.scenes.scene import COLORS
from tokenprune.scenes.shapes import SHAPES


def named(scene: scenes.Scene, words: list[str]) -> list[scenes.Thing]:
    """The things that fit every colour and shape among the words."""
    colors, shapes = [w for w in words if w in COLORS], [w for w in words if w in SHAPES]
    return [t for t in scene.things if (not colors or t.color in colors) and (not shapes or t.shape in shapes)]


def expected(scene: scenes.Scene, question: scenes.Question) -> str:
    """Reads the question as a person would."""
    text = question.text.rstrip("?").lower()
    words = text.split()
    found = named(scene, words)
    if text.startswith("what is in the "):
        there = [f"{t.color} {t.shape}" for t in scene.things if t.region == text.removeprefix("what is in the ")]
        return there[0] if there else "nothing"
    if text.startswith("how many"):
        return str(len(found))
    if text.startswith("is there"):
        return "yes" if found else "no"
    if text == "where is the sign":
        return scene.sign.region if scene.sign else "nowhere"
    if "number" in words:
        return " ".join(scene.sign.number) if scene.sign else "none"
    if "background" in words:
        return scene.background
    assert len(found) == 1, "the question is ambiguous"
    return {"what color": found[0].color, "what shape": found[0].shape}.get(" ".join(words[:2]), found[0].region)


@given(index=st.integers(0, 500), kind=st.sampled_from(scenes.SETS), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=150)
def test_answers_follow_from_the_scene(index: int, kind: str, seed: int) -> None:
    scene = scenes.draw(index, kind)
    questions = scene.questions(seed)
    assert [question.answer for question in questions] == [expected(scene, question) for question in questions]


@given(index=st.integers(0, 500), kind=st.sampled_from(scenes.SETS), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=60)
def test_the_model_knows_every_word(index: int, kind: str, seed: int) -> None:
    for question in scenes.draw(index, kind).questions(seed):
        assert scenes.unknown_words(question.text) == []
        assert scenes.unknown_words(question.answer) == []
        assert re.fullmatch(r"[A-Z][a-z ]+\?", question.text)
        assert question.answer == question.answer.lower()


@pytest.mark.parametrize("kind", scenes.SETS)
def test_kinds_and_answers_are_balanced(kind: str) -> None:
    asked = [question for index in range(300) for question in scenes.draw(index, kind).questions()]
    by_kind = Counter(question.kind for question in asked)
    assert set(by_kind) == set(scenes.KINDS)
    assert all(by_kind[name] == 300 for name in ("count", "exist", "at", "background"))
    yes = sum(question.answer == "yes" for question in asked if question.kind == "exist")
    assert 120 < yes < 180
    assert 15 < sum(question.answer == "nothing" for question in asked) < 60


def test_a_seed_asks_the_same_and_another_asks_differently() -> None:
    scene = scenes.draw(0, "crowded")
    assert scene.questions(4) == scene.questions(4)
    assert len({scene.questions(seed) for seed in range(8)}) > 4


def test_unknown_words_are_named_once_in_order_and_lower_case() -> None:
    assert scenes.unknown_words("Is there a red star?") == []
    assert scenes.unknown_words("Describe the DOG on the sign, the dog?") == ["describe", "dog", "sign,"]


def test_the_vocabulary_is_plain_words() -> None:
    assert all(re.fullmatch(r"[a-z]+|[0-9]", word) for word in scenes.VOCABULARY)
    assert {"star", "purple", "bricks", "left", "nothing", "7"} <= scenes.VOCABULARY
