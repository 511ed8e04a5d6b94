"""Every `sandboxctl ...` that a hint, a document or an alert tells somebody to type is one.

In a document's blocks whole lines are held against the parser; what is quoted in a sentence may
leave words out, so there each command and each option must exist.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import pytest

from scheduler.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "scripts/demo")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").iterdir()),
)
PROGRAM = "sandboxctl"
_LINE = re.compile(rf"^\s*(?:\$ |run )?({PROGRAM} [a-z-].*)$")
_QUOTED = re.compile(rf"([`\"])({PROGRAM} [^`\"]*)\1")
_SHELL = re.compile(r"[|&;<>].*")
_TOKEN = re.compile(r"[\w./:=@|<>{}\[\]…-]+")
_END = ",;:.)!?"


@dataclass(frozen=True)
class Quote:
    """A command as somebody is told to type it."""

    where: str
    words: tuple[str, ...]
    whole: bool
    """Whether nothing is left out."""

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"


def from_documents() -> Iterator[Quote]:
    for file in DOCUMENTS:
        for number, line in enumerate(file.read_text().replace("\\\n", " ").splitlines(), 1):
            where = f"{file.relative_to(ROOT)}, about line {number}"
            typed = _LINE.match(line)
            if typed is not None and "`" not in line:
                yield from alternatives(where, words_of(typed[1]), whole=True)
            for quoted in _QUOTED.finditer(line):
                yield from alternatives(where, words_of(quoted[2]), whole=False)


def words_of(line: str) -> list[str]:
    """Return the words up to where the shell takes over."""
    words = shlex.split(line, comments=True)
    ends = [number for number, word in enumerate(words) if _SHELL.fullmatch(word)]
    ours = words[: min(ends, default=len(words))]
    return [word for word in ours if not word.startswith("${")]


def from_code() -> Iterator[Quote]:
    for file in sorted((ROOT / "scheduler").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            text = text_of(node)
            for said in re.finditer(rf"\b{PROGRAM} ", text or ""):
                where = f"{file.relative_to(ROOT)}, line {getattr(node, 'lineno', '?')}"
                words = list(sentence(text[said.start() :]))
                yield from alternatives(where, words, whole=False)


def text_of(node: ast.AST) -> str:
    """Return a literal's text, with a word in each place that is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
        )
    return ""


def sentence(text: str) -> Iterator[str]:
    """Yield a command's words, up to what can only be the sentence around it."""
    for raw in text.split():
        word = raw.strip("`\"'(")
        if not _TOKEN.fullmatch(word.rstrip(_END)):
            return
        yield word.rstrip(_END)
        if raw[-1] in "`\"'" + _END:
            return


def alternatives(where: str, words: list[str], *, whole: bool) -> Iterator[Quote]:
    """Yield a quote for each choice in it: `a|b` is one, `[c]` and `d...` are c and d."""
    plain = [word.removesuffix("...").strip("[]").removesuffix("...") for word in words]
    choices = [word.split("|") for word in plain if word not in ("", "…", "...")]
    named = whole and "..." not in words and all(len(one) == 1 for one in choices)
    for chosen in product(*choices):
        yield Quote(where=where, words=chosen, whole=named)


def fault(quote: Quote) -> str | None:
    """Return what the parser has against a quote."""
    command: click.Command = cli
    context = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    rest = list(quote.words[1:])
    while isinstance(command, click.Group):
        if not rest:
            return "no command is named" if quote.whole else None
        try:
            _, rest, _ = command.make_parser(context).parse_args(rest)
        except click.UsageError as error:
            return error.format_message()
        name, rest = rest[0], rest[1:]
        found = command.get_command(context, name)
        if found is None:
            # In a sentence a name that is no command's is the next word of the sentence.
            prose = not quote.whole and command is not cli and not re.match(r"[a-z]", name)
            return None if prose else f"there is no command {name}"
        command = found
        context = click.Context(found, context, info_name=name, **found.context_settings)
    return fault_of_arguments(command, context, rest, whole=quote.whole)


def fault_of_arguments(
    command: click.Command, context: click.Context, rest: list[str], *, whole: bool
) -> str | None:
    if not whole:
        known = {name for one in command.get_params(context) for name in options_of(one)}
        given = rest[: rest.index("--")] if "--" in rest else rest
        unknown = [word for word in given if word.partition("=")[0].startswith("-")]
        unknown = [word for word in unknown if word.partition("=")[0] not in known]
        return f"there is no option {unknown[0]}" if unknown else None
    try:
        values, left, _ = command.make_parser(context).parse_args(rest)
    except click.UsageError as error:
        return error.format_message()
    if left:
        return f"{left} is too much"
    for one in command.get_params(context):
        value = values.get(one.name or "")
        if one.required and (value is None or one.value_is_missing(value)):
            return f"{one.name} is missing"
    return None


def options_of(parameter: click.Parameter) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


WHOLE_LINES = (
    ("sandboxctl list", None),
    ("sandboxctl changeset archive CHG-1 --to FILE", None),
    ("sandboxctl exec web-1 -- apt-get install -y nginx", None),
    ("sandboxctl changeset archive --to FILE", "is missing"),
    ("sandboxctl changeset download CHG-1", "there is no command download"),
    ("sandboxctl host list --nonsense", "No such option"),
    ("sandboxctl show web-1 web-2", "is too much"),
    ("sandboxctl snapshot", "no command is named"),
)


@pytest.mark.parametrize(("line", "why"), WHOLE_LINES)
def test_a_line_is_held_against_the_parser(line: str, why: str | None) -> None:
    (quote,) = alternatives("here", words_of(line), whole=True)
    found = fault(quote)
    assert (found is None) if why is None else (why in (found or "")), found


@pytest.mark.parametrize("quotes", [from_documents, from_code], ids=["documents", "code"])
def test_what_somebody_is_told_to_type_is_a_command(quotes: object) -> None:
    assert callable(quotes)
    found = list(quotes())
    assert len(found) > 60
    faults = [f"{quote}: {why}" for quote in found if (why := fault(quote)) is not None]
    assert not faults, "\n".join(faults)
