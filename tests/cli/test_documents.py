"""Every `sandboxctl` line that the README and docs/ print is one that it understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from scheduler.cli.main import cli

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
MISSING = ("does not exist", "cannot be read")
"""What is wrong with a line only here: the file that it names."""
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def lines(document: Path) -> list[str]:
    """Return the lines that a document shows for a shell."""
    return [
        line.strip()
        for block in BLOCK.findall(document.read_text())
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("sandboxctl ")
    ]


def understand(command: click.Command, said: Sequence[str], above: click.Context | None) -> None:
    """Read a line as the command does, without doing anything of it."""
    context = command.make_context(command.name, list(said), parent=above)
    if isinstance(command, click.Group):
        _, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert below is not None
        understand(below, rest, context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_line_is_understood(document: Path) -> None:
    for line in lines(document):
        said = shlex.split(line.partition(" >")[0], comments=True)[1:]
        try:
            understand(cli, said, None)
        except click.UsageError as error:
            if not any(one in error.message for one in MISSING):
                raise AssertionError(f"{line}: {error.message}") from error


def test_the_readme_has_lines() -> None:
    assert len(lines(DOCUMENTS[0])) > 10
    with pytest.raises(click.UsageError):
        understand(cli, ["publish", "--nonsense"], None)
