"""libvirt over TLS: both sides show a certificate, and neither is believed without."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.errors import HostRefused, HostUnreachable
from scheduler.hosts import Drivers, HostDriver, Keyring
from scheduler.hosts.routes import direct_uri, endpoint_of
from scheduler.model.hosts import Transport
from tests.fleet.certificates import ADDRESS, Authority, Listening, Pki
from tests.fleet.cleanup import Scratch
from tests.fleet.farm import FarmHost, ListeningHost
from tests.fleet.process import on_free_port
from tests.hosts.subjects import CLUSTER, host_record
from tests.waits import until_answer


class Site:
    """An authority, its client, and room for the files of hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority("ours")
        self.client = self.authority.client(directory / "client")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # Not below pytest's own directory: the libvirtd that reads it is not root.
    with Scratch.make("pki") as scratch:
        yield Site(scratch.directory)


@pytest.fixture
async def drivers(tmp_path: Path) -> AsyncIterator[Drivers]:
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
    async with Drivers.open(tmp_path, keyring, SystemClock(), lambda _: None) as made:
        yield made


@contextmanager
def listening(pki: Pki) -> Iterator[tuple[FarmHost, int]]:
    """Yield a host that shows what is in a directory, and the port where it does."""

    def start(port: int) -> tuple[ListeningHost, int]:
        return ListeningHost(Listening(pki=pki, port=port)), port

    listener, port = on_free_port(start)
    with listener as host:
        yield host, port


def reached(drivers: Drivers, uri: str) -> HostDriver:
    record = host_record(
        "tls", transport=Transport.TLS, address=ADDRESS, uri=uri, pool="default-pool"
    )
    return drivers.get(record)


async def why_not(drivers: Drivers, uri: str) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as caught:
        await reached(drivers, uri).inventory()
    return caught.value


async def test_a_host_is_reached_over_tls_and_again_after_its_restart(
    site: Site, drivers: Drivers
) -> None:
    with listening(site.authority.server(site.directory / "good")) as (host, port):
        driver = reached(drivers, site.client.uri(port))
        assert [one.name for one in (await driver.inventory()).domains] == ["test"]
        host.restart()
        await until_answer(lambda: _answers(driver), what="the restarted host")


async def test_neither_side_is_believed_without_its_certificate(
    site: Site, drivers: Drivers
) -> None:
    own = site.authority.server(site.directory / "mutual")
    stranger = Authority("theirs").client(site.directory / "stranger")
    (stranger.directory / "cacert.pem").write_bytes(site.authority.certificate())
    unbelieving = Authority("ours").client(site.directory / "unbelieving")
    with listening(own) as (host, port):
        # The client believes the host, which does not know who signed the client's certificate.
        error = await why_not(drivers, stranger.uri(port))
        assert "virt-pki-validate" in (error.remedy or "")
        # And the other way round.
        error = await why_not(drivers, unbelieving.uri(port))
        assert "certificate" in error.message.lower()
        await _is_untouched(host, drivers)


async def test_a_certificate_for_another_address_is_refused(site: Site, drivers: Drivers) -> None:
    with listening(site.authority.server(site.directory / "other", "kvm7.example")) as (_, port):
        error = await why_not(drivers, site.client.uri(port))
    assert "verify peer's certificate" in error.message


async def test_a_certificate_that_has_expired_is_refused(site: Site, drivers: Drivers) -> None:
    own = site.authority.server(site.directory / "good again")
    stale = site.authority.server(site.directory / "stale", days=-1).directory
    client = Pki(directory=site.directory / "client with a stale certificate")
    client.directory.mkdir()
    (client.directory / "cacert.pem").write_bytes(site.authority.certificate())
    for name in ("cert", "key"):
        (client.directory / f"client{name}.pem").write_bytes(
            (stale / f"server{name}.pem").read_bytes()
        )
    with listening(own) as (_, port):
        error = await why_not(drivers, client.uri(port))
    assert "virt-pki-validate" in (error.remedy or "")


async def test_nobody_listening_is_told_at_once(site: Site, drivers: Drivers) -> None:
    with socket.socket() as taken:  # by somebody who does not listen
        taken.bind((ADDRESS, 0))
        error = await why_not(drivers, site.client.uri(taken.getsockname()[1]))
    assert "refused" in error.message


async def test_verification_cannot_be_turned_off(site: Site, drivers: Drivers) -> None:
    with pytest.raises(HostRefused, match="may say pkipath"):
        await reached(drivers, f"{site.client.uri(1)}&no_verify=1").inventory()


@pytest.mark.parametrize(
    ("address", "uri"),
    [("kvm7", "qemu+tls://kvm7/system"), ("fd00::7", "qemu+tls://[fd00::7]/system")],
)
def test_an_address_alone_is_a_way(address: str, uri: str) -> None:
    record = host_record("h", transport=Transport.TLS, address=address, uri=None)
    assert direct_uri(record) == uri
    assert endpoint_of(uri) == (address, 16514)


async def _answers(driver: HostDriver) -> bool:
    try:
        await driver.inventory()
    except HostUnreachable:
        return False
    return True


async def _is_untouched(host: FarmHost, drivers: Drivers) -> None:
    local = drivers.get(host_record("local", uri=host.uri, pool="default-pool"))
    assert [one.name for one in (await local.inventory()).domains] == ["test"]
