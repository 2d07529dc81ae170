"""Judging one answer: what is read off it by a named rule, and how right that is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tokenprune.measure.row import Row
from tokenprune.measure.wording import distance, number, plain, vqa_plain


@dataclass(frozen=True)
class Judged:
    """One answer.

    Args:
        score: how right it is, from 0 to 1.
        read: what the rule reads off it. None: nothing, the answer is unparsed and counts as wrong.
        truth: what it should have been, as far as that is one thing.
    """

    score: float
    read: str | None
    truth: str


Judge = Callable[[str, Row], Judged]
_NO, _YES = re.compile(r"\b(no|not)\b"), re.compile(r"\byes\b")


def exact(said: str, row: Row) -> Judged:
    """Right if it is one of the answers, case, spaces and a final full stop aside."""
    read = plain(said)
    truths = [plain(answer) for answer in row.answers]
    return Judged(float(read in truths), read or None, truths[0])


def consensus(said: str, row: Row) -> Judged:
    """VQA accuracy: a third for each person who gave that answer, at most 1, averaged over leaving each person out."""
    read, people = vqa_plain(said), [vqa_plain(answer) for answer in row.answers]
    if len(people) == 1:
        return Judged(float(read == people[0]), read or None, people[0])
    same = people.count(read)
    left = [min(1.0, (same - (person == read)) / 3) for person in people]
    return Judged(sum(left) / len(left), read or None, max(people, key=people.count))


def _word(said: str) -> str | None:
    """The first of the words yes, no and not that occurs."""
    text = said.lower()
    found = {"yes": _YES.search(text), "no": _NO.search(text)}
    return min((hit.start(), name) for name, hit in found.items() if hit)[1] if any(found.values()) else None


def _llava(said: str) -> str:
    """As LLaVA's script for POPE: the first sentence says no if it holds no, No or not, and else yes."""
    words = said.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def _bare(said: str) -> str | None:
    """As lmms-eval for POPE: yes or no and nothing else, so that a full stop makes an answer unreadable."""
    text = said.strip().lower()
    return text if text in ("yes", "no") else None


YES_NO: Mapping[str, Callable[[str], str | None]] = {"word": _word, "llava": _llava, "bare": _bare}


def yes_no(rule: str, said: str, row: Row) -> Judged:
    """Right if what ``rule`` reads is the answer, itself read as a bare yes or no."""
    truth, read = row.answers[0].strip().lower().rstrip("."), YES_NO[rule](said)
    return Judged(float(read == truth), read, truth)


_ALONE = re.compile(r"\s*[(\[]?([A-Z])[)\].:]?\s*")
_FIRST = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[).:])")
_SAYING = re.compile(r"answer is:?\s*\(?([A-Z])\b")


def letter(said: str, row: Row) -> Judged:
    """The letter of a choice: alone, first before ``.``, ``)`` or ``:``, after "answer is"; or a choice's own words."""
    hit = _ALONE.fullmatch(said) or _FIRST.match(said) or _SAYING.search(said)
    read = next(group for group in hit.groups() if group) if hit else None
    texts = [plain(choice) for choice in row.choices]
    if read is None and texts.count(plain(said)) == 1:
        read = chr(ord("A") + texts.index(plain(said)))
    truth = row.answers[0].strip().upper()
    return Judged(float(read == truth), read, truth)


def similarity(said: str, row: Row) -> Judged:
    """ANLS: 1 minus the edit distance to the nearest answer over the longer length; 0 if that is below a half."""
    read = plain(said)
    truths = [plain(answer) for answer in row.answers]
    near = max(1 - distance(read, truth) / max(len(read), len(truth), 1) for truth in truths)
    return Judged(near if near >= 0.5 else 0.0, read or None, truths[0])


def relaxed(said: str, row: Row) -> Judged:
    """A number may be off by 5 % of the right one; everything else has to be the same, case aside."""
    read = plain(said)
    return Judged(float(any(_near(said, answer) for answer in row.answers)), read or None, plain(row.answers[0]))


def _near(said: str, answer: str) -> bool:
    have, want = number(said), number(answer)
    if have is None or want is None:
        return plain(said) == plain(answer)
    return abs(have - want) <= 0.05 * abs(want)


def anything(said: str, row: Row) -> Judged:
    """No judgement, for data without answers: only the fidelity counts."""
    return Judged(0.0, plain(said) or None, "")


JUDGES: Mapping[str, Judge] = {
    "exact": exact,
    "vqa": consensus,
    **{f"yes_no:{rule}": partial(yes_no, rule) for rule in YES_NO},
    "letter": letter,
    "anls": similarity,
    "relaxed": relaxed,
    "none": anything,
}
