import hypothesis
import torch

# The same examples every time; `pytest --hypothesis-profile=search` looks for new ones.
hypothesis.settings.register_profile("repeat", deadline=None, database=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
# A failure says all that mutation testing asks for: no smaller example is looked for, and a slow machine fails nothing.
hypothesis.settings.register_profile(
    "mutation",
    parent=hypothesis.settings.get_profile("repeat"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("repeat")
torch.set_num_threads(1)  # tensors are tiny, and the suite runs in several processes
