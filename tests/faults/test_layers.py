"""The audit of layers finds what is wrong with files, records, definitions, marks and content."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from scheduler.hosts.marks import NAMESPACE, PREFIX
from tests.faults.lands import REAL
from tests.faults.layers import live_layer
from tests.faults.nursery import Nursery
from tests.faults.site import Engine, Site
from tests.faults.stories.layers import CommitDown
from tests.fleet.furniture import IMAGE, POOL_PATH

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def told(nursery: Nursery) -> Iterator[CommitDown]:
    """A sandbox with two points, of which nothing was deleted."""
    with Site(Engine.SQLITE, nursery, None, REAL) as site:
        story = CommitDown(site.cluster)
        story.prepare()
        yield story


def test_what_was_done_to_layers_by_hand_is_found(told: CommitDown) -> None:
    assert [*told.faults()] == []
    live = live_layer(told.cluster, told.id)
    below = told.real.chain(live)[1]
    told.real.write(below, 0, 77)
    assert f"{below} does not read" in faults(told)
    told.real.host.run("touch", f"{POOL_PATH}/stray")
    assert "has the files ['stray'] more or less" in faults(told)
    with told.cluster.libvirt(told.real) as connection:
        domain = connection.lookupByName("one")
        connection.defineXML(domain.XMLDesc().replace(f"/{live}'", f"/{below}'"))
        kind, flags = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
        domain.setMetadata(kind, "<mark/>", PREFIX, NAMESPACE, flags)
    assert "is stated over" in faults(told)
    assert f"leaves out ['{below}'" in faults(told)
    rebase = ("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", f"{POOL_PATH}/{IMAGE}")
    told.real.host.run(*rebase, f"{POOL_PATH}/{live}")
    assert f"{live} lies on ['{live}', '{IMAGE}']" in faults(told)


def faults(story: CommitDown) -> str:
    return "\n".join(story.faults())
