"""What log lines hold, and that nothing is lost with their reader."""

from __future__ import annotations

import io
import json
import logging
import os

import pytest
import structlog

from scheduler import logs

pytestmark = pytest.mark.usefixtures("logs_as_before")

SECRET = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def refuse(token: str) -> None:
    raise ValueError(f"a token of {len(token)} characters")


def tell_of_a_bug() -> None:
    try:
        refuse(SECRET)
    except ValueError:
        structlog.get_logger("x").exception("a bug")
        logging.getLogger("theirs").exception("a bug of theirs")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_a_traceback_shows_where_and_not_what_variables_hold(stream: io.StringIO) -> None:
    logs.configure("info", stream)
    tell_of_a_bug()
    said = stream.getvalue()
    assert said.count("ValueError: a token of 40 characters") == 2
    assert said.count("in refuse") == 2
    assert SECRET not in said


def test_a_line_is_json_unless_it_goes_to_a_terminal() -> None:
    stream, terminal = io.StringIO(), Terminal()
    for out in (stream, terminal):
        logs.configure("info", out)
        structlog.get_logger("x").info("ready", hosts=3)
    assert json.loads(stream.getvalue())["hosts"] == 3
    assert "hosts" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_a_reader_that_is_gone_ends_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True) as stream:
        logs.configure("info", stream)
        tell_of_a_bug()
