"""Forges in the configuration: what they are reached by, and every fault told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config import BadConfiguration, Settings, load
from scheduler.control.publication_loops import publishing_pace


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load(file, environ=environ)


FORGE = '[[forges]]\nname = "hub"\nkind = "github"\nurl = "https://github.com/"\n'


def test_a_forge_takes_the_token_that_systemd_hands_over(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    assert loaded(tmp_path, FORGE).forges[0].token_file is None
    (credentials / "forge__hub").write_text("canary")
    settings = loaded(tmp_path, FORGE, CREDENTIALS_DIRECTORY=str(credentials))
    (forge,) = settings.forges
    assert forge.token_file == credentials / "forge__hub"
    assert (forge.url, forge.host, forge.port, forge.prefix) == (
        "https://github.com",
        "github.com",
        443,
        "",
    )
    assert "canary" not in repr(settings)
    named = loaded(
        tmp_path, f'{FORGE}token_file = "/etc/token"\n', CREDENTIALS_DIRECTORY=str(credentials)
    )
    assert named.forges[0].token_file == Path("/etc/token")


def test_the_pace_follows_the_settings(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        '[publishing]\nattempts = 2\npoll_seconds = "5m"\nmax_files = 7\n'
        'max_repository_mb = "2GiB"\nauthor_name = "Ana B"\nauthor_email = "ana@example.org"\n',
    )
    pace = publishing_pace(settings)
    assert (pace.rules.attempts, pace.rules.poll_seconds) == (2, 300)
    assert (pace.limits.most_file_bytes, pace.limits.change_set.most_files) == (2 << 30, 7)
    assert pace.author == ("Ana B", "ana@example.org")


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ('url = "http://github.com"', "url"),
        ('url = "https://user:pw@github.com"', "url"),
        ('url = "https://github.com/?x"', "url"),
        ('url = "https://[bad"', "url"),
        ('url = "https://github.com:99999"', "url"),
        ('url = "https://github.com/../x"', "url"),
        ('url = "https://github.com"\nkind = "sourceforge"', "kind"),
        ('url = "https://github.com"\nssh_key = "/k"', ""),
        ('url = "https://github.com"\ntoken = "canary"', "token"),
        ('url = "https://github.com"\nusername = "-x"', "username"),
    ],
)
def test_a_forge_that_is_none_is_refused_without_quoting_it(
    tmp_path: Path, lines: str, path: str
) -> None:
    kind = "" if "kind" in lines else 'kind = "github"\n'
    with pytest.raises(BadConfiguration) as refused:
        loaded(tmp_path, f'[[forges]]\nname = "hub"\n{kind}{lines}\n')
    (fault,) = refused.value.faults
    assert fault.path == ("forges.0" + (f".{path}" if path else ""))
    assert fault.remedy
    assert "canary" not in str(refused.value)


def test_two_forges_differ_in_name_and_address(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as refused:
        loaded(tmp_path, FORGE + FORGE)
    assert [fault.path for fault in refused.value.faults] == ["forges.1.name", "forges.1.url"]


def test_forges_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    for text in ("forges = 3\n", 'forges = ["x"]\n', "[[forges]]\nname = 3\n"):
        with pytest.raises(BadConfiguration):
            loaded(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
