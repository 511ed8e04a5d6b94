"""Plays on a guest as far as SSH goes: ansible-playbook, OpenSSH's ssh and OpenSSH's sshd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.changes.trees import change_tree
from scheduler.clock import SystemClock
from scheduler.errors import GuestUnreachable
from scheduler.guests.authorities import Authorities
from scheduler.guests.players import AnsiblePlayer, Played
from scheduler.guests.seed import guest_access
from scheduler.guests.ways import GuestWays
from scheduler.model import Delta
from tests.changes.guests import CONTENT, added, digest
from tests.fleet.process import free_port
from tests.guests.loopback import directly
from tests.guests.sshd import HOST, SANDBOX, GuestSshd, guest_sshd

pytestmark = pytest.mark.timeout(900)

HOSTILE = "{{ lookup('pipe','touch ran') }} \x1b[31m"
LINGERING = "- hosts: all\n  gather_facts: false\n  tasks: [{name: Linger, linger: }]\n"
LINGER = """
import threading, time
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        threading.Thread(target=time.sleep, args=(2,)).start()
        return {}
"""


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities.open(tmp_path)


@pytest.fixture
def guest(tmp_path: Path, authorities: Authorities) -> Iterator[GuestSshd]:
    with guest_sshd(tmp_path, guest_access(authorities.signer, SANDBOX.id)) as running:
        yield running


def written(directory: Path, delta: Delta) -> Path:
    tree = change_tree(delta, {digest(CONTENT): CONTENT}, name="web", title="x")
    for path, content in (*tree.files.items(), *((one, CONTENT) for one in tree.contents)):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory / "ansible"


async def played(authorities: Authorities, guest: GuestSshd, directory: Path) -> Played:
    ways = GuestWays(authorities, SystemClock(), directly, port=guest.port)
    return await AnsiblePlayer(ways, limit_seconds=400).play(directory, guest.sandbox, HOST)


async def test_a_play_is_played_with_a_certificate_for_this_sandbox_alone(
    tmp_path: Path, authorities: Authorities, guest: GuestSshd
) -> None:
    target = tmp_path / HOSTILE
    play = written(tmp_path / "set", Delta(files=(added(str(target), mode=0o640),)))
    found = await played(authorities, guest, play)
    assert found.succeeded, found.log
    assert found.reason is None
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode & 0o7777 == 0o640
    assert "\\u001b[31m" in found.log
    assert "\x1b" not in found.log
    assert "sandboxd verification on SBX-01" in guest.log
    assert not any("ran" in names for _, _, names in os.walk(tmp_path))


async def test_a_play_that_fails_says_so(
    tmp_path: Path, authorities: Authorities, guest: GuestSshd
) -> None:
    path = "/proc/no such place/file"
    play = written(tmp_path / "set", Delta(files=(added(path),)))
    found = await played(authorities, guest, play)
    assert not found.succeeded
    assert found.reason == "the play failed: see its log"
    assert path in found.log


async def test_what_ends_late_in_the_play_is_waited_for(
    tmp_path: Path, authorities: Authorities, guest: GuestSshd
) -> None:
    """Ansible would kill its own workers, which the jail forbids, and fail of that."""
    plugins = tmp_path / "play" / "action_plugins"
    plugins.mkdir(parents=True)
    (plugins / "linger.py").write_text(LINGER)
    (tmp_path / "play" / "site.yml").write_text(LINGERING)
    found = await played(authorities, guest, tmp_path / "play")
    assert found.succeeded, found.log


async def test_a_guest_that_cannot_prove_who_it_is_is_not_spoken_to(
    tmp_path: Path, authorities: Authorities, guest: GuestSshd
) -> None:
    play = written(tmp_path / "set", Delta(files=(added(str(tmp_path / "f")),)))
    somebody = replace(guest, sandbox=replace(guest.sandbox, id="SBX-02"))
    found = await played(authorities, somebody, play)
    assert not found.succeeded
    assert "Host key verification failed" in found.log or "UNREACHABLE" in found.log
    assert not (tmp_path / "f").exists()


async def test_a_guest_that_is_not_there_is_unreachable(
    authorities: Authorities, guest: GuestSshd
) -> None:
    ways = GuestWays(authorities, SystemClock(), directly, port=free_port())
    with pytest.raises(GuestUnreachable, match="was not reached"):
        await ways.stream_to(guest.sandbox, HOST)
    with pytest.raises(GuestUnreachable, match="no known address"):
        await ways.stream_to(replace(guest.sandbox, ip_address=None), HOST)
