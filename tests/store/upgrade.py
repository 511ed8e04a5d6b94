"""A revision beyond the product's newest, made for tests.

As a program it upgrades a database, and kills itself at the point it is told.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from scheduler.store import StoreConfig, engines, schema
from tests.clocks import START
from tests.databases import PATIENT

NEWEST = max(path.name[:4] for path in (schema.MIGRATIONS / "versions").glob("[0-9]*.py"))
NEXT = f"{int(NEWEST) + 1:04}"
REVISION = '''
"""Give every sandbox a colour, and take the list of publications away."""

import os
import signal

import sqlalchemy as sa
from alembic import op

revision = "%(next)s"
down_revision = "%(newest)s"


def die_at(point):
    if os.environ.get("DIE_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)


def upgrade():
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for bound in ("statement_timeout", "idle_in_transaction_session_timeout"):
            is_bound = connection.exec_driver_sql(f"SHOW {bound}").scalar()
            assert is_bound == "0", f"{bound} cuts a long upgrade off, which then begins anew"
    die_at("before the first change")
    op.add_column("sandboxes", sa.Column("colour", sa.Text()))
    op.execute("UPDATE sandboxes SET colour = 'green'")
    die_at("between the changes")
    op.drop_table("publications")
    if os.environ.get("FAIL"):
        op.execute("SELECT nonsense FROM nowhere")
    die_at("before the commit")
'''
IN_THE_REVISION = ("before the first change", "between the changes", "before the commit")
ALONG_THE_BACKUP = ("while it is copied", "before it has its name", "after it has its name")


def newer_migrations(directory: Path) -> Path:
    """Return a copy of the product's migrations with one more."""
    newer = directory / "migrations"
    shutil.copytree(schema.MIGRATIONS, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / f"{NEXT}_colours.py").write_text(
        REVISION % {"newest": NEWEST, "next": NEXT}
    )
    return newer


def upgrade(url: str, migrations: Path) -> None:
    """Bring a database to the newer schema, as the newer program would at its start."""
    config = StoreConfig(database_url=url)
    engine = engines.make(config, PATIENT).writer
    try:
        schema.ensure(engine, config, now=START, migrations=migrations)
    finally:
        engine.dispose()


def _die_along_the_backup(point: str) -> None:
    """Die at what the backup does to the file system, which Python tells to whoever listens."""
    renamed = False

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal renamed
        copying = event == "sqlite3.connect" and str(arguments[0]).endswith(".partial")
        # Python itself renames what it has compiled.
        renaming = event == "os.rename" and ".partial" in str(arguments[0])
        then = renamed and event == "open" and point == ALONG_THE_BACKUP[2]
        now = (copying and point == ALONG_THE_BACKUP[0]) or (
            renaming and point == ALONG_THE_BACKUP[1]
        )
        if now or then:
            os.kill(os.getpid(), signal.SIGKILL)
        renamed = renamed or renaming

    sys.addaudithook(watch)


if __name__ == "__main__":
    if os.environ["DIE_AT"] in ALONG_THE_BACKUP:
        _die_along_the_backup(os.environ["DIE_AT"])
    upgrade(sys.argv[1], Path(sys.argv[2]))
