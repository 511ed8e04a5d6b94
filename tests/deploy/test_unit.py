"""The unit, its user and its directories, checked by systemd's own tools without a running one."""

from __future__ import annotations

import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from scheduler import daemon
from scheduler.config import load
from tests.deploy.paths import DEPLOY

UNIT = DEPLOY / "sandboxd.service"
needs_systemd = pytest.mark.needs("systemd-analyze")


def run(*command: str | Path) -> str:
    """Run a checker and return what it says; it must find nothing wrong."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with a command that exists on this machine, as verify asks for one."""
    installed = tmp_path / "sandboxd.service"
    installed.write_text(UNIT.read_text().replace("/opt/sandboxd/bin/sandboxd", "/bin/true"))
    return installed


def service() -> dict[str, list[str]]:
    """Return the settings of the unit's service, each with all its values."""
    settings: dict[str, list[str]] = {}
    section = UNIT.read_text().partition("[Service]\n")[2].partition("\n[Install]")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


@needs_systemd
def test_systemd_understands_the_unit(unit: Path) -> None:
    assert run("systemd-analyze", "verify", "--man=no", unit) == ""


@needs_systemd
def test_the_unit_exposes_little(unit: Path) -> None:
    """The threshold is in tenths: 1.5 of 10."""
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", unit)


def test_the_daemon_can_work_under_the_unit() -> None:
    settings = service()
    defaults = load(None, environ={})
    assert settings["Type"] == ["notify"]
    assert settings["Restart"] == ["always"]
    assert settings["WatchdogSec"] == ["60"]
    assert "PrivateUsers" not in settings  # it would hide who talks to the socket
    assert "ProcSubset" not in settings  # it would hide the boot id
    assert settings["StateDirectory"] == [defaults.state_dir.name]
    assert settings["ReadWritePaths"] == [str(defaults.socket.parent)]
    assert settings["RestartPreventExitStatus"] == [
        f"{daemon.EXIT_BAD_CONFIGURATION} {daemon.EXIT_HELD_BY_ANOTHER}"
    ]


def test_no_outage_however_long_makes_systemd_give_up() -> None:
    assert "\nStartLimitIntervalSec=0\n" in UNIT.read_text()


@needs_systemd
def test_user_group_and_directories_are_made(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    run("systemd-sysusers", f"--root={root}", DEPLOY / "sysusers.conf")
    passwd = (root / "etc/passwd").read_text()
    user = next(line.split(":") for line in passwd.splitlines() if line.startswith("sandboxd:"))
    groups = {
        line.split(":")[0]: int(line.split(":")[2])
        for line in (root / "etc/group").read_text().splitlines()
    }
    assert groups["sandboxd"] == int(user[3])
    assert load(None, environ={}).api.group in groups
    if not privileged():
        return
    run("systemd-tmpfiles", f"--root={root}", "--create", DEPLOY / "tmpfiles.conf")
    runtime, configuration = (root / "run/sandboxd").stat(), (root / "etc/sandboxd").stat()
    assert (runtime.st_mode & 0o7777, runtime.st_uid) == (0o2750, int(user[2]))
    assert runtime.st_gid == groups["sandboxd-admin"]
    assert (configuration.st_mode & 0o7777, configuration.st_uid) == (0o750, 0)
    assert configuration.st_gid == groups["sandboxd"]


def privileged() -> bool:
    """Return whether this process may give files to other users."""
    status = Path("/proc/self/status").read_text()
    parser = RawConfigParser(delimiters=(":",))
    parser.read_string("[status]\n" + status)
    return bool(int(parser["status"]["capeff"], 16) & 1)
