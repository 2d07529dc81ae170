"""Mutation testing of what selects, by mutmut: `make mutants`, or `python tests/mutation.py core "tokenprune.ranks.*"`.

mutmut looks for packages at the root and leaves decorated functions alone. So each part below is laid out in a folder
of its own, in build/mutation, with the packages side by side and properties written as plain functions. A run goes on
where the last one stopped; a file that changed is mutated anew.
"""

import ast
import difflib
import json
import platform
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import yaml
from house import PACKAGES, ROOT

PLACE = ROOT / "build/mutation"
RECORD, PAGE = ROOT / "benchmarks/results/mutants.json", ROOT / "docs/mutation-testing.md"
WHY = Path(__file__).with_name("survivors.yaml")
FATES = {0: "survived", 1: "killed", 3: "killed", 5: "untested", 33: "untested", None: "not tried"}
FATES |= dict.fromkeys((24, -24, 36, 152, 255), "timed out")
CORE, STRATEGIES = "tokenprune", "tokenprune_strategies"
UNUSED = ("cacheprovider", "unraisableexception", "threadexception")  # the last two take longer than most tests do
ON_DEVICE = (
    "strategies/test_on_device.py::test_a_device_that_knows_no_values_will_do "
    "strategies/test_on_device.py::test_ragged_tokens_are_counted_once_and_never_looked_at_again "
    "strategies/test_on_device.py::test_even_batches_send_nothing_to_the_device"
)
PARTS = {  # name: (package, its mutated modules, the tests that judge them)
    "core": (
        CORE,
        "budget tokens selection ranks pool",
        "core/test_budget core/test_tokens core/test_selection core/test_pool "
        "strategies/test_on_device.py::test_even_batches_send_nothing_to_the_device",
    ),
    "default": (  # what VisPruner, the default pipeline, is made of
        STRATEGIES,
        "cls_attention equal dividing similarity_dedup thinning",
        f"strategies/test_scorers strategies/test_splitters strategies/test_similarity_dedup {ON_DEVICE}",
    ),
    "splitters": (
        STRATEGIES,
        "global_pool proportional adaptive wishes",
        "strategies/test_splitters",
    ),
    "thumbnails": (
        STRATEGIES,
        "thumbnail_guided overview overview_sums",
        "strategies/test_splitters strategies/test_scores_of_methods golden/test_globalcom2",
    ),
    "places": (  # diversifiers that look at where tokens are, and those made of others
        STRATEGIES,
        "neighbours adjacent windowed windows union by_score second_score",
        f"strategies/test_neighbours strategies/test_windowed strategies/test_union strategies/test_by_score "
        f"{ON_DEVICE}",
    ),
    "far": (  # diversifiers that look for tokens that lie far apart
        STRATEGIES,
        "similarity max_min pivots rounds density density_peaks",
        "strategies/test_max_min strategies/test_pivots strategies/test_density_peaks "
        f"strategies/test_similarity_dedup {ON_DEVICE}",
    ),
    "greedy": (
        STRATEGIES,
        "greedy bounds suppress suppression facility_location coverage reach space dpp volume effective_rank",
        "strategies/test_greedy strategies/test_suppression strategies/test_facility_location strategies/test_dpp "
        "strategies/test_mergers "
        f"{ON_DEVICE}",
    ),
}


def plain_properties(source):
    """``x = property(x)`` after the function, instead of the decorator before it: mutmut then sees a function."""
    lines = source.splitlines()
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(found, key=lambda node: -node.lineno):
        if [ast.unparse(decorator) for decorator in node.decorator_list] == ["property"]:
            lines.insert(node.end_lineno, f"{' ' * node.col_offset}{node.name} = property({node.name})")
            del lines[node.decorator_list[0].lineno - 1]
    return "\n".join(lines) + "\n"


def lay_out(part):
    """The packages and the tests, side by side; a file that did not change keeps its time, and so its mutants."""
    for package, where in PACKAGES.items():
        for path in (ROOT / where).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                _put(path, PLACE / part / package / path.relative_to(ROOT / where))
    for tests in (PLACE / part / "tests", PLACE / part / "mutants/tests"):
        shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(ROOT / "tests", PLACE / part / "tests", ignore=shutil.ignore_patterns("__pycache__", "browser"))
    settings = (ROOT / "pyproject.toml").read_text("utf-8") + mutmut_settings(*PARTS[part])
    (PLACE / part / "pyproject.toml").write_text(settings, "utf-8")


def _put(path, target):
    data = path.read_bytes()
    if path.suffix == ".py":
        data = plain_properties(data.decode()).encode()
    if not target.exists() or target.read_bytes() != data:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def mutmut_settings(package, modules, tests):
    """What mutmut is to mutate, and by what it is judged."""
    settings = {
        "source_paths": list(PACKAGES),
        "only_mutate": [f"{package}/{module}.py" for module in modules.split()],
        "pytest_add_cli_args_test_selection": [
            f"tests/{test}{'' if '.py' in test else '.py'}" for test in tests.split()
        ],
        "pytest_add_cli_args": [*(f"-pno:{one}" for one in UNUSED), "--hypothesis-profile=mutation"],
        "timeout_constant": 2.0,
        "timeout_multiplier": 5.0,
    }
    return "\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def run(part, *names):
    """Mutate a part and run its tests against every mutant, one at a time."""
    lay_out(part)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    subprocess.run([mutmut, "run", "--max-children", "1", *names], cwd=PLACE / part, check=True)


@dataclass(frozen=True)
class Mutant:
    """A function with one mistake in it: the lines that ``was`` are ``now``; ``fate`` is what the tests made of it."""

    name: str
    module: str
    fate: str
    was: str
    now: str


def mutants(part):
    """Every mutant of a part that was tried, or that no test reaches."""
    for meta in sorted((PLACE / part / "mutants").rglob("*.py.meta")):
        source = meta.with_suffix("")
        module = ".".join(source.relative_to(PLACE / part / "mutants").with_suffix("").parts)
        fates = json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
        bodies = _bodies(source.read_text("utf-8")) if fates else {}
        for key, code in fates.items():
            name = key.removeprefix(f"{module}.")
            was, now = bodies[f"{name.rpartition('__mutmut_')[0]}__mutmut_orig"], bodies[name]
            lines = list(difflib.ndiff(was, now))
            yield Mutant(name, module, FATES.get(code, f"code {code}"), _said(lines, "-"), _said(lines, "+"))


def _bodies(source):
    """Names of functions -> their lines but the first; what mutmut writes stands at the top or in a class."""
    lines = source.splitlines()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return {node.name: lines[node.lineno : node.end_lineno] for node in nodes if "__mutmut_" in node.name}


def _said(lines, sign):
    return " ".join(line[1:].partition("  #")[0].strip() for line in lines if line.startswith(f"{sign} "))


def record(parts):
    """What came of every mutant, and why those that live may live, as ``survivors.yaml`` says."""
    why = {
        (module, line): reason
        for reason, modules in yaml.safe_load(WHY.read_text("utf-8")).items()
        for module, lines in modules.items()
        for line in lines
    }
    found = [mutant for part in parts for mutant in mutants(part)]
    counts = defaultdict(Counter)
    for mutant in found:
        counts[mutant.module][mutant.fate] += 1
    return {
        "command": f"python tests/mutation.py {' '.join(parts)}",
        "date": date.today().isoformat(),
        "mutmut": version("mutmut"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "modules": {module: {"mutants": count.total(), **count} for module, count in counts.items()},
        "survivors": [
            {
                "mutant": f"{one.module}.{one.name}",
                "was": one.was,
                "now": one.now,
                "why": why.get((one.module, one.now)),
            }
            for one in found
            if one.fate not in ("killed", "timed out", "not tried")
        ],
    }


def beside(old, new):
    """A record anew, in which modules that were not tried whole stay as they were."""
    whole = {module: count for module, count in new["modules"].items() if "not tried" not in count}
    survivors = {
        module: [
            one for one in (new if module in whole else old)["survivors"] if one["mutant"].startswith(f"{module}.")
        ]
        for module in old["modules"] | whole
    }
    modules = {module: whole.get(module, count) for module, count in (old["modules"] | whole).items()}
    return new | {"modules": modules, "survivors": [one for some in survivors.values() for one in some]}


HEAD = """# Mutation testing

Generated by `python tests/mutation.py --record`; do not edit.

A test suite is worth what it notices. `make mutants` has mutmut {mutmut} make one small mistake at a time in the code
that selects (another operator, a number one larger, an argument that is missing, an arm of a condition that is never
taken), and runs the tests of that code against it. A mutant is killed if a test goes red. `tests/mutation.py` names the
modules and the tests; none of these needs a model.

{killed:,} of {mutants:,} mutants were killed, **{share:.1%}**, on {date} by `{command}` with Python {python} and torch
{torch}. What runs into the limit of its time, ten seconds at least, counts as killed and is told apart. A run goes on
where the last one stopped: a mutant is not tried again before its function changes, unless it is named.

| module | mutants | killed | of them by time | survived | killed |
| --- | ---: | ---: | ---: | ---: | ---: |
"""
TAIL = """
## What survived

Every survivor is in `benchmarks/results/mutants.json`, with the line that it mutates. None is left out of the count.

| why no test notices | mutants | for instance |
| --- | ---: | --- |
"""


def page(record):
    """The page that says what a record says."""
    rows = [(module, count, _killed(count)) for module, count in record["modules"].items()]
    mutants, killed = sum(count["mutants"] for _, count, _ in rows), sum(some for *_, some in rows)
    told = record | {"mutants": mutants, "killed": killed, "share": killed / mutants}
    lives, lines = (
        [],
        [
            f"| `{module}` | {count['mutants']} | {some} | {count.get('timed out', 0)} | {count['mutants'] - some} | "
            f"{some / count['mutants']:.1%} |\n"
            for module, count, some in rows
        ],
    )
    groups = defaultdict(list)
    for one in record["survivors"]:
        groups[one["why"] or "not explained"].append(one)
    for why, some in sorted(groups.items(), key=lambda group: -len(group[1])):
        lives.append(f"| {why} | {len(some)} | `{some[0]['now'].replace('|', chr(92) + '|')}` |\n")
    return HEAD.format(**told) + "".join(lines) + _left(record["modules"]) + TAIL + "".join(lives)


def _left(modules):
    """Which parts a record does not hold."""
    parts = [
        f"`{part}`: {names.replace(' ', ', ')}"
        for part, (package, names, _) in PARTS.items()
        if not all(f"{package}.{name}" in modules for name in names.split())
    ]
    return f"\nNot recorded so far, of what `make mutants` runs: {'; '.join(parts)}.\n" if parts else ""


def _killed(count):
    return count.get("killed", 0) + count.get("timed out", 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        found = beside(json.loads(RECORD.read_text("utf-8")), record(sys.argv[2:] or list(PARTS)))
        RECORD.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        PAGE.write_text(page(found), "utf-8")
    else:
        for part in sys.argv[1:2] or PARTS:
            run(part, *sys.argv[2:])
