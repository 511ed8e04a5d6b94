"""YAML as Ansible reads it."""

from __future__ import annotations

import pytest
import yaml

from scheduler.changes.ansible_yaml import Name, Unsafe, as_data, is_template, write


def test_only_what_could_be_evaluated_is_marked_as_data() -> None:
    given = {"{{ a }}": ["plain", ("{% b %}", 7)], "c": True}
    marked = as_data(given)
    assert marked == {"{{ a }}": ["plain", ["{% b %}", 7]], "c": True}
    assert isinstance(marked, dict)
    assert isinstance(next(iter(marked)), Unsafe)
    assert not isinstance(marked["{{ a }}"][0], Unsafe)
    assert is_template("#jinja2: x")


class Reader(yaml.SafeLoader):
    """Knows the mark."""

    def marked(self, node: yaml.ScalarNode) -> str:
        return str(node.value)


Reader.add_constructor("!unsafe", Reader.marked)


@pytest.mark.parametrize("length", range(100, 125))
def test_a_blank_at_the_beginning_of_a_line_is_kept(length: int) -> None:
    name = "x" * length + " y"
    text = write({"a": [Name(name)]})
    assert yaml.load(text, Loader=Reader) == {"a": [name]}


def test_what_ansible_would_read_as_something_else_is_a_plain_string() -> None:
    assert write([Name("017"), "1e3", Name("yes"), Name("no {{ x }}"), Unsafe("a\nb")]) == (
        '---\n- "017"\n- "1e3"\n- "yes"\n- !unsafe "no {{ x }}"\n- !unsafe |-\n  a\n  b\n'
    )
