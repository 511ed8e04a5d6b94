"""The house rules that no linter knows: sizes, module docstrings, where time and chance come from.

Each test collects every offender with its place, so that one run shows all there is to mend.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 400
FUNCTION_LINES = 50
POSITIONAL_PARAMETERS = 5
DOCSTRING_LINES = 6

# Elsewhere time is a `Clock` passed in and an id comes from `ids`; the client has its user's time.
SOURCES_OF_TIME_AND_CHANCE = ("scheduler/clock.py", "scheduler/ids.py", "scheduler/cli/")
TIME_AND_CHANCE = {
    "asyncio.sleep",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "random",
    "time.sleep",
    "time.time",
    "time.time_ns",
    "uuid.uuid1",
    "uuid.uuid4",
}
# libvirt's getFreeMemory leaves out the page cache: a host that served files looks full.
BANNED_METHODS = {"getFreeMemory"}


def python_files(*rooms: str) -> Iterator[Path]:
    """Yield the Python files of these top folders, in order."""
    for room in rooms:
        yield from sorted((ROOT / room).rglob("*.py"))


def scripts() -> list[Path]:
    """Return the Bash scripts people and CI start."""
    candidates = [*(ROOT / "scripts").iterdir(), *(ROOT / ".ci").iterdir()]
    return sorted(
        path for path in candidates if path.read_bytes().startswith(b"#!/usr/bin/env bash")
    )


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """Return `file:line`, as editors understand it."""
    relative = path.relative_to(ROOT).as_posix()
    return relative if node is None else f"{relative}:{getattr(node, 'lineno', 1)}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file, nested ones included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def positional_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the parameters a caller may pass without naming them; `self` is not the caller's."""
    names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def imported_names(module: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: `{"dt": "datetime", "now": "time.time"}`."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """Return the full name an expression refers to, None when it is not a plain dotted name."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (head := dotted(node.value, names)) is not None:
        return f"{head}.{node.attr}"
    return None


def uses(module: ast.Module, banned: set[str]) -> Iterator[tuple[ast.AST, str]]:
    """Yield each use of a banned function or module, however it was imported."""
    names = imported_names(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node, names)
            if name in banned:
                yield node, name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            origin = getattr(node, "module", None) or node.names[0].name
            if origin in banned:
                yield node, origin


def test_files_stay_readable() -> None:
    long = [
        f"{place(path)}: {lines} lines"
        for path in python_files("scheduler", "tests", "benchmarks")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES
    ]
    assert not long, "\n".join(long)


def test_functions_are_read_without_scrolling() -> None:
    long = [
        f"{place(path, function)}: {function.name} has {lines} lines"
        for path in python_files("scheduler", "tests", "benchmarks")
        for function in functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_parameters_beyond_the_fifth_are_named_by_the_caller() -> None:
    crowded = [
        f"{place(path, function)}: {function.name}"
        for path in python_files("scheduler", "tests", "benchmarks")
        for function in functions(path)
        if len(positional_parameters(function)) > POSITIONAL_PARAMETERS
    ]
    assert not crowded, "\n".join(crowded)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        f"{place(path)}: {lines} lines"
        for path in python_files("scheduler", "tests", "benchmarks")
        if not 1
        <= (lines := len((ast.get_docstring(tree(path)) or "").splitlines()))
        <= DOCSTRING_LINES
    ]
    assert not silent, "\n".join(silent)


def test_time_and_chance_are_passed_in() -> None:
    offenders = [
        f"{place(path, node)}: {name}"
        for path in python_files("scheduler")
        if not place(path).startswith(SOURCES_OF_TIME_AND_CHANCE)
        for node, name in uses(tree(path), TIME_AND_CHANCE)
    ]
    assert not offenders, "\n".join(offenders)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time as t\nwhen = t.time",
        "from time import time as now\nnow()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime as dt\ndt.now()",
        "import random\nrandom.random()",
        "from random import choice",
        "async def f():\n    from asyncio import sleep\n    await sleep(1)",
        "from uuid import uuid4\nfield(default_factory=uuid4)",
    ],
)
def test_hidden_time_and_chance_is_seen(source: str) -> None:
    assert list(uses(ast.parse(source), TIME_AND_CHANCE))


@pytest.mark.parametrize(
    "source",
    [
        "clock.now()",
        "import time\ntime.monotonic()",
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "def f(time):\n    return time.time",
    ],
)
def test_time_that_was_passed_in_is_let_through(source: str) -> None:
    assert not list(uses(ast.parse(source), TIME_AND_CHANCE))


def test_misleading_calls_are_not_made() -> None:
    offenders = [
        f"{place(path, node)}: {node.attr}"
        for path in python_files("scheduler")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in BANNED_METHODS
    ]
    assert not offenders, "\n".join(offenders)


def test_client_contract_names_every_room() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    (client,) = (contract for contract in contracts if contract["name"].startswith("The client"))
    rooms = {
        f"scheduler.{path.stem}"
        for path in (ROOT / "scheduler").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    # Whatever speaks HTTP is of a release too.
    assert set(client["forbidden_modules"]) == rooms - {"scheduler.cli", "scheduler.release"}


@pytest.mark.parametrize("script", scripts(), ids=place)
def test_script_starts_strict_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK), "chmod +x is missing"
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)


def test_changelog_has_a_place_for_the_next_change() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def decisions() -> list[Path]:
    """Return the records of decisions."""
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = Counter(path.name[:4] for path in decisions())
    assert not [number for number, count in numbers.items() if count > 1]
    for path in decisions():
        title = re.match(r"# 0*(\d+)[:.] ", path.read_text(encoding="utf-8"))
        assert title is not None, place(path)
        assert int(title[1]) == int(path.name[:4]), place(path)


def test_every_decision_is_listed_once() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\)", index, re.MULTILINE)
    assert sorted(listed) == [(path.name[:4], path.name) for path in decisions()]
