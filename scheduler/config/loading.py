"""Puts the layers together and reports every fault at once.

What is nearer to the start of the process wins: the command line, the environment, credentials, the
file, the defaults. Nothing of a value is ever repeated in a fault, since it may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scheduler.config.file import Unreadable, read
from scheduler.config.hosts import duplicates
from scheduler.config.publishing import twins, with_credentials
from scheduler.config.settings import Settings
from scheduler.config.sources import Layer, credentials_of, from_credentials, from_environment
from scheduler.errors import Invalid
from scheduler.validation.faults import LONGEST_PATH, Fault, faults_of

DEFAULT_PATH = Path("/etc/sandboxd/config.toml")


class BadConfiguration(Invalid):
    """The configuration cannot be used; `faults` says everything that is wrong with it."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        lines = [f"{fault.path or source}: {fault.message}; {fault.remedy}" for fault in faults]
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            "\n  ".join([f"{source} has {count}:", *lines]),
            remedy="correct them; sandboxd --check-config looks without starting anything",
            details={fault.path or source: fault.message for fault in faults},
        )
        self.faults = tuple(faults)


def load(
    path: Path | None, *, state_dir: Path | None = None, environ: Mapping[str, str]
) -> Settings:
    """Return the settings of a file and the environment; raises `BadConfiguration`.

    Without a file the defaults make a working daemon. `state_dir` is the command line's: it moves
    everything that is not named elsewhere, the socket included, into that directory.
    """
    source = "the configuration" if path is None else _printable(str(path))
    try:
        document = {} if path is None else read(path)
    except Unreadable as error:
        raise BadConfiguration(source, [error.fault]) from None
    variables, unknown = from_environment(environ)
    credentials, unread = from_credentials(environ)
    data = _merged(_relocated(state_dir), document, credentials, variables, _named(state_dir))
    if "forges" in data:
        data["forges"] = with_credentials(data["forges"], credentials_of(environ))
    faults = [*unknown, *unread, *duplicates(data.get("hosts")), *twins(data.get("forges"))]
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        refused = faults_of(error.errors(include_url=False, include_input=False), path=path_of)
        raise BadConfiguration(source, [*refused, *faults]) from None
    if faults:
        raise BadConfiguration(source, faults)
    return settings


def path_of(location: Sequence[str | int]) -> str:
    """Return a location as `hosts.1.ratio_cpu`, fit for a terminal whatever the keys hold."""
    path = _printable(".".join(str(part) for part in location if part != "[key]"))
    return path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + "..."


def _relocated(state_dir: Path | None) -> Layer:
    """Return the defaults of a daemon that lives in a directory of its own, beside any other."""
    if state_dir is None:
        return {}
    return {
        "api": {"socket": str(state_dir.absolute() / "admin.sock"), "group": ""},
        "metrics": {"listen": "127.0.0.1:0"},
    }


def _named(state_dir: Path | None) -> Layer:
    return {} if state_dir is None else {"daemon": {"state_dir": str(state_dir.absolute())}}


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layers as one, later ones winning setting by setting."""
    merged: dict[str, Any] = {}
    for section, value in chain.from_iterable(layer.items() for layer in layers):
        below = merged.get(section)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = {**below, **value}
        merged[section] = value
    return merged


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
