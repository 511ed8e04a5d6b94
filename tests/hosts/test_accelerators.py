"""The proof of KVM: what counts as one, and for how long it is believed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from scheduler.errors import HostTimeout
from scheduler.hosts.abilities import TEST_IN_PROCESS
from scheduler.hosts.accelerators import (
    REPEAT_SECONDS,
    Accelerator,
    prove_virt_type,
    runs_to_its_end,
)
from scheduler.hosts.events import start_event_loop
from scheduler.hosts.handles import Handle, open_handle
from scheduler.hosts.identity import Identity
from scheduler.hosts.simulated import SimulatedHost, write_node_file
from scheduler.model.hosts import VirtType
from tests.clocks import ManualClock
from tests.hosts.interleaved import interleaved, libvirt_error, raising

DEAD = libvirt_error(libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR)


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[Handle]:
    start_event_loop()
    host = SimulatedHost(
        name="sim",
        cpus=1,
        memory_mb=1024,
    )
    made = open_handle(write_node_file(tmp_path, host), TEST_IN_PROCESS, None)
    yield made
    made.close()


def then(end: Callable[[libvirt.virDomain], object]) -> Callable[..., libvirt.virDomain]:
    """Return a hook that has the test driver run the probe, and ends it soon."""

    def create(
        method: Callable[[str, int], libvirt.virDomain], xml: str, _flags: int
    ) -> libvirt.virDomain:
        domain = method(xml.replace('type="kvm"', 'type="test"'), 0)
        threading.Thread(target=end, args=(domain,), daemon=True).start()
        return domain

    return create


@pytest.mark.parametrize(
    ("end", "seconds", "proven"),
    [
        (libvirt.virDomain.shutdown, 120, VirtType.KVM),
        (libvirt.virDomain.destroy, 120, VirtType.QEMU),
        (lambda _domain: None, 0.05, VirtType.QEMU),
    ],
    ids=["ends by itself", "is killed", "goes on"],
)
def test_only_a_machine_that_ends_by_itself_proves_kvm(
    handle: Handle,
    end: Callable[[libvirt.virDomain], object],
    seconds: float,
    proven: VirtType,
) -> None:
    hooked = interleaved(handle, {"createXML": then(end)})
    assert prove_virt_type(hooked, seconds=seconds) is proven
    assert handle.conn.listAllDomains(0) == []


def test_a_host_that_refuses_the_probe_has_no_kvm(handle: Handle) -> None:
    assert prove_virt_type(handle, seconds=1) is VirtType.QEMU


def test_a_lost_connection_proves_nothing(handle: Handle) -> None:
    lost = interleaved(handle, {"createXML": raising(DEAD), "isAlive": lambda _method: 0})
    with pytest.raises(libvirt.libvirtError):
        prove_virt_type(lost, seconds=1)


def test_a_probe_that_ends_while_it_is_removed_is_removed(handle: Handle) -> None:
    def gone(method: Callable[[], object]) -> object:
        method()
        raise libvirt_error(libvirt.VIR_FROM_TEST, libvirt.VIR_ERR_NO_DOMAIN)

    hooks = {"createXML": then(lambda _domain: None), "destroy": gone}
    assert not runs_to_its_end(interleaved(handle, hooks).conn, VirtType.KVM, 0.01)


def test_a_probe_that_cannot_be_removed_is_told(handle: Handle) -> None:
    hooks = {"createXML": then(lambda _domain: None), "destroy": raising(DEAD)}
    with pytest.raises(libvirt.libvirtError):
        runs_to_its_end(interleaved(handle, hooks).conn, VirtType.KVM, 0.01)


class Proofs:
    """Proofs in the order given; an exception is raised."""

    def __init__(self, *outcomes: VirtType | Exception) -> None:
        self._outcomes = list(outcomes)

    async def __call__(self) -> VirtType:
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def left(self) -> int:
        return len(self._outcomes)


def identity(host_uuid: str) -> Identity:
    return Identity(
        host_uuid=host_uuid,
        arch="x86_64",
        cpu_model=None,
        libvirt_version="9.0.0",
        hypervisor_version=None,
    )


async def test_a_proof_holds_for_as_long_as_the_host_is_the_same() -> None:
    clock = ManualClock()
    accelerator = Accelerator(clock)
    proofs = Proofs(VirtType.KVM, VirtType.QEMU)
    for _ in range(2):
        assert await accelerator.virt_type(identity("a"), proofs) is VirtType.KVM
        clock.advance(10 * REPEAT_SECONDS)
    assert proofs.left == 1
    assert await accelerator.virt_type(identity("b"), proofs) is VirtType.QEMU


async def test_the_absence_of_kvm_is_looked_at_again() -> None:
    clock = ManualClock()
    accelerator = Accelerator(clock)
    proofs = Proofs(VirtType.QEMU, VirtType.KVM)
    assert await accelerator.virt_type(identity("a"), proofs) is VirtType.QEMU
    clock.advance(REPEAT_SECONDS - 1)
    assert await accelerator.virt_type(identity("a"), proofs) is VirtType.QEMU
    clock.advance(1)
    assert await accelerator.virt_type(identity("a"), proofs) is VirtType.KVM


async def test_a_probe_that_times_out_twice_is_no_kvm() -> None:
    accelerator = Accelerator(ManualClock())
    proofs = Proofs(HostTimeout("first"), HostTimeout("second"))
    with pytest.raises(HostTimeout, match="first"):
        await accelerator.virt_type(identity("a"), proofs)
    assert await accelerator.virt_type(identity("a"), proofs) is VirtType.QEMU
