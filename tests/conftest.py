import hypothesis
import torch

# The same examples every time; `pytest --hypothesis-profile=search` looks for new ones.
hypothesis.settings.register_profile("repeat", deadline=None, database=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeat")
torch.set_num_threads(1)  # tensors are tiny, and the suite runs in several processes
