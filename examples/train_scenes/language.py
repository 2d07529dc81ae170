"""Stage 2, projector and language model on a frozen tower.

Sixteen questions share one image: behind the image they stand in one sequence, and a block mask lets each see the image
and itself alone. Their positions run on as in a chat of several turns, so that nothing can be read off the distance
to an image token. An alignment loss pulls the projected tokens of a thing towards the words for it, and fades out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from data import Batch, Share, image_batch, maker
from model import VISUAL, WORDS, encode
from tokenprune.scenes import KINDS, Question, Scene
from tokenprune.scenes.dice import Dice
from tokenprune.scenes.questions import ask
from tokenprune.scenes.scene import COLORS
from tokenprune.scenes.shapes import SHAPES

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
PREFIX = VISUAL + 2  # <s> USER: and the image
MIX = {"color": 4.5, "shape": 1, "where": 4, "at": 4, "count": 3, "exist": 2.5, "read": 1.5, "background": 0.5}
IGNORED, PADDING = -100, -1
Notes = dict[str, Tensor]


def ask_many(scene: Scene, dice: Dice, number: int) -> list[Question]:
    """Up to ``number`` different questions, of the kinds that ``MIX`` prefers."""
    asked: dict[str, Question] = {}
    for _ in range(3 * number):
        question = ask(scene, dice.weighted(KINDS, [MIX[kind] for kind in KINDS]), dice)
        if question:
            asked.setdefault(question.text, question)
        if len(asked) == number:
            break
    return list(asked.values())


def chat(questions: list[Question]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Ids, targets, turn (from 1) and kind of every token of the questions and answers behind one image."""
    ids: list[int] = []
    targets: list[int] = []
    turns: list[int] = []
    kinds: list[int] = []
    for turn, question in enumerate(questions, start=1):
        asked = [*encode(question.text), WORDS["ASSISTANT:"]]
        answer = [*encode(question.answer), WORDS["</s>"]]
        ids += asked + answer
        targets += [IGNORED] * (len(asked) - 1) + answer + [IGNORED]  # each token's target is the next one
        turns += [turn] * len(asked + answer)
        kinds += [KINDS.index(question.kind)] * len(asked + answer)
    return ids, targets, turns, kinds


def chat_batch(share: Share, step: int, number: int = 16) -> Batch:
    """Images and questions: ``ids``, ``targets``, ``turns``, ``kinds``, each ``[B, L]``."""
    scenes = list(share.scenes(step))
    chats = [chat(ask_many(scene, Dice(share.seed, scene.index, len(KINDS)), number)) for scene in scenes]
    length = max(len(ids) for ids, *_ in chats)
    fill = {"ids": WORDS["<pad>"], "targets": IGNORED, "turns": PADDING, "kinds": PADDING}
    columns = zip(fill.items(), zip(*chats, strict=True), strict=True)
    packed = {
        name: torch.tensor([[*row, *[empty] * (length - len(row))] for row in rows]) for (name, empty), rows in columns
    }
    return image_batch(share, step) | packed


def block_mask(turns: Tensor) -> Tensor:
    """Who sees whom in image + turns ``[B, L]``: ``[B, 1, PREFIX + L, PREFIX + L]`` bool.

    Causal; a token sees the image and its own turn.
    """
    turn = functional.pad(turns, (PREFIX, 0), value=0)  # [B, PREFIX + L]
    seen = (turn[:, None, :] == 0) | (turn[:, None, :] == turn[:, :, None])
    return (seen & torch.ones(turn.shape[1], turn.shape[1], dtype=torch.bool, device=turn.device).tril())[:, None]


class Language:
    """The stage that trains projector and language model."""

    name, peak, floor, decay, warmup = "language", 1.5e-3, 3e-5, 0.0, 150

    def __init__(self, llava: Any, steps: int, share: Share, questions: int = 16, alignment: float = 0.5) -> None:
        self.module, self.steps, self.alignment = llava, steps, alignment
        self.draw = maker(chat_batch, share, questions)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Notes]:
        visual = self._see(batch["pixels"])  # [B, 256, C]
        logits = self._answer(visual, batch)  # [B, L, words]
        loss = functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED)
        aligned = self._align(visual, batch)
        notes = {"answers": loss.detach(), "alignment": aligned.detach()} | self._right(logits.detach(), batch)
        return loss + self.alignment * (1 - progress) * aligned, notes

    def _see(self, pixels: Tensor) -> Tensor:
        inner = self.module.model
        with torch.no_grad():
            states = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
        projected: Tensor = inner.multi_modal_projector(states[-2][:, 1:])
        return projected

    def _answer(self, visual: Tensor, batch: Batch) -> Tensor:
        inner, ids = self.module.model, batch["ids"]
        words = inner.language_model.get_input_embeddings()
        opening = torch.tensor([WORDS["<s>"], WORDS["USER:"]], device=ids.device).expand(len(ids), -1)
        embeds = torch.cat([words(opening).to(visual.dtype), visual, words(ids).to(visual.dtype)], dim=1)
        states = inner.language_model(
            inputs_embeds=embeds, attention_mask=block_mask(batch["turns"]), use_cache=False
        ).last_hidden_state
        answered: Tensor = self.module.lm_head(states[:, PREFIX:]).float()
        return answered

    def _align(self, visual: Tensor, batch: Batch) -> Tensor:
        """Cross entropy, by cosine, of things' tokens ``[B, 256, C]`` against words: shape, colour, row, column."""
        words = functional.normalize(self.module.model.language_model.get_input_embeddings().weight, dim=-1)
        shape, color = batch["patches"][..., 0] - 1, batch["patches"][..., 1] - 1
        region = batch["patches"][..., 4] - 1
        row, column = region.div(3, rounding_mode="floor"), torch.where(region < 0, PADDING, region % 3)
        total = torch.zeros((), device=visual.device)
        for names, label in (
            (SHAPES, shape.masked_fill(color < 0, PADDING)),
            (tuple(COLORS), color),
            (ROWS, row),
            (COLUMNS, column),
        ):
            tokens = functional.normalize(visual[label >= 0].float(), dim=-1)  # [patches of things, C]
            those = words[[WORDS[name] for name in names]].float()
            total = total + functional.cross_entropy(10 * tokens @ those.T, label[label >= 0])
        return total

    def _right(self, logits: Tensor, batch: Batch) -> Notes:
        """The share of wholly right answers of each kind of question."""
        targets, count = batch["targets"], int(batch["turns"].max()) + 1
        wrong = (logits.argmax(-1) != targets) & (targets != IGNORED)
        row = torch.arange(len(targets), device=targets.device)[:, None] * count + batch["turns"].clamp(min=0)
        real = batch["turns"] > 0
        missed = torch.zeros(len(targets) * count, device=targets.device).index_add_(0, row[real], wrong[real].float())
        kind = torch.full_like(missed, PADDING).index_copy_(0, row[real], batch["kinds"][real].float())
        return {name: (missed[kind == k] == 0).float().mean() for k, name in enumerate(KINDS) if (kind == k).any()}
