"""How the daemon's threads share an interpreter and a processor, and what does not have to."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scheduler import interpreter, processes

ALL = interpreter.PROCESSORS
ONCE_FREE = f"""
import os, time
while os.sched_getaffinity(0) != {ALL}:
    time.sleep(0.01)
print("free")
"""
"""A program is let go once it was started, when it may have begun."""


def allowed() -> set[int]:
    """Return where the calling thread may run."""
    return os.sched_getaffinity(0)


async def test_threads_share_one_processor_and_programs_use_all(tmp_path: Path) -> None:
    with interpreter.settled():
        (mine,) = allowed()
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(allowed).result() == {mine}
        with ThreadPoolExecutor(1, initializer=interpreter.run_anywhere) as threads:
            assert threads.submit(allowed).result() == ALL
        told = await processes.run(
            [sys.executable, "-c", ONCE_FREE],
            cwd=tmp_path,
            environment={},
            limit_seconds=180,
            most_bytes=1000,
        )
    assert told.output.strip() == "free"


async def test_what_is_started_anywhere_stays_so_and_who_starts_it_comes_back() -> None:
    with interpreter.settled(), ThreadPoolExecutor(1) as threads:
        one = allowed()
        with interpreter.anywhere():
            assert allowed() == ALL
            assert threads.submit(allowed).result() == ALL
        assert allowed() == one
        assert threads.submit(allowed).result() == ALL


async def test_a_program_that_has_ended_needs_no_processor() -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    interpreter.release(process.pid)


def test_where_processors_are_not_ours_to_choose_the_kernel_does() -> None:
    before = allowed()
    interpreter._run_on({4095})
    assert allowed() == before


def test_all_is_as_before_in_the_end() -> None:
    before = (sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count(), allowed())
    with interpreter.settled():
        assert sys.getswitchinterval() < before[0]
        assert gc.get_threshold()[0] == interpreter.COLLECT_AFTER
        assert gc.get_freeze_count() > 0
    assert (sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count(), allowed()) == before


def test_an_operator_may_let_the_threads_run_anywhere() -> None:
    with interpreter.settled(one_processor=False):
        assert allowed() == ALL
