"""A mutant: one file of the product with one edit in it, ready to be put in the file's place.

Where the edit is within a function, only that function's code is exchanged in a process that has
everything imported; what runs on import needs the module to be imported anew.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType

from tests.mutation.edits import edits

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """The `number`th edit of a file; `function` names the outermost function it is in."""

    path: str
    number: int
    line: int
    what: str
    function: tuple[str, ...] | None

    @property
    def module(self) -> str:
        """Return the name under which the file is imported."""
        return self.path.removesuffix(".py").replace("/", ".")

    def code(self) -> CodeType:
        """Return the whole module, compiled with the edit."""
        tree = _tree(self.path)
        next(islice(edits(tree), self.number, None)).make()
        return compile(tree, str(ROOT / self.path), "exec", dont_inherit=True)

    def exchange(self) -> bool:
        """Put the edit into the imported module; False when that takes another import."""
        if self.function is None:
            return False
        target, code = _function(self.module, self.function), _inner(self.code(), self.function)
        if target is None or code is None or code.co_freevars != target.__code__.co_freevars:
            return False
        target.__code__ = code
        return True

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.what}"


def mutants(path: str) -> Iterator[Mutant]:
    """Yield every mutant of a file, always in the same order."""
    for number, edit in enumerate(edits(_tree(path))):
        yield Mutant(
            path=path, number=number, line=edit.line, what=edit.what, function=edit.function
        )


def _tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)


def _function(module: str, names: tuple[str, ...]) -> FunctionType | None:
    """Return the function of that name, out of whatever is wrapped around it."""
    found: object = importlib.import_module(module)
    for name in names:
        found = vars(found).get(name)
    while not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
        if isinstance(found, property):
            found = found.fget
        elif isinstance(found, functools._lru_cache_wrapper):
            found.cache_clear()
            found = found.__wrapped__
        elif hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        else:
            return None
    return found


def _inner(code: CodeType, names: tuple[str, ...]) -> CodeType | None:
    for name in names:
        inner = [
            each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name
        ]
        if len(inner) != 1:
            return None
        code = inner[0]
    return code
