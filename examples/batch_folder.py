"""One question to every picture of a folder, in batches, with progress; stopped and started again, it goes on.

python examples/batch_folder.py pictures --question "How many objects?" --out answers.jsonl

Every answer is a line of the file as soon as its batch is done. A second run leaves out what is there, so stop it when
you like. Without --model it asks the embedded model, which knows drawn scenes and nothing else; a folder that is not
there is made and filled with some.
"""

# %% What is asked for
import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from transformers import AutoModelForImageTextToText, AutoProcessor

import tokenprune
from tokenprune import scenes

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path, nargs="?", default=Path("pictures"))
parser.add_argument("--question", default="How many objects?")
parser.add_argument("--out", type=Path, default=Path("answers.jsonl"))
parser.add_argument("--model", default=str(scenes.folder()))
parser.add_argument("--pipeline", default="vispruner")
parser.add_argument("--budget", default="25%")
parser.add_argument("--batch", type=int, default=4)
wanted = parser.parse_args()
SETTINGS = {name: str(getattr(wanted, name)) for name in ("question", "model", "pipeline", "budget")}

if not wanted.folder.is_dir():
    wanted.folder.mkdir(parents=True)
    for number in range(10):
        scenes.draw(number).image.save(wanted.folder / f"scene{number}.png")


# %% What an earlier run has done: whole lines of the same settings; half a line, where it was stopped, is cut off
def done() -> set[str]:
    if not wanted.out.is_file():
        return set()
    whole = [line for line in wanted.out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    wanted.out.write_bytes(b"".join(whole))
    records = map(json.loads, whole)
    return {record["image"] for record in records if SETTINGS.items() <= record.items()}


def batches(there: set[str]) -> list[list[Path]]:
    kinds = (".png", ".jpg", ".jpeg", ".webp")
    left = [path for path in sorted(wanted.folder.iterdir()) if path.suffix.lower() in kinds and path.name not in there]
    return [left[start : start + wanted.batch] for start in range(0, len(left), wanted.batch)]


# %% Pictures that cannot be read are recorded with their reason, and the others go on
def opened(paths: list[Path]) -> Iterator[tuple[Path, Image.Image | None, str]]:
    for path in paths:
        try:
            yield path, Image.open(path).convert("RGB"), ""
        except OSError as problem:
            yield path, None, str(problem)


def asked(model: Any, processor: Any, pictures: list[Image.Image]) -> list[str]:
    turn = [{"type": "image"}, {"type": "text", "text": wanted.question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True)
    inputs = processor(images=pictures, text=[prompt] * len(pictures), padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model.generate(**inputs.to(model.device, model.dtype), max_new_tokens=16, do_sample=False)
    said = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(said, skip_special_tokens=True)]


# %% One attached model for the whole folder
model = AutoModelForImageTextToText.from_pretrained(wanted.model, dtype="auto").eval()
model = model.to(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else model.float()
processor = AutoProcessor.from_pretrained(wanted.model)
todo = batches(done())
with tokenprune.attach(model, wanted.pipeline, budget=wanted.budget) as pruned, wanted.out.open("a") as out:
    for paths in track(todo, "asking", console=Console(stderr=True)):
        read = list(opened(paths))
        pictures = [picture for _, picture, _ in read if picture is not None]
        texts = iter(asked(model, processor, pictures) if pictures else [])
        kept = iter(pruned.receipt.images if pictures and pruned.receipt else [])
        for path, picture, problem in read:
            told = {"error": problem} if picture is None else {"answer": next(texts), "tokens": next(kept).after}
            out.write(json.dumps({"image": path.name, **told, **SETTINGS}) + "\n")
        out.flush()

lines = [json.loads(line) for line in wanted.out.read_text().splitlines()]
print(f"{sum(map(len, todo))} pictures asked about, {len(lines)} lines in {wanted.out}")
