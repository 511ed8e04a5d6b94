"""Snapshots and layers by the port: one suite for the fake, the test driver and real hosts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from scheduler.errors import HostRefused
from scheduler.hosts import DomainPlan, ObjectAbsent, ObjectBusy, snapshots
from scheduler.hosts.handles import Handle
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.snapshots import IDLE_LOOKS, look_once_more
from scheduler.model import DomainState, VirtType
from tests.hosts.subjects import Subject, on_libvirt
from tests.waits import until_answer


async def state_of(subject: Subject, plan: DomainPlan) -> DomainState:
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    return found.state


async def test_a_snapshot_inside_the_disk_and_back_each_step_twice(subject: Subject) -> None:
    driver, plan = subject.driver, subject.plan()
    await subject.build(plan)
    for _ in range(2):
        assert await driver.take_snapshot(plan.uuid, "off") is False
    await driver.start(plan.uuid)
    for _ in range(2):
        assert await driver.take_snapshot(plan.uuid, "on") is True
    await driver.power_off(plan.uuid)
    for _ in range(2):
        await driver.revert_snapshot(plan.uuid, "on")
    assert await state_of(subject, plan) is DomainState.RUNNING
    await driver.revert_snapshot(plan.uuid, "off")
    assert await state_of(subject, plan) is DomainState.SHUT_OFF
    reverted = await driver.domain(plan.uuid)
    assert reverted is not None
    assert reverted.mark is not None
    for _ in range(2):
        await driver.delete_snapshot(plan.uuid, "off")
    with pytest.raises(ObjectAbsent, match="no snapshot off"):
        await driver.revert_snapshot(plan.uuid, "off")
    await driver.revert_snapshot(plan.uuid, "on")
    await driver.power_off(plan.uuid)
    await driver.undefine(plan.uuid)
    await driver.delete_snapshot(plan.uuid, "on")
    with pytest.raises(ObjectAbsent):
        await driver.take_snapshot(plan.uuid, "late")
    await driver.define(plan)
    with pytest.raises(ObjectAbsent, match="no snapshot on"):
        await driver.revert_snapshot(plan.uuid, "on")


async def test_layers_of_a_domain_that_is_off(subject: Subject) -> None:
    driver, plan = subject.driver, subject.plan()
    for asked in (driver.live_layer, driver.settled_layer):
        assert await asked(plan.uuid) is None
    await subject.build(plan)
    for asked in (driver.live_layer, driver.settled_layer):
        assert await asked(plan.uuid) == plan.overlay
    layer = f"{plan.name}-l1.qcow2"
    for _ in range(2):
        assert await driver.freeze(plan.uuid, layer) is False
    made = await driver.volume(layer)
    assert made is not None
    assert (made.backing or "").endswith(plan.overlay)
    assert await driver.live_layer(plan.uuid) == plan.overlay
    on_top = replace(plan, overlay=layer, layers=(plan.overlay,))
    for _ in range(2):
        await driver.restate(on_top)
    assert await driver.live_layer(plan.uuid) == layer
    await driver.start(plan.uuid)
    assert await state_of(subject, plan) is DomainState.RUNNING
    await driver.power_off(plan.uuid)
    with pytest.raises(ObjectAbsent, match="gone"):
        await driver.create_layer("x.qcow2", "gone.qcow2")
    aside = f"{plan.name}-l2.qcow2"
    for _ in range(2):
        await driver.create_layer(aside, plan.overlay)
    with pytest.raises(HostRefused):
        await driver.restate(stacked(plan, [plan.overlay, layer, aside]))
    assert await driver.live_layer(plan.uuid) == layer
    await driver.undefine(plan.uuid)
    await driver.restate(on_top)
    assert await driver.live_layer(plan.uuid) == layer


@pytest.mark.parametrize("runs", [False, True])
async def test_a_domain_stated_anew_carries_its_new_mark_at_once(
    subject: Subject, runs: bool
) -> None:
    driver, plan = subject.driver, subject.plan()
    await subject.build(plan)
    if runs:
        await driver.start(plan.uuid)
    anew = {**plan.mark_document, "volumes": {plan.overlay: "LAYER", "above <&> it": "OVERLAY"}}
    for _ in range(2):
        await driver.restate(replace(plan, mark_document=anew))
    found = await driver.domain(plan.uuid)
    assert found is not None
    assert found.mark is not None
    assert found.mark.document["volumes"] == anew["volumes"]
    await driver.power_off(plan.uuid)
    found = await driver.domain(plan.uuid)
    assert found is not None
    assert found.mark is not None
    assert found.mark.document["volumes"] == anew["volumes"]


async def test_layers_of_a_domain_that_runs(subject: Subject) -> None:
    driver, plan = subject.driver, subject.plan()
    await subject.build(plan)
    await driver.start(plan.uuid)
    names = [plan.overlay, *(f"{plan.name}-l{n}.qcow2" for n in range(1, 5))]
    if subject.virt_type is VirtType.TEST:
        with pytest.raises(HostRefused, match="cannot freeze"):
            await driver.freeze(plan.uuid, names[1])
        return
    for number in range(1, 5):
        for _ in range(2):
            assert await driver.freeze(plan.uuid, names[number]) is False
        await driver.restate(stacked(plan, names[: number + 1]))
    for asked in (driver.live_layer, driver.settled_layer):
        assert await asked(plan.uuid) == names[4]
    await merged(subject, plan, names[3], names[4], runs=True)
    assert await driver.flush(plan.uuid)
    await driver.restate(stacked(plan, [*names[:3], names[4]]))
    await driver.delete_volume(names[3])
    await merged(subject, plan, names[1], names[2], runs=True)
    await driver.restate(stacked(plan, [*names[:2], names[4]]))
    await driver.delete_volume(names[2])
    await driver.power_off(plan.uuid)
    await merged(subject, plan, names[0], names[1])
    assert await state_of(subject, plan) is DomainState.PAUSED
    await driver.power_off(plan.uuid)
    await driver.restate(stacked(plan, [names[0], names[4]]))
    await driver.delete_volume(names[1])
    await merged(subject, plan, names[0], names[4])
    await driver.power_off(plan.uuid)
    await driver.restate(stacked(plan, [names[4]]))
    await driver.delete_volume(names[0])
    await driver.start(plan.uuid)
    await driver.power_off(plan.uuid)
    await driver.undefine(plan.uuid)
    await driver.delete_volume(names[4])
    assert await driver.volumes_absent(names)


async def test_a_guest_stands_still_while_its_disk_is_written_down(subject: Subject) -> None:
    """A pause of ours that was cut short ends with the next call; anybody else's is left alone."""
    driver, plan = subject.driver, subject.plan()
    with pytest.raises(ObjectAbsent):
        await driver.flush(plan.uuid)
    await subject.build(plan)
    assert await driver.flush(plan.uuid), "what is off holds nothing in memory"
    await driver.start(plan.uuid)
    if isinstance(driver, LibvirtDriver):
        for cut_short in ("suspend", "resume"):
            await on_libvirt(driver, partial(_flush_cut_short, plan.uuid, cut_short))
            told = DomainState.PAUSED if cut_short == "resume" else DomainState.RUNNING
            assert await state_of(subject, plan) is told
            assert await driver.flush(plan.uuid)
            assert await state_of(subject, plan) is DomainState.RUNNING
    assert await driver.flush(plan.uuid)
    await subject.pause(plan.uuid)
    for _ in range(2):
        assert not await driver.flush(plan.uuid)
    assert await state_of(subject, plan) is DomainState.PAUSED


def _flush_cut_short(uuid: str, at: str, handle: Handle) -> None:
    """Do what a daemon has done that was killed at this call of its flush."""
    domain = handle.conn.lookupByUUIDString(uuid)
    snapshots._note(domain, "<pause/>")
    if at == "resume":
        domain.suspend()


async def test_what_ended_meanwhile_is_not_started_for_a_merge(subject: Subject) -> None:
    driver, plan = subject.driver, subject.plan()
    if subject.virt_type is VirtType.TEST:
        pytest.skip("its hosts merge nothing")
    await subject.build(plan)
    layer = f"{plan.name}-l1.qcow2"
    await driver.freeze(plan.uuid, layer)
    await driver.restate(stacked(plan, [plan.overlay, layer]))
    with pytest.raises(ObjectBusy, match="ended"):
        await driver.merge(plan.uuid, plan.overlay, layer, runs=True)
    assert await state_of(subject, plan) is DomainState.SHUT_OFF


async def test_domains_that_are_not_ours_are_not_frozen(subject: Subject) -> None:
    driver, uuid = subject.driver, "11111111-2222-4333-8444-555555555555"
    await subject.plant(uuid, "stranger", None)
    for attempt in (
        driver.take_snapshot(uuid, "s"),
        driver.revert_snapshot(uuid, "s"),
        driver.delete_snapshot(uuid, "s"),
        driver.freeze(uuid, "l.qcow2"),
        driver.merge(uuid, "a", "b", runs=False),
        driver.flush(uuid),
        driver.live_layer(uuid),
        driver.settled_layer(uuid),
    ):
        with pytest.raises(HostRefused, match="mark"):
            await attempt


def test_a_merge_that_shows_no_effect_is_looked_at_for_a_while() -> None:
    """A host says first that the job has ended, and then what has become of the disk."""
    begun = {"other": 0, "job": 0}
    for _ in range(IDLE_LOOKS):
        look_once_more("job", begun)
    with pytest.raises(HostRefused, match="gave up"):
        look_once_more("job", begun)
    assert begun == {"other": 0}, "and may be begun anew"


def stacked(plan: DomainPlan, names: list[str]) -> DomainPlan:
    """Return the plan whose disk consists of these layers, the live one last."""
    *below, live = names
    return replace(plan, overlay=live, layers=tuple(reversed(below)))


async def merged(
    subject: Subject, plan: DomainPlan, lower: str, upper: str, *, runs: bool = False
) -> None:
    async def done() -> bool:
        try:
            return await subject.driver.merge(plan.uuid, lower, upper, runs=runs)
        except HostRefused as error:
            # Looks in such haste may be over before a busy host says what became of the disk.
            if "gave up" not in error.message:
                raise
            return False

    await until_answer(done, seconds=240, what=f"{lower} and {upper} to be one")
