import hypothesis
import pytest
import releases
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


def pytest_collection_modifyitems(config, items):
    """Collect what is marked ``since`` a release from that release on; the summary counts the rest as deselected."""
    since = {item: [mark.args[0] for mark in item.iter_markers("since")] for item in items}
    if unknown := [
        one for marks in since.values() for one in marks if releases.Version(one).release > releases.newest()
    ]:
        raise pytest.UsageError(f"since {unknown[0]} is newer than constraints.txt, so it would never be collected")
    later = [item for item in items if not all(map(releases.there, since[item]))]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]
