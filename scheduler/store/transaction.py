"""One transaction: every repository over the same connection; whoever began it commits it."""

from __future__ import annotations

from sqlalchemy import Connection

from scheduler.clock import Clock
from scheduler.errors import Unreadable
from scheduler.store.cursor import Cursor
from scheduler.store.repositories.allocations import Allocations
from scheduler.store.repositories.authorities import SshAuthorities
from scheduler.store.repositories.change_sets import ChangeSets
from scheduler.store.repositories.commands import Commands
from scheduler.store.repositories.consoles import Consoles
from scheduler.store.repositories.decisions import Decisions
from scheduler.store.repositories.diffs import Diffs
from scheduler.store.repositories.drains import Drains
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.hosts import Hosts
from scheduler.store.repositories.idempotency import Idempotency
from scheduler.store.repositories.images import Images
from scheduler.store.repositories.inspections import Inspections
from scheduler.store.repositories.outdated import Outdated
from scheduler.store.repositories.playbook_runs import PlaybookRuns
from scheduler.store.repositories.playbook_tasks import PlaybookTasks
from scheduler.store.repositories.playbooks import Playbooks
from scheduler.store.repositories.publications import Publications
from scheduler.store.repositories.replicas import Replicas
from scheduler.store.repositories.sandboxes import Sandboxes
from scheduler.store.repositories.settings import Settings
from scheduler.store.repositories.snapshots import Snapshots
from scheduler.store.repositories.source_vms import SourceVMs
from scheduler.store.repositories.ssh import SshCertificates, SshSessions
from scheduler.store.repositories.user_data import UserData
from scheduler.store.repositories.verifications import Verifications
from scheduler.store.repositories.volumes import Volumes
from scheduler.store.statements import Statements, selected_by_key


class Transaction:
    """What a unit of work is given; its repositories neither commit nor roll back."""

    def __init__(
        self, connection: Connection, statements: Statements, clock: Clock, *, writable: bool
    ) -> None:
        self.cursor = cursor = Cursor(connection, statements, writable=writable)
        self.sandboxes = Sandboxes(cursor, clock)
        self.hosts = Hosts(cursor, clock)
        self.allocations = Allocations(cursor, clock)
        self.volumes = Volumes(cursor, clock)
        self.decisions = Decisions(cursor, clock)
        self.events = Events(cursor, clock)
        self.idempotency = Idempotency(cursor, clock)
        self.outdated = Outdated(cursor, clock)
        self.drains = Drains(cursor, clock)
        self.snapshots = Snapshots(cursor, clock)
        self.commands = Commands(cursor, clock)
        self.consoles = Consoles(cursor, clock)
        self.diffs = Diffs(cursor, clock)
        self.change_sets = ChangeSets(cursor, clock)
        self.verifications = Verifications(cursor, clock)
        self.publications = Publications(cursor, clock)
        self.playbooks = Playbooks(cursor, clock)
        self.playbook_tasks = PlaybookTasks(cursor, clock)
        self.source_vms = SourceVMs(cursor, clock)
        self.playbook_runs = PlaybookRuns(cursor, clock)
        self.inspections = Inspections(cursor, clock)
        self.images = Images(cursor, clock)
        self.replicas = Replicas(cursor, clock)
        self.user_data = UserData(cursor, clock)
        self.ssh_authorities = SshAuthorities(cursor, clock)
        self.ssh_certificates = SshCertificates(cursor, clock)
        self.ssh_sessions = SshSessions(cursor, clock)
        self.settings = Settings(cursor, clock)

    def unreadable(self) -> tuple[Unreadable, ...]:
        """Return what is wrong with the rows that loops pass over, as far as it still is."""
        found: list[Unreadable] = []
        for mapper, error in self.cursor.unreadable.noted():
            row = self.cursor.row(selected_by_key(mapper), *error.key)
            try:
                if row is not None:
                    mapper.entity(row)
                self.cursor.unreadable.mended(mapper, error.key)
            except Unreadable as still:
                found.append(still)
        return tuple(found)
