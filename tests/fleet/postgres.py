"""A throw-away PostgreSQL cluster: real files, real fsync, a loopback port, gone with its owner.

The server refuses to run as root, so root starts it as the account that Debian's package made.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from itertools import count
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from tests.fleet.cleanup import Scratch
from tests.fleet.process import Server, User, on_free_port, run

SUPERUSER = "postgres"
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # In the data directory: what is in /dev/shm others on this machine may take away.
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
}


class PostgresCluster:
    """A running server. Every database it gives is new and empty."""

    def __init__(self, scratch: Scratch, programs: Path, user: User | None) -> None:
        self._scratch = scratch
        self._programs = programs
        self._user = user
        self._numbers = count(1)
        self._data = scratch.directory / "data"
        self.port = 0
        self._server = on_free_port(self._started)

    @classmethod
    def make(cls) -> Self:
        """Initialise a cluster and start it; `FileNotFoundError` without PostgreSQL installed."""
        programs, user = _programs(), _user()
        scratch = Scratch.make("postgres")
        try:
            _initialise(scratch.directory / "data", programs, user)
            return cls(scratch, programs, user)
        except BaseException:
            scratch.close()
            raise

    def database(self) -> str:
        """The URL of a database made for this call."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it; each is a thousand files."""
        name = sql.Identifier(url.partition("?")[0].rpartition("/")[2])
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def suspend(self) -> None:
        """Freeze the postmaster: connections are accepted by the kernel and never answered."""
        self._server.suspend()

    def resume(self) -> None:
        """Thaw the postmaster."""
        self._server.resume()

    def crash(self) -> None:
        """End the server without a checkpoint; `restart` brings it back by recovery."""
        self._server.stop(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same data and port."""
        if self._server.is_running:
            self._server.stop(signal.SIGINT)
        self._server = self._started(self.port)

    def close(self) -> None:
        """Stop the server at once and remove its files."""
        self._server.stop(signal.SIGQUIT)
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _url(self, database: str) -> str:
        return f"postgres://{SUPERUSER}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def _started(self, port: int) -> Server:
        self.port = port
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self._data)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = Server.start(
            [str(self._programs / "postgres"), "-D", str(self._data), *options],
            log=self._scratch.directory / "postgres.log",
            user=self._user,
            last_signal="QUIT",
        )
        try:
            server.wait_until_ready(self._answers)
        except BaseException:
            server.kill()
            raise
        return server

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _initialise(data: Path, programs: Path, user: User | None) -> None:
    data.mkdir(mode=0o700)
    if user is not None:
        os.chown(data, user.uid, user.gid)
    run(
        str(programs / "initdb"),
        *("-D", str(data), "-U", SUPERUSER, "--auth=trust", "--no-sync"),
        *("--encoding=UTF8", "--locale=C.UTF-8"),
        user=user,
    )


def _user() -> User | None:
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam(SUPERUSER)
    return User(uid=account.pw_uid, gid=account.pw_gid)


def _programs() -> Path:
    """Where the newest server is: Debian keeps it off the PATH, one directory a version."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    if found := sorted(installed, key=lambda path: int(path.parts[-3])):
        return found[-1].parent
    if (on_path := shutil.which("initdb")) is not None:
        return Path(on_path).resolve().parent
    raise FileNotFoundError("no PostgreSQL server; on Debian: apt-get install postgresql")
