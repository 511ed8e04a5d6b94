"""Server-sent events: the format's corners."""

from __future__ import annotations

from scheduler.cli.event_stream import Message, messages


def test_messages_end_with_an_empty_line() -> None:
    lines = ["id: 4", 'data: {"a": 1}', "", "data:x", "data: y", "", "data: cut off"]
    assert list(messages(lines)) == [Message("4", '{"a": 1}'), Message("4", "x\ny")]


def test_a_number_alone_tells_where_to_resume() -> None:
    lines = ["id: 4", "data: x", "", ": quiet", "id: 9", "", ": quiet", "id: 9", ""]
    assert list(messages(lines)) == [Message("4", "x"), Message("9", "")]


def test_comments_and_unknown_fields_are_skipped() -> None:
    assert list(messages([": quiet", "event: sandbox.state", "retry: 5", "", ""])) == []
