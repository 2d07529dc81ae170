"""The page of methods is what the code says, and the code says enough."""

import pytest
from methods import document

from tokenprune import list_pipelines
from tokenprune.about import families_giving, part, parts
from tokenprune.cli.sheet import head
from tokenprune.registry import yaml_of


def test_the_page_is_current():
    assert document.PAGE.read_text(encoding="utf-8") == document.page()


def test_every_setting_of_every_part_says_what_it_does():
    silent = [f"{one.name}.{it.name}" for one in parts() for it in one.settings if not it.meaning]
    assert silent == []


def test_every_part_says_what_it_computes():
    assert [one.name for one in parts() if len(one.formula) < 40] == []


@pytest.mark.parametrize("name", list_pipelines())
def test_every_pipeline_says_what_it_reads(name):
    said = head(yaml_of(name))
    assert "reads" in said.lower() or name in {"random", "uniform"}
    assert "tokenprune.attach" not in said


def test_the_table_says_where_tokens_leave():
    rows = {row[0].split("`")[1]: row for row in document.overview()}
    told = {name: row[2] for name, row in rows.items()}
    assert [told[name] for name in ("vispruner", "fastv", "vscan", "downsample")] == [
        "before",
        "inside",
        "both",
        "the image",
    ]
    assert rows["visual_exit"][3:] == ["none", "nothing", "0% of its stage"]
    assert rows["fastv"][4:] == ["`last_attention@previous`", "53.125%"]


def test_settings_are_told_as_they_are():
    settings = {it.name: it for it in part("diversifiers", "suppression").settings}
    assert (settings["growth"].default, settings["growth"].kind) == ("false", "true, false")
    assert (settings["balance"].default, settings["balance"].kind) == ("0.5", "number from 0 to 1")
    assert settings["radius"].default == "null"
    assert part("diversifiers", "windowed").settings[0].default == "[6, 6]"
    assert part("splitters", "thumbnail_guided").settings[0].default == "cls_attention, of: logits"
    assert part("scorers", "hidden_norm").settings[1].default == "1"


def test_families_give_what_their_encoders_declare():
    row, either, words = (
        families_giving(wish) for wish in ("cls_attention", "cls_attention|received_attention", "question")
    )
    assert "llava (clip_vision_model)" in row.families
    assert "llava" in either.families
    assert "qwen2_5_vl" in row.without
    assert "mllama" in words.without
    assert str(families_giving("nothing")).startswith("none of ")
    assert len(either.families) + len(either.without) == len(row.families) + len(row.without)
