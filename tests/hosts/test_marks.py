"""The ownership mark: ours verifies, everything else is foreign, and keys are kept from others."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from scheduler.errors import Invalid
from scheduler.hosts.marks import MARK_LIMIT_BYTES, Forgery, Keyring
from scheduler.model.observations import Mark

CLUSTER = "5b0d2c7e-9a60-4c0c-8e0a-8d8f8f0f4d11"
UUID = "118918d4-1948-5170-83c1-c35854a3d51b"
OTHER_UUID = "218918d4-1948-5170-83c1-c35854a3d51b"
DOCUMENT = {"sandbox_id": "SBX-1", "domain_uuid": UUID, "labels": {"team": "a"}}

KEYRING = Keyring([b"k" * 32], CLUSTER)


def altered(mark: str, **attributes: str) -> str:
    """Return the mark with other attributes; `text` stands for its content."""
    element = etree.fromstring(mark)
    element.text = attributes.pop("text", element.text)
    for name, value in attributes.items():
        element.set(name, value)
    return etree.tostring(element, encoding="unicode")


def signed_text(mark: str) -> str:
    return etree.fromstring(mark).text or ""


def test_a_signed_mark_reads_back_whole() -> None:
    mark = KEYRING.read(KEYRING.sign(DOCUMENT), UUID)
    assert isinstance(mark, Mark)
    assert (mark.sandbox_id, mark.domain_uuid, mark.cluster_id) == ("SBX-1", UUID, CLUSTER)
    assert {**DOCUMENT, "cluster_id": CLUSTER, "key_id": mark.key_id} == mark.document


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.one_of(st.text(max_size=40), st.integers(), st.none(), st.booleans()),
        max_size=5,
    )
)
def test_any_document_reads_back_as_it_was(extra: dict[str, object]) -> None:
    document = {"extra": extra, **DOCUMENT}
    mark = KEYRING.read(KEYRING.sign(document), UUID)
    assert isinstance(mark, Mark)
    assert mark.document["extra"] == extra


def test_no_metadata_is_no_mark() -> None:
    assert KEYRING.read(None, UUID) is None
    assert KEYRING.read("", UUID) is None


@pytest.mark.parametrize(
    ("metadata", "uuid", "reason"),
    [
        (KEYRING.sign(DOCUMENT), OTHER_UUID, "another domain"),
        (Keyring([b"x" * 32], CLUSTER).sign(DOCUMENT), UUID, "a key that is not ours"),
        (Keyring([b"k" * 32], "other-cluster").sign(DOCUMENT), UUID, "another cluster"),
        (altered(KEYRING.sign(DOCUMENT), signature="00"), UUID, "signature is wrong"),
        (altered(KEYRING.sign(DOCUMENT), signature="\u00e9"), UUID, "signature is wrong"),
        (
            altered(KEYRING.sign(DOCUMENT), text=signed_text(KEYRING.sign(DOCUMENT)) + " "),
            UUID,
            "signature is wrong",
        ),
        (altered(KEYRING.sign(DOCUMENT), text=""), UUID, "signature is wrong"),
        ("<mark/>", UUID, "a key that is not ours"),
        ("<mark", UUID, "no XML"),
        ("<!DOCTYPE m [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><m>&e;</m>", UUID, "not ours"),
        ("x" * 3 * MARK_LIMIT_BYTES, UUID, "too long"),
    ],
)
def test_what_does_not_verify_is_a_forgery(metadata: str, uuid: str, reason: str) -> None:
    read = KEYRING.read(metadata, uuid)
    assert isinstance(read, Forgery)
    assert reason in read.reason


@given(st.integers(min_value=0), st.characters(codec="ascii", categories=["L", "N"]))
def test_no_changed_character_of_the_signed_text_verifies(position: int, new: str) -> None:
    mark = KEYRING.sign(DOCUMENT)
    text = signed_text(mark)
    position %= len(text)
    changed = text[:position] + new + text[position + 1 :]
    read = KEYRING.read(altered(mark, text=changed), UUID)
    assert isinstance(read, Mark if changed == text else Forgery)


def test_older_keys_go_on_verifying_and_the_newest_signs() -> None:
    old, new = Keyring([b"o" * 32], CLUSTER), Keyring([b"n" * 32, b"o" * 32], CLUSTER)
    assert isinstance(new.read(old.sign(DOCUMENT), UUID), Mark)
    assert isinstance(old.read(new.sign(DOCUMENT), UUID), Forgery)


@pytest.mark.parametrize("missing", ["sandbox_id", "domain_uuid"])
def test_a_mark_names_its_sandbox_and_its_domain(missing: str) -> None:
    with pytest.raises(Invalid, match=missing):
        KEYRING.sign({key: value for key, value in DOCUMENT.items() if key != missing})


def test_a_mark_is_at_most_four_kibibytes() -> None:
    def size(padding: int) -> int:
        return len(KEYRING.sign({**DOCUMENT, "padding": "x" * padding}).encode())

    room = MARK_LIMIT_BYTES - size(0)
    assert size(room) == MARK_LIMIT_BYTES
    with pytest.raises(Invalid, match="4096"):
        size(room + 1)


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    signed = Keyring.open(path, CLUSTER).sign(DOCUMENT)
    assert len(path.read_bytes()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["cluster.key"]
    again = Keyring.open(path, CLUSTER)
    assert again.cluster_id == CLUSTER
    assert isinstance(again.read(signed, UUID), Mark)


def test_a_rotated_key_stays_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    signed = Keyring.open(path, CLUSTER).sign(DOCUMENT)
    path.rename(tmp_path / "cluster.key.2026")
    rotated = Keyring.open(path, CLUSTER)
    assert isinstance(rotated.read(signed, UUID), Mark)
    assert json.loads(signed_text(rotated.sign(DOCUMENT)))["key_id"] not in signed


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [(0o640, b"k" * 32, "read by others"), (0o600, b"short", "5 bytes instead of 32")],
)
def test_a_key_that_is_not_safe_is_refused(
    tmp_path: Path, mode: int, content: bytes, words: str
) -> None:
    path = tmp_path / "cluster.key"
    path.write_bytes(content)
    os.chmod(path, mode)  # noqa: PTH101 - said as the user would
    with pytest.raises(Invalid, match=words) as caught:
        Keyring.open(path, CLUSTER)
    assert caught.value.remedy


def test_a_keyring_has_a_key() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        Keyring([], CLUSTER)
