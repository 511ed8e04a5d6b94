"""What is mutated, and which tests must notice: the rules that decide, each against its own room.

`EQUIVALENT` lists the edits that change nothing anyone could see, with the reason; they are left
out of the percentage.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutation.mutants import ROOT, Mutant, mutants

SLACK = ("-k", "not postgresql")
"""The statements are the same on both engines; a server would only be slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Files that are mutated, and the arguments of the pytest run that must fail."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]

    def mutants(self) -> list[Mutant]:
        """Return every mutant of every file but those known to be equivalent."""
        return [
            mutant
            for path in self.files
            for mutant in mutants(path)
            if (path, mutant.what) not in EQUIVALENT
        ]


def _room(path: str) -> tuple[str, ...]:
    return tuple(
        sorted(
            each.relative_to(ROOT).as_posix()
            for each in (ROOT / path).glob("*.py")
            if each.name != "__init__.py"
        )
    )


EQUIVALENT: dict[tuple[str, str], str] = {}

TARGETS = (
    Target(
        name="ledger",
        files=(
            "scheduler/store/repositories/allocation_queries.py",
            "scheduler/store/repositories/allocations.py",
        ),
        tests=(
            "tests/store/repositories/test_allocations.py",
            "tests/store/repositories/test_allocation_queries.py",
            "tests/store/test_ledger.py",
            *SLACK,
        ),
    ),
    Target(
        name="reaper",
        files=("scheduler/control/reaper.py",),
        tests=("tests/control/test_reaper.py",),
    ),
    Target(name="lifecycle", files=_room("scheduler/lifecycle"), tests=("tests/lifecycle",)),
    Target(name="placement", files=_room("scheduler/placement"), tests=("tests/placement",)),
)
