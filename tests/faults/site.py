"""Where clusters are proven: hosts, database server and nursery for one trial after another.

A trial that failed has spoilt its cluster; the next one gets new hosts and an empty database.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Self

from tests.faults.cluster import Cluster
from tests.faults.lands import FARM, Land
from tests.faults.nursery import Nursery
from tests.fleet.cleanup import Scratch
from tests.fleet.postgres import PostgresCluster
from tests.fleet.process import wait_until


class Engine(StrEnum):
    """What keeps the records."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Site:
    """One cluster at a time, on one engine."""

    def __init__(
        self,
        engine: Engine,
        nursery: Nursery,
        postgres: PostgresCluster | None,
        land: Land = FARM,
    ) -> None:
        assert (engine is Engine.POSTGRESQL) is (postgres is not None)
        self.engine = engine
        self._land = land
        self._nursery = nursery
        self._postgres = postgres
        self._scratch: Scratch | None = None
        self._numbers = count(1)
        self._stack = ExitStack()
        self._cluster: Cluster | None = None
        self._database_url: str | None = None

    @property
    def cluster(self) -> Cluster:
        """The present cluster, its daemon running and its hosts up."""
        if self._cluster is None:
            self._cluster = self._made()
        return self._cluster

    def spoil(self) -> None:
        """Give the present cluster up."""
        self._cluster = None
        self._stack.close()

    def close(self) -> None:
        """End everything and remove its files."""
        self.spoil()
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _made(self) -> Cluster:
        if self._scratch is None:
            self._scratch = Scratch.make("faults")
        hosts = self._stack.enter_context(self._land.hosts())
        directory = self._scratch.directory / f"cluster-{next(self._numbers)}"
        directory.mkdir(mode=0o700)
        self._stack.callback(shutil.rmtree, directory)
        cluster = Cluster(
            directory=directory,
            hosts=hosts,
            virt_type=self._land.virt_type,
            nursery=self._nursery,
            new_database=lambda: self._database(directory),
        )
        self._stack.callback(cluster.kill)
        cluster.start()
        wait_until(cluster.is_up, what="the hosts of a new cluster")
        return cluster

    def _database(self, directory: Path) -> str:
        if self._postgres is not None:
            if self._database_url is not None:  # hundreds of them take minutes to remove at the end
                self._postgres.drop(self._database_url)
            self._database_url = self._postgres.database()
            return self._database_url
        return f"sqlite:///{directory / f'state-{next(self._numbers)}.db'}"
