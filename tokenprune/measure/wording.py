"""How answers are made alike before they are compared."""

from __future__ import annotations

import re

ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = "zero one two three four five six seven eight nine ten"
_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS.split())} | {"none": "0"}
_CONTRACTED = """ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
he'd he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am might've mightn't mightn't've
must've mustn't needn't not've o'clock oughtn't shan't she'd've she's should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that'd
that'd've that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've"""
_PUNCTUATION = ';/[]"{}()=+\\_-><@`!'
_STOP = re.compile(r"\.(?!\d)")


def _misspelt() -> dict[str, str]:
    """Contractions by what they are without all, or without one, of their apostrophes."""
    found: dict[str, str] = {}
    for word in _CONTRACTED.split():
        marks = [at for at, letter in enumerate(word) if letter == "'"]
        if len(marks) > 1:
            found |= {word[:at] + word[at + 1 :]: word for at in marks}
        found[word.replace("'", "")] = word
    return found


_SPELT = _misspelt()


def plain(text: str) -> str:
    """Lower case, one space between words, none around them, and no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".").rstrip()


def vqa_plain(text: str) -> str:
    """As the evaluation server of VQA reads an answer.

    Lower case; commas and question marks go; other marks go where a space is next to them and become one elsewhere; a
    full stop stays where a digit follows; number words up to ten become digits; articles go; contractions get their
    apostrophes back. The rules are those of the evaluation server's answer processor.
    Agrawal et al., "VQA: Visual Question Answering", ICCV 2015.
    """
    given = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    given = given.replace("\n", " ").replace("\t", " ").strip()
    text = given
    for mark in _PUNCTUATION:
        apart = f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if apart else " ")
    words = [_WORDS.get(word, word) for word in _STOP.sub("", text).split()]
    return " ".join(_SPELT.get(word, word) for word in words if word not in ARTICLES)


def distance(one: str, other: str) -> int:
    """Levenshtein's: how many letters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != wanted))
    return row[-1]


def number(text: str) -> float | None:
    """The number that a text is, ``12 %`` as 0.12, thousands with or without commas; None if it is none."""
    text = text.strip().rstrip(".").replace(",", "").lstrip("$")
    share = text.endswith("%")
    try:
        value = float(text.rstrip("%").strip())
    except ValueError:
        return None
    return value / 100 if share else value
