"""A backup made under writes brings a destroyed control node back, as docs/install.md tells."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scheduler.cli.failures import Failure
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, running
from tests.proof.test_main_job import GUEST
from tests.proof.test_rebuild import ROOT, Disaster, FarmMachine, farm_configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.farm import LibvirtdFarm


def backed_up(daemon: Daemon, directory: Path) -> Path:
    """Run `sandboxd --backup` as an operator does, and return what it made."""
    argv = [sys.executable, "-m", "scheduler.daemon", "--config", str(daemon.config)]
    argv += ["--state-dir", str(daemon.state_dir), "--backup", str(directory)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=180, cwd=ROOT)
    return Path(ended.stdout.strip())


def write_on(daemon: Daemon, over: threading.Event) -> None:
    """Have the database change all the time: sandboxes that are deleted at once."""
    body = {"base_image": "small.qcow2", "agent_id": "proof", **GUEST, "storage_mb": 64}
    while not over.is_set():
        try:
            made = daemon.api.post("/v1/sandboxes", body)
            daemon.api.delete(f"/v1/sandboxes/{made['id']}")
        except Failure:
            continue


@pytest.mark.timeout(600)
def test_what_was_backed_up_is_found_again_and_what_came_later_is_rebuilt(
    tmp_path: Path, make_farm: Callable[[int], LibvirtdFarm]
) -> None:
    farm = make_farm(1)
    machines = [FarmMachine(host).furnish(tmp_path) for host in farm]
    with running(tmp_path, farm_configuration(farm)) as daemon:
        disaster = Disaster(daemon=daemon, machines=machines, pool="default-pool")
        disaster.hosts_come_up()
        lost = disaster.create("one", "two", storage_mb=64, ttl_seconds=7200)
        over = threading.Event()
        writing = threading.Thread(target=write_on, args=(daemon, over))
        writing.start()
        try:
            backup = backed_up(daemon, tmp_path / "kept")
        finally:
            over.set()
            writing.join()
        later = disaster.create("later", storage_mb=64)
        # What came after the backup and was not gone yet would be found as an orphan, too.
        wait_until(
            lambda: len(list(daemon.api.items("/v1/sandboxes"))) == len(lost | later),
            what="the end of what was written meanwhile",
            limit_s=180,
            every_s=0.2,
        )

        daemon.kill()
        shutil.rmtree(daemon.state_dir)
        daemon.state_dir.mkdir(mode=0o700)
        for file in backup.iterdir():
            shutil.copy(file, daemon.state_dir)
        daemon.start()
        disaster.hosts_come_up()
        for name, before in lost.items():
            assert daemon.wait_for(name, state="RUNNING")["domain_uuid"] == before["domain_uuid"]
        assert daemon.sandbox("one")["id"] == lost["one"]["id"]

        report = json.loads(disaster.ctl("audit", "-o", "json", code=8))
        assert {one["sandbox_id"] for one in report["orphans"]} == {later["later"]["id"]}
        disaster.ctl("rebuild", "--reason", "made after the backup")
        assert daemon.wait_for("later", state="RUNNING")["id"] == later["later"]["id"]
        assert daemon.stop() == 0

        # And with no daemon there.
        again = backed_up(daemon, tmp_path / "again")
        assert sorted(one.name for one in again.iterdir()) == sorted(
            one.name for one in backup.iterdir()
        )
