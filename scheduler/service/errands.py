"""Commands on their way into guests: what may not be written down, and what they say meanwhile.

Environment and input can be secrets, so no row has them: they wait in memory for the loop that the
row was committed for. A daemon that ends forgets them, and a row without one is never run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scheduler.clock import Clock
from scheduler.guests.execution import Order
from scheduler.guests.inflows import Inflow
from scheduler.guests.outputs import Bounded, Stream
from scheduler.guests.redaction import Redactor
from scheduler.guests.terminals import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a reader has come in both streams, in bytes as they are kept."""

    stdout: int = 0
    stderr: int = 0

    def after(self, stream: Stream, size: int) -> Mark:
        """Return the mark once `size` more bytes of a stream were read."""
        if stream is Stream.STDOUT:
            return Mark(stdout=self.stdout + size, stderr=self.stderr)
        return Mark(stdout=self.stdout, stderr=self.stderr + size)

    def of(self, stream: Stream) -> int:
        """Return how far the reader has come in a stream."""
        return self.stdout if stream is Stream.STDOUT else self.stderr


class LiveOutput:
    """What a running command has written: cleared of secrets, kept to the limit, all counted."""

    def __init__(self, limit_bytes: int, secrets: Collection[bytes] = ()) -> None:
        self._limit = limit_bytes
        self._redactors = {stream: Redactor(secrets) for stream in Stream}
        self._kept = {stream: Bounded(limit_bytes) for stream in Stream}
        self._written = dict.fromkeys(Stream, 0)
        self._grown = asyncio.Event()
        self._over = False

    def take(self, stream: Stream, data: bytes) -> None:
        """Take what the command wrote."""
        self._written[stream] += len(data)
        # Beyond the limit nothing is looked at any more: it is only counted.
        if self._kept[stream].total_bytes <= self._limit:
            self._keep(stream, self._redactors[stream].feed(data))

    def close(self) -> None:
        """Give up what was held back: nothing more comes. Closing again does nothing."""
        for stream in Stream:
            if self._kept[stream].total_bytes <= self._limit:
                self._keep(stream, self._redactors[stream].end())

    def over(self) -> None:
        """Let readers go: what became of the command is written down."""
        self._over = True
        self._tell()

    def kept(self, stream: Stream, offset: int = 0, most: int | None = None) -> bytes:
        """Return what is kept of a stream from an offset on."""
        return self._kept[stream].part(offset, most)

    def written_bytes(self, stream: Stream) -> int:
        """Return how much the command wrote, secrets included."""
        return self._written[stream]

    @property
    def kept_bytes(self) -> int:
        """Return how much is kept of both streams."""
        return sum(kept.kept_bytes for kept in self._kept.values())

    @property
    def truncated(self) -> bool:
        """Return whether anything was left out for its size."""
        return any(kept.truncated for kept in self._kept.values())

    def found(self) -> Mapping[str, str]:
        """Return how many secrets of each kind were taken out of each stream."""
        return {
            f"{stream}.{kind}": str(count)
            for stream, redactor in self._redactors.items()
            for kind, count in sorted(redactor.found.items())
        }

    async def beyond(self, mark: Mark, clock: Clock, seconds: float) -> None:
        """Wait until there is more than a reader has seen, or the end, or time is up."""
        if not self._over and not any(
            self._kept[stream].kept_bytes > mark.of(stream) for stream in Stream
        ):
            await clock.wait(self._grown, seconds)

    def _keep(self, stream: Stream, data: bytes) -> None:
        if data:
            self._kept[stream].take(data)
            self._tell()

    def _tell(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A command to be run, and where its output goes."""

    order: Order
    output: LiveOutput


class Errands:
    """Those of one daemon, by the command's id; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, Errand] = {}
        self._known: dict[str, Errand] = {}

    def put(self, errand: Errand) -> None:
        """Have an errand ready before its row is committed."""
        self._waiting[errand.order.id] = self._known[errand.order.id] = errand

    def take(self, command_id: str) -> Errand | None:
        """Return the errand, once only; None for a row that another daemon wrote."""
        return self._waiting.pop(command_id, None)

    def output(self, command_id: str) -> LiveOutput | None:
        """Return what a command that this daemon runs has written."""
        errand = self._known.get(command_id)
        return None if errand is None else errand.output

    def inflow(self, command_id: str) -> Inflow | None:
        """Return the input that a command of this daemon's waits for or reads, if it does."""
        errand = self._known.get(command_id)
        return None if errand is None else errand.order.inflow

    def terminal(self, command_id: str) -> Terminal | None:
        """Return the terminal of a command of this daemon's, if it runs on one."""
        errand = self._known.get(command_id)
        return None if errand is None else errand.order.terminal

    def drop(self, command_id: str) -> None:
        """Forget an errand: it is over and written down, or was never committed."""
        self._waiting.pop(command_id, None)
        errand = self._known.pop(command_id, None)
        if errand is not None:
            errand.output.over()
            if errand.order.inflow is not None:
                errand.order.inflow.end()
            if errand.order.terminal is not None:
                errand.order.terminal.end()
