"""Records of SSH authorities follow the keys there are, and no end breaks guests unasked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import Conflict
from scheduler.lifecycle.authorities import (
    MOST_KEPT,
    KeyFacts,
    check_retirement,
    check_rotation,
    made,
    recognised,
)
from scheduler.model import AuthorityState, SshAuthority
from tests.clocks import START
from tests.store.samples import later

A = AuthorityState


def key(number: int, name: str | None = None) -> KeyFacts:
    return KeyFacts(
        name=name or f"ssh-ca.{number}",
        fingerprint=f"SHA256:{number}",
        public_key=f"ssh-ed25519 {number}",
        made_at=later(number) if name is None else None,
    )


def record(number: int, state: AuthorityState, **changes: object) -> SshAuthority:
    known = SshAuthority(
        id=f"SCA-{number}",
        name=f"ssh-ca.{number}",
        state=state,
        fingerprint=f"SHA256:{number}",
        public_key=f"ssh-ed25519 {number}",
        created_at=START,
        created_by="system",
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def settled(records: list[SshAuthority], keys: list[KeyFacts]) -> list[SshAuthority]:
    """Apply every change that the keys call for."""
    for number in range(100, 200):
        change = recognised(records, keys, later(500), fresh_id=f"SCA-{number}")
        if change is None:
            return records
        records = [one for one in records if one.id != change.authority.id] + [change.authority]
    raise AssertionError(f"it never ends: {records}")


def test_the_first_key_signs_and_older_ones_are_kept_since_their_files_were_written() -> None:
    first, second = settled([], [key(2), key(1)])
    assert (first.name, first.state, first.created_at) == ("ssh-ca.2", A.SIGNING, later(2))
    assert (second.name, second.state, second.created_by) == ("ssh-ca.1", A.KEPT, "system")
    assert (first.given, first.number) == (False, 2)


def test_a_key_that_somebody_copied_is_one_and_goes_by_its_first_name() -> None:
    """Else it would sign and be kept in turn, and nobody came to an end with it."""
    keys = [key(2, "ssh-ca.3"), key(1), key(2)]
    signer, kept = settled([], keys)
    assert (signer.name, signer.state) == ("ssh-ca.3", A.SIGNING)
    assert (kept.name, kept.state) == ("ssh-ca.1", A.KEPT)
    assert settled([signer, kept], keys) == [signer, kept]


def test_a_credential_is_known_since_it_was_first_seen_and_is_not_ours() -> None:
    (found,) = settled([], [key(7, "ssh_ca")])
    assert (found.created_at, found.given, found.number) == (later(500), True, 0)


def test_a_key_from_the_future_is_as_old_as_now() -> None:
    (found,) = settled([], [replace(key(1), made_at=later(9999))])
    assert found.created_at == later(500)


def test_a_key_that_is_gone_is_missing_and_one_that_is_back_is_not() -> None:
    gone = settled([record(2, A.SIGNING), record(1, A.KEPT)], [key(2)])
    assert {one.name: one.state for one in gone} == {"ssh-ca.1": A.MISSING, "ssh-ca.2": A.SIGNING}
    back = settled(gone, [key(2), key(1)])
    assert {one.name: one.state for one in back} == {"ssh-ca.1": A.KEPT, "ssh-ca.2": A.SIGNING}


def test_a_retired_key_that_a_backup_brought_back_is_told_as_it_is() -> None:
    retired = record(1, A.RETIRED, retired_at=START, retired_by="uid:0")
    back = settled([record(2, A.SIGNING), retired], [key(2), key(1)])
    (one,) = (one for one in back if one.name == "ssh-ca.1")
    assert (one.state, one.retired_at, one.over) == (A.KEPT, None, False)
    assert retired.over


def test_a_credential_replaces_what_signed() -> None:
    after = settled(
        [record(1, A.SIGNING, name="ssh_ca")], [key(2, "ssh_ca"), key(1, "ssh_ca_previous")]
    )
    assert {one.fingerprint: (one.name, one.state) for one in after} == {
        "SHA256:2": ("ssh_ca", A.SIGNING),
        "SHA256:1": ("ssh_ca_previous", A.KEPT),
    }


def test_what_a_loop_is_about_to_finish_is_left_to_it() -> None:
    making = record(2, A.MAKING, fingerprint=None, public_key=None)
    assert settled([record(1, A.KEPT), making], [key(2), key(1)]) == [record(1, A.KEPT), making]
    retiring = record(1, A.RETIRING)
    for keys in ([key(2), key(1)], [key(2)]):
        assert settled([record(2, A.SIGNING), retiring], keys) == [record(2, A.SIGNING), retiring]


def test_the_one_that_was_made_signs_alone() -> None:
    making = record(2, A.MAKING, fingerprint=None, public_key=None)
    changes = [*made([making, record(1, A.SIGNING), record(0, A.KEPT)], making, key(2))]
    assert [(one.authority.name, one.authority.state) for one in changes] == [
        ("ssh-ca.1", A.KEPT),
        ("ssh-ca.2", A.SIGNING),
    ]
    assert changes[1].authority.fingerprint == "SHA256:2"


@given(
    states=st.lists(st.sampled_from([A.SIGNING, A.KEPT, A.MISSING, A.RETIRED]), max_size=6),
    present=st.lists(st.integers(0, 7), unique=True, max_size=8),
)
def test_one_signs_whenever_there_is_a_key(
    states: list[AuthorityState], present: list[int]
) -> None:
    records = [record(number, state) for number, state in enumerate(states)]
    after = settled(records, [key(number) for number in present])
    signing = [one.fingerprint for one in after if one.state is A.SIGNING]
    assert signing == [f"SHA256:{number}" for number in present[:1]]
    kept = {one.fingerprint for one in after if one.state is A.KEPT}
    assert kept == {f"SHA256:{number}" for number in present[1:]}


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([record(1, A.SIGNING, name="ssh_ca")], "given by systemd"),
        ([record(1, A.SIGNING), record(2, A.MAKING)], "is being made"),
        (
            [record(9, A.SIGNING), *(record(one, A.KEPT) for one in range(MOST_KEPT))],
            f"{MOST_KEPT} older SSH authorities",
        ),
    ],
)
def test_no_other_is_made(records: list[SshAuthority], why: str) -> None:
    with pytest.raises(Conflict, match=why) as refused:
        check_rotation(records)
    assert refused.value.remedy


def test_another_may_be_made() -> None:
    check_rotation([record(2, A.SIGNING), record(1, A.KEPT), record(0, A.RETIRED)])
    check_rotation([])


@pytest.mark.parametrize(
    ("authority", "guests", "force", "why"),
    [
        (record(1, A.SIGNING), 0, True, "signs for new guests"),
        (record(1, A.MAKING), 0, True, "signs for new guests"),
        (record(1, A.KEPT, name="ssh_ca_previous"), 0, True, "given by systemd"),
        (record(1, A.KEPT), 3, False, "3 guests trust no other .* SBX-1, SBX-2 and 1 more"),
        (record(1, A.MISSING), 2, False, "SBX-1, SBX-2$"),
    ],
)
def test_one_is_not_retired(authority: SshAuthority, guests: int, force: bool, why: str) -> None:
    with pytest.raises(Conflict, match=why) as refused:
        check_retirement(authority, ["SBX-1", "SBX-2"], guests=guests, force=force)
    assert refused.value.remedy


def test_one_is_retired_once_nobody_needs_it_or_they_are_given_up() -> None:
    check_retirement(record(1, A.KEPT), [], guests=0, force=False)
    check_retirement(record(1, A.KEPT), ["SBX-1"], guests=1, force=True)
    check_retirement(record(1, A.MISSING, name="ssh_ca"), [], guests=0, force=False)
