"""Programs beside the daemon are bounded in time and words, and end with their children."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from scheduler.processes import Ended, clean_environment, program, run
from tests.waits import until

CHILD = "import subprocess, sys; subprocess.Popen(['sleep', '987654']); print('up', flush=True); "


async def ended(tmp_path: Path, code: str, *, limit: float = 60, most: int = 100) -> Ended:
    return await run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        environment=clean_environment(tmp_path),
        limit_seconds=limit,
        most_bytes=most,
    )


async def test_the_end_of_what_it_said_is_kept(tmp_path: Path) -> None:
    found = await ended(tmp_path, "import sys; print('x' * 5000 + 'end'); sys.exit(3)")
    assert found.code == 3
    assert len(found.output) == 100
    assert found.output.endswith("end\n")


class Shouter:
    """Holds back the last byte, as whoever looks for secrets holds back what may begin one."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = data[-1:]
        return data[:-1].upper()

    def end(self) -> bytes:
        return self._held.upper() + b"!"


@pytest.mark.parametrize("limit", [60.0, 3.0])
async def test_what_it_says_goes_through_a_sieve_before_anything_is_forgotten(
    tmp_path: Path, limit: float
) -> None:
    code = "import sys, time; print('x' * 200_000 + 'end', flush=True); time.sleep(600 * (%d < 9))"
    found = await run(
        [sys.executable, "-c", code % limit],
        cwd=tmp_path,
        environment=clean_environment(tmp_path),
        limit_seconds=limit,
        most_bytes=10,
        sieve=Shouter(),
    )
    assert found == Ended(code=0 if limit > 9 else None, output="XXXXXEND\n!")


async def test_nothing_of_the_daemons_environment_goes_along(tmp_path: Path) -> None:
    found = await ended(tmp_path, "import os; print(sorted(os.environ))", most=1000)
    names = {"HOME", "LC_ALL", "NO_COLOR", "PATH"}
    assert set(ast.literal_eval(found.output)) <= names | {"LC_CTYPE"}


def sleepers() -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if b"987654" in (entry / "cmdline").read_bytes().split(b"\0"):
                found.add(entry.name)
        except OSError:
            continue
    return found


async def test_its_time_is_up_for_all_that_it_started(tmp_path: Path) -> None:
    found = await ended(tmp_path, CHILD + "import time; time.sleep(600)", limit=3)
    assert found.code is None
    await until(lambda: not sleepers())


async def test_what_holds_its_output_ends_with_it(tmp_path: Path) -> None:
    found = await ended(tmp_path, CHILD, limit=5)
    assert found.code in (0, None)
    await until(lambda: not sleepers())


def test_a_program_is_looked_for_beside_python_and_where_systems_keep_theirs() -> None:
    assert program("sh") is not None
    assert program("no-such-program") is None
