"""Our standard input on its way to a command, beside its output, for as long as either lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from scheduler.cli.failures import Failure
from scheduler.cli.paths import segment

if TYPE_CHECKING:
    from scheduler.cli.client import Client

PART_BYTES = 64 * 1024


class Feeding:
    """Sends what a file gives, on a thread that does not outlive us.

    Failures are not told: the command, which then is ended or has ended, has the reason.
    """

    def __init__(self, client: Client, command_id: str, source: IO[bytes]) -> None:
        self._client = client
        self._path = f"/v1/commands/{segment(command_id)}/input"
        self._source = source
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    @property
    def going_on(self) -> bool:
        """Return whether not all of it was sent."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Wait until all of it was sent, or it is not wanted any more."""
        self._thread.join()

    def _send(self) -> None:
        try:
            self._client.feed(self._path, self._parts())
        except Failure:
            return

    def _parts(self) -> Iterator[bytes]:
        while part := self._source.read(PART_BYTES):
            yield part
