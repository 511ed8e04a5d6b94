"""What is remembered: every entity, every event, one writer; SQLite or PostgreSQL below."""

from scheduler.store.committer import Unit
from scheduler.store.condition import Condition
from scheduler.store.config import Limits, StoreConfig
from scheduler.store.interactive import AsyncTransaction
from scheduler.store.options import UNSET, ListOptions, Page
from scheduler.store.repositories.allocations import Discrepancy
from scheduler.store.repositories.change_sets import ChangeSetFilter
from scheduler.store.repositories.drains import DrainFilter
from scheduler.store.repositories.events import EventFilter, EventPage
from scheduler.store.repositories.host_changes import CONFIGURED, HostFacts
from scheduler.store.repositories.host_queries import HostFilter
from scheduler.store.repositories.images import ImageFilter
from scheduler.store.repositories.outdated import OutdatedRows
from scheduler.store.repositories.publications import PublicationFilter
from scheduler.store.repositories.sandbox_changes import SandboxChanges
from scheduler.store.repositories.sandbox_queries import SandboxFilter
from scheduler.store.repositories.ssh import SshFilter
from scheduler.store.store import Store
from scheduler.store.timings import Kind, Timings
from scheduler.store.transaction import Transaction

__all__ = [
    "CONFIGURED",
    "UNSET",
    "AsyncTransaction",
    "ChangeSetFilter",
    "Condition",
    "Discrepancy",
    "DrainFilter",
    "EventFilter",
    "EventPage",
    "HostFacts",
    "HostFilter",
    "ImageFilter",
    "Kind",
    "Limits",
    "ListOptions",
    "OutdatedRows",
    "Page",
    "PublicationFilter",
    "SandboxChanges",
    "SandboxFilter",
    "SshFilter",
    "Store",
    "StoreConfig",
    "Timings",
    "Transaction",
    "Unit",
]
