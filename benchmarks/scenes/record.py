r"""Turn the answers of evaluations on the scenes into the record that docs/scenes-table.md is made from.

combinations=$(ls benchmarks/scenes/*.yaml | paste -sd,)
for task in sparse crowded; do
    tokenprune eval --task $task --questions 2048 --budgets 50%,25%,11.1%,5.6%,2.8% --positions keep,renumber \
        --pipelines all,$combinations --share-images --out runs/$task
done
python benchmarks/scenes/record.py runs/sparse runs/crowded

Writes benchmarks/results/scenes.csv, a line for each cell, and scenes.json, how it was made. Folders may hold different
sets, or different pipelines on one set, which then have to have asked the same questions in the same way. What is added
to the table of ``tokenprune eval`` is how each cell compares with VisPruner at the same budget and policy, question by
question.
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


def rows_of(task, count):
    """{key: row} of the first questions of a set."""
    from tokenprune.measure.task import scenes

    return {row.key: row for row in scenes(task.removeprefix("scenes-"), count).rows}


def scores(folder, task, rows):
    """{cell: {row: 0 or 1}} of one set; the answers are judged anew, by the rule ``exact`` on single words."""
    from tokenprune.measure.judging import exact

    found = {}
    lines = (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    for line in map(json.loads, lines):
        if "said" in line and line["row"] in rows:
            right = exact(line["said"], rows[line["row"]]).score
            found.setdefault(line["cell"], {}).setdefault(line["row"], right)
    return found


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


def told_in(folders):
    """{folder: its results.json}.

    Raises:
        SystemExit: there is none, or the folders asked in different ways, or different questions of one set.
    """
    if not folders:
        raise SystemExit("say which folders of tokenprune eval: record.py DIR [DIR ...]")
    told, seen = {}, {}
    for folder in folders:
        if not (folder / "results.json").is_file():
            raise SystemExit(f"there is no results.json in {folder}: tokenprune eval writes it once all is answered")
        told[folder] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        facts = {"settings": told[folder]["settings"]}
        facts |= {f"questions of {one['task']}": one["fingerprint"] for one in told[folder]["tasks"]}
        for what, fact in facts.items():
            if seen.setdefault(what, fact) != fact:
                raise SystemExit(f"{folder}: the {what} are {fact}, and those of a folder before it {seen[what]}")
    return told


def lines_of(told):
    """The lines of all sets; where several folders have a cell, the first one counts."""
    lines = {}
    tasks = {one["task"]: one["rows"] for part in told.values() for one in part["tasks"]}
    for task, count in tasks.items():
        rows, found = rows_of(task, count), {}
        for folder, part in told.items():
            if any(one["task"] == task for one in part["tasks"]):
                found = scores(folder, task, rows) | found
        for one in (one for part in told.values() for one in part["results"] if one["task"] == task):
            key = tuple(one.get(name) for name in ("task", "pipeline", "budget", "positions"))
            if key not in lines:
                lines[key] = line(one, found, rows)
    return list(lines.values())


def made_by(told):
    """How the record was made: the commands, and each set and each environment once."""
    parts = list(told.values())
    environments = [part["environment"] for part in parts]
    return {
        "command": __doc__.split("\n\n")[1].splitlines(),
        "tasks": list({one["task"]: one for part in parts for one in part["tasks"]}.values()),
        "settings": parts[0]["settings"],
        "environments": [one for number, one in enumerate(environments) if one not in environments[:number]],
    }


def main(folders, results=RESULTS):
    told = told_in(folders)
    lines = lines_of(told)
    with (results / "scenes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    (results / "scenes.json").write_text(json.dumps(made_by(told), indent=1) + "\n", encoding="utf-8")
    print(f"{len(lines)} lines")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
