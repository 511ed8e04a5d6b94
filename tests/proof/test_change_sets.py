"""From a changed sandbox to a merged request, on real hosts, a real guest and a real forge.

One test, because each step starts from what the ones before it left; it ends by proving that
nothing is left on any host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.process import wait_until
from tests.fleet.python_image import OFFERED
from tests.proof.changing import (
    CHANGE,
    EARLIER,
    IMAGE,
    INSTALL,
    MANY_S,
    REVIEWED,
    Bench,
    check_diff,
)
from tests.proof.daemon import Document, running
from tests.proof.test_main_job import configuration
from tests.publishing.house import House, git, opened, with_sshd

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(3600)]

WEB = "web"
FORGE = """
[publishing]
poll_seconds = 1
[[forges]]
name = "forge"
kind = "github"
url = "{house.url}"
token_file = "{house.token_file}"
ca_file = "{house.ca_file}"
ssh_key = "{house.ssh_key}"
ssh_known_hosts = "{house.known_hosts}"
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path / "house") as made, with_sshd(made):
        made.repository()
        yield made


@pytest.fixture
def bench(tmp_path: Path, python_guest_image: Path, house: House) -> Iterator[Bench]:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet.make(2))
        for host in fleet:
            host.offer(python_guest_image, IMAGE)
        text = configuration(fleet).replace("[metrics]", FORGE.format(house=house) + "[metrics]")
        made = Bench(fleet, stack.enter_context(running(tmp_path, text)))
        made.hosts_come_up()
        yield made


def test_from_a_changed_sandbox_to_a_merged_request(bench: Bench, house: House) -> None:
    changed(bench)
    check_diff(bench.told("diff", WEB, "before", "after"))
    published = published_in_one_line(bench, house)
    bench.no_clone_is_left(WEB)
    check_change_set(bench.change_set(published["change_set_id"]))
    merged_while_nobody_looked(bench, house, published)
    over_ssh(bench, house, published["change_set_id"])
    an_incomplete_one_fails_though_the_daemon_dies(bench, published["change_set_id"])
    bench.told("delete", WEB, "-y")
    bench.nothing_is_left()


def changed(bench: Bench) -> None:
    """A sandbox that was used, looked at, changed, and looked at again."""
    bench.create(WEB)
    bench.run(WEB, EARLIER)
    bench.snapshot(WEB, "before")
    bench.run(WEB, INSTALL)
    bench.run(WEB, CHANGE)
    bench.run(WEB, "exit 3", code=3)
    bench.snapshot(WEB, "after")


def published_in_one_line(bench: Bench, house: House) -> Document:
    published = bench.told(
        *("publish", WEB, "--from", "before", "--to", "after", "--name", "web_server"),
        *("--repo", house.https(), "--branch", "sandbox/web", "--title", "Web servers"),
    )
    assert (published["status"], published["base"]) == ("PR_CREATED", "main")
    assert published["commit_sha"] == house.head("sandbox/web")
    request = house.dialect.requests[published["pr_number"]]
    assert request.title == "Web servers"
    assert "verified: played on a fresh clone, which then was what the sandbox was" in request.text
    assert f"but for {len(REVIEWED)} that `REVIEW.md` lists" in request.text
    folder = published["folder"]
    assert f"{folder}/ansible/roles/web_server/tasks/main.yml" in house.files("sandbox/web")
    assert f"{folder}/puppet/web_server/manifests/init.pp" in house.files("sandbox/web")
    return published


def check_change_set(made: Document) -> None:
    """It was proven, but for what a review file says, and no tool found fault with it."""
    verification = made["verification"]
    assert (verification["result"], verification["reason"]) == ("PASSED", None), verification
    assert {one["name"] for one in verification["remaining"]} == REVIEWED
    assert all(one["reviewed"] for one in verification["remaining"])
    assert {one["result"] for one in made["checks"]} == {"passed"}, made["checks"]


def merged_while_nobody_looked(bench: Bench, house: House, published: Document) -> None:
    bench.daemon.kill()
    house.merge(published["pr_number"])
    bench.daemon.start()
    done = bench.told("publication", "wait", published["id"], "--until-merged")
    assert done["status"] == "MERGED"


def over_ssh(bench: Bench, house: House, id: str) -> None:
    """What is proven already is published without another clone."""
    attempts = bench.change_set(id)["verification"]["attempts"]
    line = ("--repo", house.ssh(), "--branch", "sandbox/ssh", "--folder", "other")
    published = bench.told("publish", "--change-set", id, *line)
    assert published["status"] == "PR_CREATED"
    assert "other/REVIEW.md" in house.files("sandbox/ssh")
    message = git("log", "-1", "--format=%B", published["commit_sha"], at=house.repository())
    assert f"Change-Set: {id}" in message
    assert bench.change_set(id)["verification"]["attempts"] == attempts


def an_incomplete_one_fails_though_the_daemon_dies(bench: Bench, id: str) -> None:
    """Killed in the middle of the play, it is tried on another clone, and what lacks is named."""
    maim(bench, id)
    bench.told("changeset", "verify", id, "--no-wait")
    first = bench.reaches(id, ["PLAYING"])["verification"]
    wait_until(bench.plays, what="a play in progress", limit_s=MANY_S, every_s=0.1)
    bench.daemon.kill()
    bench.daemon.start()
    ended = bench.reaches(id, ["DONE"])["verification"]
    assert (ended["restarts"], ended["clone_id"] != first["clone_id"]) == (1, True)
    assert ended["result"] == "FAILED", ended
    assert ended["reason"].startswith(
        "3 things differ; the first: path '/etc/host.conf' is surplus"
    )
    wrong = {one["name"]: one["difference"] for one in ended["remaining"] if not one["reviewed"]}
    assert wrong == {
        "/etc/inputrc": "different",
        "/etc/host.conf": "surplus",
        f"/etc/{OFFERED}.conf": "different",
    }
    bench.no_clone_is_left(WEB)


def maim(bench: Bench, id: str) -> None:
    """Take three wishes out of a role: a file's, a removal's, a configuration's."""
    role = bench.daemon.state_dir / bench.change_set(id)["path_ansible"] / "roles" / "web_server"
    defaults = role / "defaults" / "main.yml"
    text = defaults.read_text()
    for path in ("/etc/inputrc", "/etc/host.conf", f"/etc/{OFFERED}.conf"):
        item = rf'(?m)^  - (path: )?!unsafe "{re.escape(path)}"\n(    .*\n)*'
        text, gone = re.subn(item, "", text)
        assert gone == 1, text
    defaults.write_text(text)
