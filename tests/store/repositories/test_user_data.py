"""User data is read for its sandbox alone, and is gone with it."""

from __future__ import annotations

from scheduler.store import Store
from tests.clocks import START
from tests.store.samples import sandbox

SECRET = "#cloud-config\npassword: 'hübsch'\n"


async def test_it_is_kept_until_its_sandbox_is_buried(store: Store) -> None:
    await store.submit(lambda tx: tx.sandboxes.add(sandbox("SBX-1", user_data_bytes=len(SECRET))))
    await store.submit(lambda tx: tx.user_data.add("SBX-1", SECRET))
    assert await store.read(lambda tx: tx.user_data.get("SBX-1")) == SECRET
    assert await store.read(lambda tx: tx.user_data.get("SBX-2")) is None
    (found,) = (await store.read(lambda tx: tx.sandboxes.find())).items
    assert "password" not in repr(found)
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=START))
    assert await store.read(lambda tx: tx.user_data.get("SBX-1")) is None
    buried = await store.read(lambda tx: tx.sandboxes.get("SBX-1"))
    assert buried.user_data_bytes == len(SECRET)


async def test_it_can_be_forgotten_before(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.sandboxes.add(sandbox("SBX-1"))
        await tx.user_data.add("SBX-1", SECRET)
        assert await tx.user_data.get("SBX-1") == SECRET
        await tx.user_data.remove("SBX-1")
        assert await tx.user_data.get("SBX-1") is None
