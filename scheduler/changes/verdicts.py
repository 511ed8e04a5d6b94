"""What is still different after a change set was applied to a fresh clone.

The clone must have become what the sandbox was. What differed before the play already, and is none
of the change set's business, says nothing of it: a sandbox is often used before the snapshot that
a diff begins at. What cannot be seen on the clone was not proven.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from scheduler.changes import ansible
from scheduler.changes.contents import Contents
from scheduler.changes.delta import Unseen, delta, otherwise, unread, untold
from scheduler.changes.file_attributes import differing
from scheduler.changes.noise import FRESH_CLONE_NOISE, NoiseRules
from scheduler.changes.plans import ALL, Review, plan
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
    left = dict.fromkeys(_unseen(changed, after[1], rules), ("not seen", ""))
    left |= {key: (how, package) for key, how, package in _differences(delta(*after, rules))}
    differed = {key for key, _, _ in _differences(delta(*before, rules))} - concerned
    reviewed = {(one.kind, one.subject) for one in reviews}
    return tuple(
        Remainder(
            kind=key[0],
            name=key[1],
            difference=difference,
            reviewed=key in reviewed or ("package", package) in reviewed,
        )
        for key, (difference, package) in sorted(left.items())
        if key not in differed
    )


def _unseen(changed: Delta, clone: Manifest, rules: NoiseRules) -> Iterator[Key]:
    """Yield what a delta changed, or may have, and a clone's manifest says nothing of."""
    there = {one.path: one for one in clone.entries}
    looked = Unseen(clone)
    for file in changed.files:
        entry = there.get(file.path)
        missing = entry is None and looked.covers(file.path)
        if rules.rule_for(file.path) is None and (missing or unread(file.after, entry)):
            yield "path", file.path
        if {*differing(file.before, file.after)} - {*clone.attributes}:
            yield "attributes", file.path
    yield from ((kind, ALL) for kind in map(untold, changed.unknown) if kind is not None)
    if clone.package_manager != changed.package_manager:
        yield from (("package", one.name) for one in changed.packages)
    if clone.service_manager != changed.service_manager:
        yield from (("service", one.name) for one in changed.services)


def _differences(found: Delta) -> Iterator[tuple[Key, str, str]]:
    """Yield what is different, how, and the package that explains it, if one does."""
    for file in found.files:
        if otherwise(file.before, file.after):
            yield ("path", file.path), _how(file.before, file.after), file.package or ""
        if differing(file.before, file.after):
            yield ("attributes", file.path), "different", file.package or ""
    for package in found.packages:
        yield ("package", package.name), _how(package.before, package.after), ""
    for service in found.services:
        yield ("service", service.name), _how(service.before, service.after), ""


def _how(wanted: object, there: object) -> str:
    if there is None:
        return "missing"
    return "surplus" if wanted is None else "different"
