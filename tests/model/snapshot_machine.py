"""The same world with its eyes on snapshots: chains of them on one sandbox, refused and cut short.

Chance brings three refusals and then another wish together too seldom; here they come in a row.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from scheduler.lifecycle.snapshots import may_begin
from tests.model.books import Books
from tests.model.machine import FleetMachine, step
from tests.model.requests import Ask, Create, Snap

_MOST_REFUSALS = 4
"""One more than a step for a snapshot is tried."""
_SECONDS = 20
"""In which a wish is done, or given up after its pauses."""

Wish = Snap | Ask
_snaps = st.builds(
    Snap,
    verb=st.sampled_from(["make", "make", "go back", "delete"]),
    sandbox=st.just(0),
    name=st.integers(0, 3),
    external=st.sampled_from([True, True, True, False]),
)
_asks = st.builds(Ask, verb=st.sampled_from(["retry", "start", "stop"]), sandbox=st.just(0))
_wishes: st.SearchStrategy[list[tuple[Wish, int]]] = st.lists(
    st.tuples(st.one_of(_snaps, _snaps, _snaps, _asks), st.integers(0, _MOST_REFUSALS)),
    min_size=2,
    max_size=6,
)


class SnapshotMachine(FleetMachine):
    """See the module."""

    @step(wishes=_wishes)
    def be_served(self, wishes: list[tuple[Wish, int]]) -> None:
        self._wish([(wish, 0) for wish, _ in wishes])

    @step(wishes=_wishes)
    def be_refused(self, wishes: list[tuple[Wish, int]]) -> None:
        """Have machines refuse so many calls for each of some wishes that follow each other."""
        self._wish(wishes)

    @step(wishes=_wishes, moments=st.integers(1, 30))
    def die_meanwhile(self, wishes: list[tuple[Wish, int]], moments: int) -> None:
        """Kill the daemon at a commit or a call to come, in the first of the wishes or later."""
        self._box()
        self.cluster.daemon.life.fuse = moments
        self._wish(wishes)

    def _wish(self, wishes: list[tuple[Wish, int]]) -> None:
        box = self._box()
        for wish, refusals in wishes:
            for slot in self.cluster.slots.values():
                slot.refusing = refusals
            self._ask([replace(wish, sandbox=box)], {}, _SECONDS)

    def _box(self) -> int:
        """Return the number of a sandbox that rests or has failed, a new one if there is none."""
        cluster = self.cluster
        for _ in range(2):
            sandboxes = cluster.read(Books.read).sandboxes
            for number, id in enumerate(cluster.sandbox_ids):
                if id in sandboxes and may_begin(sandboxes[id], failed_too=True):
                    return number
            self._ask([Create(1000 + len(cluster.sandbox_ids), patience=600)], {}, 60)
        return 0
