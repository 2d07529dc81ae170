"""Nothing on the hot path asks the device for a value, and nothing's shape depends on one."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tokenprune import Budget, VisualTokens, load, ranks
from tokenprune_strategies.cls_attention import ClsAttention

SHAPES = [(1, 70, 16), (3, 150, 8)]
SHIPPED = ("vispruner", "fastervlm", "divprune", "random", "uniform", "scope", "agilepruner", "adaptprune", "hiprune")
PARTS = (
    "dpp",
    "pivots",
    "density_peaks",
    {"use": "windowed", "share": "mean"},
    {"use": "windowed", "segments": 7, "scorer": "uniform"},
    {"use": "union", "first": "by_score", "then": {"use": "suppression", "decay": "subtract"}, "share": 0.4},
    {"use": "facility_location", "temperature": 0.2, "cover": "question"},
)
MADE = {
    f"of {part}": {"name": "made", "scorer": "cls_attention", "splitter": splitter, "diversifier": part, "budget": 33}
    for part in PARTS
    for splitter in [{"use": "equal", "important": 0.3}]
}
NAMES = [*SHIPPED, *(pytest.param(made, id=name) for name, made in MADE.items())]
FOLDING = ("visionzip", "prumerge_plus", "vscan", "vflowopt", "llavolta", "pool", "vmtc", "tome", "region")
INSIDE = ("fastv", "pyramiddrop", "sparsevlm", "sparsevlm_plus", "visiondrop", "dart", "v2drop", "visual_exit")
CUES = ("cls_attention", "cls_attention@21%", "wide_cls_attention@-1", "received_attention@-2")
CUES += ("received_attention@33%", "global_attention:34.76@-2", "last_attention@previous", "last_attention@this")
SYNCS = ("_local_scalar_dense", "nonzero", "aten.equal", "masked_select", "unique", "is_nonzero")


@pytest.fixture(autouse=True)
def _a_device_that_is_far(monkeypatch):
    """What a CPU may look at because it is there, an accelerator would have to wait for: go its way here too."""
    monkeypatch.setattr(ranks, "AT_HAND", ())


def drawn(shape, seed=0, device="cpu", counts=None, group=None):
    """Tokens with a CLS row, on a grid in reading order; ragged when ``counts`` are given."""
    g = torch.Generator().manual_seed(seed)
    batch, count, _ = shape
    x, attention = torch.randn(shape, generator=g), torch.rand(batch, 4, count, generator=g)
    valid = None if counts is None else (torch.arange(count) < torch.tensor(counts)[:, None]).to(device)
    cues = dict.fromkeys(CUES, attention)
    cues |= {
        "received_attention": attention.flip(2),
        "text_attention@previous": attention[:, :, None].expand(-1, -1, 4, -1),
    }
    for name in ("visual_attention@this", "layer_change", "previous_scores"):
        cues[name] = attention[:, 0]
    cues["text_prior@previous"] = attention
    keys = ("mean_keys", "keys@-1", "keys@previous", "mean_keys@this")
    cues |= {name: torch.randn(batch, 6, count, generator=g) for name in keys}
    cues["text_keys@previous"], cues["inputs"] = torch.randn(batch, 4, 6, generator=g), x
    cues |= {name: torch.randn(batch, 4, shape[2], generator=g) for name in ("question", "text_states")}
    rest = {"cues": {name: cue.to(device) for name, cue in cues.items()}, "valid": valid, "group": group}
    return VisualTokens.on_grid(x.to(device), (10, count // 10), **rest)


def selections(name, tokens):
    """What each stage of a pipeline chooses, each of them from all tokens."""
    return [stage.select(tokens, Budget.parse(33)) for stage in load(name).stages]


@pytest.mark.parametrize("name", [*NAMES, *FOLDING, *INSIDE])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_device_that_knows_no_values_will_do(name, shape):
    """The meta device has shapes only: reading a value from it is an error, and so is mixing it with another."""
    for selection in selections(name, drawn(shape, device="meta")):
        assert selection.mask.shape == shape[:2]


@pytest.mark.parametrize("name", [*NAMES, *FOLDING, *INSIDE])
def test_ragged_tokens_are_counted_once_and_never_looked_at_again(name):
    counts = [150, 40, 9]
    tokens = drawn(SHAPES[1], device="meta", counts=counts)
    tokens._memo["counts"] = torch.tensor(counts)
    assert all(selection.mask.shape == (3, 150) for selection in selections(name, tokens))


class Record(TorchDispatchMode):
    """Every operation, with the shapes of what goes in."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        flat = tree_leaves((args, kwargs))
        self.calls.append((str(func), [list(x.shape) if isinstance(x, torch.Tensor) else x for x in flat]))
        return func(*args, **kwargs or {})


def calls(name, tokens):
    pipeline = load(name, budget=33)
    with Record() as record:
        pipeline.select(tokens)
    return record.calls


@pytest.mark.parametrize("counts", [None, [150, 40, 9]])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_operations_run_whatever_the_values_are(name, counts):
    """Same operations, same shapes, same numbers: a CUDA graph can hold them."""
    one, other = (calls(name, drawn(SHAPES[1], seed, counts=counts)) for seed in (1, 2))
    assert len(one) > 10
    assert one == other


def kinds(args):
    return {str(given.dtype) for given in tree_leaves(args) if isinstance(given, torch.Tensor)}


class Guard(TorchDispatchMode):
    """Refuse to read values that come from ``tensors``; on a CPU the host's counts are tensors too, and may be read."""

    def __init__(self, *tensors):
        super().__init__()
        self.drawn = {id(tensor): tensor for tensor in tensors}  # held, so that no id is used twice

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **kwargs or {})
        if any(id(given) in self.drawn for given in tree_leaves((args, kwargs))):
            assert not any(sync in str(func) for sync in SYNCS), f"{func} waits for the device"
            assert not ("aten.index" in str(func) and "torch.bool" in kinds(args[1:])), (
                f"{func} waits for the device to count"
            )
            self.drawn |= {id(one): one for one in tree_leaves(found)}
        return found


@pytest.mark.parametrize("counts", [None, [150, 40, 9]])
@pytest.mark.parametrize("name", [*NAMES, *FOLDING, *INSIDE])
def test_no_operation_waits_for_a_value(name, counts):
    tokens = drawn(SHAPES[1], counts=counts, group=torch.tensor([0, 0, 1]))
    assert tokens.counts.sum() > 0  # the one thing that is read: how many tokens are valid
    with Guard(tokens.features, *tokens.cues.values(), tokens.place) as guard:
        found = selections(name, tokens)
    parts = [part for one in found for part in (one.important, one.diverse, one.merged)]
    assert name in ("random", "visual_exit") or any(id(part) in guard.drawn for part in parts)


@pytest.mark.parametrize("read", [lambda x: x.sum().item(), lambda x: x[x > 0].sum(), lambda x: float(x.sum())])
def test_waiting_for_a_value_is_noticed(read, monkeypatch):
    monkeypatch.setattr(ClsAttention, "score", lambda self, tokens: tokens.features.sum(-1) + read(tokens.features))
    tokens = drawn(SHAPES[0])
    with pytest.raises(AssertionError, match="waits for the device"), Guard(tokens.features):
        load("fastervlm", budget=33).select(tokens)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):
        load("fastervlm", budget=33).select(drawn(SHAPES[0], device="meta"))


@pytest.mark.parametrize("name", ["vispruner", "divprune", "scope", "id_selection"])
def test_even_batches_send_nothing_to_the_device(name):
    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **kwargs or {})
            given = {x.device.type for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
            if isinstance(found, torch.Tensor) and found.device.type == "meta":
                sent.extend(given - {"meta"})
            return found

    sent, tokens = [], drawn(SHAPES[1], device="meta")
    with Watch():
        load(name, budget=33).select(tokens)
    assert not sent
