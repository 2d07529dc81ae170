import warnings
from importlib import import_module

import pytest
import typer

from tokenprune.cli.terminal import reported, stdout
from tokenprune.errors import BudgetError, NothingPrunedWarning


def test_an_error_is_one_message_on_stderr_and_exit_code_1(capsys):
    message = "a long [message] with brackets " * 20
    with pytest.raises(typer.Exit) as ended, reported(debug=False):
        raise BudgetError(message)
    assert ended.value.exit_code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"error: {message}\n"


def test_debug_leaves_errors_to_python():
    with pytest.raises(BudgetError), reported(debug=True):
        raise BudgetError("no")


def test_other_errors_are_never_hidden():
    with pytest.raises(ZeroDivisionError), reported(debug=False):
        raise ZeroDivisionError


def test_a_command_that_is_stopped_ends_with_130(call, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("tokenprune.cli.listing"), "parts", stopped)
    found = call("list")
    assert (found.exit_code, found.stdout) == (130, "")
    assert "Traceback" not in found.stderr


def test_own_warnings_are_a_line_each_and_others_are_left_out(capsys):
    with reported(debug=False):
        for _ in range(2):
            warnings.warn("nothing was dropped", NothingPrunedWarning, stacklevel=1)
        warnings.warn("torchvision is missing", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: nothing was dropped\n" * 2


def test_warnings_are_python_s_own_affair_afterwards():
    with reported(debug=False):
        pass
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", UserWarning, stacklevel=1)


def test_results_and_messages_go_to_different_places(capsys):
    stdout().print("a [result] 12", markup=False)
    assert capsys.readouterr() == ("a [result] 12\n", "")
