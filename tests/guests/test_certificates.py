"""Certificates as OpenSSH reads them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from scheduler.guests.authorities import Authorities, Authority
from scheduler.guests.certificates import (
    Grant,
    host_identity,
    known_hosts_line,
    user_certificate,
)
from tests.clocks import START


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authorities.open(tmp_path).signer


def shown(directory: Path, certificate: bytes | str) -> dict[str, str]:
    """Return what ssh-keygen says of a certificate, by its labels; lists end in their own line."""
    path = directory / "shown-cert.pub"
    path.write_bytes(certificate if isinstance(certificate, bytes) else certificate.encode())
    told = subprocess.run(
        ["ssh-keygen", "-Lf", str(path)], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, str] = {}
    for line in told.splitlines()[1:]:
        label, colon, value = line.strip().partition(": ")
        if colon or line.strip().endswith(":"):
            key = label.removesuffix(":")
            found[key] = value
        else:
            found[key] = f"{found[key]} {line.strip()}".strip()
    return found


def grant(**changes: object) -> Grant:
    values: dict[str, object] = {
        "serial": 7,
        "sandbox_id": "SBX-01",
        "identity": "uid:1000 to SBX-01",
        "valid_after": START,
        "valid_before": START + timedelta(minutes=5),
    }
    return Grant(**{**values, **changes})  # type: ignore[arg-type]


def test_a_login_is_for_one_sandbox_and_may_nothing_but_have_a_terminal(
    authority: Authority, tmp_path: Path
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    signed = user_certificate(authority, key, grant(source_addresses=("192.168.122.1",)))
    told = shown(tmp_path, signed.export_certificate())
    assert told["Type"].endswith("user certificate")
    assert authority.fingerprint in told["Signing CA"]
    assert told["Key ID"] == '"uid:1000 to SBX-01"'
    assert told["Serial"] == "7"
    assert told["Principals"] == "SBX-01"
    assert told["Critical Options"] == "source-address 192.168.122.1/32"
    assert told["Extensions"] == "permit-pty"
    assert told["Valid"].startswith("from ")


def test_a_login_without_a_terminal_has_no_extension_at_all(
    authority: Authority, tmp_path: Path
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    told = shown(
        tmp_path, user_certificate(authority, key, grant(permit_pty=False)).export_certificate()
    )
    assert told["Extensions"] == "(none)"
    assert told["Critical Options"] == "(none)"


def test_a_guest_has_the_same_host_key_however_often_its_seed_is_made(
    authority: Authority, tmp_path: Path
) -> None:
    first, again = host_identity(authority, "SBX-01"), host_identity(authority, "SBX-01")
    assert first.public_key == again.public_key
    assert host_identity(authority, "SBX-02").public_key != first.public_key
    other = tmp_path / "other"
    other.mkdir()
    assert host_identity(Authorities.open(other).signer, "SBX-01").public_key != first.public_key
    told = shown(tmp_path, first.certificate)
    assert told["Type"].endswith("host certificate")
    assert told["Principals"] == "SBX-01 sbx-01"
    assert told["Valid"] == "forever"


def test_the_private_half_belongs_to_the_public_one(authority: Authority, tmp_path: Path) -> None:
    identity = host_identity(authority, "SBX-01")
    path = tmp_path / "host_key"
    path.write_text(identity.private_key)
    path.chmod(0o600)
    derived = subprocess.run(
        ["ssh-keygen", "-yf", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert derived.split()[:2] == identity.public_key.split()[:2]
    assert "PRIVATE" not in repr(identity)


def test_openssh_is_told_whom_to_trust_for_one_sandbox(authority: Authority) -> None:
    line = known_hosts_line("SBX-01", [authority])
    assert line == f"@cert-authority SBX-01,sbx-01 {authority.public_key}\n"
