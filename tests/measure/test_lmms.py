"""The model for lmms-eval, with stand-ins for the few names of lmms-eval that it touches."""

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
from importlib_metadata import entry_points

import tokenprune
from tokenprune import scenes
from tokenprune.errors import UnsupportedMode
from tokenprune.scenes.evaluate import answer, take

ASKED = take("sparse", 5)


@dataclass
class Messages:
    messages: list

    def to_hf_messages(self):
        return self.messages


class Model:
    def __init__(self):
        self.task_dict = {}


def module(name, **content):
    found = ModuleType(name)
    vars(found).update(content)
    return found


@pytest.fixture
def told():
    return []


@pytest.fixture
def pruned(monkeypatch, told):
    """The class, imported beside the stand-ins."""
    logger = SimpleNamespace(info=told.append)
    for one in (
        module("lmms_eval", utils=module("lmms_eval.utils", eval_logger=logger)),
        module("lmms_eval.utils", eval_logger=logger),
        module("lmms_eval.api"),
        module("lmms_eval.api.model", lmms=Model),
        module("lmms_eval.protocol", ChatMessages=Messages),
        module("lmms_eval.models"),
        module("lmms_eval.models.registry_v2", ModelManifest=SimpleNamespace),
    ):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    monkeypatch.delitem(sys.modules, "tokenprune.measure.lmms_model", raising=False)
    yield importlib.import_module("tokenprune.measure.lmms_model").Pruned
    sys.modules.pop("tokenprune.measure.lmms_model", None)


def request(number, **settings):
    return SimpleNamespace(args=("", messages, settings, number, "task", "test"))


def messages(asked):
    scene, question = asked
    content = [{"type": "image", "image": scene.image}, {"type": "text", "text": question.text}]
    return [{"role": "user", "content": content}]


def asked(model, requests):
    model.task_dict["task"] = {"test": ASKED}
    return model.generate_until(requests)


def test_it_is_registered_and_says_where_its_class_is(pruned):
    (point,) = entry_points(group="lmms_eval.models", name="tokenprune")
    found = point.load()()
    assert found.model_id == "tokenprune"
    home, _, name = found.chat_class_path.rpartition(".")
    assert getattr(importlib.import_module(home), name) is pruned
    assert pruned.is_simple is False


def test_answers_are_those_of_the_pipeline_in_the_order_of_the_requests(pruned, told):
    model = pruned(pipeline="vispruner", budget=28, batch_size="2")
    requests = [request(number, max_new_tokens=8 if number % 2 else 7, until=["\n"]) for number in (4, 1, 0, 3, 2)]
    found = asked(model, requests)
    with tokenprune.attach(model.model, "vispruner", budget=28):
        alone = answer(model.model, model.processor, ASKED)
    assert found == [alone[number] for number in (4, 1, 0, 3, 2)]
    assert model.shares == [28 / 256] * 3
    model.clean()
    assert told == ["tokenprune: vispruner kept 10.9 % of the visual tokens"]
    assert asked(model, requests[:1]) == found[:1]


def test_without_a_pipeline_it_is_the_model_itself(pruned, told):
    model = pruned(str(scenes.folder()), device="cpu", dtype="float32")
    assert asked(model, [request(0)]) == answer(*scenes.load(), ASKED[:1])
    model.clean()
    assert told == []


def test_an_answer_ends_where_the_task_says(pruned):
    model = pruned(pipeline="vispruner", budget="50%")
    (whole,) = asked(model, [request(3)])
    first = whole.split()[0]
    assert asked(model, [request(3, until=[whole[len(first) :] or "never"])]) == [first]


def test_what_it_cannot_do_is_said(pruned):
    model = pruned(pipeline="prumerge", budget="100%")
    for ask in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(UnsupportedMode, match="answers generate_until tasks"):
            ask([])
