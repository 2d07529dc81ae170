"""Mutation testing of what selects, by mutmut: `make mutants`, or `python tests/mutation.py core "tokenprune.ranks.*"`.

mutmut looks for packages at the root and leaves decorated functions alone. So each part below is laid out in a folder
of its own, in build/mutation, with the packages side by side and properties written as plain functions. A run goes on
where the last one stopped; a file that changed is mutated anew.
"""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

from house import PACKAGES, ROOT

PLACE = ROOT / "build/mutation"
CORE, STRATEGIES = "tokenprune", "tokenprune_strategies"
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
        "strategies/test_scorers strategies/test_splitters strategies/test_similarity_dedup strategies/test_on_device "
        "golden/test_vispruner",
    ),
    "splitters": (
        STRATEGIES,
        "global_pool proportional thumbnail_guided adaptive wishes effective_rank overview overview_sums",
        "strategies/test_splitters strategies/test_scores_of_methods strategies/test_suppression "
        "golden/test_globalcom2",
    ),
    "far": (  # diversifiers that look for tokens that lie far apart
        STRATEGIES,
        "similarity max_min pivots rounds density density_peaks",
        "strategies/test_max_min strategies/test_pivots strategies/test_density_peaks strategies/test_similarity_dedup "
        "strategies/test_on_device golden/test_divprune golden/test_dart",
    ),
    "greedy": (
        STRATEGIES,
        "greedy bounds suppress suppression facility_location coverage reach dpp volume",
        "strategies/test_greedy strategies/test_suppression strategies/test_facility_location strategies/test_dpp "
        "strategies/test_on_device golden/test_cdpruner",
    ),
    "places": (
        STRATEGIES,
        "neighbours adjacent windowed windows union by_score second_score",
        "strategies/test_neighbours strategies/test_windowed strategies/test_union strategies/test_on_device",
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
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-profile=mutation"],
        "timeout_constant": 2.0,
        "timeout_multiplier": 5.0,
    }
    return "\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def run(part, *names):
    """Mutate a part and run its tests against every mutant, one at a time."""
    lay_out(part)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    subprocess.run([mutmut, "run", "--max-children", "1", *names], cwd=PLACE / part, check=True)


if __name__ == "__main__":
    for part in sys.argv[1:2] or PARTS:
        run(part, *sys.argv[2:])
