"""changeset on the command line: made, shown, downloaded, verified, and what failure looks like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from scheduler.model import (
    Remainder,
    VerificationPhase,
    VerificationResult,
)
from scheduler.store import Transaction
from tests.api.test_change_sets import with_diff
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.waits import repeated


@asynccontextmanager
async def making(fleet: Fleet, result: VerificationResult) -> AsyncIterator[None]:
    """Make change sets as the loop does, and say how each verification ends."""
    plane = fleet.plane
    writer = await with_diff(plane)

    def conclude(tx: Transaction) -> None:
        for one in tx.verifications.unfinished():
            left = () if result is VerificationResult.PASSED else (MISSING,)
            done = replace(
                one,
                phase=VerificationPhase.DONE,
                result=result,
                reason="1 things differ" if left else None,
                log="TASK [web]\x1b[31m",
                remaining=left,
            )
            tx.verifications.replace(done)

    async def work() -> None:
        for id in await writer.pending():
            await writer.make(id)
        await plane.store.submit(conclude)
        plane.journal.poke()

    async with repeated(work):
        yield


MISSING = Remainder(kind="path", name="/srv/\x1b[31mred", difference="missing")


async def test_made_shown_downloaded_and_verified(
    fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    async with making(fleet, VerificationResult.PASSED):
        made = await sandboxctl.run("changeset", "create", "dif-1", "--name", "web", "-o", "json")
        assert made.code == 0, made.err
        id = str(made.document["id"])
        assert made.document["state"] == "READY"
        listed = await sandboxctl.run("changeset", "list", "--job", "JOB-1")
        assert listed.rows[1][:4] == [id, "JOB-1", "web", "READY"]
        assert (await sandboxctl.run("changeset", "list", "-o", "name")).out == f"{id}\n"
        shown = await sandboxctl.run("changeset", "show", id.lower())
        assert ["puppet", "failed"] in shown.rows
        target = tmp_path / "web.tar.gz"
        got = await sandboxctl.run("changeset", "archive", id, "--to", str(target))
        assert (got.code, got.out) == (0, f"{target}\n")
        assert target.read_bytes()[:2] == b"\x1f\x8b"
        away = str(tmp_path / "x/y")
        nowhere = await sandboxctl.run("changeset", "archive", id, "--to", away)
        assert (nowhere.code, "cannot be written" in nowhere.err) == (1, True)
        verified = await sandboxctl.run("changeset", "verify", id)
        assert verified.code == 0, verified.err
        assert "PASSED" in verified.out
        said = await sandboxctl.run("changeset", "show", id, "--log")
        assert "--- puppet: failed" in said.out
        assert "TASK [web]\\x1b[31m" in said.out


async def test_a_verification_that_fails_names_what_is_missing(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    async with making(fleet, VerificationResult.FAILED):
        made = await sandboxctl.run("changeset", "create", "DIF-1", "-o", "name")
        failed = await sandboxctl.run("changeset", "verify", made.out.strip())
        assert failed.code == 1
        assert "is FAILED: 1 things differ" in failed.err
        assert "path /srv/\\x1b[31mred is missing" in failed.err
        shown = await sandboxctl.run("changeset", "show", made.out.strip())
        assert "missing" in shown.out


async def test_an_unknown_diff_is_not_found(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    assert (await sandboxctl.run("changeset", "create", "DIF-9")).code == 3
    assert (await sandboxctl.run("changeset", "show", "CHG-9")).code == 3
