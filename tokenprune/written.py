"""YAML as it is written: where each value stands, keys that stand there twice, and nothing that blows up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MOST = 10_000  # values of a file with its aliases written out; a pipeline has some dozens


def plain(text: str) -> object:
    """The values that a YAML text holds, read by the safe loader.

    Raises:
        YAMLError: it is not YAML, a key stands in it twice, or its aliases make it larger than any pipeline.
        ValueError: it holds a date that does not exist.
    """
    node = nodes(text)
    for key in repeated(node):
        raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands here twice", key.start_mark)
    return values(node)


def nodes(text: str) -> Node | None:
    """The nodes of a YAML text, with their places. None: it is empty.

    Raises:
        YAMLError: it is not YAML, or its aliases make it larger than any pipeline.
    """
    try:
        node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        large = node is not None and _size(node, {}) > MOST
    except RecursionError:
        raise yaml.YAMLError("this is nested too deeply") from None
    if node is not None and large:
        raise yaml.composer.ComposerError(None, None, f"this is more than {MOST} values", node.start_mark)
    return node


def values(node: Node | None) -> object:
    """What a node holds; errors as in `plain`."""
    return None if node is None else yaml.constructor.SafeConstructor().construct_document(node)


def repeated(node: Node | None) -> Iterator[ScalarNode]:
    """Keys that a mapping holds already, from top to bottom."""
    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, ScalarNode)]
            before = [(key.tag, key.value) for key in keys]
            yield from (key for i, key in enumerate(keys) if before[i] in before[:i])
        todo += reversed(_below(node))


def place(node: Node, where: Sequence[int | str], of_key: bool = False) -> tuple[int, int]:
    """Line and column, from 1, of the value at the end of a path; of the nearest above it, if there is none.

    Args:
        node: the whole file.
        where: keys and indices.
        of_key: whether its key is meant.
    """
    mark = node.start_mark
    for part in where:
        if isinstance(node, MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
        else:
            items = node.value if isinstance(node, SequenceNode) else []
            found = (items[part], items[part]) if isinstance(part, int) and part < len(items) else None
        if found is None:
            break
        key, node = found
        mark = key.start_mark if of_key else node.start_mark
    return mark.line + 1, mark.column + 1


def _below(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _size(node: Node, known: dict[int, int]) -> int:
    """How many values it is with its aliases written out; one that holds itself is endless."""
    if id(node) not in known:
        known[id(node)] = MOST + 1  # until it is known: only what holds itself meets this
        known[id(node)] = 1 + sum(_size(below, known) for below in _below(node))
    return known[id(node)]
