"""What callers may ask of playbooks: the JSON bodies, checked whole with every fault at once."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
)

from scheduler.changes.ansible_reading import MOST_CHARACTERS
from scheduler.changes.ansible_yaml import is_template
from scheduler.changes.plays import MOST_TASKS, fault_of_params
from scheduler.ids import Prefix
from scheduler.validation.fields import HOST_PATTERN, MODULE, TITLE, ObjectName, refusal

MOST_PARAMS_BYTES = 65536
MOST_SANDBOXES = 16
SANDBOX = r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$"
CHANGE_SET_ID = rf"^{Prefix.CHANGE_SET}-[0-9A-HJKMNP-TV-Z]{{1,26}}$"
TASK_ID = rf"^{Prefix.TASK}-[0-9A-HJKMNP-TV-Z]{{26}}$"


def _no_template(text: str) -> str:
    if is_template(text):
        raise refusal("the name holds a template, which Ansible would evaluate", "say it in words")
    return text


def _params(params: object) -> object:
    """Check before pydantic looks: what nests too deep must not be walked without end."""
    if isinstance(params, dict):
        if fault := fault_of_params(params):
            raise refusal(fault, "give an object of what JSON has")
        if len(json.dumps(params)) > MOST_PARAMS_BYTES:
            raise refusal(
                f"the parameters are more than {MOST_PARAMS_BYTES} bytes",
                "put large contents into a file and name that",
            )
    return params


HostPattern = Annotated[str, StringConstraints(pattern=HOST_PATTERN)]
ModuleName = Annotated[str, StringConstraints(pattern=MODULE)]
TaskName = Annotated[str, StringConstraints(pattern=TITLE), AfterValidator(_no_template)]
TaskId = Annotated[str, StringConstraints(pattern=TASK_ID)]
Params = Annotated[dict[str, JsonValue], BeforeValidator(_params)]


class _Request(BaseModel):
    """Refuses unknown fields and values of another JSON type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AddTask(_Request):
    """A task at the end of a playbook."""

    name: TaskName
    """What it does, for people."""
    module: ModuleName
    params: Params = Field(default_factory=dict)
    """The module's parameters; may hold templates unless `literal`."""
    literal: bool = False
    """The parameters are data: nothing in them is ever evaluated."""


class EditTask(_Request):
    """Changes to a task: only the fields that are given are changed."""

    name: TaskName | None = None
    module: ModuleName | None = None
    params: Params | None = None
    literal: bool | None = None


class OrderTasks(_Request):
    """All tasks of a playbook in the order they are to have."""

    task_ids: Annotated[list[TaskId], Field(max_length=MOST_TASKS)]


class CreatePlaybook(_Request):
    """A play, with tasks or without."""

    name: ObjectName
    hosts: HostPattern = "all"
    become: bool = False
    tasks: Annotated[list[AddTask], Field(max_length=MOST_TASKS)] = Field(default_factory=list)


class EditPlaybook(_Request):
    """Changes to a play: only the fields that are given are changed."""

    name: ObjectName | None = None
    hosts: HostPattern | None = None
    become: bool | None = None


class RunPlaybook(_Request):
    """On which sandboxes a playbook is to be played."""

    sandboxes: Annotated[
        list[Annotated[str, StringConstraints(pattern=SANDBOX)]],
        Field(min_length=1, max_length=MOST_SANDBOXES),
    ]
    """Names or ids of running ones."""
    check: bool = False
    """Change nothing: Ansible's --check."""
    timeout_seconds: Annotated[int, Field(ge=1, le=14400)] | None = None
    """For each sandbox, from the beginning of its play."""


class ImportChangeSet(_Request):
    """A change set's tasks as a playbook."""

    name: ObjectName
    change_set_id: Annotated[str, StringConstraints(pattern=CHANGE_SET_ID)]
    partial: bool = False
    """Leave out what a stored playbook cannot say, instead of refusing."""


class ImportPlaybook(_Request):
    """A playbook of one play as Ansible's YAML."""

    name: ObjectName
    """What it is called here, whatever the text calls it."""
    yaml: Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]
