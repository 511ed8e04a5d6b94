"""exec and command, end to end: the command line, the application, the loop, and real shells."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.cli.running import PROGRAM, Ran, Sandboxctl, environment, on_terminal, started
from tests.guests.house import GuestHouse


async def newest(sandboxctl: Sandboxctl) -> dict[str, object]:
    listed = await sandboxctl.run("command", "list", "box", "-o", "json")
    found: dict[str, object] = listed.document[0]
    return found


async def test_a_command_runs_as_if_it_ran_here(house: GuestHouse, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert ran == Ran(9, "out\n", "err\n")
    plain = await sandboxctl.run("exec", "box", "printf", "%s|", "-n", "$(id)", "a b")
    assert plain == Ran(0, "-n|$(id)|a b|", "")
    piped = await sandboxctl.run("exec", "-i", "box", "cat", stdin="from here\n")
    assert piped == Ran(0, "from here\n", "")
    script = await sandboxctl.run("exec", "--script", "-", "box", stdin="echo `pwd`\nexit 3\n")
    assert script.code == 3
    asked = ("--cwd", "/tmp", "--env", "A=b c", "--secret-env", "PATH")
    env = await sandboxctl.run("exec", *asked, "box", "sh", "-c", 'pwd; echo "$A$PATH"')
    assert env == Ran(0, "/tmp\nb c[redacted:named]\n", "")


async def test_input_is_passed_on_as_it_comes_however_much_it_is(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    size, digest = 48 << 20, "sha256sum && cat >/dev/null"
    many = await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, "exec", "-i", "box", "sh", "-c", digest],
        env=environment(sandboxctl.socket),
        input=bytes(range(256)) * (size >> 8),
        capture_output=True,
        check=True,
    )
    whole = hashlib.sha256(bytes(range(256)) * (size >> 8)).hexdigest()
    assert many.stdout.split()[0].decode() == whole
    early = await sandboxctl.run("exec", "-i", "box", "head", "-c", "3", stdin="x" * (8 << 20))
    assert early == Ran(0, "xxx", "")
    kept = await sandboxctl.run(
        "exec", "-i", "--no-wait", "-o", "name", "box", "wc", "-c", stdin="y" * 1_000_000
    )
    written = await sandboxctl.run("command", "output", kept.out.strip())
    assert written == Ran(0, "1000000\n", "")


async def test_what_breaks_off_is_not_taken_for_the_end(
    house: GuestHouse, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    argv = ("exec", "-i", "box", "sh", "-c", f"head -n 1; cat >/dev/null; touch {proof}")
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *argv, env=environment(sandboxctl.socket), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"first\n")
    # It arrives although nothing has ended.
    assert await process.stdout.readline() == b"first\n"
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert process.returncode == 130
    assert b"is ended: its input broke off" in told
    command = await newest(sandboxctl)
    shown = await sandboxctl.run("command", "output", str(command["id"]))
    assert (shown.code, shown.out) == (125, "first\n")
    assert "its input broke off; nothing of it runs any more" in shown.err
    assert not proof.exists()


async def test_bytes_pass_and_a_cut_is_told(house: GuestHouse, sandboxctl: Sandboxctl) -> None:
    every = 'for i in 0 1 2 3; do for j in 0 1 2 3 4 5 6 7; do printf "\\\\${i}${j}3"; done; done'
    ran = await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, "exec", "box", "--", "sh", "-c", every],
        env=environment(sandboxctl.socket),
        capture_output=True,
        check=True,
    )
    assert ran.stdout == bytes(int(f"{i}{j}3", 8) for i in range(4) for j in range(8))
    flood = await sandboxctl.run("exec", "box", "head", "-c", "1100000", "/dev/zero")
    assert (flood.code, len(flood.out)) == (0, 1 << 20)
    assert "output was cut: the command wrote 1100000 bytes to stdout and 0" in flood.err


async def test_its_end_is_told_by_the_exit_code(house: GuestHouse, sandboxctl: Sandboxctl) -> None:
    late = await sandboxctl.run("exec", "--timeout", "1s", "box", "sleep", "100")
    assert late.code == 124
    assert "time limit of 1 s" in late.err
    nowhere = await sandboxctl.run("exec", "other", "true")
    assert nowhere.code == 125
    assert "no live sandbox" in nowhere.err
    assert (await sandboxctl.run("exec", "box")).code == 2
    document = await sandboxctl.run("exec", "-o", "json", "box", "sh", "-c", "echo x; exit 2")
    assert (document.code, document.document["stdout"]) == (2, "x\n")


async def test_a_command_is_watched_ended_and_looked_back_at(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    begun = await sandboxctl.run(
        "exec", "--no-wait", "-o", "name", "box", "sh", "-c", "echo up; sleep 1000"
    )
    command = begun.out.strip()
    assert begun.code == 0
    with started(sandboxctl.socket, "command", "output", command.lower()) as watching:
        assert watching.stdout is not None
        assert await asyncio.to_thread(watching.stdout.readline) == "up\n"
        killed = await sandboxctl.run("command", "kill", command)
        assert "KILLED" in killed.out
        _, told = await asyncio.to_thread(watching.communicate)
    assert watching.returncode == 137
    assert "as somebody asked for" in told
    shown = await sandboxctl.run("command", "show", command)
    assert "KILLED" in shown.out
    assert "sleep 1000" in shown.out
    assert (await sandboxctl.run("command", "kill", command)).code == 0


async def test_ctrl_c_lets_it_run_on_and_says_how_to_come_back(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    with started(sandboxctl.socket, "exec", "box", "sh", "-c", "echo up; sleep 1000") as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "up\n"
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(process.communicate)
    assert process.returncode == 130
    command = await newest(sandboxctl)
    assert command["status"] == "RUNNING"
    assert f"sandboxctl command output {command['id']}" in told
    await sandboxctl.run("command", "kill", str(command["id"]))


async def test_i11_what_a_guest_says_is_inert_in_tables_and_on_terminals(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    ran = await sandboxctl.run("exec", "box", "printf", "%s", evil)
    assert ran.out == evil
    command = str((await newest(sandboxctl))["id"])
    for words in (("list", "box"), ("show", command), ("list", "box", "-o", "json")):
        assert "\x1b" not in (await sandboxctl.run("command", *words)).out
    terminal = await asyncio.to_thread(on_terminal, sandboxctl.socket, "command", "output", command)
    assert "\\x1b]0;owned" in terminal.out
    assert "\x1b]0;owned" not in terminal.out
    raw = await sandboxctl.run("command", "output", command)
    assert raw == Ran(0, evil, "")
    say = ("box", "printf", "%s", f"{evil}a\tgrüße")
    shown = await asyncio.to_thread(on_terminal, sandboxctl.socket, "exec", *say)
    assert "\\x1b]0;owned\\x07" in shown.out
    assert "grüße" in shown.out
    assert "\x1b]" not in shown.out
    steered = await asyncio.to_thread(on_terminal, sandboxctl.socket, "exec", "--raw", *say)
    assert "\x1b]0;owned" in steered.out


async def test_what_cannot_be_sent_is_refused_before_anything_is_asked(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    large = await sandboxctl.run("exec", "--script", "-", "box", stdin="#" * 700_001)
    assert large.code == 2
    assert "700000 bytes" in large.err
    for words in (("--script", "-", "-i"), ("--secret-env", "NO_SUCH"), ("--script", "/no/such")):
        assert (await sandboxctl.run("exec", *words, "box", "true")).code == 2
    assert (await sandboxctl.run("exec", "--env", "PPID=1", "box", "true")).code == 125
    assert house.asked == 0
