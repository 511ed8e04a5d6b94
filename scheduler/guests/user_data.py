"""A caller's own user data, beside the daemon's: two parts of one message, ours first and verbatim.

Guests that know nothing of MIME find the keys of our part as they are, since it is ASCII without an
encoding. The caller's part is carried, never read: only its first line is looked at, for what kind
of part cloud-init is to take it for.
"""

from __future__ import annotations

import quopri
from hashlib import sha256

from scheduler.errors import Invalid

CLOUD_CONFIG, SCRIPT = "#cloud-config", "#!"
MERGING = "list(append)+dict(no_replace,recurse_list)+str()"
"""Lists of both are taken together; of other settings ours counts, so that logins keep working."""


def user_data_part(own: bytes, text: str | None) -> bytes:
    """Return the seed's user data: `own` alone, or with the caller's text as a second part."""
    if text is None:
        return own
    kind = kind_of(text)
    if kind is None:
        raise Invalid(
            "user_data: its first line says neither #cloud-config nor #!",
            remedy="begin it with #cloud-config, or with #! and an interpreter",
        )
    theirs, encoding = _encoded(text if text.endswith("\n") else f"{text}\n")
    boundary = f"sandboxd-{sha256(own + theirs).hexdigest()}"
    parts = (
        _part(own, boundary, "text/cloud-config", "7bit"),
        _part(theirs, boundary, kind, encoding),
    )
    head = f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n'.encode()
    return b"".join((head, *parts, f"\n--{boundary}--\n".encode()))


def kind_of(text: str) -> str | None:
    """Return the MIME type that cloud-init knows such user data by; None for any other."""
    if text.partition("\n")[0].rstrip() == CLOUD_CONFIG:
        return "text/cloud-config"
    return "text/x-shellscript" if text.startswith(SCRIPT) else None


def _encoded(text: str) -> tuple[bytes, str]:
    """Return the text in ASCII; what is beyond that is spelled out, never as base64."""
    if text.isascii():
        return text.encode("ascii"), "7bit"
    return quopri.encodestring(text.encode("utf-8")), "quoted-printable"


def _part(content: bytes, boundary: str, kind: str, encoding: str) -> bytes:
    head = (
        f"\n--{boundary}\n"
        f'Content-Type: {kind}; charset="utf-8"\n'
        f"Content-Transfer-Encoding: {encoding}\n"
        f"Merge-Type: {MERGING}\n"
        "\n"
    )
    return head.encode("ascii") + content
