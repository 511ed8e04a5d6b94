"""What a user may call a sandbox: full id, unique prefix, name."""

from __future__ import annotations

import pytest

from tests.cli.daemon import FaultyDaemon, sound
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl

SMALL = ("--vcpus", "1", "--memory", "64M", "--no-wait")
NONE = sound({"items": [], "next_cursor": None})


async def test_id_prefix_and_name_mean_the_same(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    made = await sandboxctl.run("create", fleet.image, "--name", "web", "-o", "name")
    identity = made.out.strip()
    for reference in (identity, identity.lower(), identity[:20], identity[:20].lower(), "web"):
        ran = await sandboxctl.run("show", reference, "-o", "name")
        assert ran.out.strip() == identity, reference


async def test_an_unnamed_one_is_found_by_its_id_in_any_case(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    made = await sandboxctl.run("create", fleet.image, "-o", "name")
    assert (await sandboxctl.run("show", made.out.strip().lower())).code == 0


async def test_an_ambiguous_prefix_lists_the_candidates(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    for number in range(12):
        await sandboxctl.run("create", fleet.image, "--name", f"n{number}", *SMALL)
    ran = await sandboxctl.run("show", "SBX-0")
    assert ran.code == 2
    lines = ran.err.splitlines()
    assert lines[0] == "error: 'SBX-0' is the beginning of 12 ids"
    assert lines[1].startswith("  SBX-0")
    assert "n11" in lines[1]
    assert lines[11] == "  and 2 more"
    assert lines[12] == "hint: give more of the id, or the name"


@pytest.mark.parametrize(
    "reference", ["web", "SBX-01", "123", "../hosts", "a/b", "x" * 300, "\x1b[2J"]
)
def test_what_is_not_there_is_said_safely(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, reference: str
) -> None:
    daemon.on("GET", "/v1/sandboxes", NONE)
    ran = sandboxctl("show", reference)
    assert ran.code == 3
    assert "no live sandbox has the name or id" in ran.err
    assert ran.err.replace("\n", "").isprintable()
    assert all(seen.path.startswith("/v1/sandboxes?") for seen in daemon.seen)


def test_a_host_reference_stays_one_segment(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    assert sandboxctl("host", "show", "../sandboxes/x").code == 3
    assert [seen.path for seen in daemon.seen] == ["/v1/hosts/..%2Fsandboxes%2Fx"]
