"""The example plug-in is a complete package: it installs, its own tests pass, and YAML finds it by name."""

import shutil
from textwrap import dedent

import house
import pytest

pytestmark = pytest.mark.xdist_group("packaging")


def test_the_plug_in_installs_and_works_by_name(scratch, tmp_path):
    source = tmp_path / "third_party_plugin"
    shutil.copytree(house.ROOT / "examples/third_party_plugin", source)
    scratch.install(source)
    shutil.rmtree(source / "tokenprune_norms")  # from here on the installed one or none

    told = scratch.python("-m", "pytest", "-p", "no:cacheprovider", source, cwd=source)
    assert "4 passed" in told

    (tmp_path / "mine.yaml").write_text("name: mine\nscorer: feature_norm\nsplitter: equal\nbudget: 2\n")
    script = """
        import torch, tokenprune, tokenprune_norms
        print(tokenprune_norms.__file__)
        print("stride" in tokenprune.list_strategies()["diversifiers"])
        tokens = tokenprune.VisualTokens(torch.tensor([[1.0, 7, 3, 5]])[..., None])
        print(tokenprune.load("mine.yaml").select(tokens).indices())
        print(tokenprune.load("norm_and_stride", budget=2).select(tokens).indices())
    """
    place, listed, indices, both = scratch.python("-c", dedent(script), cwd=tmp_path).splitlines()
    assert str(scratch.packages) in place
    assert listed == "True"
    assert (indices, both) == ("[tensor([1, 3])]", "[tensor([1, 3])]")
