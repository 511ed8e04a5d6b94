"""What is kept of a console: its end, its gaps, and never a part of another boot."""

from __future__ import annotations

import pytest

from scheduler.lifecycle import consoles
from scheduler.lifecycle.consoles import KEPT_BYTES, MOST_GAPS, MOST_REASON
from scheduler.model import Console, DesiredState, SandboxState
from tests.clocks import START
from tests.store.samples import later, sandbox

EMPTY = Console(sandbox_id="SBX-1", boot_at=START, updated_at=START)


def test_who_boots_is_starting_and_is_to_run() -> None:
    starting = sandbox(state=SandboxState.STARTING, desired_state=DesiredState.RUNNING)
    stopping = sandbox(state=SandboxState.STARTING, desired_state=DesiredState.STOPPED)
    up = sandbox(state=SandboxState.RUNNING, desired_state=DesiredState.RUNNING)
    assert [consoles.booting(one) for one in (starting, stopping, up)] == [True, False, False]


def test_a_boot_is_known_by_when_it_was_asked_for() -> None:
    assert consoles.boot_of(sandbox()) == START
    assert consoles.boot_of(sandbox(queued_at=later(5))) == later(5)
    kept = consoles.ended(consoles.heard(EMPTY, b"old", now=later(1)), now=later(2))
    gone_on = consoles.of_boot(kept, "SBX-1", START, now=later(3))
    assert (gone_on.printed, gone_on.ended_at) == (b"old", None)
    for before in (kept, None):
        anew = consoles.of_boot(before, "SBX-1", later(9), now=later(9))
        assert anew == Console(sandbox_id="SBX-1", boot_at=later(9), updated_at=later(9))


def test_the_end_is_kept_and_what_was_before_it_is_counted() -> None:
    console = consoles.opened(EMPTY, missed=None, now=later(1))
    assert consoles.heard(console, b"", now=later(2)) is console
    whole = consoles.heard(console, b"a" * KEPT_BYTES, now=later(2))
    assert (len(whole.printed), whole.dropped_bytes) == (KEPT_BYTES, 0)
    cut = consoles.heard(whole, b"bcd", now=later(3))
    assert (len(cut.printed), cut.dropped_bytes, cut.updated_at) == (KEPT_BYTES, 3, later(3))
    assert cut.printed.endswith(b"aabcd")
    flood = consoles.heard(cut, b"e" * (2 * KEPT_BYTES), now=later(4))
    assert flood.printed == b"e" * KEPT_BYTES
    assert flood.dropped_bytes == 3 + 2 * KEPT_BYTES


def test_where_something_is_missing_is_told_by_its_place() -> None:
    late = consoles.opened(EMPTY, missed=consoles.RAN_ALREADY, now=later(1))
    told = consoles.unheard(consoles.heard(late, b"x" * 7, now=later(2)), "away", now=later(3))
    assert told.reason == "away"
    assert consoles.unheard(told, "away", now=later(4)) is told
    again = consoles.opened(told, missed="away", now=later(5))
    assert [(gap.offset, gap.why) for gap in again.gaps] == [(0, consoles.RAN_ALREADY), (7, "away")]
    assert (again.begun_at, again.reason) == (later(1), None)
    for _ in range(2 * MOST_GAPS):
        again = consoles.opened(again, missed="w" * 2 * MOST_REASON, now=later(6))
    assert len(again.gaps) == MOST_GAPS
    assert {len(gap.why) for gap in again.gaps} == {MOST_REASON}
    assert len(consoles.unheard(again, "r" * 999, now=later(7)).reason or "") == MOST_REASON
    over = consoles.ended(again, now=later(8))
    assert (over.ended_at, over.updated_at) == (later(8), later(8))


@pytest.mark.parametrize(
    ("begun", "lapse", "seen_off", "missed"),
    [
        (False, None, True, None),
        (False, None, False, consoles.RAN_ALREADY),
        (False, "away", True, "away"),
        (True, None, True, consoles.STARTED_AGAIN),
        (True, None, False, consoles.CONNECTION_BROKE),
        (True, "away", False, "away"),
    ],
)
def test_nothing_is_missing_only_if_the_guest_was_seen_to_be_off_before(
    begun: bool, lapse: str | None, seen_off: bool, missed: str | None
) -> None:
    console = consoles.opened(EMPTY, missed=None, now=START) if begun else EMPTY
    assert consoles.missed(console, lapse=lapse, seen_off=seen_off) == missed


def test_what_goes_on_from_a_record_tells_why_it_had_to() -> None:
    begun = consoles.opened(EMPTY, missed=None, now=START)
    over = consoles.ended(begun, now=later(1))
    assert consoles.resumed(None, EMPTY) is None
    assert consoles.resumed(EMPTY, EMPTY) is None
    assert consoles.resumed(begun, begun) == consoles.DAEMON_RESTARTED
    assert consoles.resumed(over, begun) == consoles.BEGUN_ANEW
