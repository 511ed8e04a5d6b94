"""What can go wrong in a line: every small edit of a syntax tree, always in the same order.

An edit is a mistake that somebody could have made: a comparison turned or off by one, `and` for
`or`, a condition the wrong way round, a statement forgotten. Words meant for people stay as they
are, and so do annotations, decorators and imports.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "argmax": "argmin",
    "greater_equal": "greater",
    "greater": "greater_equal",
    "less": "less_equal",
    "less_equal": "less",
    "logical_and": "logical_or",
    "logical_or": "logical_and",
    "subtract": "add",
    "outerjoin": "join",
    "or_": "and_",
    "and_": "or_",
}
_LEFT_ALONE = {"annotation", "returns", "decorator_list", "type_params"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One mistake: where it stands, in which function or method, and how to make it."""

    line: int
    column: int
    what: str
    function: tuple[str, ...] | None
    """None when it runs as the module is imported."""
    make: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node hangs in its parent."""

    parent: ast.AST
    field: str
    index: int | None

    def replace(self, old: ast.AST, new: ast.AST) -> None:
        node = ast.fix_missing_locations(ast.copy_location(new, old))
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def edits(tree: ast.Module) -> Iterator[Edit]:
    """Yield every edit of the tree; at most one may be made, and ends the use of the tree."""
    yield from _within(tree, (), None)


def _within(
    node: ast.AST, scope: tuple[str, ...], function: tuple[str, ...] | None
) -> Iterator[Edit]:
    for place, child in _children(node):
        inner, inner_scope = function, scope
        if isinstance(child, ast.ClassDef):
            inner_scope = (*scope, child.name)
        elif isinstance(child, _FUNCTIONS) and function is None:
            yield from _within(child.args, scope, None)
            inner, inner_scope = (*scope, child.name), (*scope, child.name)
        for what, make in _of(child, place):
            line, column = getattr(child, "lineno", 0), getattr(child, "col_offset", 0)
            yield Edit(line=line, column=column, what=what, function=function, make=make)
        yield from _within(child, inner_scope, inner)


def _children(node: ast.AST) -> Iterator[tuple[_Place, ast.AST]]:
    skipped = {*_LEFT_ALONE, "args"} if isinstance(node, _FUNCTIONS) else _LEFT_ALONE
    for field, value in ast.iter_fields(node):
        if field in skipped:
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield _Place(node, field, index if isinstance(value, list) else None), child


def _of(node: ast.AST, place: _Place) -> Iterator[tuple[str, Callable[[], None]]]:
    for kind, made in _MISTAKES:
        if isinstance(node, kind):
            for replacement in made(node):
                yield _told(node, replacement), partial(place.replace, node, replacement)
    if place.field in ("test", "ifs") and isinstance(node, ast.expr):
        turned = ast.UnaryOp(op=ast.Not(), operand=node)
        yield _told(node, turned), partial(place.replace, node, turned)


def _told(old: ast.AST, new: ast.AST) -> str:
    before, after = (" ".join(ast.unparse(each).split()) for each in (old, new))
    return f"{before[:70]}  =>  {after[:70]}"


def _compare(node: ast.Compare) -> Iterator[ast.AST]:
    for index, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
            yield ast.Compare(left=node.left, ops=operators, comparators=node.comparators)


def _either(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(op=ast.Or() if isinstance(node.op, ast.And) else ast.And(), values=node.values)


def _turned(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand


def _calculated(node: ast.BinOp) -> Iterator[ast.AST]:
    if type(node.op) in OPERATIONS and not _is_text(node):
        yield ast.BinOp(left=node.left, op=OPERATIONS[type(node.op)](), right=node.right)


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(value=not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(value=node.value + 1)
        yield ast.Constant(value=node.value - 1)


def _returned(node: ast.Return) -> Iterator[ast.AST]:
    if node.value is not None and not (
        isinstance(node.value, ast.Constant) and node.value.value is None
    ):
        yield ast.Return(value=ast.Constant(value=None))


def _forgotten(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.Assign) and all(isinstance(one, ast.Name) for one in node.targets):
        return  # a name that was never bound is no test of anything
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        yield ast.Pass()


def _left_early(node: ast.stmt) -> Iterator[ast.AST]:
    yield ast.Break() if isinstance(node, ast.Continue) else ast.Continue()


def _named(node: ast.Call) -> Iterator[ast.AST]:
    called = node.func
    if isinstance(called, ast.Name) and called.id in NAMES:
        other: ast.expr = ast.Name(id=NAMES[called.id], ctx=ast.Load())
    elif isinstance(called, ast.Attribute) and called.attr in NAMES:
        other = ast.Attribute(value=called.value, attr=NAMES[called.attr], ctx=ast.Load())
    else:
        return
    yield ast.Call(func=other, args=node.args, keywords=node.keywords)


def _chosen(node: ast.IfExp) -> Iterator[ast.AST]:
    yield node.body
    yield node.orelse


def _condition_lost(node: ast.Call) -> Iterator[ast.AST]:
    """A statement's condition forgotten: `where` without one of its arguments."""
    if isinstance(node.func, ast.Attribute) and node.func.attr == "where":
        for index in range(len(node.args)):
            rest = [*node.args[:index], *node.args[index + 1 :]]
            yield ast.Call(func=node.func, args=rest, keywords=[]) if rest else node.func.value


_MISTAKES: tuple[tuple[Any, Callable[[Any], Iterator[ast.AST]]], ...] = (
    (ast.Compare, _compare),
    (ast.BoolOp, _either),
    (ast.UnaryOp, _turned),
    (ast.BinOp, _calculated),
    (ast.Constant, _constant),
    (ast.Return, _returned),
    ((ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Delete), _forgotten),
    ((ast.Break, ast.Continue), _left_early),
    (ast.Call, _named),
    (ast.Call, _condition_lost),
    (ast.IfExp, _chosen),
)
