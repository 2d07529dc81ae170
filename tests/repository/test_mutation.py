"""What mutation testing is told and what it found: record, page and the reasons of survivors belong together."""

import json

import mutation
from house import PACKAGES, ROOT

RECORD = json.loads(mutation.RECORD.read_text("utf-8"))


def test_modules_and_tests_are_there():
    for package, modules, tests in mutation.PARTS.values():
        assert all((ROOT / PACKAGES[package] / f"{module}.py").is_file() for module in modules.split())
        assert all((ROOT / "tests" / f"{test.split('.py')[0]}.py").is_file() for test in tests.split())


def test_properties_are_written_as_functions():
    one = "    @property\n    def x(self):\n        return 1\n"
    code = f"class A:\n{one}\n    @classmethod\n    def y(cls):\n        return 2\n"
    plain, names = mutation.plain_properties(code), {}
    assert ("@property" in plain, "@classmethod" in plain) == (False, True)
    exec(plain, names)
    assert (names["A"]().x, names["A"].y()) == (1, 2)


def test_the_page_says_what_the_record_says():
    assert mutation.PAGE.read_text("utf-8") == mutation.page(RECORD)


def test_nine_in_ten_mutants_are_killed_and_the_others_explained():
    mutants = sum(count["mutants"] for count in RECORD["modules"].values())
    assert mutants - len(RECORD["survivors"]) >= 0.9 * mutants
    assert not any("not tried" in count for count in RECORD["modules"].values())
    assert [one for one in RECORD["survivors"] if not one["why"]] == []
