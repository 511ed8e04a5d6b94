"""Playbooks as files: a stored play is written as YAML, and such YAML becomes a play again.

An operator's parameters may be templates, as people who write playbooks expect; those of a literal
task are data and are never evaluated. Names of tasks are shown, not evaluated, so a template in one
is refused. What a stored play cannot express is refused with its place, never dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scheduler.changes.ansible_reading import Unreadable, read
from scheduler.changes.ansible_yaml import TEMPLATE_MARKS, Unsafe, as_data, is_template, write
from scheduler.errors import Invalid
from scheduler.model import PlaybookTask

MODULE = re.compile(r"[a-z_][a-z0-9_]{0,63}(\.[a-z_][a-z0-9_]{0,63}){2,4}")
"""A fully qualified name: `ansible.builtin.copy`, `community.general.ini_file`."""
TASK_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]{1,200}")
HOSTS = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9_.:*&!,\[\]-]{0,199}")
MOST_TASKS = 500
DEEPEST = 12

_REMEDY = "keep to one play of name, hosts, become and tasks, each a name and a module's parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """A task that is not stored yet."""

    name: str
    module: str
    params: Mapping[str, object]
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """A play that is not stored yet; `name` is what the text calls it, which may be anything."""

    name: str | None
    hosts: str
    become: bool
    tasks: tuple[PlannedTask, ...]


def render(name: str, hosts: str, become: bool, tasks: Iterable[PlaybookTask]) -> str:
    """Return a play as Ansible's YAML, its tasks in the order of their positions.

    Raises `Invalid` for what could be evaluated where data is meant, however it got there.
    """
    play: dict[str, object] = {"name": name, "hosts": hosts}
    if faulty := fault_of_hosts(hosts) or _fault_of_name(name):
        raise _invalid("the play", faulty)
    if become:
        play["become"] = True
    ordered = sorted(tasks, key=lambda task: task.position)
    play["tasks"] = [_task(number, task) for number, task in enumerate(ordered, 1)]
    return write([play])


def _task(number: int, task: PlaybookTask) -> dict[str, object]:
    if faulty := fault_of_task(task.name, task.module, task.params):
        raise _invalid(f"task {number}", faulty)
    params = as_data(dict(task.params)) if task.literal else dict(task.params)
    return {"name": task.name, task.module: params or None}


def fault_of_hosts(hosts: str) -> str | None:
    """Return what is wrong with the pattern of a play's hosts."""
    if HOSTS.fullmatch(hosts):
        return None
    return "hosts is no pattern of host names, such as all or web*"


def fault_of_task(name: str, module: str, params: object) -> str | None:
    """Return what is wrong with a task."""
    if not MODULE.fullmatch(module):
        return (
            f"{_shown(module)} is no fully qualified name of a module, such as ansible.builtin.copy"
        )
    return _fault_of_name(name) or fault_of_params(params)


def parse(text: str) -> Play:
    """Return the play that a playbook of one play consists of; raises `Invalid` with the place."""
    try:
        document = read(text)
    except Unreadable as error:
        raise _invalid("the text is not YAML that is read here", str(error)) from error
    if not isinstance(document, list) or len(document) != 1 or not isinstance(document[0], dict):
        raise _invalid("the text is not a list with one play", "")
    play = document[0]
    if unknown := sorted(map(_shown, play.keys() - {"name", "hosts", "become", "tasks"})):
        raise _invalid("the play has what is not kept here", ", ".join(unknown))
    name, hosts, become = play.get("name"), play.get("hosts", "all"), play.get("become", False)
    if not (name is None or isinstance(name, str)) or not isinstance(become, bool):
        raise _invalid("the play", "name is a string, and become true or false")
    if not isinstance(hosts, str) or fault_of_hosts(hosts):
        raise _invalid("the play", "hosts is a pattern of host names, such as all or web*")
    tasks = play.get("tasks") or []
    if not isinstance(tasks, list) or len(tasks) > MOST_TASKS:
        raise _invalid("the play", f"tasks is a list of at most {MOST_TASKS} tasks")
    return Play(
        name=name,
        hosts=hosts,
        become=become,
        tasks=tuple(_parsed_task(number, task) for number, task in enumerate(tasks, 1)),
    )


def _parsed_task(number: int, task: object) -> PlannedTask:
    place = f"task {number}"
    if not isinstance(task, dict) or not isinstance(task.get("name"), str):
        raise _invalid(place, "it is no mapping with a name")
    others = [key for key in task if key != "name"]
    if len(others) != 1:
        named = ", ".join(map(_shown, others)) or "no module"
        raise _invalid(place, f"beside its name it has one module and nothing else, not {named}")
    module, params = str(others[0]), task[others[0]]
    params = {} if params is None else params
    if faulty := fault_of_task(task["name"], module, params):
        raise _invalid(place, faulty)
    strings = list(_strings(params))
    literal = any(isinstance(text, Unsafe) for text in strings)
    if literal and any(is_template(text) and not isinstance(text, Unsafe) for text in strings):
        raise _invalid(place, "some of its parameters are !unsafe and others are templates")
    return PlannedTask(
        name=str(task["name"]), module=module, params=_plain_mapping(params), literal=literal
    )


def _fault_of_name(name: str) -> str | None:
    if not TASK_NAME.fullmatch(name):
        return "the name is empty, longer than 200 characters or has control characters"
    if is_template(name):
        return f"the name has {_mark(name)}, which Ansible would evaluate"
    return None


def fault_of_params(params: object) -> str | None:
    if not isinstance(params, Mapping):
        return "the parameters are no mapping"
    return _fault_of_value(params, DEEPEST)


def _fault_of_value(value: object, depth: int) -> str | None:
    if depth < 0:
        return f"the parameters are nested deeper than {DEEPEST}"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "a key of the parameters is no string"
        return _first_fault((*value.keys(), *value.values()), depth)
    if isinstance(value, list | tuple):
        return _first_fault(value, depth)
    if isinstance(value, str):
        halves = any("\ud800" <= character <= "\udfff" for character in value)
        return "a parameter has half of a surrogate pair" if halves else None
    if isinstance(value, float) and not math.isfinite(value):
        return "a parameter is a number that JSON does not have"
    if value is None or isinstance(value, bool | int | float):
        return None
    return f"a parameter is a {type(value).__name__}: write it in quotes"


def _first_fault(values: Iterable[object], depth: int) -> str | None:
    faults = (_fault_of_value(value, depth - 1) for value in values)
    return next((fault for fault in faults if fault), None)


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in (*value.keys(), *value.values()):
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _plain_mapping(params: Mapping[str, object]) -> dict[str, object]:
    return {str(key): _plain(value) for key, value in params.items()}


def _plain(value: object) -> object:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return _plain_mapping(value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def _mark(text: str) -> str:
    return next(mark for mark in TEMPLATE_MARKS if mark in text)


def _shown(text: object) -> str:
    """Return a word of somebody's text, short and without what a terminal would obey."""
    shown = ascii(str(text))
    return shown if len(shown) <= 60 else f"{shown[:56]}...'"


def _invalid(what: str, why: str) -> Invalid:
    return Invalid(f"{what}: {why}" if why else what, remedy=_REMEDY)
