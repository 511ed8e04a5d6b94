"""source: machines on the hosts that are not sandboxes; looked at, never touched."""

from __future__ import annotations

import click

from scheduler.cli.completion import complete_hosts
from scheduler.cli.options import given, host_argument
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import source_vms


@click.group()
def source() -> None:
    """Machines on the hosts that are not sandboxes."""


@source.command("list", cls=Verb)
@click.option("--host", help="Only those of this host.", shell_complete=complete_hosts)
def list_(session: Session, *, host: str | None) -> None:
    """List them, as each host was last seen."""
    found = session.client.items("/v1/source-vms", given(host=host))
    session.printer.many(found, source_vms.VIEW)


@source.command(cls=Verb)
@host_argument()
@click.argument("machine", metavar="NAME")
def show(session: Session, *, name: str, machine: str) -> None:
    """Show the machine NAME of HOST."""
    found = session.client.get(f"/v1/source-vms/{segment(name)}/{segment(machine)}")
    session.printer.one(dict(found), source_vms.VIEW)
