"""Sandboxes whose lease ends, and whose disk is then to become an image."""

from __future__ import annotations

from scheduler.control.reaper import Reaper
from scheduler.model import Image, Sandbox
from tests.control.imagery import Imagery, content
from tests.control.world import World
from tests.hosts.fake import FakeDriver

TTL = 60
RETENTION_SECONDS = 86_400
"""How long one whose lease has ended is kept, and an extension at least is."""


async def expired(there: World, driver: FakeDriver, name: str | None = None) -> Sandbox:
    """Return a sandbox whose lease has ended, and whose disk holds a sound image."""
    made = await there.created(ttl_seconds=TTL, on_expire="image", sandbox_name=name)
    driver.host.contents[f"{made.id.lower()}.qcow2"] = bytearray(content())
    return await expire(there, made)


async def expire(there: World, made: Sandbox) -> Sandbox:
    """Let a sandbox's lease end."""
    there.clock.advance(TTL)
    reaper = Reaper(
        there.store,
        there.clock,
        stopped_retention_seconds=RETENTION_SECONDS,
        wake=there.nudged.append,
        count=lambda _: None,
    )
    await reaper.reap()
    return await there.sandbox(made.id)


async def go_on(there: World, sandbox: Sandbox, *, turns: int = 8) -> Sandbox:
    """Take turns with the sandbox and the images there are, time passing as they ask for."""
    imagery = Imagery(there)
    for _ in range(turns):
        await there.look()
        pause = await there.converger.converge(sandbox.id)
        for image in await imagery.ingestor.pending():
            await imagery.ingestor.ingest(image)
        there.clock.advance(pause or 0.0)
    return await there.sandbox(sandbox.id)


async def images(there: World) -> tuple[Image, ...]:
    return await there.store.read(lambda tx: tx.images.all())


async def taking_in(there: World, sandbox: Sandbox) -> Image:
    """Go on until the copy of its disk is being taken in."""
    while not (found := await images(there)):
        pause = await there.converger.converge(sandbox.id)
        there.clock.advance(pause or 0.0)
        await there.look()
    return found[0]
