"""From what a user typed to one sandbox: a full id, a unique prefix of one, or a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.paths import segment

if TYPE_CHECKING:
    from scheduler.cli.client import Client

Document = dict[str, Any]

_FULL_ID = re.compile(r"SBX-[0-9A-HJKMNP-TV-Z]{26}")
_ID_PREFIX = re.compile(r"SBX-[0-9A-HJKMNP-TV-Z]{0,25}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_CANDIDATES_SHOWN = 10


def find_sandbox(client: Client, reference: str) -> Document:
    """Return the sandbox meant; not found is exit 3, ambiguous is exit 2 with the candidates.

    A full id also finds what has been destroyed; names and prefixes mean live sandboxes.
    """
    upper = reference.upper()
    if _FULL_ID.fullmatch(upper):
        found: Document = client.get(f"/v1/sandboxes/{segment(upper)}")
        return found
    for query in _queries(reference):
        matches = list(client.items("/v1/sandboxes", query))
        if len(matches) == 1:
            return dict(matches[0])
        if matches:
            raise _ambiguous(reference, matches)
    raise Failure(
        f"no live sandbox has the name or id {reference!r}",
        exit_code=Exit.NOT_FOUND,
        hint="see them all: sandboxctl list",
    )


def _queries(reference: str) -> Iterator[dict[str, str]]:
    """Yield the searches that can find it; what can be neither name nor id is not asked for."""
    if _NAME.fullmatch(reference):
        yield {"name": reference}
    if _ID_PREFIX.fullmatch(reference.upper()):
        yield {"id_prefix": reference.upper()}


def _ambiguous(reference: str, matches: list[Document]) -> Failure:
    shown = [
        f"{box['id']}  {box['sandbox_name']}  {box['state']}" for box in matches[:_CANDIDATES_SHOWN]
    ]
    if len(matches) > _CANDIDATES_SHOWN:
        shown.append(f"and {len(matches) - _CANDIDATES_SHOWN} more")
    return Failure(
        f"{reference!r} is the beginning of {len(matches)} ids",
        exit_code=Exit.USAGE,
        reasons=tuple(shown),
        hint="give more of the id, or the name",
    )
