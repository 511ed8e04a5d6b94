"""api: any request, for what has no command and for scripts that want the API's own words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scheduler.cli.session import Session, Verb

if TYPE_CHECKING:
    from scheduler.cli.client import Answer

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


@click.command(cls=Verb)
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("-d", "--data", help="The JSON body; @FILE reads it from a file, @- from stdin.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header.")
def api(
    session: Session, *, method: str, path: str, data: str | None, headers: tuple[str, ...]
) -> None:
    """Send any request, such as GET /v1/hosts, and print the answer.

    It is JSON, or YAML with -o yaml. Errors are told and exit as in every other command.
    """
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise click.BadParameter("a path begins with '/' and is percent-encoded", param_hint="PATH")
    answer = session.client.request(
        method.upper(), path, body=_body(data), headers=dict(map(_header, headers))
    )
    _print(session, answer)


def _body(data: str | None) -> object:
    if data is None:
        return None
    try:
        text = _read(data.removeprefix("@")) if data.startswith("@") else data
        return json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot be read: {error}", param_hint="--data") from error
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint="--data") from error


def _read(path: str) -> str:
    return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip().isascii() or not text.isprintable():
        raise click.BadParameter(f"{text!r} is not NAME: VALUE", param_hint="--header")
    return name.strip(), value.strip()


def _print(session: Session, answer: Answer) -> None:
    if "json" in answer.headers.get("content-type", ""):
        session.printer.document(answer.document())
    elif answer.body:
        session.printer.lines(answer.body.decode("utf-8", "replace").splitlines())
