"""Playbooks over HTTP: made, edited against a revision, ordered, taken in and given out."""

from __future__ import annotations

from typing import Any

import httpx2

from scheduler.model import ChangeDiff, ChangeSet, Delta, Diff, EntryKind
from scheduler.store import Transaction
from tests.changes.guests import added
from tests.service.planes import Plane
from tests.store import samples

COPY = {
    "name": "Write the greeting",
    "module": "ansible.builtin.copy",
    "params": {"dest": "/etc/motd", "content": "hello {{ inventory_hostname }}\n"},
}
PING = {"name": "Answer", "module": "ansible.builtin.ping"}


async def made(http: httpx2.AsyncClient, **fields: object) -> dict[str, Any]:
    answer = await http.post("/v1/playbooks", json={"name": "web", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_playbook_is_made_shown_listed_and_deleted(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    answer = await http.post("/v1/playbooks", json={"name": "web", "tasks": [COPY, PING]})
    document = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/playbooks/web")
    assert answer.headers["etag"] == '"1"'
    assert [task["position"] for task in document["tasks"]] == [0, 1]
    assert (await http.get("/v1/playbooks/web")).json() == document
    listed = (await http.get("/v1/playbooks", params={"order_by": "name"})).json()["items"]
    assert [one["id"] for one in listed] == [document["id"]]
    tasks = (await http.get("/v1/playbooks/web/tasks")).json()["items"]
    assert tasks == document["tasks"]
    taken = await http.post("/v1/playbooks", json={"name": "web"})
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert (await http.delete("/v1/playbooks/web?dry_run=true")).json() == document
    assert (await http.delete("/v1/playbooks/web")).json() == document
    gone = await http.get("/v1/playbooks/web")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    events = (await http.get("/v1/events")).json()["items"]
    told = [one["message"] for one in events if one["kind"].startswith("playbook.")]
    assert told == [
        "playbook web: created with 2 tasks",
        "playbook web: deleted with 2 tasks",
    ]


async def test_a_repeated_request_makes_one_playbook(http: httpx2.AsyncClient) -> None:
    key = {"idempotency-key": "one"}
    first = await http.post("/v1/playbooks", json={"name": "web"}, headers=key)
    again = await http.post("/v1/playbooks", json={"name": "web"}, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    task = await http.post("/v1/playbooks/web/tasks", json=PING, headers={"idempotency-key": "2"})
    twice = await http.post("/v1/playbooks/web/tasks", json=PING, headers={"idempotency-key": "2"})
    assert twice.json() == task.json()
    assert len(twice.json()["tasks"]) == 1


async def test_every_change_is_a_revision_and_a_stale_one_is_refused(
    http: httpx2.AsyncClient,
) -> None:
    tasks = (await made(http, tasks=[COPY, PING]))["tasks"]
    first, second = (task["id"] for task in tasks)
    one = "/v1/playbooks/web"
    edited = await http.patch(one, json={"hosts": "db*"}, headers={"if-match": '"1"'})
    assert (edited.json()["hosts"], edited.json()["become"], edited.headers["etag"]) == (
        "db*",
        False,
        '"2"',
    )
    ordered = await http.put(f"{one}/tasks/order", json={"task_ids": [second, first]})
    assert [task["id"] for task in ordered.json()["tasks"]] == [second, first]
    changed = await http.patch(
        f"{one}/tasks/{first}", json={"params": {}, "literal": True, "name": "Other"}
    )
    after = changed.json()["tasks"][1]
    assert (after["name"], after["params"], after["literal"]) == ("Other", {}, True)
    added = await http.post(f"{one}/tasks", json=PING, headers={"if-match": '"4"'})
    assert (added.status_code, added.json()["revision"]) == (201, 5)
    removed = await http.delete(f"{one}/tasks/{second}")
    assert [task["position"] for task in removed.json()["tasks"]] == [1, 2]
    renamed = await http.patch(one, json={"name": "db"})
    assert renamed.json()["revision"] == 7
    stale = {"if-match": '"6"'}
    for method, path, body in (
        ("PATCH", "", {"become": True}),
        ("DELETE", "", None),
        ("POST", "/tasks", PING),
        ("PATCH", f"/tasks/{first}", {"name": "x"}),
        ("DELETE", f"/tasks/{first}", None),
        ("PUT", "/tasks/order", {"task_ids": []}),
    ):
        refused = await http.request(method, f"/v1/playbooks/db{path}", json=body, headers=stale)
        assert (refused.status_code, refused.json()["code"]) == (412, "stale_revision"), method
    assert (await http.get("/v1/playbooks/db")).json()["revision"] == 7


async def test_an_order_names_every_task_once(http: httpx2.AsyncClient) -> None:
    tasks = (await made(http, tasks=[COPY, PING]))["tasks"]
    first, second = (task["id"] for task in tasks)
    for ids in ([first], [first, first], [first, second, second], []):
        answer = await http.put("/v1/playbooks/web/tasks/order", json={"task_ids": ids})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert (await http.get("/v1/playbooks/web")).json()["revision"] == 1


async def test_a_task_belongs_to_its_playbook(http: httpx2.AsyncClient) -> None:
    task = (await made(http, tasks=[PING]))["tasks"][0]["id"]
    await made(http, name="other")
    for method in ("PATCH", "DELETE"):
        answer = await http.request(method, f"/v1/playbooks/other/tasks/{task}", json={"name": "x"})
        assert answer.status_code == 404
        assert "sandboxctl playbook show other" in answer.json()["remediation"]


BAD: tuple[dict[str, Any], ...] = (
    {"name": "../etc/passwd"},
    {"name": "a b"},
    {"name": "web", "hosts": "{{ x }}"},
    {"name": "web", "hosts": ""},
    {"name": "web", "vars": {}},
    {"name": "web", "tasks": [PING | {"module": "ping"}]},
    {"name": "web", "tasks": [PING | {"module": "ansible.builtin"}]},
    {"name": "web", "tasks": [PING | {"name": "{{ lookup('pipe', 'id') }}"}]},
    {"name": "web", "tasks": [PING | {"name": "a\nb"}]},
    {"name": "web", "tasks": [PING | {"when": "true"}]},
    {"name": "web", "tasks": [PING | {"params": [1]}]},
    {"name": "web", "tasks": [PING | {"params": {"a": "x" * 70_000}}]},
    {"name": "web", "tasks": [PING | {"params": {"a": [[[[[[[[[[[[1]]]]]]]]]]]]}}]},
    {"name": "web", "tasks": [PING] * 501},
)


async def test_what_ansible_would_take_otherwise_is_refused(http: httpx2.AsyncClient) -> None:
    for body in BAD:
        answer = await http.post("/v1/playbooks", json=body)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["remediation"]
    assert (await http.get("/v1/playbooks")).json()["items"] == []


async def test_numbers_that_json_does_not_have_are_refused(http: httpx2.AsyncClient) -> None:
    text = '{"name": "web", "tasks": [{"name": "x", "module": "a.b.c", "params": {"a": 1e999}}]}'
    answer = await http.post(
        "/v1/playbooks", content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422


async def test_a_playbook_is_bounded_as_a_whole(http: httpx2.AsyncClient) -> None:
    big = COPY | {"params": {"content": "x" * 60_000}}
    refused = await http.post("/v1/playbooks", json={"name": "web", "tasks": [big] * 5})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    await made(http, tasks=[PING] * 500)
    full = await http.post("/v1/playbooks/web/tasks", json=PING)
    assert (full.status_code, full.json()["code"]) == (422, "invalid")
    assert "500 tasks" in full.json()["detail"]


async def test_yaml_goes_out_and_comes_in_again(http: httpx2.AsyncClient) -> None:
    data = COPY | {"literal": True}
    await made(http, hosts="web*", become=True, tasks=[COPY, data, PING])
    text = (await http.get("/v1/playbooks/web/export")).json()["yaml"]
    assert text.count("!unsafe") == 1
    taken = await http.post("/v1/playbooks/import", json={"name": "copy", "yaml": text})
    assert taken.status_code == 201, taken.text
    again = (await http.get("/v1/playbooks/copy/export")).json()
    assert (again["revision"], again["yaml"]) == (
        1,
        text.replace("- name: web\n", "- name: copy\n"),
    )
    assert [task["literal"] for task in taken.json()["tasks"]] == [False, True, False]
    for bad, why in (
        ("- hosts: all\n  roles: [x]", "roles"),
        ("- hosts: all\n  tasks:\n  - {name: x, shell: id}", "task 1"),
        ("[" * 1000, "deeper"),
        ("a: [", "line"),
    ):
        refused = await http.post("/v1/playbooks/import", json={"name": "bad", "yaml": bad})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
        assert why in refused.json()["detail"]


async def test_who_waits_gets_an_answer_when_nobody_checks(http: httpx2.AsyncClient) -> None:
    await made(http)
    answer = await http.get("/v1/playbooks/web", params={"wait": "0s"})
    assert answer.json()["checked_revision"] is None


async def test_the_loop_is_told_of_each_change(http: httpx2.AsyncClient, cloud: Plane) -> None:
    await made(http)
    await http.patch("/v1/playbooks/web", json={"become": True})
    await http.delete("/v1/playbooks/web")
    assert cloud.woken.count("playbooks") == 3


async def with_delta(cloud: Plane, delta: Delta) -> str:
    """Record a change set whose diff found this; return its id."""
    diff = Diff(
        id="DIF-7",
        sandbox_id="SBX-7",
        from_snapshot="before",
        to_snapshot="after",
        diff_json=ChangeDiff(),
        delta=delta,
        created_at=cloud.clock.now(),
    )
    change_set = ChangeSet(
        id="CHG-7",
        job_id="JOB-7",
        sandbox_id="SBX-7",
        diff_id=diff.id,
        path_ansible="ansible",
        path_puppet="puppet",
        created_at=cloud.clock.now(),
    )

    def write(tx: Transaction) -> None:
        tx.sandboxes.add(samples.sandbox("SBX-7", sandbox_name="box-7"))
        tx.diffs.add(diff)
        tx.change_sets.add(change_set)

    await cloud.store.submit(write)
    return change_set.id


async def test_what_a_change_set_brings_about_is_taken_in_as_data(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    link = added("/srv/{{ x }}", EntryKind.SYMLINK, target="/srv/a", mode=0o777)
    change_set = await with_delta(cloud, Delta(files=(link, added("/srv/file"))))
    body = {"name": "web", "change_set_id": change_set}
    path = "/v1/playbooks/import-change-set"
    refused = await http.post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert "/srv/file" in refused.json()["detail"]
    taken = await http.post(path, json={**body, "partial": True})
    assert (taken.status_code, taken.headers["location"]) == (201, "/v1/playbooks/web")
    (task,) = taken.json()["tasks"]
    assert (task["literal"], task["params"]["path"]) == (True, "/srv/{{ x }}")
    text = (await http.get("/v1/playbooks/web/export")).json()["yaml"]
    assert '!unsafe "/srv/{{ x }}"' in text
    events = (await http.get("/v1/events")).json()["items"]
    told = [one["message"] for one in events if one["kind"] == "playbook.created"]
    assert told == [f"playbook web: imported from {change_set}, 1 things left out, with 1 tasks"]


async def test_a_change_set_that_says_nothing_is_not_taken_in(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    path = "/v1/playbooks/import-change-set"
    change_set = await with_delta(cloud, Delta())
    empty = await http.post(path, json={"name": "web", "change_set_id": change_set})
    assert (empty.status_code, "would be 0 tasks" in empty.json()["detail"]) == (422, True)
    other = await cloud.change_set(2)
    unknown = await http.post(path, json={"name": "web", "change_set_id": other.id})
    assert (unknown.status_code, "only names are kept" in unknown.json()["detail"]) == (404, True)
