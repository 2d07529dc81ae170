"""The page on writing a method is followed to the letter: its files are installed, its commands run."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from house import ROOT

from tokenprune.testing import check_diversifier, check_scorer

PAGE = (ROOT / "docs/write-a-method.md").read_text("utf-8")
BLOCKS = dict(re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = BLOCKS.pop("commands").splitlines()
TO = ("--target", "site", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")


def test_the_page_holds_a_whole_package():
    package = {f"head_peaks/{name}" for name in ("__init__.py", "head_peak.py", "away_from_kept.py")}
    assert set(BLOCKS) == {"pyproject.toml", "head_peaks/peaks_and_contrasts.yaml", "test_head_peaks.py", *package}
    assert PAGE.count("```") == 2 * (len(BLOCKS) + 1)


def run(command, folder):
    """Output of a command of the page: installing goes to a folder of its own, from which all others import."""
    programs = {"pip": ["pip"], "pytest": ["pytest", "-p", "no:cacheprovider"], "tokenprune": ["tokenprune"]}
    program, *arguments = shlex.split(command)
    options = TO if program == "pip" else ()
    told = subprocess.run(
        [sys.executable, "-P", "-m", *programs[program], *arguments, *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "site"), "COLUMNS": "120", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, f"{command}\n{told.stdout}\n{told.stderr}"
    return told.stdout


@pytest.mark.xdist_group("packaging")
def test_the_page_is_followed_to_the_letter(tmp_path):
    for name, text in BLOCKS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    install, test, *others = COMMANDS
    run(install, tmp_path)
    (tmp_path / "head_peaks").rename(tmp_path / "sources")  # from here on the installed one or none
    assert "3 passed" in run(test, tmp_path)
    validated, pipeline, part = (run(command, tmp_path) for command in others)
    assert validated == "peaks_and_contrasts: valid\n"
    assert "diversifier away_from_kept: Tokens that point away from what is kept.\n" in pipeline
    assert "  calm: 0.5  (number from 0 to 1)\n" in part


@pytest.mark.parametrize(
    ("name", "was", "wrong", "said"),
    [
        ("away_from_kept", "free = ~kept if tokens.valid is None else tokens.valid & ~kept", "free = tokens.valid", 0),
        ("away_from_kept", "free = ~kept if tokens.valid is None else tokens.valid & ~kept", "free = ~kept", 1),
        ("head_peak", "heads.amax(1) - self.calm", "heads.amax(1) - len(heads) - self.calm", 3),
        ("head_peak", "return heads.amax(1) - self.calm * heads.mean(1)", "return heads.amax(1).double()", 4),
        ("head_peak", "heads = tokens.cue(name).float()", "heads = tokens.cue(name).float().mul_(2)", 5),
    ],
)
def test_the_kit_says_what_the_page_says_it_does(name, was, wrong, said):
    source = BLOCKS[f"head_peaks/{name}.py"]
    assert source.count(was) == 1
    module = {"__name__": name}
    exec(source.replace(was, wrong), module)
    rows = re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)
    part = module["AwayFromKept" if name == "away_from_kept" else "HeadPeak"]()
    with pytest.raises(AssertionError, match=re.escape(rows[said])):
        check_diversifier(part) if name == "away_from_kept" else check_scorer(part)


def test_a_mean_over_padding_is_noticed():
    source = BLOCKS["head_peaks/head_peak.py"].replace("heads.mean(1)", "heads.mean((1, 2), keepdim=True)[:, 0]")
    module = {"__name__": "padded"}
    exec(source, module)
    with pytest.raises(AssertionError, match="tokens that are not valid change no score of others"):
        check_scorer(module["HeadPeak"]())
