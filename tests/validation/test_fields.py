"""What the field types take and refuse; what they take is safe as a name, a file and a label."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from scheduler.validation import fields

KINDS: dict[str, tuple[Any, list[object], list[object]]] = {
    "name": (
        fields.Name,
        ["a", "a-1", "0", "a" * 63],
        ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "a\n", "a\0", "ä", "../a", "<a/>", 1, None],
    ),
    "owner": (
        fields.Owner,
        ["ana", "team:ci@example.org", "A" * 128],
        ["", ".a", "a b", "a/b", "a\n", "A" * 129],
    ),
    "image": (
        fields.ImageName,
        ["debian-12.qcow2", "sha256:abc"],
        ["", "../x", "a/b", "-x", "x\n", "'"],
    ),
    "object": (fields.ObjectName, ["default", "br_0.1"], ["", "a/b", "<x>", "a b", "a" * 64]),
    "address": (
        fields.Address,
        ["10.0.0.1", "alpha.example", "fe80::1", "::1"[2:]],
        ["", "-oProxyCommand=x", "a b", "user@alpha", "alpha/", "a\n"],
    ),
    "uri": (
        fields.Uri,
        [
            "qemu:///system",
            "qemu+unix:///session?socket=/run/x",
            "test:///default",
            "test+unix:///default?socket=/run/x",
        ],
        ["qemu+tcp://a/system", "qemu+ssh://a/system", "xen:///", "qemu://", "test:///a b"],
    ),
    "user": (fields.UserName, ["root", "_libvirt"], ["", "1a", "a b", "a;id", "A", "a" * 33]),
    "path": (fields.Path, ["/a", "/a b"], ["", "a", "/", "/a\0", "/a\n", "/" + "a" * 1024]),
    "reason": (
        fields.Reason,
        ["", "disk swap, until 5pm"],
        ["a\nb", "\x1b[31m", "\u202eevil", "a" * 501],
    ),
    "labels": (
        fields.Labels,
        [{}, {"zone": "a"}, {"example.org/team": ""}],
        [
            {"": "a"},
            {"a b": "c"},
            {"a": "-"},
            {"a": 1},
            {f"k{n}": "v" for n in range(17)},
            {f"k{n}": "v" * 63 for n in range(16)} | {"k" * 63: "v" * 63},
            {f"{'k' * 60}{n}": "v" * 63 for n in range(9)},
        ],
    ),
    "ratio": (fields.Ratio, [0.5, 64, 1], [0, -1, 64.1, float("nan"), float("inf"), "x"]),
}


@pytest.mark.parametrize(
    ("kind", "value"), [(name, value) for name, (_, good, _) in KINDS.items() for value in good]
)
def test_what_is_right_is_taken(kind: str, value: object) -> None:
    TypeAdapter(KINDS[kind][0]).validate_python(value)


@pytest.mark.parametrize(
    ("kind", "value"), [(name, value) for name, (_, _, bad) in KINDS.items() for value in bad]
)
def test_what_is_wrong_is_refused(kind: str, value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(KINDS[kind][0]).validate_python(value)


def key(kind: str, named: str | None = None) -> str:
    name = (named or kind).encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x04data"
    return f"{kind} {base64.b64encode(blob).decode()} ana@example"


def check(text: str) -> str:
    return TypeAdapter(fields.SshPublicKey).validate_python(text)


@pytest.mark.parametrize("kind", sorted(fields.SSH_KEY_TYPES))
def test_public_keys_of_every_type_are_taken(kind: str) -> None:
    assert check(f" {key(kind)} ") == key(kind)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssh-ed25519 " + "A" * 5000, "longer than"),
        (key("ssh-ed25519") + "\nssh_authorized_keys: x", "line break"),
        ('command="id" ' + key("ssh-ed25519"), "does not begin"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "does not begin"),
        ("ssh-ed25519 ***", "not base64"),
        (key("ssh-ed25519", named="ssh-rsa"), "not of the type"),
        ("ssh-ed25519", "not of the type"),
    ],
)
def test_what_is_no_public_key_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        check(text)
    assert words in str(refused.value.errors(include_input=False)[0]["msg"])


def test_every_pattern_has_a_remedy() -> None:
    patterns = {
        value
        for name, value in vars(fields).items()
        if name.isupper() and isinstance(value, str) and value.startswith("^")
    }
    assert set(fields.PATTERN_REMEDIES) == patterns
