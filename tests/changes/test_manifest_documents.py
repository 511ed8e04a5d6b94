"""Manifests survive being written down, and the same one is the same bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from scheduler.changes.manifest_documents import from_bytes, to_bytes
from scheduler.errors import Unavailable
from scheduler.model import Manifest
from tests.changes.manifests import file, manifest, manifests

WHOLE = manifest(
    file("/etc/\U0001f600\n\u202e", owner="r", group="g", package="p", pristine=True),
    system={"VERSION_ID": "12", "ID": "debian"},
)


@settings(max_examples=40)
@given(one=manifests())
def test_what_was_written_is_read(one: Manifest) -> None:
    assert from_bytes(to_bytes(one)) == one


def test_a_whole_manifest_is_read_as_it_was() -> None:
    assert from_bytes(to_bytes(WHOLE)) == WHOLE
    assert to_bytes(from_bytes(to_bytes(WHOLE))) == to_bytes(WHOLE)


def test_one_of_a_newer_version_is_refused() -> None:
    newer = json.dumps({"version": 2}).encode()
    with pytest.raises(Unavailable, match="version 2"):
        from_bytes(newer)
