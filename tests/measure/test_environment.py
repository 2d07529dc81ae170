import platform

import torch

from tokenprune.measure.environment import environment


def test_says_what_figures_depend_on_and_nothing_of_the_user():
    record = environment()
    assert sorted(record) == ["device", "platform", "processor", "python", "threads", "torch", "transformers"]
    assert record["python"] == platform.python_version()
    assert record["torch"] == torch.__version__
    assert record["threads"] == torch.get_num_threads()
    assert all(record.values())
