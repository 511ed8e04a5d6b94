"""Commands in a real guest, busybox only, behind a real host: the daemon, its client, one boot.

Each test leaves the guest with nothing of its commands in it; those that break connections, kill
the daemon and reboot the guest come last.
"""

from __future__ import annotations

import hashlib
import random
import tarfile
from collections.abc import Iterator
from io import BytesIO

import pytest

from tests.cli.running import on_terminal
from tests.fleet.process import wait_until
from tests.proof.commanding import LONG_S, Commanding, commanding
from tests.proof.daemon import Document

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

KEPT = 1 << 20
FLOOD = 200_000_000
# It leaves its parent, its session and its process group, holds its output open and ignores TERM.
STUBBORN = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1000' &); echo up; sleep 1000"
SCRIPT = b'printf \'%s|\' "$0" "$NAME" "$(pwd)"\nprintf \'\\000\\377\' >&2\nexit 3\n'
TOKEN = f"ghp_{'a1B2' * 9}"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commanding]:
    with commanding(tmp_path_factory.mktemp("commands")) as made:
        made.boots("box")
        yield made


def test_bytes_pass_both_ways(box: Commanding) -> None:
    every = bytes(range(256)) * 2_700
    assert box.exec("-i", "box", "cat", stdin=every).stdout == every
    ran = box.exec("-i", "box", "sha256sum", stdin=every)
    assert ran.stdout.split()[0].decode() == hashlib.sha256(every).hexdigest()


def test_a_long_archive_arrives_as_it_was(box: Commanding) -> None:
    content = random.Random(4).randbytes(1 << 20) * 32
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("long")
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    unpack = "tar x -O | sha256sum"
    ran = box.exec("-i", "box", "sh", "-c", unpack, stdin=packed.getvalue())
    assert ran.returncode == 0, ran
    assert ran.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()


def test_arguments_arrive_as_they_are(box: Commanding) -> None:
    hostile = [
        "",
        "'",
        '"',
        "a\nb\n",
        "$(reboot)",
        "`reboot`",
        "; reboot",
        "\\",
        "grüße",
        "-n",
        "*",
    ]
    told = box.exec("box", "--", "sh", "-c", 'printf "%s\\0" "$@"', "sh", *hostile)
    assert told.stdout == b"".join(f"{word}\0".encode() for word in hostile)


def test_a_script_runs_with_variables_in_a_directory_as_a_user(box: Commanding) -> None:
    words = ("--script", "-", "--env", "NAME=a b'c", "--cwd", "/proc", "box")
    ran = box.exec(*words, stdin=SCRIPT)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, b"/bin/sh|a b'c|/proc|", b"\0\xff")
    ran = box.exec("--script", "-", "box", "--", "awk", "-f", "-", stdin=b'BEGIN { print "awk" }')
    assert ran.stdout == b"awk\n"
    other = box.exec("--user", "nobody", "--cwd", "/proc", "box", "sh", "-c", "id -un; pwd")
    assert other.stdout == b"nobody\n/proc\n"


def test_the_exit_code_is_ours(box: Commanding) -> None:
    for argv, code in (
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 255"), 255),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("no-such-program",), 127),
    ):
        assert box.exec("box", "--", *argv).returncode == code
    assert box.exec("--cwd", "/nowhere", "box", "true").returncode == 125


def test_a_program_has_our_terminal(box: Commanding) -> None:
    line = 'stty size; read x; echo "<$x>"; exit 7'
    words = ("exec", "--tty", "box", "sh", "-c", line)
    ran = on_terminal(box.daemon.socket, *words, prompt="50 200", typed="typed\r")
    assert ran.code == 7, ran
    assert "<typed>" in ran.out
    record = box.newest("box")
    assert (record["status"], record["metadata"]["terminal"]) == ("EXITED", True)
    assert "<typed>" in record["stdout"]


def test_secrets_are_taken_out_before_anything_is_kept(box: Commanding) -> None:
    line = f'echo "$TOKEN {TOKEN}"; sleep 1; echo "${{TOKEN}}"'
    told = box.exec("--secret-env", "TOKEN", "box", "sh", "-c", line)
    assert told.stdout == b"[redacted:named] [redacted:token]\n[redacted:named]\n"
    record = box.newest("box")
    assert "s3cr3t!" not in str(record)
    assert TOKEN not in str(record)
    assert box.ctl("command", "output", record["id"]).stdout == told.stdout
    for file in box.daemon.state_dir.iterdir():
        assert not file.is_file() or b"s3cr3t!" not in file.read_bytes(), file
    assert "s3cr3t!" not in box.daemon.log.read_text()


def test_a_flood_is_cut_and_counted_to_the_byte(box: Commanding) -> None:
    numbers = "".join(f"{number}\n" for number in range(1, 100_001)).encode()
    line = f"(seq 100000; cat /dev/zero) | head -c {FLOOD}"
    flood = box.exec("--timeout", "30m", "box", "sh", "-c", line)
    assert flood.returncode == 0
    assert flood.stdout == numbers.ljust(KEPT, b"\0")
    assert f"wrote {FLOOD} bytes to stdout and 0 to stderr".encode() in flood.stderr
    record = box.newest("box")
    assert (record["stdout_bytes"], record["truncated"]) == (FLOOD, True)


def test_it_is_over_when_the_program_is(box: Commanding) -> None:
    ran = box.exec("box", "sh", "-c", "(setsid sleep 1000 &); echo done")
    assert (ran.returncode, ran.stdout) == (0, b"done\n")
    (left,) = box.running_of("box", box.newest("box")["id"])
    assert box.exec("box", "kill", left.split("/")[2]).returncode == 0


def test_what_hangs_is_ended_with_all_it_started(box: Commanding) -> None:
    # Time enough to come up in, in a guest that is emulated on a busy machine.
    hung = box.exec("--timeout", "60s", "box", "sh", "-c", STUBBORN)
    assert (hung.returncode, hung.stdout) == (124, b"up\n")
    timed_out = box.newest("box")
    killed = box.begin("box", "sh", "-c", STUBBORN)
    assert len(box.running_of("box", killed)) > 1
    assert box.ctl("command", "kill", killed).returncode == 0
    for command_id, status in ((timed_out["id"], "TIMED_OUT"), (killed, "KILLED")):
        ended = box.ended(command_id)
        assert (ended["status"], ended["kill_unconfirmed"]) == (status, False)
    assert not box.running_of("box", timed_out["id"], killed)


def is_interrupted(box: Commanding, command_id: str, output: bytes = b"up\n") -> Document:
    """A command nobody knows the end of: told so, and proven to have left nothing."""
    ended = box.ended(command_id)
    told = (ended["status"], ended["exit_code"], ended["kill_unconfirmed"])
    assert told == ("INTERRUPTED", None, False), ended
    assert "nothing of it runs any more" in ended["reason"]
    assert not box.running_of("box", command_id)
    shown = box.ctl("command", "output", command_id)
    assert (shown.returncode, shown.stdout) == (125, output)
    return ended


def test_a_connection_lost_in_the_guest_interrupts(box: Commanding) -> None:
    """The parent of the program is the guest's sshd for this connection."""
    lost = box.begin("box", "sh", "-c", f'(sleep 1; kill -KILL "$PPID") & {STUBBORN}')
    assert "the connection to the guest broke" in is_interrupted(box, lost)["reason"]


def test_a_connection_lost_on_the_host_interrupts(box: Commanding) -> None:
    lost = box.begin("box", "sh", "-c", STUBBORN)
    box.fleet["h1"].kill_sshd()
    box.fleet["h1"].start_sshd()
    assert "the connection to the guest broke" in is_interrupted(box, lost)["reason"]


def test_a_daemon_that_dies_leaves_nothing_and_runs_nothing_twice(box: Commanding) -> None:
    orphan = box.begin("box", "sh", "-c", f"echo x >>/root/runs; {STUBBORN}")
    box.daemon.kill()
    box.daemon.start()
    # What it had said was in memory only.
    assert "the daemon that ran it ended" in is_interrupted(box, orphan, b"")["reason"]
    assert box.exec("box", "cat", "/root/runs").stdout == b"x\n"


def test_a_guest_that_is_rebooted_interrupts(box: Commanding) -> None:
    rebooting = box.begin("box", "sh", "-c", "echo up; sync; reboot -f; sleep 1000")
    ended = box.ended(rebooting)
    assert (ended["status"], ended["exit_code"], ended["stdout"]) == ("INTERRUPTED", None, "up\n")
    wait_until(
        lambda: box.exec("box", "true").returncode == 0, what="sshd", limit_s=LONG_S, every_s=1
    )
    assert not box.running_of("box", rebooting)


def test_history_outlives_the_sandbox(box: Commanding) -> None:
    sandbox_id = box.daemon.sandbox("box")["id"]
    box.daemon.api.delete("/v1/sandboxes/box")
    box.daemon.wait_for(sandbox_id, state="DESTROYED")
    listed = list(box.daemon.api.items(f"/v1/sandboxes/{sandbox_id}/commands"))
    assert {"EXITED", "TIMED_OUT", "KILLED", "INTERRUPTED"} == {one["status"] for one in listed}
