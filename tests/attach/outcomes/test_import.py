"""The function and the module that are both called attach."""

import subprocess
import sys

import pytest

ORDERS = {
    "the module first": "import tokenprune; from tokenprune.attach import Attachment",
    "the function first": "import tokenprune; tokenprune.attach; from tokenprune.attach import Attachment",
}


@pytest.mark.parametrize("order", ORDERS)
def test_attach_is_the_function_whichever_is_imported_first(order):
    code = f"{ORDERS[order]}\nfrom tokenprune import attach\nprint(callable(tokenprune.attach), attach.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "attach"]
