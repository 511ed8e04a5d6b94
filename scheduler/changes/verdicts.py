"""What is still different after a change set was applied to a fresh clone.

The clone must have become what the sandbox was. What differed before the play already, and is none
of the change set's business, says nothing of it: a sandbox is often used before the snapshot that
a diff begins at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from scheduler.changes import ansible
from scheduler.changes.delta import delta
from scheduler.changes.noise import FRESH_CLONE_NOISE, NoiseRules
from scheduler.changes.plans import Contents, Review, plan
from scheduler.model import Delta, Manifest, Remainder

Key = tuple[str, str]


def expected_reviews(changed: Delta, contents: Contents) -> tuple[Review, ...]:
    """Return what the Ansible role of a delta does not bring about, as its review file says."""
    wanted = plan(changed, contents)
    return (*wanted.reviews, *ansible.inexpressible(wanted))


def remainders(
    changed: Delta,
    *,
    before: tuple[Manifest, Manifest],
    after: tuple[Manifest, Manifest],
    noise: NoiseRules,
    reviews: Collection[Review],
) -> tuple[Remainder, ...]:
    """Return what differs, ordered; each pair is the sandbox's manifest and then the clone's.

    `before` is from before the change and before the play, `after` from after both.
    """
    rules = NoiseRules(
        paths=(*noise.paths, *FRESH_CLONE_NOISE), restless_services=noise.restless_services
    )
    concerned = {key for key, _, _ in _differences(changed)}
    differed = {key for key, _, _ in _differences(delta(*before, rules))} - concerned
    reviewed = {(one.kind, one.subject) for one in reviews}
    return tuple(
        Remainder(
            kind=key[0],
            name=key[1],
            difference=difference,
            reviewed=key in reviewed or ("package", package) in reviewed,
        )
        for key, difference, package in sorted(_differences(delta(*after, rules)))
        if key not in differed
    )


def _differences(found: Delta) -> Iterator[tuple[Key, str, str]]:
    """Yield what is different, how, and the package that explains it, if one does."""
    for file in found.files:
        yield ("path", file.path), _how(file.before, file.after), file.package or ""
    for package in found.packages:
        yield ("package", package.name), _how(package.before, package.after), ""
    for service in found.services:
        yield ("service", service.name), _how(service.before, service.after), ""


def _how(wanted: object, there: object) -> str:
    if there is None:
        return "missing"
    return "surplus" if wanted is None else "different"
