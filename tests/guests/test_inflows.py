"""Input that still comes: whole, broken off, or too much of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scheduler.guests.inflows import MIB, Inflow


async def sent(*parts: bytes, lost: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if lost:
        raise ConnectionResetError("the caller is gone")


@pytest.mark.parametrize(
    ("parts", "lost", "fault"),
    [
        ((b"a", b"b" * (MIB - 1)), False, None),
        ((), False, None),
        ((b"a",), True, "its input broke off"),
        (
            (b"a", b"b" * MIB),
            False,
            "more than 1 MiB of input came, which is what a command may be given",
        ),
    ],
)
async def test_only_what_came_whole_has_no_fault(
    parts: tuple[bytes, ...], lost: bool, fault: str | None
) -> None:
    inflow = Inflow(1)
    inflow.claim(sent(*parts, lost=lost))
    assert inflow.claimed
    await inflow.begun()
    passed = [piece async for piece in inflow.pieces()]
    assert b"".join(passed) == (b"a" if fault and parts else b"".join(parts))
    assert inflow.fault == fault


async def test_it_is_too_late_for_input_once_it_is_over() -> None:
    inflow = Inflow(1)
    inflow.end()
    await inflow.over()
    assert inflow.claimed
