"""The NoCloud seed: a small ISO image that tells a fresh clone who it is and who may log in.

It is made in memory with no program of the host's. Every part is plain ASCII with the keys
verbatim, so that a guest without cloud-init can read them with a few lines of shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO

import yaml
from pycdlib import PyCdlib

from scheduler.errors import Invalid
from scheduler.guests.public_keys import check_public_keys

LABEL = "cidata"
"""What cloud-init looks a NoCloud volume up by."""

_NEVER_FOLD = 2**20
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SANDBOX_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def seed_iso(sandbox_id: str, hostname: str, ssh_public_keys: Sequence[str]) -> bytes:
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
            "user-data": b"#cloud-config\n"
            + _yaml({"ssh_authorized_keys": list(keys), "ssh_pwauth": False}),
            "network-config": _yaml(_NETWORK),
        }
    )


_NETWORK = {
    "version": 2,
    "ethernets": {"all": {"match": {"name": "e*"}, "dhcp4": True, "dhcp6": False}},
}


def _yaml(document: Mapping[str, object]) -> bytes:
    """Return the document as YAML in ASCII, every value on one line."""
    text: str = yaml.safe_dump(
        document, width=_NEVER_FOLD, sort_keys=False, default_flow_style=False
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
