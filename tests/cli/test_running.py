"""What runs the command line for tests tells a program that waits from one that is only slow."""

from __future__ import annotations

import os
import pty
import sys
from io import FileIO

import pytest

from tests.cli import running
from tests.cli.running import Alone
from tests.terminals import seated

ENDS_SLOWLY = """
import time
try:
    input("? ")
except KeyboardInterrupt:
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
    print("ended in order")
"""
"""It is at work on a Ctrl-C for longer than is waited before it is typed again."""


def test_a_program_at_work_on_one_ctrl_c_gets_no_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "AGAIN_SECONDS", 0.01)
    master, its = pty.openpty()
    with (
        FileIO(master, "r+") as terminal,
        seated(its, [sys.executable, "-c", ENDS_SLOWLY], os.environ) as process,
    ):
        ours = terminal.fileno()
        os.close(its)
        shown = running._read(ours, until="? ") + running._answer(ours, process, "\x03")
    assert shown.endswith("ended in order\n")


def test_whoever_finds_a_command_that_hangs_is_told_whose_it_is() -> None:
    alone = Alone()
    with (
        alone.held(("exec", "box")),
        pytest.raises(RuntimeError, match=r"`sandboxctl exec box` of .*whose_it_is"),
        alone.held(("host", "list")),
    ):
        raise AssertionError("two at once")
    with alone.held(("host", "list")):
        pass
