"""The class that lmms-eval makes; importing this needs it, the extra ``lmms-eval``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Any, NoReturn

import torch
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages

from tokenprune.attach import attach
from tokenprune.errors import UnsupportedMode
from tokenprune.measure.asking import Asker
from tokenprune.pipeline import load


class Pruned(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A model with a pipeline attached while it answers.

    Args:
        pretrained: a folder, or a name on the hub. None: the embedded model.
        pipeline: a registered name or a YAML file. None: the unpruned model.
        budget: as in a YAML file. None: the pipeline's.
        positions: ``keep`` or ``renumber``. None: the family's.
        device: where it runs. None: on an accelerator if there is one.
        dtype: the name of a torch dtype, or ``auto``.
        batch_size: prompts asked at once.
        max_batch_size: lmms-eval hands it over; unused.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str | None = None,
        pipeline: str | None = None,
        budget: int | float | str | None = None,
        positions: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        changes = {"budget": budget, "positions": positions}
        given = {name: value for name, value in changes.items() if value is not None}
        self.pipeline = load(pipeline, **given) if pipeline else None
        self.model, self.processor = _loaded(pretrained, device, dtype)
        self.batch_size, self.shares = int(batch_size), list[float]()

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers, in the order of the requests; those with the same settings are asked together."""
        found: dict[int, str] = {}
        order = sorted(range(len(requests)), key=lambda at: repr(requests[at].args[2]))
        for _, same in groupby(order, key=lambda at: repr(requests[at].args[2])):
            alike = list(same)
            for start in range(0, len(alike), self.batch_size):
                numbers = alike[start : start + self.batch_size]
                texts = self._answered([requests[number].args for number in numbers])
                found |= dict(zip(numbers, texts, strict=True))
        return [found[number] for number in range(len(requests))]

    def _answered(self, asked: Sequence[Any]) -> Iterator[str]:
        """One batch; each is (context, doc_to_messages, settings, doc_id, task, split)."""
        chats = []
        for _, messages, _, number, task, split in asked:
            told = messages(self.task_dict[task][split][number])
            chats.append(ChatMessages(messages=told).to_hf_messages())
        settings = asked[0][2]
        asker = Asker(self.model, self.processor, new_tokens=settings.get("max_new_tokens"))
        pruning = attach(self.model, self.pipeline, strict=True) if self.pipeline else nullcontext()
        with pruning as attached:
            texts = asker.ask(asker.chats(chats)).texts
        if attached is not None and attached.receipt is not None:
            self.shares.append(attached.receipt.average / max(1, attached.receipt.before))
        stops = [stop for stop in settings.get("until", ()) if stop]
        return (_until(text, stops) for text in texts)

    def clean(self) -> None:
        """Say what was kept; the model stays, because the next pipeline may run on it."""
        from lmms_eval.utils import eval_logger

        if self.pipeline is not None and self.shares:
            mean = 100 * sum(self.shares) / len(self.shares)
            eval_logger.info(f"tokenprune: {self.pipeline.name} kept {mean:.1f} % of the visual tokens")

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Not offered: lmms-eval scores whole continuations, and pruned prompts have other columns."""
        raise UnsupportedMode("the tokenprune model answers generate_until tasks; this task asks for log-likelihoods")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        """Not offered."""
        raise UnsupportedMode("the tokenprune model answers generate_until tasks; this task has several rounds")


def _until(text: str, stops: Sequence[str]) -> str:
    """What stands before the first of the texts that end an answer."""
    ends = [text.find(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text


def _loaded(source: str | None, device: str | None, dtype: str) -> tuple[Any, Any]:
    if source is None:
        from tokenprune.scenes import load as embedded

        return embedded()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    where = device or (torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype)
    return model.eval().to(where), AutoProcessor.from_pretrained(source)
