"""The schema's version: created or brought up to date at open, under the writers' lock.

Alembic runs on the application's own connection, in one transaction, so a migration that fails
leaves nothing behind; a SQLite file is copied first. A database that is newer than this code, empty
though it may only be read, or not a database at all is refused, with the way out; nothing is ever
recreated.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, inspect, text

from scheduler.errors import Invalid, SandboxdError
from scheduler.store.backups import how_to_restore, make_backup
from scheduler.store.config import StoreConfig
from scheduler.store.engines import begin_writing, take_time
from scheduler.store.faults import driver_errors, of_damage, translate
from scheduler.store.media import check_file, check_integrity

MIGRATIONS = Path(__file__).with_name("migrations")
_REVISIONS = "versions/[0-9]*_*.py"
"""A revision's file is named by its number, and the newest has the greatest."""
_CURRENT = text("SELECT version_num FROM alembic_version")

_ALEMBIC = threading.Lock()
"""Alembic keeps the migration in progress in its modules: one at a time in a process."""

_log = structlog.get_logger("scheduler.store")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revisions:
    current: str | None
    """The database's; None while it is empty."""
    newest: str
    known: frozenset[str]


def ensure(
    engine: Engine, config: StoreConfig, *, now: datetime, migrations: Path = MIGRATIONS
) -> str:
    """Leave the database with exactly the schema this code knows, or raise saying why not.

    Returns the schema's revision. `now` names the backup that is made before a change.
    """
    check_file(config)
    try:
        with engine.connect() as connection, connection.begin():
            check_integrity(connection)
            return _ensure(connection, config, now, migrations)
    except driver_errors() as error:
        raise _refused(translate(error)) from error


def _ensure(connection: Connection, config: StoreConfig, now: datetime, migrations: Path) -> str:
    if not config.read_only:
        begin_writing(connection)
    revisions = _revisions(connection, migrations)
    current, newest = revisions.current, revisions.newest
    if current == newest:
        return newest
    if current is not None and current not in revisions.known:
        raise _newer(revisions, config)
    if config.read_only or not config.auto_migrate:
        raise _not_migrated(revisions, config)
    _log.info("upgrading the schema", was=current, to=newest)
    _back_up(config, current, now)
    take_time(connection)
    _upgrade(connection, migrations)
    _log.info("schema", was=current, now=newest)
    return newest


def _revisions(connection: Connection, migrations: Path) -> _Revisions:
    """Compare what the database says with the files: most starts have nothing to migrate."""
    known = frozenset(file.name.partition("_")[0] for file in migrations.glob(_REVISIONS))
    told = inspect(connection).has_table("alembic_version")
    return _Revisions(
        current=connection.scalar(_CURRENT) if told else None, newest=max(known), known=known
    )


def _upgrade(connection: Connection, migrations: Path) -> None:
    from alembic import command  # 11 MiB and 150 modules that a daemon rarely needs
    from alembic.config import Config

    config = Config()
    # Alembic interpolates percent signs.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, "head")


def _back_up(config: StoreConfig, revision: str | None, now: datetime) -> None:
    """Copy a database that holds something; a server's is its operator's to dump."""
    path = config.sqlite_path
    if path is not None and revision is not None:
        made = make_backup(path, revision, now)
        _log.info("backup", path=str(made.path), schema=revision)


def _newer(revisions: _Revisions, config: StoreConfig) -> Invalid:
    path = config.sqlite_path
    back = (
        "To give up what changed since instead, restore the dump from before its upgrade."
        if path is None
        else how_to_restore(path, revisions.known)
    )
    return Invalid(
        f"the database's schema ({revisions.current}) is newer than this sandboxd knows"
        f" ({revisions.newest}): a newer sandboxd has upgraded it",
        remedy=f"Run that newer sandboxd again. {back}",
    )


def _not_migrated(revisions: _Revisions, config: StoreConfig) -> Invalid:
    current, newest = revisions.current, revisions.newest
    found = "is empty" if current is None else f"has the schema {current}, not {newest}"
    way = "on it" if config.read_only else "with store.auto_migrate on"
    dumped = current is None or config.sqlite_path is not None
    first = "Start" if dumped else "Make a dump (pg_dump), then start"
    return Invalid(f"the database {found}", remedy=f"{first} sandboxd once {way}.")


def _refused(error: SandboxdError) -> SandboxdError:
    """At open a damaged database is no passing trouble: it is not a database of ours."""
    if of_damage(error):
        return Invalid(error.message, remedy=error.remedy, details=error.details)
    return error
