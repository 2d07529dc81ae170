"""Cues inside the language model are what the plain attention of the layer shows."""

import pytest
import torch
from attach import tiny
from attach.tiny import IMAGE
from in_llm.hand import Layers

import tokenprune
from tokenprune import Scorer

NAMES = ("last_attention", "text_attention", "visual_attention", "keys", "mean_keys", "text_keys", "last_prior")
NAMES += ("text_prior",)
SHOWN = {}


class Reads(Scorer):
    """Note the cues it is given."""

    names: tuple[str, ...]

    @property
    def reads(self):
        return frozenset(self.names)

    def score(self, tokens):
        SHOWN.update({name: tokens.cue(name) for name in self.names}, tokens=tokens)
        return torch.zeros(tokens.shape)


class Eager(Layers):
    """Everything a layer computes, before any column leaves."""

    def __init__(self, twin, inputs, row, at):
        self.at = at
        super().__init__(twin, inputs, row, {})

    def _run(self, states):
        self.entered = [states]
        for layer in self.language.layers[: self.at + 1]:
            states = layer(states[None], **self._given())[0]
            self.entered.append(states)
        return states

    def weights(self, at):
        layer = self.language.layers[at]
        return layer.self_attn(layer.input_layernorm(self.entered[at])[None], **self._given())[1][0]  # [H, S, S]

    def keys(self, at):
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        layer = self.language.layers[at]
        key = layer.self_attn.k_proj(layer.input_layernorm(self.entered[at]))
        key = key.view(len(key), -1, layer.self_attn.head_dim).transpose(0, 1)[None]
        return apply_rotary_pos_emb(key, key, *self._given()["position_embeddings"])[1][0].transpose(0, 1)  # [S, H, d]


def words_of(hand, ids):
    """Columns of the text after the last image."""
    last = (ids == IMAGE).nonzero()[-1] if (ids == IMAGE).any() else -1
    return [at for at in range(int(last) + 1, len(ids)) if ids[at] not in (tiny.BOS, tiny.PAD)]


@pytest.mark.parametrize("where", ["previous", "this"])
def test_cues_of_a_layer(model, twin, where):
    inputs, at = tiny.prompts(model, (1, 2)), 2
    wanted = tuple(f"{name}@{where}" for name in NAMES)
    stage = {"site": {"llm_layer": at}, "scorer": Reads(names=wanted), "budget": "50%"}
    with tokenprune.attach(model, {"name": "mine", "stages": [stage]}):
        model.generate(**inputs, max_new_tokens=1)
    image = 0
    for row, many in enumerate((1, 2)):
        hand = Eager(twin, inputs, row, at)
        layer = at - (where == "previous")
        weights, keys = hand.weights(layer), hand.keys(layer)
        ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        words = words_of(hand, ids)
        for nth in range(many):
            mine = (hand.owner == nth).nonzero()[:, 0]
            want = {
                "last_attention": weights[:, -1, mine],
                "text_attention": weights[:, words][:, :, mine],
                "visual_attention": weights[:, mine][:, :, mine].mean((0, 1)),
                "keys": keys[mine].flatten(1).T,
                "mean_keys": keys[mine].mean(1).T,
                "text_keys": keys[words].flatten(1),
                "last_prior": prior(hand, [len(ids) - 1])[0, mine],
                "text_prior": prior(hand, words)[:, mine],
            }
            for name, value in want.items():
                found = SHOWN[f"{name}@{where}"][image]
                if name.startswith("text"):
                    axis = found.ndim - 2
                    assert not found.narrow(axis, len(words), found.shape[axis] - len(words)).any()
                    found = found.narrow(axis, 0, len(words))
                torch.testing.assert_close(found, value, rtol=0, atol=4e-6)
            image += 1


def prior(hand, rows):
    """Attention of vectors of ones, turned as the model turns its queries and keys."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    size = hand.language.layers[0].self_attn.head_dim
    ones = torch.ones(1, 1, len(hand.left), size)
    query, key = apply_rotary_pos_emb(ones, ones, *hand._given()["position_embeddings"])
    logits = (query @ key.mT)[0, 0] * hand.language.layers[0].self_attn.scaling + hand._given()["attention_mask"][0, 0]
    return logits.softmax(-1)[rows]


def test_states_and_what_changed(model, twin):
    inputs, at = tiny.prompts(model, (1,)), 3
    names = ("layer_change", "text_states", "inputs", "question")
    for space in ("hidden", "normed"):
        stage = {"site": {"llm_layer": at}, "scorer": Reads(names=names), "space": space, "budget": "50%"}
        with tokenprune.attach(model, {"name": "mine", "stages": [stage]}):
            model(**inputs)
        hand = Eager(twin, inputs, 0, at)
        mine, words = (hand.owner == 0).nonzero()[:, 0], words_of(hand, inputs["input_ids"][0])
        change = (hand.entered[at] - hand.entered[at - 1]).norm(dim=-1)
        states = hand.entered[at] if space == "hidden" else hand.language.norm(hand.entered[at])
        close = {"rtol": 0, "atol": 1e-5}
        torch.testing.assert_close(SHOWN["layer_change"][0], change[mine], **close)
        torch.testing.assert_close(SHOWN["text_states"][0], states[words], **close)
        torch.testing.assert_close(SHOWN["tokens"].features[0], states[mine], **close)
        torch.testing.assert_close(SHOWN["inputs"][0], hand.entered[0][mine], **close)
        torch.testing.assert_close(SHOWN["question"][0], hand.entered[0][words], **close)


def test_cues_and_scores_of_the_stage_before(model):
    inputs = tiny.prompts(model, (1, 2))
    before = {"scorer": "cls_attention", "splitter": "equal", "budget": "50%"}
    inside = {"site": {"llm_layer": 2}, "scorer": Reads(names=("cls_attention", "previous_scores")), "budget": "25%"}
    last = {"site": {"llm_layer": 3}, "scorer": Reads(names=("previous_scores",)), "budget": "10%"}
    with tokenprune.attach(model, {"name": "mine", "stages": [before, inside]}) as pruned:
        model(**inputs)
    assert torch.equal(SHOWN["cls_attention"].mean(1), SHOWN["previous_scores"])
    least = SHOWN["previous_scores"].min(1).values
    assert SHOWN["previous_scores"].shape == (3, 18)
    assert (least > 0).all()
    assert "cls_attention@2" in pruned.receipt.source
    with tokenprune.attach(model, {"name": "mine", "stages": [before, inside, last]}):
        model(**inputs)
    assert torch.equal(SHOWN["previous_scores"], torch.zeros(3, 9))
