from copy import deepcopy

import pytest
import transformers
from pages.fences import ROOT

import tokenprune
from tokenprune import scenes


@pytest.fixture(scope="session")
def embedded():
    return scenes.load()


@pytest.fixture
def names(embedded, monkeypatch, tmp_path):
    """What a reader has at hand: the package, a model and its processor, an image, a prompt, and the inputs they make.

    Pages name models on the hub; none is downloaded, and the embedded one stands for all of them.
    """
    model, processor = deepcopy(embedded[0]), embedded[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", lambda *_, **__: model)
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda *_, **__: processor)
    (tmp_path / "mine.yaml").write_text((ROOT / "tests/pages/mine.yaml").read_text())
    scene = scenes.draw(0)
    scene.image.save(tmp_path / "cat.png")
    prompt = f"USER: <image> {scene.questions()[0].text} ASSISTANT:"
    inputs = processor(images=scene.image, text=prompt, return_tensors="pt")
    found = {"tokenprune": tokenprune, "model": model, "processor": processor, "image": scene.image}
    yield {**found, "prompt": prompt, "inputs": inputs}
    assert "generate" not in vars(model), "the page leaves the model attached"
