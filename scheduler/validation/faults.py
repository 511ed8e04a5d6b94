"""Every fault of an input, told at once: where it is, what is wrong, what to do.

Nothing of the input is repeated but the path of the field, cut to a bounded length, so that
neither an answer nor a log line can be made long or dangerous by what somebody sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from scheduler.validation.fields import PATTERN_REMEDIES

MOST_FAULTS = 50
LONGEST_PATH = 200

_REMEDIES: Mapping[str, str] = {
    "missing": "add the field",
    "extra_forbidden": "remove the field, or correct its name",
    "string_type": "give a string in double quotes",
    "int_type": "give a whole number, without quotes",
    "int_from_float": "give a whole number",
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "float_type": "give a number, without quotes",
    "bool_type": "give true or false, without quotes",
    "list_type": "give an array",
    "tuple_type": "give an array (in TOML: one [[table]] each)",
    "dict_type": "give an object (in TOML: a table)",
    "model_attributes_type": "give an object (in TOML: a table)",
    "model_type": "give an object (in TOML: a table)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with an input."""

    path: str
    """Where: `vcpus`, `labels.team`, `ssh_public_keys[1]`; empty for the input as a whole."""
    message: str
    remedy: str


def faults_of(
    errors: Iterable[Mapping[str, Any]],
    *,
    skip: int = 0,
    path: Callable[[Sequence[str | int]], str] | None = None,
) -> tuple[Fault, ...]:
    """Translate pydantic's errors, leaving out the first `skip` parts of each location.

    `path` writes a location as its input's users know it; the default is `path_of`.
    """
    write = path_of if path is None else path
    first = islice(errors, MOST_FAULTS)
    return tuple(_fault(error, write(error["loc"][skip:])) for error in first)


def path_of(location: Sequence[str | int]) -> str:
    """Return a location as one would write it in a program: `labels.team`, `keys[1]`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + "..."


def _fault(error: Mapping[str, Any], path: str) -> Fault:
    kind = str(error["type"])
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        remedy = PATTERN_REMEDIES.get(pattern, f"give what matches {pattern}")
        return Fault(
            path=path, message="the value has a character or length it may not", remedy=remedy
        )
    if kind == "extra_forbidden":
        return Fault(path=path, message="there is no such field", remedy=_REMEDIES[kind])
    if kind == "missing":
        return Fault(path=path, message="the field is required", remedy=_REMEDIES[kind])
    return Fault(path=path, message=_sentence(str(error["msg"])), remedy=_remedy(kind, context))


def _remedy(kind: str, context: Mapping[str, Any]) -> str:
    if "remedy" in context:
        return str(context["remedy"])
    if kind in _REMEDIES:
        return _REMEDIES[kind]
    if "expected" in context:
        return f"give {context['expected']}"
    bounds = {
        "ge": "at least {}",
        "gt": "more than {}",
        "le": "at most {}",
        "lt": "less than {}",
        "max_length": "at most {} items",
    }
    for name, words in bounds.items():
        if name in context:
            return f"give {words.format(context[name])}"
    return "correct the value"


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]
