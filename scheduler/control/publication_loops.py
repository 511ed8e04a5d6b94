"""The loops about publications: one worker a publication that is under way or followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Self

from scheduler.changes.publications import Rules
from scheduler.clock import Clock
from scheduler.config import Settings
from scheduler.control.bugs import BugReport
from scheduler.control.publisher import Publisher
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.model import Publication
from scheduler.publishing.forges import Forges
from scheduler.publishing.git import GitLimits, GitRepository
from scheduler.publishing.trees import Bounds
from scheduler.store import Store

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingPace:
    """How publications are carried out."""

    rules: Rules = field(default_factory=Rules)
    limits: GitLimits = field(default_factory=GitLimits)
    author: tuple[str, str] = ("sandboxd", "sandboxd@localhost")


def publishing_pace(settings: Settings) -> PublishingPace:
    """Return what a configuration asks for."""
    wanted = settings.publishing
    return PublishingPace(
        rules=Rules(
            attempts=wanted.attempts,
            poll_seconds=wanted.poll_seconds,
            follow_seconds=wanted.follow_seconds,
        ),
        limits=GitLimits(
            seconds=wanted.git_seconds,
            most_file_bytes=wanted.max_repository_mb * MIB,
            change_set=Bounds(
                most_files=wanted.max_files, most_bytes=wanted.max_change_set_mb * MIB
            ),
        ),
        author=(wanted.author_name, wanted.author_email),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Where change sets are and may go; `scratch` holds nothing that outlives a step."""

    change_sets: Path
    scratch: Path
    forges: Forges

    @classmethod
    def within(cls, state_dir: Path, forges: Forges) -> Self:
        """Return the places within a state directory."""
        return cls(
            change_sets=state_dir / "changes", scratch=state_dir / "publishing", forges=forges
        )

    @classmethod
    def nowhere(cls, clock: Clock) -> Self:
        """Return places that lead to no forge."""
        return cls.within(Path("/nonexistent"), Forges((), clock))


class PublicationLoops:
    """Works on publications by their id."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        publishing: Publishing,
        pace: PublishingPace,
        told: Callable[[], None],
        count: Callable[[str, str], None],
        report_bug: BugReport,
    ) -> None:
        self._scratch = publishing.scratch
        self.forges = publishing.forges
        self._told = told
        self._count = count
        self._publisher = Publisher(
            store,
            clock,
            forges=publishing.forges,
            repository=partial(GitRepository.opened, self._scratch, limits=pace.limits),
            change_sets=publishing.change_sets,
            author=pace.author,
            rules=pace.rules,
            changed=self._changed,
        )
        self._workers = Workers(
            "publish", self._publisher.publish, clock=clock, report_bug=report_bug
        )

    def wake(self, publication_id: str) -> None:
        """Work on a publication now."""
        self._workers.wake(publication_id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every worker is in its turn."""
        return self._workers.turns()

    async def resume(self) -> None:
        """Remove what a former daemon left half done, and go on with its publications."""
        rmtree(self._scratch, ignore_errors=True)
        for publication_id in await self._publisher.pending():
            self.wake(publication_id)

    async def run(self) -> None:
        """Run until stopped; steps in progress are finished first."""
        await self._workers.run()

    def stop(self) -> None:
        """Let every worker end after the step it is taking."""
        self._workers.stop()

    def _changed(self, before: Publication, after: Publication) -> None:
        self._told()
        if after.status is not before.status:
            self._count(self.forges.kind(after.forge), after.status.value)
