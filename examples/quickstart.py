"""Two minutes: ask a model about a picture with all of its visual tokens, then with a quarter of them.

python examples/quickstart.py
"""

# %% A model and its processor. This one comes with the package and downloads nothing; any other works alike:
#    AutoModelForImageTextToText.from_pretrained(...), AutoProcessor.from_pretrained(...)
import tokenprune
from tokenprune import scenes

model, processor = scenes.load()

# %% A picture, a question, and what the processor makes of them
scene = scenes.draw(0)
question = scene.questions()[0]
turn = [{"type": "image"}, {"type": "text", "text": question.text}]
prompt = processor.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True)
inputs = processor(images=scene.image, text=prompt, return_tensors="pt")


def answer() -> str:
    output = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    return processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


# %% All 256 tokens
print(f"{question.text} {answer()}")

# %% 64 of them. What comes back counts the prompt you gave, so nothing else has to change
with tokenprune.attach(model, "vispruner", budget=64) as pruned:
    print(f"{question.text} {answer()}")

# %% What was kept, and why
print(pruned.receipt)
pruned.receipt.overlay(scene.image.resize((512, 512))).save("kept.png")
print("picture: kept.png")
