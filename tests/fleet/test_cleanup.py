"""What was made beside a scratch directory is undone: at the end, on failure, after a SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fleet.cleanup import PREFIX, Scratch, _undo_listed
from tests.fleet.process import wait_until

RUN_LIMIT_S = 300
OWNER_THAT_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.fleet.cleanup import Scratch
from tests.fleet.process import Server
scratch = Scratch.make("killed")
scratch.undo("touch", sys.argv[1])
server = Server.start(["sleep", "600"], log=scratch.directory / "log")
print(scratch.directory, server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def nobody_else_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a place for scratch directories where no other session on the machine sweeps."""
    own = tmp_path / "scratch"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_the_directory_goes_and_undo_runs_last_first(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with suppress(ZeroDivisionError), Scratch.make("own") as scratch:
        for word in ("first", "second"):
            scratch.undo("sh", "-c", 'echo "$1" >>"$2"', "-", word, str(trace))
        (scratch.directory / "file").touch()
        1 / 0  # noqa: B018 - a failure inside the block
    assert trace.read_text() == "second\nfirst\n"
    assert not scratch.directory.exists()


def test_a_failing_undo_does_not_stop_the_others(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Scratch.make("own") as scratch:
        scratch.undo("touch", str(mark))
        scratch.undo("false")
        scratch.undo("/no/such/program")
    assert mark.exists()


def test_nothing_is_undone_twice_though_its_directory_stays(tmp_path: Path) -> None:
    trace, abandoned = tmp_path / "trace", Scratch.make("own")
    for word in ("first", "second"):
        abandoned.undo("sh", "-c", 'echo "$1" >>"$2"', "-", word, str(trace))
    os.kill(abandoned.keeper_pid, signal.SIGKILL)
    abandoned.close()
    for _ in range(2):
        _undo_listed(abandoned.directory)
    assert trace.read_text() == "second\nfirst\n"


def test_a_directory_that_goes_during_the_sweep_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / f"{PREFIX}other-gone"
    listed = Path.glob

    def with_one_that_goes(self: Path, pattern: str) -> list[Path]:
        return [gone, *listed(self, pattern)]

    monkeypatch.setattr(Path, "glob", with_one_that_goes)
    with Scratch.make("own") as scratch:
        assert scratch.directory.exists()


def test_nothing_outlives_an_owner_killed_by_sigkill(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    owner = subprocess.run(
        [sys.executable, "-c", OWNER_THAT_IS_KILLED, str(mark)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
    )
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    directory, pid = owner.stdout.split()
    wait_until(lambda: not Path(directory).exists(), what=f"removal of {directory}")
    wait_until(lambda: not _is_alive(int(pid)), what=f"end of process {pid}")
    assert mark.exists()


def test_what_a_killed_keeper_left_is_swept_by_the_next_session(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    abandoned = Scratch.make("own")
    abandoned.undo("touch", str(mark))
    os.kill(abandoned.keeper_pid, signal.SIGKILL)
    abandoned.close()
    assert abandoned.directory.exists()
    assert not mark.exists()
    with Scratch.make("own") as living, Scratch.make("own"):
        assert mark.exists()
        assert not abandoned.directory.exists()
        assert living.directory.exists()


def _is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
