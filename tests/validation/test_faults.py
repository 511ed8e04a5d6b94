"""Faults tell where, what and what to do, bounded, and never what was sent."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scheduler.validation.faults import MOST_FAULTS, Fault, faults_of, path_of
from scheduler.validation.fields import Labels, Name, SshPublicKeys


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    count: Annotated[int, Field(gt=0, le=9)] = 1
    small: Annotated[float, Field(ge=0, lt=1)] = 0
    few: Annotated[list[int], Field(max_length=2)] = []
    labels: Labels = {}
    keys: SshPublicKeys = []


def faults(**fields: object) -> tuple[Fault, ...]:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate({"name": "alpha", **fields})
    return faults_of(refused.value.errors(include_url=False, include_input=False))


@pytest.mark.parametrize(
    ("fields", "path", "message", "remedy"),
    [
        ({"name": "A/B"}, "name", "the value has a character", "use 1 to 63 of a-z"),
        ({"nmae": 1}, "nmae", "there is no such field", "remove the field"),
        ({"name": 1}, "name", "input should be a valid string", "in double quotes"),
        ({"count": 0}, "count", "input should be greater than 0", "give more than 0"),
        ({"count": 10}, "count", "input should be less than", "give at most 9"),
        ({"count": "1"}, "count", "input should be a valid integer", "without quotes"),
        ({"small": -1.0}, "small", "input should be greater", "give at least 0"),
        ({"small": 1.0}, "small", "input should be less than 1", "give less than 1"),
        ({"few": [1, 2, 3]}, "few", "list should have at most", "give at most 2 items"),
        ({"labels": {"a b": "c"}}, "labels.a b", "the value has", "use 1 to 63"),
        ({"labels": {"a": "c d"}}, "labels.a", "the value has", "use at most 63"),
        ({"labels": 3}, "labels", "input should be a valid dict", "table"),
        ({"keys": ["ssh-dss x"]}, "keys[0]", "the key does not begin", "OpenSSH"),
    ],
)
def test_each_fault_has_path_message_and_remedy(
    fields: dict[str, object], path: str, message: str, remedy: str
) -> None:
    (fault,) = faults(**fields)
    assert fault.path == path
    assert fault.message.startswith(message)
    assert remedy in fault.remedy


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate({})
    assert faults_of(refused.value.errors()) == (
        Fault(path="name", message="the field is required", remedy="add the field"),
    )


def test_a_fault_of_an_unknown_kind_still_has_a_remedy() -> None:
    error = {"type": "recursion_loop", "loc": ("a", "b"), "msg": "Recursion error"}
    assert faults_of([error], skip=1) == (
        Fault(path="b", message="recursion error", remedy="correct the value"),
    )


def test_a_choice_is_told() -> None:
    error = {"type": "enum", "loc": ("a",), "msg": "No", "ctx": {"expected": "'x' or 'y'"}}
    assert faults_of([error])[0].remedy == "give 'x' or 'y'"


def test_a_boundless_input_makes_bounded_faults() -> None:
    errors = [{"type": "missing", "loc": (f"f{n}",), "msg": ""} for n in range(10_000)]
    assert len(faults_of(errors)) == MOST_FAULTS
    assert len(path_of(["x" * 10_000])) < 250


def test_paths_can_be_written_in_another_way() -> None:
    error = {"type": "missing", "loc": ("hosts", 1, "name"), "msg": ""}
    assert faults_of([error])[0].path == "hosts[1].name"
    assert faults_of([error], path=lambda parts: "/".join(map(str, parts)))[0].path == (
        "hosts/1/name"
    )
