"""A world in which a sandbox was changed: a diff of it, what it held, and clones to try it on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from scheduler.changes.delta import delta
from scheduler.changes.noise import DEFAULT_NOISE, NoiseRules
from scheduler.control.change_set_writer import ChangeSetWriter
from scheduler.control.verifier import Surroundings, Verifier
from scheduler.errors import GuestUnreachable
from scheduler.guests.first_boot import FirstBoot
from scheduler.guests.players import Played
from scheduler.model import (
    ChangeDiff,
    Check,
    Delta,
    Diff,
    HostResources,
    Manifest,
    ManifestEntry,
    Sandbox,
    SandboxState,
    Verification,
)
from scheduler.publishing.change_files import ChangeFiles
from scheduler.service.change_set_reports import ChangeSetReport
from scheduler.service.change_sets import ChangeSetService
from scheduler.service.intents import Intent
from scheduler.service.requests import MakeChangeSet
from scheduler.store import Transaction
from tests.changes.guests import CONTENT, digest, entry
from tests.clocks import START
from tests.control.world import ME, World

BEFORE = Manifest(
    taken_at=START,
    roots=("/etc", "/srv"),
    entries=(entry("/etc/base"), entry("/etc/used", uid=7)),
    package_manager="dpkg",
    service_manager="systemd",
)
AFTER = replace(
    BEFORE, entries=(*BEFORE.entries, entry("/etc/motd"), entry("/srv/web", mode=0o600))
)
FRESH = replace(BEFORE, entries=(entry("/etc/base"),))
"""What a clone holds: somebody had used the sandbox before the first snapshot."""
DIFF = Diff(
    id="DIF-1",
    sandbox_id="",
    from_snapshot="before",
    to_snapshot="after",
    diff_json=ChangeDiff(),
    created_at=START,
)


WELL = Played(succeeded=True, reason=None, log="ok")


@dataclass
class Known:
    """What is known of the diff."""

    before: Manifest = BEFORE
    after: Manifest = AFTER

    async def delta_of(self, _diff: Diff) -> Delta:
        return delta(self.before, self.after, DEFAULT_NOISE)

    async def manifests_of(self, _diff: Diff) -> tuple[Manifest, Manifest]:
        return self.before, self.after

    def noise_of(self, _diff: Diff) -> NoiseRules:
        return DEFAULT_NOISE


@dataclass
class Guests:
    """Clones' guests: what they hold, and what a play makes of them."""

    holds: tuple[ManifestEntry, ...] = FRESH.entries
    brought: tuple[ManifestEntry, ...] = AFTER.entries[2:]
    """What the play brings about."""
    played: Played = WELL
    reached: bool = True
    shuts_off: bool = False
    """Whether the play leaves a guest that nobody reaches any more."""
    boot: FirstBoot = FirstBoot.ABSENT
    plays: list[str] = field(default_factory=list)

    async def play(self, directory: Path, clone: Sandbox, _host: HostResources) -> Played:
        assert (directory / "site.yml").is_file()
        self.plays.append(clone.id)
        self.holds = (*self.holds, *self.brought)
        self.reached = not self.shuts_off
        return self.played

    async def first_boot(self, _clone: Sandbox, _host: HostResources) -> FirstBoot:
        if not self.reached:
            raise GuestUnreachable("the guest does not answer")
        return self.boot

    async def manifest_of(self, _clone: Sandbox, _host: HostResources) -> Manifest:
        if not self.reached:
            raise GuestUnreachable("the guest does not answer")
        return replace(FRESH, entries=self.holds)


@dataclass
class Changing:
    """The parts that make and verify change sets, to be taken step by step."""

    world: World
    files: ChangeFiles
    origin: Sandbox
    known: Known = field(default_factory=Known)
    guests: Guests = field(default_factory=Guests)
    contents: dict[str, bytes] = field(default_factory=lambda: {digest(CONTENT): CONTENT})
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        store, clock = self.world.store, self.world.clock
        self.service = ChangeSetService(
            store,
            clock,
            files=self.files,
            journal=self.world.journal,
            wake=self.woken.append,
            wake_verification=self.woken.append,
        )
        self.writer = ChangeSetWriter(
            store,
            clock,
            files=self.files,
            deltas=self.known,
            contents=self.contents,
            judge=self.judge,
            told=lambda: None,
        )
        self.verifier = self.fresh_verifier()

    def fresh_verifier(self) -> Verifier:
        """Return a verifier as a restarted daemon has it."""
        around = Surroundings(
            clones=lambda: self.world.services.sandboxes,
            player=self.guests,
            onlooker=self.guests,
            evidence=self.known,
            contents=self.contents,
            files=self.files,
        )
        return Verifier(self.world.store, self.world.clock, around, told=lambda: None)

    async def judge(self, directory: Path, name: str) -> tuple[Check, ...]:
        assert (directory / "puppet" / name).is_dir()
        return (Check(tool="puppet", result="passed"),)

    async def create(self, name: str = "web") -> ChangeSetReport:
        return await self.service.create("DIF-1", MakeChangeSet(name=name), Intent(actor=ME))

    async def made(self) -> ChangeSetReport:
        """Return a change set that is written and judged."""
        report = await self.create()
        assert await self.writer.make(report.id) is None
        return await self.service.get(report.id)

    async def verification(self, id: str) -> Verification:
        found = (await self.service.get(id)).verification
        assert found is not None
        return found

    async def clone_of(self, id: str) -> Sandbox:
        """Return the clone that a verification is on."""
        clone_id = (await self.verification(id)).clone_id
        assert clone_id is not None
        return await self.world.services.sandboxes.get(clone_id)

    async def become(self, sandbox: Sandbox, *states: SandboxState) -> None:
        """Record what the loop of all sandboxes would have proven."""
        for state in states:
            await self.world.store.submit(partial(self._proven, sandbox.id, state))

    def _proven(self, id: str, state: SandboxState, tx: Transaction) -> Sandbox:
        return tx.sandboxes.transition(
            id,
            tx.sandboxes.get(id).state,
            state,
            at=self.world.clock.now(),
            reason_code="proven",
            reason_message="the test says so",
        )


@asynccontextmanager
async def changing(
    world: World, directory: Path, *, job: str = "JOB-1", **asked: object
) -> AsyncIterator[Changing]:
    """Yield the parts over a world with one sandbox, created as asked, and a diff of it."""
    origin = await world.create(sandbox_name="origin", job_id=job, **asked)
    diff = replace(DIFF, sandbox_id=origin.id)
    await world.store.submit(lambda tx: tx.diffs.add(diff))
    files = ChangeFiles(directory)
    try:
        yield Changing(world, files, origin)
    finally:
        files.close()
