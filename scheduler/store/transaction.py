"""One transaction: every repository over the same connection; whoever began it commits it."""

from __future__ import annotations

from sqlalchemy import Connection

from scheduler.clock import Clock
from scheduler.store.cursor import Cursor
from scheduler.store.repositories.allocations import Allocations
from scheduler.store.repositories.decisions import Decisions
from scheduler.store.repositories.drains import Drains
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.hosts import Hosts
from scheduler.store.repositories.idempotency import Idempotency
from scheduler.store.repositories.sandboxes import Sandboxes
from scheduler.store.repositories.settings import Settings
from scheduler.store.repositories.volumes import Volumes
from scheduler.store.statements import Statements


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
        self.drains = Drains(cursor, clock)
        self.settings = Settings(cursor, clock)
