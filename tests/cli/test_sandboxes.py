"""Sandboxes from the shell, against the real application."""

from __future__ import annotations

from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl


async def test_create(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("create", fleet.image, "--name", "web", "--ttl", "2h")
    print(ran.out)
    print(ran.err)
    for command in (
        ["list"],
        ["host", "list"],
        ["list", "-o", "wide"],
        ["show", "web"],
        ["why", "web"],
        ["explain", fleet.image, "--memory", "12GiB"],
        ["host", "show", "alpha"],
        ["create", fleet.image, "--memory", "64GiB"],
        ["host", "drain", "alpha", "--plan"],
        ["host", "drain", "beta", "-y"],
        ["events"],
        ["ip", "web"],
        ["delete", "web", "--dry-run"],
        ["create", fleet.image, "--dry-run"],
    ):
        ran = await sandboxctl.run(*command)
        print("$", *command)
        print(ran.code)
        print(ran.out)
        print(ran.err)
    assert 0
