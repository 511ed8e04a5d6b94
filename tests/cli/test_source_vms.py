"""source on the command line: the machines of hosts that are not sandboxes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from scheduler.model import (
    DomainState,
    Event,
    Inspection,
    InspectionStatus,
    ObservedDomain,
    SourceVM,
)
from scheduler.sources.preparations import Secret, failed, from_json, to_json
from scheduler.store import Transaction
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.service.machines import machine
from tests.service.planes import AUTHORITY
from tests.waits import until_answer


async def test_source_vms_are_listed_and_shown(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    there = await machine(fleet.plane, "alpha")
    master = ObservedDomain(
        uuid="6b0f1e9c-5a51-4d5e-8f6a-3f1d6f2b7c55",
        name="golden/\x1b[2J",
        state=DomainState.RUNNING,
        vcpus=2,
        memory_mb=2048,
    )
    web = ObservedDomain(uuid="2", name="web", state=DomainState.SHUT_OFF, vcpus=1, memory_mb=512)
    there.domains = {one.uuid: one for one in (web, master)}
    there.see()
    listed = await sandboxctl.run("source", "list", "-o", "wide")
    assert listed.code == 0, listed.err
    assert listed.rows[2][:6] == ["alpha", "web", "shut_off", "1", "512", "MiB"]
    assert listed.rows[2][6].endswith("s"), "how long ago it was seen"
    assert "\x1b" not in listed.out
    one = await sandboxctl.run("source", "show", "alpha", "web", "-o", "name")
    assert one.out == "alpha/web\n"
    assert (await sandboxctl.run("source", "list", "--host", "beta", "-o", "name")).out == ""
    assert (await sandboxctl.run("source", "show", "alpha", "none")).code == 3
    assert (await sandboxctl.run("source", "list", "--host", "nobody")).code == 3


async def test_preparing_asks_first_and_tells_how_it_ended(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    there = await machine(fleet.plane, "alpha")
    web = ObservedDomain(uuid="2", name="web", state=DomainState.RUNNING, vcpus=1, memory_mb=512)
    there.domains = {web.uuid: web}
    there.see()
    planned = await sandboxctl.run("source", "prepare", "alpha", "web", "--dry-run")
    assert planned.code == 5
    assert "in the way: this daemon has no key" in planned.out
    assert "sshd -t" in planned.out
    unasked = await sandboxctl.run("source", "prepare", "alpha", "web")
    assert (unasked.code, "-y" in unasked.err) == (2, True)
    asked = await sandboxctl.run("source", "prepare", "alpha", "web", "-y", "--no-wait")
    assert asked.code == 0, asked.err
    assert "running" in asked.out
    late = await sandboxctl.run("source", "prepare", "alpha", "web", "-y", "--timeout", "1s")
    assert (late.code, "goes on" in late.err) == (124, True)

    def source_of(tx: Transaction) -> SourceVM:
        return tx.source_vms.by_name("web", "alpha")

    source = await fleet.plane.store.read(source_of)
    preparation = from_json(source.prepare_json)
    assert preparation is not None
    name, at = preparation.steps[0].name, source.created_at
    over = failed(preparation, name, "no sshd\x1b[2J", "start it", at)
    secret = Secret(kind="machine_id", what="/etc/machine-id")
    over = replace(over, secrets=(secret,))
    await fleet.plane.store.submit(
        lambda tx: tx.source_vms.replace(replace(source_of(tx), prepare_json=to_json(over)))
    )
    shown = await sandboxctl.run("source", "show", "alpha", "web")
    assert shown.code == 0, shown.err
    assert "/etc/machine-id" in shown.out
    assert "no sshd" in shown.out
    assert "\x1b" not in shown.out
    assert "no: it was not prepared" in shown.out


async def answer(fleet: Fleet, **result: object) -> None:
    """Do what a loop does with the next look."""
    waiting: list[Inspection] = []

    async def asked() -> bool:
        waiting[:] = await fleet.plane.store.read(lambda tx: tx.inspections.waiting())
        return bool(waiting)

    await until_answer(asked, what="a look that waits")
    fields: dict[str, object] = {"ended_at": waiting[0].asked_at, **result}
    ended = replace(waiting[0], **fields)  # type: ignore[arg-type]

    def unit(tx: Transaction) -> None:
        tx.inspections.finish(ended)
        tx.events.add(Event(at=ended.asked_at, kind="source.inspected"))

    await fleet.plane.store.submit(unit)
    fleet.plane.journal.poke()


async def be_prepared(fleet: Fleet) -> None:
    """Record what a loop would once a preparation that was asked for is over."""

    def unit(tx: Transaction) -> None:
        source = tx.source_vms.by_name("web", "alpha")
        tx.source_vms.replace(
            replace(source, prepared=True, prepared_at=source.created_at, ca_fingerprint=AUTHORITY)
        )

    await fleet.plane.store.submit(unit)


async def test_a_look_has_the_exit_code_and_the_output_of_what_was_run(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    there = await machine(fleet.plane, "alpha")
    web = ObservedDomain(uuid="2", name="web", state=DomainState.RUNNING, vcpus=1, memory_mb=512)
    there.domains = {web.uuid: web}
    there.see()
    inspect = ("source", "inspect", "alpha", "web")
    assert (await sandboxctl.run(*inspect)).code == 2
    refused = await sandboxctl.run(*inspect, "--", "reboot")
    assert (refused.code, "only look" in refused.err) == (125, True)
    unprepared = await sandboxctl.run(*inspect, "uptime")
    assert (unprepared.code, "source prepare" in unprepared.err) == (125, True)
    await sandboxctl.run("source", "prepare", "alpha", "web", "-y", "--no-wait")
    await be_prepared(fleet)
    assert "yes, " in (await sandboxctl.run("source", "show", "alpha", "web")).out

    done: dict[str, object] = {
        "status": InspectionStatus.DONE,
        "exit_code": 3,
        "stdout": "hello\n",
        "stderr": "no\n",
        "truncated": True,
    }
    for form in ((), ("-o", "json")):
        ran, _ = await asyncio.gather(
            sandboxctl.run("source", "inspect", *form, "alpha", "web", "--", "cat", "/x"),
            answer(fleet, **done),
        )
        assert ran.code == 3, ran.err
        assert "hello" in ran.out
    failing = {"status": InspectionStatus.FAILED, "reason": "its 30 s were up"}
    ran, _ = await asyncio.gather(sandboxctl.run(*inspect, "uptime"), answer(fleet, **failing))
    assert (ran.code, "its 30 s were up" in ran.err) == (125, True)
    listed = await sandboxctl.run("source", "inspections", "alpha", "web")
    assert [row[1] for row in listed.rows[1:]] == ["FAILED", "DONE", "DONE"]
    assert "cat /x" in listed.out


async def test_a_prepared_machine_is_frozen_and_then_cloned(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    there = await machine(fleet.plane, "alpha")
    web = ObservedDomain(uuid="2", name="web", state=DomainState.RUNNING, vcpus=1, memory_mb=512)
    there.domains = {web.uuid: web}
    there.see()
    await sandboxctl.run("source", "prepare", "alpha", "web", "-y", "--no-wait")
    await be_prepared(fleet)
    frozen = await sandboxctl.run(
        "source", "freeze", "alpha", "web", "--as", "golden", "--no-wait", "-o", "name"
    )
    assert (frozen.code, frozen.out) == (0, "golden\n"), frozen.err
    shown = await sandboxctl.run("image", "show", "golden")
    assert "alpha/web" in shown.out
    early = await sandboxctl.run("create", "--source-vm", "web", "--remove-secrets")
    assert (early.code, "golden" in early.err) == (5, True)
    for neither in ((), ("golden", "--source-vm", "web")):
        assert (await sandboxctl.run("create", *neither)).code == 2
