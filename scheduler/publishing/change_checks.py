"""What the tools that are installed beside the daemon say of a change set.

A tool that is absent is told, and nothing more: the code is as good as before. Whatever they say
is data from elsewhere, since it quotes what a guest named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.model import Check
from scheduler.processes import Ended, clean_environment, program, run

Find = Callable[[str], Path | None]

LIMIT_SECONDS = 300.0
MOST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """How a tool is asked; `{name}` is the role's and the module's."""

    tool: str
    directory: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """Under what conditions all tools are asked."""

    environment: Mapping[str, str]
    limit_seconds: float


JUDGES: Sequence[_Judge] = (
    _Judge(
        tool="ansible-playbook",
        directory="ansible",
        arguments=("--syntax-check", "-i", "localhost,", "site.yml"),
    ),
    _Judge(
        tool="ansible-lint",
        directory="ansible",
        arguments=("--offline", "--profile", "production", "-q", "-f", "pep8", "site.yml", "roles"),
    ),
    _Judge(
        tool="puppet",
        directory="puppet",
        arguments=("parser", "validate", "{name}/manifests/init.pp"),
    ),
    _Judge(tool="puppet-lint", directory="puppet", arguments=("--fail-on-warnings", "{name}")),
)


async def checks(
    directory: Path, name: str, *, find: Find = program, limit_seconds: float = LIMIT_SECONDS
) -> tuple[Check, ...]:
    """Ask every tool that `find` knows, one after the other, about a directory's change set."""
    with tempfile.TemporaryDirectory(prefix="sandboxd-check-") as home:
        environment = clean_environment(Path(home), ANSIBLE_HOME=f"{home}/ansible")
        asking = _Asking(environment=environment, limit_seconds=limit_seconds)
        return tuple(
            [
                await _asked(judge, find(judge.tool), directory / judge.directory, name, asking)
                for judge in JUDGES
            ]
        )


async def _asked(
    judge: _Judge, tool: Path | None, directory: Path, name: str, asking: _Asking
) -> Check:
    if tool is None:
        return Check(tool=judge.tool, result="absent")
    try:
        ended = await run(
            [tool, *(argument.format(name=name) for argument in judge.arguments)],
            cwd=directory,
            environment=asking.environment,
            limit_seconds=asking.limit_seconds,
            most_bytes=MOST_BYTES,
        )
    except OSError as error:
        return Check(tool=judge.tool, result="error", output=str(error.strerror or error))
    return _said(judge.tool, ended, asking.limit_seconds)


def _said(tool: str, ended: Ended, limit_seconds: float) -> Check:
    if ended.code is None:
        why = f"it did not end within {limit_seconds:.0f} s"
        return Check(tool=tool, result="error", output=why)
    if ended.code == 0:
        return Check(tool=tool, result="passed")
    return Check(tool=tool, result="failed", output=escaped(ended.output))


def escaped(text: str) -> str:
    """Return text in which nothing is left that a terminal would obey or a database refuse."""
    return "".join(
        one if one.isprintable() or one == "\n" else f"\\u{ord(one):04x}" for one in text
    )
