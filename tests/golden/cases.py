"""The recorded cases, and their inputs built once each."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from golden.inputs import make, sha

_DATA = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True)
class Case:
    """What released code chose for one input; the fields are those of the files, see their README."""

    id: str
    inputs: dict
    input_sha: dict
    params: dict
    exact: bool
    arrays: dict
    expect: dict
    note: str = ""

    def input(self, name):
        """[..., N, C] features or [..., N] attention, in the dtype of the case."""
        dtype = getattr(torch, self.params.get("dtype", "float32"))
        return torch.from_numpy(_build(json.dumps(self.inputs[name]), self.input_sha[name])).to(dtype)

    def mask(self, count):
        """[B, N] bool."""
        return torch.from_numpy(np.unpackbits(self.arrays["mask"], axis=-1)[..., :count].astype(bool))


def cases(method):
    """All cases of one method."""
    arrays = np.load(_DATA / f"{method}.npz")
    raw = json.loads((_DATA / f"{method}.json").read_text(encoding="utf-8"))["cases"]
    return [Case(**one | {"arrays": {name: arrays[f"{one['id']}/{name}"] for name in one["arrays"]}}) for one in raw]


@cache
def _build(spec, fingerprint):
    array = make(json.loads(spec))
    assert sha(array) == fingerprint, f"{spec} came out differently than when the expectations were recorded"
    return array
