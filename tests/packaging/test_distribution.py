"""What is built is complete, and works in an environment that knows nothing of the checkout."""

import tarfile
import zipfile
from textwrap import dedent

import house
import pytest

from tokenprune import list_pipelines

pytestmark = pytest.mark.xdist_group("packaging")  # they share what is built


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def shipped():
    """Every file of the three packages, by its place in a wheel."""
    return {
        str(path.relative_to((house.ROOT / place).parent))
        for place in house.PACKAGES.values()
        for path in (house.ROOT / place).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_three_packages_and_nothing_else(distributions):
    found = {name for name in contents(distributions[1]) if ".dist-info/" not in name}
    assert found == shipped()
    assert {f"{package}/py.typed" for package in house.PACKAGES} <= found
    assert {f"tokenprune_strategies/pipelines/{name}.yaml" for name in list_pipelines()} <= found
    assert "tokenprune_adapters/llava.py" in found
    assert {"model.safetensors", "config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja"} <= {
        name.removeprefix("tokenprune/scenes/checkpoint/") for name in found
    }


def test_the_wheel_says_what_it_is(distributions):
    told = {name.split("/")[-1]: data.decode() for name, data in contents(distributions[1]).items() if "-info/" in name}
    assert "Name: tokenprune-vlm" in told["METADATA"]
    assert "License-Expression: Apache-2.0" in told["METADATA"]
    assert "Apache License" in told["LICENSE"]
    for group in ("tokenprune.scorers", "tokenprune.pipelines", "tokenprune.families", "console_scripts"):
        assert f"[{group}]" in told["entry_points.txt"]


def test_the_sdist_builds_the_wheel_that_the_checkout_builds(distributions):
    _, from_sdist, from_checkout = map(contents, (distributions[1], *distributions[1:]))
    assert from_sdist == from_checkout


def test_the_sdist_holds_what_a_reader_looks_for(distributions):
    with tarfile.open(distributions[0]) as archive:
        found = {name.split("/", 1)[1] for name in archive.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "strategies/README.md", "adapters/README.md"}
    assert wanted <= found


def test_the_wheel_selects_tokens_in_a_fresh_environment(installed):
    script = """
        import torch, tokenprune, tokenprune_strategies, tokenprune_adapters
        for package in (tokenprune, tokenprune_strategies, tokenprune_adapters):
            print(package.__file__)
        print(*tokenprune.list_pipelines())
        attention = torch.tensor([[0.1, 0.5, 0.0, 0.4]])
        tokens = tokenprune.VisualTokens(torch.eye(4)[None], {"cls_attention": attention})
        print(tokenprune.load("fastervlm", budget=2).select(tokens).indices())
        print(tokenprune.load("vispruner", budget=3).select(tokens).counts.tolist())
    """
    *places, pipelines, indices, counts = installed.python("-c", dedent(script)).splitlines()
    assert [str(installed.packages) in place for place in places] == [True] * 3
    assert pipelines.split() == list_pipelines()
    assert (indices, counts) == ("[tensor([1, 3])]", "[3]")


def test_the_program_is_installed(installed):
    told = installed.python(installed.programs / "tokenprune", "--help")
    assert "Usage" in told
