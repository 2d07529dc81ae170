"""One question to one model: the prompt, the answer, and the FLOPs of the prefill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenprune.cli.models import quiet_transformers
from tokenprune.cli.terminal import CommandError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from tokenprune.measure.flops import Counted
    from tokenprune.pipeline import Pipeline
    from tokenprune.receipt import Receipt

NEW_TOKENS = 64  # where neither the caller nor the model says how many


@dataclass(frozen=True)
class Answer:
    """What a model said, and what its prefill cost.

    Args:
        text: the new tokens as text.
        flops: of the prefill: vision encoder, projector, choice of tokens and language model.
        inside: those of them that ran inside the model's ``forward``. Where the images are encoded before it, that is
            the language model.
    """

    text: str
    flops: int
    inside: int


@dataclass(frozen=True)
class Both:
    """One prompt with all tokens and with some."""

    full: Answer
    pruned: Answer
    receipt: Receipt

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        sides = {"full": (self.full, self.receipt.before), "pruned": (self.pruned, self.receipt.after)}
        plain = {
            name: {"answer": answer.text, "tokens": tokens, "prefill_flops": answer.flops}
            for name, (answer, tokens) in sides.items()
        }
        return {**plain, "receipt": self.receipt.to_dict()}


def ask_both(
    model: Any, processor: Any, pipeline: Pipeline, image: Image, prompt: str, new_tokens: int | None = None
) -> Both:
    """Answer a prompt pruned, and then with all tokens.

    Raises:
        CommandError: the processor gave no image that the model's family knows.
    """
    import tokenprune

    with quiet_transformers():
        with tokenprune.attach(model, pipeline) as attached:
            inputs = read(model, processor, image, prompt)
            pruned = answered(model, processor, inputs, new_tokens)
        if attached.receipt is None:
            raise CommandError(f"{type(processor).__name__} gave no image to prune, only {', '.join(inputs)}")
        return Both(answered(model, processor, inputs, new_tokens), pruned, attached.receipt)


def read(model: Any, processor: Any, image: Image, prompt: str) -> Any:
    """The inputs for one image and a prompt, where the model is and in its number format."""
    return prepared(processor, image, prompt).to(model.device, model.dtype)


def prepared(processor: Any, image: Image, prompt: str) -> Any:
    """The inputs for one image and a prompt: through the chat template if there is one, else image first."""
    if getattr(processor, "chat_template", None):
        turn = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
        return processor.apply_chat_template(
            [{"role": "user", "content": turn}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    return processor(images=image, text=f"{processor.image_token}\n{prompt}", return_tensors="pt")


def answered(model: Any, processor: Any, inputs: Mapping[str, Any], new_tokens: int | None = None) -> Answer:
    """Generate greedily, and count the FLOPs up to the first new token on the way."""
    from tokenprune.measure.flops import flops

    with flops() as counted:
        first = _First(counted)
        text = said(model, processor, inputs, new_tokens, stopping_criteria=[first])
    return Answer(text, first.flops, first.by_module.get(type(model).__name__, 0))


def said(model: Any, processor: Any, inputs: Mapping[str, Any], new_tokens: int | None = None, **options: Any) -> str:
    """Generate greedily; the new tokens as text."""
    import torch

    limit = new_tokens or model.generation_config.max_new_tokens or NEW_TOKENS
    with torch.no_grad():
        output = model.generate(**inputs, do_sample=False, max_new_tokens=limit, **options)
    new = output[:, inputs["input_ids"].shape[1] :]  # [1, new]
    return str(processor.batch_decode(new, skip_special_tokens=True)[0].strip())


class _First:
    """A criterion that stops nothing: when it is first asked, the prefill is all that has run."""

    def __init__(self, counted: Counted) -> None:
        self._counted, self.flops = counted, 0
        self.by_module: dict[str, int] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        if not self.flops:
            self.flops, self.by_module = self._counted.total, self._counted.by_module
        return input_ids.new_zeros(len(input_ids)).bool()
