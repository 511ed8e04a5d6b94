"""The files of playbooks follow the store, and so does what Ansible says to them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scheduler.control.loop import STORE_AGAIN_SECONDS
from scheduler.control.playbook_keeper import (
    CHECKS_A_PASS,
    LATE_AGAIN_SECONDS,
    PlaybookKeeper,
)
from scheduler.control.playbook_loops import PlaybookLoops
from scheduler.control.tally import Untold
from scheduler.guests import ansible as ansible_room
from scheduler.guests.ansible import find_ansible
from scheduler.guests.playbook_players import PlayEnd, PlayOrder
from scheduler.guests.stages import PREFIX, stage
from scheduler.model import HostResources, Playbook, Sandbox
from scheduler.processes import Ended
from scheduler.service.intents import Intent
from scheduler.service.playbook_requests import AddTask, CreatePlaybook, EditPlaybook
from scheduler.statedir import DiskRefused
from scheduler.store import EventFilter
from tests.clocks import START, ManualClock
from tests.service.planes import ME, Plane, database, plane
from tests.waits import until, until_answer

INTENT: Intent[Any] = Intent(actor=ME)
PING = {"name": "Answer", "module": "ansible.builtin.ping"}


class Nobody:
    """Plays nothing, as nothing is to be played."""

    async def play(self, order: PlayOrder, sandbox: Sandbox, host: HostResources, /) -> PlayEnd:
        raise AssertionError(f"{order} was to be played on {sandbox.id}, {host.id}")


async def raised(item: str, fault: str) -> None:
    raise AssertionError(f"{item}: {fault}")


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(database(tmp_path), ManualClock()) as opened:
        yield opened


def keeper(cloud: Plane, tmp_path: Path, ansible: str | None = None) -> PlaybookKeeper:
    return PlaybookKeeper(
        cloud.store, cloud.clock, tmp_path, told=cloud.journal.poke, ansible=lambda: ansible
    )


def loops_of(cloud: Plane, tmp_path: Path) -> PlaybookLoops:
    return PlaybookLoops(
        cloud.store,
        cloud.clock,
        tmp_path,
        player=Nobody(),
        tally=Untold(),
        told=cloud.journal.poke,
        report_bug=raised,
    )


async def create(cloud: Plane, name: str = "web", *tasks: dict[str, Any]) -> str:
    request = CreatePlaybook(name=name, tasks=[AddTask(**task) for task in tasks])
    return (await cloud.services.playbooks.create(request, INTENT)).id


async def test_files_are_written_renewed_and_removed(cloud: Plane, tmp_path: Path) -> None:
    playbook_id = await create(cloud)
    files = tmp_path / "playbooks"
    assert await keeper(cloud, tmp_path).keep() is None
    path = files / f"{playbook_id.lower()}.yml"
    assert [*files.iterdir()] == [path]
    assert files.stat().st_mode & 0o777 == 0o700
    assert path.read_text() == (await cloud.services.playbooks.export("web")).yaml
    known = await cloud.services.playbooks.get("web")
    assert (known.file_path, known.checked_revision, known.revision) == (str(path), None, 1)
    written = path.stat().st_mtime_ns
    await keeper(cloud, tmp_path).keep()
    assert path.stat().st_mtime_ns == written
    path.write_text("somebody else's")
    (files / "stray.draft").write_text("a pass that was killed")
    await keeper(cloud, tmp_path).keep()
    assert path.read_text() == (await cloud.services.playbooks.export("web")).yaml
    assert [*files.iterdir()] == [path]
    await cloud.services.playbooks.remove("web", INTENT, expected_revision=None)
    await keeper(cloud, tmp_path).keep()
    assert [*files.iterdir()] == []


async def test_a_name_never_leads_to_a_path(cloud: Plane, tmp_path: Path) -> None:
    strange = Playbook(id="../x", name="../../etc/cron.d/x", created_at=START, updated_at=START)
    stored = replace(strange, id="PBK-00000000000000000000000000", name="{{ x }}")
    await cloud.store.submit(lambda tx: tx.playbooks.add(strange))
    await cloud.store.submit(lambda tx: tx.playbooks.add(stored))
    await keeper(cloud, tmp_path).keep()
    assert [*(tmp_path / "playbooks").iterdir()] == []
    known = await cloud.store.read(lambda tx: tx.playbooks.get(stored.id))
    assert known.checked_revision == 1
    assert "which Ansible would evaluate" in str(known.check_fault)


async def test_a_file_that_cannot_be_written_keeps_no_other_from_it(
    cloud: Plane, tmp_path: Path
) -> None:
    files = tmp_path / "playbooks"
    refused, written = [files / f"{(await create(cloud, name)).lower()}.yml" for name in "ab"]
    refused.with_suffix(".draft").mkdir(parents=True)
    kept = keeper(cloud, tmp_path)
    with pytest.raises(DiskRefused, match="playbook a cannot be written: Is a directory") as told:
        await kept.keep()
    assert "full or read-only" in (told.value.remedy or "")
    assert (refused.exists(), written.exists()) == (False, True)
    refused.with_suffix(".draft").rmdir()
    assert await kept.keep() is None
    assert refused.exists()


async def test_a_full_disk_leaves_no_draft_that_fills_it_more(cloud: Plane, tmp_path: Path) -> None:
    path = tmp_path / "playbooks" / f"{(await create(cloud)).lower()}.yml"
    path.parent.mkdir()
    draft = path.with_suffix(".draft")
    draft.symlink_to("/dev/full")
    with pytest.raises(DiskRefused, match="No space left on device"):
        await keeper(cloud, tmp_path).keep()
    assert [*path.parent.iterdir()] == []


async def test_a_disk_that_refuses_ends_no_loop(cloud: Plane, tmp_path: Path) -> None:
    clock = cloud.clock
    assert isinstance(clock, ManualClock)

    def there_in_time() -> bool:
        clock.advance(STORE_AGAIN_SECONDS)
        return path.exists()

    path = tmp_path / "playbooks" / f"{(await create(cloud)).lower()}.yml"
    path.parent.write_text("in the way")
    loops = loops_of(cloud, tmp_path)
    running = asyncio.create_task(loops.run())
    try:
        with capture_logs() as logs:
            await until(lambda: any(log["event"] == "deferred" for log in logs), what="a refusal")
        assert not running.done()
        path.parent.unlink()
        await until(there_in_time, what="the file")
    finally:
        loops.stop()
        await running


async def asked(cloud: Plane) -> int:
    """Return how often Ansible was asked."""
    told = EventFilter(kind="playbook.checked")
    return len(await cloud.store.read(lambda tx: tx.events.find(0, told)))


async def test_ansible_is_asked_once_a_revision(cloud: Plane, tmp_path: Path) -> None:
    fake = tmp_path / "ansible-playbook"
    fake.write_text('#!/bin/sh\necho "no: $5" >&2\nexit 4\n')
    fake.chmod(0o755)
    for number in range(CHECKS_A_PASS + 1):
        await create(cloud, f"web{number}")
    assert await keeper(cloud, tmp_path, str(fake)).keep() == 0
    assert await asked(cloud) == CHECKS_A_PASS
    assert await keeper(cloud, tmp_path, str(fake)).keep() is None
    assert await keeper(cloud, tmp_path, str(fake)).keep() is None
    assert await asked(cloud) == CHECKS_A_PASS + 1
    known = await cloud.services.playbooks.wait("web0", 5)
    assert (known.checked_revision, known.check_fault) == (1, "no: web0.yml")


async def test_a_check_that_a_busy_machine_makes_late_says_nothing_of_the_playbook(
    cloud: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could run it any more, before it was edited, for what others did on the machine."""
    ways = iter([None, 0, None, None, 0, None, None, None])

    async def run(*_: object, **__: object) -> Ended:
        return Ended(code=next(ways), output="")

    monkeypatch.setattr(ansible_room, "run_jailed", run)
    await create(cloud)
    kept = keeper(cloud, tmp_path, "/usr/bin/false")
    assert await kept.keep() == LATE_AGAIN_SECONDS
    assert (await cloud.services.playbooks.get("web")).checked_revision is None
    assert await kept.keep() is None
    first = await cloud.services.playbooks.get("web")
    assert (first.checked_revision, first.check_fault) == (first.revision, None)
    await edit(cloud, "one")
    assert [await kept.keep() for _ in range(3)] == [LATE_AGAIN_SECONDS, LATE_AGAIN_SECONDS, None]
    second = await cloud.services.playbooks.get("web")
    assert (second.checked_revision, second.check_fault) == (second.revision, None)
    await edit(cloud, "two")
    assert [await kept.keep() for _ in range(3)] == [LATE_AGAIN_SECONDS, LATE_AGAIN_SECONDS, None]
    assert await kept.keep() is None, "one that never ends is told of, and asked about no more"
    assert "did not end in 60 s" in str((await cloud.services.playbooks.get("web")).check_fault)


async def test_checks_that_came_late_are_counted_for_their_revision(
    cloud: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object, **__: object) -> Ended:
        return Ended(code=None, output="")

    monkeypatch.setattr(ansible_room, "run_jailed", late)
    await create(cloud)
    kept = keeper(cloud, tmp_path, "/usr/bin/false")
    for hosts in ("one", "two", "three"):
        assert [await kept.keep() for _ in range(2)] == [LATE_AGAIN_SECONDS] * 2
        await edit(cloud, hosts)
    assert await asked(cloud) == 0
    await cloud.services.playbooks.remove("web", INTENT, expected_revision=None)
    assert await kept.keep() is None


async def edit(cloud: Plane, hosts: str) -> None:
    edited = EditPlaybook(hosts=hosts)
    await cloud.services.playbooks.edit("web", edited, INTENT, expected_revision=None)


async def test_what_was_edited_meanwhile_is_not_recorded(cloud: Plane, tmp_path: Path) -> None:
    playbook_id = await create(cloud)

    def note(revision: int, id: str = playbook_id) -> Any:
        return cloud.store.submit(
            lambda tx: tx.playbooks.note(
                id, revision=revision, file_path="/x", checked=True, fault="y"
            )
        )

    assert not await note(2)
    assert not await note(1, "PBK-none")
    assert (await cloud.services.playbooks.get("web")).file_path is None
    assert await note(1)
    assert (await cloud.services.playbooks.get("web")).check_fault == "y"


async def test_what_a_dead_daemon_played_is_removed(
    cloud: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept, left = keeper(cloud, tmp_path), tmp_path / f"{PREFIX}left"
    passes = []
    with stage() as used:
        (used / "key").touch()
        for _ in range(3):
            left.mkdir(exist_ok=True)
            (left / "key").touch()
            await kept.keep()
            passes.append((left.exists(), used.exists()))
            if len(passes) == 1:
                await kept.keep()
    # Once nothing was found, what is left there is another daemon's, and its next one's to remove.
    assert passes == [(False, True), (True, True), (True, True)]


async def test_the_real_ansible_takes_a_good_play_and_refuses_a_bad_one(
    cloud: Plane, tmp_path: Path
) -> None:
    ansible = find_ansible()
    assert ansible is not None
    await create(cloud, "good", PING)
    await create(cloud, "bad", {"name": "x", "module": "ansible.builtin.no_such_module"})
    loops = loops_of(cloud, tmp_path)
    await loops.resume()
    assert [turn.name for turn in loops.turns()] == ["playbooks"]
    running = asyncio.create_task(loops.run())
    try:

        async def checked() -> bool:
            reports = [await cloud.services.playbooks.get(name) for name in ("good", "bad")]
            return all(one.checked_revision == 1 for one in reports)

        await until_answer(checked, seconds=240)
    finally:
        loops.wake()
        loops.stop()
        await running
    good, bad = [await cloud.services.playbooks.get(name) for name in ("good", "bad")]
    assert good.check_fault is None
    assert "ansible.builtin.no_such_module" in str(bad.check_fault)
    assert str(tmp_path) not in str(bad.check_fault)
    assert os.fspath(good.file_path or "").endswith(f"{good.id.lower()}.yml")
