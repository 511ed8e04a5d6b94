"""Programs of the control node: what they write is bounded, and nothing of them outlives them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scheduler.guests.processes import MARK, Finished, run_program

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


async def run(script: str, tmp_path: Path, *, seconds: float = 60, most: int = 4096) -> Finished:
    return await run_program(
        ["/bin/sh", "-c", script],
        environment=ENVIRONMENT,
        directory=tmp_path,
        limit_seconds=seconds,
        output_bytes=most,
    )


def alive(pid: str) -> bool:
    """Return whether a process runs; one whose end nobody has asked about does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def test_a_program_sees_only_what_it_is_given(tmp_path: Path) -> None:
    done = await run("env | grep -v -e ^PWD -e ^_= -e ^SHLVL; pwd; cat; exit 3", tmp_path)
    lines = sorted(done.output.splitlines())
    assert done.exit_code == 3
    assert [line.partition("=")[0] for line in lines[1:]] == ["PATH", MARK]
    assert lines[0] == str(tmp_path)
    assert not done.truncated


async def test_both_streams_are_kept_in_order_and_their_middle_left_out(tmp_path: Path) -> None:
    script = "echo first; echo second >&2; head -c 100000 /dev/zero | tr '\\0' x; echo; echo last"
    done = await run(script, tmp_path)
    assert done.output.startswith("first\nsecond\nxxx")
    assert done.output.endswith("xxx\nlast\n")
    assert (done.truncated, done.output_bytes) == (True, 13 + 100_000 + 6)
    assert "bytes left out" in done.output
    assert len(done.output) < 5000


async def test_at_the_limit_everything_is_killed_whatever_session_it_is_in(tmp_path: Path) -> None:
    script = "setsid sleep 600 & echo $! >one; (trap '' TERM; sleep 600) & echo $! >two; sleep 600"
    done = await run(script, tmp_path, seconds=0.5)
    assert done.exit_code is None
    for name in ("one", "two"):
        assert not alive((tmp_path / name).read_text().strip())


async def test_what_a_program_leaves_behind_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    done = await run("setsid sleep 600 & echo $! >left; echo done", tmp_path)
    assert (done.exit_code, done.output) == (0, "done\n")
    assert not alive((tmp_path / "left").read_text().strip())


async def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run_program(
            [str(tmp_path / "none")],
            environment=ENVIRONMENT,
            directory=tmp_path,
            limit_seconds=1,
        )


async def test_output_that_is_no_text_is_shown_as_text(tmp_path: Path) -> None:
    done = await run_program(
        [sys.executable, "-c", "import os; os.write(1, bytes(range(250, 256)))"],
        environment=ENVIRONMENT,
        directory=tmp_path,
        limit_seconds=60,
    )
    assert done.output == "\ufffd" * 6
