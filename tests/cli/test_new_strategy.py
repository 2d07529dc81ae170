import ast
import json
import tomllib

import pytest
import yaml

from tokenprune.cli.starting import Kind


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_every_word_of_the_template_is_put_in(call, tmp_path, kind):
    found = call("new-strategy", "edge_energy", "--kind", kind)
    assert found.exit_code == 0
    written = sorted(path for path in (tmp_path / "tokenprune-edge-energy").rglob("*") if path.is_file())
    assert sorted(found.stdout.split()) == [str(path.relative_to(tmp_path)) for path in written]
    assert found.stderr == "next: cd tokenprune-edge-energy && pip install -e '.[test]' && pytest\n"
    for path in written:
        text = path.read_text("utf-8")
        assert not any(f"@{word}@" in text for word in ("name", "class", "package", "distribution", "kind", "version"))
        if path.suffix == ".py":
            ast.parse(text)
    names = {path.name for path in written}
    assert {"pyproject.toml", "README.md", "edge_energy.py", "edge_energy.yaml", "test_edge_energy.py"} < names


def test_it_is_registered_under_its_name(call, tmp_path):
    call("new-strategy", "edge_energy", "--kind", "diversifier")
    folder = tmp_path / "tokenprune-edge-energy"
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"] == {
        "tokenprune.diversifiers": {"edge_energy": "tokenprune_edge_energy.edge_energy:EdgeEnergy"},
        "tokenprune.pipelines": {"edge_energy": "tokenprune_edge_energy.pipelines"},
    }
    text = (folder / "tokenprune_edge_energy/pipelines/edge_energy.yaml").read_text("utf-8")
    assert yaml.safe_load(text)["diversifier"] == "edge_energy"
    assert "class EdgeEnergy(Diversifier)" in (folder / "tokenprune_edge_energy/edge_energy.py").read_text("utf-8")
    assert "None is chosen yet" in (folder / "README.md").read_text("utf-8")


def test_json_names_everything(call, tmp_path):
    (tmp_path / "there").mkdir()
    found = json.loads(call("new-strategy", "edge_energy", "--out", "there", "--json").stdout)
    assert found["folder"] == "there/tokenprune-edge-energy"
    assert (found["package"], found["class"], found["kind"]) == ("tokenprune_edge_energy", "EdgeEnergy", "scorer")
    assert all((tmp_path / found["folder"] / path).is_file() for path in found["files"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["EdgeEnergy"], "'EdgeEnergy' is no name for a strategy: lower-case letters, digits and single underscores "
                         "make one; write 'edge_energy'"),
        (["edge-energy"], "write 'edge_energy'"),
        (["3rd_power"], "write 'rd_power'"),
        (["_"], "make one, as in 'edge_energy'"),
        (["../up"], "write 'up'"),
        (["class"], "'class' means something else to Python or to the package; write 'class_scorer'"),
        (["pipelines", "--kind", "diversifier"], "write 'pipelines_diversifier'"),
        (["random"], "'random' is taken among the scorers, by tokenprune_strategies.random_scores:RandomScores"),
        (["vispruner"], "'vispruner' is taken among the pipelines, by tokenprune_strategies.pipelines; choose another"),
        (["dpp", "--kind", "diversifier"], "'dpp' is taken among the diversifiers"),
        (["strategies"], "a package tokenprune_strategies is installed already; choose another name"),
        (["there"], "there is 'tokenprune-there' already; remove it, choose another name, or another --out"),
        (["mine", "--out", "nowhere"], "there is no folder 'nowhere' to put it in; make it first"),
    ],
)  # fmt: skip
def test_bad_names_and_places_are_errors_with_what_to_do(call, tmp_path, arguments, said):
    (tmp_path / "tokenprune-there").mkdir()
    found = call("new-strategy", *arguments)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("error: ")
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tokenprune-there"]


def test_a_name_of_another_kind_may_be_used_again(call):
    assert call("new-strategy", "max_min").exit_code == 0


def test_a_folder_that_cannot_be_written_is_an_error(call, tmp_path):
    (tmp_path / "file").write_text("")
    found = call("new-strategy", "mine", "--out", "file")
    assert (found.exit_code, found.stdout) == (1, "")
