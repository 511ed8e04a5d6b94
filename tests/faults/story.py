"""What a story consists of: what is there before, what is asked for, and how it must end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar
from uuid import uuid4

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.cluster import Cluster, Document
from tests.fleet.furniture import IMAGE
from tests.fleet.process import wait_until

LONG_S = 3600
"""A time that does not pass while a story is told."""
BOOTS_S = 180.0
CONVERGES_S = 60.0
"""The longest that a daemon may take to bring everything to rest."""
GUEST = {"base_image": IMAGE, "agent_id": "proof", "vcpus": 1, "memory_mb": 128, "storage_mb": 128}
BY_THE_WAY = frozenset(
    {
        "looks.seen",
        "clock_guard.follow",
        "console_keeper.write",
        "orphans.tell",
        "store.ping_writer",
    }
)
"""Commits of loops that go round in every story; few stories are about them."""
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class NeverReached(AssertionError):
    """The daemon lived: what was to kill it did not come to pass, or was past by then."""


class Story:
    """Told once, and after the daemon's death once more, request by request with the same keys."""

    converges_s: ClassVar[float] = CONVERGES_S
    too_late: ClassVar[frozenset[str]] = frozenset()
    """To which states the clock alone may bring what is made before the story begins."""
    calls_land_late: ClassVar[bool] = True
    """Whether a call that a frozen host carries out after the death does anything then."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._tale = uuid4().hex
        self._answers: dict[int, Document] = {}
        self._asked = 0

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        """Whether the nth commit or host call of this name belongs to the story."""
        return act not in BY_THE_WAY

    @classmethod
    def name(cls) -> str:
        """Its name in tables: `StopThenStart` is `stop then start`."""
        return _WORD.sub(" ", cls.__name__).lower()

    def prepare(self) -> None:
        """Bring about what is there before, with a daemon that lives."""

    def act(self) -> None:
        """Do what the daemon may die of, which then leaves the client without an answer."""

    def repeat(self) -> None:
        """Do it all again, as clients do that lost an answer."""
        self.rewind()
        self.act()

    def rewind(self) -> None:
        """Begin again with the first request's key."""
        self._asked = 0

    def is_done(self) -> bool:
        """Whether the story has come to its end."""
        return True

    def faults(self) -> Iterable[str]:
        """What is not as this story left it, beside what every audit looks for."""
        return ()

    def mend(self) -> None:
        """Undo, at the end, what the story itself broke on a host."""

    def clean_up(self) -> None:
        """Remove what the story made beside sandboxes."""

    def post(self, path: str, body: object = None) -> Document:
        """Ask for something under a key; what was answered before must be answered again."""
        self._asked += 1
        number = self._asked
        answer = self._send("POST", path, body, f"{self._tale}-{number}")
        first = self._answers.setdefault(number, answer)
        assert first == answer, f"{path} was answered {first} and then {answer}"
        return answer

    def delete(self, path: str) -> Document:
        """Ask for an end, which needs no key."""
        return self._send("DELETE", path)

    def patch(self, path: str, body: object) -> Document:
        """Ask for a change, of whichever revision there is."""
        return self._send("PATCH", path, body)

    def create(self, name: str, **fields: object) -> Document:
        """Ask for a small sandbox."""
        return self.post("/v1/sandboxes", {**GUEST, "sandbox_name": name, **fields})

    def created(self, name: str, state: str = "RUNNING", **fields: object) -> Document:
        """Make a small sandbox and wait until it is there."""
        body = {**GUEST, "sandbox_name": name, **fields}
        made: Document = self.cluster.api.post("/v1/sandboxes", body, wait=30)
        if made["state"] != state:  # a guest that boots takes longer than an answer may
            id, what = made["id"], f"{name}, {state}"
            due = {state, *self.too_late}
            wait_until(lambda: self.state(id) in due, what=what, limit_s=BOOTS_S)
            if self.state(id) != state:
                raise NeverReached(f"{what}: its time was over before it was seen")
        return made

    def sandbox(self, reference: str) -> Document:
        answer: Document = self.cluster.api.get(f"/v1/sandboxes/{reference}")
        return answer

    def state(self, reference: str) -> str:
        return str(self.sandbox(reference)["state"])

    def host(self, name: str) -> Document:
        answer: Document = self.cluster.api.get(f"/v1/hosts/{name}")
        return answer

    def _send(
        self, method: str, path: str, body: object = None, key: str | None = None
    ) -> Document:
        document: Document = self.cluster.api.request(method, path, body=body, key=key).document()
        return document


@contextmanager
def refused(code: Exit) -> Iterator[None]:
    """Take this refusal for an answer."""
    try:
        yield
    except Failure as failure:
        if failure.exit_code is not code:
            raise
