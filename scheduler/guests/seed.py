"""The NoCloud seed: a small ISO image that tells a fresh clone who it is and who may log in.

It is made in memory with no program of the host's. Every part is plain ASCII with the keys
verbatim, so that a guest without cloud-init can read them with a few lines of shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import yaml
from pycdlib import PyCdlib

from scheduler.errors import Invalid
from scheduler.guests.authorities import Authority
from scheduler.guests.certificates import HostIdentity, host_identity
from scheduler.guests.public_keys import check_public_keys
from scheduler.guests.user_data import user_data_part

LABEL = "cidata"
"""What cloud-init looks a NoCloud volume up by."""

_NEVER_FOLD = 2**20
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SANDBOX_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CA = "/etc/ssh/sandboxd_ca.pub"
_PRINCIPALS = "/etc/ssh/sandboxd_principals"
_HOST_KEY = "/etc/ssh/sandboxd_host_key"
_SSHD = "/etc/ssh/sshd_config.d/00-sandboxd.conf"
"""First by its name: of sshd's settings the first one counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAccess:
    """By whose signature logins to a guest are taken, and what it proves itself with."""

    authority: str
    """The public key of the authority whose certificates open it."""
    identity: HostIdentity


def guest_access(authority: Authority, sandbox_id: str) -> GuestAccess:
    """Return what a sandbox's seed says of SSH; the same keys however often it is built."""
    return GuestAccess(
        authority=authority.public_key, identity=host_identity(authority, sandbox_id)
    )


def seed_iso(
    sandbox_id: str,
    hostname: str,
    ssh_public_keys: Sequence[str],
    access: GuestAccess | None = None,
    *,
    user_data: str | None = None,
    remove_secrets: bool = False,
) -> bytes:
    """Return the seed image's bytes; raises Invalid for an id, name or key that is not plain."""
    if not _SANDBOX_ID.fullmatch(sandbox_id):
        raise Invalid("sandbox_id: it is not an id of ours")
    if not _HOSTNAME.fullmatch(hostname):
        raise Invalid(
            "hostname: it is not a host name of lower-case letters, digits and dashes",
            remedy="use at most 63 characters of a-z, 0-9 and -",
        )
    keys = check_public_keys(tuple(ssh_public_keys))
    return _iso(
        {
            "meta-data": _yaml({"instance-id": sandbox_id, "local-hostname": hostname}),
            "user-data": user_data_part(
                _cloud_config(sandbox_id, keys, access, remove_secrets), user_data
            ),
            "network-config": _yaml(_NETWORK),
        }
    )


_NETWORK = {
    "version": 2,
    "ethernets": {
        "all": {
            "match": {"name": "e*"},
            "dhcp4": True,
            "dhcp6": False,
            "dhcp-identifier": "mac",
        }
    },
}
"""systemd would ask for a lease by what it makes of a machine id that clones have in common;
two of them would then be given one address."""


def _cloud_config(
    sandbox_id: str, keys: Sequence[str], access: GuestAccess | None, remove_secrets: bool
) -> bytes:
    """Return the daemon's own part."""
    document: dict[str, object] = {"ssh_authorized_keys": list(keys), "ssh_pwauth": False}
    if access is not None:
        document["write_files"] = [
            _file(_CA, access.authority),
            _file(_PRINCIPALS, sandbox_id),
            _file(_HOST_KEY, access.identity.private_key, "0600"),
            _file(f"{_HOST_KEY}.pub", access.identity.public_key),
            _file(f"{_HOST_KEY}-cert.pub", access.identity.certificate),
            _file(_SSHD, _SSHD_CONFIG),
        ]
    if remove_secrets:
        once = ["cloud-init-per", "instance", "sandboxd-secrets"]
        document["bootcmd"] = [[*once, "/bin/sh", "-c", REMOVE_SECRETS]]
    return b"#cloud-config\n" + _yaml(document)


REMOVE_SECRETS = """\
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /etc/ssh/ssh_host_*-cert.pub
rm -f /etc/ssh/sshd_config.d/90-sandboxd-source.conf /etc/ssh/sandboxd_source_*
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
rm -f /etc/machine-id
if command -v systemd-machine-id-setup >/dev/null; then systemd-machine-id-setup
elif command -v dbus-uuidgen >/dev/null; then dbus-uuidgen --ensure=/etc/machine-id
else tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id; fi
present=$(readlink -f /var/lib/cloud/instance 2>/dev/null)
for past in /var/lib/cloud/instances/*; do
    [ "$past" = "$present" ] || rm -rf "$past"
done
rm -f /var/log/cloud-init.log /var/log/cloud-init-output.log
"""
"""What a clone runs once, before its sshd: what identified the machine that it is a copy of goes.

cloud-init makes missing host keys anew after it; the sandbox's own is in a file of another name."""

_SSHD_CONFIG = f"""\
HostKey {_HOST_KEY}
HostCertificate {_HOST_KEY}-cert.pub
TrustedUserCAKeys {_CA}
AuthorizedPrincipalsFile {_PRINCIPALS}"""


def _file(path: str, content: str, permissions: str = "0644") -> dict[str, str]:
    return {"path": path, "permissions": permissions, "content": f"{content.rstrip()}\n"}


class _Plain(yaml.SafeDumper):
    """Writes text of several lines as it is, indented, for readers that know little of YAML."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Plain.add_representer(str, _text)


def _yaml(document: Mapping[str, object]) -> bytes:
    """Return the document as YAML in ASCII, every line of a value on one line."""
    text: str = yaml.dump(
        document, Dumper=_Plain, width=_NEVER_FOLD, sort_keys=False, default_flow_style=False
    )
    return text.encode("ascii")


def _iso(files: Mapping[str, bytes]) -> bytes:
    iso = PyCdlib()
    iso.new(interchange_level=4, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        for name, content in files.items():
            iso.add_fp(
                BytesIO(content),
                len(content),
                iso_path=f"/{name}",
                rr_name=name,
                joliet_path=f"/{name}",
            )
        out = BytesIO()
        iso.write_fp(out)
    finally:
        iso.close()
    return out.getvalue()
