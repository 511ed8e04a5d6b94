"""Every fault of a store's configuration is named before anything opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scheduler.errors import Invalid
from scheduler.store import StoreConfig


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////var/lib/sandboxd/sandboxd.db", "sqlite"),
        ("sqlite:///relative.db", "sqlite"),
        ("postgres://user:pass@host:5432/dbname?sslmode=disable", "postgresql+psycopg"),
        ("postgresql://host/dbname", "postgresql+psycopg"),
    ],
)
def test_the_seeds_urls_are_taken_as_they_stand(url: str, driver: str) -> None:
    assert StoreConfig(database_url=url).url().drivername == driver


def test_a_parameter_of_the_url_reaches_the_driver() -> None:
    config = StoreConfig(database_url="postgres://u@h/d?sslmode=disable")
    assert config.url().query == {"sslmode": "disable"}
    assert config.sqlite_path is None


def test_a_sqlite_url_names_a_file() -> None:
    assert StoreConfig(database_url="sqlite:////a/b.db").sqlite_path == Path("/a/b.db")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("database_url", "nonsense"),
        ("database_url", "mysql://host/db"),
        ("database_url", "sqlite://"),
        ("database_url", "sqlite:///:memory:"),
        ("database_url", "sqlite://host/db"),
        ("database_url", "postgres://host:port/db"),
        ("max_open_conns", 2),
        ("max_idle_conns", 0),
        ("conn_max_lifetime", 0.0),
    ],
)
def test_a_fault_is_named_with_its_path_and_a_remedy(field: str, value: Any) -> None:
    given: dict[str, Any] = {"database_url": "sqlite:///x.db"} | {field: value}
    with pytest.raises(Invalid) as refused:
        StoreConfig(**given)
    assert list(refused.value.details) == [f"store.{field}"]
    assert refused.value.remedy


def test_a_password_never_shows() -> None:
    config = StoreConfig(database_url="postgres://user:hunter2@host/db")
    assert "hunter2" not in repr(config)
    with pytest.raises(Invalid) as refused:
        StoreConfig(database_url="mysql://user:hunter2@host/db")
    assert "hunter2" not in f"{refused.value} {refused.value.details} {refused.value.remedy}"


@pytest.mark.parametrize("most", [3, 4, 8, 64])
def test_connections_are_shared_out_whole(most: int) -> None:
    config = StoreConfig(database_url="sqlite:///x.db", max_open_conns=most)
    assert 1 + config.reader_conns + config.interactive_conns == most
    assert config.reader_conns >= 1
    assert config.interactive_conns >= 1
