"""publish and publication on the command line, against the application; the forge is played."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.changes import publications as rules
from scheduler.clock import SystemClock
from scheduler.config.publishing import ForgeSection
from scheduler.control.publisher import _write
from scheduler.model import Publication
from scheduler.publishing.forges import Forges
from tests.cli.running import Sandboxctl
from tests.service.planes import Plane, database, plane
from tests.service.snapshots_taken import before_and_after
from tests.store import samples
from tests.waits import repeated

REPO = "https://git.example/infra/site.git"
PUBLISH = ("publish", "--change-set", "CHG-1", "--repo", REPO, "--branch")


@pytest.fixture
async def cloud(socket_path: Path, blank_state: Path) -> AsyncIterator[Plane]:
    shutil.copytree(blank_state, socket_path.parent, dirs_exist_ok=True)
    section = ForgeSection.model_validate(
        {"name": "git", "kind": "gitea", "url": "https://git.example"}
    )
    clock = SystemClock()
    forges = Forges((section,), clock)
    async with plane(database(socket_path.parent), clock, forges=forges) as opened:
        await opened.change_set()
        app = build_app(opened.services)
        async with serve(app, socket_path, None, on_stop=opened.journal.close):
            yield opened


def after(one: Publication, cloud: Plane, *, fails: bool) -> Publication | None:
    """Return what the publisher would make of a publication next."""
    now = cloud.clock.now()
    if one.status == "PENDING" and fails:
        return rules.failed(one, "rejected", "the repository refused it", now=now)
    if one.status == "PENDING" and one.planned_sha is None:
        return rules.planned(one, base="main", base_sha="b" * 40, commit_sha="c" * 40, now=now)
    if one.status == "PENDING":
        return rules.committed(one, now=now)
    if one.status == "COMMITTED":
        url, notes = "https://git.example/infra/site/pulls/7", ("label x is not known there",)
        return rules.opened(one, number=7, url=url, notes=notes, now=now)
    return rules.merged(one, now=now) if one.status == "PR_CREATED" else None


@asynccontextmanager
async def publishing(cloud: Plane, *, fails: bool = False) -> AsyncIterator[None]:
    """Carry publications out as the daemon's loop does."""

    async def work() -> None:
        for id in await cloud.store.read(lambda tx: tx.publications.unsettled()):
            one = await cloud.services.publications.get(id)
            following = after(one, cloud, fails=fails)
            if following is not None:
                await cloud.store.submit(partial(_write, one, following))
        cloud.journal.poke()

    async with repeated(work):
        yield


async def test_publish_narrates_to_the_end_and_is_listed(
    cloud: Plane, sandboxctl: Sandboxctl
) -> None:
    async with publishing(cloud):
        ran = await sandboxctl.run(
            *PUBLISH,
            "change/one",
            "--title",
            "Apply it",
            "--label",
            "x",
            "--until-merged",
            "-o",
            "json",
        )
    assert ran.code == 0, ran.err
    assert (ran.document["status"], ran.document["labels"]) == ("MERGED", ["x"])
    for words in ("planned: ", "committed: ", "pr created: ", "merged: "):
        assert f"publication {words}{ran.document['id']}: " in ran.err
    listed = await sandboxctl.run("publication", "list", "--status", "merged", "-o", "name")
    assert listed.out == f"{ran.document['id']}\n"
    assert (await sandboxctl.run("publication", "list", "--job", "other", "-o", "name")).out == ""
    shown = await sandboxctl.run("publication", "show", ran.document["id"])
    assert "https://git.example/infra/site/pulls/7" in shown.out
    assert "label x is not known there" in shown.out
    assert "change/one into main" in shown.out


async def test_a_failure_is_told_and_retried(cloud: Plane, sandboxctl: Sandboxctl) -> None:
    async with publishing(cloud, fails=True):
        ran = await sandboxctl.run(*PUBLISH, "change/one")
    assert ran.code == 1
    assert "failed (rejected): the repository refused it" in ran.err
    (failed,) = (await sandboxctl.run("publication", "list", "-o", "json")).document
    assert f"sandboxctl publication retry {failed['id']}" in ran.err
    shown = await sandboxctl.run("publication", "show", failed["id"])
    assert "rejected: the repository refused it" in shown.out
    again = await sandboxctl.run("publication", "retry", failed["id"], "--no-wait", "-o", "json")
    assert again.document["status"] == "PENDING"
    twice = await sandboxctl.run("publication", "retry", failed["id"])
    assert twice.code == 5
    async with publishing(cloud):
        waited = await sandboxctl.run("publication", "wait", failed["id"], "--until-merged")
    assert waited.code == 0


async def test_watching_ends_at_the_timeout_and_the_work_goes_on(
    cloud: Plane, sandboxctl: Sandboxctl
) -> None:
    ran = await sandboxctl.run(*PUBLISH, "change/one", "--timeout", "1s")
    assert ran.code == 124
    assert "sandboxctl publication wait PUB-" in ran.err


async def test_what_is_wrong_is_told(cloud: Plane, sandboxctl: Sandboxctl) -> None:
    assert (await sandboxctl.run("publication", "show", "PUB-9")).code == 3
    ran = await sandboxctl.run(
        "publish", "--change-set", "CHG-1", "--repo", "https://evil.example/a/b", "--branch", "x"
    )
    assert ran.code == 2
    assert "no configured forge" in ran.err
    assert (await sandboxctl.run("publish", "--repo", REPO, "--branch", "x")).code == 2


async def test_what_changed_in_a_sandbox_is_published_in_one_line(
    cloud: Plane, sandboxctl: Sandboxctl
) -> None:
    box = samples.sandbox("SBX-7", sandbox_name="box-7")
    await cloud.store.submit(lambda tx: tx.sandboxes.add(box))
    await before_and_after(cloud, box)
    diff = (await sandboxctl.run("diff", "box-7", "before", "after", "-o", "json")).document
    found = await cloud.store.read(lambda tx: tx.change_sets.get("CHG-1"))
    made = replace(found, id="CHG-2", sandbox_id=box.id, diff_id=diff["id"])
    proof = await cloud.store.read(lambda tx: tx.verifications.get("CHG-1"))
    assert proof is not None
    await cloud.store.submit(lambda tx: tx.change_sets.add(made))
    await cloud.store.submit(lambda tx: tx.verifications.add(replace(proof, change_set_id="CHG-2")))
    wish = ("--from", "before", "--to", "after", "--repo", REPO, "--branch", "change/one")
    async with publishing(cloud):
        ran = await sandboxctl.run("publish", "box-7", *wish, "--until-merged", "-o", "json")
    assert ran.code == 0, ran.err
    assert (ran.document["status"], ran.document["change_set_id"]) == ("MERGED", "CHG-2")


async def test_what_no_verification_proved_is_verified_first(
    cloud: Plane, sandboxctl: Sandboxctl
) -> None:
    await cloud.change_set(2, "JOB-2", verified=False)
    wish = ("--change-set", "CHG-2", "--repo", REPO, "--branch", "change/two")
    ran = await sandboxctl.run("publish", *wish, "--timeout", "1s")
    assert ran.code == 124
    assert "it goes on" in ran.err
    begun = await cloud.store.read(lambda tx: tx.verifications.get("CHG-2"))
    assert begun is not None
    assert "CHG-2" in cloud.woken
    told = await sandboxctl.run("publish", *wish, "--unverified", "--no-wait", "-o", "json")
    assert (told.code, told.document["status"]) == (0, "PENDING"), told.err


async def test_publish_wants_one_thing_to_publish(cloud: Plane, sandboxctl: Sandboxctl) -> None:
    where = ("--repo", REPO, "--branch", "x")
    for what in (("box-1",), ("box-1", "--from", "a"), ("box-1", "--change-set", "CHG-1")):
        ran = await sandboxctl.run("publish", *what, *where)
        assert ran.code == 2
        assert "give SANDBOX with --from and --to, or --change-set" in ran.err
