"""A host on which nothing is wrong, the look that shows it, and the node that runs the daemon."""

from __future__ import annotations

from datetime import UTC, datetime

from scheduler.diagnosis.facts import FileFacts, HostFacts, NodeFacts, SshFacts
from scheduler.model import (
    HostHealth,
    HostResources,
    Inventory,
    ObservedPool,
    Transport,
    VirtType,
)

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
UUID = "5a0b2a0e-7a0a-4f0e-9d59-0a3f5f9f3a11"

HOST = HostResources(
    id="HOST-1",
    name="alpha",
    address="192.0.2.9",
    transport=Transport.SSH,
    ssh_user="virt",
    ssh_port=2222,
    ssh_key="/etc/sandboxd/a key",
    ssh_known_hosts="/etc/sandboxd/known_hosts",
    health=HostHealth.UP,
    host_uuid=UUID,
    observed_at=NOW,
    updated_at=NOW,
)
POOL = ObservedPool(name="default", active=True, capacity=1000, available=500)
INVENTORY = Inventory(
    host_id=HOST.id,
    begun_at=1000.0,
    seen_at=NOW,
    host_uuid=UUID,
    libvirt_version="9.0.0",
    hypervisor_version="7.2.4",
    arch="x86_64",
    total_cpus=8,
    total_memory_mb=8192,
    virt_type=VirtType.KVM,
    pool=POOL,
    networks={"default": True, "lab": True},
    domains=(),
)
KEY = FileFacts(path="/etc/sandboxd/a key", mode=0o600)
KNOWN_HOSTS = FileFacts(path="/etc/sandboxd/known_hosts", mode=0o644)
SSH = SshFacts(key=KEY, known_hosts=KNOWN_HOSTS, trusts_host=True)
FACTS = HostFacts(host=HOST, inventory=INVENTORY, ssh=SSH)

NODE = NodeFacts(
    state_dir=FileFacts(path="/var/lib/sandboxd", mode=0o700),
    secrets=(FileFacts(path="/var/lib/sandboxd/cluster.key", mode=0o600),),
    disk_free=50 << 30,
    disk_size=100 << 30,
    open_files=40,
    most_open_files=1024,
    group="sandboxd-admin",
    socket=FileFacts(path="/run/sandboxd/admin.sock", mode=0o660),
    socket_group="sandboxd-admin",
    lag_seconds=0.004,
)
