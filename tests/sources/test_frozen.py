"""Which file of a source VM may be read, and when it was not left alone meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import DomainState, ForeignDisk, ForeignMachine, SourceVM
from scheduler.sources.frozen import Frozen, NotFrozen, frozen_disk, unchanged
from tests.clocks import START

SOURCE = SourceVM(
    id="SVM-1",
    name="golden",
    host_name="alpha",
    prepared=True,
    prepared_at=START,
    created_at=START,
    updated_at=START,
)
DISK = ForeignDisk(name="live.qcow2", path="/pool/live.qcow2", capacity_mb=64, fingerprint="1")
OFF = ForeignMachine(uuid="u", name="golden", state=DomainState.SHUT_OFF, disk=DISK)
SNAPPED = replace(
    OFF,
    state=DomainState.RUNNING,
    disk=replace(DISK, frozen="base.qcow2", frozen_at=int(START.timestamp()) + 5),
)


def why(machine: ForeignMachine, source: SourceVM = SOURCE) -> str:
    found = frozen_disk(machine, source)
    assert isinstance(found, NotFrozen)
    assert found.remedy
    return found.reason


def test_a_machine_that_is_off_gives_its_disk() -> None:
    assert frozen_disk(OFF, SOURCE) == Frozen(
        volume="live.qcow2", capacity_mb=64, what="its disk while it is off"
    )
    several = frozen_disk(replace(OFF, disks=3), SOURCE)
    assert isinstance(several, Frozen)
    assert several.what.endswith("the first of 3")


def test_one_that_runs_gives_what_a_snapshot_froze_since_its_preparation() -> None:
    found = frozen_disk(SNAPPED, SOURCE)
    assert isinstance(found, Frozen)
    assert found.volume == "base.qcow2"
    later = replace(SOURCE, prepared_at=START + timedelta(seconds=60))
    assert "older than its preparation" in why(SNAPPED, later)
    assert "older than its preparation" in why(SNAPPED, replace(SOURCE, prepared_at=None))


@given(st.sampled_from([state for state in DomainState if state is not DomainState.SHUT_OFF]))
def test_a_live_disk_is_never_given(state: DomainState) -> None:
    for machine in (OFF, SNAPPED):
        found = frozen_disk(replace(machine, state=state), SOURCE)
        assert not isinstance(found, Frozen) or found.volume != DISK.name
    assert "its live disk is never read" in why(replace(OFF, state=state))


def test_a_disk_of_no_pool_is_told() -> None:
    assert "no volume of its host's pool" in why(replace(OFF, disk=None))


def test_what_was_started_or_written_meanwhile_is_noticed() -> None:
    frozen = frozen_disk(OFF, SOURCE)
    assert isinstance(frozen, Frozen)
    assert unchanged(OFF, OFF, frozen)
    touched = replace(OFF, disk=replace(DISK, fingerprint="2"))
    started = replace(OFF, state=DomainState.RUNNING)
    for after in (None, touched, started, replace(OFF, disk=None)):
        assert not unchanged(OFF, after, frozen)
    layer = frozen_disk(SNAPPED, SOURCE)
    assert isinstance(layer, Frozen)
    written = replace(SNAPPED, disk=replace(SNAPPED.disk or DISK, fingerprint="9"))
    assert unchanged(SNAPPED, written, layer), "its live disk is nobody's business"
    assert not unchanged(SNAPPED, OFF, layer)
