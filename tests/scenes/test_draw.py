"""Scenes: the same everywhere, laid out as the model card says, readable."""

import hashlib
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from tokenprune import scenes
from tokenprune.scenes.dice import Dice
from tokenprune.scenes.draw import LAYOUTS
from tokenprune.scenes.glyphs import DIGITS, digit_distance
from tokenprune.scenes.grounds import BACKGROUNDS, paint_ground
from tokenprune.scenes.scene import COLORS, REGIONS
from tokenprune.scenes.shapes import SHAPES, shape_distance
from tokenprune.scenes.strokes import coverage

PINNED = {
    ("sparse", 0): "04cfe5d7f0fe79ff",
    ("sparse", 1): "17389d1a7a4d8bc4",
    ("sparse", 2): "5703f61d13f4cd32",
    ("crowded", 0): "addd99c90663d6fe",
    ("crowded", 1): "a9d55c813025ed6c",
    ("crowded", 2): "6757ddd773a29912",
}


def digest(scene: scenes.Scene) -> str:
    return hashlib.sha256(scene.image.tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module", params=scenes.SETS)
def many(request: pytest.FixtureRequest) -> list[scenes.Scene]:
    return [scenes.draw(index, request.param) for index in range(300)]


@pytest.mark.parametrize(("kind", "index"), PINNED)
def test_pixels_are_pinned(kind: str, index: int) -> None:
    assert digest(scenes.draw(index, kind)) == PINNED[kind, index]


def test_another_process_draws_and_asks_the_same() -> None:
    code = "from tokenprune import scenes; s = scenes.draw(7, 'crowded', 5); import hashlib; "
    code += "print(hashlib.sha256(s.image.tobytes()).hexdigest()[:16], s.questions(3), s.things, s.sign)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    scene = scenes.draw(7, "crowded", 5)
    assert run.stdout.strip() == f"{digest(scene)} {scene.questions(3)} {scene.things} {scene.sign}"


def test_index_seed_and_set_all_matter() -> None:
    drawn = {digest(scenes.draw(i, kind, seed)) for i in range(4) for kind in scenes.SETS for seed in (1, 2)}
    assert len(drawn) == 16


@pytest.mark.parametrize(("arguments", "says"), [((0, "dense"), "sparse, crowded"), ((-1,), "from 0, not -1")])
def test_impossible_scenes_are_refused(arguments: tuple[int, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scenes.draw(*arguments)


def test_an_image_is_small_rgb(many: list[scenes.Scene]) -> None:
    assert {(scene.image.mode, scene.image.size) for scene in many} == {("RGB", (128, 128))}


def test_counts_and_sizes_follow_the_layout(many: list[scenes.Scene]) -> None:
    layout = LAYOUTS[many[0].kind]
    counts = np.array([len(scene.things) for scene in many])
    radii = np.array([thing.radius for scene in many for thing in scene.things])
    assert counts.max() == layout.things[1]
    assert counts.mean() == pytest.approx(sum(layout.things) / 2, abs=0.3)
    assert layout.radius[0] <= radii.min() < radii.max() <= layout.radius[1]
    assert np.mean([scene.sign is not None for scene in many]) == pytest.approx(layout.sign, abs=0.08)


def test_area_is_what_the_model_card_says(many: list[scenes.Scene]) -> None:
    expected = {"sparse": (0.07, 0.10), "crowded": (0.22, 0.28)}
    low, high = expected[many[0].kind]
    assert low < np.mean([scene.area for scene in many]) < high


def test_every_kind_of_thing_comes_up(many: list[scenes.Scene]) -> None:
    assert {thing.shape for scene in many for thing in scene.things} == set(SHAPES)
    assert {thing.color for scene in many for thing in scene.things} == set(COLORS)
    assert {scene.background for scene in many} == set(BACKGROUNDS)
    assert {thing.region for scene in many for thing in scene.items} == set(REGIONS)
    assert {digit for scene in many if scene.sign for digit in scene.sign.number} == set(DIGITS)


def test_things_keep_apart_and_inside(many: list[scenes.Scene]) -> None:
    for scene in many:
        for a, b in combinations(scene.things, 2):
            assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius
        assert all(t.radius <= t.x <= 128 - t.radius and t.radius <= t.y <= 128 - t.radius for t in scene.things)


def test_regions_are_where_the_centers_are(many: list[scenes.Scene]) -> None:
    for scene in many:
        assert [item.region for item in scene.items] == [
            REGIONS[int(item.y * 3 / 128) * 3 + int(item.x * 3 / 128)] for item in scene.items
        ]
        assert len({item.region for item in scene.items}) == len(scene.items)


def test_a_thing_has_its_color_and_the_map_finds_it(many: list[scenes.Scene]) -> None:
    solid = {"circle", "square", "star", "cross", "diamond", "heart", "triangle"}
    for scene in many[:40]:
        image, shown = np.asarray(scene.image, dtype=int), scene.map()
        for k, thing in enumerate(scene.things):
            at_center = image[int(thing.y), int(thing.x)]
            if thing.shape in solid:
                assert np.abs(at_center - COLORS[thing.color]).max() <= 19
            assert shown[int(thing.y / 8), int(thing.x / 8)] == k
        assert scene.area == (shown >= 0).mean()


def test_the_sign_is_paper_with_ink_and_mapped_last() -> None:
    scene = next(scene for i in range(9) if (scene := scenes.draw(i, "crowded")).sign)
    sign = scene.sign
    image = np.asarray(scene.image, dtype=int)[int(sign.y) - 12 : int(sign.y) + 12, int(sign.x) - 17 : int(sign.x) + 17]
    assert image.max() >= 225
    assert image.min() <= 60
    assert scene.map()[int(sign.y / 8), int(sign.x / 8)] == len(scene.things)


def rendered(distance: object, points: np.ndarray) -> np.ndarray:
    return coverage(distance(points)).ravel()  # type: ignore[operator]


def test_digits_and_shapes_are_told_apart_by_many_pixels() -> None:
    y, x = np.mgrid[-12:13, -12:13].astype(float)
    points = np.stack([x, y], axis=-1)
    digits = [rendered(lambda p, d=d: digit_distance(d, p, 9, 15) - 1.2, points) for d in DIGITS]
    shapes = [rendered(lambda p, s=s: shape_distance(s, p / 10) * 10, points) for s in SHAPES]
    for forms, least in ((digits, 25), (shapes, 40)):
        assert min(np.abs(a - b).sum() for a, b in combinations(forms, 2)) > least
        assert all(60 < form.sum() < 270 for form in forms)


def test_a_nine_is_a_six_turned_around() -> None:
    y, x = np.mgrid[-10:11, -10:11].astype(float)
    points = np.stack([x, y], axis=-1)
    np.testing.assert_allclose(digit_distance("9", points, 9, 15), digit_distance("6", -points, 9, 15), atol=1e-9)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_backgrounds_are_muted(background: str) -> None:
    ground = paint_ground(Dice(1), background)
    assert ground.shape == (128, 128, 3)
    assert ground.mean(axis=(0, 1)).std() < 20  # no strong hue
    assert (ground.std(axis=(0, 1)).max() > 7) == (background != "plain")


def test_dice_are_fair_and_repeatable() -> None:
    rolls = [Dice(1, 2).whole(3, 5), Dice(1, 2).whole(3, 5)]
    assert rolls[0] == rolls[1]
    dice = Dice(3)
    counts = np.bincount([dice.whole(0, 3) for _ in range(4000)])
    assert counts.shape == (4,)
    assert np.abs(counts - 1000).max() < 120
    weighted = [dice.weighted("ab", [3, 1]) for _ in range(4000)]
    assert weighted.count("a") / 4000 == pytest.approx(0.75, abs=0.03)
    assert sorted(dice.shuffled(range(9))) == list(range(9))
