"""A change set as files: the Ansible role, the Puppet module and what is left for review.

The same delta and contents give the same bytes. Nothing in a path comes from a guest: contents are
named after their digests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from scheduler.changes import ansible, puppet
from scheduler.changes.contents import Contents
from scheduler.changes.plans import Plan, Review, plan
from scheduler.changes.review import markdown
from scheduler.model import Delta

T = TypeVar("T")

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
REVIEW_FILE = "REVIEW.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTree:
    """Files by their path in the change set's directory."""

    files: Mapping[str, bytes]
    contents: Mapping[str, str]
    """Paths of what is copied as the guest held it, with the content's SHA-256."""
    reviews: tuple[Review, ...]
    """What the code does not say."""
    wishes: int
    """How many things the code brings about."""


def fault_of_name(name: str) -> str | None:
    """Return why neither role nor module can be called so, None when both can."""
    if not NAME.fullmatch(name):
        return "a name has lower-case letters, digits and '_', and begins with a letter"
    return puppet.fault_of_name(name)


def change_tree(delta: Delta, contents: Contents, *, name: str, title: str) -> ChangeTree:
    """Return the files that bring a machine from before a delta to after it.

    `name` is the role's and the module's and has no fault; `title` is ours, in ASCII.
    """
    wanted = plan(delta, contents)
    reviews = (*wanted.reviews, *ansible.inexpressible(wanted))
    return ChangeTree(
        files={
            **_under("ansible", ansible.files(wanted, name, title)),
            **_under("puppet", puppet.files(wanted, name, title)),
            REVIEW_FILE: markdown(title, delta, reviews, wanted.notes).encode("ascii"),
        },
        contents={
            **_under("ansible", ansible.contents(wanted, name)),
            **_under("puppet", puppet.contents(wanted, name)),
        },
        reviews=reviews,
        wishes=_wishes(wanted),
    )


def _under(directory: str, files: Mapping[str, T]) -> dict[str, T]:
    return {f"{directory}/{path}": content for path, content in files.items()}


def _wishes(wanted: Plan) -> int:
    packages = (wanted.absent_packages, wanted.purged_packages, wanted.packages)
    units = (wanted.ended, wanted.services)
    accounts = (wanted.made.groups, wanted.made.accounts)
    return sum(map(len, (*packages, *accounts, wanted.removed, wanted.paths, *units)))
