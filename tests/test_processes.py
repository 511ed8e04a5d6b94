"""Programs beside the daemon are bounded in time and words, and end with their children."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from scheduler.processes import Ended, clean_environment, program, run
from tests.jumps import in_jumps, pass_time
from tests.waits import until

LIMIT_SECONDS = 600
SLEEP = str(10**8 + os.getpid())
"""A time to sleep for that nobody else sleeps for."""
CHILD = f"import subprocess; subprocess.Popen(['sleep', '{SLEEP}']); "


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
        self.heard = 0
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        self.heard += len(data)
        data = self._held + data
        self._held = data[-1:]
        return data[:-1].upper()

    def end(self) -> bytes:
        return self._held.upper() + b"!"


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_it_says_goes_through_a_sieve_before_anything_is_forgotten(
    tmp_path: Path, goes_on: bool
) -> None:
    said = "x" * 200_000 + "end\n"
    code = f"import time; print('x' * 200_000 + 'end', flush=True); time.sleep(6000 * {goes_on:d})"

    async def test() -> None:
        shouter = Shouter()
        running = asyncio.create_task(
            run(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                environment=clean_environment(tmp_path),
                limit_seconds=LIMIT_SECONDS,
                most_bytes=10,
                sieve=shouter,
            )
        )
        if goes_on:
            await until(lambda: shouter.heard == len(said), what="all that it says")
            await pass_time(LIMIT_SECONDS)
        assert await running == Ended(code=None if goes_on else 0, output="XXXXXEND\n!")

    in_jumps(test())


async def test_nothing_of_the_daemons_environment_goes_along(tmp_path: Path) -> None:
    found = await ended(tmp_path, "import os; print(sorted(os.environ))", most=1000)
    names = {"HOME", "LC_ALL", "NO_COLOR", "PATH"}
    assert set(ast.literal_eval(found.output)) <= names | {"LC_CTYPE"}


def commands() -> set[tuple[bytes, ...]]:
    """Return the command lines of all processes that run."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.add(tuple((entry / "cmdline").read_bytes().split(b"\0")[:-1]))
    return found


def sleeps() -> bool:
    """Return whether what the child started runs."""
    return (b"sleep", SLEEP.encode()) in commands()


def test_its_time_is_up_for_all_that_it_started(tmp_path: Path) -> None:
    async def test() -> None:
        code = CHILD + "import time; time.sleep(6000)"
        running = asyncio.create_task(ended(tmp_path, code, limit=LIMIT_SECONDS))
        await until(sleeps, what="the child of the child")
        await pass_time(LIMIT_SECONDS)
        assert (await running).code is None
        await until(lambda: not sleeps(), what="its end")

    in_jumps(test())


def test_what_holds_its_output_ends_with_it(tmp_path: Path) -> None:
    async def test() -> None:
        running = asyncio.create_task(ended(tmp_path, CHILD, limit=LIMIT_SECONDS))
        await until(sleeps, what="the child of the child")
        await until(lambda: not any(CHILD.encode() in line for line in commands()))
        await asyncio.sleep(0)
        assert not running.done()
        await pass_time(LIMIT_SECONDS)
        assert (await running).code is None
        await until(lambda: not sleeps(), what="its end")

    in_jumps(test())


def test_a_program_is_looked_for_beside_python_and_where_systems_keep_theirs() -> None:
    assert program("sh") is not None
    assert program("no-such-program") is None
