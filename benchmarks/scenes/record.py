r"""Turn the answers of an evaluation on the scenes into the record that docs/scenes-table.md is made from.

tokenprune eval --task scenes --questions 1024 --budgets 50%,25%,11.1%,5.6%,2.8% --positions keep,renumber \
    --pipelines all,benchmarks/scenes/vispruner_text.yaml,benchmarks/scenes/divprune_text.yaml \
    --share-images --out runs/scenes
python benchmarks/scenes/record.py runs/scenes

Writes benchmarks/results/scenes.csv, a line for each cell, and scenes.json, how it was made. What is added to the table
of ``tokenprune eval`` is how each cell compares with VisPruner at the same budget and policy, question by question.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

from tokenprune.measure.significance import compared

RESULTS = Path(__file__).parents[1] / "results"
RIVAL = "vispruner"
KINDS = ("color", "shape", "where", "at", "count", "exist", "read", "background")
COLUMNS = (
    *("set", "pipeline", "budget", "positions", "seeds", "questions", "share", "score", "low", "high"),
    *("relative", "lost", "gained", "p", "agreement", "kl", "top1"),
    *("against", "against_low", "against_high"),
    *(f"kind_{kind}" for kind in KINDS),
    "reason",
)


def scores(folder, task):
    """{cell: {row: 0 or 1}} of one set; the answers are judged anew, by the rule ``exact`` on single words."""
    from tokenprune.measure.judging import exact
    from tokenprune.measure.task import scenes

    found, rows = {}, None
    lines = (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    told = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    count = next(one["rows"] for one in told["tasks"] if one["task"] == task)
    rows = {row.key: row for row in scenes(task.removeprefix("scenes-"), count).rows}
    for line in map(json.loads, lines):
        if "said" in line and line["row"] in rows:
            right = exact(line["said"], rows[line["row"]]).score
            found.setdefault(line["cell"], {}).setdefault(line["row"], right)
    return found, rows


def sums(cells, rows):
    """[S, I, 2]: right answers and answers about each image, for each seed."""
    images = list(dict.fromkeys(row.image for row in rows.values()))
    place = {image: number for number, image in enumerate(images)}
    found = np.zeros((len(cells), len(images), 2))
    for seed, cell in enumerate(cells):
        for key, row in rows.items():
            found[seed, place[row.image]] += (cell[key], 1)
    return found


def mean(total):
    return 100 * total[..., 0] / total[..., 1]


def against(one, found, rows):
    """The difference from VisPruner at the same budget and policy, with its interval."""
    if one["pipeline"] in ("all tokens", RIVAL) or one.get("reason"):
        return {}
    names = [f"{one['pipeline']}|{one['budget']}|{one['positions']}|{seed}" for seed in range(one["seeds"])]
    rival = found.get(f"{RIVAL}|{one['budget']}|{one['positions']}|0")
    if rival is None:
        return {}
    mine, theirs = sums([found[name] for name in names], rows), sums([rival], rows)[0]
    difference = compared(mine, theirs, mean).difference
    return {"against": difference.value, "against_low": difference.low, "against_high": difference.high}


def line(one, found, rows):
    """One line of the record."""
    flat = {name: one.get(name) for name in COLUMNS} | {"set": one["task"].removeprefix("scenes-")}
    if not one.get("reason"):
        score = one["score"]
        flat |= {**score["value"], "score": score["value"]["value"], "relative": score["relative"]["value"]}
        flat |= one.get("mcnemar", {}) | against(one, found, rows)
        flat |= {f"kind_{kind}": value for kind, value in one["by_kind"].items()}
    else:
        flat["questions"] = None
    return {name: rounded(flat[name]) for name in COLUMNS}


def rounded(value):
    """Two decimals, or two digits of what is smaller."""
    if not isinstance(value, float):
        return "" if value is None else value
    text = f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def main(folders):
    """Where several folders have a cell, the first one counts."""
    lines = {}
    for folder in folders:
        told = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for task in (one["task"] for one in told["tasks"]):
            found, rows = scores(folder, task)
            for one in told["results"]:
                key = tuple(one.get(name) for name in ("task", "pipeline", "budget", "positions"))
                if one["task"] == task and key not in lines:
                    lines[key] = line(one, found, rows)
    with (RESULTS / "scenes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines.values())
    first = json.loads((folders[0] / "results.json").read_text(encoding="utf-8"))
    record = {
        "command": __doc__.split("\n\n")[1].splitlines(),
        **{key: first[key] for key in first if key != "results"},
    }
    (RESULTS / "scenes.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(lines)} lines")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
