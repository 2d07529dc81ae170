import pytest

from tokenprune import Budget, load
from tokenprune.errors import PipelineError, UnknownName
from tokenprune.measure.cells import Cell, draws, grid, sown

HALF, FEW = Budget.parse("50%"), Budget.parse(28)


def test_a_grid_is_everything_with_everything_and_the_unpruned_model_first():
    found = grid(["vispruner", "divprune"], [HALF, FEW], ["keep", "renumber"])
    assert found[0] == Cell()
    assert found[0].key == "full"
    assert [cell.key for cell in found[1:6]] == [
        "vispruner|50%|keep|0",
        "vispruner|28|keep|0",
        "vispruner|50%|renumber|0",
        "vispruner|28|renumber|0",
        "divprune|50%|keep|0",
    ]
    assert found[2].made == load("vispruner", budget=28, positions="keep")
    assert grid(["vispruner"], [HALF])[1].made.positions is None


def test_what_keeps_nothing_is_asked_once_and_what_draws_with_every_seed():
    found = grid(["none", "random", "uniform"], [HALF, FEW], seeds=3)
    assert [cell.key for cell in found if cell.pipeline == "none"] == ["none|0%|default|0"]
    assert [(cell.seed, cell.made.stages[0].scorer.seed) for cell in found if cell.key.startswith("random|28|")] == [
        (0, 0), (1, 1), (2, 2)
    ]  # fmt: skip
    assert len([cell for cell in found if cell.pipeline == "uniform"]) == 2


def test_stages_that_say_everything_are_asked_once_with_their_own(tmp_path):
    path = tmp_path / "exit.yaml"
    path.write_text("name: exit\nstages: [{site: {llm_layer: 50%}, budget: 0%}]\n")
    (cell,) = grid([str(path)], [HALF, FEW], ["keep"])[1:]
    assert (cell.key, cell.made.budget, cell.made.positions) == ("exit|own|keep|0", None, "keep")


def test_seeds_go_where_something_is_drawn():
    random = load("random")
    assert draws(random)
    assert sown(random, 0) is random
    assert sown(random, 2) == load("random", scorer={"use": "random", "seed": 2})
    assert sown(load("vispruner"), 2) == load("vispruner")


def test_a_cell_that_cannot_be_made_says_why(monkeypatch):
    def replace(self, **changes):
        raise PipelineError("at least 40%:\n  layers before 2 see everything")

    monkeypatch.setattr("tokenprune.pipeline.Pipeline.replace", replace)
    (cell,) = grid(["vispruner"], [HALF])[1:]
    assert (cell.made, cell.reason) == (None, "at least 40%: layers before 2 see everything")


def test_a_pipeline_that_never_loads_is_an_error_and_so_are_two_of_one_name(tmp_path):
    with pytest.raises(UnknownName):
        grid(["visprunner"], [HALF])
    path = tmp_path / "mine.yaml"
    path.write_text(load("vispruner").to_yaml())
    with pytest.raises(PipelineError, match="several pipelines are called vispruner"):
        grid(["vispruner", str(path)], [HALF])
