"""The pictures of the documentation, drawn anew: the embedded model on its scenes, and an AnyRes model's crops.

python examples/draw_pictures.py docs/images
python examples/draw_pictures.py --model DIR    only write the AnyRes model, to try `tokenprune view --model DIR` with

The AnyRes model is a LLaVA-NeXT of random weights with the geometry of the real one (crops of 336 pixels, 24 x 24
tokens each): it shows where tokens lie and how a budget is spread, and says nothing about which of them matter. The cat
is Chelsea, by Stéfan van der Walt, released to the public domain under CC0.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from typer.testing import CliRunner

from tokenprune import scenes
from tokenprune.cli import app

PINS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
SIZE = {"height": 336, "width": 336}
NOTE = "LLaVA-NeXT with random weights: where tokens lie, not which matter. Photograph: Chelsea, CC0."
SHEETS = {
    "view-scene": ["sparse:1", "--pipelines", "vispruner,divprune", "--budgets", "64,28,14"],
    "view-inside": ["sparse:1", "--pipelines", "fastv,visiondrop", "--budgets", "50%,30%"],
    "view-anyres": ["chelsea.jpg", "--pipelines", "vispruner,globalcom2", "--budgets", "640,160", "--note", NOTE],
}
MOST = 150_000  # bytes of a picture


def write_model(folder: Path) -> None:
    """A LLaVA-NeXT of random weights, with the embedded model's tokenizer."""
    from transformers import AutoTokenizer, LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(scenes.folder())
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, **sizes},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 4096, **sizes},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINS,
    )
    LlavaNextForConditionalGeneration(config).eval().save_pretrained(folder)
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=SIZE, image_grid_pinpoints=PINS),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(scenes.folder() / "chat_template.jinja").read_text("utf-8"),
    )
    processor.save_pretrained(folder)


def draw(folder: Path, model: Path) -> None:
    """Every sheet, small enough for a page."""
    for name, (source, *options) in SHEETS.items():
        path = folder / f"{name}.webp"
        where = ["--model", str(model), "--prompt", "What color is the star?"] if source.endswith(".jpg") else []
        source = str(folder / source) if where else source
        with TemporaryDirectory() as made:
            drawn = Path(made) / "sheet.png"
            found = CliRunner().invoke(app, ["view", source, *options, *where, "--out", str(drawn)])
            assert found.exit_code == 0, found.output
            with Image.open(drawn) as sheet:
                small = sheet.convert("RGB")
        small.thumbnail((1200, 1200), Image.Resampling.LANCZOS)
        small.save(path, quality=72, method=6)
        assert path.stat().st_size < MOST, f"{path} has {path.stat().st_size} bytes"
        print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--model"]:
        write_model(Path(sys.argv[2]))
    else:
        with TemporaryDirectory() as made:
            write_model(Path(made))
            draw(Path(sys.argv[1]), Path(made))
