"""The domain's definition: by libvirt's own schema, and never more devices than were planned."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from scheduler.errors import Invalid
from scheduler.hosts.accelerators import probe_xml
from scheduler.hosts.domain_xml import Disk, Machine, domain_xml
from scheduler.hosts.marks import ELEMENT, Keyring
from scheduler.hosts.plans import DomainPlan
from scheduler.hosts.readback import differences
from scheduler.model.hosts import VirtType

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
UUID = "118918d4-1948-5170-83c1-c35854a3d51b"
MARK = Keyring([b"k" * 32], "c").sign({"sandbox_id": "SBX-1", "domain_uuid": UUID})

PLAN = DomainPlan(
    uuid=UUID,
    name="sbx-1",
    vcpus=2,
    memory_mb=512,
    mac="52:54:00:a3:d5:1b",
    network="default",
    virt_type=VirtType.QEMU,
    pool="default",
    overlay="sbx-1.qcow2",
    seed="sbx-1-seed.iso",
    mark_document={"sandbox_id": "SBX-1", "domain_uuid": UUID},
)
MACHINE = Machine(
    arch="x86_64",
    libvirt_release=(9, 0, 0),
    disk=Disk(
        path="/images/sbx-1.qcow2",
        format="qcow2",
        backing=(("/images/golden.qcow2", "qcow2"),),
    ),
    seed=Disk(path="/images/sbx-1-seed.iso", format="raw"),
    network_filter=True,
    mark_xml=MARK,
)
DEVICES = [
    "disk",
    "disk",
    "controller",
    "interface",
    "serial",
    "console",
    "channel",
    "memballoon",
    "rng",
]

ISOLATED = replace(PLAN, isolated=True)

anything = st.text(
    st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60
) | st.sampled_from(
    [
        "'/><disk type='file'><source file='/etc/shadow'/></disk>",
        "</name><devices><hostdev/></devices><name>",
        "]]><!--",
        "&xxe;",
        "../../etc/passwd",
        "x y;rm -rf $(id)",
    ]
)


@cache
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMA))


@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "s390x"])
@pytest.mark.parametrize("virt_type", [VirtType.KVM, VirtType.QEMU])
@pytest.mark.parametrize("seeded", [True, False])
def test_the_definition_obeys_libvirts_schema(arch: str, virt_type: VirtType, seeded: bool) -> None:
    machine = replace(MACHINE, arch=arch, seed=MACHINE.seed if seeded else None)
    xml = domain_xml(replace(PLAN, virt_type=virt_type), machine)
    schema().assertValid(etree.fromstring(xml))


def test_the_probe_obeys_libvirts_schema() -> None:
    schema().assertValid(etree.fromstring(probe_xml("probe", VirtType.KVM)))


@given(name=anything, network=anything, path=anything, seed=anything, base=anything)
def test_no_text_becomes_a_device(name: str, network: str, path: str, seed: str, base: str) -> None:
    plan = replace(PLAN, name=name, network=network)
    machine = replace(
        MACHINE,
        disk=replace(MACHINE.disk, path=path, backing=((base, "qcow2"),)),
        seed=Disk(path=seed, format="raw"),
    )
    domain = etree.fromstring(domain_xml(plan, machine))
    devices = domain.find("devices")
    assert devices is not None
    assert [device.tag for device in devices] == DEVICES
    assert domain.findtext("name") == name
    sources = [source.get("file") for source in domain.iter("source") if source.get("file")]
    assert sources == [path, base, seed]
    assert differences(etree.tostring(domain, encoding="unicode"), plan, machine) == ()


@pytest.mark.parametrize("field", ["name", "network", "pool", "overlay", "seed"])
@pytest.mark.parametrize("text", ["a\0b", "a\nb", "\x1b[2J", "\u202e", ""])
def test_a_plan_holds_printable_names_only(field: str, text: str) -> None:
    with pytest.raises(Invalid, match=field):
        replace(PLAN, **{field: text})  # type: ignore[arg-type]


def test_every_layer_states_its_format_and_the_chain_ends() -> None:
    domain = etree.fromstring(domain_xml(PLAN, MACHINE))
    disk, seed = domain.findall("devices/disk")
    assert [driver.get("type") for driver in domain.iter("driver")] == ["qcow2", "raw"]
    assert [layer.get("type") for layer in disk.iter("format")] == ["qcow2"]
    for element in (disk.find("backingStore"), seed):
        assert element is not None
        (end,) = element.findall("backingStore")
        assert len(end) == 0
        assert not end.attrib
    assert seed.find("readonly") is not None
    assert disk.find("readonly") is None


def test_nothing_listens_and_nothing_is_shared() -> None:
    domain = etree.fromstring(domain_xml(PLAN, MACHINE))
    for tag in ("graphics", "sound", "video", "hostdev", "filesystem", "redirdev", "shmem"):
        assert domain.find(f"devices/{tag}") is None


@pytest.mark.parametrize(
    ("virt_type", "mode", "cached"),
    [
        (VirtType.KVM, "host-passthrough", None),
        (VirtType.QEMU, "maximum", "64"),
        (VirtType.TEST, None, None),
    ],
)
def test_cpu_and_translation_cache_fit_the_hypervisor(
    virt_type: VirtType, mode: str | None, cached: str | None
) -> None:
    domain = etree.fromstring(domain_xml(replace(PLAN, virt_type=virt_type), MACHINE))
    cpu = domain.find("cpu")
    assert (None if cpu is None else cpu.get("mode")) == mode
    assert domain.findtext("features/tcg/tb-cache") == cached


def test_an_old_libvirt_is_not_told_of_the_translation_cache() -> None:
    domain = etree.fromstring(domain_xml(PLAN, replace(MACHINE, libvirt_release=(7, 10, 0))))
    assert domain.find("features/tcg") is None


def test_the_filter_is_named_only_where_the_host_has_it() -> None:
    with_filter = etree.fromstring(domain_xml(PLAN, MACHINE))
    without = etree.fromstring(domain_xml(PLAN, replace(MACHINE, network_filter=False)))
    reference = with_filter.find("devices/interface/filterref")
    assert reference is not None
    assert reference.get("filter") == "clean-traffic"
    assert without.find("devices/interface/filterref") is None


def test_an_isolated_port_is_planned_and_missed_when_the_host_drops_it() -> None:
    isolated = etree.fromstring(domain_xml(ISOLATED, MACHINE))
    schema().assertValid(isolated)
    port = isolated.find("devices/interface/port")
    assert port is not None
    assert port.get("isolated") == "yes"
    assert differences(etree.tostring(isolated, encoding="unicode"), ISOLATED, MACHINE) == ()
    (found,) = differences(domain_xml(PLAN, MACHINE), ISOLATED, MACHINE)
    assert "interfaces is" in found
    assert etree.fromstring(domain_xml(PLAN, MACHINE)).find("devices/interface/port") is None


def test_the_mark_stands_in_the_metadata() -> None:
    domain = etree.fromstring(domain_xml(PLAN, MACHINE))
    mark = domain.find(f"metadata/{ELEMENT}")
    assert mark is not None
    assert mark.text == etree.fromstring(MARK).text


@pytest.mark.parametrize(
    ("path", "attribute", "value", "words"),
    [
        (".", "type", "kvm", "type is 'kvm'"),
        ("uuid", None, "other", "uuid is 'other'"),
        ("name", None, "other", "name is 'other'"),
        ("vcpu", None, "4", "vCPUs is '4'"),
        ("memory", None, "1024", "memory is 1073741824"),
        (f"metadata/{ELEMENT}", None, "{}", "mark is '{}'"),
        ("devices/disk/source", "file", "/etc/shadow", "disks is"),
        ("devices/disk/driver", "type", "raw", "disks is"),
        ("devices/disk/backingStore/source", "file", "/etc/shadow", "disks is"),
        ("devices/disk/backingStore/format", "type", "raw", "disks is"),
        ("devices/interface/mac", "address", "52:54:00:00:00:00", "interfaces is"),
        ("devices/interface/source", "network", "other", "interfaces is"),
        ("devices/channel", "type", "tcp", "channels is"),
    ],
)
def test_what_a_host_changed_is_found(
    path: str, attribute: str | None, value: str, words: str
) -> None:
    domain = etree.fromstring(domain_xml(PLAN, MACHINE))
    element = domain.find(path)
    assert element is not None
    if attribute is None:
        element.text = value
    else:
        element.set(attribute, value)
    (found,) = differences(etree.tostring(domain, encoding="unicode"), PLAN, MACHINE)
    assert words in found


@pytest.mark.parametrize("tag", ["hostdev", "graphics", "filesystem", "disk", "interface"])
def test_a_device_too_many_is_found(tag: str) -> None:
    domain = etree.fromstring(domain_xml(PLAN, MACHINE))
    devices = domain.find("devices")
    assert devices is not None
    etree.SubElement(devices, tag)
    (found,) = differences(etree.tostring(domain, encoding="unicode"), PLAN, MACHINE)
    assert tag in found or f"{tag}s is" in found


def test_a_definition_without_devices_is_found() -> None:
    assert differences("<domain/>", PLAN, MACHINE) == ("it has no devices",)
