"""Writes the trained model as an ordinary folder: configurations, float16 weights, tokenizer, processor, template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

from model import IMAGE, PATCH, SPECIALS, WORDS

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: "
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    " {% else %}ASSISTANT: {% for c in m['content'] %}{{ c['text'] }}{% endfor %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def new_tokenizer() -> Any:
    """One token for each word; specials are added to the inner tokenizer first, or they would be unknown words."""
    inner = Tokenizer(models.WordLevel(dict(WORDS), unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("?", " ?")])
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", WORDS["<s>"])])
    inner.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def new_processor() -> Any:
    """The CLS token is additional: 257 outputs of the tower make 256 places in the prompt."""
    images = CLIPImageProcessor(
        size={"shortest_edge": IMAGE},
        crop_size={"height": IMAGE, "width": IMAGE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=new_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def export(model: Any, folder: Path) -> None:
    """Overwrites the checkpoint in ``folder``, readable by everybody; leaves other files there alone."""
    generation = model.generation_config
    generation.max_new_tokens = 8
    generation.bos_token_id, generation.eos_token_id = WORDS["<s>"], WORDS["</s>"]
    generation.pad_token_id = WORDS["<pad>"]
    model.cpu().eval().half().save_pretrained(folder)
    new_processor().save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
