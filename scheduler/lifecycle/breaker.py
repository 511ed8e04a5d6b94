"""Which hosts are kept from building for a while, because builds there keep failing.

A host has a breaker for each image and one for itself, which failures of several images open. An
image that fails on several hosts is blamed itself. Only a share of the fleet is ever barred, since
a fault of ours would look like theirs. What is open is part of the host's record; outcomes that
opened nothing are kept in memory, and a restart may forget them: it costs a few more builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.lifecycle.alternates import coming_up
from scheduler.lifecycle.steps import Barred, Become, ConditionKind, Relocate, Step
from scheduler.model import Breaker, Sandbox, SandboxState

HOST_FAILURES = frozenset({"build_failed", "start_failed"})
"""The ends of a try that a host is blamed for, when its calls were refused."""

MOST_OUTCOMES = 1000
MOST_BREAKERS = 32
"""Of one host; images are named by users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When a breaker opens, and for how long; seconds."""

    failures: int = 3
    """So many failed builds in a row open it."""
    window_seconds: float = 600
    """Older failures do not count."""
    first_pause_seconds: float = 60
    longest_pause_seconds: float = 1800
    share: float = 1 / 3
    """The part of the fleet that may be barred as a whole; one host always may."""

    def pause(self, openings: int) -> timedelta:
        """Return how long the breaker stays open that opened so often in a row."""
        doubled = self.first_pause_seconds * 2.0 ** min(openings - 1, 16)
        return timedelta(seconds=min(doubled, self.longest_pause_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one sandbox's build on one host ended; `failure` says why, None when it came up."""

    host_id: str
    image: str
    sandbox_id: str
    at: datetime
    failure: str | None


def outcome_of(before: Sandbox, step: Step, at: datetime) -> Outcome | None:
    """Return how the build of a sandbox ended by this step; None when it says nothing of a host."""
    failure = _failure(before) if _gave_up(step) else None
    if not coming_up(before) or (failure is None and not _came_up(step)):
        return None
    return Outcome(
        host_id=before.host_id or "",
        image=before.base_image,
        sandbox_id=before.id,
        at=at,
        failure=failure,
    )


def _gave_up(step: Step) -> bool:
    return isinstance(step, Relocate | Become) and step.reason_code in HOST_FAILURES


def _came_up(step: Step) -> bool:
    return isinstance(step, Become) and step.state in (SandboxState.RUNNING, SandboxState.STOPPED)


def _failure(sandbox: Sandbox) -> str | None:
    """Return what the host refused last; a guest that died by itself says nothing of its host."""
    failures = (one.message for one in sandbox.conditions if one.kind == ConditionKind.FAILING)
    return next(failures, None)


def remembered(
    past: Sequence[Outcome], outcome: Outcome, rules: BreakerRules
) -> tuple[Outcome, ...]:
    """Return the outcomes to keep, with one more.

    A sandbox fails a host once, however often that is told; success says something only after
    failures.
    """
    since = outcome.at - timedelta(seconds=rules.window_seconds)
    recent = tuple(one for one in past if since <= one.at <= outcome.at)
    told = any(
        (one.host_id, one.sandbox_id, one.failure is None)
        == (outcome.host_id, outcome.sandbox_id, outcome.failure is None)
        for one in recent
    )
    if told or (not recent and outcome.failure is None):
        return recent
    return (*recent, outcome)[-MOST_OUTCOMES:]


def tripped(
    past: Sequence[Outcome], latest: Outcome, rules: BreakerRules, *, barred: int, hosts: int
) -> tuple[str | None, ...]:
    """Return the images whose breakers on the host open after its latest failure; None for all.

    `barred` of all `hosts` are barred as a whole already.
    """
    here = [one for one in past if one.host_id == latest.host_id]
    same = [one for one in here if one.image == latest.image]
    suspects = set(_suspects(past))
    blamed = [one for one in _last_failures(here) if one.image not in suspects]
    several = len({one.image for one in blamed}) > 1
    room = barred < max(1, int(hosts * rules.share))
    if len(blamed) >= rules.failures and several and room:
        return (None,)
    return (latest.image,) if len(_last_failures(same)) >= rules.failures else ()


def _suspects(past: Sequence[Outcome]) -> Iterator[str]:
    """Yield the images that failed on more than one host since they last came up anywhere."""
    for image in {one.image for one in past}:
        failures = _last_failures([one for one in past if one.image == image])
        if len({one.host_id for one in failures}) > 1:
            yield image


def _last_failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the failures since the last success."""
    failures: list[Outcome] = []
    for one in reversed(outcomes):
        if one.failure is None:
            break
        failures.append(one)
    return failures


def opened(
    breakers: Iterable[Breaker],
    image: str | None,
    *,
    reason: str,
    now: datetime,
    rules: BreakerRules,
) -> tuple[Breaker, ...]:
    """Return a host's breakers with this one open, longer than the last time if it was before."""
    before = [one for one in breakers if one.image == image]
    openings = 1 + max((one.openings for one in before), default=0)
    fresh = Breaker(
        image=image,
        reason=reason,
        openings=openings,
        since=now,
        retry_at=now + rules.pause(openings),
    )
    others = [one for one in breakers if one.image != image]
    return (*others, fresh)[-MOST_BREAKERS:]


def admitted(
    breakers: Iterable[Breaker], sandbox: Sandbox, *, now: datetime, rules: BreakerRules
) -> tuple[Breaker, ...]:
    """Return a host's breakers after this sandbox's build was let through to see how it ends.

    Others are kept out meanwhile; should it never end, the next one is let through after a pause.
    """
    return tuple(
        replace(one, probe=sandbox.id, since=now, retry_at=now + rules.pause(one.openings))
        if one.concerns(sandbox.base_image)
        else one
        for one in breakers
    )


def barred(
    breakers: Iterable[Breaker], sandbox: Sandbox, *, host_name: str, now: datetime
) -> Barred | None:
    """Return why a host does not build this sandbox now; None when it does."""
    for one in breakers:
        if one.bars(sandbox.base_image, now) and one.probe != sandbox.id:
            what = "nothing" if one.image is None else f"nothing from {one.image}"
            return Barred(
                message=f"{host_name} builds {what} until {one.retry_at:%H:%M:%S} UTC: "
                f"too many builds failed there: {one.reason}",
                probing=one.probe is not None,
            )
    return None


def half_open(breakers: Iterable[Breaker], sandbox: Sandbox) -> bool:
    """Return whether a build of this sandbox, which is not barred, tells how a host is now."""
    return any(one.concerns(sandbox.base_image) and one.probe != sandbox.id for one in breakers)


def closed(breakers: Iterable[Breaker], image: str) -> tuple[Breaker, ...]:
    """Return a host's breakers after a sandbox of this image came up there."""
    return tuple(one for one in breakers if not one.concerns(image))


def probed(breakers: Iterable[Breaker], sandbox_id: str) -> tuple[Breaker, ...]:
    """Return the breakers through which this sandbox was let to see how it ends."""
    return tuple(one for one in breakers if one.probe == sandbox_id)
