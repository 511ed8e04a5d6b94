"""Secrets stay where they were put: each is a canary, and what the daemon says is searched for it.

It is failures that quote: configurations that are refused, a database that cannot be reached.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler import daemon
from tests.canaries import Canaries

pytestmark = pytest.mark.usefixtures("logs_as_before")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


BAD_URLS = (
    "mysql://user:{}@db/name",
    "postgres://user:{}@db:port/name",
    "postgres://user:{}@db/name?sslmode=whatever",
    "postgres://user@db/name?password={}&nonsense=1",
    "postgres://user:{}@127.0.0.1:1/name",
    "postgres://user:{}@[::1/name",
    "{}",
)
BAD_FILES = (
    '[store]\ndatabase_url = "postgres://u:{}@db/n',
    '[store]\ndatabase_url = ["postgres://u:{}@db/n"]',
    '[store]\npassword = "{}"',
    '[store]\ndatabase_url = {{ password = "{}" }}',
)


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("way", ["file", "environment", "credential"])
def test_a_database_url_that_fails_is_not_told(
    tmp_path: Path,
    canaries: Canaries,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    url: str,
    way: str,
) -> None:
    secret = url.format(canaries.plant("the database's password"))
    config = tmp_path / "config.toml"
    config.write_text(f'[store]\ndatabase_url = "{secret}"\n' if way == "file" else "")
    if way == "environment":
        monkeypatch.setenv("SANDBOXD_STORE__DATABASE_URL", secret)
    if way == "credential":
        (tmp_path / "store__database_url").write_text(secret)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    state = tmp_path / "state"
    assert daemon.main(["--config", str(config), "--state-dir", str(state)]) != daemon.EXIT_OK
    captured = capsys.readouterr()
    assert captured.err
    canaries.assert_none_in(captured.out + captured.err, "sandboxd")


@pytest.mark.parametrize("config", BAD_FILES)
def test_a_configuration_that_is_refused_is_not_quoted(
    tmp_path: Path, canaries: Canaries, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(config.format(canaries.plant("the database's password")))
    assert daemon.main(["--config", str(path), "--check-config"]) == daemon.EXIT_BAD_CONFIGURATION
    captured = capsys.readouterr()
    canaries.assert_none_in(captured.out + captured.err, "sandboxd --check-config")
