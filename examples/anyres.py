"""High-resolution models: one image is a thumbnail and several crops, and a budget has to be divided.

python examples/anyres.py

The model is a LLaVA-NeXT with RANDOM weights, built from its real config at a small size: it shows where a budget goes,
and its answers mean nothing.
"""

# %% A small LLaVA-NeXT: crops of 128 pixels, pictures of up to 2 x 2 of them
import torch
from transformers import (
    AutoConfig,
    AutoProcessor,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
)

import tokenprune
from tokenprune import scenes

SIZES = [[128, 256], [256, 128], [256, 256]]  # height, width
CROP = {"height": 128, "width": 128}
toy = AutoConfig.from_pretrained(scenes.folder())
torch.manual_seed(0)
model = LlavaNextForConditionalGeneration(
    LlavaNextConfig(
        vision_config=toy.vision_config,
        text_config=toy.text_config,
        image_token_index=toy.image_token_index,
        image_grid_pinpoints=SIZES,
    )
).eval()
images = LlavaNextImageProcessorPil(size={"shortest_edge": 128}, crop_size=CROP, image_grid_pinpoints=SIZES)
words = AutoProcessor.from_pretrained(scenes.folder()).tokenizer
processor = LlavaNextProcessor(
    images, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
)

# %% A wide picture: a thumbnail and four crops, less what was only padding, with newlines between lines of tokens
picture = scenes.draw(0).image.resize((256, 144))
inputs = processor(images=picture, text="USER: <image> How many objects? ASSISTANT:", return_tensors="pt")


def receipt(**changes: object) -> tokenprune.Receipt:
    with tokenprune.attach(model, "vispruner", **changes) as pruned:
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    return pruned.receipt


# %% A number is a budget of the whole image, whatever its crops; newlines are separators, and are not counted
print(receipt(budget=160))

# %% How it is divided: evenly; by competition of all crops; or by what the thumbnail sees
for splitter in ("equal", "global_pool", "thumbnail_guided"):
    rows = receipt(budget=160, splitter=splitter).images[0].rows
    print(f"{splitter:<17} {sum(rows)} tokens: thumbnail {rows[0]}, crops {rows[1:]}")

# %% Other units: a number for each crop, or a share of the image's own tokens
for budget in ("64 per row", "11.1%"):
    one = receipt(budget=budget).images[0]
    print(f"{budget:<17} {one.after} of {one.before} tokens: thumbnail {one.rows[0]}, crops {one.rows[1:]}")

# %% Newlines can go with the tokens
print(f"separators that stay: {receipt(budget=160).separators}, or {receipt(budget=160, separators='drop').separators}")
