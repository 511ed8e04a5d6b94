"""Where settings come from beside the file: the environment and systemd's credentials.

Both name a setting by section and key, `SANDBOXD_STORE__READ_ONLY` and `store__database_url`. Only
the environment is checked for unknown names: the credentials directory holds other secrets too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from scheduler.config.settings import Settings
from scheduler.validation.faults import Fault

PREFIX = "SANDBOXD_"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
LONGEST_VALUE = 64 * 1024

Layer = Mapping[str, Mapping[str, str]]
"""Section to key to value, as text."""


def keys() -> frozenset[tuple[str, str]]:
    """Return the section and key of every setting that is one value."""
    return frozenset(
        (section, key)
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type)
        for key in getattr(field.annotation, "model_fields", {})
    )


def from_environment(environ: Mapping[str, str]) -> tuple[Layer, tuple[Fault, ...]]:
    """Return the settings in the environment, and a fault for each name that is none.

    Names without a double underscore, such as the client's SANDBOXD_SOCKET, are not settings.
    """
    known = keys()
    layer: dict[str, dict[str, str]] = {}
    faults = []
    for name, value in sorted(environ.items()):
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not name.startswith(PREFIX) or not separator:
            continue
        if (section, key) in known:
            layer.setdefault(section, {})[key] = value
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
    layer: dict[str, dict[str, str]] = {}
    faults: list[Fault] = []
    if directory is None:
        return layer, ()
    for section, key in sorted(keys()):
        for read in _read(directory / f"{section}__{key}", faults):
            layer.setdefault(section, {})[key] = read
    return layer, tuple(faults)


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
