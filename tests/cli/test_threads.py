"""The embedded model is asked on one thread, because many are slower for a model this small."""

import pytest
import torch

from tokenprune.cli import asking, comparison, looking
from tokenprune.cli.terminal import CommandError

COMMANDS = {
    "run --image scene.png --prompt background": (asking, "ask_both"),
    "view sparse:0": (looking, "looked"),
    "compare sparse:0": (looking, "looked"),
    "demo": (comparison, "compared"),
}


@pytest.fixture
def told(monkeypatch, call, picture):
    """The threads that a command asks with, the variable of the environment being this."""
    before = torch.get_num_threads()

    def threads(command, asked=None):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if asked:
            monkeypatch.setenv("OMP_NUM_THREADS", asked)
        torch.set_num_threads(2)
        found = []

        def note(*_, **__):
            found.append(torch.get_num_threads())
            raise CommandError("seen enough")

        monkeypatch.setattr(*COMMANDS[command], note)
        assert "seen enough" in call(*command.replace("scene.png", str(picture)).split()).stderr
        assert torch.get_num_threads() == 2, "an error leaves it as it was"
        return found

    yield threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("command", COMMANDS)
def test_one_thread_is_enough(told, command):
    assert told(command) == [1]


def test_what_the_environment_asks_for_holds(told):
    assert told("demo", "2") == [2]


def test_other_models_run_on_all_threads(told, monkeypatch):
    from tokenprune.scenes import folder

    monkeypatch.setitem(COMMANDS, f"view sparse:0 --model {folder()}", (looking, "looked"))
    assert told(f"view sparse:0 --model {folder()}") == [2]
