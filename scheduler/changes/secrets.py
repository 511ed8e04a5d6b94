"""What never leaves a guest as code: files that are secrets by their place or by what they hold.

A change set is read by many and kept in repositories, so a doubt is a refusal, told for review.
"""

from __future__ import annotations

import re

_PLACES = re.compile(
    r"/etc/g?shadow-?"
    r"|/etc/ssh/ssh_host_\w+_key"
    r"|/etc/ssl/private/.+|/etc/pki/tls/private/.+|/etc/letsencrypt/.+"
    r"|.*/\.ssh/(?!authorized_keys$|known_hosts$|config$|.*\.pub$).+"
    r"|.*/\.gnupg/.+"
    r"|.*/\.(netrc|pgpass|my\.cnf|git-credentials|vault-token|npmrc|pypirc)"
    r"|.*/\.(aws/credentials|docker/config\.json|kube/config|azure/.+|config/gcloud/.+)"
    r"|.*\.(p12|pfx|jks|keytab|kdbx)",
    re.DOTALL,
)
_MARKS = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----"
    rb"|PuTTY-User-Key-File-"
    rb"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}"
    rb"|\bgithub_pat_[A-Za-z0-9_]{60}"
    rb"|\bglpat-[A-Za-z0-9_-]{20}"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{20}"
    rb"|\$ANSIBLE_VAULT;"
)


def secret_in(path: str, content: bytes) -> str | None:
    """Return why a file is taken for a secret, None when it is not."""
    if _PLACES.fullmatch(path):
        return "secrets are kept at such places, and none is ever copied"
    if _MARKS.search(content):
        return "it holds a key or a token, and none is ever copied"
    return None
