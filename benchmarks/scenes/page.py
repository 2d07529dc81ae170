"""Write the tables and the plot of docs/scenes-table.md from benchmarks/results/scenes.csv.

python benchmarks/scenes/page.py

Replaces what stands between ``<!-- NAME -->`` and ``<!-- end -->`` in the page, and draws docs/scenes-table.svg.
"""

import csv
import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks/results/scenes.csv"
PAGE, PLOT = ROOT / "docs/scenes-table.md", ROOT / "docs/scenes-table.svg"
SETS, POLICIES, BUDGETS = ("sparse", "crowded"), ("renumber", "keep"), ("50%", "25%", "11.1%", "5.6%", "2.8%")
CONTROLS = ("none", "random", "uniform", "pool", "downsample", "region")
SHOWN = (
    *("vispruner", "divprune", "fastervlm", "hybrid_windows", "cdpruner", "sparsevlm", "divprune_text"),
    *("random", "uniform", "pool", "downsample", "none"),
)
KINDS = ("color", "shape", "where", "at", "count", "exist", "read", "background")


def read():
    with RECORD.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fingerprint():
    return hashlib.sha256(RECORD.read_bytes()).hexdigest()[:12]


def pick(lines, **wanted):
    return [one for one in lines if all(one[name] == value for name, value in wanted.items())]


def ordered(lines):
    """Pipelines by their mean over the budgets they reach all of, best first; those with gaps after them."""
    names = dict.fromkeys(one["pipeline"] for one in lines if one["budget"] in BUDGETS)

    def key(name):
        found = [float(one["score"]) for one in lines if one["pipeline"] == name and one["score"]]
        return len(found) < len(BUDGETS), -sum(found) / max(1, len(found))

    return sorted(names, key=key)


def table(heads, rows):
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def named(name):
    return f"*{name}*" if name in CONTROLS else f"**{name}**" if name == "vispruner" else name


def accuracy(lines, kind, policy):
    """A line for each pipeline, a column for each budget; reasons of empty cells below."""
    here, notes = pick(lines, set=kind, positions=policy), {}

    def cell(name, budget):
        (one,) = pick(here, pipeline=name, budget=budget) or [{"reason": "", "score": ""}]
        if one["score"]:
            other = abs(float(one["share"]) - float(budget[:-1])) > 0.5
            kept = f" (kept {float(one['share']):.0f} %)" if other else ""
            return f"{float(one['score']):.1f} ±{(float(one['high']) - float(one['low'])) / 2:.1f}{kept}"
        reason = re.sub(r"a budget of \S+ is", "a budget is", one["reason"])
        return f"[{notes.setdefault(reason, len(notes) + 1)}]" if reason else ""

    (full,), alone = pick(lines, set=kind, pipeline="all tokens"), [one for one in here if one["budget"] not in BUDGETS]

    def label(name):
        asked = {one["questions"] for one in pick(here, pipeline=name, reason="")} - {full["questions"]}
        return named(name) + "".join(f" (n = {count})" for count in asked)

    rows = [[label(name), *(cell(name, budget) for budget in BUDGETS)] for name in ordered(here)]
    ends = [["*all tokens*", f"{float(full['score']):.1f}", *[""] * 4]]
    ends += [
        [f"{named(one['pipeline'])} ({float(one['share']):.0f} %)", f"{float(one['score']):.1f}", *[""] * 4]
        for one in alone
    ]
    told = "".join(f"\n\n[{number}] {reason}" for reason, number in notes.items())
    return table(["pipeline", *BUDGETS], [*ends, *rows]) + told


def against(lines, kind, policy):
    """Points above VisPruner; bold where the interval leaves out 0."""

    def cell(one):
        if not one or not one[0]["against"]:
            return ""
        value, low, high = (float(one[0][name]) for name in ("against", "against_low", "against_high"))
        text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
        return f"**{text}**" if low > 0 or high < 0 else text

    here = pick(lines, set=kind, positions=policy)
    names = [name for name in ordered(here) if name != "vispruner" and any(pick(here, pipeline=name, reason=""))]
    rows = [[named(name), *(cell(pick(here, pipeline=name, budget=budget)) for budget in BUDGETS)] for name in names]
    return table(["pipeline", *BUDGETS], rows)


def kinds(lines, kind, budget):
    """A column for each kind of question."""
    (full,) = pick(lines, set=kind, pipeline="all tokens")
    here = pick(lines, set=kind, positions="renumber", budget=budget, reason="")
    chosen = [one for name in SHOWN for one in here if one["pipeline"] == name]
    rows = [
        [named(one["pipeline"]), *(f"{float(one[f'kind_{name}']):.0f}" for name in KINDS)] for one in (full, *chosen)
    ]
    return table([f"{kind}, {budget}", *KINDS], rows)


def positions(lines):
    """How much keeping original position ids adds, averaged over pipelines."""
    rows = []
    for kind in SETS:
        cells = []
        for budget in BUDGETS:
            pairs = [
                (one, pick(lines, set=kind, pipeline=one["pipeline"], budget=budget, positions="renumber"))
                for one in pick(lines, set=kind, budget=budget, positions="keep", reason="")
            ]
            gains = [float(one["score"]) - float(other["score"]) for one, (other,) in pairs if other["score"]]
            better = sum(gain > 0 for gain in gains)
            cells.append(f"{sum(gains) / len(gains):+.1f} ({better} of {len(gains)})")
        rows.append([kind, *cells])
    return table(["keep minus renumber", *BUDGETS], rows)


def made():
    record = json.loads((RECORD.with_suffix(".json")).read_text(encoding="utf-8"))
    text = "\n".join(record["command"])
    rows = " and ".join(f"{one['rows']} questions ({one['task'].removeprefix('scenes-')})" for one in record["tasks"])
    where = "; ".join(map(place, record["environments"]))
    return f"```\n{text}\n```\n\n{rows}, seed 2; {where}."


def place(told):
    threads = f"{told['threads']} thread{'s' * (told['threads'] != 1)}"
    return f"{told['processor']}, {threads}, torch {told['torch']}, transformers {told['transformers']}"


def blocks(lines):
    """What stands between the marks, by their names."""
    found = {"made": made(), "positions": positions(lines)}
    for kind in SETS:
        for policy in POLICIES:
            found[f"accuracy {kind} {policy}"] = accuracy(lines, kind, policy)
        found[f"against {kind}"] = against(lines, kind, "renumber")
        found[f"kinds {kind}"] = kinds(lines, kind, "11.1%")
    return found


def rendered(text, found):
    """The page with its blocks as they should be; a mark that names no block is an error."""
    return re.sub(
        r"<!-- (?!end)([a-z ]+) -->\n.*?<!-- end -->",
        lambda hit: f"<!-- {hit[1]} -->\n\n{found[hit[1]]}\n\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def draw(lines):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "tokenprune", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(10.4, 4.6), layout="constrained")
        for axis, kind in zip(figure.subplots(1, 2, sharey=True), SETS, strict=True):
            here = pick(lines, set=kind, positions="renumber", reason="")
            for name in SHOWN:
                curve(axis, [one for one in here if one["pipeline"] == name], name)
            (full,) = pick(lines, set=kind, pipeline="all tokens")
            axis.axhline(float(full["score"]), color="0.2", linewidth=1, label="all tokens")
            axis.set(title=f"{kind} scenes", xscale="log", xlabel="visual tokens kept, %", ylim=(0, 100))
            axis.set_xticks([float(one[:-1]) for one in BUDGETS], [one[:-1] for one in BUDGETS])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        figure.axes[0].set_ylabel("right answers, %")
        figure.axes[1].legend(loc="lower right", fontsize=8)
        figure.savefig(PLOT, metadata={"Date": None, "Description": fingerprint()})


def curve(axis, found, name):
    found = sorted(found, key=lambda one: float(one["share"]))
    shares, values = ([float(one[part]) for one in found] for part in ("share", "score"))
    if not found:
        return
    if len(found) == 1:
        axis.axhline(values[0], color="0.6", linestyle=":", label=f"{name} (0 %)")
        return
    style = {"linestyle": "--"} if name in CONTROLS else {}
    (drawn,) = axis.plot(shares, values, marker="o", markersize=3, linewidth=1.4, label=name, **style)
    low, high = ([float(one[part]) for one in found] for part in ("low", "high"))
    axis.fill_between(shares, low, high, color=drawn.get_color(), alpha=0.12, linewidth=0)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), blocks(read())), encoding="utf-8")
    draw(read())
