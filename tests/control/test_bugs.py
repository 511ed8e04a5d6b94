"""A bug is recorded where operators look, and recording it never makes it worse."""

from __future__ import annotations

from structlog.testing import capture_logs

from scheduler.control.bugs import BugRecorder
from scheduler.errors import ReadOnly
from scheduler.store import Store
from scheduler.store.committer import Unit
from tests.control.world import World


async def test_a_bug_is_an_event_with_its_traceback(there: World) -> None:
    made = await there.create()
    parked: list[int] = []
    recorder = BugRecorder(there.store, there.clock, parked=lambda: parked.append(1))
    await recorder.of_sandbox(made.id, "Traceback: boom")
    await recorder.of_host(made.host_id or "", "Traceback: bang")

    (sandbox,) = await there.events(kind="sandbox.parked")
    (host,) = await there.events(kind="host.parked")
    assert (sandbox.sandbox_id, sandbox.evidence) == (made.id, {"traceback": "Traceback: boom"})
    assert (host.host_id, host.reason_code) == (made.host_id, "internal_error")
    assert parked == [1, 1]


class Full(Store):
    """A store whose disk is full."""

    asked = 0

    async def submit(self, unit: Unit[object]) -> object:  # type: ignore[override]
        Full.asked += 1
        raise ReadOnly("the database's disk is full")


async def test_a_store_that_refuses_is_no_second_fault(there: World) -> None:
    parked: list[int] = []
    recorder = BugRecorder(there.store, there.clock, parked=lambda: parked.append(1))
    before = Full.asked
    there.store.__class__ = Full
    try:
        with capture_logs() as logs:
            await recorder.of_sandbox("SBX-1", "Traceback: boom")
    finally:
        there.store.__class__ = Store
    assert Full.asked == before + 1
    assert parked == [1], "it is counted all the same"
    (told,) = [one for one in logs if one["event"] == "bug not recorded"]
    assert (told["kind"], told["error"]) == ("sandbox.parked", "the database's disk is full")
