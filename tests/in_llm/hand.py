"""Stages inside the language model, worked out by hand: prompt by prompt, layer by layer, without padding or cache.

It runs on a twin, a second model with the same weights, whose attention is the plain one. Of the product it takes
nothing: what stays is chosen here, by the attention that the twin reports or by the plainest rule there is.
"""

import torch
from attach.tiny import IMAGE, SIDE

SIZE = SIDE**2  # tokens of an image


def rounded(share, count):
    """Nearest, ties up, at least one."""
    return max(1, int(share * count + 0.5))


class Layers:
    """One prompt of a batch, whose columns leave before some layers.

    Args:
        twin: the model.
        inputs: the full prompts, padded on either side.
        row: which of them.
        stages: {layer: share of the tokens that each image had}.
        rule: ``first`` (all tokens alike), ``previous`` or ``this``: the layer whose last row of attention scores.
        positions: ``keep`` or ``renumber``.
        tail: tokens after the prompt.
        numbering: as in `attach.parity.oracle.Hand`.
    """

    def __init__(self, twin, inputs, row, stages, rule="first", positions="keep", tail=(), numbering="generate"):
        self.twin, self.language = twin, twin.model.language_model
        self.rule, self.positions = rule, positions
        ids, mask = inputs["input_ids"][row], inputs["attention_mask"][row].bool()
        number = mask.long().cumsum(-1) - 1 if numbering == "generate" else torch.arange(len(ids))
        self.columns = mask.nonzero()[:, 0]
        self.prompt = len(self.columns)
        here = ids[mask]
        tail = torch.tensor(list(tail), dtype=torch.int64)
        every = torch.cat([here, tail])
        states = twin.get_input_embeddings()(every.masked_fill(every == IMAGE, 0))
        image = here == IMAGE
        if inputs.get("pixel_values") is not None and image.any():
            mine = (inputs["input_ids"][:row] == IMAGE).sum()
            rows = twin.model.get_image_features(inputs["pixel_values"]).pooler_output
            rows = torch.cat(list(rows)) if isinstance(rows, (list, tuple)) else rows.flatten(0, 1)
            states[: self.prompt][image] = rows[mine : mine + image.sum()]
        self.ids = torch.cat([number[mask], number[-1] + 1 + torch.arange(len(tail))])
        self.owner = torch.full((len(states),), -1)  # the image of each column
        self.owner[: self.prompt][image] = torch.arange(int(image.sum())) // SIZE
        self.stages = stages
        self.left = torch.arange(len(states))
        self.lengths, self.kept = [], {}
        self.states = self._run(states)

    def _run(self, states):
        before = None
        for at, layer in enumerate(self.language.layers[: self.language.config.num_hidden_layers]):
            if at in self.stages:
                states = self._drop(at, layer, states, before)
            self.lengths.append(int((self.left < self.prompt).sum()))
            before = states
            states = layer(states[None], **self._given())[0]
        return self.language.norm(states)

    def _positions(self):
        ids = self.ids[self.left]
        if self.positions == "renumber":
            there = torch.zeros(len(self.ids), dtype=torch.long)
            there[self.left] = 1
            ids = ids - ((1 - there).cumsum(0))[self.left]
        return ids[None]

    def _given(self):
        count = len(self.left)
        causal = torch.full((count, count), torch.finfo(torch.float32).min).triu(1)
        turns = self.language.rotary_emb(torch.zeros(1, 1, 1), self._positions())
        return {"attention_mask": causal[None, None], "position_embeddings": turns, "position_ids": self._positions()}

    def _drop(self, at, layer, states, before):
        if self.rule == "first":
            scores = torch.zeros(len(states))
        else:
            from_layer = self.language.layers[at - 1] if self.rule == "previous" else layer
            scores = self._attention(from_layer, before if self.rule == "previous" else states)
        stays = torch.ones(len(states), dtype=torch.bool)
        for image in self.owner.unique().tolist():
            if image < 0:
                continue
            mine = (self.owner[self.left] == image).nonzero()[:, 0]
            count = min(rounded(self.stages[at], SIZE), len(mine))
            order = scores[mine].argsort(descending=True, stable=True)
            stays[mine] = False
            stays[mine[order[:count]]] = True
        self.left = self.left[stays]
        self.kept[at] = self.left
        return states[stays]

    def _attention(self, layer, states):
        """The row of the last prompt token in the plain attention matrix of a layer, mean of heads."""
        normed = layer.input_layernorm(states)[None]
        _, weights = layer.self_attn(normed, **self._given())
        last = int((self.left < self.prompt).sum()) - 1
        return weights[0, :, last].mean(0)

    @property
    def logits(self):
        """[S, V] at the columns that are left."""
        return self.twin.lm_head(self.states)

    @property
    def slots(self):
        """Columns of the given ids behind the prompt's part of ``logits``."""
        return self.columns[self.left[self.left < self.prompt]]
