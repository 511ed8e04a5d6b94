"""YAML as Ansible reads it, written so that every value comes back and data is never a template.

PyYAML, because Ansible parses with it: what another YAML calls a string, it may call a boolean.
Everything outside ASCII is escaped, so that a file cannot show a reviewer something else.
"""

from __future__ import annotations

import yaml

UNSAFE = "!unsafe"
_STRING = "tag:yaml.org,2002:str"
_RESOLVER = yaml.resolver.Resolver()
WIDTH = 120
TEMPLATE_MARKS = ("{{", "{%", "{#", "#jinja2:")
"""What makes Ansible take a string for a template; the last changes what the others are."""


class Unsafe(str):
    """A string that is data: Ansible never evaluates it, whatever it looks like."""

    __slots__ = ()


class Name(Unsafe):
    """Data that is a name: written in quotes even where it holds line ends."""

    __slots__ = ()


def is_template(text: str) -> bool:
    """Return whether Ansible would evaluate a string."""
    return any(mark in text for mark in TEMPLATE_MARKS)


def as_data(value: object) -> object:
    """Return a value in which nothing will be evaluated: templates in it are marked as data."""
    if isinstance(value, str):
        return Unsafe(value) if is_template(value) else value
    if isinstance(value, dict):
        return {as_data(key): as_data(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(part) for part in value]
    return value


def write(document: object) -> str:
    """Return a document as YAML text; its values are those of JSON, and `Unsafe` strings."""
    return yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=False,
        default_flow_style=False,
        explicit_start=True,
        width=WIDTH,
    )


class _Dumper(yaml.SafeDumper):
    """Repeats rather than refers, and indents lists as people do."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """Write a string in quotes, broken wherever a line is full: names need not have spaces."""
        self.write_indicator('"', True)
        for character in text:
            piece = _escaped(character)
            if split and self.column + len(piece) > WIDTH:
                self.stream.write("\\")
                self.column += 1
                self.write_indent()
                # Leading blanks of a line are not part of the string unless they are escaped.
                piece = "\\" + piece if character == " " else piece
            self.stream.write(piece)
            self.column += len(piece)
        self.write_indicator('"', False)


def _escaped(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if " " <= character <= "~":
        return character
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_STRING, text, style=_style(text))


def _unsafe(dumper: yaml.SafeDumper, text: Unsafe) -> yaml.ScalarNode:
    style = '"' if isinstance(text, Name) else _style(text) or '"'
    return dumper.represent_scalar(_tag(text), str(text), style=style)


def _tag(text: str) -> str:
    """Return the tag for a string that is data.

    What stands behind `!unsafe` Ansible reads as if it had no quotes: `!unsafe "017"` is 15, and
    `!unsafe "yes"` is true. Such a word cannot be a template, so it goes without.
    """
    read_as = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return UNSAFE if read_as == _STRING else _STRING


def _style(text: str) -> str | None:
    """Return how a string is written: lines as lines, what begins like a number in quotes.

    YAML 1.2 has numbers that 1.1 does not know, and linters read 1.2.
    """
    if "\n" in text:
        return "|"
    return '"' if text[:1].isdigit() else None


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Unsafe, _unsafe)
_Dumper.add_representer(Name, _unsafe)
