"""How soon an address is asked for again."""

from __future__ import annotations

from scheduler.control.seekers import LATEST_SECONDS, SOONEST_SECONDS, Seekers


def test_one_alone_is_asked_for_soon_and_many_later() -> None:
    seekers = Seekers()
    assert seekers.pause("SBX-0") == SOONEST_SECONDS
    assert seekers.pause("SBX-0") == SOONEST_SECONDS, "it is the same one"
    pauses = [seekers.pause(f"SBX-{number}") for number in range(200)]
    assert pauses == sorted(pauses)
    assert pauses[24] == 25 * 0.02
    assert pauses[-1] == LATEST_SECONDS


def test_who_has_left_makes_nobody_wait() -> None:
    seekers = Seekers()
    for number in range(100):
        seekers.pause(f"SBX-{number}")
    for number in range(1, 100):
        seekers.leave(f"SBX-{number}")
        seekers.leave(f"SBX-{number}")
    assert seekers.pause("SBX-0") == SOONEST_SECONDS
