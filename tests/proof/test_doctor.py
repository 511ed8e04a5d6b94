"""What the doctor finds wrong on a real host is mended by the very command that it prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.process import run, wait_until
from tests.proof.daemon import running
from tests.proof.test_main_job import Story, configuration
from tests.proof.test_networks import LAB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fleet.host import Host
    from tests.proof.daemon import Document

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

HOST = "h1"


class Clinic:
    """One host, a daemon over it, and an operator who does as told."""

    def __init__(self, story: Story) -> None:
        self.host: Host = story.fleet[HOST]
        self.access = story.fleet.access
        self._daemon = story.daemon

    def check(self, name: str) -> Document:
        """Return what the doctor says of the host under this name."""
        checks = self._daemon.api.get("/v1/doctor")["checks"]
        (found,) = (one for one in checks if (one["subject"], one["name"]) == (HOST, name))
        return dict(found)

    def wait_for(self, name: str, verdict: str) -> Document:
        wait_until(
            lambda: self.check(name)["verdict"] == verdict,
            what=f"{name} {verdict}",
            limit_s=180,
            every_s=0.2,
        )
        return self.check(name)

    def do(self, remedy: str) -> None:
        """Type a remedy into a shell of the control node."""
        programs = Path(sys.executable).parent
        environment = [
            f"PATH={programs}:{os.environ['PATH']}",
            f"SANDBOXD_SOCKET={self._daemon.socket}",
        ]
        run("env", *environment, "sh", "-c", remedy)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with Fleet.make(1) as fleet:
        fleet[HOST].file("/run/lab.xml").write_text(LAB)
        fleet[HOST].virsh("net-define", "/run/lab.xml")
        fleet[HOST].virsh("net-start", "lab")
        with running(tmp_path_factory.mktemp("doctor"), configuration(fleet)) as daemon:
            story = Story(fleet, daemon)
            story.hosts_come_up()
            yield Clinic(story)


def stop_pool(clinic: Clinic) -> None:
    clinic.host.virsh("pool-destroy", "default")


def lose_pool(clinic: Clinic) -> None:
    stop_pool(clinic)
    clinic.host.virsh("pool-undefine", "default")


def stop_network(clinic: Clinic) -> None:
    clinic.host.virsh("net-destroy", "default")


def lose_network(clinic: Clinic) -> None:
    stop_network(clinic)
    clinic.host.virsh("net-undefine", "default")


def show_the_key(clinic: Clinic) -> None:
    clinic.access.key.chmod(0o644)


def forget_the_host(clinic: Clinic) -> None:
    clinic.access.known_hosts.write_text("")


@pytest.mark.parametrize(
    ("name", "break_it", "verdict"),
    [
        ("pool", stop_pool, "failed"),
        ("pool", lose_pool, "failed"),
        ("ssh key", show_the_key, "warning"),
        ("known hosts", forget_the_host, "failed"),
        ("network", stop_network, "failed"),
        ("network", lose_network, "failed"),
    ],
)
def test_the_printed_command_mends_what_was_found(
    clinic: Clinic, name: str, break_it: Callable[[Clinic], None], verdict: str
) -> None:
    clinic.wait_for(name, "ok")
    break_it(clinic)
    remedy = clinic.wait_for(name, verdict)["remedy"]
    clinic.do(remedy)
    mended = clinic.wait_for(name, "ok")
    assert mended["remedy"] is None
    assert clinic.wait_for("reach", "ok")
