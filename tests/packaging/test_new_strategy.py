"""`tokenprune new-strategy` writes a whole package: it builds, installs, and passes its own tests and its CI."""

import re
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from tokenprune.cli import app

pytestmark = pytest.mark.xdist_group("packaging")
NAMES = {"edge_energy": "scorer", "far_apart": "diversifier"}


def test_the_packages_build_install_and_pass_their_own_ci(scratch, tmp_path):
    folders = []
    for name, kind in NAMES.items():
        made = CliRunner().invoke(app, ["new-strategy", name, "--kind", kind, "--out", str(tmp_path)])
        assert made.exit_code == 0, made.stderr
        folders.append(tmp_path / f"tokenprune-{name.replace('_', '-')}")
        scratch.install(folders[-1])
        shutil.rmtree(folders[-1] / f"tokenprune_{name}")  # from here on the installed one or none
        jobs = yaml.safe_load((folders[-1] / ".github/workflows/test.yml").read_text("utf-8"))["jobs"]
        assert [step["run"] for step in jobs["test"]["steps"] if "run" in step] == [
            "pip install torch --index-url https://download.pytorch.org/whl/cpu",
            'pip install -e ".[test]"',
            "pytest",
            f"tokenprune validate {name}",
        ]
    told = scratch.python("-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *folders)  # both at once: it is dear
    assert re.search(r"\b6 passed\b", told)
    assert scratch.python("-m", "tokenprune", "validate", *NAMES) == "".join(f"{name}: valid\n" for name in NAMES)
