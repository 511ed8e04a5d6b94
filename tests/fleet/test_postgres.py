"""The throw-away PostgreSQL cluster: durable while it lives, and gone when its owner is."""

from __future__ import annotations

import psycopg
import pytest

from tests.fleet.postgres import PostgresCluster


def test_every_database_is_new_and_empty(postgres: PostgresCluster) -> None:
    first, second = postgres.database(), postgres.database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE mark ()")
    with psycopg.connect(second) as connection:
        row = connection.execute("SELECT to_regclass('mark'), current_setting('fsync')").fetchone()
    assert row == (None, "on")


def test_a_dropped_database_is_gone_whoever_uses_it(postgres: PostgresCluster) -> None:
    url = postgres.database()
    with psycopg.connect(url) as used:
        postgres.drop(url)
        with pytest.raises(psycopg.OperationalError):
            used.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_commit_survives_a_crash() -> None:
    with PostgresCluster.make() as cluster:
        url = cluster.database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE mark AS SELECT 7 AS number")
        cluster.crash()
        cluster.restart()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT number FROM mark").fetchone() == (7,)
