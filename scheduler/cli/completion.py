"""What the shell offers on Tab: live names from the daemon, or silence.

A completion must never print, hang or fail: whatever goes wrong, nothing is offered.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

_SECONDS = 0.3


def complete_sandboxes(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer names and ids of live sandboxes."""
    found = _documents(ctx, "/v1/sandboxes")
    offers = [
        CompletionItem(reference, help=box["state"])
        for box in found
        for reference in (box["sandbox_name"], box["id"])
    ]
    return [offer for offer in offers if offer.value.startswith(incomplete)]


def complete_hosts(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of hosts."""
    found = _documents(ctx, "/v1/hosts")
    return [
        CompletionItem(host["name"], help=host["state"])
        for host in found
        if host["name"].startswith(incomplete)
    ]


def complete_images(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of images."""
    found = _documents(ctx, "/v1/images")
    return [
        CompletionItem(image["name"], help=image["state"])
        for image in found
        if image["name"].startswith(incomplete)
    ]


def complete_playbooks(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of playbooks."""
    found = _documents(ctx, "/v1/playbooks")
    return [
        CompletionItem(playbook["name"])
        for playbook in found
        if playbook["name"].startswith(incomplete)
    ]


def _documents(ctx: click.Context, path: str) -> list[dict[str, str]]:
    from scheduler.cli.client import Client
    from scheduler.cli.failures import Failure
    from scheduler.cli.session import socket_path

    named = ctx.find_root().params.get("socket_path")
    try:
        page = Client(socket_path(named), answer_seconds=_SECONDS).get(path, limit=200)
        return list(page["items"])
    except (Failure, KeyError, TypeError):
        return []
