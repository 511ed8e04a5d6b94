"""Verifies change sets: a fresh clone, the play, and a look at what became of it.

The clone is an ordinary sandbox with a lease, so that it ends whatever becomes of this daemon; a
verification that was cut short begins again with another clone, since a play that was half played
proves nothing of the code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from scheduler.changes.contents import Contents
from scheduler.changes.noise import NoiseRules
from scheduler.changes.verdicts import expected_reviews, remainders
from scheduler.clock import Clock
from scheduler.control.change_set_writer import Deltas
from scheduler.control.clones import (
    Clones,
    has_booted,
    is_late,
    judged,
    origin_of,
    request_of,
    will_run,
)
from scheduler.errors import (
    AlreadyExists,
    Conflict,
    GuestUnreachable,
    NotFound,
    SandboxdError,
    Unavailable,
    Unreadable,
)
from scheduler.guests.first_boot import FirstBoot
from scheduler.guests.players import Played
from scheduler.model import (
    ChangeSet,
    Delta,
    Diff,
    HostResources,
    Manifest,
    Sandbox,
    Verification,
    VerificationPhase,
    VerificationResult,
)
from scheduler.publishing.change_files import ChangeFiles
from scheduler.service.change_sets import change_set_event
from scheduler.service.intents import Intent
from scheduler.store import Store, Transaction

ACTOR = "system:verification"
AGAIN_SECONDS = 2.0
MOST_RESTARTS = 2
AT_ONCE = 2
"""Clones at once, of all change sets together: each is played on as soon as it runs."""

_Phase, _Result = VerificationPhase, VerificationResult


class Player(Protocol):
    """Who plays the play on a clone."""

    async def play(self, directory: Path, clone: Sandbox, host: HostResources, /) -> Played:
        """Play `site.yml` of a directory; raises `SandboxdError` when it cannot be begun."""
        ...


class Onlooker(Protocol):
    """Who tells how far a guest is, and what it holds."""

    async def first_boot(self, clone: Sandbox, host: HostResources, /) -> FirstBoot:
        """Tell how far a guest's first boot is; raises `SandboxdError`."""
        ...

    async def manifest_of(self, clone: Sandbox, host: HostResources, /) -> Manifest:
        """Take a guest's manifest; raises `SandboxdError`."""
        ...


class Evidence(Deltas, Protocol):
    """What is known of a diff."""

    async def manifests_of(self, diff: Diff) -> tuple[Manifest, Manifest]:
        """Return the manifests that a diff compares; raises `NotFound`."""
        ...

    def noise_of(self, diff: Diff) -> NoiseRules:
        """Return what does not count in a diff."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """With whom the verifier works."""

    clones: Callable[[], Clones]
    player: Player
    onlooker: Onlooker
    evidence: Evidence
    contents: Contents
    files: ChangeFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A clone that was played on, and what it is compared with."""

    clone: Sandbox
    host: HostResources
    diff: Diff
    changed: Delta
    before: tuple[Manifest, Manifest]
    """The sandbox's and the clone's before anything was changed."""
    became: Manifest


class Verifier:
    """Works on one change set's verification at a time; `Workers` sees to it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        surroundings: Surroundings,
        *,
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._with = surroundings
        self._told = told
        self._places: set[str] = set()
        """The change sets whose verifications have a clone, or are about to ask for one."""
        self._booting: dict[str, float] = {}
        """The clones in which cloud-init was seen at work, and since when, in monotonic seconds."""
        self._unanswered: set[str] = set()
        """The change sets of which a record was written, or not: nobody knows."""

    async def pending(self) -> tuple[str, ...]:
        """Return the change sets whose verification has work to do."""
        unfinished = await self._store.read(lambda tx: tx.verifications.unfinished())
        return tuple(one.change_set_id for one in unfinished)

    async def verify(self, id: str) -> float | None:
        """Take a verification further; return when to go on, None when it rests."""
        verification = await self._store.read(lambda tx: tx.verifications.get(id))
        if verification is None or verification.over:
            self._places.discard(id)
            return None
        change_set = await self._store.read(lambda tx: tx.change_sets.get(id))
        try:
            return await self._go_on(change_set, verification)
        except Conflict:
            return AGAIN_SECONDS  # somebody else has changed it: look again

    async def _go_on(self, change_set: ChangeSet, verification: Verification) -> float | None:
        if verification.phase in (_Phase.PLAYING, _Phase.COMPARING):
            verification = await self._again(change_set, verification)
        if verification.phase is _Phase.CLEARING:
            self._places.discard(change_set.id)
            await self._clear(change_set, verification)
            return None
        if not await self._has_place(verification):
            return AGAIN_SECONDS
        try:
            verification, clone = await self._cloned(change_set, verification)
            boot = await self._booted(clone)
        except (Unavailable, Conflict):
            raise
        except SandboxdError as error:
            await self._conclude(change_set, verification, _Result.ERROR, error.message)
            return 0.0
        if boot is None:
            return AGAIN_SECONDS
        await self._try(change_set, verification, clone, boot)
        return 0.0

    async def _booted(self, clone: Sandbox) -> FirstBoot | None:
        """Return what became of a clone's first boot, None while it is at it."""
        if will_run(clone):
            return None
        host = await self._store.read(lambda tx: tx.hosts.get(clone.host_id or ""))
        now = self._clock.monotonic()
        since = self._booting.get(clone.id)
        try:
            boot = await self._with.onlooker.first_boot(clone, host)
        except GuestUnreachable:
            # What works in it may restart sshd or the network, or the machine.
            if since is not None and not is_late(now - since):
                return None
            raise
        if not has_booted(clone, boot, 0.0 if since is None else now - since):
            self._booting.setdefault(clone.id, now)
            return None
        return boot

    async def _has_place(self, verification: Verification) -> bool:
        """Return whether it may have a clone; with a place it may until its result is known.

        Nobody waits for a place with a clone, whose lease would run out. After a restart those who
        have one already go first; all others in the order in which they came.
        """
        id = verification.change_set_id
        if not await self._store.read(partial(self._is_next, id)):
            return False
        self._places.add(id)
        return True

    def _is_next(self, id: str, tx: Transaction) -> bool:
        """Return whether one has a place, or is among the next ones to have one.

        Those whose change sets cannot be read get no further until somebody mends these: they
        neither hold a place nor stand in the way of one.
        """
        ahead = [one for one in tx.verifications.unfinished() if one.phase is not _Phase.CLEARING]
        holding = [one for one in ahead if one.clone_id or one.change_set_id in self._places]
        taken = {one.change_set_id for one in holding if _is_readable(one, tx)}
        waiting = (one for one in ahead if one.change_set_id not in taken)
        free = islice(
            (one.change_set_id for one in waiting if _is_readable(one, tx)),
            max(0, AT_ONCE - len(taken)),
        )
        return id in taken or id in free

    async def _again(self, change_set: ChangeSet, verification: Verification) -> Verification:
        """Give up a clone on which a play was cut short, and take another one, or no more."""
        if verification.restarts >= MOST_RESTARTS:
            why = "it was cut short again and again: the daemon ended, or could not write it down"
            return await self._conclude(change_set, verification, _Result.ERROR, why)
        await self._give_up(verification.clone_id)
        afresh = replace(
            verification,
            phase=_Phase.CLONING,
            clone_id=None,
            log="",
            attempts=verification.attempts + 1,
            restarts=verification.restarts + 1,
        )
        return await self._become(change_set, afresh, "begun again with another clone")

    async def _cloned(
        self, change_set: ChangeSet, verification: Verification
    ) -> tuple[Verification, Sandbox]:
        """Return the clone, asked for if it never was; its name is the same each time."""
        clones = self._with.clones()
        if verification.clone_id is not None:
            return verification, await clones.get(verification.clone_id)
        origin, user_data = await self._store.read(partial(origin_of, change_set))
        name = f"verify-{change_set.id.lower()}-{verification.attempts}"
        try:
            request = request_of(origin, user_data, change_set, name)
            clone = await clones.create(request, Intent(actor=ACTOR))
        except AlreadyExists:
            clone = await clones.get(name)
        named = replace(verification, clone_id=clone.id)
        return await self._become(change_set, named, f"on the clone {clone.id}"), clone

    async def _try(
        self, change_set: ChangeSet, verification: Verification, clone: Sandbox, boot: FirstBoot
    ) -> None:
        """Play on the clone and look at it, the newest record at hand whatever fails of the two."""
        playing = replace(verification, phase=_Phase.PLAYING)
        verification = await self._become(change_set, playing, "the play begins")
        try:
            trial, played = await self._play(change_set, clone)
        except (Unavailable, Conflict):
            raise
        except SandboxdError as error:
            await self._conclude(change_set, verification, _Result.ERROR, error.message)
            return
        said = replace(verification, phase=_Phase.COMPARING, log=played.log)
        verification = await self._become(change_set, said, "the play has ended")
        if not played.succeeded:
            result, reason = judged(_Result.FAILED, played.reason, boot)
            await self._conclude(change_set, verification, result, reason)
            return
        try:
            verification, result, reason = await self._judged(verification, trial)
        except (Unavailable, Conflict):
            raise
        except SandboxdError as error:
            result, reason = _Result.ERROR, error.message
        result, reason = judged(result, reason, boot)
        await self._conclude(change_set, verification, result, reason)

    async def _play(self, change_set: ChangeSet, clone: Sandbox) -> tuple[_Trial, Played]:
        around = self._with
        diff = await self._store.read(lambda tx: tx.diffs.get(change_set.diff_id))
        host = await self._store.read(lambda tx: tx.hosts.get(clone.host_id or ""))
        changed = await around.evidence.delta_of(diff)
        was, became = await around.evidence.manifests_of(diff)
        fresh = await around.onlooker.manifest_of(clone, host)
        directory = around.files.directory(change_set.job_id, change_set.id) / "ansible"
        played = await around.player.play(directory, clone, host)
        trial = _Trial(
            clone=clone,
            host=host,
            diff=diff,
            changed=changed,
            before=(was, fresh),
            became=became,
        )
        return trial, played

    async def _judged(
        self, verification: Verification, trial: _Trial
    ) -> tuple[Verification, VerificationResult, str | None]:
        around = self._with
        after = await around.onlooker.manifest_of(trial.clone, trial.host)
        reviews = await asyncio.to_thread(expected_reviews, trial.changed, around.contents)
        left = await asyncio.to_thread(
            remainders,
            trial.changed,
            before=trial.before,
            after=(trial.became, after),
            noise=around.evidence.noise_of(trial.diff),
            reviews=reviews,
        )
        wrong = [one for one in left if not one.reviewed]
        reason = None
        if wrong:
            first = wrong[0]
            reason = f"{len(wrong)} things differ; the first: {first.kind} {first.name!a} is "
            reason += first.difference
        result = _Result.FAILED if wrong else _Result.PASSED
        return replace(verification, remaining=left), result, reason

    async def _conclude(
        self,
        change_set: ChangeSet,
        verification: Verification,
        result: VerificationResult,
        reason: str | None,
    ) -> Verification:
        concluded = replace(verification, phase=_Phase.CLEARING, result=result, reason=reason)
        return await self._become(change_set, concluded, f"{result}: {reason or 'nothing differs'}")

    async def _clear(self, change_set: ChangeSet, verification: Verification) -> None:
        await self._give_up(verification.clone_id)
        done = replace(verification, phase=_Phase.DONE, ended_at=self._clock.now())
        await self._become(change_set, done, f"done: {verification.result}")

    async def _give_up(self, clone_id: str | None) -> None:
        """Wish a clone gone; the loop of all sandboxes sees to it."""
        if clone_id is not None:
            self._booting.pop(clone_id, None)
            try:
                await self._with.clones().destroy(clone_id, Intent(actor=ACTOR))
            except NotFound:
                return

    async def _become(
        self, change_set: ChangeSet, verification: Verification, message: str
    ) -> Verification:
        unit = partial(self._record, change_set, verification, message)
        doubtful = change_set.id in self._unanswered
        self._unanswered.discard(change_set.id)
        try:
            written = await self._store.submit(unit)
        except Unavailable as error:
            if doubtful or error.details.get("outcome") == "unknown":
                self._unanswered.add(change_set.id)
            raise
        except Conflict as error:
            if doubtful:
                raise  # a server may commit after it was read again: the record is newer now
            # Nobody else writes one that is unfinished: this was an older record of our own.
            raise RuntimeError(f"{change_set.id} was verified by an older record") from error
        self._told()
        return written

    def _record(
        self, change_set: ChangeSet, verification: Verification, message: str, tx: Transaction
    ) -> Verification:
        now = self._clock.now()
        written = tx.verifications.replace(replace(verification, updated_at=now))
        kind = f"change_set.verification_{written.phase.value.lower()}"
        tx.events.add(change_set_event(kind, change_set, message, at=now))
        return written


def _is_readable(verification: Verification, tx: Transaction) -> bool:
    try:
        tx.change_sets.get(verification.change_set_id)
    except Unreadable:
        return False
    return True
