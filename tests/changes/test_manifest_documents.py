"""Manifests survive being written down, and the same one is the same bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from scheduler.changes.manifest_documents import VERSION, from_bytes, to_bytes
from scheduler.errors import Unavailable
from scheduler.model import UNIT_TYPES, Manifest, ServiceState
from tests.changes.manifests import file, link, manifest, manifests

WHOLE = manifest(
    file("/etc/\U0001f600\n\u202e", owner="r", group="g", package="p", pristine=True),
    attributes=("capabilities",),
    system={"VERSION_ID": "12", "ID": "debian"},
    services=(ServiceState(name="backup.timer", enabled=True, active=True),),
    unit_types=UNIT_TYPES,
    chosen_alternatives=("/etc/alternatives/vi",),
)


@settings(max_examples=40)
@given(one=manifests())
def test_what_was_written_is_read(one: Manifest) -> None:
    assert from_bytes(to_bytes(one)) == one


def test_a_whole_manifest_is_read_as_it_was() -> None:
    assert from_bytes(to_bytes(WHOLE)) == WHOLE
    assert to_bytes(from_bytes(to_bytes(WHOLE))) == to_bytes(WHOLE)


def test_one_of_a_newer_version_is_refused() -> None:
    newer = json.dumps({"version": VERSION + 1}).encode()
    with pytest.raises(Unavailable, match=f"version {VERSION + 1}"):
        from_bytes(newer)


@pytest.mark.parametrize("version", [1, 2])
def test_one_of_an_earlier_version_is_read_with_what_it_did_not_ask_for(version: int) -> None:
    document = json.loads(to_bytes(WHOLE)) | {"version": version}
    del document["attributes"], document["entries"]["capabilities"], document["entries"]["acl"]
    if version == 1:
        del document["unit_types"], document["chosen_alternatives"]
    older = from_bytes(json.dumps(document).encode())
    assert [one.name for one in older.services] == ["backup.timer"]
    told = UNIT_TYPES if version == 2 else ("service",)
    assert (older.unit_types, older.chosen_alternatives is None) == (told, version == 1)
    (entry,) = older.entries
    assert (older.attributes, entry.capabilities, entry.acl) == ((), None, None)
    assert entry.path == WHOLE.entries[0].path


def test_one_of_the_version_that_followed_no_links_says_so() -> None:
    entries = (link("/etc", "usr/etc"), link("/srv/a", "b"), file("/srv/c"))
    document = json.loads(to_bytes(manifest(*entries))) | {"version": 2}
    older = from_bytes(json.dumps(document).encode())
    assert older.entries == manifest(*entries).entries
    ((path, reason),) = [(one.path, one.reason) for one in older.omissions]
    assert (path, "did not look below it" in reason) == ("/etc", True)
