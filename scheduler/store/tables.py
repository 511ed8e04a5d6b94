"""The schema: one table an aggregate, with the uniqueness and the order that each promises.

Counters on a host row (`reserved_*`) are the sum of its allocation rows, kept by the statements
that write those; the checks here are the last line should a statement ever be wrong.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from scheduler.model import (
    Allocation,
    ChangeSet,
    Command,
    Console,
    Decision,
    Diff,
    Drain,
    Event,
    HostResources,
    IdempotencyRecord,
    Image,
    Inspection,
    Playbook,
    PlaybookRun,
    PlaybookTask,
    Publication,
    Replica,
    Sandbox,
    Snapshot,
    SourceVM,
    SshAuthority,
    SshCertificate,
    SshSession,
    Verification,
    Volume,
)
from scheduler.store.codecs import NAME
from scheduler.store.mapping import mapped

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_LIVE = text("deleted_at IS NULL")
_DEAD = text("deleted_at IS NOT NULL")


def _of_sandbox(column: str = "sandbox_id") -> ForeignKeyConstraint:
    return ForeignKeyConstraint([column], ["sandboxes.id"])


def _of_host() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["host_id"], ["hosts.id"])


HOSTS = mapped(
    HostResources,
    metadata,
    "hosts",
    UniqueConstraint("name"),
    CheckConstraint("reserved_cpus >= 0", "reserved_cpus"),
    CheckConstraint("reserved_memory_mb >= 0", "reserved_memory_mb"),
    CheckConstraint("reserved_storage_mb >= 0", "reserved_storage_mb"),
    CheckConstraint("reserved_sandboxes >= 0", "reserved_sandboxes"),
)

SANDBOXES = mapped(
    Sandbox,
    metadata,
    "sandboxes",
    Index(
        "uq_sandboxes_sandbox_name_live",
        "sandbox_name",
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    ),
    Index("ix_sandboxes_created_at_id", "created_at", "id"),
    Index("ix_sandboxes_host_live", "host_id", sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index("ix_sandboxes_expires_at_live", "expires_at", sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index(
        "ix_sandboxes_agent_live",
        "agent_id",
        "created_at",
        "id",
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    ),
    Index(
        "ix_sandboxes_image_live",
        "image_digest",
        "created_at",
        "id",
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    ),
    Index("ix_sandboxes_deleted_at", "deleted_at", sqlite_where=_DEAD, postgresql_where=_DEAD),
)

ALLOCATIONS = mapped(
    Allocation,
    metadata,
    "allocations",
    Index(
        "uq_allocations_host_id_anti_affinity_group",
        "host_id",
        "anti_affinity_group",
        unique=True,
    ),
    CheckConstraint("vcpus >= 0 AND memory_mb >= 0 AND storage_mb >= 0", "amounts"),
    # Deferred, so that a claim may be tried before anything else is written: see the committer.
    ForeignKeyConstraint(["sandbox_id"], ["sandboxes.id"], deferrable=True, initially="DEFERRED"),
    _of_host(),
    key=("sandbox_id", "host_id"),
)

VOLUMES = mapped(
    Volume,
    metadata,
    "volumes",
    Index(None, "owner"),
    _of_host(),
    key=("host_id", "pool", "name"),
)

DECISIONS = mapped(
    Decision,
    metadata,
    "decisions",
    Index(None, "sandbox_id", "created_at"),
    Index(None, "created_at"),
)

IDEMPOTENCY = mapped(
    IdempotencyRecord,
    metadata,
    "idempotency",
    Index(None, "created_at"),
    key=("actor", "route", "key"),
)

DRAINS = mapped(
    Drain,
    metadata,
    "drains",
    Index(
        "uq_drains_host_id_active",
        "host_id",
        unique=True,
        sqlite_where=text("state = 'ACTIVE'"),
        postgresql_where=text("state = 'ACTIVE'"),
    ),
    Index(None, "host_id", "started_at"),
)

SNAPSHOTS = mapped(
    Snapshot,
    metadata,
    "snapshots",
    UniqueConstraint("sandbox_id", "name"),
    _of_sandbox(),
)

COMMANDS = mapped(
    Command,
    metadata,
    "commands",
    Index(None, "sandbox_id", "started_at", "id"),
    Index(None, "ended_at"),
    Index(
        "ix_commands_running",
        "sandbox_id",
        sqlite_where=text("status = 'RUNNING'"),
        postgresql_where=text("status = 'RUNNING'"),
    ),
    _of_sandbox(),
    binary=("stdout", "stderr"),
)

_LISTENED = text("ended_at IS NULL")
CONSOLES = mapped(
    Console,
    metadata,
    "consoles",
    Index(
        "ix_consoles_unended",
        "sandbox_id",
        sqlite_where=_LISTENED,
        postgresql_where=_LISTENED,
    ),
    _of_sandbox(),
    key=("sandbox_id",),
)

DIFFS = mapped(
    Diff,
    metadata,
    "diffs",
    UniqueConstraint("sandbox_id", "from_snapshot", "to_snapshot"),
    Index(None, "created_at"),
    _of_sandbox(),
)

CHANGE_SETS = mapped(
    ChangeSet,
    metadata,
    "change_sets",
    Index(None, "job_id", "created_at", "id"),
    Index(None, "sandbox_id"),
    Index(None, "diff_id"),
    _of_sandbox(),
    ForeignKeyConstraint(["diff_id"], ["diffs.id"]),
)

_UNDONE = text("phase <> 'DONE'")
VERIFICATIONS = mapped(
    Verification,
    metadata,
    "verifications",
    Index(
        "ix_verifications_undone",
        "started_at",
        "change_set_id",
        sqlite_where=_UNDONE,
        postgresql_where=_UNDONE,
    ),
    ForeignKeyConstraint(["change_set_id"], ["change_sets.id"]),
    key=("change_set_id",),
)

PUBLICATIONS = mapped(
    Publication,
    metadata,
    "publications",
    UniqueConstraint("job_id", "repo_url", "branch"),
    Index(None, "change_set_id"),
    Index(None, "created_at", "id"),
)

PLAYBOOKS = mapped(Playbook, metadata, "playbooks", UniqueConstraint("name"))

PLAYBOOK_TASKS = mapped(
    PlaybookTask,
    metadata,
    "playbook_tasks",
    UniqueConstraint("playbook_id", "position"),
    ForeignKeyConstraint(["playbook_id"], ["playbooks.id"]),
)

PLAYBOOK_RUNS = mapped(
    PlaybookRun,
    metadata,
    "playbook_runs",
    Index(None, "playbook_id", "asked_at", "id"),
    Index(None, "ended_at"),
)

SOURCE_VMS = mapped(
    SourceVM,
    metadata,
    "source_vms",
    UniqueConstraint("name", "host_name"),
    Index(
        "uq_source_vms_name_hostless",
        "name",
        unique=True,
        sqlite_where=text("host_name IS NULL"),
        postgresql_where=text("host_name IS NULL"),
    ),
)

INSPECTIONS = mapped(
    Inspection,
    metadata,
    "inspections",
    Index(None, "source_id", "asked_at", "id"),
    Index(None, "ended_at"),
    Index(
        "ix_inspections_waiting",
        "source_id",
        sqlite_where=text("status = 'WAITING'"),
        postgresql_where=text("status = 'WAITING'"),
    ),
    ForeignKeyConstraint(["source_id"], ["source_vms.id"]),
    binary=("stdout", "stderr"),
)

EVENTS = mapped(
    Event,
    metadata,
    "events",
    Index(None, "sandbox_id", "seq"),
    Index(None, "host_id", "seq"),
    Index(None, "at"),
    key=("seq",),
    numbered="seq",
)

_KEPT = text("state <> 'REFUSED'")
_USABLE = text("state IN ('READY', 'REMOVING')")

IMAGES = mapped(
    Image,
    metadata,
    "images",
    Index("uq_images_name_kept", "name", unique=True, sqlite_where=_KEPT, postgresql_where=_KEPT),
    Index(
        "uq_images_digest_usable",
        "digest",
        unique=True,
        sqlite_where=_USABLE,
        postgresql_where=_USABLE,
    ),
    Index(None, "created_at", "id"),
    Index(None, "owner_sandbox_id"),
)

REPLICAS = mapped(
    Replica,
    metadata,
    "replicas",
    ForeignKeyConstraint(["image_id"], ["images.id"]),
    _of_host(),
    Index(None, "host_id"),
    key=("image_id", "host_id"),
)

USER_DATA = Table(
    "user_data",
    metadata,
    Column("sandbox_id", NAME, primary_key=True),
    Column("content", Text(), nullable=False),
    _of_sandbox(),
)

SETTINGS = Table(
    "settings",
    metadata,
    Column("key", NAME, primary_key=True),
    Column("value", Text(), nullable=False),
)

SSH_AUTHORITIES = mapped(
    SshAuthority,
    metadata,
    "ssh_authorities",
    UniqueConstraint("fingerprint"),
    Index(None, "created_at", "id"),
)

SSH_CERTIFICATES = mapped(
    SshCertificate,
    metadata,
    "ssh_certificates",
    Index(None, "created_at", "id"),
    Index(None, "sandbox_id"),
    Index(None, "authority"),
    Index(None, "valid_until"),
)

_UNENDED = text("ended_at IS NULL")
SSH_SESSIONS = mapped(
    SshSession,
    metadata,
    "ssh_sessions",
    Index(None, "created_at", "id"),
    Index(None, "sandbox_id"),
    Index(None, "ended_at"),
    Index(
        "ix_ssh_sessions_unended",
        "created_at",
        sqlite_where=_UNENDED,
        postgresql_where=_UNENDED,
    ),
)
