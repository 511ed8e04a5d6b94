"""sandboxctl's entry point: the tree of commands.

Nothing here or below loads a client, a drawing library or a parser before a command needs it; that
is what keeps `--help` and completion quick.
"""

from __future__ import annotations

import sys

import click

from scheduler.cli import streams
from scheduler.cli.commands.authorities import ca
from scheduler.cli.commands.capacity import capacity
from scheduler.cli.commands.change_sets import changeset
from scheduler.cli.commands.consoles import console
from scheduler.cli.commands.creation import create, explain
from scheduler.cli.commands.diffs import diff
from scheduler.cli.commands.doctor import doctor
from scheduler.cli.commands.events import events_
from scheduler.cli.commands.execution import exec_
from scheduler.cli.commands.guest_commands import command
from scheduler.cli.commands.hosts import host
from scheduler.cli.commands.images import image
from scheduler.cli.commands.life import delete, extend, retry, start, stop
from scheduler.cli.commands.moves import move
from scheduler.cli.commands.orphans import orphan
from scheduler.cli.commands.placements import why
from scheduler.cli.commands.playbooks import playbook
from scheduler.cli.commands.publications import publication, publish
from scheduler.cli.commands.raw import api
from scheduler.cli.commands.sandboxes import ip, list_, show
from scheduler.cli.commands.shell import PROGRAM, completion, version
from scheduler.cli.commands.snapshots import snapshot
from scheduler.cli.commands.source_vms import source
from scheduler.cli.commands.ssh import login, ssh, tunnel
from scheduler.cli.commands.trust import audit, forget, rebuild
from scheduler.cli.commands.watching import wait
from scheduler.cli.session import connection_options

COMMANDS: tuple[click.Command, ...] = (
    create,
    list_,
    show,
    ip,
    wait,
    console,
    ssh,
    tunnel,
    login,
    start,
    stop,
    retry,
    extend,
    move,
    delete,
    exec_,
    command,
    why,
    explain,
    capacity,
    snapshot,
    host,
    image,
    playbook,
    diff,
    changeset,
    publish,
    publication,
    source,
    ca,
    events_,
    doctor,
    audit,
    orphan,
    forget,
    rebuild,
    api,
    completion,
    version,
)


class _Root(click.Group):
    """Shows its commands in the order people meet them, not the alphabet's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [str(command.name) for command in COMMANDS]


def _root(**_: object) -> None:
    """Disposable virtual machines on a fleet of libvirt hosts.

    \b
    sandboxctl create IMAGE --ttl 2h       a sandbox, ready when the command returns
    sandboxctl exec SANDBOX -- uname -a    a command in it
    sandboxctl list                        what there is
    sandboxctl why SANDBOX                 why it stands where it does
    sandboxctl host list                   the fleet: health and room
    """


cli = _Root(
    PROGRAM,
    callback=_root,
    help=_root.__doc__,
    params=connection_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not authorised, 5 conflict,"
    " 6 no capacity or over a quota, 7 daemon unreachable, 8 leftovers, 124 timeout,"
    " 130 interrupted; exec: the command's own, 125 when it is not known.",
    commands=COMMANDS,
)


def main() -> None:
    """Run the command line."""
    streams.complete()
    try:
        cli.main(prog_name=PROGRAM)
    except OSError as error:
        sys.exit(streams.lost(error))
