"""What is wrong with the SSH authorities is told, with the command that mends it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.diagnosis.authorities import check_authorities
from scheduler.diagnosis.checks import Verdict
from scheduler.model import AuthorityState, SshAuthority
from tests.diagnosis.samples import NOW

A, V = AuthorityState, Verdict


def authority(state: AuthorityState, *, name: str = "ssh-ca.2", days: int = 3) -> SshAuthority:
    return SshAuthority(
        id="SCA-1",
        name=name,
        state=state,
        fingerprint="SHA256:x",
        created_at=NOW - timedelta(days=days),
        created_by="system",
    )


@pytest.mark.parametrize(
    ("record", "guests", "verdict", "said", "remedy"),
    [
        (authority(A.SIGNING), 4, V.OK, "4 guests trust it", None),
        (authority(A.SIGNING, days=400), 4, V.WARNING, "400 days", "sandboxctl ca rotate"),
        (authority(A.SIGNING, name="ssh_ca", days=400), 0, V.WARNING, "systemd", "systemctl"),
        (authority(A.KEPT), 2, V.OK, "2 guests trust it and no newer one", None),
        (authority(A.KEPT), 0, V.WARNING, "no guest", "sandboxctl ca retire ssh-ca.2"),
        (authority(A.KEPT, name="ssh_ca_previous"), 0, V.OK, "is kept", None),
        (authority(A.MISSING), 2, V.FAILED, "2 guests are not reached", "ca show ssh-ca.2"),
        (authority(A.MISSING), 0, V.WARNING, "not here", "ca retire ssh-ca.2"),
        (authority(A.RETIRED), 1, V.WARNING, "1 guests that trust it", "ca show SCA-1"),
        (authority(A.MAKING), 0, V.UNKNOWN, "being made", "ca show"),
        (authority(A.RETIRING), 0, V.UNKNOWN, "removed", "ca show"),
    ],
)
def test_each_is_judged(
    record: SshAuthority, guests: int, verdict: Verdict, said: str, remedy: str | None
) -> None:
    (check,) = check_authorities([record], {"SHA256:x": guests}, NOW)
    assert (check.name, check.verdict) == ("ssh authority", verdict)
    assert said in check.message
    assert (remedy is None) == (check.remedy is None)
    assert (remedy or "") in (check.remedy or "")


def test_one_that_was_retired_with_its_last_guest_is_no_matter() -> None:
    assert [*check_authorities([authority(A.RETIRED)], {}, NOW)] == []
