"""Writes the pictures of the pages: `python tests/pages/document.py`. A test sees that they are current."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from house import ROOT
from pages.drawing import data_path

import tokenprune
from tokenprune import scenes
from tokenprune.picture import overlay, sheet
from tokenprune.scenes.evaluate import answer

PICTURES = ROOT / "docs/pictures"
BUDGETS = ("25%", "11.1%", "5.6%")


def ways(*pipelines, whole=False):
    """The first scene as the embedded model sees it: what each pipeline keeps of it, and what was answered then.

    Args:
        pipelines: a line of the sheet for each, a column for each budget.
        whole: a first column with all tokens.
    """
    model, processor = scenes.load()
    scene = scenes.draw(0)
    question = scene.questions(scene.seed)[0]
    big, asked, panels = scene.image.resize((384, 384)), [(scene, question)], []
    (unpruned,) = answer(model, processor, asked)
    for pipeline in pipelines:
        if whole:
            panels.append(overlay(big, np.ones((16, 16)), title=f'{question.text} "{unpruned}"'))
        for budget in BUDGETS:
            with tokenprune.attach(model, pipeline, budget=budget) as pruned:
                (said,) = answer(model, processor, asked)
            (one,) = pruned.receipt.images
            masks = np.zeros((2, one.before), dtype=bool)
            masks[0, one.kept], masks[1, one.important] = True, True
            kept, important = masks.reshape(2, *one.grid)
            told = important if len(one.diverse) else None
            panels.append(overlay(big, kept, important=told, title=f'{pipeline}: "{said}"'))
    return sheet(panels, whole + len(BUDGETS))


def drawn():
    """Every picture of a model's choice, by its file."""
    return {"kept.png": ways("vispruner", whole=True), "methods.png": ways("vispruner", "divprune", "random")}


def main():
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "data-path.svg").write_text(data_path())
    for name, picture in drawn().items():
        picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)  # a sixth smaller


if __name__ == "__main__":
    main()
