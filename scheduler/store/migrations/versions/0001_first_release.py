"""The schema of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table, parents first."""
    for name, items in TABLES.items():
        op.create_table(name, *items, sqlite_autoincrement=name == "events")
    for name, table, columns, unique, only in INDEXES:
        where = None if only is None else sa.text(only)
        op.create_index(
            name, table, columns.split(), unique=unique, sqlite_where=where, postgresql_where=where
        )


class _Kind:
    def __init__(self, kind: TypeEngine[Any]) -> None:
        self._kind = kind

    def __call__(self, name: str, *, null: bool = False) -> sa.Column[Any]:
        return sa.Column(name, self._kind, nullable=null)


_text = _Kind(sa.Text().with_variant(sa.Text(collation="C"), "postgresql"))
_document = _Kind(sa.Text())
_bytes = _Kind(sa.LargeBinary())
_number = _Kind(sa.BigInteger())
_sequence = _Kind(sa.BigInteger().with_variant(sa.Integer(), "sqlite"))
_real = _Kind(sa.Double())
_flag = _Kind(sa.Boolean())


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=conv(f"ck_{table}_{name}"))


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=conv(f"uq_{table}_{'_'.join(columns)}"))


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=conv(f"pk_{table}"))


def _refers(table: str, column: str, to: str, *, deferred: bool = False) -> sa.ForeignKeyConstraint:
    name, when = conv(f"fk_{table}_{column}"), "DEFERRED" if deferred else None
    return sa.ForeignKeyConstraint(
        [column], [to], name=name, deferrable=deferred or None, initially=when
    )


TABLES: dict[str, list[sa.schema.SchemaItem]] = {
    "decisions": [
        _text("id"),
        _text("sandbox_id", null=True),
        _text("outcome"),
        _text("policy"),
        _text("host_id", null=True),
        _text("host_name", null=True),
        _document("demand"),
        _document("chosen"),
        _document("refusals"),
        _document("nearest"),
        _document("hosts"),
        _number("created_at"),
        _key("decisions", "id"),
    ],
    "drains": [
        _text("id"),
        _text("host_id"),
        _text("host_name"),
        _text("state"),
        _text("policy"),
        _text("on_deadline"),
        _text("reason"),
        _text("actor"),
        _number("deadline_at", null=True),
        _number("total"),
        _number("remaining"),
        _number("started_at"),
        _number("ended_at", null=True),
        _key("drains", "id"),
    ],
    "events": [
        _sequence("seq"),
        _number("at"),
        _text("kind"),
        _text("actor"),
        _text("sandbox_id", null=True),
        _text("host_id", null=True),
        _text("reason_code", null=True),
        _text("message"),
        _document("evidence"),
        _key("events", "seq"),
    ],
    "hosts": [
        _text("id"),
        _text("name"),
        _text("address"),
        _number("total_cpus"),
        _number("total_memory_mb"),
        _number("total_storage_mb"),
        _number("reserved_cpus"),
        _number("reserved_memory_mb"),
        _number("reserved_storage_mb"),
        _number("updated_at"),
        _number("generation"),
        _number("revision"),
        _number("created_at", null=True),
        _text("transport"),
        _text("uri", null=True),
        _text("ssh_user", null=True),
        _number("ssh_port"),
        _text("ssh_key", null=True),
        _text("ssh_known_hosts", null=True),
        _document("labels"),
        _text("pool"),
        _text("network"),
        _text("virt_type"),
        _number("system_reserved_cpus"),
        _number("system_reserved_memory_mb"),
        _number("system_reserved_storage_mb"),
        _real("ratio_cpu"),
        _real("ratio_memory"),
        _real("ratio_storage"),
        _number("max_sandboxes", null=True),
        _number("max_concurrent_builds"),
        _text("state"),
        _text("state_reason", null=True),
        _text("health"),
        _text("health_reason", null=True),
        _number("health_since", null=True),
        _number("limit_cpus"),
        _number("limit_memory_mb"),
        _number("limit_storage_mb"),
        _number("limit_sandboxes", null=True),
        _number("reserved_sandboxes"),
        _number("unmanaged_cpus"),
        _number("unmanaged_memory_mb"),
        _number("unmanaged_storage_mb"),
        _text("host_uuid", null=True),
        _text("refused_host_uuid", null=True),
        _text("libvirt_version", null=True),
        _text("hypervisor_version", null=True),
        _text("arch", null=True),
        _text("cpu_model", null=True),
        _text("proven_virt_type", null=True),
        _document("observed_networks"),
        _document("observed_images"),
        _flag("observed_pool_active"),
        _number("observed_storage_available_mb"),
        _number("observed_at", null=True),
        _number("last_seen_at", null=True),
        _document("breakers"),
        _check("hosts", "reserved_cpus", "reserved_cpus >= 0"),
        _check("hosts", "reserved_memory_mb", "reserved_memory_mb >= 0"),
        _check("hosts", "reserved_sandboxes", "reserved_sandboxes >= 0"),
        _check("hosts", "reserved_storage_mb", "reserved_storage_mb >= 0"),
        _key("hosts", "id"),
        _unique("hosts", "name"),
    ],
    "idempotency": [
        _text("actor"),
        _text("route"),
        _text("key"),
        _text("body_hash"),
        _number("status"),
        _text("answer"),
        _number("created_at"),
        _key("idempotency", "actor", "route", "key"),
    ],
    "playbooks": [
        _text("id"),
        _text("name"),
        _text("hosts"),
        _flag("become"),
        _text("file_path", null=True),
        _number("created_at"),
        _number("updated_at"),
        _number("revision"),
        _key("playbooks", "id"),
        _unique("playbooks", "name"),
    ],
    "publications": [
        _text("id"),
        _text("job_id"),
        _text("repo_url"),
        _text("branch"),
        _text("commit_sha", null=True),
        _text("pr_url", null=True),
        _text("status"),
        _text("error_msg", null=True),
        _number("created_at"),
        _number("updated_at"),
        _key("publications", "id"),
        _unique("publications", "job_id", "repo_url", "branch"),
    ],
    "sandboxes": [
        _text("id"),
        _text("job_id"),
        _text("agent_id"),
        _text("sandbox_name"),
        _text("base_image"),
        _text("network"),
        _text("ip_address", null=True),
        _text("state"),
        _number("ttl_seconds", null=True),
        _number("vcpus"),
        _number("memory_mb"),
        _number("storage_mb"),
        _text("host_name", null=True),
        _text("host_address", null=True),
        _number("created_at"),
        _number("updated_at"),
        _number("deleted_at", null=True),
        _text("desired_state"),
        _text("phase", null=True),
        _number("generation"),
        _number("revision"),
        _text("host_id", null=True),
        _text("domain_uuid", null=True),
        _text("mac", null=True),
        _document("labels"),
        _flag("auto_start"),
        _document("ssh_public_keys"),
        _text("on_expire"),
        _number("provision_timeout_seconds"),
        _number("expires_at", null=True),
        _text("reason_code", null=True),
        _text("reason_message", null=True),
        _document("conditions"),
        _text("ip_source", null=True),
        _number("ip_seen_at", null=True),
        _text("image_digest", null=True),
        _text("base_fingerprint", null=True),
        _text("decision_id", null=True),
        _number("queued_at", null=True),
        _number("running_at", null=True),
        _number("phase_at", null=True),
        _number("attempts"),
        _number("retry_at", null=True),
        _document("failed_hosts"),
        _key("sandboxes", "id"),
    ],
    "settings": [
        _text("key"),
        _document("value"),
        _key("settings", "key"),
    ],
    "source_vms": [
        _text("id"),
        _text("name"),
        _text("host_name", null=True),
        _text("host_address", null=True),
        _flag("prepared"),
        _number("prepared_at", null=True),
        _text("prepare_json", null=True),
        _text("ca_fingerprint", null=True),
        _number("created_at"),
        _number("updated_at"),
        _key("source_vms", "id"),
        _unique("source_vms", "name", "host_name"),
    ],
    "allocations": [
        _text("sandbox_id"),
        _text("host_id"),
        _text("pool"),
        _number("vcpus"),
        _number("memory_mb"),
        _number("storage_mb"),
        _text("anti_affinity_group", null=True),
        _text("state"),
        _number("claimed_at"),
        _check("allocations", "amounts", "vcpus >= 0 AND memory_mb >= 0 AND storage_mb >= 0"),
        _refers("allocations", "host_id", "hosts.id"),
        _refers("allocations", "sandbox_id", "sandboxes.id", deferred=True),
        _key("allocations", "sandbox_id", "host_id"),
    ],
    "commands": [
        _text("id"),
        _text("sandbox_id"),
        _text("command"),
        _text("env_json", null=True),
        _bytes("stdout"),
        _bytes("stderr"),
        _number("exit_code", null=True),
        _number("started_at"),
        _number("ended_at", null=True),
        _document("metadata", null=True),
        _text("status"),
        _flag("truncated"),
        _number("stdout_bytes"),
        _number("stderr_bytes"),
        _refers("commands", "sandbox_id", "sandboxes.id"),
        _key("commands", "id"),
    ],
    "diffs": [
        _text("id"),
        _text("sandbox_id"),
        _text("from_snapshot"),
        _text("to_snapshot"),
        _document("diff_json"),
        _number("created_at"),
        _refers("diffs", "sandbox_id", "sandboxes.id"),
        _key("diffs", "id"),
        _unique("diffs", "sandbox_id", "from_snapshot", "to_snapshot"),
    ],
    "playbook_tasks": [
        _text("id"),
        _text("playbook_id"),
        _number("position"),
        _text("name"),
        _text("module"),
        _document("params"),
        _number("created_at"),
        _refers("playbook_tasks", "playbook_id", "playbooks.id"),
        _key("playbook_tasks", "id"),
        _unique("playbook_tasks", "playbook_id", "position"),
    ],
    "snapshots": [
        _text("id"),
        _text("sandbox_id"),
        _text("name"),
        _text("kind"),
        _text("ref"),
        _number("created_at"),
        _text("meta_json", null=True),
        _refers("snapshots", "sandbox_id", "sandboxes.id"),
        _key("snapshots", "id"),
        _unique("snapshots", "sandbox_id", "name"),
    ],
    "volumes": [
        _text("owner"),
        _text("host_id"),
        _text("pool"),
        _text("name"),
        _text("role"),
        _text("state"),
        _number("created_at"),
        _refers("volumes", "host_id", "hosts.id"),
        _key("volumes", "host_id", "pool", "name"),
    ],
    "change_sets": [
        _text("id"),
        _text("job_id"),
        _text("sandbox_id"),
        _text("diff_id"),
        _text("path_ansible"),
        _text("path_puppet"),
        _text("meta_json", null=True),
        _number("created_at"),
        _refers("change_sets", "diff_id", "diffs.id"),
        _refers("change_sets", "sandbox_id", "sandboxes.id"),
        _key("change_sets", "id"),
    ],
}

INDEXES: list[tuple[str, str, str, bool, str | None]] = [
    ("ix_decisions_sandbox_id_created_at", "decisions", "sandbox_id created_at", False, None),
    ("ix_decisions_created_at", "decisions", "created_at", False, None),
    ("ix_commands_ended_at", "commands", "ended_at", False, None),
    ("ix_change_sets_sandbox_id", "change_sets", "sandbox_id", False, None),
    ("ix_sandboxes_deleted_at", "sandboxes", "deleted_at", False, "deleted_at IS NOT NULL"),
    ("ix_drains_host_id_started_at", "drains", "host_id started_at", False, None),
    ("uq_drains_host_id_active", "drains", "host_id", True, "state = 'ACTIVE'"),
    ("ix_events_at", "events", "at", False, None),
    ("ix_events_host_id_seq", "events", "host_id seq", False, None),
    ("ix_events_sandbox_id_seq", "events", "sandbox_id seq", False, None),
    ("ix_idempotency_created_at", "idempotency", "created_at", False, None),
    ("ix_sandboxes_created_at_id", "sandboxes", "created_at id", False, None),
    ("ix_sandboxes_expires_at_live", "sandboxes", "expires_at", False, "deleted_at IS NULL"),
    ("ix_sandboxes_host_live", "sandboxes", "host_id", False, "deleted_at IS NULL"),
    ("uq_sandboxes_sandbox_name_live", "sandboxes", "sandbox_name", True, "deleted_at IS NULL"),
    ("uq_source_vms_name_hostless", "source_vms", "name", True, "host_name IS NULL"),
    (
        "uq_allocations_host_id_anti_affinity_group",
        "allocations",
        "host_id anti_affinity_group",
        True,
        None,
    ),
    ("ix_commands_sandbox_id_started_at_id", "commands", "sandbox_id started_at id", False, None),
    ("ix_volumes_owner", "volumes", "owner", False, None),
    ("ix_change_sets_job_id_created_at_id", "change_sets", "job_id created_at id", False, None),
]
