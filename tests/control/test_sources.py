"""Source VMs from request to result: prepared and looked at by loops, against a real sshd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.clock import SystemClock
from scheduler.control.inspector import Inspector
from scheduler.control.preparer import Preparer
from scheduler.control.source_loops import SourceLoops
from scheduler.errors import Conflict, HostUnreachable, Invalid, QuotaExceeded
from scheduler.guests.authorities import Authorities, make_authority
from scheduler.guests.source_ways import SourceWays
from scheduler.hosts.marks import Keyring
from scheduler.model import DomainState, Inspection, InspectionStatus, SourceVM
from scheduler.service.intents import Intent
from scheduler.service.requests import InspectSource, PrepareSource
from scheduler.service.sightings import Sightings
from scheduler.service.source_reports import SourceReport
from scheduler.service.source_vms import SourceVMService
from scheduler.service.terms import SourceTerms
from scheduler.sources.preparations import Outcome, Preparation, StepState
from tests.guests.loopback import directly
from tests.guests.machine_sshd import MachineSshd, machine_sshd
from tests.guests.sshd import ADDRESS
from tests.hosts.fake import FakeDomain, FakeDriver, FakeHost
from tests.service.machines import Machine, machine
from tests.service.planes import CLUSTER, ME, Plane, database, plane
from tests.waits import DEADLINE_SECONDS, until


@dataclass
class Yard:
    """A plane whose host alpha runs a machine that is not a sandbox, with a real sshd."""

    plane: Plane
    sshd: MachineSshd
    host: FakeHost
    driver: FakeDriver
    seen: Machine
    directory: Path
    uuid: str
    authorities: Authorities
    key: Path | None = None
    output_bytes: int = 4096

    @property
    def sources(self) -> SourceVMService:
        there = self.plane
        return SourceVMService(
            there.store,
            there.clock,
            SourceTerms(per_source=2, max_inspection_seconds=60),
            sightings=Sightings(
                there.listings, there.clock, wake=there.woken.append, stale_after_seconds=60.0
            ),
            journal=there.journal,
            wake=there.woken.append,
            wake_image=there.woken.append,
            authority=lambda: self.authorities.signer.fingerprint,
        )

    @property
    def ways(self) -> SourceWays:
        return SourceWays(
            self.authorities, self.plane.clock, directly, key=self.key, port=self.sshd.port
        )

    def preparer(self, told: Callable[[], None] | None = None) -> Preparer:
        return Preparer(
            self.plane.store,
            self.plane.clock,
            drivers=lambda _host: self.driver,
            ways=self.ways,
            told=told or self.plane.journal.poke,
        )

    def inspector(self) -> Inspector:
        return Inspector(
            self.plane.store,
            self.plane.clock,
            drivers=lambda _host: self.driver,
            ways=self.ways,
            output_bytes=self.output_bytes,
            told=self.plane.journal.poke,
        )

    def loops(self) -> SourceLoops:
        async def report(_id: str, evidence: str) -> None:
            raise AssertionError(evidence)

        return SourceLoops(
            self.plane.store,
            self.plane.clock,
            drivers=lambda _host: self.driver,
            ways=self.ways,
            output_bytes=self.output_bytes,
            told=self.plane.journal.poke,
            report_bug=report,
        )

    async def ask(self, **fields: object) -> SourceReport:
        self.seen.see()
        request = PrepareSource.model_validate(fields)
        return await self.sources.prepare("alpha", "golden", request, Intent(actor=ME))

    async def prepare(self, **fields: object) -> Preparation:
        asked = await self.ask(**fields)
        await self.preparer().prepare(asked.id or "")
        return await self.preparation()

    async def preparation(self) -> Preparation:
        found = await self.report()
        assert found.preparation is not None
        return found.preparation

    async def report(self) -> SourceReport:
        self.seen.see()
        return await self.sources.get("alpha", "golden")

    async def record(self) -> SourceVM:
        return await self.plane.store.read(lambda tx: tx.source_vms.by_name("golden", "alpha"))

    async def look(self, *argv: str, seconds: int | None = None) -> Inspection:
        self.seen.see()
        request = InspectSource(argv=list(argv), timeout_seconds=seconds)
        asked = await self.sources.inspect("alpha", "golden", request, Intent(actor=ME))
        await self.inspector().inspect(asked.id)
        return await self.sources.inspection(asked.id)

    async def events(self) -> list[str]:
        found = await self.plane.store.read(lambda tx: tx.events.find(0, None))
        return [event.kind for event in found if event.kind.startswith("source.")]


@asynccontextmanager
async def yard_in(tmp_path: Path) -> AsyncIterator[Yard]:
    uuid = str(uuid4())
    (tmp_path / "state").mkdir()
    async with plane(database(tmp_path), SystemClock()) as there:
        with machine_sshd(tmp_path / "machine") as sshd:
            record = await there.add_host("alpha")
            seen = await machine(there, "alpha")
            host = FakeHost(host_id=record.id, host_uuid=str(uuid4()))
            domain = FakeDomain(uuid=uuid, name="golden", address=ADDRESS)
            domain.state = DomainState.RUNNING
            host.domains[uuid] = domain
            keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
            driver = FakeDriver(host, keyring, there.clock)
            observed = await driver.domain(uuid)
            assert observed is not None
            seen.domains[uuid] = observed
            yield Yard(
                plane=there,
                sshd=sshd,
                host=host,
                driver=driver,
                seen=seen,
                directory=tmp_path,
                uuid=uuid,
                authorities=Authorities.open(tmp_path / "state"),
                key=sshd.key,
            )


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard_in(tmp_path) as made:
        yield made


async def test_a_source_is_prepared_and_looked_at_and_all_of_it_is_recorded(yard: Yard) -> None:
    before = await yard.report()
    assert (before.id, before.prepared, before.preparation) == (None, False, None)
    with pytest.raises(Conflict, match="not prepared"):
        await yard.look("uptime")
    asked = await yard.ask()
    assert asked.preparation is not None
    assert (asked.preparation.outcome, asked.preparation.actor) == (Outcome.RUNNING, ME)
    assert (await yard.ask()).id == asked.id, "it is being prepared already"
    await yard.preparer().prepare(asked.id or "")
    report = await yard.report()
    assert report.preparation is not None
    assert (report.prepared, report.preparation.outcome) == (True, Outcome.PREPARED)
    assert {step.state for step in report.preparation.steps} == {StepState.DONE}
    assert report.ca_fingerprint == yard.authorities.signer.fingerprint
    assert report.host_key == " ".join(
        yard.sshd.host_key.with_suffix(".pub").read_text().split()[:2]
    )
    assert report.preparation.secrets

    seen = await yard.look("cat", "/etc/hostname")
    assert (seen.status, seen.exit_code, seen.actor) == (InspectionStatus.DONE, 0, ME)
    assert seen.stdout == yard.sshd.read("/etc/hostname")
    assert seen.ended_at is not None
    page = await yard.sources.inspections("alpha", "golden", None)  # type: ignore[arg-type]
    assert [one.id for one in page.items] == [seen.id]
    assert await yard.events() == [
        "source.prepare_requested",
        "source.prepared",
        "source.inspection_requested",
        "source.inspected",
    ]
    refused = await yard.look("cat", "/etc/shadow")
    assert (refused.status, refused.exit_code) == (InspectionStatus.DONE, 1)
    assert "Permission denied" in refused.stderr
    await _bounds(yard)


async def _bounds(yard: Yard) -> None:
    """Output and time have limits, secrets are taken out, and no more than a few wait."""
    long = await yard.look("find", "/usr/share")
    assert long.truncated
    assert len(long.stdout) <= yard.output_bytes < long.stdout_bytes
    yard.sshd.write("/etc/token", "key ghp_0123456789abcdef0123456789abcdef0123\n")
    secret = await yard.look("cat", "/etc/token")
    assert "ghp_" not in secret.stdout
    assert secret.redacted == {"stdout.token": "1"}
    yard.sshd.run("mkfifo", "-m", "644", "/run/quiet")
    quiet = await yard.look("cat", "/run/quiet", seconds=1)
    assert (quiet.status, quiet.reason) == (InspectionStatus.FAILED, "its 1 s were up")
    for argv in (["reboot"], ["find", "/", "-delete"]):
        with pytest.raises(Invalid, match="no command that only looks"):
            await yard.look(*argv)
    with pytest.raises(Invalid, match="at most 60 s"):
        await yard.look("uptime", seconds=61)
    request = InspectSource(argv=["uptime"])
    asked = [
        await yard.sources.inspect("alpha", "golden", request, Intent(actor=ME)) for _ in range(2)
    ]
    with pytest.raises(QuotaExceeded, match="2 looks at this machine"):
        await yard.sources.inspect("alpha", "golden", request, Intent(actor=ME))
    assert set(await yard.inspector().pending()) == {one.id for one in asked}
    for one in asked:
        await yard.inspector().inspect(one.id)
    assert await yard.inspector().pending() == ()
    await yard.inspector().inspect(asked[0].id)
    await yard.inspector().inspect("INS-none")


@pytest.mark.slow
async def test_another_authority_makes_it_unprepared_until_it_is_prepared_again(
    yard: Yard,
) -> None:
    """W27: neither a cache nor a missing fingerprint hides it."""
    assert (await yard.prepare()).outcome is Outcome.PREPARED
    make_authority(yard.directory / "state", 2)
    yard.authorities = Authorities.open(yard.directory / "state")
    report = await yard.report()
    assert not report.prepared
    assert report.unprepared_because == "the SSH authority was changed since it was prepared"
    with pytest.raises(Conflict, match="authority was changed"):
        await yard.look("uptime")
    again = await yard.prepare()
    assert again.outcome is Outcome.PREPARED
    assert (await yard.report()).ca_fingerprint == yard.authorities.signer.fingerprint
    assert (await yard.look("uptime")).exit_code == 0


async def test_what_goes_wrong_ends_it_and_says_what_to_do(yard: Yard) -> None:
    domain = yard.host.domains[yard.uuid]
    yard.key, key = None, yard.key
    keyless = await yard.prepare()
    assert (keyless.outcome, keyless.steps[0].state) == (Outcome.FAILED, StepState.FAILED)
    assert "no key for source VMs" in (keyless.reason or "")
    assert "ssh_key" in (keyless.remedy or "")
    assert (await yard.events())[-1] == "source.prepare_failed"
    yard.key = key
    domain.address = None
    nowhere = await yard.prepare()
    assert "knows where golden answers (lease: knows no address" in (nowhere.reason or "")
    assert "--address" in (nowhere.remedy or "")
    assert (await yard.prepare(address="127.0.0.2")).reason is not None
    yard.driver.fail("foreign_machine", HostUnreachable("the host is gone"))
    assert (await yard.prepare(address=ADDRESS)).reason == "the host is gone"
    other_key = await yard.prepare(address=ADDRESS, host_key="SHA256:" + "A" * 43)
    assert "another host key" in (other_key.reason or "")
    asked = await yard.ask(address=ADDRESS)
    domain.state = DomainState.SHUT_OFF
    await yard.preparer().prepare(asked.id or "")
    assert "is shut_off" in ((await yard.preparation()).reason or "")
    asked = await yard.ask(address=ADDRESS)
    domain.name = "another"
    await yard.preparer().prepare(asked.id or "")
    assert "not there any more" in ((await yard.preparation()).reason or "")
    assert not (await yard.report()).prepared
    await yard.preparer().prepare(asked.id or "")
    await yard.preparer().prepare("SVM-none")
    assert await yard.preparer().pending() == ()


async def test_a_machine_that_is_off_or_another_is_not_taken_for_it(yard: Yard) -> None:
    observed = yard.seen.domains[yard.uuid]
    yard.seen.domains[yard.uuid] = replace(observed, state=DomainState.SHUT_OFF)
    with pytest.raises(Conflict, match="is shut_off, so nobody can log in"):
        await yard.ask()
    yard.seen.domains[yard.uuid] = observed
    await yard.ask()
    record = await yard.record()
    prepared = replace(
        record,
        prepared=True,
        ca_fingerprint=yard.authorities.signer.fingerprint,
        host_key="ssh-ed25519 kept",
    )
    await yard.plane.store.submit(lambda tx: tx.source_vms.replace(prepared))
    assert (await yard.report()).prepared
    del yard.seen.domains[yard.uuid]
    twin = str(uuid4())
    yard.seen.domains[twin] = replace(observed, uuid=twin)
    assert (await yard.report()).unprepared_because == (
        "it is another machine than the one that was prepared"
    )
    await yard.plane.store.submit(
        lambda tx: tx.source_vms.replace(replace(tx.source_vms.get(record.id), prepare_json=None))
    )
    await yard.ask()
    after = await yard.record()
    assert (after.domain_uuid, after.host_key, after.prepared) == (twin, None, False)


async def test_the_loops_take_both_on_and_go_on_after_a_restart(yard: Yard) -> None:
    asked = await yard.ask()
    loops = yard.loops()
    await loops.resume()
    running = asyncio.ensure_future(loops.run())
    waited = await yard.sources.wait("alpha", "golden", DEADLINE_SECONDS)
    assert waited.prepared
    yard.seen.see()
    look = await yard.sources.inspect(
        "alpha", "golden", InspectSource(argv=["uptime"]), Intent(actor=ME)
    )
    loops.wake(look.id)
    assert (
        await yard.sources.inspection(look.id, DEADLINE_SECONDS)
    ).status is InspectionStatus.DONE
    await until(lambda: not loops.turns(), what="rest")
    loops.stop()
    await asyncio.gather(running, return_exceptions=True)
    await yard.plane.store.submit(
        lambda tx: tx.source_vms.replace(replace(tx.source_vms.get(asked.id or ""), prepared=False))
    )
    stale = replace(look, id="INS-2", status=InspectionStatus.WAITING)
    bad = replace(stale, id="INS-3", argv=("reboot",))
    await yard.plane.store.submit(lambda tx: [tx.inspections.add(one) for one in (stale, bad)])
    for one, why in ((stale, "not prepared any more"), (bad, "no command that only looks")):
        await yard.inspector().inspect(one.id)
        ended = await yard.sources.inspection(one.id)
        assert ended.status is InspectionStatus.FAILED
        assert why in (ended.reason or "")
