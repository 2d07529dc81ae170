import json
import re
from io import StringIO

import pytest
from house import ROOT
from rich.console import Console
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from tokenprune.cli import benched
from tokenprune.scenes import folder

RECORDS = ("bench-small", "bench-7b-2-layers", "bench-embedded")
QUICK = ("--rounds", "2", "--new-tokens", "2", "--no-break-even", "--budget", "28")


@pytest.fixture
def shown(monkeypatch):
    """shown(record): what is printed of it, by line, in 80 columns."""

    def show(record):
        screen = Console(file=StringIO(), width=80, highlight=False)
        monkeypatch.setattr(benched, "stdout", lambda: screen)
        benched.show(record)
        return [line.rstrip() for line in screen.file.getvalue().splitlines()]

    return show


@pytest.mark.parametrize("name", RECORDS)
def test_the_page_shows_the_record(shown, name):
    record = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text("utf-8"))
    page = (ROOT / "docs/bench.md").read_text("utf-8")
    (block,) = re.findall(rf"\n\$ {re.escape(record['command'])}\n((?s:.*?))```", page)
    assert shown(record) == block.splitlines()


def test_the_embedded_model_is_timed(call):
    found = call("bench", *QUICK, COLUMNS="80")
    assert found.exit_code == 0
    assert re.search(r"^pruner +vispruner 28: 28 of 256 visual tokens$", found.stdout, re.MULTILINE)
    for line in ("all tokens", "pruned", "limit", "all / pruned", "pruned / limit", "vision tower", "cue", "selection"):
        assert re.search(rf"^{line} +\d", found.stdout, re.MULTILINE)
    assert "…" not in found.stdout
    assert "visual tokens  kept" not in found.stdout


def test_json_is_the_whole_record(call):
    record = json.loads(call("bench", folder(), *QUICK, "--text", "9", "--json").stdout)
    assert (record["model"], record["weights"]) == (str(folder()), "loaded")
    assert (record["prompt"], record["image"], record["rounds"]) == (256 + 9, [128, 128], 2)
    assert record["command"].startswith("tokenprune bench")


@pytest.fixture
def size(tmp_path):
    """A config, and nothing else."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**sizes, image_size=24, patch_size=4)
    text = LlamaConfig(**sizes, vocab_size=64)
    LlavaConfig(vision_config=vision, text_config=text, image_token_index=60).save_pretrained(tmp_path / "size")
    return tmp_path / "size/config.json"


def test_weights_may_be_drawn_and_depth_cut(call, size):
    found = call("bench", "--random-weights", size, "--layers", "2", *QUICK)
    assert found.exit_code == 0
    assert re.search(r"^weights  random, .* million; language model of 2 of 3 layers$", found.stdout, re.MULTILINE)


def test_an_image_may_be_of_another_size_where_the_model_takes_it(call):
    record = json.loads(call("bench", "--image", "96x64", *QUICK, "--json").stdout)
    assert record["image"] == [96, 64]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--budget", "300"],
            "a budget of 300 keeps all 256 visual tokens of this image, so there is nothing to compare",
        ),
        (["--device", "cuda"], "cannot use the device 'cuda'"),
        (["--layers", "2"], "--layers cuts the depth of drawn weights only; add --random-weights, or leave it out"),
        (["x", "--random-weights", "y"], "name a model or --random-weights, not both; got 'x' and 'y'"),
        (["--random-weights", "llava-1.5-7c"], "sizes that are built in: llava-1.5-7b"),
        (
            ["--random-weights", "llava-1.5-7b", "--layers", "33"],
            "--layers 33: this language model has 32; ask for 1 to 32",
        ),
        (["--random-weights", "llava-1.5-13b"], "these weights take 49.7 GiB in float32"),
        (["./none"], "there is no model folder at './none'"),
        (["--pipeline", "visprune"], "did you mean 'vispruner'"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(call, monkeypatch, arguments, said):
    monkeypatch.setattr("tokenprune.measure.random_weights.free_memory", lambda device: 2**30)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = call("bench", *arguments)
    assert (found.exit_code, found.stdout) == (1, "")
    assert said in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(("seconds", "said"), [(12.345, "12.35 s"), (0.01234, "12.3 ms"), (0.000254, "0.254 ms")])
def test_durations_have_a_unit_that_suits_them(seconds, said):
    assert benched.clocked(seconds) == said


def test_what_was_not_measured_is_not_shown(shown):
    record = json.loads((ROOT / "benchmarks/results/bench-7b-2-layers.json").read_text("utf-8"))
    del record["each_token"]
    record |= {"peak_bytes": {"full": 5, "pruned": None, "limit": 5}, "same_answer_as_the_limit": False}
    record["break_even"] = {"pays_from": None, "sizes": [], "reason": "it reads thumbnails"}
    lines = shown(record)
    assert not [line for line in lines if "peak" in line]
    assert "it keeps the first ones" in lines
    assert lines[-1] == "no break-even: it reads thumbnails"
    record["break_even"] = {
        "pays_from": None,
        "sizes": [{"tokens": 16, "kept": 2, "speed_up": record["stages"]["prefill"]}],
    }
    assert shown(record)[-1] == "break-even: at none of these sizes does pruning pay"
    record["break_even"]["pays_from"] = 16
    assert shown(record)[-1] == "break-even: pruning pays at every one of these sizes"
