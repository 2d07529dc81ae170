"""Questions about a scene, their answers, and the words of both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenprune.scenes.dice import Dice
from tokenprune.scenes.grounds import BACKGROUNDS
from tokenprune.scenes.scene import COLORS, REGIONS, Scene, Thing
from tokenprune.scenes.shapes import SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("color", "shape", "where", "at", "count", "exist", "read", "background")


@dataclass(frozen=True)
class Question:
    """A question as a person would put it, and the only right answer, in lower case."""

    kind: str
    text: str
    answer: str


def ask(scene: Scene, kind: str, dice: Dice) -> Question | None:
    """A question of one kind, or None where the scene has nothing to ask about."""
    found = _ASK[kind](scene, dice)
    return Question(kind, *found) if found else None


def ask_all(scene: Scene, seed: int = 0) -> tuple[Question, ...]:
    """One question of each kind that applies, in the order of ``KINDS``; other seeds ask about other things."""
    dice = Dice(seed, scene.seed, scene.index)
    return tuple(question for kind in KINDS if (question := ask(scene, kind, dice)))


def _pick(scene: Scene, dice: Dice, *names: str) -> Thing | None:
    """A thing that no other one equals in the named fields."""
    seen = Counter(tuple(getattr(thing, name) for name in names) for thing in scene.things)
    single = [thing for thing in scene.things if seen[tuple(getattr(thing, name) for name in names)] == 1]
    return dice.one_of(single) if single else None


def _color(scene: Scene, dice: Dice) -> tuple[str, str] | None:
    thing = _pick(scene, dice, "shape")
    return (f"What color is the {thing.shape}?", thing.color) if thing else None


def _shape(scene: Scene, dice: Dice) -> tuple[str, str] | None:
    thing = _pick(scene, dice, "color")
    return (f"What shape is the {thing.color} object?", thing.shape) if thing else None


def _where(scene: Scene, dice: Dice) -> tuple[str, str] | None:
    if scene.sign and dice.chance(0.15):
        return "Where is the sign?", scene.sign.region
    thing = _pick(scene, dice, "color", "shape")
    return (f"Where is the {thing.color} {thing.shape}?", thing.region) if thing else None


def _at(scene: Scene, dice: Dice) -> tuple[str, str] | None:
    if dice.chance(0.1) or not scene.things:
        used = {item.region for item in scene.items}
        free = [region for region in REGIONS if region not in used]
        return (f"What is in the {dice.one_of(free)}?", "nothing") if free else None
    thing = dice.one_of(scene.things)
    return f"What is in the {thing.region}?", f"{thing.color} {thing.shape}"


def _count(scene: Scene, dice: Dice) -> tuple[str, str]:
    """By shape, by colour or all; four times in five a word that fits at least one thing."""
    name, words = dice.one_of((("shape", SHAPES), ("color", tuple(COLORS)), ("", ())))
    if not name:
        return "How many objects?", str(len(scene.things))
    present = [getattr(thing, name) for thing in scene.things]
    word = dice.one_of(present) if present and dice.chance(0.8) else dice.one_of(words)
    return f"How many {word} objects?", str(present.count(word))


def _exist(scene: Scene, dice: Dice) -> tuple[str, str]:
    """Half yes, half no; most of the absent things are made of a colour and a shape that are there."""
    present = tuple(dict.fromkeys((thing.color, thing.shape) for thing in scene.things))
    if present and dice.chance(0.5):
        color, shape = dice.one_of(present)
        return f"Is there {_article(color)} {shape}?", "yes"
    shapes = SHAPES if dice.chance(0.3) else tuple(thing.shape for thing in scene.things)
    close = [(thing.color, shape) for thing in scene.things for shape in shapes] if dice.chance(0.6) else []
    anything = [(color, shape) for color in COLORS for shape in SHAPES]
    absent = [pair for pair in close if pair not in present] or [pair for pair in anything if pair not in present]
    color, shape = dice.one_of(absent)
    return f"Is there {_article(color)} {shape}?", "no"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _read(scene: Scene, dice: Dice) -> tuple[str, str] | None:
    return ("What number is on the sign?", " ".join(scene.sign.number)) if scene.sign else None


def _background(scene: Scene, dice: Dice) -> tuple[str, str]:
    return "What is the background?", scene.background


_ASK: dict[str, Callable[[Scene, Dice], tuple[str, str] | None]] = {
    "color": _color,
    "shape": _shape,
    "where": _where,
    "at": _at,
    "count": _count,
    "exist": _exist,
    "read": _read,
    "background": _background,
}
_FRAME = "what color is the shape object where sign in nothing how many objects there a an yes no number on background"
VOCABULARY = frozenset(
    [*SHAPES, *COLORS, *BACKGROUNDS, *" ".join(REGIONS).split(), *_FRAME.split(), *(str(digit) for digit in range(10))]
)


def unknown_words(text: str) -> list[str]:
    """The words of a text that the embedded model has never seen, in lower case, each once, in their order."""
    words = text.lower().replace("?", " ").split()
    return [word for word in dict.fromkeys(words) if word not in VOCABULARY]
