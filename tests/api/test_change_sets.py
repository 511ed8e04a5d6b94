"""Change sets over HTTP: made of a diff, listed, downloaded, verified, refused with reasons."""

from __future__ import annotations

import io
import tarfile
from functools import partial
from pathlib import Path

import httpx2

from scheduler.control.change_set_writer import ChangeSetWriter
from scheduler.model import ChangeDiff, Check, Diff
from tests.changes.guests import CONTENT, digest
from tests.clocks import START
from tests.control.changing import Known
from tests.service.planes import Plane


async def with_diff(cloud: Plane) -> ChangeSetWriter:
    """Record a sandbox and a diff of it; return who makes change sets, as the loop does."""
    sandbox = await cloud.create(sandbox_name="origin", job_id="JOB-1")
    diff = Diff(
        id="DIF-1",
        sandbox_id=sandbox.id,
        from_snapshot="a",
        to_snapshot="b",
        diff_json=ChangeDiff(),
        created_at=START,
    )
    await cloud.store.submit(lambda tx: tx.diffs.add(diff))
    return ChangeSetWriter(
        cloud.store,
        cloud.clock,
        files=cloud.change_files,
        deltas=Known(),
        contents={digest(CONTENT): CONTENT},
        judge=judged,
        told=cloud.journal.poke,
    )


async def judged(_directory: Path, _name: str) -> tuple[Check, ...]:
    return (Check(tool="puppet", result="failed", output="line 1"),)


async def test_a_change_set_is_made_listed_and_downloaded(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    writer = await with_diff(cloud)
    ask = partial(http.post, "/v1/diffs/DIF-1/change-sets", headers={"idempotency-key": "k"})
    answer = await ask(json={"name": "web"})
    made = answer.json()
    assert (answer.status_code, made["state"], made["verification"]) == (202, "PENDING", None)
    assert answer.headers["location"] == f"/v1/change-sets/{made['id']}"
    assert (await ask(json={"name": "web"})).json() == made
    early = await http.get(f"/v1/change-sets/{made['id']}/archive")
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    await writer.make(made["id"])
    ready = (await http.get(f"/v1/change-sets/{made['id']}", params={"wait": "5s"})).json()
    assert (ready["state"], ready["wishes"]) == ("READY", 2)
    assert ready["checks"] == [{"tool": "puppet", "result": "failed", "output": "line 1"}]
    listed = (await http.get("/v1/change-sets", params={"job_id": "JOB-1"})).json()
    assert [one["id"] for one in listed["items"]] == [made["id"]]
    assert listed["items"][0]["checks"][0]["output"] == ""
    assert (await http.get("/v1/change-sets", params={"diff_id": "DIF-2"})).json()["items"] == []
    got = await http.get(f"/v1/change-sets/{made['id']}/archive")
    assert got.headers["content-type"] == "application/gzip"
    assert f"{made['id']}.tar.gz" in got.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(got.content)) as archive:
        assert f"{made['id']}/REVIEW.md" in archive.getnames()


async def test_one_verification_at_a_time(http: httpx2.AsyncClient, cloud: Plane) -> None:
    writer = await with_diff(cloud)
    made = (await http.post("/v1/diffs/DIF-1/change-sets")).json()
    assert made["name"] == "sandbox_changes"
    path = f"/v1/change-sets/{made['id']}/verify"
    assert (await http.post(path)).status_code == 409
    await writer.make(made["id"])
    begun = await http.post(path)
    assert (begun.status_code, begun.json()["verification"]["phase"]) == (202, "CLONING")
    again = await http.post(path)
    assert (again.status_code, again.json()["phase"]) == (409, "CLONING")
    assert made["id"] in cloud.woken


async def test_what_cannot_be_made_is_refused(http: httpx2.AsyncClient, cloud: Plane) -> None:
    await with_diff(cloud)
    for path, status in (
        ("/v1/diffs/DIF-2/change-sets", 404),
        ("/v1/diffs/..%2f/change-sets", 404),
        ("/v1/diffs/x/change-sets", 422),
    ):
        assert (await http.post(path)).status_code == status, path
    for name in ("Web", "class", "../x", "{{ x }}"):
        answer = await http.post("/v1/diffs/DIF-1/change-sets", json={"name": name})
        assert answer.status_code == 422, name
    assert (await http.get("/v1/change-sets/CHG-1")).status_code == 404
    assert (await http.get("/v1/change-sets/CHG-1/archive")).status_code == 404
