import contextlib
import json

import pytest
import torch
from families import cases, crops, document, native, sized, stand_ins, tiles, tiny

import tokenprune
from tokenprune import scenes
from tokenprune.errors import AttachError, TokenpruneError, UnknownName
from tokenprune.family import family_of, submodule, tower_of
from tokenprune.footage import footage
from tokenprune.inspection import inspect_model
from tokenprune.listen import layers_path
from tokenprune.placeholders import alone, count_placeholders, count_rows, layout_of


@pytest.fixture
def saved(tmp_path):
    """saved(model) is a folder with the model's config and nothing else."""

    def save(model):
        model.config.save_pretrained(tmp_path)
        return str(tmp_path)

    return save


@pytest.mark.parametrize("name", cases.CASES)
def test_rows_are_counted_as_processors_count_placeholders(name):
    case = cases.CASES[name]
    model = case.build()
    family = family_of(model)
    call = case.inputs(model, case.prompts[:1])
    placeholders = int((call["input_ids"] == getattr(model.config, family.placeholder)).sum())
    assert count_rows(family, model, call) == (placeholders if family.cross is None else None)


def pixels_of(name, model, call):
    """(height, width) in pixels of every image of a call, or of every crop, as its processor cut them."""
    vision = model.config.vision_config if hasattr(model.config, "vision_config") else model.config
    patch = getattr(vision, "patch_size", None)
    if "image_sizes" in call:
        return call["image_sizes"].tolist()
    if name == "inkling2":  # its processor counts tokens
        patch *= vision.spatial_merge_size
    for key in ("image_grid_thw", "image_grid_hw", "spatial_shapes", "target_sizes"):
        if key in call:
            return (call[key][:, -2:] * patch).tolist()
    if "image_position_ids" in call:
        patch *= vision.pooling_kernel_size if name == "gemma4_unified" else 1
        return ((call["image_position_ids"].amax(1).flip(-1) + 1) * patch).tolist()
    if name == "inkling_mm_model":
        return [size for prompt in sized.ODD for size in prompt]
    grids = native.GRIDS if name == "fuyu" else []
    return [(height * patch, width * patch) for prompt in grids for height, width in prompt]


@pytest.mark.parametrize("name", [name for name in cases.CASES if cases.layout(name) == "native"])
def test_an_image_that_is_not_resized_has_as_many_tokens_as_the_config_alone_says(name):
    case = cases.CASES[name]
    model = case.build()
    family = family_of(model)
    call = case.inputs(model, case.prompts)
    sizes, layout = pixels_of(name, model, call), layout_of(family, tower_of(family, model)[1])
    placeholders = int((call["input_ids"] == getattr(model.config, family.placeholder)).sum())
    assert len(sizes) >= 3
    if name == "video_llama_3, merged":  # the call says how many patches become one
        placeholders *= 4
    assert sum(alone(layout, family, model, size) for size in sizes) == placeholders


@pytest.mark.parametrize("name", cases.VIDEOS)
def test_videos_have_as_many_tokens_as_the_config_alone_says(name):
    case = cases.VIDEOS[name]
    model = case.build()
    one = family_of(model).modalities["video"]
    call = case.inputs(model, case.prompts)
    placeholders = int((call["input_ids"] == getattr(model.config, one.placeholder)).sum())
    if "video_grid_thw" in call:
        vision = model.config.vision_config
        videos = [
            (count * vision.temporal_patch_size, (height * vision.patch_size, width * vision.patch_size))
            for count, height, width in call["video_grid_thw"].tolist()
        ]
    else:
        many, frames, _, height, width = call["pixel_values_videos"].shape
        videos = [(frames, (height, width))] * many
    found = [footage(family_of(model), model, size, frames) for frames, size in videos]
    assert all(video.pruned for video in found)
    if name == "perception_lm":
        assert {(video.count, video.rows) for video in found} == {(None, stand_ins.FRAMES)}
        assert "only a run" in found[0].note
        return
    assert sum(video.count for video in found) == placeholders
    with tokenprune.attach(model, "divprune", budget=1) as pruned:
        model.generate(**call, max_new_tokens=1)
    rows = [len(image.rows) for image in pruned.receipt.images if image.kind == "video"]
    assert [video.rows for video in found] == rows


def test_frames_that_do_not_fill_a_group_are_a_row_too():
    found = inspect_model("qwen2_vl", (280, 560), 7).videos
    assert (found.rows, found.count, found.frames) == (4, 800, 7)
    assert "a group of 2 frames" in found.how
    assert "each keeps one" not in found.how
    assert "each keeps one" in inspect_model("qwen3_vl").videos.how


def test_videos_that_are_not_pruned_say_what_becomes_of_them():
    said = {name: footage(family_of(model), model) for name, model in _without_videos()}
    assert not any(one.pruned for one in said.values())
    assert {name for name, one in said.items() if one.how.startswith("as images")} == set(cases.AS_IMAGES)
    assert "with a warning" in said["kimi_k25"].how
    assert said["llava"].how == "none: it takes images alone"


def _without_videos():
    for name in ("llava", "kimi_k25", "qianfan_ocr", "idefics3", *cases.AS_IMAGES):
        yield name, cases.CASES[name].build()


def test_tokens_that_are_looked_at_sideways_are_counted():
    case = cases.CASES["mllama"]
    model = case.build()
    call = case.inputs(model, case.prompts[:1])
    one = {name: value for name, value in call.items() if name.startswith("aspect_ratio")}
    found = count_placeholders(family_of(model), model, (40, 60), lambda images, return_tensors: one, "")
    with tokenprune.attach(model, "divprune", budget=1) as pruned:
        model.generate(**call, max_new_tokens=1)
    assert found.count == pruned.receipt.before
    assert "no places of the prompt" in found.note


@pytest.mark.parametrize("name", ["fast_vlm", "perception_lm"])
def test_what_only_the_encoder_knows_it_is_asked_without_weights(name):
    case = cases.CASES[name]
    model = case.build().to("meta")
    call = case.inputs(model, case.prompts)
    assert count_rows(family_of(model), model, call) == int((call["input_ids"] == tiny.IMAGE).sum())


NO_COUNT = [("molmo2", None), pytest.param("fuyu", {"images": []}, marks=pytest.mark.since(cases.EVERY["fuyu"].since))]


@pytest.mark.parametrize(("name", "given"), NO_COUNT)
def test_where_there_is_no_count_it_is_said_what_to_give(name, given):
    model = cases.CASES[name].build()
    processor = None if given is None else lambda images, return_tensors: given
    found = count_placeholders(family_of(model), model, (40, 60), processor, "there is none")
    assert found.count is None
    assert ("only a run" if given else "name the folder that the model was saved to with its processor") in found.note


@pytest.mark.parametrize("build", [tiles.llava, tiles.llama4, native.qwen2_vl, native.pixtral, crops.llava_onevision])
def test_what_is_said_of_a_folder_is_what_attaching_finds(build, saved):
    model = build()
    found, family = inspect_model(saved(model)), family_of(model)
    encoder, spec = tower_of(family, model)
    stem, attention = layers_path(encoder, spec)
    module = submodule(model.base_model, found.attention.format(found.depth - 1))
    assert module is submodule(encoder, f"{stem}.{len(submodule(encoder, stem)) - 1}.{attention}")
    assert (found.refused, found.model, found.cls) == (None, type(model).__name__, spec.cls)
    assert (found.encoder, found.positions) == (model.config.vision_config.model_type, family.positions)
    assert found.layout == next(kind for name, kind in _kinds() if cases.CASES[name].build is build)
    case = next(case for case in cases.CASES.values() if case.build is build)
    with tokenprune.attach(model, "vispruner", budget=2) as pruned:
        model.generate(**case.inputs(model, case.prompts[:1]), max_new_tokens=1)
    assert pruned.receipt.source == (found.cues["cls_attention" if spec.cls else "received_attention"],)


def _kinds():
    return [(name, cases.layout(name)) for name in cases.CASES]


def test_a_pipeline_that_does_not_apply_says_what_attach_says(saved):
    model = tiles.got_ocr2()
    found = inspect_model(saved(model))
    assert (found.refused, found.attention, found.cues) == (None, None, {})
    assert set(found.pipelines) == set(tokenprune.list_pipelines())
    for name, reason in found.pipelines.items():
        if reason is None:
            tokenprune.attach(model, name).detach()
        else:
            with pytest.raises(TokenpruneError) as problem:
                tokenprune.attach(model, name)
            assert str(problem.value) == reason
    assert found.pipelines["divprune"] is None
    assert found.pipelines["vispruner"] is not None


def test_a_folder_with_an_image_processor_counts_as_it_does():
    _, processor = scenes.load()
    image = scenes.draw(0).image
    ids = processor(images=image, text=f"{processor.image_token} What?", return_tensors="pt")["input_ids"]
    found = inspect_model(str(scenes.folder()), image.size[::-1]).placeholders
    assert found.count == int((ids == processor.image_token_id).sum())
    assert found.note == ""


@pytest.mark.parametrize(
    ("model_type", "size", "count", "note"),
    [
        ("llava", (10, 9), 576, ""),  # 336 / 14 squared, whatever the image
        ("qwen2_vl", (280, 560), 200, "resized"),  # 28 pixels a token
        ("qwen2_vl", (1, 1), 1, "resized"),
        ("internvl", (480, 640), 256, "cut into"),  # 448 / 14 / 2 squared
    ],
)
def test_a_config_alone_says_what_it_does_not_know(model_type, size, count, note):
    found = inspect_model(model_type, size).placeholders
    assert (found.count, found.height, found.width) == (count, *size)
    assert note in found.note
    assert bool(found.note) == bool(note)


def test_a_packed_image_is_counted_with_its_newlines():
    found = inspect_model("llava_next", (336, 672)).placeholders
    assert (found.count, found.note) == (576 + 24 * 49, "")  # an overview, and two crops side by side in 24 lines


def test_no_weights_are_made():
    before = torch.get_default_device()
    assert inspect_model("qwen2_5_vl").model == "Qwen2_5_VLForConditionalGeneration"  # of 75 G parameters
    assert torch.get_default_device() == before


def test_a_model_that_is_not_known_is_refused_with_the_words_of_attach(saved):
    found = inspect_model("llama")
    assert found.refused.startswith("no family is registered for model_type 'llama'")
    assert (found.model, found.family, found.pipelines) == (None, None, {})


def test_an_encoder_that_is_not_proven_is_refused(tmp_path):
    config = {"model_type": "llava", "vision_config": {"model_type": "dinov2"}, "text_config": {"model_type": "llama"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = inspect_model(str(tmp_path / "config.json"))
    assert found.family == "llava"
    assert "'dinov2'" in found.refused


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("llavva", UnknownName, "knows no model type 'llavva'; did you mean 'llava'?"),
        ("./missing", AttachError, "no model folder and no config file at './missing'"),
        ("missing.json", AttachError, "no model folder and no config file at 'missing.json'"),
        ("empty", AttachError, "the folder 'empty' holds no config.json"),
        ("broken.json", AttachError, "cannot read the config 'broken.json': "),
        ("list.json", AttachError, "'list.json' is no config of a model"),
        ("nameless.json", AttachError, "'nameless.json' is no config of a model"),
        ("strange.json", UnknownName, "knows no model type 'qwen2_vll'; did you mean 'qwen2_vl'?"),
        ("wrong.json", AttachError, "cannot read the config 'wrong.json': "),
        ("uneven.json", AttachError, "cannot read the config 'uneven.json': "),
        ("owner/name", AttachError, "cannot read the config of 'owner/name': no network"),
    ],
)
def test_what_cannot_be_read_is_said(source, error, said, tmp_path, monkeypatch):
    from transformers import AutoConfig

    real = AutoConfig.from_pretrained

    def offline(name, *args, **options):
        if "/" in name:
            raise OSError("no network.\nTry again.")
        return real(name, *args, **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    (tmp_path / "empty").mkdir()
    uneven = {"model_type": "clip_vision_model", "hidden_size": 10, "num_attention_heads": 3}
    for name, text in {
        "broken": "{",
        "list": "[]",
        "nameless": "{}",
        "strange": '{"model_type": "qwen2_vll"}',
        "wrong": '{"model_type": "llava", "vision_config": 3}',
        "uneven": json.dumps({"model_type": "llava", "vision_config": uneven}),
    }.items():
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(error) as problem:
        inspect_model(source)
    assert said in str(problem.value)


def test_a_model_that_cannot_be_built_is_said(monkeypatch):
    from transformers import AutoModelForImageTextToText

    def fail(*_):
        raise ValueError("sizes do not fit:\n 3 and 4.\nmore")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_config", fail)
    with pytest.raises(
        AttachError, match="cannot lay out a model of LlavaConfig: sizes do not fit: 3 and 4; a default"
    ):
        inspect_model("llava")


@pytest.mark.parametrize("strategy", ["full", "default"])
@pytest.mark.parametrize("build", [tiles.llava, tiles.llava_siglip])
def test_rows_beside_the_patches_are_counted(build, strategy):
    model = build()
    model.config.vision_feature_select_strategy = strategy
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        rows = torch.cat(list(model.model.get_image_features(pixels, return_dict=True).pooler_output))
    assert count_rows(family_of(model), model, {"pixel_values": pixels}) == len(rows)


def test_an_image_processor_is_shown_the_image_upright():
    model, shown = native.qwen2_vl(), []

    def processor(images, return_tensors):
        shown.extend(image.size for image in images)
        return {"image_grid_thw": torch.tensor([[1, 4, 6]])}

    found = count_placeholders(family_of(model), model, (40, 60), processor, "")
    assert shown == [(60, 40)]
    assert (found.height, found.width, found.count, found.note) == (40, 60, 6, "")


@pytest.mark.parametrize("model_type", sorted(document.promised() & document.mapping().keys()))
def test_every_default_config_is_described_or_refused_in_words(model_type):
    with contextlib.suppress(AttachError):  # a default config may not fit together; that is said, and no other way
        found = inspect_model(model_type, (336, 336))
        assert found.family
        assert (found.refused is None) == (found.layout is not None)
        json.dumps(found.to_dict())
