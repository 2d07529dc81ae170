"""What the tiny models of all families share: weights that tell tokens apart, texts, padding, and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tokenprune.family import OLDEST

VOCABULARY, IMAGE, VIDEO, PAD, BOS = 64, 60, 59, 0, 1
BEGIN, END, TILE, MARK = 57, 58, 52, 50  # marker tokens around images and tiles; TILE + n names the n-th tile
VISION = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 4,
}
CLIP = {"model_type": "clip_vision_model", **VISION}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **VISION}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": 2,
}
AXES = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}


@dataclass(frozen=True)
class Case:
    """One model and how to ask it.

    Args:
        build: makes the model.
        inputs: see `check_family`.
        prompts, mask, locate, images, shares: see `check_family`.
        stand_in: whether its encoder is one; see `families.stand_ins`.
        since: the oldest release of transformers in which there is such a model, and it is proven.
    """

    build: Callable[[], Any]
    inputs: Callable[[Any, Sequence[int]], dict[str, Any]]
    prompts: tuple[int, ...] = (0, 1)
    mask: Any = None
    locate: Any = None
    images: int = 3
    shares: Any = None
    stand_in: bool = False
    since: str = OLDEST


def text(**changes):
    """The config of a language model; of as many layers as there are kinds of them."""
    kinds = changes.get("layer_types") or changes.get("mlp_layer_types") or [None] * TEXT["num_hidden_layers"]
    return {**TEXT, "num_hidden_layers": len(kinds), **changes}


def alive(model, seed=0):
    """Weights large enough that logits and attention differ from token to token; it never stops by itself."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise * weight[0].numel() ** -0.5)
            elif "norm" in name or "bias" in name:
                weight.add_(noise * 0.05)
            else:
                weight.copy_(noise * 0.3)
    with torch.no_grad():
        head = (model.get_output_embeddings() or model.language_model.get_output_embeddings()).weight
        head[[PAD, VIDEO, IMAGE, *range(MARK, VIDEO)]] = 0  # the mean of all logits, so never the largest
    config = model.generation_config
    config.pad_token_id, config.eos_token_id, config.do_sample = PAD, None, False
    return model.eval()


def words(count, seed):
    """``count`` ordinary token ids."""
    return torch.randint(5, 40, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def noise(*shape, seed):
    """Pixels."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows(which, images, marks):
    """Rows of ids: for each prompt some text, its images with text between, and more text.

    Args:
        which: prompt numbers.
        images: by prompt, its images.
        marks: the ids of one image.
    """
    made = []
    for number in which:
        row = [BOS, *words(3 + 3 * number, number)]
        for at, image in enumerate(images[number]):
            row += [*marks(image), *words(2, 30 + at)]
        made.append(row + words(5 - number, 10 + number))
    return made


def padded(made, **types):
    """Rows of ids as one batch, padded on the left, with the types of tokens that a processor gives."""
    length = max(map(len, made))
    ids = torch.tensor([[PAD] * (length - len(row)) + row for row in made])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in made])
    kinds = {name: (ids == IMAGE).long() * value for name, value in types.items()}
    return {"input_ids": ids, "attention_mask": mask, **kinds}


def picture(which, images, pixels):
    """[T, ...] what ``pixels`` makes of (prompt, image, its number) for all images, laid end to end."""
    return torch.cat([pixels(one, 100 * number + 10 * at) for number in which for at, one in enumerate(images[number])])
