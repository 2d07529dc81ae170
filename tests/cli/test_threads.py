"""How many threads the embedded model runs on."""

from importlib import import_module

import pytest
import torch

from tokenprune.cli.models import few_threads


@pytest.fixture
def several(monkeypatch):
    """Three threads, and an environment that says nothing of them."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_the_embedded_model_runs_on_one_and_leaves_all(several, monkeypatch):
    with few_threads(None):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with few_threads("./llava"):
        assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with few_threads(None):
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("command", ["eval", "compare", "view", "run", "demo"])
def test_every_command_that_asks_it_says_so(several, call, picture, monkeypatch, command):
    """Each of them stops where it looks at where its results go; there were that many threads by then."""
    seen, last = [], {"eval": ("evaluating", "_check"), "compare": ("pages", "check_page")}
    module, function = last.get(command, ("pictures", "check_target"))

    def stop(*_):
        seen.append(torch.get_num_threads())
        raise SystemExit(3)

    monkeypatch.setattr(import_module(f"tokenprune.cli.{module}"), function, stop)
    arguments = {"run": ["--image", picture, "--prompt", "What color is the star?", "--out", "x.png"]}
    sources = {"compare": ["sparse:0"], "view": ["sparse:0"]}
    assert call(command, *arguments.get(command, sources.get(command, []))).exit_code == 3
    assert (seen, torch.get_num_threads()) == ([1], 3)
