import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, cwd=None):
    """Output of a command that must succeed."""
    told = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert told.returncode == 0, f"{command}\n{told.stdout}\n{told.stderr}"
    return told.stdout


@dataclass(frozen=True)
class Environment:
    """A fresh environment that borrows torch and the rest from the one the tests run in."""

    path: Path

    @classmethod
    def create(cls, path, borrow):
        venv.create(path, symlinks=True)
        (cls(path).packages / "borrowed.pth").write_text(borrow)
        return cls(path)

    @property
    def packages(self):
        return next((self.path / "lib").glob("python*")) / "site-packages"

    @property
    def programs(self):
        return self.path / "bin"

    def install(self, what):
        options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
        run(sys.executable, "-m", "pip", "--python", self.programs / "python", "install", *options, what)

    def python(self, *arguments, cwd=None):
        """Run isolated: no current folder, no PYTHONPATH."""
        return run(self.programs / "python", "-I", *arguments, cwd=cwd or self.path)


BORROWED = sysconfig.get_path("purelib")


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """The sdist, the wheel built from it, and the wheel built from the checkout."""
    there = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*build, there / "sdist", ROOT)
    run(*build, there / "checkout", "--wheel", ROOT)
    (sdist,) = (there / "sdist").glob("*.tar.gz")
    (from_sdist,) = (there / "sdist").glob("*.whl")
    (from_checkout,) = (there / "checkout").glob("*.whl")
    return sdist, from_sdist, from_checkout


@pytest.fixture(scope="session")
def installed(distributions, tmp_path_factory):
    """An environment with the wheel in it, and no way to the checkout."""
    path = tmp_path_factory.mktemp("fresh") / "environment"
    environment = Environment.create(path, BORROWED)  # a path alone: the .pth files in there are not read
    environment.install(distributions[1])
    return environment


@pytest.fixture
def scratch(tmp_path):
    """An environment in which everything from here is installed, and more can be."""
    return Environment.create(tmp_path / "environment", f"import site; site.addsitedir({BORROWED!r})")
