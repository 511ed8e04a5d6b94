"""Runs of playbooks on booted guests with Python: one host, one daemon, two guests.

Each test says itself what it wants of the guests; those that kill the daemon and make a guest deaf
come last. It ends by proving that nothing is left, on the host and where plays are played.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.guests.stages import PREFIX
from tests.fleet.fleet import Fleet
from tests.fleet.process import wait_until
from tests.fleet.python_image import MEMORY_MIB
from tests.proof.changing import IMAGE, Bench
from tests.proof.daemon import Document, running
from tests.proof.test_main_job import configuration

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(3600)]

Task = tuple[str, str, Mapping[str, object]]
"""A module, a name and parameters."""

ONE, TWO = "web-1", "web-2"
LONG_S = 1200
SLEEP, LOOK = "31536000", "'3153600[0]'"
"""An argument, and a pattern of it that is none."""
SECONDS = "1200"
"""Enough for a few tasks in a guest that is emulated on a busy machine."""
GREETING = {"dest": "/srv/greeting", "content": "this is {{ inventory_hostname }}\n"}
WEB: Sequence[Task] = [
    ("ansible.builtin.copy", "Greet", GREETING),
    ("ansible.builtin.file", "Own", {"path": "/srv/own", "state": "directory", "mode": "0750"}),
]
PARTIAL: Sequence[Task] = [
    ("ansible.builtin.copy", "Note", {"dest": "/srv/note", "content": "noted\n"}),
    ("ansible.builtin.command", "Need", {"argv": ["test", "-e", "/srv/needed"]}),
    ("ansible.builtin.copy", "Finish", {"dest": "/srv/finished", "content": "x\n"}),
]
# Appends: whoever plays it twice is found out.
SLOW: Sequence[Task] = [
    ("ansible.builtin.shell", "Count", {"cmd": "echo played >>/srv/played"}),
    ("ansible.builtin.command", "Sleep", {"argv": ["sleep", SLEEP]}),
    ("ansible.builtin.command", "Never", {"argv": ["touch", "/srv/never"]}),
]

PLAYBOOKS = {"web": WEB, "partial": PARTIAL, "slow": SLOW}


@dataclass(frozen=True)
class Theatre:
    """Two guests, and the directory where plays on them are played."""

    bench: Bench
    stages: Path

    def store(self, name: str, tasks: Sequence[Task]) -> None:
        self.bench.told("playbook", "create", name, "--become")
        for module, title, params in tasks:
            words = ("--name", title, "--params", json.dumps(params))
            self.bench.told("playbook", "task", "add", name, module, *words)

    def plays(self, name: str, *words: str, code: int = 0) -> dict[str, Document]:
        """Play a stored playbook; return how it ended on each sandbox."""
        line = ("playbook", "run", name, *words, "--timeout", f"{SECONDS}s")
        run = self.bench.told(*line, code=code)
        assert run["ended_at"] is not None
        return plays_of(run)

    def begins(self) -> str:
        """Have the slow playbook played; return the run once the guest sleeps."""
        run = self.bench.told("playbook", "run", "slow", ONE, "--no-wait")
        # Each look costs the guest more than a second.
        wait_until(lambda: bool(self.sleeps(ONE)), what="the sleep", limit_s=LONG_S, every_s=5)
        assert self.processes()
        return str(run["id"])

    def ended(self, run_id: str) -> Document:
        """Return how a run of one sandbox ended."""
        path = f"/v1/playbook-runs/{run_id}"
        wait_until(
            lambda: bool(self.bench.daemon.api.get(path)["ended_at"]),
            what=f"the end of {run_id}",
            limit_s=LONG_S,
            every_s=0.3,
        )
        run = self.bench.daemon.api.get(path)
        (play,) = run["plays"]
        return dict(play)

    def sleeps(self, name: str) -> list[str]:
        """Return what sleeps in a guest, by /proc."""
        return self.bench.run(name, f"grep -lzx {LOOK} /proc/[0-9]*/cmdline || true").split()

    def wake(self, name: str) -> None:
        """End what sleeps in a guest, as nobody promised that anything else does."""
        for file in self.sleeps(name):
            self.bench.run(name, f"kill -KILL {file.split('/')[2]} || true")
        assert not self.sleeps(name)

    def processes(self) -> list[str]:
        """Return the processes on this machine that work where plays are played."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if bytes(self.stages / PREFIX) in line:
                found.append(line.replace(b"\0", b" ").decode(errors="replace")[:200])
        return found

    def left(self) -> list[Path]:
        """Return the directories of plays."""
        return list(self.stages.glob(f"{PREFIX}*"))

    def nothing_plays(self) -> None:
        """Nothing of any play is left on the control node."""
        assert self.processes() == []
        assert self.left() == []


def plays_of(run: Document) -> dict[str, Document]:
    return {play["sandbox_name"]: play for play in run["plays"]}


def recap(**counts: int) -> Document:
    names = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")
    return dict.fromkeys(names, 0) | counts


@pytest.fixture(scope="module")
def theatre(
    tmp_path_factory: pytest.TempPathFactory, python_guest_image: Path
) -> Iterator[Theatre]:
    with tempfile.TemporaryDirectory(prefix="proof-") as stages, Fleet.make(1) as fleet:
        # Whoever plays is nobody, and must come by.
        Path(stages).chmod(0o711)
        fleet["h1"].offer(python_guest_image, IMAGE)
        directory = tmp_path_factory.mktemp("runs")
        with running(directory, configuration(fleet), TMPDIR=stages) as daemon:
            bench = Bench(fleet, daemon)
            bench.hosts_come_up()
            for name in (ONE, TWO):
                body = {"base_image": IMAGE, "agent_id": "proof", "sandbox_name": name}
                size = {"vcpus": 1, "memory_mb": MEMORY_MIB, "storage_mb": 512}
                daemon.api.post("/v1/sandboxes", body | size | {"ready": "ssh"})
            for name in (ONE, TWO):
                daemon.wait_for(name, seconds=LONG_S, state="RUNNING")
            made = Theatre(bench, Path(stages))
            for name, tasks in PLAYBOOKS.items():
                made.store(name, tasks)
            yield made


def test_a_check_tells_what_would_change_and_changes_nothing(theatre: Theatre) -> None:
    ended = theatre.plays("web", ONE, TWO, "--check")
    for name in (ONE, TWO):
        play = ended[name]
        told = (play["status"], play["reason"], play["recap"])
        assert told == ("SUCCEEDED", None, recap(ok=3, changed=2)), play
        assert theatre.bench.run(name, "ls -A /srv") == ""
    theatre.nothing_plays()


def test_it_is_played_on_each_and_changes_nothing_twice(theatre: Theatre) -> None:
    ended = theatre.plays("web", ONE, TWO)
    for name in (ONE, TWO):
        play = ended[name]
        assert (play["status"], play["recap"]) == ("SUCCEEDED", recap(ok=3, changed=2)), play
        said = theatre.bench.run(name, "cat /srv/greeting; stat -c %a /srv/own")
        assert said == f"this is {name}\n750\n"
    again = theatre.plays("web", TWO)
    assert again[TWO]["recap"] == recap(ok=3), again
    listed = theatre.bench.sandboxctl("playbook", "runs", "web")
    assert [line.split()[2] for line in listed.stdout.splitlines()[1:]] == ["-", "-", "yes"]
    newest = listed.stdout.splitlines()[1].split()[0]
    shown = theatre.bench.sandboxctl("playbook", "runs", "web", "--run", newest)
    assert (f"== {TWO}" in shown.stdout, "TASK [Greet]" in shown.stdout) == (True, True)
    theatre.nothing_plays()


def test_one_that_fails_is_named_and_the_other_is_played_to_its_end(theatre: Theatre) -> None:
    theatre.bench.run(ONE, "touch /srv/needed")
    ended = theatre.plays("partial", ONE, TWO, code=1)
    one, two = ended[ONE], ended[TWO]
    assert (one["status"], one["recap"]) == ("SUCCEEDED", recap(ok=4, changed=3)), one
    assert (two["status"], two["recap"]) == ("FAILED", recap(ok=2, changed=1, failed=1)), two
    assert two["reason"].startswith("Need: "), two
    assert "fatal: [web-2]: FAILED!" in two["log"]
    assert theatre.bench.run(TWO, "ls /srv") == "greeting\nnote\nown\n"
    assert theatre.bench.run(ONE, "ls /srv") == "finished\ngreeting\nneeded\nnote\nown\n"
    theatre.nothing_plays()


def test_one_whose_time_is_up_is_ended_here(theatre: Theatre) -> None:
    """How far it comes within it is the machine's affair; that it ends is ours."""
    run = theatre.bench.told("playbook", "run", "slow", ONE, "--timeout", "90s", code=124)
    (play,) = run["plays"]
    assert play["status"] == "TIMED_OUT", play
    assert "did not end within 90 s" in play["reason"]
    assert (play["recap"] or recap())["failed"] == 0
    theatre.nothing_plays()
    theatre.wake(ONE)


def test_one_that_is_cancelled_is_ended_here(theatre: Theatre) -> None:
    run_id = theatre.begins()
    theatre.bench.told("playbook", "cancel", run_id)
    play = theatre.ended(run_id)
    assert play["status"] == "CANCELLED", play
    theatre.nothing_plays()
    theatre.wake(ONE)


def test_a_daemon_that_dies_plays_nothing_twice_and_leaves_nothing(theatre: Theatre) -> None:
    theatre.bench.run(ONE, "rm -f /srv/played")
    run_id = theatre.begins()
    theatre.bench.daemon.kill()
    # What it played ends with it, though nobody is there to end it.
    wait_until(lambda: not theatre.processes(), what="the end of the play", every_s=0.1)
    assert len(theatre.left()) == 1
    theatre.bench.daemon.start()
    play = theatre.ended(run_id)
    assert (play["status"], play["recap"]) == ("INTERRUPTED", None), play
    assert "nobody knows how far it came" in play["reason"]
    wait_until(lambda: not theatre.left(), what="the end of its directory", every_s=0.1)
    theatre.wake(ONE)
    assert theatre.bench.run(ONE, "cat /srv/played; ls /srv/never || true") == "played\n"
    theatre.nothing_plays()


def test_one_that_does_not_answer_keeps_nobody_waiting(theatre: Theatre) -> None:
    """Its sshd still takes connections, and never says a word."""
    theatre.bench.run(TWO, "kill -STOP $(cat /run/sshd.pid)")
    ended = theatre.plays("web", ONE, TWO, code=1)
    one, two = ended[ONE], ended[TWO]
    assert (one["status"], one["recap"]["ok"]) == ("SUCCEEDED", 3), one
    assert (two["status"], two["recap"]) == ("UNREACHABLE", recap(unreachable=1)), two
    assert two["reason"], two
    theatre.nothing_plays()
    for name in (ONE, TWO):
        theatre.bench.told("delete", name, "-y")
    theatre.bench.nothing_is_left()
