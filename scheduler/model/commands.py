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
    """How a command was run; `timeout` in seconds."""

    user: str | None = None
    work_dir: str | None = None
    timeout: float | None = None
    redacted: Mapping[str, str] = field(default_factory=dict)


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
