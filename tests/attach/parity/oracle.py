"""What pruning has to give, worked out by hand: prompt by prompt, no padding, no cache, own masks and own positions.

It runs on a twin, a second model with the same weights, so that nothing it does can reach the attached one. Of the
product it takes `Pipeline.select` and nothing else.
"""

from dataclasses import dataclass

import torch
from attach.tiny import IMAGE
from torch.nn.functional import cross_entropy

from tokenprune import VisualTokens, load

CLOSE = {"rtol": 0, "atol": 2e-5}


@dataclass(frozen=True)
class Seen:
    """What an encoder makes of images: feature rows [I, R, C], its own patches [I, N, E], attention [I, H, N]."""

    rows: torch.Tensor
    patches: torch.Tensor
    attention: torch.Tensor
    cue: str


def see(twin, pixels):
    """The vision tower with plain attention matrices, read off where the language model's features come from."""
    base, config = twin.model, twin.config
    base.vision_tower.set_attn_implementation("eager")
    out = base.vision_tower(pixels, output_hidden_states=True, output_attentions=True, return_dict=True)
    layers = config.vision_feature_layer if isinstance(config.vision_feature_layer, list) else [-2]
    states = torch.cat([out.hidden_states[layer] for layer in layers], -1)
    if "siglip" in config.vision_config.model_type:
        return Seen(base.multi_modal_projector(states), states, out.attentions[-1].mean(2), "received_attention")
    reach = states if getattr(config, "vision_feature_select_strategy", None) == "full" else states[:, 1:]
    attention = out.attentions[-2][:, :, 0, 1:]
    return Seen(base.multi_modal_projector(reach), states[:, 1:], attention, "cls_attention")


def staying(seen, pipeline, separators=True):
    """[I, R] bool: feature rows that stay; a CLS row that reaches the language model is a separator."""
    pipeline = load(pipeline)
    extra = seen.rows.shape[1] - seen.patches.shape[1]
    space = seen.patches if pipeline.stages[0].space == "encoder" else seen.rows[:, extra:]
    side = int(seen.patches.shape[1] ** 0.5)
    tokens = VisualTokens.on_grid(space.detach(), (side, side), cues={seen.cue: seen.attention.detach()})
    mask = pipeline.select(tokens).mask
    return torch.cat([mask.new_full((len(mask), extra), separators), mask], 1)


class Hand:
    """A batch of prompts whose dropped columns are taken out.

    Args:
        twin: the model.
        inputs: the full prompts, padded on either side.
        stays: [I, R] bool, feature rows that stay; None: all.
        positions: ``keep`` or ``renumber``.
        numbering: who numbers the columns of the full prompt. ``generate`` counts those that are not padding,
            ``forward`` counts all of them.
        rows: [I, R, C], feature rows instead of those that the encoder makes.
    """

    def __init__(self, twin, inputs, stays, positions, numbering="generate", rows=None):
        self.twin, ids, mask = twin, inputs["input_ids"], inputs["attention_mask"].bool()
        image = ids == IMAGE
        table = twin.get_input_embeddings()
        full = table(ids.masked_fill(image, 0))  # [B, L, C]
        kept = mask.clone()  # [B, L]
        if inputs.get("pixel_values") is not None:
            rows = see(twin, inputs["pixel_values"]).rows if rows is None else rows
            full = full.masked_scatter(image[..., None], rows.flatten(0, 1))
            if stays is not None:
                kept[image] = stays.flatten()
        kept &= mask
        gone = (mask & ~kept).long() * (positions == "renumber")
        number = mask.long().cumsum(-1) - 1 if numbering == "generate" else torch.arange(ids.shape[1]).expand(ids.shape)
        number = number - gone.cumsum(-1)
        self.kept, self.ids = kept, [row[use] for row, use in zip(ids, kept, strict=True)]
        self.embedded = [row[use] for row, use in zip(full, kept, strict=True)]
        self.numbers = [row[use] for row, use in zip(number, kept, strict=True)]
        self.following = (number[:, -1] + 1).tolist()

    @property
    def slots(self):
        return [row.nonzero()[:, 0] for row in self.kept]

    def logits(self, row, tail=()):
        """[S + T, V] of one prompt and the tokens after it."""
        tail = torch.tensor(list(tail), dtype=torch.int64)
        embedded = torch.cat([self.embedded[row], self.twin.get_input_embeddings()(tail)])
        numbers = torch.cat([self.numbers[row], self.following[row] + torch.arange(len(tail))])
        length = len(embedded)
        causal = torch.full((length, length), torch.finfo(embedded.dtype).min, dtype=embedded.dtype).triu(1)
        parts = {"inputs_embeds": embedded[None], "position_ids": numbers[None], "attention_mask": causal[None, None]}
        return self.twin.lm_head(self.twin.model.language_model(**parts, use_cache=False).last_hidden_state)[0]

    def loss(self, labels):
        """Mean over all tokens that follow another and are not -100."""
        parts = []
        for row, kept in enumerate(self.kept):
            wanted = labels[row, kept][1:]
            parts.append(cross_entropy(self.logits(row)[:-1], wanted, ignore_index=-100, reduction="none")[wanted >= 0])
        return torch.cat(parts).mean()

    @torch.no_grad()
    def greedy(self, count):
        """Ids [B, count] and the logits that chose them, [B, count, V]."""
        return self._decode(count, 1, lambda logits: logits.argmax(-1))

    @torch.no_grad()
    def sample(self, count, copies, seed):
        """Ids [B * copies, count], drawn from the whole distribution."""
        torch.manual_seed(seed)
        return self._decode(count, copies, lambda logits: torch.multinomial(logits.softmax(-1), 1)[:, 0])[0]

    def _decode(self, count, copies, choose):
        tails = [[] for _ in range(len(self.kept) * copies)]
        steps = []
        for _ in range(count):
            steps.append(torch.stack([self.logits(at // copies, tail)[-1] for at, tail in enumerate(tails)]))
            for tail, token in zip(tails, choose(steps[-1]).tolist(), strict=True):
                tail.append(token)
        return torch.tensor(tails), torch.stack(steps, 1)

    @torch.no_grad()
    def beams(self, count, width, returned):
        """Ids [B * returned, count] of a beam search in which no beam ends."""
        found = []
        for row in range(len(self.kept)):
            beams = [(0.0, [])]
            for _ in range(count):
                grown = []
                for score, tail in beams:
                    best = self.logits(row, tail)[-1].log_softmax(-1).topk(width)
                    grown += [(score + float(v), [*tail, int(i)]) for v, i in zip(*best, strict=True)]
                beams = sorted(grown, reverse=True)[:width]
            found += [tail for _, tail in beams[:returned]]
        return torch.tensor(found)
