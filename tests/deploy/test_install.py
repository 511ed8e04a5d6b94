"""`deploy/install` does what docs/install.md says, and so does what that says to type."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scheduler.cli.client import Client
from scheduler.cli.failures import Failure
from tests.deploy.paths import DEPLOY
from tests.deploy.test_unit import needs_systemd, privileged
from tests.fleet.process import Server
from tests.needs import lacking

ROOT = DEPLOY.parent
GUIDE = ROOT / "docs" / "install.md"
INSTALL = DEPLOY / "install"
OURS = re.compile(r"sandboxd|sandboxctl")
LIMIT_S = 900


def long_proof(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test of what was installed: building it takes minutes."""
    for mark in (needs_systemd, pytest.mark.timeout(2 * LIMIT_S), pytest.mark.slow):
        test = mark(test)
    return test


def section(title: str) -> str:
    """Return a section of the guide."""
    return GUIDE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands(title: str) -> str:
    """Return what a section says to type."""
    return "\n".join(re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL))


def install(root: Path) -> subprocess.CompletedProcess[str]:
    """Install below a directory."""
    return subprocess.run(
        [INSTALL, "--root", root], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_the_guide_names_files_that_exist() -> None:
    named = set(
        re.findall(r"(?:deploy|scripts)/[a-z.-]+|requirements[a-z-]*\.lock", GUIDE.read_text())
    )
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_guide_and_the_script_name_the_same_places() -> None:
    told = section("Install")
    places = re.findall(r'"\$root(/[a-z./]+)"', INSTALL.read_text())
    assert len(places) >= 6
    for place in places:
        assert place in told or place in ("/etc", "/etc/sandboxd", "/usr/local/bin"), place
    assert "/opt/sandboxd/bin/sandboxd" in (DEPLOY / "sandboxd.service").read_text()


def test_the_packages_have_what_the_daemon_looks_for() -> None:
    packages = (DEPLOY / "debian-packages.txt").read_text().split("\n")
    assert {"git", "libvirt0", "openssh-client", "qemu-utils"} <= set(packages)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a directory in which sandboxd is installed as on a machine of its own."""
    if not privileged():
        lacking("installing for a whole machine takes root")
    root = tmp_path_factory.mktemp("machine")
    installed = install(root)
    assert installed.returncode == 0, installed.stderr
    yield root
    shutil.rmtree(root)


def release(root: Path) -> Path:
    """Return the directory that /opt/sandboxd means."""
    return root / "opt" / (root / "opt/sandboxd").readlink()


@long_proof
def test_systemd_finds_the_units_program(machine: Path) -> None:
    """Verifying below a root would ask for the units of a whole system."""
    unit = (machine / "usr/lib/systemd/system/sandboxd.service").read_text()
    assert unit == (DEPLOY / "sandboxd.service").read_text()
    (program,) = re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    told = subprocess.run(
        [machine / program[1:], "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{release(machine).name.replace('-', ' ', 1)}\n", "version and commit"


@long_proof
def test_others_may_run_it_and_not_read_its_configuration(machine: Path) -> None:
    assert (machine / "etc/sandboxd/config.toml").stat().st_mode & 0o7777 == 0o640
    closed = [one for one in release(machine).rglob("*.py") if not one.stat().st_mode & 0o004]
    assert closed == []


@long_proof
def test_it_is_compiled_as_the_unit_may_write_nothing(machine: Path) -> None:
    (package,) = release(machine).glob("lib/python3*/site-packages/scheduler")
    assert list((package / "__pycache__").glob("daemon.*.pyc"))


@long_proof
def test_what_was_installed_runs(machine: Path, tmp_path: Path) -> None:
    socket = tmp_path / "state" / "admin.sock"
    argv = [machine / "opt/sandboxd/bin/sandboxd", "--demo", "--state-dir", socket.parent]
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}  # nothing of this checkout

    def is_ready() -> bool:
        try:
            Client(str(socket)).get("/readyz")
        except Failure:
            return False
        return True

    log = tmp_path / "log"
    server = Server.start([str(one) for one in argv], log=log, environment=environment)
    try:
        server.wait_until_ready(is_ready, limit_s=180)
        listed = subprocess.run(
            [machine / "opt/sandboxd/bin/sandboxctl", "host", "list", "--socket", socket],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "demo-3" in listed.stdout
    finally:
        server.stop()
    assert server.exit_code == 0, log.read_text()


@long_proof
def test_an_upgrade_keeps_what_was_there(machine: Path) -> None:
    link, config = machine / "opt/sandboxd", machine / "etc/sandboxd/config.toml"
    now, before = link.readlink(), config.read_text()
    (machine / "opt/sandboxd-older").mkdir()
    link.unlink()
    link.symlink_to("sandboxd-older")
    config.write_text("# mine\n")
    try:
        assert install(machine).returncode == 0
        assert link.readlink() == now
        assert (machine / "opt/sandboxd-older").is_dir()
        assert config.read_text() == "# mine\n"
    finally:
        config.write_text(before)


@long_proof
def test_a_configuration_that_it_refuses_leaves_the_version_that_runs(machine: Path) -> None:
    link, config = machine / "opt/sandboxd", machine / "etc/sandboxd/config.toml"
    now, before = link.readlink(), config.read_text()
    link.unlink()
    link.symlink_to("sandboxd-older")
    config.write_text("[nonsense]\na = 1\n")
    try:
        refused = install(machine)
        assert refused.returncode != 0
        assert "nonsense" in refused.stderr
        assert str(link.readlink()) == "sandboxd-older"
    finally:
        config.write_text(before)
        link.unlink()
        link.symlink_to(now)


@long_proof
def test_what_is_not_ours_is_left_alone(machine: Path) -> None:
    link = machine / "opt/sandboxd"
    now = link.readlink()
    link.unlink()
    link.mkdir()
    try:
        refused = install(machine)
        assert "move it away first" in refused.stderr
        assert link.is_dir()
    finally:
        link.rmdir()
        link.symlink_to(now)


@long_proof
def test_the_guides_way_to_remove_it_leaves_nothing(machine: Path) -> None:
    """On a copy; services and users are not of a directory."""
    copy = machine.with_name("copy")
    shutil.copytree(machine, copy, symlinks=True)
    script = re.sub(r"^(systemctl|userdel) .*$", "", commands("Remove"), flags=re.MULTILINE)
    assert script.count("rm -") == 3
    script = re.sub(r" /", f" {copy}/", script)
    words = script.split()
    assert all(word.startswith(f"{copy}/") for word in words if "/" in word), script
    subprocess.run(["bash", "-euc", script], check=True)
    left = [str(one.relative_to(copy)) for one in copy.rglob("*")]
    shutil.rmtree(copy)
    assert [one for one in left if OURS.search(one)] == []
