"""Snapshots and layers that somebody else is at: a hung call, or one of a daemon that died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import libvirt
import pytest

from scheduler.hosts import domains, snapshots, volumes
from scheduler.hosts.abilities import QEMU
from scheduler.hosts.failures import ObjectBusy
from scheduler.hosts.handles import Handle
from scheduler.hosts.plans import BaseImage
from tests.hosts.interleaved import Hook, interleaved, libvirt_error, raising
from tests.hosts.races import KEYRING, MIB, PLAN, UUID, other_fault

LAYER = "sbx-1-l1.qcow2"
NO_JOB = {"controlInfo": lambda _: [0, 0, 0], "jobInfo": lambda _: [0] * 12}
OFF = raising(libvirt_error(libvirt.VIR_FROM_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID))
LOCKED = raising(libvirt_error(libvirt.VIR_FROM_NONE, libvirt.VIR_ERR_OPERATION_TIMEOUT))


AT_WORK = pytest.mark.parametrize(
    "hooks",
    [
        {"controlInfo": lambda _: [libvirt.VIR_DOMAIN_CONTROL_JOB, 0, 61_000]},
        {"controlInfo": lambda _: [libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 0, 1]},
        {**NO_JOB, "jobInfo": LOCKED},
        {**NO_JOB, "jobInfo": lambda _: [libvirt.VIR_DOMAIN_JOB_UNBOUNDED, *[0] * 11]},
        {"controlInfo": OFF, "jobInfo": LOCKED},
    ],
)


@AT_WORK
def test_a_snapshot_that_is_being_made_is_not_taken_for_made(
    handle: Handle, domain: Callable[[], libvirt.virDomain], hooks: dict[str, Hook]
) -> None:
    domain().snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>", 0)
    at_work = interleaved(handle, hooks, abilities=QEMU)
    with pytest.raises(ObjectBusy, match="being made still"):
        snapshots.take(at_work, UUID, KEYRING, "s")


@pytest.mark.parametrize("hooks", [NO_JOB, {"controlInfo": OFF, "jobInfo": OFF}])
def test_a_snapshot_that_nobody_works_on_is_made(
    handle: Handle, domain: Callable[[], libvirt.virDomain], hooks: dict[str, Hook]
) -> None:
    domain().snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>", 0)
    hooks = {**hooks, "snapshotCreateXML": raising(other_fault())}
    assert snapshots.take(interleaved(handle, hooks, abilities=QEMU), UUID, KEYRING, "s") is False


def test_a_snapshot_whose_making_failed_meanwhile_is_made_anew(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    domain().snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>", 0)

    def fail(_method: object) -> object:
        domain().snapshotLookupByName("s").delete(0)
        domain().create()
        return [0] * 12

    failing = interleaved(handle, {**NO_JOB, "jobInfo": fail}, abilities=QEMU)
    assert snapshots.take(failing, UUID, KEYRING, "s") is True


def test_a_job_that_nobody_can_tell_of_is_told(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    domain().snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>", 0)
    broken = interleaved(handle, {"controlInfo": raising(other_fault())}, abilities=QEMU)
    with pytest.raises(libvirt.libvirtError, match="told so"):
        snapshots.take(broken, UUID, KEYRING, "s")


@AT_WORK
def test_a_layer_is_not_deleted_while_somebody_may_be_freezing_onto_it(
    handle: Handle,
    base: BaseImage,
    domain: Callable[[], libvirt.virDomain],
    hooks: dict[str, Hook],
) -> None:
    domain().create()
    volumes.create_overlay(handle, "default", LAYER, base, 64 * MIB)
    at_work = interleaved(handle, hooks, abilities=QEMU)
    with pytest.raises(ObjectBusy, match="worked on still"):
        snapshots.freeze(at_work, "default", UUID, KEYRING, LAYER)
    with pytest.raises(ObjectBusy, match="worked on still"):
        snapshots.settled_layer(at_work, UUID, KEYRING)
    assert volumes.find_volume(handle, "default", LAYER) is not None


def test_a_freeze_that_ended_as_it_was_asked_about_is_not_undone(
    handle: Handle, base: BaseImage, domain: Callable[[], libvirt.virDomain]
) -> None:
    """What the guest writes to is asked after the question whether anybody is at it."""
    volumes.create_overlay(handle, "default", LAYER, base, 64 * MIB)

    def ends(_method: object) -> object:
        domains.restate(handle, replace(PLAN, overlay=LAYER), KEYRING)
        return [0] * 12

    ending = interleaved(handle, {**NO_JOB, "jobInfo": ends}, abilities=QEMU)
    assert snapshots.freeze(ending, "default", UUID, KEYRING, LAYER) is False
    assert snapshots.settled_layer(ending, UUID, KEYRING) == LAYER
    assert volumes.find_volume(handle, "default", LAYER) is not None
