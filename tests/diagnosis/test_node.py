"""Each fault of the control node is found, told, and comes with the command that mends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scheduler.diagnosis.checks import CONTROL_NODE, Check, Verdict
from scheduler.diagnosis.facts import BackupFacts, FileFacts, ForgeFacts, StoreFacts
from scheduler.diagnosis.node import check_node, check_store
from tests.diagnosis.samples import NODE, NOW


def examined(**facts: Any) -> dict[str, Check]:
    return {check.name: check for check in check_node(replace(NODE, **facts))}


def asked(**facts: Any) -> dict[str, Check]:
    return {check.name: check for check in check_store(StoreFacts(**{"hosts": 3, **facts}))}


def test_a_node_without_fault_passes_every_check() -> None:
    checks = [*examined().values(), *asked().values()]
    assert {check.subject for check in checks} == {CONTROL_NODE}
    assert {check.verdict for check in checks} == {Verdict.OK}
    assert {check.remedy for check in checks} == {None}
    assert sorted(check.name for check in checks) == [
        "admin group",
        "clock",
        "database",
        "disk space",
        "file descriptors",
        "fleet",
        "loop lag",
        "loops",
        "permissions",
        "records",
    ]


FORGE = ForgeFacts(
    name="hub",
    url="https://github.com",
    git=True,
    files=(FileFacts(path="/etc/a token", mode=0o600),),
)


@pytest.mark.parametrize(
    ("changes", "verdict", "words", "remedy"),
    [
        ({}, Verdict.OK, "can be published to", None),
        ({"git": False}, Verdict.FAILED, "git is not installed", "apt-get install git"),
        ({"files": ()}, Verdict.WARNING, "nothing opens", "sandboxd --check-config"),
        (
            {"files": (FileFacts(path="/etc/a token", fault="not there", missing=True),)},
            Verdict.FAILED,
            "not there",
            "ls -ld '/etc/a token'",
        ),
        (
            {"files": (FileFacts(path="/etc/a token", mode=0o644),)},
            Verdict.WARNING,
            "used by others (mode 0644)",
            "chmod 600 '/etc/a token'",
        ),
    ],
)
def test_a_forge_that_cannot_be_published_to_is_told(
    changes: dict[str, Any], verdict: Verdict, words: str, remedy: str | None
) -> None:
    check = examined(forges=(replace(FORGE, **changes),))["forge hub"]
    assert (check.verdict, check.remedy) == (verdict, remedy)
    assert words in check.message


def test_loops_that_hang_are_named() -> None:
    check = examined(stuck=("reap has been due for 99 s", "writer hangs"))["loops"]
    assert check.verdict is Verdict.FAILED
    assert check.message == "reap has been due for 99 s; writer hangs"
    assert check.remedy == "systemctl restart sandboxd"


@pytest.mark.parametrize(
    ("lag", "verdict"),
    [(0.249, Verdict.OK), (0.25, Verdict.WARNING), (4.9, Verdict.WARNING), (5.0, Verdict.FAILED)],
)
def test_a_loop_that_lags_is_told(lag: float, verdict: Verdict) -> None:
    check = examined(lag_seconds=lag)["loop lag"]
    assert check.verdict is verdict
    assert f"{1000 * lag:.0f} ms" in check.message
    assert (check.remedy is None) == (verdict is Verdict.OK)


def test_a_disk_that_fills_is_found() -> None:
    check = examined(disk_free=10 << 30)["disk space"]
    assert check.verdict is Verdict.WARNING
    assert check.remedy == "du -xah /var/lib/sandboxd | sort -h | tail -n 20"
    assert examined(disk_free=4 << 30)["disk space"].verdict is Verdict.FAILED
    assert examined(disk_free=0, disk_size=0)["disk space"].verdict is Verdict.FAILED


def test_descriptors_that_run_out_are_found() -> None:
    check = examined(open_files=800)["file descriptors"]
    assert check.verdict is Verdict.WARNING
    assert check.message == "800 of 1024 file descriptors are in use"
    assert "LimitNOFILE" in (check.remedy or "")
    assert examined(open_files=1024)["file descriptors"].verdict is Verdict.FAILED


def test_files_that_others_may_use_are_told_one_by_one() -> None:
    key = FileFacts(path="/s d/cluster.key", mode=0o640)
    lost = FileFacts(path="/s d/sandboxd.db", fault="Permission denied")
    node = replace(NODE, state_dir=FileFacts(path="/s d", mode=0o755), secrets=(key, lost))
    found = [check for check in check_node(node) if check.name == "permissions"]
    assert [(check.verdict, check.remedy) for check in found] == [
        (Verdict.FAILED, "chmod 700 '/s d'"),
        (Verdict.FAILED, "chmod 600 '/s d/cluster.key'"),
        (Verdict.FAILED, "ls -ld '/s d/sandboxd.db'"),
    ]
    assert found[1].message == "/s d/cluster.key may be used by others (mode 0640)"
    assert "Permission denied" in found[2].message


PRIVATE = FileFacts(path="/s", mode=0o600)
OPEN = FileFacts(path="/s", mode=0o660)


def test_a_group_that_is_not_there_leaves_the_socket_to_one_user() -> None:
    check = examined(group_exists=False, socket=PRIVATE)["admin group"]
    assert check.verdict is Verdict.WARNING
    assert check.remedy == "groupadd --system sandboxd-admin && systemctl restart sandboxd"
    assert examined(group=None, socket=PRIVATE)["admin group"].verdict is Verdict.OK
    assert examined(group=None, socket=None)["admin group"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"group": None}, "/s may be used by others (mode 0660, group sandboxd-admin)"),
        ({"group_exists": False}, "is to be for the daemon's user only"),
        ({"group": "ops"}, "/s is for the group sandboxd-admin (mode 0660), and is to be for ops"),
        ({"socket": PRIVATE}, "is for the group sandboxd-admin (mode 0600)"),
        ({"socket": FileFacts(path="/s", fault="gone", missing=True)}, "/s: gone"),
    ],
)
def test_a_socket_that_is_for_others_than_configured_is_told(
    facts: dict[str, Any], words: str
) -> None:
    check = examined(**{"socket": OPEN, **facts})["admin group"]
    assert (check.verdict, check.remedy) == (Verdict.FAILED, "systemctl restart sandboxd")
    assert words in check.message


def test_a_database_that_refuses_is_told_with_its_remedy_and_hides_no_hosts() -> None:
    check = asked(fault="its disk is full", remedy="Free space.")["database"]
    assert (check.verdict, check.message) == (Verdict.FAILED, "its disk is full; Free space.")
    assert asked(fault="it does not answer")["database"].message == "it does not answer"
    assert asked(fault="it does not answer", hosts=0)["fleet"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("others", "words"), [((), "; it is passed over"), (("b", "c"), ", and so are 2 others")]
)
def test_records_that_cannot_be_read_are_told(others: tuple[str, ...], words: str) -> None:
    check = asked(unreadable=("row SBX-1 of sandboxes cannot be read", *others))["records"]
    assert check.verdict is Verdict.FAILED
    assert check.message.startswith("row SBX-1 of sandboxes cannot be read; it is passed over")
    assert check.message.endswith(words)
    assert check.remedy == "journalctl -u sandboxd -n 100"


def test_a_clock_that_was_set_is_told() -> None:
    steps = {NOW - timedelta(hours=hours): 3600.0 for hours in range(1, 6)}
    check = asked(clock_steps=steps)["clock"]
    assert check.verdict is Verdict.WARNING
    assert check.message == (
        "it was set 5 times within the last day: +3600.0 s at 2026-01-05 09:00 UTC, "
        "+3600.0 s at 2026-01-05 10:00 UTC, +3600.0 s at 2026-01-05 11:00 UTC"
    )
    assert check.remedy == "timedatectl set-ntp true"


def test_a_clock_that_is_doubted_is_told_before_its_steps() -> None:
    until = NOW + timedelta(days=1)
    check = asked(clock_steps={NOW: 9e7}, clock_doubted_until=until)["clock"]
    assert (check.verdict, check.remedy) == (Verdict.WARNING, "timedatectl set-ntp true")
    assert check.message == (
        "it is suddenly far ahead of what has passed: what is kept and old by it is removed from "
        "2026-01-06 12:00 UTC on, unless it is set right before"
    )


def test_a_fleet_without_hosts_is_told_how_to_get_one() -> None:
    check = asked(hosts=0)["fleet"]
    assert (check.verdict, check.remedy) == (Verdict.WARNING, "sandboxctl host add --help")


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, Verdict.OK, "one is made every day; there is none yet"),
        ({"newest_at": NOW}, Verdict.OK, "the newest is of 2026-01-05 12:00 UTC"),
        ({"keep": 0}, Verdict.OK, "the daemon makes none itself"),
        ({"fault": "no room"}, Verdict.WARNING, "no room; none is known"),
    ],
)
def test_backups_that_fail_are_told(changes: dict[str, Any], verdict: Verdict, words: str) -> None:
    facts = BackupFacts(**{"directory": "/a b", "keep": 7, **changes})
    check = examined(backups=facts)["backups"]
    assert check.verdict is verdict
    assert words in check.message
    assert check.remedy == (None if verdict is Verdict.OK else "df -h '/a b' && ls -la '/a b'")
