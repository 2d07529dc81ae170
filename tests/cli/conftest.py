import pytest
from typer.testing import CliRunner

from tokenprune import scenes
from tokenprune.cli import app

PLAIN = {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "FORCE_COLOR": None, "GITHUB_ACTIONS": None}


@pytest.fixture
def call(monkeypatch, tmp_path):
    """call("list", "vis*") runs the command in an empty folder and gives stdout, stderr, exit_code and exception."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **env: CliRunner().invoke(app, list(map(str, arguments)), env=PLAIN | env)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "scene.png"
    scenes.draw(0).image.save(path)
    return path
