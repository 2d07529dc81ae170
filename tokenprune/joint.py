"""The space that a CLIP's texts and images share, for models whose vision encoder comes from that CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tokenprune.errors import PipelineError
from tokenprune.tokens import VisualTokens

_SAME = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "patch_size",
)  # of CLIP and of the encoder from it


class Clip(BaseModel):
    """A CLIP in a folder, read when it is first needed; nothing is downloaded. Its vision encoder is let go.

    Args:
        folder: where the model lies, with its tokenizer.
        tokenizer: folder of the language model's tokenizer, which tells what the ids of a prompt say.

    Raises:
        ValueError: there is no model, or no tokenizer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: str
    tokenizer: str

    @model_validator(mode="after")
    def _both_are_there(self) -> Self:
        for folder, name in ((self.folder, "config.json"), (self.tokenizer, "tokenizer_config.json")):
            if not (Path(folder).expanduser() / name).is_file():
                raise ValueError(f"there is no {name} in the folder {folder!r}; download it, and name where it lies")
        return self

    @cached_property
    def encoder(self) -> Mapping[str, object]:
        """What the config of a vision encoder says that comes from this CLIP."""
        from transformers import CLIPConfig

        vision = _loaded(CLIPConfig, self.folder).vision_config
        return {name: getattr(vision, name) for name in _SAME}

    @cached_property
    def space(self) -> JointSpace:
        """Its text encoder and projections.

        Raises:
            PipelineError: they cannot be loaded.
        """
        return JointSpace(self.folder, self.tokenizer)

    def texts(self, tokens: VisualTokens) -> Tensor:
        """[B, S, P] float32, the question of each row in segments of what CLIP reads, zero where there are fewer.

        Reads the prompt back from the device.
        """
        rows, back = torch.unique(tokens.cue("question_ids")[..., 0], dim=0, return_inverse=True)  # [U, M], [B]
        found = [self.space.text([one for one in row if one >= 0], tokens.device) for row in rows.tolist()]
        return pad_sequence(found, batch_first=True)[back]

    def images(self, tokens: VisualTokens) -> Tensor:
        """[B, N, P] float32 of norm one, the encoder's outputs.

        Raises:
            PipelineError: they are of another width than this CLIP's.
        """
        hidden = tokens.cue("encoder").mT  # [B, N, C]
        if hidden.shape[2] != (want := self.encoder["hidden_size"]):
            raise PipelineError(
                f"the vision encoder gives vectors of width {hidden.shape[2]}, and the CLIP in {self.folder!r} takes "
                f"{want}; name the folder of the CLIP that the model was built with"
            )
        return VisualTokens(self.space.image(hidden)).unit


class JointSpace:
    """The parts of a CLIP that texts and encoder outputs go through; arguments as in `Clip`."""

    def __init__(self, folder: str, tokenizer: str) -> None:
        from transformers import AutoTokenizer, CLIPModel

        clip = _loaded(CLIPModel, folder, dtype=torch.float32).eval().requires_grad_(False)
        self._own, self._other = (_loaded(AutoTokenizer, one) for one in (folder, tokenizer))
        self._text, self._written = clip.text_model, clip.text_projection
        self._seen = nn.Sequential(clip.vision_model.post_layernorm, clip.visual_projection)
        self._most = clip.config.text_config.max_position_embeddings - 2

    def text(self, ids: list[int], device: torch.device) -> Tensor:
        """[S, P] of a prompt, in the language model's ids; one row of zeros where nothing is said."""
        said = self._other.decode(ids, skip_special_tokens=True)
        words = self._own(said, add_special_tokens=False).input_ids
        first, last = [self._own.bos_token_id], [self._own.eos_token_id]
        parts = [first + words[at : at + self._most] + last for at in range(0, len(words), self._most)]
        encoder, projection = self._text.to(device), self._written.to(device)
        with torch.no_grad():
            told = [encoder(torch.tensor([part], device=device)).pooler_output for part in parts]
            return projection(torch.cat(told)) if told else torch.zeros(1, projection.out_features, device=device)

    def image(self, hidden: Tensor) -> Tensor:
        """[B, N, P] of [B, N, C]."""
        with torch.no_grad():
            found: Tensor = self._seen.to(hidden.device)(hidden.float())
        return found


def _loaded(kind: Any, folder: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(str(Path(folder).expanduser()), local_files_only=True, **options)
    except Exception as problem:  # transformers raises anything here
        raise PipelineError(f"cannot load a {kind.__name__} from {folder!r}: {problem}") from problem
