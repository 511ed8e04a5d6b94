"""However a session with hosts and guests ends, nothing of it is left on the machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.process import run, wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).parents[2]
SESSION = """
import os, signal, subprocess
from pathlib import Path
from tests.fleet.guest import Guest
from tests.fleet.test_endings import processes_in

def test_that_does_not_end_well(fleet):
    for host in fleet:
        guest = Guest(host, "by-hand", fleet.access)
        guest.define()
        guest.start()
        host.suspend_guest("by-hand")
    namespaces = [str(os.stat(host.file("/proc/1/ns/pid")).st_ino) for host in fleet]
    for namespace in namespaces:
        assert {"libvirtd", "dnsmasq", "qemu-system-x86"} <= set(processes_in({namespace}))
    report = [fleet.network.bridge, str(fleet["h1"].directory.parent), *namespaces]
    Path("report").write_text(" ".join(report))
    ENDING
"""
ENDINGS = {
    "a failing test": ("assert False", 1),
    "an interrupt": ("os.kill(os.getpid(), signal.SIGINT)", 2),
    "an exit without goodbye": ("os._exit(7)", 7),
    "a kill": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_after(ending: str, tmp_path: Path) -> None:
    statement, code = ENDINGS[ending]
    (tmp_path / "test_session.py").write_text(SESSION.replace("ENDING", statement))
    session = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.fleet.plugin", "--rootdir=."],
        cwd=tmp_path,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert session.returncode == code, session.stdout + session.stderr
    bridge, directory, *namespaces = (tmp_path / "report").read_text().split()
    wait_until(lambda: not processes_in(set(namespaces)), what="end of the hosts' processes")
    wait_until(lambda: not Path(directory).exists(), what=f"removal of {directory}")
    wait_until(lambda: bridge not in run("ip", "-o", "link"), what=f"removal of {bridge}")
    ports = bridge.replace("br", "") + "h"
    assert ports not in run("ip", "-o", "link")
    assert directory not in Path("/proc/mounts").read_text()


def processes_in(namespaces: set[str]) -> list[str]:
    """Every process in these PID namespaces, given by their inodes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inode = (process / "ns" / "pid").readlink().name.partition("[")[2].rstrip("]")
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if inode in namespaces:
            found.append(name)
    return found
