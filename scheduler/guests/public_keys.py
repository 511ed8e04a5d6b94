"""SSH public keys from callers: one line, a known type, plain text.

They end up in YAML and in an `authorized_keys` file, where options before the key could run
commands; so nothing but `type base64 comment` is taken.
"""

from __future__ import annotations

import base64
import binascii
import re

from scheduler.errors import Invalid

KEY_TYPES = frozenset(
    {
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ssh-ed25519@openssh.com",
        "ssh-ed25519",
        "ssh-rsa",
    }
)
KEY_LIMIT_BYTES = 8192
KEYS_LIMIT = 32

_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def check_public_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys without surrounding blanks; raises Invalid naming the one at fault."""
    if len(keys) > KEYS_LIMIT:
        raise _refusal("ssh_public_keys", f"{len(keys)} keys are more than {KEYS_LIMIT}")
    return tuple(
        _check_public_key(f"ssh_public_keys[{index}]", key.strip())
        for index, key in enumerate(keys)
    )


def _check_public_key(path: str, key: str) -> str:
    if len(key) > KEY_LIMIT_BYTES:
        raise _refusal(path, f"the key is longer than {KEY_LIMIT_BYTES} characters")
    if not _PRINTABLE.fullmatch(key):
        raise _refusal(path, "the key is not one line of printable ASCII")
    kind, _, rest = key.partition(" ")
    if kind not in KEY_TYPES:
        raise _refusal(path, "the key does not begin with a known key type")
    if _type_within(rest.split(" ", 1)[0]) != kind:
        raise _refusal(path, f"what follows is not a key of the type {kind}")
    return key


def _type_within(body: str) -> str | None:
    """Return the type that the key's own bytes begin with, None when they are none."""
    try:
        blob = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return None
    size = int.from_bytes(blob[:4])
    return blob[4 : 4 + size].decode("ascii", errors="replace")


def _refusal(path: str, message: str) -> Invalid:
    return Invalid(
        f"{path}: {message}",
        remedy="give the content of a .pub file as ssh-keygen writes it",
        details={path: message},
    )
