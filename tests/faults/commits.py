"""The commits in the daemon's code, found by reading it: where a unit of work is submitted.

A commit is named as the daemon under proof names it when it runs (`mortal.point_of`): after the
module and the function that writes it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

SCHEDULER = Path(__file__).parents[2] / "scheduler"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def commits() -> list[str]:
    """Return the names of all commits outside the store itself, one for each place."""
    found: list[str] = []
    for path in sorted(SCHEDULER.rglob("*.py")):
        if not path.is_relative_to(SCHEDULER / "store"):
            found += (f"{path.stem}.{name.lstrip('_')}" for name in _of_module(path))
    return found


def _of_module(path: Path) -> Iterator[str]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    for function in _outermost(module):
        for call in ast.walk(function):
            if _calls(call, "submit"):
                yield from _names(call.args[0], function, module)


def _names(unit: ast.expr, function: Function, module: ast.Module) -> Iterator[str]:
    """Yield under which name a unit runs, from how it is written where it is submitted."""
    meant = _assigned(unit.id, function) if isinstance(unit, ast.Name) else None
    nested = _nested(unit.id, function) if isinstance(unit, ast.Name) else None
    if meant is not None:
        yield from _names(meant, function, module)
    elif _calls(unit, "once"):
        yield from _names(unit.args[0], function, module)
    elif _calls(unit, "partial"):
        yield _last(unit.args[0])
    elif nested is not None and any(_calls(one, "wraps") for one in nested.decorator_list):
        # It runs under the name of whoever hands in what it wraps.
        yield from (one.name for one in _outermost(module) if _has_call(one, function.name))
    else:
        yield function.name


def _outermost(module: ast.Module) -> Iterator[Function]:
    for node in module.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (one for one in members if isinstance(one, Function))


def _nested(name: str, function: Function) -> Function | None:
    inner = (one for one in ast.walk(function) if isinstance(one, Function))
    return next((one for one in inner if one.name == name), None)


def _assigned(name: str, function: Function) -> ast.expr | None:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and [_last(target) for target in node.targets] == [name]:
            return node.value
    return None


def _has_call(function: Function, name: str) -> bool:
    return any(_calls(one, name) for one in ast.walk(function))


def _calls(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _last(node.func) == name


def _last(expression: ast.expr) -> str:
    return str(getattr(expression, "attr", getattr(expression, "id", "")))
