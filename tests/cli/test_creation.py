"""create and explain, against the real application."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.fleet import ADDRESS, Fleet
from tests.cli.running import Sandboxctl

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO0kYJ2vvhC3nNZmcIuW1a3kJbF6d0pGAAc2VZ2b2Xow ana@desk"


async def test_create_waits_and_tells_every_step(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("create", fleet.image, "--name", "web", "--ttl", "2h")
    assert ran.code == 0
    header, row = ran.rows
    assert header == ["NAME", "ID", "STATE", "HOST", "IP", "AGE", "EXPIRES", "IMAGE", "REASON"]
    assert row[0] == "web"
    assert row[2:5] == ["RUNNING", "beta", ADDRESS]
    told = [line.partition(" ")[2] for line in ran.err.splitlines()]
    assert told == [
        "created: placed on beta, waiting to be built",
        "CREATED -> STARTING: the test says so",
        "STARTING -> RUNNING: the test says so",
    ]


async def test_create_answers_in_every_form(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    printed = await sandboxctl.run("create", fleet.image, "-o", "json")
    document = printed.document
    assert document["state"] == "RUNNING"
    assert document["agent_id"] == "ana"
    stored = await fleet.plane.services.sandboxes.get(document["id"])
    assert document["domain_uuid"] == stored.domain_uuid
    as_yaml = await sandboxctl.run("create", fleet.image, "-o", "yaml")
    assert yaml.safe_load(as_yaml.out).keys() == document.keys()
    named = await sandboxctl.run("-o", "name", "create", fleet.image)
    assert named.out.startswith("SBX-")
    assert named.out.count("\n") == 1
    wide = await sandboxctl.run("create", fleet.image, "-o", "wide")
    assert {"AGENT", "JOB", "LABELS"} <= set(wide.rows[0])


async def test_every_option_reaches_the_record(
    fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    key = tmp_path / "id.pub"
    key.write_text(f"# mine\n{KEY}\n\n")
    options = (
        "--agent bot-7 --job JOB-1 --name all --vcpus 3 --memory 3GiB --storage 20G --ttl 90s "
        "--on-expire stop --label team=red --label tier=one --network default --host beta "
        "--select zone=two --anti-affinity db --provision-timeout 5m --no-wait"
    )
    ran = await sandboxctl.run(
        "create", fleet.image, *options.split(), "--ssh-key", str(key), "-o", "json"
    )
    made = ran.document
    assert made["state"] == "CREATED", "--no-wait answers at once"
    assert {name: made[name] for name in ("agent_id", "job_id", "sandbox_name", "vcpus")} == {
        "agent_id": "bot-7",
        "job_id": "JOB-1",
        "sandbox_name": "all",
        "vcpus": 3,
    }
    assert (made["memory_mb"], made["storage_mb"], made["ttl_seconds"]) == (3072, 20480, 90)
    assert made["labels"] == {"team": "red", "tier": "one"}
    assert (made["on_expire"], made["provision_timeout_seconds"]) == ("stop", 300)
    assert made["ssh_public_keys"] == [KEY]
    assert ran.err == ""
    decision = (await sandboxctl.run("why", "all", "-o", "json")).document
    assert decision["demand"]["host_selector"] == {"zone": "two"}
    assert decision["demand"]["anti_affinity_group"] == "db"


async def test_no_start_waits_for_stopped(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("create", fleet.image, "--no-start", "-o", "json")
    assert (ran.code, ran.document["state"]) == (0, "STOPPED")


async def test_a_build_that_fails_is_a_failure(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    fleet.fails = True
    ran = await sandboxctl.run("create", fleet.image, "--name", "sick")
    assert ran.code == 1
    assert ran.out == ""
    assert "error: sandbox sick is in ERROR: the test says so" in ran.err
    assert "hint: try again: sandboxctl retry SBX-" in ran.err
    documented = await sandboxctl.run("create", fleet.image, "-o", "json")
    assert documented.code == 1
    assert documented.document["code"] == "sandbox_failed"
    assert documented.document["sandbox"]["state"] == "ERROR"


async def test_the_timeout_ends_the_watching_only(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    fleet.idle = True
    ran = await sandboxctl.run("create", fleet.image, "--name", "slow", "--timeout", "0s")
    assert ran.code == 124
    assert "hint: watch it again: sandboxctl wait SBX-" in ran.err
    fleet.idle = False
    assert (await sandboxctl.run("wait", "slow")).code == 0


async def test_a_full_fleet_is_shown_host_by_host(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    assert (await sandboxctl.run("create", fleet.image, "--memory", "15GiB")).code == 0
    ran = await sandboxctl.run("create", fleet.image, "--memory", "10GiB")
    assert ran.code == 6
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0].startswith("error: no host has room for this sandbox now")
    assert lines[1].split() == ["HOST", "REFUSED", "BY", "WHY"]
    assert [line.split()[:2] for line in lines[2:4]] == [["alpha", "memory"], ["beta", "memory"]]
    assert "wanted" in lines[2]
    assert "alpha: " not in lines[2], "the host is named once"
    assert lines[4].startswith("hint: ")
    documented = await sandboxctl.run("create", fleet.image, "--memory", "10GiB", "-o", "json")
    assert documented.code == 6
    assert documented.document["code"] == "capacity_exhausted"
    assert [host["filter"] for host in documented.document["hosts"]] == ["memory", "memory"]
    stored = await sandboxctl.run("why", documented.document["decision_id"])
    assert "capacity_exhausted" in stored.out
    assert "alpha" in stored.out


async def test_what_can_never_fit_is_told_apart(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("create", "no-such-image", "-o", "json")
    assert (ran.code, ran.document["code"]) == (6, "constraint_impossible")


async def test_a_dry_run_changes_nothing(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("create", fleet.image, "--dry-run")
    assert ran.code == 0
    assert "beta" in ran.out
    assert "chosen" in ran.out
    assert "DEC-" not in ran.out, "nothing is stored, so no id is offered"
    assert (await sandboxctl.run("create", fleet.image, "--dry-run", "-o", "name")).out == "beta\n"
    planned = await sandboxctl.run("create", fleet.image, "--dry-run", "-o", "json")
    assert planned.document["outcome"] == "placed"
    assert (await sandboxctl.run("list", "-o", "json")).document == []


async def test_one_idempotency_key_makes_one_sandbox(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    again = ("create", fleet.image, "--idempotency-key", "job-7", "-o", "name")
    first = await sandboxctl.run(*again)
    assert (await sandboxctl.run(*again)).out == first.out
    assert len((await sandboxctl.run("list", "-o", "json")).document) == 1


async def test_bad_requests_name_the_field_and_the_remedy(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    ran = await sandboxctl.run("create", fleet.image, "--name", "Web_1")
    assert ran.code == 2
    assert "sandbox_name" in ran.err
    assert "hint: use 1 to 63 of a-z" in ran.err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key; give the public one"),
        ("# nothing\n\n", "holds no key"),
        ("\udcff", "cannot be read"),
    ],
)
def test_key_files_are_read_with_care(
    sandboxctl: Sandboxctl, tmp_path: Path, content: str, complaint: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    ran = sandboxctl("create", "image", "--ssh-key", str(file))
    assert ran.code == 2
    assert complaint in ran.err


def test_a_missing_key_file_is_a_usage_error(sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl("create", "image", "--ssh-key", "/nowhere/key.pub")
    assert ran.code == 2
    assert "cannot be read" in ran.err


@pytest.mark.parametrize(
    "option", [("--memory", "4"), ("--ttl", "2"), ("--label", "x"), ("--vcpus", "0")]
)
def test_malformed_options_are_refused_before_anything_is_sent(
    sandboxctl: Sandboxctl, option: tuple[str, str]
) -> None:
    ran = sandboxctl("create", "image", *option)
    assert ran.code == 2
    assert option[0] in ran.err


async def test_explain_weighs_every_host(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("explain", fleet.image, "--memory", "12GiB")
    assert ran.code == 0
    alpha, beta = (line for line in ran.out.splitlines() if line.startswith(("alpha", "beta")))
    assert "8 GiB !" in alpha
    assert "memory 8.0 GiB in all < 12.3 GiB wanted" in alpha
    assert "!" not in beta
    assert "(needed)" in ran.out
    assert "ARCHITECTURE" not in ran.out, "nobody asked for one"
    wide = await sandboxctl.run("explain", fleet.image, "-o", "wide")
    assert "ARCHITECTURE" in wide.out
    names = await sandboxctl.run("explain", fleet.image, "--memory", "12GiB", "-o", "name")
    assert names.out == "beta\n"
    document = await sandboxctl.run("explain", fleet.image, "-o", "json")
    assert {host["host_name"] for host in json.loads(document.out)["hosts"]} == {"alpha", "beta"}
