"""Certificates: for who logs in to a guest, and for the guest that is logged in to.

Both name the sandbox's id as their principal, so one for a sandbox says nothing of another. What a
guest's host key is follows from the authority's key and the id: a seed built again, after a crash
or on another host, holds the same key, and nothing has to be kept or can be lost for that.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from scheduler.errors import Invalid
from scheduler.guests.authorities import Authority
from scheduler.guests.public_keys import check_public_keys
from scheduler.model import HostResources, Sandbox, Transport

CERTIFICATE_ALGORITHM = "ssh-ed25519-cert-v01@openssh.com"
_HOST_KEY_CONTEXT = b"sandboxd guest host key 1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a user certificate says; times are aware UTC."""

    serial: int
    sandbox_id: str
    identity: str
    """What the guest's sshd writes into its log at each login."""
    valid_after: datetime
    valid_before: datetime
    source_addresses: tuple[str, ...] = ()
    """Where a login must come from; anywhere when none is given."""
    permit_pty: bool = True


def source_addresses(sandbox: Sandbox, host: HostResources) -> tuple[str, ...]:
    """Return where a guest sees logins come from that go through its host; empty if unknown."""
    if host.transport is Transport.TLS or sandbox.ip_gateway is None:
        return ()
    return (sandbox.ip_gateway,)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIdentity:
    """A guest's own host key with its certificate, as files of OpenSSH's."""

    private_key: str = field(repr=False)
    public_key: str
    certificate: str


def user_certificate(
    authority: Authority, public_key: asyncssh.SSHKey, grant: Grant
) -> asyncssh.SSHCertificate:
    """Sign a login to one sandbox with one key; all that is not needed is off."""
    return authority.key.generate_user_certificate(
        public_key,
        grant.identity,
        serial=grant.serial,
        principals=[grant.sandbox_id],
        valid_after=int(grant.valid_after.timestamp()),
        valid_before=int(grant.valid_before.timestamp()),
        source_address=list(grant.source_addresses) or None,
        permit_x11_forwarding=False,
        permit_agent_forwarding=False,
        permit_port_forwarding=False,
        permit_pty=grant.permit_pty,
        permit_user_rc=False,
        comment=grant.identity,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedLogin:
    """A certificate for somebody's own key, as a file of OpenSSH's, and what goes with it."""

    certificate: str
    key_fingerprint: str
    authority: str
    """The fingerprint of the key that signed."""
    known_hosts: str
    """What OpenSSH must trust to know the guest by its sandbox's id."""


def signed_login(authority: Authority, public_key: str, grant: Grant) -> SignedLogin:
    """Sign a login for a public key as a `.pub` file has it; raises `Invalid` for another text."""
    (line,) = check_public_keys((public_key,))
    try:
        key = asyncssh.import_public_key(line)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Invalid(
            f"public_key: it is no public SSH key: {error}",
            remedy="give the content of a .pub file as ssh-keygen writes it",
            details={"public_key": str(error)},
        ) from error
    return SignedLogin(
        certificate=_line(user_certificate(authority, key, grant).export_certificate()),
        key_fingerprint=key.get_fingerprint("sha256"),
        authority=authority.fingerprint,
        known_hosts=known_hosts_line(grant.sandbox_id, [authority]),
    )


def host_identity(authority: Authority, sandbox_id: str) -> HostIdentity:
    """Return the host key of a sandbox's guest with its certificate; the same key each time.

    The certificate has no end: a sandbox may live as long as it likes, and who verifies it trusts
    the authority only as long as that is not retired.
    """
    key = asyncssh.import_private_key(_derived(authority, sandbox_id))
    certificate = authority.key.generate_host_certificate(
        key, f"host key of {sandbox_id}", principals=_names(sandbox_id), comment=sandbox_id
    )
    return HostIdentity(
        private_key=key.export_private_key().decode("ascii"),
        public_key=_line(key.export_public_key()),
        certificate=_line(certificate.export_certificate()),
    )


def known_hosts_line(sandbox_id: str, authorities: Sequence[Authority]) -> str:
    """Return what OpenSSH must trust to know a sandbox by its id."""
    names = ",".join(_names(sandbox_id))
    return "".join(f"@cert-authority {names} {one.public_key}\n" for one in authorities)


def _names(sandbox_id: str) -> list[str]:
    """Return the names a guest is known by; OpenSSH lowers the one that it looks for."""
    return [sandbox_id, sandbox_id.lower()]


def _derived(authority: Authority, sandbox_id: str) -> bytes:
    secret = cast(Ed25519PrivateKey, authority.key.pyca_key).private_bytes_raw()
    seed = hmac.digest(secret, _HOST_KEY_CONTEXT + sandbox_id.encode("ascii"), hashlib.sha256)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _line(exported: bytes) -> str:
    return exported.decode("ascii").strip()
