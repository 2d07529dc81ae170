import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune.written import MOST, nodes, place, plain, repeated

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.dates())
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3))
)


@given(VALUES, st.booleans())
@settings(max_examples=60)
def test_what_is_written_is_read_as_the_safe_loader_reads_it(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert plain(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: &x [1, 2]\nb: *x\n", "a: &x {k: 1}\nb: {<<: *x, l: 2}\n", "", "# nothing\n", "3"])
def test_aliases_and_merges_are_read_too(text):
    assert plain(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 2, "the key 'a' stands here twice"),
        ("a: {b: 1,\n b: 2}\n", 1, "the key 'b' stands here twice"),
        ("- a: 1\n- {a: 1, c: [{d: 1, d: 1}]}\n", 1, "the key 'd' stands here twice"),
    ],
)
def test_a_key_that_stands_twice_is_an_error_where_it_stands_again(text, line, said):
    with pytest.raises(yaml.YAMLError, match=said) as caught:
        plain(text)
    assert caught.value.problem_mark.line == line


def test_a_key_may_stand_in_several_mappings_and_under_another_type():
    assert list(repeated(nodes("a: {a: 1}\nb: [{a: 1}, {a: 1}]\n1: x\n'1': y\n"))) == []
    assert list(repeated(nodes("a: &x {k: 1}\nb: *x\n"))) == []


def test_a_text_that_would_grow_beyond_measure_is_refused_before_it_grows():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(yaml.YAMLError, match=f"more than {MOST} values"):
        plain("\n".join(lines))


@pytest.mark.parametrize("text", ["a: &a [*a]", "&a a: {b: [*a], c: &c [[*c]]}"])
def test_what_holds_itself_is_refused(text):
    with pytest.raises(yaml.YAMLError, match="values"):
        plain(text)


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        plain("[" * 20_000 + "]" * 20_000)


def test_no_tag_runs_anything():
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        plain("!!python/object/apply:os.getcwd []")


TEXT = "name: mine\nscorer: {use: random,\n  seed: 3}\nstages:\n  - a\n  - [b, {c: d}]\n"


@pytest.mark.parametrize(
    ("where", "of_key", "at"),
    [
        ((), False, (1, 1)),
        (("name",), False, (1, 7)),
        (("name",), True, (1, 1)),
        (("scorer", "seed"), False, (3, 9)),
        (("scorer", "seed"), True, (3, 3)),
        (("scorer", "power"), False, (2, 9)),
        (("name", "more"), False, (1, 7)),
        (("stages", 0), False, (5, 5)),
        (("stages", 1, 1, "c"), False, (6, 13)),
        (("stages", 7), False, (5, 3)),
        (("stages", "a"), False, (5, 3)),
        (("nowhere", "at", "all"), False, (1, 1)),
    ],
)
def test_a_path_leads_to_a_line_and_a_column(where, of_key, at):
    assert place(nodes(TEXT), where, of_key) == at
