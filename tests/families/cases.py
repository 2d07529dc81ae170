"""Every model that is proven, by name."""

import pytest
from families import crops, crossed, latents, native, ragged, sized, slices, squares, stand_ins, tiles, videos, views
from releases import there

_MODULES = {
    "tiles": (tiles, squares, stand_ins),
    "packed": (crops,),
    "native": (native, ragged, slices, sized),
    "views": (views,),
    "latents": (latents,),
    "crossed": (crossed,),
}
EVERY = {name: case for modules in _MODULES.values() for module in modules for name, case in module.CASES.items()}
CASES = {name: case for name, case in EVERY.items() if there(case.since)}
VIDEOS = videos.CASES  # by the same names
AS_IMAGES = ("internvl", "smolvlm")  # their processors hand the frames of a video on as images


def named(*names):
    """Parameters of a test: names of cases, each collected from its release on."""
    return [pytest.param(name, marks=pytest.mark.since(EVERY[name].since)) for name in names]


def layout(name):
    """How the images of a case are laid out."""
    return next(kind for kind, modules in _MODULES.items() if any(name in module.CASES for module in modules))
