"""A plane with a forge beside it, and a publisher that may die at any moment.

A death is an exception that nobody expects, at a point before or after something becomes durable,
here or there; whoever goes on afterwards is a new publisher that knows nothing but the store.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from scheduler.changes.publications import Rules
from scheduler.config.publishing import ForgeSection
from scheduler.control.publisher import Publisher
from scheduler.model import Event, Publication, PublicationStatus
from scheduler.publishing.access import Access
from scheduler.publishing.forge import Forge
from scheduler.publishing.forges import Forges
from scheduler.publishing.git import GitLimits, GitRepository
from scheduler.service.intents import Intent
from scheduler.service.requests import PublishChangeSet
from scheduler.store import Store, Transaction
from tests.clocks import ManualClock
from tests.publishing.house import House
from tests.service.planes import ME, Plane, database, plane

T = TypeVar("T")
MANY_STEPS = 60


class Died(Exception):
    """The daemon is dead."""


@dataclass
class Fuse:
    """The points that were reached, and the one at which it all ends."""

    at: int | None = None
    trace: list[str] = field(default_factory=list)

    def reached(self, point: str) -> None:
        self.trace.append(point)
        if self.at is not None and len(self.trace) == self.at:
            raise Died(point)


class Mortal:
    """Anything asynchronous, with a point before and after each call."""

    def __init__(self, inner: object, name: str, fuse: Fuse) -> None:
        self._inner = inner
        self._name = name
        self._fuse = fuse

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._inner, verb)
        if not inspect.iscoroutinefunction(call):
            return call

        async def fused(*arguments: Any, **named: Any) -> Any:
            self._fuse.reached(f"{self._name}.{verb}.before")
            answer = await call(*arguments, **named)
            self._fuse.reached(f"{self._name}.{verb}.after")
            return answer

        return fused


class MortalStore:
    """A store with a point before and after each commit."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._fuse = fuse
        self.read = store.read
        self._submit = store.submit

    async def submit(self, unit: Callable[[Transaction], T]) -> T:
        def written(tx: Transaction) -> T:
            result = unit(tx)
            self._fuse.reached("commit.before")
            return result

        result = await self._submit(written)
        self._fuse.reached("commit.after")
        return result


class MortalForges(Forges):
    """Forges whose adapters are fused."""

    fuse = Fuse()

    def adapter(self, repo_url: str) -> Forge:
        return cast(Forge, Mortal(super().adapter(repo_url), "forge", self.fuse))


@dataclass
class Desk:
    """What tests of publications work with."""

    plane: Plane
    house: House
    sections: tuple[ForgeSection, ...]
    state_dir: Path
    clock: ManualClock
    told: list[Publication] = field(default_factory=list)
    limits: GitLimits = field(default_factory=GitLimits)
    rules: Rules = field(default_factory=lambda: Rules(attempts=4))

    @asynccontextmanager
    async def repository(self, fuse: Fuse, access: Access) -> AsyncIterator[GitRepository]:
        async with GitRepository.opened(
            self.state_dir / "publishing", access, self.limits
        ) as there:
            yield cast(GitRepository, Mortal(there, "git", fuse))

    def publisher(self, fuse: Fuse | None = None) -> Publisher:
        """A new publisher, as after a start."""
        fuse = fuse or Fuse()
        forges = MortalForges(self.sections, self.clock)
        forges.fuse = fuse
        return Publisher(
            cast(Store, MortalStore(self.plane.store, fuse)),
            self.clock,
            forges=forges,
            repository=lambda access: self.repository(fuse, access),
            change_sets=self.state_dir / "changes",
            author=("sandboxd", "sandboxd@localhost"),
            rules=self.rules,
            changed=lambda _before, after: self.told.append(after),
        )

    def write_files(self, number: int = 1, job: str = "JOB-1") -> Path:
        """Lay down a change set's directory."""
        directory = self.state_dir / "changes" / job / f"CHG-{number}"
        (directory / "ansible").mkdir(parents=True)
        (directory / "ansible" / "site.yml").write_text(f"- hosts: all # {number}\n")
        (directory / "REVIEW.md").write_text("# Review\n")
        return directory

    async def wish(self, branch: str = "change/one", number: int = 1, **more: Any) -> Publication:
        """Ask for a publication over https."""
        body = {"repo_url": self.house.https(), "branch": branch} | more
        request = PublishChangeSet.model_validate(body)
        return await self.plane.services.publications.publish(
            f"CHG-{number}", request, Intent(actor=ME)
        )

    async def get(self, publication: Publication) -> Publication:
        return await self.plane.services.publications.get(publication.id)

    async def settle(
        self, publication: Publication, publisher: Publisher | None = None
    ) -> Publication:
        """Go on until somebody else must decide."""
        publisher = publisher or self.publisher()
        for _ in range(MANY_STEPS):
            pause = await publisher.publish(publication.id)
            now = await self.get(publication)
            if pause is None or now.status is PublicationStatus.PR_CREATED:
                return now
            self.clock.advance(pause)
        raise AssertionError(f"it never settles: {await self.get(publication)}")

    async def followed(self, publication: Publication) -> Publication:
        """Look at its open request once more."""
        publisher = self.publisher()
        self.clock.advance(await publisher.publish(publication.id) or 0.0)
        await publisher.publish(publication.id)
        return await self.get(publication)

    async def retry(self, publication: Publication) -> Publication:
        again = await self.plane.services.publications.retry(publication.id, Intent(actor=ME))
        return await self.settle(again)

    async def events(self, publication: Publication) -> list[Event]:
        found = await self.plane.store.read(lambda tx: tx.events.find(0))
        return [one for one in found if one.evidence.get("publication_id") == publication.id]


@asynccontextmanager
async def desk(directory: Path, house: House, clock: ManualClock) -> AsyncIterator[Desk]:
    """Open a plane that knows a house as its only forge."""
    kinds = {"GitHubDialect": "github", "GitLabDialect": "gitlab", "GiteaDialect": "gitea"}
    section = ForgeSection.model_validate(
        {
            "name": "forge",
            "kind": kinds[type(house.dialect).__name__],
            "url": house.url,
            "token_file": str(house.token_file),
            "ca_file": str(house.ca_file),
        }
    )
    house.repository()
    async with plane(database(directory), clock, forges=Forges((section,), clock)) as opened:
        await opened.change_set()
        made = Desk(
            plane=opened, house=house, sections=(section,), state_dir=directory, clock=clock
        )
        made.write_files()
        yield made
