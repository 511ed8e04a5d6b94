"""Stored playbooks on a guest as far as SSH goes: real Ansible, a real sshd, and its recap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.guests.authorities import Authorities
from scheduler.guests.playbook_players import PlaybookPlayer, PlayOrder, judged
from scheduler.guests.players import _played
from scheduler.guests.seed import guest_access
from scheduler.guests.ways import GuestWays
from scheduler.model import PlayStatus, Recap
from scheduler.processes import Ended
from tests.guests.loopback import directly
from tests.guests.sshd import HOST, SANDBOX, GuestSshd, guest_sshd

pytestmark = pytest.mark.timeout(900)

PLAY = """
- name: web
  hosts: sbx-*
  gather_facts: false
  tasks:
    - name: Write
      ansible.builtin.copy:
        dest: {path}
        content: "{{{{ inventory_hostname }}}}"
    - name: Fail
      ansible.builtin.command: /bin/false
"""
HIDDEN = ("b3BlbnNzaC1rZXktdjEAAAAA", "abcdefghij0123", "hunter22", "wJalrXUtnFEMI")
# Put together here, so that no scanner takes this file for a leak.
SECRETS = f"""-----BEGIN OPENSSH PRIVATE {"KEY"}-----
{HIDDEN[0]}
-----END OPENSSH PRIVATE {"KEY"}-----
Authorization: Bearer {HIDDEN[1]}
https://robot:{HIDDEN[2]}@git.example/ AWS_SECRET_ACCESS_KEY={HIDDEN[3]}{"x" * 30}
"""
ORDER = PlayOrder(yaml="", check=False, limit_seconds=9)


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities.open(tmp_path)


@pytest.fixture
def guest(tmp_path: Path, authorities: Authorities) -> Iterator[GuestSshd]:
    with guest_sshd(tmp_path, guest_access(authorities.signer, SANDBOX.id)) as running:
        yield running


async def test_a_play_is_counted_and_its_failure_named(
    tmp_path: Path, authorities: Authorities, guest: GuestSshd
) -> None:
    path = tmp_path / "written"
    ways = GuestWays(authorities, SystemClock(), directly, port=guest.port)
    yaml = PLAY.format(path=path)
    order = PlayOrder(yaml=yaml, check=True, limit_seconds=400)
    checked = await PlaybookPlayer(ways).play(order, guest.sandbox, HOST)
    assert checked.recap == Recap(ok=1, changed=1, skipped=1), checked
    assert (checked.status, path.exists()) == (PlayStatus.SUCCEEDED, False)
    order = PlayOrder(yaml=yaml, check=False, limit_seconds=400)
    played = await PlaybookPlayer(ways).play(order, guest.sandbox, HOST)
    assert (played.status, played.recap) == (PlayStatus.FAILED, Recap(ok=1, changed=1, failed=1))
    assert (played.reason or "").startswith("Fail: "), played
    assert path.read_text() == "sbx-01"
    assert "sandboxd playbook on SBX-01" in guest.log


def left(**counts: int) -> bytes:
    return json.dumps({"counts": {"one": counts}, "faults": {"one": "T: \x1b[1m"}}).encode()


@pytest.mark.parametrize(
    ("code", "recap", "status", "told"),
    [
        (0, left(ok=1), PlayStatus.SUCCEEDED, None),
        (2, left(failed=1), PlayStatus.FAILED, "T: \\u001b[1m"),
        (4, left(unreachable=1), PlayStatus.UNREACHABLE, "T: \\u001b[1m"),
        (None, left(ok=1), PlayStatus.TIMED_OUT, "it did not end within 9 s"),
        (0, b"", PlayStatus.FAILED, "the playbook's hosts do not match one"),
        (4, b'{"counts": 3}', PlayStatus.FAILED, "ended with exit code 4"),
        (1, b'{"counts": {"one": {"ok": []}}, "faults": {}}', PlayStatus.FAILED, "exit code 1"),
    ],
)
def test_what_an_end_means(
    code: int | None, recap: bytes, status: PlayStatus, told: str | None
) -> None:
    end = judged(Ended(code=code, output="said"), recap, "one", ORDER)
    assert end.status is status
    assert (end.reason is None) if told is None else told in (end.reason or "")


def test_neither_log_nor_reason_of_a_play_tells_a_secret() -> None:
    fault = f"T: {SECRETS}\ud800"
    recap = json.dumps({"counts": {"one": {"failed": 1}}, "faults": {"one": fault}}).encode()
    end = judged(Ended(code=2, output=f"fatal: {SECRETS}"), recap, "one", ORDER)
    played = _played(Ended(code=2, output=f"fatal: {SECRETS}"), 9)
    for text in (end.log, end.reason or "", played.log):
        assert "[redacted:private_key]" in text
        assert not [secret for secret in HIDDEN if secret in text]
