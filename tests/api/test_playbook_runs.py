"""Runs of playbooks over HTTP: asked for, followed, cancelled, and answered once for their key."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from scheduler.control.playbook_player import PlaybookRunner
from scheduler.control.tally import Untold
from scheduler.model import SandboxState
from tests.control.playing import Guests
from tests.service.planes import Plane

PING = {"name": "Answer", "module": "ansible.builtin.ping"}
RUNS = "/v1/playbooks/web/runs"


@pytest.fixture
async def guests(http: httpx2.AsyncClient, cloud: Plane) -> Guests:
    """Two running sandboxes and a playbook; what is played on them ends well."""
    for name in ("one", "two"):
        box = await cloud.create(sandbox_name=name)
        states = (SandboxState.STARTING, SandboxState.RUNNING)
        await cloud.become(box, *states, address="192.0.2.7")
    made = await http.post("/v1/playbooks", json={"name": "web", "tasks": [PING]})
    assert made.status_code == 201, made.text
    return Guests()


async def asked(http: httpx2.AsyncClient, **fields: object) -> dict[str, Any]:
    answer = await http.post(RUNS, json={"sandboxes": ["one", "two"], **fields})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def played(cloud: Plane, guests: Guests, run_id: str) -> None:
    told = cloud.journal.poke
    runner = PlaybookRunner(cloud.store, cloud.clock, player=guests, tally=Untold(), told=told)
    await runner.play(run_id)


async def test_a_run_is_asked_for_and_followed_to_its_recap(
    http: httpx2.AsyncClient, cloud: Plane, guests: Guests
) -> None:
    body = {"sandboxes": ["one", "two"], "check": True, "timeout_seconds": 60}
    answer = await http.post(RUNS, json=body)
    run = answer.json()
    one = f"/v1/playbook-runs/{run['id']}"
    assert (answer.status_code, answer.headers["location"]) == (202, one)
    assert (run["check"], run["timeout_seconds"], run["revision"]) == (True, 60, 1)
    assert [play["status"] for play in run["plays"]] == ["WAITING", "WAITING"]
    assert run["id"] in cloud.woken
    assert (await http.get(one, params={"wait": "0s"})).json() == run
    guests.away.add("two")
    await played(cloud, guests, run["id"])
    done = (await http.get(one, params={"wait": "10s"})).json()
    assert done == (await http.get(one)).json()
    well, away = done["plays"]
    assert (well["status"], well["recap"]["ok"], well["log"]) == ("SUCCEEDED", 2, "ok")
    assert (away["status"], away["recap"]) == ("UNREACHABLE", None)
    assert done["ended_at"] is not None
    later = await asked(http)
    listed = (await http.get(RUNS, params={"limit": "5"})).json()["items"]
    assert {one["id"] for one in listed} == {run["id"], later["id"]}
    assert {play["log"] for one in listed for play in one["plays"]} == {""}
    events = (await http.get("/v1/events")).json()["items"]
    told = {one["kind"] for one in events if one["kind"].startswith("playbook_run.")}
    assert told == {f"playbook_run.{what}" for what in WHAT}


WHAT = ("requested", "play_begun", "play_ended", "ended")


async def test_a_run_is_cancelled(http: httpx2.AsyncClient, guests: Guests) -> None:
    run = await asked(http)
    path = f"/v1/playbook-runs/{run['id']}/cancel"
    cancelled = await http.post(path, headers={"idempotency-key": "1"})
    assert cancelled.status_code == 202
    assert {play["status"] for play in cancelled.json()["plays"]} == {"CANCELLED"}
    again = await http.post(path, headers={"idempotency-key": "1"})
    assert again.json() == cancelled.json()
    assert not guests.orders


async def test_a_repeated_request_is_answered_as_it_was_whatever_its_playbook_became(
    http: httpx2.AsyncClient, cloud: Plane, guests: Guests
) -> None:
    key, body = {"idempotency-key": "k"}, {"sandboxes": ["one"]}
    first = await http.post(RUNS, json=body, headers=key)
    for method, become in (("PATCH", {"hosts": "nobody"}), ("DELETE", None)):
        changed = await http.request(method, "/v1/playbooks/web", json=become)
        assert changed.status_code == 200, changed.text
        again = await http.post(RUNS, json=body, headers=key)
        assert (again.status_code, again.json()) == (202, first.json()), method
    other = await http.post(RUNS, json={"sandboxes": ["two"]}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert (await http.post(RUNS, json=body)).status_code == 404
    assert len(await cloud.store.read(lambda tx: tx.playbook_runs.unfinished())) == 1
    # What was asked for is played, and told, without its playbook.
    await played(cloud, guests, first.json()["id"])
    done = (await http.get(first.headers["location"])).json()
    assert [play["status"] for play in done["plays"]] == ["SUCCEEDED"]


async def test_what_cannot_be_run_is_refused(http: httpx2.AsyncClient, guests: Guests) -> None:
    for body, status in (
        ({"sandboxes": []}, 422),
        ({"sandboxes": ["one"] * 17}, 422),
        ({"sandboxes": ["one"], "timeout_seconds": 0}, 422),
        ({"sandboxes": ["one"], "timeout_seconds": 14401}, 422),
        ({"sandboxes": ["../one"]}, 422),
        ({"sandboxes": ["one"], "forks": 2}, 422),
        ({"sandboxes": ["one", "one"]}, 422),
        ({"sandboxes": ["nobody"]}, 404),
    ):
        refused = await http.post(RUNS, json=body)
        assert refused.status_code == status, refused.text
        assert refused.json()["remediation"]
    nowhere = f"/v1/playbook-runs/RUN-{'0' * 26}"
    assert (await http.get(nowhere)).status_code == 404
    assert (await http.post(f"{nowhere}/cancel")).status_code == 404
    assert (await http.get("/v1/playbooks/none/runs")).status_code == 404


async def test_no_more_than_a_hundred_wait(http: httpx2.AsyncClient, guests: Guests) -> None:
    for _ in range(100):
        await asked(http)
    refused = await http.post(RUNS, json={"sandboxes": ["one"]})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.headers["retry-after"] == "30"
