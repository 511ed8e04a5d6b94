"""SSH authorities with who trusts them, and certificates that are revoked together."""

from __future__ import annotations

import pytest

from scheduler.errors import AlreadyExists, NotFound
from scheduler.model import AuthorityState, SourceVM, SshAuthority, SshCertificate
from scheduler.store import Store
from tests.clocks import START
from tests.store.samples import later, sandbox


def authority(number: int, **changes: object) -> SshAuthority:
    given: dict[str, object] = {
        "id": f"SCA-{number}",
        "name": f"ssh-ca.{number}",
        "state": AuthorityState.KEPT,
        "fingerprint": f"SHA256:{number}",
        "created_at": later(number),
        "created_by": "system",
    }
    return SshAuthority(**given | changes)  # type: ignore[arg-type]


async def test_the_newest_come_first_and_a_name_means_the_newest(store: Store) -> None:
    one, two, again = authority(1), authority(2), authority(3, name="ssh-ca.1")
    await store.submit(lambda tx: [tx.ssh_authorities.add(each) for each in (one, two, again)])
    async with store.transaction() as tx:
        assert await tx.ssh_authorities.all() == (again, two, one)
        assert await tx.ssh_authorities.by_reference("ssh-ca.1") == again
        assert await tx.ssh_authorities.by_reference("SCA-1") == one
        with pytest.raises(NotFound, match=r"ssh authority ssh-ca\.9"):
            await tx.ssh_authorities.by_reference("ssh-ca.9")
        with pytest.raises(NotFound):
            await tx.ssh_authorities.replace(authority(7))


async def test_no_two_have_one_key_but_many_have_none_yet(store: Store) -> None:
    await store.submit(lambda tx: tx.ssh_authorities.add(authority(1)))
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.ssh_authorities.add(authority(2, fingerprint="SHA256:1")))
    making = [authority(number, fingerprint=None) for number in (3, 4)]
    await store.submit(lambda tx: [tx.ssh_authorities.add(one) for one in making])


async def test_who_trusts_a_key_is_known_while_it_lives(store: Store) -> None:
    machine = SourceVM(
        id="SVM-1",
        name="web",
        host_name="alpha",
        ca_fingerprint="SHA256:1",
        created_at=START,
        updated_at=START,
    )
    async with store.transaction() as tx:
        for number, key in ((1, "SHA256:1"), (2, "SHA256:1"), (3, "SHA256:2"), (4, None)):
            await tx.sandboxes.add(sandbox(f"SBX-{number}", ssh_ca=key, created_at=later(number)))
        await tx.sandboxes.bury("SBX-1", at=START)
        await tx.source_vms.upsert(machine)
        await tx.source_vms.upsert(
            SourceVM(id="SVM-2", name="db", created_at=START, updated_at=START)
        )
    async with store.transaction() as tx:
        assert await tx.ssh_authorities.guests("SHA256:1", 10) == ("SBX-2",)
        assert await tx.ssh_authorities.guests("SHA256:2", 0) == ()
        assert await tx.ssh_authorities.machines("SHA256:1", 10) == ("alpha/web",)
        assert await tx.ssh_authorities.guest_counts() == {"SHA256:1": 1, "SHA256:2": 1}
        assert await tx.ssh_authorities.machine_counts() == {"SHA256:1": 1}


async def test_what_counts_no_more_is_not_revoked(store: Store) -> None:
    def certificate(number: int, **changes: object) -> SshCertificate:
        given: dict[str, object] = {
            "id": f"CRT-{number}",
            "serial": number,
            "sandbox_id": "SBX-1",
            "actor": "ana",
            "key_fingerprint": "SHA256:mine",
            "authority": "SHA256:1",
            "created_at": START,
            "valid_until": later(300),
        }
        return SshCertificate(**given | changes)  # type: ignore[arg-type]

    async with store.transaction() as tx:
        await tx.ssh_certificates.add(certificate(1))
        await tx.ssh_certificates.add(certificate(2, valid_until=later(9)))
        await tx.ssh_certificates.add(certificate(3, revoked_at=START, revoked_by="bob"))
        await tx.ssh_certificates.add(certificate(4, sandbox_id="SBX-2"))
        await tx.ssh_certificates.add(certificate(5, sandbox_id="SBX-2", authority="SHA256:2"))
    async with store.transaction() as tx:
        assert await tx.ssh_certificates.revoke_of_sandbox("SBX-1", "eve", later(10)) == 1
        assert await tx.ssh_certificates.revoke_of_authority("SHA256:1", "eve", later(11)) == 1
    async with store.transaction() as tx:
        found = {one.id: one for one in (await tx.ssh_certificates.find()).items}
    assert {id: (one.revoked_by, one.revoked_at) for id, one in found.items()} == {
        "CRT-1": ("eve", later(10)),
        "CRT-2": (None, None),
        "CRT-3": ("bob", START),
        "CRT-4": ("eve", later(11)),
        "CRT-5": (None, None),
    }
