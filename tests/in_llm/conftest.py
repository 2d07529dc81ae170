import copy

import pytest
import torch
from attach import tiny


@pytest.fixture(scope="session")
def model():
    """Four language layers, so that two stages leave layers before, between and after them."""
    return tiny.llava(layers=4)


@pytest.fixture(scope="session")
def twin(model):
    other = copy.deepcopy(model)
    other.set_attn_implementation("eager")
    return other


@pytest.fixture(autouse=True)
def _exact():
    with torch.no_grad():
        yield
