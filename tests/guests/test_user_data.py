"""A caller's user data beside ours: what a small guest's shell and what cloud-init make of it."""

from __future__ import annotations

import email
from email.message import Message

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import Invalid
from scheduler.guests.seed import seed_iso
from scheduler.guests.user_data import MERGING, user_data_part
from tests.guests.test_seed import KEY, read

OWN = f"#cloud-config\nssh_authorized_keys:\n- {KEY}\nssh_pwauth: false\n".encode()


def parts(content: bytes) -> list[Message]:
    """Return the parts as cloud-init finds them, which reads text and not bytes."""
    message = email.message_from_string(content.decode("ascii"))
    assert message.is_multipart()
    return [part for part in message.walk() if not part.is_multipart()]


def body(part: Message) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8")


def test_ours_stays_plain_without_any() -> None:
    assert user_data_part(OWN, None) == OWN


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("#cloud-config\npackages: [git]\n", "text/cloud-config"),
        ("#cloud-config", "text/cloud-config"),
        ("#!/bin/sh\necho 'grüße' >/etc/motd\n", "text/x-shellscript"),
        ("#!/usr/bin/python3\nprint('=3D')\n" + "x" * 2000, "text/x-shellscript"),
    ],
)
def test_ours_comes_first_and_theirs_is_carried_as_it_is(text: str, kind: str) -> None:
    content = user_data_part(OWN, text)
    ours, theirs = parts(content)
    assert body(ours).encode() == OWN
    assert body(theirs).rstrip("\n") == text.rstrip("\n")
    assert (ours.get_content_type(), theirs.get_content_type()) == ("text/cloud-config", kind)
    assert {part["Merge-Type"] for part in (ours, theirs)} == {MERGING}


def test_a_small_guest_finds_our_part_verbatim() -> None:
    iso = seed_iso("SBX-01", "sbx-01", [KEY], user_data="#cloud-config\nname: 'Zoë'\n")
    content = read(iso, "user-data")
    assert content.isascii()
    assert b"base64" not in content
    start = content.index(b"#cloud-config\n")
    ours = content[start : content.index(b"\n--sandboxd-", start)]
    assert yaml.safe_load(ours) == {"ssh_authorized_keys": [KEY], "ssh_pwauth": False}


@pytest.mark.parametrize("text", ["", "#include\nhttp://x/", "#cloud-configuration\n", "a: 1"])
def test_what_cloud_init_would_take_for_something_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="first line"):
        user_data_part(OWN, text)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"), max_size=300)
)
def test_no_text_ends_its_part_or_begins_another(text: str) -> None:
    script = f"#!/bin/sh\n{text}"
    ours, theirs = parts(user_data_part(OWN, script))
    assert body(ours).encode() == OWN
    assert body(theirs).rstrip("\n") == script.rstrip("\n")
