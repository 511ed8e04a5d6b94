"""All sandboxes are gone through once for an audit, however many hosts there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from scheduler.lifecycle.audit import compare
from scheduler.lifecycle.books import Books, Witnesses
from scheduler.model import Sandbox, SandboxState
from tests.lifecycle.samples import host, listing, sandbox
from tests.lifecycle.test_audit import BUILT, CLAIM


class Walked(dict[str, Sandbox]):
    """The live sandboxes, counting how often somebody goes through them all."""

    walks = 0

    def __iter__(self) -> Iterator[str]:
        self.walks += 1
        return super().__iter__()

    def keys(self) -> Any:
        self.walks += 1
        return super().keys()

    def values(self) -> Any:
        self.walks += 1
        return super().values()

    def items(self) -> Any:
        self.walks += 1
        return super().items()


def fleet(size: int) -> Books:
    """Return the books of so many hosts with a sandbox on each."""
    hosts = [host(id=f"HST-{n}") for n in range(size)]
    boxes = [
        sandbox(SandboxState.RUNNING, id=f"SBX-{n}", host_id=one.id) for n, one in enumerate(hosts)
    ]
    return Books(
        hosts=hosts,
        sandboxes=Walked({box.id: box for box in boxes}),
        allocations=[
            replace(CLAIM, sandbox_id=box.id, host_id=one.id)
            for box, one in zip(boxes, hosts, strict=True)
        ],
        volumes={
            one.id: (replace(BUILT, owner=box.id, host_id=one.id),)
            for box, one in zip(boxes, hosts, strict=True)
        },
        tombstones={},
    )


def walks(size: int) -> int:
    books = fleet(size)
    seen = Witnesses(latest=listing(begun_at=20), previous=listing(begun_at=10), age_seconds=3)
    witnesses = {one.id: seen for one in books.hosts}
    comparison = compare(books, witnesses, mutated_at=lambda _: None, stale_after_seconds=60)
    assert {one.sandbox_id for one in comparison.findings} == set(books.sandboxes)
    assert isinstance(books.sandboxes, Walked)
    return books.sandboxes.walks


def test_more_hosts_walk_through_all_sandboxes_no_oftener() -> None:
    assert walks(2) == walks(20)


def test_where_sandboxes_are_is_told_both_ways() -> None:
    books = fleet(2)
    unplaced = sandbox(SandboxState.CREATED, id="SBX-9", host_id=None)
    moving = replace(CLAIM, sandbox_id="SBX-0", host_id="HST-1")
    gone = replace(CLAIM, sandbox_id="SBX-8", host_id="HST-1")
    where = replace(
        books,
        sandboxes={**books.sandboxes, "SBX-9": unplaced},
        allocations=[*books.allocations, moving, gone],
    ).whereabouts()
    assert where.homes == {
        "SBX-0": {"HST-0", "HST-1"},
        "SBX-1": {"HST-1"},
        "SBX-9": frozenset(),
    }
    told = [
        {host_id: [box.id for box in boxes] for host_id, boxes in by_host.items()}
        for by_host in (where.recorded, where.held)
    ]
    assert told == [
        {"HST-0": ["SBX-0"], "HST-1": ["SBX-1"]},
        {"HST-0": ["SBX-0"], "HST-1": ["SBX-0", "SBX-1"]},
    ]
