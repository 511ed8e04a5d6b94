"""What ssh needs on this machine is found as it is: missing, barred, without the host's key."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from scheduler.hosts.local_files import look_at, look_at_ssh_files
from scheduler.model import HostResources, Transport
from tests.diagnosis.samples import HOST


@pytest.fixture
def host(tmp_path: Path) -> HostResources:
    """A host whose key and known_hosts are as they should be."""
    key, known_hosts = tmp_path / "key", tmp_path / "known_hosts"
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(key)
    key.chmod(0o600)
    public = made.export_public_key().decode().strip()
    known_hosts.write_text(f"[192.0.2.9]:2222 {public}\n192.0.2.10 {public}\n")
    return replace(HOST, ssh_key=str(key), ssh_known_hosts=str(known_hosts))


def test_files_that_serve_are_told(host: HostResources) -> None:
    facts = look_at_ssh_files(host)
    assert facts is not None
    assert (facts.key.fault, facts.key.mode) == (None, 0o600)
    assert (facts.known_hosts.fault, facts.trusts_host) == (None, True)


@pytest.mark.parametrize(
    ("address", "port", "trusted"),
    [("192.0.2.9", 22, False), ("192.0.2.10", 22, True), ("192.0.2.11", 2222, False)],
)
def test_trust_is_of_an_address_and_a_port(
    host: HostResources, address: str, port: int, trusted: bool
) -> None:
    facts = look_at_ssh_files(replace(host, address=address, ssh_port=port))
    assert facts is not None
    assert facts.trusts_host is trusted


def test_files_that_are_missing_or_no_known_hosts_are_told(
    host: HostResources, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\xff\xfe not known hosts \x00\n")
    facts = look_at_ssh_files(
        replace(host, ssh_key=str(tmp_path / "none"), ssh_known_hosts=str(garbage))
    )
    assert facts is not None
    assert (facts.key.missing, facts.trusts_host) == (True, False)
    assert facts.key.fault == "No such file or directory"
    assert "not understood" in str(facts.known_hosts.fault)
    facts = look_at_ssh_files(replace(host, ssh_known_hosts=str(tmp_path / "none")))
    assert facts is not None
    assert facts.known_hosts.missing


@pytest.mark.needs("root")
def test_a_file_that_may_not_be_read_is_told() -> None:
    # tmp_path lies in directories that nobody else may enter.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        file = Path(directory) / "key"
        file.write_text("secret")
        file.chmod(0o600)
        # access() asks for the real user.
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            os._exit(0 if look_at(file).fault == "the daemon may not read it" else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_host_without_ssh_needs_no_files(host: HostResources) -> None:
    assert look_at_ssh_files(replace(host, transport=Transport.UNIX)) is None
    assert look_at_ssh_files(replace(host, ssh_key=None)) is None
