"""One daemon a state directory, and a clear word where there can be none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scheduler.errors import Invalid
from scheduler.statedir import (
    DiskRefused,
    HeldByAnother,
    held,
    on_disk,
    prepare,
    remove_for_good,
    write_once,
)


def test_a_missing_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    prepare(path)
    assert path.stat().st_mode & 0o777 == 0o700
    prepare(path)


def test_where_none_can_be_made_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Invalid, match="cannot be made") as refused:
            prepare(path)
        assert "--state-dir" in (refused.value.remedy or "")


def test_one_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so the system's answer is given for it.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Invalid, match=f"not writable by uid {os.geteuid()}"):
        prepare(tmp_path)


def test_i12_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with held(tmp_path):
        with pytest.raises(HeldByAnother, match=f"pid {os.getpid()}") as refused, held(tmp_path):
            raise AssertionError("held twice")
        assert str(tmp_path) in refused.value.message
    with held(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_left_by_a_dead_daemon_is_free(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("999999999\n")
    with held(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_holder_that_did_not_say_who_it_is(tmp_path: Path) -> None:
    with held(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(HeldByAnother, match="pid unknown"), held(tmp_path):
            raise AssertionError("held twice")


def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="cannot be opened"), held(tmp_path):
        raise AssertionError("held through a link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "full or read-only"),
        (errno.EROFS, "full or read-only"),
        (errno.EMFILE, "LimitNOFILE"),
        (errno.ENFILE, "LimitNOFILE"),
    ],
)
def test_what_a_disk_refuses_is_told_with_what_to_do(number: int, remedy: str) -> None:
    with pytest.raises(DiskRefused) as told, on_disk("the key cannot be written"):
        raise OSError(number, os.strerror(number), "/state/key")
    assert told.value.message == f"the key cannot be written: {os.strerror(number)} (/state/key)"
    assert remedy in (told.value.remedy or "")
    assert told.value.code == "unavailable"


def test_a_file_that_cannot_be_written_or_removed_is_told(tmp_path: Path) -> None:
    lost = tmp_path / "none" / "key"
    with pytest.raises(DiskRefused, match="key cannot be written: No such file"):
        write_once(lost, b"x")
    (tmp_path / "stuck").mkdir()
    with pytest.raises(DiskRefused, match="stuck cannot be removed"):
        remove_for_good(tmp_path / "stuck")
    with pytest.raises(DiskRefused, match=r"gone: it broke$"), on_disk("gone"):
        raise OSError("it broke")
