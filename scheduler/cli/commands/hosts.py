"""host: the fleet's machines, looked at, taken in, changed, set aside and taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from scheduler.cli.commands.drains import drain
from scheduler.cli.options import PAIR, SIZE, dry_run_option, given, host_argument, yes_option
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import hosts

Document = dict[str, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


@click.group()
def host() -> None:
    """The machines that sandboxes run on."""


host.add_command(drain)

_FIELDS: Sequence[Callable[[Any], Any]] = (
    click.option("--address", help="Name or IP address to reach it by."),
    click.option(
        "--transport",
        type=click.Choice(["unix", "ssh", "tls", "test"]),
        help="How to reach its libvirt: a local socket, ssh, TLS, or a simulated host.",
    ),
    click.option(
        "--uri",
        help="libvirt URI, such as qemu:///system or qemu+tls://ADDRESS/system?pkipath=DIR.",
    ),
    click.option("--ssh-user", help="User to log in as."),
    click.option("--ssh-port", type=int, help="Port of its SSH server."),
    click.option("--ssh-key", help="Path of the private key, on the daemon's machine."),
    click.option("--ssh-known-hosts", help="Path of its known_hosts, on the daemon's machine."),
    click.option("--label", "labels", type=PAIR, multiple=True, help="A label; may be repeated."),
    click.option("--pool", help="Storage pool for sandboxes' disks."),
    click.option("--network", help="libvirt network for sandboxes that name none."),
    click.option(
        "--offer-network",
        "networks",
        multiple=True,
        help="Another network that sandboxes may ask for; may be repeated.",
    ),
    click.option(
        "--virt-type",
        type=click.Choice(["auto", "kvm", "qemu"]),
        help="Hypervisor of the guests; auto takes KVM where it is proven to work.",
    ),
    click.option("--system-reserved-cpus", type=int, help="CPUs kept for the host itself."),
    click.option("--system-reserved-memory", type=SIZE, help="Memory kept for the host itself."),
    click.option("--system-reserved-storage", type=SIZE, help="Storage kept free in the pool."),
    click.option("--ratio-cpu", type=float, help="How many times each CPU may be given out."),
    click.option("--ratio-memory", type=float, help="The same for memory; above 1 overcommits."),
    click.option("--ratio-storage", type=float, help="The same for storage."),
    click.option("--max-sandboxes", type=int, help="At most this many sandboxes."),
    click.option("--max-concurrent-builds", type=int, help="At most this many built at once."),
)


_UNSET: Mapping[str, tuple[str, Any]] = {
    "address": ("address", None),
    "label": ("labels", {}),
    "max-sandboxes": ("max_sandboxes", None),
    "offer-network": ("networks", []),
    "ssh-key": ("ssh_key", None),
    "ssh-known-hosts": ("ssh_known_hosts", None),
    "ssh-user": ("ssh_user", None),
    "uri": ("uri", None),
}
"""What may be without a value: by its option, the field and what it is then."""


@host.command("list", cls=Verb)
@click.option("--label", "labels", type=PAIR, multiple=True, help="Only with this label.")
def list_(session: Session, *, labels: tuple[tuple[str, str], ...]) -> None:
    """List hosts: how they are, and how much of each may be and is reserved."""
    selector = [f"{key}={value}" for key, value in labels] or None
    found = list(session.client.items("/v1/hosts", {"label": selector, "order_by": "name"}))
    session.printer.many(found, hosts.view(session.now()))
    if not found and session.printer.for_people and not labels:
        session.narrator.hint("no hosts yet; add one: sandboxctl host add --help")


@host.command(cls=Verb)
@host_argument()
def show(session: Session, *, name: str) -> None:
    """Show one host in full."""
    _print_in_full(session, session.client.get(_path(name)))


def _fields(function: Function) -> Function:
    for option in reversed(_FIELDS):
        function = option(function)
    return function


@host.command(cls=Verb)
@click.argument("name", metavar="HOST")
@_fields
@dry_run_option
def add(session: Session, *, name: str, dry_run: bool, **options: Any) -> None:
    """Take HOST into the fleet."""
    body = {"name": name, **_changes(**options)}
    answer = session.client.post("/v1/hosts", body, dry_run=dry_run or None)
    session.printer.one(answer, hosts.view(session.now()))
    if not dry_run:
        session.narrator.hint(
            f"it takes sandboxes once its health is UP: sandboxctl host show {name}"
        )


@host.command(cls=Verb)
@host_argument()
@_fields
@click.option("--unset-label", "keys", multiple=True, metavar="KEY", help="Remove this label.")
@click.option(
    "--unset",
    multiple=True,
    type=click.Choice(list(_UNSET)),
    help="Take this away, all of it where there may be several; may be repeated.",
)
def edit(
    session: Session, *, name: str, keys: tuple[str, ...], unset: tuple[str, ...], **options: Any
) -> None:
    """Change HOST; only what is named is changed, labels are merged."""
    changes, cleared = _changes(**options), dict(map(_UNSET.__getitem__, unset))
    if twice := sorted(cleared.keys() & {*changes, *(["labels"] if keys else [])}):
        raise click.UsageError(f"both changed and unset: {', '.join(twice)}")
    if not changes and not keys and not cleared:
        raise click.UsageError("nothing to change; name at least one option")
    before = session.client.get(_path(name))
    if "labels" in changes or keys:
        merged = {**before["labels"], **changes.get("labels", {})}
        changes["labels"] = {key: merged[key] for key in merged if key not in keys}
    changes.update(cleared)
    answer = session.client.patch(_path(name), changes, revision=before["revision"])
    session.printer.one(answer, hosts.view(session.now()))


@host.command(cls=Verb)
@host_argument()
@yes_option
@dry_run_option
def remove(session: Session, *, name: str, yes: bool, dry_run: bool) -> None:
    """Take HOST, which must be empty, out of the fleet; nothing on the machine is touched."""
    # Refused like the removal itself while anything is in the way.
    found = session.client.delete(_path(name), dry_run=True)
    if dry_run:
        session.narrator.note(f"would remove host {name}; nothing is in the way")
    else:
        session.confirm(f"Remove host {name} from the fleet?", yes=yes)
        found = session.client.delete(_path(name))
    session.printer.one(found, hosts.view(session.now()))


@host.command(cls=Verb)
@host_argument()
@click.option("--reason", help="Why; shown with the host from then on.")
def cordon(session: Session, *, name: str, reason: str | None) -> None:
    """Let HOST take no new sandboxes; those on it stay."""
    answer = session.client.post(f"{_path(name)}/cordon", given(reason=reason))
    session.printer.one(answer, hosts.view(session.now()))


@host.command(cls=Verb)
@host_argument()
def uncordon(session: Session, *, name: str) -> None:
    """Let HOST take new sandboxes again."""
    answer = session.client.post(f"{_path(name)}/uncordon", {})
    session.printer.one(answer, hosts.view(session.now()))


@host.command("accept-identity", cls=Verb)
@host_argument()
@click.option("--uuid", "host_uuid", help="UUID of the machine to accept; shown without it.")
@yes_option
@dry_run_option
def accept_identity(
    session: Session, *, name: str, host_uuid: str | None, yes: bool, dry_run: bool
) -> None:
    """Take the machine that answers at HOST's address for HOST, though it is another one.

    Its sandboxes stay recorded; what is not on the new machine is told as lost.
    """
    if host_uuid is None:
        _tell_identities(session, session.client.get(_path(name)))
        return
    path, body = f"{_path(name)}/accept-identity", {"host_uuid": host_uuid}
    found = session.client.post(path, body, dry_run=True)
    if dry_run:
        session.narrator.note(f"would take machine {host_uuid} for host {name}")
    else:
        session.confirm(f"Take machine {host_uuid} for host {name}?", yes=yes)
        found = session.client.post(path, body)
    session.printer.one(found, hosts.view(session.now()))


def _tell_identities(session: Session, found: Document) -> None:
    session.printer.one(found, hosts.view(session.now()), hosts.identities(found))
    refused = found.get("refused_host_uuid")
    if refused is None:
        session.narrator.note("it answers as the machine it is known to be")
    else:
        session.narrator.hint(
            "if it was replaced on purpose: "
            f"sandboxctl host accept-identity {found['name']} --uuid {refused}"
        )


def _changes(
    *,
    labels: tuple[tuple[str, str], ...],
    networks: tuple[str, ...],
    system_reserved_memory: int | None,
    system_reserved_storage: int | None,
    **fields: Any,
) -> Document:
    return given(
        labels=dict(labels) or None,
        networks=list(networks) or None,
        system_reserved_memory_mb=system_reserved_memory,
        system_reserved_storage_mb=system_reserved_storage,
        **fields,
    )


def _print_in_full(session: Session, found: Document) -> None:
    now = session.now()
    session.printer.one(found, hosts.view(now), hosts.detail(found, now))


def _path(name: str) -> str:
    return f"/v1/hosts/{segment(name)}"
