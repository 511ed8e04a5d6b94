"""All points on both engines, and random pairs of deaths: the hour that CI does not have."""

from __future__ import annotations

import pytest

from tests.faults.__main__ import main
from tests.faults.site import Engine


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("engine", Engine)
def test_the_daemon_recovers_from_a_death_at_every_point(engine: Engine) -> None:
    assert main(["--engine", engine]) == 0


@pytest.mark.fleet
@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_layers_on_real_hosts_survive_a_death_at_every_point() -> None:
    assert main(["--real", "--engine", Engine.SQLITE, "--pairs", "20"]) == 0
