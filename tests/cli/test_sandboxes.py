"""list, show, ip and why, against the real application."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from scheduler.cli.moments import absolute
from scheduler.cli.tables import Cell, fill
from scheduler.cli.views import sandboxes
from tests.cli.fleet import ADDRESS, Fleet
from tests.cli.running import Sandboxctl

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
BOX: dict[str, Any] = {
    "id": "SBX-01KAAAAAAAAAAAAAAAAAAAAAAA",
    "sandbox_name": "web",
    "state": "RUNNING",
    "desired_state": "RUNNING",
    "host_name": "alpha",
    "ip_address": ADDRESS,
    "ip_source": "lease",
    "created_at": (NOW - timedelta(hours=1)).isoformat(),
    "running_at": (NOW - timedelta(minutes=59)).isoformat(),
    "expires_at": (NOW + timedelta(minutes=90)).isoformat(),
    "ttl_seconds": 7200,
    "base_image": "debian-12",
    "vcpus": 2,
    "memory_mb": 2048,
    "storage_mb": 10240,
    "agent_id": "ana",
    "job_id": "JOB-1",
    "network": "default",
    "labels": {"b": "2", "a": "1"},
    "reason_message": "the guest answers",
    "conditions": [{"kind": "paused", "message": "by a user", "since": NOW.isoformat()}],
}


def row(**changes: object) -> dict[str, str]:
    """Return the table's cells for one sandbox, by header."""
    table = fill(sandboxes.view(NOW).columns, [{**BOX, **changes}], wide=True)
    texts = (cell.text for cell in table.rows[0])
    return {column.header: text for column, text in zip(table.columns, texts, strict=True)}


def test_a_row_tells_what_people_ask_first() -> None:
    cells = row()
    assert (cells["AGE"], cells["EXPIRES"], cells["MEMORY"]) == ("1h", "1h30m", "2 GiB")
    assert cells["LABELS"] == "a=1,b=2"
    assert cells["REASON"] == "paused; the guest answers"
    assert cells["ID"] == BOX["id"][:16]
    assert cells["FULL ID"] == BOX["id"]


@pytest.mark.parametrize(
    ("state", "desired", "shown"),
    [
        ("RUNNING", "DESTROYED", "RUNNING -> DESTROYED"),
        ("RUNNING", "STOPPED", "RUNNING -> STOPPED"),
        ("STARTING", "RUNNING", "STARTING"),
        ("ERROR", "STOPPED", "ERROR"),
        ("STOPPED", "STOPPED", "STOPPED"),
    ],
)
def test_a_state_on_its_way_out_says_so(state: str, desired: str, shown: str) -> None:
    assert row(state=state, desired_state=desired)["STATE"] == shown


def test_what_is_unknown_is_a_dash() -> None:
    cells = row(
        ip_address=None, expires_at=None, host_name=None, conditions=[], reason_message=None
    )
    assert {cells[name] for name in ("IP", "EXPIRES", "HOST", "REASON")} == {"-"}


def test_ids_are_shortened_only_as_far_as_they_differ() -> None:
    alike = ["SBX-01KAAAAAAAAAAAAAAAAAAAAAAA", "SBX-01KAAAAAAAAAAAAAAAAAAAAAAB"]
    assert sandboxes.distinct_length(alike) == 30
    assert sandboxes.distinct_length(["SBX-01KAAAAAAAAAAAAA", "SBX-01KBAAAAAAAAAAAA"]) == 16
    assert sandboxes.distinct_length([]) == 16


def test_details_name_every_condition() -> None:
    pairs = dict(sandboxes.detail(BOX, NOW))
    assert pairs["ip"] == f"{ADDRESS} (from lease)"
    assert pairs["ttl"] == "2h, then destroy"
    assert str(pairs["expires"]).endswith("(in 1h30m)")
    assert pairs["condition"] == f"paused since {absolute(NOW.isoformat())}: by a user"
    bare = dict(sandboxes.detail({**BOX, "ttl_seconds": None, "expires_at": None}, NOW))
    assert (bare["ttl"], bare["expires"]) == ("no limit", "-")
    assert isinstance(pairs["state"], Cell)


async def test_list_in_every_form(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    for name in ("one", "two"):
        await sandboxctl.run("create", fleet.image, "--name", name, "--label", f"n={name}")
    listed = await sandboxctl.run("list")
    assert [line[0] for line in listed.rows] == ["NAME", "two", "one"]
    documents = (await sandboxctl.run("list", "-o", "json")).document
    assert [box["sandbox_name"] for box in documents] == ["two", "one"]
    assert yaml.safe_load((await sandboxctl.run("list", "-o", "yaml")).out) == documents
    names = (await sandboxctl.run("list", "-o", "name")).out.split()
    assert names == [box["id"] for box in documents]
    short = [line[1] for line in listed.rows[1:]]
    assert all(long.startswith(prefix) for long, prefix in zip(names, short, strict=True))


async def test_list_can_be_narrowed(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run(
        "create", fleet.image, "--name", "one", "--host", "alpha", "--label", "a=1"
    )
    both = ("--label", "a=1", "--label", "b=2", "--agent", "bot", "--job", "J-1")
    await sandboxctl.run("create", fleet.image, "--name", "two", "--host", "beta", *both)

    async def found(*filters: str) -> list[str]:
        ran = await sandboxctl.run("list", *filters, "-o", "json")
        assert ran.code == 0, ran.err
        return sorted(box["sandbox_name"] for box in ran.document)

    assert await found("--host", "alpha") == ["one"]
    assert await found("--state", "running") == ["one", "two"]
    assert await found("--state", "ERROR") == []
    assert await found("--agent", "bot") == ["two"]
    assert await found("--job", "J-1") == ["two"]
    assert await found("--image", fleet.image, "--limit", "1") == ["two"]
    assert await found("--label", "a=1") == ["one", "two"]
    assert await found("--label", "a=1", "--label", "b=2") == ["two"]
    await sandboxctl.run("delete", "one", "-y")
    assert await found() == ["two"]
    assert await found("--deleted") == ["one", "two"]


async def test_an_empty_list_shows_the_next_step(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("list")
    assert ran.out.startswith("NAME")
    assert "hint: no sandboxes yet" in ran.err
    assert (await sandboxctl.run("list", "--agent", "nobody")).err == ""
    assert (await sandboxctl.run("list", "-o", "name")).err == ""


async def test_show_and_ip(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web")
    shown = await sandboxctl.run("show", "web")
    fields = {
        line.partition(":")[0]: line.partition(":")[2].strip() for line in shown.out.splitlines()
    }
    assert fields["state"] == "RUNNING"
    assert fields["ip"].startswith(ADDRESS)
    assert (await sandboxctl.run("ip", "web")).out == f"{ADDRESS}\n"
    assert (await sandboxctl.run("ip", "web", "-o", "json")).document["ip_address"] == ADDRESS
    assert (await sandboxctl.run("show", "web", "-o", "name")).out.strip() == fields["id"]


async def test_no_address_yet_says_how_to_wait(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "cold", "--no-start")
    ran = await sandboxctl.run("ip", "cold")
    assert ran.code == 1
    assert "has no address yet; it is STOPPED" in ran.err
    assert "--for ip" in ran.err


async def test_why_draws_the_stored_decision(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "big", "--memory", "12GiB")
    ran = await sandboxctl.run("why", "big")
    assert "outcome:           placed" in ran.out
    assert [line[:1] for line in ran.rows if line[-1:] == ["chosen"]] == [["beta"]]
    assert "alpha  memory" in ran.out
    wide = await sandboxctl.run("why", "big", "-o", "wide")
    assert "8 GiB" in wide.out
    assert {"HAS", "NEEDS"} <= {word for line in wide.rows for word in line}
    decision = (await sandboxctl.run("why", "big", "-o", "json")).document
    assert (await sandboxctl.run("why", "big", "-o", "name")).out.strip() == decision["id"]
    assert (await sandboxctl.run("why", decision["id"].lower())).code == 0


async def test_a_decision_that_is_not_there(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    assert (await sandboxctl.run("why", "DEC-01KAAAAAAAAAAAAAAAAAAAAAAA")).code == 3
