"""What makes a repository's methods awaited ones: run elsewhere, with their types kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from scheduler.store.repositories.repository import Repository

P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    """Runs a synchronous call on the transaction's connection."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class awaited(Generic[P, T]):
    """A repository's method as a coroutine function of its face."""

    def __init__(self, method: Callable[Concatenate[Any, P], T]) -> None:
        self.method = method

    def __get__(self, face: Face, owner: type[Face]) -> Callable[P, Coroutine[Any, Any, T]]:
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return await face.run(lambda: self.method(face.repository, *args, **kwargs))

        return call


class Face:
    """The base of all faces."""

    __slots__ = ("repository", "run")

    def __init__(self, run: Run, repository: Repository) -> None:
        self.run = run
        self.repository = repository
