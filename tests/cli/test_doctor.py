"""doctor from the shell: against the real application, and where there is none."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from scheduler.cli import first_aid
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.model import HostHealth
from tests.cli.daemon import FaultyDaemon, sound
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.service.machines import Machine, machine


@pytest.fixture
async def seen(fleet: Fleet) -> list[Machine]:
    """Both hosts of the fleet, looked at."""
    machines = [await machine(fleet.plane, name) for name in ("alpha", "beta")]
    for one in machines:
        one.see()
    return machines


async def test_a_healthy_fleet_exits_with_zero(sandboxctl: Sandboxctl, seen: list[Machine]) -> None:
    ran = await sandboxctl.run("doctor", "--all")
    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[-1].startswith("healthy: ")
    assert ["alpha", "reach", "ok"] in [row[:3] for row in ran.rows]
    brief = await sandboxctl.run("doctor")
    assert " ok " not in brief.out


async def test_what_failed_exits_with_one_and_comes_with_its_command(
    fleet: Fleet, sandboxctl: Sandboxctl, seen: list[Machine]
) -> None:
    await fleet.plane.poll(seen[0].host, health=HostHealth.DOWN, health_reason="no route to host")
    ran = await sandboxctl.run("doctor")
    assert ran.code == 1
    (row,) = [line for line in ran.out.splitlines() if " failed " in line]
    assert row.split()[:3] == ["alpha", "reach", "failed"]
    assert "DOWN: no route to host" in row
    assert row.endswith("sandboxctl host show alpha")
    assert ran.out.splitlines()[-1].startswith("not healthy: 1 failed")

    document = (await sandboxctl.run("doctor", "-o", "json")).document
    assert document["healthy"] is False
    (failed,) = [one for one in document["checks"] if one["verdict"] == "failed"]
    assert failed["remedy"] == "sandboxctl host show alpha"
    assert "alpha: reach" in (await sandboxctl.run("doctor", "-o", "name")).out.splitlines()


def test_a_refusal_of_the_daemon_stays_one(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    daemon.on("GET", "/v1/doctor", sound({"code": "internal_error", "detail": "a bug"}, 500))
    ran = sandboxctl("doctor")
    assert (ran.code, ran.out) == (1, "")
    assert "error: a bug" in ran.err


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty place for commands, which say what a test wants them to."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(sys, "executable", str(directory / "python"))
    return directory


def tool(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_daemon_it_says_how_to_start_one(tools: Path, sandboxctl: Sandboxctl) -> None:
    tool(tools, "systemctl", "echo inactive; exit 3")
    tool(tools, "sandboxd", 'echo "the configuration is valid: $*"')
    ran = sandboxctl("doctor", "--all", "--config", "/etc/a.toml", "-o", "json")
    assert ran.code == Exit.UNREACHABLE
    checks = {one["name"]: one for one in ran.document["checks"]}
    assert checks["daemon"]["remedy"] == "systemctl start sandboxd"
    assert "no daemon answers" in checks["daemon"]["message"]
    assert "is not there" in checks["socket"]["message"]
    assert checks["service"]["message"] == "systemd says that it is inactive"
    assert checks["service"]["remedy"] == "systemctl enable --now sandboxd"
    assert checks["configuration"]["verdict"] == "ok"
    assert "--check-config --config /etc/a.toml" in checks["configuration"]["message"]
    table = sandboxctl("doctor")
    assert table.code == Exit.UNREACHABLE
    assert "systemctl start sandboxd" in table.out
    assert table.out.splitlines()[-1].startswith("not healthy: 1 failed")


def test_a_faulty_configuration_is_told_with_every_fault(
    tools: Path, sandboxctl: Sandboxctl
) -> None:
    tool(tools, "systemctl", "echo failed; exit 3")
    tool(tools, "sandboxd", "echo 'daemon.log_level: loud is no level' >&2; exit 2")
    checks = {one["name"]: one for one in sandboxctl("doctor", "-o", "json").document["checks"]}
    assert checks["configuration"]["verdict"] == "failed"
    assert checks["configuration"]["message"] == "daemon.log_level: loud is no level"
    assert checks["configuration"]["remedy"] == f"{tools}/sandboxd --check-config"
    assert checks["service"]["remedy"] == "journalctl -u sandboxd -n 100"


def test_a_service_that_runs_and_does_not_answer_is_told(
    tools: Path, sandboxctl: Sandboxctl
) -> None:
    tool(tools, "systemctl", "echo active")
    checks = {one["name"]: one for one in sandboxctl("doctor", "-o", "json").document["checks"]}
    assert checks["service"]["verdict"] == "failed"
    assert "does not answer" in checks["service"]["message"]


def test_a_daemon_of_another_release_is_told(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    report = {"at": "2026-01-05T12:00:00Z", "healthy": True, "checks": []}
    daemon.on("GET", "/v1/doctor", sound(report))
    daemon.on("GET", "/v1/version", sound({"version": "0.0.1", "revision": "abc"}))
    ran = sandboxctl("doctor", "-o", "json")
    (check,) = ran.document["checks"]
    assert (ran.code, check["name"], check["verdict"]) == (0, "release", "warning")
    assert check["message"].endswith("and the daemon that runs is 0.0.1-abc")
    assert check["remedy"] == "systemctl restart sandboxd"


STARTING = sound({"code": "starting", "detail": "starting for 3 s", "retry_after": 1}, 503)
SYSTEMD = "case $1 in is-active) echo activating;; show) echo {};; esac"


def test_a_daemon_that_starts_is_not_started_again(
    tools: Path, daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    tool(tools, "systemctl", SYSTEMD.format("start"))
    daemon.on("GET", "/v1/doctor", STARTING)
    ran = sandboxctl("doctor", "-o", "json")
    assert ran.code == Exit.UNREACHABLE
    checks = {one["name"]: one for one in ran.document["checks"]}
    for name, words in (("daemon", "starting for 3 s"), ("service", "systemd says that it starts")):
        assert checks[name]["verdict"] == "warning"
        assert words in checks[name]["message"]
        assert checks[name]["remedy"] == "journalctl -u sandboxd -f"


def test_one_that_has_no_socket_yet_is_not_started_again(
    tools: Path, sandboxctl: Sandboxctl
) -> None:
    tool(tools, "systemctl", SYSTEMD.format("start"))
    checks = {one["name"]: one for one in sandboxctl("doctor", "-o", "json").document["checks"]}
    assert checks["daemon"]["remedy"] == "journalctl -u sandboxd -f"


def test_one_that_fails_at_every_start_is_told_apart(tools: Path, sandboxctl: Sandboxctl) -> None:
    tool(tools, "systemctl", SYSTEMD.format("auto-restart"))
    checks = {one["name"]: one for one in sandboxctl("doctor", "-o", "json").document["checks"]}
    assert checks["daemon"]["verdict"] == "failed"
    assert checks["service"]["message"] == "systemd says that it failed: see its log"


def test_with_nothing_installed_it_still_answers(tools: Path, sandboxctl: Sandboxctl) -> None:
    checks = {one["name"]: one for one in sandboxctl("doctor", "-o", "json").document["checks"]}
    assert checks["daemon"]["remedy"] == "sandboxd"
    assert "service" not in checks
    assert checks["configuration"]["verdict"] == "unknown"


def test_a_tool_that_cannot_be_run_is_no_reason_to_end(tools: Path, sandboxctl: Sandboxctl) -> None:
    tool(tools, "sandboxd", "true")
    (tools / "sandboxd").write_text("#!/no/such/interpreter\n")
    checks = {one["name"]: one for one in sandboxctl("doctor", "-o", "json").document["checks"]}
    assert checks["configuration"]["verdict"] == "failed"
    assert "No such file" in checks["configuration"]["message"]


def test_the_real_daemon_checks_its_configuration(
    tmp_path: Path, sandboxctl: Sandboxctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[daemon]\nlog_level = "loud"\n')
    monkeypatch.setenv("PATH", "")
    ran = sandboxctl("doctor", "-o", "json", "--config", str(config))
    checks = {one["name"]: one for one in ran.document["checks"]}
    assert checks["configuration"]["verdict"] == "failed"
    assert "daemon.log_level" in checks["configuration"]["message"]


def unreachable(path: Path) -> dict[str, dict[str, str]]:
    failure = Failure("no daemon answers", exit_code=Exit.UNREACHABLE)
    return {one["name"]: one for one in first_aid.examine(str(path), failure, None)}


def test_a_file_in_the_sockets_place_is_moved_away(tools: Path, tmp_path: Path) -> None:
    path = tmp_path / "admin sock"
    path.write_text("")
    check = unreachable(path)["socket"]
    assert check["verdict"] == "failed"
    assert check["remedy"] == f"mv '{path}' '{path}.away'"


@pytest.mark.needs("root")
def test_a_socket_of_another_group_names_it(
    tools: Path, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "ana")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(socket_path))
    socket_path.parent.chmod(0o711)
    socket_path.chmod(0o660)
    assert unreachable(socket_path)["socket"]["verdict"] == "ok"
    os.setegid(65534)
    os.seteuid(65534)
    try:
        barred = unreachable(socket_path)["socket"]
        os.seteuid(0)
        socket_path.parent.chmod(0o700)
        os.seteuid(65534)
        hidden = unreachable(socket_path)["socket"]
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert "(mode 0660, group root)" in barred["message"]
    assert barred["remedy"] == "sudo usermod -aG root ana"
    assert hidden["message"] == f"you may not look into {socket_path.parent}"
    assert hidden["remedy"] == "sudo usermod -aG sandboxd-admin ana"
