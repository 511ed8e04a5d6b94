"""What people are shown of the rarer documents."""

from __future__ import annotations

import io

import pytest

from scheduler.cli.failures import Refused, refused
from scheduler.cli.printing import Format, Printer
from scheduler.cli.tables import fill
from scheduler.cli.views import decisions, diffs, holdings
from scheduler.cli.views.states import state, text_of

BOX = {"id": "SBX-1", "sandbox_name": "web", "state": "ERROR", "host_name": "alpha"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (0.5, "0.5"),
        (["a", 1], "a,1"),
        ({"b": 2, "a": 1}, "a=1,b=2"),
    ],
)
def test_any_value_has_a_text(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_state_nobody_knows_yet_is_shown_without_colour() -> None:
    assert (state("FROZEN").text, state("FROZEN").style) == ("FROZEN", "")


def test_a_refused_decision_shows_what_would_fit() -> None:
    stream = io.StringIO()
    nearest = {"host_name": "alpha", "filter": "memory", "have": 512, "need": 1024}
    decision = {
        "outcome": "capacity_exhausted",
        "policy": "spread",
        "demand": {"vcpus": 1, "memory_mb": 1024, "storage_mb": 0, "image": "x", "network": "lab"},
        "refusals": {"memory": 2, "cpu": 0},
        "nearest": [{**nearest, "message": "alpha: memory 512 MiB free"}],
        "smallest_change": "ask for 512 MiB less memory",
    }
    decisions.draw(Printer(stream, Format.WIDE, drawn=False), decision)
    shown = stream.getvalue()
    assert "would fit:         ask for 512 MiB less memory" in shown
    assert "refused first by:  memory 2\n" in shown
    assert "network lab" in shown
    assert shown.splitlines()[-1].split() == [
        "alpha", "memory", "512", "MiB", "1", "GiB", "memory", "512", "MiB", "free",
    ]  # fmt: skip


def test_what_is_held_is_listed_object_by_object() -> None:
    volume = {"role": "seed", "pool": "default", "name": "web.iso", "state": "created"}
    claim = {"vcpus": 1, "memory_mb": 512, "storage_mb": 1024, "state": "active"}
    held = {"sandbox": BOX, "volumes": [volume], "allocations": [claim]}
    table = fill(holdings.VIEW.columns, holdings.rows([held]), wide=False)
    assert [[cell.text for cell in row][1:3] for row in table.rows] == [
        ["domain", "-"],
        ["seed volume", "default/web.iso"],
        ["allocation", "1 vCPU, 512 MiB memory, 1 GiB storage"],
    ]


def test_problems_of_any_shape_are_understood() -> None:
    broken = refused(500, "application/problem+json", b"{")
    assert broken.message == "HTTP status 500: {"
    listed = refused(
        422, "application/json", b'{"code": "invalid", "errors": ["why", {"path": "a"}]}'
    )
    assert listed.reasons == ("why", "a: ")
    timed = Refused(507, {"code": "capacity_exhausted", "title": "full", "retry_after": 5})
    assert (timed.message, timed.hint) == ("full", "try again (worth a retry in 5 s)")
    bug = {"code": "internal_error", "remediation": "report it with the log", "request_id": "REQ-1"}
    assert Refused(500, bug).hint == "report it with the log (there it is request REQ-1)"


def test_a_diff_shows_a_link_in_a_files_place_and_a_script_in_one_line() -> None:
    stream = io.StringIO()
    entry = {"path": "/x", "kind": "file", "mode": 0o644, "uid": 0, "gid": 0, "size": 3}
    before = {**entry, "owner": "root", "group": "root", "target": None, "sha256": "a"}
    after = {**before, "kind": "symlink", "mode": 0o777, "size": 0, "sha256": None, "target": "y"}
    delta = {
        "files": [{"before": before, "after": after, "package": None}],
        "packages": [],
        "services": [],
        "unknown": [],
        "ignored": [],
    }
    ran = {"cmd": "set -e\n" + "echo many words\n" * 20, "exit_code": 0, "at": "now"}
    diff = {"id": "DIF-1", "from_snapshot": "a", "to_snapshot": "b", "delta": delta}
    diff["diff_json"] = {"commands_run": [ran]}
    diffs.draw(Printer(stream, Format.TABLE, drawn=False), diff, brief=False)
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert "~ /x file -> symlink -> y" in lines
    assert lines[-1].startswith("set -e echo many words echo many")
    assert lines[-1].endswith("... exit 0, now")
    assert max(map(len, lines)) < 100
