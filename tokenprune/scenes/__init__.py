"""Scenes: a tiny trained LLaVA that ships with the package, and the pictures and questions it was trained on.

    from tokenprune import scenes

    model, processor = scenes.load()
    scene = scenes.draw(0)
    for question in scene.questions():
        print(question.text, question.answer)

A toy for tests, examples and comparing methods at a desk, never evidence about real models: see the model card,
``checkpoint/README.md``. Importing this package imports numpy and Pillow, neither torch nor transformers.
"""

from pathlib import Path
from typing import Any

from tokenprune.scenes.draw import SETS, draw
from tokenprune.scenes.questions import KINDS, VOCABULARY, Question, unknown_words
from tokenprune.scenes.scene import Scene, Sign, Thing

__all__ = [
    "KINDS",
    "SETS",
    "VOCABULARY",
    "Question",
    "Scene",
    "Sign",
    "Thing",
    "draw",
    "folder",
    "load",
    "unknown_words",
]


def folder() -> Path:
    """Where the checkpoint lies: an ordinary folder for ``from_pretrained``."""
    return Path(__file__).parent / "checkpoint"


def load(checkpoint: Path | None = None) -> tuple[Any, Any]:
    """The embedded model in float32 on the CPU, ready to generate, and its processor; nothing is downloaded.

    ``checkpoint`` is another folder of the same layout, such as one that ``examples/train_scenes`` wrote. The weights
    are stored in float16; a CPU is faster in float32.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    checkpoint = checkpoint or folder()
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, local_files_only=True, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(checkpoint, local_files_only=True)
