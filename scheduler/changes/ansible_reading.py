"""YAML that somebody wrote for Ansible, read as values: bounded, and with one meaning only.

The text is measured before anything is built from it: reading what nests without end, or refers to
itself, could take for ever.
"""

from __future__ import annotations

from typing import Any

import yaml

from scheduler.changes.ansible_yaml import UNSAFE, Unsafe

DEEPEST = 40
"""How deep a text may nest, whatever it says."""
MOST_CHARACTERS = 128 * 1024


class Unreadable(Exception):
    """A text is not YAML that means one thing; says what and where."""


class _Loader(yaml.CSafeLoader):
    """Knows `!unsafe`, and takes a key once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.MarkedYAMLError(
                problem="a mapping has the same key twice", problem_mark=node.start_mark
            )
        return mapping


def _construct_unsafe(loader: yaml.CSafeLoader, node: yaml.Node) -> Unsafe:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.MarkedYAMLError(
            problem="!unsafe marks something else than a string", problem_mark=node.start_mark
        )
    return Unsafe(loader.construct_scalar(node))


_Loader.add_constructor(UNSAFE, _construct_unsafe)


def read(text: str) -> object:
    """Return the one document of a text; raises `Unreadable`."""
    if len(text) > MOST_CHARACTERS:
        raise Unreadable(f"it is longer than {MOST_CHARACTERS} characters")
    try:
        _measure(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Unreadable(f"{error.problem or error.context}{place}") from error
    except yaml.YAMLError as error:
        raise Unreadable("it has a character that YAML does not allow") from error
    except ValueError as error:
        raise Unreadable("a date or number in it is none") from error


def _measure(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable("it refers to parts of itself (anchors and aliases)")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise Unreadable(f"it nests deeper than {DEEPEST}")
