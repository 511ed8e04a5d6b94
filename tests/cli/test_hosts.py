"""host: against the real application."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from scheduler.cli.tables import fill
from scheduler.cli.views import hosts
from scheduler.model import Breaker
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.cli.test_sandboxes import NOW

OLD = "1" * 8 + "-1111" * 3 + "-" + "1" * 12


async def test_list_shows_what_is_reserved_of_what_may_be(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    await sandboxctl.run("create", fleet.image, "--host", "beta", "--vcpus", "3")
    ran = await sandboxctl.run("host", "list")
    header, alpha, beta = (" ".join(line) for line in ran.rows)
    assert header == "NAME STATE HEALTH SANDBOXES CPU MEMORY STORAGE SEEN"
    assert alpha.startswith("alpha ACTIVE UP 0 0/4 0/8 GiB 0/976.6 GiB")
    assert beta.startswith("beta ACTIVE UP 1 3/8 2.2/16 GiB 10/976.6 GiB")
    wide = await sandboxctl.run("host", "list", "-o", "wide")
    assert {"ADDRESS", "TRANSPORT", "POOL", "LABELS", "REASON"} <= set(wide.rows[0])
    assert "zone=one" in wide.out
    documents = (await sandboxctl.run("host", "list", "-o", "json")).document
    assert [host["name"] for host in documents] == ["alpha", "beta"]
    assert yaml.safe_load((await sandboxctl.run("host", "list", "-o", "yaml")).out) == documents
    assert (await sandboxctl.run("host", "list", "-o", "name")).out == "alpha\nbeta\n"
    assert (
        await sandboxctl.run("host", "list", "--label", "zone=two", "-o", "name")
    ).out == "beta\n"


async def test_a_full_host_stands_out(fleet: Fleet) -> None:
    host = await fleet.plane.services.hosts.get("alpha")
    document: dict[str, Any] = {
        name: getattr(host, name) for name in type(host).__dataclass_fields__
    }

    def style(reserved: int) -> str:
        table = fill(hosts.view(NOW).columns, [{**document, "reserved_cpus": reserved}], wide=False)
        return table.rows[0][4].style

    assert [style(1), style(4), style(5)] == ["", "yellow", "bold red"]


async def test_what_keeps_builds_off_a_host_is_shown(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    now = datetime.now(UTC)
    later, over = now + timedelta(minutes=5), now - timedelta(minutes=1)
    breakers = (
        Breaker(reason="no space", openings=2, since=now, retry_at=later),
        Breaker(image="a.qcow2", reason="bad", since=now, retry_at=later, probe="SBX-1"),
        Breaker(image="b.qcow2", reason="worse", since=over, retry_at=over),
    )
    host = await fleet.plane.services.hosts.get("alpha")
    await fleet.plane.store.submit(lambda tx: tx.hosts.set_breakers(host.id, breakers, at=now))

    shown = (await sandboxctl.run("host", "show", "alpha")).out
    assert "everything is kept out until" in shown
    assert "(opened 2 times): no space" in shown
    assert "a.qcow2 is being tried with SBX-1" in shown
    assert "b.qcow2 is tried again with the next build" in shown
    told = (await sandboxctl.run("host", "show", "alpha", "-o", "json")).document["breakers"]
    assert [one["image"] for one in told] == [None, "a.qcow2", "b.qcow2"]
    assert "builds keep failing" in (await sandboxctl.run("host", "list", "-o", "wide")).out


async def test_show(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("host", "show", "alpha")
    assert ran.code == 0
    assert "memory:          0 MiB of 8 GiB reserved (total 8 GiB" in ran.out
    assert (await sandboxctl.run("host", "show", "alpha", "-o", "json")).document["name"] == "alpha"
    missing = await sandboxctl.run("host", "show", "gamma")
    assert missing.code == 3


async def test_add_edit_remove(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    options = (
        "--transport ssh --address 192.0.2.9 --ssh-user vm --ssh-port 2222 --ssh-key /keys/id "
        "--ssh-known-hosts /keys/known --label zone=three --pool fast --network lab "
        "--virt-type kvm --system-reserved-cpus 1 --system-reserved-memory 2GiB "
        "--system-reserved-storage 10GiB --ratio-cpu 2 --ratio-memory 1.5 --ratio-storage 1 "
        "--max-sandboxes 7"
    )
    planned = await sandboxctl.run("host", "add", "gamma", *options.split(), "--dry-run")
    assert planned.code == 0, planned.err
    assert (await sandboxctl.run("host", "show", "gamma")).code == 3
    added = await sandboxctl.run("host", "add", "gamma", *options.split(), "-o", "json")
    made = added.document
    assert made["transport"] == "ssh"
    assert made["system_reserved_memory_mb"] == 2048
    assert made["max_sandboxes"] == 7
    assert made["labels"] == {"zone": "three"}
    assert "hint: it takes sandboxes once its health is UP" in added.err
    again = await sandboxctl.run("host", "add", "gamma", *options.split())
    assert again.code == 5
    edited = await sandboxctl.run(
        "host", "edit", "gamma", "--label", "disk=ssd", "--unset-label", "zone", "-o", "json"
    )
    assert edited.document["labels"] == {"disk": "ssd"}
    assert edited.document["max_sandboxes"] == 7, "what is not named stays"
    assert (await sandboxctl.run("host", "remove", "gamma")).code == 2
    assert (await sandboxctl.run("host", "remove", "gamma", "--dry-run")).code == 0
    removed = await sandboxctl.run("host", "remove", "gamma", "-y", "-o", "name")
    assert (removed.code, removed.out) == (0, "gamma\n")
    assert (await sandboxctl.run("host", "show", "gamma")).code == 3


async def test_a_host_in_use_is_not_removed(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--host", "alpha")
    for mode in ("-y", "--dry-run"):
        ran = await sandboxctl.run("host", "remove", "alpha", mode)
        assert ran.code == 5
        assert "still holds 1 sandbox" in ran.err
        assert "hint: drain the host first" in ran.err


async def test_what_was_set_can_be_unset(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    options = (
        "--transport ssh --address 192.0.2.9 --ssh-user vm --ssh-key /keys/id --label zone=three"
        " --ssh-known-hosts /keys/known --offer-network lab --max-sandboxes 7"
    )
    added = await sandboxctl.run("host", "add", "gamma", *options.split())
    assert added.code == 0, added.err
    names = ("ssh-key", "ssh-user", "ssh-known-hosts", "offer-network", "max-sandboxes", "label")
    unset = [word for name in names for word in ("--unset", name)]
    edited = await sandboxctl.run("host", "edit", "gamma", *unset, "-o", "json")
    host = edited.document
    fields = ("ssh_key", "ssh_user", "ssh_known_hosts", "networks", "max_sandboxes", "labels")
    assert [host[name] for name in fields] == [None, None, None, [], None, {}]
    assert host["address"] == "192.0.2.9", "what is not named stays"
    local = await sandboxctl.run(
        *("host", "edit", "gamma", "--transport", "unix", "--unset", "address"),
        *("--unset", "uri", "-o", "json"),
    )
    assert (local.document["address"], local.document["uri"]) == ("localhost", None)


def test_what_is_set_is_not_unset_at_once(sandboxctl: Sandboxctl) -> None:
    for options in (
        ("--max-sandboxes", "3", "--unset", "max-sandboxes"),
        ("--label", "a=b", "--unset", "label"),
        ("--unset-label", "a", "--unset", "label"),
    ):
        ran = sandboxctl("host", "edit", "alpha", *options)
        assert ran.code == 2
        assert "both changed and unset" in ran.err
    assert sandboxctl("host", "edit", "alpha", "--unset", "pool").code == 2


async def test_an_edit_of_nothing_is_a_usage_error(sandboxctl: Sandboxctl) -> None:
    assert sandboxctl("host", "edit", "alpha").code == 2


async def test_cordon_keeps_new_sandboxes_away(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("host", "cordon", "alpha", "--reason", "disk swap", "-o", "json")
    assert (ran.document["state"], ran.document["state_reason"]) == ("CORDONED", "disk swap")
    refused = await sandboxctl.run("create", fleet.image, "--host", "alpha")
    assert refused.code == 6
    assert "disk swap" in refused.err
    assert (await sandboxctl.run("host", "uncordon", "alpha")).code == 0
    assert (await sandboxctl.run("create", fleet.image, "--host", "alpha")).code == 0


async def test_an_empty_fleet_shows_the_next_step(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    for name in ("alpha", "beta"):
        await sandboxctl.run("host", "remove", name, "-y")
    assert "hint: no hosts yet; add one" in (await sandboxctl.run("host", "list")).err


async def test_accept_identity_shows_both_machines_and_wants_the_new_one_named(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    new = "2" * 8 + "-2222" * 3 + "-" + "2" * 12
    host = await fleet.plane.services.hosts.get("alpha")
    same = await sandboxctl.run("host", "accept-identity", "alpha")
    assert "it answers as the machine it is known to be" in same.err
    await fleet.plane.poll(host, host_uuid=OLD, refused_host_uuid=new)

    shown = await sandboxctl.run("host", "accept-identity", "alpha")
    assert shown.code == 0
    assert OLD in shown.out
    assert f"--uuid {new}" in shown.err
    assert new in (await sandboxctl.run("host", "show", "alpha")).out
    unsure = await sandboxctl.run("host", "accept-identity", "alpha", "--uuid", new)
    assert unsure.code == 2, "who cannot be asked must say -y"
    wrong = await sandboxctl.run("host", "accept-identity", "alpha", "--uuid", OLD, "-y")
    assert wrong.code == 5
    tried = await sandboxctl.run("host", "accept-identity", "alpha", "--uuid", new, "--dry-run")
    assert f"would take machine {new} for host alpha" in tried.err
    assert (await fleet.plane.services.hosts.get("alpha")).host_uuid == OLD
    done = await sandboxctl.run(
        "host", "accept-identity", "alpha", "--uuid", new, "-y", "-o", "json"
    )
    assert done.document["host_uuid"] == new
