"""Takes one step of a source VM's preparation over SSH, and looks at one that is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.errors import GuestError, GuestUnreachable, GuestUntrusted
from scheduler.guests.execution import Result, run
from scheduler.guests.redaction import redacted
from scheduler.guests.source_scripts import ACCOUNT, SCRIPTS, STARTED
from scheduler.guests.source_ways import Entered, Place, SourceWays
from scheduler.model.commands import CommandStatus
from scheduler.sources.preparations import Secret, StepName

STEP_SECONDS = 60.0
OUTPUT_BYTES = 64 * 1024
PROOFS = 5
PAUSE_SECONDS = 0.5
"""How often a certificate is tried, and how far apart."""
_SAID_CHARACTERS = 500
_KINDS = frozenset(
    {
        *("machine_id", "host_key", "cloud_state", "authorized_keys", "private_key"),
        *("history", "credentials", "password", "cron"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of a step."""

    said: str
    secrets: tuple[Secret, ...] = ()
    cloud_init: bool = False


def arguments_of(step: StepName, place: Place, ways: SourceWays) -> tuple[str, ...]:
    """Return what a step's script is handed."""
    if step is StepName.AUTHORITY:
        return (ways.authority.public_key,)
    return (place.source.id,) if step is StepName.PRINCIPALS else ()


async def take_step(step: StepName, entered: Entered, user: str, *arguments: str) -> Taken:
    """Take a step over the operator's connection; raises `GuestError` with what went wrong."""
    shell = ("/bin/sh", "-s", "--", *arguments)
    argv = shell if user == "root" else ("sudo", "-n", "--", *shell)
    result = await run(
        entered.connection,
        argv,
        stdin=SCRIPTS[step].encode("ascii"),
        timeout_seconds=STEP_SECONDS,
        output_bytes=OUTPUT_BYTES,
    )
    lines = result.stdout.decode("utf-8", "replace").splitlines()
    if lines[:1] != [STARTED]:
        raise _not_root(result, user)
    if not result.ok:
        raise GuestError(
            _words(result) or f"the step {step} ended with {result.ended.exit_code}",
            remedy="put it right on the machine, and prepare it again",
        )
    if step is StepName.SURVEY:
        return _surveyed(lines[1:])
    return Taken(said=lines[-1])


async def prove(ways: SourceWays, place: Place) -> Taken:
    """Log in with a certificate, as the account that only looks; raises `GuestError`."""
    result = await _asked_who(ways, place)
    name = result.stdout.decode("utf-8", "replace").strip()
    if not result.ok or name != ACCOUNT:
        raise GuestError(
            f"a login as {ACCOUNT} could run nothing: {_words(result) or name or 'no answer'}",
            remedy=f"look at the login shell of {ACCOUNT} on the machine",
        )
    return Taken(said=f"logged in as {name}")


async def _asked_who(ways: SourceWays, place: Place) -> Result:
    """Return who a login is; tried again, since sshd reads its configuration in its own time."""
    for proof in range(1, PROOFS + 1):
        try:
            async with ways.as_onlooker(place) as entered:
                argv = ("id", "-un")
                return await run(entered.connection, argv, timeout_seconds=STEP_SECONDS)
        except GuestUntrusted:
            raise
        except GuestUnreachable:
            if proof == PROOFS:
                raise
        await ways.pause(PAUSE_SECONDS)
    raise AssertionError  # the last proof returns or raises


def _not_root(result: Result, user: str) -> GuestError:
    words = _words(result)
    if result.ended.status is not CommandStatus.EXITED:
        return GuestError(
            f"nothing was run on it: {result.ended.status.lower()}", remedy="prepare it again"
        )
    if user == "root":
        return GuestError(f"root's login runs no shell: {words}", remedy="look at its login shell")
    return GuestError(
        f"{user} cannot become root by sudo without a password: {words}",
        remedy=f"install sudo there and allow it for {user} (NOPASSWD), or log in as root",
    )


def _surveyed(lines: list[str]) -> Taken:
    found = [line.split("\t", 1) for line in lines if "\t" in line]
    secrets = {Secret(kind=kind, what=what) for kind, what in found if kind in _KINDS}
    listed = tuple(sorted(secrets, key=lambda one: (one.kind, one.what)))
    return Taken(
        said=f"{len(listed)} found", secrets=listed, cloud_init=["able", "cloud-init"] in found
    )


def _words(result: Result) -> str:
    """Return what a step said on standard error, in one short line without secrets."""
    text = redacted(result.stderr.decode("utf-8", "replace"))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _SAID_CHARACTERS else f"{text[:_SAID_CHARACTERS]}…"
