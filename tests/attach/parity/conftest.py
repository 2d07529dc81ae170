from copy import deepcopy
from functools import cache

import pytest
import torch
from attach import tiny
from attach.parity.oracle import Hand, see, staying

import tokenprune


@pytest.fixture(autouse=True)
def one_thread():
    """Threads cost these models more than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=tiny.MODELS)
def kind(request):
    return request.param


@cache
def _built(kind, use):
    """One model for each use; building takes longer than copying, and most tests take a moment."""
    return tiny.MODELS[kind]()


@pytest.fixture
def model(kind):
    """The model that is attached."""
    return deepcopy(_built(kind, "model"))


@pytest.fixture
def twin(kind):
    """The same weights, never attached; shared by all tests, so leave it as it is."""
    return _built(kind, "twin")


@pytest.fixture(params=["keep", "renumber"])
def positions(request):
    return request.param


@pytest.fixture
def quarter(positions):
    """A pipeline that keeps nine of the 36 tokens of an image."""
    return tokenprune.load("fastervlm", budget="25%", positions=positions)


@pytest.fixture
def by_hand(twin, quarter, positions):
    """What that pipeline has to give for a batch of inputs."""

    def hand(inputs, numbering="generate"):
        pixels = inputs.get("pixel_values")
        stays = None if pixels is None else staying(see(twin, pixels), quarter)
        return Hand(twin, inputs, stays, positions, numbering)

    return hand
