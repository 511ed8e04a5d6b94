"""What says where packages come from, and has to be there before any is asked for.

That is repositories, the keys that sign them, what is preferred, and how they are reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from scheduler.changes.plans import Plan, WantedPath

_PLACES = (
    *("/etc/apt/", "/usr/share/keyrings/"),
    *("/etc/yum.repos.d/", "/etc/yum/", "/etc/yum.conf/", "/etc/dnf/", "/etc/pki/rpm-gpg/"),
)


def split(plan: Plan) -> tuple[Plan, Plan]:
    """Return the paths that come before packages, as a plan of nothing else, and all the rest."""
    removed, directories = _parted(plan.removed), _parted(plan.directories)
    files, touched, links = _parted(plan.files), _parted(plan.touched), _parted(plan.links)
    first, rest = (
        replace(
            whole,
            removed=removed[place],
            directories=directories[place],
            files=files[place],
            touched=touched[place],
            links=links[place],
        )
        for place, whole in enumerate((Plan(package_manager=plan.package_manager), plan))
    )
    return first, rest


def _parted(paths: Iterable[WantedPath]) -> tuple[tuple[WantedPath, ...], tuple[WantedPath, ...]]:
    paths = tuple(paths)
    first = tuple(filter(_comes_first, paths))
    return first, tuple(one for one in paths if not _comes_first(one))


def _comes_first(one: WantedPath) -> bool:
    """Return whether packages need it; what they bring, or is in the way, is seen to after them."""
    return f"{one.path}/".startswith(_PLACES) and one.was is None and not one.brought
