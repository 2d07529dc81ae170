"""Every pipeline that is registered runs through whole models, or is refused with its reason."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from families import crops, native, tiles

import tokenprune
from tokenprune import BudgetSplitter, Diversifier, Merger, Scorer, load, scenes
from tokenprune.cue_names import LLM_CUES, PREVIOUS
from tokenprune.errors import MissingCue, PipelineError, UnsupportedMode
from tokenprune.named import strategy_class
from tokenprune.registry import catalog

SHARE = "30%"


def embedded():
    """The trained model of the package, with a question about a picture of its own."""
    model, processor = scenes.load()
    scene = scenes.draw(0)
    question = scene.questions()[0].text
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return model, dict(processor(images=scene.image, text=text, return_tensors="pt"))


@cache
def asked(name):
    """A model and a call of it."""
    if name == "embedded":
        return embedded()
    case = {**crops.CASES, **native.CASES, **tiles.CASES}[name]
    model = case.build()
    return model, case.inputs(model, list(case.prompts))


CROPS, SIZES, TILES = "fewer or smaller image_grid_pinpoints", "a smaller max_pixels", "ask the processor for fewer"
REFUSED = {  # what does not run through a model, and what is said
    ("downsample", "llava_next"): CROPS,
    ("downsample", "qwen2_5_vl"): SIZES,
    ("downsample", "internvl"): TILES,
}
PIXELS = {("patch_entropy", model): "grey_histogram" for model in ("qwen2_5_vl", "internvl")}  # not read there


@pytest.mark.parametrize("model", ["embedded", "llava_next", "qwen2_5_vl", "internvl"])
@pytest.mark.parametrize("pipeline", [name for name in tokenprune.list_pipelines() if not load(name).inside])
def test_a_pipeline_runs_through_a_model(pipeline, model):
    built, inputs = asked(model)
    chosen = load(pipeline) if pipeline == "none" else load(pipeline, budget=SHARE)
    if (pipeline, model) in REFUSED:
        with pytest.raises(UnsupportedMode, match=REFUSED[pipeline, model]):
            tokenprune.attach(built, chosen)
        return
    with tokenprune.attach(built, chosen) as pruned:
        out = built.generate(**inputs, max_new_tokens=2, output_logits=True, return_dict_in_generate=True)
    assert torch.stack(out.logits).isfinite().all()
    assert out.sequences.shape[1] <= inputs["input_ids"].shape[1] + 2
    receipt, adaptive = pruned.receipt, chosen.adaptive
    assert len(receipt.images) >= 1
    for image in receipt.images:
        kept = chosen.budget.resolve(image.before)
        assert (0 < image.after <= kept) if adaptive else image.after == kept
        assert len(image.important) + len(image.diverse) + len(image.merged) == image.after < image.before
    assert (receipt.asked == receipt.after) or adaptive


def kept_inside(receipt, nth):
    """Tokens of the n-th image that reach the language model, then those that each stage inside it leaves."""
    return [receipt.images[nth].kept, *(layer.kept[nth] for layer in receipt.layers)]


@pytest.mark.parametrize("model", ["embedded", "llava_next", "qwen2_5_vl", "internvl"])
@pytest.mark.parametrize("pipeline", [name for name in tokenprune.list_pipelines() if load(name).inside])
def test_stages_inside_run_through_a_model(pipeline, model):
    """The small models have two layers: too few for several stages, which is refused."""
    built, inputs = asked(model)
    chosen, depth = load(pipeline), len(built.base_model.language_model.layers)
    chosen = chosen if chosen.budget is None else chosen.replace(budget="60%")
    if len(chosen.inside) >= depth:
        with pytest.raises(PipelineError, match="they must ascend, so write other layers, or fewer stages"):
            tokenprune.attach(built, chosen)
        return
    with tokenprune.attach(built, chosen) as pruned:
        out = built.generate(**inputs, max_new_tokens=2, output_logits=True, return_dict_in_generate=True)
    assert torch.stack(out.logits).isfinite().all()
    receipt, plan = pruned.receipt, chosen.plan(depth)
    assert [layer.layer for layer in receipt.layers] == [layer for layer in plan.layers if layer]
    for nth, image in enumerate(receipt.images):
        found = kept_inside(receipt, nth)
        wanted = plan.counts(image.before)
        assert [len(kept) for kept in found][-len(wanted) :] == list(wanted)
        assert image.before >= len(found[0]) > len(found[-1])
        assert all(set(after.tolist()) <= set(before.tolist()) for before, after in pairwise(found))


PARTS = [(kind, name) for kind in (Scorer, BudgetSplitter, Diversifier, Merger) for name in catalog(kind.group)]
FIELDS = {Scorer: "scorer", BudgetSplitter: "splitter", Diversifier: "diversifier", Merger: "merger"}
HALVES = {Diversifier: {"use": "equal", "important": 0.5}, Merger: {"use": "equal", "important": 0.5, "merged": 0.5}}


READ_INSIDE = LLM_CUES - {"keys", "mean_keys", "inputs"} | {PREVIOUS}  # what no encoder gives


def stages_of(kind, name):
    """A stage with nothing but the part's defaults, where it has something to read."""
    parts = {"scorer": "hidden_norm", "splitter": HALVES.get(kind, "equal"), FIELDS[kind]: name}
    reads = strategy_class(kind, name)().reads
    if not READ_INSIDE & {one.partition("@")[0] for wish in reads for one in wish.split("|")}:
        return {**parts, "space": "projected", "budget": SHARE}
    first = {"scorer": "hidden_norm", "splitter": "equal", "budget": "80%"}
    return {"stages": [first, {**parts, "site": {"llm_layer": 1}, "budget": "40%"}]}


@pytest.mark.parametrize("model", ["embedded", "llava_next", "qwen2_5_vl", "internvl"])
@pytest.mark.parametrize(("kind", "name"), PARTS, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_a_part_runs_through_a_model(kind, name, model):
    """With nothing but its defaults, in the space in which it can also be compared with words."""
    built, inputs = asked(model)
    chosen = load({"name": "part", **stages_of(kind, name)})
    if (name, model) in PIXELS:
        with pytest.raises(MissingCue, match=PIXELS[name, model]):
            tokenprune.attach(built, chosen)
        return
    with tokenprune.attach(built, chosen) as pruned, torch.no_grad():
        built(**inputs)
    for nth, image in enumerate(pruned.receipt.images):
        left = kept_inside(pruned.receipt, nth)[-1]
        wanted = (chosen.stages[-1].budget or chosen.budget).resolve(image.before)
        assert len(left) == wanted or (chosen.adaptive and image.after)
        assert (len(image.merged) > 0) == (kind is Merger)


def test_what_is_asked_decides_what_stays():
    built, inputs = asked("embedded")
    pipeline = load({"name": "p", "scorer": "text_relevance", "splitter": "equal", "space": "projected", "budget": 20})
    kept, ids = [], inputs["input_ids"]
    for shift in (0, 1):
        other = torch.where((ids > 20) & (ids != built.config.image_token_index), ids - shift, ids)
        with tokenprune.attach(built, pipeline) as pruned, torch.no_grad():
            built(**{**inputs, "input_ids": other})
        kept.append(pruned.receipt.images[0].kept.tolist())
    assert kept[0] != kept[1]


def test_fewer_than_an_adaptive_pipeline_may_keep_is_no_complaint():
    built, inputs = asked("embedded")
    with tokenprune.attach(built, "prumerge", budget="90%", strict=True) as pruned, torch.no_grad():
        built(**inputs)
    assert 0 < pruned.receipt.after < pruned.receipt.asked == 230
    assert len(pruned.receipt.images[0].merged) == 1


@pytest.mark.parametrize("action", ["keep", "drop"])
def test_a_region_of_the_image_is_kept_or_dropped(action):
    built, inputs = asked("embedded")
    box = {"use": "region", "boxes": [[0, 0, 0.5, 0.25]], "action": action}  # 8 x 4 of 16 x 16 tokens
    scorer = {"use": "sum", "of": [box, "uniform"], "weights": [2, 1]}
    budget = 32 if action == "keep" else 224
    with tokenprune.attach(built, "region", scorer=scorer, budget=budget) as pruned, torch.no_grad():
        built(**inputs)
    y, x = pruned.receipt.images[0].kept // 16, pruned.receipt.images[0].kept % 16
    assert (((y < 4) & (x < 8)) == (action == "keep")).all()
