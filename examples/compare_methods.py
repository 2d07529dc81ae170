"""Several methods under the same budgets, on the same questions, with the controls that every table needs.

python examples/compare_methods.py 20

The embedded model is asked, which knows drawn scenes and nothing else: its table shows how a comparison is made, and
says nothing of photographs.
"""

# %% How many scenes; each is asked about everything it can answer
import sys

import tokenprune
from tokenprune import scenes
from tokenprune.scenes.evaluate import Tally, answer

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 20
METHODS = ("vispruner", "fastervlm", "divprune", "random", "uniform")
BUDGETS = ("25%", "11.1%", "5.6%")

model, processor = scenes.load()
asked = [(scene, question) for scene in map(scenes.draw, range(COUNT)) for question in scene.questions()]
right = [question.answer for _, question in asked]


# %% One pass over all questions: as many as fit are asked in one batch
def said(batch: int = 32) -> list[str]:
    batches = [asked[start : start + batch] for start in range(0, len(asked), batch)]
    return [text for some in batches for text in answer(model, processor, some)]


def line(name: str, kept: str, answers: list[str], full: list[str]) -> str:
    hits = Tally(sum(map(str.__eq__, answers, right)), len(right))
    same = sum(map(str.__eq__, answers, full))
    low, high = (100 * bound for bound in hits.interval())
    agreed = 100 * same / len(full)
    return f"{name:<10} {kept:>6} {100 * hits.accuracy:>6.1f} ({low:.0f} to {high:.0f}) {agreed:>14.1f}"


# %% The unpruned model first: it is the bound, and the answers that the others are compared with
full = said()
print(f"{len(asked)} questions about {COUNT} scenes")
print(f"{'method':<10} {'kept':>6} {'right, % (95 %)':>17} {'as unpruned, %':>15}")
print(line("all tokens", "100%", full, full))

# %% Then every method; one attached model answers all of its questions
for budget in BUDGETS:
    for method in METHODS:
        with tokenprune.attach(model, method, budget=budget):
            print(line(method, budget, said(), full))
