"""source on the command line: the machines of hosts that are not sandboxes."""

from __future__ import annotations

from scheduler.model import DomainState, ObservedDomain
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.service.machines import machine


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
    assert listed.rows[2][:7] == ["alpha", "web", "shut_off", "1", "512", "MiB", "0s"]
    assert "\x1b" not in listed.out
    one = await sandboxctl.run("source", "show", "alpha", "web", "-o", "name")
    assert one.out == "alpha/web\n"
    assert (await sandboxctl.run("source", "list", "--host", "beta", "-o", "name")).out == ""
    assert (await sandboxctl.run("source", "show", "alpha", "none")).code == 3
    assert (await sandboxctl.run("source", "list", "--host", "nobody")).code == 3
