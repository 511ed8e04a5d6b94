"""Option types and the groups of options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from scheduler.cli.completion import complete_hosts, complete_images, complete_sandboxes
from scheduler.cli.quantities import mebibytes_of, seconds_of

Function = TypeVar("Function", bound=Callable[..., Any])


class _Converted(click.ParamType[Any]):
    """A type whose text is converted by a function that raises ValueError."""

    def __init__(self, name: str, convert: Callable[[str], Any]) -> None:
        self.name = name
        self._convert = convert

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._convert(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"{text!r} is not of the form key=value")
    return key, value


def _past(text: str) -> datetime:
    return _moment(text, -1, "how long ago it was")


def _future(text: str) -> datetime:
    return _moment(text, 1, "how long it is until then")


def _moment(text: str, direction: int, how_long: str) -> datetime:
    now = datetime.now(UTC)
    try:
        return now + direction * timedelta(seconds=seconds_of(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no point in time; write {how_long}, like 15m, 2h or 1d12h, or the time"
            " itself, like 2026-01-05T12:00:00Z or '2026-01-05 13:00'"
        ) from None


def _number_or_past(text: str) -> int | datetime:
    return int(text) if text.isdecimal() and text.isascii() else _past(text)


DURATION = _Converted("duration", seconds_of)
SIZE = _Converted("size", mebibytes_of)
PAST = _Converted("time", _past)
"""A time, or how long ago; without an offset it is local, as times are shown."""
FUTURE = _Converted("time", _future)
"""A time, or how long until then."""
NUMBER_OR_PAST = _Converted("number or time", _number_or_past)
PAIR = _Converted("key=value", _pair)


def ssh_public_keys(paths: tuple[Path, ...]) -> list[str]:
    """Return the keys of these files; raises click's usage error for what holds none."""
    keys: list[str] = []
    for path in paths:
        text = text_of(path)
        if "PRIVATE KEY-----" in text:
            raise click.BadParameter(f"{path} is a private key; give the public one, {path}.pub")
        found = [line.strip() for line in text.splitlines()]
        found = [line for line in found if line and not line.startswith("#")]
        if not found:
            raise click.BadParameter(f"{path} holds no key")
        keys += found
    return keys


def text_of(path: Path) -> str:
    """Return a file's text; raises click's usage error for what is no text of UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}") from error


def sandbox_argument(*, many: bool = False) -> Callable[[Function], Function]:
    """Return the argument that names sandboxes by id, unique prefix or name."""
    return click.argument(
        "references" if many else "reference",
        metavar="SANDBOX..." if many else "SANDBOX",
        nargs=-1 if many else 1,
        required=True,
        shell_complete=complete_sandboxes,
    )


def host_argument() -> Callable[[Function], Function]:
    """Return the argument that names a host."""
    return click.argument("name", metavar="HOST", shell_complete=complete_hosts)


def wait_options(function: Function) -> Function:
    """Add `--no-wait` and `--timeout`."""
    function = click.option(
        "--timeout",
        "timeout_seconds",
        type=DURATION,
        help="Stop waiting after this long, with exit code 124; the work goes on.",
    )(function)
    return click.option(
        "--no-wait", is_flag=True, help="Return once it is accepted, without watching it."
    )(function)


def dry_run_option(function: Function) -> Function:
    """Add `--dry-run`."""
    return click.option(
        "--dry-run",
        is_flag=True,
        help="Show what would happen and what is in the way; change nothing.",
    )(function)


def yes_option(function: Function) -> Function:
    """Add `-y`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def placement_options(*, image_required: bool = True) -> Callable[[Function], Function]:
    """Add what a sandbox needs of a host."""
    image = "IMAGE" if image_required else "[IMAGE]"
    options = [
        click.argument(
            "image", metavar=image, required=image_required, shell_complete=complete_images
        ),
        click.option("--vcpus", type=click.IntRange(min=1), help="Virtual CPUs."),
        click.option("--memory", type=SIZE, metavar="SIZE", help="Memory, such as 4GiB."),
        click.option("--storage", type=SIZE, metavar="SIZE", help="Disk, such as 20GiB."),
        click.option("--network", help="The hosts' libvirt network to attach to."),
        click.option(
            "--host", help="Place it on this host or nowhere.", shell_complete=complete_hosts
        ),
        click.option(
            "--select", "selector", type=PAIR, multiple=True, help="Only hosts with this label."
        ),
        click.option(
            "--anti-affinity",
            metavar="GROUP",
            help="Never two sandboxes of this group on one host.",
        ),
    ]

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def placement_body(
    *,
    image: str | None,
    vcpus: int | None,
    memory: int | None,
    storage: int | None,
    network: str | None,
    host: str | None,
    selector: tuple[tuple[str, str], ...],
    anti_affinity: str | None,
) -> dict[str, Any]:
    """Return the request for what `placement_options` took; the daemon's defaults fill the rest."""
    return given(
        base_image=image,
        vcpus=vcpus,
        memory_mb=memory,
        storage_mb=storage,
        network=network,
        host=host,
        host_selector=dict(selector) or None,
        anti_affinity_group=anti_affinity,
    )


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given at all."""
    return {name: value for name, value in fields.items() if value is not None}
