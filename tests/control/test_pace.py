"""How often the loops look, from what is configured."""

from __future__ import annotations

import pytest

from scheduler.control.pace import Keep


@pytest.mark.parametrize(
    ("keep", "seconds"),
    [
        (Keep(), 3600.0),
        (Keep(events_seconds=300), 300.0),
        (Keep(tombstones_seconds=600, commands_seconds=900), 600.0),
        (Keep(decisions_seconds=1), 60.0),
        (Keep(answers_seconds=120, ssh_seconds=7200), 120.0),
    ],
)
def test_outdated_is_looked_for_as_often_as_the_shortest_of_what_is_kept_ends(
    keep: Keep, seconds: float
) -> None:
    assert keep.sweep_seconds == seconds
