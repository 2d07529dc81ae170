import pytest
import torch
from attach import tiny
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface


def _seen(value):
    """A value as something that compares: containers by what they hold, configs by what they say, the rest itself."""
    if isinstance(value, dict):
        return {key: id(item) for key, item in value.items()}
    return (id(value), value.to_dict()) if hasattr(value, "to_dict") else id(value)


@pytest.fixture
def traces():
    """Everything that could be left on a model: attributes, hooks, parameters, configs, of every module in it."""

    def look(model):
        return {
            name: {key: _seen(value) for key, value in vars(module).items()} for name, module in model.named_modules()
        }

    return look


@pytest.fixture(autouse=True)
def registry_untouched():
    def snapshot():
        shared = {name: fn for name, fn in AttentionInterface._global_mapping.items() if name != "tokenprune"}
        return shared, dict(ALL_ATTENTION_FUNCTIONS._local_mapping)

    before = snapshot()
    yield
    assert snapshot() == before


@pytest.fixture
def build():
    def model(kind="llava", **rest):
        """A tiny model that has run once: transformers leaves hooks of its own on the first run."""
        built = tiny.MODELS[kind](**rest)
        with torch.no_grad():
            built(**tiny.prompts(built))
        return built

    return model


@pytest.fixture
def model(build):
    return build()


@pytest.fixture
def inputs(model):
    return tiny.prompts(model)
