"""Where settings come from beside the file: the environment and systemd's credentials.

Both name a setting by section and key, `SANDBOXD_STORE__READ_ONLY` and `store__database_url`, and
give it as text; a list is the array that the file would have. Only the environment is checked for
unknown names: the credentials directory holds other secrets too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_origin

from scheduler.config.settings import Settings
from scheduler.validation.faults import Fault

PREFIX = "SANDBOXD_"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
LONGEST_VALUE = 64 * 1024

Value = str | list[object]
Layer = Mapping[str, Mapping[str, Value]]
"""Section to key to value: as text, or a list of what it holds."""


def keys() -> Mapping[tuple[str, str], bool]:
    """Return the section and key of every setting in a section, and whether it is a list."""
    return {
        (section, key): get_origin(setting.annotation) is tuple
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type)
        for key, setting in getattr(field.annotation, "model_fields", {}).items()
    }


def from_environment(environ: Mapping[str, str]) -> tuple[Layer, tuple[Fault, ...]]:
    """Return the settings in the environment, and a fault for each name that is none.

    Names without a double underscore, such as the client's SANDBOXD_SOCKET, are not settings.
    """
    known = keys()
    layer: dict[str, dict[str, Value]] = {}
    faults: list[Fault] = []
    for name, value in sorted(environ.items()):
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not name.startswith(PREFIX) or not separator:
            continue
        if (section, key) in known:
            for given in _values(name, value, faults, is_list=known[section, key]):
                layer.setdefault(section, {})[key] = given
        else:
            faults.append(
                Fault(
                    path=name if name.isprintable() else ascii(name),
                    message="this variable names no setting",
                    remedy=f"unset it, or name a setting as {PREFIX}SECTION__KEY",
                )
            )
    return layer, tuple(faults)


def credentials_of(environ: Mapping[str, str]) -> Path | None:
    """Return where systemd puts its copies of the secrets that the unit names, if it does."""
    directory = environ.get(CREDENTIALS)
    return Path(directory) if directory else None


def from_credentials(environ: Mapping[str, str]) -> tuple[Layer, tuple[Fault, ...]]:
    """Return the settings that systemd hands over as files, and what is wrong with them."""
    directory = credentials_of(environ)
    layer: dict[str, dict[str, Value]] = {}
    faults: list[Fault] = []
    if directory is None:
        return layer, ()
    for (section, key), is_list in sorted(keys().items()):
        path = directory / f"{section}__{key}"
        for read in _read(path, faults):
            for given in _values(path.name, read, faults, is_list=is_list):
                layer.setdefault(section, {})[key] = given
    return layer, tuple(faults)


def _values(name: str, text: str, faults: list[Fault], *, is_list: bool) -> Iterator[Value]:
    """Yield what a text stands for, unless it is to be a list and is none."""
    if not is_list:
        yield text
        return
    try:
        document = tomllib.loads(f"value = {text.strip()}")
    except (ValueError, RecursionError):
        document = {}
    value = document.get("value")
    if isinstance(value, list) and len(document) == 1:
        yield value
        return
    faults.append(
        Fault(
            path=name,
            message="this is no array",
            remedy="""give it as in the file, such as '["/etc", "/srv"]'; none is '[]'""",
        )
    )


def _read(path: Path, faults: list[Fault]) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_VALUE + 1).decode()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        faults.append(
            Fault(
                path=path.name,
                message=f"the credential cannot be read: {reason}",
                remedy="check LoadCredential in the unit, and the file it names",
            )
        )
        return
    if len(text) > LONGEST_VALUE:
        faults.append(
            Fault(
                path=path.name,
                message=f"the credential is longer than {LONGEST_VALUE} bytes",
                remedy="check LoadCredential in the unit, and the file it names",
            )
        )
        return
    yield text.strip()
