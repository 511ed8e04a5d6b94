"""What a trace tells of the points that a story reached."""

from __future__ import annotations

from tests.faults.fuse import begun_within, numbered


def test_the_end_of_what_began_before_a_trace_is_no_part_of_it() -> None:
    trace = ["note.after", "clear.before", "clear.after", "note.before", "note.after", "died"]
    assert begun_within(trace) == trace[1:]
    assert numbered(begun_within(trace))[3] == ("note.after", 1)


def test_acts_of_one_name_may_overlap_and_end_after_a_trace() -> None:
    trace = ["call.before", "call.before", "call.after", "call.after", "call.before"]
    assert begun_within(trace) == trace
    assert begun_within(["call.after", *trace]) == trace
