"""create and explain: ask for a sandbox, or ask only where it would go and why."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import click

from scheduler.cli.commands.watching import watch_sandbox
from scheduler.cli.deadlines import Deadline
from scheduler.cli.failures import Refused
from scheduler.cli.goals import reaches
from scheduler.cli.options import (
    DURATION,
    PAIR,
    dry_run_option,
    given,
    placement_body,
    placement_options,
    ssh_public_keys,
    text_of,
    wait_options,
)
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import decisions, explanations, sandboxes

Document = dict[str, Any]


@click.command(cls=Verb)
@placement_options(image_required=False)
@click.option(
    "--source-vm",
    metavar="[HOST/]NAME",
    help="Instead of IMAGE: the newest that was frozen of this machine.",
)
@click.option(
    "--remove-secrets",
    is_flag=True,
    help="Have its first boot remove machine id, host keys and cloud-init state of the source.",
)
@click.option("--agent", help="Who it is for; you, unless said otherwise.")
@click.option("--job", help="The job it belongs to; a new one, unless said otherwise.")
@click.option("--name", help="Its name, unique among live sandboxes.")
@click.option("--ttl", type=DURATION, help="How long it lives once it is ready, such as 2h.")
@click.option(
    "--on-expire",
    type=click.Choice(["destroy", "stop", "image"]),
    help="What its end does; image keeps its disk as an image, and then destroys it.",
)
@click.option("--label", "labels", type=PAIR, multiple=True, help="A label; may be repeated.")
@click.option(
    "--ssh-key",
    "ssh_keys",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A file of public keys that may log in; may be repeated.",
)
@click.option(
    "--user-data",
    type=click.Path(path_type=Path),
    help="A file with #cloud-config or a script for its first boot.",
)
@click.option(
    "--isolation/--no-isolation",
    default=None,
    help="Keep its guest and other isolated ones apart; the daemon's default unless given.",
)
@click.option("--no-start", is_flag=True, help="Build it, but do not start it.")
@click.option(
    "--ready",
    type=click.Choice(["address", "ssh"]),
    help="What makes it run: that its address is known, or that SSH answers too.",
)
@click.option("--provision-timeout", type=DURATION, help="How long building may take.")
@click.option("--idempotency-key", help="Asking again with this key never makes a second one.")
@dry_run_option
@wait_options
def create(
    session: Session,
    *,
    no_wait: bool,
    timeout_seconds: int | None,
    dry_run: bool,
    idempotency_key: str | None,
    **options: Any,
) -> None:
    """Create a sandbox from IMAGE, or from a source VM, and wait until it runs.

    IMAGE is one that the daemon keeps (sandboxctl image list) or a volume in the hosts' pool. The
    daemon's defaults fill what is not given.
    """
    body = _body(**options)
    deadline = Deadline(timeout_seconds)
    try:
        answer = session.client.post(
            "/v1/sandboxes", body, key=idempotency_key, dry_run=dry_run or None
        )
    except Refused as refusal:
        decisions.illustrate(refusal)
        raise
    if dry_run:
        decisions.show_plan(session.printer, answer)
        return
    box = answer
    if not no_wait:
        goal = reaches("STOPPED" if options["no_start"] else "RUNNING")
        box = watch_sandbox(session, box, goal, deadline, newborn=True)
    session.printer.one(box, sandboxes.view(session.now(), [box]))


@click.command(cls=Verb)
@placement_options()
def explain(session: Session, **options: Any) -> None:
    """Weigh every host against a request for IMAGE.

    Shows what each host has of everything asked for, which of it falls short, and what would help.
    """
    explanation = session.client.post("/v1/placements/explain", placement_body(**options))
    eligible = [str(host["host_name"]) for host in explanation["hosts"] if host["eligible"]]
    session.printer.drawing(
        explanation, eligible, lambda printer: explanations.draw(printer, explanation)
    )


def _body(
    *,
    agent: str | None,
    job: str | None,
    name: str | None,
    ttl: int | None,
    on_expire: str | None,
    labels: tuple[tuple[str, str], ...],
    ssh_keys: tuple[Path, ...],
    user_data: Path | None,
    isolation: bool | None,
    no_start: bool,
    ready: str | None,
    provision_timeout: int | None,
    source_vm: str | None,
    remove_secrets: bool,
    **placement: Any,
) -> Document:
    if (placement["image"] is None) == (source_vm is None):
        raise click.UsageError("say what to make it of: IMAGE, or --source-vm")
    return placement_body(**placement) | given(
        source_vm=source_vm,
        remove_secrets=remove_secrets or None,
        agent_id=agent or _own_name(),
        job_id=job,
        sandbox_name=name,
        ttl_seconds=ttl,
        on_expire=on_expire,
        labels=dict(labels) or None,
        ssh_public_keys=ssh_public_keys(ssh_keys) or None,
        user_data=None if user_data is None else text_of(user_data),
        isolation=isolation,
        auto_start=False if no_start else None,
        ready=ready,
        provision_timeout_seconds=provision_timeout,
    )


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be in any list of accounts
        raise click.UsageError("this user has no name: say for whom with --agent") from None
