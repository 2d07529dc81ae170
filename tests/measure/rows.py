"""Rows without images, for everything that only looks at answers."""

from tokenprune.measure.judging import JUDGES
from tokenprune.measure.row import Row


def row(*answers, key="0", image="i", kind="", choices=(), question="?"):
    return Row(key, question, answers, lambda: None, image, kind, choices)


def judged(judge, said, *answers, **more):
    return JUDGES[judge](said, row(*answers, **more))
