"""What is said wrongly of a family's videos is seen by the checks."""

from dataclasses import replace
from importlib import import_module

import pytest
from families import videos

from tokenprune.family import family_of, square
from tokenprune.frames import Frames, blocks, halved
from tokenprune.layouts import Native
from tokenprune.testing import check_family
from tokenprune.video import Video


def unweighted(config):
    return replace(halved(square(config)), weights=None)


def transposed(config):
    cells = blocks(square(config), 2)
    return replace(cells, patches=cells.patches.view(*cells.grid, -1).transpose(0, 1).flatten(0, 1))


def raster(seen):
    return Native(lambda seen: seen.call["video_grid_thw"], lambda config: 2)(seen)


WRONG = {
    "windows are not undone": ("qwen2_5_vl", Video(raster), {"cue", "features"}),
    "interpolated patches count alike": (
        "llava_onevision",
        Video(Frames(unweighted, newline=True)),
        {"cue", "features"},
    ),
    "lines and columns are swapped": ("llava_next_video", Video(Frames(transposed)), {"cue"}),
    "the newline is no separator": (
        "llava_onevision",
        Video(Frames(lambda config: halved(square(config)))),
        {"cue", "features", "place"},
    ),
    "the encoder of images is tapped": (
        "video_llava",
        Video(Frames(lambda config: blocks(square(config)), cls=True)),
        {"cue", "features", "place"},
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_fails_where_it_is_wrong(what, monkeypatch):
    name, video, failing = WRONG[what]
    subject, case = import_module("tokenprune.testing.family.subject"), videos.CASES[name]
    monkeypatch.setattr(subject, "family_of", lambda model: replace(family_of(model), video=video))
    checks = ("cue", "features", "place")
    report = check_family(case.build, case.inputs, locate=case.locate, shares=case.shares, checks=checks)
    assert {check for check, one in report.verdicts.items() if one.status == "failed"} == failing, str(report)
