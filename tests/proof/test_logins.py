"""Who gets into which guest, on a host whose account for the daemon can forward and nothing else.

One host and two guests for the module; the account has no shell, and a command forced upon it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fleet.process import ProcessError, run, wait_until
from tests.fleet.ssh import ANY_HOST_KEY, QUIET, make_key, public_key
from tests.proof.commanding import CLIENT, LONG_S, Commanding, commanding
from tests.proof.daemon import Document

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

ACCOUNT = "backup"
"""Every Debian has it, with `nologin` for a shell."""
SECONDS = 30
FENCE = f"""
Match User {ACCOUNT}
    PermitTTY no
    X11Forwarding no
    AllowAgentForwarding no
    AllowTcpForwarding local
    AllowStreamLocalForwarding local
    ForceCommand /usr/sbin/nologin
"""
SOCKET = "/run/libvirt/libvirt-sock"
HOST_KEY = ("sandboxd_host_key", "sandboxd_host_key.pub", "sandboxd_host_key-cert.pub")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commanding]:
    settings = f"[guests]\nssh_certificate_seconds = {SECONDS}"
    with commanding(
        tmp_path_factory.mktemp("logins"), settings=settings, account=ACCOUNT, fence=FENCE
    ) as made:
        host = made.fleet["h1"]
        for name in ("one", "two"):
            made.story.create(name, ready="ssh")
        for name in ("one", "two"):
            made.daemon.wait_for(name, seconds=LONG_S, state="RUNNING")
        assert host.file(SOCKET).stat().st_gid
        yield made


@dataclass(frozen=True)
class Pass:
    """A key of somebody's with a certificate for one sandbox, used without the daemon."""

    pair: Commanding
    key: Path
    issued: Document

    @classmethod
    def issue(cls, pair: Commanding, name: str, directory: Path) -> Pass:
        key = directory / f"key-{name}"
        make_key(key, name)
        asked = {"public_key": public_key(key)}
        issued = pair.daemon.api.post(f"/v1/sandboxes/{name}/ssh-certificates", asked)
        key.with_name(f"{key.name}-cert.pub").write_text(f"{issued['certificate']}\n")
        return cls(pair, key, issued)

    def opens(self, name: str, command: str = "hostname") -> str | None:
        """Return what a command says in a guest, asked by way of its host; None when refused."""
        pair = self.pair
        proxy = " ".join(pair.fleet.access.host_argv(pair.fleet["h1"].address, "-W", "%h:%p"))
        argv = [
            "ssh",
            "-o",
            "ConnectTimeout=60",
            *QUIET,
            *ANY_HOST_KEY,
            "-F",
            "none",
            "-i",
            str(self.key),
        ]
        argv += ["-o", "IdentitiesOnly=yes", "-o", f"ProxyCommand={proxy}", "-l", "root"]
        try:
            return run(*argv, pair.daemon.sandbox(name)["ip_address"], command, limit_s=60)
        except ProcessError as error:
            if "Permission denied" not in str(error):
                raise
            return None


def test_the_host_gives_the_daemon_no_shell(pair: Commanding) -> None:
    access, host = pair.fleet.access, pair.fleet["h1"]
    login = [ACCOUNT if word == "root" else word for word in access.host_argv(host.address)]
    ran = subprocess.run([*login, "id"], capture_output=True, check=False, text=True, timeout=60)
    assert (ran.returncode, "uid=" in ran.stdout) == (1, False)
    assert "not available" in ran.stdout
    backwards = [*login[:-1], "-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:h:1", login[-1]]
    ran = subprocess.run(backwards, capture_output=True, check=False, text=True, timeout=60)
    assert ran.returncode == 255
    assert pair.exec("one", "hostname").stdout == b"one\n"
    assert pair.ctl("ssh", "two", "hostname").stdout == b"two\n"


def test_a_certificate_opens_its_sandbox_only_and_only_for_its_time(
    pair: Commanding, tmp_path: Path
) -> None:
    issued = Pass.issue(pair, "one", tmp_path)
    assert issued.opens("one") == "one\n"
    assert issued.opens("two") is None
    words = ("tunnel", "--certificate", issued.issued["id"])
    refused = pair.ctl(*words, "two")
    assert (refused.returncode, b"has no certificate" in refused.stderr) == (3, True)
    wait_until(lambda: issued.opens("one") is None, what="its end", limit_s=LONG_S, every_s=2)
    late = pair.ctl(*words, "one")
    assert (late.returncode, b"has run out" in late.stderr) == (5, True)


def test_a_revocation_ends_what_it_began_and_lets_no_more_begin(pair: Commanding) -> None:
    environment = {**os.environ, "SANDBOXD_SOCKET": str(pair.daemon.socket)}
    argv = [*CLIENT, "ssh", "one", "echo up; sleep 1000"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"up\n"
        listed = pair.ctl("login", "certificates", "--sandbox", "one", "-o", "json")
        newest = json.loads(listed.stdout)[0]["id"]
        assert pair.ctl("login", "revoke", newest).returncode == 0
        assert held.wait(LONG_S) == 255
    (session,) = [
        one for one in pair.daemon.api.items("/v1/ssh-sessions") if one["certificate_id"] == newest
    ]
    assert session["end"] == "revoked"
    again = pair.ctl("tunnel", "--certificate", newest, "one")
    assert (again.returncode, b"was revoked" in again.stderr) == (5, True)


def test_a_guest_that_shows_anothers_host_key_is_told_nothing(pair: Commanding) -> None:
    """The key is genuine and signed by our authority, for the other sandbox: stolen from there."""
    host, one, two = pair.fleet["h1"], address_of(pair, "one"), address_of(pair, "two")
    # Not by exec: it takes private keys out of what is said.
    stolen = pair.story.in_guest(host, one, f"tar c -C /etc/ssh {' '.join(HOST_KEY)} | base64")
    unpack = f"echo '{stolen}' | base64 -d | tar x -C /etc/ssh"
    # Connections that stand would be joined, and a key counts only when one begins.
    pair.story.in_guest(host, two, f"{unpack} && kill -HUP $(cat /run/sshd.pid)")
    pair.daemon.kill()
    pair.daemon.start()
    refused = pair.exec("two", "--", "touch", "/run/told")
    assert (refused.returncode, b"did not prove to be" in refused.stderr) == (125, True), refused
    command = pair.newest("two")
    assert (command["status"], command["exit_code"]) == ("INTERRUPTED", None)
    assert "nothing was run" in command["reason"]
    said: list[subprocess.CompletedProcess[bytes]] = []

    def tells() -> bool:
        said.append(pair.ctl("ssh", "two", "touch /run/told"))
        assert said[-1].returncode == 255, said
        return b"Host key verification failed" in said[-1].stderr

    # A slow guest's sshd may close a connection before it has shown any key.
    wait_until(tells, what="ssh's word on the host key", limit_s=LONG_S, every_s=1)
    assert b"not a listed principal" in said[-1].stderr, said
    assert pair.story.in_guest(host, two, "ls /run/told || true") == ""
    assert pair.exec("one", "hostname").stdout == b"one\n"


def address_of(pair: Commanding, name: str) -> str:
    return str(pair.daemon.sandbox(name)["ip_address"])
