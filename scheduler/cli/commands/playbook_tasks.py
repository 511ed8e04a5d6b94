"""playbook task: what a playbook does, step by step; tasks are called by number or id."""

from __future__ import annotations

import json
from typing import Any

import click

from scheduler.cli.completion import complete_playbooks
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import PAIR, given
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import playbooks

Document = dict[str, Any]


@click.group()
def task() -> None:
    """Tasks of a playbook, called by their number or id."""


_playbook_argument = click.argument(
    "playbook", metavar="PLAYBOOK", shell_complete=complete_playbooks
)
_task_argument = click.argument("reference", metavar="TASK")
_param_option = click.option(
    "--param", "texts", type=PAIR, multiple=True, help="A parameter that is text, as key=text."
)
_params_option = click.option(
    "--params", "document", metavar="JSON", help="Parameters of any kind, as a JSON object."
)
_literal_option = click.option(
    "--literal/--templates",
    default=None,
    help="The parameters are data, never evaluated; or may hold templates (the default).",
)


@task.command(cls=Verb)
@_playbook_argument
@click.argument("module", metavar="MODULE")
@click.option("--name", help="What it does, in words; the module's name unless given.")
@_param_option
@_params_option
@_literal_option
def add(
    session: Session,
    *,
    playbook: str,
    module: str,
    name: str | None,
    texts: tuple[tuple[str, str], ...],
    document: str | None,
    literal: bool | None,
) -> None:
    """Add a task that runs MODULE, such as ansible.builtin.copy, at the end of PLAYBOOK."""
    body = given(
        name=name or module, module=module, params=_params(texts, document), literal=literal
    )
    _print(session, session.client.post(f"{_path(playbook)}/tasks", body))


@task.command(cls=Verb)
@_playbook_argument
@_task_argument
@click.option("--name", help="What it does, in words.")
@click.option("--module", help="The module that it runs.")
@_param_option
@_params_option
@_literal_option
def edit(
    session: Session,
    *,
    playbook: str,
    reference: str,
    name: str | None,
    module: str | None,
    texts: tuple[tuple[str, str], ...],
    document: str | None,
    literal: bool | None,
) -> None:
    """Change TASK of PLAYBOOK; only what is named is changed, parameters all together."""
    changes = given(name=name, module=module, params=_params(texts, document), literal=literal)
    if not changes:
        raise click.UsageError("nothing to change; name at least one option")
    before = dict(session.client.get(_path(playbook)))
    path = f"{_path(playbook)}/tasks/{segment(_task(before, reference))}"
    _print(session, session.client.patch(path, changes, revision=before["revision"]))


@task.command(cls=Verb)
@_playbook_argument
@_task_argument
def remove(session: Session, *, playbook: str, reference: str) -> None:
    """Remove TASK from PLAYBOOK."""
    before = dict(session.client.get(_path(playbook)))
    path = f"{_path(playbook)}/tasks/{segment(_task(before, reference))}"
    answer = session.client.request("DELETE", path, headers=_if_match(before))
    _print(session, answer.document())


@task.command(cls=Verb)
@_playbook_argument
@click.argument("references", metavar="TASK...", nargs=-1, required=True)
def order(session: Session, *, playbook: str, references: tuple[str, ...]) -> None:
    """Give the tasks of PLAYBOOK the order in which all of them are named here."""
    before = dict(session.client.get(_path(playbook)))
    body = {"task_ids": [_task(before, reference) for reference in references]}
    answer = session.client.request(
        "PUT", f"{_path(playbook)}/tasks/order", body=body, headers=_if_match(before)
    )
    _print(session, answer.document())


def _params(texts: tuple[tuple[str, str], ...], document: str | None) -> Document | None:
    if document is None:
        return dict(texts) or None
    try:
        given_params = json.loads(document)
    except ValueError as error:
        raise click.BadParameter(f"--params is not JSON: {error}") from error
    if not isinstance(given_params, dict):
        raise click.BadParameter("--params is no JSON object")
    return {**given_params, **dict(texts)}


def _task(playbook: Document, reference: str) -> str:
    """Return the id of a task by its number, counted from 1, or its id."""
    tasks = playbook["tasks"]
    if reference.isascii() and reference.isdigit() and 1 <= int(reference[:9]) <= len(tasks):
        return str(tasks[int(reference) - 1]["id"])
    if reference.upper() in {one["id"] for one in tasks}:
        return reference.upper()
    raise Failure(
        f"playbook {playbook['name']} has no task {reference!r}",
        exit_code=Exit.NOT_FOUND,
        hint=f"see its tasks: sandboxctl playbook show {playbook['name']}",
    )


def _if_match(playbook: Document) -> dict[str, str]:
    return {"If-Match": f'"{playbook["revision"]}"'}


def _print(session: Session, found: Any) -> None:
    document = dict(found)
    session.printer.drawing(
        document,
        [one["id"] for one in document["tasks"]],
        lambda printer: playbooks.draw(printer, document),
    )


def _path(playbook: str) -> str:
    return f"/v1/playbooks/{segment(playbook)}"
