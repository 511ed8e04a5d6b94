"""snapshot on the command line: what is asked of the daemon, what is told, how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.daemon import FaultyDaemon, nothing_here, sound
from tests.cli.running import Sandboxctl

ID = "SBX-01JD0000000000000000000000"
ALL = f"/v1/sandboxes/{ID}/snapshots"
ONE = f"{ALL}/clean"
BOX = {
    "id": ID,
    "sandbox_name": "web",
    "state": "RUNNING",
    "desired_state": "RUNNING",
    "phase": None,
    "reason_code": None,
}


def told(state: str = "READY", **fields: object) -> dict[str, Any]:
    return {
        "id": "SNP-1",
        "sandbox_id": ID,
        "name": "clean",
        "kind": "INTERNAL",
        "ref": "snp-1",
        "created_at": "2026-03-01T12:00:00Z",
        "meta_json": None,
        "state": state,
        "parent": None,
        "current": True,
        "files": ["a.qcow2"],
        "memory": True,
        "quiesced": False,
        "claim_mb": 1536,
        "manifest_wanted": False,
        "manifest_ref": None,
        "reason": None,
        "updated_at": None,
        **fields,
    }


@pytest.fixture
def web(daemon: FaultyDaemon) -> FaultyDaemon:
    """A daemon that has the sandbox."""
    daemon.on("GET", "/v1/sandboxes", sound({"items": [BOX], "next_cursor": None}))
    return daemon.on("GET", f"/v1/sandboxes/{ID}", sound(BOX))


def test_one_is_made_and_waited_for(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    web.on("POST", ALL, sound(told("CREATING"), 202))
    web.on("GET", ONE, sound(told("CREATING")), sound(told()))
    ran = sandboxctl("snapshot", "create", "web", "clean", "--external", "--no-manifest")
    assert ran.code == 0, ran.err
    assert "clean is READY" in ran.err
    assert ran.rows[1][:3] == ["clean", "READY", "INTERNAL"]
    (asked,) = [seen.body for seen in web.seen if seen.method == "POST"]
    assert asked == {"name": "clean", "kind": "EXTERNAL", "manifest": False}
    dry = sandboxctl("snapshot", "create", "web", "clean", "--dry-run", "-o", "json")
    assert (dry.code, dry.document["state"]) == (0, "CREATING")
    assert web.seen[-1].path.endswith("?dry_run=true")


def test_what_failed_ends_the_command_with_its_reason(
    web: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    web.on("POST", ALL, sound(told("CREATING"), 202))
    web.on("GET", ONE, sound(told("FAILED", reason="no space left")))
    ran = sandboxctl("snapshot", "create", "web", "clean")
    assert ran.code == 1
    assert "clean is FAILED: no space left" in ran.err


def test_waiting_ends_at_its_timeout(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    web.on("POST", ALL, sound(told("CREATING"), 202))
    web.on("GET", ONE, sound(told("CREATING")))
    ran = sandboxctl("snapshot", "create", "web", "clean", "--timeout", "1s")
    assert ran.code == 124
    assert "it goes on; see: sandboxctl snapshot show web clean" in ran.err
    assert sandboxctl("snapshot", "create", "web", "clean", "--no-wait").code == 0


def test_they_are_listed_and_shown(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    off = told(memory=False, quiesced=True, current=False, meta_json="no manifest: asleep")
    web.on("GET", ALL, sound({"items": [off, told()], "next_cursor": None}))
    web.on("GET", ONE, sound(off))
    ran = sandboxctl("snapshot", "list", "web", "-o", "wide")
    assert "disk, held still" in ran.out
    assert "disk and memory" in ran.out
    shown = sandboxctl("snapshot", "show", "web", "clean")
    assert "no manifest: asleep" in shown.out
    assert sandboxctl("snapshot", "show", "web", "clean", "-o", "name").out == "clean\n"


def test_going_back_asks_and_waits_for_the_sandbox(
    web: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    web.on("POST", f"{ONE}/revert", sound(told("REVERTING"), 202))
    web.on("GET", ONE, sound(told(memory=False)))
    unasked = sandboxctl("snapshot", "revert", "web", "clean")
    assert unasked.code == 2
    assert "repeat it with -y" in unasked.err
    dry = sandboxctl("snapshot", "revert", "web", "clean", "--dry-run")
    assert (dry.code, "nothing was changed" in dry.err) == (0, True)
    assert sandboxctl("snapshot", "revert", "web", "clean", "-y", "--no-wait").code == 0
    web.on("GET", ONE, sound(told(reason="the host refused")))
    failed = sandboxctl("snapshot", "revert", "web", "clean", "-y")
    assert (failed.code, "the host refused" in failed.err) == (1, True)


def test_deleting_ends_when_it_is_gone(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    web.on("DELETE", ONE, sound(told("DELETING"), 202))
    web.on("GET", ONE, nothing_here)
    assert sandboxctl("snapshot", "delete", "web", "clean", "--dry-run").code == 0
    assert sandboxctl("snapshot", "delete", "web", "clean", "-y").code == 0
    web.on("GET", ONE, sound(told("FAILED", reason="the pool is full")))
    ran = sandboxctl("snapshot", "delete", "web", "clean", "-y")
    assert (ran.code, "the pool is full" in ran.err) == (1, True)
    web.on("GET", ONE, sound({"code": "internal_error", "detail": "a bug"}, 500))
    assert sandboxctl("snapshot", "delete", "web", "clean", "-y").code == 1
