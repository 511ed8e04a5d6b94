"""Which release this is: told by a file beside the package, and everywhere alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler import daemon, release
from scheduler.release import Release, installed


def test_a_release_is_called_by_version_and_commit() -> None:
    assert str(Release(version="1.2.3", revision="abc")) == "1.2.3-abc"
    assert str(Release(version="1.2.3")) == "1.2.3"


def test_the_commit_is_what_was_written_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "REVISION"
    monkeypatch.setattr(release, "REVISION_FILE", file)
    for written, revision in ((b"0123abc\n", "0123abc"), (b"\n", None), (b"\xff", None)):
        file.write_bytes(written)
        installed.cache_clear()
        assert installed().revision == revision
    file.write_text("0123abc\n")
    installed.cache_clear()
    with pytest.raises(SystemExit) as ended:
        daemon.main(["--version"])
    installed.cache_clear()
    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith("-0123abc\n")


def test_a_program_that_is_not_installed_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata as metadata

    def unknown(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", unknown)
    installed.cache_clear()
    assert installed().version == "0"
    installed.cache_clear()
