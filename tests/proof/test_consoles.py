"""The console of a real guest under a running daemon, which is killed while the guest boots."""

from __future__ import annotations

from base64 import b64decode
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import libvirt
import pytest

from scheduler.cli.failures import Failure
from tests.fleet.fleet import Fleet
from tests.fleet.process import wait_until
from tests.proof.daemon import running
from tests.proof.test_main_job import Story, configuration

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proof.daemon import Daemon, Document

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]


def console(daemon: Daemon, name: str) -> Document | None:
    """Return what is kept of a guest's console; None while there is nothing."""
    with suppress(Failure):
        found: Document = daemon.api.get(f"/v1/sandboxes/{name}/console")
        return found
    return None


def test_what_a_guest_prints_is_kept_over_the_death_of_a_daemon_and_its_console_let_go_of(
    tmp_path: Path,
) -> None:
    with Fleet.make(1) as fleet, running(tmp_path, configuration(fleet)) as daemon:
        story = Story(fleet, daemon)
        story.hosts_come_up()
        story.create("box", ready="ssh")

        def is_listened_to() -> bool:
            found = console(daemon, "box")
            return found is not None and found["begun_at"] is not None

        wait_until(is_listened_to, what="a console that is open", limit_s=120, every_s=0.1)
        assert daemon.sandbox("box")["state"] == "STARTING"
        # It says nothing while it stands still, however long the next daemon takes to begin.
        fleet["h1"].virsh("suspend", "box")
        daemon.kill()
        daemon.start()

        def is_listened_to_again() -> bool:
            found = console(daemon, "box")
            return found is not None and bool(found["gaps"]) and found["reason"] is None

        wait_until(is_listened_to_again, what="a console anew", limit_s=120, every_s=0.1)
        fleet["h1"].virsh("resume", "box")
        box = daemon.wait_for("box", seconds=300, state="RUNNING")

        def is_over() -> bool:
            found = console(daemon, "box")
            return found is not None and found["ended_at"] is not None

        wait_until(is_over, what="the end of the console", limit_s=180, every_s=0.1)
        kept = console(daemon, "box")
        assert kept is not None
        assert "udhcpc: lease of" in kept["text"]
        assert kept["text"] == b64decode(kept["data"]).decode("utf-8", "replace")
        assert (kept["dropped_bytes"], kept["reason"]) == (0, None)
        with closing(libvirt.open(fleet["h1"].uri)) as operator:
            stream = operator.newStream(libvirt.VIR_STREAM_NONBLOCK)
            operator.lookupByName(box["sandbox_name"]).openConsole(None, stream, 0)
            stream.abort()
            del stream
