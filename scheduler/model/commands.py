"""A command executed inside a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class CommandStatus(StrEnum):
    """RUNNING is durable before the first byte goes out; the others are final."""

    RUNNING = "RUNNING"
    EXITED = "EXITED"
    TIMED_OUT = "TIMED_OUT"
    KILLED = "KILLED"
    INTERRUPTED = "INTERRUPTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandExecRecord:
    """How a command was run; `timeout` in seconds.

    `redacted` tells what was taken out before anything was kept: where, and how often.
    """

    user: str | None = None
    work_dir: str | None = None
    timeout: float | None = None
    redacted: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = False
    """It ran on a terminal: what it wrote is one stream, with what steers a screen in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command and what became of it; `exit_code` and `ended_at` are null until known."""

    id: str
    sandbox_id: str
    command: str
    env_json: str | None = None
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    started_at: datetime
    ended_at: datetime | None = None
    metadata: CommandExecRecord | None = None
    status: CommandStatus = CommandStatus.EXITED
    truncated: bool = False
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    """What it wrote; what is kept of it may be less, and without its secrets."""
    actor: str = ""
    reason: str | None = None
    """Why it was interrupted, in words."""
    kill_requested_at: datetime | None = None
    kill_unconfirmed: bool = False
    """It was to be ended, and nothing proves that nothing of it runs in the guest any more."""

    @property
    def running(self) -> bool:
        """Return whether it has not ended, as far as anybody knows."""
        return self.status is CommandStatus.RUNNING


def text_of(output: bytes) -> str:
    """Return output as a text from which `bytes_of` gives back the same bytes."""
    return output.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Return the bytes that a command wrote."""
    return text.encode("utf-8", "surrogateescape")
