"""Manifests survive being written down, and the same one is the same bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from scheduler.changes.manifest_documents import from_bytes, to_bytes
from scheduler.errors import Unavailable
from scheduler.model import UNIT_TYPES, Manifest, ServiceState
from tests.changes.manifests import file, manifest, manifests

WHOLE = manifest(
    file("/etc/\U0001f600\n\u202e", owner="r", group="g", package="p", pristine=True),
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
    newer = json.dumps({"version": 3}).encode()
    with pytest.raises(Unavailable, match="version 3"):
        from_bytes(newer)


def test_one_of_the_version_that_asked_for_services_only_is_read() -> None:
    document = json.loads(to_bytes(manifest(services=(ServiceState(name="ssh"),)))) | {"version": 1}
    del document["unit_types"], document["chosen_alternatives"]
    older = from_bytes(json.dumps(document).encode())
    assert [one.name for one in older.services] == ["ssh"]
    assert (older.unit_types, older.chosen_alternatives) == (("service",), None)
