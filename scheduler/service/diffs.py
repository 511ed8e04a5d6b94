"""Diffs: what became different in a sandbox between two of its snapshots.

A diff is computed from the manifests that were taken with the snapshots, on a thread, and stored
with all it says: the same question has the same answer, even when the snapshots are gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from scheduler import ids
from scheduler.changes.delta import bounded, delta
from scheduler.changes.noise import DEFAULT_NOISE, NoiseRules
from scheduler.changes.summary import change_diff, commands_between
from scheduler.changes.unified import FileText, texts
from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound, Unavailable
from scheduler.guests.manifests import Manifests
from scheduler.model import Command, Delta, Diff, Event, Manifest, Sandbox, Snapshot
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import CreateDiff
from scheduler.service.sandboxes import by_reference
from scheduler.store import ListOptions, Page, Store, Transaction

MOST_COMMANDS = 10_000
_PAGE = 1000

Counted = Callable[[str, float | None], None]
"""Told how a diff ended, `computed`, `stored` or `failed`, and how long a computed one took."""


def _uncounted(_result: str, _seconds: float | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Two snapshots of a sandbox, whose manifests are there, and the commands run in it."""

    sandbox: Sandbox
    before: Snapshot
    after: Snapshot
    refs: tuple[str, str]
    commands: tuple[Command, ...]
    stored: Diff | None


class DiffService:
    """What owners ask about changes; `manifests` keeps what was seen of guests."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        manifests: Manifests | None,
        *,
        journal: Journal,
        most_changes: int,
        count: Counted = _uncounted,
    ) -> None:
        self._store = store
        self._clock = clock
        self._kept = manifests
        self._journal = journal
        self._most_changes = most_changes
        self._count = count

    async def create(self, reference: str, request: CreateDiff, intent: Intent[Diff]) -> Diff:
        """Return what changed from one snapshot to another, computed unless it is stored.

        Raises `NotFound` for unknown names, `Invalid` for patterns that are no good, and
        `Conflict` where no manifest was taken or code was made from another diff of the pair.
        """
        rules = DEFAULT_NOISE.with_paths(request.noise)
        pair = await self._store.read(partial(_pair, reference, request))
        noise = tuple(sorted({*request.noise}))
        inputs = sha256(json.dumps([*pair.refs, *noise]).encode()).hexdigest()
        if pair.stored is not None and pair.stored.inputs == inputs:
            diff = pair.stored
            self._count("stored", None)
        else:
            found = await self._computed(pair, rules)
            ran = commands_between(pair.commands, pair.before.created_at, pair.after.created_at)
            diff = Diff(
                id=ids.new_id(ids.Prefix.DIFF),
                sandbox_id=pair.sandbox.id,
                from_snapshot=pair.before.name,
                to_snapshot=pair.after.name,
                diff_json=change_diff(found, ran),
                created_at=self._clock.now(),
                noise=noise,
                inputs=inputs,
                delta=found,
                manifests=pair.refs,
            )
        stored = await self._store.submit(intent.once(partial(_record, diff, intent.actor)))
        self._journal.poke()
        return stored

    async def get(self, diff_id: str) -> Diff:
        """Return a diff; raises `NotFound`."""
        return await self._store.read(lambda tx: tx.diffs.get(diff_id))

    async def find(self, reference: str, options: ListOptions) -> Page[Diff]:
        """Return a page of a sandbox's diffs, without what each says of every path."""
        page = await self._store.read(
            lambda tx: tx.diffs.find(by_reference(reference, tx).id, options)
        )
        items = tuple(replace(diff, delta=None) for diff in page.items)
        return Page(items=items, next_cursor=page.next_cursor)

    async def texts(self, diff_id: str) -> tuple[FileText, ...]:
        """Return the changed text files of a diff line by line."""
        diff = await self.get(diff_id)
        manifests = self._manifests
        whole = diff.delta or Delta()
        return await manifests.work(lambda: tuple(texts(whole, manifests.contents.get)))

    @property
    def _manifests(self) -> Manifests:
        if self._kept is None:
            raise Unavailable(
                "this daemon keeps no manifests",
                remedy="ask the daemon that keeps the sandbox's state directory",
            )
        return self._kept

    async def _computed(self, pair: _Pair, rules: NoiseRules) -> Delta:
        begun_at = self._clock.monotonic()
        try:
            found = await self._delta(pair, rules)
        except Exception:
            self._count("failed", None)
            raise
        self._count("computed", self._clock.monotonic() - begun_at)
        return found

    async def _delta(self, pair: _Pair, rules: NoiseRules) -> Delta:
        before, after = [await self._manifests.get(ref) for ref in pair.refs]
        return await self._manifests.work(_compare, before, after, rules, self._most_changes)


def _compare(before: Manifest, after: Manifest, rules: NoiseRules, most: int) -> Delta:
    return bounded(delta(before, after, rules), most)


def _pair(reference: str, request: CreateDiff, tx: Transaction) -> _Pair:
    sandbox = by_reference(reference, tx)
    before = tx.snapshots.by_name(sandbox.id, request.from_snapshot)
    after = tx.snapshots.by_name(sandbox.id, request.to_snapshot)
    return _Pair(
        sandbox=sandbox,
        before=before,
        after=after,
        refs=(_ref(before), _ref(after)),
        commands=_commands(tx, sandbox.id),
        stored=_stored(tx, sandbox.id, before.name, after.name),
    )


def _ref(snapshot: Snapshot) -> str:
    if snapshot.manifest_ref is None:
        why = f": {snapshot.meta_json}" if snapshot.meta_json else ""
        raise Conflict(
            f"no manifest was taken with snapshot {snapshot.name}{why}",
            remedy="make one while the guest runs and answers SSH; a diff needs two of them",
            details={"snapshot": snapshot.name},
        )
    return snapshot.manifest_ref


def _stored(tx: Transaction, sandbox_id: str, one: str, other: str) -> Diff | None:
    try:
        return tx.diffs.between(sandbox_id, one, other)
    except NotFound:
        return None


def _commands(tx: Transaction, sandbox_id: str) -> tuple[Command, ...]:
    """Return the sandbox's commands, the newest ones if there are very many."""
    commands: list[Command] = []
    cursor: str | None = None
    while len(commands) < MOST_COMMANDS:
        page = tx.commands.find(sandbox_id, ListOptions(limit=_PAGE, cursor=cursor))
        commands += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(commands)


def _record(diff: Diff, actor: str, tx: Transaction) -> Diff:
    """Store a diff, and tell of it unless it, or one like it, was stored before."""
    known = _stored(tx, diff.sandbox_id, diff.from_snapshot, diff.to_snapshot)
    stored = tx.diffs.add(diff)
    if known is None or known.inputs != stored.inputs:
        _tell(stored, actor, tx)
    return stored


def _tell(diff: Diff, actor: str, tx: Transaction) -> None:
    changes = diff.delta or Delta()
    tx.events.add(
        Event(
            at=diff.created_at,
            kind="diff.computed",
            actor=actor,
            sandbox_id=diff.sandbox_id,
            reason_code="computed",
            message=f"diff from {diff.from_snapshot} to {diff.to_snapshot}",
            evidence={
                "diff_id": diff.id,
                "files": len(changes.files),
                "packages": len(changes.packages),
                "services": len(changes.services),
            },
        )
    )
