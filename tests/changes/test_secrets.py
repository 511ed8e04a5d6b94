"""What is taken for a secret."""

from __future__ import annotations

import pytest

from scheduler.changes.secrets import secret_in


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/gshadow-",
        "/etc/ssh/ssh_host_ed25519_key",
        "/root/.ssh/id_ed25519",
        "/home/a/.ssh/odd\nname",
        "/root/.netrc",
        "/root/.aws/credentials",
        "/srv/store.jks",
    ],
)
def test_secrets_are_known_by_their_place(path: str) -> None:
    assert "such places" in (secret_in(path, b"") or "")


@pytest.mark.parametrize(
    "content",
    [
        b"x\n-----BEGIN RSA PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----",
        b"key = AKIAABCDEFGHIJKLMNOP",
        b"token: ghp_" + b"a" * 36,
    ],
)
def test_secrets_are_known_by_what_they_hold(content: bytes) -> None:
    assert "a key or a token" in (secret_in("/srv/f", content) or "")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/root/.ssh/authorized_keys",
        "/root/.ssh/id_ed25519.pub",
        "/etc/shadow.conf",
    ],
)
def test_what_is_public_is_no_secret(path: str) -> None:
    assert secret_in(path, b"-----BEGIN CERTIFICATE-----\nssh-ed25519 AAAA") is None
