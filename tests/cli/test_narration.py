"""What a terminal is shown while something is waited for: the text itself, whatever is in it."""

from __future__ import annotations

import io

import pytest

from scheduler.cli.narration import Narrator


class Terminal(io.StringIO):
    """Takes what is drawn."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "text",
    [
        "could not open [/var/lib/x] busy",
        "[link=http://evil.example/]click me[/link]",
        "no route to [fe80::1]",
        "[bold]x",
    ],
)
def test_i11_what_is_waited_for_is_no_markup(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for changed in (False, True):
        terminal = Terminal()
        narrator = Narrator(terminal, drawn=True)
        with narrator.waiting("at first" if changed else text):
            if changed:
                narrator.awaited(text)
        drawn = terminal.getvalue()
        assert text in drawn
        assert "\x1b]8" not in drawn
