"""The daemon as its users run it: a process of its own, steered over its admin socket."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scheduler.cli.client import Client
from scheduler.cli.failures import Failure
from tests.fleet.process import Server, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]
START_LIMIT_S = 180.0
"""Imports alone take long on cores that many tests share."""


@dataclass
class Daemon:
    """One state directory and the daemon that runs on it; it may be killed and started again."""

    state_dir: Path
    config: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: Server | None = None
    module: str = "scheduler.daemon"
    """What is run; a proof may give one that runs the same daemon on parts that fail."""

    @property
    def socket(self) -> Path:
        return self.state_dir / "admin.sock"

    @property
    def log(self) -> Path:
        return self.state_dir.with_name("sandboxd.log")

    @property
    def api(self) -> Client:
        return Client(str(self.socket), answer_seconds=180)

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        argv = [sys.executable, "-m", self.module]
        argv += ["--config", str(self.config), "--state-dir", str(self.state_dir)]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "error"}
        environment["PYTHONFAULTHANDLER"] = "1"
        self.process = Server.start(
            [*argv, *self.arguments], log=self.log, environment=environment | self.environment
        )
        self.process.wait_until_ready(self.is_ready, limit_s=START_LIMIT_S)

    def kill(self) -> None:
        """End it as a power failure would."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def stop(self) -> int:
        """Ask it to end, and return its exit code; what it said last is shown if that is not 0."""
        if self.process is None:
            raise RuntimeError("the daemon does not run")
        ending, self.process = self.process, None
        ending.stop()
        if ending.exit_code:
            sys.stderr.write(self.log_tail())
        return ending.exit_code

    def is_ready(self) -> bool:
        try:
            self.api.get("/readyz")
        except Failure:
            return False
        return True

    def sandbox(self, reference: str) -> Document:
        """One sandbox as the API tells it."""
        answer: Document = self.api.get(f"/v1/sandboxes/{reference}")
        return answer

    def host(self, name: str) -> Document:
        """One host as the API tells it."""
        answer: Document = self.api.get(f"/v1/hosts/{name}")
        return answer

    def wait_for(self, reference: str, *, seconds: float = 180, **fields: object) -> Document:
        """Wait until the sandbox's fields have these values, and return it."""

        def holds() -> bool:
            now = self.sandbox(reference)
            return all(now[name] == value for name, value in fields.items())

        try:
            wait_until(holds, what=f"{reference} {fields}", limit_s=seconds, every_s=0.2)
        except TimeoutError as error:
            raise AssertionError(
                f"{error}: {self.sandbox(reference)}\n{self.log_tail()}"
            ) from error
        return self.sandbox(reference)

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def running(
    directory: Path,
    config: str,
    *arguments: str,
    module: str = "scheduler.daemon",
    **environment: str,
) -> Iterator[Daemon]:
    """Run a daemon with this configuration; it is ended whatever happens."""
    path = directory / "config.toml"
    path.write_text(config)
    daemon = Daemon(
        state_dir=directory / "state",
        config=path,
        arguments=arguments,
        environment=environment,
        module=module,
    )
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()
