"""The schema's version: created or brought up to date at open, under the writers' lock.

Alembic runs on the application's own connection, in one transaction, so a migration that fails
leaves nothing behind. A database that is newer than this code, empty though it may only be read,
or not a database at all is refused, with the way out; nothing is ever recreated.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from scheduler.errors import Invalid, SandboxdError
from scheduler.store.config import StoreConfig
from scheduler.store.engines import begin_writing
from scheduler.store.faults import DRIVER_ERRORS, translate
from scheduler.store.media import check_file, check_integrity

_ALEMBIC = threading.Lock()
"""Alembic keeps the migration in progress in its modules: one at a time in a process."""


def ensure(engine: Engine, config: StoreConfig) -> None:
    """Leave the database with exactly the schema this code knows, or raise saying why not."""
    check_file(config)
    try:
        with engine.connect() as connection, connection.begin():
            check_integrity(connection)
            _ensure(connection, config)
    except DRIVER_ERRORS as error:
        raise _refused(translate(error)) from error


def _ensure(connection: Connection, config: StoreConfig) -> None:
    if not config.read_only:
        begin_writing(connection)
    scripts = ScriptDirectory.from_config(_alembic(connection))
    current = MigrationContext.configure(connection).get_current_revision()
    newest = scripts.get_current_head()
    if current == newest:
        return
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise Invalid(
            f"the database's schema ({current}) is newer than this sandboxd knows ({newest})",
            remedy="Run the newer sandboxd, or restore the backup from before its upgrade.",
        )
    if config.read_only or not config.auto_migrate:
        raise _not_migrated(current, newest, config)
    with _ALEMBIC:
        command.upgrade(_alembic(connection), "head")


def _not_migrated(current: str | None, newest: str | None, config: StoreConfig) -> Invalid:
    found = "is empty" if current is None else f"has the schema {current}, not {newest}"
    way = "with store.read_only off" if config.read_only else "with store.auto_migrate on"
    return Invalid(f"the database {found}", remedy=f"Start sandboxd once {way}.")


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


def _refused(error: SandboxdError) -> SandboxdError:
    """At open a damaged database is no passing trouble: it is not a database of ours."""
    if "damaged" in error.message:
        return Invalid(error.message, remedy=error.remedy, details=error.details)
    return error
