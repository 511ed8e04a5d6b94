"""`sandboxd --backup` where there is nothing to back up, or where a server keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler import daemon
from scheduler.daemon import EXIT_FAILED, EXIT_OK
from tests.databases import sqlite_at
from tests.service.test_backups import refuse_removing

pytestmark = pytest.mark.usefixtures("logs_as_before")


def test_a_state_directory_without_a_daemon_has_nothing_to_back_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--state-dir", str(tmp_path / "state"), "--backup", str(tmp_path / "kept")]
    assert daemon.main(arguments) == EXIT_FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "to back up" in captured.err
    assert list(tmp_path.iterdir()) == []


def test_what_a_server_keeps_is_left_to_its_own_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "cluster.key").write_text("key")
    config = tmp_path / "config.toml"
    config.write_text('[store]\ndatabase_url = "postgres://sandboxd@db.example/sandboxd"\n')
    arguments = ["--config", str(config), "--state-dir", str(state), "--backup", str(tmp_path)]
    assert daemon.main(arguments) == EXIT_OK
    captured = capsys.readouterr()
    assert [one.name for one in Path(captured.out.strip()).iterdir()] == ["cluster.key"]
    assert "pg_dump" in captured.err


def test_half_of_an_old_one_that_stays_is_told_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, half = tmp_path / "state", tmp_path / "kept" / "sandboxd-20260104T120000Z.partial"
    state.mkdir()
    half.mkdir(parents=True)
    sqlite_at(state / "sandboxd.db")
    (state / "cluster.key").write_text("key")
    refuse_removing(monkeypatch, half)
    arguments = ["--state-dir", str(state), "--backup", str(tmp_path / "kept")]
    assert daemon.main(arguments) == EXIT_OK
    captured = capsys.readouterr()
    assert (Path(captured.out.splitlines()[-1]) / "sandboxd.db").exists()
    assert f"{half} is half of an old backup and cannot be removed" in captured.err
