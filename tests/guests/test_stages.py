"""Directories of plays: gone with their play, and swept when their daemon died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scheduler.guests.stages import PREFIX, stage, sweep
from scheduler.jail import NOBODY

DIES = """
import os, signal, tempfile
tempfile.tempdir = {directory!r}
from scheduler.guests.stages import stage
with stage() as made:
    (made / "key").write_text("secret")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def names(directory: Path) -> list[str]:
    return sorted(one.name for one in directory.iterdir())


def test_one_that_is_used_is_not_swept_and_goes_with_its_play(directory: Path) -> None:
    with stage() as made:
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "key").touch()
        assert sweep() == ()
        assert (made / "key").exists()
        # As the jail does it where the daemon is root.
        if os.geteuid() == 0:
            os.chown(made, NOBODY, NOBODY)
            assert sweep() == ()
    assert names(directory) == []


def test_what_a_killed_daemon_left_is_swept(directory: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", DIES.format(directory=str(directory))], check=False, timeout=180
    )
    assert died.returncode == -signal.SIGKILL
    (left,) = directory.iterdir()
    if os.geteuid() == 0:
        os.chown(left, NOBODY, NOBODY)
    assert sweep() == (left,)
    assert names(directory) == []
    assert sweep() == ()


def test_what_is_not_ours_or_not_begun_is_left_alone(directory: Path) -> None:
    """A link leads to what is others'; an empty one may be about to be locked."""
    (directory / "others").mkdir()
    (directory / "others" / "file").touch()
    (directory / f"{PREFIX}link").symlink_to(directory / "others")
    (directory / f"{PREFIX}file").touch()
    (directory / f"{PREFIX}empty").mkdir()
    if os.geteuid() == 0:
        (directory / f"{PREFIX}foreign").mkdir()
        (directory / f"{PREFIX}foreign" / "file").touch()
        os.chown(directory / f"{PREFIX}foreign", 1, 1)
    before = names(directory)
    assert sweep() == ()
    assert names(directory) == before
    assert names(directory / "others") == ["file"]
