"""audit, rebuild, forget: do records and hosts agree, and what to do when they cannot.

A fresh look at the hosts is asked for each time; what is printed says how old it is all the same.
"""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.completion import complete_hosts
from scheduler.cli.exits import Exit
from scheduler.cli.options import DURATION, dry_run_option, given, sandbox_argument, yes_option
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import audits, holdings, sandboxes

Document = dict[str, Any]

fresh_option = click.option(
    "--wait",
    "wait_seconds",
    type=DURATION,
    default="10s",
    show_default=True,
    help="How long to wait for fresh looks at the hosts; 0s takes what was seen last.",
)


@click.command(cls=Verb)
@click.option(
    "--heal",
    is_flag=True,
    help="Set counters right and remove what destroyed sandboxes left; nothing else.",
)
@fresh_option
def audit(session: Session, *, heal: bool, wait_seconds: int) -> None:
    """Compare records and hosts: what is missing, orphaned, miscounted or not ours.

    Nothing is changed without --heal. Exit code 0: clean, or healed clean. 8: findings stay, or a
    host could not be audited.
    """
    wait = f"{wait_seconds}s"
    if heal:
        healed = session.client.post("/v1/audit/heal", None, wait=wait)
        _tell_healed(session, healed)
        report, document = healed["after"], healed
    else:
        report = document = session.client.get("/v1/audit", wait=wait)
    if session.printer.structured:
        session.printer.document(document)
    else:
        session.printer.drawing(
            report, audits.references(report), lambda printer: audits.draw(printer, report)
        )
    if any(one.get("healable") for one in (*report["findings"], *report["orphans"])) and not heal:
        session.narrator.hint("some of it can be mended: sandboxctl audit --heal")
    if not report["clean"]:
        raise click.exceptions.Exit(Exit.LEFTOVERS)


@click.command(cls=Verb)
@click.option("--force", is_flag=True, help="Restore also what exceeds the limits of its host.")
@click.option("--reason", help="Why; kept with the events.")
@fresh_option
@dry_run_option
def rebuild(
    session: Session, *, force: bool, reason: str | None, wait_seconds: int, dry_run: bool
) -> None:
    """Restore the records of sandboxes from the marks on their hosts, as after a lost database.

    Hosts must be known again first. Doing it again is harmless. Exit code 8 when a sandbox is
    blocked or a host was not seen.
    """
    body = given(force=force or None, reason=reason)
    report = session.client.post(
        "/v1/rebuild", body, wait=f"{wait_seconds}s", dry_run=dry_run or None
    )
    restored = [one for one in report["sandboxes"] if one["outcome"] == "restored"]
    ids = [str(one["sandbox_id"]) for one in restored]
    session.printer.drawing(report, ids, lambda printer: audits.draw_rebuilt(printer, report))
    verb = "would be restored" if dry_run else "restored"
    blocked = len(report["sandboxes"]) - len(restored)
    session.narrator.note(f"{len(restored)} {verb}, {blocked} blocked")
    if restored and not dry_run:
        session.narrator.hint("each has a whole lease again; see them: sandboxctl list")
    if not report["complete"]:
        raise click.exceptions.Exit(Exit.LEFTOVERS)


@click.command(cls=Verb)
@sandbox_argument()
@click.option("--host", help="Only what it holds on this host.", shell_complete=complete_hosts)
@click.option("--force", is_flag=True, help="Also while the host answers.")
@click.option("--reason", help="Why; kept with the events.")
@yes_option
@dry_run_option
def forget(session: Session, *, reference: str, yes: bool, dry_run: bool, **options: Any) -> None:
    """Let go of SANDBOX on a host that will never come back, without proof that it is gone.

    What it holds there is released, and may be left behind. While the host answers, delete the
    sandbox instead.
    """
    box = find_sandbox(session.client, reference)
    path = f"/v1/sandboxes/{box['id']}/forget"
    body = given(**{**options, "force": options["force"] or None})
    plan = session.client.post(path, body, dry_run=True)
    if dry_run or (session.interactive and not yes):
        _show_what_stays(session, plan, data=dry_run)
    if dry_run:
        return
    where = ", ".join(plan["hosts"]) or "no host"
    session.confirm(
        f"Forget {box['sandbox_name']}? Its domain {box['domain_uuid']} and"
        f" {len(plan['volumes'])} volumes may be left on {where}",
        yes=yes,
    )
    forgotten = session.client.post(path, body)
    session.printer.one(forgotten, sandboxes.view(session.now(), [forgotten]))
    session.narrator.hint("should it be seen again: sandboxctl orphan list")


def _tell_healed(session: Session, healed: Document) -> None:
    for host in healed["counters"]:
        session.narrator.note(f"set the counters of {host} right")
    for orphan in healed["condemned"]:
        session.narrator.note(f"removing what {orphan['sandbox_id']} left on {orphan['host_name']}")
    if healed["held"]:
        session.narrator.hint(
            f"{healed['held']} more wait for the budget of removals; heal again later"
        )


def _show_what_stays(session: Session, plan: Document, *, data: bool) -> None:
    printer = session.printer if data else session.errors
    printer.many([plan], holdings.VIEW, rows=holdings.rows([plan]))
    if plan.get("sent_back_to"):
        session.narrator.note(
            f"it is destroyed, and ends once nothing of it is left on {plan['sent_back_to']}"
        )
    for blocker in plan["blockers"]:
        session.narrator.note(f"in the way without --force: {blocker}")
