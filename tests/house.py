"""The house rules that a program can check: each takes the root of a checkout and returns what breaks the rule."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "tokenprune": "tokenprune",
    "tokenprune_strategies": "strategies/tokenprune_strategies",
    "tokenprune_adapters": "adapters/tokenprune_adapters",
}
PLAIN = {  # the modules that work on plain tensors; what they may import of the package is each other
    *("__init__", "budget", "coarse", "cue_names", "described", "errors", "explained", "hub", "marked", "named"),
    *("pipeline", "pool", "ranks", "registry", "schedule", "selection", "site", "stage", "strategy", "tokens"),
    *("written",),
}
LONG_FILES = {  # path: (lines, why)
    "tokenprune/in_llm.py": (215, "the hooks of one attachment share what they note of a call"),
    "tokenprune/pipeline.py": (225, "the value, and the ways to load it"),
    "strategies/tokenprune_strategies/similarity.py": (160, "the kernels of two diversifiers, which share their steps"),
    "strategies/tokenprune_strategies/greedy.py": (90, "the loop that every greedy diversifier shares"),
    "strategies/tokenprune_strategies/suppress.py": (
        95,
        "one loop and the four ways in which a pick takes from others",
    ),
    "strategies/tokenprune_strategies/thinning.py": (
        150,
        "one loop with its fast path, which would be harder to follow in two files",
    ),
}
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}  # "path:function": (lines, why)
VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|handlers?|base|common|misc)(_|$)")


def sources(root, *packages):
    """(path, its place from the root, parsed) of every module of the product."""
    for package in packages or PACKAGES:
        for path in sorted((root / PACKAGES[package]).rglob("*.py")):
            yield path, str(path.relative_to(root)), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree, top_only=False):
    """Full names of what a module imports; ``if TYPE_CHECKING`` costs nothing at run time and does not count."""
    todo, found = list(tree.body), []
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
        elif not (top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)
    return found


def _package(name):
    return name.split(".")[0]


def who_knows_whom(root):
    """The core knows no strategy and no adapter; strategies and adapters do not know each other."""
    banned = {
        "tokenprune": {"tokenprune_strategies", "tokenprune_adapters"},
        "tokenprune_strategies": {"tokenprune_adapters", "transformers"},
        "tokenprune_adapters": {"tokenprune_strategies"},
    }
    return [
        f"{where} imports {name}"
        for package in PACKAGES
        for _, where, tree in sources(root, package)
        for name in imports(tree)
        if _package(name) in banned[package]
    ]


def transformers_is_lazy(root):
    """No module imports transformers or hypothesis at its top, except the testing kit, which draws with hypothesis."""
    return [
        f"{where} imports {name} at its top"
        for _, where, tree in sources(root)
        for name in imports(tree, top_only=True)
        if _package(name) in {"transformers", "hypothesis"} and not where.startswith("tokenprune/testing/")
    ]


def selection_stands_alone(root):
    """Selecting among plain tensors needs no other module of the package, and no transformers at all."""
    found = []
    for path, where, tree in sources(root, "tokenprune"):
        if path.stem in PLAIN and path.parent == root / "tokenprune":
            ours = {name.split(".")[1] for name in imports(tree, top_only=True) if name.startswith("tokenprune.")}
            found += [f"{where} imports tokenprune.{name} at its top" for name in sorted(ours - PLAIN)]
            found += [f"{where} imports {name}" for name in imports(tree) if _package(name) == "transformers"]
    return found


def no_output_attentions(root):
    """Asking a model for its attention returns nothing under SDPA, and slow kernels elsewhere."""
    found = []
    for _, where, tree in sources(root):
        for node in ast.walk(tree):
            keyword = isinstance(node, ast.keyword) and node.arg == "output_attentions"
            attribute = isinstance(node, ast.Attribute) and node.attr == "output_attentions"
            stored = attribute and isinstance(node.ctx, ast.Store)
            key = isinstance(node, ast.Dict) and any(_is_text(key, "output_attentions") for key in node.keys)
            if (keyword and not _is_false(node.value)) or stored or key:
                found.append(f"{where}:{getattr(node, 'lineno', '?')} sets output_attentions")
    return found


def _is_text(node, text):
    return isinstance(node, ast.Constant) and node.value == text


def _is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def small_files(root, allowed=LONG_FILES):
    """Files of the core hold at most 200 lines, strategies and families 60."""
    found = []
    for path, where, _ in sources(root):
        limit, _why = allowed.get(where, (200 if where.startswith("tokenprune/") else 60, ""))
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > limit:
            found.append(f"{where} has {count} lines, {limit} are allowed")
    return found


def small_functions(root, allowed=LONG_FUNCTIONS):
    """Functions hold at most 30 lines, not counting their docstring."""
    found = []
    for _, where, tree in sources(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                limit, _why = allowed.get(f"{where}:{node.name}", (30, ""))
                if _lines(node) > limit:
                    found.append(f"{where}:{node.name} has {_lines(node)} lines, {limit} are allowed")
    return found


def _lines(node):
    first = node.body[0]
    told = ast.get_docstring(node) is not None
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if told else 0)


def nothing_unfinished(root):
    """No stubs in the product, no test that is skipped."""
    words = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    skips = re.compile(r"\bpytest\.(skip|xfail|importorskip|mark\.(skip|skipif|xfail))\b")
    found = [
        f"{where}: {hit[0]}" for path, where, _ in sources(root) for hit in words.finditer(path.read_text("utf-8"))
    ]
    for path in sorted((root / "tests").rglob("*.py")):
        found += [f"{path.relative_to(root)}: {hit[0]}" for hit in skips.finditer(path.read_text("utf-8"))]
    return found


def names_say_something(root):
    """No module is called after nothing in particular."""
    return [where for path, where, _ in sources(root) if VAGUE.search(path.stem)]


def source_roots_agree(root):
    """Every tool is told of the same three roots and packages."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    tool = project["tool"]
    roots = sorted(str(Path(place).parent) for place in PACKAGES.values())
    wheel = tool["hatch"]["build"]["targets"]["wheel"]
    told = {
        "hatch dev-mode-dirs": sorted(tool["hatch"]["build"]["dev-mode-dirs"]),
        "hatch wheel packages": sorted(str(Path(place).parent) for place in wheel["packages"]),
        "pytest pythonpath": sorted(set(tool["pytest"]["ini_options"]["pythonpath"]) - {"tests"}),
        "mypy_path": sorted(_from_mypy(part) for part in tool["mypy"]["mypy_path"].split(":")),
        "ruff src": sorted(tool["ruff"]["src"]),
        "mkdocstrings paths": sorted(_mkdocs_paths((root / "mkdocs.yml").read_text("utf-8"))),
    }
    named = {
        "hatch wheel packages": sorted(Path(place).name for place in wheel["packages"]),
        "mypy packages": sorted(tool["mypy"]["packages"]),
        "coverage packages": sorted(tool["coverage"]["run"]["source_pkgs"]),
    }
    found = [f"{who} says {what}, the roots are {roots}" for who, what in told.items() if what != roots]
    found += [f"{who} says {what}" for who, what in named.items() if what != sorted(PACKAGES)]
    found += [f"{place} has no py.typed" for place in PACKAGES.values() if not (root / place / "py.typed").is_file()]
    inits = [root / place / "__init__.py" for place in roots]
    return found + [f"{init.relative_to(root)} makes a source root a package" for init in inits if init.exists()]


def _from_mypy(part):
    return part.removeprefix("$MYPY_CONFIG_FILE_DIR").lstrip("/") or "."


def _mkdocs_paths(text):
    """Read by hand, because the file may hold tags that only mkdocs knows."""
    found = re.search(r"^\s*paths: \[(.*)\]$", text, re.MULTILINE)
    return [part.strip().strip("\"'") for part in found[1].split(",")] if found else []


def public_names_agree(root):
    """``__all__``, what type checkers see, and the API page name the same things."""
    path = root / "tokenprune/__init__.py"
    tree = ast.parse(path.read_text("utf-8"))
    home = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME"
    )
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {}
    for node in block.body:
        for alias in node.names:
            place = node.module.removeprefix("tokenprune.")
            typed[alias.asname] = place if alias.name == alias.asname else f"{place}.{alias.name}"
    page = (root / "docs/api.md").read_text("utf-8")
    told = {name for name in home if re.search(rf"^::: tokenprune\.{home[name]}(\.{name})?$", page, re.MULTILINE)}
    found = [f"{name} comes from {home.get(name)} but type checkers see {typed.get(name)}"
             for name in sorted(home.keys() | typed.keys()) if home.get(name) != typed.get(name)]  # fmt: skip
    return found + [f"{name} is not on the API page" for name in sorted(home.keys() - told)]


def loaded(code, *paths):
    """Top-level modules that are loaded after running ``code`` in a fresh interpreter."""
    tell = "import sys; print('loaded:', *{name.split('.')[0] for name in sys.modules})"
    told = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\n{tell}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.rsplit("loaded:", 1)[1].split())


RULES = [
    who_knows_whom,
    transformers_is_lazy,
    selection_stands_alone,
    no_output_attentions,
    small_files,
    small_functions,
    nothing_unfinished,
    names_say_something,
    source_roots_agree,
    public_names_agree,
]
