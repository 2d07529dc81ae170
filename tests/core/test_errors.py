import inspect
import re

import pytest

from tokenprune import errors

CLASSES = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls)}


def test_the_docstring_draws_the_tree():
    drawn, path = {}, []
    for line in errors.__doc__.splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w+)(?: \((\w+)\))?(?:  |$)", line)
        if not found:
            continue
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        above = path[depth - 1] if depth else "Exception"
        drawn[found[2]] = {above, found[3] or above}
    tree = {name: {base.__name__ for base in cls.__bases__} for name, cls in CLASSES.items() if cls.__bases__}
    warnings = {name for name, bases in tree.items() if bases == {"UserWarning"}}
    assert drawn == {name: bases for name, bases in tree.items() if name not in warnings}
    assert f"{', '.join(sorted(warnings))} (UserWarning)" in errors.__doc__


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_every_error_can_be_caught_at_the_root_and_says_what_it_is(cls):
    assert issubclass(cls, errors.TokenpruneError) or issubclass(cls, UserWarning)
    assert cls.__doc__
    assert str(cls("what was asked")) == "what was asked"
