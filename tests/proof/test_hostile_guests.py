"""Guests that mean harm, on a real host: an address that is not theirs, floods, escape sequences.

`victim` does nothing wrong; `mallory` takes its address and poses as an sshd.
"""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.proof.commanding import CLIENT, LONG_S, Commanding, commanding

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

EVIL = "\\033]0;owned\\007\\033[2J\\033[31mred\\302\\233m\\r\\n"
GROWTH_MB = 64
POSE = f"""
mv /usr/sbin/sshd /usr/sbin/sshd.away
kill "$(cat /run/sshd.pid)"
(while :; do
    printf 'SSH-2.0-{EVIL}' | nc -l -p 22
    (printf '{EVIL}'; yes) | nc -l -p 22
    cat /dev/zero | nc -l -p 22
done) >/dev/null 2>&1 &
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commanding]:
    with commanding(tmp_path_factory.mktemp("hostile")) as made:
        for name in ("victim", "mallory"):
            made.story.create(name, ready="ssh")
        for name in ("victim", "mallory"):
            made.daemon.wait_for(name, seconds=LONG_S, state="RUNNING")
        yield made


def on_a_terminal(world: Commanding, *words: str) -> bytes:
    """Return what `sandboxctl` writes when it has a terminal for output and errors."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "SANDBOXD_SOCKET": str(world.daemon.socket), "TERM": "xterm"}
    with subprocess.Popen(
        [*CLIENT, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # a terminal whose other side is gone
            while block := os.read(ours, 65536):
                said += block
        process.wait(LONG_S)
    os.close(ours)
    return said


def is_inert(said: bytes) -> bool:
    """Return whether nothing in it steers a terminal, but for what draws our own colours."""
    text = said.decode("utf-8")
    return not any(one in text for one in ("\x1b]", "\x1b[2J", "\x07", "\x9b"))


def memory_mb(world: Commanding) -> int:
    assert world.daemon.process is not None
    status = Path(f"/proc/{world.daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def test_escape_sequences_reach_no_terminal(world: Commanding) -> None:
    told = on_a_terminal(world, "exec", "mallory", "--", "printf", EVIL)
    assert b"owned" in told
    assert is_inert(told), told
    newest = world.newest("mallory")["id"]
    for words in (("command", "output", newest), ("command", "show", newest)):
        again = on_a_terminal(world, *words)
        assert again
        assert is_inert(again), again
    piped = world.exec("mallory", "--", "printf", EVIL)
    assert piped.stdout == EVIL.encode().decode("unicode_escape").encode("latin-1")


def test_a_guest_cannot_send_as_another_once_it_has_its_address(world: Commanding) -> None:
    """libvirt's filter: the same ping passes with the guest's own address."""
    victim = world.daemon.sandbox("victim")["ip_address"]
    line = 'ip a add "$1/32" dev eth0; ping -c 2 -W 2 -I "$1" 192.168.122.1 >/dev/null; echo $?'
    stolen = world.exec(
        "mallory", "--", "sh", "-c", f'{line}; ip a del "$1/32" dev eth0', "sh", victim
    )
    assert stolen.stdout == b"1\n", stolen
    own = world.exec(
        "mallory", "--", "sh", "-c", "ping -c 2 -W 2 192.168.122.1 >/dev/null; echo $?"
    )
    assert own.stdout == b"0\n", own


def test_who_poses_as_an_sshd_floods_and_colours_nobody(world: Commanding) -> None:
    assert world.exec("--script", "-", "mallory", stdin=POSE.encode()).returncode == 0
    # No connection from before is left to be joined.
    world.daemon.kill()
    world.daemon.start()
    assert world.exec("victim", "hostname").stdout == b"victim\n"
    before = memory_mb(world)
    refused = on_a_terminal(world, "exec", "mallory", "true")
    assert b"nothing was run" in refused, refused
    assert is_inert(refused), refused
    assert memory_mb(world) < before + GROWTH_MB
    assert world.exec("victim", "hostname").stdout == b"victim\n"
