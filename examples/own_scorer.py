"""A scorer of your own: define it, check it, put it into a pipeline, attach it.

python examples/own_scorer.py
"""

# %% A strategy is its own configuration: fields are settings, one method does the work
from typing import final

from pydantic import Field
from torch import Tensor

import tokenprune
from tokenprune import Scorer, VisualTokens, scenes


@final
class Contrast(Scorer):
    """How far a token is from the mean of its row.

    Args:
        power: above 1 it favours the few that stand out most.
    """

    power: float = Field(default=1.0, gt=0, le=4)

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32, larger = keep."""
        x = tokens.features.float()  # [B, N, C]
        if tokens.valid is not None:
            x = x * tokens.valid[..., None]  # what never reaches the language model has no say
        mean = x.sum(1, keepdim=True) / tokens.counts.to(x.device).clamp(min=1)[:, None, None]  # [B, 1, C]
        return (x - mean).square().sum(-1).sqrt().pow(self.power)  # [B, N]


# %% The checks that every built-in passes; they need hypothesis, and say which rule was broken by which tokens
from tokenprune.testing import check_scorer  # noqa: E402

check_scorer(Contrast(), examples=10)
print("the scorer keeps the rules")

# %% In a pipeline: half the budget by contrast, half by dropping near-duplicates from the rest
pipeline = tokenprune.load("vispruner", name="contrast", scorer=Contrast(power=2.0), budget=28)

# %% On a model
model, processor = scenes.load()
scene = scenes.draw(0)
question = scene.questions()[0]
inputs = processor(images=scene.image, text=f"USER: <image> {question.text} ASSISTANT:", return_tensors="pt")
with tokenprune.attach(model, pipeline) as pruned:
    output = model.generate(**inputs, max_new_tokens=5, do_sample=False)
said = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
print(f"{question.text} {said}; right: {question.answer}")
print(pruned.receipt)

# %% To use it from YAML as `scorer: contrast`, register it in the pyproject.toml of a package:
#
#    [project.entry-points."tokenprune.scorers"]
#    contrast = "my_package:Contrast"
#
# examples/third_party_plugin is such a package, with its tests.
