"""What the shell offers on Tab: live names from the daemon, or silence.

A completion must never print, hang or fail: whatever goes wrong, nothing is offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import click
from click.shell_completion import CompletionItem

_SECONDS = 0.3
"""How long one answer may take ..."""
_IN_ALL_SECONDS = 1.0
"""... and all of them: nobody waits longer for a Tab."""
_MOST = 100
"""So many offers are enough: nobody reads more."""
_ID = re.compile(r"SBX-[0-9A-Z]*")


def complete_sandboxes(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer names and ids of live sandboxes."""
    prefix = incomplete if _ID.fullmatch(incomplete) else None
    offers = (
        CompletionItem(reference, help=box["state"])
        for box in _documents(ctx, "/v1/sandboxes", id_prefix=prefix)
        for reference in (box["sandbox_name"], box["id"])
    )
    return _fitting(offers, incomplete)


def complete_hosts(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of hosts."""
    found = _documents(ctx, "/v1/hosts", order_by="name")
    return _fitting((CompletionItem(one["name"], help=one["state"]) for one in found), incomplete)


def complete_images(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of images."""
    found = _documents(ctx, "/v1/images")
    return _fitting((CompletionItem(one["name"], help=one["state"]) for one in found), incomplete)


def complete_playbooks(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of playbooks."""
    found = _documents(ctx, "/v1/playbooks")
    return _fitting((CompletionItem(one["name"]) for one in found), incomplete)


def _fitting(offers: Iterator[CompletionItem], incomplete: str) -> list[CompletionItem]:
    return list(islice((one for one in offers if one.value.startswith(incomplete)), _MOST))


def _documents(ctx: click.Context, path: str, **query: object) -> Iterator[dict[str, str]]:
    """Yield what is listed, page by page for as long as somebody waits."""
    from scheduler.cli.client import Client
    from scheduler.cli.deadlines import Deadline
    from scheduler.cli.failures import Failure
    from scheduler.cli.session import socket_path

    named = ctx.find_root().params.get("socket_path")
    client = Client(socket_path(named), answer_seconds=_SECONDS, starting_seconds=0)
    patience = Deadline(_IN_ALL_SECONDS)
    with suppress(Failure, KeyError, TypeError):
        for document in client.items(path, query):
            if patience.passed:
                return
            yield document
