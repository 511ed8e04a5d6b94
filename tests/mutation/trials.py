"""One mutant, one forked process: what the tests say of it is the exit status.

Edits within functions are tried in copies of a process that has imported and run every test once
already, against only those tests that called the function; a mutant then costs milliseconds.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType, ModuleType
from typing import TypeVar

import pytest

from tests.mutation.mutants import ROOT, Mutant
from tests.mutation.targets import Target

Task = TypeVar("Task")

EXAMPLES = 30
"""Examples of a property: enough to see a mistake, few enough to see hundreds of them."""
MEMORY_BYTES = 4 << 30
_OPTIONS = ("-q", "-s", "-x", "--timeout=0", "-p", "no:cacheprovider", "-p", "no:randomly")
_NEVER_RAN = 70


class Verdict(StrEnum):
    """What became of a mutant; one that never ends is as good as killed, it is counted apart."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMEOUT = "timeout"


Told = Callable[[Mutant, Verdict], None]


def judge(target: Target, chosen: Sequence[Mutant], jobs: int, told: Told) -> None:
    """Try the mutants of a target against its tests; `AssertionError` when those fail without."""
    inside = [mutant for mutant in chosen if mutant.function is not None]
    rest = [mutant for mutant in chosen if mutant.function is None]
    left = _in_copies(target, inside, jobs, told)
    rest += [mutant for mutant in inside if mutant in left]
    begun = time.monotonic()
    assert _status(_fork(lambda: _imported_anew(target, None), 600)) == 0, target.name
    limit = round(10 + 5 * (time.monotonic() - begun))
    for mutant, status in _side_by_side(
        rest, lambda mutant: _fork(lambda: _imported_anew(target, mutant), limit), jobs
    ):
        told(mutant, _verdict(status))


def _in_copies(target: Target, chosen: Sequence[Mutant], jobs: int, told: Told) -> set[Mutant]:
    """Try mutants in copies of one warm process; return those that it could not try."""
    if not chosen:
        return set()
    readable, writable = os.pipe()

    def warm() -> int:
        os.close(readable)
        with os.fdopen(writable, "w", encoding="ascii") as answers:
            return _pytest(target, _Copies(chosen, jobs, answers.write))

    pid = _fork(warm, 0)
    os.close(writable)
    left = set()
    with os.fdopen(readable, encoding="ascii") as answers:
        for line in answers:
            number, status = map(int, line.split())
            if status == _NEVER_RAN:
                left.add(chosen[number])
            else:
                told(chosen[number], _verdict(status))
    assert _status(pid) == 0, f"the tests of {target.name} fail without any mutant"
    return left


class _Copies:
    """A pytest plugin: run all tests once, then each mutant's in a copy of this process."""

    def __init__(
        self, chosen: Sequence[Mutant], jobs: int, answer: Callable[[str], object]
    ) -> None:
        self._chosen = chosen
        self._jobs = jobs
        self._answer = answer
        self._failed = False
        self._seconds: dict[pytest.Item, float] = {}
        self._callers: dict[tuple[str, str], list[pytest.Item]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item, following in zip(
            session.items, session.items[1:] + session.items[:1], strict=True
        ):
            self._watch(item, following)
            if self._failed:
                session.testsfailed = 1
                return True
        numbers = range(len(self._chosen))
        for number, status in _side_by_side(
            numbers, lambda each: self._start(session, each), self._jobs
        ):
            self._answer(f"{number} {status}\n")
        return True

    def _watch(self, item: pytest.Item, following: pytest.Item) -> None:
        begun = time.monotonic()
        with _calls() as calls:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        self._seconds[item] = time.monotonic() - begun
        for call in calls:
            self._callers.setdefault(call, []).append(item)

    def _start(self, session: pytest.Session, number: int) -> int:
        mutant = self._chosen[number]
        called = (str(ROOT / mutant.path), ".".join(mutant.function or ()))
        items = sorted(self._callers.get(called, session.items), key=self._seconds.__getitem__)
        limit = 10 + 5 * sum(map(self._seconds.__getitem__, items))
        return _fork(lambda: self._try(session, mutant, items), round(limit))

    def _try(self, session: pytest.Session, mutant: Mutant, items: Sequence[pytest.Item]) -> int:
        if not mutant.exchange():
            return _NEVER_RAN
        session._setupstate.teardown_exact(items[0])
        for item, following in zip(items, (*items[1:], None), strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                return 1
        return 0


def _imported_anew(target: Target, mutant: Mutant | None) -> int:
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(mutant))
    return _pytest(target)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=self._mutant.path)

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(ROOT / self._mutant.path)
        exec(self._mutant.code(), module.__dict__)


def _pytest(target: Target, *plugins: object) -> int:
    return int(pytest.main([*_OPTIONS, *target.tests], plugins=[_FewExamples(), *plugins]))


class _FewExamples:
    """A pytest plugin: properties draw the same few examples in each process."""

    def pytest_collection(self) -> None:
        from hypothesis import settings  # pytest minds when its plugins are imported before it

        settings.register_profile(
            "mutation", deadline=None, derandomize=True, database=None, max_examples=EXAMPLES
        )
        settings.load_profile("mutation")


@contextmanager
def _calls() -> Iterator[set[tuple[str, str]]]:
    """Collect the file and the outermost function of every call into the product."""
    found: set[tuple[str, str]] = set()
    product = str(ROOT / "scheduler")

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(product):
            found.add((code.co_filename, code.co_qualname.partition(".<locals>")[0]))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _fork(run: Callable[[], int], limit_seconds: int) -> int:
    """Start a copy of this process that runs and ends; no limit when 0."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit_seconds)
        status = run()
    finally:
        os._exit(status)


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _verdict(status: int) -> Verdict:
    if status == 0:
        return Verdict.SURVIVED
    return Verdict.TIMEOUT if status == -signal.SIGALRM else Verdict.KILLED


def _side_by_side(
    tasks: Iterable[Task], start: Callable[[Task], int], jobs: int
) -> Iterator[tuple[Task, int]]:
    running: dict[int, Task] = {}
    waiting = iter(tasks)
    while True:
        while len(running) < jobs and (task := next(waiting, None)) is not None:
            running[start(task)] = task
        if not running:
            return
        pid, status = os.wait()
        yield running.pop(pid), os.waitstatus_to_exitcode(status)
