"""One real host for this room's tests: a fleet of one, up for the module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fleet.fleet import Fleet


@pytest.fixture(scope="module")
def one_host() -> Iterator[Fleet]:
    """A fleet with the host `h1` alone; what a test leaves there, the next one meets."""
    with Fleet.make(1) as fleet:
        yield fleet
