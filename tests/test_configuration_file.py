"""Where the daemon finds its configuration, and what it makes of one that it may not read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from scheduler import daemon
from scheduler.daemon import EXIT_BAD_CONFIGURATION


def main(*arguments: object) -> int:
    return daemon.main([str(argument) for argument in arguments])


def test_the_file_in_its_usual_place_is_read_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = tmp_path / "config.toml"
    usual.write_text("[nonsense]")
    monkeypatch.setattr(daemon, "DEFAULT_PATH", usual)
    assert main("--check-config") == EXIT_BAD_CONFIGURATION
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.needs("root")
def test_whoever_may_not_look_in_the_usual_place_uses_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        open_to_all, closed = Path(name), Path(name) / "etc"
        open_to_all.chmod(0o755)
        closed.mkdir(mode=0o700)
        monkeypatch.setattr(daemon, "DEFAULT_PATH", closed / "config.toml")
        mine = open_to_all / "mine.toml"
        mine.write_text("")
        os.seteuid(65534)
        try:
            assert main("--check-config", "--config", mine) == 0
            assert main("--check-config", "--state-dir", open_to_all / "state") == 0
            assert main("--check-config") == EXIT_BAD_CONFIGURATION
        finally:
            os.seteuid(0)
        assert str(closed / "config.toml") in capsys.readouterr().err
