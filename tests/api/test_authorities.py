"""SSH authorities over HTTP: shown, rotated, retired."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from scheduler.control.authority_keeper import AuthorityKeeper
from scheduler.guests.authorities import Authorities
from tests.service.planes import Plane
from tests.store import samples

ALL = "/v1/ssh-authorities"
Keep = Callable[[], Awaitable[object]]


@pytest.fixture
async def keep(cloud: Plane, tmp_path: Path) -> Keep:
    keeper = AuthorityKeeper(
        cloud.store,
        cloud.clock,
        Authorities.open(tmp_path),
        told=cloud.journal.poke,
        given_up=lambda _: None,
    )
    await keeper.keep()
    return keeper.keep


async def test_one_is_shown_followed_by_another_and_retired(
    http: httpx2.AsyncClient, cloud: Plane, keep: Keep
) -> None:
    (first,) = (await http.get(ALL)).json()["items"]
    assert (first["name"], first["state"], first["given"]) == ("ssh-ca.1", "SIGNING", False)
    assert first["public_key"].startswith("ssh-ed25519 ")
    key = {"idempotency-key": "rotate-1"}
    asked = await http.post(f"{ALL}/rotate", headers=key)
    assert (asked.status_code, asked.json()["state"]) == (202, "MAKING")
    assert asked.headers["location"] == f"{ALL}/{asked.json()['id']}"
    assert (await http.post(f"{ALL}/rotate", headers=key)).json() == asked.json()
    await keep()
    made = (await http.get(asked.headers["location"], params={"wait": "30s"})).json()
    assert (made["name"], made["state"]) == ("ssh-ca.2", "SIGNING")
    box = samples.sandbox("SBX-1", ssh_ca=first["fingerprint"])
    await cloud.store.submit(lambda tx: tx.sandboxes.add(box))
    path = f"{ALL}/ssh-ca.1/retire"
    refused = await http.post(path, json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert refused.json()["trusting"] == ["SBX-1"]
    planned = await http.post(f"{path}?dry_run=true", json={"force": True})
    assert (planned.status_code, planned.json()["state"]) == (200, "KEPT")
    gone = await http.post(path, json={"force": True})
    assert (gone.status_code, gone.json()["state"], gone.json()["guests"]) == (202, "RETIRING", 1)
    await keep()
    left = (await http.get(f"{ALL}/ssh-ca.1")).json()
    assert (left["state"], left["sandboxes"]) == ("RETIRED", ["SBX-1"])
    assert cloud.woken.count("authorities") == 2


async def test_what_is_not_there_is_told(http: httpx2.AsyncClient, keep: Keep) -> None:
    missing = await http.get(f"{ALL}/ssh-ca.9")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    odd = await http.get(f"{ALL}/..%2Fcluster.key")
    assert odd.status_code in (404, 422)
    unknown = await http.post(f"{ALL}/ssh-ca.1/retire", json={"why": "x"})
    assert unknown.status_code == 422
