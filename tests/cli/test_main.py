"""The program as a whole: what it loads, how it helps, how it is completed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from scheduler.cli.main import cli
from scheduler.release import installed
from tests.cli.daemon import FaultyDaemon, held, sound
from tests.cli.running import Sandboxctl

HEAVY = (
    "alembic",
    "asyncio",
    "asyncssh",
    "email",
    "fastapi",
    "http.client",
    "libvirt",
    "lxml",
    "numpy",
    "pydantic",
    "rich",
    "sqlalchemy",
    "ssl",
    "uvicorn",
    "yaml",
)
LOADED = (
    "import sys; from scheduler.cli.main import main; sys.argv = ['sandboxctl', *sys.argv[1:]]\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    "print('\\n'.join(sys.modules), file=sys.stderr)"
)


def commands(command: click.Command, *path: str) -> list[tuple[str, ...]]:
    """Return every command's words, groups included."""
    found = [path]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            found += commands(inner, *path, name)
    return found


def test_help_loads_nothing_heavy_and_nothing_of_the_server() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, "create", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ran.stderr.split())
    assert "scheduler.cli.commands.creation" in loaded
    assert loaded & set(HEAVY) == set()
    ours = {name for name in loaded if name.startswith("scheduler.")}
    assert all(name == "scheduler.cli" or name.startswith("scheduler.cli.") for name in ours)


def test_a_listing_off_a_terminal_loads_no_drawing_library(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/hosts", sound({"items": [], "next_cursor": None}))
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, "--socket", str(daemon.path), "host", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"rich", "yaml"}.isdisjoint(ran.stderr.split())


@pytest.mark.parametrize("words", commands(cli), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl(*words, "--help")
    assert ran.code == 0
    assert ran.out.startswith("Usage: sandboxctl")
    found: click.Command = cli
    for word in words:
        assert isinstance(found, click.Group)
        found = found.commands[word]
    assert found.help
    if not isinstance(found, click.Group) and words != ("completion",):
        assert "--output" in ran.out
        assert "--socket" in ran.out


def test_every_option_says_what_it_does() -> None:
    silent = []
    for words in commands(cli):
        found: click.Command = cli
        for word in words:
            assert isinstance(found, click.Group)
            found = found.commands[word]
        silent += [
            (*words, option.name)
            for option in found.params
            if isinstance(option, click.Option) and not option.help
        ]
    assert silent == []


def test_a_mistyped_command_gets_a_suggestion(sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl("lst")
    assert ran.code == 2
    assert "Did you mean 'list'" in ran.err


def test_version_needs_no_daemon(sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl("version")
    ours, theirs = ran.out.splitlines()
    assert (ran.code, ours) == (0, f"sandboxctl {installed()}")
    assert theirs.startswith("sandboxd unknown: no daemon answers")
    document = sandboxctl("version", "-o", "json").document
    assert (document["name"], document["daemon"]) == ("sandboxctl", None)


def test_version_tells_of_both_sides(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    release = {"version": "9.8.7", "revision": "abc"}
    daemon.on("GET", "/v1/version", sound(release))
    assert sandboxctl("version").out.splitlines()[1] == "sandboxd 9.8.7-abc"
    assert sandboxctl("version", "-o", "json").document["daemon"] == release


def test_a_daemon_that_is_older_than_the_question_has_no_version(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    assert "sandboxd unknown: it is older" in sandboxctl("version").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(shell: str, sandboxctl: Sandboxctl, tmp_path: Path) -> None:
    ran = sandboxctl("completion", shell)
    assert ran.code == 0
    assert "_SANDBOXCTL_COMPLETE" in ran.out
    script = tmp_path / "completion"
    script.write_text(ran.out)
    if program := shutil.which(shell):
        subprocess.run([program, "-n", script], check=True)


PATIENT = "from scheduler.cli import completion as c; c._SECONDS = c._IN_ALL_SECONDS = 240; "
"""Whoever presses Tab waits a moment only, which a busy machine takes for any answer."""


def completed(socket: Path, *words: str, patience: str = PATIENT) -> list[str]:
    """Return what bash would offer for the last of these words."""
    environment = {
        **os.environ,
        "SANDBOXD_SOCKET": str(socket),
        "_SANDBOXCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("sandboxctl", *words)),
        "COMP_CWORD": str(len(words)),
    }
    program = "from scheduler.cli.main import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", patience + program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]


def test_words_are_completed_from_the_daemon(daemon: FaultyDaemon) -> None:
    box = {"id": "SBX-01AB", "sandbox_name": "web-1", "state": "RUNNING"}
    daemon.on("GET", "/v1/sandboxes", sound({"items": [box], "next_cursor": None}))
    daemon.on("GET", "/v1/hosts", sound({"items": [{"name": "alpha", "state": "ACTIVE"}]}))
    assert completed(daemon.path, "show", "w") == ["web-1"]
    assert completed(daemon.path, "delete", "SBX") == ["SBX-01AB"]
    assert completed(daemon.path, "host", "drain", "a") == ["alpha"]
    assert completed(daemon.path, "move", "w") == ["web-1"]
    assert completed(daemon.path, "move", "web-1", "--to", "a") == ["alpha"]
    assert completed(daemon.path, "st") == ["start", "stop"]


@pytest.mark.parametrize("reply", [held, sound(["nonsense"]), sound({}, 500)])
def test_completion_is_silent_when_the_daemon_is_not_well(
    daemon: FaultyDaemon, reply: object
) -> None:
    daemon.on("GET", "/v1/sandboxes", reply)  # type: ignore[arg-type]
    assert completed(daemon.path, "show", "w", patience="") == []


def test_completion_reads_on_until_enough_fits(daemon: FaultyDaemon) -> None:
    """Of many hosts the newest are no better than others: all are asked for."""
    names = [f"h-{number:03}" for number in range(250, 0, -1)]
    hosts = [{"name": name, "state": "ACTIVE"} for name in names]
    daemon.on(
        "GET",
        "/v1/hosts",
        sound({"items": hosts[:200], "next_cursor": "more"}),
        sound({"items": hosts[200:], "next_cursor": None}),
    )
    assert completed(daemon.path, "host", "show", "h-00") == [f"h-00{n}" for n in range(9, 0, -1)]


def test_an_id_is_completed_by_the_daemon(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/sandboxes", sound({"items": [], "next_cursor": None}))
    assert completed(daemon.path, "show", "SBX-0") == []
    assert "id_prefix=SBX-0" in daemon.seen[-1].path


def test_completion_is_silent_without_a_daemon(socket_path: Path) -> None:
    assert completed(socket_path, "show", "w") == []
