"""Who may connect to the admin socket: the group that is configured, and nobody else."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest
from starlette.responses import Response

from scheduler.api.listener import GroupRefused, serve


@pytest.fixture
def inheriting(tmp_path: Path) -> Path:
    """Return a directory that hands its group on, as the one of the admin socket does."""
    directory = tmp_path / "inheriting"
    directory.mkdir()
    os.chown(directory, -1, grp.getgrnam("daemon").gr_gid)
    directory.chmod(0o2750)
    return directory


async def test_without_a_group_only_its_owner_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"
    async with serve(Response(), path, group=None):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    assert not path.exists()


@pytest.mark.needs("root")
async def test_the_group_is_given_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with serve(Response(), path, group="daemon"):
        assert path.stat().st_gid == grp.getgrnam("daemon").gr_gid
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.needs("root")
@pytest.mark.parametrize("group", [None, "no-such-group"])
async def test_a_group_that_only_the_directory_gives_may_not_connect(
    inheriting: Path, group: str | None
) -> None:
    path = inheriting / "admin.sock"
    async with serve(Response(), path, group=group):
        assert path.stat().st_gid == grp.getgrnam("daemon").gr_gid
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.needs("root")
async def test_a_group_that_cannot_be_given_leaves_the_socket_to_no_other(
    inheriting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no CAP_CHOWN")

    monkeypatch.setattr(os, "chown", refuse)
    path = inheriting / "admin.sock"
    with pytest.raises(GroupRefused, match="cannot be given to the group mail") as caught:
        async with serve(Response(), path, group="mail"):
            raise AssertionError("served a group that was not meant")
    assert "docs/install.md" in (caught.value.remedy or "")
    assert not path.exists()
    async with serve(Response(), path, group="daemon"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660, "what the directory gave needs no chown"
