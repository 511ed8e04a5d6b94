"""Who this cluster is: its id and the key of its marks, in files that outlive the database.

Every domain's UUID and mark are made from both. Were they lost with the database, or drawn anew
beside an old one, every sandbox of the fleet would turn foreign at once, so a doubt is refused.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from scheduler.errors import Invalid
from scheduler.hosts.marks import Keyring
from scheduler.ids import new_cluster_id
from scheduler.statedir import write_once

ID_FILE = "cluster.id"
KEY_FILE = "cluster.key"


def open_cluster(directory: Path, recorded: str | None) -> Keyring:
    """Return the keyring of the cluster whose files are in `directory`, made when it is new.

    `recorded` is the id that the database knows, None when the database is empty: it then takes
    over the id in the file. Raises `Invalid` when the two differ, or when the cluster is known and
    its key is not there. The key is written first, so that an id never stands without one.
    """
    written = _read_id(directory / ID_FILE)
    if written is not None and recorded is not None and written != UUID(recorded):
        raise Invalid(
            f"{directory / ID_FILE} names cluster {written}, and the database is cluster "
            f"{recorded}'s",
            remedy="put back the files or the database that belong together",
        )
    known = written or (UUID(recorded) if recorded is not None else None)
    if known is not None and not (directory / KEY_FILE).exists():
        raise Invalid(
            f"cluster {known} is known, but its key {directory / KEY_FILE} is missing",
            remedy="restore the key from a backup: with a new one no sandbox would be recognised",
        )
    cluster_id = known or new_cluster_id()
    keyring = Keyring.open(directory / KEY_FILE, str(cluster_id))
    if written is None:
        write_once(directory / ID_FILE, f"{cluster_id}\n".encode("ascii"))
    return keyring


def _read_id(path: Path) -> UUID | None:
    try:
        return UUID(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Invalid(
            f"{path} holds no cluster id: {error}",
            remedy="restore it from a backup; it is one UUID on one line",
        ) from error
