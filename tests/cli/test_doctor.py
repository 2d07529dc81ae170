import json
import os
import re
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch
from house import ROOT
from importlib_metadata import EntryPoint

from tokenprune import registry, scenes
from tokenprune.cli import asking, diagnosis
from tokenprune.cli.diagnosis import Finding, diagnose, installed, machine, working

FINE = [Finding("python", "fine", "3.11"), Finding("threads", "note", "one of four", "take more")]


@pytest.fixture
def findings(monkeypatch):
    """findings([...]) makes them what is found."""
    return lambda found: monkeypatch.setattr(diagnosis, "diagnose", lambda: iter(found))


@pytest.fixture
def distributions(monkeypatch):
    """distributions(name=(version, requires, direct_url)) makes them what is installed."""

    def install(**given):
        known = {name.replace("_", "-"): fake(*values) for name, values in given.items()}

        def distribution(name):
            if name not in known:
                raise PackageNotFoundError(name)
            return known[name]

        monkeypatch.setattr(installed, "distribution", distribution)
        monkeypatch.setattr(installed, "version", lambda name: distribution(name).version)

    return install


def fake(version, requires=(), direct_url=None, entry_points=()):
    points = [SimpleNamespace(group=group, name=name) for group, name in entry_points]
    return SimpleNamespace(
        version=version, requires=list(requires), entry_points=points, read_text=lambda name: direct_url
    )


# --- the command ------------------------------------------------------------------------------------------------------


def test_all_is_well_here_and_the_embedded_model_was_asked(call, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = call("doctor", "--json")
    assert (found.exit_code, found.stderr) == (0, "")
    said = json.loads(found.stdout)
    assert said["healthy"]
    told = {one["name"]: one for one in said["findings"]}
    assert {"python", "tokenprune", "torch", "transformers", "threads", "attention", "image processors"} <= set(told)
    assert re.fullmatch(r"tokenprune-vlm: \d+ names work", told["plug-ins"]["found"])
    assert told["embedded model"]["found"].startswith("keeps 28 of 256 tokens on ")
    assert all(one["remedy"] for one in said["findings"] if one["status"] != "fine")


def test_notes_alone_end_with_0(call, findings):
    findings(FINE)
    found = call("doctor")
    assert (found.exit_code, found.stderr) == (0, "")
    lines = [line.rstrip() for line in found.stdout.splitlines()]
    assert lines == [
        "✓ python  3.11",
        "! threads one of four",
        "          to do: take more",
        "",
        "nothing is broken, 1 note",
    ]


def test_what_is_broken_ends_with_1_and_a_remedy(call, findings):
    findings([*FINE, Finding("torch", "broken", "missing", "pip install torch")])
    found = call("doctor")
    assert found.exit_code == 1
    assert found.stdout.splitlines()[-1] == "1 broken, 1 note"
    assert "to do: pip install torch" in found.stdout
    found = call("doctor", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["findings"][2] == {
        "name": "torch", "status": "broken", "found": "missing", "remedy": "pip install torch"
    }  # fmt: skip


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(diagnosis, "CHECKS", (("installed", "model_library"), ("machine", "threads")))
    monkeypatch.setattr(installed, "version", lambda name: 1 / 0)
    first, second = diagnose()
    assert (first.name, first.status) == ("model library", "broken")
    assert first.found.startswith("ZeroDivisionError: ")
    assert second.name == "threads"


def test_every_check_is_there():
    for module, check in diagnosis.CHECKS:
        assert callable(getattr({"installed": installed, "machine": machine, "working": working}[module], check))


# --- what is installed ------------------------------------------------------------------------------------------------


def test_the_tested_releases_are_those_that_are_pinned():
    pinned = dict(re.findall(r"^([\w-]+)==(\d+\.\d+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    assert {name: pinned[name] for name in ("torch", "transformers")} == {
        name: installed.TESTED[name] for name in ("torch", "transformers")
    }
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert classifiers[-1] == installed.TESTED["python"]


@pytest.mark.parametrize(
    ("found", "status"), [("5.19.0", "fine"), ("5.23.4", "fine"), ("5.24.0.dev0", "note"), ("6.0", "note")]
)
def test_releases_that_no_test_ran_on_are_noted(distributions, found, status):
    distributions(torch=("2.13.0+cu128",), transformers=(found,))
    torch_said, said = installed.model_library()
    assert (torch_said.status, said.status) == ("fine", status)
    if status == "note":
        assert said.remedy == 'should something fail: pip install "transformers==5.23.*"'


def test_the_rival_of_the_same_import_name_is_broken(distributions):
    distributions(tokenprune_vlm=("0.1.0",))
    assert list(installed.rival()) == []
    distributions(tokenprune_vlm=("0.1.0",), tokenprune=("3.1",))
    (said,) = installed.rival()
    assert said.status == "broken"
    assert "unrelated package 'tokenprune' 3.1" in said.found
    assert said.remedy.startswith("pip uninstall -y tokenprune && pip install --force-reinstall")


def test_what_is_missing_or_too_old_is_broken(distributions):
    requires = ["torch>=2.6", "einops>=0.8", "rich>=13", "pytest>=8; extra == 'test'"]
    distributions(tokenprune_vlm=("0.1.0", requires), torch=("2.5.1",), rich=("13.0",))
    said = {one.name: (one.status, one.found, one.remedy) for one in installed.requirements()}
    assert said == {
        "torch": ("broken", "2.5.1, where >=2.6 is needed", 'pip install "torch>=2.6"'),
        "einops": ("broken", "missing", 'pip install "einops>=0.8"'),
    }


def test_a_package_without_metadata_has_no_names(distributions):
    distributions()
    (said,) = installed.package()
    assert said.status == "broken"
    assert "no strategy has a name" in said.found
    assert list(installed.requirements()) == []


def test_metadata_of_another_release_is_broken(distributions):
    distributions(tokenprune_vlm=("0.0.9",))
    (said,) = installed.package()
    assert said.status == "broken"
    assert said.found.endswith("but the metadata is of 0.0.9")
    assert said.remedy == "pip install --force-reinstall --no-deps tokenprune-vlm"


def test_entry_points_that_the_metadata_lacks_are_named(distributions, tmp_path):
    toml = '[project]\nname = "x"\n[project.entry-points."tokenprune.scorers"]\nnew = "a:B"\nold = "a:C"\n'
    (tmp_path / "pyproject.toml").write_text(toml)
    url = json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    distributions(tokenprune_vlm=(installed.tokenprune.__version__, (), url, [("tokenprune.scorers", "old")]))
    (said,) = installed.package()
    assert (said.status, said.found) == ("broken", "pyproject.toml registers what the metadata lacks: new")
    points = [("tokenprune.scorers", "old"), ("tokenprune.scorers", "new")]
    distributions(tokenprune_vlm=(installed.tokenprune.__version__, (), url, points))
    assert [one.status for one in installed.package()] == ["fine"]


# --- the machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "said", "status"), [(1, "1", "note"), (1, None, "fine"), (4, None, "fine"), (64, "64", "note")]
)
def test_threads_are_held_against_processors(monkeypatch, used, said, status):
    monkeypatch.setattr(machine, "_processors", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: used)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    (one,) = machine.threads()
    assert one.status == status
    assert one.found.startswith(f"torch uses {used} of 4 processors")


def test_processors_are_those_this_process_may_use():
    assert 1 <= machine._processors() <= os.cpu_count()


@pytest.mark.parametrize(
    ("cuda", "tool", "status", "said"),
    [
        ("12.8", None, "note", "torch is built for CUDA 12.8 and sees no GPU"),
        (None, "/bin/nvidia-smi", "note", "this machine has nvidia-smi"),
        (None, None, "fine", "cpu"),
    ],
)
def test_why_there_is_no_gpu(monkeypatch, cuda, tool, status, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(machine.shutil, "which", lambda name: tool)
    (one,) = machine.devices()
    assert one.status == status
    assert said in one.found


def test_every_gpu_is_named(monkeypatch):
    card = SimpleNamespace(name="Card", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    first, second = machine.devices()
    assert (first.name, first.found) == ("cuda:0", "Card, 80 GiB, compute 9.0")
    assert second.name == "cuda:1"


def test_attention_that_is_there_is_named(monkeypatch):
    from transformers.utils import import_utils

    monkeypatch.setattr(import_utils, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(import_utils, "is_torch_flex_attn_available", lambda: False)
    (one,) = machine.attention()
    assert one.found.split(", ")[:3] == ["eager", "sdpa", "flash_attention_2"]
    assert "flex_attention" not in one.found


def test_without_torchvision_pillow_is_named_and_videos_get_a_remedy(monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "version", version)
    (one,) = machine.image_processors()
    assert one.status == "note"
    assert "video processors need torchvision" in one.found
    assert torch.__version__ in one.remedy


@pytest.mark.parametrize(
    ("code", "status"), [("", "fine"), ("raise RuntimeError('operator torchvision::nms does not exist')", "broken")]
)
def test_a_torchvision_of_another_torch_is_broken(monkeypatch, tmp_path, code, status):
    (tmp_path / "torchvision.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(machine, "version", lambda name: "0.1")
    (one,) = machine.image_processors()
    assert one.status == status
    assert status == "fine" or "does not fit this torch: operator" in one.found
    sys.modules.pop("torchvision", None)


def test_a_hub_that_may_not_be_asked_is_noted(monkeypatch):
    for name in machine.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    assert list(machine.offline()) == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (one,) = machine.offline()
    assert (one.status, one.remedy) == ("note", "unset HF_HUB_OFFLINE to download one")


# --- whether it works -------------------------------------------------------------------------------------------------


def test_a_broken_plug_in_is_named_with_whom_to_ask(monkeypatch):
    point = EntryPoint("wrong", "nowhere:Nothing", "tokenprune.scorers")
    vars(point)["dist"] = SimpleNamespace(name="odd-package")
    real = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*real(group=group), *([point] if group == point.group else [])]
    )
    registry.catalog.cache_clear()
    first, *rest = working.plug_ins()
    monkeypatch.undo()
    registry.catalog.cache_clear()
    assert (first.name, first.status, first.remedy) == ("scorers wrong", "broken", "mend or uninstall odd-package")
    assert "No module named 'nowhere'" in first.found
    assert [one.found.split(":")[0] for one in rest] == ["tokenprune-vlm"]


@pytest.mark.parametrize(("found", "named", "least"), [("5.20.0", "fuyu", "5.23"), ("5.22.1", "inkling2", "5.23")])
def test_families_that_need_a_newer_transformers_are_noted(monkeypatch, found, named, least):
    monkeypatch.setattr("transformers.__version__", found)
    (said,) = working.families()
    assert (said.status, said.remedy) == ("note", f'pip install "transformers>={least}"')
    assert said.found.startswith(f"transformers {found} is too old for ")
    assert named in said.found.split("for ")[1].split(", ")
    assert "llava" not in said.found
    monkeypatch.setattr("transformers.__version__", f"{least}.0.dev0")
    assert list(working.families()) == []


@pytest.mark.parametrize(
    ("kept", "right", "status"), [(28, True, "fine"), (256, True, "broken"), (28, False, "broken")]
)
def test_a_model_that_keeps_everything_or_says_nothing_is_broken(monkeypatch, kept, right, status):
    scene = scenes.draw(0)
    answer = SimpleNamespace(text=scene.questions(scene.seed)[0].answer if right else "")
    receipt = SimpleNamespace(after=kept, before=256)
    monkeypatch.setattr(asking, "ask_both", lambda *_, **__: SimpleNamespace(full=answer, receipt=receipt))
    (one,) = working.embedded_model()
    assert one.status == status
    assert f"keeps {kept} of 256 tokens" in one.found
