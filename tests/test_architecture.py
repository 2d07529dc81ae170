"""The house keeps its rules, and each rule can be broken."""

import shutil

import house
import pytest


@pytest.fixture
def copy(tmp_path):
    """The checkout's sources, to break something in."""
    for name in ("tokenprune", "strategies", "adapters", "docs", "pyproject.toml", "mkdocs.yml"):
        source = house.ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "tests").mkdir()
    return tmp_path


@pytest.mark.parametrize("rule", house.RULES)
def test_the_house_keeps_its_rules(rule):
    assert rule(house.ROOT) == []


def function(count):
    return '\n\ndef planted():\n    """Told\n\n    at length.\n    """\n' + "    x = 1\n" * count


BREAKS = [
    # rule, file, text (None: delete; a pair: replace; else append), what is said
    ("who_knows_whom", "tokenprune/pool.py", "import tokenprune_strategies", "pool.py imports tokenprune_strategies"),
    (
        "who_knows_whom",
        "tokenprune/cli/planted.py",
        "def f():\n    from tokenprune_adapters import llava",
        "planted.py",
    ),
    ("who_knows_whom", "adapters/tokenprune_adapters/llava.py", "import tokenprune_strategies.equal", "llava.py"),
    ("who_knows_whom", "strategies/tokenprune_strategies/equal.py", "import tokenprune_adapters", "equal.py"),
    ("who_knows_whom", "strategies/tokenprune_strategies/equal.py", "def f():\n    import transformers", "equal.py"),
    ("transformers_is_lazy", "tokenprune/attach.py", "from transformers import x", "attach.py imports transformers at"),
    (
        "transformers_is_lazy",
        "tokenprune/scenes/draw.py",
        "try:\n    import transformers\nexcept OSError: pass",
        "draw",
    ),
    ("transformers_is_lazy", "adapters/tokenprune_adapters/llava.py", "import transformers.models", "llava.py"),
    ("transformers_is_lazy", "tokenprune/tokens.py", "import hypothesis", "tokens.py imports hypothesis"),
    (
        "selection_stands_alone",
        "tokenprune/stage.py",
        "from tokenprune import attach",
        "stage.py imports tokenprune.att",
    ),
    ("selection_stands_alone", "tokenprune/stage.py", "from tokenprune.attach import attach", "stage.py imports"),
    ("selection_stands_alone", "tokenprune/tokens.py", "def f():\n    import transformers", "tokens.py imports tr"),
    ("no_output_attentions", "tokenprune/cues.py", "model(output_attentions=True)", "cues.py"),
    ("no_output_attentions", "tokenprune/cues.py", "config.output_attentions = True", "cues.py"),
    ("no_output_attentions", "tokenprune/cues.py", "call = {'output_attentions': True}", "cues.py"),
    ("small_files", "tokenprune/planted.py", "x = 1\n" * 199, "tokenprune/planted.py has 201 lines, 200 are allowed"),
    ("small_files", "strategies/tokenprune_strategies/planted.py", "x = 1\n" * 59, "has 61 lines, 60 are allowed"),
    ("small_files", "adapters/tokenprune_adapters/planted.py", "x = 1\n" * 59, "has 61 lines, 60 are allowed"),
    ("small_functions", "tokenprune/pool.py", function(30), "pool.py:planted has 31 lines, 30 are allowed"),
    ("nothing_unfinished", "tokenprune/pool.py", "# TODO: later", "pool.py: TODO"),
    ("nothing_unfinished", "tokenprune/pool.py", "def f(): raise NotImplementedError", "pool.py: NotImplementedError"),
    ("nothing_unfinished", "tests/test_planted.py", "@pytest.mark." + "skip", "test_planted.py: pytest.mark." + "skip"),
    ("nothing_unfinished", "tests/test_planted.py", "pytest." + "xfail('later')", "test_planted.py: pytest." + "xfail"),
    ("names_say_something", "tokenprune/utils.py", "", "tokenprune/utils.py"),
    ("names_say_something", "tokenprune/cli/base_command.py", "", "base_command.py"),
    (
        "source_roots_agree",
        "pyproject.toml",
        ('dev-mode-dirs = [".", "strategies", "adapters"]', "dev-mode-dirs = []"),
        "hat",
    ),
    ("source_roots_agree", "pyproject.toml", ('"strategies/tokenprune_strategies", ', ""), "hatch wheel packages says"),
    ("source_roots_agree", "pyproject.toml", ('pythonpath = [".", ', "pythonpath = ["), "pytest pythonpath says"),
    ("source_roots_agree", "pyproject.toml", (":$MYPY_CONFIG_FILE_DIR/adapters", ""), "mypy_path says"),
    ("source_roots_agree", "pyproject.toml", ('src = [".", "strategies", "adapters"]', 'src = ["."]'), "ruff src says"),
    ("source_roots_agree", "mkdocs.yml", ('paths: [".", strategies, ', "paths: ["), "mkdocstrings paths says"),
    ("source_roots_agree", "strategies/tokenprune_strategies/py.typed", None, "tokenprune_strategies has no py.typed"),
    ("source_roots_agree", "adapters/__init__.py", "", "adapters/__init__.py makes a source root a package"),
    ("public_names_agree", "tokenprune/__init__.py", ('    "Budget": "budget",\n', ""), "Budget comes from None but"),
    ("public_names_agree", "tokenprune/__init__.py", ("budget import Budget as", "budget import Badget as"), "Badget"),
    ("public_names_agree", "docs/api.md", ("::: tokenprune.budget.Budget\n", ""), "Budget is not on the API page"),
]


@pytest.mark.parametrize(("rule", "place", "text", "said"), BREAKS)
def test_a_rule_that_is_broken_is_noticed(copy, rule, place, text, said):
    path, check = copy / place, getattr(house, rule)
    before = check(copy)
    if text is None:
        path.unlink()
    elif isinstance(text, tuple):
        assert text[0] in path.read_text("utf-8")
        path.write_text(path.read_text("utf-8").replace(*text))
    else:
        path.write_text((path.read_text("utf-8") if path.exists() else "") + f"\n{text}\n")
    assert [one for one in check(copy) if one not in before and said in one]


def test_every_rule_was_broken_once():
    assert {rule.__name__ for rule in house.RULES} == {rule for rule, *_ in BREAKS}


def test_exceptions_have_a_reason_and_are_needed():
    for found, allowed in (
        (house.small_files(house.ROOT, {}), house.LONG_FILES),
        (house.small_functions(house.ROOT, {}), house.LONG_FUNCTIONS),
    ):
        assert [place for place in allowed if not any(one.startswith(f"{place} has") for one in found)] == []
        assert all(why for _, why in allowed.values())


# --- what is loaded --------------------------------------------------------------------------------------------------

HEAVY = {"torch", "transformers", "pydantic", "yaml", "hypothesis", "PIL", "numpy"}
LAZY = [
    ("import tokenprune", HEAVY),
    ("import tokenprune; tokenprune.list_pipelines(), tokenprune.list_families(), tokenprune.list_strategies()", HEAVY),
    ("import tokenprune; dir(tokenprune), tokenprune.__all__, tokenprune.TokenpruneError", HEAVY),
    ("import tokenprune; tokenprune.load('vispruner')", {"transformers", "hypothesis"}),
    (
        "import torch, tokenprune; tokenprune.load('vispruner', budget=2).select("
        "tokenprune.VisualTokens(torch.eye(4)[None], {'cls_attention': torch.ones(1, 4)}))",
        {"transformers", "hypothesis"},
    ),
    ("import tokenprune.testing", {"transformers"}),
    ("import tokenprune.cli", {"torch", "transformers"}),
]


@pytest.mark.parametrize(("code", "banned"), LAZY)
def test_what_is_not_needed_is_not_loaded(code, banned):
    assert house.loaded(code) & banned == set()


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_what_is_loaded_is_noticed(copy, name):
    (copy / "planted").mkdir()
    (copy / "planted" / f"{name}.py").write_text("")
    (copy / "tokenprune/__init__.py").write_text(f"import {name}")
    assert name in house.loaded("import tokenprune", copy / "planted", copy)


def test_public_names_are_there():
    import tokenprune

    assert sorted(tokenprune.__all__) == tokenprune.__all__
    assert [name for name in tokenprune.__all__ if getattr(tokenprune, name).__name__ != name] == []
    assert set(tokenprune.__all__) <= set(dir(tokenprune))
    with pytest.raises(AttributeError, match="module 'tokenprune' has no attribute 'prune'"):
        _ = tokenprune.prune
