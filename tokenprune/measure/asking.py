"""Asking a model many questions at once, and keeping the distribution of the first token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

NEW_TOKENS = 64  # where neither the caller nor the model says how many


@dataclass(frozen=True)
class Said:
    """What a model said to a batch.

    Args:
        texts: the answers.
        first: [B, V] float32, log-probabilities of the first token.
    """

    texts: Sequence[str]
    first: Tensor

    def divergence(self, full: Said) -> Tensor:
        """[B] nats: KL divergence of these first tokens from those of the unpruned model."""
        terms = full.first.exp() * (full.first - self.first)  # [B, V]
        return torch.where(full.first.isneginf(), 0, terms).sum(-1)

    def same_first(self, full: Said) -> Tensor:
        """[B] bool: whether the likeliest first token is that of the unpruned model."""
        return self.first.argmax(-1) == full.first.argmax(-1)


@dataclass(frozen=True)
class Asker:
    """A model with its processor, asked greedily.

    Args:
        model: a vision-language model, ready to generate.
        processor: its processor.
        new_tokens: length of an answer. None: the model's own, else 64.
        prompt: what is made of a question; ``{question}`` stands for it.
    """

    model: Any
    processor: Any
    new_tokens: int | None = None
    prompt: str = "{question}"

    def read(self, images: Sequence[Image], questions: Sequence[str]) -> Any:
        """The inputs of one batch, padded on the left: one image before each question, in the model's chat format."""
        prompts = [self.prompt.replace("{question}", question) for question in questions]
        if getattr(self.processor, "chat_template", None):
            turns = [
                [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
                for image, prompt in zip(images, prompts, strict=True)
            ]
            return self.chats([[{"role": "user", "content": turn}] for turn in turns])
        texts = [f"{self.processor.image_token}\n{prompt}" for prompt in prompts]
        with _padded_left(self.processor.tokenizer):
            inputs = self.processor(images=list(images), text=texts, padding=True, return_tensors="pt")
        return inputs.to(self.model.device, self.model.dtype)

    def chats(self, conversations: Sequence[Any]) -> Any:
        """The inputs of conversations as `apply_chat_template` takes them, padded on the left."""
        with _padded_left(self.processor.tokenizer):
            inputs = self.processor.apply_chat_template(
                list(conversations),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        return inputs.to(self.model.device, self.model.dtype)

    def ask(self, inputs: Any) -> Said:
        """What the model, as it is now, says to each question."""
        first = _First()
        limit = self.new_tokens or self.model.generation_config.max_new_tokens or NEW_TOKENS
        with torch.no_grad():
            output = self.model.generate(
                **inputs, do_sample=False, num_beams=1, max_new_tokens=limit, logits_processor=[first]
            )
        said = output[:, inputs["input_ids"].shape[1] :]  # [B, new]
        texts = self.processor.batch_decode(said, skip_special_tokens=True)
        assert first.seen is not None
        return Said([text.strip() for text in texts], first.seen)


class _First:
    """A logits processor that changes nothing and remembers what it is given first."""

    def __init__(self) -> None:
        self.seen: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.seen is None:
            self.seen = scores.float().log_softmax(-1)
        return scores


@contextmanager
def _padded_left(tokenizer: Any) -> Iterator[None]:
    """New tokens follow the prompt, so the padding has to be in front of it."""
    side, pad = tokenizer.padding_side, tokenizer.pad_token
    tokenizer.padding_side = "left"
    if pad is None:
        tokenizer.pad_token = tokenizer.eos_token
    try:
        yield
    finally:
        tokenizer.padding_side, tokenizer.pad_token = side, pad
