"""The farm's daemons keep their state, hang, crash and come back as hosts do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.fleet.process import RUN_LIMIT_S, ProcessError, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.farm import FarmHost, LibvirtdFarm

DEFAULT_DOMAIN = "test"


def domains(host: FarmHost, limit_s: float = RUN_LIMIT_S) -> list[str]:
    return run("virsh", "-q", "-c", host.uri, "list", "--all", "--name", limit_s=limit_s).split()


def destroy(host: FarmHost, domain: str) -> None:
    run("virsh", "-q", "-c", host.uri, "destroy", domain)
    run("virsh", "-q", "-c", host.uri, "undefine", domain)


def test_state_outlives_a_client_and_hosts_share_none(
    make_farm: Callable[[int], LibvirtdFarm],
) -> None:
    first, second = make_farm(2)
    destroy(first, DEFAULT_DOMAIN)
    assert domains(first) == []
    assert domains(second) == [DEFAULT_DOMAIN]


def test_a_suspended_host_hangs_until_it_is_resumed(
    make_farm: Callable[[int], LibvirtdFarm],
) -> None:
    (host,) = make_farm(1)
    host.suspend()
    with pytest.raises(subprocess.TimeoutExpired):
        domains(host, limit_s=1)
    host.resume()
    assert domains(host) == [DEFAULT_DOMAIN]


def test_a_killed_host_refuses_until_it_is_restarted(
    make_farm: Callable[[int], LibvirtdFarm],
) -> None:
    (host,) = make_farm(1)
    before = host.pid
    host.kill()
    with pytest.raises(ProcessError, match="Failed to connect socket"):
        domains(host)
    host.restart()
    assert host.pid != before
    assert domains(host) == [DEFAULT_DOMAIN]
