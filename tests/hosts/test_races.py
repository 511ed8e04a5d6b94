"""What changes under our hands: others act on the host between two calls of one verb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import libvirt
import pytest

from scheduler.errors import HostRefused
from scheduler.hosts import Keyring, domains, volumes
from scheduler.hosts.abilities import QEMU
from scheduler.hosts.failures import ObjectAbsent
from scheduler.hosts.handles import Handle
from scheduler.hosts.inventory import find_domain
from scheduler.hosts.plans import BaseImage
from scheduler.model.observations import DomainState
from tests.hosts.interleaved import Hook, after, interleaved, libvirt_error, raising
from tests.hosts.races import KEYRING, MIB, PLAN, UUID, other_fault


def vanish(domain: Callable[[], libvirt.virDomain]) -> None:
    """Have the domain gone altogether."""
    if domain().isActive():
        domain().destroy()
    domain().undefine()


def state(handle: Handle) -> DomainState | None:
    found = find_domain(handle.conn, UUID, KEYRING)
    return None if found is None else found.state


def test_a_domain_that_somebody_started_first_is_started(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    raced = interleaved(handle, {"create": after(lambda: domain().create())})
    domains.start(raced, UUID, KEYRING)
    assert state(handle) is DomainState.RUNNING


@pytest.mark.parametrize(
    ("method", "verb"), [("shutdown", domains.shut_down), ("destroy", domains.power_off)]
)
def test_a_domain_that_stopped_first_is_stopped(
    handle: Handle,
    domain: Callable[[], libvirt.virDomain],
    method: str,
    verb: Callable[[Handle, str, Keyring], None],
) -> None:
    domain().create()
    verb(interleaved(handle, {method: after(lambda: domain().destroy())}), UUID, KEYRING)
    assert state(handle) is DomainState.SHUT_OFF


@pytest.mark.parametrize(
    ("method", "verb"), [("destroy", domains.power_off), ("undefineFlags", domains.undefine)]
)
def test_a_domain_that_is_gone_first_is_gone(
    handle: Handle,
    domain: Callable[[], libvirt.virDomain],
    method: str,
    verb: Callable[[Handle, str, Keyring], None],
) -> None:
    if method == "destroy":
        domain().create()
    verb(interleaved(handle, {method: after(lambda: vanish(domain))}), UUID, KEYRING)
    assert state(handle) is None


@pytest.mark.parametrize(
    ("method", "verb", "running"),
    [
        ("create", domains.start, False),
        ("shutdown", domains.shut_down, True),
        ("destroy", domains.power_off, True),
        ("undefineFlags", domains.undefine, False),
        ("lookupByUUIDString", domains.undefine, False),
    ],
)
def test_any_other_fault_is_told(
    handle: Handle,
    domain: Callable[[], libvirt.virDomain],
    method: str,
    verb: Callable[[Handle, str, Keyring], None],
    running: bool,
) -> None:
    if running:
        domain().create()
    with pytest.raises(libvirt.libvirtError, match="told so"):
        verb(interleaved(handle, {method: raising(other_fault())}), UUID, KEYRING)
    assert state(handle) is (DomainState.RUNNING if running else DomainState.SHUT_OFF)


def test_a_domain_that_goes_while_looked_at_is_absent(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    raced = interleaved(handle, {"XMLDesc": after(lambda: vanish(domain))})
    assert find_domain(raced.conn, UUID, KEYRING) is None


def test_a_look_that_fails_is_no_absence(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    del domain
    broken = interleaved(handle, {"XMLDesc": raising(other_fault())})
    with pytest.raises(libvirt.libvirtError, match="told so"):
        find_domain(broken.conn, UUID, KEYRING)


def test_a_host_that_changes_definitions_is_refused_and_left_clean(
    handle: Handle, base: BaseImage
) -> None:
    volumes.create_overlay(handle, "default", PLAN.overlay, base, 64 * MIB)

    def tamper(method: Callable[..., object], xml: str, flags: int) -> object:
        return method(xml.replace("sbx-1.qcow2", "../../etc/shadow"), flags)

    with pytest.raises(HostRefused, match=r"disks is .*etc/shadow"):
        domains.define(interleaved(handle, {"defineXMLFlags": tamper}), PLAN, KEYRING)
    assert state(handle) is None


def test_a_running_domain_is_never_redefined(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    domain().create()
    never = interleaved(handle, {"defineXMLFlags": raising(AssertionError("redefined"))})
    domains.define(never, PLAN, KEYRING)
    with pytest.raises(HostRefused, match="vCPUs is '1'"):
        domains.define(never, replace(PLAN, vcpus=2), KEYRING)


def test_a_stopped_domain_of_ours_is_defined_anew(
    handle: Handle, domain: Callable[[], libvirt.virDomain]
) -> None:
    domains.define(handle, replace(PLAN, vcpus=2), KEYRING)
    assert domain().vcpusFlags(libvirt.VIR_DOMAIN_VCPU_MAXIMUM) == 2


@pytest.mark.parametrize(
    ("hook", "filtered"),
    [
        (raising(libvirt_error(33, libvirt.VIR_ERR_NO_NWFILTER)), False),
        (raising(libvirt_error(33, libvirt.VIR_ERR_NO_SUPPORT)), False),
        (lambda _method, _name: object(), True),
    ],
)
def test_the_filter_is_used_where_the_host_knows_it(
    handle: Handle, base: BaseImage, hook: Hook, filtered: bool
) -> None:
    volumes.create_overlay(handle, "default", PLAN.overlay, base, 64 * MIB)
    pretending = interleaved(
        handle, {"nwfilterLookupByName": hook}, abilities=replace(QEMU, undefine_flags=0)
    )
    domains.define(pretending, PLAN, KEYRING)
    xml = handle.conn.lookupByUUIDString(UUID).XMLDesc(0)
    assert ("clean-traffic" in xml) is filtered


def test_a_host_that_cannot_tell_of_filters_is_not_defined_on(
    handle: Handle, base: BaseImage
) -> None:
    volumes.create_overlay(handle, "default", PLAN.overlay, base, 64 * MIB)
    broken = interleaved(handle, {"nwfilterLookupByName": raising(other_fault())}, abilities=QEMU)
    with pytest.raises(libvirt.libvirtError, match="told so"):
        domains.define(broken, PLAN, KEYRING)
    assert state(handle) is None


def test_a_twin_that_made_the_overlay_first_made_ours(handle: Handle, base: BaseImage) -> None:
    def twin() -> None:
        volumes.create_overlay(handle, "default", "x.qcow2", base, 64 * MIB)

    raced = interleaved(handle, {"createXML": after(twin)})
    volumes.create_overlay(raced, "default", "x.qcow2", base, 64 * MIB)


def test_an_overlay_that_could_not_be_made_is_told(handle: Handle, base: BaseImage) -> None:
    broken = interleaved(handle, {"createXML": raising(other_fault())})
    with pytest.raises(libvirt.libvirtError, match="told so"):
        volumes.create_overlay(broken, "default", "x.qcow2", base, 64 * MIB)


def test_an_overlay_that_is_gone_at_once_is_told(handle: Handle, base: BaseImage) -> None:
    def lose(method: Callable[..., libvirt.virStorageVol], *arguments: object) -> None:
        method(*arguments).delete(0)

    with pytest.raises(ObjectAbsent, match="gone already"):
        volumes.create_overlay(
            interleaved(handle, {"createXML": lose}), "default", "x.qcow2", base, 64 * MIB
        )


def test_a_torn_overlay_is_made_anew(handle: Handle, base: BaseImage) -> None:
    torn = volumes.NewVolume(name="x.qcow2", format="raw", capacity=1)
    handle.conn.storagePoolLookupByName("default").createXML(torn.xml(), 0)
    volumes.create_overlay(handle, "default", "x.qcow2", base, 64 * MIB)
    made = volumes.find_volume(handle, "default", "x.qcow2")
    assert made is not None
    assert (made.capacity, made.backing) == (64 * MIB, base.path)


def test_a_volume_that_is_gone_first_is_deleted(handle: Handle, base: BaseImage) -> None:
    volumes.create_overlay(handle, "default", "x.qcow2", base, 64 * MIB)
    raced = interleaved(
        handle, {"delete": after(lambda: volumes.delete_volume(handle, "default", "x.qcow2"))}
    )
    volumes.delete_volume(raced, "default", "x.qcow2")
    assert volumes.find_volume(handle, "default", "x.qcow2") is None


@pytest.mark.parametrize("method", ["storageVolLookupByName", "XMLDesc"])
def test_a_volume_that_cannot_be_looked_at_is_not_absent(handle: Handle, method: str) -> None:
    broken = interleaved(handle, {method: raising(other_fault())})
    with pytest.raises(libvirt.libvirtError, match="told so"):
        volumes.find_volume(broken, "default", "golden.qcow2")
    with pytest.raises(libvirt.libvirtError, match="told so"):
        volumes.all_absent(broken, "default", ["golden.qcow2"])


def test_a_volume_that_cannot_be_deleted_is_told(handle: Handle) -> None:
    broken = interleaved(handle, {"delete": raising(other_fault())})
    with pytest.raises(libvirt.libvirtError, match="told so"):
        volumes.delete_volume(broken, "default", "golden.qcow2")


def pool(handle: Handle) -> libvirt.virStoragePool:
    return handle.conn.storagePoolLookupByName("default")


def test_an_inactive_pool_proves_nothing_until_it_is_started(handle: Handle) -> None:
    pool(handle).destroy()
    with pytest.raises(HostRefused, match="not active"):
        volumes.find_volume(handle, "default", "golden.qcow2")
    volumes.start_pool(handle, "default")
    assert pool(handle).isActive()


def test_a_refresh_starts_an_inactive_pool(handle: Handle) -> None:
    pool(handle).destroy()
    volumes.refresh(handle, "default")
    assert pool(handle).isActive()


def test_a_pool_that_a_failed_refresh_stopped_is_started(handle: Handle) -> None:
    def fail(_method: object, *_arguments: object) -> None:
        pool(handle).destroy()
        raise other_fault()

    volumes.refresh(interleaved(handle, {"refresh": fail}), "default")
    assert pool(handle).isActive()


def test_a_failed_refresh_of_an_active_pool_is_told(handle: Handle) -> None:
    with pytest.raises(libvirt.libvirtError, match="told so"):
        volumes.refresh(interleaved(handle, {"refresh": raising(other_fault())}), "default")


@pytest.mark.parametrize(
    ("image_format", "capacity_mb", "why"),
    [("vmdk", 64, "format is vmdk"), ("qcow2", 0, "not believable")],
)
def test_an_image_is_judged_by_its_volume_where_its_bytes_cannot_be_read(
    handle: Handle, image_format: str, capacity_mb: int, why: str
) -> None:
    odd = volumes.NewVolume(name="odd", format=image_format, capacity=capacity_mb * MIB)
    pool(handle).createXML(odd.xml(), 0)
    with pytest.raises(HostRefused, match=why):
        volumes.inspect_base(handle, "default", "odd")


def test_a_name_that_nothing_can_have_is_no_image(handle: Handle) -> None:
    with pytest.raises(ObjectAbsent):
        volumes.inspect_base(handle, "default", "a\0b")
